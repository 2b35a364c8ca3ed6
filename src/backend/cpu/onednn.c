/* The oneDNN engine of a backend, its errors, and calls of prepared primitives. Running a call makes no allocation of
 * ours; oneDNN itself makes a handful of small ones per execution (8 in 2.6, 10 in 3.2) that its API cannot avoid. */
#include "backend/cpu/onednn_call.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const int SLOT_ARG[ONEDNN_SLOTS] = {
    [ONEDNN_SRC] = DNNL_ARG_SRC, [ONEDNN_WEIGHTS] = DNNL_ARG_WEIGHTS,    [ONEDNN_BIAS] = DNNL_ARG_BIAS,
    [ONEDNN_DST] = DNNL_ARG_DST, [ONEDNN_SCRATCH] = DNNL_ARG_SCRATCHPAD,
};

rcnn_status rcnn_from_dnnl(dnnl_status_t status, const char *where, const char *what, rcnn_error *err)
{
    rcnn_status ours = RCNN_ERR_DEVICE;
    switch (status) {
    case dnnl_success:
        return RCNN_OK;
    case dnnl_out_of_memory:
        ours = RCNN_ERR_MEMORY;
        break;
    case dnnl_unimplemented:
        ours = RCNN_ERR_UNSUPPORTED;
        break;
    case dnnl_invalid_arguments:
        ours = RCNN_ERR_INTERNAL;
        break;
    default:
        break;
    }
    return rcnn_fail(err, ours, "%s: %s: oneDNN status %d (%s)", where, what, (int)status, dnnl_status2str(status));
}

static size_t append_dims(char *text, size_t used, const int32_t *dim, int32_t rank)
{
    for (int32_t i = 0; i < rank && used < ONEDNN_WHERE_MAX; i++) {
        used += (size_t)snprintf(text + used, ONEDNN_WHERE_MAX - used, "%c%d", i ? ',' : '[', dim[i]);
    }
    return used;
}

void onednn_where(const rcnn_graph *graph, const rcnn_op *op, char text[ONEDNN_WHERE_MAX])
{
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    const rcnn_tensor_desc *dst = &graph->values[op->output[0]].desc;
    size_t used = (size_t)snprintf(text, ONEDNN_WHERE_MAX, "cpu: %s '%s' ", rcnn_op_kind_name(op->kind), op->name);
    used = append_dims(text, used, src->dim, src->rank);
    used += used < ONEDNN_WHERE_MAX ? (size_t)snprintf(text + used, ONEDNN_WHERE_MAX - used, "] -> ") : 0;
    used = append_dims(text, used, dst->dim, dst->rank);
    if (used < ONEDNN_WHERE_MAX) {
        snprintf(text + used, ONEDNN_WHERE_MAX - used, "], weights [%d,%d,%d,%d]", op->w.out, op->w.in, op->w.kh,
                 op->w.kw);
    }
}

rcnn_status rcnn_onednn_open(rcnn_onednn **out, rcnn_error *err)
{
    *out = NULL;
    rcnn_onednn *dnn = rcnn_calloc(1, sizeof *dnn);
    if (!dnn) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory");
    }
    dnnl_status_t status = dnnl_engine_create(&dnn->engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_default_flags);
    }
    if (status != dnnl_success) {
        rcnn_onednn_close(dnn);
        return rcnn_from_dnnl(status, "cpu", "creating the engine", err);
    }
    *out = dnn;
    return RCNN_OK;
}

void rcnn_onednn_close(rcnn_onednn *dnn)
{
    if (!dnn) {
        return;
    }
    if (dnn->stream) {
        dnnl_stream_destroy(dnn->stream);
    }
    if (dnn->engine) {
        dnnl_engine_destroy(dnn->engine);
    }
    rcnn_free(dnn);
}

rcnn_status rcnn_onednn_wait(rcnn_onednn *dnn, rcnn_error *err)
{
    return rcnn_from_dnnl(dnnl_stream_wait(dnn->stream), "cpu", "waiting for the stream", err);
}

/* What oneDNN multiplies natively here, by the instruction sets it goes up to. */
bool rcnn_onednn_has_bf16(void)
{
    const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return ((unsigned)isa & (unsigned)dnnl_cpu_isa_avx512_core_bf16) == (unsigned)dnnl_cpu_isa_avx512_core_bf16;
}

bool rcnn_onednn_has_amx(void)
{
    const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return ((unsigned)isa & (unsigned)dnnl_cpu_isa_avx512_core_amx) == (unsigned)dnnl_cpu_isa_avx512_core_amx;
}

bool rcnn_onednn_has_int8(void)
{
#if ONEDNN_V3
    return false;
#else
    const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return ((unsigned)isa & (unsigned)dnnl_cpu_isa_avx2) == (unsigned)dnnl_cpu_isa_avx2;
#endif
}

