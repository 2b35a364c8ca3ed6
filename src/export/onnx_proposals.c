/* Region proposals (spec 5.2-5.9, 13.5-13.7, 14.4). As in the library, anchors are made only for the predictions that the
 * ranking keeps, from their index; so there is no anchor tensor to size and any image size works.
 *
 * TopK always sorts, also where mmdet leaves a short level in its order (rpn_keep_order): NMS sorts anyway and both take
 * equal scores by lower index, so the proposals are the same. One NonMaxSuppression a level keeps levels apart. ONNX's
 * test is intersection/union > threshold, torchvision's form; mmcv's product form differs only by rounding. */
#include <math.h>

#include "export/onnx_network.h"

/* Base anchors about (0,0), rounded once to float as in src/stages/rpn.c. */
static rcnn_onnx_value base_anchors(rcnn_onnx_network *n, int32_t level)
{
    const int64_t dims[2] = {3, 4};
    float base[12];
    for (int32_t a = 0; a < 3; a++) {
        const double ratio = n->config->anchor_ratios[a];
        double half_w = n->config->anchor_sizes[level] / sqrt(ratio) / 2;
        double half_h = n->config->anchor_sizes[level] * sqrt(ratio) / 2;
        if (n->config->anchor_round) {
            half_w = rint(half_w);
            half_h = rint(half_h);
        }
        base[4 * a] = (float)-half_w;
        base[4 * a + 1] = (float)-half_h;
        base[4 * a + 2] = (float)half_w;
        base[4 * a + 3] = (float)half_h;
    }
    return rcnn_onnx_float_constant(&n->g, 2, dims, base);
}

static rcnn_onnx_value to_float(rcnn_onnx_graph *g, rcnn_onnx_value value)
{
    rcnn_onnx_value out = RCNN_ONNX_OP(g, "Cast", value);
    rcnn_onnx_int(g, "to", RCNN_ONNX_FLOAT);
    return out;
}

/* Distance of anchor centres along an axis (2 = y, 3 = x): the stride, or floor(image / feature), known while running. */
static rcnn_onnx_value anchor_step(rcnn_onnx_network *n, int32_t level, int64_t axis, rcnn_onnx_value cells)
{
    if (n->config->anchor_step == RCNN_ANCHOR_STEP_STRIDE) {
        return RCNN_ONNX_FLOATS(&n->g, (float)(4 << level));
    }
    rcnn_onnx_value pixels = rcnn_onnx_dims_of(&n->g, n->image, axis, 1);
    return to_float(&n->g, RCNN_ONNX_OP(&n->g, "Div", pixels, cells));
}

/* Anchors [k,4] of flat indices [k] = (y * W + x) * 3 + anchor. */
static rcnn_onnx_value anchors(rcnn_onnx_network *n, int32_t level, rcnn_onnx_value indices)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value three = RCNN_ONNX_INTS(g, 3), last = RCNN_ONNX_INTS(g, 1);
    rcnn_onnx_value rows = rcnn_onnx_dims_of(g, n->rpn_scores[level], 2, 1);
    rcnn_onnx_value columns = rcnn_onnx_dims_of(g, n->rpn_scores[level], 3, 1);
    rcnn_onnx_value cell = RCNN_ONNX_OP(g, "Div", indices, three);
    rcnn_onnx_value x = to_float(g, RCNN_ONNX_OP(g, "Mod", cell, columns));
    rcnn_onnx_value y = to_float(g, RCNN_ONNX_OP(g, "Div", cell, columns));
    x = RCNN_ONNX_OP(g, "Mul", x, anchor_step(n, level, 3, columns));
    y = RCNN_ONNX_OP(g, "Mul", y, anchor_step(n, level, 2, rows));
    x = RCNN_ONNX_OP(g, "Unsqueeze", x, last);
    y = RCNN_ONNX_OP(g, "Unsqueeze", y, last);
    rcnn_onnx_value centre = RCNN_ONNX_OP(g, "Concat", x, y, x, y);
    rcnn_onnx_int(g, "axis", 1);
    rcnn_onnx_value base = rcnn_onnx_rows(g, base_anchors(n, level), RCNN_ONNX_OP(g, "Mod", indices, three));
    return RCNN_ONNX_OP(g, "Add", base, centre);
}

