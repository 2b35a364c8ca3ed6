/* The whole pipeline against its own bare convolutions and inner products, in one process, alternating.
 *
 *   bench_pipeline [-m MODEL] [--image FILE] [--precision auto|fp32|bf16|int8] [--batch N] [--threads N] [--samples N]
 *                  [--masks raw|rle] [--size LONGxSHORT] [--bare 0|1] [--each 0|1]
 *
 * A: rcnn_session_run on N copies of the picture, pixels in, results out. B (unless --bare 0): one bare oneDNN primitive
 * per CONV, FC and DECONV of the same graph with the same types and live rows (bare.h), one after another. C: the
 * session's kernels once more, each between two readings of the clock. The difference of A and B, and in C whatever
 * is not CONV, FC or DECONV, is everything around the arithmetic: preprocessing, pooling, top-k, NMS, RoIAlign, softmax,
 * masks, and the library itself. Prints one JSON object: medians, p10, p90 of a batch, stages, kinds of ops, counts,
 * and the peak resident memory of A, read before B takes memory of its own. --each 1 also lists every CONV, FC and
 * DECONV on standard error: mean time in C, mean time in B, types and oneDNN's name of the implementation in B.
 * Uses the library's insides on purpose (B and C are not things a user can ask for). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bare.h"
#include "base/clock.h"
#include "base/memory.h"
#include "session/session.h"

#define SAMPLES_MAX 200
#define TYPES_MAX   32 /* different combinations of types in one graph */

typedef struct options {
    const char *model, *image;
    int32_t threads, samples, batch, bare, each, long_side, short_side;
    rcnn_mask_format masks;
    rcnn_precision precision;
} options;

typedef struct series {
    double ms[SAMPLES_MAX];
    int count;
} series;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const series *s, double q)
{
    double sorted[SAMPLES_MAX];
    memcpy(sorted, s->ms, (size_t)s->count * sizeof *sorted);
    qsort(sorted, (size_t)s->count, sizeof *sorted, ascending);
    return sorted[(int)(q * (s->count - 1) + 0.5)];
}

static void print_series(const char *name, const series *s)
{
    printf("  \"%s\": {\"median_ms\": %.2f, \"p10_ms\": %.2f, \"p90_ms\": %.2f, \"samples\": [", name, quantile(s, 0.5),
           quantile(s, 0.1), quantile(s, 0.9));
    for (int i = 0; i < s->count; i++) {
        printf("%s%.2f", i ? ", " : "", s->ms[i]);
    }
    printf("]},\n");
}

/* Of all images of the batch. */
static int32_t live_count(const rcnn_plan *plan, const char *name)
{
    const int32_t *counts = plan->value[rcnn_graph_find(&plan->graph, name)];
    int32_t sum = 0;
    for (int32_t n = 0; n < plan->batch; n++) {
        sum += counts[n];
    }
    return sum;
}

static int64_t live_macs(const rcnn_session *session, int32_t *proposals, int32_t *detections)
{
    const rcnn_graph *graph = &session->current->graph;
    int64_t macs = 0;
    *proposals = live_count(session->current, "proposal_counts");
    *detections = live_count(session->current, "det_counts");
    for (int32_t i = 0; i < graph->op_count; i++) {
        const rcnn_op *op = &graph->ops[i];
        int64_t full = rcnn_op_macs(graph, op);
        if (op->rows != RCNN_NO_VALUE) {
            int32_t live = strcmp(graph->values[op->rows].name, "det_counts") == 0 ? *detections : *proposals;
            full = full / graph->values[op->output[0]].desc.dim[0] * live;
        }
        macs += full;
    }
    return macs;
}

static long peak_resident_kb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Kernels of one kind of types among the bare primitives. */
typedef struct type_times {
    char types[32];
    int32_t ops;
    double gflop;
    series ms;
} type_times;

typedef struct findings {
    series whole, stages[RCNN_STAGE_COUNT];
    series primitives;
    type_times types[TYPES_MAX];
    int32_t type_count;
    series kinds[RCNN_OP_KIND_COUNT], arithmetic, dense, other;
    int32_t proposals, detections;
    double gmac, peak_mb;
    double *step_ms, *bare_ms; /* sums over all samples, by step of the plan and by primitive */
    char library[64];
} findings;

static void add_sample(series *s, double ms)
{
    s->ms[s->count++] = ms;
}

/* ------------------------------------------------------------- B */

static type_times *times_of(findings *f, const char *types)
{
    int32_t i = 0;
    while (i < f->type_count && strcmp(f->types[i].types, types) != 0) {
        i++;
    }
    if (i == f->type_count && i < TYPES_MAX - 1) {
        snprintf(f->types[i].types, sizeof f->types[i].types, "%s", types);
        f->type_count++;
    }
    return &f->types[i];
}

