/* CONV by Winograd's filtering: which convolutions, their filters, and how tiles are spread over threads. The arithmetic is
 * in the bodies of winograd.h.
 *
 * A thread takes a block of tiles, gathers their transformed inputs (36 matrices, 0.5 MB at 256 channels: they stay in its
 * second-level cache), and for 64 output channels at a time multiplies and scatters, so that the sums never leave that
 * cache either. The filters pass by once a block. Where there are too few blocks to go round, the inputs of all are gathered
 * first, and threads then take pieces of 64 output channels of a block. */
#include "backend/cpu/winograd.h"

#include <string.h>

#include "backend/cpu/elements.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/winograd_tiles.h"
#include "base/memory.h"
#include "base/threads.h"

#define PRODUCTS     RCNN_WINOGRAD_PRODUCTS
#define OUT          RCNN_WINOGRAD_OUT
#define PANEL        RCNN_PRODUCT_PANEL
#define STAGGER      64 /* bytes: a cache line more, lest all products of a tile fall into the same few sets of the cache */
#define PIECE_PANELS 2 /* panels of output channels that are multiplied before they are scattered */

typedef struct winograd_kernel {
    rcnn_kernel head;
    rcnn_backend *backend;
    const rcnn_winograd_body *body;
    rcnn_panels *filters;
    rcnn_value_id src, residual, dst, rows; /* residual, rows: RCNN_NO_VALUE when absent */
    rcnn_tensor_desc src_desc, dst_desc;
    int32_t images; /* length of rows */
    rcnn_product_numbers numbers;
    void *zeros;                  /* [in]: the inputs outside of the map; owned */
    int32_t panels;               /* of all output channels */
    size_t input_stride;          /* elements from one product's transformed inputs to the next's */
    size_t sums_stride;           /* floats from one product's sums to the next's */
    size_t block_bytes;           /* transformed inputs of a block */
    size_t sums_bytes, own_bytes; /* of a thread: its sums; with them a sink for outputs outside of the map */
    bool gather_first;
} winograd_kernel;

/* One call. */
typedef struct winograd_run {
    const char *src, *residual; /* residual NULL when there is none */
    char *dst;
    rcnn_sheets sheets;
    int64_t blocks;
    char *inputs; /* transformed: one block a thread, or all blocks */
    char *own;    /* one a thread */
} winograd_run;

/* ------------------------------------------------------------- one tile */

