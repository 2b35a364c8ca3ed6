/* Soft masks to COCO run lengths or bit-packed crops on the device, bit for bit the pixels of src/mask: the same float
 * and double operations in the same order (spec 10 and 13.11), which is why this file is compiled with --fmad=false.
 *
 * As in src/mask/paste_rle.c a column is not looked at pixel by pixel: between two rows of the soft mask the value is
 * linear, so a stretch of pixels whose two ends are clearly set or clearly clear is one run; only stretches that cross
 * the threshold are evaluated.
 *
 *   regions   one warp a mask: the rectangle that can hold set pixels -> forms[].x, y, width, height
 *   count     run lengths only. One block for up to 1/SEGMENTS of a mask's columns, one thread a column: how often the
 *             pixels change there, and where last
 *   place     one block: offsets of all masks in `words`, in the order of the masks
 *   write     blocks as in count (crops: one warp for 32 columns): the words themselves
 *
 * Offsets are prefix sums, so the same masks give the same bytes in every run. The first mask that finds no room in
 * `words` ends the placing: it and those after it get count -1. */
#include "backend/cuda/device.cuh"

#define THREADS       128
#define WARPS         (THREADS / 32)
#define SEGMENTS      16
#define PLACE_THREADS 256
#define ROW_TABLE     2048 /* rows whose weights are kept in shared memory; those below are computed when needed */
#define GRID_BLOCKS   2048 /* more than run at a time on an H100; each takes one segment after another */
#define ALL_LANES     0xffffffffu

#define FRAMED(side) ((side) + 3) /* one zero before, two after, as in src/mask/sample.h */
#define EDGE_MAX     1073741824.0f
#define VALUE_SLACK  1e-6

/* What a segment holds: how many times the pixels change, and the position (column-major) of the last change. */
typedef struct changes {
    int32_t count, last;
} changes;

/* ------------------------------------------------------------- where pixels fall on the soft mask */

/* One axis of a box, after rcnn_mask_taps: GRID needs the edges, PADDED the integer box. */
typedef struct mask_axis {
    float low, high;     /* GRID */
    int32_t first, last; /* PADDED: pixels of the integer box */
    int32_t side, padded;
} mask_axis;

/* value = a * framed cell + b * framed cell + 1, a = 1 - b. Cells below 0 and above `side` are all zeros. */
typedef struct mask_tap {
    int32_t cell;
    float b;
} mask_tap;

static __device__ mask_axis axis_of(float low, float high, int32_t side, int32_t padded)
{
    mask_axis axis = {low, high, 0, 0, side, padded};
    if (padded) {
        const float growth = (float)(((double)side + 2.0) / (double)side);
        const float half = (high - low) * 0.5f * growth;
        const float centre = (low + high) * 0.5f;
        axis.first = (int32_t)fmaxf(fminf(centre - half, EDGE_MAX), -EDGE_MAX);
        axis.last = (int32_t)fmaxf(fminf(centre + half, EDGE_MAX), -EDGE_MAX);
    }
    return axis;
}

/* Rises with the pixel: every operation rounds monotonically. */
static __device__ mask_tap grid_tap(const mask_axis *axis, int32_t pixel)
{
    const float g = ((float)pixel + 0.5f - axis->low) / (axis->high - axis->low) * 2.0f - 1.0f;
    const float u = ((g + 1.0f) * (float)axis->side - 1.0f) / 2.0f;
    mask_tap tap = {-1, 0.0f};
    if (u >= (float)axis->side) {
        tap.cell = axis->side + 1;
    } else if (u >= -1.0f) {
        const float cell = floorf(u);
        tap.cell = (int32_t)cell + 1;
        tap.b = u - cell;
    }
    return tap;
}

static __device__ mask_tap padded_tap(const mask_axis *axis, int32_t pixel)
{
    const int64_t span = (int64_t)axis->last - axis->first + 1;
    const float scale = (float)(axis->side + 2) / (float)(span > 1 ? span : 1);
    const float at = fmaxf(((float)((int64_t)pixel - axis->first) + 0.5f) * scale - 0.5f, 0.0f);
    mask_tap tap = {axis->side + 1, 0.0f};
    if (at < (float)(axis->side + 1)) {
        tap.cell = (int32_t)at;
        tap.b = at - (float)tap.cell;
    }
    return tap;
}

