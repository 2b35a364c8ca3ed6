/* dst = lateral + nearest-upsampled top (spec 4), each of a type and scale of its own, stretches of rows in parallel.
 * Bound by memory. dst may be the memory of lateral: each element is read just before it is written. */
#include "backend/cpu/elements.h"
#include "backend/cpu/op.h"

static size_t source_of(int32_t position, int32_t in, int32_t out)
{
    int64_t at = (int64_t)position * in / out;
    return (size_t)(at < in ? at : in - 1);
}

static rcnn_cpu_addends addends_of(const rcnn_cpu_kernel *k)
{
    return (rcnn_cpu_addends){.a_type = k->src[0].dtype,
                              .b_type = k->src[1].dtype,
                              .dst_type = k->dst[0].dtype,
                              .a_factor = k->src_scale[0] / k->dst_scale[0],
                              .b_factor = k->src_scale[1] / k->dst_scale[0]};
}

/* Rows of the three maps. */
typedef struct row_triple {
    const void *lateral, *top;
    void *dst;
} row_triple;

static row_triple rows_at(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t row)
{
    const int32_t height = k->dst[0].dim[1], top_height = k->src[1].dim[1];
    const size_t elements = (size_t)k->dst[0].dim[2] * (size_t)k->dst[0].dim[3];
    const size_t top_elements = (size_t)k->src[1].dim[2] * (size_t)k->src[1].dim[3];
    const size_t top_row = (size_t)(row / height) * (size_t)top_height + source_of(row % height, top_height, height);
    return (row_triple){.lateral = rcnn_cpu_at(k->src[0].dtype, rcnn_cpu_input(k, args, 0), (size_t)row * elements),
                        .top = rcnn_cpu_at(k->src[1].dtype, rcnn_cpu_input(k, args, 1), top_row * top_elements),
                        .dst = rcnn_cpu_to(k->dst[0].dtype, rcnn_cpu_output(k, args, 0), (size_t)row * elements)};
}

/* Pixels from .. to-1. */
static void add_stretch(const rcnn_cpu_kernel *k, const row_triple *rows, int32_t from, int32_t to)
{
    const rcnn_cpu_addends how = addends_of(k);
    const int32_t width = k->dst[0].dim[2], top_width = k->src[1].dim[2];
    const size_t channels = (size_t)k->dst[0].dim[3];
    for (int32_t x = from; x < to; x++) {
        const size_t at = (size_t)x * channels, top_at = source_of(x, top_width, width) * channels;
        k->body->add(&how, rcnn_cpu_at(how.a_type, rows->lateral, at), rcnn_cpu_at(how.b_type, rows->top, top_at),
                     channels, rcnn_cpu_to(how.dst_type, rows->dst, at));
    }
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t width = k->dst[0].dim[2], rows = k->dst[0].dim[0] * k->dst[0].dim[1];
#pragma omp parallel for num_threads(k->threads) schedule(static) collapse(2)
    for (int32_t row = 0; row < rows; row++) {
        for (int32_t from = 0; from < width; from += RCNN_CPU_STRETCH) {
            const row_triple at = rows_at(k, args, row);
            add_stretch(k, &at, from, rcnn_cpu_stretch_end(from, width));
        }
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
