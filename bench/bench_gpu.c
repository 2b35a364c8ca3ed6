/* The pipeline on a GPU through the public interface: latency, throughput, stages, and a soak.
 *
 *   bench_gpu -m MODEL --image FILE --large FILE [--device N] [--samples N] [--warmup N] [--tune] [--wait]
 *   bench_gpu -m MODEL --image FILE --ops [--samples N] [--warmup N] [--device N] [--tune]
 *   bench_gpu -m MODEL --image FILE --soak N [--sizes N] [--device N]
 *
 * --image is used as it is at 1333x800 network bounds, --large at 3840x2304. Every round runs all cases, so that a slow
 * spell of the machine meets all of them, and prints one JSON object on one line. --wait: a round for every line read
 * from standard input, so that a script can alternate this process with others (bench/compare_gpu.py). Spans: from the
 * call with host pixels to the return with results on the host.
 *
 * --ops: a JSON line for every kernel of a run in fp16 at 1333x800 with raw masks, in the order they run: median of 30 runs
 * after 10, arithmetic and memory traffic. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rcnn/rcnn.h"

#define SAMPLES_MAX 1000
#define BATCH_MAX   16
#define CASES_MAX   20

typedef enum bench_kind { LATENCY, THROUGHPUT, STAGED, STEPS } bench_kind;

typedef struct bench_case {
    const char *name;
    bench_kind kind;
    bool large;
    int32_t batch;
    rcnn_precision precision;
    rcnn_mask_format masks;
    int32_t detections; /* about as many, by the score threshold; -1 = all, at most 100 */
} bench_case;

