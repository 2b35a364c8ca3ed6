/* Precision and recall of one category, and the twelve numbers of the summary. */
#include "eval/accumulate.h"

#include <float.h>

#include "base/memory.h"
#include "eval/order.h"

/* The summary: what each number is. */
typedef struct stat_rule {
    const char *name;
    bool precision; /* average precision, else average recall     */
    int8_t iou;     /* index of the threshold, -1 = mean over all */
    uint8_t range;  /* area range                                 */
    uint8_t limit;  /* index into max_dets                        */
} stat_rule;

static const stat_rule RULES[RCNN_EVAL_STAT_COUNT] = {
    {"AP", true, -1, 0, 2},        {"AP50", true, 0, 0, 2},        {"AP75", true, 5, 0, 2},
    {"AP_small", true, -1, 1, 2},  {"AP_medium", true, -1, 2, 2},  {"AP_large", true, -1, 3, 2},
    {"AR_first", false, -1, 0, 0}, {"AR_second", false, -1, 0, 1}, {"AR", false, -1, 0, 2},
    {"AR_small", false, -1, 1, 2}, {"AR_medium", false, -1, 2, 2}, {"AR_large", false, -1, 3, 2},
};

const char *rcnn_eval_stat_name(int32_t stat)
{
    return stat >= 0 && stat < RCNN_EVAL_STAT_COUNT ? RULES[stat].name : NULL;
}

void rcnn_eval_ledger_free(rcnn_eval_ledger *ledger)
{
    rcnn_free(ledger->order);
    rcnn_free(ledger->sorted);
    rcnn_free(ledger->points);
    *ledger = (rcnn_eval_ledger){0};
}

static bool reserve(rcnn_eval_ledger *l, size_t count)
{
    void *order = l->order, *sorted = l->sorted, *points = l->points;
    bool done = rcnn_grow(&order, &l->order_capacity, 2 * count, sizeof *l->order);
    l->order = order;
    done = done && rcnn_grow(&sorted, &l->sorted_capacity, count, sizeof *l->sorted);
    l->sorted = sorted;
    done = done && rcnn_grow(&points, &l->points_capacity, count, sizeof *l->points);
    l->points = points;
    return done;
}

/* The category's outcomes over all images, best first; equal scores in the order of the images. */
static void sort_outcomes(rcnn_eval_ledger *l, const rcnn_eval_outcome *outcomes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        l->order[i] = (uint32_t)i;
    }
    if (count > 0) {
        rcnn_eval_sort(&outcomes[0].score, sizeof *outcomes, l->order, l->order + count, count);
    }
    for (size_t i = 0; i < count; i++) {
        l->sorted[i] = outcomes[l->order[i]];
    }
}

/* Walks down the list at one threshold: returns the true positives, with the precision at each of them in points. */
static size_t walk(rcnn_eval_ledger *l, size_t count, int threshold, int range, uint32_t limit)
{
    size_t positives = 0;
    double wrong = 0, right = 0;
    for (size_t i = 0; i < count; i++) {
        const rcnn_eval_outcome *o = &l->sorted[i];
        if (o->rank >= limit || o->ignored[range] >> threshold & 1u) {
            continue;
        }
        if (o->matched[range] >> threshold & 1u) {
            right += 1;
            l->points[positives++] = right / (wrong + right + DBL_EPSILON);
        } else {
            wrong += 1;
        }
    }
    return positives;
}

/* Precision at the 101 recalls: each takes the largest precision at or behind the first true positive that reaches
 * it. Between true positives precision only falls, so that they alone are enough. Returns the sum; precision may be
 * NULL. */
static double sample_precision(double *points, size_t positives, uint32_t regular, double *precision)
{
    double sum = 0;
    size_t at = 0;
    for (size_t i = positives; i-- > 1;) {
        points[i - 1] = points[i] > points[i - 1] ? points[i] : points[i - 1];
    }
    for (int r = 0; r < RCNN_EVAL_RECALL_COUNT; r++) {
        const double recall = r == RCNN_EVAL_RECALL_COUNT - 1 ? 1.0 : r * 0.01;
        while (at < positives && (double)(at + 1) / regular < recall) {
            at++;
        }
        const double value = at < positives ? points[at] : 0;
        sum += value;
        if (precision) {
            precision[r] = value;
        }
    }
    return sum;
}

/* One number of the summary for the category; precision [T][R] is filled with the curves of rule 0. */
static double compute_stat(rcnn_eval_ledger *l, size_t count, const stat_rule *rule, uint32_t regular, uint32_t limit,
                           double *precision)
{
    double sum = 0;
    int thresholds = 0;
    for (int t = 0; t < RCNN_EVAL_IOU_COUNT; t++) {
        if (rule->iou >= 0 && rule->iou != t) {
            continue;
        }
        const size_t positives = walk(l, count, t, rule->range, limit);
        if (rule->precision) {
            double *row = precision ? precision + (size_t)t * RCNN_EVAL_RECALL_COUNT : NULL;
            sum += sample_precision(l->points, positives, regular, row) / RCNN_EVAL_RECALL_COUNT;
        } else {
            sum += (double)positives / regular;
        }
        thresholds++;
    }
    return sum / thresholds;
}

bool rcnn_eval_accumulate(rcnn_eval_ledger *ledger, const rcnn_eval_pairs *pairs, const rcnn_eval_outcome *outcomes,
                          size_t first, size_t end, const int32_t max_dets[3], rcnn_eval *eval)
{
    const rcnn_eval_group *groups = pairs->groups;
    uint32_t regular[RCNN_EVAL_AREA_COUNT] = {0};
    size_t count = 0;
    for (size_t g = first; g < end; g++) {
        count += groups[g].outcome_count;
        for (int range = 0; range < RCNN_EVAL_AREA_COUNT; range++) {
            regular[range] += groups[g].regular[range];
        }
    }
    if (!reserve(ledger, count)) {
        return false;
    }
    sort_outcomes(ledger, outcomes + groups[first].outcome_first, count);
    const size_t category = (size_t)groups[first].category;
    double *precision = eval->precision + category * RCNN_EVAL_IOU_COUNT * RCNN_EVAL_RECALL_COUNT;
    for (int s = 0; s < RCNN_EVAL_STAT_COUNT; s++) {
        const stat_rule *rule = &RULES[s];
        if (regular[rule->range] > 0) {
            eval->category_stats[category * RCNN_EVAL_STAT_COUNT + (size_t)s] = compute_stat(
                ledger, count, rule, regular[rule->range], (uint32_t)max_dets[rule->limit], s == 0 ? precision : NULL);
        }
    }
    return true;
}

void rcnn_eval_summarise(rcnn_eval *eval)
{
    for (int s = 0; s < RCNN_EVAL_STAT_COUNT; s++) {
        double sum = 0;
        int32_t counted = 0;
        for (int32_t k = 0; k < eval->category_count; k++) {
            const double value = eval->category_stats[(size_t)k * RCNN_EVAL_STAT_COUNT + (size_t)s];
            if (value >= 0) {
                sum += value;
                counted++;
            }
        }
        eval->stats[s] = counted > 0 ? sum / counted : -1;
    }
}
