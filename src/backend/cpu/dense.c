/* 1x1 convolutions and fully connected layers as products of rows and panels of weights; dense.h. A row is a pixel of the one
 * or a RoI of the other. A thread takes a block of rows, which stay in its cache while all panels pass by; rows too long for
 * that are taken a chunk of their channels at a time, with the sums of all outputs kept in between. */
#include "backend/cpu/dense.h"

#include "backend/cpu/elements.h"
#include "backend/cpu/panels.h"
#include "base/memory.h"
#include "base/threads.h"

#define PANEL       RCNN_PRODUCT_PANEL
#define STEPS       8    /* register blocks of rows between passes over the weights, at the most */
#define CHUNK_STEPS 18   /* the same where rows are cut into chunks: there are more weights then */
#define FEW         4    /* blocks a thread: below, they are made to come out even */
#define WHOLE       2048 /* channels of a row that is not cut into chunks */
#define CHUNK       512  /* of a row's chunk: a panel of as many weights stays in the first-level cache */
#define FASTER_FROM 256  /* input channels */
#define FASTER_TO   1024

typedef struct dense_kernel {
    rcnn_kernel head;
    rcnn_backend *backend;
    const rcnn_product_body *body;
    rcnn_panels *weights;
    rcnn_product_numbers numbers;
    rcnn_value_id src, residual, dst, rows; /* residual, rows: RCNN_NO_VALUE when absent */
    int32_t images, entries;                /* length of rows; dim[0] */
    int32_t in, out;
    int32_t chunk, chunks; /* channels of a row that are multiplied at once; how often */
    int32_t steps;         /* of a block, at the most */
    int64_t entry_rows;    /* of one entry of dim[0] */
    size_t own_bytes;      /* of a thread: sums of a block; 0 when there is one chunk */
} dense_kernel;

typedef struct dense_run {
    const void *src, *residual; /* residual NULL when there is none */
    void *dst;
    int64_t rows, blocks, length; /* length: rows of a block but the last, which may have fewer */
    int64_t groups;               /* of panels, which threads take for themselves */
    char *own;                    /* one a thread */
} dense_run;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------- running */

/* Weights of a panel from the first channel of a chunk on. */
static const void *weights_at(const dense_kernel *k, int32_t panel, int32_t chunk)
{
    return rcnn_cpu_at(k->body->weights, rcnn_panels_at(k->weights, panel, 0),
                       (size_t)chunk * (size_t)k->chunk * PANEL);
}

static void finish_rows(const dense_kernel *k, const dense_run *run, int64_t first, int32_t count, int32_t panel,
                        const float *sums)
{
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, panel * PANEL);
    const size_t at = (size_t)first * (size_t)k->out + (size_t)panel * PANEL;
    k->body->finish(&how, sums, count, run->residual ? rcnn_cpu_at(how.residual, run->residual, at) : NULL,
                    rcnn_cpu_to(how.dst, run->dst, at), (size_t)k->out);
}

/* One panel of outputs from a chunk of the rows first .. first+length-1, in steps of about as many. sums: the panel's of all
 * these rows, or when there is one chunk of one step. */
static void make_outputs(const dense_kernel *k, const dense_run *run, int64_t first, int32_t length, int32_t panel,
                         int32_t chunk, float *sums)
{
    const rcnn_product_body *body = k->body;
    const size_t in = (size_t)k->in, channel = (size_t)chunk * (size_t)k->chunk;
    const int32_t steps = (length + body->rows - 1) / body->rows;
    rcnn_product_job job = {.channels = (int32_t)least(k->chunk, k->in - (int64_t)channel),
                            .features_stride = in,
                            .stretches = 1,
                            .panel = weights_at(k, panel, chunk),
                            .next = weights_at(k, panel + 1, chunk),
                            .add = chunk > 0};
    for (int32_t step = 0; step < steps; step++) {
        const int32_t t = step * length / steps;
        job.rows = (step + 1) * length / steps - t;
        job.features = rcnn_cpu_at(body->features, run->src, (size_t)(first + t) * in + channel);
        job.sums = k->chunks > 1 ? sums + (size_t)t * PANEL : sums;
        body->multiply(&job);
        if (chunk == k->chunks - 1) {
            finish_rows(k, run, first + t, job.rows, panel, job.sums);
        }
    }
}

/* Panels first_panel .. end_panel-1 of the rows first .. first+length-1. */
static void make_block(const dense_kernel *k, const dense_run *run, int64_t first, int32_t length, int32_t first_panel,
                       int32_t end_panel)
{
    float few[RCNN_PRODUCT_ROWS_MAX * PANEL] = {0};
    float *many = (float *)(void *)(run->own + (size_t)rcnn_thread_index() * k->own_bytes);
    for (int32_t chunk = 0; chunk < k->chunks; chunk++) {
        for (int32_t panel = first_panel; panel < end_panel; panel++) {
            make_outputs(k, run, first, length, panel, chunk,
                         k->chunks > 1 ? many + (size_t)panel * (size_t)length * PANEL : few);
        }
    }
}

/* Blocks of about as many rows, as many for every thread where there are few. Weights of rows in chunks are too many to pass by
 * more often than they must: where their blocks do not go round, threads share one by its panels. */
