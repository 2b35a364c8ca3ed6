/* JPEG files to pixels in device memory, through nvJPEG. The module does not need the library to load: it is opened when
 * the first decoder is asked for. nvJPEG does the entropy decoding of a single picture on the calling thread and the rest
 * on the decoder's stream, which is waited for before the pixels are handed out. Its chroma upsampling and colour
 * conversion are not libjpeg's: docs/backends.md states the difference. */
#include "backend/cuda/cuda.h"

#include <stdio.h>

#if RCNN_HAVE_NVJPEG

#include <dlfcn.h>
#include <nvjpeg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define PATH_BYTES 4096

/* ------------------------------------------------------------- the library */

/* The functions used, in the types of the header. */
#define FUNCTIONS(F)                                                                                                   \
    F(GetProperty) F(CreateEx) F(Destroy) F(JpegStateCreate) F(JpegStateDestroy) F(GetImageInfo) F(Decode)

static struct {
#define MEMBER(name) __typeof__(&nvjpeg##name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
    char text[512]; /* what was found, or why nothing was */
    bool there;
} library;

/* Beside cuBLASLt, which the module is linked with; pip's packages of CUDA 12 have a folder for each library. */
static void *open_beside(const char *name, char *path)
{
    static const char *const FOLDERS[] = {"", "../../nvjpeg/lib/"};
    size_t (*neighbour)(void) = cublasLtGetVersion;
    void *address;
    memcpy(&address, &neighbour, sizeof address); /* as POSIX wants: C does not convert pointers to functions */
    Dl_info at;
    const char *slash = dladdr(address, &at) != 0 && at.dli_fname ? strrchr(at.dli_fname, '/') : NULL;
    void *found = NULL;
    for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0] && slash && !found; i++) {
        const int length =
            snprintf(path, PATH_BYTES, "%.*s/%s%s", (int)(slash - at.dli_fname), at.dli_fname, FOLDERS[i], name);
        found = length > 0 && length < PATH_BYTES ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    }
    return found;
}

static void *open_by_name(const char *name, char *path)
{
    static const char *const FOLDERS[] = {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"};
    void *found = NULL;
    for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0] && !found; i++) {
        snprintf(path, PATH_BYTES, "%s%s", FOLDERS[i], name); /* no slash: the loader's search */
        found = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return found ? found : open_beside(name, path);
}

/* RCNN_NVJPEG names one library and no other is tried. Else that of the header's version, then its neighbours: the few
 * functions used are the same in all of them. */
