/* `rcnn bench`: how long each mode of a model takes, per stage and as a whole, as tables and files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_host.h"
#include "bench_out.h"
#include "bench_random.h"
#include "bench_run.h"
#include "bench_steps.h"
#include "commands.h"
#include "log.h"
#include "model_args.h"
#include "outfile.h"
#include "stop.h"

#define DECODES 5 /* times that the image file is read */

typedef struct bench_job {
    const options *opts;
    rcnn_error err;
    bench_plan plan;
    bench_result result;
    bench_pair pair;
    rcnn_model *model;
    rcnn_image *image;
    char model_path[MODEL_PATH_BYTES];
    const char *json;    /* file, or NULL */
    bench_result *peers; /* [peer_count], of --with */
    int peer_count;
} bench_job;

static bool refuse(bench_job *j, const char *line)
{
    tool_fail(&j->err, "%s", line);
    j->err.status = RCNN_ERR_ARGUMENT;
    return false;
}

/* ------------------------------------------------------------- what is said about it */

static bool add_fact(bench_job *j, const char *name, const char *value)
{
    return bench_add_fact(&j->result, name, value) != NULL || tool_fail(&j->err, "out of memory");
}

/* The line "key: value" of a text of lines; "" when there is none. */
static void find_value(const char *text, const char *key, char *value, size_t capacity)
{
    const size_t length = strlen(key);
    value[0] = '\0';
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, length) == 0 && line[length] == ':') {
            const char *at = line + length + 1 + strspn(line + length + 1, " ");
            snprintf(value, capacity, "%.*s", (int)strcspn(at, "\n"), at);
            return;
        }
    }
}

static void describe_backend(const char *name, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s", name);
    for (int32_t i = 0; i < rcnn_backend_count(); i++) {
        if (strcmp(rcnn_backend_name(i), name) == 0) {
            (void)rcnn_backend_probe(i, text, capacity);
        }
    }
    for (char *p = text; *p; p++) {
        *p = (char)(*p == '\n' ? ';' : *p);
    }
}

/* Results travel: where a file lay on this machine is nobody's business. */
static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static bool add_facts(bench_job *j)
{
    char text[BENCH_TEXT_MAX], threads[32] = "one for each core", date[64];
    const time_t now = time(NULL);
    struct tm parts;
    host_machine(text, sizeof text);
    bool done = add_fact(j, "machine", text) && add_fact(j, "device", j->plan.device_name);
    describe_backend(j->plan.device.backend, text, sizeof text);
    done = done && add_fact(j, "backend", text);
    find_value(rcnn_build_info(), "commit", text, sizeof text);
    done = done && add_fact(j, "rcnn", rcnn_version()) && add_fact(j, "commit", text);
    find_value(rcnn_build_info(), "compiler", text, sizeof text);
    done = done && add_fact(j, "compiler", text);
    if (j->plan.threads > 0) {
        snprintf(threads, sizeof threads, "%d", (int)j->plan.threads);
    }
    const bool dated = gmtime_r(&now, &parts) && strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &parts) > 0;
    return done && add_fact(j, "threads", threads) && add_fact(j, "date", dated ? date : "") &&
           add_fact(j, "model",
                    j->result.random_weights ? "Mask R-CNN R50-FPN, RANDOM WEIGHTS" : file_name(j->model_path)) &&
           add_fact(j, "image", j->image ? file_name(j->opts->value[OPT_BENCH_IMAGE].text) : "rendered, 110 nuclei") &&
           add_fact(j, "tuned", j->plan.tune ? "yes" : "no");
}

/* ------------------------------------------------------------- inputs */

static bool open_model(bench_job *j)
{
    const option_value *named = &j->opts->value[OPT_MODEL];
    if (j->opts->value[OPT_RANDOM_WEIGHTS].set) {
        j->result.random_weights = true;
        return (!named->set || refuse(j, "--random-weights: want it without --model")) &&
               random_model_make(&j->model, &j->err);
    }
    if (named->set) {
        snprintf(j->model_path, sizeof j->model_path, "%s", named->text);
    } else if (!model_find_default(j->model_path, &j->err)) {
        return false;
    }
    return model_load_with_options(j->opts, j->model_path, &j->model, &j->err);
}

