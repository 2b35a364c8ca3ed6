#include "base/dtype.h"

static const struct {
    const char *name;
    size_t bytes;
} DTYPES[] = {[RCNN_F32] = {"F32", 4}, [RCNN_F16] = {"F16", 2},  [RCNN_BF16] = {"BF16", 2}, [RCNN_F64] = {"F64", 8},
              [RCNN_I8] = {"I8", 1},   [RCNN_U8] = {"U8", 1},    [RCNN_I16] = {"I16", 2},   [RCNN_I32] = {"I32", 4},
              [RCNN_I64] = {"I64", 8}, [RCNN_BOOL] = {"BOOL", 1}};
#define DTYPE_COUNT (sizeof DTYPES / sizeof DTYPES[0])

size_t rcnn_dtype_bytes(rcnn_dtype dtype)
{
    return (size_t)dtype < DTYPE_COUNT ? DTYPES[dtype].bytes : 0;
}

const char *rcnn_dtype_name(rcnn_dtype dtype)
{
    return (size_t)dtype < DTYPE_COUNT ? DTYPES[dtype].name : "?";
}
