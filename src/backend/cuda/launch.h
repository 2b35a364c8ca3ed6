/* The border between the host side of the cuda backend (C) and its kernels (.cu): one parameter block and one launch
 * function an op. Launch functions only enqueue on the stream, allocate nothing, and return the launch's error.
 * Everything here is plain data, so that the kernels also run under tests/emulate without a GPU.
 *
 * Names follow the ops (src/graph/graph.h says what each computes). N images, D or R capacity per image. Activations are
 * NHWC of `type`; boxes, scores and logits are float. Packed rows: live rows = sum of counts[0..n). All pointers are
 * device pointers, 256-byte aligned unless said otherwise. */
#ifndef RCNN_BACKEND_CUDA_LAUNCH_H
#define RCNN_BACKEND_CUDA_LAUNCH_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rcnn_cuda_type { RCNN_CUDA_F32 = 0, RCNN_CUDA_F16 = 1, RCNN_CUDA_BF16 = 2 } rcnn_cuda_type;

#define RCNN_CUDA_LEVELS_MAX  5
#define RCNN_CUDA_ANCHORS_MAX 9
#define RCNN_CUDA_BATCH_MAX   64

/* ------------------------------------------------------------- shared blocks */

typedef struct rcnn_cuda_frame_image {
    const uint8_t *data; /* first pixel: device or mapped host memory, any alignment */
    int64_t stride;      /* bytes                                                    */
    int32_t width, height;
    int32_t format;                           /* rcnn_pixel_format                              */
    int32_t net_width, net_height;            /* resized, unpadded                              */
    float scale_x, scale_y, ratio_x, ratio_y; /* as rcnn_frame_image */
} rcnn_cuda_frame_image;

/* What changes from run to run, at a fixed address in device memory: recorded graphs read it through a pointer. */
typedef struct rcnn_cuda_frame {
    int32_t count; /* live images */
    int32_t reserved;
    const float *ready; /* [count,H,W,3] preprocessed on the host, or NULL; device memory */
    void *delivery;     /* mapped host memory of this run's results */
    rcnn_cuda_frame_image image[RCNN_CUDA_BATCH_MAX];
} rcnn_cuda_frame;

typedef enum rcnn_cuda_fault_what {
    RCNN_CUDA_FAULT_NONE = 0,
    RCNN_CUDA_FAULT_OBJECTNESS = 1,  /* a = level, b = anchor      */
    RCNN_CUDA_FAULT_RPN_DELTA = 2,   /* a = level, b = anchor      */
    RCNN_CUDA_FAULT_CLASS_LOGIT = 3, /* a = RoI                    */
    RCNN_CUDA_FAULT_BOX_DELTA = 4,   /* a = RoI, b = label         */
    RCNN_CUDA_FAULT_CAPACITY = 5,    /* a = wanted, b = capacity   */
    RCNN_CUDA_FAULT_LABEL = 6        /* a = RoI, b = label         */
} rcnn_cuda_fault_what;

/* The first thing that went wrong on the device in a run; what = 0: nothing. Kernels set it with atomicCAS on `what`. */
typedef struct rcnn_cuda_fault {
    int32_t what; /* rcnn_cuda_fault_what */
    int32_t op;   /* id from rcnn_cuda_fault_id */
    int32_t image, a, b;
} rcnn_cuda_fault;

typedef struct rcnn_cuda_fault_place { /* handed to kernels that check numbers */
    rcnn_cuda_fault *fault;
    int32_t op;
} rcnn_cuda_fault_place;

/* frame.cu: *dst = *frame, which is host memory and may change after the return; *fault = none. */
cudaError_t rcnn_cuda_frame_launch(const rcnn_cuda_frame *frame, rcnn_cuda_frame *dst, rcnn_cuda_fault *fault,
                                   cudaStream_t stream);

/* record_switch.cu: the value of a SWITCH node = the smallest bucket that holds the live rows, bucket_count (no body)
 * when there are none. */
