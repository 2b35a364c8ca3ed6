/* Stands in for draw.c in a build without cairo. */
#include "draw.h"

int draw_available(void)
{
    return 0;
}

bool draw_picture(const picture *p, const char *path, rcnn_error *err)
{
    (void)p;
    return tool_fail(err, "'%.300s': pictures need cairo, which this build lacks; see 'rcnn doctor'", path);
}
