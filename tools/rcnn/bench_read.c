/* A benchmark's result file, read into the form it was measured in. Tables say which member goes where. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "json_text.h"

#define SIDE_MAX   65500.0
#define NUMBER_MAX 1e15
#define NUMBER_MIN 1e-12 /* what is smaller is 0: nothing measured is, and quotients of the rest are numbers */

/* -------------------------------------------------------------- members */

typedef enum member_kind { MEMBER_TEXT, MEMBER_INTEGER, MEMBER_NUMBER, MEMBER_BOOL, MEMBER_TIMES } member_kind;

typedef struct member_place {
    const char *name;
    member_kind kind;
    size_t offset;
    double bound; /* TEXT: its bytes; INTEGER: the largest value */
} member_place;

#define TEXT_AT(type, field)                                                                                           \
    {                                                                                                                  \
#field, MEMBER_TEXT, offsetof(type, field), (double)sizeof((type *)0)->field                                   \
    }
#define INTEGER_AT(type, field, most)                                                                                  \
    {                                                                                                                  \
#field, MEMBER_INTEGER, offsetof(type, field), most                                                            \
    }
#define NUMBER_AT(type, field)                                                                                         \
    {                                                                                                                  \
#field, MEMBER_NUMBER, offsetof(type, field), NUMBER_MAX                                                       \
    }

static const member_place ROW_MEMBERS[] = {TEXT_AT(bench_row, subject),
                                           TEXT_AT(bench_row, mode),
                                           TEXT_AT(bench_row, device),
                                           TEXT_AT(bench_row, precision),
                                           TEXT_AT(bench_row, preprocess),
                                           TEXT_AT(bench_row, masks),
                                           INTEGER_AT(bench_row, width, SIDE_MAX),
                                           INTEGER_AT(bench_row, height, SIDE_MAX),
                                           INTEGER_AT(bench_row, batch, SIDE_MAX),
                                           TEXT_AT(bench_row, skipped),
                                           {"end_to_end", MEMBER_TIMES, offsetof(bench_row, end_to_end), 0},
                                           {"staged", MEMBER_TIMES, offsetof(bench_row, staged), 0},
                                           NUMBER_AT(bench_row, images_per_s),
                                           NUMBER_AT(bench_row, gflop),
                                           NUMBER_AT(bench_row, gbyte),
                                           NUMBER_AT(bench_row, first_run_ms),
                                           NUMBER_AT(bench_row, host_mb),
                                           NUMBER_AT(bench_row, device_mb),
                                           INTEGER_AT(bench_row, proposals, INT32_MAX),
                                           INTEGER_AT(bench_row, detections, INT32_MAX),
                                           TEXT_AT(bench_row, picture)};

static const member_place TIMES_MEMBERS[] = {{"count", MEMBER_INTEGER, offsetof(bench_times, count), INT32_MAX},
                                             {"median_ms", MEMBER_NUMBER, offsetof(bench_times, median), 0},
                                             {"p10_ms", MEMBER_NUMBER, offsetof(bench_times, p10), 0},
                                             {"p90_ms", MEMBER_NUMBER, offsetof(bench_times, p90), 0},
                                             {"min_ms", MEMBER_NUMBER, offsetof(bench_times, min), 0}};

static const member_place PEAK_MEMBERS[] = {
    {"precision", MEMBER_TEXT, offsetof(bench_result, peak_precision), sizeof((bench_result *)0)->peak_precision},
    {"tflops", MEMBER_NUMBER, offsetof(bench_result, peak_tflops), 0},
    {"gb_s", MEMBER_NUMBER, offsetof(bench_result, peak_gb_s), 0}};

static const member_place RESULT_MEMBERS[] = {
    {"complete", MEMBER_BOOL, offsetof(bench_result, complete), 0},
    {"random_weights", MEMBER_BOOL, offsetof(bench_result, random_weights), 0}};

#define COUNT_OF(table) (sizeof(table) / sizeof(table)[0])

static void read_times(json_text *json, bench_times *out);

static double read_number(json_text *json)
{
    const double value = json_text_number(json, 0, NUMBER_MAX);
    return value < NUMBER_MIN ? 0 : value;
}

/* -1 stands for "not known" in counts. */
static int32_t read_integer(json_text *json, double most)
{
    const double value = json_text_number(json, -1, most);
    if (!json->failed && value != (double)(int32_t)value) {
        json_text_fail(json, RCNN_ERR_FORMAT, "want a whole number, got %g", value);
    }
    return (int32_t)value;
}

