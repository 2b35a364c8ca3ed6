/* A run after the first at the same shape allocates nothing, neither in the library nor in the libraries below it: malloc
 * and its kin are replaced in this program by counting ones. */
#include <stdatomic.h>
#include <stddef.h>

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

static atomic_int counting;
static atomic_int allocations;

static void count(void)
{
    if (atomic_load(&counting)) {
        atomic_fetch_add(&allocations, 1);
    }
}

void *malloc(size_t bytes)
{
    count();
    return __libc_malloc(bytes);
}

void *calloc(size_t items, size_t bytes)
{
    count();
    return __libc_calloc(items, bytes);
}

void *realloc(void *pointer, size_t bytes)
{
    count();
    return __libc_realloc(pointer, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count();
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    count();
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : 12;
}

static int allocations_of_second_run(rcnn_mask_format format, const char *backend)
{
    rcnn_error err = {0};
    rcnn_model *model = thin_model();
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(150, 90, 5, &view);
    rcnn_session_options options = thin_options(backend);
    options.mask_format = format;
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    CHECK(rcnn_results_count(results, 0) > 0);
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
    rcnn_status status = rcnn_session_run(session, &view, 1, &results, &err);
    atomic_store(&counting, 0);
    CHECK_OK(status, err);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    free(pixels);
    return atomic_load(&allocations);
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

TEST(second_run_allocates_nothing)
{
    for (int format = RCNN_MASK_NONE; format <= RCNN_MASK_FULL; format++) {
        int made = allocations_of_second_run((rcnn_mask_format)format, thin_backend());
        CHECK_MSG(made == 0, "mask format %d: %d allocations", format, made);
    }
}
#endif

TEST_MAIN
