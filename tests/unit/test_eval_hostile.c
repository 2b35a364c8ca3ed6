/* Broken annotation and result files: one clear line each, with the file and the byte; nothing crashes, nothing
 * leaks. */
#include "harness.h"

#include <stdbool.h>

#include "rcnn/rcnn.h"

#define DEEP 10000000

#define IMAGES     "\"images\":[{\"id\":1,\"width\":10,\"height\":8}]"
#define CATEGORIES "\"categories\":[{\"id\":1,\"name\":\"a\"}]"
#define ANN(rest)  "{" IMAGES "," CATEGORIES ",\"annotations\":[{\"id\":5," rest "}]}"
#define HEAD       "\"image_id\":1,\"category_id\":1,\"area\":4,\"bbox\":[0,0,2,2]"
#define DET(rest)  "[{\"image_id\":1,\"category_id\":1,\"score\":0.5," rest "}]"

typedef struct broken {
    const char *text, *mention; /* part of the message */
} broken;

static const broken TRUTHS[] = {
    {"", "the end of the data"},
    {"[]", "want '{'"},
    {"{}", "without \"images\""},
    {"{" IMAGES "," CATEGORIES "}", "without \"annotations\""},
    {"{\"images\":{}", "images: want '['"},
    {"{\"images\":[3]", "images: want '{'"},
    {"{\"images\":[{\"width\":3}]}", "image without \"id\""},
    {"{\"images\":[{\"id\":\"x\"}]}", "id: want a whole number"},
    {"{\"images\":[{\"id\":1.5}]}", "want a whole number, got 1.5"},
    {"{\"images\":[{\"id\":1,\"id\":2}]}", "want \"id\" once"},
    {"{\"images\":[{\"id\":1,\"width\":-3}]}", "width: want 0.."},
    {"{\"images\":[{\"id\":1},{\"id\":1}]," CATEGORIES ",\"annotations\":[]}", "image id 1 was used"},
    {"{" IMAGES ",\"categories\":[{\"id\":1},{\"id\":1}],\"annotations\":[]}", "category id 1 was used"},
    {"{" IMAGES "," IMAGES "}", "want \"images\" once"},
    {ANN("\"category_id\":1,\"area\":1"), "annotation without \"image_id\""},
    {ANN("\"image_id\":1,\"area\":1"), "annotation without \"category_id\""},
    {ANN("\"image_id\":1,\"category_id\":1"), "annotation without \"area\""},
    {ANN("\"image_id\":[],\"area\":1"), "image_id: want a whole number, got '['"},
    {ANN(HEAD ",\"area\":1"), "want \"area\" once"},
    {ANN("\"area\":-1"), "area: want 0 or more"},
    {ANN("\"area\":NaN"), "want a value, got 'N'"},
    {ANN("\"area\":1e999"), "too long or too large"},
    {ANN("\"bbox\":[0,0,NaN,1]"), "got 'N'"},
    {ANN("\"bbox\":[0,0,-1,1]"), "width >= 0"},
    {ANN("\"bbox\":[0,0,1]"), "want four numbers, got 3"},
    {ANN("\"bbox\":[0,0,1,1,1]"), "want four numbers, got 5"},
    {ANN("\"bbox\":[0,0,1e30,1]"), "none beyond"},
    {ANN("\"bbox\":null"), "bbox: want [x, y, width, height]"},
    {ANN("\"bbox\":[0,0,null,1]"), "bbox: want four numbers"},
    {ANN("\"iscrowd\":\"yes\""), "iscrowd: want 0, 1, true or false"},
    {ANN("\"segmentation\":3"), "want polygons or run lengths"},
    {ANN("\"segmentation\":[[1,2,3,4]]"), "3 points or more, got 4"},
    {ANN("\"segmentation\":[[1,2,3,4,5,6,7]]"), "got 7 numbers"},
    {ANN("\"segmentation\":[1,2,3,4,5,6]"), "want a list of polygons"},
    {ANN("\"segmentation\":[[1,2,3,4,5,\"6\"]]"), "want numbers x, y"},
    {ANN("\"segmentation\":[[1,2,3,4,5,1e300]]"), "coordinates up to"},
    {ANN("\"segmentation\":{\"counts\":[80]}"), "segmentation without \"size\""},
    {ANN("\"segmentation\":{\"size\":[8,10]}"), "segmentation without \"counts\""},
    {ANN("\"segmentation\":{\"size\":[8],\"counts\":[80]}"), "size: want a whole number"},
    {ANN("\"segmentation\":{\"size\":[0,10],\"counts\":[80]}"), "size: want [height, width]"},
    {ANN("\"segmentation\":{\"size\":[60000,60000],\"counts\":[80]}"), "at most 2147483647 pixels"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":[70,11]}"), "add up to 8 x 10 = 80 pixels, got at least 81"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":[70]}"), "got 70"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":[-1,81]}"), "counts: want whole numbers"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":[99999999999]}"), "counts: want whole numbers"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":\"~~\"}"), "got other text"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":\"oooooooooooooo\"}"), "got other text"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":\"P\"}"), "got other text"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":\"O\"}"), "a negative one"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":\"\"}"), "got 0"},
    {ANN("\"segmentation\":{\"size\":[8,10],\"counts\":true}"), "counts: want text or numbers"},
    {ANN(HEAD ",\"segmentation\":{\"size\":[10,8],\"counts\":[80]}"), "image's size [8, 10], got [10, 8]"},
    {"{\"images\":[{\"id\":1}]," CATEGORIES ",\"annotations\":[{\"id\":5," HEAD ",\"segmentation\":[[1,2,3,4,5,6]]}]}",
     "want width and height"},
    {"{" IMAGES "," CATEGORIES ",\"annotations\":[{\"id\":5," HEAD "},{\"id\":5," HEAD "}]}",
     "annotation id 5 was used"},
    {ANN(HEAD) " x", "want the end of the data"},
};

