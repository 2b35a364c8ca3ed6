/* How long a candidate takes on the device. It is recorded several times into a graph, as sessions run it: timing calls
 * one by one would measure the host for kernels of a few microseconds. Data is random: constants switch fewer transistors
 * and run faster than anything real. */
#include "backend/cuda/engines.h"

#include <string.h>

#include "base/memory.h"

#define SAMPLES       5
#define REPEATS       8
#define SLOW_MS       5.0f /* one call takes longer: a repeat would only cost time */
#define PATTERN_WORDS (1u << 18)

typedef struct stopwatch {
    cudaEvent_t begin, end;
    cudaGraph_t graph;
    cudaGraphExec_t recorded;
} stopwatch;

/* ------------------------------------------------------------- recording */

static rcnn_status record(cudaStream_t stream, rcnn_cuda_timed_fn fn, void *context, int32_t repeats, cudaGraph_t *out,
                          rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "recording a candidate", err);
    rcnn_status status = RCNN_OK;
    for (int32_t i = 0; i < repeats && status == RCNN_OK; i++) {
        status = fn(context, stream, err);
    }
    cudaError_t code = cudaStreamEndCapture(stream, out); /* also ends a capture that went wrong */
    if (status == RCNN_OK && code != cudaSuccess) {
        (void)cudaGetLastError();
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: a candidate cannot be recorded: %s",
                         cudaGetErrorString(code));
    }
    return status;
}

static rcnn_status wait_for(rcnn_backend *backend, rcnn_error *err)
{
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->stream), "timing a candidate", err);
    return RCNN_OK;
}

/* Milliseconds of one launch of the graph, or of one call when nothing is recorded yet. */
static rcnn_status measure(rcnn_backend *backend, const stopwatch *watch, rcnn_cuda_timed_fn fn, void *context,
                           float *ms, rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaEventRecord(watch->begin, backend->stream), "timing a candidate", err);
    if (watch->recorded) {
        RCNN_CUDA_TRY(cudaGraphLaunch(watch->recorded, backend->stream), "timing a candidate", err);
    } else {
        RCNN_TRY(fn(context, backend->stream, err));
    }
    RCNN_CUDA_TRY(cudaEventRecord(watch->end, backend->stream), "timing a candidate", err);
    RCNN_TRY(wait_for(backend, err));
    RCNN_CUDA_TRY(cudaEventElapsedTime(ms, watch->begin, watch->end), "timing a candidate", err);
    return RCNN_OK;
}

static float median(float *samples, int32_t count)
{
    for (int32_t i = 1; i < count; i++) {
        for (int32_t k = i; k > 0 && samples[k] < samples[k - 1]; k--) {
            float swapped = samples[k];
            samples[k] = samples[k - 1];
            samples[k - 1] = swapped;
        }
    }
    return samples[count / 2];
}

/* The first call, outside the graph, also loads what the candidate loads on first use. */
static rcnn_status run_watch(rcnn_backend *backend, stopwatch *watch, rcnn_cuda_timed_fn fn, void *context,
                             float *microseconds, rcnn_error *err)
{
    float samples[SAMPLES];
    RCNN_CUDA_TRY(cudaEventCreate(&watch->begin), "making an event", err);
    RCNN_CUDA_TRY(cudaEventCreate(&watch->end), "making an event", err);
    RCNN_TRY(measure(backend, watch, fn, context, &samples[0], err));
    RCNN_TRY(measure(backend, watch, fn, context, &samples[0], err));
    const int32_t repeats = samples[0] > SLOW_MS ? 1 : REPEATS;
    RCNN_TRY(record(backend->stream, fn, context, repeats, &watch->graph, err));
    RCNN_CUDA_TRY(cudaGraphInstantiate(&watch->recorded, watch->graph, 0), "recording a candidate", err);
    RCNN_TRY(measure(backend, watch, fn, context, &samples[0], err));
    for (int32_t i = 0; i < SAMPLES; i++) {
        RCNN_TRY(measure(backend, watch, fn, context, &samples[i], err));
    }
    *microseconds = median(samples, SAMPLES) * 1000.0f / (float)repeats;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_time(rcnn_backend *backend, rcnn_cuda_timed_fn fn, void *context, float *microseconds,
                           rcnn_error *err)
{
    stopwatch watch = {0};
    rcnn_status status = run_watch(backend, &watch, fn, context, microseconds, err);
    if (status != RCNN_OK) { /* what it enqueued may still run on memory that the caller releases */
        (void)cudaStreamSynchronize(backend->stream);
    }
    if (watch.recorded) {
        (void)cudaGraphExecDestroy(watch.recorded);
    }
    if (watch.graph) {
        (void)cudaGraphDestroy(watch.graph);
    }
    if (watch.end) {
        (void)cudaEventDestroy(watch.end);
    }
    if (watch.begin) {
        (void)cudaEventDestroy(watch.begin);
    }
    if (status != RCNN_OK) {
        (void)cudaGetLastError();
    }
    return status;
}

/* ------------------------------------------------------------- data */

static uint32_t next_random(uint32_t *state) /* xorshift32 */
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* A word of one float or two halves with random signs and mantissas and magnitudes from 2^-4 to 1. */
static uint32_t random_word(rcnn_cuda_type type, uint32_t *state)
{
    const uint32_t bits = next_random(state);
    switch (type) {
    case RCNN_CUDA_F16:
        return (bits & 0x83ff83ffu) | (11u + (bits >> 10 & 3u)) << 10 | (11u + (bits >> 26 & 3u)) << 26;
    case RCNN_CUDA_BF16:
        return (bits & 0x807f807fu) | (123u + (bits >> 7 & 3u)) << 7 | (123u + (bits >> 23 & 3u)) << 23;
    default:
        return (bits & 0x807fffffu) | (123u + (bits >> 23 & 3u)) << 23;
    }
}

/* The pattern goes up once and is doubled on the device. */
static rcnn_status fill(rcnn_backend *backend, rcnn_cuda_type type, char *memory, size_t bytes, rcnn_error *err)
{
    uint32_t *pattern = rcnn_malloc(PATTERN_WORDS * sizeof *pattern);
    if (!pattern) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    uint32_t state = 2463534242u;
    for (uint32_t i = 0; i < PATTERN_WORDS; i++) {
        pattern[i] = random_word(type, &state);
    }
    size_t done = PATTERN_WORDS * sizeof *pattern < bytes ? PATTERN_WORDS * sizeof *pattern : bytes;
    cudaError_t code = rcnn_cuda_call_fails()
                           ? cudaErrorUnknown
                           : cudaMemcpyAsync(memory, pattern, done, cudaMemcpyHostToDevice, backend->stream);
    while (code == cudaSuccess && done < bytes) {
        const size_t more = done < bytes - done ? done : bytes - done;
        code = cudaMemcpyAsync(memory + done, memory, more, cudaMemcpyDeviceToDevice, backend->stream);
        done += more;
    }
    rcnn_status status = rcnn_from_cuda(code, "filling memory to time candidates", err);
    if (status == RCNN_OK) {
        status = wait_for(backend, err);
    }
    rcnn_free(pattern);
    return status;
}

rcnn_status rcnn_cuda_alloc_random(rcnn_backend *backend, rcnn_cuda_type type, size_t bytes, void **out,
                                   rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_alloc(backend, bytes, out, err));
    rcnn_status status = fill(backend, type, *out, bytes, err);
    if (status != RCNN_OK) {
        (void)cudaStreamSynchronize(backend->stream);
        rcnn_cuda_free(backend, *out);
        *out = NULL;
    }
    return status;
}
