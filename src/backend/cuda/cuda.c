/* The cuda backend's vtable: opens a GPU with its streams and libraries, and hands each op to the prepare function of its
 * file, in the order of ops.def. Everything runs on one stream; a second one brings the next images while it works. */
#include "backend/cuda/cuda.h"

#include <stdio.h>

#include "base/memory.h"

#define SM_MIN 80

typedef rcnn_status (*prepare_op)(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                  rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

static const prepare_op PREPARE[] = {
#define OP(KIND, name, help) rcnn_cuda_prepare_##name,
#include "graph/ops.def"
#undef OP
};

rcnn_status rcnn_cuda_make_current(const rcnn_backend *backend, rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaSetDevice(backend->options.device), "choosing the GPU", err);
    return RCNN_OK;
}

/* ------------------------------------------------------------- probing */

static int32_t cuda_device_count(void)
{
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    return (int32_t)count;
}

/* Appends to text, which stays terminated when it is full. */
static void append(char *text, size_t capacity, size_t *used, const char *line)
{
    if (*used < capacity) {
        int length = snprintf(text + *used, capacity - *used, "%s%s", *used ? "\n" : "", line);
        *used += length > 0 ? (size_t)length : 0;
    }
}

static void append_libraries(char *text, size_t capacity, size_t *used)
{
    char line[160];
    int driver = 0, runtime = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || cudaRuntimeGetVersion(&runtime) != cudaSuccess) {
        (void)cudaGetLastError();
    }
    const size_t dnn = cudnnGetVersion(), blas = cublasLtGetVersion();
    snprintf(line, sizeof line, "CUDA %d.%d, driver for %d.%d, cuDNN %zu.%zu.%zu, cuBLASLt %zu.%zu", runtime / 1000,
             runtime % 1000 / 10, driver / 1000, driver % 1000 / 10, dnn / 10000, dnn / 100 % 100, dnn % 100,
             blas / 10000, blas / 100 % 100);
    append(text, capacity, used, line);
}

/* Usable when there is a GPU that the kernels run on. Makes no context: that would take a second and some memory. */
static rcnn_status cuda_probe(char *text, size_t capacity)
{
    int count = 0, usable = 0;
    size_t used = 0;
    cudaError_t code = rcnn_cuda_call_fails() ? cudaErrorUnknown : cudaGetDeviceCount(&count);
    if (code != cudaSuccess) {
        (void)cudaGetLastError();
        snprintf(text, capacity, "no usable NVIDIA GPU: %s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
        return RCNN_ERR_DEVICE;
    }
    append_libraries(text, capacity, &used);
    for (int i = 0; i < count; i++) {
        struct cudaDeviceProp properties;
        char line[400];
        if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) {
            (void)cudaGetLastError();
            continue;
        }
        const bool wanted = properties.major * 10 + properties.minor >= SM_MIN;
        snprintf(line, sizeof line, "%d: %s, %zu MiB, compute capability %d.%d%s", i, properties.name,
                 properties.totalGlobalMem >> 20, properties.major, properties.minor,
                 wanted ? "" : ": too old, want 8.0 or later");
        append(text, capacity, &used, line);
        usable += wanted;
    }
    return usable > 0 ? RCNN_OK : RCNN_ERR_DEVICE;
}

/* ------------------------------------------------------------- opening */

static rcnn_status open_device(rcnn_backend *backend, rcnn_error *err)
{
    const int32_t device = backend->options.device;
    int count = 0;
    RCNN_CUDA_TRY(cudaGetDeviceCount(&count), "counting GPUs", err);
    if (device < 0 || device >= count) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "cuda: want a device of 0..%d, got %d", count - 1, device);
    }
    RCNN_CUDA_TRY(cudaGetDeviceProperties(&backend->properties, device), "asking what the GPU is", err);
    backend->sm = backend->properties.major * 10 + backend->properties.minor;
    if (backend->sm < SM_MIN) {
        return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: GPU %d (%s) has compute capability %d.%d, want 8.0 or later",
                         device, backend->properties.name, backend->properties.major, backend->properties.minor);
    }
    return rcnn_cuda_make_current(backend, err);
}

