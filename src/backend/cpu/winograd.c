/* CONV by Winograd's filtering: which convolutions, their filters, and how tiles are spread over threads. The arithmetic is
 * in the bodies of winograd.h.
 *
 * A thread takes a block of tiles, gathers their transformed inputs (49 matrices, 0.35 MB at 256 channels: they stay in its
 * second-level cache), and for 64 output channels at a time multiplies and scatters, so that the sums never leave that
 * cache either. The filters pass by once a block. Where there are too few blocks to go round, the inputs of all are gathered
 * first, and threads then take pieces of 64 output channels of a block.
 *
 * What follows (follow.h) takes the outputs of a block, 64 channels at a time, from a buffer that the tiles are scattered to. */
#include "backend/cpu/winograd.h"

#include <string.h>

#include "backend/cpu/elements.h"
#include "backend/cpu/follow.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/winograd_tiles.h"
#include "base/memory.h"
#include "base/threads.h"

#define PRODUCTS     RCNN_WINOGRAD_PRODUCTS
#define IN           RCNN_WINOGRAD_IN
#define OUT          RCNN_WINOGRAD_OUT
#define PANEL        RCNN_PRODUCT_PANEL
#define PIECE        64 /* output channels that are multiplied before they are scattered */
#define STAGGER      64 /* bytes: a cache line more, lest all products of a tile fall into the same few sets of the cache */
#define USUAL        256 /* input channels: of fewer, as many times more tiles make a block */
#define FEW          4   /* blocks a thread */
#define GATHER_PARTS 4   /* of a block that threads take when all are gathered first */

typedef struct winograd_kernel {
    rcnn_kernel head;
    rcnn_backend *backend;
    const rcnn_winograd_body *body;
    rcnn_panels *filters;
    rcnn_value_id src, residual, dst, rows; /* residual, rows: RCNN_NO_VALUE when absent */
    rcnn_tensor_desc src_desc, dst_desc;
    int32_t images; /* length of rows */
    rcnn_product_numbers numbers;
    void *zeros;                   /* [in]: the inputs outside of the map; owned */
    int32_t panels;                /* of all output channels */
    int32_t block_tiles;           /* of a block, at the most */
    size_t input_stride;           /* elements from one product's transformed inputs to the next's */
    size_t sums_stride;            /* floats from one product's sums to the next's */
    size_t panel_stride;           /* and from one panel's */
    size_t block_bytes;            /* transformed inputs of a block */
    size_t squares_bytes;          /* of a thread: where the tiles of its block are */
    size_t sums_bytes, sink_bytes; /* of a thread: its sums, and where outputs outside of the map go */
    size_t own_bytes;              /* of a thread: with all of these, and what is below when something follows */
    bool followed;
    rcnn_follow follow;
    size_t pixels_bytes; /* of a thread: 64 channels of a block's outputs; their products' sums come behind */
} winograd_kernel;

/* One call. */
typedef struct winograd_run {
    const char *src, *residual; /* residual NULL when there is none */
    char *dst;
    rcnn_sheets sheets;
    int64_t blocks;
    bool gather_first;
    char *inputs; /* transformed: one block a thread, or all blocks */
    char *own;    /* one a thread */
} winograd_run;

/* What a thread has of its own. */
typedef struct winograd_own {
    rcnn_square *squares;
    float *sums;
    void *sink;
    void *pixels;    /* [block_tiles][OUT * OUT][PIECE] of outputs that something follows */
    float *products; /* [block_tiles][OUT * OUT][PANEL] of what follows */
} winograd_own;

/* ------------------------------------------------------------- one tile */

