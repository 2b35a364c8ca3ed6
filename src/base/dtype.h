/* Element types: their sizes and names, wanted by the weights readers and by the graph. */
#ifndef RCNN_BASE_DTYPE_H
#define RCNN_BASE_DTYPE_H

#include "base/status.h"

#define RCNN_DTYPE_COUNT (RCNN_BOOL + 1)

/* Bytes of one element; 0 for a value outside the enumeration. */
size_t rcnn_dtype_bytes(rcnn_dtype dtype);
/* The safetensors name: "F32", "BF16", "BOOL"; "?" for a value outside the enumeration. */
const char *rcnn_dtype_name(rcnn_dtype dtype);

#endif
