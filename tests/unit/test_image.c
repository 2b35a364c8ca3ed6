/* Image reading: every fixture against what OpenCV made of it (scripts/make_image_fixtures.py), damaged and hostile files,
 * limits, options, and allocations that fail. */
#include "harness.h"

#include <stdbool.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/codec.h"
#include "rcnn/rcnn.h"

#define FOLDER RCNN_SOURCE_DIR "/tests/unit/data/image/"

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define BAD_FILE_MS_MAX 2000 /* a sanitizer marks every byte of a large block */
#else
#define BAD_FILE_MS_MAX 200
#endif

static uint64_t hash_pixels(const rcnn_image *image)
{
    rcnn_image_view view;
    rcnn_image_get_view(image, &view);
    uint64_t value = 0xcbf29ce484222325ull;
    for (int32_t y = 0; y < view.height; y++) {
        for (int32_t i = 0; i < view.width * 3; i++) {
            value = (value ^ view.data[(size_t)y * view.stride_bytes + (size_t)i]) * 0x100000001b3ull;
        }
    }
    return value;
}

static void fixture_path(const char *name, char path[1024])
{
    snprintf(path, 1024, "%s%s", FOLDER, name);
}

/* One line of text, ended, without control characters. */
static bool is_one_line(const char *message)
{
    return message[0] != '\0' && !strpbrk(message, "\n\r\t") && strlen(message) < 512;
}

/* WebP files are read only where libwebp was found at build time. */
static bool lacks_webp(rcnn_status status, const rcnn_error *err)
{
    return status == RCNN_ERR_UNSUPPORTED && strstr(err->message, "this build has no libwebp") != NULL;
}

typedef struct fixture {
    char name[128];
    bool good;
    rcnn_status status; /* of a bad one  */
    int32_t width, height;
    uint64_t upright, stored; /* pixel hashes of a good one */
} fixture;

static rcnn_status status_from_word(const char *word)
{
    return strcmp(word, "FORMAT") == 0        ? RCNN_ERR_FORMAT
           : strcmp(word, "LIMIT") == 0       ? RCNN_ERR_LIMIT
           : strcmp(word, "UNSUPPORTED") == 0 ? RCNN_ERR_UNSUPPORTED
                                              : RCNN_OK;
}

static bool parse_fixture(const char *line, fixture *out)
{
    char word[32];
    unsigned long long upright, stored;
    if (sscanf(line, "ok %127s %d %d %llx %llx", out->name, &out->width, &out->height, &upright, &stored) == 5) {
        out->good = true;
        out->upright = upright;
        out->stored = stored;
        return true;
    }
    if (sscanf(line, "fail %127s %31s", out->name, word) == 2) {
        out->good = false;
        out->status = status_from_word(word);
        return out->status != RCNN_OK;
    }
    return false;
}

static void check_good(const fixture *f, const char *path, bool ignore_exif)
{
    rcnn_error err;
    rcnn_image *image = NULL;
    rcnn_image_options options;
    rcnn_image_options_init(&options);
    options.ignore_exif = ignore_exif;
    rcnn_status status = rcnn_image_load(path, &options, &image, &err);
    if (lacks_webp(status, &err)) {
        printf("SKIPPED %s: no libwebp\n", f->name);
        return;
    }
    CHECK_MSG(status == RCNN_OK, "%s: %s", f->name, err.message);
    if (image) {
        rcnn_image_view view;
        rcnn_image_get_view(image, &view);
        bool turned = ignore_exif && (f->upright != f->stored) && view.width != f->width;
        CHECK_MSG(turned || (view.width == f->width && view.height == f->height), "%s: %dx%d", f->name, view.width,
                  view.height);
        CHECK_MSG(hash_pixels(image) == (ignore_exif ? f->stored : f->upright), "%s: pixels differ from OpenCV's%s",
                  f->name, ignore_exif ? " without EXIF" : "");
        CHECK_MSG(strncmp(f->name, rcnn_image_format_name(image), 3) == 0, "%s: called %s", f->name,
                  rcnn_image_format_name(image));
    }
    rcnn_image_destroy(image);
}

