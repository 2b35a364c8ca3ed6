/* See decode_checks.h. Files are made here, with libjpeg. */
#include "gpu/decode_checks.h"

#include <stdbool.h>
#include <stdio.h>

#include <cuda_runtime_api.h>
#include <jpeglib.h>

#include "api/thin.h"
#include "session/decoder.h"
#include "session/session.h"

#define FILE_BYTES_MAX 1048576

/* ------------------------------------------------------------- files */

typedef struct jpeg_file {
    unsigned char *data; /* free() */
    unsigned long size;
} jpeg_file;

typedef struct jpeg_kind {
    const char *name;
    J_COLOR_SPACE colours;    /* as stored */
    int horizontal, vertical; /* luma samples to a chroma sample */
    bool progressive, arithmetic;
    unsigned restart_rows;
    int orientation; /* 0: no EXIF */
} jpeg_kind;

static const jpeg_kind PLAIN = {.name = "444", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 1};

static void write_orientation(struct jpeg_compress_struct *codec, int orientation)
{
    unsigned char exif[] = "Exif\0\0II*\0\10\0\0\0\1\0\22\1\3\0\1\0\0\0?\0\0\0\0\0\0";
    exif[6 + 8 + 2 + 8] = (unsigned char)orientation;
    jpeg_write_marker(codec, JPEG_APP0 + 1, exif, sizeof exif);
}

