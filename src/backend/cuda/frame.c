/* Runs on their way to the device and back: slots with staging for pixels, room for results, and events.
 *
 * Pixels take the shortest way. Device and managed memory of this GPU is read where it is. Page-locked memory is copied
 * from where it is, in one asynchronous transfer. Ordinary memory is copied to page-locked staging first, in pieces that
 * are sent off as soon as they are ready. All transfers run on copy_stream into a buffer of the slot, beside the work of
 * earlier runs; the compute stream waits for them.
 *
 * A slot is open from stage() until wait() has seen its run done. A run that failed half-way, or was abandoned, leaves the
 * slot open; the next stage() then waits for whatever is still under way before it touches the slot's memory. */
#include "backend/cuda/cuda.h"

#include <string.h>

#include "base/memory.h"

#define ALIGNMENT      256
#define GROW_BYTES     1048576 /* buffers are multiples of this */
#define PIECE_BYTES    1048576 /* one staged copy and its transfer: long against the cost of starting them */
#define PARALLEL_BYTES 262144  /* less is copied by one thread */
#define COPY_THREADS   4       /* as many as it takes to copy faster than the bus transfers */

typedef struct slot {
    unsigned char *staging; /* page-locked */
    unsigned char *pixels;  /* device */
    size_t staging_bytes, pixel_bytes;
    unsigned char *block; /* results, page-locked */
    void *block_device;   /* the same as the device sees it */
    size_t block_bytes;
    cudaEvent_t uploaded, done;
    bool open, finished; /* done stands for the run */
    rcnn_cuda_frame frame;
} slot;

struct rcnn_cuda_frames {
    slot slots[RCNN_BACKEND_SLOTS];
    size_t reserved; /* bytes of results that blocks must hold */
};

/* ------------------------------------------------------------- life */

