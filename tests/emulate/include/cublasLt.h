/* Stand-in: the names cuda.h mentions; emulated builds call no cuBLAS. */
#ifndef RCNN_TESTS_EMULATE_CUBLASLT_H
#define RCNN_TESTS_EMULATE_CUBLASLT_H

#include <cuda_runtime_api.h>

typedef struct cublasLtContext *cublasLtHandle_t;
typedef enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_EXECUTION_FAILED = 13 } cublasStatus_t;

#endif
