/* Files that lie: each gives one clear line, soon and in little memory, and nothing in them runs. The files of
 * tests/unit/data/hostile, and the same tricks at full size built here. */
#include "weights_support.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "model/weights.h"

#define MS_MAX  200.0 /* of processor time: a busy machine must not fail the test */
#define MIB_MAX 100

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* the run-time's own memory and slowness are not what is measured */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

typedef struct outcome {
    rcnn_status status;
    char message[512];
    double ms;
    long mib; /* peak resident memory of the process that opened it */
} outcome;

static double processor_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void open_in_child(int out, const char *path, const blob *memory)
{
    outcome o = {0};
    rcnn_error err = {0};
    rcnn_weights *w = NULL;
    double start = processor_ms();
    o.status =
        path ? rcnn_weights_open(path, &w, &err) : rcnn_weights_open_memory(memory->data, memory->size, &w, &err);
    o.ms = processor_ms() - start;
    memcpy(o.message, err.message, sizeof o.message);
    rcnn_weights_close(w);
    _exit(write(out, &o, sizeof o) == (ssize_t)sizeof o ? 0 : 1);
}

/* Opens in a process of its own, to measure its memory and to survive its end. */
static outcome open_measured(const char *path, const blob *memory)
{
    outcome o = {.status = RCNN_ERR_INTERNAL, .message = "the process died"};
    int ends[2], code;
    struct rusage usage = {0};
    fflush(NULL);
    if (pipe(ends) != 0) {
        exit(1);
    }
    pid_t child = fork();
    if (child == 0) {
        open_in_child(ends[1], path, memory);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &o, sizeof o);
    close(ends[0]);
    if (wait4(child, &code, 0, &usage) != child || code != 0 || got != (ssize_t)sizeof o) {
        o.status = RCNN_ERR_INTERNAL;
    }
    o.mib = usage.ru_maxrss / 1024;
    return o;
}

static void check_outcome(const char *name, const outcome *o, const char *status, const char *piece)
{
    bool named = strncmp(rcnn_status_name(o->status), status, strlen(status)) == 0;
    CHECK_MSG(named, "%s: want %s, got %s: %s", name, status, rcnn_status_name(o->status), o->message);
    CHECK_MSG(strstr(o->message, piece) != NULL, "%s: want \"%s\" in \"%s\"", name, piece, o->message);
    CHECK_MSG(o->message[0] && !strchr(o->message, '\n'), "%s: not one line: %s", name, o->message);
    CHECK_MSG(SANITIZED || o->ms < MS_MAX, "%s: %.1f ms", name, o->ms);
    CHECK_MSG(SANITIZED || o->mib < MIB_MAX, "%s: %ld MiB", name, o->mib);
}

TEST(hostile_files)
{
    char line[512], path[1024];
    int count = 0;
    double slowest = 0;
    long largest = 0;
    FILE *expected = fopen(HOSTILE_DIR "expected.txt", "r");
    REQUIRE(expected != NULL);
    while (fgets(line, sizeof line, expected)) {
        line[strcspn(line, "\n")] = '\0';
        char *status = strchr(line, '\t'), *piece = status ? strchr(status + 1, '\t') : NULL;
        REQUIRE(piece != NULL);
        *status++ = *piece++ = '\0';
        snprintf(path, sizeof path, "%s%s", HOSTILE_DIR, line);
        outcome o = open_measured(path, NULL);
        check_outcome(line, &o, status, piece);
        slowest = o.ms > slowest ? o.ms : slowest;
        largest = o.mib > largest ? o.mib : largest;
        count++;
    }
    fclose(expected);
    printf("     %d files, slowest %.1f ms, largest %ld MiB\n", count, slowest, largest);
    CHECK(count >= 24);
    CHECK(access("hostile_was_here", F_OK) != 0);
}

/* --------------------------------------------------------------- full size */

static void check_blob(const char *name, blob *b, const char *status, const char *piece)
{
    outcome o = open_measured(NULL, b);
    printf("     %s: %zu bytes, %.1f ms, %ld MiB\n", name, b->size, o.ms, o.mib);
    check_outcome(name, &o, status, piece);
    free(b->data);
}

TEST(a_million_nested_lists)
{
    blob b = {0};
    BLOB_ADD(&b, "\x80\2");
    blob_repeat(&b, ']', 1000000);
    blob_repeat(&b, 'a', 999999);
    BLOB_ADD(&b, ".");
    check_blob("lists", &b, "format", "holds a list");
    b = (blob){0};
    BLOB_ADD(&b, "\x80\2)");
    blob_repeat(&b, (char)0x85, 700000);
    BLOB_ADD(&b, ".");
    check_blob("tuples", &b, "limit", "need more than");
    b = (blob){0};
    BLOB_ADD(&b, "\x80\2");
    blob_repeat(&b, '(', 3000000);
    check_blob("marks", &b, "limit", "marks");
    b = (blob){0};
    BLOB_ADD(&b, "\x80\2N");
    blob_repeat(&b, '2', 3000000);
    check_blob("stack", &b, "limit", "stack");
    b = (blob){0};
    BLOB_ADD(&b, "\x80\4N");
    blob_repeat(&b, (char)0x94, 3000000);
    check_blob("memo", &b, "limit", "memo");
}

