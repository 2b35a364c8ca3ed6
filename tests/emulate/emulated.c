/* See emulated.h: stand-ins for the parts of the backend that need NVIDIA's libraries, tensor cores or graphs. */
#include "emulate/emulated.h"

#include <stdarg.h>
#include <stdio.h>

#include "backend/cuda/conv.h"
#include "backend/cuda/conv_sm90_ops.h"
#include "backend/cuda/engines.h"
#include "backend/cuda/gemm.h"
#include "base/memory.h"

static rcnn_status unsupported(const char *what, rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "emulated: %s", what);
}

void rcnn_cuda_log(rcnn_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rcnn_log(level, "%s", line);
}

/* ------------------------------------------------------------- engines: kernels of ours, none of Hopper's */

static bool never(const rcnn_backend *backend, const rcnn_cuda_conv_want *want)
{
    (void)backend;
    (void)want;
    return false;
}

const rcnn_cuda_conv_engine rcnn_cuda_conv_cudnn = {.name = "cudnn", .supports = never};
const rcnn_cuda_conv_engine rcnn_cuda_conv_wgmma = {.name = "wgmma", .supports = never};

/* A matrix product as a convolution on maps of one cell. */
typedef struct product_run {
    rcnn_cuda_run head;
    rcnn_cuda_conv conv;
} product_run;

static rcnn_status enqueue_product(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err)
{
    rcnn_cuda_conv conv = ((const product_run *)run)->conv;
    conv.src = call->src;
    conv.dst = call->dst;
    RCNN_CUDA_TRY(rcnn_cuda_conv_direct_launch(&conv, call->stream), "running a product", err);
    return RCNN_OK;
}

static void release_product(rcnn_cuda_run *run)
{
    rcnn_free(run);
}

rcnn_status rcnn_cuda_gemm_prepare(rcnn_backend *backend, const rcnn_cuda_gemm_want *want, rcnn_cuda_run **out,
                                   rcnn_error *err)
{
    const void *bias = NULL;
    if (want->bias_of) {
        RCNN_TRY(rcnn_cuda_bias_get(backend, want->bias_of, 1, RCNN_CUDA_F32, &bias, err));
    }
    RCNN_TRY(rcnn_cuda_new_run(backend, sizeof(product_run), enqueue_product, release_product, out, err));
    ((product_run *)*out)->conv = (rcnn_cuda_conv){.weights = want->weights,
                                                   .bias = bias,
                                                   .type = want->type,
                                                   .dst_type = want->dst_type,
                                                   .n = want->m,
                                                   .height = 1,
                                                   .width = 1,
                                                   .src_channels = want->k,
                                                   .out_height = 1,
                                                   .out_width = 1,
                                                   .out = want->n,
                                                   .in = want->k,
                                                   .groups = 1,
                                                   .kh = 1,
                                                   .kw = 1,
                                                   .stride = 1,
                                                   .relu = want->relu};
    return RCNN_OK;
}

int32_t rcnn_sm90_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    (void)backend;
    (void)graph;
    (void)first;
    return 0;
}

rcnn_status rcnn_sm90_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                              rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)backend;
    (void)graph;
    (void)first;
    (void)count;
    (void)out;
    (void)scratch_bytes;
    return unsupported("Hopper's convolution", err);
}

rcnn_status rcnn_cuda_engines_open(rcnn_backend *backend, rcnn_error *err)
{
    (void)backend;
    (void)err;
    return RCNN_OK;
}

void rcnn_cuda_engines_close(rcnn_backend *backend)
{
    (void)backend;
}

void rcnn_cuda_engines_describe(rcnn_backend *backend, char *text, size_t capacity)
{
    (void)backend;
    snprintf(text, capacity, "%s", "");
}

const rcnn_engine_entry *rcnn_cuda_engines_find(const rcnn_backend *backend, const char *key)
{
    (void)backend;
    (void)key;
    return NULL;
}

void rcnn_cuda_engines_remember(rcnn_backend *backend, const char *key, const char *choice, float microseconds)
{
    (void)backend;
    (void)key;
    (void)choice;
    (void)microseconds;
}

void rcnn_cuda_engines_reject(const rcnn_engine_entry *entry, const rcnn_error *why)
{
    (void)entry;
    (void)why;
}

