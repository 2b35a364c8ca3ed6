/* CONV by Winograd's filtering: which convolutions, and how tiles are spread over threads. The arithmetic is in the bodies
 * of winograd.h.
 *
 * A thread takes a block of tiles, gathers their transformed inputs (36 or 49 matrices, 0.26 to 0.7 MB at 256 channels: they
 * stay in its second-level cache), and for 64 output channels at a time multiplies and scatters, so that the sums never
 * leave that cache either. The filters pass by once a block. Where there are too few blocks to go round, the inputs of all
 * are gathered first, and threads then take pieces of 64 output channels of a block.
 *
 * What follows (follow.h) takes the outputs of a block, 64 channels at a time, from a buffer that the tiles are scattered
 * to. */
#include "backend/cpu/winograd.h"

#include <string.h>

#include "backend/cpu/elements.h"
#include "backend/cpu/follow.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/winograd_tiles.h"
#include "base/memory.h"
#include "base/threads.h"

#define PRODUCTS_MAX RCNN_WINOGRAD_PRODUCTS_MAX
#define OUTPUTS_MAX  RCNN_WINOGRAD_OUTPUTS_MAX
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
    int32_t products, outputs;     /* of a tile */
    int32_t panels;                /* of all output channels */
    int32_t block_tiles;           /* of a block, at the most */
    size_t input_stride;           /* elements from one product's transformed inputs to the next's */
    size_t sums_stride;            /* floats from one product's sums to the next's */
    size_t panel_stride;           /* and from one panel's */
    size_t steps_at;               /* byte of a block's transformed inputs where the steps of bytes begin */
    size_t block_bytes;            /* transformed inputs of a block, and their steps [products][block_tiles] */
    size_t work_stride;            /* floats from one product to the next while bytes are made; 0 else */
    size_t work_bytes;             /* of a thread */
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
    float *work;
    void *sink;
    void *pixels;    /* [block_tiles][outputs][PIECE] of outputs that something follows */
    float *products; /* [block_tiles][outputs][PANEL] of what follows */
} winograd_own;

/* ------------------------------------------------------------- one tile */

static bool has_steps(const winograd_kernel *k)
{
    return k->body->product->features == RCNN_U8;
}

/* Steps of a block's transformed inputs, of one product for all tiles. */
static float *steps_at(const winograd_kernel *k, const void *inputs, int32_t product)
{
    return (float *)(void *)((char *)inputs + k->steps_at) + (size_t)product * (size_t)k->block_tiles;
}

/* Transformed inputs of a tile as row `slot` of its block. */
static void gather_tile(const winograd_kernel *k, const winograd_run *run, const rcnn_square *square, int32_t slot,
                        void *inputs, float *work)
{
    const void *pixel[PRODUCTS_MAX];
    const size_t channels = (size_t)k->src_desc.dim[3];
    const int32_t in = k->body->tile->in;
    for (int32_t i = 0; i < k->products; i++) {
        const size_t at = rcnn_square_pixel(square->row[i / in], square->column[i % in]);
        pixel[i] = at == RCNN_NO_PIXEL ? k->zeros : rcnn_cpu_at(k->src_desc.dtype, run->src, at * channels);
    }
    const rcnn_winograd_inputs to = {.v = rcnn_cpu_to(k->body->product->features, inputs, (size_t)slot * channels),
                                     .stride = k->input_stride,
                                     .step = has_steps(k) ? steps_at(k, inputs, 0) + slot : NULL,
                                     .step_stride = (size_t)k->block_tiles,
                                     .work = work,
                                     .work_stride = k->work_stride};
    k->body->gather(k->src_desc.dtype, pixel, (int32_t)channels, &to);
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
static size_t output_of(const winograd_kernel *k, const rcnn_square *square, int32_t i)
{
    const int32_t out = k->body->tile->out;
    return rcnn_square_pixel(square->out_row[i / out], square->out_column[i % out]);
}

/* Outputs of channels first .. first+count-1 from the sums of one tile, to the buffer of what follows. */
static void scatter_aside(const winograd_kernel *k, int32_t tile, const float *sums, int32_t first, int32_t count,
                          void *pixels)
{
    void *pixel[OUTPUTS_MAX];
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, first);
    for (int32_t i = 0; i < k->outputs; i++) {
        pixel[i] = rcnn_cpu_to(how.dst, pixels, (size_t)(tile * k->outputs + i) * PIECE);
    }
    k->body->scatter(&how, sums, k->sums_stride, k->panel_stride, count, NULL, pixel);
}