/* Transformed inputs of a tile as row `slot` of its block. */
static void gather_tile(const winograd_kernel *k, const winograd_run *run, const rcnn_square *square, int32_t slot,
                        void *inputs)
{
    const void *pixel[PRODUCTS];
    const size_t channels = (size_t)k->src_desc.dim[3];
    for (int32_t i = 0; i < PRODUCTS; i++) {
        const size_t row = square->row[i / IN], column = square->column[i % IN];
        const bool outside = row == RCNN_NO_PIXEL || column == RCNN_NO_PIXEL;
        pixel[i] = outside ? k->zeros : rcnn_cpu_at(k->src_desc.dtype, run->src, (row + column) * channels);
    }
    k->body->gather(k->src_desc.dtype, pixel, (int32_t)channels,
                    rcnn_cpu_to(k->body->product->features, inputs, (size_t)slot * channels), k->input_stride);
}

#define LINE 64 /* bytes that memory moves at a time */

/* Outputs of the tile to the right will be written next: without this every store would wait for its line. */
static void fetch_ahead(const char *pixel, size_t tile_bytes, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LINE) {
        __builtin_prefetch(pixel + tile_bytes + i, 1);
    }
}

/* A pixel of a tile's outputs in the map, RCNN_NO_PIXEL outside of it. */
static size_t output_of(const rcnn_square *square, int32_t i)
{
    const size_t row = square->row[1 + i / OUT], column = square->column[1 + i % OUT];
    return row == RCNN_NO_PIXEL || column == RCNN_NO_PIXEL ? RCNN_NO_PIXEL : row + column;
}

/* Outputs of channels first .. first+count-1 from the sums of one tile, to the buffer of what follows. */
static void scatter_aside(const winograd_kernel *k, int32_t tile, const float *sums, int32_t first, int32_t count,
                          void *pixels)
{
    void *pixel[OUT * OUT];
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, first);
    for (int32_t i = 0; i < OUT * OUT; i++) {
        pixel[i] = rcnn_cpu_to(how.dst, pixels, (size_t)(tile * OUT * OUT + i) * PIECE);
    }
    k->body->scatter(&how, sums, k->sums_stride, k->panel_stride, count, NULL, pixel);
}

/* The same to the map. */
static void scatter_tile(const winograd_kernel *k, const winograd_run *run, const rcnn_square *square,
                         const float *sums, int32_t first, int32_t count, void *sink)
{
    const void *residual[OUT * OUT];
    void *pixel[OUT * OUT];
    const size_t channels = (size_t)k->dst_desc.dim[3];
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, first);
    const size_t size = rcnn_cpu_element_bytes(how.dst);
    for (int32_t i = 0; i < OUT * OUT; i++) {
        const size_t at = output_of(square, i);
        const bool outside = at == RCNN_NO_PIXEL;
        const size_t element = at * channels + (size_t)first;
        pixel[i] = outside ? sink : rcnn_cpu_to(how.dst, run->dst, element);
        fetch_ahead(pixel[i], OUT * channels * size, (size_t)count * size);
        residual[i] = outside || !run->residual ? sink : rcnn_cpu_at(how.residual, run->residual, element);
    }
    k->body->scatter(&how, sums, k->sums_stride, k->panel_stride, count, run->residual ? residual : NULL, pixel);
}

/* ------------------------------------------------------------- one block */

/* First tile of a block; that of block number `blocks` is the number of all tiles. */
static int64_t first_of(const winograd_run *run, int64_t block)
{
    return run->sheets.tiles * block / run->blocks;
}

static int32_t length_of(const winograd_run *run, int64_t block)
{
    return (int32_t)(first_of(run, block + 1) - first_of(run, block));
}

static winograd_own own_of(const winograd_kernel *k, const winograd_run *run)
{
    char *own = run->own + (size_t)rcnn_thread_index() * k->own_bytes;
    return (winograd_own){
        .squares = (rcnn_square *)(void *)own,
        .sums = (float *)(void *)(own + k->squares_bytes),
        .sink = own + k->squares_bytes + k->sums_bytes,
        .pixels = own + k->squares_bytes + k->sums_bytes + k->sink_bytes,
        .products = (float *)(void *)(own + k->squares_bytes + k->sums_bytes + k->sink_bytes + k->pixels_bytes)};
}

