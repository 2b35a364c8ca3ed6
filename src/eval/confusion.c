/* Which category is taken for which: matching over all categories of an image at one IoU and score. Not part of COCO's
 * protocol; it has no reference to equal. */
#include "eval/workers.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

typedef struct confusion_job {
    rcnn_eval_options options;
    rcnn_eval_pairs pairs;
    rcnn_eval_task task;
    rcnn_eval_worker worker;
    double score;
    size_t side; /* categories + 1 */
    int64_t *matrix;
} confusion_job;

/* The free annotation of the largest IoU, else a crowd, -1 = none. */
static int64_t best_annotation(const confusion_job *job, const rcnn_eval_item *items, const uint32_t *order, size_t i)
{
    const rcnn_eval_worker *w = &job->worker;
    int64_t best = -1;
    double best_iou = 0;
    bool best_crowd = true;
    for (size_t c = w->first[i]; c < w->first[i + 1]; c++) {
        const rcnn_eval_candidate *candidate = &w->candidates[c];
        const bool crowd = items[order[candidate->truth]].crowd;
        if (!crowd && w->taken[candidate->truth]) {
            continue;
        }
        if (best < 0 || (best_crowd && !crowd) || (best_crowd == crowd && candidate->iou > best_iou)) {
            best = candidate->truth;
            best_iou = candidate->iou;
            best_crowd = crowd;
        }
    }
    return best;
}

static bool count_image(confusion_job *job, const rcnn_eval_group *g)
{
    const rcnn_eval_item *items = job->task.detections->truth->annotations.items;
    const uint32_t *order = job->pairs.truth_order + g->truth_first;
    rcnn_eval_worker *w = &job->worker;
    void *taken = w->taken;
    if (!rcnn_eval_find_candidates(w, &job->task, g) ||
        !rcnn_grow(&taken, &w->taken_capacity, g->truth_count, sizeof *w->taken)) {
        return false;
    }
    w->taken = taken;
    for (size_t i = 0; i < g->truth_count; i++) {
        w->taken[i] = 0;
    }
    const size_t nothing = job->side - 1;
    for (size_t i = 0; i < g->outcome_count; i++) {
        const rcnn_eval_item *found = &job->task.detections->store.items[w->found[i]];
        if (found->score < job->score) {
            break;
        }
        const int64_t match = best_annotation(job, items, order, i);
        if (match >= 0 && items[order[match]].crowd) {
            continue;
        }
        const size_t row = match >= 0 ? (size_t)items[order[match]].category : nothing;
        job->matrix[row * job->side + (size_t)found->category]++;
        if (match >= 0) {
            w->taken[match] = 1;
        }
    }
    for (size_t i = 0; i < g->truth_count; i++) {
        const rcnn_eval_item *item = &items[order[i]];
        if (!w->taken[i] && !item->crowd) {
            job->matrix[(size_t)item->category * job->side + nothing]++;
        }
    }
    return true;
}

static rcnn_status count_all(confusion_job *job, const rcnn_eval_detections *detections, rcnn_error *err)
{
    RCNN_TRY(rcnn_eval_check_type(detections, job->options.iou_type, err));
    RCNN_TRY(rcnn_eval_pairs_make(detections, true, &job->options, &job->pairs, err));
    job->task.pairs = &job->pairs;
    memset(job->matrix, 0, job->side * job->side * sizeof *job->matrix);
    for (size_t g = 0; g < job->pairs.count; g++) {
        if (!count_image(job, &job->pairs.groups[g])) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "confusion matrix: out of memory");
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_eval_confusion(const rcnn_eval_detections *detections, const rcnn_eval_options *options, double iou,
                                double score, int64_t *matrix, rcnn_error *err)
{
    if (!detections || !matrix || !(iou > 0 && iou <= 1) || isnan(score)) {
        return rcnn_fail(
            err, RCNN_ERR_ARGUMENT,
            "confusion matrix: want detections, a matrix, an IoU in (0,1] and a score, got IoU %g, score %g", iou,
            score);
    }
    confusion_job job = {.score = score, .side = detections->truth->category_count + 1, .matrix = matrix};
    RCNN_TRY(rcnn_eval_read_options(options, &job.options, err));
    job.task = (rcnn_eval_task){.detections = detections, .iou_type = job.options.iou_type, .least_iou = iou};
    const rcnn_status status = count_all(&job, detections, err);
    rcnn_eval_worker_free(&job.worker);
    rcnn_eval_pairs_free(&job.pairs);
    return status;
}