static void check_bad(const fixture *f, const char *path)
{
    rcnn_error err;
    rcnn_image *image = NULL;
    clock_t start = clock(); /* of this process, so that a busy machine does not count */
    rcnn_status status = rcnn_image_load(path, NULL, &image, &err);
    double ms = 1000.0 * (double)(clock() - start) / CLOCKS_PER_SEC;
    if (!lacks_webp(status, &err)) {
        CHECK_MSG(status == f->status, "%s: want %s, got %s: %s", f->name, rcnn_status_name(f->status),
                  rcnn_status_name(status), err.message);
    }
    CHECK_MSG(image == NULL && err.status == status && is_one_line(err.message), "%s: '%s'", f->name, err.message);
    CHECK_MSG(strstr(err.message, f->name), "%s is not named by '%s'", f->name, err.message);
    CHECK_MSG(ms < BAD_FILE_MS_MAX, "%s took %.0f ms", f->name, ms);
    if (getenv("RCNN_TEST_VERBOSE")) {
        printf("%6.2f ms %s\n", ms, strstr(err.message, f->name) ? strstr(err.message, f->name) : err.message);
    }
    rcnn_image_destroy(image);
}

/* Calls `each` with every fixture; returns their number. */
static int for_each_fixture(void (*each)(const fixture *, const char *path))
{
    FILE *manifest = fopen(FOLDER "manifest.txt", "r");
    char line[512], path[1024];
    int count = 0;
    while (manifest && fgets(line, sizeof line, manifest)) {
        fixture f = {0};
        if (line[0] == '#') {
            continue;
        }
        CHECK_MSG(parse_fixture(line, &f), "manifest: %s", line);
        fixture_path(f.name, path);
        each(&f, path);
        count++;
    }
    if (manifest) {
        fclose(manifest);
    }
    return count;
}

static void check_fixture(const fixture *f, const char *path)
{
    if (f->good) {
        check_good(f, path, false);
        check_good(f, path, true);
    } else {
        check_bad(f, path);
    }
}

TEST(pixels_equal_opencv_and_bad_files_say_why)
{
    int count = for_each_fixture(check_fixture);
    CHECK_MSG(count >= 150, "only %d fixtures", count);
}

/* Every shorter version of a file must be refused: nothing is filled in for what is missing. */
static void check_prefixes(const char *name)
{
    char path[1024];
    rcnn_error err;
    rcnn_file_map map;
    fixture_path(name, path);
    CHECK_OK(rcnn_file_map_open(path, 1 << 20, &map, &err), err);
    for (size_t size = 0; size < map.size; size++) {
        rcnn_image *image = NULL;
        void *copy = malloc(size ? size : 1); /* a block of exactly this size: sanitizers see a read past it */
        memcpy(copy, map.data, size);
        rcnn_status status = rcnn_image_decode(copy, size, NULL, &image, &err);
        if (!lacks_webp(status, &err)) {
            CHECK_MSG(status == RCNN_ERR_FORMAT && !image && is_one_line(err.message), "%s cut to %zu bytes: %s: %s",
                      name, size, rcnn_status_name(status), err.message);
        }
        rcnn_image_destroy(image);
        free(copy);
    }
    rcnn_file_map_close(&map);
}

TEST(every_truncation_is_an_error)
{
    check_prefixes("jpeg_420_17x5.jpg");
    check_prefixes("jpeg_cmyk_adobe_19x11.jpg");
    check_prefixes("jpeg_exif6.jpg");
    check_prefixes("jpeg_progressive_33x29.jpg");
    check_prefixes("png_rgba8_adam7_13x11.png");
    check_prefixes("png_palette8_trns_9x9.png");
    check_prefixes("png_exif6.png");
    check_prefixes("pnm_p6_17x5.ppm");
    check_prefixes("pnm_p5_16bit_17x5.pgm");
    check_prefixes("webp_lossy_33x21.webp");
    check_prefixes("webp_lossless_alpha_17x9.webp");
}