static const broken RESULTS[] = {
    {"{}", "detections: want '['"},
    {"[7]", "detections: want '{'"},
    {"[{\"image_id\":1,\"category_id\":1}]", "detection without \"score\""},
    {DET("\"bbox\":[]"), "without \"bbox\" or \"segmentation\""},
    {"[{\"image_id\":2,\"category_id\":1,\"score\":0.5,\"bbox\":[0,0,1,1]}]", "image id 2, which the annotations"},
    {"[{\"image_id\":1,\"category_id\":1,\"score\":Infinity,\"bbox\":[0,0,1,1]}]", "got 'I'"},
    {"[{\"image_id\":1,\"category_id\":1,\"score\":\"1\",\"bbox\":[0,0,1,1]}]", "score: want a number"},
    {DET("\"bbox\":[0,0,1,1],\"bbox\":[0,0,1,1]"), "want \"bbox\" once"},
    {DET("\"segmentation\":{\"size\":[10,8],\"counts\":[80]}"), "size of image id 1 [8, 10], got [10, 8]"},
    {"[{\"image_id\":1,\"category_id\":1,\"score\":1,\"bbox\":[0,0,1,1]},{\"image_id\":1,\"category_id\":1,\"score\":1}"
     "]",
     "which the first one has"},
    {"[{\"image_id\":1,\"category_id\":1,\"score\":1,\"segmentation\":{\"size\":[8,10],\"counts\":[80]}},"
     "{\"image_id\":1,\"category_id\":1,\"score\":1,\"bbox\":[0,0,1,1]}]",
     "without \"segmentation\""},
};

static void check_line(const rcnn_error *err, rcnn_status status, const broken *b)
{
    CHECK_MSG(status != RCNN_OK && err->status == status, "accepted: %.120s", b->text);
    CHECK_MSG(strstr(err->message, b->mention) != NULL, "no '%s' in '%s'", b->mention, err->message);
    CHECK_MSG(strncmp(err->message, "some.json: JSON byte ", 21) == 0 && !strchr(err->message, '\n'), "'%s'",
              err->message);
}

TEST(broken_annotations)
{
    for (size_t i = 0; i < sizeof TRUTHS / sizeof TRUTHS[0]; i++) {
        rcnn_error err = {0};
        rcnn_eval_truth *truth = NULL;
        const rcnn_status status =
            rcnn_eval_truth_parse("some.json", TRUTHS[i].text, strlen(TRUTHS[i].text), 1, &truth, &err);
        check_line(&err, status, &TRUTHS[i]);
        CHECK(truth == NULL);
        rcnn_eval_truth_destroy(truth);
    }
}

