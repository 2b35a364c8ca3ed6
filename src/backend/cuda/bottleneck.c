/* ResNet blocks as one kernel: which runs of ops are one that bottleneck.cu computes, and the host side of it. Takes what
 * stage 1 of the bottleneck ResNets has: stride 1, 64 inner and 256 outer channels; other blocks are convolutions. */
#include "backend/cuda/bottleneck.h"

#include "base/memory.h"

#define INNER 64
#define OUTER 256

typedef struct bottleneck_kernel {
    rcnn_kernel head;
    rcnn_value_id src, dst;
    rcnn_cuda_bottleneck p;
} bottleneck_kernel;

/* ------------------------------------------------------------- which ops */

static bool is_half(rcnn_dtype dtype)
{
    return dtype == RCNN_F16 || dtype == RCNN_BF16;
}

/* Op `index` is a convolution of `src` with these sizes and stride 1 that keeps height, width and type. */
static bool is_conv(const rcnn_graph *graph, int32_t index, rcnn_value_id src, int32_t side, int32_t in, int32_t out,
                    bool relu)
{
    if (index >= graph->op_count || graph->ops[index].kind != RCNN_OP_CONV) {
        return false;
    }
    const rcnn_op *op = &graph->ops[index];
    return op->input[0] == src && op->rows == RCNN_NO_VALUE && op->w.kh == side && op->w.kw == side && op->w.in == in &&
           op->w.out == out && op->u.conv.stride == 1 && op->u.conv.pad == side / 2 && op->u.conv.groups == 1 &&
           (op->u.conv.relu != 0) == relu && graph->values[src].desc.dtype == graph->values[op->output[0]].desc.dtype;
}

/* Only op `user`, which comes later, reads the output of op `index`. What comes between does not: the caller knows. */
static bool feeds_only(const rcnn_graph *graph, int32_t index, int32_t user)
{
    return graph->values[graph->ops[index].output[0]].last_use == user;
}

/* conv1, conv2, conv3 from `index` on, of x; the last adds `identity`. */
static bool is_branch(const rcnn_graph *graph, int32_t index, rcnn_value_id x, rcnn_value_id identity)
{
    const int32_t channels = graph->values[x].desc.dim[3];
    if (!is_conv(graph, index, x, 1, channels, INNER, true) || graph->ops[index].u.conv.residual) {
        return false;
    }
    const rcnn_value_id inner1 = graph->ops[index].output[0];
    if (!is_conv(graph, index + 1, inner1, 3, INNER, INNER, true) || graph->ops[index + 1].u.conv.residual) {
        return false;
    }
    const rcnn_value_id inner2 = graph->ops[index + 1].output[0];
    return is_conv(graph, index + 2, inner2, 1, INNER, OUTER, true) && graph->ops[index + 2].u.conv.residual &&
           graph->ops[index + 2].input[1] == identity && feeds_only(graph, index, index + 1) &&
           feeds_only(graph, index + 1, index + 2) && graph->ops[index].stage == graph->ops[index + 2].stage;
}

int32_t rcnn_cuda_match_bottleneck(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    if (op->kind != RCNN_OP_CONV) {
        return 0;
    }
    const rcnn_value_id x = op->input[0];
    const rcnn_tensor_desc *desc = &graph->values[x].desc;
    const int32_t channels = desc->rank == 4 ? desc->dim[3] : 0;
    if (backend->sm < 80 || !is_half(desc->dtype) || (channels != INNER && channels != OUTER) ||
        rcnn_cuda_bottleneck_shared(channels) > backend->properties.sharedMemPerBlockOptin) {
        return 0;
    }
    if (channels == OUTER) {
        return is_branch(graph, first, x, x) ? 3 : 0;
    }
    const bool shortcut = is_conv(graph, first, x, 1, INNER, OUTER, false) && !op->u.conv.residual &&
                          first + 3 < graph->op_count && graph->ops[first + 1].stage == op->stage;
    return shortcut && is_branch(graph, first + 1, x, op->output[0]) && feeds_only(graph, first, first + 3) ? 4 : 0;
}

/* ------------------------------------------------------------- kernel */

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const bottleneck_kernel *k = (const bottleneck_kernel *)kernel;
    rcnn_cuda_bottleneck p = k->p;
    p.src = rcnn_cuda_value(args, k->src);
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_bottleneck_launch(&p, stream), "running a residual block", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

static rcnn_status get_conv(rcnn_backend *backend, const rcnn_op *op, rcnn_cuda_type type, const void **weights,
                            const float **bias, rcnn_error *err)
{
    const void *floats;
    RCNN_TRY(rcnn_cuda_weights_get(backend, &op->w, RCNN_CUDA_ORDER_OHWI, 0, type, weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, &op->w, 1, RCNN_CUDA_F32, &floats, err));
    *bias = floats;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_prepare_bottleneck(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_op *convs = &graph->ops[first + count - 3];
    const int32_t *dim = graph->values[convs[0].input[0]].desc.dim;
    rcnn_cuda_bottleneck p = {.n = dim[0], .height = dim[1], .width = dim[2], .channels = dim[3]};
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_type_of(graph, convs, convs[0].input[0], &p.type, err));
    RCNN_TRY(get_conv(backend, &convs[0], p.type, &p.weights1, &p.bias1, err));
    RCNN_TRY(get_conv(backend, &convs[1], p.type, &p.weights2, &p.bias2, err));
    RCNN_TRY(get_conv(backend, &convs[2], p.type, &p.weights3, &p.bias3, err));
    if (count == 4) {
        RCNN_TRY(get_conv(backend, &graph->ops[first], p.type, &p.shortcut, &p.shortcut_bias, err));
    }
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(bottleneck_kernel), enqueue, release, out, err));
    bottleneck_kernel *k = (bottleneck_kernel *)*out;
    k->src = convs[0].input[0];
    k->dst = convs[2].output[0];
    k->p = p;
    rcnn_cuda_note_choice(backend, graph->ops[first].name, "residual block", -1);
    return RCNN_OK;
}
