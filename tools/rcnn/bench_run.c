/* How modes are timed. All modes of a size stand ready at once and are visited in rounds, so that a slow spell of the
 * machine meets all of them. Two kinds of time are taken and never mixed: end to end, one call of a session with nothing
 * between entry and return; and staged, calls of a session whose stages do not overlap and are timed one by one.
 *
 * With a GPU each visit begins with a call that is not counted, since the mode before has left the clocks and caches in
 * another state, and then takes up to VISIT_SAMPLES. On the host stages cost no time of their own and one session does
 * both kinds. */
#include "bench_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_host.h"
#include "bench_scene.h"
#include "bench_steps.h"
#include "stop.h"

#define GPU_SAMPLES   30
#define CPU_SAMPLES   5
#define LEAST_SAMPLES 3
#define BUDGET_MS     120000.0 /* of the samples of a size, when their number is ours to choose */
#define GPU_WARMUP    10
#define CPU_WARMUP    1
#define VISIT_SAMPLES 3
#define SCENE_NUCLEI  110
#define SCENE_SEED    33
#define DETECTIONS    100 /* at most, as in the study */
#define MEMORY_SPARE  1.2 /* of what a plan says: weights in another order, results, the allocator */

enum { END_TO_END, STAGED, KINDS };

/* One mode at the size at hand. */
typedef struct lane {
    int32_t row; /* of the result */
    const bench_mode *mode;
    bench_size size;
    rcnn_session *session[KINDS]; /* the same twice on the host */
    rcnn_results *results[KINDS];
    rcnn_image_view views[BENCH_BATCH_MAX]; /* the same picture */
    double run_ms;                          /* of a warm run  */
    bool open;
} lane;

typedef struct bencher {
    const bench_plan *plan;
    bench_result *r;
    bench_pair *pair;
    rcnn_error *err;
    rcnn_image_view view; /* of the size at hand */
    lane lanes[BENCH_MODES_MAX];
    progress bar;
    size_t done;
} bencher;

static bench_row *row_of(const bencher *b, const lane *l)
{
    return &b->r->rows[l->row];
}

/* ------------------------------------------------------------- sessions */

static void set_options(const bench_plan *plan, const lane *l, int32_t staged, rcnn_session_options *out)
{
    rcnn_session_options_init(out);
    out->backend = plan->device.backend;
    out->device = plan->device.index[0];
    out->num_threads = plan->threads;
    out->precision = plan->gpu ? l->mode->gpu_precision : l->mode->cpu_precision;
    out->host_preprocess = plan->gpu && l->mode->host_preprocess;
    out->mask_format = l->mode->masks;
    out->max_batch = l->mode->batch;
    out->max_detections = DETECTIONS;
    out->long_side = l->size.width > l->size.height ? l->size.width : l->size.height;
    out->short_side = l->size.width > l->size.height ? l->size.height : l->size.width;
    out->tune = plan->tune;
    out->staged = staged;
}

static bool open_session(const bencher *b, const lane *l, int32_t staged, rcnn_session **out, rcnn_error *err)
{
    rcnn_session_options options;
    set_options(b->plan, l, staged, &options);
    return rcnn_session_create(b->plan->model, &options, out, err) == RCNN_OK;
}

static void close_lane(lane *l)
{
    for (int kind = 0; kind < KINDS; kind++) {
        rcnn_results_destroy(l->results[kind]);
        if (kind == 0 || l->session[kind] != l->session[0]) {
            rcnn_session_destroy(l->session[kind]);
        }
    }
    memset(l->session, 0, sizeof l->session);
    memset(l->results, 0, sizeof l->results);
    l->open = false;
}

/* A mode that cannot run here keeps its row, with the reason. */
static void skip(const bencher *b, lane *l, const char *why)
{
    snprintf(row_of(b, l)->skipped, BENCH_TEXT_MAX, "%.*s", BENCH_TEXT_MAX - 1, why);
    close_lane(l);
}

/* ------------------------------------------------------------- runs */

