/* Inside the cuda backend: the backend object, kernels, and what the host files use of each other. C only; what kernels
 * see is launch.h. Every CUDA, cuDNN and cuBLAS call goes through RCNN_CUDA_TRY and its like: there errors become
 * statuses and tests make the nth call fail. */
#ifndef RCNN_BACKEND_CUDA_CUDA_H
#define RCNN_BACKEND_CUDA_CUDA_H

#include <cublasLt.h>
#include <cudnn.h>
#include <stdbool.h>

#include "backend/backend.h"
#include "backend/cuda/launch.h"

/* ------------------------------------------------------------- errors (check.c) */

rcnn_status rcnn_from_cuda(cudaError_t code, const char *what, rcnn_error *err);
rcnn_status rcnn_from_cudnn(cudnnStatus_t code, const char *what, rcnn_error *err);
rcnn_status rcnn_from_cublas(cublasStatus_t code, const char *what, rcnn_error *err);
/* Test hook, environment RCNN_CUDA_FAIL_AT=n: the nth call from the library's load on is not made and fails, as do all
 * after it with RCNN_CUDA_FAIL_ALL=1. true = fail this one. */
bool rcnn_cuda_call_fails(void);

#define RCNN_CUDA_TRY(call, what, err)                                                                                 \
    RCNN_TRY(rcnn_from_cuda(rcnn_cuda_call_fails() ? cudaErrorUnknown : (call), what, err))
#define RCNN_CUDNN_TRY(call, what, err)                                                                                \
    RCNN_TRY(rcnn_from_cudnn(rcnn_cuda_call_fails() ? CUDNN_STATUS_EXECUTION_FAILED : (call), what, err))
#define RCNN_CUBLAS_TRY(call, what, err)                                                                               \
    RCNN_TRY(rcnn_from_cublas(rcnn_cuda_call_fails() ? CUBLAS_STATUS_EXECUTION_FAILED : (call), what, err))

/* ------------------------------------------------------------- backend */

typedef struct rcnn_cuda_weights rcnn_cuda_weights;   /* weights.c: device copies, shared by all plans          */
typedef struct rcnn_cuda_engines rcnn_cuda_engines;   /* engine_cache.c: what was chosen for which convolution  */
typedef struct rcnn_cuda_frames rcnn_cuda_frames;     /* frame.c: slots, staging, events                        */
typedef struct rcnn_cuda_recorder rcnn_cuda_recorder; /* record.c: capture in progress                          */
typedef struct rcnn_cuda_dnn rcnn_cuda_dnn;           /* cudnn_conv.c: prepared plans, shared by all kernels    */

struct rcnn_backend {
    rcnn_backend_options options;
    struct cudaDeviceProp properties;
    int32_t sm; /* 80, 86, 89, 90, .. */
    cudaStream_t stream, copy_stream;
    cudnnHandle_t cudnn;
    cublasLtHandle_t cublas;
    rcnn_cuda_weights *weights;
    rcnn_cuda_engines *engines;
    rcnn_cuda_frames *frames;
    rcnn_cuda_recorder *recorder;
    rcnn_cuda_dnn *dnn;
    bool warming;           /* the run that was staged last has no images */
    bool complained;        /* of memory that cannot be released */
    rcnn_cuda_frame *frame; /* device; what kernels read */
    rcnn_cuda_fault *fault; /* device */
    char (*fault_names)[RCNN_LAYER_TEXT_MAX];
    size_t fault_name_capacity;
    int32_t fault_name_count;
    struct rcnn_cuda_block *blocks; /* memory.c: sizes of what is held */
    size_t block_capacity, block_count;
    rcnn_backend_counters counters;
};

extern const rcnn_backend_vt rcnn_cuda_backend; /* cuda.c */

/* A prepared op. Each op's file embeds it first. */
struct rcnn_kernel {
    rcnn_backend *backend;
    rcnn_status (*enqueue)(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err);
    void (*release)(rcnn_kernel *kernel);
};

/* The device must be current on the calling thread in every entry: begin every vtable function with this. */
rcnn_status rcnn_cuda_make_current(const rcnn_backend *backend, rcnn_error *err);

/* Id of an op's name for rcnn_cuda_fault_place; the same name gets the same id. Negative when out of memory. */
int32_t rcnn_cuda_fault_id(rcnn_backend *backend, const char *op_name);
/* Status and line of a fault read from the device. OK when there is none. */
rcnn_status rcnn_cuda_fault_status(const rcnn_backend *backend, const rcnn_cuda_fault *fault, rcnn_error *err);

/* ------------------------------------------------------------- memory (memory.c), counted */

