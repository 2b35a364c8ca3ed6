/* Host side of conv_sm90.cu: which ops and runs of ops it takes, how the maps are cut into tiles, and the parameter
 * block of a launch, which is made at enqueue because the copy engine's descriptions hold addresses.
 *
 * Runs of ops that become one launch:
 *   merge    CONV 1x1, UPSAMPLE_ADD          a lateral and the top-down addition
 *   group    2..5 CONVs of one geometry      the output convolutions of all pyramid levels
 *   heads    (CONV 3x3 + ReLU, CONV 1x1) x levels   the RPN; the second layer never leaves the registers
 *   logit    DECONV, MASK_LOGIT              the mask's last two layers; 256 x 28 x 28 values a RoI never reach memory */
#include "backend/cuda/conv_sm90_ops.h"

#include <stdio.h>
#include <string.h>

#include "backend/cuda/conv.h"
#include "backend/cuda/conv_sm90.h"
#include "backend/cuda/tensor_map.h"
#include "base/memory.h"

typedef enum sm90_shape { SM90_CONV, SM90_MERGE, SM90_GROUP, SM90_HEADS, SM90_LOGIT } sm90_shape;

/* One map of a launch. */
typedef struct sm90_part {
    const void *weights;
    const float *bias;
    int32_t src_dim[4], dst_dim[4]; /* as the launch sees them: 1x1 convolutions as one long row of pixels */
    int32_t residual_dim[4];
    int32_t bn, bh, bw;
} sm90_part;

/* A launch but for the memory. */
typedef struct sm90_plan {
    sm90_shape shape;
    bool bf16;
    rcnn_sm90_residual residual;
    sm90_part part[RCNN_SM90_SEGMENTS_MAX];
    int32_t part_count;
    int32_t tile_out, out, in, k, stride, pad, relu;
    int32_t count_images;
    const void *pred_weights; /* heads */
    const float *pred_bias;
    int32_t pred_out;
    const float *dot_weights, *dot_bias; /* logit */
    int32_t side, capacity, classes, agnostic, channel_offset;
    rcnn_cuda_fault_place fault;
} sm90_plan;

/* Its memory. */
typedef struct sm90_memory {
    const void *src[RCNN_SM90_SEGMENTS_MAX], *residual[RCNN_SM90_SEGMENTS_MAX];
    void *dst[RCNN_SM90_SEGMENTS_MAX];
    const int32_t *counts, *labels;
} sm90_memory;

/* Ops as a kernel: where the memory is, by value ids. */
typedef struct sm90_kernel {
    rcnn_kernel base;
    sm90_plan plan;
    rcnn_value_id src[RCNN_SM90_SEGMENTS_MAX], dst[RCNN_SM90_SEGMENTS_MAX];
    rcnn_value_id residual, counts, labels; /* of the first part */
} sm90_kernel;

/* ------------------------------------------------------------- what it takes */

static const rcnn_tensor_desc *desc_of(const rcnn_graph *graph, rcnn_value_id id)
{
    return &graph->values[id].desc;
}

static bool is_half(rcnn_dtype dtype)
{
    return dtype == RCNN_F16 || dtype == RCNN_BF16;
}

/* The output of op `first` is read by op `first + 1` as input 0 and by nothing else. */
static bool feeds_only_next(const rcnn_graph *graph, int32_t first)
{
    if (first + 1 >= graph->op_count) {
        return false;
    }
    const rcnn_op *op = &graph->ops[first];
    const rcnn_op *next = op + 1;
    return next->stage == op->stage && next->input_count > 0 && next->input[0] == op->output[0] &&
           graph->values[op->output[0]].last_use == first + 1;
}

static bool takes_geometry(const rcnn_op_weights *w, int32_t stride, int32_t pad, int32_t groups)
{
    const bool square = w->kh == w->kw && (w->kh == 1 || w->kh == 3);
    return square && pad == w->kh / 2 && stride <= 2 && groups == 1 && w->in % RCNN_SM90_CHUNK == 0 &&
           w->out % RCNN_SM90_CHUNK == 0;
}

static bool takes_conv(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op)
{
    if (backend->sm != 90 || op->kind != RCNN_OP_CONV) {
        return false;
    }
    const rcnn_tensor_desc *src = desc_of(graph, op->input[0]);
    return is_half(src->dtype) && desc_of(graph, op->output[0])->dtype == src->dtype && src->dim[3] == op->w.in &&
           takes_geometry(&op->w, op->u.conv.stride, op->u.conv.pad, op->u.conv.groups);
}

