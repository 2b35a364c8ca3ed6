/* 7x7 convolution and 3x3 pooling of the image in bands of pooled rows; stem.h. A band's convolved rows go through a ring of
 * three, from which a pooled row is made as soon as its last one is there. A convolved pixel is the product of its patch,
 * 7 stretches of 21 numbers side by side in the image, with the weights in the same order; nothing is copied for it. */
#include "backend/cpu/stem.h"

#include <string.h>

#include "backend/cpu/body.h"
#include "backend/cpu/elements.h"
#include "backend/cpu/panels.h"
#include "base/memory.h"
#include "base/threads.h"

#define PANEL     RCNN_PRODUCT_PANEL
#define KERNEL    7
#define PAD       3
#define CHANNELS  3
#define STRETCH   22 /* numbers of a patch from one image row: 7 x 3, and one that makes it even and has no weight */
#define PATCH     (KERNEL * STRETCH)
#define WINDOW    3  /* of the pooling, in either direction */
#define BAND_ROWS 16 /* pooled rows of a band: one convolved row in 32 is made twice */

typedef struct stem_kernel {
    rcnn_kernel head;
    rcnn_backend *backend;
    const rcnn_product_body *product;
    const rcnn_cpu_body *body;
    rcnn_panels *weights;
    rcnn_product_numbers numbers;
    rcnn_value_id src, dst;
    rcnn_tensor_desc image, between, pooled;
    size_t line_elements; /* of an image row with zeros on both sides  */
    size_t row_bytes;     /* of a convolved row                        */
    size_t own_bytes;     /* of a thread: KERNEL lines twice, WINDOW rows and one more */
} stem_kernel;

/* What one thread works with: rings of image lines and convolved rows. */
typedef struct band {
    const void *image;
    char *lines, *rows, *largest; /* largest: of the rows that a pooled row is made from */
    int32_t lines_end, rows_end;  /* the first not made yet */
} band;

/* Lines y .. y+KERNEL-1 are behind each other from here on: each is there twice, so that the ring has no end. */
static void *line_at(const stem_kernel *k, const band *b, int32_t y)
{
    const size_t slot = (size_t)((y + KERNEL) % KERNEL);
    return rcnn_cpu_to(k->product->features, b->lines, slot * k->line_elements);
}

static void *row_at(const stem_kernel *k, const band *b, int32_t y)
{
    return b->rows + (size_t)(y % WINDOW) * k->row_bytes;
}

/* Image row y, zeros where there is none. */
static void make_line(const stem_kernel *k, const band *b, int32_t y)
{
    const rcnn_dtype type = k->product->features;
    const size_t size = rcnn_cpu_element_bytes(type);
    const size_t width = (size_t)k->image.dim[2] * CHANNELS;
    const size_t bytes = k->line_elements * size, before = (size_t)PAD * CHANNELS;
    char *line = line_at(k, b, y);
    memset(line, 0, bytes);
    if (y >= 0 && y < k->image.dim[1]) {
        memcpy(rcnn_cpu_to(type, line, before), rcnn_cpu_at(type, b->image, (size_t)y * width), width * size);
    }
    memcpy(line + KERNEL * bytes, line, bytes);
}

/* Convolved row y. */
static void make_row(const stem_kernel *k, band *b, int32_t y)
{
    const int32_t width = k->between.dim[2], out = k->between.dim[3], step = k->product->rows;
    float sums[RCNN_PRODUCT_ROWS_MAX * PANEL];
    void *row = row_at(k, b, y);
    for (; b->lines_end <= 2 * y + PAD; b->lines_end++) {
        make_line(k, b, b->lines_end);
    }
    const void *lines = line_at(k, b, 2 * y - PAD);
    for (int32_t x = 0; x < width; x += step) {
        const int32_t count = width - x < step ? width - x : step;
        for (int32_t panel = 0; panel < out / PANEL; panel++) {
            const rcnn_product_store how = rcnn_product_store_at(&k->numbers, panel * PANEL);
            const size_t at = (size_t)x * (size_t)out + (size_t)panel * PANEL;
            k->product->multiply(
                &(rcnn_product_job){.rows = count,
                                    .channels = STRETCH,
                                    .features = rcnn_cpu_at(k->product->features, lines, (size_t)x * 2 * CHANNELS),
                                    .features_stride = 2 * CHANNELS,
                                    .stretches = KERNEL,
                                    .stretch_stride = k->line_elements,
                                    .panel = rcnn_panels_at(k->weights, panel, 0),
                                    .next = rcnn_panels_at(k->weights, panel + 1, 0),
                                    .sums = sums});
            k->product->finish(&how, sums, count, NULL, rcnn_cpu_to(how.dst, row, at), (size_t)out);
        }
    }
}

