/* The public image calls: options, format by first bytes, limits, the decoder, orientation. Decoding itself is in the
 * file of each format; drawing and writing images is not the library's business. */
#include "image/codec.h"
#include "image/examine.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"

typedef struct image_kind {
    const char *name;  /* public name, or how a refused kind is called */
    const char *magic; /* '?' matches any byte                         */
    size_t magic_bytes;
    rcnn_image_decoder decode; /* NULL: known, and not read by this library    */
} image_kind;

#define MAGIC(text) (text), sizeof(text) - 1

static const image_kind kinds[] = {
    {"jpeg", MAGIC("\xff\xd8\xff"), rcnn_image_decode_jpeg},
    {"png", MAGIC("\x89PNG\r\n\x1a\n"), rcnn_image_decode_png},
    {"webp", MAGIC("RIFF????WEBP"), rcnn_image_decode_webp},
    {"pnm", MAGIC("P2"), rcnn_image_decode_pnm},
    {"pnm", MAGIC("P3"), rcnn_image_decode_pnm},
    {"pnm", MAGIC("P5"), rcnn_image_decode_pnm},
    {"pnm", MAGIC("P6"), rcnn_image_decode_pnm},
    {"a PBM bitmap", MAGIC("P1"), NULL},
    {"a PBM bitmap", MAGIC("P4"), NULL},
    {"a PAM", MAGIC("P7"), NULL},
    {"a GIF", MAGIC("GIF8"), NULL},
    {"a TIFF", MAGIC("II*\0"), NULL},
    {"a TIFF", MAGIC("MM\0*"), NULL},
    {"a BMP", MAGIC("BM"), NULL},
    {"a JPEG 2000", MAGIC("\0\0\0\x0cjP  "), NULL},
    {"a HEIF or AVIF", MAGIC("????ftyp"), NULL},
};

static const image_kind *find_kind(const uint8_t *data, size_t size)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t i = 0;
        while (i < kinds[k].magic_bytes && i < size &&
               (kinds[k].magic[i] == '?' || (uint8_t)kinds[k].magic[i] == data[i])) {
            i++;
        }
        if (i == kinds[k].magic_bytes) {
            return &kinds[k];
        }
    }
    return NULL;
}

void rcnn_image_options_init_sized(rcnn_image_options *options, size_t struct_size)
{
    const rcnn_image_options defaults = {.struct_size = struct_size};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

/* The caller's struct over our defaults; a newer caller's unknown fields must be zero. */
static rcnn_status read_options(const rcnn_image_options *given, rcnn_image_options *out, rcnn_error *err)
{
    rcnn_image_options_init(out);
    RCNN_TRY(rcnn_options_read("image", given, out, sizeof *out, err));
    if (out->max_pixels < 0 || out->max_pixels > RCNN_IMAGE_PIXELS_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "image options: want max_pixels of 0..%d, got %lld",
                         RCNN_IMAGE_PIXELS_MAX, (long long)out->max_pixels);
    }
    if (out->max_pixels == 0) {
        out->max_pixels = RCNN_IMAGE_PIXELS_MAX;
    }
    return RCNN_OK;
}

rcnn_status rcnn_image_check_size(const rcnn_image_source *source, uint64_t width, uint64_t height, rcnn_error *err)
{
    if (width == 0 || height == 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: want at least 1x1 pixels, got %llux%llu", source->name,
                         (unsigned long long)width, (unsigned long long)height);
    }
    if (width > RCNN_IMAGE_SIDE_MAX || height > RCNN_IMAGE_SIDE_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: want sides of at most %d pixels, got %llux%llu", source->name,
                         RCNN_IMAGE_SIDE_MAX, (unsigned long long)width, (unsigned long long)height);
    }
    if (width * height > source->max_pixels) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: want at most %llu pixels, got %llux%llu = %llu", source->name,
                         (unsigned long long)source->max_pixels, (unsigned long long)width, (unsigned long long)height,
                         (unsigned long long)(width * height));
    }
    return RCNN_OK;
}

rcnn_status rcnn_image_allocate(const rcnn_image_source *source, uint64_t width, uint64_t height, rcnn_image *image,
                                rcnn_error *err)
{
    RCNN_TRY(rcnn_image_check_size(source, width, height, err));
    image->width = (int32_t)width;
    image->height = (int32_t)height;
    image->pixels = rcnn_malloc_aligned((size_t)width * (size_t)height * 3); /* at most 3 * RCNN_IMAGE_PIXELS_MAX */
    if (!image->pixels) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory for %dx%d pixels", source->name, image->width,
                         image->height);
    }
    return RCNN_OK;
}

