/* The pyramid's top-down step: dst = lateral + top enlarged to the size of lateral by nearest neighbour (spec 4).
 * dst may be the memory of lateral. */
#include "backend/ref/ref.h"

static int32_t nearest(int32_t position, int32_t in, int32_t out)
{
    int64_t at = (int64_t)position * in / out;
    return at < in - 1 ? (int32_t)at : in - 1;
}

rcnn_status rcnn_ref_upsample_add(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const rcnn_tensor_desc *desc = &call->dst_desc[0];
    const rcnn_tensor_desc *top_desc = &call->src_desc[1];
    const float *lateral = call->src[0];
    const float *top = call->src[1];
    float *dst = call->dst[0];
    for (int32_t n = 0; n < call->live; n++) {
        for (int32_t y = 0; y < desc->dim[1]; y++) {
            for (int32_t x = 0; x < desc->dim[2]; x++) {
                size_t at = rcnn_ref_offset(desc, n, y, x, 0);
                size_t from = rcnn_ref_offset(top_desc, n, nearest(y, top_desc->dim[1], desc->dim[1]),
                                              nearest(x, top_desc->dim[2], desc->dim[2]), 0);
                for (size_t c = 0; c < (size_t)desc->dim[3]; c++) {
                    dst[at + c] = lateral[at + c] + top[from + c];
                }
            }
        }
    }
    return RCNN_OK;
}
