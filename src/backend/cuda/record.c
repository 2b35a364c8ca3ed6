/* Recording runs: what is enqueued between begin and end is captured into a CUDA graph, which a later run launches as a
 * whole. Also the time marks, which work inside a recording and outside, and work that follows device counts.
 *
 * Capture is relaxed: other threads, and libraries that load a kernel or take memory with its first launch, may allocate
 * as they like meanwhile. A capture that was begun is always ended, whatever failed in between, and leaves its stream as
 * it was before. */
#include "backend/cuda/cuda.h"

#include <string.h>

#include "base/memory.h"

/* The calls that know data of edges lost their numbers in CUDA 13. */
#if CUDART_VERSION >= 13000
#define GRAPH_ADD_NODE       cudaGraphAddNode
#define CAPTURE_INFO         cudaStreamGetCaptureInfo
#define CAPTURE_DEPENDENCIES cudaStreamUpdateCaptureDependencies
#else
#define GRAPH_ADD_NODE       cudaGraphAddNode_v2
#define CAPTURE_INFO         cudaStreamGetCaptureInfo_v3
#define CAPTURE_DEPENDENCIES cudaStreamUpdateCaptureDependencies_v2
#endif

#define NODE_BYTES      8192  /* device memory of a graph node, roughly: no call tells */
#define SWITCH_DRIVER   12080 /* the driver that brought SWITCH nodes: CUDA 12.8 */
#define RECORDING_BYTES 65536 /* of a graph without nodes, roughly */

struct rcnn_cuda_recorder {
    bool recording;
    bool can_switch;
    cudaStream_t side;                     /* where the bodies of SWITCH nodes are captured */
    size_t body_nodes;                     /* in bodies of the recording under way */
    cudaEvent_t marks[RCNN_BACKEND_MARKS]; /* NULL = not used yet */
};

struct rcnn_recording {
    cudaGraphExec_t exec;
    size_t nodes;
};

/* ------------------------------------------------------------- life */

static rcnn_status open_parts(rcnn_cuda_recorder *recorder, rcnn_error *err)
{
    int driver = 0;
    RCNN_CUDA_TRY(cudaDriverGetVersion(&driver), "asking for the driver's version", err);
    recorder->can_switch = driver >= SWITCH_DRIVER;
    RCNN_CUDA_TRY(cudaStreamCreateWithFlags(&recorder->side, cudaStreamNonBlocking), "making a stream", err);
    return RCNN_OK;
}

rcnn_status rcnn_cuda_recorder_open(rcnn_backend *backend, rcnn_error *err)
{
    backend->recorder = rcnn_calloc(1, sizeof *backend->recorder);
    if (!backend->recorder) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    return open_parts(backend->recorder, err);
}

void rcnn_cuda_recorder_close(rcnn_backend *backend)
{
    rcnn_cuda_recorder *recorder = backend->recorder;
    if (!recorder) {
        return;
    }
    for (int32_t i = 0; i < RCNN_BACKEND_MARKS; i++) {
        if (recorder->marks[i]) {
            (void)cudaEventDestroy(recorder->marks[i]);
        }
    }
    if (recorder->side) {
        (void)cudaStreamDestroy(recorder->side);
    }
    rcnn_free(recorder);
    backend->recorder = NULL;
}

/* ------------------------------------------------------------- recording */

bool rcnn_cuda_is_recording(const rcnn_backend *backend)
{
    return backend->recorder->recording;
}

rcnn_status rcnn_cuda_record_begin(rcnn_backend *backend, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    if (backend->recorder->recording) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: a recording inside a recording");
    }
    RCNN_CUDA_TRY(cudaStreamBeginCapture(backend->stream, cudaStreamCaptureModeRelaxed), "beginning to record", err);
    backend->recorder->recording = true;
    backend->recorder->body_nodes = 0;
    return RCNN_OK;
}

/* Ends a capture, also when the test hook says that the call fails. */
static cudaError_t end_capture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    const cudaError_t code = cudaStreamEndCapture(stream, graph);
    return code == cudaSuccess && rcnn_cuda_call_fails() ? cudaErrorUnknown : code;
}

static rcnn_status count_nodes(cudaGraph_t graph, size_t *count, rcnn_error *err)
{
    size_t nodes = 0;
    RCNN_CUDA_TRY(cudaGraphGetNodes(graph, NULL, &nodes), "counting what was recorded", err);
    *count += nodes;
    return RCNN_OK;
}