/* The same to the map. */
static void scatter_tile(const winograd_kernel *k, const winograd_run *run, const rcnn_square *square,
                         const float *sums, int32_t first, int32_t count, void *sink)
{
    const void *residual[OUTPUTS_MAX];
    void *pixel[OUTPUTS_MAX];
    const size_t channels = (size_t)k->dst_desc.dim[3];
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, first);
    const size_t size = rcnn_cpu_element_bytes(how.dst), pitch = (size_t)k->body->tile->out * channels * size;
    for (int32_t i = 0; i < k->outputs; i++) {
        const size_t at = output_of(k, square, i);
        const bool outside = at == RCNN_NO_PIXEL;
        const size_t element = at * channels + (size_t)first;
        pixel[i] = outside ? sink : rcnn_cpu_to(how.dst, run->dst, element);
        fetch_ahead(pixel[i], pitch, (size_t)count * size);
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
    char *at = run->own + (size_t)rcnn_thread_index() * k->own_bytes;
    winograd_own own;
    own.squares = (rcnn_square *)(void *)at;
    own.sums = (float *)(void *)(at += k->squares_bytes);
    own.work = (float *)(void *)(at += k->sums_bytes);
    own.sink = at += k->work_bytes;
    own.pixels = at += k->sink_bytes;
    own.products = (float *)(void *)(at + k->pixels_bytes);
    return own;
}

static void find_squares(const winograd_run *run, int64_t block, rcnn_square *squares)
{
    const int64_t first = first_of(run, block);
    for (int32_t t = 0; t < length_of(run, block); t++) {
        rcnn_sheets_square(&run->sheets, first + t, &squares[t]);
    }
}

/* Sums of one product and panel for all tiles of a block, in steps of about as many rows. */
static void multiply_block(const winograd_kernel *k, int32_t length, const void *inputs, int32_t panel, int32_t product,
                           float *sums)
{
    const rcnn_product_body *body = k->body->product;
    const size_t channels = (size_t)k->src_desc.dim[3];
    const void *filters = rcnn_panels_at(k->filters, panel, product);
    const int32_t passes = (length + body->rows - 1) / body->rows;
    rcnn_product_steps steps =
        has_steps(k) ? rcnn_panels_steps_at(k->filters, panel, product) : (rcnn_product_steps){0};
    for (int32_t pass = 0; pass < passes; pass++) {
        const int32_t t = pass * length / passes;
        steps.row = has_steps(k) ? steps_at(k, inputs, product) + t : NULL;
        body->multiply(&(rcnn_product_job){
            .rows = (pass + 1) * length / passes - t,
            .channels = (int32_t)channels,
            .features = rcnn_cpu_at(body->features, inputs, (size_t)product * k->input_stride + (size_t)t * channels),
            .features_stride = channels,
            .stretches = 1,
            .panel = filters,
            .next = rcnn_cpu_at(body->weights, filters, channels * PANEL), /* of the product behind this one */
            .sums = sums + (size_t)t * PANEL,
            .steps = has_steps(k) ? &steps : NULL});
    }
}

