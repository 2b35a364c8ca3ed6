/* Batched non-maximum suppression (spec 5.8, 5.9, 13.7). Candidates are sorted once by score and dealt out to their
 * groups; each group is walked best first, a candidate against the kept boxes of its group only, 16 at a time, groups in
 * parallel; the answer is the first survivors of the global order.
 *
 * The frameworks move every group to a place of its own and compare everything with everything. Here the same rounded
 * coordinates are compared, but only within a group: boxes of two groups cannot touch as long as no coordinate is
 * negative and the shift is small enough for rounding not to bridge the gap of 1 between groups. Where that is not
 * certain all candidates are treated as one group, which is the frameworks' form to the letter. */
#include "backend/cpu/op.h"
#include "backend/cpu/order.h"

#include <math.h>

#define ALONE_MAX             500 /* up to so many candidates one thread walks all groups */
#define MMCV_SPLIT            10000
#define TORCHVISION_SHIFT_MAX 1000
#define SHIFT_SAFE            2097152.0f /* 2^21: floats are at most 1/4 apart below it */

typedef struct problem {
    const float *boxes, *scores; /* [count][4], [count] */
    const int32_t *groups;
    int32_t count;
    rcnn_cpu_overlap_rule rule;
    int32_t first_shift;      /* steps that group 0 moves by        */
    bool shifted;             /* move groups apart before comparing */
    bool by_group;            /* compare within groups only         */
    int32_t *order, *grouped; /* indices: best first; group after group, each best first */
    int32_t *spare_order;
    uint32_t *keys, *spare_keys;
    float (*moved)[5];         /* x1,y1,x2,y2,area as compared */
    rcnn_cpu_box_columns kept; /* survivors: those of a group from its place in `grouped` on */
    uint8_t *survives;         /* by index */
} problem;

static void take_arrays(problem *p, size_t capacity, rcnn_cpu_scratch *scratch)
{
    p->order = rcnn_cpu_take(scratch, capacity, sizeof *p->order);
    p->grouped = rcnn_cpu_take(scratch, capacity, sizeof *p->grouped);
    p->spare_order = rcnn_cpu_take(scratch, capacity + 1, sizeof *p->spare_order);
    p->keys = rcnn_cpu_take(scratch, capacity, sizeof *p->keys);
    p->spare_keys = rcnn_cpu_take(scratch, capacity, sizeof *p->spare_keys);
    p->moved = rcnn_cpu_take(scratch, capacity, sizeof *p->moved);
    p->kept.x1 = rcnn_cpu_take(scratch, capacity, sizeof(float));
    p->kept.y1 = rcnn_cpu_take(scratch, capacity, sizeof(float));
    p->kept.x2 = rcnn_cpu_take(scratch, capacity, sizeof(float));
    p->kept.y2 = rcnn_cpu_take(scratch, capacity, sizeof(float));
    p->kept.area = rcnn_cpu_take(scratch, capacity, sizeof(float));
    p->survives = rcnn_cpu_take(scratch, capacity, sizeof *p->survives);
}

/* How this rule compares this many candidates. */
static void choose_form(problem *p, rcnn_nms_rule rule)
{
    p->rule.divide = rule == RCNN_NMS_TORCHVISION;
    p->shifted = rule == RCNN_NMS_MMCV || p->count <= TORCHVISION_SHIFT_MAX;
    p->by_group = rule == RCNN_NMS_MMCV ? p->count >= MMCV_SPLIT : !p->shifted;
}

/* Fills moved; sets by_group where the shift provably keeps groups apart. */
static void move_groups_apart(problem *p)
{
    float highest = -INFINITY, lowest = INFINITY;
    int32_t last_group = 0, first_group = 0;
    for (int32_t i = 0; i < p->count * 4; i++) {
        highest = p->boxes[i] > highest ? p->boxes[i] : highest;
        lowest = p->boxes[i] < lowest ? p->boxes[i] : lowest;
    }
    for (int32_t i = 0; i < p->count; i++) {
        last_group = p->groups[i] > last_group ? p->groups[i] : last_group;
        first_group = p->groups[i] < first_group ? p->groups[i] : first_group;
    }
    const float step = highest + 1.0f;
    for (int32_t i = 0; i < p->count; i++) {
        const float shift = p->shifted ? (float)(p->groups[i] + p->first_shift) * step : 0.0f;
        float *box = p->moved[i];
        for (int32_t c = 0; c < 4; c++) {
            box[c] = p->boxes[(size_t)i * 4 + (size_t)c] + shift;
        }
        box[4] = (box[2] - box[0]) * (box[3] - box[1]);
    }
    const bool apart =
        lowest >= 0 && first_group >= 0 && ((float)(last_group + p->first_shift) + 1.0f) * step <= SHIFT_SAFE;
    p->by_group = p->by_group || (p->shifted && apart);
}