void rcnn_cuda_note_choice(rcnn_backend *backend, const char *op_name, const char *engine, float microseconds)
{
    (void)backend;
    (void)op_name;
    (void)engine;
    (void)microseconds;
}

rcnn_status rcnn_cuda_time(rcnn_backend *backend, rcnn_cuda_timed_fn fn, void *context, float *microseconds,
                           rcnn_error *err)
{
    (void)backend;
    (void)fn;
    (void)context;
    (void)microseconds;
    return unsupported("no timing", err);
}

rcnn_status rcnn_cuda_alloc_random(rcnn_backend *backend, rcnn_cuda_type type, size_t bytes, void **out,
                                   rcnn_error *err)
{
    (void)backend;
    (void)type;
    (void)bytes;
    (void)out;
    return unsupported("no timing", err);
}

rcnn_status rcnn_cuda_dnn_open(rcnn_backend *backend, rcnn_error *err)
{
    (void)backend;
    (void)err;
    return RCNN_OK;
}

void rcnn_cuda_dnn_close(rcnn_backend *backend)
{
    (void)backend;
}

/* ------------------------------------------------------------- graphs: none */

rcnn_status rcnn_cuda_recorder_open(rcnn_backend *backend, rcnn_error *err)
{
    (void)backend;
    (void)err;
    return RCNN_OK;
}

void rcnn_cuda_recorder_close(rcnn_backend *backend)
{
    (void)backend;
}

rcnn_status rcnn_cuda_record_begin(rcnn_backend *backend, rcnn_error *err)
{
    (void)backend;
    return unsupported("no recording", err);
}

rcnn_status rcnn_cuda_record_end(rcnn_backend *backend, rcnn_recording **out, rcnn_error *err)
{
    (void)backend;
    (void)out;
    return unsupported("no recording", err);
}

rcnn_status rcnn_cuda_replay(rcnn_backend *backend, rcnn_recording *recording, rcnn_error *err)
{
    (void)backend;
    (void)recording;
    return unsupported("no recording", err);
}

void rcnn_cuda_release_recording(rcnn_backend *backend, rcnn_recording *recording)
{
    (void)backend;
    (void)recording;
}

size_t rcnn_cuda_recording_bytes(const rcnn_recording *recording)
{
    (void)recording;
    return 0;
}

rcnn_status rcnn_cuda_mark(rcnn_backend *backend, int32_t index, rcnn_error *err)
{
    (void)backend;
    (void)index;
    (void)err;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_marks_ms(rcnn_backend *backend, int32_t count, double *ms, rcnn_error *err)
{
    (void)backend;
    (void)err;
    for (int32_t i = 0; i + 1 < count; i++) {
        ms[i] = 0;
    }
    return RCNN_OK;
}

/* What a SWITCH node does: the counts stand in memory that the host reads. */
rcnn_status rcnn_cuda_by_rows(rcnn_backend *backend, const int32_t *counts, int32_t images, const int32_t *buckets,
                              int32_t bucket_count, rcnn_cuda_bucket_fn body, void *context, cudaStream_t stream,
                              rcnn_error *err)
{
    (void)backend;
    int32_t live = 0, bucket = 0;
    for (int32_t n = 0; n < images; n++) {
        live += counts[n];
    }
    while (bucket + 1 < bucket_count && buckets[bucket] < live) {
        bucket++;
    }
    return live > 0 ? body(context, bucket, stream, err) : RCNN_OK;
}

/* ------------------------------------------------------------- backend */

static rcnn_status probe(char *text, size_t capacity)
{
    snprintf(text, capacity, "the cuda backend's kernels on the CPU, thread by thread; for tests");
    return RCNN_OK;
}

/* No tensor cores, no TF32. */
static uint32_t precisions(rcnn_backend *backend, rcnn_precision *automatic)
{
    return rcnn_cuda_backend.precisions(backend, automatic) & ~(1u << RCNN_PRECISION_TF32);
}

const rcnn_backend_vt *rcnn_emulated_backend(void)
{
    static rcnn_backend_vt vt;
    vt = rcnn_cuda_backend;
    vt.name = "cuda-emulated";
    vt.probe = probe;
    vt.precisions = precisions;
    vt.record_begin = NULL;
    vt.record_end = NULL;
    vt.replay = NULL;
    vt.release_recording = NULL;
    vt.recording_bytes = NULL;
    return &vt;
}
