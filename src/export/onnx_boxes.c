/* Box arithmetic as nodes (spec 5.5-5.9, 13.6-13.7): float throughout, in the order the backends compute. */
#include "export/onnx_network.h"

#define TORCHVISION_SHIFT_MAX 1000 /* candidates up to which torchvision's NMS moves groups apart (spec 13.7) */

static const float LOG_MAX_RATIO = 4.135166556742356f; /* log(1000/16) */

rcnn_onnx_value rcnn_onnx_dims_of(rcnn_onnx_graph *g, rcnn_onnx_value value, int64_t axis, int64_t count)
{
    rcnn_onnx_value shape = RCNN_ONNX_OP(g, "Shape", value);
    return RCNN_ONNX_OP(g, "Slice", shape, RCNN_ONNX_INTS(g, axis), RCNN_ONNX_INTS(g, axis + count));
}

rcnn_onnx_value rcnn_onnx_rows(rcnn_onnx_graph *g, rcnn_onnx_value value, rcnn_onnx_value indices)
{
    rcnn_onnx_value out = RCNN_ONNX_OP(g, "Gather", value, indices);
    rcnn_onnx_int(g, "axis", 0);
    return out;
}

rcnn_onnx_list rcnn_onnx_list_rows(rcnn_onnx_graph *g, const rcnn_onnx_list *list, rcnn_onnx_value indices)
{
    return (rcnn_onnx_list){.boxes = rcnn_onnx_rows(g, list->boxes, indices),
                            .scores = rcnn_onnx_rows(g, list->scores, indices),
                            .labels = list->labels[0] ? rcnn_onnx_rows(g, list->labels, indices) : ""};
}

rcnn_onnx_value rcnn_onnx_where(rcnn_onnx_graph *g, rcnn_onnx_value condition)
{
    return RCNN_ONNX_OP(g, "Reshape", RCNN_ONNX_OP(g, "NonZero", condition), RCNN_ONNX_INTS(g, -1));
}

rcnn_onnx_value rcnn_onnx_column(rcnn_onnx_graph *g, rcnn_onnx_value value, int64_t column)
{
    rcnn_onnx_value out = RCNN_ONNX_OP(g, "Gather", value, rcnn_onnx_int_constant(g, 0, NULL, &column));
    rcnn_onnx_int(g, "axis", 1);
    return out;
}

/* Columns 0,1 and 2,3 of [M,4]. */
static void halves(rcnn_onnx_graph *g, rcnn_onnx_value value, rcnn_onnx_value out[2])
{
    const rcnn_onnx_value inputs[2] = {value, RCNN_ONNX_INTS(g, 2, 2)};
    rcnn_onnx_op_outputs(g, "Split", inputs, 2, out, 2);
    rcnn_onnx_int(g, "axis", 1);
}

/* Half of the delta weights applied: times 1/w in mmdet, divided by w in the others; nothing to do when all are 1. */
static rcnn_onnx_value weighted(rcnn_onnx_network *n, rcnn_onnx_value deltas, const double weights[2])
{
    if (weights[0] == 1 && weights[1] == 1) {
        return deltas;
    }
    if (n->config->delta_multiply) {
        return RCNN_ONNX_OP(&n->g, "Mul", deltas,
                            RCNN_ONNX_FLOATS(&n->g, (float)(1.0 / weights[0]), (float)(1.0 / weights[1])));
    }
    return RCNN_ONNX_OP(&n->g, "Div", deltas, RCNN_ONNX_FLOATS(&n->g, (float)weights[0], (float)weights[1]));
}

