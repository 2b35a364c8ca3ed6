/* Portable grey and pixel maps: P2, P3 (decimal text), P5, P6 (binary), maxval 1..65535. The first picture of a file is
 * read, bytes after it are ignored. Sample values are mapped as OpenCV 4.6 does, which is not what the format's
 * definition asks for but is what networks fed through OpenCV have seen:
 *     binary, maxval <= 255     the byte as it is, unscaled          text, maxval <= 255   sample*255/maxval, rounded down
 *     maxval > 255              the high byte of 16 bits, unscaled   text samples over maxval count as maxval
 * Bitmaps (P1, P4) and PAM (P7) are refused in image.c. */
#include "image/codec.h"

#include <string.h>

#define PNM_MAXVAL_MAX 65535
#define NUMBER_MAX     1000000000u /* larger than any number that can be right here */

typedef struct pnm_job {
    const rcnn_image_source *source;
    size_t position;
    uint32_t maxval;
    bool text, grey;
    rcnn_error *err;
} pnm_job;

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Spaces, and comments from # to the end of the line. */
static void skip_blanks(pnm_job *job)
{
    const uint8_t *data = job->source->data;
    const size_t size = job->source->size;
    while (job->position < size && (is_space(data[job->position]) || data[job->position] == '#')) {
        if (data[job->position] == '#') {
            while (job->position < size && data[job->position] != '\n' && data[job->position] != '\r') {
                job->position++;
            }
        } else {
            job->position++;
        }
    }
}

/* The next decimal number; `what` names it in messages. */
static rcnn_status read_number(pnm_job *job, const char *what, uint32_t *out)
{
    skip_blanks(job);
    const uint8_t *data = job->source->data;
    const size_t size = job->source->size;
    if (job->position == size) {
        return rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: pnm: want %s, got the end of the file", job->source->name,
                         what);
    }
    if (!is_digit(data[job->position])) {
        return rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: pnm: want %s at byte %zu, got 0x%02x", job->source->name, what,
                         job->position, data[job->position]);
    }
    uint32_t value = 0;
    while (job->position < size && is_digit(data[job->position])) {
        value = value * 10 + (uint32_t)(data[job->position] - '0');
        if (value > NUMBER_MAX) {
            return rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: pnm: want %s of at most %u, got more", job->source->name,
                             what, NUMBER_MAX);
        }
        job->position++;
    }
    *out = value;
    return RCNN_OK;
}

/* Everything up to the first sample. */
static rcnn_status read_header(pnm_job *job, uint32_t *width, uint32_t *height)
{
    const uint8_t kind = job->source->data[1];
    job->text = kind == '2' || kind == '3';
    job->grey = kind == '2' || kind == '5';
    job->position = 2;
    if (job->source->size > 2 && !is_space(job->source->data[2])) {
        return rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: pnm: want a space after P%c, got 0x%02x", job->source->name,
                         kind, job->source->data[2]);
    }
    RCNN_TRY(read_number(job, "a width", width));
    RCNN_TRY(read_number(job, "a height", height));
    RCNN_TRY(read_number(job, "a maxval", &job->maxval));
    if (job->maxval < 1 || job->maxval > PNM_MAXVAL_MAX) {
        return rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: pnm: want a maxval of 1..%d, got %u", job->source->name,
                         PNM_MAXVAL_MAX, job->maxval);
    }
    if (job->position == job->source->size || !is_space(job->source->data[job->position])) {
        return rcnn_fail(job->err, RCNN_ERR_FORMAT, "%s: pnm: want a space after the maxval %u", job->source->name,
                         job->maxval);
    }
    job->position++; /* exactly one: the next byte of a binary file is a sample */
    return RCNN_OK;
}

static void put_sample(const pnm_job *job, uint8_t *pixels, size_t index, uint8_t value)
{
    if (job->grey) {
        pixels[3 * index] = pixels[3 * index + 1] = pixels[3 * index + 2] = value;
    } else {
        pixels[index] = value;
    }
}

static rcnn_status read_text_samples(pnm_job *job, uint8_t *pixels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t value;
        RCNN_TRY(read_number(job, "a sample", &value));
        value = value < job->maxval ? value : job->maxval;
        put_sample(job, pixels, i, (uint8_t)(job->maxval > 255 ? value >> 8 : value * 255 / job->maxval));
    }
    return RCNN_OK;
}

static void read_binary_samples(pnm_job *job, uint8_t *pixels, size_t count)
{
    const uint8_t *data = job->source->data + job->position;
    const size_t step = job->maxval > 255 ? 2 : 1; /* 16-bit samples are big-endian: the high byte is the first */
    if (step == 1 && !job->grey) {
        memcpy(pixels, data, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        put_sample(job, pixels, i, data[i * step]);
    }
}

rcnn_status rcnn_image_decode_pnm(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    pnm_job job = {.source = source, .err = err};
    uint32_t width, height;
    RCNN_TRY(read_header(&job, &width, &height));
    RCNN_TRY(rcnn_image_check_size(source, width, height, err));
    /* the smallest file that can hold the samples: digit, space, digit... in text; checked before allocating */
    const size_t samples = (size_t)width * height * (job.grey ? 1 : 3);
    const size_t need = job.text ? 2 * samples - 1 : samples * (job.maxval > 255 ? 2 : 1);
    if (need > source->size - job.position) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: pnm: want at least %zu bytes of samples for %ux%u, got %zu",
                         source->name, need, width, height, source->size - job.position);
    }
    RCNN_TRY(rcnn_image_allocate(source, width, height, image, err));
    if (job.text) {
        return read_text_samples(&job, image->pixels, samples);
    }
    read_binary_samples(&job, image->pixels, samples);
    return RCNN_OK;
}