/* One pass over the bare primitives. */
static rcnn_status run_primitives(bare_net *net, double *each, findings *f, rcnn_error *err)
{
    double sum = 0, by_type[TYPES_MAX] = {0};
    RCNN_TRY(bare_run(net, each, err));
    for (int32_t i = 0; i < bare_count(net); i++) {
        sum += each[i];
        f->bare_ms[i] += each[i];
        by_type[times_of(f, bare_types(net, i)) - f->types] += each[i];
    }
    add_sample(&f->primitives, sum);
    for (int32_t t = 0; t < f->type_count; t++) {
        add_sample(&f->types[t].ms, by_type[t]);
    }
    return RCNN_OK;
}

static rcnn_status open_primitives(const options *o, const rcnn_session *session, findings *f, bare_net **net,
                                   double **each, rcnn_error *err)
{
    const bare_options bare = {
        .threads = o->threads, .box_rows = f->proposals, .mask_rows = f->detections, .layout = BARE_NHWC};
    RCNN_TRY(bare_open(&session->current->graph, &bare, net, err));
    for (int32_t i = 0; i < bare_count(*net); i++) {
        type_times *times = times_of(f, bare_types(*net, i));
        times->ops++;
        times->gflop += bare_gflop(*net, i);
    }
    *each = rcnn_calloc((size_t)bare_count(*net), sizeof **each);
    f->bare_ms = rcnn_calloc((size_t)bare_count(*net), sizeof *f->bare_ms);
    if (!*each || !f->bare_ms) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory");
    }
    return bare_run(*net, *each, err); /* warms up */
}

/* ------------------------------------------------------------- C */

static bool is_arithmetic(rcnn_op_kind kind)
{
    return kind == RCNN_OP_CONV || kind == RCNN_OP_FC || kind == RCNN_OP_DECONV;
}

/* The kernels of the session's current plan on the frame of its last run. */
static rcnn_status run_steps(const rcnn_session *session, const rcnn_frame *frame, double postprocess_ms, findings *f,
                             rcnn_error *err)
{
    const rcnn_plan *plan = session->current;
    const rcnn_args args = {.value = plan->value, .scratch = session->scratch, .frame = frame};
    double kinds[RCNN_OP_KIND_COUNT] = {0}, arithmetic = 0, dense = 0, other = postprocess_ms;
    rcnn_status status = RCNN_OK;
    session->vt->begin_run(session->backend);
    for (int32_t i = 0; i < plan->step_count && status == RCNN_OK; i++) {
        const rcnn_plan_step *step = &plan->steps[i];
        const rcnn_op_kind kind = plan->graph.ops[step->first].kind;
        const double start = rcnn_clock_ms();
        status = session->vt->enqueue(step->kernel, &args, err);
        const double ms = rcnn_clock_ms() - start;
        kinds[kind] += ms;
        f->step_ms[i] += ms;
        *(is_arithmetic(kind) ? &arithmetic : &other) += ms;
        const bool before = step->stage == RCNN_STAGE_backbone || step->stage == RCNN_STAGE_neck;
        dense += before || (step->stage == RCNN_STAGE_rpn && is_arithmetic(kind)) ? ms : 0;
    }
    session->vt->end_run(session->backend);
    RCNN_TRY(status);
    for (int32_t kind = 0; kind < RCNN_OP_KIND_COUNT; kind++) {
        add_sample(&f->kinds[kind], kinds[kind]);
    }
    add_sample(&f->arithmetic, arithmetic);
    add_sample(&f->dense, dense);
    add_sample(&f->other, other);
    return RCNN_OK;
}

static void fill_frame(const rcnn_session *session, const rcnn_image_view *views, int32_t count, rcnn_frame *frame)
{
    int32_t width, height;
    frame->count = count;
    for (int32_t n = 0; n < count; n++) {
        frame->image[n].view = views[n];
        rcnn_session_place_image(session, &frame->image[n], &width, &height);
    }
}

/* ------------------------------------------------------------- all */

static rcnn_status alternate(const options *o, rcnn_session *session, const rcnn_image_view *views, bare_net *net,
                             double *each, rcnn_results **results, findings *f, rcnn_error *err)
{
    static rcnn_frame frame;
    fill_frame(session, views, o->batch, &frame);
    for (int i = 0; i < o->samples; i++) {
        RCNN_TRY(rcnn_session_run(session, views, o->batch, results, err));
        add_sample(&f->whole, rcnn_results_stage_ms(*results, -1));
        for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
            add_sample(&f->stages[s], rcnn_results_stage_ms(*results, s));
        }
        if (net) {
            RCNN_TRY(run_primitives(net, each, f, err));
        }
        RCNN_TRY(run_steps(session, &frame, rcnn_results_stage_ms(*results, RCNN_STAGE_postprocess), f, err));
    }
    return RCNN_OK;
}

