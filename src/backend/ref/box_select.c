/* From the box head's raw rows to the candidates of the final NMS (spec 8.1-8.4, 13.9, 14.6): softmax over K+1 classes,
 * every foreground class above the threshold becomes a candidate with its own decoded and clipped box.
 * A row is K+1 logits, then 4 deltas for each of delta_classes. With the background first, logit and delta index of a
 * label are label + 1; delta_classes says whether the deltas have a background entry too. */
#include "backend/ref/boxes.h"
#include "backend/ref/ref.h"

#include <math.h>

size_t rcnn_ref_box_select_scratch(const rcnn_ref_call *call)
{
    return ((size_t)call->op->u.box_select.class_count + 1) * sizeof(float);
}

static void softmax(const float *logits, int32_t count, float *out)
{
    float largest = -INFINITY;
    float sum = 0;
    for (int32_t i = 0; i < count; i++) {
        largest = fmaxf(largest, logits[i]);
    }
    for (int32_t i = 0; i < count; i++) {
        out[i] = expf(logits[i] - largest);
        sum += out[i];
    }
    for (int32_t i = 0; i < count; i++) {
        out[i] /= sum;
    }
}

static const float *delta_of(const rcnn_op *op, const float *row, int32_t label)
{
    int32_t entry = op->u.box_select.agnostic ? 0 : label;
    if (op->u.box_select.delta_classes > op->u.box_select.class_count) {
        entry += op->u.box_select.background_first; /* the deltas have a background entry before the labels' */
    }
    return row + op->u.box_select.class_count + 1 + entry * 4;
}

/* Decoded, clipped box; false when it is too small. */
static bool box_of(const rcnn_op *op, const rcnn_frame_image *image, const float *proposal, const float *delta,
                   float *box)
{
    rcnn_ref_decode(&op->u.box_select.decode, proposal, delta, box);
    rcnn_ref_clip(box, image->net_width, image->net_height);
    if (op->u.box_select.min_size > 0 && !rcnn_ref_side_at_least(box, op->u.box_select.min_size, true)) {
        return false;
    }
    for (int32_t k = 0; op->u.box_select.rescale_first && k < 4; k++) {
        box[k] /= k % 2 == 0 ? image->scale_x : image->scale_y;
    }
    return true;
}

static rcnn_status select_row(const rcnn_ref_call *call, int32_t n, int32_t r, const float *row, const float *proposal,
                              rcnn_ref_list *list, rcnn_error *err)
{
    const rcnn_op *op = call->op;
    const int32_t classes = op->u.box_select.class_count;
    float *scores = call->scratch;
    if (!rcnn_ref_all_finite(row, classes + 1)) {
        return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d: a class logit is not finite", op->name, n,
                         r);
    }
    softmax(row, classes + 1, scores);
    for (int32_t label = 0; label < classes; label++) {
        float score = scores[label + (op->u.box_select.background_first ? 1 : 0)];
        const uint8_t *wanted = op->u.box_select.label_wanted;
        if (!(score > op->u.box_select.score_threshold) || (wanted && !wanted[label])) {
            continue;
        }
        const float *delta = delta_of(op, row, label);
        float box[4];
        if (!rcnn_ref_all_finite(delta, 4)) {
            return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d, label %d: a box delta is not finite",
                             op->name, n, r, label);
        }
        if (box_of(op, &call->frame->image[n], proposal, delta, box) && !rcnn_ref_list_add(list, box, score, label)) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': more than %d candidates", op->name, list->capacity);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_ref_box_select(const rcnn_ref_call *call, rcnn_error *err)
{
    const rcnn_tensor_desc *rois_desc = &call->src_desc[1];
    const size_t row_elements = rcnn_ref_row_elements(&call->src_desc[0]);
    const float *row = call->src[0];
    const int32_t *roi_counts = call->src[2];
    int32_t *counts = call->dst[3];
    for (int32_t n = 0; n < rois_desc->dim[0]; n++) {
        const float *proposals = (const float *)call->src[1] + (size_t)n * (size_t)rois_desc->dim[1] * 4;
        rcnn_ref_list list = rcnn_ref_list_of(&call->dst_desc[0], call->dst[0], call->dst[1], call->dst[2], n);
        for (int32_t r = 0; r < roi_counts[n]; r++, row += row_elements) {
            RCNN_TRY(select_row(call, n, r, row, proposals + (size_t)r * 4, &list, err));
        }
        counts[n] = list.count;
    }
    return RCNN_OK;
}
