/* The runtime functions of include/ on host memory: what the backend's host code calls, so that it runs in tests on machines
 * without a GPU. Calls are done when they return. */
#include <cublasLt.h>
#include <cudnn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>

#include "emulate/emulate.h"

/* ------------------------------------------------------------- device */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    *properties = cudaDeviceProp();
    snprintf(properties->name, sizeof properties->name, "emulator");
    properties->totalGlobalMem = (size_t)1 << 32;
    properties->sharedMemPerBlock = RCNN_EMULATE_SHARED_PLAIN;
    properties->sharedMemPerBlockOptin = RCNN_EMULATE_SHARED_OPT_IN;
    properties->sharedMemPerMultiprocessor = RCNN_EMULATE_SHARED_OPT_IN + 1024;
    properties->major = 8;
    properties->minor = 0;
    properties->multiProcessorCount = 4;
    properties->l2CacheSize = 1 << 20;
    return cudaSetDevice(device);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = RCNN_EMULATE_THREADS_MAX;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = RCNN_EMULATE_SHARED_PLAIN;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = RCNN_EMULATE_SHARED_OPT_IN;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        break;
    default:
        return cudaErrorInvalidValue;
    }
    return cudaSetDevice(device);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 0;
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice:
        return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
        return "cudaErrorNotReady";
    default:
        return "cudaErrorUnknown";
    }
}

const char *cudaGetErrorString(cudaError_t error)
{
    return cudaGetErrorName(error);
}

/* ------------------------------------------------------------- memory */

/* Page-locked blocks by their first byte; everything else is taken for device memory or plain host memory. */
static std::map<uintptr_t, size_t> locked, allocated;

static cudaError_t allocate(std::map<uintptr_t, size_t> *blocks, void **memory, size_t bytes)
{
    *memory = NULL;
    if (bytes == 0) {
        return cudaSuccess;
    }
    if (posix_memalign(memory, 256, bytes) != 0) {
        *memory = NULL;
        return cudaErrorMemoryAllocation;
    }
    memset(*memory, 0xff, bytes);
    (*blocks)[(uintptr_t)*memory] = bytes;
    return cudaSuccess;
}

static cudaError_t release(std::map<uintptr_t, size_t> *blocks, void *memory)
{
    if (memory && blocks->erase((uintptr_t)memory) == 0) {
        return cudaErrorInvalidValue;
    }
    free(memory);
    return cudaSuccess;
}

static bool lies_in(const std::map<uintptr_t, size_t> &blocks, const void *pointer)
{
    const auto after = blocks.upper_bound((uintptr_t)pointer);
    if (after == blocks.begin()) {
        return false;
    }
    const auto block = std::prev(after);
    return (uintptr_t)pointer - block->first < block->second;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    return allocate(&allocated, memory, bytes);
}

cudaError_t cudaFree(void *memory)
{
    return release(&allocated, memory);
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned)
{
    return allocate(&locked, memory, bytes);
}

cudaError_t cudaFreeHost(void *memory)
{
    return release(&locked, memory);
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned)
{
    *device = host;
    return lies_in(locked, host) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = *total = (size_t)1 << 32;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer)
{
    *attributes = cudaPointerAttributes();
    void *known = const_cast<void *>(pointer);
    if (lies_in(allocated, pointer)) {
        attributes->type = cudaMemoryTypeDevice;
        attributes->devicePointer = known;
    } else if (lies_in(locked, pointer)) {
        attributes->type = cudaMemoryTypeHost;
        attributes->devicePointer = attributes->hostPointer = known;
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t)
{
    memset(memory, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind, cudaStream_t)
{
    memcpy(dst, src, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind)
{
    memcpy(dst, src, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind, cudaStream_t)
{
    if (width > dst_pitch || width > src_pitch) {
        return cudaErrorInvalidValue;
    }
    for (size_t y = 0; y < height; y++) {
        memcpy((char *)dst + y * dst_pitch, (const char *)src + y * src_pitch, width);
    }
    return cudaSuccess;
}

/* ------------------------------------------------------------- streams and events */

template <typename T> static cudaError_t make_name(T *out)
{
    *out = (T)malloc(1);
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    return make_name(stream);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    return make_name(event);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t)
{
    *ms = 0;
    return cudaSuccess;
}

/* ------------------------------------------------------------- cuDNN and cuBLASLt */

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    return make_name(handle) == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t)
{
    return CUDNN_STATUS_SUCCESS;
}

size_t cudnnGetVersion(void)
{
    return 0;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_SUCCESS ? "success" : "failure";
}

void cudnnGetLastErrorString(char *text, size_t capacity)
{
    snprintf(text, capacity, "%s", "");
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    return make_name(handle) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return 0;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "failure";
}
