/* RPN predictions to NMS candidates (spec 5.2-5.6, 13.5-13.6, 14.4).
 *
 * Of 270,000 anchors a few thousand are kept, so the full set is only touched by cheap passes: read logits as integer
 * keys, find the key of the last anchor kept by radix selection, gather what is at least as good. Sigmoids are computed
 * for those only: sigmoid is monotone, but different logits can share one sigmoid value and then the lower index wins,
 * so the cut is first lowered to below the last logit that ties with it.
 *
 * Three quarters of the anchors belong to the first level, so levels alone would not keep threads busy. First every chunk
 * of a level is reduced, in parallel, to what could be kept if it were the whole level; then every level selects among
 * what its chunks left over, sorts and decodes. Each level writes where its candidates would stand if every level before
 * it were full; then the gaps are closed. */
#include "backend/cpu/boxes.h"
#include "backend/cpu/op.h"
#include "backend/cpu/order.h"

#define CHUNK_CELLS 4096

typedef struct chunk_result {
    int32_t count;      /* anchors left over                       */
    int32_t bad_anchor; /* first with a non-finite logit, or -1    */
} chunk_result;

typedef struct level_result {
    int32_t kept;       /* candidates written                                    */
    int32_t bad_anchor; /* first anchor with a non-finite prediction, or -1      */
    bool bad_delta;     /* it was a delta, not the logit                         */
} level_result;

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

/* Of a level of an image, [its anchors] each: keys and numbers of the anchors that are still in the running, chunk after
 * chunk and then without gaps, and what sorting wants. */
typedef struct work {
    uint32_t *keys, *ranks, *spare_ranks;
    int32_t *order, *spare_order;
} work;

static int32_t cells_of(const rcnn_cpu_kernel *k, int32_t level)
{
    return k->src[level].dim[1] * k->src[level].dim[2];
}

static int32_t anchors_of(const rcnn_cpu_kernel *k, int32_t level)
{
    return cells_of(k, level) * k->op.u.rpn_select.anchor_count;
}

static int32_t chunks_of(const rcnn_cpu_kernel *k, int32_t level)
{
    return (cells_of(k, level) + CHUNK_CELLS - 1) / CHUNK_CELLS;
}

/* Anchors of the levels before `level`. */
static size_t anchors_before(const rcnn_cpu_kernel *k, int32_t level)
{
    size_t anchors = 0;
    for (int32_t l = 0; l < level; l++) {
        anchors += (size_t)anchors_of(k, l);
    }
    return anchors;
}

static int32_t chunks_before(const rcnn_cpu_kernel *k, int32_t level)
{
    int32_t chunks = 0;
    for (int32_t l = 0; l < level; l++) {
        chunks += chunks_of(k, l);
    }
    return chunks;
}

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* What all tasks share. */
typedef struct shared {
    level_result *levels; /* [images][levels]             */
    chunk_result *chunks; /* [images][chunks of an image] */
    work work;            /* [images][anchors of an image] */
} shared;

static shared take_shared(const rcnn_cpu_kernel *k, rcnn_cpu_scratch *scratch)
{
    const int32_t levels = k->op.u.rpn_select.level_count;
    const size_t images = (size_t)k->dst[3].dim[0], anchors = images * anchors_before(k, levels);
    shared s;
    s.levels = rcnn_cpu_take(scratch, images * (size_t)levels, sizeof *s.levels);
    s.chunks = rcnn_cpu_take(scratch, images * (size_t)chunks_before(k, levels), sizeof *s.chunks);
    s.work.keys = rcnn_cpu_take(scratch, anchors, sizeof *s.work.keys);
    s.work.ranks = rcnn_cpu_take(scratch, anchors, sizeof *s.work.ranks);
    s.work.spare_ranks = rcnn_cpu_take(scratch, anchors, sizeof *s.work.spare_ranks);
    s.work.order = rcnn_cpu_take(scratch, anchors, sizeof *s.work.order);
    s.work.spare_order = rcnn_cpu_take(scratch, anchors, sizeof *s.work.spare_order);
    return s;
}

