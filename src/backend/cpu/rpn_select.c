/* RPN predictions to NMS candidates (spec 5.2-5.6, 13.5-13.6, 14.4), one task per image and level.
 *
 * Of 270,000 anchors a few thousand are kept, so the full set is only touched by cheap passes: read logits as integer
 * keys, find the key of the last anchor kept by radix selection, gather what is at least as good. Sigmoids are computed
 * for those only: sigmoid is monotone, but different logits can share one sigmoid value and then the lower index wins,
 * so the cut is first lowered to below the last logit that ties with it.
 *
 * Each level writes where its candidates would stand if every level before it were full; then the gaps are closed. */
#include "backend/cpu/boxes.h"
#include "backend/cpu/op.h"
#include "backend/cpu/order.h"

#include "base/memory.h"

typedef struct task_result {
    int32_t kept;       /* candidates written                                    */
    int32_t bad_anchor; /* first anchor with a non-finite prediction, or -1      */
    bool bad_delta;     /* it was a delta, not the logit                         */
} task_result;

/* One level of one image. */
typedef struct level_view {
    const rcnn_op *op;
    int32_t n, level, width, total, keep; /* anchors in all and to keep */
    size_t cell_stride;
    const float *pred; /* [cells][cell_stride] */
    int32_t net_width, net_height;
    float *boxes, *scores; /* where its candidates go */
    int32_t *groups;
} level_view;

/* Per thread, [largest level] each. */
typedef struct work {
    uint32_t *keys, *ranks, *spare_ranks;
    int32_t *order, *spare_order;
} work;

static int32_t anchors_of(const rcnn_cpu_kernel *k, int32_t level)
{
    return k->src[level].dim[1] * k->src[level].dim[2] * k->op.u.rpn_select.anchor_count;
}

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static work take_work(const rcnn_cpu_kernel *k, rcnn_cpu_scratch *scratch)
{
    int32_t largest = 0;
    for (int32_t l = 0; l < k->op.u.rpn_select.level_count; l++) {
        largest = anchors_of(k, l) > largest ? anchors_of(k, l) : largest;
    }
    work w;
    w.keys = rcnn_cpu_take(scratch, (size_t)largest, sizeof *w.keys);
    w.ranks = rcnn_cpu_take(scratch, (size_t)largest, sizeof *w.ranks);
    w.spare_ranks = rcnn_cpu_take(scratch, (size_t)largest, sizeof *w.spare_ranks);
    w.order = rcnn_cpu_take(scratch, (size_t)largest, sizeof *w.order);
    w.spare_order = rcnn_cpu_take(scratch, (size_t)largest, sizeof *w.spare_order);
    return w;
}

static level_view view_of(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, int32_t level)
{
    const int32_t *dim = k->src[level].dim;
    size_t at = (size_t)n * (size_t)k->dst[0].dim[1];
    for (int32_t l = 0; l < level; l++) {
        at += (size_t)smaller(anchors_of(k, l), k->op.u.rpn_select.pre_nms);
    }
    level_view v = {.op = &k->op,
                    .n = n,
                    .level = level,
                    .width = dim[2],
                    .total = anchors_of(k, level),
                    .cell_stride = (size_t)dim[3],
                    .pred = (const float *)rcnn_cpu_input(k, args, level) +
                            (size_t)n * rcnn_cpu_row_elements(&k->src[level]),
                    .net_width = args->frame->image[n].net_width,
                    .net_height = args->frame->image[n].net_height,
                    .boxes = (float *)rcnn_cpu_output(k, args, 0) + at * 4,
                    .scores = (float *)rcnn_cpu_output(k, args, 1) + at,
                    .groups = (int32_t *)rcnn_cpu_output(k, args, 2) + at};
    v.keep = smaller(v.total, k->op.u.rpn_select.pre_nms);
    return v;
}

