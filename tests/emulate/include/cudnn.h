/* Stand-in: the names cuda.h mentions; emulated builds call no cuDNN. */
#ifndef RCNN_TESTS_EMULATE_CUDNN_H
#define RCNN_TESTS_EMULATE_CUDNN_H

typedef struct cudnnContext *cudnnHandle_t;
typedef enum cudnnStatus_t { CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_EXECUTION_FAILED = 5000 } cudnnStatus_t;

#endif
