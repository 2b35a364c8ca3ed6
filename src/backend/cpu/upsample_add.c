/* dst = lateral + nearest-upsampled top (spec 4), rows in parallel. Bound by memory. dst may be the memory of lateral:
 * each element is read just before it is written. */
#include "backend/cpu/op.h"

static size_t source_of(int32_t position, int32_t in, int32_t out)
{
    int64_t at = (int64_t)position * in / out;
    return (size_t)(at < in ? at : in - 1);
}

static void add_row(const rcnn_cpu_kernel *k, const float *lateral, const float *top_row, float *dst)
{
    const int32_t width = k->dst[0].dim[2], top_width = k->src[1].dim[2];
    const size_t channels = (size_t)k->dst[0].dim[3];
    for (int32_t x = 0; x < width; x++) {
        const size_t at = (size_t)x * channels;
        k->body->add(lateral + at, top_row + source_of(x, top_width, width) * channels, channels, dst + at);
    }
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t height = k->dst[0].dim[1], top_height = k->src[1].dim[1];
    const size_t row_elements = (size_t)k->dst[0].dim[2] * (size_t)k->dst[0].dim[3];
    const size_t top_row_elements = (size_t)k->src[1].dim[2] * (size_t)k->src[1].dim[3];
    const float *lateral = rcnn_cpu_input(k, args, 0);
    const float *top = rcnn_cpu_input(k, args, 1);
    float *dst = rcnn_cpu_output(k, args, 0);
    const int32_t rows = k->dst[0].dim[0] * height;
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (int32_t row = 0; row < rows; row++) {
        const size_t top_row =
            (size_t)(row / height) * (size_t)top_height + source_of(row % height, top_height, height);
        const size_t at = (size_t)row * row_elements;
        add_row(k, lateral + at, top + top_row * top_row_elements, dst + at);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_upsample_add(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                          rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    *out = &k->head;
    return RCNN_OK;
}