static int32_t match_merge(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *conv = &graph->ops[first];
    if (!takes_conv(backend, graph, conv) || conv->w.kh != 1 || conv->u.conv.stride != 1 || conv->u.conv.relu ||
        conv->u.conv.residual || conv->rows != RCNN_NO_VALUE || !feeds_only_next(graph, first) ||
        conv[1].kind != RCNN_OP_UPSAMPLE_ADD) {
        return 0;
    }
    const int32_t *to = desc_of(graph, conv[1].output[0])->dim;
    const int32_t *top = desc_of(graph, conv[1].input[1])->dim;
    return to[1] == 2 * top[1] && to[2] == 2 * top[2] && conv->w.out % 256 == 0 ? 2 : 0;
}

static bool same_geometry(const rcnn_op *a, const rcnn_op *b)
{
    return a->stage == b->stage && a->w.out == b->w.out && a->w.in == b->w.in && a->w.kh == b->w.kh &&
           a->u.conv.stride == b->u.conv.stride && a->u.conv.relu == b->u.conv.relu && !a->u.conv.residual &&
           !b->u.conv.residual && a->rows == RCNN_NO_VALUE && b->rows == RCNN_NO_VALUE;
}

static int32_t match_group(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    if (!takes_conv(backend, graph, op) || op->w.kh != 3 || op->w.out % 256 != 0) {
        return 0;
    }
    int32_t count = 1;
    while (count < RCNN_SM90_SEGMENTS_MAX && first + count < graph->op_count) {
        const rcnn_op *next = op + count;
        if (!takes_conv(backend, graph, next) || !same_geometry(op, next) ||
            graph->values[next->input[0]].producer >= first) { /* reads what another one of the group writes */
            break;
        }
        count++;
    }
    return count > 1 ? count : 0;
}

static bool is_head(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *conv = &graph->ops[first];
    if (!takes_conv(backend, graph, conv) || conv->w.kh != 3 || conv->u.conv.stride != 1 || conv->w.out != 256 ||
        !conv->u.conv.relu || conv->u.conv.residual || conv->rows != RCNN_NO_VALUE || !feeds_only_next(graph, first)) {
        return false;
    }
    const rcnn_op *pred = conv + 1;
    return pred->kind == RCNN_OP_CONV && pred->w.kh == 1 && pred->w.out <= RCNN_SM90_PRED_OUT_MAX &&
           pred->u.conv.groups == 1 && pred->u.conv.stride == 1 && !pred->u.conv.relu && !pred->u.conv.residual &&
           desc_of(graph, pred->output[0])->dtype == RCNN_F32;
}

static int32_t match_heads(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    int32_t count = 0;
    const rcnn_op *op = &graph->ops[first];
    while (count < 2 * RCNN_SM90_SEGMENTS_MAX && first + count < graph->op_count &&
           is_head(backend, graph, first + count)) {
        const rcnn_op *conv = op + count;
        if (conv->stage != op->stage || conv->w.in != op->w.in || conv[1].w.weights != op[1].w.weights) {
            break;
        }
        count += 2;
    }
    return count;
}

static int32_t match_logit(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    if (backend->sm != 90 || op->kind != RCNN_OP_DECONV || !feeds_only_next(graph, first)) {
        return 0;
    }
    const rcnn_tensor_desc *src = desc_of(graph, op->input[0]);
    return op[1].kind == RCNN_OP_MASK_LOGIT && is_half(src->dtype) && op->u.deconv.relu && op->w.out == 256 &&
                   op->w.in % RCNN_SM90_CHUNK == 0 && op->rows != RCNN_NO_VALUE
               ? 2
               : 0;
}

int32_t rcnn_sm90_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    int32_t (*const matchers[])(const rcnn_backend *, const rcnn_graph *, int32_t) = {match_merge, match_heads,
                                                                                      match_group, match_logit};
    for (size_t i = 0; i < sizeof matchers / sizeof matchers[0]; i++) {
        int32_t count = matchers[i](backend, graph, first);
        if (count > 0) {
            return count;
        }
    }
    return 0;
}