/* Reads the image several times, for the column `decode`. */
static bool open_image(bench_job *j)
{
    const option_value *named = &j->opts->value[OPT_BENCH_IMAGE];
    rcnn_image_options how;
    rcnn_image_options_init(&how);
    how.ignore_exif = model_ignores_exif(j->model);
    for (int i = 0; named->set && i < DECODES; i++) {
        const double start = clock_ms();
        rcnn_image_destroy(j->image);
        if (rcnn_image_load(named->text, &how, &j->image, &j->err) != RCNN_OK) {
            return false;
        }
        if (!bench_times_add(&j->plan.decode, clock_ms() - start)) {
            return tool_fail(&j->err, "out of memory");
        }
    }
    j->plan.image = j->image;
    return true;
}

/* Opens the device once, so that a machine without it is one line and not a table of refusals. */
static bool open_device(bench_job *j)
{
    const option_value *named = &j->opts->value[OPT_DEVICE];
    rcnn_session_options wanted;
    rcnn_session *session;
    const char *text = named->set ? named->text : "auto";
    if (!device_parse(text, strlen(text), &j->plan.device) || j->plan.device.count != 1) {
        return refuse(j, "--device: want one device, as in cuda:0");
    }
    rcnn_session_options_init(&wanted);
    wanted.backend = j->plan.device.backend;
    wanted.device = j->plan.device.index[0];
    if (rcnn_session_create(j->model, &wanted, &session, &j->err) != RCNN_OK) {
        return false;
    }
    const char *name = rcnn_session_backend_name(session);
    j->plan.gpu = strcmp(name, "cuda") == 0;
    snprintf(j->plan.device.backend, sizeof j->plan.device.backend, "%s", name);
    snprintf(j->plan.device_name, sizeof j->plan.device_name, j->plan.gpu ? "%s:%d" : "%s", name, (int)wanted.device);
    rcnn_session_destroy(session);
    return true;
}

/* Before and after the samples, the better of both counts: what else the machine did must not make the peak small. */
static bool measure_peak(bench_job *j)
{
    static const rcnn_precision FASTEST[] = {RCNN_PRECISION_FP16, RCNN_PRECISION_BF16, RCNN_PRECISION_FP32};
    const option_value *wanted = &j->opts->value[OPT_PEAK];
    bench_result *r = &j->result;
    for (size_t i = 0; i < sizeof FASTEST / sizeof FASTEST[0] && (!wanted->set || wanted->integer == 1); i++) {
        double tflops, gb_s;
        const rcnn_status status = rcnn_device_peak(j->plan.device.backend, j->plan.device.index[0], j->plan.threads,
                                                    FASTEST[i], &tflops, &gb_s, &j->err);
        if (status == RCNN_OK) {
            r->peak_tflops = tflops > r->peak_tflops ? tflops : r->peak_tflops;
            r->peak_gb_s = gb_s > r->peak_gb_s ? gb_s : r->peak_gb_s;
            snprintf(r->peak_precision, sizeof r->peak_precision, "%s", precision_name((int32_t)FASTEST[i]));
            return true;
        }
        if (status != RCNN_ERR_UNSUPPORTED) {
            return false;
        }
    }
    j->err = (rcnn_error){0}; /* no test on this device: no shares */
    return true;
}

/* ------------------------------------------------------------- outputs */

static bool write_json(void *context, bench_result *r, rcnn_error *err)
{
    const bench_job *j = context;
    const bool steady = j->json && strcmp(j->json, "-") != 0; /* standard output gets it once, at the end */
    return !steady || bench_write_json(r, j->json, err);
}

static bool read_peers(bench_job *j)
{
    for (; j->peer_count < j->opts->file_count; j->peer_count++) {
        if (bench_read(j->opts->files[j->peer_count], &j->peers[j->peer_count], &j->err) != RCNN_OK) {
            return false;
        }
    }
    return true;
}

