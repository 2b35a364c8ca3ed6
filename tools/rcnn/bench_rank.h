/* Two sets of times compared by ranks: no assumption on how times are distributed, and a few slow ones do no harm. */
#ifndef RCNN_TOOLS_BENCH_RANK_H
#define RCNN_TOOLS_BENCH_RANK_H

#include <stdbool.h>
#include <stdint.h>

#define RANK_EXACT_MAX 25 /* samples a side up to which p is exact when no two are equal */

typedef struct rank_test {
    double p;         /* two-sided, Mann and Whitney 1947                                            */
    bool exact;       /* by counting; else normal approximation with ties and continuity corrected   */
    double ratio;     /* median of all quotients b/a (Hodges and Lehmann 1963, on logarithms)        */
    double low, high; /* 95 % interval of the ratio, from order statistics of the quotients; 0, 0 = too few samples */
} rank_test;

/* a [n], b [m]: positive. False when out of memory, or n or m is 0. */
bool rank_compare(const double *a, int32_t n, const double *b, int32_t m, rank_test *out);

#endif
