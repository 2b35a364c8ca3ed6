/* See op.h. */
#include "backend/cpu/op.h"

#include "base/memory.h"

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

/* Input i, or output 0 when i is -1, is a feature map or row. */
static bool is_feature(const rcnn_op *op, int32_t i)
{
    switch (op->kind) {
    case RCNN_OP_PREPROCESS:
    case RCNN_OP_MAXPOOL:
    case RCNN_OP_UPSAMPLE_ADD:
        return true;
    case RCNN_OP_ROI_ALIGN:
        return i < op->u.roi_align.level_count;
    case RCNN_OP_MASK_LOGIT:
        return i == 0;
    default:
        return false;
    }
}

static bool is_byte(rcnn_dtype dtype)
{
    return dtype == RCNN_I8 || dtype == RCNN_U8;
}

/* The value's shape and scale, when it has a type it may have. */
static rcnn_status copy_value(const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id id, bool feature,
                              rcnn_tensor_desc *desc, float *scale, rcnn_error *err)
{
    const rcnn_value *value = &graph->values[id];
    const rcnn_dtype dtype = value->desc.dtype;
    *desc = value->desc;
    *scale = is_byte(dtype) ? value->scale : 1.0f;
    if (dtype == RCNN_F32 || dtype == RCNN_I32 || (feature && dtype == RCNN_BF16) ||
        (feature && op->kind != RCNN_OP_PREPROCESS && is_byte(dtype) && value->scale > 0)) {
        return RCNN_OK;
    }
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cpu: op '%s': value '%s': want %s, got %s with scale %g", op->name,
                     value->name, feature ? "F32, BF16, or I8 or U8 with a scale" : "F32 or I32",
                     rcnn_dtype_name(dtype), (double)value->scale);
}

static rcnn_status copy_values(const rcnn_graph *graph, const rcnn_op *op, rcnn_cpu_kernel *k, rcnn_error *err)
{
    for (int32_t i = 0; i < op->input_count; i++) {
        RCNN_TRY(copy_value(graph, op, op->input[i], is_feature(op, i), &k->src[i], &k->src_scale[i], err));
    }
    for (int32_t i = 0; i < op->output_count; i++) {
        const bool feature = i == 0 && is_feature(op, -1);
        RCNN_TRY(copy_value(graph, op, op->output[i], feature, &k->dst[i], &k->dst_scale[i], err));
    }
    return RCNN_OK;
}

/* Types that must agree do. */
static rcnn_status check_types(const rcnn_op *op, const rcnn_cpu_kernel *k, rcnn_error *err)
{
    bool agree = true;
    if (op->kind == RCNN_OP_MAXPOOL) {
        agree = k->src[0].dtype == k->dst[0].dtype && k->src_scale[0] == k->dst_scale[0];
    } else if (op->kind == RCNN_OP_ROI_ALIGN) {
        for (int32_t l = 1; l < op->u.roi_align.level_count; l++) {
            agree = agree && k->src[l].dtype == k->src[0].dtype;
        }
    }
    return agree ? RCNN_OK
                 : rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cpu: op '%s': want values of one element type%s", op->name,
                             op->kind == RCNN_OP_MAXPOOL ? " and scale" : "");
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
    rcnn_status status = copy_values(graph, op, k, err);
    if (status == RCNN_OK) {
        status = check_types(op, k, err);
    }
    if (status != RCNN_OK) {
        rcnn_free(k);
        return status;
    }
    *out = k;
    return RCNN_OK;
}
