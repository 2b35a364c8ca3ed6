/* rcnn: Faster R-CNN and Mask R-CNN inference as a C library.
 *
 *     rcnn_error err = {0};
 *     rcnn_model *model = NULL;   rcnn_session *session = NULL;
 *     rcnn_image *image = NULL;   rcnn_results *results = NULL;
 *     rcnn_image_view view;
 *
 *     if (rcnn_model_load("mask_rcnn_r50_fpn.pth", NULL, &model, &err) ||
 *         rcnn_session_create(model, NULL, &session, &err) ||
 *         rcnn_image_load("street.jpg", NULL, &image, &err)) die(err.message);
 *     rcnn_image_get_view(image, &view);
 *     if (rcnn_session_run(session, &view, 1, &results, &err)) die(err.message);
 *     for (int32_t i = 0; i < rcnn_results_count(results, 0); i++) {
 *         rcnn_detection d;
 *         rcnn_results_get(results, 0, i, &d);
 *         printf("%s %.2f\n", rcnn_model_class_name(model, d.label), d.score);
 *     }
 *     rcnn_results_destroy(results); rcnn_image_destroy(image);
 *     rcnn_session_destroy(session); rcnn_model_destroy(model);
 *
 * Conventions
 *  - Every function that can fail returns rcnn_status (0 = RCNN_OK) and, when `err` is not NULL, fills it with the
 *    same status and one line of text: what, where, wanted, got.
 *  - Handles come back through `**out`, which is set to NULL on failure. Destroy functions accept NULL.
 *  - Strings returned as `const char *` belong to the object they came from and live as long as it does.
 *  - Boxes are x1,y1,x2,y2 in continuous pixels of the image handed in: pixel i covers [i,i+1), width = x2-x1.
 *  - Threads: a model is immutable and may be used from any number of threads at once. A session, a results object
 *    and an image belong to one thread at a time. Results stay valid after their session and model are gone.
 *  - The library never prints, exits, aborts or installs signal handlers.
 */
#ifndef RCNN_RCNN_H
#define RCNN_RCNN_H

#include <stddef.h>
#include <stdint.h>

#include "rcnn/version.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(RCNN_STATIC)
#define RCNN_API
#elif defined(__GNUC__)
#define RCNN_API __attribute__((visibility("default")))
#else
#define RCNN_API
#endif
#if defined(__GNUC__)
#define RCNN_NODISCARD __attribute__((warn_unused_result))
#else
#define RCNN_NODISCARD
#endif

/* ------------------------------------------------------------------ status */

/* Numbers are never reused. */
typedef enum rcnn_status {
    RCNN_OK = 0,
    RCNN_ERR_ARGUMENT = 1,    /* a parameter is out of its documented range                        */
    RCNN_ERR_MEMORY = 2,      /* an allocation failed                                              */
    RCNN_ERR_IO = 3,          /* the system refused to open, read, map or write                    */
    RCNN_ERR_FORMAT = 4,      /* a file is not what it claims: truncated, inconsistent, hostile    */
    RCNN_ERR_UNSUPPORTED = 5, /* well formed, but a kind of thing this build does not do           */
    RCNN_ERR_LIMIT = 6,       /* over a named size limit                                           */
    RCNN_ERR_DEVICE = 7,      /* the compute device or its library failed or is absent             */
    RCNN_ERR_NOT_FOUND = 8,   /* no such file, tensor, class, stage, backend                       */
    RCNN_ERR_NUMERIC = 9,     /* NaN or infinity in weights or network outputs                     */
    RCNN_ERR_CANCELLED = 10,  /* stopped by the caller                                             */
    RCNN_ERR_INTERNAL = 11    /* a bug in this library                                             */
} rcnn_status;

typedef struct rcnn_error { /* owned by the caller; any function accepts NULL instead */
    rcnn_status status;
    char message[512];
} rcnn_error;

/* Short constant name of a status ("format error"); never NULL. Any thread. */
RCNN_API const char *rcnn_status_name(rcnn_status status);

/* --------------------------------------------------------- version and log */

/* "major.minor.patch". Any thread. */
RCNN_API const char *rcnn_version(void);

/* Several lines "key: value": commit, compiler, flags, backends, library versions. Any thread. */
RCNN_API const char *rcnn_build_info(void);

typedef enum rcnn_log_level {
    RCNN_LOG_ERROR = 0,
    RCNN_LOG_WARN = 1,
    RCNN_LOG_INFO = 2,
    RCNN_LOG_DEBUG = 3,
    RCNN_LOG_TRACE = 4
} rcnn_log_level;

/* Called with one line without newline. May be called from any thread that is inside a library function. */
typedef void (*rcnn_log_fn)(void *context, rcnn_log_level level, const char *line);

/* Installs the process-wide log callback; fn NULL = quiet (the default). Lines above `level` are not formatted.
 * Set it before other threads use the library. */
RCNN_API void rcnn_log_set(rcnn_log_fn fn, void *context, rcnn_log_level level);

/* ------------------------------------------------------------------ images */

typedef enum rcnn_pixel_format {
    RCNN_PIXEL_RGB8 = 0,
    RCNN_PIXEL_BGR8 = 1,
    RCNN_PIXEL_GRAY8 = 2,
    RCNN_PIXEL_RGBA8 = 3,
    RCNN_PIXEL_BGRA8 = 4
} rcnn_pixel_format; /* alpha is dropped, never composited; grey is replicated */

typedef struct rcnn_image_view { /* borrowed pixels; rows top to bottom */
    const uint8_t *data;   /* host memory; for a session on a GPU also that GPU's device memory or page-locked memory.
                              Whatever writes device memory must have ended: sessions wait for no stream of others */
    int32_t width, height; /* pixels, 1 .. RCNN_IMAGE_SIDE_MAX                       */
    size_t stride_bytes;   /* distance between rows, >= width * bytes per pixel      */
    rcnn_pixel_format format;
} rcnn_image_view;

