/* Whole runs through the public interface against the reference implementations: the same detections above a score of
 * 0.3, boxes within 0.05 px, scores within 1e-4, mask IoU of at least 0.99, and for the frameworks that resize bytes a
 * network input equal bit for bit. Every model runs a small picture and one that fills all pyramid levels. */
#include "golden.h"
#include "harness.h"

#define SCORE_FLOOR     0.3f
#define BOX_TOLERANCE   0.05f
#define SCORE_TOLERANCE 1e-4f
#define MASK_IOU_FLOOR  0.99

typedef struct extremes {
    int32_t matched;
    float box, score;
    double mask_iou;
} extremes;

static rcnn_session *open_session(const golden_case *g, const char *backend)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.backend = backend;
    options.num_threads = 2;
    options.keep_values = 1;
    options.mask_format = rcnn_model_has_masks(g->model) ? RCNN_MASK_RLE : RCNN_MASK_NONE;
    CHECK_OK(rcnn_session_create(g->model, &options, &session, &err), err);
    return session;
}

static void check_image(const golden_case *g, rcnn_session *session)
{
    rcnn_error err = {0};
    size_t size = (size_t)g->padded_width * (size_t)g->padded_height * 3 * sizeof(float);
    size_t got_size = 0;
    float *want = golden_image(g);
    float *got = malloc(size);
    CHECK_OK(rcnn_session_read_value(session, "image", got, size, &got_size, &err), err);
    CHECK(got_size == size);
    CHECK_MSG(got_size == size && memcmp(got, want, size) == 0, "%s: network input not bit-equal", g->entry->name);
    free(got);
    free(want);
}

/* ------------------------------------------------------------------------------------------------ masks */

static uint8_t *decode_mask(const uint32_t *counts, int32_t count, int32_t width, int32_t height)
{
    rcnn_error err = {0};
    uint8_t *bitmap = calloc((size_t)width, (size_t)height);
    CHECK_OK(rcnn_rle_decode(counts, count, width, height, bitmap, &err), err);
    return bitmap;
}

static uint8_t *reference_mask(const golden_case *g, int32_t index)
{
    int32_t rows;
    size_t elements;
    const int16_t *counts = golden_find(g, "mask_counts", &rows, &elements);
    const int32_t *ends = golden_ints(g, "mask_ends", &rows);
    int32_t first = index > 0 ? ends[index - 1] : 0;
    int32_t count = ends[index] - first;
    uint32_t *wide = malloc((size_t)count * sizeof *wide);
    for (int32_t i = 0; i < count; i++) {
        wide[i] = (uint32_t)counts[first + i];
    }
    uint8_t *bitmap = decode_mask(wide, count, g->image.width, g->image.height);
    free(wide);
    return bitmap;
}

/* 1 for two empty masks. */
static double bitmap_iou(const uint8_t *a, const uint8_t *b, size_t pixels)
{
    size_t both = 0;
    size_t either = 0;
    for (size_t i = 0; i < pixels; i++) {
        both += a[i] && b[i];
        either += a[i] || b[i];
    }
    return either ? (double)both / (double)either : 1.0;
}

static double mask_iou(const golden_case *g, rcnn_results *results, int32_t mine, int32_t reference)
{
    rcnn_error err = {0};
    rcnn_mask mask = {0};
    CHECK_OK(rcnn_results_get_mask(results, 0, mine, RCNN_MASK_RLE, &mask, &err), err);
    uint8_t *got = decode_mask(mask.counts, mask.count, mask.width, mask.height);
    uint8_t *want = reference_mask(g, reference);
    double iou = bitmap_iou(got, want, (size_t)g->image.width * (size_t)g->image.height);
    free(got);
    free(want);
    return iou;
}

/* -------------------------------------------------------------------------------------------- detections */

static float box_distance(const rcnn_detection *d, const float *box)
{
    return fmaxf(fmaxf(fabsf(d->x1 - box[0]), fabsf(d->y1 - box[1])),
                 fmaxf(fabsf(d->x2 - box[2]), fabsf(d->y2 - box[3])));
}

