/* The program from outside: exit status, the number of lines it says, the files it leaves. The model is the thin one of
 * the golden data, so that these tests take no time; tests that need it are skipped visibly when it is absent. */
#include "harness.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json_check.h"
#include "rcnn/rcnn.h"
#include "run_program.h"
#include "thin_model.h"

#define HOSTILE RCNN_SOURCE_DIR "/tests/unit/data/hostile"
#define THIN    "-m", THIN_MODEL, "--scale", "160x96", "--threads", "2", "--device", DEVICE

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* memory and time are the sanitizer's then */
#else
#define SANITIZED 0
#endif

static int have_thin_model(void)
{
    if (access(THIN_MODEL, R_OK) == 0) {
        return 1;
    }
    fprintf(stderr, "SKIPPED: no %s\n", THIN_MODEL);
    return 0;
}

/* Exit status and number of lines on standard error. */
static void check_run(program_run *run, int status, int lines, const char *mention)
{
    CHECK_MSG(run->status == status, "exit status %d, wanted %d: %s", run->status, status, run->err);
    CHECK_MSG(count_lines(run->err) == lines, "%d lines, wanted %d: %s", count_lines(run->err), lines, run->err);
    CHECK_MSG(!mention || strstr(run->err, mention), "no '%s' in: %s", mention, run->err);
}

static char *join(const char *directory, const char *name)
{
    size_t capacity = strlen(directory) + strlen(name) + 2;
    char *path = malloc(capacity);
    if (!path) {
        exit(1);
    }
    snprintf(path, capacity, "%s/%s", directory, name);
    return path;
}

/* A grey-scale ramp as PGM. */
static void write_image(const char *directory, const char *name)
{
    char *path = join(directory, name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    if (file) {
        fprintf(file, "P5\n48 32\n255\n");
        for (int i = 0; i < 48 * 32; i++) {
            fputc((i * 7 + i / 48 * 31) & 255, file);
        }
        fclose(file);
    }
    free(path);
}

static char *read_file(const char *directory, const char *name)
{
    char *path = join(directory, name), *text = NULL;
    FILE *file = fopen(path, "rb");
    if (file) {
        text = calloc(1 << 20, 1);
        if (text) {
            (void)!fread(text, 1, (1 << 20) - 1, file);
        }
        fclose(file);
    }
    free(path);
    return text;
}

static int exists(const char *directory, const char *name)
{
    char *path = join(directory, name);
    int found = access(path, F_OK) == 0;
    free(path);
    return found;
}

/* ------------------------------------------------------------------- usage */

TEST(bad_usage_is_one_line_and_two)
{
    static const char *const BAD[][4] = {
        {"detct", NULL},
        {"detect", NULL},
        {"detect", "a.png", "--score=2", NULL},
        {"detect", "a.png", "--scroe", NULL},
        {"detect", "a.png", "--masks=mesh", NULL},
        {"detect", "a.png", "--scale=1333", NULL},
        {"detect", "a.png", "--threads=0", NULL},
        {"detect", "a.png", "--set=x", NULL},
        {"detect", "a.png", "--max-dets", NULL},
        {"detect", "a.png", "--device=gpu", NULL},
        {"detect", "a.png", "--device=cuda:x", NULL},
        {"detect", "a.png", "--precision=fp8", NULL},
        {"detect", "a.png", "--batch=65", NULL},
        {"eval", "--preprocess=tpu", NULL},
        {"info", "a", "b", NULL},
        {"convert", "a", NULL},
        {"convert", "a", "b", "--weights=int4"},
        {"help", "nothing", NULL},
        {"--frobnicate", NULL},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        program_run run;
        REQUIRE(RUN(&run, BAD[i][0], BAD[i][1], BAD[i][2], BAD[i][3]) == 0);
        check_run(&run, 2, 1, "rcnn: ");
        CHECK(run.out[0] == '\0');
        run_free(&run);
    }
}

TEST(help_and_version_work)
{
    program_run run;
    REQUIRE(RUN(&run, "--help") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "detect") && strstr(run.out, "doctor"));
    run_free(&run);
    REQUIRE(RUN(&run, "detect", "--help") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "--max-dets N"));
    run_free(&run);
    REQUIRE(RUN(&run, "version") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strncmp(run.out, "rcnn ", 5) == 0);
    run_free(&run);
    REQUIRE(RUN(&run, "doctor") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "processor:") && strstr(run.out, "ref: usable"));
    run_free(&run);
}

