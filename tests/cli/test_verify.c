/* `rcnn verify` and `rcnn convert --names`: their parts in this process, and the program from outside with the thin
 * models of the golden data. */
#include "harness.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "run_program.h"
#include "triple.h"
#include "verify.h"
#include "thin_model.h"

#define GOLDEN RCNN_SOURCE_DIR "/tests/golden/data/"
#define SAMPLE RCNN_SOURCE_DIR "/samples/tissue.jpg"
#define SMALL  "--scale", "160x96", "--threads", "2", "--score", "0.05"

/* ------------------------------------------------------------------ triples */

static int parses(const char *text, const char *model, const char *device, int32_t index, const char *precision)
{
    triple t;
    rcnn_error err = {0};
    const bool parsed = triple_parse(text, &t, &err);
    CHECK_MSG(parsed, "%s: %s", text, err.message);
    return parsed && strcmp(t.model, model) == 0 && strcmp(t.device.backend, device) == 0 && t.device.count == 1 &&
           t.device.index[0] == index && strcmp(precision_name((int32_t)t.precision), precision) == 0;
}

TEST(triples)
{
    CHECK(parses("a.pth", "a.pth", "auto", 0, "auto"));
    CHECK(parses("a.pth@ref", "a.pth", "ref", 0, "auto"));
    CHECK(parses("a.pth@auto:fp32", "a.pth", "auto", 0, "fp32"));
    CHECK(parses("x@y/a.pth", "x@y/a.pth", "auto", 0, "auto"));
    CHECK(parses("a@b@ref", "a@b", "ref", 0, "auto"));
    CHECK(parses("a.pth@cuda:3", "a.pth", "cuda", 3, "auto"));
    CHECK(parses("a.pth@cuda:fp16", "a.pth", "cuda", 0, "fp16"));
    CHECK(parses("a.pth@cuda:12:bf16", "a.pth", "cuda", 12, "bf16"));
}

