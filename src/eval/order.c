/* A merge sort: stable, as numpy's sort that COCO relies on, and quick on files that are sorted already. */
#include "eval/order.h"

#include <stdbool.h>
#include <string.h>

typedef struct scores {
    const char *first;
    size_t stride;
} scores;

static double score_at(const scores *s, uint32_t index)
{
    double score;
    memcpy(&score, s->first + (size_t)index * s->stride, sizeof score);
    return score;
}

/* Merges the sorted parts from..middle-1 and middle..to-1 of a into b. */
static void merge(const scores *s, const uint32_t *a, uint32_t *b, size_t from, size_t middle, size_t to)
{
    size_t left = from, right = middle;
    if (middle >= to || score_at(s, a[middle - 1]) >= score_at(s, a[middle])) {
        memcpy(b + from, a + from, (to - from) * sizeof *a);
        return;
    }
    for (size_t i = from; i < to; i++) {
        const bool take_left = right >= to || (left < middle && score_at(s, a[left]) >= score_at(s, a[right]));
        b[i] = take_left ? a[left++] : a[right++];
    }
}

void rcnn_eval_sort(const double *score_of_first, size_t stride, uint32_t *order, uint32_t *scratch, size_t count)
{
    const scores s = {(const char *)score_of_first, stride};
    uint32_t *from = order, *to = scratch;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width) {
            const size_t middle = i + width < count ? i + width : count;
            const size_t end = i + 2 * width < count ? i + 2 * width : count;
            merge(&s, from, to, i, middle, end);
        }
        uint32_t *other = from;
        from = to;
        to = other;
    }
    if (from != order) {
        memcpy(order, from, count * sizeof *order);
    }
}