/* Pooled row y: the largest of the convolved rows 2y-1 .. 2y+1 that there are, pixel by pixel, and of that row's pixels
 * 2x-1 .. 2x+1. */
static void pool_row(const stem_kernel *k, const band *b, int32_t y, void *dst)
{
    const rcnn_dtype type = k->between.dtype;
    const int32_t height = k->between.dim[1], width = k->between.dim[2];
    const size_t channels = (size_t)k->between.dim[3];
    const void *taps[WINDOW];
    int32_t count = 0;
    for (int32_t v = y > 0 ? 2 * y - 1 : 0; v <= 2 * y + 1 && v < height; v++) {
        taps[count++] = row_at(k, b, v);
    }
    k->body->max_of(type, taps, count, (size_t)width * channels, b->largest);
    for (int32_t x = 0; x < k->pooled.dim[2]; x++) {
        count = 0;
        for (int32_t u = x > 0 ? 2 * x - 1 : 0; u <= 2 * x + 1 && u < width; u++) {
            taps[count++] = rcnn_cpu_at(type, b->largest, (size_t)u * channels);
        }
        k->body->max_of(type, taps, count, channels, rcnn_cpu_to(type, dst, (size_t)x * channels));
    }
}

/* Pooled rows first .. end-1 of an image; dst: of that image. */
static void make_band(const stem_kernel *k, band *b, int32_t first, int32_t end, void *dst)
{
    const size_t row = (size_t)k->pooled.dim[2] * (size_t)k->pooled.dim[3];
    b->rows_end = first > 0 ? 2 * first - 1 : 0;
    b->lines_end = 2 * b->rows_end - PAD;
    for (int32_t y = first; y < end; y++) {
        for (; b->rows_end <= 2 * y + 1 && b->rows_end < k->between.dim[1]; b->rows_end++) {
            make_row(k, b, b->rows_end);
        }
        pool_row(k, b, y, rcnn_cpu_to(k->between.dtype, dst, (size_t)y * row));
    }
}

static rcnn_status stem_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const stem_kernel *k = (const stem_kernel *)kernel;
    const size_t image = (size_t)k->image.dim[1] * (size_t)k->image.dim[2] * CHANNELS;
    const size_t pooled = (size_t)k->pooled.dim[1] * (size_t)k->pooled.dim[2] * (size_t)k->pooled.dim[3];
    const int32_t height = k->pooled.dim[1];
    const int32_t bands = (height + BAND_ROWS - 1) / BAND_ROWS;