/* ----------------------------------------------------------------- failures */

TEST(missing_things_are_one_line_and_one)
{
    char *base = make_scratch_directory();
    program_run run;
    REQUIRE(RUN_IN(base, &run, "info", "nothing.pth") == 0);
    check_run(&run, 1, 1, "nothing.pth");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "convert", "nothing.pth", "out.safetensors") == 0);
    check_run(&run, 1, 1, "nothing.pth");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.png", "-m", "nothing.pth", "--no-overlay") == 0);
    check_run(&run, 1, 1, "nothing.pth");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", ".") == 0);
    check_run(&run, 1, 1, "no images");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "*.png") == 0);
    check_run(&run, 1, 1, "no file matches");
    run_free(&run);
    CHECK(count_entries(base) == 0);
    remove_tree(base);
}

TEST(unwritable_places_are_known_before_the_model)
{
    char *base = make_scratch_directory();
    program_run run;
    write_image(base, "a.pgm");
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", "-m", "nothing.pth", "--no-overlay", "--json", "none/x.json") == 0);
    check_run(&run, 1, 1, "none/x.json");
    run_free(&run);
    if (RCNN_HAVE_CAIRO) {
        REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", "-m", "nothing.pth", "-o", "a.pgm/sub") == 0);
        check_run(&run, 1, 1, "--output: 'a.pgm/sub'");
        run_free(&run);
    }
    CHECK(count_entries(base) == 1);
    remove_tree(base);
}

TEST(full_standard_output_is_a_failure)
{
    char *base = make_scratch_directory();
    program_run run;
    if (access("/dev/full", W_OK) == 0 && have_thin_model()) {
        write_image(base, "a.pgm");
        REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", "b.pgm", THIN, "--quiet", "--json", "/dev/full") == 0);
        check_run(&run, 1, 1, "/dev/full");
        run_free(&run);
    }
    remove_tree(base);
}

TEST(what_is_read_is_never_replaced)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    program_run run;
    write_image(base, "a.pgm");
    char *alias = join(base, "alias.json"), *model = join(base, "m.pth");
    REQUIRE(symlink("a.pgm", alias) == 0);
    REQUIRE(symlink(THIN_MODEL, model) == 0);
    static const char *const FILES[] = {"a.pgm", "./a.pgm", "alias.json", "m.pth"};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "-m", "m.pth", "--json", FILES[i]) == 0);
        check_run(&run, 2, 1, "--json");
        run_free(&run);
        REQUIRE(RUN_IN(base, &run, "verify", "m.pth", "m.pth", "a.pgm", "--json", FILES[i]) == 0);
        check_run(&run, 2, 1, "--json");
        run_free(&run);
    }
    REQUIRE(RUN_IN(base, &run, "export", "m.pth", "-o", "./m.pth") == 0);
    CHECK_MSG(run.status != 0 && count_lines(run.err) == 1, "exit status %d: %s", run.status, run.err);
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "convert", "m.pth", ".") == 0);
    check_run(&run, 1, 1, "got a directory");
    run_free(&run);
    CHECK(count_entries(base) == 3);
    free(alias);
    free(model);
    remove_tree(base);
}

/* ------------------------------------------------------------------ detect */

static void check_detections(const char *text, int images, int with_masks)
{
    json_counts counts;
    rcnn_error err = {0};
    REQUIRE(text != NULL);
    CHECK_OK(json_check(text, &counts, &err), err);
    CHECK_MSG(counts.images == images && counts.timings == images, "%d images", counts.images);
    CHECK(counts.scores == counts.detections && counts.names == counts.detections && counts.ids == counts.detections);
    CHECK(counts.segmentations == (with_masks ? counts.detections : 0));
    CHECK_MSG(counts.detections > 0, "no detections: the test tests little");
}

TEST(json_is_valid_in_every_mask_form)
{
    static const char *const FORMS[] = {"none", "raw", "crop", "rle", "polygon", "full"};
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    write_image(base, "a.pgm");
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        program_run run;
        REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--score", "0", "-n", "5", "--masks", FORMS[i], "--json",
                       "-") == 0);
        check_run(&run, 0, 1, "a.pgm: 48x32, 5 found (the limit"); /* the summary line, as JSON has standard output */
        check_detections(run.out, 1, i > 0);
        run_free(&run);
    }
    CHECK(!exists(base, "rcnn_out"));
    remove_tree(base);
}

