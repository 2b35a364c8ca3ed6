/* A run: options, pairs, threads, results. */
#include "eval/workers.h"

#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "base/threads.h"

#define THREADS_MAX 1024

/* ----------------------------------------------------------------- options */

void rcnn_eval_options_init_sized(rcnn_eval_options *options, size_t struct_size)
{
    const rcnn_eval_options defaults = {
        .struct_size = struct_size, .iou_type = RCNN_IOU_BBOX, .max_dets = {1, 10, 100}, .num_threads = 0};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

static rcnn_status check_options(const rcnn_eval_options *o, rcnn_error *err)
{
    const int32_t *m = o->max_dets;
    if (o->iou_type != RCNN_IOU_BBOX && o->iou_type != RCNN_IOU_SEGM) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: want iou_type bbox (0) or segm (1), got %d",
                         (int)o->iou_type);
    }
    if (m[0] < 1 || m[1] < m[0] || m[2] < m[1] || m[2] > RCNN_EVAL_MAX_DETS_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: want three rising max_dets in 1..%d, got %d, %d, %d",
                         RCNN_EVAL_MAX_DETS_MAX, m[0], m[1], m[2]);
    }
    if (o->image_limit < 0) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: want image_limit >= 0, got %d", o->image_limit);
    }
    if (o->num_threads < 0 || o->num_threads > THREADS_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: want num_threads 0..%d, got %d", THREADS_MAX,
                         o->num_threads);
    }
    return RCNN_OK;
}

rcnn_status rcnn_eval_read_options(const rcnn_eval_options *given, rcnn_eval_options *out, rcnn_error *err)
{
    rcnn_eval_options_init(out);
    RCNN_TRY(rcnn_options_read("evaluation", given, out, sizeof *out, err));
    RCNN_TRY(check_options(out, err));
#ifdef _OPENMP
    if (out->num_threads == 0) {
        out->num_threads = rcnn_threads_available() < THREADS_MAX ? rcnn_threads_available() : THREADS_MAX;
    }
#else
    out->num_threads = 1;
#endif
    return RCNN_OK;
}

/* ------------------------------------------------------------------ checks */

static rcnn_status check_drawable(const rcnn_eval_detections *d, rcnn_error *err)
{
    for (size_t i = 0; i < d->store.count; i++) {
        const rcnn_eval_picture *image = &d->truth->images[d->store.items[i].image];
        if (d->store.items[i].shape.kind == RCNN_EVAL_SHAPE_NONE &&
            (image->width < 1 || image->height < 1 || image->width > RCNN_EVAL_PIXELS_MAX / image->height)) {
            return rcnn_fail(err, RCNN_ERR_ARGUMENT,
                             "evaluation: masks need the size of image id %lld, which the annotations do not give",
                             (long long)image->id);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_eval_check_type(const rcnn_eval_detections *detections, rcnn_iou_type type, rcnn_error *err)
{
    const rcnn_eval_truth *truth = detections->truth;
    const bool masks = type == RCNN_IOU_SEGM;
    if (masks && !truth->with_masks) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: segm needs annotations read with masks");
    }
    for (size_t i = 0; i < truth->annotations.count; i++) {
        const rcnn_eval_item *item = &truth->annotations.items[i];
        if (masks ? item->shape.kind == RCNN_EVAL_SHAPE_NONE : !item->has_box) {
            return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: annotation id %lld has no %s, which %s needs",
                             (long long)item->id, masks ? "segmentation" : "bbox", masks ? "segm" : "bbox");
        }
    }
    return masks ? check_drawable(detections, err) : RCNN_OK;
}

/* --------------------------------------------------------------------- run */

typedef struct run_job {
    rcnn_eval_options options;
    rcnn_eval_pairs pairs;
    rcnn_eval_task task;
    rcnn_eval_outcome *outcomes;
    rcnn_eval_worker *workers; /* one per thread */
    rcnn_eval_ledger *ledgers;
    rcnn_eval *eval;
} run_job;

static rcnn_status allocate(run_job *job, const rcnn_eval_truth *truth, rcnn_error *err)
{
    const size_t threads = (size_t)job->options.num_threads, categories = truth->category_count;
    const size_t cells = categories * RCNN_EVAL_IOU_COUNT * RCNN_EVAL_RECALL_COUNT;
    job->outcomes = rcnn_calloc(job->pairs.outcome_count, sizeof *job->outcomes);
    job->workers = rcnn_calloc(threads, sizeof *job->workers);
    job->ledgers = rcnn_calloc(threads, sizeof *job->ledgers);
    job->eval = rcnn_calloc(1, sizeof *job->eval);
    if (job->eval) {
        job->eval->category_count = (int32_t)categories;
        job->eval->precision = rcnn_malloc(cells * sizeof(double));
        job->eval->category_stats = rcnn_malloc(categories * RCNN_EVAL_STAT_COUNT * sizeof(double));
    }
    if (!job->outcomes || !job->workers || !job->ledgers || !job->eval || !job->eval->precision ||
        !job->eval->category_stats) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "evaluation: out of memory");
    }
    for (size_t i = 0; i < cells; i++) {
        job->eval->precision[i] = -1;
    }
    for (size_t i = 0; i < categories * RCNN_EVAL_STAT_COUNT; i++) {
        job->eval->category_stats[i] = -1;
    }
    return RCNN_OK;
}