#define RCNN_IMAGE_SIDE_MAX       65500      /* longest side accepted, pixels              */
#define RCNN_IMAGE_PIXELS_MAX     268435456  /* width * height accepted (2^28)             */
#define RCNN_IMAGE_FILE_BYTES_MAX 1073741824 /* encoded file size accepted (1 GiB)        */

typedef struct rcnn_image rcnn_image; /* decoded RGB8 pixels, owned */

typedef struct rcnn_image_options {
    size_t struct_size;
    int32_t ignore_exif; /* 0 (default): apply the EXIF orientation as OpenCV does; 1: keep the stored order */
    int64_t max_pixels;  /* refuse larger images; 0 = RCNN_IMAGE_PIXELS_MAX                                  */
} rcnn_image_options;
RCNN_API void rcnn_image_options_init_sized(rcnn_image_options *options, size_t struct_size);
#define rcnn_image_options_init(o) rcnn_image_options_init_sized((o), sizeof *(o))

/* Decodes a JPEG (grey, YCbCr, RGB, CMYK/YCCK, progressive), PNG (1-16 bit, grey, palette, alpha), WebP or PPM/PGM
 * (P2, P3, P5, P6) file to RGB8. The pixels equal OpenCV's imread(IMREAD_COLOR) with channels swapped: 16-bit samples
 * keep their high byte, alpha is dropped, EXIF orientation is applied unless told otherwise.
 * options NULL = defaults. *out is owned by the caller. Statuses: IO, NOT_FOUND, FORMAT, LIMIT, UNSUPPORTED, MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_image_load(const char *path, const rcnn_image_options *options,
                                                    rcnn_image **out, rcnn_error *err);
/* The same from `size` bytes in memory, read only during the call. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_image_decode(const void *data, size_t size, const rcnn_image_options *options,
                                                      rcnn_image **out, rcnn_error *err);
/* Fills *view with the image's pixels (RGB8); valid until rcnn_image_destroy. */
RCNN_API void rcnn_image_get_view(const rcnn_image *image, rcnn_image_view *view);
/* "jpeg", "png", "webp", "pnm". */
RCNN_API const char *rcnn_image_format_name(const rcnn_image *image);
RCNN_API void rcnn_image_destroy(rcnn_image *image);

/* ----------------------------------------------------------- weights files */

/* A checkpoint opened as a table of tensors. Reads torch zip, torch legacy, detectron2 .pkl and safetensors files and
 * executes nothing: pickle callables become inert nodes that can be listed. One thread at a time. */
typedef struct rcnn_weights rcnn_weights;

typedef enum rcnn_dtype {
    RCNN_F32 = 0,
    RCNN_F16 = 1,
    RCNN_BF16 = 2,
    RCNN_F64 = 3,
    RCNN_I8 = 4,
    RCNN_U8 = 5,
    RCNN_I16 = 6,
    RCNN_I32 = 7,
    RCNN_I64 = 8,
    RCNN_BOOL = 9
} rcnn_dtype;

#define RCNN_TENSOR_RANK_MAX 8

typedef struct rcnn_tensor_info { /* borrowed from the rcnn_weights */
    const char *name;             /* as in the file, a leading "module." removed       */
    rcnn_dtype dtype;
    int32_t rank; /* 0 .. RCNN_TENSOR_RANK_MAX                         */
    int64_t shape[RCNN_TENSOR_RANK_MAX];
    int64_t stride[RCNN_TENSOR_RANK_MAX]; /* in elements; may be any non-negative layout */
    const void *data;                     /* first element, little-endian, maybe unaligned; numel==0 -> may be NULL */
} rcnn_tensor_info;

RCNN_API RCNN_NODISCARD rcnn_status rcnn_weights_open(const char *path, rcnn_weights **out, rcnn_error *err);
/* The same from memory; the bytes must stay valid until rcnn_weights_close. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_weights_open_memory(const void *data, size_t size, rcnn_weights **out,
                                                             rcnn_error *err);
RCNN_API void rcnn_weights_close(rcnn_weights *weights);
/* "torch-zip", "torch-legacy", "detectron2-pkl", "safetensors". */
RCNN_API const char *rcnn_weights_format_name(const rcnn_weights *weights);
RCNN_API int32_t rcnn_weights_count(const rcnn_weights *weights);
/* index 0 .. count-1 in file order; ARGUMENT when out of range. */
RCNN_API rcnn_status rcnn_weights_get(const rcnn_weights *weights, int32_t index, rcnn_tensor_info *out);
/* By name; NOT_FOUND (without text) when absent. */
RCNN_API rcnn_status rcnn_weights_find(const rcnn_weights *weights, const char *name, rcnn_tensor_info *out);
/* Text values found beside the tensors: safetensors __metadata__ and, from pickles, every string, number and list of
 * strings of the top-level dictionaries that hold no tensors, with dotted keys ("meta.CLASSES" is the names joined by
 * newlines, "meta.config" the text). NULL when absent. */
RCNN_API const char *rcnn_weights_meta(const rcnn_weights *weights, const char *key);
RCNN_API int32_t rcnn_weights_meta_count(const rcnn_weights *weights);
RCNN_API rcnn_status rcnn_weights_meta_get(const rcnn_weights *weights, int32_t index, const char **key,
                                           const char **value);
/* Pickle globals the file names, "module.name", in order of first use; known = 1 when the reader gives it a meaning,
 * 0 when it stayed an inert node. */
RCNN_API int32_t rcnn_weights_global_count(const rcnn_weights *weights);
RCNN_API rcnn_status rcnn_weights_global_get(const rcnn_weights *weights, int32_t index, const char **name,
                                             int32_t *known);

/* ------------------------------------------------------------------- model */

typedef struct rcnn_model rcnn_model;

typedef struct rcnn_model_options {
    size_t struct_size;
    /* Overrides of inferred or default config values, "key=value", e.g. "family=detectron2", "style=caffe",
     * "bn_eps=0", "long_side=1600". The keys are those of `rcnn info`; an unknown key or bad value is
     * RCNN_ERR_ARGUMENT naming it. Borrowed during the call. */
    const char *const *overrides;
    int32_t override_count;
    /* Replaces the class names: class_count strings, or NULL. Borrowed during the call. */
    const char *const *class_names;
    int32_t class_name_count;
} rcnn_model_options;
RCNN_API void rcnn_model_options_init_sized(rcnn_model_options *options, size_t struct_size);
#define rcnn_model_options_init(o) rcnn_model_options_init_sized((o), sizeof *(o))

