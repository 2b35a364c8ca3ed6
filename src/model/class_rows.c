/* Rotation of class rows, and the rows of the background that only one order has. */
#include "model/class_rows.h"

#include <string.h>

#include "base/memory.h"
#include "model/layers.h"

/* A run of rows, `unit` floats per class, as it moves between the orders. */
typedef struct row_run {
    size_t unit;
    int32_t classes;
    bool background_first; /* order of dst                                              */
    bool always;           /* the background has rows in both orders, not only in first */
} row_run;

/* Copies the run and moves both pointers behind it. */
static void move_run(const row_run *run, float **dst, const float **src)
{
    const size_t foreground = run->unit * (size_t)run->classes;
    float *to = *dst;
    const float *from = *src;
    if (run->background_first) {
        memset(to, 0, run->unit * sizeof *to);
        memcpy(to + run->unit, from, foreground * sizeof *to);
        if (run->always) {
            memcpy(to, from + foreground, run->unit * sizeof *to);
        }
    } else {
        memcpy(to, from + run->unit, foreground * sizeof *to);
        if (run->always) {
            memcpy(to + foreground, from, run->unit * sizeof *to);
        }
    }
    const bool in_dst = run->always || run->background_first, in_src = run->always || !run->background_first;
    *dst += foreground + (in_dst ? run->unit : 0);
    *src += foreground + (in_src ? run->unit : 0);
}

static bool is_box(const rcnn_layer *layer)
{
    return strcmp(layer->name, "box.pred") == 0;
}

bool rcnn_class_rows_concern(const rcnn_layer *layer)
{
    return is_box(layer) || strcmp(layer->name, "mask.logits") == 0;
}

/* All rows of a layer, each of `per_row` floats: its weights, or with 1 its bias. */
static void move_rows(const rcnn_layer *layer, const rcnn_config *config, bool background_first, size_t per_row,
                      float *dst, const float *src)
{
    row_run run = {.unit = per_row, .classes = config->class_count, .background_first = background_first};
    bool agnostic = config->agnostic_mask;
    if (is_box(layer)) {
        run.always = true;
        move_run(&run, &dst, &src);
        run = (row_run){.unit = 4 * per_row, .classes = config->class_count, .background_first = background_first};
        agnostic = config->agnostic_box;
    }
    if (agnostic) {
        memcpy(dst, src, run.unit * sizeof *dst);
    } else {
        move_run(&run, &dst, &src);
    }
}

/* Rows that one order has more than the other. */
static int32_t background_rows(const rcnn_layer *layer, const rcnn_config *config)
{
    return is_box(layer) ? (config->agnostic_box ? 0 : 4) : (config->agnostic_mask ? 0 : 1);
}

rcnn_status rcnn_class_rows_convert(const rcnn_layer *src, const rcnn_config *config, bool background_first,
                                    rcnn_layer *dst, rcnn_error *err)
{
    const int32_t more = background_rows(src, config);
    const size_t per_row = rcnn_layer_weight_count(src) / (size_t)src->out;
    *dst = *src;
    dst->out = src->out + (background_first ? more : -more);
    dst->weights = rcnn_malloc_aligned(rcnn_layer_weight_count(dst) * sizeof(float));
    dst->bias = rcnn_calloc((size_t)dst->out, sizeof(float));
    if (!dst->weights || !dst->bias) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: layer '%s': out of memory", src->name);
    }
    move_rows(src, config, background_first, per_row, dst->weights, src->weights);
    move_rows(src, config, background_first, 1, dst->bias, src->bias);
    return RCNN_OK;
}

rcnn_status rcnn_class_rows_convert_all(rcnn_layer *layers, int32_t count, const rcnn_config *config,
                                        bool background_first, rcnn_error *err)
{
    for (int32_t i = 0; i < count; i++) {
        rcnn_layer converted;
        if (!rcnn_class_rows_concern(&layers[i])) {
            continue;
        }
        rcnn_status status = rcnn_class_rows_convert(&layers[i], config, background_first, &converted, err);
        rcnn_layer *unused = status == RCNN_OK ? &layers[i] : &converted;
        rcnn_free(unused->weights);
        rcnn_free(unused->bias);
        RCNN_TRY(status);
        layers[i] = converted;
    }
    return RCNN_OK;
}
