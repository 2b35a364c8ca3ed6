/* Batched non-maximum suppression: boxes suppress each other only within their group (spec 5.8, 5.9, 13.7).
 *
 * The frameworks get there by moving each group to a place of its own, off = group * (largest coordinate + 1) in float,
 * and running one plain NMS; the rounding of that shift is part of their result and is repeated here.
 *   MMCV         always shifted; from 10000 candidates on also group by group. inter > t * union.
 *   TORCHVISION  shifted up to 1000 candidates (4000 coordinates); more run group by group on the true coordinates.
 *                inter / union > t.
 * Group by group, merged by score, equals one walk in which only boxes of the same group are compared.
 * torchvision's box stage shifts by labels 1..K where groups here are 0..K-1: first_group makes up for it. */
#include "backend/ref/boxes.h"
#include "backend/ref/ref.h"

#include <math.h>
#include <string.h>

#define MMCV_SPLIT            10000
#define TORCHVISION_SHIFT_MAX 1000

typedef struct nms_problem {
    const float *boxes; /* [count][4] as given                   */
    const float *scores;
    const int32_t *groups;
    int32_t count;
    rcnn_nms_rule rule;
    float iou;
    int32_t first_group;
    bool shifted, within_group;
    float *moved;     /* [count][4] boxes that are compared    */
    int32_t *order;   /* [count], descending score             */
    int32_t *removed; /* [count] by original index; also the sort's spare */
} nms_problem;

size_t rcnn_ref_nms_scratch(const rcnn_ref_call *call)
{
    return (size_t)call->src_desc[0].dim[1] * (4 * sizeof(float) + 2 * sizeof(int32_t));
}

static void move_groups_apart(nms_problem *p)
{
    float largest = -INFINITY;
    for (int32_t i = 0; i < p->count * 4; i++) {
        largest = fmaxf(largest, p->boxes[i]);
    }
    for (int32_t i = 0; i < p->count * 4; i++) {
        p->moved[i] = p->boxes[i] + (p->shifted ? (float)(p->groups[i / 4] + p->first_group) * (largest + 1.0f) : 0.0f);
    }
}

static float area(const float *box)
{
    return (box[2] - box[0]) * (box[3] - box[1]);
}

static bool suppresses(const nms_problem *p, int32_t winner, int32_t other)
{
    const float *a = p->moved + (size_t)winner * 4;
    const float *b = p->moved + (size_t)other * 4;
    if (p->within_group && p->groups[winner] != p->groups[other]) {
        return false;
    }
    float width = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]), 0.0f);
    float height = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]), 0.0f);
    float inter = width * height;
    float both = area(a) + area(b) - inter;
    return p->rule == RCNN_NMS_MMCV ? inter > p->iou * both : inter / both > p->iou; /* 0/0 is not > t */
}

/* Walks by descending score; what survives goes to the list until it is full. */
static void walk(const nms_problem *p, rcnn_ref_list *list)
{
    memset(p->removed, 0, (size_t)p->count * sizeof *p->removed);
    for (int32_t i = 0; i < p->count; i++) {
        int32_t winner = p->order[i];
        if (p->removed[winner]) {
            continue;
        }
        if (!rcnn_ref_list_add(list, p->boxes + (size_t)winner * 4, p->scores[winner], p->groups[winner])) {
            return;
        }
        for (int32_t j = i + 1; j < p->count; j++) {
            if (suppresses(p, winner, p->order[j])) {
                p->removed[p->order[j]] = 1;
            }
        }
    }
}

static nms_problem problem_of(const rcnn_ref_call *call, int32_t n)
{
    const int32_t capacity = call->src_desc[0].dim[1];
    const size_t first = (size_t)n * (size_t)capacity;
    nms_problem p = {.boxes = (const float *)call->src[0] + first * 4,
                     .scores = (const float *)call->src[1] + first,
                     .groups = (const int32_t *)call->src[2] + first,
                     .count = ((const int32_t *)call->src[3])[n],
                     .rule = call->op->u.nms.rule,
                     .iou = call->op->u.nms.iou,
                     .first_group = call->op->u.nms.first_group,
                     .moved = call->scratch};
    p.order = (int32_t *)(p.moved + (size_t)capacity * 4);
    p.removed = p.order + capacity;
    if (p.rule == RCNN_NMS_MMCV) {
        p.shifted = true;
        p.within_group = p.count >= MMCV_SPLIT;
    } else {
        p.shifted = p.count <= TORCHVISION_SHIFT_MAX;
        p.within_group = !p.shifted;
    }
    return p;
}

rcnn_status rcnn_ref_nms(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    int32_t *counts = call->dst[3];
    for (int32_t n = 0; n < call->dst_desc[3].dim[0]; n++) {
        nms_problem p = problem_of(call, n);
        rcnn_ref_list list = rcnn_ref_list_of(&call->dst_desc[0], call->dst[0], call->dst[1], call->dst[2], n);
        move_groups_apart(&p);
        rcnn_ref_order_descending(p.scores, p.count, p.order, p.removed);
        walk(&p, &list);
        counts[n] = list.count;
    }
    return RCNN_OK;
}
