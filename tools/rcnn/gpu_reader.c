#include "gpu_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "message.h"

bool gpu_reader_open(gpu_reader *r, int32_t device, int32_t keep, rcnn_error *err)
{
    rcnn_decoder_options how;
    rcnn_decoder_options_init(&how);
    how.backend = "cuda";
    how.device = device;
    how.keep = keep;
    *r = (gpu_reader){0};
    return rcnn_decoder_create(&how, &r->decoder, err) == RCNN_OK;
}

void gpu_reader_close(gpu_reader *r)
{
    rcnn_decoder_destroy(r->decoder);
    free(r->bytes);
    *r = (gpu_reader){0};
}

/* Size of an ordinary file that begins as a JPEG does; false for others, and left to the library where it is too large. */
static bool is_jpeg(FILE *file, size_t *size, rcnn_error *err)
{
    unsigned char head[3];
    struct stat about;
    if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode) || about.st_size > RCNN_IMAGE_FILE_BYTES_MAX ||
        fread(head, 1, sizeof head, file) != sizeof head || memcmp(head, "\xff\xd8\xff", sizeof head) != 0) {
        tool_fail(err, "no JPEG file");
        err->status = RCNN_ERR_UNSUPPORTED;
        return false;
    }
    *size = (size_t)about.st_size;
    rewind(file);
    return true;
}

static bool read_bytes(gpu_reader *r, FILE *file, size_t size, rcnn_error *err)
{
    if (size > r->capacity) {
        free(r->bytes);
        r->capacity = 0;
        r->bytes = malloc(size);
        if (!r->bytes) {
            return tool_fail(err, "out of memory for %zu bytes", size);
        }
        r->capacity = size;
    }
    return fread(r->bytes, 1, size, file) == size || tool_fail(err, "it cannot be read, or became shorter");
}

static bool decode(gpu_reader *r, FILE *file, int32_t ignore_exif, rcnn_image_view *out, rcnn_error *err)
{
    size_t size;
    rcnn_image_options how;
    rcnn_image_options_init(&how);
    how.ignore_exif = ignore_exif;
    return is_jpeg(file, &size, err) && read_bytes(r, file, size, err) &&
           rcnn_decoder_run(r->decoder, r->bytes, size, &how, out, err) == RCNN_OK;
}

bool gpu_reader_read(gpu_reader *r, const char *path, int32_t ignore_exif, rcnn_image_view *out)
{
    rcnn_error err = {0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        return false; /* reading it again says why */
    }
    const bool done = decode(r, file, ignore_exif, out, &err);
    fclose(file);
    if (!done) {
        const bool gpu_fails = err.status == RCNN_ERR_DEVICE || err.status == RCNN_ERR_MEMORY;
        log_line(gpu_fails ? RCNN_LOG_WARN : RCNN_LOG_DEBUG, "%s: read by the CPU: %s", path, err.message);
    }
    return done;
}
