/* Checkpoints that PyTorch and numpy wrote, against the manifest their script wrote beside them; damage to them; and
 * failing allocations. */
#include "weights_support.h"

#include "base/memory.h"
#include "model/convert.h"

static const char *const FILES[] = {"every_kind.pth",      "every_kind_legacy.pth", "protocol4.pth",
                                    "bare_legacy.pth",     "view_legacy.pth",       "mmdet2.pth",
                                    "mmdet3.pth",          "numpy_protocol2.pkl",   "numpy_protocol3.pkl",
                                    "numpy_protocol4.pkl", "numpy_protocol5.pkl",   "small.safetensors"};
#define FILE_COUNT (sizeof FILES / sizeof FILES[0])

static blob read_fixture(size_t index)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", WEIGHTS_DIR, FILES[index]);
    return blob_read(path);
}

static uint64_t fnv(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) {
        value = (value ^ bytes[i]) * 0x100000001b3u;
    }
    return value;
}

static uint64_t tensor_hash(const rcnn_tensor_info *t)
{
    size_t count = rcnn_tensor_element_count(t);
    float *values = malloc((count ? count : 1) * sizeof *values);
    rcnn_error err = {0};
    uint64_t hash = 0;
    if (values) {
        CHECK_OK(rcnn_tensor_to_f32(t, values, &err), err);
        hash = fnv(values, count * sizeof *values);
    }
    free(values);
    return hash;
}

/* ----------------------------------------------------------------- manifest */

typedef struct reading {
    rcnn_weights *weights;
    char file[64];
    int32_t index; /* of the next tensor: the manifest is in file order */
} reading;

static void check_tensor(reading *r, char *line)
{
    char name[128], dtype[8], shape[64], got_shape[64] = "";
    unsigned long long hash;
    rcnn_tensor_info found, at;
    if (sscanf(line, "tensor %127s %7s %63s %llx", name, dtype, shape, &hash) != 4) {
        CHECK_MSG(0, "%s: bad manifest line %s", r->file, line);
        return;
    }
    CHECK_MSG(rcnn_weights_find(r->weights, name, &found) == RCNN_OK, "%s: no %s", r->file, name);
    CHECK_MSG(rcnn_weights_get(r->weights, r->index++, &at) == RCNN_OK && strcmp(at.name, name) == 0,
              "%s: %s is out of order", r->file, name);
    for (int32_t i = 0; i < at.rank; i++) {
        size_t used = strlen(got_shape);
        snprintf(got_shape + used, sizeof got_shape - used, "%s%lld", i > 0 ? "," : "", (long long)at.shape[i]);
    }
    CHECK_MSG(strcmp(at.rank > 0 ? got_shape : "-", shape) == 0, "%s: %s: %s", r->file, name, got_shape);
    CHECK_MSG(strcmp(rcnn_dtype_name(at.dtype), dtype) == 0, "%s: %s: %s", r->file, name, rcnn_dtype_name(at.dtype));
    CHECK_MSG(tensor_hash(&at) == hash, "%s: %s: other values", r->file, name);
}

static void check_meta(const reading *r, char *line)
{
    char *key = line + strlen("meta "), *value = strchr(key, ' ');
    *value++ = '\0';
    char *to = value;
    for (const char *from = value; *from; from++) {
        bool newline = from[0] == '\\' && from[1] == 'n';
        *to++ = newline ? '\n' : *from;
        from += newline;
    }
    *to = '\0';
    const char *got = rcnn_weights_meta(r->weights, key);
    CHECK_MSG(got && strcmp(got, value) == 0, "%s: %s: want \"%s\", got \"%s\"", r->file, key, value, got ? got : "");
}

static void check_global(const reading *r, const char *line)
{
    char name[128];
    int want, hits = 0;
    if (sscanf(line, "global %127s %d", name, &want) != 2) {
        return;
    }
    for (int32_t i = 0; i < rcnn_weights_global_count(r->weights); i++) {
        const char *got;
        int32_t known;
        CHECK(rcnn_weights_global_get(r->weights, i, &got, &known) == RCNN_OK);
        hits += strcmp(got, name) == 0 && known == want;
    }
    CHECK_MSG(hits == 1, "%s: global %s listed %d times", r->file, name, hits);
}