TEST(bad_triples_name_what_there_is)
{
    static const char *const bad[][2] = {
        {"a.pth@gpu", "auto, "},   {"a.pth@", "auto, "},     {"a.pth@ref:int4", "fp32"},   {"a.pth@ref:", "fp32"},
        {"@ref", "MODEL[@DEVICE"}, {"", "MODEL[@DEVICE"},    {"a.pth@ref:fp32:x", "fp32"}, {"a.pth@cuda:0,1", "auto, "},
        {"a.pth@ref:1", "auto, "}, {"a.pth@cuda:1:", "tf32"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        triple t;
        rcnn_error err = {0};
        CHECK_MSG(!triple_parse(bad[i][0], &t, &err) && err.status == RCNN_ERR_ARGUMENT, "%s", bad[i][0]);
        CHECK_MSG(strstr(err.message, bad[i][1]), "%s", err.message);
    }
}

/* ----------------------------------------------------------------- matching */

static rcnn_detection box(float x, float y, float side, float score, int32_t label)
{
    return (rcnn_detection){x, y, x + side, y + side, score, label};
}

TEST(box_iou_by_hand)
{
    const rcnn_detection a = box(0, 0, 10, 1, 0), half = box(5, 0, 10, 1, 0), away = box(10, 0, 10, 1, 0);
    const rcnn_detection empty = box(3, 3, 0, 1, 0), other = box(4, 3, 0, 1, 0);
    CHECK(box_iou(&a, &a) == 1 && fabs(box_iou(&a, &half) - 50.0 / 150) < 1e-12 && box_iou(&a, &away) == 0);
    CHECK(box_iou(&empty, &empty) == 1 && box_iou(&empty, &other) == 0 && box_iou(&a, &empty) == 0);
}

TEST(mask_iou_by_hand)
{
    /* 12 pixels: 3..6 set; 5..8 set; none; all */
    const uint32_t a[] = {3, 4, 5}, b[] = {5, 4, 3}, none[] = {12}, all[] = {0, 12};
    CHECK(mask_iou(a, 3, a, 3) == 1 && fabs(mask_iou(a, 3, b, 3) - 2.0 / 6) < 1e-12);
    CHECK(mask_iou(a, 3, none, 1) == 0 && mask_iou(none, 1, none, 1) == 1);
    CHECK(fabs(mask_iou(a, 3, all, 2) - 4.0 / 12) < 1e-12 && mask_iou(all, 2, all, 2) == 1);
    const uint32_t split[] = {3, 2, 0, 2, 5}; /* the same pixels with an empty run between */
    CHECK(mask_iou(a, 3, split, 5) == 1);
}

/* The pair of the largest IoU comes first, whatever the order of the scores; other labels never match. */
TEST(matching_takes_the_closest)
{
    const rcnn_detection a[] = {box(0, 0, 10, 0.9f, 1), box(2, 0, 10, 0.8f, 1), box(50, 50, 10, 0.7f, 1)};
    const rcnn_detection b[] = {box(2, 0, 10, 0.9f, 1), box(0.5f, 0, 10, 0.5f, 1), box(50, 50, 10, 0.7f, 2)};
    match *matches;
    int32_t count;
    REQUIRE(match_detections(a, 3, b, 3, &matches, &count));
    CHECK(count == 2 && matches[0].a == 1 && matches[0].b == 0 && matches[1].a == 0 && matches[1].b == 1);
    CHECK(matches[0].box_px == 0 && matches[1].box_px == 0.5 && fabs(matches[1].score_diff - 0.4) < 1e-6);
    free(matches);
    REQUIRE(match_detections(a, 3, NULL, 0, &matches, &count));
    CHECK(count == 0);
    free(matches);
}

/* A detection just below the score is still the partner of one above it; two below it count for nothing. */
TEST(numbers_of_detections_about_the_score)
{
    rcnn_detection a[] = {box(0, 0, 10, 0.31f, 1), box(50, 0, 10, 0.2f, 1), box(0, 50, 10, 0.9f, 1)};
    rcnn_detection b[] = {box(0, 0, 10, 0.29f, 1), box(50, 0, 10, 0.2f, 1), box(90, 90, 10, 0.1f, 1)};
    bool paired[2][3] = {{true, true, false}, {true, true, false}};
    match *matches;
    int32_t count;
    REQUIRE(match_detections(a, 3, b, 3, &matches, &count));
    verify_image image = {
        .side = {{.items = a, .count = 3, .paired = paired[0]}, {.items = b, .count = 3, .paired = paired[1]}},
        .matches = matches,
        .match_count = count};
    const verify_limits limits = {.score = 0.3, .score_diff = 0.01, .box_px = 1};
    numbers_of_image(&image, &limits);
    CHECK(image.numbers.matched == 1 && image.numbers.found[0] == 2 && image.numbers.found[1] == 0);
    CHECK(image.numbers.unmatched[0] == 1 && image.numbers.unmatched[1] == 0 && image.numbers.masks == 0);
    CHECK(fabs(image.numbers.score_max - 0.02) < 1e-6);
    FILE *null = fopen("/dev/null", "w");
    REQUIRE(null);
    CHECK(report_verdict(null, &image.numbers, &limits) == 2); /* the score difference and the lost one */
    fclose(null);
    free(matches);
}

/* -------------------------------------------------------------- the program */

#define PATH_BYTES 1024

static void join(char out[PATH_BYTES], const char *directory, const char *name)
{
    snprintf(out, PATH_BYTES, "%s/%s", directory, name);
}

static void check_run(program_run *run, int status, const char *mention)
{
    CHECK_MSG(run->status == status, "exit status %d, wanted %d: %s%s", run->status, status, run->out, run->err);
    CHECK_MSG(!mention || strstr(run->out, mention) || strstr(run->err, mention), "no '%s' in: %s%s", mention, run->out,
              run->err);
}

/* Reads the whole file; checks that it is one JSON value. */
static char *read_json(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1 << 21, 1);
    CHECK(file && text);
    const size_t size = file && text ? fread(text, 1, (1 << 21) - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    rcnn_json json;
    rcnn_error err = {0};
    rcnn_json_open(&json, path, text, size);
    do {
        CHECK_OK(rcnn_json_next(&json, &err), err);
    } while (err.status == RCNN_OK && json.token != RCNN_JSON_END);
    rcnn_json_close(&json);
    return text;
}

TEST(two_backends_agree)
{
    char *directory = make_scratch_directory(), json[PATH_BYTES];
    join(json, directory, "v.json");
    program_run run;
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE ":fp32", THIN_MODEL "@ref:fp32", SAMPLE, SMALL, "--json", json) ==
            0);
    check_run(&run, 0, "\npassed\n");
    CHECK(strstr(run.out, "c2 ") && strstr(run.out, "box_pred ") && strstr(run.out, "mask IoU histogram"));
    run_free(&run);
    char *text = read_json(json);
    CHECK(strstr(text, "\"passed\":true") && strstr(text, "\"name\":\"c5\",\"outcome\":\"compared\""));
    CHECK(strstr(text, "\"only_a\":0,\"only_b\":0") && !strstr(text, "\"matched\":0"));
    free(text);
    remove_tree(directory);
}