/* [1,3*width,H,W] -> [H*W*3, width], or [H*W*3] for width 0: anchors of a cell next to each other. */
static rcnn_onnx_value flat(rcnn_onnx_graph *g, rcnn_onnx_value pred, int64_t width)
{
    rcnn_onnx_value cells_first = RCNN_ONNX_OP(g, "Transpose", pred);
    rcnn_onnx_int_list(g, "perm", (const int64_t[]){0, 2, 3, 1}, 4);
    return RCNN_ONNX_OP(g, "Reshape", cells_first, width > 0 ? RCNN_ONNX_INTS(g, -1, width) : RCNN_ONNX_INTS(g, -1));
}

/* The best predictions of a level as clipped boxes that are large enough. */
static rcnn_onnx_list candidates(rcnn_onnx_network *n, int32_t level)
{
    static const double ones[4] = {1, 1, 1, 1};
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value scores = flat(g, n->rpn_scores[level], 0);
    if (n->config->rpn_rank == RCNN_RANK_SIGMOID) {
        scores = RCNN_ONNX_OP(g, "Sigmoid", scores);
    }
    rcnn_onnx_value best[2], count = RCNN_ONNX_OP(g, "Shape", scores);
    const rcnn_onnx_value inputs[2] = {scores,
                                       RCNN_ONNX_OP(g, "Min", count, RCNN_ONNX_INTS(g, n->config->rpn_pre_nms))};
    rcnn_onnx_op_outputs(g, "TopK", inputs, 2, best, 2);
    rcnn_onnx_int(g, "axis", 0);
    rcnn_onnx_value deltas = rcnn_onnx_rows(g, flat(g, n->rpn_deltas[level], 4), best[1]);
    const rcnn_onnx_list list = {
        .boxes = rcnn_onnx_decode(n, anchors(n, level, best[1]), deltas, ones), .scores = best[0], .labels = ""};
    if (n->config->rpn_min_size < 0) {
        return list;
    }
    return rcnn_onnx_keep_sides(g, &list, n->config->rpn_min_size, n->config->rpn_min_inclusive);
}

/* NMS within a level. Past post_nms boxes of one level none can be among the best post_nms of all. */
static rcnn_onnx_list suppressed(rcnn_onnx_network *n, int32_t level, const rcnn_onnx_list *list,
                                 rcnn_onnx_value group_step)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value moved =
        RCNN_ONNX_OP(g, "Add", list->boxes, RCNN_ONNX_OP(g, "Mul", group_step, rcnn_onnx_scalar(g, (float)level)));
    rcnn_onnx_value selected =
        RCNN_ONNX_OP(g, "NonMaxSuppression", RCNN_ONNX_OP(g, "Unsqueeze", moved, RCNN_ONNX_INTS(g, 0)),
                     RCNN_ONNX_OP(g, "Unsqueeze", list->scores, RCNN_ONNX_INTS(g, 0, 1)),
                     RCNN_ONNX_INTS(g, n->config->rpn_post_nms), RCNN_ONNX_FLOATS(g, (float)n->config->rpn_nms_iou));
    return rcnn_onnx_list_rows(g, list, rcnn_onnx_column(g, selected, 2));
}

static rcnn_onnx_value joined(rcnn_onnx_graph *g, const rcnn_onnx_value parts[RCNN_ONNX_LEVELS])
{
    rcnn_onnx_value out = rcnn_onnx_op(g, "Concat", parts, RCNN_ONNX_LEVELS);
    rcnn_onnx_int(g, "axis", 0);
    return out;
}

rcnn_onnx_list rcnn_onnx_proposals(rcnn_onnx_network *n)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_list level[RCNN_ONNX_LEVELS];
    rcnn_onnx_value boxes[RCNN_ONNX_LEVELS], scores[RCNN_ONNX_LEVELS];
    rcnn_onnx_scope(g, "proposals");
    for (int32_t l = 0; l < RCNN_ONNX_LEVELS; l++) {
        level[l] = candidates(n, l);
        boxes[l] = level[l].boxes;
    }
    rcnn_onnx_value group_step = rcnn_onnx_group_step(n, joined(g, boxes));
    for (int32_t l = 0; l < RCNN_ONNX_LEVELS; l++) {
        level[l] = suppressed(n, l, &level[l], group_step);
        boxes[l] = level[l].boxes;
        scores[l] = level[l].scores;
    }
    const rcnn_onnx_list all = {.boxes = joined(g, boxes), .scores = joined(g, scores), .labels = ""};
    return rcnn_onnx_best(g, &all, n->config->rpn_post_nms);
}