static jpeg_file make_jpeg(const jpeg_kind *kind, int32_t width, int32_t height, uint64_t seed)
{
    jpeg_file file = {0};
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors;
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(width, height, seed, &view);
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    jpeg_mem_dest(&codec, &file.data, &file.size);
    codec.image_width = (JDIMENSION)width;
    codec.image_height = (JDIMENSION)height;
    codec.input_components = 3;
    codec.in_color_space = JCS_RGB;
    jpeg_set_defaults(&codec);
    jpeg_set_colorspace(&codec, kind->colours);
    jpeg_set_quality(&codec, 90, TRUE);
    codec.comp_info[0].h_samp_factor = kind->horizontal;
    codec.comp_info[0].v_samp_factor = kind->vertical;
    codec.restart_in_rows = (int)kind->restart_rows;
    codec.arith_code = kind->arithmetic;
    if (kind->progressive) {
        jpeg_simple_progression(&codec);
    }
    jpeg_start_compress(&codec, TRUE);
    if (kind->orientation) {
        write_orientation(&codec, kind->orientation);
    }
    while (codec.next_scanline < codec.image_height) {
        JSAMPROW row = pixels + view.stride_bytes * codec.next_scanline;
        jpeg_write_scanlines(&codec, &row, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    free(pixels);
    return file;
}

static jpeg_file read_jpeg(const char *path)
{
    jpeg_file file = {.data = malloc(FILE_BYTES_MAX)};
    FILE *stream = fopen(path, "rb");
    CHECK_MSG(stream && file.data, "%s", path);
    if (stream && file.data) {
        file.size = fread(file.data, 1, FILE_BYTES_MAX, stream);
        CHECK(file.size > 0 && file.size < FILE_BYTES_MAX);
        fclose(stream);
    }
    return file;
}

/* ------------------------------------------------------------- pixels */

static rcnn_decoder *open_decoder(const decode_bed *bed, int32_t keep)
{
    rcnn_error err = {0};
    rcnn_decoder *decoder = NULL;
    rcnn_decoder_options options;
    rcnn_decoder_options_init(&options);
    options.keep = keep;
    CHECK_OK(rcnn_decoder_create_on(&options, bed->vt, &decoder, &err), err);
    return decoder;
}

static rcnn_image *decode_on_cpu(const jpeg_file *file)
{
    rcnn_error err = {0};
    rcnn_image *image = NULL;
    CHECK_OK(rcnn_image_decode(file->data, file->size, NULL, &image, &err), err);
    return image;
}

/* Pixels of a device view in host memory, free(). */
static uint8_t *to_host(const rcnn_image_view *view)
{
    const size_t bytes = view->stride_bytes * (size_t)view->height;
    uint8_t *pixels = malloc(bytes);
    CHECK(pixels && cudaMemcpy(pixels, view->data, bytes, cudaMemcpyDefault) == cudaSuccess);
    return pixels;
}

typedef struct difference {
    int32_t max;
    double mean;
} difference;

/* Of a device view from what the CPU makes of the file. */
static difference compare(const jpeg_file *file, const rcnn_image_view *view)
{
    difference d = {.max = 256};
    rcnn_image_view want;
    rcnn_image *image = decode_on_cpu(file);
    if (!image || !view->data) {
        rcnn_image_destroy(image);
        return d;
    }
    rcnn_image_get_view(image, &want);
    CHECK(view->width == want.width && view->height == want.height && view->format == RCNN_PIXEL_RGB8);
    CHECK(view->stride_bytes >= (size_t)view->width * 3);
    if (view->width == want.width && view->height == want.height) {
        uint8_t *pixels = to_host(view);
        double sum = 0;
        d.max = 0;
        for (size_t y = 0; pixels && y < (size_t)want.height; y++) {
            for (size_t x = 0; x < (size_t)want.width * 3; x++) {
                const int32_t one = abs(pixels[y * view->stride_bytes + x] - want.data[y * want.stride_bytes + x]);
                d.max = one > d.max ? one : d.max;
                sum += one;
            }
        }
        d.mean = sum / ((double)want.width * want.height * 3);
        free(pixels);
    }
    rcnn_image_destroy(image);
    return d;
}

static difference decode_and_compare(rcnn_decoder *decoder, const char *name, const jpeg_file *file)
{
    rcnn_error err = {0};
    rcnn_image_view view = {0};
    CHECK_OK(rcnn_decoder_run(decoder, file->data, file->size, NULL, &view, &err), err);
    const difference d = compare(file, &view);
    printf("{\"check\":\"decode\",\"file\":\"%s\",\"width\":%d,\"height\":%d,\"largest_difference\":%d,"
           "\"mean_difference\":%.4f}\n",
           name, view.width, view.height, d.max, d.mean);
    return d;
}

void decode_check_pixels(const decode_bed *bed)
{
    static const jpeg_kind KINDS[] = {
        {.name = "444", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 1},
        {.name = "grey", .colours = JCS_GRAYSCALE, .horizontal = 1, .vertical = 1},
        {.name = "422", .colours = JCS_YCbCr, .horizontal = 2, .vertical = 1},
        {.name = "440", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 2},
        {.name = "420", .colours = JCS_YCbCr, .horizontal = 2, .vertical = 2},
        {.name = "444 progressive", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 1, .progressive = true},
        {.name = "420 progressive", .colours = JCS_YCbCr, .horizontal = 2, .vertical = 2, .progressive = true},
        {.name = "grey progressive", .colours = JCS_GRAYSCALE, .horizontal = 1, .vertical = 1, .progressive = true},
        {.name = "420 restarts", .colours = JCS_YCbCr, .horizontal = 2, .vertical = 2, .restart_rows = 1},
        {.name = "444 restarts", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 1, .restart_rows = 2}};
    static const int32_t SIZES[][2] = {{320, 240}, {97, 61}, {33, 150}};
    rcnn_decoder *decoder = open_decoder(bed, 1);
    REQUIRE(decoder);
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        const bool full = KINDS[i].horizontal == 1 && KINDS[i].vertical == 1;
        for (size_t k = 0; k < sizeof SIZES / sizeof SIZES[0]; k++) {
            jpeg_file file = make_jpeg(&KINDS[i], SIZES[k][0], SIZES[k][1], 7 + i);
            const difference d = decode_and_compare(decoder, KINDS[i].name, &file);
            CHECK_MSG(full ? d.max <= bed->full_max && d.mean <= bed->full_mean : d.mean <= bed->subsampled_mean,
                      "%s, %dx%d: largest difference %d, mean %.4f", KINDS[i].name, SIZES[k][0], SIZES[k][1], d.max,
                      d.mean);
            free(file.data);
        }
    }
    rcnn_decoder_destroy(decoder);
}

void decode_check_picture(const decode_bed *bed)
{
    rcnn_decoder *decoder = open_decoder(bed, 1);
    REQUIRE(decoder);
    jpeg_file file = read_jpeg(bed->picture);
    const difference d = decode_and_compare(decoder, "picture", &file);
    CHECK_MSG(d.max < 256 && d.mean <= bed->subsampled_mean, "largest difference %d, mean %.4f", d.max, d.mean);
    free(file.data);
    rcnn_decoder_destroy(decoder);
}

/* ------------------------------------------------------------- the ring */

void decode_check_ring(const decode_bed *bed)
{
    enum { KEEP = 3 };
    rcnn_decoder *decoder = open_decoder(bed, KEEP);
    rcnn_error err = {0};
    rcnn_image_view view[KEEP + 1] = {0};
    jpeg_file file[KEEP + 1];
    REQUIRE(decoder);
    for (int i = 0; i <= KEEP; i++) { /* the last is the smallest: it takes the first one's memory */
        file[i] = make_jpeg(&PLAIN, 90 - 10 * i, 40 + i, 3 + (uint64_t)i);
    }
    for (int i = 0; i < KEEP; i++) {
        CHECK_OK(rcnn_decoder_run(decoder, file[i].data, file[i].size, NULL, &view[i], &err), err);
    }
    for (int i = 0; i < KEEP; i++) {
        const difference d = compare(&file[i], &view[i]);
        CHECK_MSG(d.max <= bed->full_max, "picture %d of %d: largest difference %d", i, KEEP, d.max);
    }
    CHECK_OK(rcnn_decoder_run(decoder, file[KEEP].data, file[KEEP].size, NULL, &view[KEEP], &err), err);
    CHECK(view[KEEP].data == view[0].data && view[1].data != view[0].data && view[2].data != view[0].data);
    for (int i = 1; i <= KEEP; i++) {
        const difference d = compare(&file[i], &view[i]);
        CHECK_MSG(d.max <= bed->full_max, "picture %d after one more: largest difference %d", i, d.max);
    }
    for (int i = 0; i <= KEEP; i++) {
        free(file[i].data);
    }
    rcnn_decoder_destroy(decoder);
}

/* ------------------------------------------------------------- what is refused */

static bool is_one_line(const rcnn_error *err, rcnn_status status)
{
    return err->message[0] && !strchr(err->message, '\n') && err->status == status;
}

static void check_refused(rcnn_decoder *decoder, const char *what, const void *data, size_t size,
                          const rcnn_image_options *options, rcnn_status want)
{
    rcnn_error err = {0};
    rcnn_image_view view = {.width = 1};
    const rcnn_status status = rcnn_decoder_run(decoder, data, size, options, &view, &err);
    CHECK_MSG(status == want && is_one_line(&err, status) && !view.data, "%s: status %d, want %d: %s", what,
              (int)status, (int)want, err.message);
}

static void check_kinds(rcnn_decoder *decoder)
{
    static const jpeg_kind KINDS[] = {
        {.name = "RGB", .colours = JCS_RGB, .horizontal = 1, .vertical = 1},
        {.name = "arithmetic", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 1, .arithmetic = true},
        {.name = "turned", .colours = JCS_YCbCr, .horizontal = 1, .vertical = 1, .orientation = 6}};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        jpeg_file file = make_jpeg(&KINDS[i], 40, 30, 5);
        check_refused(decoder, KINDS[i].name, file.data, file.size, NULL, RCNN_ERR_UNSUPPORTED);
        free(file.data);
    }
    jpeg_file cmyk = read_jpeg(RCNN_SOURCE_DIR "/tests/unit/data/image/jpeg_cmyk_adobe_19x11.jpg");
    check_refused(decoder, "CMYK", cmyk.data, cmyk.size, NULL, RCNN_ERR_UNSUPPORTED);
    free(cmyk.data);
}

