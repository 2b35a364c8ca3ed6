/* `rcnn bench`: its parts in this process, and the program with the thin model of the golden data: which rows, stages and
 * reasons are there, never how long anything took. */
#include "harness.h"

#include <unistd.h>

#include "bench_modes.h"
#include "bench_random.h"
#include "bench_report.h"
#include "bench_run.h"
#include "bench_scene.h"
#include "run_program.h"
#include "thin_model.h"

#define THIN "bench", "-m", THIN_MODEL, "--sizes", "160x96", "--threads", "2", "--device", DEVICE, "--no-peak"

static void check_thin_model(void)
{
    if (access(THIN_MODEL, R_OK) != 0) {
        SKIP("no thin model in tests/golden/data");
    }
}

static char *in_directory(const char *directory, const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s", directory, name);
    return path;
}

static char *read_text(const char *path)
{
    char *text = calloc(1, 1 << 20);
    FILE *file = fopen(path, "rb");
    if (file && text) {
        (void)!fread(text, 1, (1 << 20) - 1, file);
    }
    if (file) {
        fclose(file);
    }
    return text;
}

/* ------------------------------------------------------------------- parts */

TEST(quantiles_lie_between_samples)
{
    double ms[] = {5, 1, 4, 2, 3};
    bench_times t = {.count = 5, .samples = ms};
    bench_times_sum_up(&t);
    CHECK(t.median == 3 && t.min == 1 && fabs(t.p10 - 1.4) < 1e-12 && fabs(t.p90 - 4.6) < 1e-12);
    t.count = 4; /* 5 1 4 2 */
    bench_times_sum_up(&t);
    CHECK(t.median == 3 && ms[0] == 5);
    t.count = 1;
    bench_times_sum_up(&t);
    CHECK(t.median == 5 && t.p10 == 5 && t.p90 == 5);
    t.count = 0;
    bench_times_sum_up(&t);
    CHECK(t.median == 0 && t.min == 0);
}

TEST(lists_of_modes_and_sizes_are_read)
{
    const bench_mode *modes[BENCH_MODES_MAX];
    bench_size sizes[BENCH_SIZES_MAX];
    rcnn_error err = {0};
    int32_t count, on_cpu;
    CHECK(bench_modes_read("all", false, modes, &count, &err) && count == bench_mode_count());
    CHECK(bench_modes_read(NULL, true, modes, &count, &err) && count == bench_mode_count());
    CHECK(bench_modes_read(NULL, false, modes, &on_cpu, &err) && on_cpu < count);
    CHECK(bench_modes_read("rle,bf16,rle", false, modes, &count, &err) && count == 2 &&
          strcmp(modes[0]->name, "rle") == 0);
    CHECK(bench_sizes_read("64x32,1333x800", false, sizes, &count, &err) && count == 2 && sizes[1].width == 1333 &&
          sizes[1].height == 800);
    static const char *const BAD[] = {"",
                                      "x",
                                      "64",
                                      "64x",
                                      "64x31",
                                      "64x8193",
                                      "64x64,",
                                      "64x64x64",
                                      "-64x64",
                                      "999999999999x64",
                                      "64x64,64x64,64x64,64x64,64x64,64x64,64x64,64x64,64x64"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        err = (rcnn_error){0};
        CHECK_MSG(!bench_sizes_read(BAD[i], false, sizes, &count, &err) && err.status == RCNN_ERR_ARGUMENT, "'%s'",
                  BAD[i]);
    }
    CHECK(!bench_modes_read("rle,,bf16", false, modes, &count, &err) && strstr(err.message, "inference_raw_mask"));
}

TEST(every_stage_of_the_library_has_a_column)
{
    for (int32_t i = 0; i < rcnn_stage_count(); i++) {
        CHECK_MSG(bench_stage_of(rcnn_stage_name(i)) < BENCH_STAGE_COUNT, "%s", rcnn_stage_name(i));
    }
    CHECK(bench_stage_of("nothing") == BENCH_STAGE_COUNT);
}