TEST(bad_file_among_good_ones_is_skipped)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    program_run run;
    write_image(base, "a.pgm");
    write_image(base, "c.pgm");
    char *bad = join(base, "b.pgm");
    FILE *file = fopen(bad, "w");
    REQUIRE(file != NULL);
    fputs("P5\n999 999\n255\nshort", file);
    fclose(file);
    REQUIRE(RUN_IN(base, &run, "detect", "*.pgm", "gone.png", THIN, "--score=0", "--json", "d.json") == 0);
    check_run(&run, 1, 2, "b.pgm");
    CHECK_MSG(count_lines(run.out) == 2, "%s", run.out);
    char *json = read_file(base, "d.json");
    check_detections(json, 2, 1);
    free(json);
    run_free(&run);
    free(bad);
    remove_tree(base);
}

/* What a device cannot do is one line; auto says nothing of the GPU it did not find. */
TEST(devices_and_what_they_cannot_do)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory(), text[512];
    program_run run;
    write_image(base, "a.pgm");
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--json", "-", "--preprocess", "gpu") == 0);
    check_run(&run, 2, 1, "--preprocess: want cpu");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--json", "-", "--decode", "gpu") == 0);
    check_run(&run, 2, 1, "--decode: want cpu, as backend " DEVICE " has no GPU, got 'gpu'");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "-q", "--json", "-", "--decode", "cpu") == 0);
    check_run(&run, 0, 0, NULL);
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--json", "-", "--precision", "fp16") == 0);
    check_run(&run, 1, 1, "got precision fp16");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "-q", "--json", "-", "--preprocess", "cpu", "--precision",
                   "fp32", "--tune") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "\"precision\":\"fp32\""));
    run_free(&run);
    if (strcmp(DEVICE, "cpu") == 0) {
        REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "-q", "--json", "-", "--device", "auto") == 0);
        check_run(&run, 0, 0, NULL);
        run_free(&run);
    }
    if (strcmp(rcnn_backend_name(0), "cuda") == 0 && rcnn_backend_probe(0, text, sizeof text) != RCNN_OK) {
        REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--json", "-", "--device", "cuda:0,1") == 0);
        check_run(&run, 1, 1, "cuda");
        run_free(&run);
    }
    remove_tree(base);
}

TEST(images_go_through_together)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    program_run run;
    const char *const names[] = {"a.pgm", "b.pgm", "d.pgm", "e.pgm", "f.pgm"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write_image(base, names[i]);
    }
    char *bad = join(base, "c.pgm");
    FILE *file = fopen(bad, "w");
    REQUIRE(file != NULL);
    fputs("P5\n999 999\n255\nshort", file);
    fclose(file);
    REQUIRE(RUN_IN(base, &run, "detect", ".", THIN, "--score=0", "-n", "5", "--json", "d.json", "--batch", "4") == 0);
    check_run(&run, 1, 1, "c.pgm");
    CHECK_MSG(count_lines(run.out) == 5, "%s", run.out);
    const char *at = run.out;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        at = at ? strstr(at, names[i]) : NULL;
        CHECK_MSG(at, "%s is not in its place: %s", names[i], run.out);
    }
    char *json = read_file(base, "d.json");
    check_detections(json, 5, 1);
    free(json);
    run_free(&run);
    free(bad);
    remove_tree(base);
}

TEST(pictures_are_written)
{
    if (!have_thin_model() || !RCNN_HAVE_CAIRO) {
        return;
    }
    char *base = make_scratch_directory();
    program_run run;
    write_image(base, "a.pgm");
    write_image(base, "a.ppm");
    REQUIRE(RUN_IN(base, &run, "detect", ".", THIN, "--score=0") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(exists(base, "rcnn_out/a.png") && exists(base, "rcnn_out/a-2.png"));
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "rcnn_out", "-o", "rcnn_out/", THIN, "--quiet") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(run.out[0] == '\0');
    CHECK(exists(base, "rcnn_out/a-3.png") && exists(base, "rcnn_out/a-2-2.png"));
    char *directory = join(base, "rcnn_out");
    CHECK(count_entries(directory) == 4);
    free(directory);
    run_free(&run);
    remove_tree(base);
}

