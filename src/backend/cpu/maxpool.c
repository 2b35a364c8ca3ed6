/* Max pooling, rows of the output in parallel. Bound by memory: the body keeps the running maximum in registers and
 * writes each output once. */
#include "backend/cpu/op.h"

#include "base/memory.h"

#define WINDOW_MAX 49 /* 7 x 7; the networks here use 3 x 3 and 1 x 1 */

/* Inside the map; positions in the padding never win, so they are left out. */
static int32_t gather_taps(const rcnn_cpu_kernel *k, const float *image, int32_t oy, int32_t ox,
                           const float *taps[WINDOW_MAX])
{
    const int32_t height = k->src[0].dim[1], width = k->src[0].dim[2], channels = k->src[0].dim[3];
    const int32_t top = oy * k->op.u.maxpool.stride - k->op.u.maxpool.pad;
    const int32_t left = ox * k->op.u.maxpool.stride - k->op.u.maxpool.pad;
    int32_t count = 0;
    for (int32_t y = top < 0 ? 0 : top; y < top + k->op.u.maxpool.kernel && y < height; y++) {
        for (int32_t x = left < 0 ? 0 : left; x < left + k->op.u.maxpool.kernel && x < width; x++) {
            taps[count++] = image + ((size_t)y * (size_t)width + (size_t)x) * (size_t)channels;
        }
    }
    return count;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t height = k->dst[0].dim[1], width = k->dst[0].dim[2];
    const size_t channels = (size_t)k->dst[0].dim[3];
    const size_t image_elements = rcnn_cpu_row_elements(&k->src[0]);
    const float *src = rcnn_cpu_input(k, args, 0);
    float *dst = rcnn_cpu_output(k, args, 0);
    const int32_t rows = k->dst[0].dim[0] * height;
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (int32_t row = 0; row < rows; row++) {
        const float *image = src + (size_t)(row / height) * image_elements;
        float *out = dst + (size_t)row * (size_t)width * channels;
        for (int32_t x = 0; x < width; x++) {
            const float *taps[WINDOW_MAX];
            int32_t count = gather_taps(k, image, row % height, x, taps);
            k->body->max_of(taps, count, channels, out + (size_t)x * channels);
        }
    }
    return RCNN_OK;
}

/* Every window must hold a pixel: pad < kernel, and the last window starts inside the map. */
static int windows_hold_pixels(const rcnn_cpu_kernel *k)
{
    const int32_t kernel = k->op.u.maxpool.kernel, stride = k->op.u.maxpool.stride, pad = k->op.u.maxpool.pad;
    return kernel >= 1 && kernel * kernel <= WINDOW_MAX && stride >= 1 && pad >= 0 && pad < kernel &&
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
                         op->name, WINDOW_MAX, op->u.maxpool.kernel, op->u.maxpool.stride, op->u.maxpool.pad);
    }
    *out = &k->head;
    return RCNN_OK;
}