/* keys[i] of every anchor; the index of the first non-finite logit, or -1. */
static int32_t read_keys(const level_view *v, uint32_t *keys)
{
    const int32_t anchors = v->op->u.rpn_select.anchor_count;
    const float *cell = v->pred;
    for (int32_t i = 0; i < v->total; i += anchors, cell += v->cell_stride) {
        if (!rcnn_cpu_finite(cell, (size_t)anchors)) {
            int32_t a = 0;
            while (rcnn_cpu_finite(cell + a, 1)) {
                a++;
            }
            return i + a;
        }
        for (int32_t a = 0; a < anchors; a++) {
            keys[i + a] = rcnn_cpu_descending_key(cell[a]);
        }
    }
    return -1;
}

/* A logit so low that neither it nor anything below it reaches sigmoid(logit). */
static float below_ties(float logit)
{
    const float reached = rcnn_cpu_sigmoid(logit);
    if (reached <= 0) {
        return -INFINITY; /* sigmoid has run out of values: every lower logit ties */
    }
    float step = fmaxf(fabsf(logit), 1.0f) * 1e-6f;
    float low = logit;
    do {
        low -= step;
        step *= 2;
    } while (rcnn_cpu_sigmoid(low) >= reached);
    return low - step; /* one step more, in case the library's expf is not quite monotone */
}

static uint32_t rank_key(const level_view *v, uint32_t logit_key)
{
    float logit = rcnn_cpu_value_of_key(logit_key);
    return v->op->u.rpn_select.rank == RCNN_RANK_SIGMOID ? rcnn_cpu_descending_key(rcnn_cpu_sigmoid(logit)) : logit_key;
}

/* Candidates in index order: all that can be among the best v->keep. */
static int32_t gather(const level_view *v, const work *w)
{
    uint32_t cut = UINT32_MAX;
    if (v->total > v->keep) {
        cut = rcnn_cpu_kth_key(w->keys, v->total, v->keep);
        if (v->op->u.rpn_select.rank == RCNN_RANK_SIGMOID) {
            cut = rcnn_cpu_descending_key(below_ties(rcnn_cpu_value_of_key(cut)));
        }
    }
    int32_t count = 0;
    for (int32_t i = 0; i < v->total; i++) {
        w->order[count] = i; /* overwritten by the next one unless it stays */
        count += w->keys[i] <= cut;
    }
    for (int32_t i = 0; i < count; i++) {
        w->ranks[i] = rank_key(v, w->keys[w->order[i]]);
    }
    return count;
}

static void anchor_of(const level_view *v, int32_t i, float box[4])
{
    const int32_t cell = i / v->op->u.rpn_select.anchor_count;
    const float *base = v->op->u.rpn_select.base[v->level][i % v->op->u.rpn_select.anchor_count];
    const float x = (float)(cell % v->width) * v->op->u.rpn_select.step_x[v->level];
    const float y = (float)(cell / v->width) * v->op->u.rpn_select.step_y[v->level];
    box[0] = base[0] + x;
    box[1] = base[1] + y;
    box[2] = base[2] + x;
    box[3] = base[3] + y;
}

static bool large_enough(const level_view *v, const float *box)
{
    const float least = v->op->u.rpn_select.min_size;
    const float width = box[2] - box[0], height = box[3] - box[1];
    if (least < 0) {
        return true;
    }
    return v->op->u.rpn_select.min_inclusive ? width >= least && height >= least : width > least && height > least;
}

static void write_candidates(const level_view *v, const work *w, task_result *result)
{
    const int32_t anchors = v->op->u.rpn_select.anchor_count;
    for (int32_t j = 0; j < v->keep; j++) {
        const int32_t i = w->order[j];
        const float *cell = v->pred + (size_t)(i / anchors) * v->cell_stride;
        const float *delta = cell + anchors + i % anchors * 4;
        if (!rcnn_cpu_finite(delta, 4)) {
            result->bad_anchor = i;
            result->bad_delta = true;
            return;
        }
        float anchor[4];
        float *box = v->boxes + (size_t)result->kept * 4;
        anchor_of(v, i, anchor);
        rcnn_cpu_decode_clipped(&v->op->u.rpn_select.decode, anchor, delta, v->net_width, v->net_height, box);
        if (large_enough(v, box)) {
            bool logit = v->op->u.rpn_select.rank == RCNN_RANK_LOGIT;
            v->scores[result->kept] = logit ? cell[i % anchors] : rcnn_cpu_value_of_key(w->ranks[j]);
            v->groups[result->kept] = v->level;
            result->kept++;
        }
    }
}

