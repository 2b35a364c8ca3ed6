/* See op.h. */
#include "backend/cpu/op.h"

#include "base/memory.h"

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

static rcnn_status copy_desc(const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id id, rcnn_tensor_desc *out,
                             rcnn_error *err)
{
    const rcnn_value *value = &graph->values[id];
    *out = value->desc;
    if (out->dtype == RCNN_F32 || out->dtype == RCNN_I32) {
        return RCNN_OK;
    }
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cpu: op '%s': value '%s': want f32 or i32, got element type %d",
                     op->name, value->name, (int)out->dtype);
}

static rcnn_status copy_shapes(const rcnn_graph *graph, const rcnn_op *op, rcnn_cpu_kernel *k, rcnn_error *err)
{
    for (int32_t i = 0; i < op->input_count; i++) {
        RCNN_TRY(copy_desc(graph, op, op->input[i], &k->src[i], err));
    }
    for (int32_t i = 0; i < op->output_count; i++) {
        RCNN_TRY(copy_desc(graph, op, op->output[i], &k->dst[i], err));
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_kernel_create(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                   rcnn_cpu_enqueue enqueue, rcnn_cpu_kernel **out, rcnn_error *err)
{
    *out = NULL;
    rcnn_cpu_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory for op '%s'", op->name);
    }
    k->head.enqueue = enqueue;
    k->head.release = release;
    k->op = *op;
    k->threads = rcnn_cpu_threads(backend);
    k->body = rcnn_cpu_body_of(rcnn_cpu_isa_of(backend));
    rcnn_status status = copy_shapes(graph, op, k, err);
    if (status != RCNN_OK) {
        rcnn_free(k);
        return status;
    }
    *out = k;
    return RCNN_OK;
}
