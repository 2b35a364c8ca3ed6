/* Overlaps and matches of one image and category.
 *
 * COCO tries every annotation for every detection, area range and threshold. No pair below the lowest threshold can
 * ever match, so only the few above it are kept per detection, and the tries run over those, in the same order. */
#include "eval/match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/order.h"

void rcnn_eval_worker_free(rcnn_eval_worker *worker)
{
    rcnn_eval_canvas_free(&worker->canvas);
    rcnn_free(worker->found);
    rcnn_free(worker->candidates);
    rcnn_free(worker->first);
    rcnn_free(worker->spans);
    rcnn_free(worker->taken);
    rcnn_free(worker->ignored);
    *worker = (rcnn_eval_worker){0};
}

static bool resize(void *array_place, size_t *capacity, size_t need, size_t item)
{
    void *array;
    memcpy(&array, array_place, sizeof array);
    const bool done = rcnn_grow(&array, capacity, need, item);
    memcpy(array_place, &array, sizeof array);
    return done;
}

/* ------------------------------------------------------------------- order */

static bool order_found(rcnn_eval_worker *w, const rcnn_eval_task *task, const rcnn_eval_group *g)
{
    if (!resize(&w->found, &w->found_capacity, 2 * g->found_count, sizeof *w->found) ||
        !resize(&w->first, &w->first_capacity, g->outcome_count + 1, sizeof *w->first)) {
        return false;
    }
    if (g->found_count > 0) {
        memcpy(w->found, task->pairs->found_order + g->found_first, g->found_count * sizeof *w->found);
        rcnn_eval_sort(&task->detections->store.items[0].score, sizeof(rcnn_eval_item), w->found,
                       w->found + g->found_count, g->found_count);
    }
    return true;
}

/* ---------------------------------------------------------------- overlaps */

/* COCO's bbIou: intersection over union, or over the detection for a crowd. */
static double box_iou(const double *d, const double *t, bool crowd)
{
    const double width = fmin(d[2] + d[0], t[2] + t[0]) - fmax(d[0], t[0]);
    const double height = fmin(d[3] + d[1], t[3] + t[1]) - fmax(d[1], t[1]);
    if (width <= 0 || height <= 0) {
        return 0;
    }
    const double inter = width * height, area = d[2] * d[3];
    return inter / (crowd ? area : area + t[2] * t[3] - inter);
}

static double ratio(uint32_t inter, const rcnn_eval_spans *d, const rcnn_eval_spans *t, bool crowd)
{
    return inter == 0 ? 0 : (double)inter / (double)(crowd ? d->area : d->area + t->area - inter);
}

/* Most pixels two masks can share, from their boxes and areas. */
static uint32_t intersection_bound(const rcnn_eval_spans *a, const rcnn_eval_spans *b)
{
    const int64_t left = a->x > b->x ? a->x : b->x, right = a->x2 < b->x2 ? a->x2 : b->x2;
    const int64_t top = a->y > b->y ? a->y : b->y, bottom = a->y2 < b->y2 ? a->y2 : b->y2;
    if (right <= left || bottom <= top) {
        return 0;
    }
    const int64_t box = (right - left) * (bottom - top);
    const uint32_t area = a->area < b->area ? a->area : b->area;
    return box < area ? (uint32_t)box : area;
}

/* The IoU of two masks, or 0 when it must be below `least`: the ratio rises with the intersection, also when
 * rounded. */
static double mask_iou(const uint32_t *borders, const rcnn_eval_spans *d, const rcnn_eval_spans *t, bool crowd,
                       double least)
{
    const uint32_t bound = intersection_bound(d, t);
    if (bound == 0 || ratio(bound, d, t, crowd) < least) {
        return 0;
    }
    return ratio(rcnn_eval_intersection(borders, d, t), d, t, crowd);
}