static task_result select_level(const level_view *v, const work *w)
{
    task_result result = {.bad_anchor = read_keys(v, w->keys)};
    if (result.bad_anchor >= 0) {
        return result;
    }
    const int32_t count = gather(v, w);
    if (v->total > v->keep || !v->op->u.rpn_select.keep_order) {
        rcnn_cpu_sort_pairs(w->ranks, w->order, w->spare_ranks, w->spare_order, count);
    }
    write_candidates(v, w, &result);
    return result;
}

/* Closes the gaps between the levels of one image; returns its number of candidates. */
static int32_t close_gaps(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, const task_result *results)
{
    const level_view first = view_of(k, args, n, 0);
    int32_t count = 0;
    for (int32_t l = 0; l < k->op.u.rpn_select.level_count; l++) {
        const level_view v = view_of(k, args, n, l);
        const size_t kept = (size_t)results[l].kept;
        memmove(first.boxes + (size_t)count * 4, v.boxes, kept * 4 * sizeof *v.boxes);
        memmove(first.scores + count, v.scores, kept * sizeof *v.scores);
        memmove(first.groups + count, v.groups, kept * sizeof *v.groups);
        count += results[l].kept;
    }
    return count;
}

static rcnn_status finish_image(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, const task_result *results,
                                rcnn_error *err)
{
    for (int32_t l = 0; l < k->op.u.rpn_select.level_count; l++) {
        if (results[l].bad_anchor >= 0) {
            return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, level %d, anchor %d: %s is not finite",
                             k->op.name, n, l, results[l].bad_anchor,
                             results[l].bad_delta ? "a box delta" : "the objectness logit");
        }
    }
    ((int32_t *)rcnn_cpu_output(k, args, 3))[n] = close_gaps(k, args, n, results);
    return RCNN_OK;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t levels = k->op.u.rpn_select.level_count;
    const int32_t images = k->dst[3].dim[0];
    const int32_t live = smaller(args->frame->count, images);
    rcnn_cpu_scratch shared = {.base = args->scratch};
    task_result *results = rcnn_cpu_take(&shared, (size_t)images * (size_t)levels, sizeof *results);
#pragma omp parallel for num_threads(k->threads) schedule(dynamic, 1)
    for (int32_t task = 0; task < live * levels; task++) {
        rcnn_cpu_scratch own = {.base = shared.base + shared.used + (size_t)rcnn_cpu_thread_index() * k->thread_bytes};
        const work w = take_work(k, &own);
        const level_view v = view_of(k, args, task / levels, task % levels);
        results[task] = select_level(&v, &w);
    }
    memset(rcnn_cpu_output(k, args, 3), 0, (size_t)images * sizeof(int32_t));
    for (int32_t n = 0; n < live; n++) {
        RCNN_TRY(finish_image(k, args, n, results + n * levels, err));
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_rpn_select(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    rcnn_cpu_scratch own = {0};
    take_work(k, &own);
    k->thread_bytes = own.used;
    rcnn_cpu_scratch all = {0};
    rcnn_cpu_take(&all, (size_t)k->dst[3].dim[0] * (size_t)op->u.rpn_select.level_count, sizeof(task_result));
    rcnn_cpu_take(&all, (size_t)k->threads, k->thread_bytes);
    *scratch_bytes = all.used;
    *out = &k->head;
    return RCNN_OK;
}