/* Decodes with the nth allocation and all later ones failing, for n = 1, 2, ... until it succeeds. */
static void check_failing_allocations(const char *name)
{
    char path[1024];
    fixture_path(name, path);
    rcnn_status status = RCNN_ERR_MEMORY;
    uint64_t n = 0;
    while (status != RCNN_OK && n < 1000) {
        rcnn_error err;
        rcnn_image *image = NULL;
        n++;
        rcnn_memory_fail_from(n);
        status = rcnn_image_load(path, NULL, &image, &err);
        rcnn_memory_fail_from(0);
        CHECK_MSG(status == RCNN_OK || (status == RCNN_ERR_MEMORY && !image && is_one_line(err.message)),
                  "%s, allocation %d: %s: %s", name, (int)n, rcnn_status_name(status), err.message);
        rcnn_image_destroy(image);
    }
    CHECK_MSG(status == RCNN_OK && n > 2, "%s: %d allocations", name, (int)n);
}

TEST(failing_allocations_give_a_status)
{
    check_failing_allocations("jpeg_420_17x5.jpg");
    check_failing_allocations("jpeg_exif6.jpg");
    check_failing_allocations("jpeg_cmyk_adobe_19x11.jpg");
    check_failing_allocations("png_exif6.png");
    check_failing_allocations("png_exif_after.png");
    check_failing_allocations("png_palette8_trns_9x9.png");
    check_failing_allocations("png_exif_adam7.png");
    check_failing_allocations("pnm_p2_17x5.pgm");
}

/* A large size in a header must be refused before memory for it is asked for. */
TEST(limits_come_before_allocation)
{
    static const char *const names[] = {"bad_jpeg_65535x65535.jpg", "bad_jpeg_65500x65500.jpg",
                                        "bad_pnm_60000x60000.ppm", "bad_pnm_16000x16000.ppm"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[1024];
        rcnn_error err;
        rcnn_image *image = NULL;
        fixture_path(names[i], path);
        uint64_t before = rcnn_memory_allocation_count();
        CHECK(rcnn_image_load(path, NULL, &image, &err) != RCNN_OK);
        CHECK_MSG(rcnn_memory_allocation_count() == before + 1, "%s: %d allocations besides the handle", names[i],
                  (int)(rcnn_memory_allocation_count() - before) - 1);
    }
}

TEST(max_pixels)
{
    char path[1024];
    rcnn_error err;
    rcnn_image *image = NULL;
    rcnn_image_options options;
    fixture_path("jpeg_420_17x5.jpg", path);
    rcnn_image_options_init(&options);
    options.max_pixels = 17 * 5;
    CHECK_OK(rcnn_image_load(path, &options, &image, &err), err);
    rcnn_image_destroy(image);
    options.max_pixels = 17 * 5 - 1;
    CHECK(rcnn_image_load(path, &options, &image, &err) == RCNN_ERR_LIMIT && !image);
    CHECK(strstr(err.message, "84") && strstr(err.message, "17x5"));
    options.max_pixels = -1;
    CHECK(rcnn_image_load(path, &options, &image, &err) == RCNN_ERR_ARGUMENT);
    options.max_pixels = (int64_t)RCNN_IMAGE_PIXELS_MAX + 1;
    CHECK(rcnn_image_load(path, &options, &image, &err) == RCNN_ERR_ARGUMENT);
}

TEST(options_of_other_versions)
{
    char path[1024];
    rcnn_error err;
    rcnn_image *image = NULL;
    struct {
        rcnn_image_options known;
        int64_t unknown;
    } newer;
    fixture_path("jpeg_420_17x5.jpg", path);
    rcnn_image_options_init_sized(&newer.known, sizeof newer);
    CHECK(newer.unknown == 0);
    CHECK_OK(rcnn_image_load(path, &newer.known, &image, &err), err);
    rcnn_image_destroy(image);
    newer.unknown = 1;
    CHECK(rcnn_image_load(path, &newer.known, &image, &err) == RCNN_ERR_UNSUPPORTED);
    newer.known.struct_size = 0;
    CHECK(rcnn_image_load(path, &newer.known, &image, &err) == RCNN_ERR_ARGUMENT);
}