rcnn_status rcnn_cuda_alloc(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err); /* zeroed, 256-aligned */
void rcnn_cuda_free(rcnn_backend *backend, void *memory);
rcnn_status rcnn_cuda_alloc_host(rcnn_backend *backend, size_t bytes, void **out,
                                 rcnn_error *err); /* page-locked, mapped */
void rcnn_cuda_free_host(rcnn_backend *backend, void *memory);

/* ------------------------------------------------------------- weights (weights.c) */

/* Device copy of an op's weights in an order and type, made at the first request and shared afterwards; keyed by the
 * pointer, the order and the type. Conversion rounds to nearest even. */
typedef enum rcnn_cuda_order {
    RCNN_CUDA_ORDER_AS_IS,    /* as rcnn_op_weights has them                                                     */
    RCNN_CUDA_ORDER_OHWI,     /* CONV -> [out][kh][kw][in]                                                       */
    RCNN_CUDA_ORDER_OHWI_PAD, /* the same with `in` padded with zeros to `pad_in` channels (stem on 4, or to 8)  */
    RCNN_CUDA_ORDER_STEM,     /* CONV [64][3][7][7] -> [7][8][4][64], see rcnn_cuda_stem                         */
    RCNN_CUDA_ORDER_FC_BINS,  /* FC with permute_bins = pad_in: columns c,y,x -> y,x,c                           */
    RCNN_CUDA_ORDER_DECONV    /* DECONV [in][out][2][2] -> [4*out][in], row (a*2+b)*out + o                      */
} rcnn_cuda_order;
rcnn_status rcnn_cuda_weights_get(rcnn_backend *backend, const rcnn_op_weights *w, rcnn_cuda_order order,
                                  int32_t pad_in, rcnn_cuda_type type, const void **out, rcnn_error *err);
/* bias in a type; RCNN_CUDA_F32 for own kernels, the output's type for cuBLASLt. copies > 1: repeated (deconv: 4). */
rcnn_status rcnn_cuda_bias_get(rcnn_backend *backend, const rcnn_op_weights *w, int32_t copies, rcnn_cuda_type type,
                               const void **out, rcnn_error *err);
/* Any small constant table, keyed by its content. */
rcnn_status rcnn_cuda_constant_get(rcnn_backend *backend, const void *data, size_t bytes, const void **out,
                                   rcnn_error *err);
rcnn_status rcnn_cuda_weights_open(rcnn_backend *backend, rcnn_error *err);
void rcnn_cuda_weights_close(rcnn_backend *backend);

/* ------------------------------------------------------------- frames (frame.c), vtable entries */

rcnn_status rcnn_cuda_frames_open(rcnn_backend *backend, rcnn_error *err);
void rcnn_cuda_frames_close(rcnn_backend *backend);
rcnn_status rcnn_cuda_stage(rcnn_backend *backend, int32_t slot, const rcnn_frame *frame, rcnn_error *err);
rcnn_status rcnn_cuda_finish(rcnn_backend *backend, int32_t slot, rcnn_error *err);
rcnn_status rcnn_cuda_wait(rcnn_backend *backend, int32_t slot, rcnn_error *err);
/* For deliver.c. Runs staged from now on have room for deliveries of that many bytes. */
void rcnn_cuda_frames_reserve(rcnn_backend *backend, size_t delivery_bytes);
size_t rcnn_cuda_frames_reserved(const rcnn_backend *backend);
/* Host address of what the slot's last run delivered; NULL before the first. */
const unsigned char *rcnn_cuda_frames_block(const rcnn_backend *backend, int32_t slot);

/* ------------------------------------------------------------- results (deliver.c), vtable entries */

/* Where a block has the run's rcnn_cuda_fault, for wait; results follow. */
#define RCNN_CUDA_DELIVERY_HEADER 256
rcnn_status rcnn_cuda_prepare_delivery(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                                       size_t *scratch_bytes, rcnn_error *err);
rcnn_status rcnn_cuda_deliver(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                              const rcnn_args *args, rcnn_error *err);
void rcnn_cuda_delivered(rcnn_backend *backend, int32_t slot, const rcnn_graph *graph, const rcnn_delivery *delivery,
                         rcnn_delivered *out);

/* ------------------------------------------------------------- recording (record.c), vtable entries */