/* The reference detection of that label, score and box, nearest first; -1 when there is none. */
static int32_t find_match(const golden_case *g, const rcnn_detection *d)
{
    int32_t count, best = -1;
    size_t elements;
    const float *boxes = golden_floats(g, "det_boxes", &count, &elements);
    const float *scores = golden_floats(g, "det_scores", &count, &elements);
    const int32_t *labels = golden_ints(g, "det_labels", &count);
    for (int32_t i = 0; i < count; i++) {
        if (labels[i] == d->label && fabsf(scores[i] - d->score) <= SCORE_TOLERANCE &&
            box_distance(d, boxes + 4 * i) <= BOX_TOLERANCE &&
            (best < 0 || box_distance(d, boxes + 4 * i) < box_distance(d, boxes + 4 * best))) {
            best = i;
        }
    }
    return best;
}

/* Every detection of ours above the floor has a partner, no partner is used twice, and none is left over. */
static void check_detections(const golden_case *g, rcnn_results *results, extremes *e)
{
    int32_t count, above = 0;
    size_t elements;
    const float *boxes = golden_floats(g, "det_boxes", &count, &elements);
    const float *scores = golden_floats(g, "det_scores", &count, &elements);
    uint8_t *taken = calloc((size_t)count + 1, 1);
    for (int32_t i = 0; i < rcnn_results_count(results, 0); i++) {
        rcnn_detection d;
        CHECK(rcnn_results_get(results, 0, i, &d) == RCNN_OK);
        int32_t j = find_match(g, &d);
        if (d.score <= SCORE_FLOOR && j < 0) {
            continue;
        }
        CHECK_MSG(j >= 0 && !taken[j], "%s: no partner for label %d score %.5f (%.2f %.2f %.2f %.2f)", g->entry->name,
                  d.label, (double)d.score, (double)d.x1, (double)d.y1, (double)d.x2, (double)d.y2);
        if (j < 0 || taken[j]) {
            continue;
        }
        taken[j] = 1;
        e->matched++;
        e->box = fmaxf(e->box, box_distance(&d, boxes + 4 * j));
        e->score = fmaxf(e->score, fabsf(d.score - scores[j]));
        if (rcnn_model_has_masks(g->model)) {
            double iou = mask_iou(g, results, i, j);
            CHECK_MSG(iou >= MASK_IOU_FLOOR, "%s: mask IoU %.4f of detection %d", g->entry->name, iou, i);
            e->mask_iou = fmin(e->mask_iou, iou);
        }
    }
    for (int32_t j = 0; j < count; j++) {
        above += scores[j] > SCORE_FLOOR;
        CHECK_MSG(taken[j] || scores[j] <= SCORE_FLOOR, "%s: reference detection %d (score %.5f) is missing",
                  g->entry->name, j, (double)scores[j]);
    }
    CHECK_MSG(above > 0, "%s: the reference holds nothing above %.1f", g->entry->name, (double)SCORE_FLOOR);
    free(taken);
}

static void check_run(const golden_model *entry, const char *file, const char *backend)
{
    golden_case g;
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    int opened = golden_open(&g, entry, file);
    CHECK_MSG(opened, "%s: %s does not open", entry->name, file);
    rcnn_session *session = opened ? open_session(&g, backend) : NULL;
    if (session) {
        CHECK_OK(rcnn_session_run(session, &g.image, 1, &results, &err), err);
    }
    if (results) {
        extremes e = {.mask_iou = 1.0};
        check_detections(&g, results, &e);
        int32_t rows;
        size_t elements;
        if (entry->exact_image && golden_find(&g, "image_u8", &rows, &elements)) {
            check_image(&g, session);
        }
        printf("%-24s %-22s %-4s %2d detections, box %.1e px, score %.1e, smallest mask IoU %.4f\n", entry->name, file,
               backend, e.matched, (double)e.box, (double)e.score, e.mask_iou);
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    golden_close(&g);
}

static void check_all(const char *file)
{
    const char *backend;
    for (int32_t k = 0; (backend = golden_backend(k)) != NULL; k++) {
        for (int32_t i = 0; i < GOLDEN_MODEL_COUNT; i++) {
            check_run(&golden_models[i], file, backend);
        }
    }
}

TEST(small_pictures)
{
    check_all("reference.safetensors");
}
TEST(all_pyramid_levels)
{
    check_all("large.safetensors");
}

TEST_MAIN
