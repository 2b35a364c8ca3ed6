/* The build loop over stages.def and what all stages use to add ops. */
#include "stages/stages.h"

#include <stdio.h>
#include <string.h>

rcnn_op rcnn_build_op(rcnn_op_kind kind, rcnn_stage stage, const char *name)
{
    rcnn_op op = {.kind = kind, .stage = stage, .inplace = -1, .rows = RCNN_NO_VALUE};
    snprintf(op.name, sizeof op.name, "%s", name);
    return op;
}

rcnn_status rcnn_build_output(rcnn_builder *b, rcnn_op *op, const char *name, rcnn_dtype dtype, int32_t rank,
                              const int32_t *dim, rcnn_value_id *out)
{
    rcnn_value_id id;
    RCNN_TRY(rcnn_graph_add_value(b->graph, name, dtype, rank, dim, &id, b->err));
    op->output[op->output_count++] = id;
    if (out) {
        *out = id;
    }
    return RCNN_OK;
}

rcnn_status rcnn_build_features(rcnn_builder *b, rcnn_op *op, const char *name, int32_t rank, const int32_t *dim,
                                rcnn_value_id *out)
{
    const rcnn_activation *stored =
        b->options->precision == RCNN_PRECISION_INT8 ? rcnn_model_activation(b->model, name) : NULL;
    if (!stored || !(stored->scale > 0)) {
        return rcnn_build_output(b, op, name, b->activation, rank, dim, out);
    }
    RCNN_TRY(rcnn_build_output(b, op, name, stored->is_signed ? RCNN_I8 : RCNN_U8, rank, dim, out));
    b->graph->values[*out].scale = stored->scale;
    return RCNN_OK;
}

rcnn_status rcnn_build_features_like(rcnn_builder *b, rcnn_op *op, const char *name, int32_t rank, const int32_t *dim,
                                     rcnn_value_id *out)
{
    const rcnn_value_id src = op->input[0];
    RCNN_TRY(rcnn_build_output(b, op, name, b->graph->values[src].desc.dtype, rank, dim, out));
    b->graph->values[*out].scale = b->graph->values[src].scale;
    return RCNN_OK;
}

void rcnn_build_input(rcnn_op *op, rcnn_value_id value)
{
    op->input[op->input_count++] = value;
}

rcnn_status rcnn_build_layer(const rcnn_builder *b, const char *name, const rcnn_layer **out)
{
    *out = rcnn_model_layer(b->model, name);
    return *out ? RCNN_OK : rcnn_fail(b->err, RCNN_ERR_INTERNAL, "graph: the model has no layer '%s'", name);
}

rcnn_status rcnn_build_conv(rcnn_builder *b, rcnn_stage stage, const char *layer_name, rcnn_value_id src,
                            const char *name, const rcnn_conv_options *options, rcnn_value_id *out)
{
    const rcnn_layer *layer;
    RCNN_TRY(rcnn_build_layer(b, layer_name, &layer));
    rcnn_op op = rcnn_build_op(RCNN_OP_CONV, stage, layer_name);
    op.w = (rcnn_op_weights){.weights = layer->weights,
                             .bias = layer->bias,
                             .out = layer->out,
                             .in = layer->in,
                             .kh = layer->kh,
                             .kw = layer->kw};
    op.u.conv.stride = layer->stride;
    op.u.conv.pad = layer->kh / 2;
    op.u.conv.groups = layer->groups;
    op.u.conv.relu = options->relu;
    op.rows = options->rows;
    rcnn_build_input(&op, src);
    if (options->residual != RCNN_NO_VALUE) {
        op.u.conv.residual = 1;
        op.inplace = 1;
        rcnn_build_input(&op, options->residual);
    }
    const int32_t *in = b->graph->values[src].desc.dim;
    const int32_t reads = layer->in * layer->groups;
    if (in[3] != reads && !(src == b->image && in[3] > reads)) { /* a fourth channel of the image is only room */
        return rcnn_fail(b->err, RCNN_ERR_FORMAT, "graph: layer '%s' wants %d input channels, got %d", layer_name,
                         reads, in[3]);
    }
    int32_t pad = op.u.conv.pad;
    int32_t dim[4] = {in[0], (in[1] + 2 * pad - layer->kh) / layer->stride + 1,
                      (in[2] + 2 * pad - layer->kw) / layer->stride + 1, layer->out};
    RCNN_TRY(options->prediction ? rcnn_build_output(b, &op, name, RCNN_F32, 4, dim, out)
                                 : rcnn_build_features(b, &op, name, 4, dim, out));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

static rcnn_dtype activation_type(const rcnn_build_options *options)
{
    switch (options->precision) {
    case RCNN_PRECISION_FP16:
        return RCNN_F16;
    case RCNN_PRECISION_BF16:
        return RCNN_BF16;
    case RCNN_PRECISION_INT8:
        return options->bf16_rest ? RCNN_BF16 : RCNN_F32;
    default:
        return RCNN_F32;
    }
}

rcnn_status rcnn_stages_build(const rcnn_model *model, const rcnn_build_options *options, rcnn_graph *graph,
                              rcnn_error *err)
{
    static rcnn_status (*const stages[])(rcnn_builder *) = {
#define STAGE(name, help) rcnn_stage_##name,
#define TIMED(name, help)
#include "stages/stages.def"
#undef TIMED
#undef STAGE
    };
    rcnn_builder b = {.model = model,
                      .config = &model->config,
                      .options = options,
                      .graph = graph,
                      .err = err,
                      .activation = activation_type(options)};
    graph->precision = options->precision == RCNN_PRECISION_AUTO ? RCNN_PRECISION_FP32 : options->precision;
    if (options->preprocess_only) {
        RCNN_TRY(rcnn_stage_preprocess(&b));
        rcnn_graph_mark_output(graph, b.image);
        return RCNN_OK;
    }
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        RCNN_TRY(stages[i](&b));
    }
    return RCNN_OK;
}