TEST(the_picture_is_the_same_again)
{
    rcnn_image_view a, b, c;
    rcnn_error err = {0};
    REQUIRE(scene_render(200, 120, 40, 7, &a, &err) && scene_render(200, 120, 40, 7, &b, &err));
    REQUIRE(scene_resize(&a, 200, 120, &c, &err));
    CHECK(memcmp(a.data, b.data, 200 * 120 * 3) == 0 && memcmp(a.data, c.data, 200 * 120 * 3) == 0);
    int bright = 0;
    for (int i = 0; i < 200 * 120; i++) {
        bright += a.data[3 * i] > 40;
    }
    CHECK_MSG(bright > 200 * 120 / 20 && bright < 200 * 120 * 9 / 10, "%d bright pixels", bright);
    scene_free(&b);
    scene_free(&c);
    REQUIRE(scene_resize(&a, 33, 77, &b, &err));
    CHECK(b.width == 33 && b.height == 77 && b.stride_bytes == 99);
    scene_free(&a);
    scene_free(&b);
}

TEST(random_weights_make_a_whole_model)
{
    rcnn_model *model;
    rcnn_error err = {0};
    REQUIRE(random_model_make(&model, &err));
    CHECK(rcnn_model_class_count(model) == 80 && rcnn_model_has_masks(model));
    CHECK_MSG(rcnn_model_parameter_count(model) == 44369776, "%lld", (long long)rcnn_model_parameter_count(model));
    rcnn_model_destroy(model);
}

/* ------------------------------------------------------------- a GPU's way */

static bool count_change(void *context, bench_result *r, rcnn_error *err)
{
    (void)r;
    (void)err;
    ++*(int *)context;
    return true;
}

/* As with a GPU: sessions of their own for each kind of time and for kernels, visits of several samples, and batches that
 * overlap. The backend is one that every build has. */
TEST(a_gpu_has_sessions_of_their_own)
{
    check_thin_model();
    static const bench_mode FULL = {"full", RCNN_PRECISION_FP32, RCNN_PRECISION_FP32, RCNN_MASK_FULL, 1, true, true,
                                    ""};
    static const bench_mode BATCH = {"batch", RCNN_PRECISION_FP32, RCNN_PRECISION_FP32, RCNN_MASK_RAW, 2, false, true,
                                     ""};
    static const bench_mode NONE = {"none", RCNN_PRECISION_FP16, RCNN_PRECISION_FP16, RCNN_MASK_RAW, 1, false, true,
                                    ""};
    rcnn_model *model;
    rcnn_error err = {0};
    int changes = 0;
    CHECK_OK(rcnn_model_load(THIN_MODEL, NULL, &model, &err), err);
    const bench_plan plan = {.model = model,
                             .device = {.backend = DEVICE, .count = 1},
                             .gpu = true,
                             .device_name = "gpu:0",
                             .modes = {&FULL, &BATCH, &NONE},
                             .sizes = {{64, 96}, {96, 64}},
                             .mode_count = 3,
                             .size_count = 2,
                             .samples = 4,
                             .warmup = 0,
                             .threads = 2,
                             .keep_shown = true,
                             .changed = count_change,
                             .context = &changes};
    bench_result r = {0};
    bench_pair pair;
    CHECK_MSG(bench_run(&plan, &r, &pair, &err), "%s", err.message);
    CHECK_MSG(r.row_count == 6 && changes == 2 * 3, "%d rows, %d changes", (int)r.row_count, changes);
    for (int32_t i = 0; i < r.row_count && i < 6; i += i % 3 == 1 ? 2 : 1) {
        const bench_row *row = &r.rows[i];
        CHECK_MSG(row->end_to_end.count == 4 && row->staged.count == 4 && !row->skipped[0], "%s", row->skipped);
        CHECK(row->gflop > 0 && row->images_per_s > 0 && row->proposals > 0);
    }
    CHECK(r.row_count == 6 && strcmp(r.rows[0].preprocess, "cpu") == 0 && strcmp(r.rows[1].preprocess, "gpu") == 0);
    CHECK(r.row_count == 6 && r.rows[1].gflop > 1.5 * r.rows[0].gflop && strstr(r.rows[5].skipped, "fp16"));
    CHECK(pair.count == 0); /* one mode of one image a call is no pair */
    bench_pair_free(&pair);
    bench_free(&r);
    rcnn_model_destroy(model);
}