static void cut(const dense_kernel *k, dense_run *run)
{
    const int64_t threads = rcnn_cpu_threads(k->backend), panels = k->out / PANEL;
    const int64_t step = k->body->rows, most = k->steps * step;
    int64_t blocks = (run->rows + most - 1) / most;
    run->groups = k->chunks > 1 && blocks < threads ? least((threads + blocks - 1) / blocks, panels) : 1;
    if (run->groups == 1 && blocks < FEW * threads) {
        const int64_t wanted = k->chunks > 1 ? blocks : least(FEW * threads, (run->rows + step - 1) / step);
        blocks = (wanted + threads - 1) / threads * threads;
    }
    run->length = (run->rows + blocks - 1) / blocks;
    run->blocks = (run->rows + run->length - 1) / run->length;
}

static rcnn_status dense_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const dense_kernel *k = (const dense_kernel *)kernel;
    const int32_t live = k->rows == RCNN_NO_VALUE ? k->entries : rcnn_cpu_live_rows(args->value[k->rows], k->images);
    const int64_t panels = k->out / PANEL;
    dense_run run = {.src = args->value[k->src],
                     .residual = k->residual == RCNN_NO_VALUE ? NULL : args->value[k->residual],
                     .dst = args->value[k->dst],
                     .rows = live * k->entry_rows,
                     .own = args->scratch};
    if (run.rows == 0) {
        return RCNN_OK;
    }
    cut(k, &run);
#pragma omp parallel for schedule(dynamic)
    for (int64_t item = 0; item < run.blocks * run.groups; item++) {
        const int64_t first = item / run.groups * run.length, group = item % run.groups;
        make_block(k, &run, first, (int32_t)least(run.length, run.rows - first), (int32_t)(group * panels / run.groups),
                   (int32_t)((group + 1) * panels / run.groups));
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- choosing */

static bool fits(const rcnn_op *op)
{
    return op->w.in % RCNN_PRODUCT_CHANNELS == 0 && op->w.out % PANEL == 0;
}

/* Than oneDNN, without a residual: by 2 to 6 % in BF16, not on bytes nor in floats. */
static bool is_faster(const rcnn_graph *graph, const rcnn_op *op)
{
    return graph->values[op->input[0]].desc.dtype == RCNN_BF16 && op->w.in >= FASTER_FROM && op->w.in <= FASTER_TO;
}

/* The planner places a residual under the result where their elements are of one size. Where it cannot, panels write lines of
 * memory in pieces that nothing has fetched, and oneDNN's sums, stored in one stream, are faster. */
static bool has_room_for_residual(const rcnn_graph *graph, const rcnn_op *op)
{
    return !op->u.conv.residual || rcnn_dtype_bytes(graph->values[op->input[1]].desc.dtype) ==
                                       rcnn_dtype_bytes(graph->values[op->output[0]].desc.dtype);
}

const rcnn_product_body *rcnn_dense_choose_conv(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op)
{
    const bool wanted = op->u.conv.residual || is_faster(graph, op);
    if (!wanted || !rcnn_product_is_point(op) || !fits(op) || !has_room_for_residual(graph, op)) {
        return NULL;
    }
    return rcnn_product_choose(backend, graph->values[op->input[0]].desc.dtype);
}

const rcnn_product_body *rcnn_dense_choose_fc(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op)
{
    return fits(op) ? rcnn_product_choose(backend, graph->values[op->input[0]].desc.dtype) : NULL;
}

/* ------------------------------------------------------------- preparing */

static void dense_release(rcnn_kernel *kernel)
{
    dense_kernel *k = (dense_kernel *)kernel;
    rcnn_product_numbers_free(&k->numbers);
    rcnn_panels_put(k->backend, k->weights);
    rcnn_free(k);
}

static void cut_rows(dense_kernel *k)
{
    k->chunk = k->in <= WHOLE ? k->in : CHUNK;
    k->chunks = (k->in + k->chunk - 1) / k->chunk;
    k->steps = k->chunks > 1 ? CHUNK_STEPS : STEPS;
    const size_t rows = (size_t)(k->steps * k->body->rows);
    k->own_bytes = k->chunks > 1 ? rcnn_aligned_size(rows * (size_t)k->out * sizeof(float)) : 0;
}

static rcnn_status prepare(dense_kernel *k, const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    k->src = op->input[0];
    k->residual = op->kind == RCNN_OP_CONV && op->u.conv.residual ? op->input[1] : RCNN_NO_VALUE;
    k->dst = op->output[0];
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    k->entries = src->dim[0];
    k->entry_rows = op->kind == RCNN_OP_CONV ? (int64_t)src->dim[1] * src->dim[2] : 1;
    k->in = op->w.in;
    k->out = op->w.out;
    cut_rows(k);
    const rcnn_panels_recipe recipe = {
        .matrices = 1, .rows = op->w.in, .type = k->body->weights, .weights = rcnn_panels_rows};
    RCNN_TRY(rcnn_panels_get(k->backend, &recipe, op, &k->weights, err));
    return rcnn_product_numbers_make(graph, op, rcnn_panels_scale(k->weights),
                                     rcnn_product_unit(&graph->values[op->output[0]]), &k->numbers, err);
}

rcnn_status rcnn_dense_prepare(rcnn_backend *backend, const rcnn_product_body *body, const rcnn_graph *graph,
                               const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    dense_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    k->head = (rcnn_kernel){.enqueue = dense_enqueue, .release = dense_release};
    k->backend = backend;
    k->body = body;
    rcnn_status status = prepare(k, graph, op, err);
    if (status != RCNN_OK) {
        dense_release(&k->head);
        return status;
    }
    *scratch_bytes = (size_t)rcnn_cpu_threads(backend) * k->own_bytes;
    *out = &k->head;
    return RCNN_OK;
}
