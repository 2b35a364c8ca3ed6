/* `rcnn convert --calibrate` from outside: which images it takes, what it says of bad ones, and that nothing is left behind
 * by what goes wrong. */
#include "harness.h"

#include <unistd.h>

#include "json_check.h"
#include "run_program.h"

#define THIN RCNN_SOURCE_DIR "/tests/golden/data/mmdet2/model.pth"
#define CONVERT(directory, run, out, ...)                                                                              \
    RUN_IN(directory, run, "convert", THIN, out, "--scale", "160x96", "-t", "2", "--calibrate", __VA_ARGS__)

static void write_text(const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) {
        exit(1);
    }
}

static void write_image(const char *directory, const char *name)
{
    static char text[16 + 48 * 32];
    int used = snprintf(text, sizeof text, "P5\n48 32\n255\n");
    for (int i = 0; i < 48 * 32; i++) {
        text[used++] = (char)('!' + (i * 7 + i / 48 * 31) % 90);
    }
    text[used] = '\0';
    write_text(directory, name, text);
}

/* The scratch directory holds pictures a.pgm .. c.pgm and one that is none. */
static char *make_pictures(void)
{
    char *base = make_scratch_directory();
    write_image(base, "a.pgm");
    write_image(base, "b.pgm");
    write_image(base, "c.pgm");
    write_text(base, "broken.pgm", "P5\n999 999\n255\nshort");
    return base;
}

static void check_run(program_run *run, int status, int lines, const char *mention)
{
    CHECK_MSG(run->status == status, "exit status %d, wanted %d: %s", run->status, status, run->err);
    CHECK_MSG(count_lines(run->err) == lines, "%d lines, wanted %d: %s", count_lines(run->err), lines, run->err);
    CHECK_MSG(strstr(run->err, mention), "no '%s' in: %s", mention, run->err);
}

TEST(a_directory_becomes_a_calibrated_file)
{
    char *base = make_pictures();
    program_run run;
    json_counts counts;
    rcnn_error err = {0};
    REQUIRE(CONVERT(base, &run, "out.safetensors", ".", "--precision", "int8") == 0);
    check_run(&run, 0, 3, "1 of 4 images were skipped"); /* and which, and that three are few */
    CHECK(strstr(run.err, "broken.pgm") && strstr(run.err, "3 images only"));
    CHECK_MSG(strstr(run.out, "calibrated on 3 images"), "%s", run.out);
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "info", "out.safetensors", "--device", "ref") == 0);
    CHECK_MSG(run.status == 0 && strstr(run.out, "calibration: 3 images, "), "%s", run.out);
    run_free(&run);
    REQUIRE(RUN_IN(base, &run, "info", "out.safetensors", "--device", "ref", "--json") == 0);
    CHECK(run.status == 0 && json_check(run.out, &counts, &err) == RCNN_OK);
    CHECK(strstr(run.out, "\"activations\":[{\"name\":") && strstr(run.out, "\"images\":3,"));
    run_free(&run);
    REQUIRE(CONVERT(base, &run, "quiet.safetensors", "a.pgm", "-q") == 0);
    CHECK_MSG(run.status == 0 && !run.out[0] && !run.err[0], "%s%s", run.out, run.err);
    run_free(&run);
    CHECK_MSG(count_entries(base) == 6, "%d", count_entries(base));
    remove_tree(base);
}

TEST(lists_count_from_their_folder)
{
    char *base = make_pictures();
    program_run run;
    char path[512];
    write_text(base, "list.txt", "# two pictures\n\na.pgm\r\n  \nc.pgm");
    snprintf(path, sizeof path, "%s/list.txt", base);
    REQUIRE(RUN_IN(NULL, &run, "convert", THIN, "/dev/null/x", "--calibrate", path) == 0);
    check_run(&run, 1, 1, "cannot write there");
    run_free(&run);
    REQUIRE(CONVERT(base, &run, "out.safetensors", path, "--calib-images", "9") == 0);
    check_run(&run, 0, 2, "want 9 images, there are 2; all are used");
    CHECK(strstr(run.out, "calibrated on 2 images"));
    run_free(&run);
    REQUIRE(CONVERT(base, &run, "out.safetensors", "list.txt", "--calib-images", "1") == 0);
    check_run(&run, 0, 1, "1 image only");
    CHECK(strstr(run.out, "calibrated on 1 image:"));
    run_free(&run);
    remove_tree(base);
}

TEST(what_cannot_be_done_leaves_nothing)
{
    static const struct {
        const char *path;
        int lines;
        const char *mention;
    } cases[] = {{"broken.pgm", 2, "none of 1 images can be used"}, {"none.pgm", 2, "none of 1 images can be used"},
                 {"empty.txt", 1, "none of 0 images can be used"},  {"missing.txt", 2, "missing.txt"},
                 {"*.webp", 2, "no images from '*.webp'"},          {THIN, 1, "neither an image nor a list"}};
    char *base = make_pictures();
    write_text(base, "empty.txt", "\n\n# nothing\n");
    const int before = count_entries(base);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_run run;
        REQUIRE(CONVERT(base, &run, "out.safetensors", cases[i].path) == 0);
        check_run(&run, 1, cases[i].lines, cases[i].mention);
        run_free(&run);
        CHECK(count_entries(base) == before);
    }
    remove_tree(base);
}

TEST(options_that_contradict_each_other)
{
    static const char *const bad[][6] = {{"--precision", "int8"},
                                         {"--precision", "fp32", "--calibrate", "."},
                                         {"--calib-images", "3"},
                                         {"--max-error", "0.1"},
                                         {"--calibrate", ".", "--names", "mmdet"},
                                         {"--calibrate", ".", "--weights", "fp16"},
                                         {"--calibrate", ".", "--calib-images", "0"},
                                         {"--calibrate", ".", "--max-error", "2"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *arguments[10] = {"convert", THIN, "out.safetensors"};
        program_run run;
        memcpy(arguments + 3, bad[i], sizeof bad[i]);
        REQUIRE(program_start_and_wait(NULL, arguments, 0, &run) == 0);
        check_run(&run, 2, 1, bad[i][i < 5 ? 0 : 2]);
        run_free(&run);
    }
}

TEST(an_interrupt_leaves_nothing)
{
    char *base = make_pictures();
    static char text[80000];
    size_t used = 0;
    for (int i = 0; i < 10000; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "a.pgm\n");
    }
    write_text(base, "list.txt", text);
    const int before = count_entries(base);
    program_run run;
    const char *const arguments[] = {"convert",     THIN,       "out.safetensors", "--scale", "320x192",
                                     "--calibrate", "list.txt", "--calib-images",  "10000",   NULL};
    REQUIRE(program_start_and_wait(base, arguments, 700, &run) == 0);
    check_run(&run, 130, 1, "interrupted; 'out.safetensors' was not written");
    CHECK(count_entries(base) == before);
    run_free(&run);
    remove_tree(base);
}

TEST_MAIN