static bool run_once(lane *l, int kind, double *ms, rcnn_error *err)
{
    const double start = clock_ms();
    const bool done = rcnn_session_run(l->session[kind], l->views, l->mode->batch, &l->results[kind], err) == RCNN_OK;
    *ms = clock_ms() - start;
    return done;
}

static bool take_sample(const bencher *b, lane *l, int kind, rcnn_error *err)
{
    bench_row *row = row_of(b, l);
    double total, ms[BENCH_STAGE_COUNT];
    if (!run_once(l, kind, &total, err)) {
        return false;
    }
    if (kind == END_TO_END) {
        return bench_times_add(&row->end_to_end, total) || tool_fail(err, "out of memory");
    }
    bench_stage_times(l->results[kind], ms);
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        if (ms[s] >= 0 && !bench_times_add(&row->stage[s], ms[s])) {
            return tool_fail(err, "out of memory");
        }
    }
    return bench_times_add(&row->staged, total) || tool_fail(err, "out of memory");
}

/* ------------------------------------------------------------- getting ready */

static void describe_row(const bencher *b, const lane *l)
{
    static const char *const FORMS[] = {"none", "raw", "crop", "rle", "polygon", "full"};
    bench_row *row = row_of(b, l);
    const rcnn_precision wanted = b->plan->gpu ? l->mode->gpu_precision : l->mode->cpu_precision;
    snprintf(row->subject, sizeof row->subject, "rcnn");
    snprintf(row->mode, sizeof row->mode, "%s", l->mode->name);
    snprintf(row->device, sizeof row->device, "%s", b->plan->device_name);
    snprintf(row->precision, sizeof row->precision, "%s", precision_name((int32_t)wanted));
    snprintf(row->preprocess, sizeof row->preprocess, "%s", b->plan->gpu && !l->mode->host_preprocess ? "gpu" : "cpu");
    snprintf(row->masks, sizeof row->masks, "%s", FORMS[l->mode->masks]);
    row->width = l->size.width;
    row->height = l->size.height;
    row->batch = l->mode->batch;
}

/* Whether the plan and its results will fit into memory: asked before, since too much of it ends the process. */
static bool fits_memory(const bencher *b, lane *l, rcnn_error *err)
{
    double need = 0;
    if (!b->plan->gpu && !bench_plan_mb(l->session[END_TO_END], l->size, &need, err)) {
        return false;
    }
    if (l->mode->masks == RCNN_MASK_FULL) {
        const double masks = (double)DETECTIONS * l->size.width * l->size.height * l->mode->batch * 1e-6;
        need += masks * (b->plan->gpu ? KINDS : 1);
    }
    const double have = host_free_mb();
    return have == 0 || need * MEMORY_SPARE < have ||
           tool_fail(err, "wants about %.0f MB of memory, %.0f are free; name fewer modes or a smaller size",
                     need * MEMORY_SPARE, have);
}

static bool warm_up(bencher *b, lane *l, rcnn_error *err)
{
    const int32_t usual = b->plan->gpu ? GPU_WARMUP : CPU_WARMUP;
    const int32_t runs = b->plan->warmup >= 0 ? b->plan->warmup : usual;
    bench_row *row = row_of(b, l);
    if (!run_once(l, END_TO_END, &row->first_run_ms, err)) {
        return false;
    }
    l->run_ms = row->first_run_ms;
    for (int32_t i = 0; i < runs && !stop_signal(); i++) {
        if (!run_once(l, END_TO_END, &l->run_ms, err)) {
            return false;
        }
    }
    double ms;
    for (int32_t i = 0; b->plan->gpu && i < runs + 1 && !stop_signal(); i++) {
        if (!run_once(l, STAGED, &ms, err)) {
            return false;
        }
    }
    return true;
}

/* Arithmetic, traffic and counts, from the kernels of one run. On a GPU timing each of them costs time, so a session of
 * its own does it; on the host it is the session that does everything. */