/* Transformed inputs of tile number `tile` as row `slot` of its block. Past the live tiles: zeros. */
static void gather_tile(const winograd_kernel *k, const winograd_run *run, int64_t tile, int32_t slot, void *inputs)
{
    const void *pixel[PRODUCTS];
    size_t index[PRODUCTS];
    const size_t channels = (size_t)k->src_desc.dim[3];
    rcnn_sheets_square(&run->sheets, tile, 1, RCNN_WINOGRAD_IN, index);
    for (int32_t i = 0; i < PRODUCTS; i++) {
        pixel[i] = index[i] == RCNN_NO_PIXEL ? k->zeros : rcnn_cpu_at(k->src_desc.dtype, run->src, index[i] * channels);
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

/* Outputs of channels first .. first+count-1 from the sums of one tile. */
static void scatter_tile(const winograd_kernel *k, const winograd_run *run, int64_t tile, const float *sums,
                         int32_t first, int32_t count, void *sink)
{
    const void *residual[OUT * OUT];
    void *pixel[OUT * OUT];
    size_t index[OUT * OUT];
    const size_t channels = (size_t)k->dst_desc.dim[3];
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, first);
    const size_t size = rcnn_cpu_element_bytes(how.dst);
    rcnn_sheets_square(&run->sheets, tile, 0, OUT, index);
    for (int32_t i = 0; i < OUT * OUT; i++) {
        const bool outside = index[i] == RCNN_NO_PIXEL;
        const size_t element = index[i] * channels + (size_t)first;
        pixel[i] = outside ? sink : rcnn_cpu_to(how.dst, run->dst, element);
        fetch_ahead(pixel[i], OUT * channels * size, (size_t)count * size);
        residual[i] = outside || !run->residual ? sink : rcnn_cpu_at(how.residual, run->residual, element);
    }
    k->body->scatter(&how, sums, k->sums_stride, count, run->residual ? residual : NULL, pixel);
}

/* ------------------------------------------------------------- one block */

static int32_t block_length(const winograd_kernel *k, const winograd_run *run, int64_t block)
{
    const int64_t left = run->sheets.tiles - block * k->body->block_tiles;
    return left < k->body->block_tiles ? (int32_t)left : k->body->block_tiles;
}

/* Rows that `multiply` reads for a block of so many tiles. */
static int32_t rows_of(const winograd_kernel *k, int32_t length)
{
    return (length + k->body->product->rows - 1) / k->body->product->rows * k->body->product->rows;
}

/* PIECE_PANELS panels of outputs, from panel `first` on, of a block. */
static void make_piece(const winograd_kernel *k, const winograd_run *run, int64_t block, const void *inputs,
                       int32_t first, char *own)
{
    const rcnn_winograd_body *body = k->body;
    float *sums = (float *)(void *)own;
    const size_t channels = (size_t)k->src_desc.dim[3];
    const size_t width = PIECE_PANELS * PANEL;
    const int32_t length = block_length(k, run, block);
    const int32_t panels = k->panels - first < PIECE_PANELS ? k->panels - first : PIECE_PANELS;
    for (int32_t i = 0; i < PRODUCTS; i++) {
        const size_t input = (size_t)i * k->input_stride;
        const size_t sum = (size_t)i * k->sums_stride;
        for (int32_t p = 0; p < panels; p++) {
            const void *u = rcnn_panels_at(k->filters, first + p, i);
            for (int32_t t = 0; t < length; t += body->product->rows) {
                body->product->multiply(rcnn_cpu_at(body->product->features, inputs, input + (size_t)t * channels), u,
                                        (int32_t)channels, sums + sum + (size_t)t * width + (size_t)p * PANEL, width);
            }
        }
    }
    for (int32_t t = 0; t < length; t++) {
        scatter_tile(k, run, block * body->block_tiles + t, sums + (size_t)t * width, first * PANEL, panels * PANEL,
                     own + k->sums_bytes);
    }
}

/* ------------------------------------------------------------- all blocks */

static void run_by_block(const winograd_kernel *k, const winograd_run *run)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t block = 0; block < run->blocks; block++) {
        const size_t thread = (size_t)rcnn_thread_index();
        char *inputs = run->inputs + thread * k->block_bytes;
        const int32_t rows = rows_of(k, block_length(k, run, block));
        for (int32_t t = 0; t < rows; t++) {
            gather_tile(k, run, block * k->body->block_tiles + t, t, inputs);
        }
        for (int32_t panel = 0; panel < k->panels; panel += PIECE_PANELS) {
            make_piece(k, run, block, inputs, panel, run->own + thread * k->own_bytes);
        }
    }
}

static void run_by_piece(const winograd_kernel *k, const winograd_run *run)
{
    const int32_t pieces = (k->panels + PIECE_PANELS - 1) / PIECE_PANELS;
    const int64_t full = (run->blocks - 1) * k->body->block_tiles;
    const int64_t rows = full + rows_of(k, block_length(k, run, run->blocks - 1));
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t tile = 0; tile < rows; tile++) {
        const int64_t block = tile / k->body->block_tiles;
        gather_tile(k, run, tile, (int32_t)(tile % k->body->block_tiles), run->inputs + (size_t)block * k->block_bytes);
    }
    /* blocks innermost: threads that work side by side read the same filters */
#pragma omp parallel for schedule(dynamic)
    for (int64_t item = 0; item < run->blocks * pieces; item++) {
        const int64_t block = item % run->blocks;
        make_piece(k, run, block, run->inputs + (size_t)block * k->block_bytes,
                   (int32_t)(item / run->blocks) * PIECE_PANELS, run->own + (size_t)rcnn_thread_index() * k->own_bytes);
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
    return (tiles + k->body->block_tiles - 1) / k->body->block_tiles;
}