static void find_squares(const winograd_run *run, int64_t block, rcnn_square *squares)
{
    const int64_t first = first_of(run, block);
    for (int32_t t = 0; t < length_of(run, block); t++) {
        rcnn_sheets_square(&run->sheets, first + t, &squares[t]);
    }
}

/* Sums of one product and panel for all tiles of a block, in steps of about as many rows. */
static void multiply_block(const winograd_kernel *k, int32_t length, const void *inputs, const void *filters,
                           float *sums)
{
    const rcnn_product_body *product = k->body->product;
    const size_t channels = (size_t)k->src_desc.dim[3];
    const int32_t steps = (length + product->rows - 1) / product->rows;
    for (int32_t step = 0; step < steps; step++) {
        const int32_t t = step * length / steps;
        product->multiply(&(rcnn_product_job){
            .rows = (step + 1) * length / steps - t,
            .channels = (int32_t)channels,
            .features = rcnn_cpu_at(product->features, inputs, (size_t)t * channels),
            .features_stride = channels,
            .stretches = 1,
            .panel = filters,
            .next = rcnn_cpu_at(product->weights, filters, channels * PANEL), /* of the product behind this one */
            .sums = sums + (size_t)t * PANEL});
    }
}

/* PIECE outputs, from panel `first` on, of a block. */
static void make_piece(const winograd_kernel *k, const winograd_run *run, int64_t block, const void *inputs,
                       int32_t first, const winograd_own *own)
{
    const int32_t length = length_of(run, block);
    const int32_t panels = k->panels - first < PIECE / PANEL ? k->panels - first : PIECE / PANEL;
    for (int32_t i = 0; i < PRODUCTS; i++) {
        for (int32_t p = 0; p < panels; p++) {
            multiply_block(k, length, rcnn_cpu_at(k->body->product->features, inputs, (size_t)i * k->input_stride),
                           rcnn_panels_at(k->filters, first + p, i),
                           own->sums + (size_t)i * k->sums_stride + (size_t)p * k->panel_stride);
        }
    }
    for (int32_t t = 0; t < length; t++) {
        const float *sums = own->sums + (size_t)t * PANEL;
        if (k->followed) {
            scatter_aside(k, t, sums, first * PANEL, panels * PANEL, own->pixels);
        } else {
            scatter_tile(k, run, &own->squares[t], sums, first * PANEL, panels * PANEL, own->sink);
        }
    }
    if (k->followed) {
        rcnn_follow_multiply(&k->follow, own->pixels, PIECE, length * OUT * OUT, first * PANEL, panels * PANEL,
                             own->products);
    }
}

/* Outputs of what follows a block. */
static void store_following(const winograd_kernel *k, const winograd_run *run, int32_t length, const winograd_own *own)
{
    for (int32_t t = 0; t < length; t++) {
        size_t at[OUT * OUT];
        for (int32_t i = 0; i < OUT * OUT; i++) {
            at[i] = output_of(&own->squares[t], i);
        }
        rcnn_follow_store(&k->follow, own->products + (size_t)t * OUT * OUT * PANEL, OUT * OUT, at,
                          (float *)(void *)run->dst);
    }
}

/* ------------------------------------------------------------- all blocks */

static void run_by_block(const winograd_kernel *k, const winograd_run *run)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t block = 0; block < run->blocks; block++) {
        const winograd_own own = own_of(k, run);
        char *inputs = run->inputs + (size_t)rcnn_thread_index() * k->block_bytes;
        find_squares(run, block, own.squares);
        for (int32_t t = 0; t < length_of(run, block); t++) {
            gather_tile(k, run, &own.squares[t], t, inputs);
        }
        for (int32_t panel = 0; panel < k->panels; panel += PIECE / PANEL) {
            make_piece(k, run, block, inputs, panel, &own);
        }
        if (k->followed) {
            store_following(k, run, length_of(run, block), &own);
        }
    }
}