/* The streams wait for nobody's work on the default stream, nor does it for theirs. */
static rcnn_status open_libraries(rcnn_backend *backend, rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaStreamCreateWithFlags(&backend->stream, cudaStreamNonBlocking), "making a stream", err);
    RCNN_CUDA_TRY(cudaStreamCreateWithFlags(&backend->copy_stream, cudaStreamNonBlocking), "making a stream", err);
    RCNN_CUDNN_TRY(cudnnCreate(&backend->cudnn), "opening cuDNN", err);
    RCNN_CUDNN_TRY(cudnnSetStream(backend->cudnn, backend->stream), "giving cuDNN its stream", err);
    RCNN_CUBLAS_TRY(cublasLtCreate(&backend->cublas), "opening cuBLASLt", err);
    return RCNN_OK;
}

static rcnn_status open_parts(rcnn_backend *backend, rcnn_error *err)
{
    void *memory;
    RCNN_TRY(open_device(backend, err));
    RCNN_TRY(open_libraries(backend, err));
    RCNN_TRY(rcnn_cuda_alloc(backend, sizeof *backend->frame, &memory, err));
    backend->frame = memory;
    RCNN_TRY(rcnn_cuda_alloc(backend, sizeof *backend->fault, &memory, err));
    backend->fault = memory;
    RCNN_TRY(rcnn_cuda_weights_open(backend, err));
    RCNN_TRY(rcnn_cuda_engines_open(backend, err));
    RCNN_TRY(rcnn_cuda_dnn_open(backend, err));
    RCNN_TRY(rcnn_cuda_frames_open(backend, err));
    return rcnn_cuda_recorder_open(backend, err);
}

static void close_libraries(rcnn_backend *backend)
{
    if (backend->cublas) {
        (void)cublasLtDestroy(backend->cublas);
    }
    if (backend->cudnn) {
        (void)cudnnDestroy(backend->cudnn);
    }
}

static void close_streams(rcnn_backend *backend)
{
    if (backend->copy_stream) {
        (void)cudaStreamDestroy(backend->copy_stream);
    }
    if (backend->stream) {
        (void)cudaStreamDestroy(backend->stream);
    }
}

/* Also of a backend that was opened in part. Runs that are under way end first. */
static void cuda_close(rcnn_backend *backend)
{
    if (!backend) {
        return;
    }
    rcnn_error ignored;
    if (rcnn_cuda_make_current(backend, &ignored) == RCNN_OK && backend->stream) {
        (void)cudaStreamSynchronize(backend->stream);
        (void)cudaGetLastError();
    }
    rcnn_cuda_frames_close(backend);
    rcnn_cuda_dnn_close(backend);
    rcnn_cuda_engines_close(backend);
    rcnn_cuda_weights_close(backend);
    rcnn_cuda_free(backend, backend->fault);
    rcnn_cuda_free(backend, backend->frame);
    close_libraries(backend);
    rcnn_cuda_recorder_close(backend); /* cuDNN's last stream may have been the recorder's */
    close_streams(backend);
    rcnn_free(backend->fault_names);
    rcnn_free(backend->blocks);
    rcnn_free(backend);
}

static rcnn_status cuda_open(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err)
{
    *out = NULL;
    rcnn_backend *backend = rcnn_calloc(1, sizeof *backend);
    if (!backend) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    backend->options = *options;
    rcnn_status status = open_parts(backend, err);
    if (status != RCNN_OK) {
        cuda_close(backend);
        return status;
    }
    *out = backend;
    return RCNN_OK;
}

/* ------------------------------------------------------------- kernels */

static rcnn_status cuda_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    if (count > 1) {
        return rcnn_cuda_prepare_claimed(backend, graph, first, count, out, scratch_bytes, err);
    }
    return PREPARE[graph->ops[first].kind](backend, graph, first, count, out, scratch_bytes, err);
}

static rcnn_status cuda_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(kernel->backend, err));
    return kernel->enqueue(kernel, args, kernel->backend->stream, err);
}

