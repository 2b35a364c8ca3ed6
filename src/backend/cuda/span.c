/* Kernels made of runs. An op over packed rows is prepared for several numbers of rows; the device takes the smallest that
 * holds the live ones, once for all ops of a span, so that five detections do not pay for a hundred. Runs that follow
 * the counts themselves are prepared once. Rows past the live ones that a run computes all the same are read from
 * cleared or earlier memory and end in memory that nobody reads. */
#include "backend/cuda/conv.h"

#include <string.h>

#include "base/memory.h"

#define BUCKET_MIN 4

typedef struct span_item {
    rcnn_value_id src, residual, dst;          /* residual: RCNN_NO_VALUE when there is none                  */
    rcnn_cuda_run *run[RCNN_CUDA_BUCKETS_MAX]; /* by bucket; one that follows the counts stands in all places */
    rcnn_kernel *kernel;                       /* in place of runs: an op that follows the counts             */
} span_item;

typedef struct span_kernel {
    rcnn_kernel head;
    rcnn_value_id rows; /* counts, or RCNN_NO_VALUE                      */
    int32_t images;     /* length of counts                              */
    bool switched;      /* the live rows pick the bucket; else the last is enqueued */
    int32_t bucket[RCNN_CUDA_BUCKETS_MAX], bucket_count;
    int32_t item_count;
    span_item items[];
} span_kernel;

/* ------------------------------------------------------------- matching */

int32_t rcnn_cuda_match_rows_span(const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    if (op->kind != RCNN_OP_CONV || op->rows == RCNN_NO_VALUE) {
        return 0;
    }
    int32_t count = 1;
    for (; first + count < graph->op_count; count++) {
        const rcnn_op *next = &graph->ops[first + count];
        const bool fits =
            next->kind == RCNN_OP_CONV || next->kind == RCNN_OP_DECONV || next->kind == RCNN_OP_MASK_LOGIT;
        if (!fits || next->rows != op->rows || next->stage != op->stage) {
            break;
        }
    }
    return count >= 2 ? count : 0;
}

/* ------------------------------------------------------------- enqueue */

typedef struct span_call {
    const span_kernel *kernel;
    const rcnn_args *args;
    const int32_t *counts;
} span_call;

static rcnn_status enqueue_bucket(void *context, int32_t bucket, cudaStream_t stream, rcnn_error *err)
{
    const span_call *call = context;
    const span_kernel *k = call->kernel;
    for (int32_t i = 0; i < k->item_count; i++) {
        const span_item *item = &k->items[i];
        if (item->kernel) {
            RCNN_TRY(item->kernel->enqueue(item->kernel, call->args, stream, err));
            continue;
        }
        const rcnn_cuda_call one = {.src = rcnn_cuda_value(call->args, item->src),
                                    .residual = rcnn_cuda_value(call->args, item->residual),
                                    .dst = rcnn_cuda_value(call->args, item->dst),
                                    .counts = call->counts,
                                    .count_images = k->images,
                                    .scratch = call->args->scratch,
                                    .stream = stream};
        RCNN_TRY(item->run[bucket]->enqueue(item->run[bucket], &one, err));
    }
    return RCNN_OK;
}

static rcnn_status span_enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const span_kernel *k = (const span_kernel *)kernel;
    span_call call = {.kernel = k, .args = args, .counts = rcnn_cuda_value(args, k->rows)};
    if (!k->switched) {
        return enqueue_bucket(&call, k->bucket_count - 1, stream, err);
    }
    return rcnn_cuda_by_rows(k->head.backend, call.counts, k->images, k->bucket, k->bucket_count, enqueue_bucket, &call,
                             stream, err);
}

static void span_release(rcnn_kernel *kernel)
{
    span_kernel *k = (span_kernel *)kernel;
    for (int32_t i = 0; i < k->item_count; i++) {
        span_item *item = &k->items[i];
        for (int32_t b = 0; b < RCNN_CUDA_BUCKETS_MAX; b++) {
            if (b == 0 || item->run[b] != item->run[b - 1]) {
                rcnn_cuda_release_run(item->run[b]);
            }
        }
        if (item->kernel) {
            item->kernel->release(item->kernel);
        }
    }
    rcnn_free(k);
}

/* ------------------------------------------------------------- prepare */

static rcnn_status want_of(const rcnn_graph *graph, const rcnn_op *op, int32_t rows, rcnn_cuda_conv_want *out,
                           rcnn_error *err)
{
    const int32_t *src = graph->values[op->input[0]].desc.dim;
    const int32_t *dst = graph->values[op->output[0]].desc.dim;
    *out = (rcnn_cuda_conv_want){.residual = op->u.conv.residual != 0,
                                 .packed = op->rows != RCNN_NO_VALUE,
                                 .precision = graph->precision,
                                 .w = &op->w,
                                 .name = op->name};
    out->conv = (rcnn_cuda_conv){.n = rows,
                                 .height = src[1],
                                 .width = src[2],
                                 .src_channels = src[3],
                                 .out_height = dst[1],
                                 .out_width = dst[2],
                                 .out = op->w.out,
                                 .in = op->w.in,
                                 .groups = op->u.conv.groups,
                                 .kh = op->w.kh,
                                 .kw = op->w.kw,
                                 .stride = op->u.conv.stride,
                                 .pad = op->u.conv.pad,
                                 .relu = op->u.conv.relu};
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->input[0], &out->conv.type, err));
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->output[0], &out->conv.dst_type, err));
    if (out->residual) {
        rcnn_cuda_type type;
        RCNN_TRY(rcnn_cuda_type_of(graph, op, op->input[1], &type, err));
        if (type != out->conv.dst_type) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: conv '%s': want a residual of the output's type",
                             op->name);
        }
    }
    return RCNN_OK;
}