/* Reads the value of a member that the table names into its place behind base; passes over others. */
static void read_member(json_text *json, const member_place *table, size_t count, const char *key, void *base)
{
    const member_place *m = table;
    while (m < table + count && strcmp(m->name, key) != 0) {
        m++;
    }
    if (m == table + count) {
        json_text_skip(json);
        return;
    }
    char *place = (char *)base + m->offset;
    switch (m->kind) {
    case MEMBER_TEXT:
        json_text_string(json, place, (size_t)m->bound);
        break;
    case MEMBER_INTEGER:
        *(int32_t *)(void *)place = read_integer(json, m->bound);
        break;
    case MEMBER_NUMBER:
        *(double *)(void *)place = read_number(json);
        break;
    case MEMBER_BOOL:
        *(bool *)(void *)place = json_text_bool(json);
        break;
    case MEMBER_TIMES:
        read_times(json, (bench_times *)(void *)place);
        break;
    }
}

/* ---------------------------------------------------------------- times */

typedef struct sample_list {
    double *items;
    int32_t count, capacity;
} sample_list;

static void read_sample(json_text *json, void *context)
{
    sample_list *list = context;
    const double value = read_number(json);
    if (json->failed) {
        return;
    }
    if (list->count == BENCH_SAMPLES_MAX) {
        json_text_fail(json, RCNN_ERR_LIMIT, "more than %d samples", BENCH_SAMPLES_MAX);
        return;
    }
    if (list->count == list->capacity) {
        const int32_t capacity = list->capacity ? 2 * list->capacity : 32;
        double *grown = realloc(list->items, (size_t)capacity * sizeof *grown);
        if (!grown) {
            json_text_fail(json, RCNN_ERR_MEMORY, "out of memory for %d samples", (int)capacity);
            return;
        }
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = value;
}

static void times_member(json_text *json, const char *key, void *context)
{
    bench_times *times = context;
    if (strcmp(key, "samples_ms") == 0) {
        sample_list list = {0};
        json_text_array(json, read_sample, &list);
        free(times->samples);
        times->samples = list.items;
        if (list.count > 0) { /* an empty list stands beside quantiles that had no samples, and leaves their count */
            times->count = list.count;
        }
    } else if (strcmp(key, "count") != 0 || !times->samples) {
        read_member(json, TIMES_MEMBERS, COUNT_OF(TIMES_MEMBERS), key, times);
    } else {
        json_text_skip(json); /* the samples count themselves */
    }
}

/* Quantiles follow from the samples where the file has them. Without a median nothing is known. */
static void read_times(json_text *json, bench_times *out)
{
    free(out->samples);
    memset(out, 0, sizeof *out);
    json_text_object(json, times_member, out);
    if (json->failed) {
        return;
    }
    if (out->samples && out->count > 0) {
        bench_times_sum_up(out);
    } else if (!(out->count > 0 && out->median > 0)) {
        free(out->samples);
        memset(out, 0, sizeof *out);
    }
}

/* ----------------------------------------------------------------- rows */

static bench_stage find_stage(const char *key)
{
    int stage = 0;
    while (stage < BENCH_STAGE_COUNT && strcmp(bench_stage_name((bench_stage)stage), key) != 0) {
        stage++;
    }
    return (bench_stage)stage;
}

static void stage_times_member(json_text *json, const char *key, void *context)
{
    const bench_stage stage = find_stage(key);
    if (stage == BENCH_STAGE_COUNT) {
        json_text_skip(json);
    } else {
        read_times(json, &((bench_row *)context)->stage[stage]);
    }
}

static void stage_number_member(json_text *json, const char *key, void *context)
{
    const bench_stage stage = find_stage(key);
    if (stage == BENCH_STAGE_COUNT) {
        json_text_skip(json);
    } else {
        ((double *)context)[stage] = read_number(json);
    }
}

static void row_member(json_text *json, const char *key, void *context)
{
    bench_row *row = context;
    if (strcmp(key, "stages") == 0) {
        json_text_object(json, stage_times_member, row);
    } else if (strcmp(key, "stage_gflop") == 0) {
        json_text_object(json, stage_number_member, row->stage_gflop);
    } else if (strcmp(key, "stage_gbyte") == 0) {
        json_text_object(json, stage_number_member, row->stage_gbyte);
    } else {
        read_member(json, ROW_MEMBERS, COUNT_OF(ROW_MEMBERS), key, row);
    }
}

static void read_row(json_text *json, void *context)
{
    bench_result *result = context;
    if (result->row_count == BENCH_ROWS_MAX) {
        json_text_fail(json, RCNN_ERR_LIMIT, "more than %d rows", BENCH_ROWS_MAX);
        return;
    }
    bench_row *row = bench_add_row(result);
    if (!row) {
        json_text_fail(json, RCNN_ERR_MEMORY, "out of memory for row %d", (int)result->row_count);
        return;
    }
    row->proposals = row->detections = -1;
    json_text_object(json, row_member, row);
}

/* --------------------------------------------------------------- result */

/* Facts are for people: a number or a truth value is kept as it is written. */
static void fact_member(json_text *json, const char *key, void *context)
{
    bench_result *result = context;
    char value[BENCH_TEXT_MAX];
    const char first = json_text_peek(json);
    if (first == '"') {
        json_text_string(json, value, sizeof value);
    } else {
        const char *start = json->data + json->at;
        json_text_skip(json);
        const size_t length = (size_t)(json->data + json->at - start);
        snprintf(value, sizeof value, "%.*s", (int)(length < sizeof value ? length : sizeof value - 1), start);
    }
    if (json->failed || first == '{' || first == '[') {
        return;
    }
    if (result->fact_count == BENCH_ROWS_MAX) {
        json_text_fail(json, RCNN_ERR_LIMIT, "more than %d facts", BENCH_ROWS_MAX);
    } else if (!bench_add_fact(result, key, value)) {
        json_text_fail(json, RCNN_ERR_MEMORY, "out of memory for fact %d", (int)result->fact_count);
    }
}

typedef struct document {
    bench_result *result;
    int32_t schema; /* -1 = not stated */
} document;

static void peak_member(json_text *json, const char *key, void *context)
{
    read_member(json, PEAK_MEMBERS, COUNT_OF(PEAK_MEMBERS), key, context);
}

static void document_member(json_text *json, const char *key, void *context)
{
    document *d = context;
    if (strcmp(key, "schema") == 0) {
        d->schema = read_integer(json, INT32_MAX);
        if (!json->failed && d->schema != BENCH_SCHEMA) {
            json_text_fail(json, RCNN_ERR_UNSUPPORTED, "want schema %d, got %d", BENCH_SCHEMA, (int)d->schema);
        }
    } else if (strcmp(key, "facts") == 0) {
        json_text_object(json, fact_member, d->result);
    } else if (strcmp(key, "peak") == 0) {
        json_text_object(json, peak_member, d->result);
    } else if (strcmp(key, "rows") == 0) {
        json_text_array(json, read_row, d->result);
    } else {
        read_member(json, RESULT_MEMBERS, COUNT_OF(RESULT_MEMBERS), key, d->result);
    }
}

/* ----------------------------------------------------------------- file */

/* The bytes of a file and a NUL behind them. *data is the caller's to free. */
static rcnn_status read_all(const char *path, FILE *file, char **data, size_t *size, rcnn_error *err)
{
    size_t capacity = 0, got = 1;
    while (got > 0) {
        if (*size + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *grown = realloc(*data, capacity);
            if (!grown) {
                tool_fail(err, "'%.300s': out of memory for %zu bytes", path, capacity);
                return err->status = RCNN_ERR_MEMORY;
            }
            *data = grown;
        }
        got = fread(*data + *size, 1, capacity - *size - 1, file);
        *size += got;
        if (*size > BENCH_FILE_BYTES_MAX) {
            tool_fail(err, "'%.300s': want at most %d bytes, got more", path, BENCH_FILE_BYTES_MAX);
            return err->status = RCNN_ERR_LIMIT;
        }
    }
    (*data)[*size] = '\0';
    if (ferror(file)) {
        tool_fail(err, "'%.300s': cannot read: %s", path, strerror(errno));
        return err->status;
    }
    return RCNN_OK;
}

rcnn_status bench_parse(const char *name, const char *data, size_t size, bench_result *out, rcnn_error *err)
{
    json_text json = {.name = name, .data = data, .size = size, .err = err};
    document d = {.result = out, .schema = -1};
    memset(out, 0, sizeof *out);
    json_text_object(&json, document_member, &d);
    json_text_end(&json);
    if (d.schema < 0) {
        json_text_fail(&json, RCNN_ERR_FORMAT, "want \"schema\":%d, got none: no benchmark's result", BENCH_SCHEMA);
    }
    if (json.failed) {
        bench_free(out);
        memset(out, 0, sizeof *out);
        return err->status;
    }
    return RCNN_OK;
}

rcnn_status bench_read(const char *path, bench_result *out, rcnn_error *err)
{
    char *data = NULL;
    size_t size = 0;
    memset(out, 0, sizeof *out);
    FILE *file = fopen(path, "rb");
    if (!file) {
        tool_fail(err, "'%.300s': cannot open: %s", path, strerror(errno));
        return err->status = errno == ENOENT ? RCNN_ERR_NOT_FOUND : RCNN_ERR_IO;
    }
    rcnn_status status = read_all(path, file, &data, &size, err);
    fclose(file);
    if (status == RCNN_OK) {
        status = bench_parse(path, data, size, out, err);
    }
    free(data);
    return status;
}