static const bench_case CASES[] = {
    {"fp16_raw", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
    {"fp16_rle", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RLE, -1},
    {"bf16_raw", LATENCY, false, 1, RCNN_PRECISION_BF16, RCNN_MASK_RAW, -1},
    {"tf32_raw", LATENCY, false, 1, RCNN_PRECISION_TF32, RCNN_MASK_RAW, -1},
    {"fp32_raw", LATENCY, false, 1, RCNN_PRECISION_FP32, RCNN_MASK_RAW, -1},
    {"fp16_raw_0_detections", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, 0},
    {"fp16_raw_5_detections", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, 5},
    {"fp16_raw_30_detections", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, 30},
    {"fp16_boxes_only", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_NONE, -1},
    {"fp16_raw_3840x2304", LATENCY, true, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
    {"fp16_rle_3840x2304", LATENCY, true, 1, RCNN_PRECISION_FP16, RCNN_MASK_RLE, -1},
    {"fp16_raw_batch8", THROUGHPUT, false, 8, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
    {"fp16_raw_batch1_overlapped", THROUGHPUT, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
    {"stages_fp16", STAGED, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
    {"stages_fp16_batch8", STAGED, false, 8, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
    {"stages_fp16_3840x2304", STAGED, true, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1},
};

#define CASE_COUNT ((int32_t)(sizeof CASES / sizeof CASES[0]))

typedef struct options {
    const char *model, *image, *large, *filter;
    int32_t device, samples, warmup, soak, sizes;
    bool tune, wait, ops;
} options;

typedef struct prepared {
    const bench_case *c;
    rcnn_session *session;
    rcnn_results *results;
    rcnn_image_view views[BATCH_MAX];
    double first_ms;
} prepared;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(const double *ms, int32_t count)
{
    double sorted[SAMPLES_MAX];
    memcpy(sorted, ms, (size_t)count * sizeof *ms);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    printf("\"median_ms\": %.4f, \"p10_ms\": %.4f, \"p90_ms\": %.4f, \"min_ms\": %.4f, \"samples\": [",
           sorted[count / 2], sorted[count / 10], sorted[count - 1 - count / 10], sorted[0]);
    for (int32_t i = 0; i < count; i++) {
        printf("%s%.4f", i ? ", " : "", ms[i]);
    }
    printf("]");
}

/* ------------------------------------------------------------- cases */

static rcnn_status open_session(const options *o, const rcnn_model *model, const bench_case *c, float threshold,
                                rcnn_session **out, rcnn_error *err)
{
    rcnn_session_options s;
    rcnn_session_options_init(&s);
    s.backend = "cuda";
    s.device = o->device;
    s.precision = c->precision;
    s.max_batch = c->batch;
    s.mask_format = c->masks;
    s.max_detections = 100;
    s.long_side = c->large ? 3840 : 1333;
    s.short_side = c->large ? 2304 : 800;
    s.staged = c->kind == STEPS ? 2 : c->kind == STAGED;
    s.tune = o->tune;
    s.score_threshold = threshold;
    return rcnn_session_create(model, &s, out, err);
}

/* The score threshold that leaves about `wanted` of the image's detections. */
static rcnn_status find_threshold(const options *o, const rcnn_model *model, const bench_case *c,
                                  const rcnn_image_view *view, float *out, rcnn_error *err)
{
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    *out = c->detections == 0 ? 1.0f : -1.0f;
    if (c->detections < 1) {
        return RCNN_OK;
    }
    rcnn_status status = open_session(o, model, c, -1, &session, err);
    if (status == RCNN_OK) {
        status = rcnn_session_run(session, view, 1, &results, err);
    }
    if (status == RCNN_OK && rcnn_results_count(results, 0) > c->detections) {
        rcnn_detection kept, dropped;
        rcnn_results_get(results, 0, c->detections - 1, &kept);
        rcnn_results_get(results, 0, c->detections, &dropped);
        *out = 0.5f * (kept.score + dropped.score);
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    return status;
}

static rcnn_status prepare(const options *o, const rcnn_model *model, const rcnn_image_view *view, prepared *p,
                           rcnn_error *err)
{
    float threshold;
    rcnn_status status = find_threshold(o, model, p->c, view, &threshold, err);
    for (int32_t i = 0; i < p->c->batch; i++) {
        p->views[i] = *view;
    }
    if (status == RCNN_OK) {
        status = open_session(o, model, p->c, threshold, &p->session, err);
    }
    double start = now_ms();
    for (int32_t i = 0; i <= o->warmup && status == RCNN_OK; i++) {
        status = rcnn_session_run(p->session, p->views, p->c->batch, &p->results, err);
        p->first_ms = i == 0 ? now_ms() - start : p->first_ms;
    }
    return status;
}

static rcnn_status measure_latency(const options *o, prepared *p, double *ms, rcnn_error *err)
{
    for (int32_t i = 0; i < o->samples; i++) {
        double start = now_ms();
        rcnn_status status = rcnn_session_run(p->session, p->views, p->c->batch, &p->results, err);
        ms[i] = now_ms() - start;
        if (status != RCNN_OK) {
            return status;
        }
    }
    return RCNN_OK;
}

/* Time between collects with the queue kept full: what a stream of images sees. */
static rcnn_status measure_throughput(const options *o, prepared *p, double *ms, rcnn_error *err)
{
    int32_t collected = -RCNN_SESSION_IN_FLIGHT; /* the first ones fill the queue */
    double last = 0;
    rcnn_status status = RCNN_OK;
    for (int32_t i = 0; i < RCNN_SESSION_IN_FLIGHT && status == RCNN_OK; i++) {
        status = rcnn_session_submit(p->session, p->views, p->c->batch, err);
    }
    while (collected < o->samples && status == RCNN_OK) {
        status = rcnn_session_collect(p->session, &p->results, err);
        double now = now_ms();
        if (collected >= 0) {
            ms[collected] = now - last;
        }
        last = now;
        collected++;
        if (status == RCNN_OK) {
            status = rcnn_session_submit(p->session, p->views, p->c->batch, err);
        }
    }
    while (rcnn_session_pending(p->session) > 0 && status == RCNN_OK) {
        status = rcnn_session_collect(p->session, &p->results, err);
    }
    return status;
}

static rcnn_status measure_stages(const options *o, prepared *p, double *ms, rcnn_error *err)
{
    const int32_t stages = rcnn_stage_count();
    double *each = calloc((size_t)stages * SAMPLES_MAX, sizeof *each);
    rcnn_status status = each ? RCNN_OK : RCNN_ERR_MEMORY;
    for (int32_t i = 0; i < o->samples && status == RCNN_OK; i++) {
        double start = now_ms();
        status = rcnn_session_run(p->session, p->views, p->c->batch, &p->results, err);
        ms[i] = now_ms() - start;
        for (int32_t s = 0; s < stages && status == RCNN_OK; s++) {
            each[s * SAMPLES_MAX + i] = rcnn_results_stage_ms(p->results, s);
        }
    }
    if (status == RCNN_OK) {
        printf("\"stages_ms\": {");
        for (int32_t s = 0; s < stages; s++) {
            qsort(each + s * SAMPLES_MAX, (size_t)o->samples, sizeof *each, ascending);
            printf("%s\"%s\": %.4f", s ? ", " : "", rcnn_stage_name(s), each[s * SAMPLES_MAX + o->samples / 2]);
        }
        printf("}, ");
    }
    free(each);
    return status;
}

static rcnn_status run_case(const options *o, prepared *p, rcnn_error *err)
{
    static double ms[SAMPLES_MAX];
    rcnn_session_counters before, after;
    printf("\"%s\": {", p->c->name);
    rcnn_session_get_counters(p->session, &before);
    rcnn_status status = p->c->kind == LATENCY      ? measure_latency(o, p, ms, err)
                         : p->c->kind == THROUGHPUT ? measure_throughput(o, p, ms, err)
                                                    : measure_stages(o, p, ms, err);
    if (status != RCNN_OK) {
        return status;
    }
    rcnn_session_get_counters(p->session, &after);
    print_samples(ms, o->samples);
    printf(", \"batch\": %d, \"detections\": %d, \"device_mb\": %.1f, \"first_run_ms\": %.1f, \"host_syncs\": %llu, "
           "\"device_allocations\": %llu, \"host_allocations\": %llu}",
           p->c->batch, rcnn_results_count(p->results, 0), (double)after.device_bytes / 1e6, p->first_ms,
           (unsigned long long)(after.host_syncs - before.host_syncs),
           (unsigned long long)(after.device_allocations - before.device_allocations),
           (unsigned long long)(after.host_allocations - before.host_allocations));
    return RCNN_OK;
}

static rcnn_status run_rounds(const options *o, prepared *p, int32_t count, rcnn_error *err)
{
    char line[16];
    while (!o->wait || fgets(line, sizeof line, stdin)) {
        printf("{");
        for (int32_t i = 0; i < count; i++) {
            printf("%s", i ? ", " : "");
            rcnn_status status = run_case(o, &p[i], err);
            if (status != RCNN_OK) {
                return status;
            }
        }
        printf("}\n");
        fflush(stdout);
        if (!o->wait) {
            break;
        }
    }
    return RCNN_OK;
}

static rcnn_status run_cases(const options *o, const rcnn_model *model, const rcnn_image_view *small,
                             const rcnn_image_view *large, rcnn_error *err)
{
    static prepared p[CASES_MAX];
    int32_t count = 0;
    rcnn_status status = RCNN_OK;
    for (int32_t i = 0; i < CASE_COUNT && status == RCNN_OK; i++) {
        if ((CASES[i].large && !large) || (o->filter && !strstr(CASES[i].name, o->filter))) {
            continue;
        }
        p[count].c = &CASES[i];
        status = prepare(o, model, CASES[i].large ? large : small, &p[count], err);
        count++;
    }
    if (status == RCNN_OK) {
        status = run_rounds(o, p, count, err);
    }
    for (int32_t i = 0; i < count; i++) {
        rcnn_results_destroy(p[i].results);
        rcnn_session_destroy(p[i].session);
    }
    return status;
}

/* ------------------------------------------------------------- kernels */

/* us [samples][steps]; filled run by run. */
static rcnn_status sample_steps(const options *o, prepared *p, double *us, int32_t steps, rcnn_error *err)
{
    rcnn_status status = RCNN_OK;
    for (int32_t i = 0; i < o->samples && status == RCNN_OK; i++) {
        status = rcnn_session_run(p->session, p->views, p->c->batch, &p->results, err);
        for (int32_t s = 0; s < steps && status == RCNN_OK; s++) {
            rcnn_step_time step;
            status = rcnn_session_step_get(p->session, s, &step);
            us[i * steps + s] = 1e3 * step.ms;
        }
    }
    return status;
}

static void print_steps(const options *o, const rcnn_session *session, const double *us, int32_t steps)
{
    for (int32_t s = 0; s < steps; s++) {
        double sorted[SAMPLES_MAX];
        rcnn_step_time step;
        for (int32_t i = 0; i < o->samples; i++) {
            sorted[i] = us[i * steps + s];
        }
        qsort(sorted, (size_t)o->samples, sizeof *sorted, ascending);
        if (rcnn_session_step_get(session, s, &step) == RCNN_OK) {
            printf(
                "{\"step\": \"%s\", \"stage\": \"%s\", \"ops\": %d, \"us\": %.2f, \"gflop\": %.6g, \"gbyte\": %.6g}\n",
                step.name, step.stage, step.ops, sorted[o->samples / 2], step.gflop, step.gbyte);
        }
    }
}

static rcnn_status run_ops(const options *o, const rcnn_model *model, const rcnn_image_view *view, rcnn_error *err)
{
    static const bench_case c = {"ops", STEPS, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RAW, -1};
    prepared p = {.c = &c};
    double *us = NULL;
    rcnn_status status = prepare(o, model, view, &p, err);
    const int32_t steps = rcnn_session_step_count(p.session);
    if (status == RCNN_OK) {
        us = calloc((size_t)o->samples * (size_t)steps, sizeof *us);
        status = us ? sample_steps(o, &p, us, steps, err) : RCNN_ERR_MEMORY;
    }
    if (status == RCNN_OK) {
        print_steps(o, p.session, us, steps);
    }
    free(us);
    rcnn_results_destroy(p.results);
    rcnn_session_destroy(p.session);
    return status;
}

/* ------------------------------------------------------------- soak */

static long resident_kb(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%*s %ld", &pages) != 1) {
        pages = 0;
    }
    if (file) {
        fclose(file);
    }
    return pages * 4;
}

/* Crops of many sizes, each a padded shape of its own for most of them, over and over; ten lines on the way. */
static rcnn_status soak(const options *o, const rcnn_model *model, const rcnn_image_view *view, rcnn_error *err)
{
    static const bench_case c = {"soak", LATENCY, false, 1, RCNN_PRECISION_FP16, RCNN_MASK_RLE, -1};
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_status status = open_session(o, model, &c, -1, &session, err);
    const int32_t part = o->soak / 10 > 0 ? o->soak / 10 : 1;
    double start = now_ms();
    long long found = 0;
    for (int32_t i = 0; i < o->soak && status == RCNN_OK; i++) {
        int32_t s = (int32_t)((int64_t)i * 7919 % o->sizes);
        rcnn_image_view crop = *view;
        crop.width = view->width - s * (view->width / 2) / o->sizes;
        crop.height = view->height - s * 7 % o->sizes * (view->height / 2) / o->sizes;
        status = rcnn_session_run(session, &crop, 1, &results, err);
        found += status == RCNN_OK ? rcnn_results_count(results, 0) : 0;
        if ((i + 1) % part == 0) {
            rcnn_session_counters counters;
            rcnn_session_get_counters(session, &counters);
            printf("{\"images\": %d, \"ms_per_image\": %.3f, \"detections\": %lld, \"resident_mb\": %.1f, "
                   "\"device_mb\": %.1f, \"plans_made\": %llu, \"plans_evicted\": %llu, \"host_syncs\": %llu}\n",
                   i + 1, (now_ms() - start) / part, found, (double)resident_kb() / 1024,
                   (double)counters.device_bytes / 1e6, (unsigned long long)counters.plans_made,
                   (unsigned long long)counters.plans_evicted, (unsigned long long)counters.host_syncs);
            fflush(stdout);
            start = now_ms();
        }
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    return status;
}

/* ------------------------------------------------------------- options */

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        const struct {
            const char *name;
            const char **text;
            int32_t *number;
        } known[] = {{"-m", &o->model, NULL},        {"--image", &o->image, NULL},   {"--large", &o->large, NULL},
                     {"--case", &o->filter, NULL},   {"--device", NULL, &o->device}, {"--samples", NULL, &o->samples},
                     {"--warmup", NULL, &o->warmup}, {"--soak", NULL, &o->soak},     {"--sizes", NULL, &o->sizes}};
        bool found = false;
        if (strcmp(argv[i], "--tune") == 0 || strcmp(argv[i], "--wait") == 0 || strcmp(argv[i], "--ops") == 0) {
            *(argv[i][2] == 't' ? &o->tune : argv[i][2] == 'w' ? &o->wait : &o->ops) = true;
            continue;
        }
        for (size_t k = 0; value && k < sizeof known / sizeof known[0]; k++) {
            if (strcmp(argv[i], known[k].name) == 0) {
                found = true;
                if (known[k].text) {
                    *known[k].text = value;
                } else {
                    *known[k].number = atoi(value);
                }
            }
        }
        if (!found) {
            return false;
        }
        i++;
    }
    if (o->samples == 0) {
        o->samples = o->ops ? 30 : 100;
    }
    return o->image && o->samples >= 1 && o->samples <= SAMPLES_MAX && o->sizes >= 1;
}

int main(int argc, char **argv)
{
    options o = {.model = "models/mask_rcnn_r50_fpn_nuclei.safetensors", .warmup = 10, .sizes = 50};
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_image *small = NULL, *large = NULL;
    rcnn_image_view view, large_view;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "bench_gpu: see the head of bench_gpu.c for its options\n");
        return 2;
    }
    rcnn_status status = rcnn_model_load(o.model, NULL, &model, &err);
    if (status == RCNN_OK) {
        status = rcnn_image_load(o.image, NULL, &small, &err);
    }
    if (status == RCNN_OK && o.large) {
        status = rcnn_image_load(o.large, NULL, &large, &err);
    }
    if (status == RCNN_OK) {
        rcnn_image_get_view(small, &view);
        if (large) {
            rcnn_image_get_view(large, &large_view);
        }
        status = o.soak  ? soak(&o, model, &view, &err)
                 : o.ops ? run_ops(&o, model, &view, &err)
                         : run_cases(&o, model, &view, large ? &large_view : NULL, &err);
    }
    if (status != RCNN_OK) {
        fprintf(stderr, "bench_gpu: %s\n", err.message);
    }
    rcnn_image_destroy(large);
    rcnn_image_destroy(small);
    rcnn_model_destroy(model);
    return status == RCNN_OK ? 0 : 1;
}
