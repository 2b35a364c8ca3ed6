/* A 1x1 convolution as a product of pixels and panels of weights; conv_1x1.h. A thread takes a block of pixels, which
 * stay in its cache while all panels pass by. */
#include "backend/cpu/conv_1x1.h"

#include <string.h>

#include "backend/cpu/elements.h"
#include "backend/cpu/panels.h"
#include "base/memory.h"

#define PANEL        RCNN_PRODUCT_PANEL
#define BLOCK_STEPS  8    /* register blocks of pixels between passes over the weights */
#define CHANNELS_MAX 2048 /* of the input: room for the last pixels on the stack */
#define LAST_BYTES   (RCNN_PRODUCT_ROWS_MAX * CHANNELS_MAX * sizeof(float))

typedef struct conv_kernel {
    rcnn_kernel head;
    rcnn_backend *backend;
    const rcnn_product_body *body;
    rcnn_panels *weights;
    rcnn_product_numbers numbers;
    rcnn_value_id src, residual, dst, rows; /* residual, rows: RCNN_NO_VALUE when absent */
    int32_t images, row_count;              /* length of rows; dim[0] */
    int32_t in, out;
    int64_t row_pixels; /* of one entry of dim[0] */
} conv_kernel;

typedef struct conv_run {
    const void *src, *residual; /* residual NULL when there is none */
    void *dst;
    int64_t pixels;
} conv_run;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* `count` pixels, at most body->rows, from pixel `first` on: one panel of outputs. features: theirs, with body->rows rows
 * that may be read. */
static void make_outputs(const conv_kernel *k, const conv_run *run, int64_t first, int32_t count, const void *features,
                         int32_t panel)
{
    float sums[RCNN_PRODUCT_ROWS_MAX * PANEL];
    const rcnn_product_store how = rcnn_product_store_at(&k->numbers, panel * PANEL);
    const size_t at = (size_t)first * (size_t)k->out + (size_t)panel * PANEL;
    k->body->multiply(features, rcnn_panels_at(k->weights, panel, 0), k->in, sums, PANEL);
    k->body->finish(&how, sums, count, run->residual ? rcnn_cpu_at(how.residual, run->residual, at) : NULL,
                    rcnn_cpu_to(how.dst, run->dst, at), (size_t)k->out);
}

static void make_block(const conv_kernel *k, const conv_run *run, int64_t first, int64_t end)
{
    const int32_t step = k->body->rows;
    const rcnn_dtype type = k->body->features;
    const int64_t whole = first + (end - first) / step * step;
    for (int32_t panel = 0; panel < k->out / PANEL; panel++) {
        for (int64_t pixel = first; pixel < whole; pixel += step) {
            make_outputs(k, run, pixel, step, rcnn_cpu_at(type, run->src, (size_t)pixel * (size_t)k->in), panel);
        }
    }
    if (whole < end) { /* the last pixels of all: rows behind them would be somebody else's memory */
        _Alignas(RCNN_ALIGNMENT) char last[LAST_BYTES];
        const size_t bytes = (size_t)k->in * rcnn_cpu_element_bytes(type);
        memset(last, 0, (size_t)step * bytes);
        memcpy(last, rcnn_cpu_at(type, run->src, (size_t)whole * (size_t)k->in), (size_t)(end - whole) * bytes);
        for (int32_t panel = 0; panel < k->out / PANEL; panel++) {
            make_outputs(k, run, whole, (int32_t)(end - whole), last, panel);
        }
    }
}

static rcnn_status conv_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const conv_kernel *k = (const conv_kernel *)kernel;
    const int32_t rows = k->rows == RCNN_NO_VALUE ? k->row_count : rcnn_cpu_live_rows(args->value[k->rows], k->images);
    const conv_run run = {.src = args->value[k->src],
                          .residual = k->residual == RCNN_NO_VALUE ? NULL : args->value[k->residual],
                          .dst = args->value[k->dst],
                          .pixels = rows * k->row_pixels};
    /* smaller blocks where there are few pixels, so that every thread has some */
    const int64_t steps = (run.pixels + k->body->rows - 1) / k->body->rows;
    const int64_t share = steps / (4 * (int64_t)rcnn_cpu_threads(k->backend));
    const int64_t block = (share < 1 ? 1 : least(share, BLOCK_STEPS)) * k->body->rows;
    const int64_t blocks = (run.pixels + block - 1) / block;
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < blocks; b++) {
        make_block(k, &run, b * block, least((b + 1) * block, run.pixels));
    }
    return RCNN_OK;
}

static void conv_release(rcnn_kernel *kernel)
{
    conv_kernel *k = (conv_kernel *)kernel;
    rcnn_product_numbers_free(&k->numbers);
    rcnn_panels_put(k->backend, k->weights);
    rcnn_free(k);
}

const rcnn_product_body *rcnn_conv_1x1_choose(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op)
{
    const bool fits = op->w.kh == 1 && op->w.kw == 1 && op->u.conv.stride == 1 && op->u.conv.pad == 0 &&
                      op->u.conv.groups == 1 && op->u.conv.residual && op->w.in % RCNN_PRODUCT_CHANNELS == 0 &&
                      op->w.in <= CHANNELS_MAX && op->w.out % PANEL == 0;
    return fits ? rcnn_product_choose(backend, graph->values[op->input[0]].desc.dtype) : NULL;
}

static void weight_of(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    *element = op->w.weights[(size_t)o * (size_t)op->w.in + (size_t)i];
}

static rcnn_status prepare(conv_kernel *k, const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    k->src = op->input[0];
    k->residual = op->u.conv.residual ? op->input[1] : RCNN_NO_VALUE;
    k->dst = op->output[0];
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    k->row_count = src->dim[0];
    k->row_pixels = (int64_t)src->dim[1] * src->dim[2];
    k->in = op->w.in;
    k->out = op->w.out;
    const rcnn_panels_recipe recipe = {.matrices = 1, .rows = op->w.in, .type = k->body->weights, .weights = weight_of};
    RCNN_TRY(rcnn_panels_get(k->backend, &recipe, op, &k->weights, err));
    return rcnn_product_numbers_make(graph, op, rcnn_panels_scale(k->weights),
                                     rcnn_product_unit(&graph->values[op->output[0]]), &k->numbers, err);
}

rcnn_status rcnn_conv_1x1_prepare(rcnn_backend *backend, const rcnn_product_body *body, const rcnn_graph *graph,
                                  const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    conv_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    k->head = (rcnn_kernel){.enqueue = conv_enqueue, .release = conv_release};
    k->backend = backend;
    k->body = body;
    rcnn_status status = prepare(k, graph, op, err);
    if (status != RCNN_OK) {
        conv_release(&k->head);
        return status;
    }
    *scratch_bytes = 0;
    *out = &k->head;
    return RCNN_OK;
}
