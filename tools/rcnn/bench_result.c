#include "bench_result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *title;
} STAGES[BENCH_STAGE_COUNT] = {
#define BENCH_STAGE(name, title, help) {#name, title},
#include "bench_stages.def"
#undef BENCH_STAGE
};

const char *bench_stage_name(bench_stage stage)
{
    return STAGES[stage].name;
}

const char *bench_stage_title(bench_stage stage)
{
    return STAGES[stage].title;
}

/* ------------------------------------------------------------- building */

bench_row *bench_add_row(bench_result *r)
{
    bench_row *grown = realloc(r->rows, ((size_t)r->row_count + 1) * sizeof *grown);
    if (!grown) {
        return NULL;
    }
    r->rows = grown;
    bench_row *row = &grown[r->row_count++];
    memset(row, 0, sizeof *row);
    row->proposals = row->detections = -1;
    row->batch = 1;
    return row;
}

bench_fact *bench_add_fact(bench_result *r, const char *name, const char *value)
{
    bench_fact *grown = realloc(r->facts, ((size_t)r->fact_count + 1) * sizeof *grown);
    if (!grown) {
        return NULL;
    }
    r->facts = grown;
    bench_fact *fact = &grown[r->fact_count++];
    snprintf(fact->name, sizeof fact->name, "%s", name);
    snprintf(fact->value, sizeof fact->value, "%s", value);
    return fact;
}

void bench_free(bench_result *r)
{
    for (int32_t i = 0; i < r->row_count; i++) {
        bench_row *row = &r->rows[i];
        free(row->end_to_end.samples);
        free(row->staged.samples);
        for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
            free(row->stage[s].samples);
        }
    }
    free(r->rows);
    free(r->facts);
    memset(r, 0, sizeof *r);
}

/* ------------------------------------------------------------- numbers */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the two nearest samples, in proportion: 0.5 of an even number is the mean of the middle two. */
static double quantile(const double *sorted, int32_t count, double share)
{
    const double at = share * (count - 1);
    const int32_t below = (int32_t)floor(at);
    const int32_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

void bench_times_sum_up(bench_times *t)
{
    if (t->count > 0 && !t->samples) { /* of a file that has the quantiles alone */
        return;
    }
    double *sorted = t->count > 0 ? malloc((size_t)t->count * sizeof *sorted) : NULL;
    t->median = t->p10 = t->p90 = t->min = 0;
    if (!sorted) {
        return;
    }
    memcpy(sorted, t->samples, (size_t)t->count * sizeof *sorted);
    qsort(sorted, (size_t)t->count, sizeof *sorted, ascending);
    t->median = quantile(sorted, t->count, 0.5);
    t->p10 = quantile(sorted, t->count, 0.1);
    t->p90 = quantile(sorted, t->count, 0.9);
    t->min = sorted[0];
    free(sorted);
}

double bench_roi_head_ms(const bench_row *row)
{
    static const bench_stage PARTS[] = {BENCH_STAGE_bbox_forward, BENCH_STAGE_bbox_post, BENCH_STAGE_mask_forward,
                                        BENCH_STAGE_mask_post};
    double ms = 0;
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        ms += row->stage[PARTS[i]].median;
    }
    return ms;
}
