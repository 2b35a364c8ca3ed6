/* The mask of the predicted class: one 1x1 channel and a sigmoid per detection (spec 9, 13.10), detections in parallel.
 * One dot product per pixel over memory read once: bound by memory. */
#include "backend/cpu/boxes.h"
#include "backend/cpu/op.h"

static int32_t channel_of(const rcnn_op *op, int32_t label)
{
    return op->u.mask_logit.agnostic ? 0 : label + op->u.mask_logit.channel_offset;
}

static void mask_of(const rcnn_cpu_kernel *k, int32_t channel, const float *src, float *dst)
{
    const size_t channels = (size_t)k->op.w.in;
    const size_t pixels = rcnn_cpu_row_elements(&k->dst[0]);
    k->body->dots(src, pixels, channels, k->op.w.weights + (size_t)channel * channels, k->op.w.bias[channel], dst);
    for (size_t i = 0; i < pixels; i++) {
        dst[i] = rcnn_cpu_sigmoid(dst[i]);
    }
}

static rcnn_status mask_image(const rcnn_cpu_kernel *k, const int32_t *labels, int32_t count, const float *src,
                              float *dst, rcnn_error *err)
{
    for (int32_t r = 0; r < count; r++) {
        int32_t channel = channel_of(&k->op, labels[r]);
        if (channel < 0 || channel >= k->op.w.out) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': label %d: want a mask channel 0..%d, got %d", k->op.name,
                             labels[r], k->op.w.out - 1, channel);
        }
    }
    const size_t src_elements = rcnn_cpu_row_elements(&k->src[0]);
    const size_t dst_elements = rcnn_cpu_row_elements(&k->dst[0]);
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (int32_t r = 0; r < count; r++) {
        mask_of(k, channel_of(&k->op, labels[r]), src + (size_t)r * src_elements, dst + (size_t)r * dst_elements);
    }
    return RCNN_OK;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t *counts = rcnn_cpu_input(k, args, 2);
    const float *src = rcnn_cpu_input(k, args, 0);
    float *dst = rcnn_cpu_output(k, args, 0);
    for (int32_t n = 0; n < k->src[1].dim[0]; n++) {
        const int32_t *labels = (const int32_t *)rcnn_cpu_input(k, args, 1) + (size_t)n * (size_t)k->src[1].dim[1];
        RCNN_TRY(mask_image(k, labels, counts[n], src, dst, err));
        src += (size_t)counts[n] * rcnn_cpu_row_elements(&k->src[0]);
        dst += (size_t)counts[n] * rcnn_cpu_row_elements(&k->dst[0]);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_mask_logit(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    *out = &k->head;
    return RCNN_OK;
}