static void run_by_piece(const winograd_kernel *k, const winograd_run *run)
{
    const int32_t pieces = (k->panels * PANEL + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(dynamic)
    for (int64_t item = 0; item < run->blocks * GATHER_PARTS; item++) {
        const int64_t block = item / GATHER_PARTS, part = item % GATHER_PARTS;
        const int32_t length = length_of(run, block);
        for (int64_t t = part * length / GATHER_PARTS; t < (part + 1) * length / GATHER_PARTS; t++) {
            rcnn_square square;
            rcnn_sheets_square(&run->sheets, first_of(run, block) + t, &square);
            gather_tile(k, run, &square, (int32_t)t, run->inputs + (size_t)block * k->block_bytes);
        }
    }
    /* blocks innermost: threads that work side by side read the same filters */
#pragma omp parallel for schedule(dynamic)
    for (int64_t item = 0; item < run->blocks * pieces; item++) {
        const winograd_own own = own_of(k, run);
        const int64_t block = item % run->blocks;
        find_squares(run, block, own.squares);
        make_piece(k, run, block, run->inputs + (size_t)block * k->block_bytes,
                   (int32_t)(item / run->blocks) * (PIECE / PANEL), &own);
    }
}

/* The live maps: RoIs of an image may share tiles, images do not. */
static void lay_out(const winograd_kernel *k, const int32_t *counts, rcnn_sheets *sheets)
{
    const int32_t count = counts ? k->images : k->src_desc.dim[0];
    rcnn_sheets_begin(sheets, k->src_desc.dim[1], k->src_desc.dim[2]);
    for (int32_t n = 0; n < count; n++) {
        rcnn_sheets_add(sheets, counts ? counts[n] : 1);
    }
}

static int64_t blocks_of(const winograd_kernel *k, int64_t tiles)
{
    return (tiles + k->block_tiles - 1) / k->block_tiles;
}

/* Blocks of about as many tiles, as many for every thread. What follows needs all channels of a block in one thread. */
static void cut(const winograd_kernel *k, winograd_run *run)
{
    const int64_t threads = rcnn_cpu_threads(k->backend);
    const int64_t blocks = blocks_of(k, run->sheets.tiles);
    run->gather_first = blocks < FEW * threads && !k->followed;
    run->blocks = run->gather_first ? blocks : (blocks + threads - 1) / threads * threads;
}

static rcnn_status winograd_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const winograd_kernel *k = (const winograd_kernel *)kernel;
    winograd_run run = {.src = args->value[k->src],
                        .residual = k->residual == RCNN_NO_VALUE ? NULL : args->value[k->residual],
                        .dst = args->value[k->followed ? k->follow.dst : k->dst]};
    lay_out(k, k->rows == RCNN_NO_VALUE ? NULL : args->value[k->rows], &run.sheets);
    run.own = args->scratch;
    run.inputs = run.own + (size_t)rcnn_cpu_threads(k->backend) * k->own_bytes;
    if (run.sheets.tiles == 0) {
        return RCNN_OK;
    }
    cut(k, &run);
    if (run.gather_first) {
        run_by_piece(k, &run);
    } else {
        run_by_block(k, &run);
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- choosing */

/* Integers are taken as BF16, which holds them all, and their filters as BF16 too. */
static const rcnn_winograd_body *body_of(const rcnn_product_body *product)
{
#if RCNN_CPU_BF16_BODY
    if (product == &rcnn_product_bf16) {
        return &rcnn_winograd_bf16;
    }
#endif
#if RCNN_CPU_AVX512_BODY
    if (product == &rcnn_product_avx512) {
        return &rcnn_winograd_avx512;
    }
#endif
#if RCNN_CPU_AVX2_BODY
    if (product == &rcnn_product_avx2) {
        return &rcnn_winograd_avx2;
    }
#endif
    return NULL;
}

static int32_t images_of(const rcnn_graph *graph, const rcnn_op *op)
{
    return graph->values[op->rows == RCNN_NO_VALUE ? op->input[0] : op->rows].desc.dim[0];
}

const rcnn_winograd_body *rcnn_winograd_choose(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op)
{
    const rcnn_dtype src = graph->values[op->input[0]].desc.dtype;
    const bool fits = op->w.kh == 3 && op->w.kw == 3 && op->u.conv.stride == 1 && op->u.conv.pad == 1 &&
                      op->u.conv.groups == 1 && op->w.in % RCNN_PRODUCT_CHANNELS == 0 && op->w.out % PANEL == 0 &&
                      images_of(graph, op) <= RCNN_BATCH_MAX;
    return fits ? body_of(rcnn_product_choose(backend, src == RCNN_F32 ? RCNN_F32 : RCNN_BF16)) : NULL;
}

int32_t rcnn_winograd_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    if (op->kind != RCNN_OP_CONV || op->rows != RCNN_NO_VALUE || op->u.conv.residual ||
        !rcnn_follow_fits(backend, graph, first)) {
        return 0;
    }
    return rcnn_winograd_choose(backend, graph, op) ? 2 : 0;
}

/* ------------------------------------------------------------- filters */

#define KERNEL 3

/* G: row of a point p is 1, p, p^2 divided by the product of (p - q) over the other points; infinity's is 0, 0, 1. */
static void points_of(double g[RCNN_WINOGRAD_IN][KERNEL])
{
    const double a = RCNN_WINOGRAD_A, b = RCNN_WINOGRAD_B, c = RCNN_WINOGRAD_C;
    const double point[RCNN_WINOGRAD_IN - 1] = {a, -a, b, -b, c, -c};
    for (int i = 0; i < RCNN_WINOGRAD_IN - 1; i++) {
        double product = 1;
        for (int j = 0; j < RCNN_WINOGRAD_IN - 1; j++) {
            product *= j == i ? 1 : point[i] - point[j];
        }
        g[i][0] = 1 / product;
        g[i][1] = point[i] / product;
        g[i][2] = point[i] * point[i] / product;
    }
    g[RCNN_WINOGRAD_IN - 1][0] = g[RCNN_WINOGRAD_IN - 1][1] = 0;
    g[RCNN_WINOGRAD_IN - 1][2] = 1;
}

/* G g G' of the filter from input i to output o. */
static void transform_filter(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    const float *filter = op->w.weights + ((size_t)o * (size_t)op->w.in + (size_t)i) * KERNEL * KERNEL;
    double g[RCNN_WINOGRAD_IN][KERNEL], half[RCNN_WINOGRAD_IN][KERNEL];
    points_of(g);
    for (int y = 0; y < RCNN_WINOGRAD_IN; y++) {
        for (int x = 0; x < KERNEL; x++) {
            half[y][x] = g[y][0] * (double)filter[x] + g[y][1] * (double)filter[KERNEL + x] +
                         g[y][2] * (double)filter[2 * KERNEL + x];
        }
    }
    for (int p = 0; p < PRODUCTS; p++) {
        const double *row = half[p / RCNN_WINOGRAD_IN];
        const double *column = g[p % RCNN_WINOGRAD_IN];
        element[p] = (float)(row[0] * column[0] + row[1] * column[1] + row[2] * column[2]);
    }
}

/* ------------------------------------------------------------- preparing */

static void winograd_release(rcnn_kernel *kernel)
{
    winograd_kernel *k = (winograd_kernel *)kernel;
    rcnn_panels_put(k->backend, k->filters);
    rcnn_product_numbers_free(&k->numbers);
    if (k->followed) {
        rcnn_follow_release(&k->follow);
    }
    rcnn_free(k->zeros);
    rcnn_free(k);
}

/* Strides, and the scratch memory for any number of live maps. */
static size_t fill_sizes(winograd_kernel *k)
{
    const rcnn_winograd_body *body = k->body;
    const int64_t threads = rcnn_cpu_threads(k->backend);
    const int32_t channels = k->src_desc.dim[3];
    k->block_tiles = body->block_tiles * (channels < USUAL ? USUAL / channels : 1);
    const size_t tiles = (size_t)k->block_tiles;
    const size_t element = rcnn_cpu_element_bytes(body->product->features);
    k->panels = k->dst_desc.dim[3] / PANEL;
    k->input_stride = tiles * (size_t)channels + STAGGER / element;
    k->panel_stride = tiles * PANEL;
    k->sums_stride = tiles * PIECE + STAGGER / sizeof(float);
    k->block_bytes = rcnn_aligned_size(PRODUCTS * k->input_stride * element);
    k->squares_bytes = rcnn_aligned_size(tiles * sizeof(rcnn_square));
    k->sums_bytes = rcnn_aligned_size(PRODUCTS * k->sums_stride * sizeof(float));
    k->sink_bytes = rcnn_aligned_size(PIECE * sizeof(float));
    k->own_bytes = k->squares_bytes + k->sums_bytes + k->sink_bytes;
    if (k->followed) {
        k->pixels_bytes = rcnn_aligned_size(tiles * OUT * OUT * PIECE * rcnn_cpu_element_bytes(k->dst_desc.dtype));
        k->own_bytes += k->pixels_bytes + rcnn_aligned_size(tiles * OUT * OUT * PANEL * sizeof(float));
    }
    /* as many as there are when no two maps share a tile; gathered first are few */
    const int64_t tiles_y = (k->dst_desc.dim[1] + OUT - 1) / OUT, tiles_x = (k->dst_desc.dim[2] + OUT - 1) / OUT;
    const int64_t most = k->followed ? 0 : blocks_of(k, k->src_desc.dim[0] * tiles_y * tiles_x);
    const int64_t first = most < FEW * threads ? most : FEW * threads;
    return (size_t)threads * k->own_bytes + (size_t)(first > threads ? first : threads) * k->block_bytes;
}

static rcnn_status prepare(winograd_kernel *k, const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    k->src_desc = graph->values[op->input[0]].desc;
    k->dst_desc = graph->values[op->output[0]].desc;
    k->src = op->input[0];
    k->residual = op->u.conv.residual ? op->input[1] : RCNN_NO_VALUE;
    k->dst = op->output[0];
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    k->zeros = rcnn_malloc_aligned((size_t)op->w.in * sizeof(float));
    if (!k->zeros) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: conv '%s': out of memory", op->name);
    }
    memset(k->zeros, 0, (size_t)op->w.in * sizeof(float));
    const rcnn_panels_recipe recipe = {
        .matrices = PRODUCTS, .rows = op->w.in, .type = k->body->product->weights, .weights = transform_filter};
    RCNN_TRY(rcnn_panels_get(k->backend, &recipe, op, &k->filters, err));
    return rcnn_product_numbers_make(graph, op, rcnn_panels_scale(k->filters),
                                     rcnn_product_unit(&graph->values[op->output[0]]), &k->numbers, err);
}

