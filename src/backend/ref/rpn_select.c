/* From the RPN's raw predictions to the candidates of NMS (spec 5.2-5.6, 13.5-13.6, 14.4). Per level: rank all anchors,
 * keep the best pre_nms, decode only those, clip to the resized image, drop boxes that are too small.
 *
 * torchvision ranks by logit and runs NMS on the sigmoid, detectron2 ranks by logit and runs NMS on the logit. Here the
 * score handed on is the ranking value for both: sigmoid is monotone, so NMS walks the same order except among scores
 * that saturate to equal sigmoids (logits above about 17), which the frameworks leave in unspecified order anyway. */
#include "backend/ref/boxes.h"
#include "backend/ref/ref.h"

static int32_t anchors_of(const rcnn_ref_call *call, int32_t level)
{
    const int32_t *dim = call->src_desc[level].dim;
    return dim[1] * dim[2] * call->op->u.rpn_select.anchor_count;
}

static int32_t largest_level(const rcnn_ref_call *call)
{
    int32_t largest = 0;
    for (int32_t l = 0; l < call->op->u.rpn_select.level_count; l++) {
        largest = anchors_of(call, l) > largest ? anchors_of(call, l) : largest;
    }
    return largest;
}

/* rank f32, order i32, spare i32 per anchor: less than the 5 floats per anchor of the input, so no overflow. */
size_t rcnn_ref_rpn_select_scratch(const rcnn_ref_call *call)
{
    return (size_t)largest_level(call) * (sizeof(float) + 2 * sizeof(int32_t));
}

/* Predictions of the cell of anchor i of image n: A logits, then 4 deltas an anchor. */
static const float *cell_of(const rcnn_ref_call *call, int32_t level, int32_t n, int32_t i)
{
    size_t cells = (size_t)call->src_desc[level].dim[1] * (size_t)call->src_desc[level].dim[2];
    size_t cell = (size_t)n * cells + (size_t)(i / call->op->u.rpn_select.anchor_count);
    return (const float *)call->src[level] + cell * (size_t)call->src_desc[level].dim[3];
}

static void anchor_box(const rcnn_ref_call *call, int32_t level, int32_t i, float *box)
{
    int32_t cell = i / call->op->u.rpn_select.anchor_count;
    int32_t width = call->src_desc[level].dim[2];
    const float *base = call->op->u.rpn_select.base[level][i % call->op->u.rpn_select.anchor_count];
    float x = (float)(cell % width) * call->op->u.rpn_select.step_x[level];
    float y = (float)(cell / width) * call->op->u.rpn_select.step_y[level];
    for (int32_t k = 0; k < 4; k++) {
        box[k] = base[k] + (k % 2 == 0 ? x : y);
    }
}

static rcnn_status fail_numeric(const rcnn_ref_call *call, int32_t level, int32_t n, int32_t i, const char *what,
                                rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, level %d, anchor %d: %s is not finite", call->op->name,
                     n, level, i, what);
}

/* Fills order[] with the anchors kept, best first or in original order; *kept says how many. */
static rcnn_status rank_level(const rcnn_ref_call *call, int32_t level, int32_t n, int32_t *kept, float *rank,
                              int32_t *order, rcnn_error *err)
{
    int32_t total = anchors_of(call, level);
    for (int32_t i = 0; i < total; i++) {
        float logit = cell_of(call, level, n, i)[i % call->op->u.rpn_select.anchor_count];
        if (!rcnn_ref_all_finite(&logit, 1)) {
            return fail_numeric(call, level, n, i, "an objectness logit", err);
        }
        rank[i] = call->op->u.rpn_select.rank == RCNN_RANK_SIGMOID ? rcnn_ref_sigmoid(logit) : logit;
        order[i] = i;
    }
    *kept = total < call->op->u.rpn_select.pre_nms ? total : call->op->u.rpn_select.pre_nms;
    if (total > *kept || !call->op->u.rpn_select.keep_order) {
        rcnn_ref_order_descending(rank, total, order, order + total);
    }
    return RCNN_OK;
}

static rcnn_status select_level(const rcnn_ref_call *call, int32_t level, int32_t n, rcnn_ref_list *list,
                                rcnn_error *err)
{
    const int32_t anchor_count = call->op->u.rpn_select.anchor_count;
    const rcnn_frame_image *image = &call->frame->image[n];
    float *rank = call->scratch;
    int32_t *order = (int32_t *)(rank + anchors_of(call, level));
    int32_t kept = 0;
    RCNN_TRY(rank_level(call, level, n, &kept, rank, order, err));
    for (int32_t k = 0; k < kept; k++) {
        int32_t i = order[k];
        const float *delta = cell_of(call, level, n, i) + anchor_count + i % anchor_count * 4;
        if (!rcnn_ref_all_finite(delta, 4)) {
            return fail_numeric(call, level, n, i, "a box delta", err);
        }
        float anchor[4];
        float box[4];
        anchor_box(call, level, i, anchor);
        rcnn_ref_decode(&call->op->u.rpn_select.decode, anchor, delta, box);
        rcnn_ref_clip(box, image->net_width, image->net_height);
        if (rcnn_ref_side_at_least(box, call->op->u.rpn_select.min_size, call->op->u.rpn_select.min_inclusive) &&
            !rcnn_ref_list_add(list, box, rank[i], level)) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': more than %d candidates", call->op->name,
                             list->capacity);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_ref_rpn_select(const rcnn_ref_call *call, rcnn_error *err)
{
    int32_t *counts = call->dst[3];
    for (int32_t n = 0; n < call->dst_desc[3].dim[0]; n++) {
        rcnn_ref_list list = rcnn_ref_list_of(&call->dst_desc[0], call->dst[0], call->dst[1], call->dst[2], n);
        for (int32_t l = 0; n < call->frame->count && l < call->op->u.rpn_select.level_count; l++) {
            RCNN_TRY(select_level(call, l, n, &list, err));
        }
        counts[n] = list.count;
    }
    return RCNN_OK;
}
