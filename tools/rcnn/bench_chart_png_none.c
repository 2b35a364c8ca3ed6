/* Stands in for bench_chart_png.c in builds without cairo. */
#include "bench_chart.h"

bool chart_has_png(void)
{
    return false;
}

bool chart_write_png(const chart *c, const char *path, rcnn_error *err)
{
    (void)c;
    return tool_fail(err, "'%.300s': this build cannot draw pictures", path);
}