static void run_free(run_job *job)
{
    for (int32_t i = 0; i < job->options.num_threads; i++) {
        if (job->workers) {
            rcnn_eval_worker_free(&job->workers[i]);
        }
        if (job->ledgers) {
            rcnn_eval_ledger_free(&job->ledgers[i]);
        }
    }
    rcnn_free(job->workers);
    rcnn_free(job->ledgers);
    rcnn_free(job->outcomes);
    rcnn_eval_pairs_free(&job->pairs);
    rcnn_eval_destroy(job->eval);
}

static bool match_all(run_job *job)
{
    bool good = true;
#pragma omp parallel for num_threads(job->options.num_threads) schedule(dynamic, 16) reduction(&& : good)
    for (size_t g = 0; g < job->pairs.count; g++) {
        rcnn_eval_group *group = &job->pairs.groups[g];
        good = rcnn_eval_match(&job->workers[rcnn_thread_index()], &job->task, group,
                               job->outcomes + group->outcome_first) &&
               good;
    }
    return good;
}

/* Category k has the groups starts[k] .. starts[k+1]-1. */
static void find_starts(const rcnn_eval_pairs *pairs, size_t *starts, size_t categories)
{
    size_t at = 0;
    for (size_t k = 0; k <= categories; k++) {
        while (at < pairs->count && (size_t)pairs->groups[at].category < k) {
            at++;
        }
        starts[k] = at;
    }
}

static bool accumulate_all(run_job *job)
{
    const int32_t categories = job->eval->category_count;
    size_t *starts = rcnn_malloc(((size_t)categories + 1) * sizeof *starts);
    bool good = starts != NULL;
    if (!good) {
        return false;
    }
    find_starts(&job->pairs, starts, (size_t)categories);
#pragma omp parallel for num_threads(job->options.num_threads) schedule(dynamic, 1) reduction(&& : good)
    for (int32_t k = 0; k < categories; k++) {
        if (starts[k] < starts[k + 1]) {
            good = rcnn_eval_accumulate(&job->ledgers[rcnn_thread_index()], &job->pairs, job->outcomes, starts[k],
                                        starts[k + 1], job->options.max_dets, job->eval) &&
                   good;
        }
    }
    rcnn_free(starts);
    return good;
}

static rcnn_status run(run_job *job, const rcnn_eval_detections *detections, rcnn_error *err)
{
    RCNN_TRY(rcnn_eval_check_type(detections, job->options.iou_type, err));
    RCNN_TRY(rcnn_eval_pairs_make(detections, false, &job->options, &job->pairs, err));
    RCNN_TRY(allocate(job, detections->truth, err));
    job->task = (rcnn_eval_task){.detections = detections,
                                 .pairs = &job->pairs,
                                 .iou_type = job->options.iou_type,
                                 .least_iou = rcnn_eval_iou_threshold(0)};
    if (!match_all(job) || !accumulate_all(job)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "evaluation: out of memory");
    }
    rcnn_eval_summarise(job->eval);
    return RCNN_OK;
}

rcnn_status rcnn_eval_run(const rcnn_eval_detections *detections, const rcnn_eval_options *options, rcnn_eval **out,
                          rcnn_error *err)
{
    run_job job = {0};
    if (!detections || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "evaluation: want detections and a place for the result, got NULL");
    }
    *out = NULL;
    RCNN_TRY(rcnn_eval_read_options(options, &job.options, err));
    const rcnn_status status = run(&job, detections, err);
    if (status == RCNN_OK) {
        *out = job.eval;
        job.eval = NULL;
    }
    run_free(&job);
    return status;
}

/* ----------------------------------------------------------------- results */

void rcnn_eval_destroy(rcnn_eval *eval)
{
    if (eval) {
        rcnn_free(eval->precision);
        rcnn_free(eval->category_stats);
        rcnn_free(eval);
    }
}

double rcnn_eval_stat(const rcnn_eval *eval, int32_t stat)
{
    return eval && stat >= 0 && stat < RCNN_EVAL_STAT_COUNT ? eval->stats[stat] : -1;
}

double rcnn_eval_category_stat(const rcnn_eval *eval, int32_t category, int32_t stat)
{
    if (!eval || category < 0 || category >= eval->category_count || stat < 0 || stat >= RCNN_EVAL_STAT_COUNT) {
        return -1;
    }
    return eval->category_stats[(size_t)category * RCNN_EVAL_STAT_COUNT + (size_t)stat];
}

double rcnn_eval_precision(const rcnn_eval *eval, int32_t category, int32_t iou, int32_t recall)
{
    if (!eval || category < -1 || category >= eval->category_count || iou < 0 || iou >= RCNN_EVAL_IOU_COUNT ||
        recall < 0 || recall >= RCNN_EVAL_RECALL_COUNT) {
        return -1;
    }
    const size_t cell = (size_t)iou * RCNN_EVAL_RECALL_COUNT + (size_t)recall;
    const size_t stride = (size_t)RCNN_EVAL_IOU_COUNT * RCNN_EVAL_RECALL_COUNT;
    if (category >= 0) {
        return eval->precision[(size_t)category * stride + cell];
    }
    double sum = 0;
    int32_t counted = 0;
    for (int32_t k = 0; k < eval->category_count; k++) {
        const double value = eval->precision[(size_t)k * stride + cell];
        sum += value >= 0 ? value : 0;
        counted += value >= 0;
    }
    return counted > 0 ? sum / counted : -1;
}