/* `count` tensors that are one and the same node, under names of the given form. */
static blob many_tensors(int count, const char *name_format)
{
    blob b = {0};
    BLOB_ADD(&b, "\x80\4}(");
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, name_format, i);
        blob_text(&b, name);
        if (i == 0) {
            blob_array(&b);
        } else {
            BLOB_ADD(&b, "h\0");
        }
    }
    BLOB_ADD(&b, "u.");
    return b;
}

TEST(too_many_tensors)
{
    blob b = many_tensors(RCNN_WEIGHTS_TENSORS_MAX + 1, "%d");
    check_blob("tensors", &b, "limit", "more than 131072 tensors");
}

TEST(a_hundred_thousand_tensors_are_fine)
{
    blob b = many_tensors(100000, "layer%d.weight");
    rcnn_weights *w = NULL;
    rcnn_error err = {0};
    double start = processor_ms();
    CHECK_OK(rcnn_weights_open_memory(b.data, b.size, &w, &err), err);
    REQUIRE(w && rcnn_weights_count(w) == 100000);
    for (int i = 0; i < 100000; i++) {
        char name[64];
        rcnn_tensor_info t;
        snprintf(name, sizeof name, "layer%d.weight", i);
        if (rcnn_weights_find(w, name, &t) != RCNN_OK) {
            CHECK_MSG(0, "%s not found", name);
            break;
        }
    }
    double ms = processor_ms() - start;
    CHECK_MSG(SANITIZED || ms < 1000, "%.0f ms", ms);
    rcnn_weights_close(w);
    free(b.data);
}

TEST(one_name_a_hundred_thousand_times)
{
    blob b = many_tensors(100000, "same");
    check_blob("one name", &b, "format", "appears twice");
}

TEST(many_globals)
{
    blob b = {0};
    BLOB_ADD(&b, "\x80\2");
    for (int i = 0; i < 70000; i++) {
        char global[32];
        blob_add(&b, global, (size_t)snprintf(global, sizeof global, "cm\n%d\n0", i));
    }
    BLOB_ADD(&b, "}X\1\0\0\0w");
    blob_array(&b);
    BLOB_ADD(&b, "s.");
    check_blob("globals", &b, "limit", "more than 65536 pickle globals");
}

/* Meta of shared dictionaries: 2^40 paths through 40 dictionaries, each holding the next one twice. */
TEST(meta_of_shared_dictionaries_ends)
{
    blob b = {0};
    BLOB_ADD(&b, "\x80\2}(X\5\0\0\0model}X\1\0\0\0w");
    blob_array(&b);
    BLOB_ADD(&b, "sX\4\0\0\0meta}(X\4\0\0\0textX\4\0\0\0leafuq\1");
    for (char i = 1; i < 40; i++) {
        char get[] = {'h', i}, put[] = {'q', (char)(i + 1)};
        BLOB_ADD(&b, "0}(");
        for (int key = 0; key < 100; key++) {
            char name[16];
            snprintf(name, sizeof name, "k%d", key);
            blob_text(&b, name);
            blob_add(&b, get, 2);
        }
        BLOB_ADD(&b, "u");
        blob_add(&b, put, 2);
    }
    BLOB_ADD(&b, "u.");
    outcome o = open_measured(NULL, &b);
    CHECK_MSG(o.status == RCNN_OK && (SANITIZED || o.ms < MS_MAX), "%s, %.1f ms", o.message, o.ms);
    free(b.data);
}

/* A callable beside good tensors: the file opens, the global is listed as unknown, nothing has run. */
TEST(callables_beside_tensors_stay_inert)
{
    blob b = {0};
    BLOB_ADD(&b, "\x80\2}(X\5\0\0\0model}X\1\0\0\0w");
    blob_array(&b);
    BLOB_ADD(&b, "sX\4\0\0\0metacos\nsystem\n(X\x16\0\0\0touch hostile_was_heretRu.");
    rcnn_weights *w = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_weights_open_memory(b.data, b.size, &w, &err), err);
    REQUIRE(w != NULL);
    bool listed = false;
    for (int32_t i = 0; i < rcnn_weights_global_count(w); i++) {
        const char *name;
        int32_t known;
        CHECK(rcnn_weights_global_get(w, i, &name, &known) == RCNN_OK);
        listed = listed || (strcmp(name, "os.system") == 0 && known == 0);
    }
    CHECK(listed && rcnn_weights_count(w) == 1 && rcnn_weights_meta(w, "meta") == NULL);
    CHECK(access("hostile_was_here", F_OK) != 0);
    rcnn_weights_close(w);
    free(b.data);
}

TEST_MAIN
