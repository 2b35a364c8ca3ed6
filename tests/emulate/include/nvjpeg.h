/* Stand-in: what decode.c calls of nvJPEG, with the numbers of the real header. fake_nvjpeg.c is a library of it. */
#ifndef RCNN_TESTS_EMULATE_NVJPEG_H
#define RCNN_TESTS_EMULATE_NVJPEG_H

#include <cuda_runtime_api.h>

#define NVJPEG_VER_MAJOR                           13
#define NVJPEG_MAX_COMPONENT                       4
#define NVJPEG_FLAGS_DEFAULT                       0
#define NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION (1 << 5)

typedef enum libraryPropertyType_t { MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL } libraryPropertyType;
typedef enum {
    NVJPEG_STATUS_SUCCESS = 0,
    NVJPEG_STATUS_INVALID_PARAMETER = 2,
    NVJPEG_STATUS_BAD_JPEG = 3,
    NVJPEG_STATUS_JPEG_NOT_SUPPORTED = 4,
    NVJPEG_STATUS_ALLOCATOR_FAILURE = 5,
    NVJPEG_STATUS_EXECUTION_FAILED = 6,
    NVJPEG_STATUS_IMPLEMENTATION_NOT_SUPPORTED = 9,
    NVJPEG_STATUS_INCOMPLETE_BITSTREAM = 10
} nvjpegStatus_t;
typedef enum { NVJPEG_CSS_444 = 0, NVJPEG_CSS_GRAY = 6, NVJPEG_CSS_UNKNOWN = -1 } nvjpegChromaSubsampling_t;
typedef enum { NVJPEG_OUTPUT_RGBI = 5 } nvjpegOutputFormat_t;
typedef enum { NVJPEG_BACKEND_DEFAULT = 0 } nvjpegBackend_t;
typedef struct {
    unsigned char *channel[NVJPEG_MAX_COMPONENT];
    size_t pitch[NVJPEG_MAX_COMPONENT];
} nvjpegImage_t;
typedef struct nvjpegHandle *nvjpegHandle_t;
typedef struct nvjpegJpegState *nvjpegJpegState_t;
typedef struct nvjpegDevAllocator nvjpegDevAllocator_t;
typedef struct nvjpegPinnedAllocator nvjpegPinnedAllocator_t;

nvjpegStatus_t nvjpegGetProperty(libraryPropertyType type, int *value);
nvjpegStatus_t nvjpegCreateEx(nvjpegBackend_t backend, nvjpegDevAllocator_t *device, nvjpegPinnedAllocator_t *pinned,
                              unsigned int flags, nvjpegHandle_t *handle);
nvjpegStatus_t nvjpegDestroy(nvjpegHandle_t handle);
nvjpegStatus_t nvjpegJpegStateCreate(nvjpegHandle_t handle, nvjpegJpegState_t *state);
nvjpegStatus_t nvjpegJpegStateDestroy(nvjpegJpegState_t state);
nvjpegStatus_t nvjpegGetImageInfo(nvjpegHandle_t handle, const unsigned char *data, size_t length, int *components,
                                  nvjpegChromaSubsampling_t *subsampling, int *widths, int *heights);
nvjpegStatus_t nvjpegDecode(nvjpegHandle_t handle, nvjpegJpegState_t state, const unsigned char *data, size_t length,
                            nvjpegOutputFormat_t format, nvjpegImage_t *image, cudaStream_t stream);

#endif