static void cuda_release(rcnn_kernel *kernel)
{
    rcnn_error ignored;
    if (kernel) {
        (void)rcnn_cuda_make_current(kernel->backend, &ignored); /* plans of libraries unload what they have loaded */
        kernel->release(kernel);
    }
}

/* The fault word is read and cleared with the wait, so that the next run starts without one. */
static rcnn_status cuda_sync(rcnn_backend *backend, rcnn_error *err)
{
    rcnn_cuda_fault fault = {0};
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    RCNN_CUDA_TRY(cudaMemcpyAsync(&fault, backend->fault, sizeof fault, cudaMemcpyDeviceToHost, backend->stream),
                  "reading the device's fault", err);
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->stream), "running on the GPU", err);
    if (fault.what != RCNN_CUDA_FAULT_NONE) {
        RCNN_CUDA_TRY(cudaMemsetAsync(backend->fault, 0, sizeof fault, backend->stream), "clearing the device's fault",
                      err);
    }
    return rcnn_cuda_fault_status(backend, &fault, err);
}

/* ------------------------------------------------------------- copies */

static rcnn_status copy(rcnn_backend *backend, void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                        rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    RCNN_CUDA_TRY(cudaMemcpyAsync(dst, src, bytes, kind, backend->stream), "copying to or from the GPU", err);
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->stream), "copying to or from the GPU", err);
    return RCNN_OK;
}

static rcnn_status cuda_upload(rcnn_backend *backend, void *dst, const void *src, size_t bytes, rcnn_error *err)
{
    return copy(backend, dst, src, bytes, cudaMemcpyHostToDevice, err);
}

static rcnn_status cuda_download(rcnn_backend *backend, void *dst, const void *src, size_t bytes, rcnn_error *err)
{
    return copy(backend, dst, src, bytes, cudaMemcpyDeviceToHost, err);
}

/* ------------------------------------------------------------- facts */

/* All of them on every GPU from compute capability 8.0 on, which are the ones opened. */
static uint32_t cuda_precisions(rcnn_backend *backend, rcnn_precision *automatic)
{
    (void)backend;
    *automatic = RCNN_PRECISION_FP16;
    return 1u << RCNN_PRECISION_FP32 | 1u << RCNN_PRECISION_TF32 | 1u << RCNN_PRECISION_FP16 |
           1u << RCNN_PRECISION_BF16;
}

static void cuda_counters(const rcnn_backend *backend, rcnn_backend_counters *out)
{
    *out = backend->counters;
}

const rcnn_backend_vt rcnn_cuda_backend = {
    .abi = RCNN_BACKEND_ABI,
    .name = "cuda",
    .probe = cuda_probe,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = rcnn_cuda_alloc,
    .release_memory = rcnn_cuda_free,
    .claim = rcnn_cuda_claim,
    .prepare = cuda_prepare,
    .enqueue = cuda_enqueue,
    .release = cuda_release,
    .sync = cuda_sync,
    .upload = cuda_upload,
    .download = cuda_download,
    .device_count = cuda_device_count,
    .precisions = cuda_precisions,
    .half_image_channels = 4,
    .stage = rcnn_cuda_stage,
    .record_begin = rcnn_cuda_record_begin,
    .record_end = rcnn_cuda_record_end,
    .replay = rcnn_cuda_replay,
    .release_recording = rcnn_cuda_release_recording,
    .recording_bytes = rcnn_cuda_recording_bytes,
    .prepare_delivery = rcnn_cuda_prepare_delivery,
    .deliver = rcnn_cuda_deliver,
    .finish = rcnn_cuda_finish,
    .wait = rcnn_cuda_wait,
    .delivered = rcnn_cuda_delivered,
    .mark = rcnn_cuda_mark,
    .marks_ms = rcnn_cuda_marks_ms,
    .counters = cuda_counters,
    .describe_choices = rcnn_cuda_engines_describe,
    .copy_speed = rcnn_cuda_copy_speed,
    .decoder_probe = rcnn_cuda_decoder_probe,
    .decoder_open = rcnn_cuda_decoder_open,
    .decoder_run = rcnn_cuda_decoder_run,
    .decoder_close = rcnn_cuda_decoder_close,
};