/* Reads a checkpoint of mmdetection 2.x/3.x, torchvision or detectron2, or the native safetensors file; infers the
 * network from names, shapes and meta, folds batch norm in double, keeps fp32 weights. options NULL = infer all.
 * Statuses: NOT_FOUND, IO, FORMAT, UNSUPPORTED, LIMIT, NUMERIC (NaN/Inf weights), ARGUMENT, MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_model_load(const char *path, const rcnn_model_options *options,
                                                    rcnn_model **out, rcnn_error *err);
/* The same from an opened weights file, which may be closed afterwards. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_model_load_weights(const rcnn_weights *weights,
                                                            const rcnn_model_options *options, rcnn_model **out,
                                                            rcnn_error *err);
/* Destroys the caller's reference; sessions made from the model keep it alive until they are destroyed. */
RCNN_API void rcnn_model_destroy(rcnn_model *model);

typedef enum rcnn_weights_format {
    RCNN_WEIGHTS_FP32 = 0,
    RCNN_WEIGHTS_FP16 = 1,
    RCNN_WEIGHTS_INT8 = 2
} rcnn_weights_format;
/* Writes the native file (safetensors, config JSON in __metadata__). int8 = symmetric, one scale per output channel,
 * scale tensors "<name>.scale" beside; biases stay fp32. Written to a temporary name and renamed. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_model_save(const rcnn_model *model, const char *path,
                                                    rcnn_weights_format format, rcnn_error *err);

/* Calibration: images run through the fp32 network tell the ranges of its activations, so that RCNN_PRECISION_INT8 can
 * compute on bytes. One thread at a time. */
typedef struct rcnn_calibration rcnn_calibration;
typedef struct rcnn_calibration_options {
    size_t struct_size;
    int32_t num_threads;           /* 0 (default) = the cores this process may use                                 */
    int32_t long_side, short_side; /* resize bounds in pixels; 0 (default) = the model config's                   */
    float max_error;               /* relative error of the outputs from which on an activation stays in floating
                                      point; 0 (default) = 0.05; measured on the first image with detections       */
    int32_t (*progress)(void *context, int32_t done, int32_t total); /* NULL, or called between steps; non-zero ends
                                                                        with CANCELLED */
    void *progress_context;
} rcnn_calibration_options;
RCNN_API void rcnn_calibration_options_init_sized(rcnn_calibration_options *options, size_t struct_size);
#define rcnn_calibration_options_init(o) rcnn_calibration_options_init_sized((o), sizeof *(o))
/* Keeps the model alive. Statuses: ARGUMENT, DEVICE, UNSUPPORTED, MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_calibration_create(const rcnn_model *model,
                                                            const rcnn_calibration_options *options,
                                                            rcnn_calibration **out, rcnn_error *err);
/* Runs one image and takes note of every activation's distribution. Statuses as of rcnn_session_run. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_calibration_add(rcnn_calibration *calibration, const rcnn_image_view *image,
                                                         rcnn_error *err);
/* Chooses a range for each activation (smallest to largest, a percentile, or by entropy: the one with the least error),
 * measures which ones cost accuracy, and writes the native file with int8 weights, activation scales and the record of
 * the calibration. Written to a temporary name and renamed. ARGUMENT before the first image. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_calibration_save(rcnn_calibration *calibration, const char *path,
                                                          rcnn_error *err);
RCNN_API void rcnn_calibration_destroy(rcnn_calibration *calibration);

/* Frameworks in whose tensor names a model can be written. */
typedef enum rcnn_state_dict {
    RCNN_STATE_DICT_TORCHVISION = 0,
    RCNN_STATE_DICT_MMDET = 1,
    RCNN_STATE_DICT_DETECTRON2 = 2
} rcnn_state_dict;
/* Writes the model as a state dict of a framework: fp32 safetensors that its load_state_dict(strict=True) takes for a
 * network of the same architecture, built with the framework's usual batch norm epsilon of 1e-5. Batch norms are written
 * as identities with the folded bias; class rows have the framework's order, background rows that it lacks are dropped
 * and those it has more are zero. The model config stands in __metadata__, so that rcnn_model_load gives back the same
 * weights bit for bit, and the same detections. Settings that the names cannot say are listed in one line of the log.
 * Written to a temporary name and renamed. UNSUPPORTED when the framework has no names for the architecture. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_model_save_state_dict(const rcnn_model *model, const char *path,
                                                               rcnn_state_dict naming, rcnn_error *err);

typedef enum rcnn_onnx_part {
    RCNN_ONNX_ALL = 0,      /* input -> dets, labels, masks                                                   */
    RCNN_ONNX_BACKBONE = 1, /* input -> p2..p6, rpn_scores2..6, rpn_deltas2..6                                */
    RCNN_ONNX_HEADS = 2     /* p2..p5, rois, mask_rois, mask_labels -> scores, deltas, masks                  */
} rcnn_onnx_part;

typedef struct rcnn_onnx_options {
    size_t struct_size;
    int32_t opset;            /* 16 .. 21, default 17                                                          */
    rcnn_onnx_part part;      /* default ALL                                                                   */
    int32_t image_size_input; /* ALL only. 0 (default): boxes are clipped to the input's size. 1: to the second
                               * input `image_size`, f32 [2] height, width: the resized image without padding  */
} rcnn_onnx_options;
RCNN_API void rcnn_onnx_options_init_sized(rcnn_onnx_options *options, size_t struct_size);
#define rcnn_onnx_options_init(o) rcnn_onnx_options_init_sized((o), sizeof *(o))