static void *open_library(char *path)
{
    static const int VERSIONS[] = {NVJPEG_VER_MAJOR, 13, 12};
    const char *named = secure_getenv("RCNN_NVJPEG");
    if (named && *named) {
        snprintf(path, PATH_BYTES, "%s", named);
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    void *found = NULL;
    for (size_t i = 0; i < sizeof VERSIONS / sizeof VERSIONS[0] && !found; i++) {
        char name[64];
        snprintf(name, sizeof name, "libnvjpeg.so.%d", VERSIONS[i]);
        found = open_by_name(name, path);
    }
    return found;
}

/* dlsym gives an object pointer, which C does not convert to one of a function. */
static bool find_function(void *opened, const char *name, void *out)
{
    void *symbol = dlsym(opened, name);
    memcpy(out, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* Never unloaded: it holds state of CUDA's. */
static void load_once(void)
{
    char path[PATH_BYTES];
    void *opened = open_library(path);
    if (!opened) {
        const char *text = dlerror();
        snprintf(library.text, sizeof library.text,
                 "nvJPEG was not found (libnvjpeg.so.%d, or the file that RCNN_NVJPEG names): %.300s", NVJPEG_VER_MAJOR,
                 text ? text : path);
        return;
    }
    bool all = true;
#define FIND(name) all = all && find_function(opened, "nvjpeg" #name, &library.name);
    FUNCTIONS(FIND)
#undef FIND
    int major = 0, minor = 0, patch = 0;
    if (!all || library.GetProperty(MAJOR_VERSION, &major) != NVJPEG_STATUS_SUCCESS ||
        library.GetProperty(MINOR_VERSION, &minor) != NVJPEG_STATUS_SUCCESS ||
        library.GetProperty(PATCH_LEVEL, &patch) != NVJPEG_STATUS_SUCCESS) {
        snprintf(library.text, sizeof library.text, "%.400s is no nvJPEG library that can be used", path);
        return;
    }
    snprintf(library.text, sizeof library.text, "nvJPEG %d.%d.%d", major, minor, patch);
    library.there = true;
    rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: %s, %.400s", library.text, path);
}

static bool load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_once);
    return library.there;
}

/* ------------------------------------------------------------- errors */

static rcnn_status status_of(nvjpegStatus_t code)
{
    switch (code) {
    case NVJPEG_STATUS_BAD_JPEG:
    case NVJPEG_STATUS_INCOMPLETE_BITSTREAM:
        return RCNN_ERR_FORMAT;
    case NVJPEG_STATUS_INVALID_PARAMETER: /* all parameters but the file are right */
    case NVJPEG_STATUS_JPEG_NOT_SUPPORTED:
    case NVJPEG_STATUS_IMPLEMENTATION_NOT_SUPPORTED:
        return RCNN_ERR_UNSUPPORTED;
    case NVJPEG_STATUS_ALLOCATOR_FAILURE:
        return RCNN_ERR_MEMORY;
    default:
        return RCNN_ERR_DEVICE;
    }
}

static const char *name_of(nvjpegStatus_t code)
{
    static const char *const NAMES[] = {"success",
                                        "not initialised",
                                        "invalid parameter",
                                        "bad JPEG",
                                        "JPEG of a kind it does not take",
                                        "allocation failed",
                                        "execution failed",
                                        "other architecture",
                                        "internal error",
                                        "not implemented",
                                        "the data end too early"};
    return (size_t)code < sizeof NAMES / sizeof NAMES[0] ? NAMES[code] : "unknown status";
}

static rcnn_status from_nvjpeg(nvjpegStatus_t code, const char *what, rcnn_error *err)
{
    if (RCNN_LIKELY(code == NVJPEG_STATUS_SUCCESS)) {
        return RCNN_OK;
    }
    return rcnn_fail(err, status_of(code), "cuda: %s: nvJPEG: %s (%d)", what, name_of(code), (int)code);
}

#define NVJPEG_TRY(call, what, err)                                                                                    \
    RCNN_TRY(from_nvjpeg(rcnn_cuda_call_fails() ? NVJPEG_STATUS_EXECUTION_FAILED : (call), what, err))

/* ------------------------------------------------------------- life */

typedef struct picture {
    void *pixels; /* device, RGB8, rows one behind the other */
    size_t bytes;
} picture;

struct rcnn_device_decoder {
    rcnn_backend backend; /* device, stream and counters alone: memory.c needs no more */
    nvjpegHandle_t handle;
    nvjpegJpegState_t state;
    int32_t keep, next; /* ring of pictures; `next` is the oldest */
    picture pictures[];
};

rcnn_status rcnn_cuda_decoder_probe(char *text, size_t capacity)
{
    const bool there = load();
    if (capacity > 0) {
        snprintf(text, capacity, "%s", library.text);
    }
    return there ? RCNN_OK : RCNN_ERR_DEVICE;
}

/* Chroma interpolated between its samples, as libjpeg does, where the library can: it came with 12.1. */
static rcnn_status create_handle(rcnn_device_decoder *d, rcnn_error *err)
{
#ifdef NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION
    const unsigned flags = NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION;
    if (!rcnn_cuda_call_fails() &&
        library.CreateEx(NVJPEG_BACKEND_DEFAULT, NULL, NULL, flags, &d->handle) == NVJPEG_STATUS_SUCCESS) {
        return RCNN_OK;
    }
    d->handle = NULL;
    rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: %s does not interpolate chroma", library.text);
#endif
    NVJPEG_TRY(library.CreateEx(NVJPEG_BACKEND_DEFAULT, NULL, NULL, NVJPEG_FLAGS_DEFAULT, &d->handle), "opening nvJPEG",
               err);
    return RCNN_OK;
}

static rcnn_status open_parts(rcnn_device_decoder *d, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(&d->backend, err));
    RCNN_CUDA_TRY(cudaStreamCreateWithFlags(&d->backend.stream, cudaStreamNonBlocking), "making a stream", err);
    RCNN_TRY(create_handle(d, err));
    NVJPEG_TRY(library.JpegStateCreate(d->handle, &d->state), "opening nvJPEG", err);
    return RCNN_OK;
}

rcnn_status rcnn_cuda_decoder_open(int32_t device, int32_t keep, rcnn_device_decoder **out, rcnn_error *err)
{
    *out = NULL;
    if (!load()) {
        return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: %s", library.text);
    }
    rcnn_device_decoder *d = rcnn_calloc(1, sizeof *d + (size_t)keep * sizeof d->pictures[0]);
    if (!d) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    d->backend.options.device = device;
    d->keep = keep;
    rcnn_status status = open_parts(d, err);
    if (status != RCNN_OK) {
        rcnn_cuda_decoder_close(d);
        return status;
    }
    *out = d;
    return RCNN_OK;
}

/* Also of a decoder that was opened in part. */
void rcnn_cuda_decoder_close(rcnn_device_decoder *d)
{
    if (!d) {
        return;
    }
    rcnn_error ignored;
    (void)rcnn_cuda_make_current(&d->backend, &ignored);
    if (d->state) {
        (void)library.JpegStateDestroy(d->state);
    }
    if (d->handle) {
        (void)library.Destroy(d->handle);
    }
    for (int32_t i = 0; i < d->keep; i++) {
        rcnn_cuda_free(&d->backend, d->pictures[i].pixels);
    }
    if (d->backend.stream) {
        (void)cudaStreamDestroy(d->backend.stream);
    }
    rcnn_free(d->backend.blocks);
    rcnn_free(d);
}

