/* See tensor_map.h. */
#include "backend/cuda/tensor_map.h"

#include <string.h>

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                              const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

static rcnn_status find_encode(encode_fn *out, rcnn_error *err)
{
    void *symbol = NULL;
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    RCNN_CUDA_TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found),
                  "driver entry cuTensorMapEncodeTiled", err);
    if (found != cudaDriverEntryPointSuccess || !symbol) {
        return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: the driver has no cuTensorMapEncodeTiled");
    }
    memcpy(out, &symbol, sizeof symbol);
    return RCNN_OK;
}

static rcnn_status encode(CUtensorMap *map, bool bf16, uint32_t rank, const void *base, const cuuint64_t *dim,
                          const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *step, rcnn_error *err)
{
    encode_fn fn = NULL;
    RCNN_TRY(find_encode(&fn, err));
    CUresult result =
        fn(map, bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, rank,
           (void *)(uintptr_t)base, dim, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS) {
        return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: no tensor map of %u dimensions, box %u x %u: driver error %d",
                         rank, box[0], box[1], (int)result);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cuda_map_images(CUtensorMap *map, bool bf16, const void *base, const int32_t dim[4], int32_t bn,
                                 int32_t bh, int32_t bw, int32_t step, rcnn_error *err)
{
    const cuuint64_t size[4] = {(cuuint64_t)dim[3], (cuuint64_t)dim[2], (cuuint64_t)dim[1], (cuuint64_t)dim[0]};
    const cuuint64_t stride[3] = {size[0] * 2, size[0] * size[1] * 2, size[0] * size[1] * size[2] * 2};
    const cuuint32_t s = (cuuint32_t)step;
    /* a box is given in elements before the step: (b - 1) * step + 1 of them hold b */
    const cuuint32_t box[4] = {64, ((cuuint32_t)bw - 1) * s + 1, ((cuuint32_t)bh - 1) * s + 1, (cuuint32_t)bn};
    const cuuint32_t steps[4] = {1, s, s, 1};
    return encode(map, bf16, 4, base, size, stride, box, steps, err);
}

rcnn_status rcnn_cuda_map_grid(CUtensorMap *map, bool bf16, const void *base, const int32_t dim[4], int32_t bn,
                               int32_t bh, int32_t bw, int32_t step, rcnn_error *err)
{
    const cuuint64_t s = (cuuint64_t)step, channels = (cuuint64_t)dim[3];
    const cuuint64_t width = (cuuint64_t)dim[2], height = (cuuint64_t)dim[1];
    const cuuint64_t size[4] = {channels, (width + s - 1) / s, (height + s - 1) / s, (cuuint64_t)dim[0]};
    const cuuint64_t stride[3] = {channels * s * 2, channels * width * s * 2, channels * width * height * 2};
    const cuuint32_t box[4] = {64, (cuuint32_t)bw, (cuuint32_t)bh, (cuuint32_t)bn};
    const cuuint32_t steps[4] = {1, 1, 1, 1};
    return encode(map, bf16, 4, base, size, stride, box, steps, err);
}

rcnn_status rcnn_cuda_map_rows(CUtensorMap *map, bool bf16, const void *base, int64_t rows, int64_t columns,
                               int32_t box_rows, rcnn_error *err)
{
    const cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    const cuuint64_t stride[1] = {size[0] * 2};
    const cuuint32_t box[2] = {64, (cuuint32_t)box_rows};
    const cuuint32_t steps[2] = {1, 1};
    return encode(map, bf16, 2, base, size, stride, box, steps, err);
}
