/* Where labels go: a greedy placement that keeps every label inside the picture and off every other label. Pure
 * geometry; draw.c measures and paints the text. */
#ifndef RCNN_TOOLS_LABELS_H
#define RCNN_TOOLS_LABELS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rectangle {
    double x, y, width, height; /* picture pixels */
} rectangle;

typedef struct label_board {
    double width, height;   /* of the picture                          */
    const rectangle *boxes; /* all boxes, which labels rather not cover */
    int32_t box_count;
    rectangle *placed; /* labels so far; room for box_count       */
    int32_t placed_count;
} label_board;

/* Places a label of width x height at box number `index`: above, below or inside it, where it covers least of other
 * boxes. `covered_max` is the share of the label that may lie on other boxes (1 = all of it). True and *out filled when
 * a place was found; the label is then taken into account for later ones. */
bool labels_place(label_board *board, int32_t index, double width, double height, double covered_max, rectangle *out);

#endif
