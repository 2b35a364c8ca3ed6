/* Colours of instances. Fixed, so that the same run twice gives the same picture. */
#ifndef RCNN_TOOLS_PALETTE_H
#define RCNN_TOOLS_PALETTE_H

#include <stdint.h>

typedef struct colour {
    double red, green, blue; /* 0..1, sRGB */
} colour;

/* Colour number index >= 0: 20 distinct ones, then the same hues lighter, then darker, and so on around. */
colour palette_colour(int32_t index);
/* 1 when black text reads better than white on the colour. */
int palette_wants_black_text(colour background);

#endif
