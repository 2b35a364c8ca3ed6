/* The part of nvJPEG that decode.c uses, through libjpeg: pixels come out as the CPU's own. Like the real one it takes cut
 * files for whole, and refuses what the libjpeg behind it refuses. */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#pragma GCC visibility push(default)
#include <nvjpeg.h>
#pragma GCC visibility pop

struct nvjpegHandle {
    int states; /* not destroyed yet */
};

struct nvjpegJpegState {
    nvjpegHandle_t handle;
};

typedef struct reader {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    jmp_buf escape;
} reader;

static void give_up(j_common_ptr codec)
{
    longjmp(((reader *)codec->client_data)->escape, 1);
}

static void say_nothing(j_common_ptr codec)
{
    (void)codec;
}

static void take_note(j_common_ptr codec, int level)
{
    codec->err->num_warnings += level < 0;
}

/* image NULL: the header alone. */
static int read_jpeg(reader *r, const unsigned char *data, size_t length, nvjpegImage_t *image)
{
    r->codec.err = jpeg_std_error(&r->errors);
    r->codec.client_data = r;
    r->errors.error_exit = give_up;
    r->errors.output_message = say_nothing;
    r->errors.emit_message = take_note;
    if (setjmp(r->escape) != 0) {
        return 0;
    }
    jpeg_create_decompress(&r->codec);
    jpeg_mem_src(&r->codec, (unsigned char *)(uintptr_t)data, (unsigned long)length);
    jpeg_read_header(&r->codec, TRUE);
    if (image) {
        r->codec.out_color_space = JCS_RGB;
        jpeg_start_decompress(&r->codec);
        while (r->codec.output_scanline < r->codec.output_height) {
            JSAMPROW row = image->channel[0] + image->pitch[0] * r->codec.output_scanline;
            jpeg_read_scanlines(&r->codec, &row, 1);
        }
        jpeg_finish_decompress(&r->codec);
    }
    return 1;
}

nvjpegStatus_t nvjpegGetProperty(libraryPropertyType type, int *value)
{
    *value = type == MAJOR_VERSION ? NVJPEG_VER_MAJOR : 0;
    return NVJPEG_STATUS_SUCCESS;
}

nvjpegStatus_t nvjpegCreateEx(nvjpegBackend_t backend, nvjpegDevAllocator_t *device, nvjpegPinnedAllocator_t *pinned,
                              unsigned int flags, nvjpegHandle_t *handle)
{
    if (backend != NVJPEG_BACKEND_DEFAULT || device || pinned || flags > NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION) {
        return NVJPEG_STATUS_INVALID_PARAMETER;
    }
    *handle = calloc(1, sizeof **handle);
    return *handle ? NVJPEG_STATUS_SUCCESS : NVJPEG_STATUS_ALLOCATOR_FAILURE;
}

nvjpegStatus_t nvjpegDestroy(nvjpegHandle_t handle)
{
    if (handle->states != 0) {
        abort(); /* states go first */
    }
    free(handle);
    return NVJPEG_STATUS_SUCCESS;
}

nvjpegStatus_t nvjpegJpegStateCreate(nvjpegHandle_t handle, nvjpegJpegState_t *state)
{
    *state = calloc(1, sizeof **state);
    if (!*state) {
        return NVJPEG_STATUS_ALLOCATOR_FAILURE;
    }
    (*state)->handle = handle;
    handle->states++;
    return NVJPEG_STATUS_SUCCESS;
}

nvjpegStatus_t nvjpegJpegStateDestroy(nvjpegJpegState_t state)
{
    state->handle->states--;
    free(state);
    return NVJPEG_STATUS_SUCCESS;
}

nvjpegStatus_t nvjpegGetImageInfo(nvjpegHandle_t handle, const unsigned char *data, size_t length, int *components,
                                  nvjpegChromaSubsampling_t *subsampling, int *widths, int *heights)
{
    reader r = {0};
    const int read = handle && read_jpeg(&r, data, length, NULL);
    if (read) {
        *components = r.codec.num_components;
        *subsampling = *components == 1 ? NVJPEG_CSS_GRAY : NVJPEG_CSS_444; /* nobody asks for more */
        widths[0] = (int)r.codec.image_width;
        heights[0] = (int)r.codec.image_height;
    }
    jpeg_destroy_decompress(&r.codec);
    return read ? NVJPEG_STATUS_SUCCESS : NVJPEG_STATUS_BAD_JPEG;
}

nvjpegStatus_t nvjpegDecode(nvjpegHandle_t handle, nvjpegJpegState_t state, const unsigned char *data, size_t length,
                            nvjpegOutputFormat_t format, nvjpegImage_t *image, cudaStream_t stream)
{
    reader r = {0};
    if (state->handle != handle || format != NVJPEG_OUTPUT_RGBI || !stream) {
        return NVJPEG_STATUS_INVALID_PARAMETER;
    }
    const int read = read_jpeg(&r, data, length, image);
    jpeg_destroy_decompress(&r.codec);
    return read ? NVJPEG_STATUS_SUCCESS : NVJPEG_STATUS_BAD_JPEG;
}
