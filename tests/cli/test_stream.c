/* Files through sessions: whatever threads there are, items come back in order, each with what its image alone gives. */
#include "harness.h"

#include <unistd.h>

#include "api/fake_device.h"
#include "inputs.h"
#include "run_program.h"
#include "session/session.h"
#include "stream.h"
#include "thin_model.h"

enum { FILES = 13, SESSIONS = 3 };

typedef struct fixture {
    rcnn_model *model;
    rcnn_session *sessions[SESSIONS];
    char *directory;
    path_list paths;
    rcnn_results *want[FILES]; /* NULL for files that cannot be read or run */
} fixture;

/* Every file differs; number 4 is no image, number 7 is far too long for the network. */
static void write_file(const fixture *f, int number)
{
    FILE *file = fopen(f->paths.paths[number], "wb");
    uint64_t seed = 100 + (uint64_t)number;
    const int32_t width = number == 7 ? 60000 : 48 + 3 * number, height = number == 7 ? 1 : 40;
    REQUIRE(file);
    fprintf(file, number == 4 ? "no image" : "P5\n%d %d\n255\n", (int)width, (int)height);
    for (int i = 0; number != 4 && i < width * height; i++) {
        fputc((int)(128 + 90 * sinf(0.05f * (float)(i % width) * (1 + (float)number / 4)) + test_uniform(&seed, 0, 20)),
              file);
    }
    fclose(file);
}

static void set_up(fixture *f, int32_t batch)
{
    rcnn_error err = {0};
    *f = (fixture){.directory = make_scratch_directory()};
    const char *const bounds[] = {"long_side=65500", "short_side=32"}; /* file 7 becomes wider than 16384 */
    rcnn_model_options model;
    rcnn_model_options_init(&model);
    model.overrides = bounds;
    model.override_count = 2;
    CHECK_OK(rcnn_model_load(THIN_MODEL, &model, &f->model, &err), err);
    rcnn_session_options o;
    rcnn_session_options_init(&o);
    o.backend = DEVICE;
    o.num_threads = 1;
    o.max_batch = batch;
    o.max_detections = 10;
    o.mask_format = RCNN_MASK_RLE;
    for (int i = 0; i < SESSIONS; i++) {
        CHECK_OK(rcnn_session_create(f->model, &o, &f->sessions[i], &err), err);
    }
    for (int i = 0; i < FILES; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%02d.pgm", f->directory, i);
        CHECK(path_list_add(&f->paths, path));
        write_file(f, i);
    }
}

static void tear_down(fixture *f)
{
    for (int i = 0; i < FILES; i++) {
        rcnn_results_destroy(f->want[i]);
    }
    for (int i = 0; i < SESSIONS; i++) {
        rcnn_session_destroy(f->sessions[i]);
    }
    rcnn_model_destroy(f->model);
    path_list_free(&f->paths);
    remove_tree(f->directory);
}

static stream_options options_of(const fixture *f, int32_t batch, int32_t sessions, int32_t decoders)
{
    return (stream_options){.sessions = f->sessions,
                            .session_count = sessions,
                            .paths = f->paths.paths,
                            .count = FILES,
                            .batch = batch,
                            .decoders = decoders,
                            .keep_pixels = decoders % 2 == 0};
}

/* Detections and, up to where they are cut, scores; batches share a padded shape, so boxes may differ a little. */
static void check_item(const fixture *f, const stream_item *item, int index)
{
    CHECK(item->index == (size_t)index && item->path == f->paths.paths[index]);
    const bool bad = index == 4 || index == 7;
    CHECK_MSG((item->failed.status != RCNN_OK) == bad, "file %d: %s", index, item->failed.message);
    if (bad) {
        CHECK(item->failed.message[0] && item->failed.status == (index == 4 ? RCNN_ERR_FORMAT : RCNN_ERR_LIMIT));
        return;
    }
    CHECK(item->view.width == 48 + 3 * index && item->view.height == 40 && item->together >= 1);
    CHECK(item->position < rcnn_results_image_count(item->results));
}

static int same(const stream_item *item, rcnn_results *want)
{
    const int32_t count = rcnn_results_count(want, 0);
    if (rcnn_results_count(item->results, item->position) != count) {
        return 0;
    }
    for (int32_t i = 0; i < count; i++) {
        rcnn_detection a, b;
        if (rcnn_results_get(item->results, item->position, i, &a) || rcnn_results_get(want, 0, i, &b) ||
            memcmp(&a, &b, sizeof a) != 0) {
            return 0;
        }
    }
    return 1;
}