TEST(the_slowest_and_the_fastest_are_kept)
{
    check_thin_model();
    static const bench_mode FULL = {"full", RCNN_PRECISION_FP32, RCNN_PRECISION_FP32, RCNN_MASK_FULL, 1, true, true,
                                    ""};
    static const bench_mode RAW = {"raw", RCNN_PRECISION_FP32, RCNN_PRECISION_FP32, RCNN_MASK_RAW, 1, true, true, ""};
    rcnn_model *model;
    rcnn_error err = {0};
    int changes = 0;
    CHECK_OK(rcnn_model_load(THIN_MODEL, NULL, &model, &err), err);
    const bench_plan plan = {.model = model,
                             .device = {.backend = DEVICE, .count = 1},
                             .device_name = DEVICE,
                             .modes = {&FULL, &RAW},
                             .sizes = {{160, 96}},
                             .mode_count = 2,
                             .size_count = 1,
                             .samples = 2,
                             .warmup = -1,
                             .threads = 2,
                             .keep_shown = true,
                             .changed = count_change,
                             .context = &changes};
    bench_result r = {0};
    bench_pair pair;
    CHECK_MSG(bench_run(&plan, &r, &pair, &err), "%s", err.message);
    CHECK(pair.count == 2 && r.row_count == 2);
    CHECK(pair.count == 2 && strcmp(pair.shown[0].mode, pair.shown[1].mode) != 0 && pair.image.width == 160);
    for (int32_t i = 0; i < pair.count; i++) {
        CHECK(rcnn_results_count(pair.shown[i].results, 0) == r.rows[0].detections);
    }
    bench_pair_free(&pair);
    bench_free(&r);
    rcnn_model_destroy(model);
}

/* ----------------------------------------------------------------- program */

static const bench_row *find_row(const bench_result *r, const char *mode)
{
    for (int32_t i = 0; i < r->row_count; i++) {
        if (strcmp(r->rows[i].mode, mode) == 0) {
            return &r->rows[i];
        }
    }
    return NULL;
}

static void check_measured(const bench_row *row)
{
    CHECK_MSG(row->end_to_end.count == 2 && row->staged.count == 2 && !row->skipped[0], "%s: %s", row->mode,
              row->skipped);
    CHECK(row->stage[BENCH_STAGE_backbone].count == 2 && row->stage[BENCH_STAGE_rpn_head].count == 2);
    CHECK(row->stage[BENCH_STAGE_mask_post].count == 2);
    CHECK(row->gflop > 0 && row->gbyte > 0 && row->stage_gflop[BENCH_STAGE_backbone] > 0);
    CHECK(row->images_per_s > 0 && row->first_run_ms > 0);
    CHECK_MSG(row->proposals > 0 && row->detections > 0 && row->detections <= 100, "%d proposals, %d detections",
              (int)row->proposals, (int)row->detections);
    CHECK(row->width == 160 && row->height == 96 && row->batch == 1);
}

TEST(rows_stages_and_reasons_are_written)
{
    check_thin_model();
    char *directory = make_scratch_directory(), path[512];
    program_run run;
    bench_result r;
    rcnn_error err = {0};
    REQUIRE(RUN_IN(directory, &run, THIN, "--samples", "2", "--warmup", "0", "--json", "a.json", "--csv", "a.csv",
                   "--markdown", "a.md", "--trace", "a.trace", "--report", "report") == 0);
    CHECK_MSG(run.status == 0 && run.err[0] == '\0', "%d: %s", run.status, run.err);
    CHECK(strstr(run.out, "not measured: tf32: ") && strstr(run.out, "inference_raw_mask") &&
          strstr(run.out, "backbone"));
    run_free(&run);
    CHECK_OK(bench_read(in_directory(directory, "a.json", path), &r, &err), err);
    CHECK(r.complete && !r.random_weights && r.fact_count > 5 && r.row_count == 8);
    const bench_row *full = find_row(&r, "inference"), *raw = find_row(&r, "inference_raw_mask");
    const bench_row *skipped = find_row(&r, "tf32"), *int8 = find_row(&r, "int8");
    REQUIRE(full && raw && skipped && int8);
    check_measured(full);
    check_measured(raw);
    CHECK(strcmp(full->masks, "full") == 0 && strcmp(raw->masks, "raw") == 0 && strcmp(full->precision, "fp32") == 0);
    CHECK(skipped->end_to_end.count == 0 && strstr(skipped->skipped, "tf32") && strstr(int8->skipped, "int8"));
    bench_free(&r);
    CHECK(access(in_directory(directory, "a.trace", path), R_OK) == 0);
    CHECK(access(in_directory(directory, "report/report.html", path), R_OK) == 0);
    CHECK_MSG(count_entries(directory) == 5, "%d entries", count_entries(directory));
    remove_tree(directory);
}

