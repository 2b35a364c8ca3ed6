/* The three forms of "segmentation": [[x,y,..],..] polygons, {"size":[h,w],"counts":[..]} run lengths, and the same
 * with counts as COCO's compressed text. All end up packed; errors are found here, so that spreading cannot fail
 * later. */
#include "eval/read.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* ---------------------------------------------------------------- polygons */

static rcnn_status add_coordinate(rcnn_eval_reader *reader, rcnn_error *err)
{
    const rcnn_json *json = &reader->json;
    void *vertices = reader->vertices;
    if (json->token != RCNN_JSON_NUMBER) {
        return rcnn_eval_bad(reader, json->offset, err, "segmentation: want numbers x, y, .. in a polygon, got %s",
                             rcnn_json_token_name(json->token));
    }
    if (fabs(json->number) > RCNN_EVAL_COORDINATE_MAX) {
        return rcnn_eval_bad(reader, json->offset, err, "segmentation: want coordinates up to %g, got %g",
                             RCNN_EVAL_COORDINATE_MAX, json->number);
    }
    if (!rcnn_grow(&vertices, &reader->vertex_capacity, reader->vertex_count + 1, sizeof *reader->vertices)) {
        return rcnn_eval_no_memory(reader, err);
    }
    reader->vertices = vertices;
    reader->vertices[reader->vertex_count++] = rcnn_eval_upsample(json->number);
    return RCNN_OK;
}

/* Reads one ring whose '[' is the current token, and packs it. pycocotools refuses a first ring of two points and takes
 * later ones, which are without area; so do we. */
static rcnn_status read_ring(rcnn_eval_reader *reader, rcnn_text *bytes, bool first, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    const size_t offset = json->offset;
    reader->vertex_count = 0;
    for (;;) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_ARRAY_END) {
            break;
        }
        RCNN_TRY(add_coordinate(reader, err));
    }
    const size_t count = reader->vertex_count;
    if (count % 2 != 0 || count < (first ? 6 : 2)) {
        return rcnn_eval_bad(reader, offset, err,
                             "segmentation: want polygons of x, y for 3 points or more, got %zu numbers", count);
    }
    rcnn_eval_pack_ring(bytes, reader->vertices, count / 2);
    return RCNN_OK;
}

/* With the reader on the outer '['. */
static rcnn_status read_rings(rcnn_eval_reader *reader, rcnn_text *bytes, rcnn_eval_read_mask *out, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    for (;;) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_ARRAY_END) {
            break;
        }
        if (json->token != RCNN_JSON_ARRAY_BEGIN) {
            return rcnn_eval_bad(reader, json->offset, err,
                                 "segmentation: want a list of polygons [[x,y,..],..], got %s",
                                 rcnn_json_token_name(json->token));
        }
        RCNN_TRY(read_ring(reader, bytes, out->shape.kind == RCNN_EVAL_SHAPE_NONE, err));
        out->shape.kind = RCNN_EVAL_SHAPE_RINGS;
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- run lengths */

enum { RUNS_SIZE, RUNS_COUNTS };
static const char *const RUNS_MEMBERS[] = {"size", "counts"};

typedef struct runs_job {
    rcnn_eval_reader *reader;
    rcnn_eval_read_mask *out;
    bool numbers; /* counts came as numbers, else as text in reader->text */
} runs_job;

static rcnn_status read_size(runs_job *job, rcnn_error *err)
{
    rcnn_eval_reader *reader = job->reader;
    int64_t side[2] = {0, 0};
    RCNN_TRY(rcnn_json_expect(&reader->json, RCNN_JSON_ARRAY_BEGIN, err));
    const size_t offset = reader->json.offset;
    RCNN_TRY(rcnn_eval_read_integer(reader, "size", &side[0], err));
    RCNN_TRY(rcnn_eval_read_integer(reader, "size", &side[1], err));
    RCNN_TRY(rcnn_json_expect(&reader->json, RCNN_JSON_ARRAY_END, err));
    if (side[0] < 1 || side[1] < 1 || side[0] > RCNN_EVAL_PIXELS_MAX / side[1]) {
        return rcnn_eval_bad(reader, offset, err, "size: want [height, width] of at most %d pixels, got [%lld, %lld]",
                             RCNN_EVAL_PIXELS_MAX, (long long)side[0], (long long)side[1]);
    }
    job->out->height = (int32_t)side[0];
    job->out->width = (int32_t)side[1];
    return RCNN_OK;
}

static rcnn_status read_count_numbers(runs_job *job, rcnn_error *err)
{
    rcnn_eval_reader *reader = job->reader;
    rcnn_json *json = &reader->json;
    reader->count_count = 0;
    for (;;) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_ARRAY_END) {
            return RCNN_OK;
        }
        if (json->token != RCNN_JSON_NUMBER || !json->is_integer || json->integer < 0 ||
            json->integer > RCNN_EVAL_PIXELS_MAX) {
            return rcnn_eval_bad(reader, json->offset, err, "counts: want whole numbers 0..%d, got %s %g",
                                 RCNN_EVAL_PIXELS_MAX, rcnn_json_token_name(json->token), json->number);
        }
        void *counts = reader->counts;
        if (reader->count_count == INT32_MAX ||
            !rcnn_grow(&counts, &reader->count_capacity, reader->count_count + 1, sizeof *reader->counts)) {
            return rcnn_eval_no_memory(reader, err);
        }
        reader->counts = counts;
        reader->counts[reader->count_count++] = (uint32_t)json->integer;
    }
}

