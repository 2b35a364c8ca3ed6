/* The whole pipeline against its own bare convolutions and inner products, in one process, alternating.
 *
 *   bench_pipeline [-m MODEL] [--image FILE] [--threads N] [--samples N] [--masks raw|rle] [--size LONGxSHORT]
 *
 * A: rcnn_session_run, pixels in, results out. B: only the CONV, FC and DECONV kernels of the same plan, one after another on
 * the same memory. The difference is everything that is not a oneDNN primitive: preprocessing, top-k, NMS, RoIAlign,
 * softmax, masks, and the library itself. Prints one JSON object: medians, p10, p90, stages, counts, peak resident memory.
 * Uses the library's insides on purpose (B is not a thing a user can ask for). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "session/session.h"

#define SAMPLES_MAX 200

typedef struct options {
    const char *model, *image;
    int32_t threads, samples, long_side, short_side;
    rcnn_mask_format masks;
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

static int is_primitive(const rcnn_session *session, const rcnn_plan_step *step)
{
    for (int32_t i = 0; i < step->count; i++) {
        rcnn_op_kind kind = session->current->graph.ops[step->first + i].kind;
        if (kind != RCNN_OP_CONV && kind != RCNN_OP_FC && kind != RCNN_OP_DECONV) {
            return 0;
        }
    }
    return 1;
}

/* One pass over the bare primitives of the last run's plan; the counts of that run still stand in the arena. */
static rcnn_status run_primitives(rcnn_session *session, double *ms, rcnn_error *err)
{
    const rcnn_plan *plan = session->current;
    const rcnn_args args = {.value = plan->value, .scratch = session->scratch, .frame = &session->frame};
    rcnn_status status = RCNN_OK;
    if (session->vt->begin_run) {
        session->vt->begin_run(session->backend);
    }
    double start = rcnn_clock_ms();
    for (int32_t i = 0; i < plan->step_count && status == RCNN_OK; i++) {
        if (is_primitive(session, &plan->steps[i])) {
            status = session->vt->enqueue(plan->steps[i].kernel, &args, err);
        }
    }
    *ms = rcnn_clock_ms() - start;
    if (session->vt->end_run) {
        session->vt->end_run(session->backend);
    }
    return status;
}

static int64_t live_macs(const rcnn_session *session, int32_t *proposals, int32_t *detections)
{
    const rcnn_graph *graph = &session->current->graph;
    int64_t macs = 0;
    *proposals = *(const int32_t *)session->current->value[rcnn_graph_find(graph, "proposal_counts")];
    *detections = *(const int32_t *)session->current->value[rcnn_graph_find(graph, "det_counts")];
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

static rcnn_status measure(const options *o, rcnn_session *session, const rcnn_image_view *view, rcnn_error *err)
{
    static series whole, primitives, stages[RCNN_STAGE_COUNT];
    rcnn_results *results = NULL;
    for (int i = -2; i < o->samples; i++) { /* two warm-up rounds */
        double bare;
        RCNN_TRY(rcnn_session_run(session, view, 1, &results, err));
        double total = rcnn_results_stage_ms(results, -1);
        RCNN_TRY(run_primitives(session, &bare, err));
        if (i < 0) {
            continue;
        }
        whole.ms[whole.count++] = total;
        primitives.ms[primitives.count++] = bare;
        for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
            stages[s].ms[stages[s].count++] = rcnn_results_stage_ms(results, s);
        }
    }
    int32_t proposals, detections;
    RCNN_TRY(rcnn_session_run(session, view, 1, &results, err));
    double gmac = (double)live_macs(session, &proposals, &detections) / 1e9;
    printf(
        "{\n  \"schema\": 1, \"bench\": \"pipeline\", \"backend\": \"%s\", \"threads\": %d, \"precision\": \"fp32\",\n",
        rcnn_session_backend_name(session), session->num_threads);
    printf("  \"image\": [%d, %d], \"network_input\": [%d, %d], \"proposals\": %d, \"detections\": %d,\n", view->width,
           view->height, session->current->width, session->current->height, proposals, detections);
    print_series("whole_pipeline", &whole);
    print_series("bare_primitives", &primitives);
    printf("  \"ratio\": %.4f, \"gmac\": %.1f, \"primitive_gflops\": %.1f,\n",
           quantile(&whole, 0.5) / quantile(&primitives, 0.5), gmac, 2e3 * gmac / quantile(&primitives, 0.5));
    printf("  \"stages_ms\": {");
    for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
        printf("%s\"%s\": %.2f", s ? ", " : "", rcnn_stage_name(s), quantile(&stages[s], 0.5));
    }
    printf("},\n  \"peak_resident_mb\": %.1f\n}\n", (double)peak_resident_kb() / 1024.0);
    rcnn_results_destroy(results);
    return RCNN_OK;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "-m") == 0) {
            o->model = value;
        } else if (strcmp(argv[i], "--image") == 0) {
            o->image = value;
        } else if (strcmp(argv[i], "--threads") == 0) {
            o->threads = atoi(value);
        } else if (strcmp(argv[i], "--samples") == 0) {
            o->samples = atoi(value);
        } else if (strcmp(argv[i], "--masks") == 0) {
            o->masks = strcmp(value, "rle") == 0 ? RCNN_MASK_RLE : RCNN_MASK_RAW;
        } else if (strcmp(argv[i], "--size") != 0 || sscanf(value, "%dx%d", &o->long_side, &o->short_side) != 2) {
            return 0;
        }
    }
    return argc % 2 == 1 && o->samples >= 1 && o->samples <= SAMPLES_MAX;
}

int main(int argc, char **argv)
{
    options o = {.model = "models/mask_rcnn_r50_fpn_nuclei.safetensors",
                 .image = "samples/crowded.png",
                 .threads = 2,
                 .samples = 7,
                 .masks = RCNN_MASK_RAW};
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_image *image = NULL;
    rcnn_image_view view;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "bench_pipeline: see the head of bench_pipeline.c for its options\n");
        return 2;
    }
    rcnn_session_options settings;
    rcnn_session_options_init(&settings);
    settings.num_threads = o.threads;
    settings.mask_format = o.masks;
    settings.long_side = o.long_side;
    settings.short_side = o.short_side;
    settings.max_detections = 100;
    int failed = rcnn_model_load(o.model, NULL, &model, &err) ||
                 rcnn_session_create(model, &settings, &session, &err) || rcnn_image_load(o.image, NULL, &image, &err);
    if (!failed) {
        rcnn_image_get_view(image, &view);
        failed = measure(&o, session, &view, &err) != RCNN_OK;
    }
    if (failed) {
        fprintf(stderr, "bench_pipeline: %s\n", err.message);
    }
    rcnn_image_destroy(image);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return failed;
}