/* Commas outside quotes. */
static int count_columns(const char *line)
{
    int columns = 1;
    bool quoted = false;
    for (; *line && *line != '\n'; line++) {
        quoted ^= *line == '"';
        columns += *line == ',' && !quoted;
    }
    return columns;
}

TEST(lines_of_csv_have_the_same_columns)
{
    check_thin_model();
    program_run run;
    REQUIRE(RUN(&run, THIN, "--samples", "1", "--warmup", "0", "--csv", "-") == 0);
    CHECK_MSG(run.status == 0, "%d: %s", run.status, run.err);
    CHECK_MSG(count_lines(run.out) == 9, "%s", run.out);
    for (const char *line = run.out; *line; line = strchr(line, '\n') + 1) {
        CHECK_MSG(count_columns(line) == count_columns(run.out), "%.80s", line);
    }
    run_free(&run);
}

TEST(an_interrupt_leaves_a_valid_file)
{
    check_thin_model();
    char *directory = make_scratch_directory(), path[512];
    const char *arguments[] = {THIN, "--modes", "rle", "--samples", "10000", "--json", "a.json", "-q", NULL};
    program_run run;
    bench_result r;
    rcnn_error err = {0};
    REQUIRE(program_start_and_wait(directory, arguments, 1500, &run) == 0);
    CHECK_MSG(run.status == 130, "%d: %s", run.status, run.err);
    run_free(&run);
    CHECK_OK(bench_read(in_directory(directory, "a.json", path), &r, &err), err);
    CHECK(!r.complete && r.row_count == 1);
    CHECK(r.row_count == 1 && (r.rows[0].end_to_end.count > 0 || r.rows[0].skipped[0]));
    CHECK(r.row_count == 1 && r.rows[0].end_to_end.count < 10000);
    bench_free(&r);
    CHECK(count_entries(directory) == 1);
    remove_tree(directory);
}

TEST(peers_stand_beside_and_files_compare)
{
    check_thin_model();
    char *directory = make_scratch_directory();
    program_run run;
    static const char PEER[] = "{\"schema\":1,\"bench\":\"rcnn\",\"facts\":{\"torch\":\"9.9\"},\"rows\":[{\"subject\":"
                               "\"peer 1.0\",\"mode\":\"eager\",\"width\":160,\"height\":96,\"batch\":1,"
                               "\"end_to_end\":{\"count\":1,\"median_ms\":12.5,\"samples_ms\":[12.5]}}]}";
    char path[512];
    FILE *file = fopen(in_directory(directory, "peer.json", path), "w");
    REQUIRE(file != NULL);
    fputs(PEER, file);
    fclose(file);
    REQUIRE(RUN_IN(directory, &run, THIN, "--modes", "rle", "--samples", "1", "--json", "a.json", "--with", "peer.json",
                   "--with", "peer.json") == 0);
    CHECK_MSG(run.status == 0, "%d: %s", run.status, run.err);
    CHECK(strstr(run.out, "rcnn: rle") && strstr(run.out, "peer 1.0: eager") && strstr(run.out, "peer torch: 9.9"));
    run_free(&run);
    bench_result r;
    rcnn_error err = {0};
    CHECK_OK(bench_read(in_directory(directory, "a.json", path), &r, &err), err);
    CHECK(r.row_count == 3 && strcmp(r.rows[2].subject, "peer 1.0") == 0 && r.rows[2].end_to_end.median == 12.5);
    bench_free(&r);
    REQUIRE(RUN_IN(directory, &run, "bench", "--from", "a.json", "--with", "peer.json", "--json", "b.json") == 0);
    CHECK_MSG(run.status == 0 && strstr(run.out, "rcnn: rle"), "%d: %s", run.status, run.err);
    run_free(&run);
    CHECK_OK(bench_read(in_directory(directory, "b.json", path), &r, &err), err);
    CHECK(r.complete && r.row_count == 4 && r.rows[0].end_to_end.median > 0 && strcmp(r.rows[3].mode, "eager") == 0);
    bench_free(&r);
    REQUIRE(RUN_IN(directory, &run, "bench", "--compare", "a.json", "a.json") == 0);
    CHECK_MSG(run.status == 0 && strstr(run.out, "rle"), "%d: %s%s", run.status, run.out, run.err);
    run_free(&run);
    remove_tree(directory);
}