static void check_options(rcnn_decoder *decoder)
{
    jpeg_kind turned = PLAIN;
    turned.orientation = 6;
    jpeg_file file = make_jpeg(&turned, 40, 30, 5);
    rcnn_error err = {0};
    rcnn_image_view view;
    rcnn_image_options options;
    rcnn_image_options_init(&options);
    options.ignore_exif = 1;
    CHECK_OK(rcnn_decoder_run(decoder, file.data, file.size, &options, &view, &err), err);
    CHECK(view.width == 40 && view.height == 30);
    options.max_pixels = 40 * 30 - 1;
    check_refused(decoder, "too many pixels", file.data, file.size, &options, RCNN_ERR_LIMIT);
    options.max_pixels = -1;
    check_refused(decoder, "bad options", file.data, file.size, &options, RCNN_ERR_ARGUMENT);
    free(file.data);
}

static void check_arguments(const decode_bed *bed, rcnn_decoder *decoder)
{
    rcnn_error err = {0};
    rcnn_image_view view;
    rcnn_decoder *none = NULL;
    rcnn_decoder_options options;
    CHECK(rcnn_decoder_run(NULL, "", 0, NULL, &view, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_decoder_run(decoder, NULL, 1, NULL, &view, &err) == RCNN_ERR_ARGUMENT);
    for (int i = 0; i < 4; i++) {
        static const int32_t KEEPS[] = {0, -1, RCNN_DECODER_KEEP_MAX + 1, 1};
        rcnn_decoder_options_init(&options);
        options.keep = KEEPS[i];
        options.device = i == 3 ? -1 : 0;
        CHECK(rcnn_decoder_create_on(&options, bed->vt, &none, &err) == RCNN_ERR_ARGUMENT && !none);
        CHECK(is_one_line(&err, RCNN_ERR_ARGUMENT));
    }
    rcnn_decoder_options_init(&options);
    options.device = 1000;
    const rcnn_status status = rcnn_decoder_create_on(&options, bed->vt, &none, &err);
    CHECK_MSG(status == RCNN_ERR_DEVICE && !none && is_one_line(&err, status), "%d: %s", (int)status, err.message);
    rcnn_decoder_destroy(NULL);
}

void decode_check_refused(const decode_bed *bed)
{
    static const char PNG[] = "\x89PNG\r\n\x1a\n";
    rcnn_decoder *decoder = open_decoder(bed, 1);
    REQUIRE(decoder);
    check_refused(decoder, "no bytes", NULL, 0, NULL, RCNN_ERR_UNSUPPORTED);
    check_refused(decoder, "a PNG", PNG, sizeof PNG - 1, NULL, RCNN_ERR_UNSUPPORTED);
    check_refused(decoder, "no image", "no image", 8, NULL, RCNN_ERR_UNSUPPORTED);
    check_kinds(decoder);
    check_options(decoder);
    check_arguments(bed, decoder);
    rcnn_decoder_destroy(decoder);
}

/* ------------------------------------------------------------- damage */

/* Any status will do, with a line where it is a failure. Returns whether it was one. */
static bool try_damaged(rcnn_decoder *decoder, const jpeg_file *file, size_t size, const char *what, size_t at)
{
    rcnn_error err = {0};
    rcnn_image_view view;
    const rcnn_status status = rcnn_decoder_run(decoder, file->data, size, NULL, &view, &err);
    CHECK_MSG(status == RCNN_OK ? view.data != NULL : is_one_line(&err, status) && !view.data, "%s at %zu: %d: %s",
              what, at, (int)status, err.message);
    return status != RCNN_OK;
}

static void check_cut(rcnn_decoder *decoder, const jpeg_file *whole)
{
    jpeg_file file = {.data = malloc(whole->size + 2)};
    REQUIRE(file.data);
    for (size_t size = 0; size < whole->size; size += 1 + size / 16) {
        memcpy(file.data, whole->data, size);
        CHECK_MSG(try_damaged(decoder, &file, size, "cut", size), "cut at %zu: taken for whole", size);
        file.data[size] = 0xff; /* and as if it were whole */
        file.data[size + 1] = JPEG_EOI;
        (void)try_damaged(decoder, &file, size + 2, "cut and closed", size);
    }
    free(file.data);
}

static void check_flipped(rcnn_decoder *decoder, const jpeg_file *whole, int count)
{
    uint64_t seed = 11;
    for (int i = 0; i < count; i++) {
        jpeg_file file = {.data = malloc(whole->size)};
        REQUIRE(file.data);
        memcpy(file.data, whole->data, whole->size);
        const size_t range = i % 2 && whole->size > 700 ? 700 : whole->size; /* every other one in the headers */
        const size_t at = test_random(&seed) % range;
        file.data[at] ^= (unsigned char)(1u << test_random(&seed) % 8);
        (void)try_damaged(decoder, &file, whole->size, "flipped", at);
        free(file.data);
    }
}

void decode_check_damaged(const decode_bed *bed)
{
    static const jpeg_kind KINDS[] = {
        {.name = "420", .colours = JCS_YCbCr, .horizontal = 2, .vertical = 2},
        {.name = "progressive", .colours = JCS_YCbCr, .horizontal = 2, .vertical = 2, .progressive = true}};
    rcnn_decoder *decoder = open_decoder(bed, 2);
    jpeg_file good = make_jpeg(&PLAIN, 64, 48, 9);
    REQUIRE(decoder);
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        jpeg_file file = make_jpeg(&KINDS[i], 75, 53, 21);
        check_cut(decoder, &file);
        check_flipped(decoder, &file, 100);
        free(file.data);
        CHECK(decode_and_compare(decoder, "after damaged ones", &good).max <= bed->full_max);
    }
    free(good.data);
    rcnn_decoder_destroy(decoder);
}