static void list_each(const options *o, const rcnn_session *session, const bare_net *net, const findings *f)
{
    const rcnn_plan *plan = session->current;
    int32_t primitive = 0;
    for (int32_t i = 0; i < plan->step_count; i++) {
        for (int32_t op = plan->steps[i].first; op < plan->steps[i].first + plan->steps[i].count; op++) {
            if (!is_arithmetic(plan->graph.ops[op].kind) || primitive == bare_count(net)) {
                continue;
            }
            fprintf(stderr, "%-20s %8.3f ms, bare %8.3f ms  %-18s %s\n", bare_name(net, primitive),
                    f->step_ms[i] / o->samples, f->bare_ms[primitive] / o->samples, bare_types(net, primitive),
                    bare_implementation(net, primitive));
            primitive++;
        }
    }
}

static rcnn_status measure(const options *o, rcnn_session *session, const rcnn_image_view *views, findings *f,
                           rcnn_error *err)
{
    rcnn_results *results = NULL;
    bare_net *net = NULL;
    double *each = NULL;
    rcnn_status status = RCNN_OK;
    for (int i = 0; i < 2 && status == RCNN_OK; i++) { /* plans, warms up, and shows the peak of a second run too */
        status = rcnn_session_run(session, views, o->batch, &results, err);
    }
    if (status == RCNN_OK) {
        f->peak_mb = (double)peak_resident_kb() / 1024.0;
        f->gmac = (double)live_macs(session, &f->proposals, &f->detections) / 1e9;
        bare_library(f->library, sizeof f->library);
        f->step_ms = rcnn_calloc((size_t)session->current->step_count, sizeof *f->step_ms);
        status = f->step_ms ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory");
    }
    if (status == RCNN_OK && o->bare) {
        status = open_primitives(o, session, f, &net, &each, err);
    }
    if (status == RCNN_OK) {
        status = alternate(o, session, views, net, each, &results, f, err);
    }
    if (status == RCNN_OK && net && o->each) {
        list_each(o, session, net, f);
    }
    rcnn_free(each);
    rcnn_free(f->step_ms);
    rcnn_free(f->bare_ms);
    bare_close(net);
    rcnn_results_destroy(results);
    return status;
}

static void print_types(const findings *f)
{
    printf("  \"primitive_types\": {");
    for (int32_t t = 0; t < f->type_count; t++) {
        const double ms = quantile(&f->types[t].ms, 0.5);
        printf("%s\"%s\": {\"ops\": %d, \"ms\": %.2f, \"gflops\": %.1f}", t ? ", " : "", f->types[t].types,
               f->types[t].ops, ms, 1e3 * f->types[t].gflop / ms);
    }
    printf("},\n");
}

static void print_bare(const findings *f)
{
    const double bare = quantile(&f->primitives, 0.5);
    print_series("bare_primitives", &f->primitives);
    printf("  \"ratio\": %.4f, \"primitive_gflops\": %.1f,\n", quantile(&f->whole, 0.5) / bare, 2e3 * f->gmac / bare);
    print_types(f);
}

/* Medians of what is not arithmetic, and its share of C. */
static void print_other(const findings *f)
{
    const double other = quantile(&f->other, 0.5);
    print_series("arithmetic", &f->arithmetic);
    print_series("dense", &f->dense);
    printf("  \"other\": {\"median_ms\": %.2f, \"share\": %.4f, \"ops_ms\": {", other,
           other / (other + quantile(&f->arithmetic, 0.5)));
    for (int32_t kind = 0; kind < RCNN_OP_KIND_COUNT; kind++) {
        if (!is_arithmetic((rcnn_op_kind)kind)) {
            printf("\"%s\": %.2f, ", rcnn_op_kind_name((rcnn_op_kind)kind), quantile(&f->kinds[kind], 0.5));
        }
    }
    printf("\"postprocess\": %.2f}},\n", quantile(&f->stages[RCNN_STAGE_postprocess], 0.5));
}

static const char *const PRECISION_NAMES[] = {"auto", "fp32", "tf32", "fp16", "bf16", "int8"};