#define RCNN_CUDA_BUCKETS_MAX 8
typedef struct rcnn_cuda_switch {
    unsigned long long handle; /* cudaGraphConditionalHandle */
    const int32_t *counts;     /* [images] */
    int32_t images, bucket_count;
    int32_t buckets[RCNN_CUDA_BUCKETS_MAX]; /* rising */
} rcnn_cuda_switch;
cudaError_t rcnn_cuda_switch_launch(const rcnn_cuda_switch *p, cudaStream_t stream);

typedef struct rcnn_cuda_decode { /* rcnn_decode */
    float weight[4];
    int32_t multiply, clamp_both;
} rcnn_cuda_decode;

/* ------------------------------------------------------------- features */

/* preprocess.cu: dst [n,height,width,channels] of type, channels 3 or 4 (the 4th is 0), fully written: images past
 * frame->count and everything outside net_width x net_height are 0. frame->ready != NULL: only converts it. */
typedef struct rcnn_cuda_preprocess {
    const rcnn_cuda_frame *frame;
    void *dst;
    rcnn_cuda_type type;
    int32_t n, height, width, channels;
    int32_t resize;   /* rcnn_resize */
    int32_t bgr;      /* network channel order is BGR */
    const float *lut; /* [3][256], network channel order */
} rcnn_cuda_preprocess;
cudaError_t rcnn_cuda_preprocess_launch(const rcnn_cuda_preprocess *p, cudaStream_t stream);

/* maxpool.cu: -inf padding. */
typedef struct rcnn_cuda_maxpool {
    const void *src; /* [n,height,width,channels] */
    void *dst;       /* [n,out_height,out_width,channels] */
    rcnn_cuda_type type;
    int32_t n, height, width, channels, out_height, out_width;
    int32_t kernel, stride, pad;
} rcnn_cuda_maxpool;
cudaError_t rcnn_cuda_maxpool_launch(const rcnn_cuda_maxpool *p, cudaStream_t stream);

/* upsample_add.cu: dst = lateral + top[min(y*top_height/height, ..)]; dst may be lateral. */
typedef struct rcnn_cuda_upsample_add {
    const void *lateral, *top;
    void *dst;
    rcnn_cuda_type type;
    int32_t n, height, width, channels, top_height, top_width;
} rcnn_cuda_upsample_add;
cudaError_t rcnn_cuda_upsample_add_launch(const rcnn_cuda_upsample_add *p, cudaStream_t stream);

/* roi_align.cu: all levels in one launch -> packed rows [live,bins,bins,channels] of type. */
typedef struct rcnn_cuda_roi_align {
    const void *level[RCNN_CUDA_LEVELS_MAX]; /* [n,level_height,level_width,channels] */
    int32_t level_height[RCNN_CUDA_LEVELS_MAX], level_width[RCNN_CUDA_LEVELS_MAX];
    float scale[RCNN_CUDA_LEVELS_MAX];
    const float *boxes;    /* [n,capacity,4] */
    const int32_t *counts; /* [n] */
    void *dst;
    rcnn_cuda_type type;
    int32_t n, capacity, channels, level_count, bins, sampling, aligned;
    int32_t level_rule; /* rcnn_level_rule */
} rcnn_cuda_roi_align;
cudaError_t rcnn_cuda_roi_align_launch(const rcnn_cuda_roi_align *p, cudaStream_t stream);

/* mask_logit.cu: src packed rows [live,side,side,in] of type -> dst packed rows [live,side,side] f32 after sigmoid. */
typedef struct rcnn_cuda_mask_logit {
    const void *src;
    const float *weights;  /* [channels][in] f32 */
    const float *bias;     /* [channels] f32 */
    const int32_t *labels; /* [n,capacity] */
    const int32_t *counts; /* [n] */
    float *dst;
    rcnn_cuda_type type;
    int32_t n, capacity, side, in, channels;
    int32_t agnostic, channel_offset;
    rcnn_cuda_fault_place fault;
} rcnn_cuda_mask_logit;
cudaError_t rcnn_cuda_mask_logit_launch(const rcnn_cuda_mask_logit *p, cudaStream_t stream);