TEST(interrupt_leaves_complete_json)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    const char *arguments[40] = {"detect", THIN, "--json", "d.json", "--device", "ref", "--scale", "320x320"};
    int count = 0;
    write_image(base, "a.pgm");
    while (arguments[count]) {
        count++;
    }
    while (count < 39) {
        arguments[count++] = "a.pgm";
    }
    program_run run;
    REQUIRE(program_start_and_wait(base, arguments, 1000, &run) == 0);
    if (run.status == 130 && exists(base, "d.json")) {
        char *json = read_file(base, "d.json");
        json_counts counts;
        rcnn_error err = {0};
        CHECK_OK(json_check(json, &counts, &err), err);
        CHECK_MSG(counts.images > 0 && counts.images < 39, "%d images", counts.images);
        free(json);
    } else {
        CHECK_MSG(run.status == 0 || run.status == 130, "exit status %d: %s", run.status, run.err);
        fprintf(stderr, "SKIPPED: the run was over before or not begun at the interrupt\n");
    }
    CHECK(count_entries(base) <= 2);
    run_free(&run);
    remove_tree(base);
}

TEST(interrupt_while_loading_leaves_no_temporary_file)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    write_image(base, "a.pgm");
    for (int wait_ms = 1; wait_ms <= 16; wait_ms *= 2) {
        const char *const arguments[] = {"detect", "a.pgm", THIN, "--json", "d.json", NULL};
        program_run run;
        REQUIRE(program_start_and_wait(base, arguments, wait_ms, &run) == 0);
        CHECK_MSG(run.status == 0 || run.status == 130, "exit status %d: %s", run.status, run.err);
        CHECK(count_entries(base) == 1 + exists(base, "d.json"));
        run_free(&run);
    }
    remove_tree(base);
}

/* Runs the program with shell syntax around it; returns what the shell does. */
static int run_in_shell(const char *directory, const char *before, const char *after)
{
    char line[2048];
    int used = snprintf(line, sizeof line,
                        "cd '%s' && %s '%s' detect a.pgm a.pgm -m '%s' --scale 160x96 --threads 2 --device %s -s 0 %s",
                        directory, before, RCNN_PROGRAM, THIN_MODEL, DEVICE, after);
    int status = used > 0 && (size_t)used < sizeof line ? system(line) : -1;
    return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_json_file(const char *directory, const char *name, int images)
{
    char *json = read_file(directory, name);
    check_detections(json, images, 1);
    free(json);
}

TEST(closed_streams_do_not_end_up_in_the_json)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    write_image(base, "a.pgm");
    CHECK(run_in_shell(base, "", "--json out.json >&- 2>err.txt") == 1); /* the summary has nowhere to go */
    check_json_file(base, "out.json", 2);
    CHECK(run_in_shell(base, "", "gone.png --json err.json >out.txt 2>&-") == 1);
    check_json_file(base, "err.json", 2);
    CHECK(run_in_shell(base, "", "gone.png --json all.json <&- >&- 2>&-") == 1);
    check_json_file(base, "all.json", 2);
    remove_tree(base);
}

TEST(broken_pipe_leaves_complete_json)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    write_image(base, "a.pgm");
    CHECK(run_in_shell(base, "{", "--json d.json 2>err.txt; echo $? >status.txt; } | true") == 0);
    char *status = read_file(base, "status.txt"), *said = read_file(base, "err.txt");
    CHECK_MSG(status && (strcmp(status, "141\n") == 0 || strcmp(status, "0\n") == 0), "%s", status ? status : "-");
    CHECK_MSG(said && said[0] == '\0', "%s", said ? said : "-");
    char *json = read_file(base, "d.json");
    json_counts counts;
    rcnn_error err = {0};
    REQUIRE(json != NULL);
    CHECK_OK(json_check(json, &counts, &err), err);
    CHECK(count_entries(base) == 4);
    free(status);
    free(said);
    free(json);
    remove_tree(base);
}