/* The bytes of one file to *out. Sets *out only on success. */
static rcnn_status decode_source(const rcnn_image_source *source, bool ignore_exif, rcnn_image **out, rcnn_error *err)
{
    if (source->size == 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: want an image, got no bytes", source->name);
    }
    const image_kind *kind = find_kind(source->data, source->size);
    if (!kind) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: want a JPEG, PNG, WebP or PPM/PGM image, got none of them",
                         source->name);
    }
    if (!kind->decode) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: want a JPEG, PNG, WebP or PPM/PGM image, got %s file",
                         source->name, kind->name);
    }
    rcnn_image *image = rcnn_calloc(1, sizeof *image);
    if (!image) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", source->name);
    }
    image->format = kind->name;
    image->orientation = 1;
    rcnn_status status = kind->decode(source, image, err);
    if (status == RCNN_OK && !ignore_exif) {
        status = rcnn_image_turn_upright(source, image, err);
    }
    if (status != RCNN_OK) {
        rcnn_image_destroy(image);
        return status;
    }
    *out = image;
    return RCNN_OK;
}

rcnn_status rcnn_image_load(const char *path, const rcnn_image_options *options, rcnn_image **out, rcnn_error *err)
{
    rcnn_error_clear(err);
    if (!out || !path) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "image: want a path and a place for the image, got NULL");
    }
    *out = NULL;
    rcnn_image_options o;
    rcnn_file_map map;
    RCNN_TRY(read_options(options, &o, err));
    RCNN_TRY(rcnn_file_map_open(path, RCNN_IMAGE_FILE_BYTES_MAX, &map, err));
    const rcnn_image_source source = {path, map.data, map.size, (uint64_t)o.max_pixels};
    rcnn_status status = decode_source(&source, o.ignore_exif != 0, out, err);
    rcnn_file_map_close(&map);
    return status;
}

rcnn_status rcnn_image_decode(const void *data, size_t size, const rcnn_image_options *options, rcnn_image **out,
                              rcnn_error *err)
{
    rcnn_error_clear(err);
    if (!out || (!data && size > 0)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "image: want data and a place for the image, got NULL");
    }
    *out = NULL;
    rcnn_image_options o;
    RCNN_TRY(read_options(options, &o, err));
    if (size > RCNN_IMAGE_FILE_BYTES_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "image data: want at most %d bytes, got %zu", RCNN_IMAGE_FILE_BYTES_MAX,
                         size);
    }
    const rcnn_image_source source = {"image data", data, size, (uint64_t)o.max_pixels};
    return decode_source(&source, o.ignore_exif != 0, out, err);
}

rcnn_status rcnn_image_examine_jpeg(const void *data, size_t size, const rcnn_image_options *options, int32_t *width,
                                    int32_t *height, rcnn_error *err)
{
    rcnn_image_options o;
    rcnn_image header = {.orientation = 1};
    RCNN_TRY(read_options(options, &o, err));
    const rcnn_image_source source = {"image data", data, size, (uint64_t)o.max_pixels};
    const image_kind *kind = find_kind(data, size);
    if (!kind || kind->decode != rcnn_image_decode_jpeg) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "image data: want a JPEG, got %s",
                         kind ? kind->name : "none of the known kinds");
    }
    RCNN_TRY(rcnn_image_read_jpeg_header(&source, &header, err));
    if (header.orientation != 1 && o.ignore_exif == 0) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "image data: want an upright JPEG, got EXIF orientation %d",
                         header.orientation);
    }
    *width = header.width;
    *height = header.height;
    return RCNN_OK;
}

void rcnn_image_get_view(const rcnn_image *image, rcnn_image_view *view)
{
    *view = (rcnn_image_view){.data = image->pixels,
                              .width = image->width,
                              .height = image->height,
                              .stride_bytes = (size_t)image->width * 3,
                              .format = RCNN_PIXEL_RGB8};
}

const char *rcnn_image_format_name(const rcnn_image *image)
{
    return image->format;
}

void rcnn_image_destroy(rcnn_image *image)
{
    if (image) {
        rcnn_free(image->pixels);
        rcnn_free(image);
    }
}
