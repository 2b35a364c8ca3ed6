/* Included first by every kernel file: what kernels use of CUDA, in one place, so that tests/emulate can compile the same
 * files for the CPU (RCNN_EMULATE) and run every thread of a block as a coroutine.
 *
 * Rules for kernels that should run emulated (all but the tensor core ones): launch with RCNN_LAUNCH, declare dynamic
 * shared memory with RCNN_DYNAMIC_SHARED, use only __syncthreads, __syncwarp, __shfl*_sync, __ballot_sync, __any_sync,
 * __all_sync, atomics, and the intrinsics below; no cooperative groups, no inline PTX, no cub. */
#ifndef RCNN_BACKEND_CUDA_DEVICE_CUH
#define RCNN_BACKEND_CUDA_DEVICE_CUH

#include "backend/cuda/launch.h"

#ifdef RCNN_EMULATE
#include "emulate/emulate.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/* A launch that may begin while the kernel before it in the stream drains: from compute capability 9.0 on. The kernel calls
 * rcnn_begin before it touches what others write. Errors are left to cudaGetLastError, as with <<<>>>.
 * Source: CUDA programming guide, "Programmatic Dependent Launch". */
template <typename... P, typename... A>
static inline void rcnn_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                               const A &...arguments)
{
    int device = 0, major = 0;
    (void)cudaGetDevice(&device);
    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaLaunchAttribute early;
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = major >= 9 ? 1 : 0;
    (void)cudaLaunchKernelEx(&config, kernel, arguments...);
}

/* RCNN_LAUNCH(kernel, grid, block, dynamic shared bytes, stream, arguments...) */
#define RCNN_LAUNCH(kernel, grid, block, shared, stream, ...)                                                          \
    rcnn_launch(kernel, grid, block, shared, stream, __VA_ARGS__)
#define RCNN_DYNAMIC_SHARED(type, name)                                                                                \
    extern __shared__ __align__(128) unsigned char rcnn_dynamic_shared_[];                                             \
    type *name = reinterpret_cast<type *>(rcnn_dynamic_shared_)
#endif

/* First in every kernel (or where it first touches what the kernel before it writes): waits for that kernel's end, then
 * lets the one after this one start as soon as all blocks are here. */
static __device__ __forceinline__ void rcnn_begin(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\ngriddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Element conversion by type; loads and stores of kernels templated on T = float, __half, __nv_bfloat16. */
static __device__ __forceinline__ float rcnn_to_float(float v)
{
    return v;
}
static __device__ __forceinline__ float rcnn_to_float(__half v)
{
    return __half2float(v);
}
static __device__ __forceinline__ float rcnn_to_float(__nv_bfloat16 v)
{
    return __bfloat162float(v);
}
template <typename T> static __device__ __forceinline__ T rcnn_from_float(float v);
template <> __device__ __forceinline__ float rcnn_from_float<float>(float v)
{
    return v;
}
template <> __device__ __forceinline__ __half rcnn_from_float<__half>(float v)
{
    return __float2half_rn(v);
}
template <> __device__ __forceinline__ __nv_bfloat16 rcnn_from_float<__nv_bfloat16>(float v)
{
    return __float2bfloat16_rn(v);
}

/* Live rows of packed rows. */
static __device__ __forceinline__ int32_t rcnn_live_rows(const int32_t *counts, int32_t images)
{
    int32_t live = 0;
    for (int32_t n = 0; n < images; n++) {
        live += counts[n];
    }
    return live;
}

/* Notes a fault unless another one stands already. */
static __device__ __forceinline__ void rcnn_note_fault(rcnn_cuda_fault_place place, int32_t what, int32_t image,
                                                       int32_t a, int32_t b)
{
    if (atomicCAS(&place.fault->what, 0, what) == 0) {
        place.fault->op = place.op;
        place.fault->image = image;
        place.fault->a = a;
        place.fault->b = b;
    }
}

/* Calls BODY with T bound to the element type. */
#define RCNN_BY_TYPE(type, T, BODY)                                                                                    \
    switch (type) {                                                                                                    \
    case RCNN_CUDA_F32: {                                                                                              \
        typedef float T;                                                                                               \
        BODY;                                                                                                          \
        break;                                                                                                         \
    }                                                                                                                  \
    case RCNN_CUDA_F16: {                                                                                              \
        typedef __half T;                                                                                              \
        BODY;                                                                                                          \
        break;                                                                                                         \
    }                                                                                                                  \
    default: {                                                                                                         \
        typedef __nv_bfloat16 T;                                                                                       \
        BODY;                                                                                                          \
        break;                                                                                                         \
    }                                                                                                                  \
    }

#endif
