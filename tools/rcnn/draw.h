/* Draws what was found over the image and writes it as a PNG file. */
#ifndef RCNN_TOOLS_DRAW_H
#define RCNN_TOOLS_DRAW_H

#include "message.h"

/* How a picture of two runs shows an instance; a picture of one run shows all of them plainly. */
typedef enum picture_mark { PICTURE_PLAIN, PICTURE_SAME, PICTURE_DIFFERS } picture_mark;

typedef struct picture_item {
    rcnn_detection detection;
    const char *name;  /* of the class; may be NULL              */
    const float *soft; /* [side][side] probabilities, NULL = none */
    int32_t side;
    picture_mark mark; /* SAME: a quiet colour, no label; DIFFERS: a warning colour */
} picture_item;

typedef struct picture {
    rcnn_image_view view;      /* RGB8                                                       */
    const picture_item *items; /* by descending score                                        */
    int32_t count, class_count;
    double score_threshold; /* stated in the legend                                       */
    int32_t zoom;           /* 0 = small images until the longer side is near 1440 pixels */
    bool legend;
    const char *note; /* what the legend says instead of names and counts; NULL = those */
} picture;

/* 1 when this build can draw. */
int draw_available(void);
/* Writes the picture to path, complete or not at all. */
bool draw_picture(const picture *p, const char *path, rcnn_error *err);

#endif
