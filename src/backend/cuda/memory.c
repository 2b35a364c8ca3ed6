/* Device and page-locked memory, counted. All of the backend's own goes through here. */
#include "backend/cuda/cuda.h"

#include <string.h>

#include "base/memory.h"

#define MIB 1048576.0

/* What a pointer holds, for bytes_held. */
struct rcnn_cuda_block {
    void *memory;
    size_t bytes;
};

static rcnn_status no_memory(size_t bytes, const char *kind, rcnn_error *err)
{
    size_t available = 0, total = 0;
    (void)cudaGetLastError(); /* or a later launch would report it */
    if (cudaMemGetInfo(&available, &total) != cudaSuccess) {
        (void)cudaGetLastError();
    }
    return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of %s memory for %.1f MiB: %.1f of %.1f MiB of the GPU are free",
                     kind, (double)bytes / MIB, (double)available / MIB, (double)total / MIB);
}

static rcnn_status remember(rcnn_backend *backend, void *memory, size_t bytes, rcnn_error *err)
{
    void *blocks = backend->blocks;
    if (!rcnn_grow(&blocks, &backend->block_capacity, backend->block_count + 1, sizeof *backend->blocks)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    backend->blocks = blocks;
    backend->blocks[backend->block_count++] = (struct rcnn_cuda_block){memory, bytes};
    backend->counters.bytes_held += bytes;
    return RCNN_OK;
}

static void forget(rcnn_backend *backend, const void *memory)
{
    for (size_t i = 0; i < backend->block_count; i++) {
        if (backend->blocks[i].memory == memory) {
            backend->counters.bytes_held -= backend->blocks[i].bytes;
            backend->blocks[i] = backend->blocks[--backend->block_count];
            break;
        }
    }
    if (backend->block_count == 0) {
        rcnn_free(backend->blocks);
        backend->blocks = NULL;
        backend->block_capacity = 0;
    }
}

/* Waits, so that memory may be used from any stream. */
static rcnn_status clear(rcnn_backend *backend, void *memory, size_t bytes, rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaMemsetAsync(memory, 0, bytes, backend->stream), "clearing device memory", err);
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->stream), "clearing device memory", err);
    return RCNN_OK;
}

rcnn_status rcnn_cuda_alloc(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err)
{
    *out = NULL;
    void *memory = NULL;
    const size_t size = bytes ? bytes : 1; /* a pointer of its own also for nothing */
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    cudaError_t code = rcnn_cuda_call_fails() ? cudaErrorMemoryAllocation : cudaMalloc(&memory, size);
    if (code == cudaErrorMemoryAllocation) {
        return no_memory(size, "device", err);
    }
    RCNN_TRY(rcnn_from_cuda(code, "allocating device memory", err));
    backend->counters.device_allocations++;
    rcnn_status status = clear(backend, memory, size, err);
    if (status == RCNN_OK) {
        status = remember(backend, memory, size, err);
    }
    if (status != RCNN_OK) {
        (void)cudaFree(memory);
        return status;
    }
    *out = memory;
    return RCNN_OK;
}

/* After a fault every release fails on the GPU: one line is enough. */
static void complain(rcnn_backend *backend, const rcnn_error *why)
{
    rcnn_cuda_log(backend->complained ? RCNN_LOG_DEBUG : RCNN_LOG_WARN, "%s", why->message);
    backend->complained = true;
}

/* cudaFree waits for the device, so that nothing enqueued still uses the memory. */
void rcnn_cuda_free(rcnn_backend *backend, void *memory)
{
    if (!memory) {
        return;
    }
    rcnn_error ignored;
    (void)rcnn_cuda_make_current(backend, &ignored); /* freed all the same: the address tells the device */
    if (rcnn_from_cuda(cudaFree(memory), "releasing device memory", &ignored) != RCNN_OK) {
        complain(backend, &ignored);
    }
    forget(backend, memory);
}

rcnn_status rcnn_cuda_alloc_host(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err)
{
    *out = NULL;
    void *memory = NULL;
    const size_t size = bytes ? bytes : 1;
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    cudaError_t code =
        rcnn_cuda_call_fails() ? cudaErrorMemoryAllocation : cudaHostAlloc(&memory, size, cudaHostAllocMapped);
    if (code == cudaErrorMemoryAllocation) {
        return no_memory(size, "page-locked host", err);
    }
    RCNN_TRY(rcnn_from_cuda(code, "allocating page-locked memory", err));
    backend->counters.host_allocations++;
    memset(memory, 0, size);
    *out = memory;
    return RCNN_OK;
}

void rcnn_cuda_free_host(rcnn_backend *backend, void *memory)
{
    if (!memory) {
        return;
    }
    rcnn_error ignored;
    (void)rcnn_cuda_make_current(backend, &ignored);
    if (rcnn_from_cuda(cudaFreeHost(memory), "releasing page-locked memory", &ignored) != RCNN_OK) {
        complain(backend, &ignored);
    }
}