static rcnn_status prepare_run(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, int32_t rows,
                               rcnn_cuda_run **out, rcnn_error *err)
{
    switch (op->kind) {
    case RCNN_OP_DECONV:
        return rcnn_cuda_deconv_prepare(backend, graph, op, rows, out, err);
    case RCNN_OP_FC:
        return rcnn_cuda_fc_prepare(backend, graph, op, rows, out, err);
    default: {
        rcnn_cuda_conv_want want;
        RCNN_TRY(want_of(graph, op, rows, &want, err));
        return rcnn_cuda_conv_prepare(backend, &want, out, err);
    }
    }
}

/* Powers of two below the capacity, at most as many as there is room for, and the capacity. */
static void choose_buckets(span_kernel *k, int32_t capacity)
{
    int32_t smallest = BUCKET_MIN;
    while ((int64_t)smallest << (RCNN_CUDA_BUCKETS_MAX - 1) < capacity) {
        smallest *= 2;
    }
    k->bucket_count = 0;
    for (int64_t rows = smallest; rows < capacity; rows *= 2) {
        k->bucket[k->bucket_count++] = (int32_t)rows;
    }
    k->bucket[k->bucket_count++] = capacity;
}

/* The runs of one op, the capacity's first: whether that follows the counts decides how many there are. */
static rcnn_status prepare_item(span_kernel *k, span_item *item, const rcnn_graph *graph, const rcnn_op *op,
                                size_t *scratch_bytes, rcnn_error *err)
{
    const int32_t last = k->bucket_count - 1;
    item->src = op->input[0];
    item->residual = op->kind == RCNN_OP_CONV && op->u.conv.residual ? op->input[1] : RCNN_NO_VALUE;
    item->dst = op->output[0];
    RCNN_TRY(prepare_run(k->head.backend, graph, op, k->bucket[last], &item->run[last], err));
    rcnn_cuda_run *whole = item->run[last];
    rcnn_cuda_note_choice(k->head.backend, op->name, whole->engine, whole->microseconds);
    *scratch_bytes = whole->scratch_bytes > *scratch_bytes ? whole->scratch_bytes : *scratch_bytes;
    for (int32_t b = last - 1; b >= 0; b--) {
        if (whole->follows_counts) {
            item->run[b] = whole;
            continue;
        }
        RCNN_TRY(prepare_run(k->head.backend, graph, op, k->bucket[b], &item->run[b], err));
        const size_t bytes = item->run[b]->scratch_bytes;
        *scratch_bytes = bytes > *scratch_bytes ? bytes : *scratch_bytes;
    }
    k->switched = k->switched || (k->bucket_count > 1 && !whole->follows_counts);
    return RCNN_OK;
}

static rcnn_status prepare_items(span_kernel *k, const rcnn_graph *graph, int32_t first, int32_t count,
                                 size_t *scratch_bytes, rcnn_error *err)
{
    for (int32_t i = 0; i < count; i++) {
        const rcnn_op *op = &graph->ops[first + i];
        span_item *item = &k->items[k->item_count++];
        if (op->kind == RCNN_OP_MASK_LOGIT) {
            size_t bytes = 0;
            RCNN_TRY(rcnn_cuda_prepare_mask_logit(k->head.backend, graph, first + i, 1, &item->kernel, &bytes, err));
            *scratch_bytes = bytes > *scratch_bytes ? bytes : *scratch_bytes;
        } else {
            RCNN_TRY(prepare_item(k, item, graph, op, scratch_bytes, err));
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_cuda_prepare_rows_span(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    const int32_t capacity = graph->values[op->output[0]].desc.dim[0];
    *out = NULL;
    *scratch_bytes = 0;
    rcnn_kernel *kernel;
    const size_t bytes = sizeof(span_kernel) + (size_t)count * sizeof(span_item);
    RCNN_TRY(rcnn_cuda_new_kernel(backend, bytes, span_enqueue, span_release, &kernel, err));
    span_kernel *k = (span_kernel *)kernel;
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    if (op->rows != RCNN_NO_VALUE && op->kind != RCNN_OP_FC) {
        choose_buckets(k, capacity);
    } else { /* proposals nearly always fill their capacity */
        k->bucket[k->bucket_count++] = capacity;
    }
    rcnn_status status = prepare_items(k, graph, first, count, scratch_bytes, err);
    if (status != RCNN_OK) {
        span_release(kernel);
        return status;
    }
    *out = kernel;
    return RCNN_OK;
}