static bool spread(rcnn_eval_worker *w, const rcnn_eval_task *task, const rcnn_eval_store *store,
                   const rcnn_eval_item *item, rcnn_eval_spans *out)
{
    const rcnn_eval_picture *image = &task->detections->truth->images[item->image];
    if (item->shape.kind == RCNN_EVAL_SHAPE_NONE) {
        return rcnn_eval_box_spread(&w->canvas, item->box, image->width, image->height, out);
    }
    return rcnn_eval_shape_spread(&w->canvas, (const uint8_t *)store->bytes.data, &item->shape, image->width,
                                  image->height, out);
}

/* Spreads the group's annotations. */
static bool spread_truth(rcnn_eval_worker *w, const rcnn_eval_task *task, const rcnn_eval_group *g)
{
    const rcnn_eval_store *store = &task->detections->truth->annotations;
    w->canvas.borders.count = 0;
    if (!resize(&w->spans, &w->spans_capacity, g->truth_count, sizeof *w->spans)) {
        return false;
    }
    for (size_t i = 0; i < g->truth_count; i++) {
        const rcnn_eval_item *item = &store->items[task->pairs->truth_order[g->truth_first + i]];
        if (!spread(w, task, store, item, &w->spans[i])) {
            return false;
        }
    }
    return true;
}

static bool add_candidate(rcnn_eval_worker *w, size_t truth, double iou)
{
    if (!resize(&w->candidates, &w->candidate_capacity, w->candidate_count + 1, sizeof *w->candidates)) {
        return false;
    }
    w->candidates[w->candidate_count++] = (rcnn_eval_candidate){(uint32_t)truth, iou};
    return true;
}

/* Candidates of one detection. */
static bool find_for(rcnn_eval_worker *w, const rcnn_eval_task *task, const rcnn_eval_group *g,
                     const rcnn_eval_item *found)
{
    const rcnn_eval_item *items = task->detections->truth->annotations.items;
    const uint32_t *order = task->pairs->truth_order + g->truth_first;
    const size_t borders = w->canvas.borders.count;
    const bool masks = task->iou_type == RCNN_IOU_SEGM;
    rcnn_eval_spans spans;
    if (masks && !spread(w, task, &task->detections->store, found, &spans)) {
        return false;
    }
    for (size_t i = 0; i < g->truth_count; i++) {
        const rcnn_eval_item *t = &items[order[i]];
        const double iou = masks ? mask_iou(w->canvas.borders.at, &spans, &w->spans[i], t->crowd, task->least_iou)
                                 : box_iou(found->box, t->box, t->crowd);
        if (iou >= task->least_iou && !add_candidate(w, i, iou)) {
            return false;
        }
    }
    w->canvas.borders.count = borders;
    return true;
}

bool rcnn_eval_find_candidates(rcnn_eval_worker *worker, const rcnn_eval_task *task, const rcnn_eval_group *group)
{
    if (!order_found(worker, task, group)) {
        return false;
    }
    const bool any = group->truth_count > 0 && group->found_count > 0;
    if (any && task->iou_type == RCNN_IOU_SEGM && !spread_truth(worker, task, group)) {
        return false;
    }
    worker->candidate_count = 0;
    worker->first[0] = 0;
    for (size_t i = 0; i < group->outcome_count; i++) {
        if (any && !find_for(worker, task, group, &task->detections->store.items[worker->found[i]])) {
            return false;
        }
        worker->first[i + 1] = worker->candidate_count;
    }
    return true;
}

/* ----------------------------------------------------------------- matching */

double rcnn_eval_iou_threshold(int index)
{
    const double step = (0.95 - 0.5) / (RCNN_EVAL_IOU_COUNT - 1);
    return index == RCNN_EVAL_IOU_COUNT - 1 ? 0.95 : index * step + 0.5;
}

static bool outside(double area, int range)
{
    static const double LOW[] = {0, 0, 32 * 32, 96 * 96}, HIGH[] = {1e10, 32 * 32, 96 * 96, 1e10};
    return area < LOW[range] || area > HIGH[range];
}

static double area_of(const rcnn_eval_task *task, const rcnn_eval_item *found)
{
    const bool of_mask = task->detections->area_rule == RCNN_EVAL_AREA_OF_MASK ||
                         (task->detections->area_rule == RCNN_EVAL_AREA_BY_TYPE && task->iou_type == RCNN_IOU_SEGM &&
                          found->shape.kind != RCNN_EVAL_SHAPE_NONE);
    return of_mask ? found->area : found->box[2] * found->box[3];
}