/* Writes the network as an ONNX file of standard operators (docs/deployment.md). The whole detector takes
 *   input   f32 [1,3,H,W]  resized, normalised pixels in the config's channel order; H and W multiples of 32
 * and gives, best first and at most max_detections,
 *   dets    f32 [N,5]      x1, y1, x2, y2 in pixels of the input, score
 *   labels  i64 [N]        0-based foreground labels
 *   masks   f32 [N,S,S]    probability of the detection's own class (S = 28); models with masks only
 * as a session of this library does for an image that needs no resizing. Resizing, mapping boxes back and pasting masks
 * stay with the caller. NMS runs in coordinates of the input, also for mmdetection 2.x models, which run it in those of
 * the image: the same but for rounding. Parts: rpn_scores are logits, 3 a cell; rpn_deltas 4 an anchor, anchor after
 * anchor; rois and mask_rois f32 [R,4] boxes in pixels of the input; scores [R,K+1] probabilities with the background
 * where the config has it; deltas raw.
 * Thresholds and limits are those of the model config. options NULL = defaults. Written to a temporary name and renamed;
 * weights are not copied in memory. Statuses: ARGUMENT, UNSUPPORTED (built without protobuf-c), LIMIT (a file of 2 GiB or
 * more), IO, MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_model_export_onnx(const rcnn_model *model, const char *path,
                                                           const rcnn_onnx_options *options, rcnn_error *err);

/* Number of foreground classes; labels run 0 .. count-1. */
RCNN_API int32_t rcnn_model_class_count(const rcnn_model *model);
/* Name of a label; NULL when label is out of range. */
RCNN_API const char *rcnn_model_class_name(const rcnn_model *model, int32_t label);
/* Dataset id of a label (COCO ids for 80-class models and torchvision's 90-class models, else label+1). */
RCNN_API int32_t rcnn_model_category_id(const rcnn_model *model, int32_t label);
RCNN_API int32_t rcnn_model_has_masks(const rcnn_model *model);
/* The whole model config as one JSON object, keys as in docs/weights-format.md; lives as long as the model. */
RCNN_API const char *rcnn_model_config_json(const rcnn_model *model);
typedef struct rcnn_activation_info { /* strings live as long as the model */
    const char *name;   /* of the value in the plan: "c2", "layer1_0_conv1"                                    */
    const char *method; /* how its range was chosen: "minmax", "percentile", "entropy"; "float": it stays in floating
                           point; "unknown": the file has no record */
    float scale;        /* real value = stored * scale; 0: it stays in floating point                          */
    int32_t is_signed;  /* stored in -127..127, else in 0..255                                                 */
    float min, max;     /* seen in the calibration images                                                      */
    float error;        /* root mean square of what storing it so changes, relative to that of the values      */
    float sensitivity;  /* relative error of the network's outputs when it alone is stored so                  */
} rcnn_activation_info;
/* Activations of a calibrated model, for reports: 0 of them when it is not calibrated. ARGUMENT when index is out of
 * range. */
RCNN_API int32_t rcnn_model_activation_count(const rcnn_model *model);
RCNN_API rcnn_status rcnn_model_activation_get(const rcnn_model *model, int32_t index, rcnn_activation_info *out);
/* Images that the calibration saw; 0 when that is not known. */
RCNN_API int32_t rcnn_model_calibration_images(const rcnn_model *model);
/* The record of the calibration as one JSON object (docs/weights-format.md); NULL when there is none. Lives as long as the
 * model. */
RCNN_API const char *rcnn_model_calibration_json(const rcnn_model *model);
/* Number of stored parameters (after batch-norm folding). */
RCNN_API int64_t rcnn_model_parameter_count(const rcnn_model *model);
/* The config as key/value text, in table order. source: "inferred", "default", "file" or "override". */
RCNN_API int32_t rcnn_model_config_count(void);
RCNN_API rcnn_status rcnn_model_config_get(const rcnn_model *model, int32_t index, const char **key, const char **value,
                                           const char **source);

/* ----------------------------------------------------------------- session */

typedef struct rcnn_session rcnn_session;
typedef struct rcnn_results rcnn_results;

typedef enum rcnn_mask_format {
    RCNN_MASK_NONE = 0,    /* no mask head is run                                                          */
    RCNN_MASK_RAW = 1,     /* soft mask of the predicted class, f32 [28][28] (mask side of the model)       */
    RCNN_MASK_CROP = 2,    /* binary mask cropped to its box, one byte (0/1) a pixel                        */
    RCNN_MASK_RLE = 3,     /* COCO run-length counts, column-major, of the full image, as uint32            */
    RCNN_MASK_POLYGON = 4, /* closed outlines, x,y pairs f32 of the full image                              */
    RCNN_MASK_FULL = 5     /* binary mask of the full image, one byte (0/1) a pixel                         */
} rcnn_mask_format;

/* What convolutions and inner products multiply in; sums, boxes and scores are always float. */
typedef enum rcnn_precision {
    RCNN_PRECISION_AUTO = 0, /* the fastest the backend gives without a loss of accuracy that matters: fp16 on a GPU */
    RCNN_PRECISION_FP32 = 1,
    RCNN_PRECISION_TF32 = 2, /* float activations, products of 10-bit fractions; GPUs */
    RCNN_PRECISION_FP16 = 3,
    RCNN_PRECISION_BF16 = 4,
    RCNN_PRECISION_INT8 = 5 /* needs a calibrated model (rcnn_calibration_save); what has no scale is BF16 or FP32 */
} rcnn_precision;

