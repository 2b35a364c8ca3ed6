/* Rounding whole layers to int8. */
#include "model/int8_weights.h"

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "model/layers.h"
#include "model/quantise.h"

/* How the weights of one output channel lie in a layer: runs of `run` weights `stride` apart. */
typedef struct channel_layout {
    size_t count, run, stride;
} channel_layout;

static channel_layout layout_of(const rcnn_layer *layer)
{
    const size_t count = rcnn_layer_weight_count(layer) / (size_t)layer->out;
    const bool deconv = layer->kind == RCNN_LAYER_DECONV;
    const size_t run = deconv ? (size_t)layer->kh * (size_t)layer->kw : count;
    return (channel_layout){.count = count, .run = run, .stride = run * (size_t)layer->out};
}

void rcnn_quantise_layer(const rcnn_layer *layer, float *scales, int8_t *codes)
{
    const channel_layout l = layout_of(layer);
    for (int32_t o = 0; o < layer->out; o++) {
        const size_t at = (size_t)o * l.run;
        scales[o] = rcnn_quantise_channel(layer->weights + at, l.count, l.run, l.stride, codes + at);
    }
}

/* weights of `to` = code * scale; bias as it is. */
static rcnn_status round_layer(const rcnn_layer *from, rcnn_layer *to, rcnn_error *err)
{
    const size_t count = rcnn_layer_weight_count(from);
    const channel_layout l = layout_of(from);
    *to = *from;
    to->weights = rcnn_calloc(count, sizeof *to->weights);
    to->bias = rcnn_calloc((size_t)from->out, sizeof *to->bias);
    float *scales = rcnn_calloc((size_t)from->out, sizeof *scales);
    int8_t *codes = rcnn_calloc(count, 1);
    const bool complete = to->weights && to->bias && scales && codes;
    if (complete) {
        memcpy(to->bias, from->bias, (size_t)from->out * sizeof *to->bias);
        rcnn_quantise_layer(from, scales, codes);
    }
    for (int32_t o = 0; complete && o < from->out; o++) {
        for (size_t at = (size_t)o * l.run, done = 0; done < l.count; at += l.stride, done += l.run) {
            for (size_t i = 0; i < l.run; i++) {
                to->weights[at + i] = (float)codes[at + i] * scales[o];
            }
        }
    }
    rcnn_free(scales);
    rcnn_free(codes);
    return complete ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "model: layer '%s': out of memory", from->name);
}

rcnn_status rcnn_model_with_int8_weights(const rcnn_model *model, rcnn_model **out, rcnn_error *err)
{
    *out = NULL;
    rcnn_model *copy = rcnn_calloc(1, sizeof *copy);
    rcnn_layer *layers = rcnn_calloc((size_t)model->layer_count, sizeof *layers);
    if (!copy || !layers) {
        rcnn_free(copy);
        rcnn_free(layers);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory");
    }
    atomic_init(&copy->references, 1);
    copy->config = model->config;
    copy->layers = layers;
    for (int32_t i = 0; i < model->layer_count; i++) {
        copy->layer_count++; /* counted first, so that a failure below frees what it holds */
        rcnn_status status = round_layer(&model->layers[i], &layers[i], err);
        if (status != RCNN_OK) {
            rcnn_model_destroy(copy);
            return status;
        }
    }
    *out = copy;
    return RCNN_OK;
}