/* ------------------------------------------------------------- tiles */

static int32_t divide_up(int32_t a, int32_t b)
{
    return (a + b - 1) / b;
}

/* The cut of n x height x width outputs with the fewest tiles; among those the one whose 3x3 source is smallest. */
static void cut(sm90_part *part, bool even)
{
    const int32_t *dim = part->dst_dim;
    int64_t best = INT64_MAX;
    const int32_t step = even ? 2 : 1;
    for (int32_t bw = step; bw <= RCNN_SM90_TILE_ROWS && bw < dim[2] + step; bw += step) {
        for (int32_t bh = step; bw * bh <= RCNN_SM90_TILE_ROWS && bh < dim[1] + step; bh += step) {
            int32_t bn = RCNN_SM90_TILE_ROWS / (bw * bh);
            bn = bn < dim[0] ? bn : dim[0];
            int64_t tiles = (int64_t)divide_up(dim[0], bn) * divide_up(dim[1], bh) * divide_up(dim[2], bw);
            int64_t cost = tiles * 100000 + (int64_t)bn * (bh + 2) * (bw + 2);
            if (cost < best) {
                best = cost;
                part->bn = bn;
                part->bh = bh;
                part->bw = bw;
            }
        }
    }
}

static int64_t tiles_of(const sm90_part *part)
{
    return (int64_t)divide_up(part->dst_dim[0], part->bn) * divide_up(part->dst_dim[1], part->bh) *
           divide_up(part->dst_dim[2], part->bw);
}

/* Pairs of pixel tiles, a cluster's share, at one width of outputs. */
static int64_t pairs_of(const sm90_plan *k)
{
    int64_t pairs = 0;
    for (int32_t p = 0; p < k->part_count; p++) {
        pairs += (tiles_of(&k->part[p]) + 1) / 2;
    }
    return pairs;
}

/* Full rounds of all clusters at 256 outputs a tile, in hundredths: how much there is to do. */
static int64_t rounds_of(const sm90_plan *k, int32_t multiprocessors)
{
    return pairs_of(k) * k->out * 100 / 256 / (multiprocessors / 2);
}

/* Nanoseconds of all rounds at `width` outputs a tile, the last one cut finer where the kernel does that (make_schedule).
 * A step is one tap's 64 channels; what it takes and what a tile takes besides were measured on an H100. */
static int64_t time_at(const sm90_plan *k, int32_t multiprocessors, int32_t width)
{
    const int64_t step_ns = width == 256 ? 780 : width == 128 ? 400 : 310, tile_ns = 1500, narrow_step_ns = 310;
    const int64_t steps = (int64_t)k->k * k->k * k->in / RCNN_SM90_CHUNK;
    const int64_t clusters = multiprocessors / 2, cuts = width / RCNN_SM90_CHUNK;
    const int64_t pairs = pairs_of(k) * (k->out / width);
    const int64_t left = pairs % clusters;
    int64_t ns = pairs / clusters * (steps * step_ns + tile_ns);
    if (left > 0 && cuts > 1 && left * cuts <= 2 * clusters) {
        ns += (left * cuts + clusters - 1) / clusters * (steps * narrow_step_ns + tile_ns);
    } else if (left > 0) {
        ns += steps * step_ns + tile_ns;
    }
    return ns;
}

static int32_t best_width(const sm90_plan *k, int32_t multiprocessors)
{
    static const int32_t widths[] = {256, 128, 64};
    int32_t best = 0;
    int64_t best_ns = INT64_MAX;
    for (int32_t i = 0; i < 3; i++) {
        const int64_t ns = k->out % widths[i] == 0 ? time_at(k, multiprocessors, widths[i]) : INT64_MAX;
        if (ns < best_ns) {
            best_ns = ns;
            best = widths[i];
        }
    }
    return best;
}

/* ------------------------------------------------------------- launching */

