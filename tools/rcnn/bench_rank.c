#include "bench_rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define Z_95 1.959963984540054 /* two-sided 95 % of the normal distribution */

typedef struct sides {
    double *a, *b; /* sorted */
    int32_t n, m;
} sides;

static int compare_doubles(const void *left, const void *right)
{
    const double x = *(const double *)left, y = *(const double *)right;
    return (x > y) - (x < y);
}

/* Pairs with b < a, those with b = a as a half: small when b is slower. *ties gets the sum of t^3 - t over the groups
 * of t equal values of both sides. */
static double count_pairs(const sides *s, double *ties)
{
    double pairs = 0;
    int32_t i = 0, j = 0;
    *ties = 0;
    while (i < s->n || j < s->m) {
        const double value = j >= s->m || (i < s->n && s->a[i] <= s->b[j]) ? s->a[i] : s->b[j];
        double in_a = 0, in_b = 0;
        const double below = j;
        for (; i < s->n && s->a[i] == value; i++) {
            in_a++;
        }
        for (; j < s->m && s->b[j] == value; j++) {
            in_b++;
        }
        const double t = in_a + in_b;
        pairs += in_a * (below + 0.5 * in_b);
        *ties += t * t * t - t;
    }
    return pairs;
}

/* P(U <= u) without ties: the coefficients of the Gaussian binomial (n + m over n) count the orders that give each U.
 * All whole numbers below 2^53, so exact. Negative when out of memory. */
static double exact_tail(int32_t n, int32_t m, int32_t u)
{
    const int32_t last = n * m;
    double *ways = calloc((size_t)last + 1, sizeof *ways), sum = 0, all = 0;
    if (!ways) {
        return -1;
    }
    ways[0] = 1;
    for (int32_t i = 1; i <= n; i++) {
        for (int32_t k = last; k >= m + i; k--) { /* times 1 - q^(m+i) */
            ways[k] -= ways[k - m - i];
        }
        for (int32_t k = i; k <= last; k++) { /* over 1 - q^i */
            ways[k] += ways[k - i];
        }
    }
    for (int32_t k = 0; k <= last; k++) {
        all += ways[k];
        sum += k <= u ? ways[k] : 0;
    }
    free(ways);
    return sum / all;
}

static double normal_p(const sides *s, double pairs, double ties)
{
    const double n = s->n, m = s->m, all = n + m;
    const double variance = n * m / 12 * (all + 1 - ties / (all * (all - 1)));
    const double distance = fabs(pairs - n * m / 2) - 0.5;
    if (variance <= 0 || distance <= 0) { /* all equal, or in the middle */
        return 1;
    }
    return erfc(distance / sqrt(variance) / sqrt(2.0));
}

static bool test_ranks(const sides *s, rank_test *out)
{
    double ties;
    const double pairs = count_pairs(s, &ties);
    out->exact = ties == 0 && s->n <= RANK_EXACT_MAX && s->m <= RANK_EXACT_MAX;
    if (!out->exact) {
        out->p = normal_p(s, pairs, ties);
        return true;
    }
    const double tail = exact_tail(s->n, s->m, (int32_t)fmin(pairs, (double)s->n * s->m - pairs));
    out->p = fmin(1, 2 * tail);
    return tail >= 0;
}

/* Quotients b/a that are at most v. */
static int64_t quotients_below(const sides *s, double v)
{
    int64_t count = 0;
    int32_t j = 0;
    for (int32_t i = 0; i < s->n; i++) {
        while (j < s->m && s->b[j] <= v * s->a[i]) {
            j++;
        }
        count += j;
    }
    return count;
}

/* The k-th smallest (1 ..) of the n m quotients, found by halving: no need to hold them. */
static double quotient_at(const sides *s, int64_t k)
{
    double low = s->b[0] / s->a[s->n - 1] * (1 - 1e-12), high = s->b[s->m - 1] / s->a[0] * (1 + 1e-12);
    double middle = low + (high - low) / 2;
    while (high - low > 1e-12 * high && middle > low) { /* neighbours, where numbers end, have nothing between them */
        if (quotients_below(s, middle) >= k) {
            high = middle;
        } else {
            low = middle;
        }
        middle = low + (high - low) / 2;
    }
    return high;
}

static void find_interval(const sides *s, rank_test *out)
{
    const double n = s->n, m = s->m;
    const int64_t all = (int64_t)s->n * s->m;
    const double edge = floor(n * m / 2 - Z_95 * sqrt(n * m * (n + m + 1) / 12));
    out->ratio = sqrt(quotient_at(s, (all + 1) / 2) * quotient_at(s, all / 2 + 1));
    if (edge >= 1) {
        out->low = quotient_at(s, (int64_t)edge);
        out->high = quotient_at(s, all + 1 - (int64_t)edge);
    }
}

bool rank_compare(const double *a, int32_t n, const double *b, int32_t m, rank_test *out)
{
    memset(out, 0, sizeof *out);
    if (n < 1 || m < 1) {
        return false;
    }
    sides s = {.n = n, .m = m};
    s.a = malloc((size_t)n * sizeof *s.a);
    s.b = malloc((size_t)m * sizeof *s.b);
    bool done = s.a && s.b;
    if (done) {
        memcpy(s.a, a, (size_t)n * sizeof *a);
        memcpy(s.b, b, (size_t)m * sizeof *b);
        qsort(s.a, (size_t)n, sizeof *a, compare_doubles);
        qsort(s.b, (size_t)m, sizeof *b, compare_doubles);
        done = test_ranks(&s, out);
    }
    if (done) {
        find_interval(&s, out);
    }
    free(s.a);
    free(s.b);
    return done;
}
