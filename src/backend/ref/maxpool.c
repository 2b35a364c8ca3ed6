/* Max pooling: the largest value of each kernel x kernel window; positions in the padding never win. Kernel 1 with stride 2
 * takes every second pixel, which is how P6 is made from P5. */
#include "backend/ref/ref.h"

#include <math.h>

static float pool_at(const rcnn_ref_call *call, int32_t n, int32_t oy, int32_t ox, int32_t c)
{
    const rcnn_tensor_desc *desc = &call->src_desc[0];
    const float *src = call->src[0];
    const int32_t top = oy * call->op->u.maxpool.stride - call->op->u.maxpool.pad;
    const int32_t left = ox * call->op->u.maxpool.stride - call->op->u.maxpool.pad;
    float best = -INFINITY;
    for (int32_t y = top; y < top + call->op->u.maxpool.kernel; y++) {
        for (int32_t x = left; x < left + call->op->u.maxpool.kernel; x++) {
            if (y >= 0 && y < desc->dim[1] && x >= 0 && x < desc->dim[2]) {
                float value = src[rcnn_ref_offset(desc, n, y, x, c)];
                best = value > best || isnan(value) ? value : best; /* NaN must reach the check at the outputs */
            }
        }
    }
    return best;
}

rcnn_status rcnn_ref_maxpool(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const rcnn_tensor_desc *desc = &call->dst_desc[0];
    float *dst = call->dst[0];
    for (int32_t n = 0; n < call->live; n++) {
        for (int32_t y = 0; y < desc->dim[1]; y++) {
            for (int32_t x = 0; x < desc->dim[2]; x++) {
                for (int32_t c = 0; c < desc->dim[3]; c++) {
                    dst[rcnn_ref_offset(desc, n, y, x, c)] = pool_at(call, n, y, x, c);
                }
            }
        }
    }
    return RCNN_OK;
}