static rcnn_status fill_segment(const sm90_plan *k, const sm90_memory *memory, int32_t i, rcnn_sm90_segment *s,
                                rcnn_error *err)
{
    const sm90_part *part = &k->part[i];
    const int64_t columns = (int64_t)k->k * k->k * k->in;
    const int64_t rows = k->shape == SM90_LOGIT ? 4 * (int64_t)k->out : k->out;
    s->bias = part->bias;
    s->n = part->dst_dim[0];
    s->out_height = part->dst_dim[1];
    s->out_width = part->dst_dim[2];
    s->bn = part->bn;
    s->bh = part->bh;
    s->bw = part->bw;
    s->tiles_h = divide_up(s->out_height, s->bh);
    s->tiles_w = divide_up(s->out_width, s->bw);
    RCNN_TRY((k->k == 1 ? rcnn_cuda_map_grid : rcnn_cuda_map_images)(&s->src, k->bf16, memory->src[i], part->src_dim,
                                                                     s->bn, s->bh, s->bw, k->stride, err));
    RCNN_TRY(rcnn_cuda_map_rows(&s->weights, k->bf16, part->weights, rows, columns, k->tile_out / 2, err));
    if (k->shape == SM90_HEADS) {
        s->pred = memory->dst[i];
        return RCNN_OK;
    }
    if (k->shape == SM90_LOGIT) {
        return RCNN_OK;
    }
    RCNN_TRY(rcnn_cuda_map_rows(&s->narrow_weights, k->bf16, part->weights, rows, columns, RCNN_SM90_CHUNK / 2, err));
    RCNN_TRY(rcnn_cuda_map_images(&s->dst, k->bf16, memory->dst[i], part->dst_dim, s->bn, s->bh, s->bw, 1, err));
    if (k->residual == RCNN_SM90_RESIDUAL_NONE) {
        return RCNN_OK;
    }
    const int32_t shrink = k->residual == RCNN_SM90_RESIDUAL_UPSAMPLED ? 2 : 1;
    return rcnn_cuda_map_images(&s->residual, k->bf16, memory->residual[i], part->residual_dim, s->bn, s->bh / shrink,
                                s->bw / shrink, 1, err);
}

static void fill_dot(const sm90_plan *k, const sm90_memory *memory, rcnn_sm90_conv *p)
{
    p->epilogue = RCNN_SM90_DOT;
    p->dot_weights = k->dot_weights;
    p->dot_bias = k->dot_bias;
    p->labels = memory->labels;
    p->masks = memory->dst[0];
    p->side = k->side;
    p->capacity = k->capacity;
    p->classes = k->classes;
    p->agnostic = k->agnostic;
    p->channel_offset = k->channel_offset;
    p->fault = k->fault;
}

static rcnn_status launch(rcnn_backend *backend, const sm90_plan *k, const sm90_memory *memory, cudaStream_t stream,
                          rcnn_error *err)
{
    rcnn_sm90_conv p;
    memset(&p, 0, sizeof p);
    p.segment_count = k->part_count;
    p.bf16 = k->bf16;
    p.tile_out = k->tile_out;
    p.out = k->shape == SM90_LOGIT ? 4 * k->out : k->out;
    p.out_tiles = p.out / k->tile_out;
    p.chunks = k->in / RCNN_SM90_CHUNK;
    p.kh = k->k;
    p.kw = k->k;
    p.stride = k->k == 1 ? 1 : k->stride; /* the map of a 1x1 holds no other pixels */
    p.pad = k->pad;
    p.relu = k->relu;
    p.residual = k->residual;
    p.counts = memory->counts;
    p.count_images = k->count_images;
    if (k->shape == SM90_HEADS) {
        p.epilogue = RCNN_SM90_PRED;
        p.pred_weights = k->pred_weights;
        p.pred_bias = k->pred_bias;
        p.pred_out = k->pred_out;
    } else if (k->shape == SM90_LOGIT) {
        fill_dot(k, memory, &p);
    }
    for (int32_t i = 0; i < k->part_count; i++) {
        RCNN_TRY(fill_segment(k, memory, i, &p.segment[i], err));
    }
    RCNN_CUDA_TRY(rcnn_cuda_conv_sm90_launch(&p, backend->properties.multiProcessorCount, stream),
                  "convolution (wgmma)", err);
    return RCNN_OK;
}

static rcnn_status sm90_enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const sm90_kernel *k = (const sm90_kernel *)kernel;
    sm90_memory memory = {.counts = rcnn_cuda_value(args, k->counts), .labels = rcnn_cuda_value(args, k->labels)};
    for (int32_t i = 0; i < k->plan.part_count; i++) {
        memory.src[i] = rcnn_cuda_value(args, k->src[i]);
        memory.dst[i] = rcnn_cuda_value(args, k->dst[i]);
    }
    memory.residual[0] = rcnn_cuda_value(args, k->residual);
    return launch(kernel->backend, &k->plan, &memory, stream, err);
}

