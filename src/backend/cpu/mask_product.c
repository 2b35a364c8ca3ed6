/* The mask head's last two layers as one product; mask_product.h. Each source pixel makes its own 2x2 block of the
 * upsampled map, so the four taps are four matrices; threads take a tap of a RoI at a time. */
#include "backend/cpu/mask_product.h"

#include <string.h>

#include "backend/cpu/boxes.h"
#include "backend/cpu/elements.h"
#include "backend/cpu/panels.h"
#include "base/memory.h"
#include "base/threads.h"

#define PANEL RCNN_PRODUCT_PANEL
#define TAPS  4

typedef struct mask_kernel {
    rcnn_kernel head;
    rcnn_backend *backend;
    const rcnn_product_body *body;
    rcnn_kernel *logit; /* MASK_LOGIT's own kernel: it knows the channels */
    rcnn_panels *weights;
    rcnn_product_numbers numbers;
    const float *logit_weights, *logit_bias; /* [classes][between], [classes] */
    rcnn_value_id src, counts, dst;
    int32_t images, size, in, between; /* size: of the map of a RoI before it is upsampled */
    size_t dots_bytes, own_bytes;      /* of a thread: logits of one tap; with them their parts */
} mask_kernel;

/* Logits of one tap of one RoI, [size][size]. */
static void make_dots(const mask_kernel *k, const void *features, int32_t tap, const float *logit_weights, float *dots,
                      float *parts)
{
    const rcnn_product_body *body = k->body;
    const size_t in = (size_t)k->in;
    const int32_t pixels = k->size * k->size;
    float sums[RCNN_PRODUCT_ROWS_MAX * PANEL];
    memset(parts, 0, (size_t)pixels * RCNN_PRODUCT_PARTS * sizeof *parts);
    for (int32_t panel = 0; panel < k->between / PANEL; panel++) {
        const rcnn_product_store how = rcnn_product_store_at(&k->numbers, panel * PANEL);
        const float *logit = logit_weights + panel * PANEL;
        for (int32_t p = 0; p < pixels; p += body->rows) {
            const int32_t count = pixels - p < body->rows ? pixels - p : body->rows;
            body->multiply(&(rcnn_product_job){.rows = count,
                                               .channels = k->in,
                                               .features = rcnn_cpu_at(body->features, features, (size_t)p * in),
                                               .features_stride = in,
                                               .stretches = 1,
                                               .panel = rcnn_panels_at(k->weights, panel, tap),
                                               .next = rcnn_panels_at(k->weights, panel + 1, tap),
                                               .sums = sums});
            body->dots(&how, sums, count, logit, parts + (size_t)p * RCNN_PRODUCT_PARTS);
        }
    }
    body->total(parts, pixels, dots);
}

/* Every second pixel of every second line of a mask [2*size][2*size]. */
static void store_tap(const mask_kernel *k, int32_t tap, const float *dots, float bias, float *mask)
{
    const int32_t width = 2 * k->size;
    for (int32_t y = 0; y < k->size; y++) {
        float *line = mask + (2 * y + tap / 2) * width + tap % 2;
        for (int32_t x = 0; x < k->size; x++) {
            line[2 * x] = rcnn_cpu_sigmoid(dots[y * k->size + x] + bias);
        }
    }
}

static rcnn_status mask_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const mask_kernel *k = (const mask_kernel *)kernel;
    const int32_t live = rcnn_cpu_live_rows(args->value[k->counts], k->images);
    const size_t map = (size_t)k->size * (size_t)k->size;
    RCNN_TRY(rcnn_cpu_mask_logit_check(k->logit, args, 0, live, err));
#pragma omp parallel for schedule(dynamic)
    for (int32_t item = 0; item < live * TAPS; item++) {
        const size_t row = (size_t)(item / TAPS);
        char *own = (char *)args->scratch + (size_t)rcnn_thread_index() * k->own_bytes;
        float *dots = (float *)(void *)own, *parts = (float *)(void *)(own + k->dots_bytes);
        const int32_t channel = rcnn_cpu_mask_logit_channel(k->logit, args, (int32_t)row);
        make_dots(k, rcnn_cpu_at(k->body->features, args->value[k->src], row * map * (size_t)k->in), item % TAPS,
                  k->logit_weights + (size_t)channel * (size_t)k->between, dots, parts);
        store_tap(k, item % TAPS, dots, k->logit_bias[channel], (float *)args->value[k->dst] + row * TAPS * map);
    }
    return RCNN_OK;
}

static void mask_release(rcnn_kernel *kernel)
{
    mask_kernel *k = (mask_kernel *)kernel;
    if (k->logit) {
        k->logit->release(k->logit);
    }
    rcnn_product_numbers_free(&k->numbers);
    rcnn_panels_put(k->backend, k->weights);
    rcnn_free(k);
}

const rcnn_product_body *rcnn_mask_product_choose(const rcnn_backend *backend, const rcnn_graph *graph,
                                                  const rcnn_op *op)
{
    const bool fits = op->w.kh == 2 && op->w.kw == 2 && op->w.in % RCNN_PRODUCT_CHANNELS == 0 && op->w.out % PANEL == 0;
    return fits ? rcnn_product_choose(backend, graph->values[op->input[0]].desc.dtype) : NULL;
}

/* Weights of the model are [in][out][2][2]. */
static void taps_of(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    memcpy(element, op->w.weights + ((size_t)i * (size_t)op->w.out + (size_t)o) * TAPS, TAPS * sizeof *element);
}

static rcnn_status prepare(mask_kernel *k, const rcnn_graph *graph, int32_t first, rcnn_error *err)
{
    const rcnn_op *deconv = &graph->ops[first];
    const rcnn_op *logit = &graph->ops[first + 1];
    const rcnn_panels_recipe recipe = {
        .matrices = TAPS, .rows = deconv->w.in, .type = k->body->weights, .weights = taps_of};
    size_t none;
    k->src = deconv->input[0];
    k->counts = deconv->rows;
    k->images = graph->values[deconv->rows].desc.dim[0];
    k->dst = logit->output[0];
    k->size = graph->values[k->src].desc.dim[1];
    k->in = deconv->w.in;
    k->between = deconv->w.out;
    k->logit_weights = logit->w.weights;
    k->logit_bias = logit->w.bias;
    const size_t map_bytes = (size_t)k->size * (size_t)k->size * sizeof(float);
    k->dots_bytes = rcnn_aligned_size(map_bytes);
    k->own_bytes = k->dots_bytes + rcnn_aligned_size(map_bytes * RCNN_PRODUCT_PARTS);
    RCNN_TRY(rcnn_cpu_prepare_mask_logit(k->backend, graph, logit, &k->logit, &none, err));
    RCNN_TRY(rcnn_panels_get(k->backend, &recipe, deconv, &k->weights, err));
    return rcnn_product_numbers_make(graph, deconv, rcnn_panels_scale(k->weights), 1, &k->numbers, err);
}

rcnn_status rcnn_mask_product_prepare(rcnn_backend *backend, const rcnn_product_body *body, const rcnn_graph *graph,
                                      int32_t first, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    mask_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", graph->ops[first].name);
    }
    k->head = (rcnn_kernel){.enqueue = mask_enqueue, .release = mask_release};
    k->backend = backend;
    k->body = body;
    rcnn_status status = prepare(k, graph, first, err);
    if (status != RCNN_OK) {
        mask_release(&k->head);
        return status;
    }
    *scratch_bytes = (size_t)rcnn_cpu_threads(backend) * k->own_bytes;
    *out = &k->head;
    return RCNN_OK;
}
