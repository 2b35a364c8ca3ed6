/* Makes the nth allocation of the library fail, for n = 1, 2, ... until everything passes: each failure must come back as
 * RCNN_ERR_MEMORY with a line of text, leave the handles NULL and leak nothing (the sanitizer build checks the last). */
#include "base/memory.h"
#include "thin.h"

/* Loads, opens a session and runs once. */
static rcnn_status whole_life(const rcnn_image_view *view, rcnn_mask_format format, rcnn_error *err)
{
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_session_options options = thin_options(thin_backend());
    options.mask_format = format;
    options.num_threads = 1;
    rcnn_status status = rcnn_model_load(THIN_MODEL, NULL, &model, err);
    CHECK((status == RCNN_OK) == (model != NULL));
    if (status == RCNN_OK) {
        status = rcnn_session_create(model, &options, &session, err);
        CHECK((status == RCNN_OK) == (session != NULL));
    }
    if (status == RCNN_OK) {
        status = rcnn_session_run(session, view, 1, &results, err);
        CHECK((status == RCNN_OK) == (results != NULL));
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return status;
}

static void sweep(rcnn_mask_format format)
{
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(64, 48, 9, &view);
    rcnn_error err = {0};
    uint64_t before = rcnn_memory_allocation_count();
    CHECK_OK(whole_life(&view, format, &err), err);
    uint64_t total = rcnn_memory_allocation_count() - before;
    /* every allocation early on, then in growing steps with the whole tail: a life has thousands */
    uint64_t failures = 0;
    for (uint64_t n = 1; n <= total; n += n < 300 ? 1 : n + 250 > total ? 1 : 17) {
        err = (rcnn_error){0};
        rcnn_memory_fail_from(n);
        rcnn_status status = whole_life(&view, format, &err);
        rcnn_memory_fail_from(0);
        failures += status != RCNN_OK;
        CHECK_MSG(status == RCNN_ERR_MEMORY && err.message[0], "allocation %llu of %llu: status %d '%s'",
                  (unsigned long long)n, (unsigned long long)total, (int)status, err.message);
    }
    CHECK(failures > 50);
    free(pixels);
}

TEST(rle_masks)
{
    sweep(RCNN_MASK_RLE);
}

TEST(polygon_masks)
{
    sweep(RCNN_MASK_POLYGON);
}

TEST_MAIN