void rcnn_onednn_describe(char *text, size_t capacity)
{
    const dnnl_version_t *version = dnnl_version();
    int omp = version->cpu_runtime == DNNL_RUNTIME_OMP;
    snprintf(text, capacity, "oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch,
             omp ? "OpenMP" : "not an OpenMP build: its thread count is its own");
}

dnnl_primitive_attr_t onednn_attributes(const onednn_epilogue *epilogue)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && epilogue->sum) {
        status = onednn_append_sum(ops, epilogue->sum_scale, epilogue->sum_type);
    }
    if (status == dnnl_success && epilogue->relu) {
        status = onednn_append_relu(ops);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_create(&attr);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    if (status == dnnl_success && epilogue->scales) {
        status = onednn_set_output_scales(attr, epilogue->scale_count, epilogue->scale_mask, epilogue->scales);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    }
    if (ops) {
        dnnl_post_ops_destroy(ops);
    }
    if (status != dnnl_success && attr) {
        dnnl_primitive_attr_destroy(attr);
        return NULL;
    }
    return attr;
}

/* The descriptor that a primitive wants in a slot. */
static onednn_md_ref query_slot(const_dnnl_primitive_desc_t pd, onednn_slot slot)
{
    switch (slot) {
    case ONEDNN_SRC:
        return dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
    case ONEDNN_WEIGHTS:
        return dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    case ONEDNN_BIAS:
        return dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
    case ONEDNN_DST:
        return dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    default:
        return dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    }
}

/* oneDNN's handles are not const; weights, bias and src are only read. */
static void *handle_of(const void *data)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = data};
    return cast.out;
}

rcnn_status onednn_call_make(rcnn_onednn *dnn, const_dnnl_primitive_desc_t pd, const void *weights, const float *bias,
                             const char *where, onednn_call *out, rcnn_error *err)
{
    void *const handle[ONEDNN_SLOTS] = {[ONEDNN_WEIGHTS] = handle_of(weights), [ONEDNN_BIAS] = handle_of(bias)};
    ONEDNN_TRY(dnnl_primitive_create(&out->primitive, pd), where, "creating the primitive", err);
    out->scratch_bytes = dnnl_memory_desc_get_size(query_slot(pd, ONEDNN_SCRATCH));
    for (int slot = 0; slot < ONEDNN_SLOTS; slot++) {
        onednn_md_ref md = query_slot(pd, (onednn_slot)slot);
        if (dnnl_memory_desc_get_size(md) == DNNL_RUNTIME_SIZE_VAL) {
            continue; /* onednn_call_describe will say */
        }
        ONEDNN_TRY(dnnl_memory_create(&out->memory[slot], md, dnn->engine, handle[slot]), where, "creating a memory",
                   err);
    }
    return RCNN_OK;
}

rcnn_status onednn_call_describe(rcnn_onednn *dnn, onednn_call *call, onednn_slot slot, onednn_md_ref md,
                                 const char *where, rcnn_error *err)
{
    if (call->memory[slot]) {
        dnnl_memory_destroy(call->memory[slot]);
        call->memory[slot] = NULL;
    }
    return rcnn_from_dnnl(dnnl_memory_create(&call->memory[slot], md, dnn->engine, NULL), where, "creating a memory",
                          err);
}

rcnn_status onednn_call_run(rcnn_onednn *dnn, const onednn_call *call, const void *src, void *dst, void *scratch,
                            const char *where, rcnn_error *err)
{
    dnnl_exec_arg_t args[ONEDNN_SLOTS];
    for (int slot = 0; slot < ONEDNN_SLOTS; slot++) {
        args[slot] = (dnnl_exec_arg_t){.arg = SLOT_ARG[slot], .memory = call->memory[slot]};
    }
    ONEDNN_TRY(dnnl_memory_set_data_handle(call->memory[ONEDNN_SRC], handle_of(src)), where, "binding src", err);
    ONEDNN_TRY(dnnl_memory_set_data_handle(call->memory[ONEDNN_DST], dst), where, "binding dst", err);
    ONEDNN_TRY(dnnl_memory_set_data_handle(call->memory[ONEDNN_SCRATCH], scratch), where, "binding scratch", err);
    return rcnn_from_dnnl(dnnl_primitive_execute(call->primitive, dnn->stream, ONEDNN_SLOTS, args), where, "executing",
                          err);
}

void onednn_call_free(onednn_call *call)
{
    for (int slot = 0; slot < ONEDNN_SLOTS; slot++) {
        if (call->memory[slot]) {
            dnnl_memory_destroy(call->memory[slot]);
        }
    }
    if (call->primitive) {
        dnnl_primitive_destroy(call->primitive);
    }
    memset(call, 0, sizeof *call);
}