/* ------------------------------------------------------------- boxes */

typedef struct rcnn_cuda_list { /* candidate lists: boxes [n,capacity,4], scores, groups [n,capacity], counts [n] */
    float *boxes, *scores;
    int32_t *groups, *counts;
    int32_t capacity;
} rcnn_cuda_list;

/* rpn_select.cu */
typedef struct rcnn_cuda_rpn_select {
    const float
        *pred[RCNN_CUDA_LEVELS_MAX]; /* [n,height,width,pitch] f32: anchor_count logits, then 4 deltas an anchor */
    int32_t height[RCNN_CUDA_LEVELS_MAX], width[RCNN_CUDA_LEVELS_MAX];
    float base[RCNN_CUDA_LEVELS_MAX][RCNN_CUDA_ANCHORS_MAX][4];
    float step_x[RCNN_CUDA_LEVELS_MAX], step_y[RCNN_CUDA_LEVELS_MAX];
    int32_t n, level_count, anchor_count, pitch;
    int32_t rank_sigmoid, keep_order, pre_nms;
    float min_size;
    int32_t min_inclusive;
    rcnn_cuda_decode decode;
    const rcnn_cuda_frame *frame;
    rcnn_cuda_list out;
    void *scratch;
    rcnn_cuda_fault_place fault;
} rcnn_cuda_rpn_select;
size_t rcnn_cuda_rpn_select_scratch(const rcnn_cuda_rpn_select *p); /* of the shape fields only */
cudaError_t rcnn_cuda_rpn_select_launch(const rcnn_cuda_rpn_select *p, cudaStream_t stream);

/* nms.cu */
typedef struct rcnn_cuda_nms {
    rcnn_cuda_list in, out; /* in is not changed */
    int32_t n;
    int32_t torchvision; /* rule: 0 MMCV, 1 TORCHVISION */
    float iou;
    int32_t first_group;
    void *scratch;
} rcnn_cuda_nms;
size_t rcnn_cuda_nms_scratch(const rcnn_cuda_nms *p);
cudaError_t rcnn_cuda_nms_launch(const rcnn_cuda_nms *p, cudaStream_t stream);

/* box_select.cu */
typedef struct rcnn_cuda_box_select {
    const float *pred; /* packed rows [live, pitch]: class_count+1 logits, then 4 deltas for each of delta_classes */
    const float *proposals; /* [n,rois,4] */
    const int32_t *proposal_counts;
    const uint8_t *label_wanted; /* device [class_count] or NULL */
    int32_t n, rois, pitch;
    int32_t class_count, background_first, agnostic, delta_classes;
    float score_threshold, min_size;
    int32_t rescale_first;
    rcnn_cuda_decode decode;
    const rcnn_cuda_frame *frame;
    rcnn_cuda_list out;
    void *scratch;
    rcnn_cuda_fault_place fault;
} rcnn_cuda_box_select;
size_t rcnn_cuda_box_select_scratch(const rcnn_cuda_box_select *p);
cudaError_t rcnn_cuda_box_select_launch(const rcnn_cuda_box_select *p, cudaStream_t stream);

/* detect.cu */
typedef struct rcnn_cuda_detect {
    rcnn_cuda_list in;
    float *boxes, *rois, *scores; /* [n,D,4], [n,D,4], [n,D] */
    int32_t *labels, *counts;
    int32_t n;
    int32_t scale_rule; /* rcnn_scale_rule */
    int32_t rescale_first, clip_output;
    const rcnn_cuda_frame *frame;
} rcnn_cuda_detect;
cudaError_t rcnn_cuda_detect_launch(const rcnn_cuda_detect *p, cudaStream_t stream);

