/* What every op's file uses: element types, kernel structs, and faults noted on the device. */
#include "backend/cuda/cuda.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

rcnn_status rcnn_cuda_type_of(const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id id, rcnn_cuda_type *out,
                              rcnn_error *err)
{
    const rcnn_value *value = &graph->values[id];
    switch (value->desc.dtype) {
    case RCNN_F32:
        *out = RCNN_CUDA_F32;
        return RCNN_OK;
    case RCNN_F16:
        *out = RCNN_CUDA_F16;
        return RCNN_OK;
    case RCNN_BF16:
        *out = RCNN_CUDA_BF16;
        return RCNN_OK;
    default:
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: %s '%s': value '%s' is %s, want F32, F16 or BF16",
                         rcnn_op_kind_name(op->kind), op->name, value->name, rcnn_dtype_name(value->desc.dtype));
    }
}

rcnn_status rcnn_cuda_new_kernel(rcnn_backend *backend, size_t bytes,
                                 rcnn_status (*enqueue)(rcnn_kernel *, const rcnn_args *, cudaStream_t, rcnn_error *),
                                 void (*release)(rcnn_kernel *), rcnn_kernel **out, rcnn_error *err)
{
    rcnn_kernel *kernel = rcnn_calloc(1, bytes);
    *out = kernel;
    if (!kernel) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    kernel->backend = backend;
    kernel->enqueue = enqueue;
    kernel->release = release;
    return RCNN_OK;
}

/* ------------------------------------------------------------- faults */

int32_t rcnn_cuda_fault_id(rcnn_backend *backend, const char *op_name)
{
    for (int32_t id = 0; id < backend->fault_name_count; id++) {
        if (strcmp(backend->fault_names[id], op_name) == 0) {
            return id;
        }
    }
    void *names = backend->fault_names;
    const size_t count = (size_t)backend->fault_name_count;
    if (!rcnn_grow(&names, &backend->fault_name_capacity, count + 1, sizeof *backend->fault_names)) {
        return -1;
    }
    backend->fault_names = names;
    snprintf(backend->fault_names[count], sizeof *backend->fault_names, "%s", op_name);
    return backend->fault_name_count++;
}

/* The lines are those of the ref backend (rpn_select.c, box_select.c, mask_logit.c). */
rcnn_status rcnn_cuda_fault_status(const rcnn_backend *backend, const rcnn_cuda_fault *fault, rcnn_error *err)
{
    const char *name = fault->op >= 0 && fault->op < backend->fault_name_count ? backend->fault_names[fault->op] : "?";
    switch (fault->what) {
    case RCNN_CUDA_FAULT_NONE:
        return RCNN_OK;
    case RCNN_CUDA_FAULT_OBJECTNESS:
    case RCNN_CUDA_FAULT_RPN_DELTA:
        return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, level %d, anchor %d: %s is not finite", name,
                         fault->image, fault->a, fault->b,
                         fault->what == RCNN_CUDA_FAULT_OBJECTNESS ? "an objectness logit" : "a box delta");
    case RCNN_CUDA_FAULT_CLASS_LOGIT:
        return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d: a class logit is not finite", name,
                         fault->image, fault->a);
    case RCNN_CUDA_FAULT_BOX_DELTA:
        return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d, label %d: a box delta is not finite", name,
                         fault->image, fault->a, fault->b);
    case RCNN_CUDA_FAULT_CAPACITY:
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': more than %d candidates", name, fault->b);
    case RCNN_CUDA_FAULT_LABEL:
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': image %d, RoI %d: label %d has no mask channel", name,
                         fault->image, fault->a, fault->b);
    default:
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': fault %d on the device", name, fault->what);
    }
}