static __device__ mask_tap tap_at(const mask_axis *axis, int32_t pixel)
{
    return axis->padded ? padded_tap(axis, pixel) : grid_tap(axis, pixel);
}

/* ------------------------------------------------------------- masks and their boxes */

/* Image and box of a packed row. */
typedef struct mask_target {
    int32_t width, height; /* of the image */
    float box[4];
} mask_target;

static __device__ mask_target target_of(const rcnn_cuda_mask_forms *p, int32_t row)
{
    int32_t image = 0, index = row;
    while (index >= p->counts[image]) {
        index -= p->counts[image++];
    }
    const rcnn_cuda_frame_image *frame = &p->frame->image[image];
    const float *box = p->boxes + ((size_t)image * (size_t)p->capacity + (size_t)index) * 4;
    mask_target target = {frame->width, frame->height, {box[0], box[1], box[2], box[3]}};
    if (p->from_rois) {
        target.box[0] /= frame->scale_x;
        target.box[1] /= frame->scale_y;
        target.box[2] /= frame->scale_x;
        target.box[3] /= frame->scale_y;
    }
    return target;
}

/* ------------------------------------------------------------- regions */

/* A mask of ones reaches the threshold at this pixel. */
static __device__ bool grid_reaches(const mask_axis *axis, float threshold, int32_t pixel)
{
    const mask_tap tap = grid_tap(axis, pixel);
    double most = 0.0;
    if (tap.cell >= 1 && tap.cell <= axis->side) {
        most += (double)(1.0f - tap.b);
    }
    if (tap.cell >= 0 && tap.cell + 1 <= axis->side) {
        most += (double)tap.b;
    }
    return most >= (double)threshold - VALUE_SLACK;
}

static __device__ int32_t clamp_pixel(double at, int32_t size)
{
    return at < 0.0 ? 0 : at > (double)size ? size : (int32_t)at;
}

typedef struct pixel_range {
    int32_t from, end;
} pixel_range;

/* grid_range of src/mask/sample.c by one warp: 32 pixels at a time from either end. */
static __device__ pixel_range grid_range(const mask_axis *axis, float threshold, int32_t size, int32_t lane)
{
    const double cell = ((double)axis->high - (double)axis->low) / (double)axis->side;
    const double t = (double)threshold;
    const double first = floor((double)axis->low + (t - 0.5) * cell) - 2.0;
    const double last = ceil((double)axis->low + ((double)axis->side - t + 0.5) * cell) + 2.0;
    pixel_range range = {clamp_pixel(first, size), clamp_pixel(last, size)};
    uint32_t reached = 0;
    while (range.from < range.end && !reached) {
        const int32_t pixel = range.from + lane;
        reached = __ballot_sync(ALL_LANES, pixel < range.end && grid_reaches(axis, threshold, pixel));
        range.from = reached ? range.from + __ffs((int32_t)reached) - 1 : min(range.from + 32, range.end);
    }
    reached = 0;
    while (range.from < range.end && !reached) {
        const int32_t pixel = range.end - 1 - lane;
        reached = __ballot_sync(ALL_LANES, pixel >= range.from && grid_reaches(axis, threshold, pixel));
        range.end = reached ? range.end - (__ffs((int32_t)reached) - 1) : max(range.end - 32, range.from);
    }
    return range;
}

static __device__ pixel_range padded_range(const mask_axis *axis, int32_t size)
{
    const pixel_range range = {axis->first > 0 ? axis->first : 0, axis->last + 1 < size ? axis->last + 1 : size};
    return range;
}

static __device__ pixel_range range_of(const rcnn_cuda_mask_forms *p, float low, float high, int32_t size, int32_t lane)
{
    const mask_axis axis = axis_of(low, high, p->side, p->padded);
    return p->padded ? padded_range(&axis, size) : grid_range(&axis, p->threshold, size, lane);
}

/* Finite and not empty. */
static __device__ bool is_box(const float *box)
{
    const bool finite = isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]);
    return finite && box[2] > box[0] && box[3] > box[1];
}