TEST(a_file_is_resized_and_its_reading_timed)
{
    check_thin_model();
    program_run run;
    REQUIRE(RUN(&run, THIN, "--modes", "rle", "--samples", "1", "--warmup", "0", "--image",
                RCNN_SOURCE_DIR "/samples/tissue.jpg") == 0);
    CHECK_MSG(run.status == 0 && strstr(run.out, "decode") && strstr(run.out, "tissue.jpg"), "%d: %s", run.status,
              run.err);
    run_free(&run);
}

TEST(bad_input_is_one_line)
{
    check_thin_model();
    static const struct {
        const char *arguments[4];
        int status;
        const char *mention;
    } BAD[] = {
        {{"--modes", "rle,warp"}, 2, "'warp'"},
        {{"--sizes", "100"}, 2, "1333x800"},
        {{"--sizes", "99999x800"}, 2, "8192"},
        {{"--samples", "0"}, 2, "1..10000"},
        {{"--image", "nothing.png"}, 1, "nothing.png"},
        {{"--with", "nothing.json", "--samples=1", "--modes=rle"}, 1, "nothing.json"},
        {{"--device", "cuda:0,1"}, 2, "one device"},
        {{"--from", "a.json"}, 2, "without options of a measurement"},
        {{"--random-weights", "r50"}, 2, "without --model"},
        {{"stray.json"}, 2, "--compare"},
        {{"--compare", "a.json"}, 2, "two"},
        {{"--modes=tf32", "-q"}, 1, "nothing was measured: tf32: "},
        {{"--modes=tf32,rle", "--samples=1", "-q", "--trace=no-trace.json"}, 1, "no trace: mode tf32"},
        {{"--json", "no/such/directory/a.json", "--samples=1", "--modes=rle"}, 1, "no/such/directory"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        const char *const *a = BAD[i].arguments;
        program_run run;
        REQUIRE(RUN(&run, THIN, a[0], a[1], a[2], a[3]) == 0);
        CHECK_MSG(run.status == BAD[i].status && count_lines(run.err) == 1 && strstr(run.err, BAD[i].mention),
                  "%s: %d: %s", a[0], run.status, run.err);
        run_free(&run);
    }
    program_run run;
    REQUIRE(RUN(&run, "bench", "-m", "nothing.pth") == 0);
    CHECK_MSG(run.status == 1 && count_lines(run.err) == 1 && strstr(run.err, "nothing.pth"), "%d: %s", run.status,
              run.err);
    run_free(&run);
}

TEST(detect_profiles_the_stages)
{
    check_thin_model();
    char *directory = make_scratch_directory(), path[512];
    program_run run;
    REQUIRE(RUN_IN(directory, &run, "detect", RCNN_SOURCE_DIR "/samples/tissue.jpg",
                   RCNN_SOURCE_DIR "/samples/crowded.png", "-m", THIN_MODEL, "--scale", "160x96", "--device", DEVICE,
                   "--profile", "--json", "a.json") == 0);
    CHECK_MSG(run.status == 0, "%d: %s", run.status, run.err);
    CHECK(strstr(run.out, "ms an image") && strstr(run.out, "(2)") && strstr(run.out, "median") &&
          strstr(run.out, "decode") && strstr(run.out, "backbone"));
    CHECK_MSG(count_lines(run.out) == 2 + 6, "%s", run.out);
    run_free(&run);
    char *text = read_text(in_directory(directory, "a.json", path));
    CHECK(text && strstr(text, "\"images\""));
    free(text);
    remove_tree(directory);
}

TEST_MAIN