static rcnn_status instantiate(rcnn_backend *backend, cudaGraph_t graph, rcnn_recording *recording, rcnn_error *err)
{
    recording->nodes = backend->recorder->body_nodes;
    RCNN_TRY(count_nodes(graph, &recording->nodes, err));
    RCNN_CUDA_TRY(cudaGraphInstantiate(&recording->exec, graph, 0), "preparing a recording", err);
    RCNN_CUDA_TRY(cudaGraphUpload(recording->exec, backend->stream), "sending a recording", err);
    return RCNN_OK;
}

static rcnn_status make_recording(rcnn_backend *backend, cudaGraph_t graph, rcnn_recording **out, rcnn_error *err)
{
    rcnn_recording *recording = rcnn_calloc(1, sizeof *recording);
    if (!recording) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    const rcnn_status status = instantiate(backend, graph, recording, err);
    if (status != RCNN_OK) {
        rcnn_cuda_release_recording(backend, recording);
        return status;
    }
    backend->counters.recordings++;
    *out = recording;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_record_end(rcnn_backend *backend, rcnn_recording **out, rcnn_error *err)
{
    if (out) {
        *out = NULL;
    }
    if (!backend->recorder->recording) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: the end of a recording that was not begun");
    }
    const rcnn_status current = rcnn_cuda_make_current(backend, err);
    cudaGraph_t graph;
    const cudaError_t code = end_capture(backend->stream, &graph);
    backend->recorder->recording = false;
    rcnn_status status = current;
    if (out && status == RCNN_OK) {
        status = rcnn_from_cuda(code, "recording", err);
    }
    if (out && status == RCNN_OK) {
        status = make_recording(backend, graph, out, err);
    }
    if (graph) {
        (void)cudaGraphDestroy(graph);
    }
    (void)cudaGetLastError(); /* of a capture that broke off: nothing for later launches to report */
    return out ? status : RCNN_OK;
}

rcnn_status rcnn_cuda_replay(rcnn_backend *backend, rcnn_recording *recording, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    RCNN_CUDA_TRY(cudaGraphLaunch(recording->exec, backend->stream), "replaying a recording", err);
    backend->counters.replays++;
    return RCNN_OK;
}

/* The stream is waited for in any case: the memory that the recording works on is the caller's to free next. */
void rcnn_cuda_release_recording(rcnn_backend *backend, rcnn_recording *recording)
{
    if (!recording) {
        return;
    }
    rcnn_error ignored;
    if (rcnn_cuda_make_current(backend, &ignored) == RCNN_OK) {
        backend->counters.host_syncs++;
        (void)cudaStreamSynchronize(backend->stream);
        if (recording->exec) {
            (void)cudaGraphExecDestroy(recording->exec);
        }
        (void)cudaGetLastError();
    }
    rcnn_free(recording);
}

size_t rcnn_cuda_recording_bytes(const rcnn_recording *recording)
{
    return RECORDING_BYTES + recording->nodes * NODE_BYTES;
}

/* ------------------------------------------------------------- time marks */

rcnn_status rcnn_cuda_mark(rcnn_backend *backend, int32_t index, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    if (index < 0 || index >= RCNN_BACKEND_MARKS) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: want time marks 0..%d, got %d", RCNN_BACKEND_MARKS - 1, index);
    }
    cudaEvent_t *event = &backend->recorder->marks[index];
    if (!*event) {
        RCNN_CUDA_TRY(cudaEventCreate(event), "making an event", err);
    }
    const unsigned flags = backend->recorder->recording ? cudaEventRecordExternal : cudaEventRecordDefault;
    RCNN_CUDA_TRY(cudaEventRecordWithFlags(*event, backend->stream, flags), "marking the time", err);
    return RCNN_OK;
}

