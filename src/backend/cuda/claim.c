/* Which runs of consecutive ops are one kernel. A row of the table for each; the op's prepare function that gets the run
 * is that of its first op. */
#include "backend/cuda/cuda.h"

/* Number of ops from `first` on that match, or 0. */
typedef int32_t (*matcher)(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first);

static bool is_half(const rcnn_graph *graph, rcnn_value_id id)
{
    const rcnn_dtype dtype = graph->values[id].desc.dtype;
    return dtype == RCNN_F16 || dtype == RCNN_BF16;
}

static bool same_type(const rcnn_graph *graph, rcnn_value_id a, rcnn_value_id b)
{
    return graph->values[a].desc.dtype == graph->values[b].desc.dtype;
}

/* The op after `first` reads the first one's output, nothing else ever does, and both belong to one stage. */
static bool feeds_only_next(const rcnn_graph *graph, int32_t first)
{
    if (first + 1 >= graph->op_count) {
        return false;
    }
    const rcnn_op *op = &graph->ops[first];
    const rcnn_op *next = &graph->ops[first + 1];
    return next->stage == op->stage && next->input_count > 0 && next->input[0] == op->output[0] &&
           graph->values[op->output[0]].last_use == first + 1;
}

/* CONV 7x7 stride 2 from a 4-channel image, MAXPOOL 3x3 stride 2: stem.cu. */
static int32_t match_stem(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *conv = &graph->ops[first];
    if (backend->sm < 80 || conv->kind != RCNN_OP_CONV || !feeds_only_next(graph, first)) {
        return 0;
    }
    const rcnn_op *pool = conv + 1;
    const rcnn_op_weights *w = &conv->w;
    const bool is_stem_conv = w->kh == 7 && w->kw == 7 && w->in == 3 && w->out == 64 && conv->u.conv.stride == 2 &&
                              conv->u.conv.pad == 3 && conv->u.conv.groups == 1 && conv->u.conv.relu &&
                              !conv->u.conv.residual && graph->values[conv->input[0]].desc.dim[3] == 4;
    const bool is_stem_pool = pool->kind == RCNN_OP_MAXPOOL && pool->u.maxpool.kernel == 3 &&
                              pool->u.maxpool.stride == 2 && pool->u.maxpool.pad == 1;
    const bool types = is_half(graph, conv->input[0]) && same_type(graph, conv->input[0], conv->output[0]) &&
                       same_type(graph, conv->output[0], pool->output[0]);
    return is_stem_conv && is_stem_pool && types ? 2 : 0;
}

static const matcher MATCHERS[] = {match_stem};

int32_t rcnn_cuda_claim(rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    for (size_t i = 0; i < sizeof MATCHERS / sizeof MATCHERS[0]; i++) {
        int32_t count = MATCHERS[i](backend, graph, first);
        if (count > 0) {
            return count;
        }
    }
    return 1;
}