/* ------------------------------------------------------------- a session */

static float overlap(const rcnn_detection *a, const rcnn_detection *b)
{
    const float width = fminf(a->x2, b->x2) - fmaxf(a->x1, b->x1), height = fminf(a->y2, b->y2) - fmaxf(a->y1, b->y1);
    const float both = width > 0 && height > 0 ? width * height : 0;
    const float areas = (a->x2 - a->x1) * (a->y2 - a->y1) + (b->x2 - b->x1) * (b->y2 - b->y1);
    return both / fmaxf(areas - both, 1e-6f);
}

/* Detections of `a` that none of `b` covers with its label. */
static int32_t without_partner(const rcnn_results *a, const rcnn_results *b)
{
    int32_t missing = 0;
    for (int32_t i = 0; i < rcnn_results_count(a, 0); i++) {
        rcnn_detection x, y;
        bool found = rcnn_results_get(a, 0, i, &x) != RCNN_OK;
        for (int32_t j = 0; j < rcnn_results_count(b, 0) && !found; j++) {
            found = rcnn_results_get(b, 0, j, &y) == RCNN_OK && x.label == y.label && overlap(&x, &y) >= 0.8f;
        }
        missing += !found;
    }
    return missing;
}

static void compare_detections(const decode_bed *bed, rcnn_session *session, rcnn_decoder *decoder,
                               const jpeg_file *file)
{
    rcnn_error err = {0};
    rcnn_results *from_cpu = NULL, *from_device = NULL;
    rcnn_image_view host, device;
    rcnn_image *image = decode_on_cpu(file);
    REQUIRE(image);
    rcnn_image_get_view(image, &host);
    CHECK_OK(rcnn_session_run(session, &host, 1, &from_cpu, &err), err);
    CHECK_OK(rcnn_decoder_run(decoder, file->data, file->size, NULL, &device, &err), err);
    CHECK_OK(rcnn_session_run(session, &device, 1, &from_device, &err), err);
    if (from_cpu && from_device) {
        const int32_t counts[2] = {rcnn_results_count(from_cpu, 0), rcnn_results_count(from_device, 0)};
        const int32_t missing = without_partner(from_cpu, from_device), extra = without_partner(from_device, from_cpu);
        printf("{\"check\":\"detections\",\"cpu\":%d,\"device\":%d,\"missing\":%d,\"extra\":%d}\n", counts[0],
               counts[1], missing, extra);
        CHECK(counts[0] > 0);
        CHECK_MSG(missing <= bed->missing * counts[0] && extra <= bed->missing * counts[0],
                  "of %d and %d detections %d and %d are without a partner", counts[0], counts[1], missing, extra);
    }
    rcnn_results_destroy(from_cpu);
    rcnn_results_destroy(from_device);
    rcnn_image_destroy(image);
}

void decode_check_session(const decode_bed *bed)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.long_side = bed->long_side;
    options.short_side = bed->short_side;
    options.score_threshold = 0.5f;
    jpeg_file file = read_jpeg(bed->picture);
    rcnn_decoder *decoder = open_decoder(bed, 1);
    CHECK_OK(rcnn_model_load(bed->model, NULL, &model, &err), err);
    if (model && decoder) {
        CHECK_OK(rcnn_session_create_on(model, &options, bed->vt, &session, &err), err);
        if (session) {
            compare_detections(bed, session, decoder, &file);
        }
    }
    rcnn_decoder_destroy(decoder);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    free(file.data);
}