static void sm90_release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

/* ------------------------------------------------------------- runs of ops */

/* Pixels of a 1x1 convolution are one long row, unless they must keep their place. */
static void flatten(sm90_part *part)
{
    const int32_t pixels = part->dst_dim[0] * part->dst_dim[1] * part->dst_dim[2];
    memcpy(part->src_dim, (int32_t[4]){1, 1, pixels, part->src_dim[3]}, sizeof part->src_dim);
    memcpy(part->dst_dim, (int32_t[4]){1, 1, pixels, part->dst_dim[3]}, sizeof part->dst_dim);
}

static rcnn_status get_weights(rcnn_backend *backend, const rcnn_op_weights *w, const sm90_plan *k, sm90_part *part,
                               rcnn_error *err)
{
    const rcnn_cuda_type type = k->bf16 ? RCNN_CUDA_BF16 : RCNN_CUDA_F16;
    const void *bias = NULL;
    RCNN_TRY(rcnn_cuda_weights_get(backend, w, RCNN_CUDA_ORDER_OHWI, 0, type, &part->weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, w, 1, RCNN_CUDA_F32, &bias, err));
    part->bias = bias;
    return RCNN_OK;
}

/* The part of CONV `op` that writes `dst`. */
static rcnn_status add_conv_part(sm90_kernel *k, const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id dst,
                                 rcnn_error *err)
{
    const int32_t i = k->plan.part_count++;
    sm90_part *part = &k->plan.part[i];
    RCNN_TRY(get_weights(k->base.backend, &op->w, &k->plan, part, err));
    k->src[i] = op->input[0];
    k->dst[i] = dst;
    memcpy(part->src_dim, desc_of(graph, op->input[0])->dim, sizeof part->src_dim);
    memcpy(part->dst_dim, desc_of(graph, op->output[0])->dim, sizeof part->dst_dim);
    cut(part, k->plan.residual == RCNN_SM90_RESIDUAL_UPSAMPLED);
    return RCNN_OK;
}

static void set_geometry(sm90_plan *k, const rcnn_op *op)
{
    k->out = op->w.out;
    k->in = op->w.in;
    k->k = op->w.kh;
    k->stride = op->u.conv.stride;
    k->pad = op->u.conv.pad;
    k->relu = op->u.conv.relu;
    k->tile_out = 256;
}

static rcnn_status prepare_group(sm90_kernel *k, const rcnn_graph *graph, int32_t first, int32_t count, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    k->plan.shape = SM90_GROUP;
    set_geometry(&k->plan, op);
    for (int32_t i = 0; i < count; i++) {
        RCNN_TRY(add_conv_part(k, graph, op + i, op[i].output[0], err));
    }
    k->plan.tile_out = best_width(&k->plan, k->base.backend->properties.multiProcessorCount);
    return RCNN_OK;
}

static rcnn_status prepare_merge(sm90_kernel *k, const rcnn_graph *graph, int32_t first, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    k->plan.shape = SM90_MERGE;
    k->plan.residual = RCNN_SM90_RESIDUAL_UPSAMPLED;
    set_geometry(&k->plan, op);
    RCNN_TRY(add_conv_part(k, graph, op, op[1].output[0], err));
    k->residual = op[1].input[1];
    memcpy(k->plan.part[0].residual_dim, desc_of(graph, k->residual)->dim, sizeof k->plan.part[0].residual_dim);
    return RCNN_OK;
}

static rcnn_status prepare_heads(sm90_kernel *k, const rcnn_graph *graph, int32_t first, int32_t count, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    sm90_part pred = {0};
    k->plan.shape = SM90_HEADS;
    set_geometry(&k->plan, op);
    RCNN_TRY(get_weights(k->base.backend, &op[1].w, &k->plan, &pred, err));
    k->plan.pred_weights = pred.weights;
    k->plan.pred_bias = pred.bias;
    k->plan.pred_out = op[1].w.out;
    for (int32_t i = 0; i < count; i += 2) {
        RCNN_TRY(add_conv_part(k, graph, op + i, op[i + 1].output[0], err));
    }
    return RCNN_OK;
}

