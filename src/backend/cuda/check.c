/* CUDA, cuDNN and cuBLAS errors as statuses, and the hook that makes calls fail for tests. */
#include "backend/cuda/cuda.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* ------------------------------------------------------------- statuses */

/* The error is also taken off the runtime's record: a later launch would report it as its own. */
rcnn_status rcnn_from_cuda(cudaError_t code, const char *what, rcnn_error *err)
{
    if (RCNN_LIKELY(code == cudaSuccess)) {
        return RCNN_OK;
    }
    (void)cudaGetLastError();
    rcnn_status status = code == cudaErrorMemoryAllocation ? RCNN_ERR_MEMORY : RCNN_ERR_DEVICE;
    return rcnn_fail(err, status, "cuda: %s: %s (%s, %d)", what, cudaGetErrorString(code), cudaGetErrorName(code),
                     (int)code);
}

static rcnn_status status_of_cudnn(cudnnStatus_t code)
{
    switch (code) {
    case CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED:
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED:
        return RCNN_ERR_MEMORY;
    default: /* of lacking support there are a dozen kinds */
        return CUDNN_STATUS_CATEGORY(code) == CUDNN_STATUS_NOT_SUPPORTED ? RCNN_ERR_UNSUPPORTED : RCNN_ERR_DEVICE;
    }
}

rcnn_status rcnn_from_cudnn(cudnnStatus_t code, const char *what, rcnn_error *err)
{
    if (RCNN_LIKELY(code == CUDNN_STATUS_SUCCESS)) {
        return RCNN_OK;
    }
    char detail[256] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    return rcnn_fail(err, status_of_cudnn(code), "cuda: %s: cuDNN: %s (%d)%s%s", what, cudnnGetErrorString(code),
                     (int)code, detail[0] ? ": " : "", detail);
}

static rcnn_status status_of_cublas(cublasStatus_t code)
{
    switch (code) {
    case CUBLAS_STATUS_ALLOC_FAILED:
        return RCNN_ERR_MEMORY;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return RCNN_ERR_UNSUPPORTED;
    default:
        return RCNN_ERR_DEVICE;
    }
}

rcnn_status rcnn_from_cublas(cublasStatus_t code, const char *what, rcnn_error *err)
{
    if (RCNN_LIKELY(code == CUBLAS_STATUS_SUCCESS)) {
        return RCNN_OK;
    }
    return rcnn_fail(err, status_of_cublas(code), "cuda: %s: cuBLASLt: %s (%d)", what, cublasLtGetStatusString(code),
                     (int)code);
}

/* ------------------------------------------------------------- failing on purpose */

static pthread_once_t read_once = PTHREAD_ONCE_INIT;
static unsigned long fail_at; /* 0 = never */
static bool fail_all;
static atomic_ulong call_count;

static void read_environment(void)
{
    const char *at = getenv("RCNN_CUDA_FAIL_AT");
    const char *all = getenv("RCNN_CUDA_FAIL_ALL");
    fail_at = at ? strtoul(at, NULL, 10) : 0;
    fail_all = all && *all == '1';
}

bool rcnn_cuda_call_fails(void)
{
    pthread_once(&read_once, read_environment);
    if (RCNN_LIKELY(fail_at == 0)) {
        return false;
    }
    unsigned long number = atomic_fetch_add(&call_count, 1) + 1;
    return number == fail_at || (fail_all && number > fail_at);
}
