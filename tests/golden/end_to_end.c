/* See end_to_end.h. The detections above a score of 0.3 against the reference's, boxes, scores and masks within gates that
 * follow the precision: with fp32 all of them, 0.05 px, 1e-4 and a mask IoU of 0.99, and for the frameworks that resize
 * bytes a network input equal bit for bit. */
#include "end_to_end.h"

#include "harness.h"
#include "session/session.h"

#define SCORE_FLOOR  0.3f
#define SPARE_PIXELS 1 /* of a mask, whose probability is the threshold but for the last bit */

/* How far results may be from the reference's. The thin models decide closely, their weights being random: with numbers
 * that carry some 1e-3 of their size (fp16, and about as much in tf32) or 1e-2 (bf16) now and then another box survives
 * the suppression, and small masks whose logits are near zero look different. There most detections must be found and the
 * masks agree as a whole; each op's numbers are held to tight bounds in test_stages. */
typedef struct gates {
    float box, score;
    double found;    /* share of the reference's detections above the floor, and of ours */
    double mask_iou; /* of every mask: 1, or of all masks pooled */
    int every_mask;
} gates;

static const gates *gates_of(rcnn_precision precision)
{
    static const gates SINGLE = {.box = 0.05f, .score = 1e-4f, .found = 1, .mask_iou = 0.99, .every_mask = 1};
    static const gates HALF = {.box = 1, .score = 0.02f, .found = 0.7, .mask_iou = 0.85};
    static const gates BRAIN = {.box = 8, .score = 0.1f, .found = 0.5, .mask_iou = 0.4};
    return precision == RCNN_PRECISION_FP32 ? &SINGLE : precision == RCNN_PRECISION_BF16 ? &BRAIN : &HALF;
}

typedef struct overlap {
    double both, either; /* pixels */
} overlap;

typedef struct extremes {
    int32_t matched;
    float box, score;
    overlap masks; /* of all pairs */
    double mask_iou;
} extremes;

static rcnn_session *open_session(const golden_case *g, const end_to_end *how)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.backend = how->backend;
    options.num_threads = 2;
    options.precision = how->precision;
    options.keep_values = how->keep_values;
    options.mask_format = rcnn_model_has_masks(g->model) ? RCNN_MASK_RLE : RCNN_MASK_NONE;
    if (how->vt) {
        CHECK_OK(rcnn_session_create_on(g->model, &options, how->vt, &session, &err), err);
    } else {
        CHECK_OK(rcnn_session_create(g->model, &options, &session, &err), err);
    }
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

static overlap bitmap_overlap(const uint8_t *a, const uint8_t *b, size_t pixels)
{
    overlap sum = {0};
    for (size_t i = 0; i < pixels; i++) {
        sum.both += a[i] && b[i];
        sum.either += a[i] || b[i];
    }
    return sum;
}

/* 1 for two empty masks. */
static double iou_of(overlap o)
{
    return o.either > 0 ? o.both / o.either : 1.0;
}

static overlap mask_overlap(const golden_case *g, rcnn_results *results, int32_t mine, int32_t reference)
{
    rcnn_error err = {0};
    rcnn_mask mask = {0};
    CHECK_OK(rcnn_results_get_mask(results, 0, mine, RCNN_MASK_RLE, &mask, &err), err);
    uint8_t *got = decode_mask(mask.counts, mask.count, mask.width, mask.height);
    uint8_t *want = reference_mask(g, reference);
    overlap sum = bitmap_overlap(got, want, (size_t)g->image.width * (size_t)g->image.height);
    free(got);
    free(want);
    return sum;
}

/* -------------------------------------------------------------------------------------------- detections */

static float box_distance(const rcnn_detection *d, const float *box)
{
    return fmaxf(fmaxf(fabsf(d->x1 - box[0]), fabsf(d->y1 - box[1])),
                 fmaxf(fabsf(d->x2 - box[2]), fabsf(d->y2 - box[3])));
}

/* The reference detection of that label, score and box, nearest first; -1 when there is none. */
static int32_t find_match(const golden_case *g, const gates *allowed, const rcnn_detection *d)
{
    int32_t count, best = -1;
    size_t elements;
    const float *boxes = golden_floats(g, "det_boxes", &count, &elements);
    const float *scores = golden_floats(g, "det_scores", &count, &elements);
    const int32_t *labels = golden_ints(g, "det_labels", &count);
    for (int32_t i = 0; i < count; i++) {
        if (labels[i] == d->label && fabsf(scores[i] - d->score) <= allowed->score &&
            box_distance(d, boxes + 4 * i) <= allowed->box &&
            (best < 0 || box_distance(d, boxes + 4 * i) < box_distance(d, boxes + 4 * best))) {
            best = i;
        }
    }
    return best;
}