TEST(paths_and_arguments)
{
    rcnn_error err;
    rcnn_image *image = NULL;
    CHECK(rcnn_image_load(FOLDER "absent.jpg", NULL, &image, &err) == RCNN_ERR_NOT_FOUND);
    CHECK(strstr(err.message, "absent.jpg") && is_one_line(err.message));
    CHECK(rcnn_image_load(FOLDER, NULL, &image, &err) == RCNN_ERR_IO);
    CHECK(rcnn_image_load("/dev/null", NULL, &image, &err) == RCNN_ERR_IO);
    CHECK(rcnn_image_load(NULL, NULL, &image, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_image_load(FOLDER "absent.jpg", NULL, NULL, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_image_decode(NULL, 0, NULL, &image, &err) == RCNN_ERR_FORMAT);
    CHECK(rcnn_image_decode(NULL, 4, NULL, &image, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_image_decode("P5", (size_t)RCNN_IMAGE_FILE_BYTES_MAX + 1, NULL, &image, &err) == RCNN_ERR_LIMIT);
    CHECK(rcnn_image_decode("x", 1, NULL, &image, NULL) == RCNN_ERR_FORMAT);
    rcnn_image_destroy(NULL);
}

TEST(memory_and_file_agree)
{
    char path[1024];
    rcnn_error err;
    rcnn_file_map map;
    rcnn_image *from_file = NULL, *from_memory = NULL;
    fixture_path("jpeg_exif6_75x50.jpg", path);
    CHECK_OK(rcnn_file_map_open(path, 1 << 20, &map, &err), err);
    CHECK_OK(rcnn_image_load(path, NULL, &from_file, &err), err);
    CHECK_OK(rcnn_image_decode(map.data, map.size, NULL, &from_memory, &err), err);
    REQUIRE(from_file && from_memory);
    CHECK(hash_pixels(from_file) == hash_pixels(from_memory));
    rcnn_image_destroy(from_file);
    rcnn_image_destroy(from_memory);
    rcnn_file_map_close(&map);
}

static void count_line(void *context, rcnn_log_level level, const char *line)
{
    int *count = context;
    *count += level == RCNN_LOG_WARN && strstr(line, "jpeg_stray_bytes.jpg") != NULL;
}

TEST(harmless_damage_is_logged_once)
{
    char path[1024];
    rcnn_error err;
    rcnn_image *image = NULL;
    int count = 0;
    fixture_path("jpeg_stray_bytes.jpg", path);
    rcnn_log_set(count_line, &count, RCNN_LOG_WARN);
    CHECK_OK(rcnn_image_load(path, NULL, &image, &err), err);
    rcnn_log_set(NULL, NULL, RCNN_LOG_ERROR);
    CHECK_MSG(count == 1, "%d lines", count);
    rcnn_image_destroy(image);
}

TEST(exif_directory)
{
    /* "II", 42, directory at 8; two entries: make (another tag), orientation 6 */
    const uint8_t block[] = {'I', 'I',  42,   0,    8, 0,    0, 0, 2, 0, 0x0f, 1, 2, 0, 9, 0, 0,
                             0,   0xff, 0xff, 0xff, 0, 0x12, 1, 3, 0, 1, 0,    0, 0, 6, 0, 0, 0};
    CHECK(rcnn_exif_orientation(block, sizeof block) == 6);
    CHECK(rcnn_exif_orientation(block, sizeof block - 2) == 6); /* the value is two bytes, the rest is padding */
    for (size_t size = 0; size < sizeof block - 2; size++) {
        CHECK(rcnn_exif_orientation(block, size) == 1);
    }
}

TEST_MAIN