__global__ void __launch_bounds__(THREADS) mask_regions_kernel(rcnn_cuda_mask_forms p)
{
    rcnn_begin();
    const int32_t row = (int32_t)blockIdx.x * WARPS + (int32_t)threadIdx.x / 32;
    const int32_t lane = (int32_t)threadIdx.x % 32;
    if (row >= rcnn_live_rows(p.counts, p.n)) {
        return;
    }
    const mask_target target = target_of(&p, row);
    pixel_range x = {0, 0}, y = {0, 0};
    if (is_box(target.box)) {
        x = range_of(&p, target.box[0], target.box[2], target.width, lane);
        y = range_of(&p, target.box[1], target.box[3], target.height, lane);
    }
    const bool empty = x.end <= x.from || y.end <= y.from;
    if (lane == 0) {
        rcnn_cuda_form form = {0, -1, 0, 0, 0, 0};
        if (!empty) {
            form.x = x.from;
            form.y = y.from;
            form.width = x.end - x.from;
            form.height = y.end - y.from;
        }
        p.forms[row] = form;
    }
}

/* ------------------------------------------------------------- a mask in shared memory */

/* What the threads of a block know of the mask that they work on. */
typedef struct mask_view {
    rcnn_cuda_form form;
    int32_t image_width, image_height, side;
    mask_axis x, y;
    mask_tap bottom;     /* of the region's last row */
    const float *framed; /* [side+3][side+3] with the frame of zeros */
    const int32_t *from; /* [side+2]: region rows of cell c are from[c] .. from[c+1]-1 */
    const float *weight; /* [min(height, ROW_TABLE)]: b of the row's tap */
    float threshold, surely_set, surely_clear;
} mask_view;

static size_t shared_bytes(int32_t side)
{
    const size_t framed = (size_t)FRAMED(side) * (size_t)FRAMED(side);
    return (framed + ROW_TABLE + (size_t)side + 2) * sizeof(float);
}

