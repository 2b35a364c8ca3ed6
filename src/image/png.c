/* PNG through libpng's row interface, every kind expanded to RGB8 the way OpenCV sets libpng up: 16-bit samples keep
 * their high byte, alpha and transparent colours are dropped without compositing, grey is replicated, gamma and colour
 * profiles are ignored. OpenCV lets damaged ancillary chunks pass; here any wrong checksum is a FORMAT error.
 *
 * As in jpeg.c, libpng's error callback jumps back to decode_guarded() and all state lives in the png_job. */
#include "image/codec.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "base/memory.h"

#define PNG_SIDE_ANY 0x7fffffffu /* the format's own limit: rcnn_image_check_size applies ours, with its status */
/* Memory libpng may take at once. Its needs are a row (at most RCNN_IMAGE_SIDE_MAX * 8 bytes) and ancillary chunks; its
 * own limit does not hold for eXIf, whose length field is believed before the bytes are there (seen with 1.6.39). */
#define PNG_BLOCK_BYTES_MAX 8000000

typedef struct png_job {
    png_structp png;
    png_infop info, end_info; /* chunks before and after the pixels */
    jmp_buf escape;
    const rcnn_image_source *source;
    size_t position;
    rcnn_image *image;
    bool warned, out_of_memory;
    rcnn_status status;
    rcnn_error *err;
} png_job;

/* Chunks that do not change what OpenCV shows; skipping them unread keeps their bombs and quirks out. */
static const png_byte skipped_chunks[] = "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0"
                                         "sRGB\0tEXt\0tIME\0zTXt";

_Noreturn static void on_error(png_structp png, png_const_charp text)
{
    png_job *job = png_get_error_ptr(png);
    job->status = job->out_of_memory ? rcnn_fail(job->err, RCNN_ERR_MEMORY, "%s: png: out of memory", job->source->name)
                                     : rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: png: %s", job->source->name, text);
    longjmp(job->escape, 1);
}

/* Only the first warning is told: a bad file can hold many. */
static void on_warning(png_structp png, png_const_charp text)
{
    png_job *job = png_get_error_ptr(png);
    if (!job->warned) {
        rcnn_log(RCNN_LOG_WARN, "%s: png: %s", job->source->name, text);
    }
    job->warned = true;
}

/* libpng shrugs off a failed allocation of an optional chunk, so the failure is kept here too. */
static png_voidp allocate(png_structp png, png_alloc_size_t bytes)
{
    if (bytes > PNG_BLOCK_BYTES_MAX) {
        return NULL; /* libpng reports it or drops the chunk */
    }
    void *memory = rcnn_malloc(bytes);
    if (!memory) {
        png_job *job = png_get_mem_ptr(png);
        job->out_of_memory = true;
    }
    return memory;
}

static void release(png_structp png, png_voidp memory)
{
    (void)png;
    rcnn_free(memory);
}

static void read_bytes(png_structp png, png_bytep to, size_t count)
{
    png_job *job = png_get_io_ptr(png);
    if (count > job->source->size - job->position) {
        png_error(png, "the file ends too early");
    }
    memcpy(to, job->source->data + job->position, count);
    job->position += count;
}

/* Our own failure inside decode(): the same way out as libpng's. */
static void require(png_job *job, rcnn_status status)
{
    if (status != RCNN_OK) {
        job->status = status;
        longjmp(job->escape, 1);
    }
}

static void create(png_job *job)
{
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, job, allocate, release);
    if (job->png) {
        job->info = png_create_info_struct(job->png);
        job->end_info = png_create_info_struct(job->png);
    }
    if (!job->info || !job->end_info) {
        require(job, rcnn_fail(job->err, RCNN_ERR_MEMORY, "%s: png: out of memory", job->source->name));
    }
    png_set_read_fn(job->png, job, read_bytes);
    png_set_user_limits(job->png, PNG_SIDE_ANY, PNG_SIDE_ANY);
    png_set_chunk_malloc_max(job->png, PNG_BLOCK_BYTES_MAX);
    png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, skipped_chunks, (int)(sizeof skipped_chunks / 5));
}

/* Rows of exactly three bytes a pixel, as OpenCV has them. Returns the number of interlace passes. */
static int set_transforms(png_job *job)
{
    const int colour = png_get_color_type(job->png, job->info);
    png_set_strip_16(job->png);
    png_set_strip_alpha(job->png);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(job->png);
    } else if ((colour & PNG_COLOR_MASK_COLOR) == 0) {
        png_set_expand_gray_1_2_4_to_8(job->png);
        png_set_gray_to_rgb(job->png);
    }
    const int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    if (png_get_rowbytes(job->png, job->info) != (size_t)job->image->width * 3) {
        require(job, rcnn_fail(job->err, RCNN_ERR_INTERNAL, "%s: png: rows of %zu bytes for %d pixels",
                               job->source->name, png_get_rowbytes(job->png, job->info), job->image->width));
    }
    return passes;
}

/* The eXIf chunk may stand before or after the pixels; the one before wins. */
static int32_t find_orientation(const png_job *job)
{
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 size = 0;
    png_bytep data = NULL;
    if (png_get_eXIf_1(job->png, job->info, &size, &data) != 0 ||
        png_get_eXIf_1(job->png, job->end_info, &size, &data) != 0) {
        return rcnn_exif_orientation(data, size);
    }
#else
    (void)job;
#endif
    return 1;
}

static void decode(png_job *job)
{
    create(job);
    png_read_info(job->png, job->info);
    require(job, rcnn_image_allocate(job->source, png_get_image_width(job->png, job->info),
                                     png_get_image_height(job->png, job->info), job->image, job->err));
    const int passes = set_transforms(job);
    for (int pass = 0; pass < passes; pass++) {
        for (int32_t y = 0; y < job->image->height; y++) {
            png_read_row(job->png, rcnn_image_row(job->image, (size_t)y), NULL);
        }
    }
    png_read_end(job->png, job->end_info);
    job->image->orientation = find_orientation(job);
    if (job->out_of_memory) {
        require(job, rcnn_fail(job->err, RCNN_ERR_MEMORY, "%s: png: out of memory", job->source->name));
    }
}

static rcnn_status decode_guarded(png_job *job)
{
    if (setjmp(job->escape) != 0) {
        return job->status;
    }
    decode(job);
    return RCNN_OK;
}

rcnn_status rcnn_image_decode_png(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    png_job job;
    memset(&job, 0, sizeof job);
    job.source = source;
    job.image = image;
    job.err = err;
    rcnn_status status = decode_guarded(&job);
    png_destroy_read_struct(&job.png, &job.info, &job.end_info);
    return status;
}
