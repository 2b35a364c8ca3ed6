/* The mask of the predicted class: one 1x1 channel and a sigmoid per detection (spec 9, 13.10), lines of masks in
 * parallel. One dot product per pixel over memory read once: bound by memory. */
#include <string.h>

#include "backend/cpu/boxes.h"
#include "backend/cpu/elements.h"
#include "backend/cpu/op.h"

int32_t rcnn_cpu_mask_logit_channel(const rcnn_kernel *kernel, const rcnn_args *args, int32_t packed)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const rcnn_cpu_row at = rcnn_cpu_row_at(rcnn_cpu_input(k, args, 2), packed);
    const int32_t *labels = rcnn_cpu_input(k, args, 1);
    const int32_t label = labels[(size_t)at.n * (size_t)k->src[1].dim[1] + (size_t)at.r];
    return k->op.u.mask_logit.agnostic ? 0 : label + k->op.u.mask_logit.channel_offset;
}

/* dst[i] = what the mask has at pixel first+i of src, a whole mask's features in any order. */
static void mask_pixels(const rcnn_cpu_kernel *k, int32_t channel, const void *src, size_t first, size_t count,
                        float *dst)
{
    const size_t channels = (size_t)k->op.w.in;
    const rcnn_cpu_pixels pixels = {.at = rcnn_cpu_at(k->src[0].dtype, src, first * channels),
                                    .count = count,
                                    .channels = channels,
                                    .type = k->src[0].dtype,
                                    .factor = k->src_scale[0]};
    const float *weights = k->op.w.weights + (size_t)channel * channels;
    k->body->dots(&pixels, weights, k->op.w.bias[channel], dst);
    for (size_t i = 0; i < count; i++) {
        dst[i] = rcnn_cpu_sigmoid(dst[i]);
    }
}

rcnn_status rcnn_cpu_mask_logit_check(const rcnn_kernel *kernel, const rcnn_args *args, int32_t first, int32_t count,
                                      rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    for (int32_t r = first; r < first + count; r++) {
        const int32_t channel = rcnn_cpu_mask_logit_channel(kernel, args, r);
        if (channel < 0 || channel >= k->op.w.out) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': row %d: want a mask channel 0..%d, got %d", k->op.name,
                             r, k->op.w.out - 1, channel);
        }
    }
    return RCNN_OK;
}

/* Lines 2 * y and 2 * y + 1 of a mask, from the taps of line y. */
static void mask_lines(const rcnn_cpu_kernel *k, int32_t channel, int32_t y, const void *taps, float *dst)
{
    const size_t width = (size_t)k->dst[0].dim[2];
    float *line = dst + 2 * (size_t)y * width;
    for (size_t x = 0; x < width / 2; x++) {
        float block[4];
        mask_pixels(k, channel, taps, 4 * ((size_t)y * width / 2 + x), 4, block);
        memcpy(line + 2 * x, block, 2 * sizeof *block);
        memcpy(line + width + 2 * x, block + 2, 2 * sizeof *block);
    }
}

rcnn_status rcnn_cpu_mask_logit_taps(const rcnn_kernel *kernel, const rcnn_args *args, const void *taps, int32_t first,
                                     int32_t count, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t lines = k->dst[0].dim[1] / 2;
    const size_t src_elements = rcnn_cpu_row_elements(&k->src[0]);
    const size_t dst_elements = rcnn_cpu_row_elements(&k->dst[0]);
    float *dst = (float *)rcnn_cpu_output(k, args, 0) + (size_t)first * dst_elements;
    RCNN_TRY(rcnn_cpu_mask_logit_check(kernel, args, first, count, err));
#pragma omp parallel for num_threads(k->threads) schedule(static) collapse(2)
    for (int32_t r = 0; r < count; r++) {
        for (int32_t y = 0; y < lines; y++) {
            mask_lines(k, rcnn_cpu_mask_logit_channel(kernel, args, first + r), y,
                       rcnn_cpu_at(k->src[0].dtype, taps, (size_t)r * src_elements), dst + (size_t)r * dst_elements);
        }
    }
    return RCNN_OK;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t live = rcnn_cpu_live_rows(rcnn_cpu_input(k, args, 2), k->src[1].dim[0]);
    const size_t lines = (size_t)k->dst[0].dim[1], width = (size_t)k->dst[0].dim[2];
    const size_t src_elements = rcnn_cpu_row_elements(&k->src[0]);
    float *dst = rcnn_cpu_output(k, args, 0);
    RCNN_TRY(rcnn_cpu_mask_logit_check(kernel, args, 0, live, err));
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (size_t line = 0; line < (size_t)live * lines; line++) {
        const size_t r = line / lines, y = line % lines;
        mask_pixels(k, rcnn_cpu_mask_logit_channel(kernel, args, (int32_t)r),
                    rcnn_cpu_at(k->src[0].dtype, rcnn_cpu_input(k, args, 0), r * src_elements), y * width, width,
                    dst + line * width);
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