/* PIECE outputs, from panel `first` on, of a block. */
static void make_piece(const winograd_kernel *k, const winograd_run *run, int64_t block, const void *inputs,
                       int32_t first, const winograd_own *own)
{
    const int32_t length = length_of(run, block);
    const int32_t panels = k->panels - first < PIECE / PANEL ? k->panels - first : PIECE / PANEL;
    for (int32_t i = 0; i < k->products; i++) {
        for (int32_t p = 0; p < panels; p++) {
            multiply_block(k, length, inputs, first + p, i,
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
        rcnn_follow_multiply(&k->follow, own->pixels, PIECE, length * k->outputs, first * PANEL, panels * PANEL,
                             own->products);
    }
}

/* Outputs of what follows a block. */
static void store_following(const winograd_kernel *k, const winograd_run *run, int32_t length, const winograd_own *own)
{
    for (int32_t t = 0; t < length; t++) {
        size_t at[OUTPUTS_MAX];
        for (int32_t i = 0; i < k->outputs; i++) {
            at[i] = output_of(k, &own->squares[t], i);
        }
        rcnn_follow_store(&k->follow, own->products + (size_t)(t * k->outputs) * PANEL, k->outputs, at,
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
            gather_tile(k, run, &own.squares[t], t, inputs, own.work);
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
            gather_tile(k, run, &square, (int32_t)t, run->inputs + (size_t)block * k->block_bytes, own_of(k, run).work);
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
    rcnn_sheets_begin(sheets, k->body->tile, k->src_desc.dim[1], k->src_desc.dim[2]);
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

static const rcnn_winograd_bodies *bodies_of(const rcnn_product_body *product)
{
#if RCNN_CPU_VNNI_BODY
    if (product == &rcnn_product_vnni) {
        return &rcnn_winograd_vnni;
    }
#endif
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
    const bool fits = op->w.kh == 3 && op->w.kw == 3 && op->u.conv.stride <= 2 && op->u.conv.pad == 1 &&
                      op->u.conv.groups == 1 && op->w.in % RCNN_PRODUCT_CHANNELS == 0 && op->w.out % PANEL == 0 &&
                      images_of(graph, op) <= RCNN_BATCH_MAX;
    const rcnn_winograd_bodies *bodies =
        fits ? bodies_of(rcnn_product_choose(backend, src == RCNN_I8 ? RCNN_U8 : src)) : NULL;
    return !bodies ? NULL : op->u.conv.stride == 2 ? &bodies->stride2 : &bodies->stride1;
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

/* Of a block's transformed inputs and sums. */
static void fill_block(winograd_kernel *k)
{
    const rcnn_winograd_body *body = k->body;
    const int32_t channels = k->src_desc.dim[3];
    k->products = body->tile->in * body->tile->in;
    k->outputs = body->tile->out * body->tile->out;
    k->panels = k->dst_desc.dim[3] / PANEL;
    k->block_tiles = body->block_tiles * (channels < USUAL ? USUAL / channels : 1);
    const size_t tiles = (size_t)k->block_tiles, products = (size_t)k->products;
    const size_t element = rcnn_cpu_element_bytes(body->product->features);
    k->input_stride = tiles * (size_t)channels + STAGGER / element;
    k->panel_stride = tiles * PANEL;
    k->sums_stride = tiles * PIECE + STAGGER / sizeof(float);
    k->steps_at = rcnn_aligned_size(products * k->input_stride * element);
    k->block_bytes = k->steps_at + (has_steps(k) ? rcnn_aligned_size(products * tiles * sizeof(float)) : 0);
    k->work_stride = has_steps(k) ? (size_t)channels + STAGGER / sizeof(float) : 0;
}

/* Of what a thread has of its own. */
static void fill_own(winograd_kernel *k)
{
    const size_t tiles = (size_t)k->block_tiles, products = (size_t)k->products;
    k->squares_bytes = rcnn_aligned_size(tiles * sizeof(rcnn_square));
    k->sums_bytes = rcnn_aligned_size(products * k->sums_stride * sizeof(float));
    k->work_bytes = rcnn_aligned_size(products * k->work_stride * sizeof(float));
    k->sink_bytes = rcnn_aligned_size(PIECE * sizeof(float));
    k->own_bytes = k->squares_bytes + k->sums_bytes + k->work_bytes + k->sink_bytes;
    if (k->followed) {
        const size_t pixels = tiles * (size_t)k->outputs;
        k->pixels_bytes = rcnn_aligned_size(pixels * PIECE * rcnn_cpu_element_bytes(k->dst_desc.dtype));
        k->own_bytes += k->pixels_bytes + rcnn_aligned_size(pixels * PANEL * sizeof(float));
    }
}

/* The scratch memory for any number of live maps: as for as many tiles as there are when no two maps share one. */
static size_t scratch_of(const winograd_kernel *k)
{
    const int64_t threads = rcnn_cpu_threads(k->backend), out = k->body->tile->out;
    const int64_t tiles_y = (k->dst_desc.dim[1] + out - 1) / out, tiles_x = (k->dst_desc.dim[2] + out - 1) / out;
    const int64_t most = k->followed ? 0 : blocks_of(k, k->src_desc.dim[0] * tiles_y * tiles_x);
    const int64_t first = most < FEW * threads ? most : FEW * threads; /* gathered first are few */
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
    fill_block(k);
    const rcnn_panels_recipe recipe = {.matrices = k->products,
                                       .rows = op->w.in,
                                       .type = k->body->product->weights,
                                       .weights = k->body->tile->filter,
                                       .each = has_steps(k)};
    RCNN_TRY(rcnn_panels_get(k->backend, &recipe, op, &k->filters, err));
    return rcnn_product_numbers_make(graph, op, NULL, rcnn_product_unit(&graph->values[op->output[0]]), &k->numbers,
                                     err);
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
    fill_own(k);
    *scratch_bytes = scratch_of(k);
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