TEST(int8_weights_are_outside_and_can_be_let_in)
{
    char *directory = make_scratch_directory(), int8[PATH_BYTES];
    join(int8, directory, "int8.safetensors");
    program_run run;
    REQUIRE(RUN(&run, "convert", THIN_MODEL, int8, "--weights", "int8", "-q") == 0);
    check_run(&run, 0, NULL);
    run_free(&run);
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, int8, SAMPLE, SMALL, "-q") == 0);
    check_run(&run, 1, "(--max-stage-error)");
    CHECK(strstr(run.out, "\nFAILED\n"));
    run_free(&run);
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, int8, SAMPLE, SMALL, "--no-values", "--max-box-px", "1000",
                "--max-score-diff", "1", "--min-mask-iou", "0", "--max-unmatched", "100") == 0);
    check_run(&run, 0, "c2 -");
    run_free(&run);
    remove_tree(directory);
}

TEST(pictures_of_both_sides)
{
    char *directory = make_scratch_directory(), pictures[PATH_BYTES];
    join(pictures, directory, "a/b");
    program_run run;
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, GOLDEN "mmdet2_caffe/model.pth", SAMPLE, SMALL, "--picture",
                pictures) == 0);
#if RCNN_HAVE_CAIRO
    struct stat info;
    char picture[2 * PATH_BYTES];
    check_run(&run, 1, "unmatched detections");
    snprintf(picture, sizeof picture, "%s/tissue.png", pictures);
    CHECK(stat(picture, &info) == 0 && info.st_size > 1000);
#else
    check_run(&run, 1, "cairo");
#endif
    run_free(&run);
    remove_tree(directory);
}

TEST(models_of_other_shapes_say_so)
{
    program_run run;
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, GOLDEN "torchvision_r18_faster/model.pth", SAMPLE, SMALL,
                "--max-stage-error", "1e9") == 0);
    check_run(&run, 1, "c2 shapes differ");
    CHECK(strstr(run.out, "masks -"));
    run_free(&run);
}

TEST(verify_usage)
{
    static const char *const bad[][5] = {
        {"verify", THIN_MODEL, NULL},
        {"verify", THIN_MODEL "@tpu", THIN_MODEL, SAMPLE, NULL},
        {"verify", THIN_MODEL, THIN_MODEL "@ref:int4", SAMPLE, NULL},
        {"verify", THIN_MODEL, THIN_MODEL, SAMPLE, "--max-box-px=-1"},
        {"verify", THIN_MODEL, THIN_MODEL, SAMPLE, "--max-ap-drop=0.1"},
        {"convert", THIN_MODEL, "out.safetensors", "--names=caffe2", NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        program_run run;
        REQUIRE(RUN(&run, bad[i][0], bad[i][1], bad[i][2], bad[i][3], bad[i][4]) == 0);
        check_run(&run, 2, "rcnn: ");
        CHECK(count_lines(run.err) == 1 && run.out[0] == '\0');
        run_free(&run);
    }
}

TEST(broken_inputs_fail)
{
    program_run run;
    REQUIRE(RUN(&run, "verify", "no_such.pth", THIN_MODEL, SAMPLE) == 0);
    check_run(&run, 1, "no_such.pth");
    run_free(&run);
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, THIN_MODEL "@" DEVICE, THIN_MODEL, SAMPLE, SMALL) == 0);
    check_run(&run, 1, "model.pth");
    CHECK(strstr(run.out, "all 1 images"));
    run_free(&run);
}

