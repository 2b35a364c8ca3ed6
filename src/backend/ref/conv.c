/* Convolution (cross-correlation) with zero padding and groups, bias, optional residual and ReLU:
 *   dst[n][oy][ox][o] = relu(bias[o] + sum src[n][oy*stride-pad+ky][ox*stride-pad+kx][c] * w[o][c][ky][kx] + residual)
 * Summed in double and rounded once. residual may be the memory of dst. Reads src once per weight: slow by intent. */
#include "backend/ref/ref.h"

static double conv_at(const rcnn_ref_call *call, int32_t n, int32_t oy, int32_t ox, int32_t o)
{
    const rcnn_op_weights *w = &call->op->w;
    const rcnn_tensor_desc *desc = &call->src_desc[0];
    const float *src = call->src[0];
    const float *weights = w->weights + (size_t)o * (size_t)w->in * (size_t)w->kh * (size_t)w->kw;
    const int32_t first_channel = o / (w->out / call->op->u.conv.groups) * w->in; /* of the group that o belongs to */
    double sum = (double)w->bias[o];
    for (int32_t c = 0; c < w->in; c++) {
        for (int32_t ky = 0; ky < w->kh; ky++) {
            for (int32_t kx = 0; kx < w->kw; kx++) {
                int32_t y = oy * call->op->u.conv.stride - call->op->u.conv.pad + ky;
                int32_t x = ox * call->op->u.conv.stride - call->op->u.conv.pad + kx;
                double weight = (double)*weights++;
                if (y >= 0 && y < desc->dim[1] && x >= 0 && x < desc->dim[2]) {
                    sum += weight * (double)src[rcnn_ref_offset(desc, n, y, x, first_channel + c)];
                }
            }
        }
    }
    return sum;
}

rcnn_status rcnn_ref_conv(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const rcnn_tensor_desc *desc = &call->dst_desc[0];
    const float *residual = call->op->u.conv.residual ? call->src[1] : NULL;
    float *dst = call->dst[0];
    for (int32_t n = 0; n < call->live; n++) {
        for (int32_t y = 0; y < desc->dim[1]; y++) {
            for (int32_t x = 0; x < desc->dim[2]; x++) {
                for (int32_t o = 0; o < desc->dim[3]; o++) {
                    size_t at = rcnn_ref_offset(desc, n, y, x, o);
                    float value = (float)(conv_at(call, n, y, x, o) + (residual ? (double)residual[at] : 0.0));
                    dst[at] = call->op->u.conv.relu && value < 0 ? 0.0f : value;
                }
            }
        }
    }
    return RCNN_OK;
}