/* follow: the op that does, or NULL. */
static rcnn_status prepare_with(rcnn_backend *backend, const rcnn_winograd_body *body, const rcnn_graph *graph,
                                const rcnn_op *op, const rcnn_op *follow, rcnn_kernel **out, size_t *scratch_bytes,
                                rcnn_error *err)
{
    winograd_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    k->head = (rcnn_kernel){.enqueue = winograd_enqueue, .release = winograd_release};
    k->backend = backend;
    k->body = body;
    rcnn_status status = prepare(k, graph, op, err);
    if (status == RCNN_OK && follow) {
        k->followed = true;
        status = rcnn_follow_prepare(backend, graph, follow, &k->follow, err);
    }
    if (status != RCNN_OK) {
        winograd_release(&k->head);
        return status;
    }
    *scratch_bytes = fill_sizes(k);
    *out = &k->head;
    return RCNN_OK;
}

rcnn_status rcnn_winograd_prepare(rcnn_backend *backend, const rcnn_winograd_body *body, const rcnn_graph *graph,
                                  const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    return prepare_with(backend, body, graph, op, NULL, out, scratch_bytes, err);
}

rcnn_status rcnn_winograd_prepare_pair(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                                       size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    return prepare_with(backend, rcnn_winograd_choose(backend, graph, op), graph, op, op + 1, out, scratch_bytes, err);
}