/* order: best first, ties by lower index. grouped: the same, group after group. */
static void sort_candidates(problem *p)
{
    for (int32_t i = 0; i < p->count; i++) {
        p->keys[i] = rcnn_cpu_descending_key(p->scores[i]);
        p->order[i] = i;
    }
    rcnn_cpu_sort_pairs(p->keys, p->order, p->spare_keys, p->spare_order, p->count);
    memcpy(p->grouped, p->order, (size_t)p->count * sizeof *p->grouped);
    if (p->by_group) {
        for (int32_t i = 0; i < p->count; i++) {
            p->keys[i] = (uint32_t)p->groups[p->grouped[i]];
        }
        rcnn_cpu_sort_pairs(p->keys, p->grouped, p->spare_keys, p->spare_order, p->count);
    }
}

static void keep_box(const rcnn_cpu_box_columns *kept, int32_t at, const float *box)
{
    kept->x1[at] = box[0];
    kept->y1[at] = box[1];
    kept->x2[at] = box[2];
    kept->y2[at] = box[3];
    kept->area[at] = box[4];
}

/* Walks grouped[from..to), keeping survivors in kept[from..]; no group needs more of them than the answer has room for. */
static void walk_group(const problem *p, int32_t from, int32_t to, int32_t room, const rcnn_cpu_body *body)
{
    int32_t end = from;
    for (int32_t i = from; i < to && end - from < room; i++) {
        const int32_t candidate = p->grouped[i];
        const float *box = p->moved[candidate];
        if (!body->overlaps_any(&p->kept, from, end, box, p->rule)) {
            p->survives[candidate] = 1;
            keep_box(&p->kept, end++, box);
        }
    }
}

/* Where each group starts within `grouped`, and the end of the last; returns the number of groups. */
static int32_t find_groups(const problem *p, int32_t *starts)
{
    int32_t groups = 0;
    for (int32_t i = 0; i < p->count; i++) {
        if (i == 0 || (p->by_group && p->groups[p->grouped[i]] != p->groups[p->grouped[i - 1]])) {
            starts[groups++] = i;
        }
    }
    starts[groups] = p->count;
    return groups;
}

/* Groups in parallel, unless waking threads would take longer. */
static void walk_groups(const problem *p, int32_t room, int32_t threads, const rcnn_cpu_body *body)
{
    int32_t *starts = p->spare_order;
    memset(p->survives, 0, (size_t)p->count);
    const int32_t groups = find_groups(p, starts);
    const int32_t useful = p->count < ALONE_MAX ? 1 : threads;
    (void)useful; /* read by OpenMP alone */
#pragma omp parallel for num_threads(useful) schedule(dynamic, 1) if (useful > 1)
    for (int32_t g = 0; g < groups; g++) {
        walk_group(p, starts[g], starts[g + 1], room, body);
    }
}

/* The first survivors in score order, with their original coordinates. */
static int32_t write_survivors(const problem *p, int32_t room, float *boxes, float *scores, int32_t *groups)
{
    int32_t count = 0;
    for (int32_t i = 0; i < p->count && count < room; i++) {
        const int32_t from = p->order[i];
        if (p->survives[from]) {
            memcpy(boxes + (size_t)count * 4, p->boxes + (size_t)from * 4, 4 * sizeof *boxes);
            scores[count] = p->scores[from];
            groups[count] = p->groups[from];
            count++;
        }
    }
    return count;
}

static int32_t suppress_image(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n)
{
    const size_t first = (size_t)n * (size_t)k->src[0].dim[1];
    const int32_t room = k->dst[0].dim[1];
    const size_t out = (size_t)n * (size_t)room;
    problem p = {.boxes = (const float *)rcnn_cpu_input(k, args, 0) + first * 4,
                 .scores = (const float *)rcnn_cpu_input(k, args, 1) + first,
                 .groups = (const int32_t *)rcnn_cpu_input(k, args, 2) + first,
                 .count = ((const int32_t *)rcnn_cpu_input(k, args, 3))[n],
                 .rule = {.iou = k->op.u.nms.iou},
                 .first_shift = k->op.u.nms.first_group};
    rcnn_cpu_scratch scratch = {.base = args->scratch};
    take_arrays(&p, (size_t)k->src[0].dim[1], &scratch);
    choose_form(&p, k->op.u.nms.rule);
    move_groups_apart(&p);
    sort_candidates(&p);
    walk_groups(&p, room, k->threads, k->body);
    return write_survivors(&p, room, (float *)rcnn_cpu_output(k, args, 0) + out * 4,
                           (float *)rcnn_cpu_output(k, args, 1) + out, (int32_t *)rcnn_cpu_output(k, args, 2) + out);
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    int32_t *counts = rcnn_cpu_output(k, args, 3);
    for (int32_t n = 0; n < k->dst[3].dim[0]; n++) {
        counts[n] = suppress_image(k, args, n);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_nms(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                 size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    problem p = {0};
    rcnn_cpu_scratch scratch = {0};
    take_arrays(&p, (size_t)k->src[0].dim[1], &scratch);
    *scratch_bytes = scratch.used;
    *out = &k->head;
    return RCNN_OK;
}
