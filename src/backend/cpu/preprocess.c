/* u8 images to the network's input: resize, channel order, normalise, round to BF16 where wanted, pad with zeros (spec
 * 2.2-2.6, 13.1-13.4, 14.1-14.3). The network rows of an image are cut into one part per thread; each part has a row cache
 * of its own. */
#include "backend/cpu/elements.h"
#include "backend/cpu/op.h"
#include "backend/cpu/resize.h"

#include <string.h>

#include "base/memory.h"

static const rcnn_cpu_resizer *const RESIZERS[] = {[RCNN_RESIZE_OPENCV] = &rcnn_cpu_resize_opencv,
                                                   [RCNN_RESIZE_PILLOW] = &rcnn_cpu_resize_pillow,
                                                   [RCNN_RESIZE_FLOAT] = &rcnn_cpu_resize_float};

const void *rcnn_cpu_cached_row(const rcnn_cpu_resizer *resizer, const rcnn_cpu_resize_job *job,
                                rcnn_cpu_row_cache *cache, int32_t y)
{
    const int32_t slot = y % RCNN_CPU_CACHED_ROWS;
    unsigned char *row = cache->rows + (size_t)slot * cache->row_bytes;
    if (cache->source[slot] != y) {
        resizer->horizontal(job, job->view->data + (size_t)y * job->view->stride_bytes, row);
        cache->source[slot] = y;
    }
    return row;
}

static const rcnn_cpu_resizer *resizer_of(const rcnn_cpu_kernel *k)
{
    return RESIZERS[k->op.u.preprocess.resize];
}

/* Tap and look-up tables, shared by the parts. Source sides are not known at prepare: their limit is assumed. */
static void take_tables(const rcnn_cpu_kernel *k, rcnn_cpu_scratch *scratch, rcnn_cpu_resize_job *job)
{
    const rcnn_cpu_resizer *resizer = resizer_of(k);
    const int32_t height = k->dst[0].dim[1], width = k->dst[0].dim[2];
    job->bf16_lut = rcnn_cpu_take(scratch, 3, sizeof *job->bf16_lut);
    job->columns = rcnn_cpu_take(scratch, (size_t)width, resizer->tap_bytes);
    job->rows = rcnn_cpu_take(scratch, (size_t)height, resizer->tap_bytes);
    if (resizer->has_weights) {
        size_t weights = rcnn_cpu_pillow_weights_max(RCNN_IMAGE_SIDE_MAX, width) +
                         rcnn_cpu_pillow_weights_max(RCNN_IMAGE_SIDE_MAX, height);
        job->weights = rcnn_cpu_take(scratch, weights, sizeof *job->weights);
    }
}

static rcnn_cpu_row_cache take_cache(const rcnn_cpu_kernel *k, rcnn_cpu_scratch *scratch)
{
    const size_t samples = (size_t)k->dst[0].dim[2] * 3;
    rcnn_cpu_row_cache cache = {.row_bytes = samples * resizer_of(k)->sample_bytes};
    cache.row_bytes = (cache.row_bytes + 63) / 64 * 64;
    cache.rows = rcnn_cpu_take(scratch, RCNN_CPU_CACHED_ROWS, cache.row_bytes);
    cache.sums = rcnn_cpu_take(scratch, samples, sizeof *cache.sums);
    cache.line = rcnn_cpu_take(scratch, samples, sizeof(float));
    memset(cache.source, 0xff, sizeof cache.source);
    return cache;
}

static void describe_source(const rcnn_cpu_kernel *k, const rcnn_frame_image *image, rcnn_cpu_resize_job *job)
{
    static const uint8_t pixel_bytes[] = {[RCNN_PIXEL_RGB8] = 3,
                                          [RCNN_PIXEL_BGR8] = 3,
                                          [RCNN_PIXEL_GRAY8] = 1,
                                          [RCNN_PIXEL_RGBA8] = 4,
                                          [RCNN_PIXEL_BGRA8] = 4};
    const rcnn_op *op = &k->op;
    const rcnn_pixel_format format = image->view.format;
    const int is_bgr = format == RCNN_PIXEL_BGR8 || format == RCNN_PIXEL_BGRA8;
    const int swap = is_bgr != (op->u.preprocess.order == RCNN_CHANNELS_BGR);
    *job = (rcnn_cpu_resize_job){.body = k->body,
                                 .view = &image->view,
                                 .pixel_bytes = pixel_bytes[format],
                                 .channel = {swap ? 2 : 0, 1, swap ? 0 : 2},
                                 .lut = op->u.preprocess.lut,
                                 .type = k->dst[0].dtype,
                                 .channels = (size_t)k->dst[0].dim[3],
                                 .net_width = image->net_width,
                                 .net_height = image->net_height};
    if (format == RCNN_PIXEL_GRAY8) {
        memset(job->channel, 0, sizeof job->channel);
    }
}