static bool measure_steps(const bencher *b, lane *l, rcnn_session *session, rcnn_error *err)
{
    bench_steps steps = {NULL, 0};
    const bool trace = b->plan->trace && l->mode == bench_trace_mode(b->plan) &&
                       memcmp(&l->size, &b->plan->sizes[0], sizeof l->size) == 0;
    const bool done = bench_steps_read(session, &steps, err) &&
                      bench_steps_sum_up(&steps, session, b->plan->model, row_of(b, l), err) &&
                      (!trace || bench_steps_trace(&steps, row_of(b, l), b->plan->trace, err));
    bench_steps_free(&steps);
    return done;
}

static bool measure_steps_on_gpu(const bencher *b, lane *l, rcnn_error *err)
{
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    bool done = open_session(b, l, BENCH_STEPS_STAGED, &session, err);
    for (int i = 0; i < 2 && done; i++) { /* the first run plans and records */
        done = rcnn_session_run(session, l->views, l->mode->batch, &results, err) == RCNN_OK;
    }
    done = done && measure_steps(b, l, session, err);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    return done;
}

static bool open_sessions(const bencher *b, lane *l, rcnn_error *err)
{
    bench_row *row = row_of(b, l);
    if (!open_session(b, l, b->plan->gpu ? 0 : BENCH_STEPS_STAGED, &l->session[END_TO_END], err)) {
        return false;
    }
    snprintf(row->precision, sizeof row->precision, "%s",
             precision_name((int32_t)rcnn_session_precision(l->session[END_TO_END])));
    if (!fits_memory(b, l, err)) {
        return false;
    }
    if (!b->plan->gpu) {
        l->session[STAGED] = l->session[END_TO_END];
        return true;
    }
    return measure_steps_on_gpu(b, l, err) && open_session(b, l, 1, &l->session[STAGED], err);
}

static bool open_lane(bencher *b, lane *l, rcnn_error *err)
{
    bench_row *row = row_of(b, l);
    rcnn_session_counters counters;
    const double before = host_resident_mb();
    if (!open_sessions(b, l, err)) {
        return false;
    }
    host_peak_reset();
    if (!warm_up(b, l, err) || (!b->plan->gpu && !measure_steps(b, l, l->session[END_TO_END], err))) {
        return false;
    }
    row->host_mb = fmax(host_peak_mb() - before, 0);
    rcnn_session_get_counters(l->session[END_TO_END], &counters);
    row->device_mb = (double)counters.device_bytes * 1e-6;
    row->detections = rcnn_results_count(l->results[END_TO_END], 0);
    return true;
}

static bool add_lane(bencher *b, lane *l, const bench_mode *mode, bench_size size)
{
    rcnn_error why = {0};
    *l = (lane){.row = b->r->row_count, .mode = mode, .size = size};
    if (!bench_add_row(b->r)) {
        return tool_fail(b->err, "out of memory");
    }
    for (int32_t i = 0; i < mode->batch; i++) {
        l->views[i] = b->view;
    }
    describe_row(b, l);
    l->open = !stop_signal() && open_lane(b, l, &why);
    if (!l->open && !stop_signal()) {
        skip(b, l, why.message);
    }
    return true;
}

/* ------------------------------------------------------------- rounds */

/* One mode's turn for one kind of time. A mode that fails in the middle loses its samples. */
static void visit(bencher *b, lane *l, int kind, int32_t samples)
{
    rcnn_error why = {0};
    double ms;
    bool good = !b->plan->gpu || run_once(l, kind, &ms, &why);
    for (int32_t i = 0; i < samples && good && !stop_signal(); i++) {
        good = take_sample(b, l, kind, &why);
    }
    if (!good) {
        skip(b, l, why.message);
    }
    progress_show(&b->bar, ++b->done);
}

