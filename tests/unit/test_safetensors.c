/* The safetensors writer: what it writes the reader reads; what it refuses leaves no file. */
#include "harness.h"

#include <unistd.h>

#include "base/memory.h"
#include "model/safetensors.h"

#define PATH_MAX_BYTES 256

static void temporary_path(char *path)
{
    snprintf(path, PATH_MAX_BYTES, "/tmp/rcnn_test_%ld.safetensors", (long)getpid());
}

static const rcnn_safetensors_entry ENTRIES[] = {{"a", RCNN_F32, 2, {2, 3}},
                                                 {"empty", RCNN_F16, 2, {0, 4}},
                                                 {"quo\"te \xc3\xa9", RCNN_I8, 1, {3}},
                                                 {"scalar", RCNN_F64, 0, {0}}};
static const rcnn_safetensors_pair META[] = {{"config", "{\"k\": [1]}\n"}, {"format", "rcnn"}};
static const float A[] = {1, 2, 3, 4, 5, 6};
static const int8_t I8[] = {-1, 0, 1};
static const double SCALAR[] = {0.1};

static rcnn_status write_all(const char *path, rcnn_error *err)
{
    rcnn_safetensors_writer w = {0};
    rcnn_status status = rcnn_safetensors_begin(&w, path, META, 2, ENTRIES, 4, err);
    if (status == RCNN_OK && ((status = rcnn_safetensors_append(&w, A, sizeof A, err)) != RCNN_OK ||
                              (status = rcnn_safetensors_append(&w, NULL, 0, err)) != RCNN_OK ||
                              (status = rcnn_safetensors_append(&w, I8, sizeof I8, err)) != RCNN_OK ||
                              (status = rcnn_safetensors_append(&w, SCALAR, sizeof SCALAR, err)) != RCNN_OK)) {
        rcnn_safetensors_abort(&w);
    }
    return status == RCNN_OK ? rcnn_safetensors_commit(&w, err) : status;
}

TEST(round_trip)
{
    char path[PATH_MAX_BYTES];
    rcnn_error err = {0};
    rcnn_weights *w = NULL;
    rcnn_tensor_info t;
    temporary_path(path);
    CHECK_OK(write_all(path, &err), err);
    CHECK_OK(rcnn_weights_open(path, &w, &err), err);
    REQUIRE(w && rcnn_weights_count(w) == 4);
    CHECK(strcmp(rcnn_weights_meta(w, "config"), META[0].value) == 0 && rcnn_weights_meta_count(w) == 2);
    CHECK(rcnn_weights_find(w, "a", &t) == RCNN_OK && t.shape[1] == 3 && memcmp(t.data, A, sizeof A) == 0);
    CHECK((uintptr_t)t.data % 8 == 0);
    CHECK(rcnn_weights_find(w, "empty", &t) == RCNN_OK && t.shape[0] == 0);
    CHECK(rcnn_weights_find(w, ENTRIES[2].name, &t) == RCNN_OK && memcmp(t.data, I8, sizeof I8) == 0);
    CHECK(rcnn_weights_find(w, "scalar", &t) == RCNN_OK && t.rank == 0 && memcmp(t.data, SCALAR, sizeof SCALAR) == 0);
    rcnn_weights_close(w);
    unlink(path);
}

TEST(without_tensors_or_metadata)
{
    char path[PATH_MAX_BYTES];
    rcnn_error err = {0};
    rcnn_safetensors_writer writer = {0};
    rcnn_weights *w = NULL;
    temporary_path(path);
    CHECK_OK(rcnn_safetensors_begin(&writer, path, NULL, 0, NULL, 0, &err), err);
    CHECK_OK(rcnn_safetensors_commit(&writer, &err), err);
    CHECK_OK(rcnn_weights_open(path, &w, &err), err);
    CHECK(w && rcnn_weights_count(w) == 0 && rcnn_weights_meta_count(w) == 0);
    rcnn_weights_close(w);
    unlink(path);
}

static void check_begin_refuses(const rcnn_safetensors_entry *entries, size_t count)
{
    char path[PATH_MAX_BYTES];
    rcnn_error err = {0};
    rcnn_safetensors_writer writer = {0};
    temporary_path(path);
    CHECK(rcnn_safetensors_begin(&writer, path, NULL, 0, entries, count, &err) == RCNN_ERR_ARGUMENT);
    CHECK(access(path, F_OK) != 0);
}

TEST(bad_entries)
{
    check_begin_refuses((rcnn_safetensors_entry[]){{"a", RCNN_F32, 1, {2}}, {"a", RCNN_F32, 1, {2}}}, 2);
    check_begin_refuses((rcnn_safetensors_entry[]){{"a", (rcnn_dtype)50, 1, {2}}}, 1);
    check_begin_refuses((rcnn_safetensors_entry[]){{"a", RCNN_F32, 1, {-2}}}, 1);
    check_begin_refuses((rcnn_safetensors_entry[]){{"a", RCNN_F32, 2, {INT64_MAX, 4}}}, 1);
    check_begin_refuses((rcnn_safetensors_entry[]){{"a", RCNN_F32, 9, {1}}}, 1);
    check_begin_refuses((rcnn_safetensors_entry[]){{"__metadata__", RCNN_F32, 1, {1}}}, 1);
    check_begin_refuses((rcnn_safetensors_entry[]){{NULL, RCNN_F32, 1, {1}}}, 1);
}

TEST(byte_totals_are_checked)
{
    char path[PATH_MAX_BYTES];
    rcnn_error err = {0};
    rcnn_safetensors_writer writer = {0};
    temporary_path(path);
    CHECK_OK(rcnn_safetensors_begin(&writer, path, NULL, 0, ENTRIES, 1, &err), err);
    CHECK(rcnn_safetensors_append(&writer, A, sizeof A - 1, &err) == RCNN_ERR_ARGUMENT);
    CHECK(strstr(err.message, "want 24 bytes, got 23") != NULL);
    CHECK(rcnn_safetensors_commit(&writer, &err) == RCNN_ERR_ARGUMENT);
    CHECK(access(path, F_OK) != 0);
    CHECK_OK(rcnn_safetensors_begin(&writer, path, NULL, 0, ENTRIES, 1, &err), err);
    CHECK_OK(rcnn_safetensors_append(&writer, A, sizeof A, &err), err);
    CHECK(rcnn_safetensors_append(&writer, A, sizeof A, &err) == RCNN_ERR_ARGUMENT);
    rcnn_safetensors_abort(&writer);
    rcnn_safetensors_abort(&writer);
    CHECK(access(path, F_OK) != 0);
    CHECK(rcnn_safetensors_begin(&writer, "/nonexistent/x", NULL, 0, ENTRIES, 1, &err) == RCNN_ERR_NOT_FOUND);
}

TEST(failing_allocation_at_every_n)
{
    char path[PATH_MAX_BYTES];
    rcnn_status status = RCNN_ERR_MEMORY;
    temporary_path(path);
    for (uint64_t n = 1; status == RCNN_ERR_MEMORY && n < 200; n++) {
        rcnn_error err = {0};
        rcnn_memory_fail_from(n);
        status = write_all(path, &err);
        rcnn_memory_fail_from(0);
        CHECK((status == RCNN_OK) == (access(path, F_OK) == 0));
    }
    CHECK(status == RCNN_OK);
    unlink(path);
}

TEST_MAIN