/* Moves the rows of a peer's file behind ours. */
static bool add_peer(bench_job *j, bench_result *peer)
{
    j->result.random_weights = j->result.random_weights || peer->random_weights;
    for (int32_t i = 0; i < peer->row_count; i++) {
        bench_row *row = bench_add_row(&j->result);
        if (!row) {
            return tool_fail(&j->err, "out of memory");
        }
        *row = peer->rows[i];
        memset(&peer->rows[i], 0, sizeof peer->rows[i]); /* its samples have moved */
    }
    for (int32_t i = 0; i < peer->fact_count; i++) {
        char name[80];
        snprintf(name, sizeof name, "peer %s", peer->facts[i].name);
        if (!add_fact(j, name, peer->facts[i].value)) {
            return false;
        }
    }
    return true;
}

static bool add_peers(bench_job *j)
{
    for (int i = 0; i < j->peer_count; i++) {
        if (!add_peer(j, &j->peers[i])) {
            return false;
        }
    }
    return true;
}

/* Whether files can be written is asked before minutes of measuring. */
static bool check_outputs(bench_job *j)
{
    static const option_id FILES[] = {OPT_BENCH_JSON, OPT_CSV, OPT_MARKDOWN, OPT_TRACE};
    const option_value *directory = &j->opts->value[OPT_BENCH_REPORT];
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        const option_value *named = &j->opts->value[FILES[i]];
        outfile file;
        if (named->set) {
            if (!outfile_open(&file, named->text, &j->err)) {
                return false;
            }
            outfile_discard(&file);
        }
    }
    return !directory->set || directory_make("--report", directory->text, &j->err);
}

static bool is_standard(const option_value *file)
{
    return file->set && strcmp(file->text, "-") == 0;
}

static bool write_outputs(bench_job *j)
{
    const option_value *value = j->opts->value;
    const option_value *csv = &value[OPT_CSV], *markdown = &value[OPT_MARKDOWN];
    if (!value[OPT_QUIET].set && !is_standard(csv) && !is_standard(markdown) && !is_standard(&value[OPT_BENCH_JSON])) {
        bench_print(&j->result, stdout);
    }
    return (!j->json || bench_write_json(&j->result, j->json, &j->err)) &&
           (!csv->set || bench_write_csv(&j->result, csv->text, &j->err)) &&
           (!markdown->set || bench_write_markdown(&j->result, markdown->text, &j->err)) &&
           (!value[OPT_BENCH_REPORT].set || bench_write_report(&j->result, j->pair.shown, j->pair.count,
                                                               value[OPT_BENCH_REPORT].text, &j->err) == RCNN_OK);
}

/* ------------------------------------------------------------- the command */

/* A model of `auto` sizes needs the device to be known; what is spelled wrong should be said before anything is loaded. */
static bool check_words(bench_job *j)
{
    const option_value *value = j->opts->value;
    const bench_mode *modes[BENCH_MODES_MAX];
    bench_size sizes[BENCH_SIZES_MAX];
    int32_t count;
    return bench_modes_read(value[OPT_MODES].set ? value[OPT_MODES].text : NULL, true, modes, &count, &j->err) &&
           bench_sizes_read(value[OPT_SIZES].set ? value[OPT_SIZES].text : NULL, true, sizes, &count, &j->err);
}

static bool make_plan(bench_job *j)
{
    const option_value *value = j->opts->value;
    bench_plan *plan = &j->plan;
    plan->model = j->model;
    plan->samples = value[OPT_SAMPLES].integer;
    plan->warmup = value[OPT_WARMUP].set ? value[OPT_WARMUP].integer : -1;
    plan->threads = value[OPT_THREADS].integer;
    plan->tune = value[OPT_TUNE].set;
    plan->trace = value[OPT_TRACE].set ? value[OPT_TRACE].text : NULL;
    plan->keep_shown = value[OPT_BENCH_REPORT].set;
    plan->progress = !value[OPT_QUIET].set;
    plan->changed = write_json;
    plan->context = j;
    j->json = value[OPT_BENCH_JSON].set ? value[OPT_BENCH_JSON].text : NULL;
    return bench_modes_read(value[OPT_MODES].set ? value[OPT_MODES].text : NULL, plan->gpu, plan->modes,
                            &plan->mode_count, &j->err) &&
           bench_sizes_read(value[OPT_SIZES].set ? value[OPT_SIZES].text : NULL, plan->gpu, plan->sizes,
                            &plan->size_count, &j->err);
}

