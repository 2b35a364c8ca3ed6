/* Weights in panels, made once and shared; panels.h. */
#include "backend/cpu/panels.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/elements.h"
#include "base/memory.h"

#define PANEL    RCNN_PRODUCT_PANEL
#define CODE_MAX 127.0f
#define CENTRE   128 /* that features of bytes are too large, with `each` */

struct rcnn_panels {
    rcnn_panels *next;
    const float *source; /* the model's weights: the key, with the recipe */
    rcnn_panels_recipe recipe;
    int32_t out, users; /* out: a multiple of PANEL */
    float *scale;       /* [out], with `each` [matrices][out]; owned */
    int32_t *start;     /* [matrices][out] with `each`, else NULL; owned */
    void *data;         /* [out/PANEL][matrices][rows/w][PANEL][w], w channels in 32 bits; owned */
};

/* Input i of a row. With bins it is bin i / C of channel i % C, which the model's weights have as [C][bins * bins]. */
void rcnn_panels_rows(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    const int32_t bins = op->kind == RCNN_OP_FC ? op->u.fc.permute_bins : 0;
    const int32_t area = bins > 0 ? bins * bins : 1;
    const int32_t channels = op->w.in / area;
    const int32_t at = i % channels * area + i / channels;
    *element = op->w.weights[(size_t)o * (size_t)op->w.in + (size_t)at];
}

static size_t index_of(const rcnn_panels *p, int32_t panel, int32_t matrix)
{
    return ((size_t)panel * (size_t)p->recipe.matrices + (size_t)matrix) * (size_t)p->recipe.rows * PANEL;
}

/* Where the scale of output o in matrix m stands. */
static size_t scale_index(const rcnn_panels *p, int32_t o, int32_t m)
{
    return (size_t)(p->recipe.each ? m : 0) * (size_t)p->out + (size_t)o;
}

static void store(const rcnn_panels *p, int32_t o, int32_t i, const float *element)
{
    const size_t width = sizeof(float) / rcnn_cpu_element_bytes(p->recipe.type);
    const size_t word = (size_t)i / width * PANEL + (size_t)(o % PANEL);
    for (int32_t m = 0; m < p->recipe.matrices; m++) {
        const size_t at = index_of(p, o / PANEL, m) + word * width + (size_t)i % width;
        switch (p->recipe.type) {
        case RCNN_BF16:
            ((uint16_t *)p->data)[at] = rcnn_cpu_to_bf16(element[m]);
            break;
        case RCNN_I8: {
            const int8_t code = rcnn_cpu_to_i8(element[m] / p->scale[scale_index(p, o, m)]);
            ((int8_t *)p->data)[at] = code;
            if (p->start) {
                p->start[scale_index(p, o, m)] -= CENTRE * code;
            }
            break;
        }
        default:
            ((float *)p->data)[at] = element[m];
            break;
        }
    }
}

/* Zeros for the outputs that fill the last panel. */
static void weights_of(const rcnn_panels *p, const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    if (o < op->w.out) {
        p->recipe.weights(op, o, i, element);
    } else {
        memset(element, 0, (size_t)p->recipe.matrices * sizeof *element);
    }
}

/* The scales of output o: 1, or the largest weight / 127, 1 where all are zero. */
static void find_scales(const rcnn_panels *p, const rcnn_op *op, int32_t o)
{
    float element[RCNN_PANELS_MATRICES_MAX];
    const int32_t scales = p->recipe.each ? p->recipe.matrices : 1;
    for (int32_t m = 0; m < scales; m++) {
        p->scale[scale_index(p, o, m)] = 0;
    }
    for (int32_t i = 0; p->recipe.type == RCNN_I8 && i < p->recipe.rows; i++) {
        weights_of(p, op, o, i, element);
        for (int32_t m = 0; m < p->recipe.matrices; m++) {
            float *scale = &p->scale[scale_index(p, o, m)];
            *scale = fmaxf(*scale, fabsf(element[m]) / CODE_MAX);
        }
    }
    for (int32_t m = 0; m < scales; m++) {
        float *scale = &p->scale[scale_index(p, o, m)];
        *scale = *scale > 0 ? *scale : 1;
    }
}

static void fill(const rcnn_panels *p, const rcnn_op *op)
{
#pragma omp parallel for schedule(static)
    for (int32_t panel = 0; panel < p->out / PANEL; panel++) {
        for (int32_t o = panel * PANEL; o < (panel + 1) * PANEL; o++) {
            find_scales(p, op, o);
        }
        for (int32_t i = 0; i < p->recipe.rows; i++) { /* outputs innermost: they are side by side in a panel */
            for (int32_t o = panel * PANEL; o < (panel + 1) * PANEL; o++) {
                float element[RCNN_PANELS_MATRICES_MAX];
                weights_of(p, op, o, i, element);
                store(p, o, i, element);
            }
        }
    }
}

static void release(rcnn_panels *p)
{
    if (p) {
        rcnn_free(p->scale);
        rcnn_free(p->start);
        rcnn_free(p->data);
        rcnn_free(p);
    }
}

static rcnn_status make(const rcnn_panels_recipe *recipe, const rcnn_op *op, rcnn_panels **out, rcnn_error *err)
{
    const size_t filled = (size_t)rcnn_product_panels(op->w.out) * PANEL;
    const size_t scales = (size_t)(recipe->each ? recipe->matrices : 1) * filled;
    size_t bytes = 0;
    rcnn_panels *p = rcnn_calloc(1, sizeof *p);
    if (p && rcnn_mul_size((size_t)recipe->rows * filled,
                           (size_t)recipe->matrices * rcnn_cpu_element_bytes(recipe->type), &bytes)) {
        p->data = rcnn_malloc_aligned(bytes);
        p->scale = rcnn_malloc_aligned(scales * sizeof *p->scale);
        p->start = recipe->each ? rcnn_calloc(scales, sizeof *p->start) : NULL;
    }
    if (!p || !p->data || !p->scale || (recipe->each && !p->start)) {
        release(p);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: '%s': out of memory for %zu bytes of weights", op->name, bytes);
    }
    p->source = op->w.weights;
    p->recipe = *recipe;
    p->out = (int32_t)filled;
    p->users = 1;
    fill(p, op);
    *out = p;
    return RCNN_OK;
}

static bool is_of(const rcnn_panels *p, const rcnn_panels_recipe *recipe, const rcnn_op *op)
{
    return p->source == op->w.weights && p->recipe.type == recipe->type && p->recipe.matrices == recipe->matrices &&
           p->recipe.rows == recipe->rows && p->recipe.weights == recipe->weights && p->recipe.each == recipe->each;
}

rcnn_status rcnn_panels_get(rcnn_backend *backend, const rcnn_panels_recipe *recipe, const rcnn_op *op,
                            rcnn_panels **out, rcnn_error *err)
{
    rcnn_panels **list = rcnn_cpu_panels(backend);
    for (rcnn_panels *p = *list; p; p = p->next) {
        if (is_of(p, recipe, op)) {
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
    return rcnn_cpu_at(panels->recipe.type, panels->data, index_of(panels, panel, matrix));
}

const float *rcnn_panels_scale(const rcnn_panels *panels)
{
    return panels->scale;
}

rcnn_product_steps rcnn_panels_steps_at(const rcnn_panels *panels, int32_t panel, int32_t matrix)
{
    const size_t at = scale_index(panels, panel * PANEL, matrix);
    return (rcnn_product_steps){.start = panels->start + at, .column = panels->scale + at};
}