TEST(threads_and_sessions_change_nothing)
{
    fixture f;
    rcnn_error err = {0};
    set_up(&f, 1);
    for (int i = 0; i < FILES; i++) {
        rcnn_image *image = NULL;
        rcnn_image_view view;
        if (i != 4 && i != 7) {
            CHECK_OK(rcnn_image_load(f.paths.paths[i], NULL, &image, &err), err);
            rcnn_image_get_view(image, &view);
            CHECK_OK(rcnn_session_run(f.sessions[0], &view, 1, &f.want[i], &err), err);
            rcnn_image_destroy(image);
        }
    }
    const int32_t ways[][2] = {{1, 0}, {1, 1}, {1, 4}, {2, 1}, {3, 5}}; /* sessions, decoders */
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        stream *s;
        const stream_options how = options_of(&f, 1, ways[w][0], ways[w][1]);
        REQUIRE(stream_open(&how, &s, &err));
        for (int i = 0; i < FILES; i++) {
            const stream_item *item = stream_next(s);
            REQUIRE(item);
            check_item(&f, item, i);
            CHECK_MSG(!f.want[i] || same(item, f.want[i]), "way %zu, file %d", w, i);
        }
        CHECK(stream_next(s) == NULL && stream_next(s) == NULL);
        stream_close(s);
    }
    tear_down(&f);
}

TEST(batches_are_the_same_with_and_without_threads)
{
    for (int32_t batch = 2; batch <= 5; batch += 3) {
        fixture f;
        rcnn_error err = {0};
        int32_t counts[FILES] = {0};
        set_up(&f, batch);
        for (int32_t decoders = 0; decoders <= 3; decoders++) {
            stream *s;
            const stream_options how = options_of(&f, batch, decoders ? 2 : 1, decoders);
            REQUIRE(stream_open(&how, &s, &err));
            for (int i = 0; i < FILES; i++) {
                const stream_item *item = stream_next(s);
                REQUIRE(item);
                check_item(&f, item, i);
                const int32_t count = item->results ? rcnn_results_count(item->results, item->position) : -1;
                counts[i] = decoders ? counts[i] : count;
                CHECK_MSG(count == counts[i], "batch %d, file %d: %d and %d", batch, i, count, counts[i]);
                CHECK(!item->results || item->together <= batch);
            }
            CHECK(stream_next(s) == NULL);
            stream_close(s);
        }
        tear_down(&f);
    }
}

/* On a device runs overlap. It notes a fault in the batch of files 8 and 9 (10 and 11 are under way then): both run again
 * alone, where file 8 fails once more and file 9 does not. */
TEST(a_fault_on_the_device_is_one_files)
{
    fixture f;
    rcnn_error err = {0};
    set_up(&f, 2);
    rcnn_session_options o;
    rcnn_session_options_init(&o);
    o.max_batch = 2;
    o.num_threads = 1;
    o.mask_format = RCNN_MASK_RLE;
    fake = (fake_control){.dry = 1, .fault_at_width = 48 + 3 * 8};
    rcnn_session *device = NULL;
    REQUIRE(rcnn_session_create_on(f.model, &o, &fake_device_vt, &device, &err) == RCNN_OK);
    stream *s;
    stream_options how = options_of(&f, 2, 1, 3);
    how.sessions = &device;
    REQUIRE(stream_open(&how, &s, &err));
    for (int i = 0; i < FILES; i++) {
        const stream_item *item = stream_next(s);
        REQUIRE(item);
        if (i == 8) {
            CHECK_MSG(item->failed.status == RCNN_ERR_NUMERIC && !item->results, "%s", item->failed.message);
        } else {
            check_item(&f, item, i);
            CHECK(i != 9 || item->together == 1);
        }
    }
    stream_close(s);
    rcnn_session_destroy(device);
    CHECK_MSG(!fake.misuse[0], "%s", fake.misuse);
    tear_down(&f);
}

TEST(streams_end_in_the_middle)
{
    fixture f;
    rcnn_error err = {0};
    set_up(&f, 2);
    for (int taken = 0; taken < 8; taken++) {
        stream *s;
        const stream_options how = options_of(&f, 1 + taken % 2, 1 + taken % 3, 1 + taken % 4);
        REQUIRE(stream_open(&how, &s, &err));
        for (int i = 0; i < taken; i++) {
            CHECK(stream_next(s) != NULL);
        }
        stream_close(s);
        for (int i = 0; i < SESSIONS; i++) { /* what was under way is still to be collected */
            rcnn_results *results = NULL;
            while (rcnn_session_pending(f.sessions[i]) > 0) {
                (void)!rcnn_session_collect(f.sessions[i], &results, &err);
            }
            rcnn_results_destroy(results);
        }
    }
    stream *s;
    stream_options none = options_of(&f, 2, 2, 2);
    none.count = 0;
    REQUIRE(stream_open(&none, &s, &err));
    CHECK(stream_next(s) == NULL);
    stream_close(s);
    stream_close(NULL);
    tear_down(&f);
}

TEST_MAIN