/* What was asked for and is not there: any number at all, and the trace. */
static bool check_measured(bench_job *j)
{
    const char *traced = j->plan.trace ? bench_trace_mode(&j->plan)->name : "";
    const bench_row *first = &j->result.rows[0];
    bool any = false;
    for (int32_t i = 0; i < j->plan.mode_count * j->plan.size_count; i++) { /* ours come first */
        const bench_row *row = &j->result.rows[i];
        any = any || !row->skipped[0];
        if (i < j->plan.mode_count && row->skipped[0] && strcmp(row->mode, traced) == 0) {
            return tool_fail(&j->err, "no trace: mode %s was not measured: %s", row->mode, row->skipped);
        }
    }
    return any || tool_fail(&j->err, "nothing was measured: %s: %s", first->mode, first->skipped);
}

static bool measure(bench_job *j)
{
    if (!check_words(j) || !read_peers(j) || !check_outputs(j) || !open_model(j) || !open_device(j) || !open_image(j) ||
        !make_plan(j) || !add_facts(j) || !measure_peak(j) || !bench_run(&j->plan, &j->result, &j->pair, &j->err) ||
        (!stop_signal() && !measure_peak(j)) || !add_peers(j)) {
        return false;
    }
    j->result.complete = stop_signal() == 0;
    return write_outputs(j) && (stop_signal() || check_measured(j));
}

/* An earlier result shown again, with peers that were measured since. */
static bool show(bench_job *j)
{
    static const option_id MEASURING[] = {OPT_MODEL,   OPT_DEVICE, OPT_SIZES,          OPT_MODES, OPT_BENCH_IMAGE,
                                          OPT_SAMPLES, OPT_WARMUP, OPT_RANDOM_WEIGHTS, OPT_PEAK,  OPT_TRACE};
    for (size_t i = 0; i < sizeof MEASURING / sizeof MEASURING[0]; i++) {
        if (j->opts->value[MEASURING[i]].set) {
            return refuse(j, "--from: nothing is measured, want it without options of a measurement");
        }
    }
    j->json = j->opts->value[OPT_BENCH_JSON].set ? j->opts->value[OPT_BENCH_JSON].text : NULL;
    return read_peers(j) && check_outputs(j) &&
           bench_read(j->opts->value[OPT_FROM].text, &j->result, &j->err) == RCNN_OK && add_peers(j) &&
           write_outputs(j);
}

static int compare(bench_job *j)
{
    if (j->opts->operand_count != 2) {
        message_error("bench --compare: want two result files, got %d", j->opts->operand_count);
        return TOOL_USAGE;
    }
    const rcnn_status status = bench_compare_files(j->opts->operands[0], j->opts->operands[1], stdout, &j->err);
    if (status != RCNN_OK) {
        message_error("%s", j->err.message);
    }
    return status == RCNN_OK ? TOOL_DONE : TOOL_FAILED;
}

static int run(bench_job *j)
{
    if (j->opts->value[OPT_COMPARE].set) {
        return compare(j);
    }
    if (j->opts->operand_count > 0) {
        message_error("bench: want result files only with --compare, got '%.80s'", j->opts->operands[0]);
        return TOOL_USAGE;
    }
    if (!(j->opts->value[OPT_FROM].set ? show(j) : measure(j))) {
        message_error("%s", j->err.message);
        return tool_status(&j->err);
    }
    return stop_signal() ? 128 + stop_signal() : TOOL_DONE;
}

int cmd_bench(const options *opts)
{
    bench_job *j = calloc(1, sizeof *j);
    if (!j) {
        message_error("out of memory");
        return TOOL_FAILED;
    }
    j->opts = opts;
    log_start(opts, NULL);
    stop_catch();
    j->peers = calloc((size_t)opts->file_count + 1, sizeof *j->peers);
    const int status = j->peers ? run(j) : TOOL_FAILED;
    rcnn_log_set(NULL, NULL, RCNN_LOG_ERROR);
    bench_pair_free(&j->pair);
    for (int i = 0; i < j->peer_count; i++) {
        bench_free(&j->peers[i]);
    }
    free(j->peers);
    bench_free(&j->result);
    free(j->plan.decode.samples);
    rcnn_image_destroy(j->image);
    rcnn_model_destroy(j->model);
    free(j);
    return status;
}