static void note_pair(const golden_case *g, rcnn_results *results, const rcnn_detection *d, int32_t i, int32_t j,
                      extremes *e)
{
    int32_t count;
    size_t elements;
    e->matched++;
    e->box = fmaxf(e->box, box_distance(d, golden_floats(g, "det_boxes", &count, &elements) + 4 * j));
    e->score = fmaxf(e->score, fabsf(d->score - golden_floats(g, "det_scores", &count, &elements)[j]));
    if (rcnn_model_has_masks(g->model)) {
        const overlap o = mask_overlap(g, results, i, j);
        e->masks.both += o.both;
        e->masks.either += o.either;
        if (o.either - o.both > SPARE_PIXELS) {
            e->mask_iou = fmin(e->mask_iou, iou_of(o));
        }
    }
}

/* Detections of ours above the floor have partners, none is used twice, and of the reference's none is left over: all of
 * them, or the share that the gates ask for. */
static void check_detections(const golden_case *g, const gates *allowed, rcnn_results *results, extremes *e)
{
    int32_t count, above = 0, found = 0, ours = 0, paired = 0;
    size_t elements;
    const float *scores = golden_floats(g, "det_scores", &count, &elements);
    uint8_t *taken = calloc((size_t)count + 1, 1);
    for (int32_t i = 0; i < rcnn_results_count(results, 0); i++) {
        rcnn_detection d;
        CHECK(rcnn_results_get(results, 0, i, &d) == RCNN_OK);
        const int32_t j = find_match(g, allowed, &d);
        const int pair = j >= 0 && !taken[j];
        ours += d.score > SCORE_FLOOR;
        paired += d.score > SCORE_FLOOR && pair;
        if (pair) {
            taken[j] = 1;
            note_pair(g, results, &d, i, j, e);
        } else if (d.score > SCORE_FLOOR) {
            printf("%s: no partner for label %d score %.5f (%.2f %.2f %.2f %.2f)\n", g->entry->name, d.label,
                   (double)d.score, (double)d.x1, (double)d.y1, (double)d.x2, (double)d.y2);
        }
    }
    for (int32_t j = 0; j < count; j++) {
        above += scores[j] > SCORE_FLOOR;
        found += scores[j] > SCORE_FLOOR && taken[j];
    }
    CHECK_MSG(above > 0, "%s: the reference holds nothing above %.1f", g->entry->name, (double)SCORE_FLOOR);
    CHECK_MSG(found >= allowed->found * above, "%s: %d of the reference's %d detections", g->entry->name, found, above);
    CHECK_MSG(paired >= allowed->found * ours, "%s: %d of %d detections have a partner", g->entry->name, paired, ours);
    free(taken);
}

static void check_masks(const golden_case *g, const gates *allowed, const extremes *e)
{
    const double iou = allowed->every_mask ? e->mask_iou : iou_of(e->masks);
    CHECK_MSG(iou >= allowed->mask_iou, "%s: mask IoU %.4f, want %.2f", g->entry->name, iou, allowed->mask_iou);
}

static const char *precision_name(rcnn_precision precision)
{
    static const char *const NAMES[] = {"auto", "fp32", "tf32", "fp16", "bf16"};
    return NAMES[precision];
}

void end_to_end_check(const golden_model *entry, const char *file, const end_to_end *how)
{
    golden_case g;
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    int opened = golden_open(&g, entry, file);
    CHECK_MSG(opened, "%s: %s does not open", entry->name, file);
    rcnn_session *session = opened ? open_session(&g, how) : NULL;
    if (session) {
        CHECK_OK(rcnn_session_run(session, &g.image, 1, &results, &err), err);
    }
    if (results) {
        extremes e = {.mask_iou = 1.0};
        check_detections(&g, gates_of(how->precision), results, &e);
        check_masks(&g, gates_of(how->precision), &e);
        int32_t rows;
        size_t elements;
        if (entry->exact_image && how->keep_values && how->precision == RCNN_PRECISION_FP32 &&
            golden_find(&g, "image_u8", &rows, &elements)) {
            check_image(&g, session);
        }
        printf("%-24s %-22s %-4s %-4s %2d detections, box %.1e px, score %.1e, mask IoU %.4f, smallest %.4f\n",
               entry->name, file, how->backend, precision_name(how->precision), e.matched, (double)e.box,
               (double)e.score, iou_of(e.masks), e.mask_iou);
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    golden_close(&g);
}