/* Of every row so far, so that it can be written. */
static void sum_up(const bencher *b)
{
    for (int32_t i = 0; i < b->plan->mode_count; i++) {
        const lane *l = &b->lanes[i];
        bench_row *row = row_of(b, l);
        bench_times_sum_up(&row->end_to_end);
        bench_times_sum_up(&row->staged);
        for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
            bench_times *t = &row->stage[s];
            bench_times_sum_up(t);
            if (t->count > 0 && t->p90 == 0) { /* this device has no such stage */
                free(t->samples);
                *t = (bench_times){0};
            }
        }
        if (l->mode->batch == 1 || !b->plan->gpu) {
            row->images_per_s = row->end_to_end.median > 0 ? row->batch * 1e3 / row->end_to_end.median : 0;
        }
    }
}

static int32_t choose_samples(const bencher *b)
{
    if (b->plan->samples > 0) {
        return b->plan->samples;
    }
    double round_ms = 0;
    for (int32_t i = 0; i < b->plan->mode_count; i++) {
        round_ms += b->lanes[i].open ? KINDS * b->lanes[i].run_ms : 0;
    }
    const int32_t usual = b->plan->gpu ? GPU_SAMPLES : CPU_SAMPLES;
    const double fit = round_ms > 0 ? BUDGET_MS / round_ms : usual;
    return fit >= usual ? usual : fit <= LEAST_SAMPLES ? LEAST_SAMPLES : (int32_t)fit;
}

static bool run_rounds(bencher *b)
{
    const int32_t samples = choose_samples(b), most = b->plan->gpu ? VISIT_SAMPLES : 1;
    const size_t visits = (size_t)((samples + most - 1) / most) * KINDS * (size_t)b->plan->mode_count;
    bool good = true;
    b->done = 0;
    progress_start(&b->bar, visits, b->plan->progress);
    b->bar.unit = "visit";
    for (int32_t taken = 0; taken < samples && good && !stop_signal(); taken += most) {
        for (int kind = 0; kind < KINDS; kind++) {
            for (int32_t i = 0; i < b->plan->mode_count && !stop_signal(); i++) {
                if (b->lanes[i].open) {
                    visit(b, &b->lanes[i], kind, samples - taken < most ? samples - taken : most);
                }
            }
        }
        sum_up(b);
        good = b->plan->changed(b->plan->context, b->r, b->err);
    }
    progress_hide(&b->bar);
    return good;
}

/* Images a second of batches that overlap: from the first collected result to the last. */
static bool measure_throughput(bencher *b, lane *l, rcnn_error *err)
{
    rcnn_session *session = l->session[END_TO_END];
    const int32_t batches = row_of(b, l)->end_to_end.count + RCNN_SESSION_IN_FLIGHT;
    double first = 0, last = 0;
    for (int32_t submitted = 0, collected = 0; collected < batches;) {
        if (submitted < batches && rcnn_session_pending(session) < RCNN_SESSION_IN_FLIGHT) {
            if (rcnn_session_submit(session, l->views, l->mode->batch, err) != RCNN_OK) {
                return false;
            }
            submitted++;
            continue;
        }
        if (rcnn_session_collect(session, &l->results[END_TO_END], err) != RCNN_OK) {
            return false;
        }
        last = clock_ms();
        first = collected++ == 0 ? last : first;
    }
    row_of(b, l)->images_per_s = last > first ? l->mode->batch * (batches - 1) * 1e3 / (last - first) : 0;
    return true;
}

static void measure_batches(bencher *b)
{
    for (int32_t i = 0; i < b->plan->mode_count && !stop_signal(); i++) {
        lane *l = &b->lanes[i];
        rcnn_error why = {0};
        if (l->open && b->plan->gpu && l->mode->batch > 1 && !measure_throughput(b, l, &why)) {
            skip(b, l, why.message);
        }
    }
}

/* ------------------------------------------------------------- sizes */

static bool make_picture(bencher *b, bench_size size)
{
    const rcnn_image *image = b->plan->image;
    rcnn_image_view whole;
    if (!image) {
        return scene_render(size.width, size.height, SCENE_NUCLEI, SCENE_SEED, &b->view, b->err);
    }
    rcnn_image_get_view(image, &whole);
    return scene_resize(&whole, size.width, size.height, &b->view, b->err);
}