static rcnn_status read_counts(runs_job *job, rcnn_error *err)
{
    rcnn_json *json = &job->reader->json;
    RCNN_TRY(rcnn_json_next(json, err));
    if (json->token == RCNN_JSON_ARRAY_BEGIN) {
        job->numbers = true;
        return read_count_numbers(job, err);
    }
    if (json->token != RCNN_JSON_STRING) {
        return rcnn_eval_bad(job->reader, json->offset, err, "counts: want text or numbers, got %s",
                             rcnn_json_token_name(json->token));
    }
    job->reader->text.length = 0;
    rcnn_text_add_bytes(&job->reader->text, json->text, json->length);
    return job->reader->text.failed ? rcnn_eval_no_memory(job->reader, err) : RCNN_OK;
}

static rcnn_status on_runs_member(void *context, int member, rcnn_error *err)
{
    return member == RUNS_SIZE ? read_size(context, err) : read_counts(context, err);
}

/* The counts read as numbers, as text in reader->text. */
static rcnn_status counts_to_text(rcnn_eval_reader *reader, rcnn_error *err)
{
    const int32_t count = (int32_t)reader->count_count;
    const size_t length = rcnn_rle_to_string(reader->counts, count, NULL, 0);
    void *text = reader->text.data;
    if (!rcnn_grow(&text, &reader->text.capacity, length + 1, 1)) {
        return rcnn_eval_no_memory(reader, err);
    }
    reader->text.data = text;
    reader->text.length = rcnn_rle_to_string(reader->counts, count, reader->text.data, length + 1);
    return RCNN_OK;
}

static rcnn_status check_runs(const rcnn_eval_reader *reader, const rcnn_eval_read_mask *mask, size_t offset,
                              rcnn_error *err)
{
    const uint64_t pixels = (uint64_t)mask->width * (uint64_t)mask->height;
    uint64_t sum = 0;
    switch (rcnn_eval_runs_check(reader->text.data, reader->text.length, pixels, &sum)) {
    case RCNN_EVAL_RUNS_GOOD:
        return RCNN_OK;
    case RCNN_EVAL_RUNS_CHARACTER:
        return rcnn_eval_bad(reader, offset, err, "counts: want COCO's compressed run lengths, got other text");
    case RCNN_EVAL_RUNS_NEGATIVE:
        return rcnn_eval_bad(reader, offset, err, "counts: want run lengths >= 0, got a negative one");
    default:
        return rcnn_eval_bad(reader, offset, err, "counts: want runs that add up to %d x %d = %llu pixels, got %s%llu",
                             mask->height, mask->width, (unsigned long long)pixels, sum > pixels ? "at least " : "",
                             (unsigned long long)sum);
    }
}

/* With the reader on '{'. */
static rcnn_status read_runs(rcnn_eval_reader *reader, rcnn_text *bytes, rcnn_eval_read_mask *out, rcnn_error *err)
{
    const size_t offset = reader->json.offset;
    runs_job job = {.reader = reader, .out = out};
    unsigned seen;
    RCNN_TRY(rcnn_eval_read_members(reader, RUNS_MEMBERS, 2, on_runs_member, &job, &seen, err));
    RCNN_TRY(rcnn_eval_require(reader, RUNS_MEMBERS, 3, seen, "segmentation", offset, err));
    if (job.numbers) {
        RCNN_TRY(counts_to_text(reader, err));
    }
    RCNN_TRY(check_runs(reader, out, offset, err));
    rcnn_text_add_bytes(bytes, reader->text.data, reader->text.length);
    out->shape.kind = RCNN_EVAL_SHAPE_RUNS;
    return RCNN_OK;
}

rcnn_status rcnn_eval_read_segmentation(rcnn_eval_reader *reader, rcnn_text *bytes, rcnn_eval_read_mask *out,
                                        rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    *out = (rcnn_eval_read_mask){.shape = {.offset = bytes->length}};
    RCNN_TRY(rcnn_json_next(json, err));
    const size_t offset = json->offset;
    if (json->token == RCNN_JSON_ARRAY_BEGIN) {
        RCNN_TRY(read_rings(reader, bytes, out, err));
    } else if (json->token == RCNN_JSON_OBJECT_BEGIN) {
        RCNN_TRY(read_runs(reader, bytes, out, err));
    } else {
        return rcnn_eval_bad(reader, offset, err, "segmentation: want polygons or run lengths, got %s",
                             rcnn_json_token_name(json->token));
    }
    if (bytes->failed) {
        return rcnn_eval_no_memory(reader, err);
    }
    const size_t length = bytes->length - out->shape.offset;
    if (length > UINT32_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: JSON byte %zu: segmentation of %zu bytes is too large", reader->name,
                         offset, length);
    }
    out->shape.bytes = (uint32_t)length;
    return RCNN_OK;
}