/* ----------------------------------------------------------------------- AP */

/* An annotation file whose one annotation is the best detection of the thin model in the sample, named `name`; every
 * option of SMALL applies. */
static void write_best_as_truth(const char *path, const char *name)
{
    program_run run;
    double box[4] = {0};
    int category = 0;
    REQUIRE(RUN(&run, "detect", SAMPLE, "-m", THIN_MODEL, "--device", DEVICE, SMALL, "--masks", "none", "--json", "-",
                "-q") == 0);
    const char *first = strstr(run.out, "{\"bbox\":[");
    REQUIRE(first && sscanf(first, "{\"bbox\":[%lf,%lf,%lf,%lf],\"category_id\":%d", &box[0], &box[1], &box[2], &box[3],
                            &category) == 5);
    run_free(&run);
    FILE *file = fopen(path, "wb");
    REQUIRE(file);
    fprintf(file, "{\"images\":[{\"id\":3,\"file_name\":\"%s\",\"width\":560,\"height\":400}],\"categories\":[", name);
    for (int i = 0; i < 5; i++) {
        fprintf(file, "%s{\"id\":%d,\"name\":\"thing%d\"}", i ? "," : "", i + 1, i);
    }
    const double right = box[0] + box[2], bottom = box[1] + box[3];
    fprintf(file,
            "],\"annotations\":[{\"id\":1,\"image_id\":3,\"category_id\":%d,\"area\":%f,\"bbox\":[%f,%f,%f,%f],"
            "\"segmentation\":[[%f,%f,%f,%f,%f,%f,%f,%f]]}]}",
            category, box[2] * box[3], box[0], box[1], box[2], box[3], box[0], box[1], right, box[1], right, bottom,
            box[0], bottom);
    fclose(file);
}

/* The n-th number behind `"key":`, -2 when there is none. */
static double number_after(const char *text, const char *key, int index)
{
    const char *at = strstr(text, key);
    for (; at && index >= 0; index--) {
        at = strchr(at + 1, ':');
    }
    return at ? strtod(at + 1, NULL) : -2;
}

/* The numbers of verify are those of eval, and two backends give the same. */
TEST(ap_equals_eval)
{
    char *directory = make_scratch_directory(), ann[PATH_BYTES], json[PATH_BYTES], other[PATH_BYTES];
    program_run run, eval;
    join(ann, directory, "ann.json");
    join(json, directory, "v.json");
    join(other, directory, "other.ppm");
    write_best_as_truth(ann, "tissue.jpg");
    FILE *picture = fopen(other, "wb");
    REQUIRE(picture && fprintf(picture, "P6 2 1 255 abcdef") > 0 && fclose(picture) == 0);
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE ":fp32", THIN_MODEL "@ref", SAMPLE, other, SAMPLE, SMALL, "--ann",
                ann, "--json", json) == 0);
    check_run(&run, 0, "\nAP of 1 images, at most ");
    CHECK_MSG(strstr(run.out, "; skipped: 2 images") && !strstr(run.out, "were not run"), "%s", run.out);
    run_free(&run);
    REQUIRE(RUN(&eval, "eval", "-m", THIN_MODEL, "--device", DEVICE, "--precision", "fp32", "--scale", "160x96",
                "--threads", "2", "--images", RCNN_SOURCE_DIR "/samples", "--ann", ann, "--json", "-") == 0);
    check_run(&eval, 0, NULL);
    char *text = read_json(json);
    const char *segm = strstr(text, "\"segm\":{\"a\":"), *eval_segm = strstr(eval.out, "segm");
    REQUIRE(segm && eval_segm);
    const double box_ap = number_after(text, "\"bbox\":{\"a\":", 2), mask_ap = number_after(segm, "\"a\":", 1);
    const char *stats[2] = {strstr(eval.out, "\"stats\":["), strstr(eval_segm, "\"stats\":[")};
    REQUIRE(stats[0] && stats[1]);
    CHECK_MSG(box_ap > 0.5 && box_ap == strtod(stats[0] + 9, NULL), "%.17g: %s", box_ap, stats[0]);
    CHECK_MSG(mask_ap == strtod(stats[1] + 9, NULL), "%.17g: %s", mask_ap, stats[1]);
    CHECK(number_after(strstr(text, "\"b_minus_a\""), "\"b_minus_a\"", 1) == 0);
    free(text);
    run_free(&eval);
    remove_tree(directory);
}