/* The best annotation for detection i at a threshold, -1 when none will do. Annotations that count come first; ignored
 * ones are tried only when none of those matches. Of equals the later wins. A crowd may be taken again and again. */
static int64_t best_candidate(const rcnn_eval_worker *w, const rcnn_eval_item *items, const uint32_t *order, size_t i,
                              int threshold)
{
    const double wanted = fmin(rcnn_eval_iou_threshold(threshold), 1 - 1e-10);
    for (int ignored = 0; ignored < 2; ignored++) {
        double best = wanted;
        int64_t match = -1;
        for (size_t c = w->first[i]; c < w->first[i + 1]; c++) {
            const rcnn_eval_candidate *candidate = &w->candidates[c];
            const uint32_t t = candidate->truth;
            const bool available = !((unsigned)w->taken[t] >> threshold & 1u) || items[order[t]].crowd;
            if (w->ignored[t] == (ignored != 0) && available && candidate->iou >= best) {
                best = candidate->iou;
                match = t;
            }
        }
        if (match >= 0) {
            return match;
        }
    }
    return -1;
}

static void match_one(rcnn_eval_worker *w, const rcnn_eval_item *items, const uint32_t *order, size_t i, int range,
                      rcnn_eval_outcome *outcome)
{
    unsigned matched = 0, ignored = 0;
    for (int t = 0; t < RCNN_EVAL_IOU_COUNT && w->first[i] < w->first[i + 1]; t++) {
        const int64_t match = best_candidate(w, items, order, i, t);
        if (match < 0) {
            continue;
        }
        w->taken[match] = (uint16_t)(w->taken[match] | 1u << t);
        ignored |= (unsigned)w->ignored[match] << t;
        matched |= (unsigned)(items[order[match]].id != 0) << t; /* COCO marks a match by the id: 0 looks like none */
    }
    outcome->matched[range] = (uint16_t)matched;
    outcome->ignored[range] = (uint16_t)ignored;
}

static void match_range(rcnn_eval_worker *w, const rcnn_eval_task *task, rcnn_eval_group *g, int range,
                        rcnn_eval_outcome *outcomes)
{
    const rcnn_eval_item *items = task->detections->truth->annotations.items;
    const uint32_t *order = task->pairs->truth_order + g->truth_first;
    for (size_t i = 0; i < g->truth_count; i++) {
        w->taken[i] = 0;
        w->ignored[i] = items[order[i]].crowd || outside(items[order[i]].area, range);
        g->regular[range] += !w->ignored[i];
    }
    for (size_t i = 0; i < g->outcome_count; i++) {
        const rcnn_eval_item *found = &task->detections->store.items[w->found[i]];
        match_one(w, items, order, i, range, &outcomes[i]);
        if (outside(area_of(task, found), range)) {
            outcomes[i].ignored[range] = (uint16_t)(outcomes[i].ignored[range] | ~(unsigned)outcomes[i].matched[range]);
        }
    }
}

bool rcnn_eval_match(rcnn_eval_worker *worker, const rcnn_eval_task *task, rcnn_eval_group *group,
                     rcnn_eval_outcome *outcomes)
{
    if (!rcnn_eval_find_candidates(worker, task, group) ||
        !resize(&worker->taken, &worker->taken_capacity, group->truth_count, sizeof *worker->taken) ||
        !resize(&worker->ignored, &worker->ignored_capacity, group->truth_count, sizeof *worker->ignored)) {
        return false;
    }
    for (size_t i = 0; i < group->outcome_count; i++) {
        outcomes[i].score = task->detections->store.items[worker->found[i]].score;
        outcomes[i].rank = (uint32_t)i;
    }
    for (int range = 0; range < RCNN_EVAL_AREA_COUNT; range++) {
        match_range(worker, task, group, range, outcomes);
    }
    return true;
}
