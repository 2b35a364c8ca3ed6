/* Types and scales of CONV, FC and DECONV: see onednn_numbers in onednn_call.h. */
#include <math.h>
#include <string.h>

#include "backend/cpu/elements.h"
#include "backend/cpu/onednn_call.h"
#include "base/memory.h"

#define CODE_MAX 127.0f

dnnl_data_type_t onednn_type(rcnn_dtype type)
{
    switch (type) {
    case RCNN_F32:
        return dnnl_f32;
    case RCNN_BF16:
        return dnnl_bf16;
    case RCNN_I8:
        return dnnl_s8;
    case RCNN_U8:
        return dnnl_u8;
    default:
        return dnnl_data_type_undef;
    }
}

static bool is_integer(rcnn_dtype type)
{
    return type == RCNN_I8 || type == RCNN_U8;
}

/* Largest |w| of each output: weights are [out][..] or, of a DECONV, [in][out][..]. */
static void weight_scales(const rcnn_op *op, float *scale)
{
    const rcnn_op_weights *w = &op->w;
    const size_t out = (size_t)w->out;
    const size_t taps = (size_t)w->kh * (size_t)w->kw;
    const size_t in = (size_t)w->in;
    memset(scale, 0, out * sizeof *scale);
    for (size_t i = 0; i < out * in * taps; i++) {
        const size_t o = op->kind == RCNN_OP_DECONV ? i / taps % out : i / (in * taps);
        const float size = fabsf(w->weights[i]);
        scale[o] = size > scale[o] ? size : scale[o];
    }
    for (size_t o = 0; o < out; o++) {
        scale[o] = scale[o] > 0 ? scale[o] / CODE_MAX : 1;
    }
}

static rcnn_status make_scales(const rcnn_op *op, const char *where, onednn_numbers *n, rcnn_error *err)
{
    const size_t out = (size_t)n->out;
    float *all = rcnn_malloc_aligned(3 * out * sizeof *all);
    if (!all) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", where);
    }
    n->weight_scale = all;
    n->output_scale = all + out;
    n->bias = all + 2 * out;
    weight_scales(op, n->weight_scale);
    const float unit = is_integer(n->dst) && !n->by_float ? n->dst_scale : 1;
    for (size_t o = 0; o < out; o++) {
        const float sum = n->src_scale * n->weight_scale[o];
        n->output_scale[o] = sum / unit;
        n->bias[o] = op->w.bias[o] / sum;
    }
    return RCNN_OK;
}

/* Whether oneDNN adds the residual to what it writes: the two are of one size, both floats or both integers. */
static bool sums_residual(const onednn_numbers *n)
{
    return n->dst == n->residual || (is_integer(n->dst) && is_integer(n->residual));
}

rcnn_status onednn_numbers_make(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                const char *where, onednn_numbers *out, rcnn_error *err)
{
    const rcnn_value *src = &graph->values[op->input[0]];
    const rcnn_value *dst = &graph->values[op->output[0]];
    onednn_numbers *n = out;
    *n = (onednn_numbers){.src = src->desc.dtype,
                          .dst = dst->desc.dtype,
                          .src_scale = src->scale,
                          .dst_scale = dst->scale,
                          .has_residual = op->kind == RCNN_OP_CONV && op->u.conv.residual,
                          .out = op->w.out,
                          .body = rcnn_cpu_body_of(rcnn_cpu_isa_of(backend))};
    n->relu = op->kind == RCNN_OP_CONV ? op->u.conv.relu : op->kind == RCNN_OP_FC ? op->u.fc.relu : op->u.deconv.relu;
    if (n->has_residual) {
        n->residual = graph->values[op->input[1]].desc.dtype;
        n->residual_scale = graph->values[op->input[1]].scale;
    }
    if (onednn_type(n->src) == dnnl_data_type_undef || onednn_type(n->dst) == dnnl_data_type_undef) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: want f32, bf16, i8 or u8, got element types %d and %d", where,
                         (int)n->src, (int)n->dst);
    }
    n->integer = is_integer(n->src);
    n->by_float = n->integer ? n->dst == RCNN_BF16 : n->dst != n->src && n->dst != RCNN_F32;
    n->by_float = n->by_float || (n->has_residual && !sums_residual(n));
    n->weights = n->integer ? dnnl_s8 : onednn_type(n->src);
    n->written = n->by_float ? dnnl_f32 : onednn_type(n->dst);
    return n->integer ? make_scales(op, where, n, err) : RCNN_OK;
}

void onednn_numbers_free(onednn_numbers *numbers)
{
    rcnn_free(numbers->weight_scale); /* one block */
    memset(numbers, 0, sizeof *numbers);
}

/* ------------------------------------------------------------- storing */

void onednn_store(const onednn_numbers *n, const float *sums, const void *residual, void *dst, size_t count)
{
    const size_t block = 1u << 13;
    const int64_t blocks = (int64_t)((count + block - 1) / block);
    const float inverse = n->dst_scale > 0 ? 1 / n->dst_scale : 1;
    const rcnn_cpu_addends how = {.a_type = RCNN_F32,
                                  .b_type = n->residual,
                                  .dst_type = n->dst,
                                  .a_factor = inverse,
                                  .b_factor = n->residual_scale > 0 ? n->residual_scale * inverse : inverse,
                                  .relu = n->relu};
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        const size_t first = (size_t)b * block;
        const size_t length = count - first < block ? count - first : block;
        n->body->add(&how, sums + first, residual ? rcnn_cpu_at(n->residual, residual, first) : NULL, length,
                     rcnn_cpu_to(n->dst, dst, first));
    }
}