rcnn_status rcnn_cuda_recorder_open(rcnn_backend *backend, rcnn_error *err);
void rcnn_cuda_recorder_close(rcnn_backend *backend);
rcnn_status rcnn_cuda_record_begin(rcnn_backend *backend, rcnn_error *err);
rcnn_status rcnn_cuda_record_end(rcnn_backend *backend, rcnn_recording **out, rcnn_error *err);
rcnn_status rcnn_cuda_replay(rcnn_backend *backend, rcnn_recording *recording, rcnn_error *err);
void rcnn_cuda_release_recording(rcnn_backend *backend, rcnn_recording *recording);
size_t rcnn_cuda_recording_bytes(const rcnn_recording *recording);
bool rcnn_cuda_is_recording(const rcnn_backend *backend);
rcnn_status rcnn_cuda_mark(rcnn_backend *backend, int32_t index, rcnn_error *err);
rcnn_status rcnn_cuda_marks_ms(rcnn_backend *backend, int32_t count, double *ms, rcnn_error *err);

/* Work that follows device counts. `buckets` rising row numbers, the last one the capacity; body(context, b, stream)
 * enqueues the work for up to buckets[b] rows. Recording: a SWITCH node runs the smallest bucket that holds the live rows
 * (none when there are no rows). Not recording, and with drivers before CUDA 12.8: the last bucket; in a run without
 * images all of them. */
typedef rcnn_status (*rcnn_cuda_bucket_fn)(void *context, int32_t bucket, cudaStream_t stream, rcnn_error *err);
rcnn_status rcnn_cuda_by_rows(rcnn_backend *backend, const int32_t *counts, int32_t images, const int32_t *buckets,
                              int32_t bucket_count, rcnn_cuda_bucket_fn body, void *context, cudaStream_t stream,
                              rcnn_error *err);

/* ------------------------------------------------------------- engines (engine_cache.c, cudnn_conv.c) */

rcnn_status rcnn_cuda_engines_open(rcnn_backend *backend, rcnn_error *err);
void rcnn_cuda_engines_close(rcnn_backend *backend); /* these and all other close functions: also when never opened */
void rcnn_cuda_engines_describe(rcnn_backend *backend, char *text, size_t capacity); /* describe_choices */
rcnn_status rcnn_cuda_copy_speed(rcnn_backend *backend, double *gb_s, rcnn_error *err);
rcnn_status rcnn_cuda_dnn_open(rcnn_backend *backend, rcnn_error *err);
void rcnn_cuda_dnn_close(rcnn_backend *backend);

/* ------------------------------------------------------------- JPEG files (decode.c), vtable entries */

rcnn_status rcnn_cuda_decoder_probe(char *text, size_t capacity);
rcnn_status rcnn_cuda_decoder_open(int32_t device, int32_t keep, rcnn_device_decoder **out, rcnn_error *err);
rcnn_status rcnn_cuda_decoder_run(rcnn_device_decoder *decoder, const rcnn_device_jpeg *jpeg, rcnn_image_view *out,
                                  rcnn_error *err);
void rcnn_cuda_decoder_close(rcnn_device_decoder *decoder);

/* ------------------------------------------------------------- ops */

/* One prepare function an op, in its own file, in the order of ops.def. count > 1 only where claim said so. */
#define OP(KIND, name, help)                                                                                           \
    rcnn_status rcnn_cuda_prepare_##name(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count, \
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);
#include "graph/ops.def"
#undef OP

/* claim.c: which runs of ops are one kernel. */
int32_t rcnn_cuda_claim(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t *keep_between);
/* The kernel of a run of two or more ops that was claimed. */
rcnn_status rcnn_cuda_prepare_claimed(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                      rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

/* For the ops' files. */
static inline void *rcnn_cuda_value(const rcnn_args *args, rcnn_value_id id)
{
    return id == RCNN_NO_VALUE ? NULL : args->value[id];
}
/* Device element type of a value; UNSUPPORTED names op and value when it is none of ours. */
rcnn_status rcnn_cuda_type_of(const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id id, rcnn_cuda_type *out,
                              rcnn_error *err);
static inline size_t rcnn_cuda_type_bytes(rcnn_cuda_type type)
{
    return type == RCNN_CUDA_F32 ? 4 : 2;
}
/* Allocates a kernel struct of `bytes` with the two functions set. release frees what the file owns, then calls
 * rcnn_free. */
rcnn_status rcnn_cuda_new_kernel(rcnn_backend *backend, size_t bytes,
                                 rcnn_status (*enqueue)(rcnn_kernel *, const rcnn_args *, cudaStream_t, rcnn_error *),
                                 void (*release)(rcnn_kernel *), rcnn_kernel **out, rcnn_error *err);

/* Logs through the host library. */
void rcnn_cuda_log(rcnn_log_level level, const char *format, ...) RCNN_PRINTF(2, 3);
/* Notes which engine runs an op, for describe_choices; microseconds < 0: not timed. */
void rcnn_cuda_note_choice(rcnn_backend *backend, const char *op_name, const char *engine, float microseconds);

#endif
