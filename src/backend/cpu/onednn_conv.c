/* CONV and DECONV as oneDNN primitives with bias, residual (sum) and ReLU fused.
 *
 * Packed rows. oneDNN's convolution has no batch size known only at run time, so an op over packed rows is prepared for
 * a few batch sizes that share one copy of the weights, and the live rows are cut into those: 37 = 2*16 + 4 + 1. On a
 * mask head row (14x14x256, 3x3) one row alone runs at 98 % of the speed of 16, so work follows the count.
 *
 * DECONV 2x2 stride 2: every source pixel makes its own 2x2 block, so the op is a matrix product with the four taps as
 * columns. The two taps of one output line, times the output channels, are contiguous in NHWC: two batched products with
 * a strided dst, one for the even and one for the odd output lines, write in place with nothing to shuffle. oneDNN 2.6's
 * own deconvolution is 10 times slower on NHWC (docs/decisions/0001). */
#include "backend/cpu/onednn_call.h"

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

#define PARTS_MAX  2
#define CHUNKS_MAX 3

/* One prepared batch size; parts write different lines of dst. */
typedef struct chunk {
    int32_t rows;
    onednn_call part[PARTS_MAX];
    onednn_weights *weights;
} chunk;

typedef struct conv_kernel {
    rcnn_kernel head;
    rcnn_onednn *dnn;
    char where[ONEDNN_WHERE_MAX];
    rcnn_value_id src, residual, dst, rows; /* residual, rows: RCNN_NO_VALUE when absent */
    int32_t images;                         /* length of rows                            */
    int32_t row_count;                      /* dim[0]                                    */
    size_t src_row, dst_row;                /* elements of one entry of dim[0]           */
    int32_t parts;
    size_t dst_part;  /* elements from one part's dst to the next */
    float *line_bias; /* DECONV: the bias twice; owned */
    int32_t chunk_count;
    chunk chunks[CHUNKS_MAX]; /* largest first */
} conv_kernel;

static const int32_t ROW_CHUNKS[CHUNKS_MAX] = {16, 4, 1};

/* ------------------------------------------------------------- running */

/* For residuals that the planner could not place under dst. */
static void copy_floats(float *dst, const float *src, size_t count)
{
    const size_t block = 1u << 16;
    const int64_t blocks = (int64_t)((count + block - 1) / block);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
        size_t first = (size_t)i * block;
        size_t length = count - first < block ? count - first : block;
        memcpy(dst + first, src + first, length * sizeof *dst);
    }
}

static rcnn_status run_chunk(const conv_kernel *k, const chunk *c, const float *src, float *dst, void *scratch,
                             rcnn_error *err)
{
    for (int32_t i = 0; i < k->parts; i++) {
        RCNN_TRY(onednn_call_run(k->dnn, &c->part[i], src, dst + (size_t)i * k->dst_part, scratch, k->where, err));
    }
    return RCNN_OK;
}

static rcnn_status conv_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const conv_kernel *k = (const conv_kernel *)kernel;
    const float *src = args->value[k->src];
    float *dst = args->value[k->dst];
    const int32_t live = k->rows == RCNN_NO_VALUE ? k->row_count : rcnn_cpu_live_rows(args->value[k->rows], k->images);
    if (k->residual != RCNN_NO_VALUE && args->value[k->residual] != dst) {
        copy_floats(dst, args->value[k->residual], (size_t)live * k->dst_row);
    }
    int32_t done = 0;
    for (int32_t i = 0; i < k->chunk_count; i++) {
        for (; live - done >= k->chunks[i].rows; done += k->chunks[i].rows) {
            RCNN_TRY(run_chunk(k, &k->chunks[i], src + (size_t)done * k->src_row, dst + (size_t)done * k->dst_row,
                               args->scratch, err));
        }
    }
    return RCNN_OK;
}

