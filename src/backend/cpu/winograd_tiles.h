/* Where the tiles of winograd.c lie: maps laid out on sheets that are cut into tiles of 5x5 outputs. RoIs of 7x7 would leave
 * half of their tiles' outputs unused; side by side with one row or column of zeros between them, which is the padding of
 * both, they share tiles. Only maps of one image do, so that no image's results depend on another's. */
#ifndef RCNN_BACKEND_CPU_WINOGRAD_TILES_H
#define RCNN_BACKEND_CPU_WINOGRAD_TILES_H

#include <stddef.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/winograd.h"

#define RCNN_SHEETS_MAX (2 * RCNN_BATCH_MAX)
#define RCNN_NO_PIXEL   SIZE_MAX

/* A grid of maps, row after row. */
typedef struct rcnn_sheet {
    int64_t first_tile;
    int32_t first_map, rows, columns, tiles_x;
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
/* The inputs of a tile: pixel ((map * height) + y) * width + x is row[i] + column[j], RCNN_NO_PIXEL in either where there is
 * none. Its outputs are those inside of a margin of one. */
typedef struct rcnn_square {
    size_t row[RCNN_WINOGRAD_IN], column[RCNN_WINOGRAD_IN];
} rcnn_square;
void rcnn_sheets_square(const rcnn_sheets *sheets, int64_t tile, rcnn_square *square);

#endif
