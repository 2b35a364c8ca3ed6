/* Where the tiles of winograd.c lie: maps laid out on sheets that are cut into tiles of 4x4 outputs. RoIs of 14x14 would leave a
 * quarter of their tiles' outputs unused; side by side with one row or column of zeros between them, which is the padding of
 * both, they share tiles. Only maps of one image do, so that no image's results depend on another's. */
#ifndef RCNN_BACKEND_CPU_WINOGRAD_TILES_H
#define RCNN_BACKEND_CPU_WINOGRAD_TILES_H

#include <stddef.h>

#include "backend/cpu/cpu.h"

#define RCNN_SHEETS_MAX (2 * RCNN_BATCH_MAX)
#define RCNN_NO_PIXEL   SIZE_MAX

/* A grid of maps, row after row; its last row may not be full. */
typedef struct rcnn_sheet {
    int64_t first_tile;
    int32_t first_map, maps, columns, tiles_x;
} rcnn_sheet;

typedef struct rcnn_sheets {
    int32_t height, width; /* of a map */
    int32_t count, maps;
    int64_t tiles;
    rcnn_sheet sheet[RCNN_SHEETS_MAX];
} rcnn_sheets;

/* Sheets without maps. */
void rcnn_sheets_begin(rcnn_sheets *sheets, int32_t height, int32_t width);
/* The next `maps` maps, which may share tiles, on up to two sheets; at most RCNN_BATCH_MAX calls. */
void rcnn_sheets_add(rcnn_sheets *sheets, int32_t maps);
/* Index ((map * height) + y) * width + x of each pixel of a square of side x side on the sheet of a tile, beginning `margin`
 * above and left of the tile's first output; RCNN_NO_PIXEL where there is none, and everywhere for tiles past the last. */
void rcnn_sheets_square(const rcnn_sheets *sheets, int64_t tile, int32_t margin, int32_t side, size_t *pixel);

#endif