/* ------------------------------------------------------------- results */

typedef struct rcnn_cuda_form { /* equals rcnn_delivered_form of backend.h */
    int32_t offset;             /* in words            */
    int32_t count;              /* words; -1: not made */
    int32_t x, y, width, height;
} rcnn_cuda_form;

/* mask_forms.cu: COCO run lengths (rle = 1) or bit-packed crops (rle = 0: rows of ceil(width/32) words, pixel x in bit
 * x % 32 of word x / 32) of every live mask. Bit for bit the pixels of src/mask. Masks that find no room in `words` get
 * count -1. Output goes to device memory. */
typedef struct rcnn_cuda_mask_forms {
    const float *masks; /* packed rows [live,side,side] */
    const float
        *boxes; /* [n,capacity,4] image coordinates, or with from_rois network coordinates to be divided by scale */
    const int32_t *counts; /* [n] */
    int32_t n, capacity, side;
    int32_t rle, from_rois;
    int32_t padded; /* rcnn_paste */
    float threshold;
    const rcnn_cuda_frame *frame; /* image sizes */
    rcnn_cuda_form *forms;        /* packed rows [n*capacity] */
    uint32_t *words;
    int32_t *used; /* [1] words used, <= word_capacity */
    int32_t word_capacity;
    void *scratch;
} rcnn_cuda_mask_forms;
size_t rcnn_cuda_mask_forms_scratch(const rcnn_cuda_mask_forms *p);
cudaError_t rcnn_cuda_mask_forms_launch(const rcnn_cuda_mask_forms *p, cudaStream_t stream);

/* deliver.cu: copies live results to frame->delivery (mapped host memory). One item an array. */
typedef enum rcnn_cuda_deliver_kind {
    RCNN_CUDA_DELIVER_ALL,   /* bytes bytes                                                        */
    RCNN_CUDA_DELIVER_LISTS, /* [n][capacity] elements of element_bytes, live below counts[image]  */
    RCNN_CUDA_DELIVER_ROWS,  /* packed rows of element_bytes, live below the sum of counts         */
    RCNN_CUDA_DELIVER_WORDS  /* *used words of 4 bytes                                             */
} rcnn_cuda_deliver_kind;
typedef struct rcnn_cuda_deliver_item {
    rcnn_cuda_deliver_kind kind;
    const void *src; /* 4-byte aligned */
    size_t offset;   /* in the delivery block, multiple of 256 */
    size_t bytes;    /* ALL: how many; else the size at full capacity; multiple of 4 */
    size_t element_bytes;
    const int32_t *used;
} rcnn_cuda_deliver_item;
#define RCNN_CUDA_DELIVER_MAX 12
typedef struct rcnn_cuda_deliver_list {
    const rcnn_cuda_frame *frame;
    const int32_t *counts; /* [n] */
    int32_t n, capacity, item_count;
    rcnn_cuda_deliver_item item[RCNN_CUDA_DELIVER_MAX];
} rcnn_cuda_deliver_list;
cudaError_t rcnn_cuda_deliver_launch(const rcnn_cuda_deliver_list *p, cudaStream_t stream);

/* ------------------------------------------------------------- convolutions */

/* One convolution with its epilogue: dst = relu?(conv(src) + bias (+ residual)), accumulated in float. */
typedef struct rcnn_cuda_conv {
    const void *src;      /* [n,height,width,src_channels]; only the first in*groups channels are read */
    const void *weights;  /* conv_direct: [out][kh][kw][in] of type; others say their own order */
    const float *bias;    /* [out] f32 */
    const void *residual; /* [n,out_height,out_width,out] or NULL; may be dst */
    void *dst;            /* of dst_type */
    rcnn_cuda_type type, dst_type;
    int32_t n, height, width, src_channels, out_height, out_width, out, in, groups;
    int32_t kh, kw, stride, pad, relu;
    const int32_t *counts; /* packed rows: live n = sum of counts[0..count_images); NULL = all n */
    int32_t count_images;
} rcnn_cuda_conv;

