/* Times the bare oneDNN primitives of Mask R-CNN R50-FPN and prints one JSON object: per op and for the whole pass.
 *
 *     bench_primitives [--width 1344] [--height 800] [--threads N] [--passes 9] [--proposals 1000] [--detections 100]
 *                      [--layout nhwc|any]
 *
 * A pass runs every primitive once, in the network's order; the first pass warms up and is not counted. The default size
 * is 1333x800 padded to the stride. bare.h says what is and is not in these times. To set a whole pipeline beside them,
 * give bare_open the graph of a session's plan and the counts of its run, and alternate bare_run with the session's run:
 * same process, same threads, same moment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bare.h"
#include "base/memory.h"
#include "base/text.h"
#include "network.h"
#include "base/threads.h"
#include "stages/stages.h"

#define SCHEMA_VERSION 1

typedef struct settings {
    int32_t width, height, passes;
    bare_options bare;
} settings;

/* Times of one op, or of the whole, over all passes. */
typedef struct summary {
    double median, p10, p90;
} summary;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of count values that lie `step` apart. sorted holds count. */
static summary summarise(const double *values, int32_t count, int32_t step, double *sorted)
{
    for (int32_t i = 0; i < count; i++) {
        sorted[i] = values[(size_t)i * (size_t)step];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    const int32_t last = count - 1;
    return (summary){.median = (sorted[last / 2] + sorted[(last + 1) / 2]) / 2,
                     .p10 = sorted[(last + 5) / 10],
                     .p90 = sorted[last - (last + 5) / 10]};
}

static void add_times(rcnn_text *out, summary s, double gflop)
{
    rcnn_text_printf(out,
                     "\"gflop\": %.4f, \"median_ms\": %.4f, \"p10_ms\": %.4f, \"p90_ms\": %.4f, \"gflop_per_s\": %.1f}",
                     gflop, s.median, s.p10, s.p90, gflop / s.median * 1e3);
}

static void add_op(rcnn_text *out, const bare_net *net, int32_t index, summary s)
{
    rcnn_text_add(out, index ? ",\n    {\"name\": " : "\n    {\"name\": ");
    rcnn_text_json_string(out, bare_name(net, index));
    rcnn_text_add(out, ", \"implementation\": ");
    rcnn_text_json_string(out, bare_implementation(net, index));
    rcnn_text_add(out, ", ");
    add_times(out, s, bare_gflop(net, index));
}

static void add_head(rcnn_text *out, const settings *s)
{
    char library[64];
    bare_library(library, sizeof library);
    rcnn_text_printf(out, "{\"schema\": %d, \"network\": \"mask_rcnn_r50_fpn\", \"library\": ", SCHEMA_VERSION);
    rcnn_text_json_string(out, library);
    rcnn_text_printf(out,
                     ",\n  \"width\": %d, \"height\": %d, \"threads\": %d, \"proposals\": %d, \"detections\": %d, "
                     "\"layout\": \"%s\", \"warm_up_passes\": 1, \"passes\": %d,\n  \"ops\": [",
                     s->width, s->height, s->bare.threads, s->bare.box_rows, s->bare.mask_rows,
                     s->bare.layout == BARE_ANY ? "any" : "nhwc", s->passes);
}

/* ms [passes][ops]. */
static void report(rcnn_text *out, const settings *s, const bare_net *net, const double *ms, double *pass,
                   double *sorted)
{
    const int32_t count = bare_count(net);
    double gflop = 0;
    add_head(out, s);
    for (int32_t i = 0; i < count; i++) {
        add_op(out, net, i, summarise(ms + i, s->passes, count, sorted));
        gflop += bare_gflop(net, i);
    }
    for (int32_t p = 0; p < s->passes; p++) {
        pass[p] = 0;
        for (int32_t i = 0; i < count; i++) {
            pass[p] += ms[(size_t)p * (size_t)count + (size_t)i];
        }
    }
    rcnn_text_add(out, "\n  ],\n  \"total\": {");
    add_times(out, summarise(pass, s->passes, 1, sorted), gflop);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    rcnn_text_printf(out, ",\n  \"peak_rss_bytes\": %lld}\n", (long long)usage.ru_maxrss * 1024);
}

static rcnn_status measure(const settings *s, bare_net *net, double *ms, rcnn_error *err)
{
    const size_t count = (size_t)bare_count(net);
    RCNN_TRY(bare_run(net, ms, err)); /* warm-up, overwritten */
    for (int32_t p = 0; p < s->passes; p++) {
        RCNN_TRY(bare_run(net, ms + (size_t)p * count, err));
    }
    return RCNN_OK;
}

static rcnn_status measure_and_report(const settings *s, bare_net *net, rcnn_text *out, rcnn_error *err)
{
    const size_t passes = (size_t)s->passes;
    double *ms = rcnn_calloc(passes * (size_t)bare_count(net) + 2 * passes, sizeof *ms);
    if (!ms) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory");
    }
    rcnn_status status = measure(s, net, ms, err);
    if (status == RCNN_OK) {
        double *pass = ms + passes * (size_t)bare_count(net);
        report(out, s, net, ms, pass, pass + passes);
    }
    rcnn_free(ms);
    return status;
}