static void open_file(reading *r, const char *line)
{
    char path[512], format[32];
    int count;
    rcnn_error err = {0};
    rcnn_weights_close(r->weights);
    r->index = 0;
    CHECK(sscanf(line, "file %63s %31s %d", r->file, format, &count) == 3);
    snprintf(path, sizeof path, "%s%s", WEIGHTS_DIR, r->file);
    CHECK_OK(rcnn_weights_open(path, &r->weights, &err), err);
    if (r->weights) {
        CHECK_MSG(strcmp(rcnn_weights_format_name(r->weights), format) == 0, "%s", r->file);
        CHECK_MSG(rcnn_weights_count(r->weights) == count, "%s: %d", r->file, rcnn_weights_count(r->weights));
    }
}

TEST(manifest)
{
    reading r = {0};
    char line[1024];
    int files = 0;
    FILE *manifest = fopen(WEIGHTS_DIR "manifest.txt", "r");
    REQUIRE(manifest != NULL);
    while (fgets(line, sizeof line, manifest)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "file ", 5) == 0) {
            open_file(&r, line);
            files++;
        } else if (r.weights && strncmp(line, "tensor ", 7) == 0) {
            check_tensor(&r, line);
        } else if (r.weights && strncmp(line, "meta ", 5) == 0) {
            check_meta(&r, line);
        } else if (r.weights) {
            check_global(&r, line);
        }
    }
    fclose(manifest);
    rcnn_weights_close(r.weights);
    CHECK(files == (int)FILE_COUNT);
}

/* ----------------------------------------------------------------- contract */

TEST(tensor_data_lies_in_the_file)
{
    for (size_t f = 0; f < FILE_COUNT; f++) {
        blob file = read_fixture(f);
        rcnn_weights *w = NULL;
        rcnn_error err = {0};
        bool copied = strcmp(FILES[f], "numpy_protocol2.pkl") == 0; /* spells bytes as text */
        CHECK_OK(rcnn_weights_open_memory(file.data, file.size, &w, &err), err);
        for (int32_t i = 0; w && i < rcnn_weights_count(w); i++) {
            rcnn_tensor_info t;
            CHECK(rcnn_weights_get(w, i, &t) == RCNN_OK);
            const uint8_t *data = t.data;
            bool inside = data >= file.data && data < file.data + file.size;
            CHECK_MSG(inside || copied || rcnn_tensor_element_count(&t) == 0, "%s: %s", FILES[f], t.name);
        }
        rcnn_weights_close(w);
        free(file.data);
    }
}

TEST(storages_are_shared)
{
    rcnn_weights *w = NULL;
    rcnn_error err = {0};
    rcnn_tensor_info whole, row, transposed;
    CHECK_OK(rcnn_weights_open(WEIGHTS_DIR "every_kind.pth", &w, &err), err);
    REQUIRE(w && rcnn_weights_find(w, "whole", &whole) == RCNN_OK && rcnn_weights_find(w, "row", &row) == RCNN_OK &&
            rcnn_weights_find(w, "transposed", &transposed) == RCNN_OK);
    CHECK(row.data == (const float *)whole.data + 12 && transposed.data == whole.data);
    CHECK(transposed.shape[0] == 6 && transposed.stride[0] == 1 && transposed.stride[1] == 6);
    rcnn_weights_close(w);
}

