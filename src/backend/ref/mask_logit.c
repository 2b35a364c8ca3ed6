/* The mask of the predicted class only: a 1x1 convolution to one channel per detection, then sigmoid (spec 9, 13.10).
 * channel = label + channel_offset, or 0 for a class-agnostic head. Summed in double. */
#include "backend/ref/boxes.h"
#include "backend/ref/ref.h"

static void mask_row(const rcnn_ref_call *call, int32_t channel, const float *src, float *dst)
{
    const rcnn_op_weights *w = &call->op->w;
    const size_t in = (size_t)w->in;
    const float *weights = w->weights + (size_t)channel * in;
    const size_t pixels = rcnn_ref_row_elements(&call->dst_desc[0]);
    for (size_t i = 0; i < pixels; i++) {
        double sum = (double)w->bias[channel];
        for (size_t c = 0; c < in; c++) {
            sum += (double)src[i * in + c] * (double)weights[c];
        }
        dst[i] = rcnn_ref_sigmoid((float)sum);
    }
}

rcnn_status rcnn_ref_mask_logit(const rcnn_ref_call *call, rcnn_error *err)
{
    const rcnn_op *op = call->op;
    const rcnn_tensor_desc *labels_desc = &call->src_desc[1];
    const int32_t *labels = call->src[1];
    const int32_t *counts = call->src[2];
    const float *src = call->src[0];
    float *dst = call->dst[0];
    for (int32_t n = 0; n < labels_desc->dim[0]; n++) {
        for (int32_t r = 0; r < counts[n]; r++) {
            int32_t label = labels[(size_t)n * (size_t)labels_desc->dim[1] + (size_t)r];
            int32_t channel = op->u.mask_logit.agnostic ? 0 : label + op->u.mask_logit.channel_offset;
            if (channel < 0 || channel >= op->w.out) {
                return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': label %d has no mask channel among %d", op->name,
                                 label, op->w.out);
            }
            mask_row(call, channel, src, dst);
            src += rcnn_ref_row_elements(&call->src_desc[0]);
            dst += rcnn_ref_row_elements(&call->dst_desc[0]);
        }
    }
    return RCNN_OK;
}
