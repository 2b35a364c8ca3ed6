/* The ref backend's vtable. Every op becomes one kernel: a copy of the op with the shapes of its values, and the function
 * of its own file. Nothing is prepared ahead and nothing is fused. */
#include "backend/ref/ref.h"

#include <stdio.h>

#include "base/memory.h"

struct rcnn_backend {
    rcnn_backend_options options; /* kept for debuggers; ref runs on the calling thread */
};

typedef rcnn_status (*rcnn_ref_run)(const rcnn_ref_call *call, rcnn_error *err);
typedef size_t (*rcnn_ref_scratch)(const rcnn_ref_call *call);

struct rcnn_kernel {
    rcnn_op op;
    rcnn_tensor_desc src_desc[RCNN_OP_INPUTS_MAX], dst_desc[RCNN_OP_OUTPUTS_MAX];
    int32_t row_images; /* length of the counts value op.rows, 0 without one */
};

static const rcnn_ref_run RUN[] = {
#define OP(KIND, name, help) rcnn_ref_##name,
#include "graph/ops.def"
#undef OP
};

static const rcnn_ref_scratch SCRATCH[RCNN_OP_KIND_COUNT] = {
    [RCNN_OP_RPN_SELECT] = rcnn_ref_rpn_select_scratch,
    [RCNN_OP_NMS] = rcnn_ref_nms_scratch,
    [RCNN_OP_BOX_SELECT] = rcnn_ref_box_select_scratch,
};

static rcnn_status ref_probe(char *text, size_t capacity)
{
    snprintf(text, capacity, "plain C, one thread; for checking, not for speed");
    return RCNN_OK;
}

static rcnn_status ref_open(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err)
{
    *out = rcnn_malloc(sizeof **out);
    if (!*out) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "ref: out of memory");
    }
    (*out)->options = *options;
    return RCNN_OK;
}

static void ref_close(rcnn_backend *backend)
{
    rcnn_free(backend);
}

static rcnn_status ref_alloc(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err)
{
    (void)backend;
    *out = rcnn_malloc_aligned(bytes);
    return *out ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "ref: out of memory for %zu bytes", bytes);
}

static void ref_release_memory(rcnn_backend *backend, void *memory)
{
    (void)backend;
    rcnn_free(memory);
}

static rcnn_status copy_desc(const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id id, rcnn_tensor_desc *out,
                             rcnn_error *err)
{
    const rcnn_value *value = &graph->values[id];
    *out = value->desc;
    if (out->dtype != RCNN_F32 && out->dtype != RCNN_I32) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                         "ref: op '%s' (%s): value '%s' has element type %d, want f32 or i32", op->name,
                         rcnn_op_kind_name(op->kind), value->name, (int)out->dtype);
    }
    return RCNN_OK;
}

static rcnn_status fill_kernel(const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel *kernel, rcnn_error *err)
{
    kernel->op = *op;
    for (int32_t i = 0; i < op->input_count; i++) {
        RCNN_TRY(copy_desc(graph, op, op->input[i], &kernel->src_desc[i], err));
    }
    for (int32_t i = 0; i < op->output_count; i++) {
        RCNN_TRY(copy_desc(graph, op, op->output[i], &kernel->dst_desc[i], err));
    }
    kernel->row_images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    return RCNN_OK;
}

static rcnn_ref_call call_of(const rcnn_kernel *kernel)
{
    return (rcnn_ref_call){.op = &kernel->op, .src_desc = kernel->src_desc, .dst_desc = kernel->dst_desc};
}

static rcnn_status ref_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                               rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)backend;
    *out = NULL;
    *scratch_bytes = 0;
    if (count != 1) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "ref: asked to fuse %d ops at '%s'", count, graph->ops[first].name);
    }
    rcnn_kernel *kernel = rcnn_calloc(1, sizeof *kernel);
    if (!kernel) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "ref: out of memory at op '%s'", graph->ops[first].name);
    }
    rcnn_status status = fill_kernel(graph, &graph->ops[first], kernel, err);
    if (status != RCNN_OK) {
        rcnn_free(kernel);
        return status;
    }
    rcnn_ref_call call = call_of(kernel);
    if (SCRATCH[kernel->op.kind]) {
        *scratch_bytes = SCRATCH[kernel->op.kind](&call);
    }
    *out = kernel;
    return RCNN_OK;
}

static int32_t live_rows(const rcnn_kernel *kernel, const rcnn_args *args)
{
    if (kernel->op.rows == RCNN_NO_VALUE) {
        return kernel->dst_desc[0].dim[0];
    }
    const int32_t *counts = args->value[kernel->op.rows];
    int32_t rows = 0;
    for (int32_t n = 0; n < kernel->row_images; n++) {
        rows += counts[n];
    }
    return rows;
}

static rcnn_status ref_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    rcnn_ref_call call = call_of(kernel);
    for (int32_t i = 0; i < kernel->op.input_count; i++) {
        call.src[i] = args->value[kernel->op.input[i]];
    }
    for (int32_t i = 0; i < kernel->op.output_count; i++) {
        call.dst[i] = args->value[kernel->op.output[i]];
    }
    call.live = live_rows(kernel, args);
    call.scratch = args->scratch;
    call.frame = args->frame;
    return RUN[kernel->op.kind](&call, err);
}

static void ref_release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

static rcnn_status ref_sync(rcnn_backend *backend, rcnn_error *err)
{
    (void)backend;
    (void)err;
    return RCNN_OK;
}

const rcnn_backend_vt rcnn_backend_ref = {
    .abi = RCNN_BACKEND_ABI,
    .name = "ref",
    .probe = ref_probe,
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .release_memory = ref_release_memory,
    .prepare = ref_prepare,
    .enqueue = ref_enqueue,
    .release = ref_release,
    .sync = ref_sync,
};