/* The row's own copy of how long the file took to read. */
static bool copy_decode(const bencher *b)
{
    for (int32_t i = 0; i < b->plan->mode_count; i++) {
        bench_times *own = &row_of(b, &b->lanes[i])->stage[BENCH_STAGE_decode];
        for (int32_t k = 0; b->lanes[i].open && k < b->plan->decode.count; k++) {
            if (!bench_times_add(own, b->plan->decode.samples[k])) {
                return tool_fail(b->err, "out of memory");
            }
        }
    }
    return true;
}

/* Moves the results of the slowest and the fastest mode, one image a call, out of their lanes. */
static void keep_shown(bencher *b)
{
    lane *ends[2] = {NULL, NULL};
    for (int32_t i = 0; i < b->plan->mode_count; i++) {
        lane *l = &b->lanes[i];
        const double ms = row_of(b, l)->end_to_end.median;
        if (!l->open || l->mode->batch > 1 || ms <= 0) {
            continue;
        }
        ends[0] = !ends[0] || ms > row_of(b, ends[0])->end_to_end.median ? l : ends[0];
        ends[1] = !ends[1] || ms < row_of(b, ends[1])->end_to_end.median ? l : ends[1];
    }
    if (!ends[0] || ends[0] == ends[1]) {
        return;
    }
    bench_pair *pair = b->pair;
    pair->image = b->view;
    b->view.data = NULL;
    pair->count = 2;
    for (int i = 0; i < 2; i++) {
        snprintf(pair->mode[i], sizeof pair->mode[i], "%s", ends[i]->mode->name);
        pair->shown[i] = (bench_shown){.mode = pair->mode[i],
                                       .image = &pair->image,
                                       .results = ends[i]->results[END_TO_END],
                                       .model = b->plan->model};
        ends[i]->results[END_TO_END] = NULL;
    }
}

static void close_lanes(bencher *b)
{
    for (int32_t i = 0; i < b->plan->mode_count; i++) {
        lane *l = &b->lanes[i];
        bench_row *row = row_of(b, l);
        close_lane(l);
        if (row->end_to_end.count == 0 && !row->skipped[0]) {
            snprintf(row->skipped, sizeof row->skipped, "stopped before the first sample");
        }
    }
}

static bool measure_size(bencher *b, bench_size size)
{
    if (!make_picture(b, size)) {
        return false;
    }
    memset(b->lanes, 0, sizeof b->lanes);
    bool good = true;
    int32_t added = 0;
    progress_start(&b->bar, (size_t)b->plan->mode_count, b->plan->progress);
    b->bar.unit = "mode";
    while (good && added < b->plan->mode_count) { /* rows of all modes, also after a signal */
        good = add_lane(b, &b->lanes[added], b->plan->modes[added], size);
        added += good;
        progress_show(&b->bar, (size_t)added);
    }
    progress_hide(&b->bar);
    if (good) {
        good = copy_decode(b) && run_rounds(b);
        measure_batches(b);
        sum_up(b);
        if (good && b->plan->keep_shown && b->pair->count == 0) {
            keep_shown(b);
        }
        close_lanes(b);
    }
    scene_free(&b->view);
    return good && b->plan->changed(b->plan->context, b->r, b->err);
}

bool bench_run(const bench_plan *plan, bench_result *r, bench_pair *pair, rcnn_error *err)
{
    bencher *b = calloc(1, sizeof *b);
    memset(pair, 0, sizeof *pair);
    if (!b) {
        return tool_fail(err, "out of memory");
    }
    *b = (bencher){.plan = plan, .r = r, .pair = pair, .err = err};
    bool good = true;
    for (int32_t i = 0; i < plan->size_count && good && !stop_signal(); i++) {
        good = measure_size(b, plan->sizes[i]);
    }
    free(b);
    return good;
}

void bench_pair_free(bench_pair *pair)
{
    for (int32_t i = 0; i < pair->count; i++) {
        rcnn_results_destroy(pair->shown[i].results);
    }
    scene_free(&pair->image);
    pair->count = 0;
}