/* First region row whose cell is `cell` or more. */
static __device__ int32_t find_row(const mask_axis *axis, int32_t top, int32_t height, int32_t cell)
{
    int32_t low = 0, high = height;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (tap_at(axis, top + middle).cell >= cell) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Fills shared memory with a mask; between two barriers of its own. */
static __device__ mask_view load_mask(const rcnn_cuda_mask_forms *p, int32_t row, float *shared)
{
    const int32_t pitch = FRAMED(p->side), thread = (int32_t)threadIdx.x;
    float *framed = shared;
    float *weight = framed + pitch * pitch;
    int32_t *from = (int32_t *)(weight + ROW_TABLE);
    const mask_target target = target_of(p, row);
    mask_view m;
    m.form = p->forms[row];
    m.image_width = target.width;
    m.image_height = target.height;
    m.side = p->side;
    m.x = axis_of(target.box[0], target.box[2], p->side, p->padded);
    m.y = axis_of(target.box[1], target.box[3], p->side, p->padded);
    m.bottom = tap_at(&m.y, m.form.y + m.form.height - 1);
    m.framed = framed;
    m.from = from;
    m.weight = weight;
    m.threshold = p->threshold;
    m.surely_set = p->threshold * 1.000001f;
    m.surely_clear = p->threshold * 0.999999f;
    __syncthreads(); /* the mask before is done with */
    const float *soft = p->masks + (size_t)row * (size_t)p->side * (size_t)p->side;
    for (int32_t j = thread / 32; j < pitch; j += WARPS) {
        for (int32_t i = thread % 32; i < pitch; i += 32) {
            const bool inside = j >= 1 && j <= p->side && i >= 1 && i <= p->side;
            framed[j * pitch + i] = inside ? soft[(j - 1) * p->side + i - 1] : 0.0f;
        }
    }
    for (int32_t cell = thread; cell < p->side + 2; cell += THREADS) {
        from[cell] = find_row(&m.y, m.form.y, m.form.height, cell);
    }
    for (int32_t y = thread; y < m.form.height && y < ROW_TABLE; y += THREADS) {
        weight[y] = tap_at(&m.y, m.form.y + y).b;
    }
    __syncthreads();
    return m;
}

/* The column of a region as its taps have it: where in a framed row, and the weights. */
typedef struct mask_column {
    const float *left;
    float a, b;
} mask_column;

static __device__ mask_column column_of(const mask_view *m, int32_t x)
{
    const mask_tap tap = tap_at(&m->x, m->form.x + x);
    const bool outside = tap.cell < 0 || tap.cell > m->side;
    const mask_column column = {m->framed + (outside ? m->side + 1 : tap.cell), outside ? 0.0f : 1.0f - tap.b, tap.b};
    return column;
}

/* The soft mask's row `cell` (framed) at the column. */
static __device__ float value_at(const mask_view *m, const mask_column *column, int32_t cell)
{
    const float *left = column->left + cell * FRAMED(m->side);
    return column->a * left[0] + column->b * left[1];
}

/* The decision on one pixel: GRID takes the threshold itself, PADDED does not. */
static __device__ bool is_set(const mask_view *m, float b, float upper, float lower)
{
    const float value = (1.0f - b) * upper + b * lower;
    return m->y.padded ? value > m->threshold : value >= m->threshold;
}

static __device__ float row_weight(const mask_view *m, int32_t y)
{
    return y < ROW_TABLE ? m->weight[y] : tap_at(&m->y, m->form.y + y).b;
}

/* ------------------------------------------------------------- run lengths */

/* Takes the changes of a column from top to bottom; words NULL: only counts them. */
typedef struct run_writer {
    uint32_t *words;
    changes seen;
} run_writer;

static __device__ void note_change(run_writer *runs, int32_t position)
{
    if (runs->words) {
        runs->words[runs->seen.count] = (uint32_t)(position - runs->seen.last);
    }
    runs->seen.count++;
    runs->seen.last = position;
}

static __device__ bool bottom_is_set(const mask_view *m, int32_t x)
{
    if (m->bottom.cell < 0 || m->bottom.cell > m->side) {
        return false;
    }
    const mask_column column = column_of(m, x);
    return is_set(m, m->bottom.b, value_at(m, &column, m->bottom.cell), value_at(m, &column, m->bottom.cell + 1));
}

/* Rows from .. to-1 of one cell, whose soft values are upper and lower; set: the pixel before. Returns the last pixel. */
static __device__ bool walk_stretch(const mask_view *m, int32_t from, int32_t to, float upper, float lower, bool set,
                                    int32_t top, run_writer *runs)
{
    const bool surely_set = upper >= m->surely_set && lower >= m->surely_set;
    if (surely_set || (upper < m->surely_clear && lower < m->surely_clear)) {
        if (surely_set != set) {
            note_change(runs, top + from);
        }
        return surely_set;
    }
    for (int32_t y = from; y < to; y++) {
        const bool now = is_set(m, row_weight(m, y), upper, lower);
        if (now != set) {
            note_change(runs, top + y);
        }
        set = now;
    }
    return set;
}

/* The changes that belong to a column: at its pixels, and right after it where the pixel after is surely clear. Columns
 * of a region as high as the image follow on one another. */
static __device__ void walk_column(const mask_view *m, int32_t x, run_writer *runs)
{
    const bool whole = m->form.height == m->image_height;
    const int32_t top = (m->form.x + x) * m->image_height + m->form.y;
    const mask_column column = column_of(m, x);
    bool set = whole && x > 0 && bottom_is_set(m, x - 1);
    if (set && m->from[0] > 0) {
        note_change(runs, top);
        set = false;
    }
    float upper, lower = value_at(m, &column, 0);
    for (int32_t cell = 0; cell <= m->side; cell++) {
        upper = lower;
        lower = value_at(m, &column, cell + 1);
        if (m->from[cell] < m->from[cell + 1]) {
            set = walk_stretch(m, m->from[cell], m->from[cell + 1], upper, lower, set, top, runs);
        }
    }
    const int32_t end = m->from[m->side + 1]; /* rows below are clear */
    const bool follows_on = whole && end == m->form.height && x + 1 < m->form.width;
    if (set && !follows_on && top + end < m->image_width * m->image_height) {
        note_change(runs, top + end);
    }
}

/* Columns of one segment: whole blocks of threads. */
static __device__ int32_t segment_columns(int32_t width)
{
    const int32_t share = (width + SEGMENTS - 1) / SEGMENTS;
    return max((share + THREADS - 1) / THREADS, 1) * THREADS;
}

static __device__ int32_t segment_count(int32_t width)
{
    const int32_t columns = segment_columns(width);
    return max((width + columns - 1) / columns, 1);
}

/* What stands before the calling thread's changes, given what is before the block; *total: all of the block. */
static __device__ changes scan_changes(changes mine, changes before, changes *warps, changes *total)
{
    const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
    changes sum = mine;
    for (int32_t step = 1; step < 32; step *= 2) {
        const int32_t count = __shfl_up_sync(ALL_LANES, sum.count, (uint32_t)step);
        const int32_t last = __shfl_up_sync(ALL_LANES, sum.last, (uint32_t)step);
        if (lane >= step) {
            sum.count += count;
            sum.last = max(sum.last, last);
        }
    }
    if (lane == 31) {
        warps[warp] = sum;
    }
    changes earlier = {__shfl_up_sync(ALL_LANES, sum.count, 1), __shfl_up_sync(ALL_LANES, sum.last, 1)};
    if (lane == 0) {
        earlier.count = 0;
        earlier.last = 0;
    }
    __syncthreads();
    *total = before;
    for (int32_t w = 0; w < WARPS; w++) {
        if (w == warp) {
            earlier.count += total->count;
            earlier.last = max(earlier.last, total->last);
        }
        total->count += warps[w].count;
        total->last = max(total->last, warps[w].last);
    }
    __syncthreads();
    return earlier;
}

/* The changes of the columns from .. end-1, and with `words` their run lengths; before: what earlier columns had. */
static __device__ changes walk_columns(const mask_view *m, int32_t from, int32_t end, uint32_t *words, changes before,
                                       changes *warps)
{
    for (int32_t first = from; first < end; first += THREADS) {
        const int32_t x = first + (int32_t)threadIdx.x;
        run_writer runs = {NULL, {0, 0}};
        if (x < end) {
            walk_column(m, x, &runs);
        }
        const bool any = runs.seen.count > 0;
        runs.seen = scan_changes(runs.seen, before, warps, &before);
        if (words && any) {
            runs.words = words;
            walk_column(m, x, &runs);
        }
    }
    return before;
}

/* Work is split into (mask, segment) items, dealt to the blocks in turn. */
typedef struct segment_item {
    int32_t row, index, from, end; /* columns from .. end-1 of the region */
    bool last;
} segment_item;

static __device__ segment_item segment_of(const rcnn_cuda_mask_forms *p, int32_t item)
{
    segment_item segment = {item / SEGMENTS, item % SEGMENTS, 0, 0, false};
    const int32_t width = p->forms[segment.row].width;
    const int32_t columns = segment_columns(width);
    segment.from = min(segment.index * columns, width);
    segment.end = min(segment.from + columns, width);
    segment.last = segment.index + 1 == segment_count(width);
    return segment;
}

/* found [rows][SEGMENTS] */
__global__ void __launch_bounds__(THREADS) mask_rle_count_kernel(rcnn_cuda_mask_forms p, changes *found)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(float, shared);
    __shared__ changes warps[WARPS];
    const int32_t items = rcnn_live_rows(p.counts, p.n) * SEGMENTS;
    for (int32_t item = (int32_t)blockIdx.x; item < items; item += (int32_t)gridDim.x) {
        const segment_item segment = segment_of(&p, item);
        if (segment.from == segment.end) {
            continue;
        }
        const mask_view m = load_mask(&p, segment.row, shared);
        const changes none = {0, 0};
        const changes all = walk_columns(&m, segment.from, segment.end, NULL, none, warps);
        if (threadIdx.x == 0) {
            found[item] = all;
        }
    }
}

