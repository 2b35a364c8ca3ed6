/* Which matrix product a processor is given, and the numbers around it; product.h. */
#include "backend/cpu/product.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cpu/onednn.h"
#include "base/memory.h"

#if RCNN_CPU_BF16_BODY || RCNN_CPU_VNNI_BODY
static const rcnn_product_body *if_there(const rcnn_backend *backend, int supported, const rcnn_product_body *body)
{
    return rcnn_cpu_isa_of(backend) == RCNN_CPU_AVX512 && supported ? body : NULL;
}
#endif

/* RCNN_CPU_CONV=direct leaves everything to oneDNN, for comparing the two. */
static bool is_wanted(void)
{
    const char *method = getenv("RCNN_CPU_CONV");
    return !method || strcmp(method, "direct") != 0;
}

const rcnn_product_body *rcnn_product_choose(const rcnn_backend *backend, rcnn_dtype features)
{
    const bool wanted = is_wanted() && (features == RCNN_F32 || !rcnn_onednn_has_amx());
    switch (wanted ? features : RCNN_I32) {
#if RCNN_CPU_BF16_BODY
    case RCNN_BF16:
        return if_there(backend, __builtin_cpu_supports("avx512bf16"), &rcnn_product_bf16);
#endif
#if RCNN_CPU_VNNI_BODY
    case RCNN_U8:
        return if_there(backend, __builtin_cpu_supports("avx512vnni"), &rcnn_product_vnni);
#endif
    case RCNN_F32:
#if RCNN_CPU_AVX512_BODY
        if (rcnn_cpu_isa_of(backend) == RCNN_CPU_AVX512) {
            return &rcnn_product_avx512;
        }
#endif
#if RCNN_CPU_AVX2_BODY
        if (rcnn_cpu_isa_of(backend) >= RCNN_CPU_AVX2) {
            return &rcnn_product_avx2;
        }
#endif
        return NULL;
    default:
        return NULL;
    }
}

bool rcnn_product_is_point(const rcnn_op *op)
{
    return op->w.kh == 1 && op->w.kw == 1 && op->u.conv.stride == 1 && op->u.conv.pad == 0 && op->u.conv.groups == 1;
}

float rcnn_product_unit(const rcnn_value *value)
{
    return value->scale > 0 ? value->scale : 1;
}

rcnn_status rcnn_product_numbers_make(const rcnn_graph *graph, const rcnn_op *op, const float *weight_scale, float unit,
                                      rcnn_product_numbers *out, rcnn_error *err)
{
    const size_t count = (size_t)rcnn_product_panels(op->w.out) * RCNN_PRODUCT_PANEL;
    const float factor = rcnn_product_unit(&graph->values[op->input[0]]) / unit;
    float *arrays = rcnn_malloc_aligned(2 * count * sizeof *arrays);
    if (!arrays) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: '%s': out of memory", op->name);
    }
    for (size_t o = 0; o < count; o++) {
        arrays[o] = weight_scale ? weight_scale[o] * factor : factor;
        arrays[count + o] = o < (size_t)op->w.out ? op->w.bias[o] / unit : 0;
    }
    const bool conv = op->kind == RCNN_OP_CONV, fc = op->kind == RCNN_OP_FC;
    *out = (rcnn_product_numbers){.arrays = arrays,
                                  .store = {.dst = graph->values[op->output[0]].desc.dtype,
                                            .relu = conv ? op->u.conv.relu
                                                    : fc ? op->u.fc.relu
                                                         : op->u.deconv.relu,
                                            .scale = arrays,
                                            .bias = arrays + count}};
    if (conv && op->u.conv.residual) {
        const rcnn_value *residual = &graph->values[op->input[1]];
        out->store.residual = residual->desc.dtype;
        out->store.residual_factor = rcnn_product_unit(residual) / unit;
    }
    return RCNN_OK;
}

void rcnn_product_numbers_free(rcnn_product_numbers *numbers)
{
    rcnn_free(numbers->arrays);
}

rcnn_product_store rcnn_product_store_at(const rcnn_product_numbers *numbers, int32_t first)
{
    rcnn_product_store store = numbers->store;
    store.scale += first;
    store.bias += first;
    return store;
}
