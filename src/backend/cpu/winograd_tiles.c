/* Sheets of maps; winograd_tiles.h. Along an axis whose length is a multiple of a tile's nothing is gained by a common row of
 * zeros: maps then follow each other directly, and what lies outside of a tile's own map is zero. */
#include "backend/cpu/winograd_tiles.h"

#define OUT         RCNN_WINOGRAD_OUT
#define COLUMNS_MAX 4 /* enough for the least share there is: 8 wide maps take 7 tiles for four */

static bool is_whole(int32_t length)
{
    return length % OUT == 0;
}

/* From one map's first pixel to the next one's. */
static int32_t pitch_of(int32_t length)
{
    return length + (is_whole(length) ? 0 : 1);
}

static int32_t tiles_for(int32_t length, int32_t maps)
{
    return (maps * pitch_of(length) - (is_whole(length) ? 0 : 1) + OUT - 1) / OUT;
}

void rcnn_sheets_begin(rcnn_sheets *sheets, int32_t height, int32_t width)
{
    sheets->height = height;
    sheets->width = width;
    sheets->count = sheets->maps = 0;
    sheets->tiles = 0;
}

/* maps: a multiple of columns. */
static void add_sheet(rcnn_sheets *s, int32_t maps, int32_t columns)
{
    const rcnn_sheet sheet = {.first_tile = s->tiles,
                              .first_map = s->maps,
                              .rows = maps / columns,
                              .columns = columns,
                              .tiles_x = tiles_for(s->width, columns)};
    s->sheet[s->count++] = sheet;
    s->maps += maps;
    s->tiles += (int64_t)sheet.tiles_x * tiles_for(s->height, maps / columns);
}

/* As many columns as make a map's share of tiles least. */
static int32_t columns_for(int32_t width)
{
    int32_t best = 1;
    for (int32_t columns = 2; columns <= COLUMNS_MAX; columns++) {
        if (tiles_for(width, columns) * best < tiles_for(width, best) * columns) {
            best = columns;
        }
    }
    return best;
}

void rcnn_sheets_add(rcnn_sheets *sheets, int32_t maps)
{
    const int32_t columns = columns_for(sheets->width);
    if (maps >= columns) {
        add_sheet(sheets, maps / columns * columns, columns);
    }
    if (maps % columns > 0) {
        add_sheet(sheets, maps % columns, 1);
    }
}

/* A position on a sheet along one axis: which map, and where in it (-1: between maps or outside). */
typedef struct spot {
    int32_t map, at;
} spot;

static spot spot_of(int32_t length, int32_t tile, int32_t position)
{
    const int32_t pitch = pitch_of(length);
    const int32_t by = is_whole(length) ? tile * OUT : position;
    const int32_t map = by < 0 ? 0 : by / pitch;
    const int32_t at = position - map * pitch;
    return (spot){.map = map, .at = at >= 0 && at < length ? at : -1};
}

static const rcnn_sheet *sheet_of(const rcnn_sheets *sheets, int64_t tile)
{
    int32_t i = sheets->count - 1;
    while (i > 0 && tile < sheets->sheet[i].first_tile) {
        i--;
    }
    return &sheets->sheet[i];
}

static size_t offset_of(spot at, int32_t maps, size_t map, size_t pixel)
{
    return at.at >= 0 && at.map < maps ? (size_t)at.map * map + (size_t)at.at * pixel : RCNN_NO_PIXEL;
}

void rcnn_sheets_square(const rcnn_sheets *sheets, int64_t tile, rcnn_square *square)
{
    const rcnn_sheet *sheet = sheet_of(sheets, tile);
    const int32_t tile_y = (int32_t)((tile - sheet->first_tile) / sheet->tiles_x);
    const int32_t tile_x = (int32_t)((tile - sheet->first_tile) % sheet->tiles_x);
    const size_t width = (size_t)sheets->width, map = (size_t)sheets->height * width;
    const size_t first = (size_t)sheet->first_map * map;
    for (int32_t i = 0; i < RCNN_WINOGRAD_IN; i++) {
        const spot y = spot_of(sheets->height, tile_y, tile_y * OUT - 1 + i);
        const spot x = spot_of(sheets->width, tile_x, tile_x * OUT - 1 + i);
        const size_t row = offset_of(y, sheet->rows, (size_t)sheet->columns * map, width);
        square->row[i] = row == RCNN_NO_PIXEL ? row : first + row;
        square->column[i] = offset_of(x, sheet->columns, map, 1);
    }
}