rcnn_onnx_value rcnn_onnx_decode(rcnn_onnx_network *n, rcnn_onnx_value boxes, rcnn_onnx_value deltas,
                                 const double weights[4])
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value corner[2], delta[2], centre;
    rcnn_onnx_value half = rcnn_onnx_scalar(g, 0.5f);
    halves(g, boxes, corner);
    halves(g, deltas, delta);
    rcnn_onnx_value shift = weighted(n, delta[0], weights);
    rcnn_onnx_value growth = weighted(n, delta[1], weights + 2);
    rcnn_onnx_value side = RCNN_ONNX_OP(g, "Sub", corner[1], corner[0]);
    if (n->config->delta_multiply) { /* mmdet takes the middle of the corners, the others the corner plus half a side */
        centre = RCNN_ONNX_OP(g, "Mul", RCNN_ONNX_OP(g, "Add", corner[0], corner[1]), half);
    } else {
        centre = RCNN_ONNX_OP(g, "Add", corner[0], RCNN_ONNX_OP(g, "Mul", side, half));
    }
    growth = RCNN_ONNX_OP(g, "Clip", growth, n->config->clamp_both ? rcnn_onnx_scalar(g, -LOG_MAX_RATIO) : "",
                          rcnn_onnx_scalar(g, LOG_MAX_RATIO));
    centre = RCNN_ONNX_OP(g, "Add", centre, RCNN_ONNX_OP(g, "Mul", side, shift));
    side = RCNN_ONNX_OP(g, "Mul", side, RCNN_ONNX_OP(g, "Exp", growth));
    side = RCNN_ONNX_OP(g, "Mul", side, half);
    rcnn_onnx_value first = RCNN_ONNX_OP(g, "Sub", centre, side);
    rcnn_onnx_value second = RCNN_ONNX_OP(g, "Add", centre, side);
    rcnn_onnx_value out = RCNN_ONNX_OP(g, "Concat", first, second);
    rcnn_onnx_int(g, "axis", 1);
    out = RCNN_ONNX_OP(g, "Max", out, rcnn_onnx_scalar(g, 0));
    return RCNN_ONNX_OP(g, "Min", out, n->limits);
}

rcnn_onnx_list rcnn_onnx_keep_sides(rcnn_onnx_graph *g, const rcnn_onnx_list *list, double minimum, bool inclusive)
{
    rcnn_onnx_value corner[2];
    halves(g, list->boxes, corner);
    rcnn_onnx_value sides = RCNN_ONNX_OP(g, "Sub", corner[1], corner[0]);
    rcnn_onnx_value shorter = RCNN_ONNX_OP(g, "Min", rcnn_onnx_column(g, sides, 0), rcnn_onnx_column(g, sides, 1));
    rcnn_onnx_value limit = rcnn_onnx_scalar(g, (float)minimum);
    rcnn_onnx_value kept =
        inclusive ? RCNN_ONNX_OP(g, "GreaterOrEqual", shorter, limit) : RCNN_ONNX_OP(g, "Greater", shorter, limit);
    return rcnn_onnx_list_rows(g, list, rcnn_onnx_where(g, kept));
}

/* The frameworks move groups apart before NMS; the rounding of the moved coordinates is part of their result, and of
 * ours. Groups are kept apart by NMS itself as well, so torchvision's rule for many boxes is to move by 0. The 0 put
 * before the maximum changes nothing (boxes are clipped to >= 0) and gives an image without boxes a maximum. */
rcnn_onnx_value rcnn_onnx_group_step(rcnn_onnx_network *n, rcnn_onnx_value boxes)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value all = RCNN_ONNX_OP(g, "Reshape", boxes, RCNN_ONNX_INTS(g, -1));
    all = RCNN_ONNX_OP(g, "Concat", RCNN_ONNX_FLOATS(g, 0), all);
    rcnn_onnx_int(g, "axis", 0);
    rcnn_onnx_value largest = RCNN_ONNX_OP(g, "ReduceMax", all);
    rcnn_onnx_int(g, "keepdims", 0);
    rcnn_onnx_value step = RCNN_ONNX_OP(g, "Add", largest, rcnn_onnx_scalar(g, 1));
    if (n->config->nms_rule == RCNN_NMS_MMCV) {
        return step;
    }
    rcnn_onnx_value many =
        RCNN_ONNX_OP(g, "Greater", rcnn_onnx_dims_of(g, boxes, 0, 1), RCNN_ONNX_INTS(g, TORCHVISION_SHIFT_MAX));
    return RCNN_ONNX_OP(g, "Where", many, rcnn_onnx_scalar(g, 0), step);
}

rcnn_onnx_list rcnn_onnx_best(rcnn_onnx_graph *g, const rcnn_onnx_list *list, int64_t limit)
{
    rcnn_onnx_value count = rcnn_onnx_dims_of(g, list->scores, 0, 1);
    const rcnn_onnx_value inputs[2] = {list->scores, RCNN_ONNX_OP(g, "Min", count, RCNN_ONNX_INTS(g, limit))};
    rcnn_onnx_value best[2];
    rcnn_onnx_op_outputs(g, "TopK", inputs, 2, best, 2);
    rcnn_onnx_int(g, "axis", 0);
    return rcnn_onnx_list_rows(g, list, best[1]);
}
