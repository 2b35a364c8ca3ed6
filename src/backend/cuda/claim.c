/* Which runs of consecutive ops are one kernel: a row of the table for each kind of run. */
#include "backend/cuda/bottleneck.h"
#include "backend/cuda/conv.h"
#include "backend/cuda/conv_sm90_ops.h"

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

/* Ops over the same packed rows, so that the live count is looked at once: span.c. What Hopper's own kernels take is left
 * to them. */
static int32_t match_rows(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const int32_t most = rcnn_cuda_match_rows_span(graph, first);
    int32_t count = 0;
    while (count < most && (count == 0 || rcnn_sm90_match(backend, graph, first + count) == 0)) {
        count++;
    }
    return count >= 2 ? count : 0;
}

/* The first row that matches takes the run. Matching looks at what claims do not change, so that preparing the run finds
 * the same row again. */
static const struct claim_row {
    int32_t (*match)(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first); /* number of ops, or 0 */
    rcnn_status (*prepare)(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                           rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);
    int32_t keep_between; /* the kernel uses the memory of the values between its ops */
} ROWS[] = {
    {match_stem, rcnn_cuda_prepare_conv, 0},
    {rcnn_cuda_match_bottleneck, rcnn_cuda_prepare_bottleneck, 0},
    {rcnn_sm90_match, rcnn_sm90_prepare, 0},
    {match_rows, rcnn_cuda_prepare_conv, 1},
};

/* The row of the run at `first` and its length, or NULL and 1. */
static const struct claim_row *find_row(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first,
                                        int32_t *count)
{
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        *count = ROWS[i].match(backend, graph, first);
        if (*count > 0) {
            return &ROWS[i];
        }
    }
    *count = 1;
    return NULL;
}

int32_t rcnn_cuda_claim(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t *keep_between)
{
    int32_t count;
    const struct claim_row *row = find_row(backend, graph, first, &count);
    *keep_between = row ? row->keep_between : 0;
    return count;
}

rcnn_status rcnn_cuda_prepare_claimed(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                      rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    int32_t matched;
    const struct claim_row *row = find_row(backend, graph, first, &matched);
    if (!row || matched != count) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: asked to fuse %d ops at '%s', takes %d", count,
                         graph->ops[first].name, matched);
    }
    return row->prepare(backend, graph, first, count, out, scratch_bytes, err);
}