/* The thresholds of the comparison let everything pass; AP alone tells the other model's results from these. */
TEST(ap_that_falls_fails)
{
    char *directory = make_scratch_directory(), ann[PATH_BYTES];
    program_run run;
    join(ann, directory, "ann.json");
    write_best_as_truth(ann, "tissue.jpg");
#define LENIENT                                                                                                        \
    SAMPLE, SMALL, "--no-values", "--max-box-px", "1000", "--max-score-diff", "1", "--min-mask-iou", "0",              \
        "--max-unmatched", "1000", "--ann", ann
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, GOLDEN "mmdet2_caffe/model.pth@" DEVICE, LENIENT) == 0);
    check_run(&run, 1, "outside: drop of box AP ");
    CHECK(strstr(run.out, "\nFAILED\n"));
    run_free(&run);
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, GOLDEN "mmdet2_caffe/model.pth@" DEVICE, LENIENT,
                "--max-ap-drop", "1") == 0);
    check_run(&run, 0, "\npassed\n");
    run_free(&run);
    REQUIRE(RUN(&run, "verify", GOLDEN "mmdet2_caffe/model.pth@" DEVICE, THIN_MODEL "@" DEVICE, LENIENT) == 0);
    check_run(&run, 0, "\npassed\n"); /* a rise is none */
    run_free(&run);
#undef LENIENT
    remove_tree(directory);
}

TEST(ap_without_its_images)
{
    char *directory = make_scratch_directory(), ann[PATH_BYTES];
    program_run run;
    join(ann, directory, "ann.json");
    write_best_as_truth(ann, "sue.jpg"); /* the end of the sample's name, but not its name */
    REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, THIN_MODEL "@" DEVICE, SAMPLE, SMALL, "--ann", ann) == 0);
    check_run(&run, 1, "--ann: no image");
    CHECK(strstr(run.out, "\nFAILED\n"));
    run_free(&run);
    REQUIRE(RUN(&run, "verify", THIN_MODEL, THIN_MODEL, SAMPLE, "--ann", ann, "--json", ann) == 0);
    check_run(&run, 2, "--json");
    run_free(&run);
    REQUIRE(RUN(&run, "verify", THIN_MODEL, THIN_MODEL, SAMPLE, "--ann", SAMPLE) == 0);
    check_run(&run, 1, "tissue.jpg");
    CHECK(count_lines(run.err) == 1 && run.out[0] == '\0');
    run_free(&run);
    remove_tree(directory);
}

/* -------------------------------------------------------------- state dicts */

/* A model written in every naming, and from each back to a native file, runs exactly as it did. */
TEST(converted_models_run_the_same)
{
    static const char *const names[] = {"torchvision", "mmdet", "detectron2"};
    char *directory = make_scratch_directory(), dict[PATH_BYTES], native[PATH_BYTES];
    join(dict, directory, "dict.safetensors");
    join(native, directory, "native.safetensors");
    program_run run;
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(RUN(&run, "convert", THIN_MODEL, dict, "--names", names[i]) == 0);
        check_run(&run, 0, i == 1 ? NULL : "rcnn: warning: ");
        CHECK(count_lines(run.err) == (i == 1 ? 0 : 1));
        run_free(&run);
        REQUIRE(RUN(&run, "convert", dict, native, "--names", "native") == 0);
        check_run(&run, 0, NULL);
        run_free(&run);
        REQUIRE(RUN(&run, "verify", THIN_MODEL "@" DEVICE, native, SAMPLE, SMALL, "--max-stage-error=0",
                    "--max-box-px=0", "--max-score-diff=0", "--min-mask-iou=1") == 0);
        check_run(&run, 0, "\npassed\n");
        run_free(&run);
    }
    REQUIRE(RUN(&run, "convert", THIN_MODEL, dict, "--names", "mmdet", "--weights", "int8") == 0);
    check_run(&run, 2, "--weights");
    run_free(&run);
    remove_tree(directory);
}

TEST_MAIN
