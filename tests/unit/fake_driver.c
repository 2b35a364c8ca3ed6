/* Stands where the NVIDIA driver's library is looked for; see test_cuda_module.c. */
#include "rcnn/rcnn.h"

RCNN_API int rcnn_fake_driver(void);

int rcnn_fake_driver(void)
{
    return 0;
}