static work work_of(const rcnn_cpu_kernel *k, const shared *s, int32_t n, int32_t level)
{
    const size_t at = (size_t)n * anchors_before(k, k->op.u.rpn_select.level_count) + anchors_before(k, level);
    return (work){.keys = s->work.keys + at,
                  .ranks = s->work.ranks + at,
                  .spare_ranks = s->work.spare_ranks + at,
                  .order = s->work.order + at,
                  .spare_order = s->work.spare_order + at};
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

/* The first anchor from `from` on with a non-finite logit: there is one. */
static int32_t find_bad(const level_view *v, int32_t from)
{
    const int32_t anchors = v->op->u.rpn_select.anchor_count;
    while (rcnn_cpu_finite(v->pred + (size_t)(from / anchors) * v->cell_stride + from % anchors, 1)) {
        from++;
    }
    return from;
}

/* keys[i] of anchors from .. to-1, which are whole cells; the first with a non-finite logit, or -1. */
static int32_t read_keys(const level_view *v, int32_t from, int32_t to, uint32_t *keys)
{
    const int32_t anchors = v->op->u.rpn_select.anchor_count;
    const float *cell = v->pred + (size_t)(from / anchors) * v->cell_stride;
    uint32_t all_finite = 1;
    for (int32_t i = from; i < to; i += anchors, cell += v->cell_stride) {
        for (int32_t a = 0; a < anchors; a++) {
            all_finite &= rcnn_cpu_finite(cell + a, 1);
            keys[i + a] = rcnn_cpu_descending_key(cell[a]);
        }
    }
    return all_finite ? -1 : find_bad(v, from);
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

/* The last key that can be among the best v->keep of these. */
static uint32_t cut_of(const level_view *v, const uint32_t *keys, int32_t count)
{
    if (count <= v->keep) {
        return UINT32_MAX;
    }
    const uint32_t cut = rcnn_cpu_kth_key(keys, count, v->keep);
    return v->op->u.rpn_select.rank == RCNN_RANK_SIGMOID
               ? rcnn_cpu_descending_key(below_ties(rcnn_cpu_value_of_key(cut)))
               : cut;
}

/* Of anchors from .. to-1, those that can be among the best of the level: their keys and numbers from `from` on, in order
 * of the numbers. */
static chunk_result reduce_chunk(const level_view *v, const work *w, int32_t from, int32_t to)
{
    chunk_result result = {.bad_anchor = read_keys(v, from, to, w->keys)};
    if (result.bad_anchor >= 0) {
        return result;
    }
    uint32_t *keys = w->keys + from;
    int32_t *order = w->order + from;
    const uint32_t cut = cut_of(v, keys, to - from);
    for (int32_t i = 0; i < to - from; i++) {
        order[result.count] = from + i; /* overwritten by the next one unless it stays */
        result.count += keys[i] <= cut;
    }
    for (int32_t i = 0; i < result.count; i++) {
        keys[i] = keys[order[i] - from];
    }
    return result;
}

/* Puts what the chunks left over together and reduces it once more; their number, or -1 and the bad anchor. */
static int32_t join_chunks(const level_view *v, const work *w, const chunk_result *chunks, int32_t chunk_count,
                           int32_t *bad_anchor)
{
    const int32_t chunk_anchors = CHUNK_CELLS * v->op->u.rpn_select.anchor_count;
    int32_t count = 0;
    for (int32_t c = 0; c < chunk_count; c++) {
        if (chunks[c].bad_anchor >= 0) {
            *bad_anchor = chunks[c].bad_anchor;
            return -1;
        }
        const size_t from = (size_t)c * (size_t)chunk_anchors, left = (size_t)chunks[c].count;
        memmove(w->keys + count, w->keys + from, left * sizeof *w->keys);
        memmove(w->order + count, w->order + from, left * sizeof *w->order);
        count += chunks[c].count;
    }
    const uint32_t cut = cut_of(v, w->keys, count);
    int32_t kept = 0;
    for (int32_t i = 0; i < count; i++) {
        const uint32_t key = w->keys[i];
        const int32_t anchor = w->order[i];
        w->keys[kept] = key;
        w->order[kept] = anchor;
        kept += key <= cut;
    }
    return kept;
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

static void write_candidates(const level_view *v, const work *w, level_result *result)
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

static level_result select_level(const level_view *v, const work *w, const chunk_result *chunks, int32_t chunk_count)
{
    level_result result = {.bad_anchor = -1};
    const int32_t count = join_chunks(v, w, chunks, chunk_count, &result.bad_anchor);
    if (count < 0) {
        return result;
    }
    for (int32_t i = 0; i < count; i++) {
        w->ranks[i] = rank_key(v, w->keys[i]);
    }
    if (v->total > v->keep || !v->op->u.rpn_select.keep_order) {
        rcnn_cpu_sort_pairs(w->ranks, w->order, w->spare_ranks, w->spare_order, count);
    }
    write_candidates(v, w, &result);
    return result;
}

/* Closes the gaps between the levels of one image; returns its number of candidates. */
static int32_t close_gaps(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, const level_result *results)
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

static rcnn_status finish_image(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, const level_result *results,
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

/* Chunk number `task` of all chunks of the live images. */
static void run_chunk(const rcnn_cpu_kernel *k, const rcnn_args *args, const shared *s, int32_t task)
{
    const int32_t per_image = chunks_before(k, k->op.u.rpn_select.level_count);
    const int32_t n = task / per_image;
    int32_t chunk = task % per_image, level = 0;
    while (chunk >= chunks_of(k, level)) {
        chunk -= chunks_of(k, level++);
    }
    const level_view v = view_of(k, args, n, level);
    const work w = work_of(k, s, n, level);
    const int32_t chunk_anchors = CHUNK_CELLS * k->op.u.rpn_select.anchor_count;
    s->chunks[task] = reduce_chunk(&v, &w, chunk * chunk_anchors, smaller(v.total, (chunk + 1) * chunk_anchors));
}

static void run_level(const rcnn_cpu_kernel *k, const rcnn_args *args, const shared *s, int32_t task)
{
    const int32_t levels = k->op.u.rpn_select.level_count;
    const int32_t n = task / levels, level = task % levels;
    const level_view v = view_of(k, args, n, level);
    const work w = work_of(k, s, n, level);
    const chunk_result *chunks = s->chunks + n * chunks_before(k, levels) + chunks_before(k, level);
    s->levels[task] = select_level(&v, &w, chunks, chunks_of(k, level));
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t levels = k->op.u.rpn_select.level_count;
    const int32_t images = k->dst[3].dim[0];
    const int32_t live = smaller(args->frame->count, images);
    const int32_t chunks = live * chunks_before(k, levels);
    rcnn_cpu_scratch scratch = {.base = args->scratch};
    const shared s = take_shared(k, &scratch);
#pragma omp parallel num_threads(k->threads)
    {
#pragma omp for schedule(dynamic, 1)
        for (int32_t task = 0; task < chunks; task++) {
            run_chunk(k, args, &s, task);
        }
#pragma omp for schedule(dynamic, 1)
        for (int32_t task = 0; task < live * levels; task++) {
            run_level(k, args, &s, task);
        }
    }
    memset(rcnn_cpu_output(k, args, 3), 0, (size_t)images * sizeof(int32_t));
    for (int32_t n = 0; n < live; n++) {
        RCNN_TRY(finish_image(k, args, n, s.levels + n * levels, err));
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
    rcnn_cpu_scratch scratch = {0};
    take_shared(k, &scratch);
    *scratch_bytes = scratch.used;
    *out = &k->head;
    return RCNN_OK;
}
