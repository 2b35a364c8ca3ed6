/* Weights in panels, made once and shared; panels.h. */
#include "backend/cpu/panels.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/elements.h"
#include "base/memory.h"

#define PANEL    RCNN_PRODUCT_PANEL
#define CODE_MAX 127.0f

struct rcnn_panels {
    rcnn_panels *next;
    const float *source; /* the model's weights: the key, with type, matrices and rows */
    rcnn_dtype type;
    int32_t matrices, rows, out, users; /* out: a multiple of PANEL */
    float *scale;                       /* [out]; owned */
    void *data;                         /* [out/PANEL][matrices][rows/w][PANEL][w], w channels in 32 bits; owned */
};

static size_t index_of(const rcnn_panels *p, int32_t panel, int32_t matrix)
{
    return ((size_t)panel * (size_t)p->matrices + (size_t)matrix) * (size_t)p->rows * PANEL;
}

static void store(const rcnn_panels *p, int32_t o, int32_t i, const float *element)
{
    const size_t width = sizeof(float) / rcnn_cpu_element_bytes(p->type);
    const size_t word = (size_t)i / width * PANEL + (size_t)(o % PANEL);
    for (int32_t m = 0; m < p->matrices; m++) {
        const size_t at = index_of(p, o / PANEL, m) + word * width + (size_t)i % width;
        switch (p->type) {
        case RCNN_BF16:
            ((uint16_t *)p->data)[at] = rcnn_cpu_to_bf16(element[m]);
            break;
        case RCNN_I8:
            ((int8_t *)p->data)[at] = rcnn_cpu_to_i8(element[m] / p->scale[o]);
            break;
        default:
            ((float *)p->data)[at] = element[m];
            break;
        }
    }
}

/* Zeros for the outputs that fill the last panel. */
static void weights_of(const rcnn_panels *p, const rcnn_panels_recipe *recipe, const rcnn_op *op, int32_t o, int32_t i,
                       float *element)
{
    if (o < op->w.out) {
        recipe->weights(op, o, i, element);
    } else {
        memset(element, 0, (size_t)p->matrices * sizeof *element);
    }
}

static float scale_of(const rcnn_panels *p, const rcnn_panels_recipe *recipe, const rcnn_op *op, int32_t o)
{
    if (p->type != RCNN_I8) {
        return 1;
    }
    float element[RCNN_PANELS_MATRICES_MAX];
    float largest = 0;
    for (int32_t i = 0; i < p->rows; i++) {
        weights_of(p, recipe, op, o, i, element);
        for (int32_t m = 0; m < p->matrices; m++) {
            largest = fmaxf(largest, fabsf(element[m]));
        }
    }
    return largest > 0 ? largest / CODE_MAX : 1;
}

static void fill(const rcnn_panels *p, const rcnn_panels_recipe *recipe, const rcnn_op *op)
{
#pragma omp parallel for schedule(static)
    for (int32_t panel = 0; panel < p->out / PANEL; panel++) {
        for (int32_t o = panel * PANEL; o < (panel + 1) * PANEL; o++) {
            p->scale[o] = scale_of(p, recipe, op, o);
        }
        for (int32_t i = 0; i < p->rows; i++) { /* outputs innermost: they are side by side in a panel */
            for (int32_t o = panel * PANEL; o < (panel + 1) * PANEL; o++) {
                float element[RCNN_PANELS_MATRICES_MAX];
                weights_of(p, recipe, op, o, i, element);
                store(p, o, i, element);
            }
        }
    }
}

static void release(rcnn_panels *p)
{
    if (p) {
        rcnn_free(p->scale);
        rcnn_free(p->data);
        rcnn_free(p);
    }
}

static rcnn_status make(const rcnn_panels_recipe *recipe, const rcnn_op *op, rcnn_panels **out, rcnn_error *err)
{
    const int32_t filled = rcnn_product_panels(op->w.out) * PANEL;
    const size_t count = (size_t)recipe->rows * (size_t)filled;
    size_t bytes = 0;
    rcnn_panels *p = rcnn_calloc(1, sizeof *p);
    if (p && rcnn_mul_size(count, (size_t)recipe->matrices * rcnn_cpu_element_bytes(recipe->type), &bytes)) {
        p->data = rcnn_malloc_aligned(bytes);
        p->scale = rcnn_malloc_aligned((size_t)filled * sizeof *p->scale);
    }
    if (!p || !p->data || !p->scale) {
        release(p);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: '%s': out of memory for %zu bytes of weights", op->name, bytes);
    }
    p->source = op->w.weights;
    p->type = recipe->type;
    p->matrices = recipe->matrices;
    p->rows = recipe->rows;
    p->out = filled;
    p->users = 1;
    fill(p, recipe, op);
    *out = p;
    return RCNN_OK;
}

rcnn_status rcnn_panels_get(rcnn_backend *backend, const rcnn_panels_recipe *recipe, const rcnn_op *op,
                            rcnn_panels **out, rcnn_error *err)
{
    rcnn_panels **list = rcnn_cpu_panels(backend);
    for (rcnn_panels *p = *list; p; p = p->next) {
        if (p->source == op->w.weights && p->type == recipe->type && p->matrices == recipe->matrices &&
            p->rows == recipe->rows) {
            p->users++;
            *out = p;
            return RCNN_OK;
        }
    }
    RCNN_TRY(make(recipe, op, out, err));
    (*out)->next = *list;
    *list = *out;
    return RCNN_OK;
}

void rcnn_panels_put(rcnn_backend *backend, rcnn_panels *panels)
{
    if (!panels || --panels->users > 0) {
        return;
    }
    rcnn_panels **link = rcnn_cpu_panels(backend);
    while (*link != panels) {
        link = &(*link)->next;
    }
    *link = panels->next;
    release(panels);
}

const void *rcnn_panels_at(const rcnn_panels *panels, int32_t panel, int32_t matrix)
{
    return rcnn_cpu_at(panels->type, panels->data, index_of(panels, panel, matrix));
}

const float *rcnn_panels_scale(const rcnn_panels *panels)
{
    return panels->scale;
}