TEST(arguments)
{
    rcnn_weights *w = NULL;
    rcnn_error err = {0};
    rcnn_tensor_info t;
    const char *key, *value;
    int32_t known;
    CHECK(rcnn_weights_open(NULL, &w, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_weights_open("/nonexistent/file.pth", &w, NULL) == RCNN_ERR_NOT_FOUND && w == NULL);
    CHECK(rcnn_weights_open_memory(NULL, 4, &w, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_weights_open_memory(NULL, 0, &w, &err) == RCNN_ERR_FORMAT && strstr(err.message, "empty"));
    CHECK_OK(rcnn_weights_open(WEIGHTS_DIR "mmdet3.pth", &w, &err), err);
    REQUIRE(w != NULL);
    CHECK(rcnn_weights_get(w, -1, &t) == RCNN_ERR_ARGUMENT && rcnn_weights_get(w, 2, &t) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_weights_find(w, "ema_state_dict", &t) == RCNN_ERR_NOT_FOUND);
    CHECK(rcnn_weights_meta(w, "meta.none") == NULL && rcnn_weights_meta_get(w, -1, &key, &value) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_weights_meta_get(w, 0, &key, &value) == RCNN_OK && strcmp(key, "meta.mmdet_version") == 0);
    CHECK(rcnn_weights_global_get(w, 1000, &key, &known) == RCNN_ERR_ARGUMENT);
    rcnn_weights_close(w);
    rcnn_weights_close(NULL);
}

/* ------------------------------------------------------------------- damage */

/* Opens a copy of exactly `size` bytes and, if that works, reads every tensor. */
static void open_damaged(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    rcnn_weights *w = NULL;
    rcnn_error err = {0};
    if (!copy) {
        return;
    }
    memcpy(copy, data, size);
    if (rcnn_weights_open_memory(copy, size, &w, &err) == RCNN_OK) {
        for (int32_t i = 0; i < rcnn_weights_count(w); i++) {
            rcnn_tensor_info t;
            if (rcnn_weights_get(w, i, &t) == RCNN_OK) {
                tensor_hash(&t);
            }
        }
    } else {
        CHECK(err.message[0] != '\0' && w == NULL);
    }
    rcnn_weights_close(w);
    free(copy);
}

TEST(every_prefix_is_handled)
{
    for (size_t f = 0; f < FILE_COUNT; f++) {
        blob file = read_fixture(f);
        for (size_t size = 0; size < file.size; size++) {
            open_damaged(file.data, size);
        }
        free(file.data);
    }
}

TEST(random_damage_is_handled)
{
    uint64_t seed = 99;
    for (size_t f = 0; f < FILE_COUNT; f++) {
        blob file = read_fixture(f);
        for (int round = 0; round < 400; round++) {
            uint8_t saved[3];
            size_t at[3];
            for (int i = 0; i < 3; i++) {
                at[i] = test_random(&seed) % file.size;
                saved[i] = file.data[at[i]];
                file.data[at[i]] = (uint8_t)test_random(&seed);
            }
            open_damaged(file.data, file.size);
            for (int i = 3; i-- > 0;) {
                file.data[at[i]] = saved[i];
            }
        }
        free(file.data);
    }
}

TEST(failing_allocation_at_every_n)
{
    for (size_t f = 0; f < FILE_COUNT; f++) {
        char path[512];
        rcnn_status status = RCNN_ERR_MEMORY;
        snprintf(path, sizeof path, "%s%s", WEIGHTS_DIR, FILES[f]);
        uint64_t n = 1;
        for (; status != RCNN_OK && n < 2000; n++) {
            rcnn_weights *w = NULL;
            rcnn_error err = {0};
            rcnn_memory_fail_from(n);
            status = rcnn_weights_open(path, &w, &err);
            rcnn_memory_fail_from(0);
            CHECK_MSG(status == RCNN_OK || (status == RCNN_ERR_MEMORY && !w), "%s: allocation %llu: %s", FILES[f],
                      (unsigned long long)n, err.message);
            rcnn_weights_close(w);
            if (status != RCNN_OK && status != RCNN_ERR_MEMORY) {
                break;
            }
        }
        CHECK_MSG(status == RCNN_OK && n > 3, "%s: %llu allocations", FILES[f], (unsigned long long)n);
    }
}

TEST_MAIN
