/* From a run's results to the columns of a table. */
#include <stdlib.h>
#include <string.h>

#include "bench_run.h"

bool bench_times_add(bench_times *t, double ms)
{
    double *grown = realloc(t->samples, ((size_t)t->count + 1) * sizeof *grown);
    if (!grown) {
        return false;
    }
    t->samples = grown;
    t->samples[t->count++] = ms;
    return true;
}

bench_stage bench_stage_of(const char *library_stage)
{
    static const struct {
        const char *name;
        bench_stage stage;
    } MAP[] = {
        {"upload", BENCH_STAGE_upload},          {"preprocess", BENCH_STAGE_preprocess},
        {"backbone", BENCH_STAGE_backbone},      {"neck", BENCH_STAGE_neck},
        {"rpn", BENCH_STAGE_rpn_head},           {"roi_pool", BENCH_STAGE_bbox_forward},
        {"box_head", BENCH_STAGE_bbox_forward},  {"box_post", BENCH_STAGE_bbox_post},
        {"mask_head", BENCH_STAGE_mask_forward}, {"postprocess", BENCH_STAGE_mask_post},
        {"download", BENCH_STAGE_download},
    };
    for (size_t i = 0; i < sizeof MAP / sizeof MAP[0]; i++) {
        if (strcmp(MAP[i].name, library_stage) == 0) {
            return MAP[i].stage;
        }
    }
    return BENCH_STAGE_COUNT;
}

void bench_stage_times(const rcnn_results *results, double ms[BENCH_STAGE_COUNT])
{
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        ms[s] = -1;
    }
    for (int32_t i = 0; i < rcnn_stage_count(); i++) {
        const bench_stage stage = bench_stage_of(rcnn_stage_name(i));
        if (stage < BENCH_STAGE_COUNT) {
            ms[stage] = (ms[stage] < 0 ? 0 : ms[stage]) + rcnn_results_stage_ms(results, i);
        }
    }
}