static rcnn_status logit_weights(rcnn_backend *backend, const rcnn_op *op, sm90_plan *k, rcnn_error *err)
{
    const rcnn_cuda_type type = k->bf16 ? RCNN_CUDA_BF16 : RCNN_CUDA_F16;
    const void *bias = NULL, *dot_weights = NULL, *dot_bias = NULL;
    RCNN_TRY(rcnn_cuda_weights_get(backend, &op->w, RCNN_CUDA_ORDER_DECONV, 0, type, &k->part[0].weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, &op->w, 4, RCNN_CUDA_F32, &bias, err));
    RCNN_TRY(rcnn_cuda_weights_get(backend, &op[1].w, RCNN_CUDA_ORDER_AS_IS, 0, RCNN_CUDA_F32, &dot_weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, &op[1].w, 1, RCNN_CUDA_F32, &dot_bias, err));
    k->part[0].bias = bias;
    k->dot_weights = dot_weights;
    k->dot_bias = dot_bias;
    return RCNN_OK;
}

static rcnn_status prepare_logit(sm90_kernel *k, const rcnn_graph *graph, int32_t first, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    const rcnn_op *logit = op + 1;
    sm90_plan *plan = &k->plan;
    sm90_part *part = &plan->part[plan->part_count++];
    const int32_t *dim = desc_of(graph, op->input[0])->dim;
    plan->shape = SM90_LOGIT;
    plan->out = op->w.out;
    plan->in = op->w.in;
    plan->k = 1;
    plan->stride = 1;
    plan->tile_out = 256;
    RCNN_TRY(logit_weights(k->base.backend, op, plan, err));
    memcpy(part->src_dim, dim, sizeof part->src_dim);
    memcpy(part->dst_dim, (int32_t[4]){dim[0], dim[1], dim[2], op->w.out}, sizeof part->dst_dim);
    flatten(part);
    cut(part, false);
    k->src[0] = op->input[0];
    k->dst[0] = logit->output[0];
    k->labels = logit->input[1];
    k->counts = op->rows;
    plan->count_images = desc_of(graph, op->rows)->dim[0];
    plan->side = dim[1];
    plan->capacity = desc_of(graph, k->labels)->dim[1];
    plan->classes = logit->w.out;
    plan->agnostic = logit->u.mask_logit.agnostic;
    plan->channel_offset = logit->u.mask_logit.channel_offset;
    const int32_t id = rcnn_cuda_fault_id(k->base.backend, logit->name);
    plan->fault = (rcnn_cuda_fault_place){.fault = k->base.backend->fault, .op = id};
    return id < 0 ? rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of memory for op '%s'", logit->name) : RCNN_OK;
}

static rcnn_status prepare_shape(sm90_kernel *k, const rcnn_graph *graph, int32_t first, int32_t count, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    k->residual = k->counts = k->labels = RCNN_NO_VALUE;
    k->plan.bf16 = desc_of(graph, op->input[0])->dtype == RCNN_BF16;
    if (op->kind == RCNN_OP_DECONV) {
        return prepare_logit(k, graph, first, err);
    }
    if (op[1].kind == RCNN_OP_UPSAMPLE_ADD) {
        return prepare_merge(k, graph, first, err);
    }
    return op[1].input[0] == op->output[0] ? prepare_heads(k, graph, first, count, err)
                                           : prepare_group(k, graph, first, count, err);
}

rcnn_status rcnn_sm90_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                              rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_kernel *kernel = NULL;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(sm90_kernel), sm90_enqueue, sm90_release, &kernel, err));
    sm90_kernel *k = (sm90_kernel *)kernel;
    rcnn_status status = prepare_shape(k, graph, first, count, err);
    if (status != RCNN_OK) {
        sm90_release(kernel);
        return status;
    }
    char text[64];
    snprintf(text, sizeof text, "wgmma %d, %d ops", k->plan.tile_out, count);
    rcnn_cuda_note_choice(backend, graph->ops[first].name, text, -1);
    *out = kernel;
    return RCNN_OK;
}

/* ------------------------------------------------------------- engine of single convolutions */

typedef struct sm90_run {
    rcnn_cuda_run base;
    sm90_plan plan;
} sm90_run;