static void conv_release(rcnn_kernel *kernel)
{
    conv_kernel *k = (conv_kernel *)kernel;
    for (int32_t i = 0; i < k->chunk_count; i++) {
        for (int32_t p = 0; p < PARTS_MAX; p++) {
            onednn_call_free(&k->chunks[i].part[p]);
        }
        onednn_weights_put(k->dnn, k->chunks[i].weights);
    }
    rcnn_free(k->line_bias);
    rcnn_free(k);
}

/* ------------------------------------------------------------- CONV */

/* [N,C,H,W] of oneDNN over NHWC memory. */
static dnnl_status_t make_nhwc(onednn_md *out, int64_t rows, const rcnn_tensor_desc *desc)
{
    const int64_t h = desc->dim[1];
    const int64_t w = desc->dim[2];
    const int64_t c = desc->dim[3];
    const int64_t dims[4] = {rows, c, h, w};
    const int64_t strides[4] = {h * w * c, 1, w * c, c};
    return onednn_md_make(out, 4, dims, strides);
}

/* Weights as the model has them, strides NULL = in the layout of the primitive's choice. */
static dnnl_status_t make_filter(onednn_md *out, const rcnn_op *op, bool plain)
{
    const int64_t groups = op->u.conv.groups;
    const int64_t in = op->w.in;
    const int64_t area = (int64_t)op->w.kh * op->w.kw;
    const int64_t out_group = op->w.out / groups;
    const int64_t dims[5] = {groups, out_group, in, op->w.kh, op->w.kw};
    const int64_t strides[5] = {out_group * in * area, in * area, area, op->w.kw, 1};
    const int skip = groups == 1; /* a convolution without groups has no group dimension */
    return onednn_md_make(out, 5 - skip, dims + skip, plain ? strides + skip : NULL);
}

static dnnl_status_t conv_tensors(const rcnn_graph *graph, const rcnn_op *op, int64_t rows, onednn_tensors *t)
{
    const int64_t out = op->w.out;
    const int64_t one = 1;
    dnnl_status_t status = make_nhwc(&t->src, rows, &graph->values[op->input[0]].desc);
    if (status == dnnl_success) {
        status = make_nhwc(&t->dst, rows, &graph->values[op->output[0]].desc);
    }
    if (status == dnnl_success) {
        status = make_filter(&t->weights, op, false);
    }
    return status == dnnl_success ? onednn_md_make(&t->bias, 1, &out, &one) : status;
}