static rcnn_status build_graph(const settings *s, const rcnn_model *model, rcnn_graph *graph, rcnn_error *err)
{
    const rcnn_build_options options = {.batch = 1,
                                        .width = s->width,
                                        .height = s->height,
                                        .score_threshold = 0.05f,
                                        .max_detections = s->bare.mask_rows,
                                        .masks = 1};
    return rcnn_stages_build(model, &options, graph, err);
}

static rcnn_status run(const settings *s, rcnn_text *out, rcnn_error *err)
{
    rcnn_model model;
    rcnn_graph graph;
    bare_net *net = NULL;
    rcnn_graph_init(&graph);
    rcnn_status status = network_r50_fpn(&model, err);
    if (status == RCNN_OK) {
        model.config.rpn_post_nms = s->bare.box_rows;
        status = build_graph(s, &model, &graph, err);
    }
    if (status == RCNN_OK) {
        status = bare_open(&graph, &s->bare, &net, err);
    }
    if (status == RCNN_OK) {
        status = measure_and_report(s, net, out, err);
    }
    bare_close(net);
    rcnn_graph_free(&graph);
    network_free(&model);
    return status;
}

/* ------------------------------------------------------------- command line */

static bool read_number(const char *text, int32_t low, int32_t high, int32_t *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < low || value > high) {
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool read_option(settings *s, const char *name, const char *value)
{
    const struct {
        const char *name;
        int32_t low, high;
        int32_t *out;
    } numbers[] = {
        {"--width", 32, 16384, &s->width},
        {"--height", 32, 16384, &s->height},
        {"--threads", 1, 1024, &s->bare.threads},
        {"--passes", 1, 10000, &s->passes},
        {"--proposals", 1, 100000, &s->bare.box_rows},
        {"--detections", 1, 10000, &s->bare.mask_rows},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            return read_number(value, numbers[i].low, numbers[i].high, numbers[i].out);
        }
    }
    if (strcmp(name, "--layout") == 0 && (strcmp(value, "nhwc") == 0 || strcmp(value, "any") == 0)) {
        s->bare.layout = strcmp(value, "any") == 0 ? BARE_ANY : BARE_NHWC;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    settings s = {.width = 1344,
                  .height = 800,
                  .passes = 9,
                  .bare = {.threads = rcnn_threads_available(), .box_rows = 1000, .mask_rows = 100}};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !read_option(&s, argv[i], argv[i + 1])) {
            fprintf(stderr, "bench_primitives: bad option or value: %s %s\n", argv[i], i + 1 < argc ? argv[i + 1] : "");
            return 2;
        }
    }
    s.width = (s.width + 31) / 32 * 32;
    s.height = (s.height + 31) / 32 * 32;
    rcnn_error err;
    rcnn_text text = {0};
    rcnn_status status = run(&s, &text, &err);
    if (status == RCNN_OK && text.failed) {
        status = rcnn_fail(&err, RCNN_ERR_MEMORY, "out of memory for the report");
    }
    if (status != RCNN_OK) {
        fprintf(stderr, "bench_primitives: %s\n", err.message);
    } else {
        fputs(text.data, stdout);
    }
    rcnn_text_free(&text);
    return status == RCNN_OK ? 0 : 1;
}
