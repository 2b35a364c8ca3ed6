/* Predictions from the outputs of another convolution; follow.h. */
#include "backend/cpu/follow.h"

#include <string.h>

#include "backend/cpu/elements.h"

#define PANEL RCNN_PRODUCT_PANEL

bool rcnn_follow_fits(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first], *next = op + 1;
    if (op->kind != RCNN_OP_CONV || !rcnn_cpu_is_chain(graph, first) || next->kind != RCNN_OP_CONV) {
        return false;
    }
    return next->rows == op->rows && rcnn_product_is_point(next) && !next->u.conv.residual &&
           next->w.in % RCNN_PRODUCT_CHANNELS == 0 && next->w.out <= PANEL &&
           graph->values[next->output[0]].desc.dtype == RCNN_F32 &&
           rcnn_product_choose(backend, graph->values[op->output[0]].desc.dtype);
}

rcnn_status rcnn_follow_prepare(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_follow *out,
                                rcnn_error *err)
{
    *out = (rcnn_follow){.backend = backend,
                         .body = rcnn_product_choose(backend, graph->values[op->input[0]].desc.dtype),
                         .dst = op->output[0],
                         .out = op->w.out};
    const rcnn_panels_recipe recipe = {
        .matrices = 1, .rows = op->w.in, .type = out->body->weights, .weights = rcnn_panels_rows};
    RCNN_TRY(rcnn_panels_get(backend, &recipe, op, &out->weights, err));
    return rcnn_product_numbers_make(graph, op, rcnn_panels_scale(out->weights), 1, &out->numbers, err);
}

void rcnn_follow_release(rcnn_follow *follow)
{
    rcnn_product_numbers_free(&follow->numbers);
    rcnn_panels_put(follow->backend, follow->weights);
}

void rcnn_follow_multiply(const rcnn_follow *follow, const void *pixels, size_t stride, int32_t count, int32_t first,
                          int32_t channels, float *sums)
{
    const rcnn_product_body *body = follow->body;
    const void *weights = rcnn_panels_at(follow->weights, 0, 0);
    for (int32_t p = 0; p < count; p += body->rows) {
        body->multiply(
            &(rcnn_product_job){.rows = count - p < body->rows ? count - p : body->rows,
                                .channels = channels,
                                .features = rcnn_cpu_at(body->features, pixels, (size_t)p * stride),
                                .features_stride = stride,
                                .stretches = 1,
                                .panel = rcnn_cpu_at(body->weights, weights, (size_t)first * PANEL),
                                .next = rcnn_cpu_at(body->weights, weights, (size_t)(first + channels) * PANEL),
                                .sums = sums + (size_t)p * PANEL,
                                .add = first > 0});
    }
}

void rcnn_follow_store(const rcnn_follow *follow, const float *sums, int32_t count, const size_t *at, float *dst)
{
    float outputs[RCNN_PRODUCT_ROWS_MAX * PANEL];
    const int32_t step = follow->body->rows;
    for (int32_t p = 0; p < count; p += step) {
        const int32_t rows = count - p < step ? count - p : step;
        follow->body->finish(&follow->numbers.store, sums + (size_t)p * PANEL, rows, NULL, outputs, PANEL);
        for (int32_t r = 0; r < rows; r++) {
            if (at[p + r] != RCNN_FOLLOW_NOWHERE) {
                memcpy(dst + at[p + r] * (size_t)follow->out, outputs + r * PANEL,
                       (size_t)follow->out * sizeof *outputs);
            }
        }
    }
}