static __device__ changes changes_before(const changes *found, int32_t row, int32_t segment)
{
    changes before = {0, 0};
    for (int32_t s = 0; s < segment; s++) {
        const changes part = found[(size_t)row * SEGMENTS + (size_t)s];
        before.count += part.count;
        before.last = max(before.last, part.last);
    }
    return before;
}

__global__ void __launch_bounds__(THREADS) mask_rle_write_kernel(rcnn_cuda_mask_forms p, const changes *found)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(float, shared);
    __shared__ changes warps[WARPS];
    const int32_t items = rcnn_live_rows(p.counts, p.n) * SEGMENTS;
    for (int32_t item = (int32_t)blockIdx.x; item < items; item += (int32_t)gridDim.x) {
        const segment_item segment = segment_of(&p, item);
        const rcnn_cuda_form form = p.forms[segment.row];
        if (form.count < 0 || (segment.from == segment.end && !segment.last)) {
            continue;
        }
        uint32_t *words = p.words + form.offset;
        const mask_view m = load_mask(&p, segment.row, shared);
        const changes before = changes_before(found, segment.row, segment.index);
        const changes all = walk_columns(&m, segment.from, segment.end, words, before, warps);
        if (segment.last && threadIdx.x == 0) {
            words[all.count] = (uint32_t)(m.image_width * m.image_height - all.last);
        }
    }
}

