/* A run after the first at the same shape allocates nothing. malloc and its kin are replaced in this program by counting
 * ones, visible to all shared libraries. On `ref` nothing at all is allocated. oneDNN keeps small books of its own on every
 * dnnl_primitive_execute (a few hundred bytes, freed before it returns), which no caller can prevent: on `cpu` the library's
 * own count is 0, and what remains is small and all given back. */
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/memory.h"
#include "thin.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
TEST(skipped)
{
    SKIP("the sanitizers bring their own malloc");
}
#else

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *pointer, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

#define VISIBLE __attribute__((visibility("default")))

static atomic_int counting;
static atomic_int allocations;
static atomic_size_t largest;

static void count(size_t bytes)
{
    if (atomic_load(&counting)) {
        atomic_fetch_add(&allocations, 1);
        if (bytes > atomic_load(&largest)) { /* a lost race only shows a slightly smaller largest */
            atomic_store(&largest, bytes);
        }
    }
}

VISIBLE void *malloc(size_t bytes)
{
    count(bytes);
    return __libc_malloc(bytes);
}

VISIBLE void *calloc(size_t items, size_t bytes)
{
    count(items * bytes);
    return __libc_calloc(items, bytes);
}

VISIBLE void *realloc(void *pointer, size_t bytes)
{
    count(bytes);
    return __libc_realloc(pointer, bytes);
}

VISIBLE void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

VISIBLE int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    count(bytes);
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : 12;
}

typedef struct second_run {
    int allocations;           /* by anyone            */
    uint64_t own;              /* by this library      */
    size_t largest, left_over; /* bytes                */
} second_run;

static second_run measure(rcnn_mask_format format, const char *backend)
{
    rcnn_error err = {0};
    rcnn_model *model = thin_model();
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(150, 90, 5, &view);
    rcnn_session_options options = thin_options(backend);
    options.mask_format = format;
    options.num_threads = 1; /* a thread's own malloc arena would blur left_over */
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    CHECK(rcnn_results_count(results, 0) > 0);
    second_run got = {.own = rcnn_memory_allocation_count()};
    atomic_store(&allocations, 0);
    atomic_store(&largest, 0);
    atomic_store(&counting, 1);
    rcnn_status status = rcnn_session_run(session, &view, 1, &results, &err);
    atomic_store(&counting, 0);
    CHECK_OK(status, err);
    got.own = rcnn_memory_allocation_count() - got.own;
    got.allocations = atomic_load(&allocations);
    got.largest = atomic_load(&largest);
    /* of a third run: what malloc's cache of freed blocks took in during the second one counts as in use */
    size_t in_use = mallinfo2().uordblks;
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    size_t after = mallinfo2().uordblks;
    got.left_over = after > in_use ? after - in_use : 0;
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    free(pixels);
    return got;
}

TEST(counting_works)
{
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
    void *volatile block = malloc(10);
    atomic_store(&counting, 0);
    free(block);
    CHECK(atomic_load(&allocations) == 1);
}

TEST(counting_sees_shared_libraries)
{
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
    char *volatile copy = strdup("allocated inside the C library");
    atomic_store(&counting, 0);
    free(copy);
    CHECK(atomic_load(&allocations) == 1);
}

TEST(second_run_on_ref_allocates_nothing)
{
    for (int format = RCNN_MASK_NONE; format <= RCNN_MASK_FULL; format++) {
        second_run got = measure((rcnn_mask_format)format, "ref");
        CHECK_MSG(got.allocations == 0 && got.own == 0, "mask format %d: %d allocations", format, got.allocations);
    }
}

TEST(second_run_on_cpu_allocates_nothing_of_its_own)
{
    if (strcmp(thin_backend(), "cpu") != 0) {
        printf("SKIPPED: built without the cpu backend\n");
        return;
    }
    for (int format = RCNN_MASK_NONE; format <= RCNN_MASK_FULL; format++) {
        second_run got = measure((rcnn_mask_format)format, "cpu");
        printf("mask format %d: own %llu; oneDNN's %d, largest %zu bytes, left over %zu\n", format,
               (unsigned long long)got.own, got.allocations, got.largest, got.left_over);
        CHECK(got.own == 0 && got.left_over == 0);
    }
}
#endif

TEST_MAIN