rcnn_status rcnn_cuda_marks_ms(rcnn_backend *backend, int32_t count, double *ms, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    for (int32_t i = 0; i + 1 < count; i++) {
        float passed = 0;
        RCNN_CUDA_TRY(cudaEventElapsedTime(&passed, backend->recorder->marks[i], backend->recorder->marks[i + 1]),
                      "reading time marks", err);
        ms[i] = (double)passed;
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- work that follows counts */

/* The graph that the stream is captured into, and the nodes that what is captured next depends on. */
typedef struct capture {
    cudaGraph_t graph;
    const cudaGraphNode_t *nodes;
    const cudaGraphEdgeData *edges;
    size_t count;
} capture;

static rcnn_status capture_of(cudaStream_t stream, capture *out, rcnn_error *err)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    RCNN_CUDA_TRY(CAPTURE_INFO(stream, &status, NULL, &out->graph, &out->nodes, &out->edges, &out->count),
                  "asking about the recording", err);
    if (status != cudaStreamCaptureStatusActive) {
        return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: the recording broke off");
    }
    return RCNN_OK;
}

/* A SWITCH node after what was captured so far, which chooses among `count` bodies by the live rows. */
static rcnn_status add_switch(rcnn_cuda_switch *chooser, cudaStream_t stream, cudaGraph_t *bodies, rcnn_error *err)
{
    capture at;
    RCNN_TRY(capture_of(stream, &at, err));
    cudaGraphConditionalHandle handle;
    RCNN_CUDA_TRY(cudaGraphConditionalHandleCreate(&handle, at.graph, (unsigned)chooser->bucket_count,
                                                   cudaGraphCondAssignDefault),
                  "recording a choice", err);
    chooser->handle = handle;
    RCNN_CUDA_TRY(rcnn_cuda_switch_launch(chooser, stream), "recording a choice", err);
    RCNN_TRY(capture_of(stream, &at, err));
    struct cudaGraphNodeParams params;
    memset(&params, 0, sizeof params);
    params.type = cudaGraphNodeTypeConditional;
    params.conditional.handle = handle;
    params.conditional.type = cudaGraphCondTypeSwitch;
    params.conditional.size = (unsigned)chooser->bucket_count;
    cudaGraphNode_t node;
    RCNN_CUDA_TRY(GRAPH_ADD_NODE(&node, at.graph, at.nodes, at.edges, at.count, &params), "recording a choice", err);
    memcpy(bodies, params.conditional.phGraph_out, (size_t)chooser->bucket_count * sizeof *bodies);
    RCNN_CUDA_TRY(CAPTURE_DEPENDENCIES(stream, &node, NULL, 1, cudaStreamSetCaptureDependencies), "recording a choice",
                  err);
    return RCNN_OK;
}

static rcnn_status capture_body(rcnn_cuda_recorder *recorder, cudaGraph_t graph, rcnn_cuda_bucket_fn body,
                                void *context, int32_t bucket, rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaStreamBeginCaptureToGraph(recorder->side, graph, NULL, NULL, 0, cudaStreamCaptureModeRelaxed),
                  "recording a choice", err);
    const rcnn_status status = body(context, bucket, recorder->side, err);
    cudaGraph_t captured; /* the body graph, which belongs to its node */
    const cudaError_t code = end_capture(recorder->side, &captured);
    RCNN_TRY(status);
    RCNN_TRY(rcnn_from_cuda(code, "recording a choice", err));
    return count_nodes(graph, &recorder->body_nodes, err);
}

/* In a run without images nobody reads the rows: it is there so that every kernel has run before it is recorded. */
static rcnn_status enqueue_all(int32_t bucket_count, rcnn_cuda_bucket_fn body, void *context, cudaStream_t stream,
                               rcnn_error *err)
{
    for (int32_t b = 0; b < bucket_count; b++) {
        RCNN_TRY(body(context, b, stream, err));
    }
    return RCNN_OK;
}

rcnn_status rcnn_cuda_by_rows(rcnn_backend *backend, const int32_t *counts, int32_t images, const int32_t *buckets,
                              int32_t bucket_count, rcnn_cuda_bucket_fn body, void *context, cudaStream_t stream,
                              rcnn_error *err)
{
    rcnn_cuda_recorder *recorder = backend->recorder;
    if (bucket_count < 1 || bucket_count > RCNN_CUDA_BUCKETS_MAX) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: want 1..%d buckets, got %d", RCNN_CUDA_BUCKETS_MAX,
                         bucket_count);
    }
    if (!recorder->recording && backend->warming) {
        return enqueue_all(bucket_count, body, context, stream, err);
    }
    if (!recorder->recording || !recorder->can_switch || stream == recorder->side) {
        return body(context, bucket_count - 1, stream, err);
    }
    rcnn_cuda_switch chooser = {.counts = counts, .images = images, .bucket_count = bucket_count};
    memcpy(chooser.buckets, buckets, (size_t)bucket_count * sizeof *buckets);
    cudaGraph_t bodies[RCNN_CUDA_BUCKETS_MAX];
    RCNN_TRY(add_switch(&chooser, stream, bodies, err));
    for (int32_t b = 0; b < bucket_count; b++) {
        RCNN_TRY(capture_body(recorder, bodies[b], body, context, b, err));
    }
    return RCNN_OK;
}