/* conv_direct.cu: any convolution, plain and slow: where no library engine or own kernel takes it. dst_type F32 or type;
 * bias NULL is zero. */
cudaError_t rcnn_cuda_conv_direct_launch(const rcnn_cuda_conv *p, cudaStream_t stream);

/* conv_thin.cu: 1x1, stride 1, to at most 16 outputs from 32, 64, 128 or 256 channels (all of src_channels), one group, no
 * residual; type F16 or BF16, dst_type F32 or type. weights [out][in]. Tensor cores of sm_80 and later. */
cudaError_t rcnn_cuda_conv_thin_launch(const rcnn_cuda_conv *p, cudaStream_t stream);

/* conv_epilogue.cu: in place dst = relu?(dst + bias (+ residual)) over rows x out, after an engine that cannot fuse. */
cudaError_t rcnn_cuda_conv_epilogue_launch(const rcnn_cuda_conv *p, cudaStream_t stream);

/* stem.cu: the 7x7 stride 2 pad 3 convolution of [n,height,width,4] (4th channel 0, weights [7][8][4][64]: kx 7 and
 * channel 3 are 0, f16/bf16) + bias + ReLU + 3x3 stride 2 pad 1 max pooling -> dst [n,pool_height,pool_width,64].
 * Tensor cores of sm_80 and later; type F16 or BF16. */
typedef struct rcnn_cuda_stem {
    const void *src, *weights;
    const float *bias;
    void *dst;
    rcnn_cuda_type type;
    int32_t n, height, width, conv_height, conv_width, pool_height, pool_width;
} rcnn_cuda_stem;
cudaError_t rcnn_cuda_stem_launch(const rcnn_cuda_stem *p, cudaStream_t stream);

/* bottleneck.cu: a whole ResNet block of stride 1 with 64 inner and 256 outer channels in one kernel: 1x1, 3x3 and 1x1
 * convolution with bias and ReLU, plus src itself (256 channels) or its 1x1 shortcut convolution (64 channels). Tensor
 * cores of sm_80 and later; type F16 or BF16. dst must not overlap src: tiles read their neighbours' pixels. */
typedef struct rcnn_cuda_bottleneck {
    const void *src;      /* [n,height,width,channels], channels 256 or 64    */
    const void *weights1; /* [64][channels], of type as the others            */
    const void *weights2; /* [64][3][3][64]                                   */
    const void *weights3; /* [256][64]                                        */
    const void *shortcut; /* [256][64]; NULL with 256 channels                */
    const float *bias1, *bias2, *bias3, *shortcut_bias;
    void *dst; /* [n,height,width,256] */
    rcnn_cuda_type type;
    int32_t n, height, width, channels;
} rcnn_cuda_bottleneck;
/* Shared memory a block takes; the device must allow that much (sharedMemPerBlockOptin). */
size_t rcnn_cuda_bottleneck_shared(int32_t channels);
cudaError_t rcnn_cuda_bottleneck_launch(const rcnn_cuda_bottleneck *p, cudaStream_t stream);

/* deconv_shuffle.cu: gemm [live*p*p, 4*out] (tap a*2+b major, then out) -> dst [live,2p,2p,out] = relu?(gemm + bias). */
typedef struct rcnn_cuda_deconv_shuffle {
    const void *gemm;
    const float *bias;
    void *dst;
    rcnn_cuda_type type;
    int32_t rows, side, out, relu; /* side = p */
    const int32_t *counts;
    int32_t count_images;
} rcnn_cuda_deconv_shuffle;
cudaError_t rcnn_cuda_deconv_shuffle_launch(const rcnn_cuda_deconv_shuffle *p, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
