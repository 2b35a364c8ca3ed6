/* JPEG through libjpeg(-turbo) with its defaults, which are OpenCV's: accurate integer DCT, fancy upsampling. Grey is
 * replicated and YCbCr converted by libjpeg; CMYK and YCCK come out as CMYK and are converted here. OpenCV fills the
 * missing part of a cut file with grey; here lost picture data is a FORMAT error.
 *
 * libjpeg reports errors by a callback that must not return, so the callback jumps back to run_guarded(). All state
 * lives in the jpeg_job owned by its caller and no local variable is read after the jump, so nothing is clobbered. */
#include "image/codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "base/memory.h"

#define JPEG_SCANS_MAX    500 /* each scan of a progressive file costs a pass over the picture, however few its bytes */
#define JPEG_ROWS_A_CALL  16
#define MARKER_SCAN       0xda
#define EXIF_PREFIX_BYTES 6 /* "Exif\0\0"; OpenCV skips these bytes without looking at them */

typedef struct jpeg_job {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    const rcnn_image_source *source;
    rcnn_image *image;
    uint8_t *cmyk; /* one row, only for four-component files */
    bool warned;
    rcnn_status status;
    rcnn_error *err;
} jpeg_job;

static rcnn_status status_of_error(int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY:
        return RCNN_ERR_MEMORY;
    case JERR_IMAGE_TOO_BIG:
    case JERR_WIDTH_OVERFLOW:
        return RCNN_ERR_LIMIT;
#if JPEG_LIB_VERSION < 70 /* Debian's ABI; Ubuntu's libjpeg-turbo speaks version 8 and has no such code */
    case JERR_ARITH_NOTIMPL:
#endif
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_SOF_UNSUPPORTED:
        return RCNN_ERR_UNSUPPORTED;
    default:
        return RCNN_ERR_FORMAT;
    }
}

/* Warnings that mean that picture data is missing or damaged. */
static bool loses_pixels(int code)
{
    return code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
           code == JWRN_ARITH_BAD_CODE || code == JWRN_MUST_RESYNC;
}

_Noreturn static void give_up(j_common_ptr codec, rcnn_status status)
{
    jpeg_job *job = codec->client_data;
    char text[JMSG_LENGTH_MAX];
    codec->err->format_message(codec, text);
    job->status = rcnn_fail(job->err, status, "%s: jpeg: %s", job->source->name, text);
    longjmp(job->escape, 1);
}

_Noreturn static void on_error(j_common_ptr codec)
{
    give_up(codec, status_of_error(codec->err->msg_code));
}

/* level < 0 is a warning, the rest is tracing. Only the first harmless warning is told: a bad file can hold many. */
static void on_message(j_common_ptr codec, int level)
{
    jpeg_job *job = codec->client_data;
    if (level >= 0) {
        return;
    }
    if (loses_pixels(codec->err->msg_code)) {
        give_up(codec, RCNN_ERR_FORMAT);
    }
    if (!job->warned && rcnn_log_enabled(RCNN_LOG_WARN)) {
        char text[JMSG_LENGTH_MAX];
        codec->err->format_message(codec, text);
        rcnn_log(RCNN_LOG_WARN, "%s: jpeg: %s", job->source->name, text);
    }
    job->warned = true;
}

static void print_nothing(j_common_ptr codec)
{
    (void)codec;
}

static void on_progress(j_common_ptr codec)
{
    jpeg_job *job = codec->client_data;
    if (job->codec.input_scan_number > JPEG_SCANS_MAX) {
        job->status = rcnn_fail(job->err, RCNN_ERR_LIMIT, "%s: jpeg: want at most %d scans, got more",
                                job->source->name, JPEG_SCANS_MAX);
        longjmp(job->escape, 1);
    }
}

/* Our own failure inside decode(): the same way out as libjpeg's. */
static void require(jpeg_job *job, rcnn_status status)
{
    if (status != RCNN_OK) {
        job->status = status;
        longjmp(job->escape, 1);
    }
}

/* The first APP1 segment decides, even if it is not EXIF: OpenCV looks no further. */
static int32_t find_orientation(const struct jpeg_decompress_struct *codec)
{
    const struct jpeg_marker_struct *marker = codec->marker_list;
    if (!marker || marker->data_length <= EXIF_PREFIX_BYTES) {
        return 1;
    }
    return rcnn_exif_orientation(marker->data + EXIF_PREFIX_BYTES, marker->data_length - EXIF_PREFIX_BYTES);
}

/* OpenCV's conversion: inks are taken as stored inverted (Adobe's habit) whether or not the file says so, and
 * channel = k - ((255 - ink) * k >> 8). */
static void rgb_from_cmyk(const uint8_t *src, uint8_t *dst, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        const int k = src[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            dst[3 * i + c] = (uint8_t)(k - ((255 - src[4 * i + c]) * k >> 8));
        }
    }
}

static void read_cmyk_rows(jpeg_job *job)
{
    struct jpeg_decompress_struct *codec = &job->codec;
    job->cmyk = rcnn_malloc((size_t)codec->output_width * 4);
    if (!job->cmyk) {
        require(job, rcnn_fail(job->err, RCNN_ERR_MEMORY, "%s: out of memory for a row", job->source->name));
    }
    while (codec->output_scanline < codec->output_height) {
        uint8_t *row = rcnn_image_row(job->image, codec->output_scanline);
        if (jpeg_read_scanlines(codec, &job->cmyk, 1) == 1) {
            rgb_from_cmyk(job->cmyk, row, codec->output_width);
        }
    }
}

