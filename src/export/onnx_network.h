/* The network as ONNX nodes: what the files of this folder share while they write one model down. Tensors are NCHW with
 * one image; boxes are [M,4] x1,y1,x2,y2 in pixels of the network's input.
 * Every rule of the model config is followed as src/stages and the backends follow it; the comments name what ONNX's
 * operators make different. */
#ifndef RCNN_EXPORT_ONNX_NETWORK_H
#define RCNN_EXPORT_ONNX_NETWORK_H

#include "export/onnx_graph.h"
#include "model/model.h"

#define RCNN_ONNX_LEVELS 5 /* P2..P6 */

typedef struct rcnn_onnx_network {
    rcnn_onnx_graph g;
    const rcnn_model *model;
    const rcnn_config *config;
    rcnn_onnx_value image;                        /* [1,3,H,W]                              */
    rcnn_onnx_value limits;                       /* [4] W,H,W,H: what boxes are clipped to */
    rcnn_onnx_value p[RCNN_ONNX_LEVELS];          /* [1,C,H_l,W_l]                          */
    rcnn_onnx_value rpn_scores[RCNN_ONNX_LEVELS]; /* [1,3,H_l,W_l] logits                  */
    rcnn_onnx_value rpn_deltas[RCNN_ONNX_LEVELS]; /* [1,12,H_l,W_l], channel anchor*4 + k  */
} rcnn_onnx_network;

/* Boxes with what belongs to each. */
typedef struct rcnn_onnx_list {
    rcnn_onnx_value boxes;  /* [M,4]                    */
    rcnn_onnx_value scores; /* [M]                      */
    rcnn_onnx_value labels; /* [M] int64; "" when none  */
} rcnn_onnx_list;

/* ------------------------------------------------------- onnx_backbone.c */

/* The layer of a canonical name; a graph failure and NULL when the model has none. */
const rcnn_layer *rcnn_onnx_layer(rcnn_onnx_network *n, const char *name);
/* Convolution of a layer with padding kernel/2, then ReLU when asked. */
rcnn_onnx_value rcnn_onnx_conv(rcnn_onnx_network *n, const char *layer, rcnn_onnx_value x, bool relu);
/* From n->image to n->p, named p2..p6. */
void rcnn_onnx_pyramid(rcnn_onnx_network *n);
/* From n->p to n->rpn_scores and n->rpn_deltas, named rpn_scores2.., rpn_deltas2... */
void rcnn_onnx_rpn_head(rcnn_onnx_network *n);

/* ---------------------------------------------------------- onnx_boxes.c */

/* Shape(value) from axis `axis` on for `count` axes, [count] int64. */
rcnn_onnx_value rcnn_onnx_dims_of(rcnn_onnx_graph *g, rcnn_onnx_value value, int64_t axis, int64_t count);
/* Rows of a value by [M] indices. */
rcnn_onnx_value rcnn_onnx_rows(rcnn_onnx_graph *g, rcnn_onnx_value value, rcnn_onnx_value indices);
/* The rows of all three members. */
rcnn_onnx_list rcnn_onnx_list_rows(rcnn_onnx_graph *g, const rcnn_onnx_list *list, rcnn_onnx_value indices);
/* One column of [M,C]: [M]. */
rcnn_onnx_value rcnn_onnx_column(rcnn_onnx_graph *g, rcnn_onnx_value value, int64_t column);
/* [M] indices at which a [M] condition holds, ascending. */
rcnn_onnx_value rcnn_onnx_where(rcnn_onnx_graph *g, rcnn_onnx_value condition);
/* Deltas [M,4] on boxes [M,4], clipped to n->limits. weights: the four delta weights. */
rcnn_onnx_value rcnn_onnx_decode(rcnn_onnx_network *n, rcnn_onnx_value boxes, rcnn_onnx_value deltas,
                                 const double weights[4]);
/* The boxes whose sides are > minimum (>= when inclusive). */
rcnn_onnx_list rcnn_onnx_keep_sides(rcnn_onnx_graph *g, const rcnn_onnx_list *list, double minimum, bool inclusive);
/* What batched NMS adds to the coordinates of group 1 (of group k: k times this): one number. boxes: all of them [M,4]. */
rcnn_onnx_value rcnn_onnx_group_step(rcnn_onnx_network *n, rcnn_onnx_value boxes);
/* The best `limit` by score, descending; equal scores keep their order. */
rcnn_onnx_list rcnn_onnx_best(rcnn_onnx_graph *g, const rcnn_onnx_list *list, int64_t limit);

/* ----------------------------------------------------- onnx_proposals.c */

/* From the RPN's predictions to n proposals, best first. */
rcnn_onnx_list rcnn_onnx_proposals(rcnn_onnx_network *n);

/* ----------------------------------------------------------- onnx_rois.c */

/* What each RoI's pyramid level is, found once for all uses. */
typedef struct rcnn_onnx_rois {
    rcnn_onnx_value boxes;      /* [R,4]                                                            */
    rcnn_onnx_value members[4]; /* [R_l] RoIs of the level                                          */
    rcnn_onnx_value inverse;    /* [R] where RoI r stands when the levels' RoIs follow one another  */
} rcnn_onnx_rois;
rcnn_onnx_rois rcnn_onnx_assign_levels(rcnn_onnx_network *n, rcnn_onnx_value boxes);
/* RoIAlign of bins x bins, RoIs level after level: [R,C,bins,bins]. rcnn_onnx_rows with `inverse` restores the order. */
rcnn_onnx_value rcnn_onnx_roi_features(rcnn_onnx_network *n, const rcnn_onnx_rois *rois, int32_t bins);

/* ---------------------------------------------------------- onnx_heads.c */

/* Class probabilities [R,K+1] and raw deltas [R,4*D] of RoIs, D as in rcnn_onnx_delta_classes. names: of the outputs, or
 * NULL for made-up ones. */
void rcnn_onnx_box_head(rcnn_onnx_network *n, rcnn_onnx_value boxes, const char *const names[2],
                        rcnn_onnx_value *probabilities, rcnn_onnx_value *deltas);
int64_t rcnn_onnx_delta_classes(const rcnn_config *config);
/* The mask of the predicted class, probabilities [D,S,S], of boxes with labels; the value is named `name`. */
rcnn_onnx_value rcnn_onnx_mask_head(rcnn_onnx_network *n, rcnn_onnx_value boxes, rcnn_onnx_value labels,
                                    const char *name);
/* Detections from the box head: threshold, decode, NMS per class, best max_detections. */
rcnn_onnx_list rcnn_onnx_detections(rcnn_onnx_network *n, rcnn_onnx_value proposals);

#endif