static void fill_bf16_lut(rcnn_cpu_resize_job *job)
{
    for (int32_t c = 0; c < 3; c++) {
        for (int32_t v = 0; v < 256; v++) {
            job->bf16_lut[c][v] = rcnn_cpu_to_bf16(job->lut[c][v]);
        }
    }
}

static void fill_row(const rcnn_cpu_kernel *k, const rcnn_cpu_resize_job *job, rcnn_cpu_row_cache *cache, int32_t y,
                     void *row)
{
    const rcnn_cpu_resizer *resizer = resizer_of(k);
    const rcnn_image_view *view = job->view;
    const bool same_size = view->width == job->net_width && view->height == job->net_height;
    if (same_size) { /* every resizer gives the pixels themselves */
        rcnn_cpu_store_pixels(job, view->data + (size_t)y * view->stride_bytes, row);
        return;
    }
    if (resizer->gives_floats && job->type == RCNN_F32 && job->channels == 3) {
        resizer->vertical(job, y, cache, row); /* a line is what is to be stored */
        return;
    }
    resizer->vertical(job, y, cache, cache->line);
    if (resizer->gives_floats) {
        rcnn_cpu_store_floats(job, cache->line, row);
    } else {
        rcnn_cpu_store_bytes(job, cache->line, row);
    }
}

/* Padded rows from .. to-1 of one image. */
static void fill_rows(const rcnn_cpu_kernel *k, const rcnn_cpu_resize_job *job, rcnn_cpu_row_cache *cache, int32_t from,
                      int32_t to, void *dst)
{
    const size_t pixel_bytes = job->channels * rcnn_cpu_element_bytes(job->type);
    const size_t row_bytes = (size_t)k->dst[0].dim[2] * pixel_bytes;
    for (int32_t y = from; y < to; y++) {
        unsigned char *row = (unsigned char *)dst + (size_t)y * row_bytes;
        const size_t live_bytes = y < job->net_height ? (size_t)job->net_width * pixel_bytes : 0;
        if (live_bytes > 0) {
            fill_row(k, job, cache, y, row);
        }
        memset(row + live_bytes, 0, row_bytes - live_bytes);
    }
}

static void fill_image(const rcnn_cpu_kernel *k, const rcnn_frame_image *image, void *scratch_base, void *dst)
{
    rcnn_cpu_scratch scratch = {.base = scratch_base};
    rcnn_cpu_resize_job job;
    describe_source(k, image, &job);
    take_tables(k, &scratch, &job);
    resizer_of(k)->plan(&job);
    if (job.type == RCNN_BF16) {
        fill_bf16_lut(&job);
    }
    const int32_t height = k->dst[0].dim[1];
    const int32_t parts = k->threads;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int32_t part = 0; part < parts; part++) {
        rcnn_cpu_scratch own = {.base = scratch.base + scratch.used + (size_t)part * k->thread_bytes};
        rcnn_cpu_row_cache cache = take_cache(k, &own);
        const int32_t from = (int32_t)((int64_t)height * part / parts);
        const int32_t to = (int32_t)((int64_t)height * (part + 1) / parts);
        fill_rows(k, &job, &cache, from, to, dst);
    }
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const rcnn_tensor_desc *desc = &k->dst[0];
    const size_t image_bytes = rcnn_cpu_row_elements(desc) * rcnn_cpu_element_bytes(desc->dtype);
    unsigned char *dst = rcnn_cpu_output(k, args, 0);
    for (int32_t n = 0; n < args->frame->count; n++) {
        const rcnn_frame_image *image = &args->frame->image[n];
        if (n >= desc->dim[0] || image->net_width > desc->dim[2] || image->net_height > desc->dim[1]) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': want at most %d images of %dx%d, got image %d of %dx%d",
                             k->op.name, desc->dim[0], desc->dim[2], desc->dim[1], n, image->net_width,
                             image->net_height);
        }
        fill_image(k, image, args->scratch, dst + (size_t)n * image_bytes);
    }
    for (int32_t n = args->frame->count; n < desc->dim[0]; n++) {
        memset(dst + (size_t)n * image_bytes, 0, image_bytes);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_preprocess(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    if (k->dst[0].dim[3] != 3 && k->dst[0].dim[3] != 4) {
        rcnn_free(k);
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cpu: op '%s': want an image of 3 or 4 channels, got %d", op->name,
                         graph->values[op->output[0]].desc.dim[3]);
    }
    rcnn_cpu_scratch own = {0};
    take_cache(k, &own);
    k->thread_bytes = own.used;
    rcnn_cpu_scratch all = {0};
    rcnn_cpu_resize_job job = {0};
    take_tables(k, &all, &job);
    rcnn_cpu_take(&all, (size_t)k->threads, k->thread_bytes);
    *scratch_bytes = all.used;
    *out = &k->head;
    return RCNN_OK;
}
