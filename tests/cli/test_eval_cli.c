/* `rcnn eval` as a user meets it: the same numbers on every way, files, messages, exit status. */
#include "harness.h"

#include <unistd.h>

#include "json_check.h"
#include "run_program.h"
#include "thin_model.h"

#define DATA  RCNN_SOURCE_DIR "/tests/unit/data/eval/"
#define MODEL RCNN_SOURCE_DIR "/tests/golden/data/mmdet2/model.pth"
#define DEEP  10000000

static char *place(const char *directory, const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int exists(const char *directory, const char *name)
{
    return access(place(directory, name), R_OK) == 0;
}

static void write_text(const char *directory, const char *name, const char *text)
{
    FILE *file = fopen(place(directory, name), "wb");
    REQUIRE(file);
    fputs(text, file);
    fclose(file);
}

/* The n-th number of the first "stats" array of a JSON text. */
static double stat_of(const char *text, int index)
{
    const char *at = strstr(text, "\"stats\":[");
    at = at ? at + 9 : "";
    for (; index > 0 && *at; index--) {
        at += strcspn(at, ",") + 1;
    }
    return strtod(at, NULL);
}

static void check_refused(program_run *run, int status, const char *mention)
{
    CHECK_MSG(run->status == status, "exit status %d, wanted %d: %s", run->status, status, run->err);
    CHECK_MSG(count_lines(run->err) == 1 && strstr(run->err, mention), "no '%s' in: %s", mention, run->err);
    run_free(run);
}

TEST(result_file)
{
    program_run run;
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json", "--results", DATA "dt_segm.json", "--iou-type", "bbox,segm",
                "--threads", "2") == 0);
    CHECK(run.status == 0 && count_lines(run.err) == 0);
    CHECK(strstr(run.out, "\nbbox\n") && strstr(run.out, "\nsegm\n") && strstr(run.out, "maxDets=100 ] = 0."));
    run_free(&run);
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json", "--results", DATA "dt_segm.json", "--iou-type", "segm", "--json",
                "-") == 0);
    CHECK(run.status == 0);
    CHECK_MSG(fabs(stat_of(run.out, 0) - 0.19605253721387667) < 1e-9, "%.17g", stat_of(run.out, 0));
    run_free(&run);
}

TEST(report)
{
    program_run run;
    char *directory = make_scratch_directory();
    REQUIRE(directory);
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json", "--results", DATA "dt_bbox.json", "--report", directory, "-q") ==
            0);
#if RCNN_HAVE_CAIRO
    CHECK(run.status == 0 && count_lines(run.out) == 0);
    CHECK(exists(directory, "precision_recall_bbox.png") && exists(directory, "confusion_bbox.png"));
    run_free(&run);
#else
    check_refused(&run, 1, "cairo");
#endif
    remove_tree(directory);
}

TEST(messages)
{
    program_run run;
    REQUIRE(RUN(&run, "eval", "--results", DATA "dt_bbox.json") == 0);
    check_refused(&run, 2, "--ann");
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json") == 0);
    check_refused(&run, 2, "--images");
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json", "--results", DATA "dt_bbox.json", "--iou-type", "box") == 0);
    check_refused(&run, 2, "--iou-type");
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json", "--results", DATA "dt_bbox.json", "--max-dets", "1,2") == 0);
    check_refused(&run, 2, "--max-dets");
    REQUIRE(RUN(&run, "eval", "--ann", DATA "gt.json", "--results", DATA "dt_bbox.json", "-m", "x") == 0);
    check_refused(&run, 2, "--model");
    REQUIRE(RUN(&run, "eval", "--ann", DATA "none.json", "--results", DATA "dt_bbox.json") == 0);
    check_refused(&run, 1, "none.json");
    REQUIRE(RUN(&run, "eval", "--ann", DATA "dt_bbox.json", "--results", DATA "dt_bbox.json") == 0);
    check_refused(&run, 1, "JSON byte 0");
}

