/* Where the tiles of winograd.c lie: maps laid out on sheets that are cut into tiles. RoIs of 7x7 would leave half of their
 * tiles' outputs unused; side by side with one row or column of zeros between them, which is the padding of both, they share
 * tiles. Only maps of one image do, so that no image's results depend on another's, and only where the stride is 1. */
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

/* The maps along one axis. */
typedef struct rcnn_sheets_axis {
    int32_t in, out; /* inputs and outputs of a map */
    bool shares;     /* tiles, with one position of zeros between maps */
} rcnn_sheets_axis;

typedef struct rcnn_sheets {
    const rcnn_winograd_tile *tile;
    rcnn_sheets_axis y, x;
    int32_t count, maps;
    int64_t tiles;
    rcnn_sheet sheet[RCNN_SHEETS_MAX];
} rcnn_sheets;

/* Sheets without maps, of height x width inputs each. */
void rcnn_sheets_begin(rcnn_sheets *sheets, const rcnn_winograd_tile *tile, int32_t height, int32_t width);
/* The next `maps` maps, which may share tiles, on up to two sheets; at most RCNN_BATCH_MAX calls. */
void rcnn_sheets_add(rcnn_sheets *sheets, int32_t maps);
/* The pixels of a tile: input ((map * height) + y) * width + x is row[i] + column[j], RCNN_NO_PIXEL in either where there is
 * none; its outputs are so too. */
typedef struct rcnn_square {
    size_t row[RCNN_WINOGRAD_IN_MAX], column[RCNN_WINOGRAD_IN_MAX];
    size_t out_row[RCNN_WINOGRAD_OUT_MAX], out_column[RCNN_WINOGRAD_OUT_MAX];
} rcnn_square;
void rcnn_sheets_square(const rcnn_sheets *sheets, int64_t tile, rcnn_square *square);

/* Of row[i] and column[j], or out_row[i] and out_column[j]: the pixel, RCNN_NO_PIXEL where there is none. */
static inline size_t rcnn_square_pixel(size_t row, size_t column)
{
    return row == RCNN_NO_PIXEL || column == RCNN_NO_PIXEL ? RCNN_NO_PIXEL : row + column;
}

#endif
