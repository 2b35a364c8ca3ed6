/* The network as data: values (tensors with static capacity) and ops in execution order. Stages build it, the planner
 * places the values, backends prepare the ops. Pure data: no backend, no model, no execution here.
 *
 * Shapes. Activations are NHWC: dim = {N,H,W,C}. Data-dependent counts are values of their own: a boxes value
 * [N,R,4] has capacity R and goes with an i32 counts value [N]. Per-RoI features are PACKED rows [N*R,P,P,C]: the rows
 * of image 0 first, then image 1, ...; live rows = sum of counts, and work follows the live rows.
 * Row r of image n sits at sum(counts[0..n)) + r. Contents past the live rows are unspecified. */
#ifndef RCNN_GRAPH_GRAPH_H
#define RCNN_GRAPH_GRAPH_H

#include "base/dtype.h"
#include "base/rules.h"
#include "base/status.h"

#define RCNN_OP_INPUTS_MAX  8
#define RCNN_OP_OUTPUTS_MAX 5
#define RCNN_LEVELS_MAX     5
#define RCNN_ANCHORS_MAX    9
#define RCNN_NO_VALUE       (-1)
#define RCNN_LAYER_TEXT_MAX 64 /* op and value names, with the NUL */

typedef enum rcnn_stage {
#define STAGE(name, help) RCNN_STAGE_##name,
#define TIMED(name, help) RCNN_STAGE_##name,
#include "stages/stages.def"
#undef TIMED
#undef STAGE
    RCNN_STAGE_COUNT
} rcnn_stage;

typedef enum rcnn_op_kind {
#define OP(KIND, name, help) RCNN_OP_##KIND,
#include "graph/ops.def"
#undef OP
    RCNN_OP_KIND_COUNT
} rcnn_op_kind;

typedef struct rcnn_tensor_desc {
    rcnn_dtype dtype;
    int32_t rank;   /* 1 .. 4                              */
    int32_t dim[4]; /* NHWC for activations; all >= 1      */
} rcnn_tensor_desc;

typedef int32_t rcnn_value_id;

typedef struct rcnn_value {
    char name[RCNN_LAYER_TEXT_MAX];
    rcnn_tensor_desc desc;
    size_t bytes;
    int32_t producer; /* op index                                                 */
    int32_t last_use; /* op index; INT32_MAX for graph outputs, live to the end    */
    float scale;      /* I8 and U8 activations: real value = stored * scale, stored in -127..127 and 0..255 (round half
                         to even, saturated); 0 for all others */
    size_t offset;    /* in the arena, set by the planner; RCNN_ALIGNMENT-aligned  */
} rcnn_value;

/* Weights of a CONV, FC, DECONV or MASK_LOGIT: fp32, borrowed from the model, which outlives every graph. */
typedef struct rcnn_op_weights {
    const float *weights; /* CONV [out][in][kh][kw], FC [out][in], DECONV [in][out][kh][kw], MASK_LOGIT [out][in] */
    const float *bias;    /* [out] */
    int32_t out, in;      /* in = per group */
    int32_t kh, kw;
} rcnn_op_weights;

/* What decoding a box delta needs (spec 5.5). d = delta * weight (multiply, mmdet) or delta / weight (divide, torchvision
 * and detectron2). The box's centre is (x1+x2)*0.5 in the first form, x1 + 0.5*(x2-x1) in the second (13.9). */
typedef struct rcnn_decode {
    float weight[4]; /* multiply: 1/w as float (0.1f, ..); divide: w. RPN: 1,1,1,1 */
    int32_t multiply;
    int32_t clamp_both;
} rcnn_decode;

