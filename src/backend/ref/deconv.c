/* Transposed convolution 2x2 with stride 2: every source pixel makes its own 2x2 block, blocks do not overlap (spec 9):
 *   dst[r][2y+a][2x+b][o] = relu(bias[o] + sum over c of src[r][y][x][c] * w[c][o][a][b]), summed in double. */
#include "backend/ref/ref.h"

static double deconv_at(const rcnn_ref_call *call, const float *pixel, int32_t a, int32_t b, int32_t o)
{
    const rcnn_op_weights *w = &call->op->w;
    double sum = (double)w->bias[o];
    for (int32_t c = 0; c < w->in; c++) {
        size_t at = (((size_t)c * (size_t)w->out + (size_t)o) * 2 + (size_t)a) * 2 + (size_t)b;
        sum += (double)pixel[c] * (double)w->weights[at];
    }
    return sum;
}

rcnn_status rcnn_ref_deconv(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const rcnn_tensor_desc *desc = &call->dst_desc[0];
    const float *src = call->src[0];
    float *dst = call->dst[0];
    for (int32_t r = 0; r < call->live; r++) {
        for (int32_t y = 0; y < desc->dim[1]; y++) {
            for (int32_t x = 0; x < desc->dim[2]; x++) {
                const float *pixel = src + rcnn_ref_offset(&call->src_desc[0], r, y / 2, x / 2, 0);
                for (int32_t o = 0; o < desc->dim[3]; o++) {
                    float value = (float)deconv_at(call, pixel, y % 2, x % 2, o);
                    dst[rcnn_ref_offset(desc, r, y, x, o)] = call->op->u.deconv.relu && value < 0 ? 0.0f : value;
                }
            }
        }
    }
    return RCNN_OK;
}
