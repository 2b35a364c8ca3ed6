/* Detections of two runs paired, and what the pairs differ in. Pure arithmetic on results. */
#include "verify.h"

#include <math.h>
#include <stdlib.h>

static double length_of(float low, float high)
{
    return high > low ? (double)high - (double)low : 0;
}

static double box_area(const rcnn_detection *d)
{
    return length_of(d->x1, d->x2) * length_of(d->y1, d->y2);
}

double box_iou(const rcnn_detection *a, const rcnn_detection *b)
{
    const double width = length_of(fmaxf(a->x1, b->x1), fminf(a->x2, b->x2));
    const double height = length_of(fmaxf(a->y1, b->y1), fminf(a->y2, b->y2));
    const double common = width * height, all = box_area(a) + box_area(b) - common;
    if (all > 0) {
        return common / all;
    }
    return a->x1 == b->x1 && a->y1 == b->y1 ? 1 : 0; /* two empty boxes */
}

double mask_iou(const uint32_t *a, int32_t a_count, const uint32_t *b, int32_t b_count)
{
    uint64_t common = 0, any = 0;
    int32_t i = 0, j = 0;
    uint32_t left_a = a_count ? a[0] : 0, left_b = b_count ? b[0] : 0;
    while (i < a_count && j < b_count) {
        const uint32_t step = left_a < left_b ? left_a : left_b;
        common += (i & 1) && (j & 1) ? step : 0; /* runs alternate, zeros first */
        any += (i & 1) || (j & 1) ? step : 0;
        left_a -= step;
        left_b -= step;
        if (left_a == 0) {
            left_a = ++i < a_count ? a[i] : 0;
        }
        if (left_b == 0) {
            left_b = ++j < b_count ? b[j] : 0;
        }
    }
    return any ? (double)common / (double)any : 1;
}

static double largest_coordinate_difference(const rcnn_detection *a, const rcnn_detection *b)
{
    const float x = fmaxf(fabsf(a->x1 - b->x1), fabsf(a->x2 - b->x2));
    const float y = fmaxf(fabsf(a->y1 - b->y1), fabsf(a->y2 - b->y2));
    return (double)fmaxf(x, y);
}

/* Larger IoU first, then lower indices. */
static int compare_matches(const void *left, const void *right)
{
    const match *x = left, *y = right;
    if (x->iou != y->iou) {
        return x->iou > y->iou ? -1 : 1;
    }
    return x->a != y->a ? (x->a < y->a ? -1 : 1) : x->b < y->b ? -1 : x->b > y->b;
}

/* All pairs that could be; returns how many. out NULL only counts. */
static int32_t list_candidates(const rcnn_detection *a, int32_t a_count, const rcnn_detection *b, int32_t b_count,
                               match *out)
{
    int32_t count = 0;
    for (int32_t i = 0; i < a_count; i++) {
        for (int32_t j = 0; j < b_count; j++) {
            const double iou = a[i].label == b[j].label ? box_iou(&a[i], &b[j]) : 0;
            if (iou < MATCH_IOU_MIN) {
                continue;
            }
            if (out) {
                out[count] = (match){.a = i, .b = j, .iou = iou, .mask_iou = -1};
            }
            count++;
        }
    }
    return count;
}

bool match_detections(const rcnn_detection *a, int32_t a_count, const rcnn_detection *b, int32_t b_count, match **out,
                      int32_t *count)
{
    const int32_t candidate_count = list_candidates(a, a_count, b, b_count, NULL);
    match *candidates = calloc((size_t)candidate_count + 1, sizeof *candidates);
    bool *taken = calloc((size_t)a_count + (size_t)b_count + 1, sizeof *taken);
    *out = candidates;
    *count = 0;
    if (!candidates || !taken) {
        free(candidates);
        free(taken);
        *out = NULL;
        return false;
    }
    list_candidates(a, a_count, b, b_count, candidates);
    qsort(candidates, (size_t)candidate_count, sizeof *candidates, compare_matches);
    for (int32_t i = 0; i < candidate_count; i++) {
        match m = candidates[i];
        if (taken[m.a] || taken[a_count + m.b]) {
            continue;
        }
        taken[m.a] = taken[a_count + m.b] = true;
        m.box_px = largest_coordinate_difference(&a[m.a], &b[m.b]);
        m.score_diff = fabs((double)a[m.a].score - (double)b[m.b].score);
        candidates[(*count)++] = m; /* never ahead of i */
    }
    free(taken);
    return true;
}