#pragma omp parallel for schedule(dynamic)
    for (int32_t item = 0; item < k->image.dim[0] * bands; item++) {
        const size_t n = (size_t)(item / bands);
        const int32_t first = item % bands * BAND_ROWS;
        char *own = (char *)args->scratch + (size_t)rcnn_thread_index() * k->own_bytes;
        band b = {.image = rcnn_cpu_at(k->image.dtype, args->value[k->src], n * image),
                  .rows = own,
                  .largest = own + WINDOW * k->row_bytes,
                  .lines = own + (WINDOW + 1) * k->row_bytes};
        make_band(k, &b, first, first + BAND_ROWS < height ? first + BAND_ROWS : height,
                  rcnn_cpu_to(k->pooled.dtype, args->value[k->dst], n * pooled));
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- preparing */

static void stem_release(rcnn_kernel *kernel)
{
    stem_kernel *k = (stem_kernel *)kernel;
    rcnn_product_numbers_free(&k->numbers);
    rcnn_panels_put(k->backend, k->weights);
    rcnn_free(k);
}

static bool is_stem(const rcnn_graph *graph, const rcnn_op *op)
{
    return op->kind == RCNN_OP_CONV && op->w.kh == KERNEL && op->w.kw == KERNEL && op->w.in == CHANNELS &&
           graph->values[op->input[0]].desc.dim[3] == CHANNELS && op->u.conv.stride == 2 && op->u.conv.pad == PAD &&
           op->u.conv.groups == 1 && !op->u.conv.residual && op->rows == RCNN_NO_VALUE && op->w.out % PANEL == 0;
}

int32_t rcnn_stem_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    if (!is_stem(graph, op) || !rcnn_cpu_is_chain(graph, first)) {
        return 0;
    }
    const rcnn_op *pool = op + 1;
    const bool pooled = pool->kind == RCNN_OP_MAXPOOL && pool->u.maxpool.kernel == WINDOW &&
                        pool->u.maxpool.stride == 2 && pool->u.maxpool.pad == 1;
    const rcnn_product_body *product = rcnn_product_choose(backend, graph->values[op->input[0]].desc.dtype);
    const bool words = product && product->features != RCNN_U8; /* a patch is a whole number of them */
    return pooled && words ? 2 : 0;
}

/* Row i of the weights: number i of a patch. */
static void weight_of(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    const int32_t y = i / STRETCH, x = i % STRETCH / CHANNELS, c = i % STRETCH % CHANNELS;
    *element = x < KERNEL ? op->w.weights[((o * CHANNELS + c) * KERNEL + y) * KERNEL + x] : 0;
}

static rcnn_status prepare(stem_kernel *k, const rcnn_graph *graph, int32_t first, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    const rcnn_panels_recipe recipe = {.matrices = 1, .rows = PATCH, .type = k->product->weights, .weights = weight_of};
    k->src = op->input[0];
    k->dst = op[1].output[0];
    k->image = graph->values[k->src].desc;
    k->between = graph->values[op->output[0]].desc;
    k->pooled = graph->values[k->dst].desc;
    /* the last patches of a row reach past it */
    k->line_elements = rcnn_aligned_size((size_t)(PAD + k->image.dim[2] + KERNEL + 1) * CHANNELS);
    k->row_bytes = rcnn_aligned_size((size_t)k->between.dim[2] * (size_t)k->between.dim[3] *
                                     rcnn_cpu_element_bytes(k->between.dtype));
    k->own_bytes = (WINDOW + 1) * k->row_bytes +
                   rcnn_aligned_size(2 * KERNEL * k->line_elements * rcnn_cpu_element_bytes(k->product->features));
    RCNN_TRY(rcnn_panels_get(k->backend, &recipe, op, &k->weights, err));
    return rcnn_product_numbers_make(graph, op, rcnn_panels_scale(k->weights),
                                     rcnn_product_unit(&graph->values[op->output[0]]), &k->numbers, err);
}

rcnn_status rcnn_stem_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                              size_t *scratch_bytes, rcnn_error *err)
{
    stem_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", graph->ops[first].name);
    }
    k->head = (rcnn_kernel){.enqueue = stem_enqueue, .release = stem_release};
    k->backend = backend;
    k->product = rcnn_product_choose(backend, graph->values[graph->ops[first].input[0]].desc.dtype);
    k->body = rcnn_cpu_body_of(rcnn_cpu_isa_of(backend));
    rcnn_status status = prepare(k, graph, first, err);
    if (status != RCNN_OK) {
        stem_release(&k->head);
        return status;
    }
    *scratch_bytes = (size_t)rcnn_cpu_threads(backend) * k->own_bytes;
    *out = &k->head;
    return RCNN_OK;
}