/* ------------------------------------------------------------- crops */

/* Rows from .. to-1 of one word column. */
static __device__ void fill_rows(uint32_t *word, int32_t pitch, int32_t from, int32_t to, uint32_t bits, int32_t lane)
{
    for (int32_t y = from + lane; y < to; y += 32) {
        word[(size_t)y * (size_t)pitch] = bits;
    }
}

/* The same where the pixels of at least one column change: lane k keeps the word of every 32nd row k. */
static __device__ void pack_rows(const mask_view *m, uint32_t *word, int32_t pitch, int32_t from, int32_t to,
                                 float upper, float lower, int32_t lane)
{
    for (int32_t first = from; first < to; first += 32) {
        const int32_t rows = min(to - first, 32);
        uint32_t mine = 0;
        for (int32_t k = 0; k < rows; k++) {
            const bool set = is_set(m, row_weight(m, first + k), upper, lower);
            const uint32_t bits = __ballot_sync(ALL_LANES, set);
            mine = lane == k ? bits : mine;
        }
        if (lane < rows) {
            word[(size_t)(first + lane) * (size_t)pitch] = mine;
        }
    }
}

/* The 32 columns from x on, by one warp. */
static __device__ void pack_columns(const mask_view *m, int32_t x, uint32_t *words, int32_t lane)
{
    const int32_t pitch = (m->form.width + 31) / 32;
    uint32_t *word = words + x / 32;
    mask_column column = {m->framed + m->side + 1, 0.0f, 0.0f}; /* past the width: clear */
    if (x + lane < m->form.width) {
        column = column_of(m, x + lane);
    }
    fill_rows(word, pitch, 0, m->from[0], 0, lane);
    float upper, lower = value_at(m, &column, 0);
    for (int32_t cell = 0; cell <= m->side; cell++) {
        upper = lower;
        lower = value_at(m, &column, cell + 1);
        const int32_t from = m->from[cell], to = m->from[cell + 1];
        if (from == to) {
            continue;
        }
        const bool surely_set = upper >= m->surely_set && lower >= m->surely_set;
        const bool surely_clear = upper < m->surely_clear && lower < m->surely_clear;
        if (__all_sync(ALL_LANES, surely_set || surely_clear)) {
            fill_rows(word, pitch, from, to, __ballot_sync(ALL_LANES, surely_set), lane);
        } else {
            pack_rows(m, word, pitch, from, to, upper, lower, lane);
        }
    }
    fill_rows(word, pitch, m->from[m->side + 1], m->form.height, 0, lane);
}

__global__ void __launch_bounds__(THREADS) mask_crop_write_kernel(rcnn_cuda_mask_forms p)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(float, shared);
    const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
    const int32_t items = rcnn_live_rows(p.counts, p.n) * SEGMENTS;
    for (int32_t item = (int32_t)blockIdx.x; item < items; item += (int32_t)gridDim.x) {
        const segment_item segment = segment_of(&p, item);
        const rcnn_cuda_form form = p.forms[segment.row];
        if (form.count < 0 || segment.from == segment.end) {
            continue;
        }
        const mask_view m = load_mask(&p, segment.row, shared);
        for (int32_t x = segment.from + 32 * warp; x < segment.end; x += THREADS) {
            pack_columns(&m, x, p.words + form.offset, lane);
        }
    }
}

/* ------------------------------------------------------------- placing */

/* Sums that stop at limit: order does not matter for them either, and nothing overflows. */
static __device__ int32_t add_up_to(int32_t a, int32_t b, int32_t limit)
{
    return min(a + b, limit);
}

