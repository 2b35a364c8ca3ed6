/* What single elements of the product ops must be, from their definitions and in double. Written against the weights'
 * documented layouts only, apart from ref's code, so that ref is checked by something else than itself. */
#include "ops/op_cases.h"

#include <math.h>

bool op_has_expectation(rcnn_op_kind kind)
{
    return kind == RCNN_OP_CONV || kind == RCNN_OP_FC || kind == RCNN_OP_DECONV || kind == RCNN_OP_MASK_LOGIT;
}

typedef struct position {
    int64_t n, y, x, c;
} position;

static position position_of(size_t element, const int32_t *dim)
{
    int64_t e = (int64_t)element;
    position at = {.c = e % dim[3]};
    e /= dim[3];
    at.x = e % dim[2];
    e /= dim[2];
    at.y = e % dim[1];
    at.n = e / dim[1];
    return at;
}

/* src[n][y][x][c] of input 0, zero outside the map. */
static double source_at(const one_op *t, int64_t n, int64_t y, int64_t x, int64_t c)
{
    const int32_t *dim = t->graph.values[t->op.input[0]].desc.dim;
    if (y < 0 || x < 0 || y >= dim[1] || x >= dim[2]) {
        return 0;
    }
    return (double)((const float *)t->data[t->op.input[0]])[((n * dim[1] + y) * dim[2] + x) * dim[3] + c];
}

static double rectified(double value, int32_t relu)
{
    return relu ? fmax(value, 0) : value;
}

static double expect_conv(const one_op *t, size_t element)
{
    const rcnn_op_weights *w = &t->op.w;
    position at = position_of(element, t->graph.values[t->op.output[0]].desc.dim);
    int64_t group = at.c * t->op.u.conv.groups / w->out;
    double sum = (double)w->bias[at.c];
    for (int64_t tap = 0; tap < (int64_t)w->kh * w->kw; tap++) {
        int64_t y = at.y * t->op.u.conv.stride + tap / w->kw - t->op.u.conv.pad;
        int64_t x = at.x * t->op.u.conv.stride + tap % w->kw - t->op.u.conv.pad;
        for (int64_t c = 0; c < w->in; c++) {
            sum += source_at(t, at.n, y, x, group * w->in + c) *
                   (double)w->weights[(at.c * w->in + c) * w->kh * w->kw + tap];
        }
    }
    if (t->op.u.conv.residual) {
        sum += (double)((const float *)t->data[t->op.input[1]])[element];
    }
    return rectified(sum, t->op.u.conv.relu);
}

static double expect_fc(const one_op *t, size_t element)
{
    const rcnn_op_weights *w = &t->op.w;
    const int64_t row = (int64_t)element / w->out;
    const int64_t out = (int64_t)element % w->out;
    const float *src = (const float *)t->data[t->op.input[0]] + row * w->in;
    const int64_t bins = t->op.u.fc.permute_bins ? t->op.u.fc.permute_bins : 1;
    const int64_t channels = w->in / (bins * bins);
    double sum = (double)w->bias[out];
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t bin = 0; bin < bins * bins; bin++) {
            sum += (double)src[bin * channels + c] * (double)w->weights[out * w->in + c * bins * bins + bin];
        }
    }
    return rectified(sum, t->op.u.fc.relu);
}

static double expect_deconv(const one_op *t, size_t element)
{
    const rcnn_op_weights *w = &t->op.w;
    position at = position_of(element, t->graph.values[t->op.output[0]].desc.dim);
    double sum = (double)w->bias[at.c];
    for (int64_t c = 0; c < w->in; c++) {
        sum += source_at(t, at.n, at.y / 2, at.x / 2, c) *
               (double)w->weights[(c * w->out + at.c) * 4 + at.y % 2 * 2 + at.x % 2];
    }
    return rectified(sum, t->op.u.deconv.relu);
}

/* Label of packed row `row`: rows of image n follow those of the images before it. */
static int64_t label_of_row(const one_op *t, int64_t row)
{
    const int32_t *counts = t->data[t->counts];
    int32_t n = 0;
    while (row >= counts[n]) {
        row -= counts[n++];
    }
    const int32_t capacity = t->graph.values[t->op.input[1]].desc.dim[1];
    return ((const int32_t *)t->data[t->op.input[1]])[(int64_t)n * capacity + row];
}

static double expect_mask(const one_op *t, size_t element)
{
    const rcnn_op_weights *w = &t->op.w;
    const int32_t *dim = t->graph.values[t->op.input[0]].desc.dim;
    const int64_t pixel = (int64_t)element;
    const int64_t row = pixel / ((int64_t)dim[1] * dim[2]);
    const int64_t channel = t->op.u.mask_logit.agnostic ? 0 : label_of_row(t, row) + t->op.u.mask_logit.channel_offset;
    const float *src = (const float *)t->data[t->op.input[0]] + pixel * w->in;
    double sum = (double)w->bias[channel];
    for (int64_t c = 0; c < w->in; c++) {
        sum += (double)src[c] * (double)w->weights[channel * w->in + c];
    }
    return 1.0 / (1.0 + exp(-sum));
}

double op_expectation(const one_op *t, size_t element)
{
    switch (t->op.kind) {
    case RCNN_OP_CONV:
        return expect_conv(t, element);
    case RCNN_OP_FC:
        return expect_fc(t, element);
    case RCNN_OP_DECONV:
        return expect_deconv(t, element);
    case RCNN_OP_MASK_LOGIT:
        return expect_mask(t, element);
    default:
        return NAN;
    }
}