typedef struct rcnn_session_options {
    size_t struct_size;
    const char *backend;           /* "auto" (default: a GPU, else cpu), "cuda", "cpu", "ref"; copied                */
    int32_t num_threads;           /* 0 (default) = the cores this process may use                                   */
    int32_t max_batch;             /* images per internal pass, 1 .. 64, default 1                                   */
    float score_threshold;         /* [0,1]; below 0 (default -1) = the model config's value (0.05)                  */
    int32_t max_detections;        /* per image; 0 (default) = the model config's value (100)                        */
    int32_t long_side, short_side; /* resize bounds in pixels; 0 (default) = the model config's (1333, 800)      */
    rcnn_mask_format mask_format;  /* what a run computes; default RCNN_MASK_RAW, NONE for models without masks  */
    float mask_threshold;          /* (0,1), default 0.5                                                             */
    const int32_t *labels;         /* only these labels are reported; NULL (default) = all; copied                   */
    int32_t label_count;
    int32_t keep_values;      /* 1: every intermediate value is written and keeps memory of its own, for
                                 rcnn_session_read_value: no op is fused, nothing is recorded                       */
    int32_t device;           /* index of the GPU, default 0; 0 for other backends. It is the calling thread's current
                                 GPU after every call that takes the session                                           */
    rcnn_precision precision; /* default AUTO; UNSUPPORTED when the backend lacks it                                  */
    int32_t host_preprocess;  /* 1: resize and normalise on the CPU also with a GPU, images are in host memory then;
                                 default 0                                                                            */
    int32_t staged;           /* 1: device time of each stage by events (rcnn_results_stage_ms), stages do not overlap;
                                 2: also that of each kernel (rcnn_session_step_get); default 0: with a GPU only the
                                 total and the host's parts of preprocess, postprocess and download are known.
                                 With 1 and 2 runs under way do not overlap either                                  */
    int32_t tune;             /* 1: time the engines of each convolution when a shape is first seen and remember the
                                 best in the cache file; default 0: heuristics and what was remembered                */
    int32_t max_plans;        /* shapes kept prepared, the least recently used makes room; 0 (default) = 64           */
    int32_t plan_megabytes;   /* device memory that recordings of those shapes may hold; 0 (default) = 512            */
} rcnn_session_options;
RCNN_API void rcnn_session_options_init_sized(rcnn_session_options *options, size_t struct_size);
#define rcnn_session_options_init(o) rcnn_session_options_init_sized((o), sizeof *(o))

/* Opens a backend for the model. Keeps the model alive. Weights are prepared at the first run of each shape.
 * Statuses: ARGUMENT, NOT_FOUND (backend), DEVICE, UNSUPPORTED, MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_create(const rcnn_model *model, const rcnn_session_options *options,
                                                        rcnn_session **out, rcnn_error *err);
/* Detects in `count` images of any sizes. *out holds one entry per image in order and is owned by the caller.
 * The first run of a padded shape plans and allocates; later runs of it allocate only the results object.
 * Passing a non-NULL *out from an earlier run of the same session reuses its memory: then nothing is allocated.
 * Statuses: ARGUMENT, MEMORY, DEVICE, LIMIT, NUMERIC. On failure *out is destroyed and set to NULL. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_run(rcnn_session *session, const rcnn_image_view *images,
                                                     int32_t count, rcnn_results **out, rcnn_error *err);
/* The two halves of a run, so that the upload of the next images, the work on these and the reading of the last results
 * overlap on a GPU. submit starts a run of up to max_batch images and returns; collect waits for the oldest one and
 * fills *out as rcnn_session_run does. Up to RCNN_SESSION_IN_FLIGHT runs may be under way; submit fails with LIMIT above
 * that, collect with NOT_FOUND when there is none. Pixels in ordinary host memory have been copied when submit returns;
 * device or page-locked pixels must stay as they are until their collect. Backends without memory of their own do the
 * work in submit. rcnn_session_run fails with ARGUMENT while runs are under way. Statuses as of run. */
#define RCNN_SESSION_IN_FLIGHT 3
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_submit(rcnn_session *session, const rcnn_image_view *images,
                                                        int32_t count, rcnn_error *err);
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_collect(rcnn_session *session, rcnn_results **out, rcnn_error *err);
/* Runs submitted and not yet collected. */
RCNN_API int32_t rcnn_session_pending(const rcnn_session *session);

typedef struct rcnn_device_results { /* device memory of the session's GPU */
    const float *boxes;              /* [images][capacity][4] x1,y1,x2,y2 in image pixels   */
    const float *scores;             /* [images][capacity]                                  */
    const int32_t *labels;           /* [images][capacity]                                 */
    const int32_t *counts;           /* [images] detections of each image                  */
    const float *masks;              /* packed [sum of counts][side][side], NULL without masks */
    int32_t images, capacity, side;
} rcnn_device_results;
/* Where the last collected run's results (of rcnn_session_run: its last max_batch images or fewer) stand on the device.
 * Valid until the next submit or run of the session.
 * UNSUPPORTED when the backend works in host memory, NOT_FOUND before the first run or while runs are under way. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_device_results(rcnn_session *session, rcnn_device_results *out,
                                                                rcnn_error *err);
/* Device memory held; host waits, device and page-locked allocations since the session was made: 0 for backends in host
 * memory. Shapes planned, and how many of them made room for others. */
typedef struct rcnn_session_counters {
    uint64_t device_bytes, host_syncs, device_allocations, host_allocations, plans_made, plans_evicted;
} rcnn_session_counters;
RCNN_API void rcnn_session_get_counters(const rcnn_session *session, rcnn_session_counters *out);
/* The precision AUTO came to. */
RCNN_API rcnn_precision rcnn_session_precision(const rcnn_session *session);
/* One line an op of the shapes seen so far: which engine or kernel runs it. *text is allocated; free it with rcnn_free.
 * UNSUPPORTED when the backend has nothing to choose. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_choices(rcnn_session *session, char **text, rcnn_error *err);

RCNN_API void rcnn_session_destroy(rcnn_session *session);
RCNN_API const char *rcnn_session_backend_name(const rcnn_session *session);
/* JSON description of the plan for max_batch input images of width x height: per op {stage, name, kind, shapes, macs,
 * bytes}, per value {name, element type, bytes, offset, first op, last op}, precision, arena and scratch bytes, and
 * "kernels": [first op, number of ops] that run as one. Plans without running.
 * *json is allocated; free it with rcnn_free. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_plan_json(rcnn_session *session, int32_t width, int32_t height,
                                                           char **json, rcnn_error *err);
RCNN_API void rcnn_free(void *pointer);

/* Bytes of one intermediate value of the last run, for tests and debugging: stage outputs by name as listed by the
 * plan ("c2".."c5", "p2".."p6", "proposals", ...). Copies at most `capacity` bytes, *size gets the full size (capacity 0
 * with dst NULL to ask). Values of 16 bits, and bytes that stand for real numbers, are handed out as f32, and the image
 * always with 3 channels: sizes do not depend on the precision. NOT_FOUND while runs are under way, and when there is no
 * such value or its memory was used again: make the session with keep_values = 1. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_session_read_value(rcnn_session *session, const char *name, void *dst,
                                                            size_t capacity, size_t *size, rcnn_error *err);

/* ----------------------------------------------------------------- results */