static rcnn_status open_events(rcnn_cuda_frames *frames, rcnn_error *err)
{
    for (int32_t i = 0; i < RCNN_BACKEND_SLOTS; i++) {
        slot *s = &frames->slots[i];
        RCNN_CUDA_TRY(cudaEventCreateWithFlags(&s->uploaded, cudaEventDisableTiming), "making an event", err);
        RCNN_CUDA_TRY(cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming), "making an event", err);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cuda_frames_open(rcnn_backend *backend, rcnn_error *err)
{
    backend->frames = rcnn_calloc(1, sizeof *backend->frames);
    if (!backend->frames) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    return open_events(backend->frames, err);
}

static void close_event(cudaEvent_t event)
{
    if (event) {
        (void)cudaEventDestroy(event);
    }
}

/* The compute stream is idle already. */
void rcnn_cuda_frames_close(rcnn_backend *backend)
{
    if (!backend->frames) {
        return;
    }
    (void)cudaStreamSynchronize(backend->copy_stream);
    for (int32_t i = 0; i < RCNN_BACKEND_SLOTS; i++) {
        slot *s = &backend->frames->slots[i];
        rcnn_cuda_free_host(backend, s->staging);
        rcnn_cuda_free_host(backend, s->block);
        rcnn_cuda_free(backend, s->pixels);
        close_event(s->uploaded);
        close_event(s->done);
    }
    rcnn_free(backend->frames);
    backend->frames = NULL;
}

/* ------------------------------------------------------------- memory of a slot */

/* A quarter more than asked for, so that images of rising sizes do not each pay for a new buffer. */
static size_t grown_bytes(size_t bytes)
{
    return (bytes + bytes / 4 + GROW_BYTES - 1) / GROW_BYTES * GROW_BYTES;
}

static rcnn_status grow_staging(rcnn_backend *backend, slot *s, size_t bytes, rcnn_error *err)
{
    if (bytes <= s->staging_bytes) {
        return RCNN_OK;
    }
    rcnn_cuda_free_host(backend, s->staging);
    s->staging = NULL;
    s->staging_bytes = 0;
    void *memory;
    RCNN_TRY(rcnn_cuda_alloc_host(backend, grown_bytes(bytes), &memory, err));
    s->staging = memory;
    s->staging_bytes = grown_bytes(bytes);
    return RCNN_OK;
}

static rcnn_status grow_pixels(rcnn_backend *backend, slot *s, size_t bytes, rcnn_error *err)
{
    if (bytes <= s->pixel_bytes) {
        return RCNN_OK;
    }
    rcnn_cuda_free(backend, s->pixels);
    s->pixels = NULL;
    s->pixel_bytes = 0;
    void *memory;
    RCNN_TRY(rcnn_cuda_alloc(backend, grown_bytes(bytes), &memory, err));
    s->pixels = memory;
    s->pixel_bytes = grown_bytes(bytes);
    return RCNN_OK;
}

static rcnn_status grow_block(rcnn_backend *backend, slot *s, rcnn_error *err)
{
    const size_t bytes = backend->frames->reserved;
    if (bytes > s->block_bytes) {
        rcnn_cuda_free_host(backend, s->block);
        s->block = NULL;
        s->block_bytes = 0;
        void *memory;
        RCNN_TRY(rcnn_cuda_alloc_host(backend, bytes, &memory, err));
        s->block = memory;
        s->block_bytes = bytes;
        s->block_device = NULL;
    }
    if (s->block && !s->block_device) {
        RCNN_CUDA_TRY(cudaHostGetDevicePointer(&s->block_device, s->block, 0), "mapping page-locked memory", err);
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- pixels */

/* Rows of bytes on their way to the device. */
typedef struct cargo {
    const unsigned char *data;
    size_t row_bytes, stride, rows;
    size_t offset;      /* in the slot's buffers                       */
    const void *device; /* where kernels read it; NULL: it is copied   */
    size_t pitch;       /* there                                       */
    bool pageable;
} cargo;

typedef struct cargo_list {
    cargo items[RCNN_BATCH_MAX];
    int32_t count;
    size_t bytes;        /* of those that are copied */
    size_t staged_bytes; /* up to the end of the last that needs staging */
} cargo_list;

static rcnn_status add_cargo(const rcnn_backend *backend, cargo_list *list, cargo item, rcnn_error *err)
{
    struct cudaPointerAttributes at;
    RCNN_CUDA_TRY(cudaPointerGetAttributes(&at, item.data), "asking where pixels are", err);
    const bool here =
        at.type == cudaMemoryTypeManaged || (at.type == cudaMemoryTypeDevice && at.device == backend->options.device);
    if (here) {
        item.device = item.data;
        item.pitch = item.stride;
    } else {
        item.pitch = item.row_bytes;
        item.pageable = at.type == cudaMemoryTypeUnregistered;
        item.offset = (list->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        list->bytes = item.offset + item.row_bytes * item.rows;
        list->staged_bytes = item.pageable ? list->bytes : list->staged_bytes;
    }
    list->items[list->count++] = item;
    return RCNN_OK;
}

static rcnn_status list_pixels(const rcnn_backend *backend, const rcnn_frame *frame, cargo_list *list, rcnn_error *err)
{
    static const size_t PIXEL_BYTES[] = {3, 3, 1, 4, 4}; /* order of rcnn_pixel_format */
    for (int32_t i = 0; i < frame->count; i++) {
        const rcnn_image_view *view = &frame->image[i].view;
        const cargo item = {.data = view->data,
                            .row_bytes = (size_t)view->width * PIXEL_BYTES[view->format],
                            .stride = view->stride_bytes,
                            .rows = (size_t)view->height};
        RCNN_TRY(add_cargo(backend, list, item, err));
    }
    return RCNN_OK;
}

static rcnn_status list_ready(const rcnn_backend *backend, const rcnn_frame *frame, cargo_list *list, rcnn_error *err)
{
    if (frame->ready_width < 1 || frame->ready_height < 1) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: want the size of preprocessed images, got %dx%d",
                         frame->ready_width, frame->ready_height);
    }
    const size_t row_bytes = (size_t)frame->ready_width * 3 * sizeof(float);
    const cargo item = {.data = (const unsigned char *)frame->ready,
                        .row_bytes = row_bytes,
                        .stride = row_bytes,
                        .rows = (size_t)frame->count * (size_t)frame->ready_height};
    return add_cargo(backend, list, item, err);
}

/* Rows from .. to-1, tightly packed at dst. */
static void copy_rows(unsigned char *dst, const cargo *item, size_t from, size_t to)
{
    if (item->stride == item->row_bytes) {
        memcpy(dst + from * item->row_bytes, item->data + from * item->stride, (to - from) * item->row_bytes);
        return;
    }
    for (size_t y = from; y < to; y++) {
        memcpy(dst + y * item->row_bytes, item->data + y * item->stride, item->row_bytes);
    }
}

static void copy_rows_by_threads(unsigned char *dst, const cargo *item, size_t from, size_t to, int32_t threads)
{
    const size_t rows = to - from, parts = (size_t)threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int32_t i = 0; i < threads; i++) {
        const size_t part = (size_t)i;
        copy_rows(dst, item, from + rows * part / parts, from + rows * (part + 1) / parts);
    }
}

/* Piece by piece, so that the transfer of one runs beside the copying of the next. */
static rcnn_status send_staged(rcnn_backend *backend, slot *s, const cargo *item, rcnn_error *err)
{
    const int32_t most = backend->options.num_threads < COPY_THREADS ? backend->options.num_threads : COPY_THREADS;
    const int32_t threads = item->row_bytes * item->rows > PARALLEL_BYTES ? most : 1;
    const size_t piece = item->row_bytes < PIECE_BYTES ? PIECE_BYTES / item->row_bytes : 1;
    unsigned char *staging = s->staging + item->offset, *pixels = s->pixels + item->offset;
    for (size_t from = 0; from < item->rows; from += piece) {
        const size_t to = item->rows - from < piece ? item->rows : from + piece;
        copy_rows_by_threads(staging, item, from, to, threads);
        const size_t at = from * item->row_bytes;
        RCNN_CUDA_TRY(cudaMemcpyAsync(pixels + at, staging + at, (to - from) * item->row_bytes, cudaMemcpyHostToDevice,
                                      backend->copy_stream),
                      "sending pixels", err);
    }
    return RCNN_OK;
}

/* Page-locked memory, or that of another GPU. */
static rcnn_status send_directly(rcnn_backend *backend, slot *s, const cargo *item, rcnn_error *err)
{
    unsigned char *pixels = s->pixels + item->offset;
    if (item->stride == item->row_bytes) {
        RCNN_CUDA_TRY(
            cudaMemcpyAsync(pixels, item->data, item->row_bytes * item->rows, cudaMemcpyDefault, backend->copy_stream),
            "sending pixels", err);
        return RCNN_OK;
    }
    RCNN_CUDA_TRY(cudaMemcpy2DAsync(pixels, item->row_bytes, item->data, item->stride, item->row_bytes, item->rows,
                                    cudaMemcpyDefault, backend->copy_stream),
                  "sending pixels", err);
    return RCNN_OK;
}

/* Starts all transfers and marks their end. */
static rcnn_status send(rcnn_backend *backend, slot *s, cargo_list *list, rcnn_error *err)
{
    RCNN_TRY(grow_staging(backend, s, list->staged_bytes, err));
    RCNN_TRY(grow_pixels(backend, s, list->bytes, err));
    for (int32_t i = 0; i < list->count; i++) {
        cargo *item = &list->items[i];
        if (item->device) {
            continue;
        }
        item->device = s->pixels + item->offset;
        RCNN_TRY(item->pageable ? send_staged(backend, s, item, err) : send_directly(backend, s, item, err));
    }
    if (list->bytes > 0) {
        RCNN_CUDA_TRY(cudaEventRecord(s->uploaded, backend->copy_stream), "marking the end of a transfer", err);
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- a run */

static void fill_frame(rcnn_cuda_frame *to, const rcnn_frame *frame, const cargo_list *list)
{
    to->count = frame->count;
    to->ready = frame->ready ? (const float *)list->items[0].device : NULL;
    for (int32_t i = 0; i < frame->count; i++) {
        const rcnn_frame_image *from = &frame->image[i];
        to->image[i] = (rcnn_cuda_frame_image){.data = frame->ready ? NULL : list->items[i].device,
                                               .stride = frame->ready ? 0 : (int64_t)list->items[i].pitch,
                                               .width = from->view.width,
                                               .height = from->view.height,
                                               .format = (int32_t)from->view.format,
                                               .net_width = from->net_width,
                                               .net_height = from->net_height,
                                               .scale_x = from->scale_x,
                                               .scale_y = from->scale_y,
                                               .ratio_x = from->ratio_x,
                                               .ratio_y = from->ratio_y};
    }
}

/* Waits for whatever still uses an open slot. */
static rcnn_status reclaim(rcnn_backend *backend, slot *s, rcnn_error *err)
{
    if (!s->open) {
        return RCNN_OK;
    }
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->copy_stream), "waiting for an earlier run's pixels", err);
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->stream), "waiting for an earlier run", err);
    s->open = false;
    s->finished = false;
    return RCNN_OK;
}

