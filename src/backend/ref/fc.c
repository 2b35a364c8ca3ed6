/* Inner product over packed rows: dst[r][o] = relu(bias[o] + sum src[r][i] * w[o][i]), summed in double.
 * permute_bins B: the row is [B][B][C] while weight columns are ordered c*B*B + y*B + x, as the frameworks flatten. */
#include "backend/ref/ref.h"

/* Weight column of element i of a source row. */
static size_t column_of(const rcnn_ref_call *call, size_t i)
{
    size_t bins = (size_t)call->op->u.fc.permute_bins;
    if (bins == 0) {
        return i;
    }
    size_t channels = (size_t)call->op->w.in / (bins * bins);
    return i % channels * bins * bins + i / channels;
}

rcnn_status rcnn_ref_fc(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const rcnn_op_weights *w = &call->op->w;
    const size_t in = (size_t)w->in;
    const size_t out = (size_t)w->out;
    const float *src = call->src[0];
    float *dst = call->dst[0];
    for (size_t r = 0; r < (size_t)call->live; r++) {
        for (size_t o = 0; o < out; o++) {
            double sum = (double)w->bias[o];
            for (size_t i = 0; i < in; i++) {
                sum += (double)src[r * in + i] * (double)w->weights[o * in + column_of(call, i)];
            }
            float value = (float)sum;
            dst[r * out + o] = call->op->u.fc.relu && value < 0 ? 0.0f : value;
        }
    }
    return RCNN_OK;
}