typedef struct rcnn_detection {
    float x1, y1, x2, y2; /* pixels of the input image                                   */
    float score;          /* (0,1]                                                       */
    int32_t label;        /* 0-based foreground label, see rcnn_model_category_id        */
} rcnn_detection;

typedef struct rcnn_mask { /* borrowed from the results */
    rcnn_mask_format format;
    int32_t x, y;             /* CROP: top-left corner in the image; others 0                                        */
    int32_t width, height;    /* RAW: mask side; CROP: crop size (0 when empty); RLE, POLYGON, FULL: the image size   */
    const float *raw;         /* RAW: [height][width]                                                            */
    const uint8_t *bitmap;    /* CROP, FULL: [height][width] of 0 or 1                                           */
    const uint32_t *counts;   /* RLE: `count` run lengths, zeros first                                           */
    const float *points;      /* POLYGON: x,y pairs, rings one after another                                     */
    const int32_t *ring_ends; /* POLYGON: for each of `count` rings, the number of points up to its end          */
    int32_t count;            /* RLE: number of counts; POLYGON: number of rings                                 */
} rcnn_mask;

RCNN_API int32_t rcnn_results_image_count(const rcnn_results *results);
/* Detections of an image, sorted by descending score; 0 when image is out of range. */
RCNN_API int32_t rcnn_results_count(const rcnn_results *results, int32_t image);
/* ARGUMENT when image or index is out of range. */
RCNN_API rcnn_status rcnn_results_get(const rcnn_results *results, int32_t image, int32_t index, rcnn_detection *out);
/* The mask of a detection in any format; the session's own format costs nothing, another one is made from the raw
 * mask at the first call and kept in the results. UNSUPPORTED when the run made no masks. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_results_get_mask(rcnn_results *results, int32_t image, int32_t index,
                                                          rcnn_mask_format format, rcnn_mask *out, rcnn_error *err);
RCNN_API void rcnn_results_destroy(rcnn_results *results);

/* COCO's compressed RLE text of `count` run lengths. Writes at most `capacity` bytes including the final NUL and
 * returns the length without NUL that the whole text has (call with capacity 0 to size). Any thread. */
RCNN_API size_t rcnn_rle_to_string(const uint32_t *counts, int32_t count, char *dst, size_t capacity);
/* Number of set pixels. */
RCNN_API uint64_t rcnn_rle_area(const uint32_t *counts, int32_t count);
/* Expands to a row-major bitmap [height][width] of 0/1; ARGUMENT when the counts do not add up to width*height. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_rle_decode(const uint32_t *counts, int32_t count, int32_t width,
                                                    int32_t height, uint8_t *dst, rcnn_error *err);

/* ----------------------------------------------------------------- profile */

/* The stages in the order they run; what the host does to masks comes after the download, though. */
RCNN_API int32_t rcnn_stage_count(void);
RCNN_API const char *rcnn_stage_name(int32_t stage);
/* Milliseconds the run that made these results spent in a stage (all its images together); stage -1 = the whole run
 * from entry to return, or from the entry of submit to the return of collect. 0 when out of range. But for the first run of
 * a shape, and for what the caller does between submit and collect, the stages add up to the whole but for a few hundredths
 * of a millisecond. What they hold:
 *   upload       with a GPU and staged: from the first look at where the pixels are to the first kernel: copies to
 *                page-locked memory, transfers, launching. 0 elsewhere
 *   preprocess .. mask_head   their kernels; with host_preprocess also resizing and normalising on the host
 *   postprocess  masks in the form asked for, on the device, by the host or both; with a GPU also the kernel that writes
 *                the live results to host memory
 *   download     from its end, or from the call of collect when that is later, until boxes, scores and soft masks stand in
 *                the results object */
RCNN_API double rcnn_results_stage_ms(const rcnn_results *results, int32_t stage);

/* One kernel of a run: an op of the plan, or several that run as one. */
typedef struct rcnn_step_time {
    const char *name;    /* of the op, or of the first and the last one: "layer1.0.conv1..layer1.0.conv3"             */
    const char *stage;   /* "backbone"                                                                                */
    int32_t ops;         /* of the plan                                                                               */
    double begin_ms, ms; /* since the beginning of the first kernel; length                                           */
    double gflop, gbyte; /* arithmetic (a multiply-add is 2) of convolutions and inner products; what must pass to or
                            from memory: weights, and each value that the kernel reads or writes, once. Rows of RoIs
                            count as far as they were there in this run, lists of boxes with their whole capacity     */
} rcnn_step_time;
/* Kernels of the last collected run of a session made with staged = 2 (of rcnn_session_run: of its last max_batch images or
 * fewer), in the order they ran, as "kernels" of rcnn_session_plan_json has them. 0 before the first run, after one that
 * failed and while runs are under way.
 * On a GPU a kernel's time is that between two events on the device, of which each takes a microsecond or two. None starts
 * while the one before it drains, as in runs that are not timed, so that their sum is more than such a run takes. What is
 * recorded for several numbers of rows is one kernel, whose time is that of the choice and of what was chosen. Elsewhere
 * it is that of the host's clock. */
RCNN_API int32_t rcnn_session_step_count(const rcnn_session *session);
/* index 0 .. count-1; ARGUMENT when out of range. Strings live until the session's next run. */
RCNN_API rcnn_status rcnn_session_step_get(const rcnn_session *session, int32_t index, rcnn_step_time *out);

/* ---------------------------------------------------------------- backends */