/* --------------------------------------------------------------- numbers */

bool match_counts(const verify_image *image, const match *m, const verify_limits *limits)
{
    return (double)image->side[0].items[m->a].score > limits->score ||
           (double)image->side[1].items[m->b].score > limits->score;
}

bool match_within(const match *m, const verify_limits *limits)
{
    return m->box_px <= limits->box_px && m->score_diff <= limits->score_diff &&
           (m->mask_iou < 0 || m->mask_iou >= limits->mask_iou);
}

bool item_is_lost(const verify_image *image, int side, int32_t item, const verify_limits *limits)
{
    const verify_side *s = &image->side[side];
    return !s->paired[item] && (double)s->items[item].score > limits->score;
}

static void count_match(verify_numbers *n, const match *m)
{
    n->matched++;
    n->box_max = fmax(n->box_max, m->box_px);
    n->box_sum += m->box_px;
    n->score_max = fmax(n->score_max, m->score_diff);
    n->score_sum += m->score_diff;
    if (m->mask_iou >= 0) {
        const int bin = (int)(m->mask_iou * HISTOGRAM_BINS);
        n->histogram[bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1]++;
        n->mask_min = n->masks++ ? fmin(n->mask_min, m->mask_iou) : m->mask_iou;
        n->mask_sum += m->mask_iou;
    }
}

void numbers_of_image(verify_image *image, const verify_limits *limits)
{
    verify_numbers *n = &image->numbers;
    n->images = 1;
    for (int32_t i = 0; i < image->match_count; i++) {
        if (match_counts(image, &image->matches[i], limits)) {
            count_match(n, &image->matches[i]);
        }
    }
    for (int side = 0; side < 2; side++) {
        for (int32_t i = 0; i < image->side[side].count; i++) {
            n->found[side] += (double)image->side[side].items[i].score > limits->score;
            n->unmatched[side] += item_is_lost(image, side, i, limits);
        }
    }
}

/* The total says what the worst image says; one that could be compared says more than those that could not. */
static void stage_add(stage_error *total, const stage_error *image, bool first)
{
    if (first) {
        *total = *image;
        return;
    }
    if (image->outcome == STAGE_COMPARED) {
        total->error = total->outcome == STAGE_COMPARED ? fmax(total->error, image->error) : image->error;
        total->outcome = STAGE_COMPARED;
    }
    total->count[0] += image->count[0];
    total->count[1] += image->count[1];
}

void numbers_add(verify_numbers *total, const verify_numbers *image)
{
    for (int32_t i = 0; i < STAGE_VALUE_COUNT; i++) {
        stage_add(&total->stages[i], &image->stages[i], total->images == 0);
    }
    total->images += image->images;
    total->matched += image->matched;
    for (int side = 0; side < 2; side++) {
        total->found[side] += image->found[side];
        total->unmatched[side] += image->unmatched[side];
    }
    total->box_max = fmax(total->box_max, image->box_max);
    total->box_sum += image->box_sum;
    total->score_max = fmax(total->score_max, image->score_max);
    total->score_sum += image->score_sum;
    if (image->masks) {
        total->mask_min = total->masks ? fmin(total->mask_min, image->mask_min) : image->mask_min;
    }
    total->masks += image->masks;
    total->mask_sum += image->mask_sum;
    for (int32_t i = 0; i < HISTOGRAM_BINS; i++) {
        total->histogram[i] += image->histogram[i];
    }
}
