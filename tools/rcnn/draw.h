/* Draws what was found over the image and writes it as a PNG file. */
#ifndef RCNN_TOOLS_DRAW_H
#define RCNN_TOOLS_DRAW_H

#include "message.h"

typedef struct picture_item {
    rcnn_detection detection;
    const char *name;  /* of the class; may be NULL              */
    const float *soft; /* [side][side] probabilities, NULL = none */
    int32_t side;
} picture_item;

typedef struct picture {
    rcnn_image_view view;      /* RGB8                                                       */
    const picture_item *items; /* by descending score                                        */
    int32_t count, class_count;
    double score_threshold; /* stated in the legend                                       */
    int32_t zoom;           /* 0 = small images until the longer side is near 1440 pixels */
    bool legend;
} picture;

/* 1 when this build can draw. */
int draw_available(void);
/* Writes the picture to path, complete or not at all. */
bool draw_picture(const picture *p, const char *path, rcnn_error *err);

#endif