RCNN_API int32_t rcnn_backend_count(void);
/* Devices the backend can open, 0 .. count-1: GPUs for "cuda", 1 for the others, 0 when it is not usable. */
RCNN_API int32_t rcnn_backend_device_count(int32_t index);
RCNN_API const char *rcnn_backend_name(int32_t index);
/* One line or several about the device and library behind a backend, or why it is not usable. Writes at most capacity
 * bytes including NUL. Returns RCNN_OK when usable, DEVICE when not. */
RCNN_API rcnn_status rcnn_backend_probe(int32_t index, char *text, size_t capacity);
/* What a device reaches in a short test of its own, for scale: a product of square matrices, in 10^12 operations a second
 * (a multiplication and an addition count two), and a copy in its memory, in 10^9 bytes read or written a second. A
 * backend is opened for it, as of rcnn_session_options; precision AUTO is the backend's. Takes about a second, and on a
 * GPU 2.2 GB of its memory. UNSUPPORTED for "ref", for INT8 and for precisions the backend lacks. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_device_peak(const char *backend, int32_t device, int32_t num_threads,
                                                     rcnn_precision precision, double *tflops, double *gb_s,
                                                     rcnn_error *err);

/* ---------------------------------------------------- JPEG files on a GPU */

/* Decodes JPEG files into device memory, from where sessions on the same GPU read them. Behind it is nvJPEG, which is
 * looked for when a decoder is first asked for; RCNN_NVJPEG in the environment names its file. Its pixels are not quite
 * those of rcnn_image_decode, docs/backends.md says by how much. One thread at a time; each decoder takes memory of its
 * own. */
typedef struct rcnn_decoder rcnn_decoder;

#define RCNN_DECODER_KEEP_MAX 1024

typedef struct rcnn_decoder_options {
    size_t struct_size;
    const char *backend; /* "auto" (default: a GPU where one works), "cuda"; UNSUPPORTED for those without a decoder  */
    int32_t device;      /* index of the GPU, default 0                                                              */
    int32_t keep;        /* pictures that stay valid at once, 1 .. RCNN_DECODER_KEEP_MAX; default
                            RCNN_SESSION_IN_FLIGHT + 1: those under way in a session of max_batch 1 and one more. Their
                            memory grows to the largest picture each has held                                       */
} rcnn_decoder_options;
RCNN_API void rcnn_decoder_options_init_sized(rcnn_decoder_options *options, size_t struct_size);
#define rcnn_decoder_options_init(o) rcnn_decoder_options_init_sized((o), sizeof *(o))

/* One line: the library behind decoders of that backend, or why there are none. Writes at most capacity bytes including
 * NUL. Statuses: OK, DEVICE, UNSUPPORTED (the backend has none), NOT_FOUND (no such backend), ARGUMENT. */
RCNN_API rcnn_status rcnn_decoder_probe(const char *backend, char *text, size_t capacity);
/* options NULL = defaults. Statuses: ARGUMENT, NOT_FOUND (backend), DEVICE (GPU or library), UNSUPPORTED, MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_decoder_create(const rcnn_decoder_options *options, rcnn_decoder **out,
                                                        rcnn_error *err);
/* Decodes `size` bytes, read only during the call, which returns when the pixels are there: it waits for the GPU, once
 * and as often as nvJPEG does, which no session counts. *out is RGB8 in device memory, valid until `keep` more runs of
 * this decoder have begun or it is destroyed, and is what a session's run or submit takes.
 * UNSUPPORTED: rcnn_image_decode is to be asked: no JPEG, arithmetic coding, not 8 bits, colours other than grey and
 * YCbCr, an EXIF orientation that is to be applied (options as of rcnn_image_decode, NULL = defaults), the end missing,
 * or whatever else nvJPEG does not take. FORMAT, LIMIT as of rcnn_image_decode; damage inside the picture data may pass
 * unnoticed. DEVICE, MEMORY: the GPU's. The decoder can be used after any failure but DEVICE. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_decoder_run(rcnn_decoder *decoder, const void *data, size_t size,
                                                     const rcnn_image_options *options, rcnn_image_view *out,
                                                     rcnn_error *err);
RCNN_API void rcnn_decoder_destroy(rcnn_decoder *decoder);

/* -------------------------------------------------------------- evaluation */

/* COCO's detection metrics, equal to pycocotools' COCOeval (docs/accuracy.md states what that covers). Ground truth and
 * detections are read once; every run over them (boxes, masks, other limits) shares what was read. */
typedef struct rcnn_eval_truth rcnn_eval_truth;           /* images, categories, annotations; immutable, any thread  */
typedef struct rcnn_eval_detections rcnn_eval_detections; /* borrows its truth; one thread at a time while it grows  */
typedef struct rcnn_eval rcnn_eval;                       /* numbers of one run; immutable, needs neither any more   */

typedef enum rcnn_iou_type { RCNN_IOU_BBOX = 0, RCNN_IOU_SEGM = 1 } rcnn_iou_type;

#define RCNN_EVAL_IOU_COUNT      10  /* IoU thresholds 0.50, 0.55 .. 0.95   */
#define RCNN_EVAL_RECALL_COUNT   101 /* recalls 0, 0.01 .. 1                */
#define RCNN_EVAL_STAT_COUNT     12  /* COCO's summary, see rcnn_eval_stat  */
#define RCNN_EVAL_MAX_DETS_MAX   100000
#define RCNN_EVAL_CATEGORIES_MAX 65536
#define RCNN_EVAL_FILE_BYTES_MAX 17179869184 /* annotation or result file accepted (16 GiB) */