TEST(deep_annotation_file)
{
    program_run run;
    char *directory = make_scratch_directory();
    REQUIRE(directory);
    FILE *file = fopen(place(directory, "deep.json"), "wb");
    REQUIRE(file);
    fputs("{\"info\":", file);
    for (int i = 0; i < DEEP; i++) {
        fputc('[', file);
    }
    fclose(file);
    REQUIRE(RUN(&run, "eval", "--ann", place(directory, "deep.json"), "--results", DATA "dt_bbox.json") == 0);
    CHECK_MSG(run.processor_ms < 10000, "%.0f ms", run.processor_ms);
    check_refused(&run, 1, "nested deeper");
    remove_tree(directory);
}

/* Two small pictures, one annotation each. */
static void write_images(const char *directory, const char *names)
{
    char text[1024];
    for (int i = 0; i < 2; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.pgm", i + 1);
        FILE *file = fopen(place(directory, name), "wb");
        REQUIRE(file);
        fprintf(file, "P5\n48 32\n255\n");
        for (int k = 0; k < 48 * 32; k++) {
            fputc((k * 7 + k / 48 * 31 + i) & 255, file);
        }
        fclose(file);
    }
    snprintf(text, sizeof text,
             "{\"images\":[{\"id\":1,\"file_name\":\"1.pgm\",\"width\":48,\"height\":32},{\"id\":2,\"file_name\":"
             "\"2.pgm\",\"width\":48,\"height\":32}],\"categories\":%s,\"annotations\":[{\"id\":1,\"image_id\":1,"
             "\"category_id\":77,\"area\":100,\"bbox\":[4,4,10,10],\"segmentation\":[[4,4,14,4,14,14,4,14]]}]}",
             names);
    write_text(directory, "ann.json", text);
}

/* Names with the model's are found although the ids are others; the saved files give the numbers of the run. */
TEST(model_and_its_saved_results)
{
    program_run run, again;
    char *directory = make_scratch_directory();
    char ann[1024], saved[1024], file[1024];
    REQUIRE(directory);
    if (access(MODEL, R_OK) != 0) {
        remove_tree(directory);
        SKIP("no " MODEL);
    }
    snprintf(ann, sizeof ann, "%s/ann.json", directory);
    snprintf(saved, sizeof saved, "%s/dt.json", directory);
    REQUIRE(RUN(&run, "info", MODEL, "--json") == 0);
    const char *classes = strstr(run.out, "\"classes\":[");
    REQUIRE(classes);
    char first[64] = "";
    sscanf(classes, "\"classes\":[\"%63[^\"]", first);
    run_free(&run);
    char categories[256];
    snprintf(categories, sizeof categories, "[{\"id\":77,\"name\":\"%s\"}]", first);
    for (char *p = strstr(categories, "name\":\"") + 7; *p && *p != '"'; p++) {
        *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    }
    write_images(directory, categories);
    REQUIRE(RUN(&run, "eval", "-m", MODEL, "--device", DEVICE, "--scale", "160x96", "--images", directory, "--ann", ann,
                "--save-results", saved, "--score", "0", "--max-dets", "20", "--threads", "2", "--json", "-") == 0);
    CHECK_MSG(run.status == 0, "%s", run.err);
    CHECK(exists(directory, "dt.bbox.json") && exists(directory, "dt.segm.json") && !exists(directory, "dt.json"));
    snprintf(file, sizeof file, "%s/dt.bbox.json", directory);
    REQUIRE(RUN(&again, "eval", "--ann", ann, "--results", file, "--max-dets", "20", "--json", "-") == 0);
    CHECK_MSG(again.status == 0, "%s", again.err);
    for (int i = 0; i < 12; i++) {
        CHECK(stat_of(run.out, i) == stat_of(again.out, i));
    }
    run_free(&run);
    run_free(&again);
    write_images(directory, "[{\"id\":77,\"name\":\"zeppelin\"},{\"id\":78,\"name\":\"blimp\"}]");
    REQUIRE(RUN(&run, "eval", "-m", MODEL, "--device", DEVICE, "--images", directory, "--ann", ann) == 0);
    check_refused(&run, 1, "category 77 'zeppelin'");
    remove_tree(directory);
}

TEST_MAIN