static __device__ int32_t words_of(const rcnn_cuda_mask_forms *p, const changes *found, int32_t row)
{
    const rcnn_cuda_form form = p->forms[row];
    if (!p->rle) {
        return (form.width + 31) / 32 * form.height;
    }
    const int32_t segments = form.width > 0 ? segment_count(form.width) : 0;
    return changes_before(found, row, segments).count + 1; /* and what follows the last change */
}

/* Sum over the threads up to and with the calling one; *total: over all. */
static __device__ int32_t scan_words(int32_t mine, int32_t limit, int32_t *warps, int32_t *total)
{
    const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
    int32_t sum = mine;
    for (int32_t step = 1; step < 32; step *= 2) {
        const int32_t other = __shfl_up_sync(ALL_LANES, sum, (uint32_t)step);
        sum = lane >= step ? add_up_to(sum, other, limit) : sum;
    }
    if (lane == 31) {
        warps[warp] = sum;
    }
    __syncthreads();
    *total = 0;
    for (int32_t w = 0; w < PLACE_THREADS / 32; w++) {
        sum = w == warp ? add_up_to(sum, *total, limit) : sum;
        *total = add_up_to(*total, warps[w], limit);
    }
    __syncthreads();
    return sum;
}

/* One block. A sum of word_capacity + 1 stands for all that are too large. */
__global__ void __launch_bounds__(PLACE_THREADS) mask_place_kernel(rcnn_cuda_mask_forms p, const changes *found)
{
    rcnn_begin();
    __shared__ int32_t warps[PLACE_THREADS / 32];
    __shared__ int32_t used;
    const int32_t live = rcnn_live_rows(p.counts, p.n), limit = p.word_capacity + 1;
    int32_t before = 0;
    if (threadIdx.x == 0) {
        used = 0;
    }
    for (int32_t first = 0; first < live; first += PLACE_THREADS) {
        const int32_t row = first + (int32_t)threadIdx.x;
        const int32_t words = row < live ? min(words_of(&p, found, row), limit) : 0;
        int32_t total;
        const int32_t end = add_up_to(before, scan_words(words, limit, warps, &total), limit);
        if (row < live && end <= p.word_capacity) {
            p.forms[row].offset = end - words;
            p.forms[row].count = words;
            atomicMax(&used, end);
        }
        before = add_up_to(before, total, limit);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        *p.used = used;
    }
}

/* ------------------------------------------------------------- launch */

size_t rcnn_cuda_mask_forms_scratch(const rcnn_cuda_mask_forms *p)
{
    return p->rle ? (size_t)p->n * (size_t)p->capacity * SEGMENTS * sizeof(changes) : 0;
}

/* Above 48 KiB a kernel has to ask for its shared memory. */
template <typename K> static cudaError_t allow_shared(K *kernel, size_t bytes)
{
    return bytes <= 48 * 1024 ? cudaSuccess
                              : cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

cudaError_t rcnn_cuda_mask_forms_launch(const rcnn_cuda_mask_forms *p, cudaStream_t stream)
{
    const size_t shared = shared_bytes(p->side);
    const int64_t rows = (int64_t)p->n * p->capacity;
    const unsigned blocks = (unsigned)(rows * SEGMENTS < GRID_BLOCKS ? rows * SEGMENTS : GRID_BLOCKS);
    changes *found = (changes *)p->scratch;
    cudaError_t error = allow_shared(mask_rle_count_kernel, shared);
    error = error ? error : allow_shared(mask_rle_write_kernel, shared);
    error = error ? error : allow_shared(mask_crop_write_kernel, shared);
    if (error != cudaSuccess) {
        return error;
    }
    RCNN_LAUNCH(mask_regions_kernel, (unsigned)((rows + WARPS - 1) / WARPS), THREADS, 0, stream, *p);
    if (p->rle) {
        RCNN_LAUNCH(mask_rle_count_kernel, blocks, THREADS, shared, stream, *p, found);
    }
    RCNN_LAUNCH(mask_place_kernel, 1, PLACE_THREADS, 0, stream, *p, found);
    if (p->rle) {
        RCNN_LAUNCH(mask_rle_write_kernel, blocks, THREADS, shared, stream, *p, found);
    } else {
        RCNN_LAUNCH(mask_crop_write_kernel, blocks, THREADS, shared, stream, *p);
    }
    return cudaGetLastError();
}
