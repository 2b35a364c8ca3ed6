/* Max pooling, stretches of output rows in parallel. Bound by memory: the body keeps the running maximum in registers
 * and writes each output once. */
#include "backend/cpu/op.h"

#include "backend/cpu/elements.h"
#include "base/memory.h"

/* Inside the map; positions in the padding never win, so they are left out. */
static int32_t gather_taps(const rcnn_cpu_kernel *k, const void *image, int32_t oy, int32_t ox,
                           const void *taps[RCNN_CPU_POOL_MAX])
{
    const int32_t height = k->src[0].dim[1], width = k->src[0].dim[2], channels = k->src[0].dim[3];
    const int32_t top = oy * k->op.u.maxpool.stride - k->op.u.maxpool.pad;
    const int32_t left = ox * k->op.u.maxpool.stride - k->op.u.maxpool.pad;
    int32_t count = 0;
    for (int32_t y = top < 0 ? 0 : top; y < top + k->op.u.maxpool.kernel && y < height; y++) {
        for (int32_t x = left < 0 ? 0 : left; x < left + k->op.u.maxpool.kernel && x < width; x++) {
            const size_t pixel = (size_t)y * (size_t)width + (size_t)x;
            taps[count++] = rcnn_cpu_at(k->src[0].dtype, image, pixel * (size_t)channels);
        }
    }
    return count;
}

/* Output pixels from .. to-1 of row oy; dst: that row. */
static void pool_stretch(const rcnn_cpu_kernel *k, const void *image, int32_t oy, int32_t from, int32_t to, void *dst)
{
    const rcnn_dtype type = k->dst[0].dtype;
    const size_t channels = (size_t)k->dst[0].dim[3];
    for (int32_t ox = from; ox < to; ox++) {
        const void *taps[RCNN_CPU_POOL_MAX];
        const int32_t count = gather_taps(k, image, oy, ox, taps);
        void *pixel = rcnn_cpu_to(type, dst, (size_t)ox * channels);
        if (count == 1) {
            memcpy(pixel, taps[0], channels * rcnn_cpu_element_bytes(type));
        } else {
            k->body->max_of(type, taps, count, channels, pixel);
        }
    }
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const rcnn_dtype type = k->dst[0].dtype;
    const int32_t height = k->dst[0].dim[1], width = k->dst[0].dim[2];
    const size_t image_elements = rcnn_cpu_row_elements(&k->src[0]);
    const size_t row_elements = (size_t)width * (size_t)k->dst[0].dim[3];
    const void *src = rcnn_cpu_input(k, args, 0);
    void *dst = rcnn_cpu_output(k, args, 0);
    const int32_t rows = k->dst[0].dim[0] * height;
#pragma omp parallel for num_threads(k->threads) schedule(static) collapse(2)
    for (int32_t row = 0; row < rows; row++) {
        for (int32_t from = 0; from < width; from += RCNN_CPU_STRETCH) {
            const void *image = rcnn_cpu_at(type, src, (size_t)(row / height) * image_elements);
            pool_stretch(k, image, row % height, from, rcnn_cpu_stretch_end(from, width),
                         rcnn_cpu_to(type, dst, (size_t)row * row_elements));
        }
    }
    return RCNN_OK;
}

/* Every window must hold a pixel: pad < kernel, and the last window starts inside the map. */
static int windows_hold_pixels(const rcnn_cpu_kernel *k)
{
    const int32_t kernel = k->op.u.maxpool.kernel, stride = k->op.u.maxpool.stride, pad = k->op.u.maxpool.pad;
    return kernel >= 1 && kernel * kernel <= RCNN_CPU_POOL_MAX && stride >= 1 && pad >= 0 && pad < kernel &&
           (k->dst[0].dim[1] - 1) * stride - pad < k->src[0].dim[1] &&
           (k->dst[0].dim[2] - 1) * stride - pad < k->src[0].dim[2];
}

rcnn_status rcnn_cpu_prepare_maxpool(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                     rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    if (!windows_hold_pixels(k)) {
        rcnn_free(k);
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                         "cpu: op '%s': want windows of up to %d pixels that reach into the map, got kernel %d, stride "
                         "%d, pad %d",
                         op->name, RCNN_CPU_POOL_MAX, op->u.maxpool.kernel, op->u.maxpool.stride, op->u.maxpool.pad);
    }
    *out = &k->head;
    return RCNN_OK;
}
