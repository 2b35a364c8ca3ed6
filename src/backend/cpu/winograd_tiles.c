/* Sheets of maps; winograd_tiles.h. Along an axis whose length is a multiple of a tile's nothing is gained by a common row of
 * zeros: maps then follow each other directly, and what lies outside of a tile's own map is zero. So it is where the stride
 * is 2. */
#include "backend/cpu/winograd_tiles.h"

#define COLUMNS_MAX 4 /* enough for the least share there is: 8 wide maps take 7 tiles for four */

static int32_t tiles_of(const rcnn_sheets *s, int32_t outputs)
{
    return (outputs + s->tile->out - 1) / s->tile->out;
}

static int32_t tiles_for(const rcnn_sheets *s, const rcnn_sheets_axis *axis, int32_t maps)
{
    return axis->shares ? tiles_of(s, maps * (axis->in + 1) - 1) : maps * tiles_of(s, axis->out);
}

static rcnn_sheets_axis axis_of(const rcnn_winograd_tile *tile, int32_t length)
{
    const int32_t out = (length - 1) / tile->stride + 1; /* a margin of one, three taps */
    return (rcnn_sheets_axis){.in = length, .out = out, .shares = tile->stride == 1 && out % tile->out != 0};
}

void rcnn_sheets_begin(rcnn_sheets *sheets, const rcnn_winograd_tile *tile, int32_t height, int32_t width)
{
    sheets->tile = tile;
    sheets->y = axis_of(tile, height);
    sheets->x = axis_of(tile, width);
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
                              .tiles_x = tiles_for(s, &s->x, columns)};
    s->sheet[s->count++] = sheet;
    s->maps += maps;
    s->tiles += (int64_t)sheet.tiles_x * tiles_for(s, &s->y, maps / columns);
}

/* As many columns as make a map's share of tiles least. */
static int32_t columns_for(const rcnn_sheets *s)
{
    int32_t best = 1;
    for (int32_t columns = 2; columns <= COLUMNS_MAX; columns++) {
        if (tiles_for(s, &s->x, columns) * best < tiles_for(s, &s->x, best) * columns) {
            best = columns;
        }
    }
    return best;
}

void rcnn_sheets_add(rcnn_sheets *sheets, int32_t maps)
{
    const int32_t columns = columns_for(sheets);
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

static spot spot_in(int32_t map, int32_t at, int32_t length)
{
    return (spot){.map = map, .at = at >= 0 && at < length ? at : -1};
}

/* Where maps share tiles: inputs and outputs are at the same positions. */
static spot shared_spot(const rcnn_sheets_axis *axis, int32_t position)
{
    const int32_t map = position < 0 ? 0 : position / (axis->in + 1);
    return spot_in(map, position - map * (axis->in + 1), axis->in);
}

/* Input i of a tile. */
static spot input_spot(const rcnn_sheets *s, const rcnn_sheets_axis *axis, int32_t tile, int32_t i)
{
    if (axis->shares) {
        return shared_spot(axis, tile * s->tile->out - 1 + i);
    }
    const int32_t tiles = tiles_of(s, axis->out);
    return spot_in(tile / tiles, tile % tiles * s->tile->out * s->tile->stride - 1 + i, axis->in);
}

static spot output_spot(const rcnn_sheets *s, const rcnn_sheets_axis *axis, int32_t tile, int32_t i)
{
    if (axis->shares) {
        return shared_spot(axis, tile * s->tile->out + i);
    }
    const int32_t tiles = tiles_of(s, axis->out);
    return spot_in(tile / tiles, tile % tiles * s->tile->out + i, axis->out);
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

static size_t row_of(const rcnn_sheet *sheet, spot at, size_t height, size_t width)
{
    const size_t row = offset_of(at, sheet->rows, (size_t)sheet->columns * height * width, width);
    return row == RCNN_NO_PIXEL ? row : (size_t)sheet->first_map * height * width + row;
}

void rcnn_sheets_square(const rcnn_sheets *sheets, int64_t tile, rcnn_square *square)
{
    const rcnn_sheet *sheet = sheet_of(sheets, tile);
    const rcnn_sheets_axis *y = &sheets->y, *x = &sheets->x;
    const int32_t tile_y = (int32_t)((tile - sheet->first_tile) / sheet->tiles_x);
    const int32_t tile_x = (int32_t)((tile - sheet->first_tile) % sheet->tiles_x);
    const size_t height = (size_t)y->in, width = (size_t)x->in;
    const size_t out_height = (size_t)y->out, out_width = (size_t)x->out;
    for (int32_t i = 0; i < sheets->tile->in; i++) {
        square->row[i] = row_of(sheet, input_spot(sheets, y, tile_y, i), height, width);
        square->column[i] = offset_of(input_spot(sheets, x, tile_x, i), sheet->columns, height * width, 1);
    }
    for (int32_t i = 0; i < sheets->tile->out; i++) {
        square->out_row[i] = row_of(sheet, output_spot(sheets, y, tile_y, i), out_height, out_width);
        square->out_column[i] = offset_of(output_spot(sheets, x, tile_x, i), sheet->columns, out_height * out_width, 1);
    }
}
