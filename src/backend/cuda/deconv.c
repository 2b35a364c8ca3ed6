/* DECONV 2x2 stride 2: every source pixel makes its own 2x2 block, so the op is one matrix product with the four taps as
 * columns, [rows*P*P][in] x [in][4*out], and deconv_shuffle.cu brings the taps to their places with bias and ReLU. In
 * chunks of rows, so that the product in between stays small. */
#include "backend/cuda/gemm.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define PRODUCT_BYTES_MAX ((size_t)64 << 20)

typedef struct deconv_run {
    rcnn_cuda_run head;
    rcnn_cuda_run *whole, *rest; /* products of a whole chunk, and of the rows left over; NULL: there are none */
    rcnn_cuda_deconv_shuffle shuffle;
    int32_t rows, chunk_rows;
    size_t product_bytes;    /* of a chunk, at the start of the scratch */
    size_t src_row, dst_row; /* bytes of a row                          */
} deconv_run;

static void deconv_release(rcnn_cuda_run *run)
{
    deconv_run *r = (deconv_run *)run;
    rcnn_cuda_release_run(r->whole);
    rcnn_cuda_release_run(r->rest);
    rcnn_free(r);
}

static rcnn_status enqueue_chunk(const deconv_run *r, const rcnn_cuda_call *call, int32_t first, int32_t rows,
                                 rcnn_error *err)
{
    rcnn_cuda_run *product = rows == r->chunk_rows ? r->whole : r->rest;
    const rcnn_cuda_call one = {.src = (const char *)call->src + (size_t)first * r->src_row,
                                .dst = call->scratch,
                                .scratch = (char *)call->scratch + r->product_bytes,
                                .stream = call->stream};
    RCNN_TRY(product->enqueue(product, &one, err));
    rcnn_cuda_deconv_shuffle p = r->shuffle;
    p.gemm = call->scratch;
    p.dst = (char *)call->dst + (size_t)first * r->dst_row;
    p.rows = rows;
    if (first == 0) { /* counts say how many rows from the first on are live */
        p.counts = call->counts;
        p.count_images = call->count_images;
    }
    RCNN_CUDA_TRY(rcnn_cuda_deconv_shuffle_launch(&p, call->stream), "running a transposed convolution", err);
    return RCNN_OK;
}

static rcnn_status deconv_enqueue(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err)
{
    const deconv_run *r = (const deconv_run *)run;
    for (int32_t first = 0; first < r->rows; first += r->chunk_rows) {
        const int32_t left = r->rows - first;
        RCNN_TRY(enqueue_chunk(r, call, first, left < r->chunk_rows ? left : r->chunk_rows, err));
    }
    return RCNN_OK;
}

/* Bytes that the start of every chunk in src is a multiple of. */
static int32_t chunk_alignment(const deconv_run *r)
{
    int32_t alignment = 16;
    while (r->chunk_rows < r->rows && (size_t)r->chunk_rows * r->src_row % (size_t)alignment != 0) {
        alignment /= 2;
    }
    return alignment;
}

static rcnn_status prepare_products(deconv_run *r, const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    rcnn_backend *backend = r->head.backend;
    const int32_t pixels = r->shuffle.side * r->shuffle.side;
    const int32_t rest = r->rows % r->chunk_rows;
    rcnn_cuda_gemm_want want = {.m = r->chunk_rows * pixels,
                                .n = 4 * op->w.out,
                                .k = op->w.in,
                                .type = r->shuffle.type,
                                .dst_type = r->shuffle.type,
                                .precision = graph->precision,
                                .src_alignment = chunk_alignment(r),
                                .name = op->name};
    RCNN_TRY(rcnn_cuda_weights_get(backend, &op->w, RCNN_CUDA_ORDER_DECONV, 0, want.type, &want.weights, err));
    RCNN_TRY(rcnn_cuda_gemm_prepare(backend, &want, &r->whole, err));
    if (rest > 0) {
        want.m = rest * pixels;
        RCNN_TRY(rcnn_cuda_gemm_prepare(backend, &want, &r->rest, err));
    }
    const size_t whole_bytes = r->whole->scratch_bytes, rest_bytes = r->rest ? r->rest->scratch_bytes : 0;
    r->head.scratch_bytes = r->product_bytes + (whole_bytes > rest_bytes ? whole_bytes : rest_bytes);
    r->head.microseconds = r->whole->microseconds;
    snprintf(r->head.engine, sizeof r->head.engine, "%s", r->whole->engine);
    return RCNN_OK;
}

static rcnn_status fill_run(deconv_run *r, const rcnn_graph *graph, const rcnn_op *op, int32_t rows, rcnn_error *err)
{
    const int32_t *src = graph->values[op->input[0]].desc.dim;
    const void *bias;
    rcnn_cuda_type dst_type;
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->input[0], &r->shuffle.type, err));
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->output[0], &dst_type, err));
    if (dst_type != r->shuffle.type || src[1] != src[2]) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: deconv '%s': want square rows and one type for both sides",
                         op->name);
    }
    RCNN_TRY(rcnn_cuda_bias_get(r->head.backend, &op->w, 1, RCNN_CUDA_F32, &bias, err));
    r->shuffle.bias = bias;
    r->shuffle.side = src[1];
    r->shuffle.out = op->w.out;
    r->shuffle.relu = op->u.deconv.relu;
    const size_t pixels = (size_t)src[1] * (size_t)src[1];
    const size_t value_bytes = rcnn_cuda_type_bytes(dst_type);
    r->src_row = pixels * (size_t)src[3] * value_bytes;
    r->dst_row = pixels * 4 * (size_t)op->w.out * value_bytes; /* of the product, too */
    const size_t fitting = PRODUCT_BYTES_MAX / r->dst_row;
    r->rows = rows;
    r->chunk_rows = fitting < 1 ? 1 : fitting < (size_t)rows ? (int32_t)fitting : rows;
    r->product_bytes = ((size_t)r->chunk_rows * r->dst_row + 255) / 256 * 256;
    return prepare_products(r, graph, op, err);
}

rcnn_status rcnn_cuda_deconv_prepare(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, int32_t rows,
                                     rcnn_cuda_run **out, rcnn_error *err)
{
    rcnn_cuda_run *run;
    *out = NULL;
    RCNN_TRY(rcnn_cuda_new_run(backend, sizeof(deconv_run), deconv_enqueue, deconv_release, &run, err));
    rcnn_status status = fill_run((deconv_run *)run, graph, op, rows, err);
    if (status != RCNN_OK) {
        deconv_release(run);
        return status;
    }
    *out = run;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_prepare_deconv(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                     rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    return rcnn_cuda_prepare_rows_span(backend, graph, first, count, out, scratch_bytes, err);
}
