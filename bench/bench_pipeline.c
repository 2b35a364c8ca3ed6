/* The whole pipeline against its own bare convolutions and inner products, in one process, alternating.
 *
 *   bench_pipeline [-m MODEL] [--image FILE] [--threads N] [--samples N] [--masks raw|rle] [--size LONGxSHORT]
 *
 * A: rcnn_session_run, pixels in, results out. B: one bare oneDNN primitive per CONV, FC and DECONV of the same graph with the
 * same live rows (bare.h), one after another. The difference is everything that is not a oneDNN primitive: preprocessing,
 * top-k, NMS, RoIAlign, softmax, masks, and the library itself. Prints one JSON object: medians, p10, p90, stages, counts,
 * and the peak resident memory of A, read before B takes memory of its own.
 * Uses the library's insides on purpose (B is not a thing a user can ask for). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bare.h"
#include "base/memory.h"
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

/* Summed time of one pass over the bare primitives. */
static rcnn_status run_primitives(bare_net *net, double *each, double *ms, rcnn_error *err)
{
    RCNN_TRY(bare_run(net, each, err));
    *ms = 0;
    for (int32_t i = 0; i < bare_count(net); i++) {
        *ms += each[i];
    }
    return RCNN_OK;
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

typedef struct findings {
    series whole, primitives, stages[RCNN_STAGE_COUNT];
    int32_t proposals, detections;
    double gmac, peak_mb;
    char library[64];
} findings;

/* Alternates whole runs and bare passes, after one warm-up round of each. */
static rcnn_status alternate(const options *o, rcnn_session *session, const rcnn_image_view *view, bare_net *net,
                             double *each, rcnn_results **results, findings *f, rcnn_error *err)
{
    for (int i = -1; i < o->samples; i++) {
        double bare;
        RCNN_TRY(rcnn_session_run(session, view, 1, results, err));
        RCNN_TRY(run_primitives(net, each, &bare, err));
        if (i < 0) {
            continue;
        }
        f->whole.ms[f->whole.count++] = rcnn_results_stage_ms(*results, -1);
        f->primitives.ms[f->primitives.count++] = bare;
        for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
            f->stages[s].ms[f->stages[s].count++] = rcnn_results_stage_ms(*results, s);
        }
    }
    return RCNN_OK;
}

static rcnn_status measure(const options *o, rcnn_session *session, const rcnn_image_view *view, findings *f,
                           rcnn_error *err)
{
    rcnn_results *results = NULL;
    bare_net *net = NULL;
    double *each = NULL;
    rcnn_status status = RCNN_OK;
    for (int i = 0; i < 2 && status == RCNN_OK; i++) { /* plans, warms up, and shows the peak of a second run too */
        status = rcnn_session_run(session, view, 1, &results, err);
    }
    if (status == RCNN_OK) {
        f->peak_mb = (double)peak_resident_kb() / 1024.0;
        f->gmac = (double)live_macs(session, &f->proposals, &f->detections) / 1e9;
        const bare_options bare = {
            .threads = o->threads, .box_rows = f->proposals, .mask_rows = f->detections, .layout = BARE_NHWC};
        status = bare_open(&session->current->graph, &bare, &net, err);
    }
    if (status == RCNN_OK) {
        bare_library(f->library, sizeof f->library);
        each = rcnn_calloc((size_t)bare_count(net), sizeof *each);
        status = each ? alternate(o, session, view, net, each, &results, f, err) : RCNN_ERR_MEMORY;
    }
    rcnn_free(each);
    bare_close(net);
    rcnn_results_destroy(results);
    return status;
}

static void print(const rcnn_session *session, const rcnn_image_view *view, const findings *f)
{
    double whole = quantile(&f->whole, 0.5);
    double bare = quantile(&f->primitives, 0.5);
    printf("{\n  \"schema\": 1, \"bench\": \"pipeline\", \"backend\": \"%s\", \"library\": \"%s\", \"threads\": %d,\n",
           rcnn_session_backend_name(session), f->library, session->num_threads);
    printf("  \"precision\": \"fp32\", \"image\": [%d, %d], \"network_input\": [%d, %d],\n", view->width, view->height,
           session->current->width, session->current->height);
    printf("  \"proposals\": %d, \"detections\": %d,\n", f->proposals, f->detections);
    print_series("whole_pipeline", &f->whole);
    print_series("bare_primitives", &f->primitives);
    printf("  \"ratio\": %.4f, \"gmac\": %.1f, \"primitive_gflops\": %.1f,\n  \"stages_ms\": {", whole / bare, f->gmac,
           2e3 * f->gmac / bare);
    for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
        printf("%s\"%s\": %.2f", s ? ", " : "", rcnn_stage_name(s), quantile(&f->stages[s], 0.5));
    }
    printf("},\n  \"peak_resident_mb\": %.1f\n}\n", f->peak_mb);
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
        static findings found;
        failed = measure(&o, session, &view, &found, &err) != RCNN_OK;
        if (!failed) {
            print(session, &view, &found);
        }
    }
    if (failed) {
        fprintf(stderr, "bench_pipeline: %s\n", err.message);
    }
    rcnn_image_destroy(image);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return failed;
}