static rcnn_status stage(rcnn_backend *backend, slot *s, const rcnn_frame *frame, rcnn_error *err)
{
    cargo_list list = {0};
    RCNN_TRY(grow_block(backend, s, err));
    RCNN_TRY(frame->ready ? list_ready(backend, frame, &list, err) : list_pixels(backend, frame, &list, err));
    RCNN_TRY(send(backend, s, &list, err));
    fill_frame(&s->frame, frame, &list);
    s->frame.delivery = s->block_device;
    if (s->block) {
        memset(s->block, 0, RCNN_CUDA_DELIVERY_HEADER); /* no fault, also when nothing will be delivered */
    }
    /* the sizes go while the last pixels are under way; all that follows waits for those */
    RCNN_CUDA_TRY(rcnn_cuda_frame_launch(&s->frame, backend->frame, backend->fault, backend->stream),
                  "sending a run's sizes", err);
    if (list.bytes > 0) {
        RCNN_CUDA_TRY(cudaStreamWaitEvent(backend->stream, s->uploaded, 0), "waiting for a transfer", err);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cuda_stage(rcnn_backend *backend, int32_t slot_index, const rcnn_frame *frame, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    slot *s = &backend->frames->slots[slot_index];
    RCNN_TRY(reclaim(backend, s, err));
    s->open = true;
    backend->warming = frame->count == 0;
    const rcnn_status status = stage(backend, s, frame, err);
    if (status != RCNN_OK) { /* the caller's pixels are no longer read after the return */
        backend->counters.host_syncs++;
        (void)cudaStreamSynchronize(backend->copy_stream);
        (void)cudaGetLastError();
    }
    return status;
}

rcnn_status rcnn_cuda_finish(rcnn_backend *backend, int32_t slot_index, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    slot *s = &backend->frames->slots[slot_index];
    RCNN_CUDA_TRY(cudaEventRecord(s->done, backend->stream), "marking the end of a run", err);
    s->finished = true;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_wait(rcnn_backend *backend, int32_t slot_index, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    slot *s = &backend->frames->slots[slot_index];
    if (!s->finished) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: slot %d has no run to wait for", slot_index);
    }
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaEventSynchronize(s->done), "running on the GPU", err);
    s->open = false;
    s->finished = false;
    rcnn_cuda_fault fault = {0};
    if (s->block) {
        memcpy(&fault, s->block, sizeof fault);
    }
    return rcnn_cuda_fault_status(backend, &fault, err);
}

/* ------------------------------------------------------------- room for results */

/* Made when a slot is staged next: results of its last run stay where they are until then. */
void rcnn_cuda_frames_reserve(rcnn_backend *backend, size_t delivery_bytes)
{
    if (delivery_bytes > backend->frames->reserved) {
        backend->frames->reserved = delivery_bytes;
    }
}

size_t rcnn_cuda_frames_reserved(const rcnn_backend *backend)
{
    return backend->frames->reserved;
}

const unsigned char *rcnn_cuda_frames_block(const rcnn_backend *backend, int32_t slot_index)
{
    return backend->frames->slots[slot_index].block;
}