TEST(odd_file_names)
{
    if (!have_thin_model() || !RCNN_HAVE_CAIRO) {
        return;
    }
    char *base = make_scratch_directory(), longest[256];
    program_run run;
    memset(longest, 'x', sizeof longest);
    memcpy(longest + 251, ".pgm", 5);
    write_image(base, longest);
    write_image(base, "new\nline.pgm");
    write_image(base, "-dash.pgm");
    write_image(base, "[a]*.pgm");
    REQUIRE(RUN_IN(base, &run, "detect", THIN, "--", longest, "new\nline.pgm", "-dash.pgm", "[a]*.pgm") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK_MSG(count_lines(run.out) == 4 && strstr(run.out, "-> rcnn_out/new?line.png"), "%s", run.out);
    CHECK(exists(base, "rcnn_out/new\nline.png") && exists(base, "rcnn_out/[a]*.png"));
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "", THIN) == 0);
    check_run(&run, 2, 1, "an empty name");
    run_free(&run);
    remove_tree(base);
}

TEST(options_reach_the_session)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    program_run run;
    write_image(base, "a.pgm");
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--no-overlay", "--classes", "nosuchclass") == 0);
    check_run(&run, 2, 1, "--classes: want");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--no-overlay", "--set", "nosuchkey=1") == 0);
    check_run(&run, 2, 1, "nosuchkey");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--no-overlay", "--class-names", "gone.txt") == 0);
    check_run(&run, 1, 1, "--class-names: 'gone.txt'");
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "detect", "a.pgm", THIN, "--no-overlay", "--score=1") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "a.pgm: 48x32, 0 found"));
    run_free(&run);
    remove_tree(base);
}

/* -------------------------------------------------------- info and convert */

TEST(info_and_convert_work_together)
{
    if (!have_thin_model()) {
        return;
    }
    char *base = make_scratch_directory();
    program_run run;
    REQUIRE(RUN_IN(base, &run, "convert", THIN_MODEL, "thin.safetensors", "--weights", "int8") == 0);
    check_run(&run, 0, 0, NULL);
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "info", "thin.safetensors", "--memory", "--size", "96x64", "--device", "ref") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "format: safetensors") && strstr(run.out, "backbone") && strstr(run.out, "GMAC"));
    CHECK(strstr(run.out, "ops first..last"));
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "info", "thin.safetensors", "--json", "--size", "96x64", "--device", "ref") == 0);
    check_run(&run, 0, 0, NULL);
    json_counts counts;
    rcnn_error err = {0};
    CHECK_OK(json_check(run.out, &counts, &err), err);
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "info", THIN_MODEL, "--globals", "--tensors") == 0);
    check_run(&run, 0, 0, NULL);
    CHECK(strstr(run.out, "torch._utils._rebuild_tensor_v2") &&
          strstr(run.out, "f16  backbone.conv1.weight [4,3,7,7]"));
    run_free(&run);
    remove_tree(base);
}

/* ----------------------------------------------------------------- hostile */

static int is_image(const char *name)
{
    static const char *const SUFFIXES[] = {".jpg", ".png", ".webp", ".ppm", ".pgm", ".pnm"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof SUFFIXES / sizeof SUFFIXES[0]; i++) {
        if (strcmp(dot, SUFFIXES[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* One clear line, exit status 1, quick and small. An image is read after the model, whose time and memory are not its
 * fault, so an image run is measured against the thin model only. */
static void check_hostile(const char *path, const char *name)
{
    program_run run;
    if (is_image(name)) {
        REQUIRE(RUN(&run, "detect", path, THIN, "--no-overlay") == 0);
    } else {
        REQUIRE(RUN(&run, "info", path) == 0);
    }
    check_run(&run, 1, 1, "rcnn: ");
    CHECK_MSG(SANITIZED || run.processor_ms < 200, "%s: %.0f ms", name, run.processor_ms);
    CHECK_MSG(SANITIZED || run.peak_kib < 100 * 1024, "%s: %ld KiB", name, run.peak_kib);
    run_free(&run);
}

TEST(hostile_files_end_quickly)
{
    int count = 0;
    DIR *directory = opendir(HOSTILE);
    if (!directory || !have_thin_model()) {
        fprintf(stderr, "SKIPPED: no %s\n", HOSTILE);
    } else {
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
            char *path = join(HOSTILE, entry->d_name);
            struct stat info;
            if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && !strstr(entry->d_name, ".md") &&
                !strstr(entry->d_name, ".txt")) {
                check_hostile(path, entry->d_name);
                count++;
            }
            free(path);
        }
        printf("%d hostile files\n", count);
    }
    if (directory) {
        closedir(directory);
    }
}

TEST_MAIN