/* Reads a COCO instances file: "images", "categories", "annotations" with bbox, area, iscrowd and, when with_masks is
 * not 0, segmentation (polygons, run lengths as numbers or as COCO's compressed text). Other members are passed over.
 * Annotations of images or categories that are not listed are left out with a warning to the log.
 * Statuses: NOT_FOUND, IO; FORMAT and LIMIT with the name and the byte where it is wrong (syntax, types, missing or
 * repeated members and ids, negative sizes, runs that do not add up to the image); MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_truth_load(const char *path, int32_t with_masks, rcnn_eval_truth **out,
                                                         rcnn_error *err);
/* The same from `size` bytes, read only during the call; `name` heads the messages. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_truth_parse(const char *name, const void *data, size_t size,
                                                          int32_t with_masks, rcnn_eval_truth **out, rcnn_error *err);
RCNN_API void rcnn_eval_truth_destroy(rcnn_eval_truth *truth);

typedef struct rcnn_eval_image { /* borrowed from the truth */
    int64_t id;
    const char *file_name; /* "" when the file gives none    */
    int32_t width, height; /* pixels; 0 when not given       */
} rcnn_eval_image;
/* Images and categories are numbered by rising id, 0 .. count-1. ARGUMENT when index is out of range. */
RCNN_API int32_t rcnn_eval_truth_image_count(const rcnn_eval_truth *truth);
RCNN_API rcnn_status rcnn_eval_truth_image(const rcnn_eval_truth *truth, int32_t index, rcnn_eval_image *out);
RCNN_API int32_t rcnn_eval_truth_category_count(const rcnn_eval_truth *truth);
RCNN_API rcnn_status rcnn_eval_truth_category(const rcnn_eval_truth *truth, int32_t index, int64_t *id,
                                              const char **name);
/* Annotations of listed images and categories. */
RCNN_API int64_t rcnn_eval_truth_annotation_count(const rcnn_eval_truth *truth);

/* An empty set of detections to be filled by rcnn_eval_detections_add. The truth must outlive it. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_detections_create(const rcnn_eval_truth *truth,
                                                                rcnn_eval_detections **out, rcnn_error *err);
/* Reads a COCO result file: an array of {image_id, category_id, score, bbox and/or segmentation}. As in pycocotools'
 * loadRes the first entry decides: with a bbox, areas are width*height of the boxes, also for masks, and an entry
 * without segmentation stands for its box; without one, areas and boxes are those of the masks. An image_id that the
 * truth does not list is FORMAT; categories that it does not list are left out with a warning. Statuses as above. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_detections_load(const rcnn_eval_truth *truth, const char *path,
                                                              rcnn_eval_detections **out, rcnn_error *err);
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_detections_parse(const rcnn_eval_truth *truth, const char *name,
                                                               const void *data, size_t size,
                                                               rcnn_eval_detections **out, rcnn_error *err);
/* Adds one detection; image and category are indices. bbox is x, y, width, height in pixels. counts: `count` run
 * lengths of its mask as of RCNN_MASK_RLE (they add up to the image), or NULL: then masks are judged by the box. The
 * area of such a detection is that of its box for RCNN_IOU_BBOX and of its mask for RCNN_IOU_SEGM. Everything is
 * copied. Statuses: ARGUMENT (index, NaN, negative size, runs), MEMORY; on failure nothing is added. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_detections_add(rcnn_eval_detections *detections, int32_t image,
                                                             int32_t category, const double bbox[4], double score,
                                                             const uint32_t *counts, int32_t count, rcnn_error *err);
RCNN_API int64_t rcnn_eval_detections_count(const rcnn_eval_detections *detections);
RCNN_API void rcnn_eval_detections_destroy(rcnn_eval_detections *detections);

typedef struct rcnn_eval_options {
    size_t struct_size;
    rcnn_iou_type iou_type; /* default BBOX                                                                   */
    int32_t max_dets[3];    /* detections per image and category, rising, default 1, 10, 100. AP uses the last */
    int32_t num_threads;    /* 0 (default) = the cores this process may use                                   */
    int32_t image_limit;    /* only the first N images by id count; 0 (default) = all                          */
} rcnn_eval_options;
RCNN_API void rcnn_eval_options_init_sized(rcnn_eval_options *options, size_t struct_size);
#define rcnn_eval_options_init(o) rcnn_eval_options_init_sized((o), sizeof *(o))

/* Matches detections with ground truth and computes the numbers. options NULL = defaults. The result does not depend on
 * the number of threads. Statuses: ARGUMENT (options; SEGM for a truth read without masks; an annotation that lacks the
 * bbox or segmentation this type needs), MEMORY. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_run(const rcnn_eval_detections *detections,
                                                  const rcnn_eval_options *options, rcnn_eval **out, rcnn_error *err);
RCNN_API void rcnn_eval_destroy(rcnn_eval *eval);

/* COCO's summary in its order: AP, AP50, AP75, AP small, medium, large (areas parted at 32^2 and 96^2 pixels) at
 * max_dets[2]; AR at max_dets[0], [1], [2]; AR small, medium, large at max_dets[2]. In [0,1], or -1 when no annotation
 * counts for it. With other limits than 100 pycocotools' own summary shows -1 as its first number: it looks for 100. */
RCNN_API double rcnn_eval_stat(const rcnn_eval *eval, int32_t stat);
/* The same number for one category; rcnn_eval_stat is the mean of those that are not -1. -1 when out of range. */
RCNN_API double rcnn_eval_category_stat(const rcnn_eval *eval, int32_t category, int32_t stat);
/* "AP", "AP50", .., "AR_large"; NULL when out of range. */
RCNN_API const char *rcnn_eval_stat_name(int32_t stat);
/* Interpolated precision at IoU threshold 0.5 + 0.05 * iou and recall 0.01 * recall, all areas, max_dets[2]. category -1
 * = mean over the categories that have annotations. -1 when there are none or an index is out of range. */
RCNN_API double rcnn_eval_precision(const rcnn_eval *eval, int32_t category, int32_t iou, int32_t recall);

/* Which category is taken for which. Detections scoring at least `score` are matched over all categories, best first,
 * each with the free annotation of the largest IoU >= `iou`; what falls on a crowd region only is left out. matrix is
 * [K+1][K+1] row-major, K the category count: row = annotated category (K: none there), column = detected category
 * (K: missed). options: iou_type, num_threads, and max_dets[2] detections per image. Statuses as rcnn_eval_run. */
RCNN_API RCNN_NODISCARD rcnn_status rcnn_eval_confusion(const rcnn_eval_detections *detections,
                                                        const rcnn_eval_options *options, double iou, double score,
                                                        int64_t *matrix, rcnn_error *err);

#ifdef __cplusplus
}
#endif
#endif