static rcnn_status winograd_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const winograd_kernel *k = (const winograd_kernel *)kernel;
    winograd_run run = {.src = args->value[k->src],
                        .residual = k->residual == RCNN_NO_VALUE ? NULL : args->value[k->residual],
                        .dst = args->value[k->dst]};
    lay_out(k, k->rows == RCNN_NO_VALUE ? NULL : args->value[k->rows], &run.sheets);
    run.blocks = blocks_of(k, run.sheets.tiles);
    run.own = args->scratch;
    run.inputs = run.own + (size_t)rcnn_cpu_threads(k->backend) * k->own_bytes;
    if (run.blocks == 0) {
        return RCNN_OK;
    }
    if (k->gather_first) {
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

/* ------------------------------------------------------------- filters */

#define KERNEL 3

/* G: row of a point p is 1, p, p^2 divided by the product of (p - q) over the other points; infinity's is 0, 0, 1. */
static void points_of(double g[RCNN_WINOGRAD_IN][KERNEL])
{
    const double a = RCNN_WINOGRAD_A, b = RCNN_WINOGRAD_B;
    const double point[RCNN_WINOGRAD_IN - 1] = {0, a, -a, b, -b};
    const double product[RCNN_WINOGRAD_IN - 1] = {a * a * b * b, 2 * a * a * (a * a - b * b),
                                                  2 * a * a * (a * a - b * b), 2 * b * b * (b * b - a * a),
                                                  2 * b * b * (b * b - a * a)};
    for (int i = 0; i < RCNN_WINOGRAD_IN - 1; i++) {
        g[i][0] = 1 / product[i];
        g[i][1] = point[i] / product[i];
        g[i][2] = point[i] * point[i] / product[i];
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
    rcnn_free(k->zeros);
    rcnn_free(k);
}

/* How the work is cut, and the scratch memory for it. */
static size_t fill_sizes(winograd_kernel *k)
{
    const rcnn_winograd_body *body = k->body;
    const size_t threads = (size_t)rcnn_cpu_threads(k->backend);
    const size_t tiles = (size_t)body->block_tiles;
    const size_t width = PIECE_PANELS * PANEL;
    const size_t element = rcnn_cpu_element_bytes(body->product->features);
    k->panels = k->dst_desc.dim[3] / PANEL;
    k->input_stride = tiles * (size_t)k->src_desc.dim[3] + STAGGER / element;
    k->sums_stride = tiles * width + STAGGER / sizeof(float);
    k->block_bytes = rcnn_aligned_size(PRODUCTS * k->input_stride * element);
    k->sums_bytes = rcnn_aligned_size(PRODUCTS * k->sums_stride * sizeof(float));
    k->own_bytes = k->sums_bytes + rcnn_aligned_size(width * sizeof(float));
    /* as many as there are when no two maps share a tile */
    const int64_t tiles_y = (k->dst_desc.dim[1] + OUT - 1) / OUT, tiles_x = (k->dst_desc.dim[2] + OUT - 1) / OUT;
    const int64_t blocks = blocks_of(k, k->src_desc.dim[0] * tiles_y * tiles_x);
    k->gather_first = blocks < 4 * (int64_t)threads;
    return threads * k->own_bytes + (k->gather_first ? (size_t)blocks : threads) * k->block_bytes;
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

rcnn_status rcnn_winograd_prepare(rcnn_backend *backend, const rcnn_winograd_body *body, const rcnn_graph *graph,
                                  const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    winograd_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    k->head = (rcnn_kernel){.enqueue = winograd_enqueue, .release = winograd_release};
    k->backend = backend;
    k->body = body;
    rcnn_status status = prepare(k, graph, op, err);
    if (status != RCNN_OK) {
        winograd_release(&k->head);
        return status;
    }
    *scratch_bytes = fill_sizes(k);
    *out = &k->head;
    return RCNN_OK;
}