static dnnl_status_t conv_pd(const conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                             dnnl_primitive_desc_t *out)
{
    const int64_t stride = op->u.conv.stride;
    const int64_t pad = op->u.conv.pad;
    const onednn_window window = {.stride = {stride, stride}, .pad_begin = {pad, pad}, .pad_end = {pad, pad}};
    onednn_tensors t;
    memset(&t, 0, sizeof t);
    dnnl_primitive_attr_t attr = onednn_attributes(op->u.conv.residual, op->u.conv.relu);
    dnnl_status_t status = attr ? conv_tensors(graph, op, rows, &t) : dnnl_out_of_memory;
    if (status == dnnl_success) {
        status = onednn_conv_pd(out, k->dnn->engine, &t, &window, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    onednn_tensors_free(&t);
    return status;
}

static rcnn_status conv_bind(const conv_kernel *k, const rcnn_op *op, const_dnnl_primitive_desc_t pd, chunk *c,
                             rcnn_error *err)
{
    onednn_md plain;
    ONEDNN_TRY(make_filter(&plain, op, true), k->where, "describing the weights", err);
    onednn_md_ref wanted = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    rcnn_status status =
        onednn_weights_get(k->dnn, op->w.weights, onednn_md_view(&plain), wanted, k->where, &c->weights, err);
    onednn_md_free(&plain);
    RCNN_TRY(status);
    return onednn_call_make(k->dnn, pd, c->weights->data, op->w.bias, k->where, &c->part[0], err);
}

static rcnn_status conv_chunk(conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, chunk *c, rcnn_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    ONEDNN_TRY(conv_pd(k, graph, op, c->rows, &pd), k->where, "describing the convolution", err);
    rcnn_status status = conv_bind(k, op, pd, c, err);
    dnnl_primitive_desc_destroy(pd);
    return status;
}

/* ------------------------------------------------------------- DECONV */

/* src [rows*H, W, Ci] x weights [1, Ci, 2*Co] -> dst, every second line of [rows*2H, 2W, Co], as [rows*H, W, 2*Co]. */
static dnnl_status_t deconv_tensors(const rcnn_graph *graph, const rcnn_op *op, int64_t rows, onednn_tensors *t)
{
    const rcnn_tensor_desc *desc = &graph->values[op->input[0]].desc;
    const int64_t lines = rows * desc->dim[1];
    const int64_t w = desc->dim[2];
    const int64_t in = op->w.in;
    const int64_t two = 2 * (int64_t)op->w.out;
    const int64_t src[3] = {lines, w, in};
    const int64_t src_strides[3] = {w * in, in, 1};
    const int64_t weights[3] = {1, in, two};
    const int64_t weights_strides[3] = {in * two, two, 1};
    const int64_t bias[3] = {1, 1, two};
    const int64_t bias_strides[3] = {two, two, 1};
    const int64_t dst[3] = {lines, w, two};
    const int64_t dst_strides[3] = {2 * w * two, two, 1};
    dnnl_status_t status = onednn_md_make(&t->src, 3, src, src_strides);
    if (status == dnnl_success) {
        status = onednn_md_make(&t->weights, 3, weights, weights_strides);
    }
    if (status == dnnl_success) {
        status = onednn_md_make(&t->bias, 3, bias, bias_strides);
    }
    return status == dnnl_success ? onednn_md_make(&t->dst, 3, dst, dst_strides) : status;
}

static dnnl_status_t deconv_pd(const conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                               dnnl_primitive_desc_t *out)
{
    onednn_tensors t;
    memset(&t, 0, sizeof t);
    dnnl_primitive_attr_t attr = onednn_attributes(0, op->u.deconv.relu);
    dnnl_status_t status = attr ? deconv_tensors(graph, op, rows, &t) : dnnl_out_of_memory;
    if (status == dnnl_success) {
        status = onednn_matmul_pd(out, k->dnn->engine, &t, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    onednn_tensors_free(&t);
    return status;
}

/* The model's [Ci][Co][a][b] as [a][Ci][b][Co]: one matrix per output line a. */
static rcnn_status deconv_weights(const conv_kernel *k, const rcnn_op *op, onednn_weights **out, rcnn_error *err)
{
    const int64_t in = op->w.in;
    const int64_t co = op->w.out;
    const int64_t dims[4] = {2, in, 2, co};
    const int64_t from_strides[4] = {2, 4 * co, 1, 4};
    const int64_t to_strides[4] = {2 * in * co, 2 * co, co, 1};
    onednn_md from;
    onednn_md to;
    ONEDNN_TRY(onednn_md_make(&from, 4, dims, from_strides), k->where, "describing the weights", err);
    dnnl_status_t made = onednn_md_make(&to, 4, dims, to_strides);
    rcnn_status status = rcnn_from_dnnl(made, k->where, "describing the weights", err);
    if (status == RCNN_OK) {
        status =
            onednn_weights_get(k->dnn, op->w.weights, onednn_md_view(&from), onednn_md_view(&to), k->where, out, err);
        onednn_md_free(&to);
    }
    onednn_md_free(&from);
    return status;
}

static rcnn_status deconv_chunk(conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, chunk *c, rcnn_error *err)
{
    RCNN_TRY(deconv_weights(k, op, &c->weights, err));
    dnnl_primitive_desc_t pd = NULL;
    ONEDNN_TRY(deconv_pd(k, graph, op, c->rows, &pd), k->where, "describing the matrix product", err);
    rcnn_status status = RCNN_OK;
    for (int32_t i = 0; i < k->parts && status == RCNN_OK; i++) {
        const float *weights = c->weights->data + (size_t)i * (size_t)op->w.in * 2 * (size_t)op->w.out;
        status = onednn_call_make(k->dnn, pd, weights, k->line_bias, k->where, &c->part[i], err);
    }
    dnnl_primitive_desc_destroy(pd);
    return status;
}

/* ------------------------------------------------------------- preparing */

typedef rcnn_status (*make_chunk)(conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, chunk *c,
                                  rcnn_error *err);

static rcnn_status make_chunks(conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, make_chunk make,
                               rcnn_error *err)
{
    for (int32_t i = 0; i < CHUNKS_MAX; i++) {
        int32_t rows = k->rows == RCNN_NO_VALUE ? k->row_count : ROW_CHUNKS[i];
        if (rows > k->row_count) {
            continue;
        }
        chunk *c = &k->chunks[k->chunk_count++];
        c->rows = rows;
        RCNN_TRY(make(k, graph, op, c, err));
        if (k->rows == RCNN_NO_VALUE) {
            break;
        }
    }
    return RCNN_OK;
}

static rcnn_status make_kernel(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, conv_kernel **out,
                               rcnn_error *err)
{
    conv_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    const rcnn_tensor_desc *dst = &graph->values[op->output[0]].desc;
    k->head = (rcnn_kernel){.enqueue = conv_enqueue, .release = conv_release};
    k->dnn = rcnn_cpu_onednn(backend);
    onednn_where(graph, op, k->where);
    k->src = op->input[0];
    k->residual = RCNN_NO_VALUE;
    k->dst = op->output[0];
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    k->row_count = src->dim[0];
    k->src_row = (size_t)src->dim[1] * (size_t)src->dim[2] * (size_t)src->dim[3];
    k->dst_row = (size_t)dst->dim[1] * (size_t)dst->dim[2] * (size_t)dst->dim[3];
    k->parts = 1;
    *out = k;
    return RCNN_OK;
}

static rcnn_status finish(conv_kernel *k, rcnn_status status, rcnn_kernel **out, size_t *scratch_bytes)
{
    if (status != RCNN_OK) {
        conv_release(&k->head);
        return status;
    }
    *scratch_bytes = 0;
    for (int32_t i = 0; i < k->chunk_count; i++) {
        for (int32_t p = 0; p < k->parts; p++) {
            size_t bytes = k->chunks[i].part[p].scratch_bytes;
            *scratch_bytes = bytes > *scratch_bytes ? bytes : *scratch_bytes;
        }
    }
    *out = &k->head;
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                  size_t *scratch_bytes, rcnn_error *err)
{
    conv_kernel *k;
    RCNN_TRY(make_kernel(backend, graph, op, &k, err));
    k->residual = op->u.conv.residual ? op->input[1] : RCNN_NO_VALUE;
    return finish(k, make_chunks(k, graph, op, conv_chunk, err), out, scratch_bytes);
}

static rcnn_status prepare_deconv(conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    if (op->w.kh != 2 || op->w.kw != 2) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: want a 2x2 kernel", k->where);
    }
    const size_t count = (size_t)op->w.out;
    k->parts = 2;
    k->dst_part = (size_t)graph->values[op->output[0]].desc.dim[2] * count; /* one output line */
    k->line_bias = rcnn_malloc_aligned(2 * count * sizeof *k->line_bias);
    if (!k->line_bias) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", k->where);
    }
    memcpy(k->line_bias, op->w.bias, count * sizeof *k->line_bias);
    memcpy(k->line_bias + count, op->w.bias, count * sizeof *k->line_bias);
    return make_chunks(k, graph, op, deconv_chunk, err);
}

rcnn_status rcnn_cpu_prepare_deconv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                    rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    conv_kernel *k;
    RCNN_TRY(make_kernel(backend, graph, op, &k, err));
    return finish(k, prepare_deconv(k, graph, op, err), out, scratch_bytes);
}