static rcnn_status run_enqueue(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err)
{
    const sm90_run *r = (const sm90_run *)run;
    const sm90_memory memory = {
        .src = {call->src}, .residual = {call->residual}, .dst = {call->dst}, .counts = call->counts};
    sm90_plan plan = r->plan;
    plan.count_images = call->count_images;
    return launch(run->backend, &plan, &memory, call->stream, err);
}

static void run_release(rcnn_cuda_run *run)
{
    rcnn_free(run);
}

static bool engine_supports(const rcnn_backend *backend, const rcnn_cuda_conv_want *want)
{
    const rcnn_cuda_conv *c = &want->conv;
    return backend->sm == 90 && rcnn_cuda_conv_is_half(want) && c->dst_type == c->type && c->src_channels == c->in &&
           takes_geometry(want->w, c->stride, c->pad, c->groups);
}

static rcnn_status engine_list(rcnn_backend *backend, const rcnn_cuda_conv_want *want, rcnn_cuda_choices *out,
                               rcnn_error *err)
{
    (void)backend;
    (void)err;
    for (int32_t width = 256; width >= 64 && out->count < RCNN_CUDA_CHOICES_MAX; width /= 2) {
        if (want->conv.out % width == 0) {
            snprintf(out->text[out->count++], RCNN_ENGINE_CHOICE_MAX, "wgmma %d", width);
        }
    }
    return RCNN_OK;
}

static void plan_conv(sm90_plan *k, const rcnn_cuda_conv_want *want)
{
    const rcnn_cuda_conv *c = &want->conv;
    sm90_part *part = &k->part[0];
    k->shape = SM90_CONV;
    k->bf16 = c->type == RCNN_CUDA_BF16;
    k->residual = want->residual ? RCNN_SM90_RESIDUAL_SAME : RCNN_SM90_RESIDUAL_NONE;
    k->part_count = 1;
    k->out = c->out;
    k->in = c->in;
    k->k = c->kh;
    k->stride = c->stride;
    k->pad = c->pad;
    k->relu = c->relu;
    memcpy(part->src_dim, (int32_t[4]){c->n, c->height, c->width, c->in}, sizeof part->src_dim);
    memcpy(part->dst_dim, (int32_t[4]){c->n, c->out_height, c->out_width, c->out}, sizeof part->dst_dim);
    if (c->kh == 1 && c->stride == 1 && !want->packed) {
        flatten(part);
    }
    memcpy(part->residual_dim, part->dst_dim, sizeof part->residual_dim);
    cut(part, false);
}

/* The width of a choice, 0 when it is none of ours. */
static int32_t chosen_width(const char *choice, int32_t out)
{
    int32_t width = 0;
    if (sscanf(choice, "wgmma %d", &width) != 1 || (width != 64 && width != 128 && width != 256) || out % width != 0) {
        return 0;
    }
    return width;
}

#define WORTH_IT 150 /* without timing: from one and a half full rounds on; below, libraries cut more finely */

static rcnn_status engine_prepare(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *choice,
                                  rcnn_cuda_run **out, rcnn_error *err)
{
    rcnn_cuda_run *run = NULL;
    *out = NULL;
    RCNN_TRY(rcnn_cuda_new_run(backend, sizeof(sm90_run), run_enqueue, run_release, &run, err));
    sm90_plan *plan = &((sm90_run *)run)->plan;
    plan_conv(plan, want);
    const int32_t multiprocessors = backend->properties.multiProcessorCount;
    rcnn_status status = RCNN_OK;
    plan->tile_out = choice ? chosen_width(choice, plan->out) : best_width(plan, multiprocessors);
    if (plan->tile_out == 0 || (!choice && rounds_of(plan, multiprocessors) < WORTH_IT)) {
        status = rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: op '%s': not for wgmma: %s", want->name,
                           choice ? choice : "too few tiles");
    }
    if (status == RCNN_OK) {
        status = get_weights(backend, want->w, plan, &plan->part[0], err);
    }
    if (status != RCNN_OK) {
        run_release(run);
        return status;
    }
    run->follows_counts = true;
    snprintf(run->engine, sizeof run->engine, "wgmma %d", plan->tile_out);
    *out = run;
    return RCNN_OK;
}

const rcnn_cuda_conv_engine rcnn_cuda_conv_wgmma = {
    .name = "wgmma", .supports = engine_supports, .list = engine_list, .prepare = engine_prepare};