typedef struct rcnn_op {
    rcnn_op_kind kind;
    rcnn_stage stage;               /* the stage its time is accounted to */
    char name[RCNN_LAYER_TEXT_MAX]; /* layer name or what it makes        */
    int32_t input_count, output_count;
    rcnn_value_id input[RCNN_OP_INPUTS_MAX];
    rcnn_value_id output[RCNN_OP_OUTPUTS_MAX];
    int32_t inplace; /* index of an input that output[0] may overwrite if it dies here, or -1 */
    int32_t fused_first,
        fused_last;      /* ops that run as one kernel with this one, set by rcnn_graph_fuse; else its own index */
    int32_t fused_keeps; /* that kernel uses the memory of the values between its ops */
    rcnn_value_id rows;  /* counts value when dim[0] of the first input and output is packed rows, else
                                               RCNN_NO_VALUE (all of dim[0] is live) */
    rcnn_op_weights w;
    union {
        /* no inputs -> image [N,H,W,3 or 4]. Image n of the frame is resized to frame net size, the rest is 0, as is a
         * fourth channel. A conv on it reads its first w.in channels. */
        struct {
            rcnn_resize resize;
            rcnn_channel_order order; /* network channel order */
            float lut[3][256];        /* normalised value of a pixel byte, network channel order (spec 2.4, 13.1) */
        } preprocess;
        /* src [N,H,W,Ci] (, residual [N,Ho,Wo,Co]) -> dst; dst = relu?(conv + bias (+ residual)) */
        struct {
            int32_t stride, pad, groups, relu, residual;
        } conv;
        /* -inf padding; kernel 1 stride 2 gives P6 */
        struct {
            int32_t kernel, stride, pad;
        } maxpool;
        /* lateral [N,H,W,C], top [N,h,w,C] -> dst; src index = min(floor(dst * in / out), in-1) (spec 4) */
        struct {
            int32_t unused;
        } upsample_add;
        /* pred level l [N,H_l,W_l,A+4A] (A logits, then deltas a*4+k), one input a level
         * -> boxes [N,cap,4], scores [N,cap], groups i32 [N,cap] (level), counts [N]; cap = sum over levels of
         * min(pre_nms, H_l*W_l*A). Candidates stand level after level, each in the order of spec 5.3 / 13.6. Scores are
         * the ranking value (sigmoid or logit). Non-finite logits or deltas of kept candidates: NUMERIC. */
        struct {
            int32_t level_count, anchor_count;
            float base[RCNN_LEVELS_MAX][RCNN_ANCHORS_MAX][4]; /* x1,y1,x2,y2 about (0,0) */
            float step_x[RCNN_LEVELS_MAX], step_y[RCNN_LEVELS_MAX];
            rcnn_rank rank;
            int32_t keep_order, pre_nms;
            float min_size;
            int32_t min_inclusive;
            rcnn_decode decode;
        } rpn_select;
        /* boxes [N,cap,4], scores [N,cap], groups i32 [N,cap], counts [N]
         * -> boxes [N,keep,4], scores [N,keep], groups [N,keep], counts [N], sorted by score, ties by lower index.
         * Original (unshifted) coordinates are returned. IoU test: mmcv inter > thr*union, torchvision inter/union > thr.
         * Groups are shifted by (group + first_group) steps: torchvision's labels start at 1, so its rounding does too. */
        struct {
            rcnn_nms_rule rule;
            float iou;
            int32_t first_group;
        } nms;
        /* levels P2.. [N,H,W,C] (level_count inputs), boxes [N,R,4], counts [N] -> packed rows [N*R,bins,bins,C] */
        struct {
            int32_t level_count, bins, sampling, aligned;
            rcnn_level_rule level_rule;
            float scale[RCNN_LEVELS_MAX]; /* 1/stride */
        } roi_align;
        /* packed rows [N*R,...in elements] , counts -> [N*R,out]. permute != 0: the input row is [bins,bins,C] (NHWC) while
         * the weights' columns are ordered c*bins*bins + y*bins + x: the backend reorders the weights at prepare. */
        struct {
            int32_t relu, permute_bins;
        } fc;
        /* packed rows [N*R,P,P,Ci], counts -> [N*R,2P,2P,Co] */
        struct {
            int32_t relu;
        } deconv;
        /* pred packed rows [N*R, K+1 + 4*D], proposals [N,R,4], counts [N]
         * -> boxes [N,cap,4], scores [N,cap], labels i32 [N,cap] (0-based foreground), counts [N]; candidates in order
         * roi-major, label-minor. Boxes are clipped to the network image; with rescale_first also divided by the
         * scale. min_size > 0: sides >= min_size are kept (tested in network coordinates). */
        struct {
            int32_t class_count;                               /* foreground K */
            int32_t background_first, agnostic, delta_classes; /* delta_classes: K, K+1 or 1 */
            float score_threshold, min_size;
            int32_t rescale_first;
            rcnn_decode decode;
            const uint8_t *label_wanted; /* [K] or NULL = all; borrowed from the session */
        } box_select;
        /* boxes [N,D,4], scores, labels, counts of the NMS
         * -> boxes [N,D,4] image coordinates, mask RoIs [N,D,4] network coordinates, scores, labels, counts */
        struct {
            rcnn_scale_rule scale_rule;
            int32_t rescale_first, clip_output;
        } detect;
        /* packed rows [N*D,S,S,C], labels [N,D], counts [N] -> packed rows [N*D,S,S] f32 after sigmoid.
         * channel = agnostic ? 0 : label + channel_offset */
        struct {
            int32_t agnostic, channel_offset;
        } mask_logit;
    } u;
} rcnn_op;