/* ------------------------------------------------------------- a picture */

/* nvJPEG reads the size for itself: it must be the one that memory is made for. */
static rcnn_status check_size(const rcnn_device_decoder *d, const rcnn_device_jpeg *jpeg, rcnn_error *err)
{
    int components = 0, widths[NVJPEG_MAX_COMPONENT] = {0}, heights[NVJPEG_MAX_COMPONENT] = {0};
    nvjpegChromaSubsampling_t subsampling = NVJPEG_CSS_UNKNOWN;
    NVJPEG_TRY(library.GetImageInfo(d->handle, jpeg->data, jpeg->size, &components, &subsampling, widths, heights),
               "reading a JPEG's header", err);
    if ((components != 1 && components != 3) || subsampling == NVJPEG_CSS_UNKNOWN || widths[0] != jpeg->width ||
        heights[0] != jpeg->height) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                         "cuda: nvJPEG reads %d components of %dx%d pixels, subsampling %d, want 1 or 3 of %dx%d",
                         components, widths[0], heights[0], (int)subsampling, jpeg->width, jpeg->height);
    }
    return RCNN_OK;
}

/* A quarter more than asked for, so that pictures of rising sizes do not each pay for new memory. */
static rcnn_status make_room(rcnn_device_decoder *d, picture *p, size_t bytes, rcnn_error *err)
{
    if (bytes <= p->bytes) {
        return RCNN_OK;
    }
    const size_t wanted = p->pixels ? bytes + bytes / 4 : bytes;
    rcnn_cuda_free(&d->backend, p->pixels);
    *p = (picture){0};
    RCNN_TRY(rcnn_cuda_alloc(&d->backend, wanted, &p->pixels, err));
    p->bytes = wanted;
    return RCNN_OK;
}

static rcnn_status decode(rcnn_device_decoder *d, const rcnn_device_jpeg *jpeg, const picture *p, rcnn_error *err)
{
    nvjpegImage_t image = {.channel = {p->pixels}, .pitch = {(size_t)jpeg->width * 3}};
    NVJPEG_TRY(
        library.Decode(d->handle, d->state, jpeg->data, jpeg->size, NVJPEG_OUTPUT_RGBI, &image, d->backend.stream),
        "decoding a JPEG", err);
    return RCNN_OK;
}

rcnn_status rcnn_cuda_decoder_run(rcnn_device_decoder *d, const rcnn_device_jpeg *jpeg, rcnn_image_view *out,
                                  rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(&d->backend, err));
    RCNN_TRY(check_size(d, jpeg, err));
    picture *p = &d->pictures[d->next];
    RCNN_TRY(make_room(d, p, (size_t)jpeg->width * (size_t)jpeg->height * 3, err));
    const rcnn_status status = decode(d, jpeg, p, err);
    /* also after a failure: what was enqueued before it may still write, and a fault of the GPU is worse than the file's */
    d->backend.counters.host_syncs++;
    rcnn_error fault = {0};
    const rcnn_status synced =
        rcnn_from_cuda(rcnn_cuda_call_fails() ? cudaErrorUnknown : cudaStreamSynchronize(d->backend.stream),
                       "decoding a JPEG", &fault);
    if (synced != RCNN_OK) {
        return rcnn_fail(err, synced, "%s", fault.message);
    }
    RCNN_TRY(status);
    d->next = (d->next + 1) % d->keep;
    *out = (rcnn_image_view){.data = p->pixels,
                             .width = jpeg->width,
                             .height = jpeg->height,
                             .stride_bytes = (size_t)jpeg->width * 3,
                             .format = RCNN_PIXEL_RGB8};
    return RCNN_OK;
}

#else

#define ABSENT "this build has no JPEG decoder for GPUs (nvjpeg.h was not found)"

rcnn_status rcnn_cuda_decoder_probe(char *text, size_t capacity)
{
    if (capacity > 0) {
        snprintf(text, capacity, "%s", ABSENT);
    }
    return RCNN_ERR_DEVICE;
}

rcnn_status rcnn_cuda_decoder_open(int32_t device, int32_t keep, rcnn_device_decoder **out, rcnn_error *err)
{
    (void)device;
    (void)keep;
    *out = NULL;
    return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: %s", ABSENT);
}

rcnn_status rcnn_cuda_decoder_run(rcnn_device_decoder *d, const rcnn_device_jpeg *jpeg, rcnn_image_view *out,
                                  rcnn_error *err)
{
    (void)d;
    (void)jpeg;
    (void)out;
    return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: %s", ABSENT);
}

void rcnn_cuda_decoder_close(rcnn_device_decoder *d)
{
    (void)d;
}

#endif
