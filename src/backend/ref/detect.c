/* The final boxes in both coordinate systems: pixels of the caller's image, and of the network for the mask RoIs
 * (spec 8.3, 9, 12, 13.10, 14.7).
 *   rescale_first  boxes come in image coordinates; the mask RoI is box * scale in float, rounding included (mmdet 2.x)
 *   else           boxes come in network coordinates; the image box is box / scale or box * ratio
 *   clip_output    image boxes are clipped to the image and empty ones dropped with all that belongs to them */
#include "backend/ref/boxes.h"
#include "backend/ref/ref.h"

#include <string.h>

static void convert(const rcnn_op *op, const rcnn_frame_image *image, const float *box, float *image_box,
                    float *mask_roi)
{
    for (int32_t k = 0; k < 4; k++) {
        float scale = k % 2 == 0 ? image->scale_x : image->scale_y;
        float ratio = k % 2 == 0 ? image->ratio_x : image->ratio_y;
        if (op->u.detect.rescale_first) {
            image_box[k] = box[k];
            mask_roi[k] = box[k] * scale;
        } else {
            image_box[k] = op->u.detect.scale_rule == RCNN_SCALE_DIVIDE ? box[k] / scale : box[k] * ratio;
            mask_roi[k] = box[k];
        }
    }
}

static int32_t detect_image(const rcnn_ref_call *call, int32_t n, int32_t count)
{
    const rcnn_frame_image *image = &call->frame->image[n];
    const size_t first = (size_t)n * (size_t)call->src_desc[0].dim[1];
    const float *boxes = (const float *)call->src[0] + first * 4;
    const float *scores = (const float *)call->src[1] + first;
    const int32_t *labels = (const int32_t *)call->src[2] + first;
    rcnn_ref_list list = rcnn_ref_list_of(&call->dst_desc[0], call->dst[0], call->dst[2], call->dst[3], n);
    float *mask_rois = (float *)call->dst[1] + (size_t)n * (size_t)call->dst_desc[1].dim[1] * 4;
    for (int32_t i = 0; i < count; i++) {
        float image_box[4];
        float mask_roi[4];
        convert(call->op, image, boxes + (size_t)i * 4, image_box, mask_roi);
        if (call->op->u.detect.clip_output) {
            rcnn_ref_clip(image_box, image->view.width, image->view.height);
            if (!rcnn_ref_side_at_least(image_box, 0.0f, false)) {
                continue;
            }
        }
        memcpy(mask_rois + (size_t)list.count * 4, mask_roi, sizeof mask_roi);
        rcnn_ref_list_add(&list, image_box, scores[i], labels[i]); /* outputs are as long as inputs: never full */
    }
    return list.count;
}

rcnn_status rcnn_ref_detect(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const int32_t *counts = call->src[3];
    int32_t *out_counts = call->dst[4];
    for (int32_t n = 0; n < call->dst_desc[4].dim[0]; n++) {
        out_counts[n] = detect_image(call, n, counts[n]);
    }
    return RCNN_OK;
}