typedef struct rcnn_graph {
    rcnn_value *values;
    rcnn_op *ops;
    int32_t value_count, op_count;
    size_t value_capacity, op_capacity;
    size_t arena_bytes;       /* set by the planner */
    rcnn_precision precision; /* of CONV, FC and DECONV. Sums are float in all of them; TF32 rounds the factors of float
                                 values; with FP16 and BF16 activations are values of that type; with INT8
                                 they are I8, U8 (see rcnn_value.scale), BF16 or F32 value by value. AUTO = FP32 */
} rcnn_graph;

/* ------------------------------------------------------------- per-run input */

#define RCNN_BATCH_MAX 64

/* Everything about one image of a batch that ops need and that changes from run to run. */
typedef struct rcnn_frame_image {
    rcnn_image_view view;          /* pixels; valid during the run              */
    int32_t net_width, net_height; /* resized, unpadded: boxes clip to this     */
    float scale_x, scale_y;        /* f32((double)net/image), SCALE_DIVIDE      */
    float ratio_x, ratio_y;        /* image/net by the config's scale rule      */
} rcnn_frame_image;

typedef struct rcnn_frame {
    int32_t count;      /* live images, 0 .. batch of the graph; further images have zero counts */
    const float *ready; /* NULL, or [count,H,W,3] f32 host memory: PREPROCESS has been done, backends with stage() take
                           this instead of the pixels */
    int32_t ready_width, ready_height; /* W and H of ready */
    rcnn_frame_image image[RCNN_BATCH_MAX];
} rcnn_frame;

/* ------------------------------------------------------------- building */

void rcnn_graph_init(rcnn_graph *graph);
void rcnn_graph_free(rcnn_graph *graph);
/* Adds a value and gives its id. MEMORY, or LIMIT when its size overflows. */
rcnn_status rcnn_graph_add_value(rcnn_graph *graph, const char *name, rcnn_dtype dtype, int32_t rank,
                                 const int32_t *dim, rcnn_value_id *out, rcnn_error *err);
/* Copies *op to the end, fills producer and last_use of its values. */
rcnn_status rcnn_graph_add_op(rcnn_graph *graph, const rcnn_op *op, rcnn_error *err);
/* Keeps a value alive to the end. */
void rcnn_graph_mark_output(rcnn_graph *graph, rcnn_value_id value);
rcnn_value_id rcnn_graph_find(const rcnn_graph *graph, const char *name); /* RCNN_NO_VALUE when absent */
const char *rcnn_op_kind_name(rcnn_op_kind kind);
/* Multiply-accumulates of an op at full capacity (0 for ops without arithmetic to speak of). */
int64_t rcnn_op_macs(const rcnn_graph *graph, const rcnn_op *op);

/* How many packed rows of a counts value a run had: the sum of its numbers. */
typedef struct rcnn_live_rows {
    rcnn_value_id counts;
    int64_t rows; /* below 0: not known, the capacity stands for them */
} rcnn_live_rows;
typedef struct rcnn_cost {
    double flop;  /* 2 a multiply-accumulate */
    double bytes; /* weights, and values that are read or written, each once */
} rcnn_cost;
/* Of ops first .. first+count-1 as one kernel: values between them cost nothing unless rcnn_graph_fuse kept them. Packed
 * rows count as far as they are live, all other values with their capacity. */
rcnn_cost rcnn_graph_cost(const rcnn_graph *graph, int32_t first, int32_t count, const rcnn_live_rows *live,
                          int32_t live_count);

/* ------------------------------------------------------------- planning */

/* Ops first .. first+count-1 run as one kernel: for the planner what it reads is alive until its last op and what it
 * writes from its first on, nothing is written in place, and values that live only between these ops get no memory
 * unless keep_between is set. */
void rcnn_graph_fuse(rcnn_graph *graph, int32_t first, int32_t count, int keep_between);

/* Gives every value an offset so that values alive at the same time never overlap, honouring inplace where the input
 * dies at the op; keep_all gives each value a place of its own (debugging). Sets graph->arena_bytes. */
rcnn_status rcnn_graph_plan(rcnn_graph *graph, int keep_all, rcnn_error *err);

#endif