static void print(const options *o, const rcnn_session *session, const rcnn_image_view *view, const findings *f)
{
    printf("{\n  \"schema\": 2, \"bench\": \"pipeline\", \"backend\": \"%s\", \"library\": \"%s\", \"threads\": %d,\n",
           rcnn_session_backend_name(session), f->library, session->num_threads);
    printf("  \"precision\": \"%s\", \"batch\": %d, \"image\": [%d, %d], \"network_input\": [%d, %d],\n",
           PRECISION_NAMES[rcnn_session_precision(session)], o->batch, view->width, view->height,
           session->current->width, session->current->height);
    printf("  \"proposals\": %d, \"detections\": %d, \"gmac\": %.1f,\n", f->proposals, f->detections, f->gmac);
    print_series("whole_pipeline", &f->whole);
    if (o->bare) {
        print_bare(f);
    }
    print_other(f);
    printf("  \"stages_ms\": {");
    for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
        printf("%s\"%s\": %.2f", s ? ", " : "", rcnn_stage_name(s), quantile(&f->stages[s], 0.5));
    }
    printf("},\n  \"peak_resident_mb\": %.1f\n}\n", f->peak_mb);
}

static int read_precision(const char *text, rcnn_precision *out)
{
    for (size_t p = 0; p < sizeof PRECISION_NAMES / sizeof PRECISION_NAMES[0]; p++) {
        if (strcmp(text, PRECISION_NAMES[p]) == 0) {
            *out = (rcnn_precision)p;
            return 1;
        }
    }
    return 0;
}

static int parse_number(const char *name, const char *value, options *o)
{
    const struct {
        const char *name;
        int32_t low, high, *out;
    } numbers[] = {{"--threads", 1, 1024, &o->threads},
                   {"--samples", 1, SAMPLES_MAX, &o->samples},
                   {"--batch", 1, RCNN_BATCH_MAX, &o->batch},
                   {"--bare", 0, 1, &o->bare},
                   {"--each", 0, 1, &o->each}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].out = atoi(value);
            return *numbers[i].out >= numbers[i].low && *numbers[i].out <= numbers[i].high;
        }
    }
    return 0;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        int good = 1;
        if (strcmp(argv[i], "-m") == 0) {
            o->model = value;
        } else if (strcmp(argv[i], "--image") == 0) {
            o->image = value;
        } else if (strcmp(argv[i], "--masks") == 0) {
            o->masks = strcmp(value, "rle") == 0 ? RCNN_MASK_RLE : RCNN_MASK_RAW;
        } else if (strcmp(argv[i], "--precision") == 0) {
            good = read_precision(value, &o->precision);
        } else if (strcmp(argv[i], "--size") == 0) {
            good = sscanf(value, "%dx%d", &o->long_side, &o->short_side) == 2;
        } else {
            good = parse_number(argv[i], value, o);
        }
        if (!good) {
            return 0;
        }
    }
    return argc % 2 == 1;
}

static rcnn_session_options settings_of(const options *o)
{
    rcnn_session_options settings;
    rcnn_session_options_init(&settings);
    settings.backend = "cpu";
    settings.num_threads = o->threads;
    settings.mask_format = o->masks;
    settings.long_side = o->long_side;
    settings.short_side = o->short_side;
    settings.max_detections = 100;
    settings.max_batch = o->batch;
    settings.precision = o->precision;
    return settings;
}

static int bench(const options *o, const rcnn_image *image, rcnn_session *session, rcnn_error *err)
{
    static findings found;
    rcnn_image_view views[RCNN_BATCH_MAX];
    for (int32_t n = 0; n < o->batch; n++) {
        rcnn_image_get_view(image, &views[n]);
    }
    if (measure(o, session, views, &found, err) != RCNN_OK) {
        return 1;
    }
    print(o, session, &views[0], &found);
    return 0;
}

int main(int argc, char **argv)
{
    options o = {.model = "models/mask_rcnn_r50_fpn_nuclei.safetensors",
                 .image = "samples/crowded.png",
                 .threads = 2,
                 .samples = 7,
                 .batch = 1,
                 .bare = 1,
                 .masks = RCNN_MASK_RAW};
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_image *image = NULL;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "bench_pipeline: see the head of bench_pipeline.c for its options\n");
        return 2;
    }
    const rcnn_session_options settings = settings_of(&o);
    int failed = rcnn_model_load(o.model, NULL, &model, &err) ||
                 rcnn_session_create(model, &settings, &session, &err) ||
                 rcnn_image_load(o.image, NULL, &image, &err) || bench(&o, image, session, &err);
    if (failed) {
        fprintf(stderr, "bench_pipeline: %s\n", err.message);
    }
    rcnn_image_destroy(image);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return failed;
}