static rcnn_eval_truth *good_truth(void)
{
    static const char TEXT[] = ANN(HEAD ",\"segmentation\":[[1,1,5,1,5,5]]");
    rcnn_error err = {0};
    rcnn_eval_truth *truth = NULL;
    CHECK_OK(rcnn_eval_truth_parse("good", TEXT, sizeof TEXT - 1, 1, &truth, &err), err);
    return truth;
}

TEST(broken_results)
{
    rcnn_eval_truth *truth = good_truth();
    REQUIRE(truth);
    for (size_t i = 0; i < sizeof RESULTS / sizeof RESULTS[0]; i++) {
        rcnn_error err = {0};
        rcnn_eval_detections *d = NULL;
        const rcnn_status status =
            rcnn_eval_detections_parse(truth, "some.json", RESULTS[i].text, strlen(RESULTS[i].text), &d, &err);
        check_line(&err, status, &RESULTS[i]);
        CHECK(d == NULL);
        rcnn_eval_detections_destroy(d);
    }
    rcnn_eval_truth_destroy(truth);
}

/* `count` brackets in the place of a known and of an unknown member. */
TEST(deep_nesting_is_refused)
{
    static const char *const HEADS[] = {"{\"info\":", "{\"annotations\":", ""};
    char *text = malloc(DEEP + 64);
    REQUIRE(text);
    for (int i = 0; i < 3; i++) {
        rcnn_error err = {0};
        rcnn_eval_truth *truth = NULL;
        const size_t head = strlen(HEADS[i]);
        memcpy(text, HEADS[i], head);
        memset(text + head, i == 2 ? '{' : '[', DEEP);
        const rcnn_status status = rcnn_eval_truth_parse("some.json", text, head + DEEP, 1, &truth, &err);
        CHECK(status == (i == 0 ? RCNN_ERR_LIMIT : RCNN_ERR_FORMAT) && !truth);
        CHECK_MSG(strncmp(err.message, "some.json: JSON byte ", 21) == 0, "'%s'", err.message);
    }
    free(text);
}

TEST(what_is_odd_but_sound_is_read)
{
    static const char *const TEXTS[] = {
        ANN(HEAD ",\"segmentation\":[]"),
        ANN(HEAD ",\"iscrowd\":true,\"ignore\":1,\"attributes\":{\"deep\":[[[1]]]}"),
        ANN("\"image_id\":1.0,\"category_id\":1e0,\"area\":0,\"bbox\":[]"),
        ANN(HEAD ",\"segmentation\":[[-5,-5,1e6,-5,1e6,1e6],[1,1]]"),
        ANN(HEAD ",\"segmentation\":{\"counts\":[0,0,0,80,0,0],\"size\":[8,10]}"),
        ANN("\"image_id\":99,\"category_id\":1,\"area\":4"), /* left out with a warning */
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        rcnn_error err = {0};
        rcnn_eval_truth *truth = NULL;
        CHECK_OK(rcnn_eval_truth_parse("odd", TEXTS[i], strlen(TEXTS[i]), 1, &truth, &err), err);
        CHECK(rcnn_eval_truth_annotation_count(truth) == (i < 5));
        rcnn_eval_truth_destroy(truth);
    }
}

TEST(what_a_type_needs_is_asked_for)
{
    static const char NO_MASK[] = ANN(HEAD), NO_BOX[] = ANN("\"image_id\":1,\"category_id\":1,\"area\":4");
    for (int type = 0; type < 2; type++) {
        rcnn_error err = {0};
        rcnn_eval_truth *truth = NULL;
        rcnn_eval_detections *d = NULL;
        rcnn_eval *eval = NULL;
        rcnn_eval_options options;
        rcnn_eval_options_init(&options);
        options.iou_type = type ? RCNN_IOU_SEGM : RCNN_IOU_BBOX;
        const char *text = type ? NO_MASK : NO_BOX;
        CHECK_OK(rcnn_eval_truth_parse("t", text, strlen(text), 1, &truth, &err), err);
        CHECK_OK(rcnn_eval_detections_create(truth, &d, &err), err);
        CHECK(rcnn_eval_run(d, &options, &eval, &err) == RCNN_ERR_ARGUMENT && !eval);
        CHECK(strstr(err.message, type ? "id 5 has no segmentation" : "id 5 has no bbox") != NULL);
        rcnn_eval_detections_destroy(d);
        rcnn_eval_truth_destroy(truth);
    }
}

TEST_MAIN