static void read_rgb_rows(jpeg_job *job)
{
    struct jpeg_decompress_struct *codec = &job->codec;
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW rows[JPEG_ROWS_A_CALL];
        JDIMENSION left = codec->output_height - codec->output_scanline;
        JDIMENSION count = left < JPEG_ROWS_A_CALL ? left : JPEG_ROWS_A_CALL;
        for (JDIMENSION i = 0; i < count; i++) {
            rows[i] = rcnn_image_row(job->image, (size_t)codec->output_scanline + i);
        }
        jpeg_read_scanlines(codec, rows, count);
    }
}

/* Everything before the first scan. */
static void read_header(jpeg_job *job)
{
    struct jpeg_decompress_struct *codec = &job->codec;
    jpeg_create_decompress(codec);
    codec->progress = &job->progress;
    /* older libjpegs lack the const; the bytes are only read, and size is below RCNN_IMAGE_FILE_BYTES_MAX */
    jpeg_mem_src(codec, (unsigned char *)(uintptr_t)job->source->data, (unsigned long)job->source->size);
    jpeg_save_markers(codec, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(codec, TRUE);
    if (codec->num_components != 4 && codec->num_components != 3 && codec->num_components != 1) {
        require(job, rcnn_fail(job->err, RCNN_ERR_UNSUPPORTED, "%s: jpeg: want 1, 3 or 4 components, got %d",
                               job->source->name, codec->num_components));
    }
    job->image->orientation = find_orientation(codec);
}

static void decode(jpeg_job *job)
{
    struct jpeg_decompress_struct *codec = &job->codec;
    read_header(job);
    const bool cmyk = codec->num_components == 4;
    require(job, rcnn_image_allocate(job->source, codec->image_width, codec->image_height, job->image, job->err));
    codec->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(codec);
    if (cmyk) {
        read_cmyk_rows(job);
    } else {
        read_rgb_rows(job);
    }
    jpeg_finish_decompress(codec); /* reads on to the end-of-image marker, so that a cut tail is noticed */
}

/* ------------------------------------------------------------- looking only */

static void refuse(jpeg_job *job, const char *what)
{
    require(job, rcnn_fail(job->err, RCNN_ERR_UNSUPPORTED, "%s: jpeg: want one for a plain decoder, got %s",
                           job->source->name, what));
}

/* An end-of-image marker behind the header of the first scan: bytes of 0xff in entropy coded data are followed by 0. */
static bool has_end(const uint8_t *data, size_t size)
{
    while (size >= 2 && (data[size - 2] != 0xff || data[size - 1] != JPEG_EOI)) {
        size--;
    }
    return size >= 2;
}

/* Further scans of a file, counted up to one more than are allowed. */
static int count_scans(const uint8_t *data, size_t size)
{
    int scans = 0;
    const uint8_t *end = data + size, *at = data;
    while (scans <= JPEG_SCANS_MAX && at < end && (at = memchr(at, 0xff, (size_t)(end - at))) != NULL) {
        scans += at + 1 < end && at[1] == MARKER_SCAN;
        at++;
    }
    return scans;
}

static void examine(jpeg_job *job)
{
    struct jpeg_decompress_struct *codec = &job->codec;
    read_header(job);
    job->image->width = (int32_t)codec->image_width;
    job->image->height = (int32_t)codec->image_height;
    require(job, rcnn_image_check_size(job->source, codec->image_width, codec->image_height, job->err));
    if (codec->arith_code || codec->data_precision != 8) {
        refuse(job, codec->arith_code ? "arithmetic coding" : "samples that are not of 8 bits");
    }
    if (codec->jpeg_color_space != JCS_YCbCr && codec->jpeg_color_space != JCS_GRAYSCALE) {
        refuse(job, "colours other than grey and YCbCr");
    }
    if (!has_end(codec->src->next_input_byte, codec->src->bytes_in_buffer)) {
        refuse(job, "no end of the image");
    }
    if (jpeg_has_multiple_scans(codec) &&
        count_scans(codec->src->next_input_byte, codec->src->bytes_in_buffer) >= JPEG_SCANS_MAX) {
        require(job, rcnn_fail(job->err, RCNN_ERR_LIMIT, "%s: jpeg: want at most %d scans, got more", job->source->name,
                               JPEG_SCANS_MAX));
    }
}

/* ------------------------------------------------------------- both */

static rcnn_status run_guarded(jpeg_job *job, void (*work)(jpeg_job *job))
{
    if (setjmp(job->escape) != 0) {
        return job->status;
    }
    work(job);
    return RCNN_OK;
}

static rcnn_status run(const rcnn_image_source *source, void (*work)(jpeg_job *job), rcnn_image *image, rcnn_error *err)
{
    jpeg_job job;
    memset(&job, 0, sizeof job);
    job.source = source;
    job.image = image;
    job.err = err;
    job.codec.err = jpeg_std_error(&job.errors);
    job.codec.client_data = &job;
    job.errors.error_exit = on_error;
    job.errors.emit_message = on_message;
    job.errors.output_message = print_nothing;
    job.progress.progress_monitor = on_progress;
    rcnn_status status = run_guarded(&job, work);
    jpeg_destroy_decompress(&job.codec); /* accepts a codec that was never created */
    rcnn_free(job.cmyk);
    return status;
}

rcnn_status rcnn_image_decode_jpeg(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    return run(source, decode, image, err);
}

rcnn_status rcnn_image_read_jpeg_header(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    return run(source, examine, image, err);
}
