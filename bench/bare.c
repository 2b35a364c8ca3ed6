/* What bare.h describes, kept apart from src/backend/cpu on purpose: a floor measured with the kernels it is to judge
 * would judge nothing. Only the version shim onednn_api.h is shared. */
#include "bare.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cpu/onednn_api.h"
#include "base/clock.h"
#include "base/memory.h"

enum { SRC, WEIGHTS, BIAS, DST, RESIDUAL, SCRATCH, SLOTS };

/* Element types, in this order in all tables. */
typedef enum bare_type { F32, BF16, U8, S8, TYPES } bare_type;

static const dnnl_data_type_t DNNL_TYPE[TYPES] = {dnnl_f32, dnnl_bf16, dnnl_u8, dnnl_s8};
static const char *const TYPE_NAME[TYPES] = {"f32", "bf16", "u8", "s8"};
static const size_t TYPE_BYTES[TYPES] = {4, 2, 1, 1};

typedef enum residual_kind { NO_RESIDUAL, RESIDUAL_IN_PLACE, RESIDUAL_APART } residual_kind;

/* What one primitive reads and writes. */
typedef struct bare_kind {
    bare_type src, weights, dst, residual;
    residual_kind how;
    bool relu;
    int64_t channels; /* of the result: bytes have a weight scale for each */
} bare_kind;

typedef struct bare_op {
    char name[RCNN_LAYER_TEXT_MAX];
    char implementation[64], types[32];
    double gflop;
    bare_kind kind;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    onednn_md residual_md; /* RESIDUAL_APART */
    dnnl_memory_t memory[SLOTS];
    void *own[SLOTS]; /* weights and bias; the other slots point into the shared buffers */
    dnnl_exec_arg_t args[SLOTS];
    int arg_count;
} bare_op;

struct bare_net {
    bare_options options;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    bare_op *ops;
    int32_t count;
    void *shared[SLOTS][TYPES]; /* src, dst, residual, scratch: as large as the largest op of the type needs */
};

static rcnn_status check(dnnl_status_t status, const char *name, const char *what, rcnn_error *err)
{
    if (status == dnnl_success) {
        return RCNN_OK;
    }
    return rcnn_fail(err, status == dnnl_unimplemented ? RCNN_ERR_UNSUPPORTED : RCNN_ERR_INTERNAL,
                     "bench: '%s': %s: oneDNN status %d (%s)", name, what, (int)status, dnnl_status2str(status));
}

/* ------------------------------------------------------------- types */

static bare_type type_of(rcnn_dtype dtype)
{
    return dtype == RCNN_BF16 ? BF16 : dtype == RCNN_U8 ? U8 : dtype == RCNN_I8 ? S8 : F32;
}

/* The head of bare.h tells the rules. */
static bare_kind kind_of(const rcnn_graph *graph, const rcnn_op *op)
{
    const bool product = op->kind != RCNN_OP_CONV;
    const bool residual = !product && op->u.conv.residual;
    bare_kind kind = {.src = type_of(graph->values[op->input[0]].desc.dtype),
                      .dst = type_of(graph->values[op->output[0]].desc.dtype),
                      .relu = op->kind == RCNN_OP_CONV ? op->u.conv.relu
                              : op->kind == RCNN_OP_FC ? op->u.fc.relu
                                                       : op->u.deconv.relu};
    kind.weights = kind.src == U8 ? S8 : kind.src;
    if (kind.src < U8 && kind.dst != kind.src && kind.dst != F32) {
        kind.dst = kind.src;
    }
    if (residual) {
        kind.residual = type_of(graph->values[op->input[1]].desc.dtype);
        const bool fits = kind.residual == kind.dst || (kind.residual >= U8 && kind.dst >= U8);
        kind.how = fits ? RESIDUAL_IN_PLACE : RESIDUAL_APART;
    }
    kind.channels = op->kind == RCNN_OP_DECONV ? (int64_t)op->w.out * op->w.kh * op->w.kw : op->w.out;
    return kind;
}

static void print_types(const bare_kind *kind, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s*%s%s%s->%s", TYPE_NAME[kind->src], TYPE_NAME[kind->weights],
             kind->how == NO_RESIDUAL ? "" : "+", kind->how == NO_RESIDUAL ? "" : TYPE_NAME[kind->residual],
             TYPE_NAME[kind->dst]);
}

/* Numbers about zero, none of them a NaN. Bytes past the last whole element stay as they are. */
static void *random_elements(bare_type type, size_t bytes)
{
    uint8_t *data = rcnn_malloc_aligned(bytes);
    uint32_t state = 12345;
    for (size_t at = 0; data && at + TYPE_BYTES[type] <= bytes; at += TYPE_BYTES[type]) {
        state = state * 1664525u + 1013904223u;
        const float value = (float)(state >> 8) * (0.1f / 16777216.0f) - 0.05f;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        const uint16_t half = (uint16_t)(bits >> 16);
        const uint8_t byte = (uint8_t)(state >> 24);
        const void *element = type == F32 ? (const void *)&bits : type == BF16 ? (const void *)&half : &byte;
        memcpy(data + at, element, TYPE_BYTES[type]);
    }
    return data;
}

/* ------------------------------------------------------------- descriptors */

static dnnl_status_t make_map(onednn_md *out, bare_type type, int64_t rows, const rcnn_tensor_desc *desc,
                              bare_layout layout)
{
    const int64_t h = desc->dim[1];
    const int64_t w = desc->dim[2];
    const int64_t c = desc->dim[3];
    const int64_t dims[4] = {rows, c, h, w};
    const int64_t strides[4] = {h * w * c, 1, w * c, c};
    return onednn_md_make_of(out, DNNL_TYPE[type], 4, dims, layout == BARE_ANY ? NULL : strides);
}

static dnnl_status_t make_matrix(onednn_md *out, bare_type type, int64_t rows, int64_t columns, bool any)
{
    const int64_t dims[2] = {rows, columns};
    const int64_t strides[2] = {columns, 1};
    return onednn_md_make_of(out, DNNL_TYPE[type], 2, dims, any ? NULL : strides);
}

/* An image of four channels has weights for four. */
static dnnl_status_t conv_tensors(const rcnn_graph *graph, const rcnn_op *op, const bare_kind *kind, int64_t rows,
                                  bare_layout layout, onednn_tensors *t)
{
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    const int64_t groups = op->u.conv.groups;
    const int64_t weights[5] = {groups, op->w.out / groups, src->dim[3] / groups, op->w.kh, op->w.kw};
    const int64_t bias[1] = {op->w.out};
    const int64_t bias_stride[1] = {1};
    const int skip = groups == 1;
    dnnl_status_t status = make_map(&t->src, kind->src, rows, src, layout);
    if (status == dnnl_success) {
        status = make_map(&t->dst, kind->dst, rows, &graph->values[op->output[0]].desc, layout);
    }
    if (status == dnnl_success) {
        status = onednn_md_make_of(&t->weights, DNNL_TYPE[kind->weights], 5 - skip, weights + skip, NULL);
    }
    return status == dnnl_success ? onednn_md_make(&t->bias, 1, bias, bias_stride) : status;
}

static dnnl_status_t product_tensors(const bare_kind *kind, int64_t rows, int64_t in, onednn_tensors *t)
{
    dnnl_status_t status = make_matrix(&t->src, kind->src, rows, in, false);
    if (status == dnnl_success) {
        status = make_matrix(&t->weights, kind->weights, in, kind->channels, true);
    }
    if (status == dnnl_success) {
        status = make_matrix(&t->bias, F32, 1, kind->channels, false);
    }
    return status == dnnl_success ? make_matrix(&t->dst, kind->dst, rows, kind->channels, false) : status;
}

/* ------------------------------------------------------------- attributes */

static dnnl_status_t add_scales(const bare_kind *kind, dnnl_primitive_attr_t attr)
{
    float *scales = random_elements(F32, (size_t)kind->channels * sizeof *scales);
    dnnl_status_t status = scales ? onednn_set_output_scales(attr, kind->channels, 1 << 1, scales) : dnnl_out_of_memory;
    rcnn_free(scales);
    return status;
}

static dnnl_status_t append_residual(const bare_kind *kind, onednn_md_ref residual, dnnl_post_ops_t ops)
{
    if (kind->how == RESIDUAL_APART) {
        return dnnl_post_ops_append_binary(ops, dnnl_binary_add, residual);
    }
    return onednn_append_sum(ops, kind->dst >= U8 ? 0.75f : 1.0f, DNNL_TYPE[kind->residual]);
}

static dnnl_status_t make_attributes(const bare_kind *kind, onednn_md_ref residual, dnnl_primitive_attr_t *out)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && kind->how != NO_RESIDUAL) {
        status = append_residual(kind, residual, ops);
    }
    if (status == dnnl_success && kind->relu) {
        status = onednn_append_relu(ops);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_create(out);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(*out, ops);
    }
    if (status == dnnl_success && kind->weights == S8) {
        status = add_scales(kind, *out);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    }
    dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_status_t describe_conv(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                                   onednn_tensors *t, bare_op *bare)
{
    const int64_t stride = op->u.conv.stride;
    const int64_t pad = op->u.conv.pad;
    const onednn_window window = {.stride = {stride, stride}, .pad_begin = {pad, pad}, .pad_end = {pad, pad}};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = conv_tensors(graph, op, &bare->kind, rows, net->options.layout, t);
    if (status == dnnl_success && bare->kind.how == RESIDUAL_APART) {
        status = make_map(&bare->residual_md, bare->kind.residual, rows, &graph->values[op->output[0]].desc, BARE_NHWC);
    }
    if (status == dnnl_success) {
        status = make_attributes(&bare->kind, onednn_md_view(&bare->residual_md), &attr);
    }
    if (status == dnnl_success) {
        status = onednn_conv_pd(&bare->pd, net->engine, t, &window, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    return status;
}

/* FC, and DECONV as the product of its pixels with the four taps. */
static dnnl_status_t describe_product(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                                      onednn_tensors *t, bare_op *bare)
{
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    const int64_t pixels = op->kind == RCNN_OP_DECONV ? (int64_t)src->dim[1] * src->dim[2] : 1;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = make_attributes(&bare->kind, onednn_md_view(&bare->residual_md), &attr);
    if (status == dnnl_success) {
        status = product_tensors(&bare->kind, rows * pixels, op->w.in, t);
    }
    if (status == dnnl_success) {
        status = onednn_matmul_pd(&bare->pd, net->engine, t, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    return status;
}

static dnnl_status_t describe(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                              bare_op *bare)
{
    onednn_tensors t;
    memset(&t, 0, sizeof t);
    dnnl_status_t status = op->kind == RCNN_OP_CONV ? describe_conv(net, graph, op, rows, &t, bare)
                                                    : describe_product(net, graph, op, rows, &t, bare);
    onednn_tensors_free(&t);
    const char *text = "";
    if (status == dnnl_success) {
        dnnl_primitive_desc_query(bare->pd, dnnl_query_impl_info_str, 0, (void *)&text);
        snprintf(bare->implementation, sizeof bare->implementation, "%s", text);
    }
    return status;
}

static void undo_description(bare_op *bare)
{
    dnnl_primitive_desc_destroy(bare->pd);
    onednn_md_free(&bare->residual_md);
    bare->pd = NULL;
}

/* In the graph's types, or all in f32 where oneDNN has only its plain loops or nothing for them. */
static dnnl_status_t describe_best(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                                   bare_op *bare)
{
    bare->kind = kind_of(graph, op);
    dnnl_status_t status = describe(net, graph, op, rows, bare);
    const bool plain = status == dnnl_success && strncmp(bare->implementation, "ref", 3) == 0;
    if (bare->kind.src == F32 || (status != dnnl_unimplemented && !plain)) {
        return status;
    }
    undo_description(bare);
    bare->kind.src = bare->kind.weights = bare->kind.dst = bare->kind.residual = F32;
    bare->kind.how = bare->kind.how == NO_RESIDUAL ? NO_RESIDUAL : RESIDUAL_IN_PLACE;
    return describe(net, graph, op, rows, bare);
}

/* ------------------------------------------------------------- primitives */

static size_t slot_bytes(const bare_op *op, int slot)
{
    switch (slot) {
    case SRC:
        return dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(op->pd, dnnl_query_src_md, 0));
    case DST:
        return dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(op->pd, dnnl_query_dst_md, 0));
    case SCRATCH:
        return dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(op->pd, dnnl_query_scratchpad_md, 0));
    case RESIDUAL:
        return op->kind.how == RESIDUAL_APART ? dnnl_memory_desc_get_size(onednn_md_view(&op->residual_md)) : 0;
    default:
        return 0;
    }
}

static bare_type slot_type(const bare_op *op, int slot)
{
    return slot == SRC ? op->kind.src : slot == DST ? op->kind.dst : slot == RESIDUAL ? op->kind.residual : F32;
}

static int64_t live_rows(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op)
{
    const int64_t capacity = graph->values[op->input[0]].desc.dim[0];
    if (op->rows == RCNN_NO_VALUE) {
        return capacity;
    }
    int64_t rows = op->stage == RCNN_STAGE_mask_head ? net->options.mask_rows : net->options.box_rows;
    return rows < capacity ? rows : capacity;
}

static rcnn_status add_op(bare_net *net, const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    bare_op *bare = &net->ops[net->count++];
    const int64_t rows = live_rows(net, graph, op);
    const int64_t capacity = graph->values[op->input[0]].desc.dim[0];
    snprintf(bare->name, sizeof bare->name, "%s", graph->values[op->output[0]].name);
    bare->gflop = 2e-9 * (double)rcnn_op_macs(graph, op) * (double)rows / (double)capacity;
    RCNN_TRY(check(describe_best(net, graph, op, rows, bare), bare->name, "describing", err));
    RCNN_TRY(check(dnnl_primitive_create(&bare->primitive, bare->pd), bare->name, "creating", err));
    print_types(&bare->kind, bare->types, sizeof bare->types);
    const onednn_md_ref weights = dnnl_primitive_desc_query_md(bare->pd, dnnl_query_weights_md, 0);
    bare->own[WEIGHTS] = random_elements(bare->kind.weights, dnnl_memory_desc_get_size(weights));
    bare->own[BIAS] = random_elements(F32, (size_t)bare->kind.channels * sizeof(float));
    if (!bare->own[WEIGHTS] || !bare->own[BIAS]) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: '%s': out of memory", bare->name);
    }
    return RCNN_OK;
}

static rcnn_status share_buffer(bare_net *net, int slot, bare_type type, rcnn_error *err)
{
    size_t largest = 0;
    for (int32_t i = 0; i < net->count; i++) {
        const size_t bytes = slot_type(&net->ops[i], slot) == type ? slot_bytes(&net->ops[i], slot) : 0;
        largest = bytes > largest ? bytes : largest;
    }
    if (largest > 0) {
        net->shared[slot][type] = random_elements(type, largest);
    }
    return largest == 0 || net->shared[slot][type]
               ? RCNN_OK
               : rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory for %zu bytes", largest);
}

static rcnn_status share_buffers(bare_net *net, rcnn_error *err)
{
    static const int slots[] = {SRC, DST, RESIDUAL, SCRATCH};
    for (size_t s = 0; s < sizeof slots / sizeof slots[0]; s++) {
        for (bare_type type = F32; type < TYPES; type++) {
            RCNN_TRY(share_buffer(net, slots[s], type, err));
        }
    }
    return RCNN_OK;
}

static rcnn_status bind_slot(const bare_net *net, bare_op *op, int slot, int arg, onednn_md_ref md, rcnn_error *err)
{
    void *data = op->own[slot] ? op->own[slot] : net->shared[slot][slot_type(op, slot)];
    RCNN_TRY(check(dnnl_memory_create(&op->memory[slot], md, net->engine, data), op->name, "binding memory", err));
    op->args[op->arg_count++] = (dnnl_exec_arg_t){.arg = arg, .memory = op->memory[slot]};
    return RCNN_OK;
}

static rcnn_status bind_op(const bare_net *net, bare_op *op, rcnn_error *err)
{
    static const struct {
        int slot, arg;
        dnnl_query_t query;
        int index;
    } fixed[] = {{SRC, DNNL_ARG_SRC, dnnl_query_src_md, 0},
                 {WEIGHTS, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, 0},
                 {BIAS, DNNL_ARG_BIAS, dnnl_query_weights_md, 1},
                 {DST, DNNL_ARG_DST, dnnl_query_dst_md, 0},
                 {SCRATCH, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, 0}};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        const onednn_md_ref md = dnnl_primitive_desc_query_md(op->pd, fixed[i].query, fixed[i].index);
        RCNN_TRY(bind_slot(net, op, fixed[i].slot, fixed[i].arg, md, err));
    }
    if (op->kind.how == RESIDUAL_APART) {
        RCNN_TRY(bind_slot(net, op, RESIDUAL, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                           onednn_md_view(&op->residual_md), err));
    }
    return RCNN_OK;
}

static rcnn_status fill(bare_net *net, const rcnn_graph *graph, rcnn_error *err)
{
    RCNN_TRY(check(dnnl_engine_create(&net->engine, dnnl_cpu, 0), "engine", "creating", err));
    RCNN_TRY(
        check(dnnl_stream_create(&net->stream, net->engine, dnnl_stream_default_flags), "stream", "creating", err));
    for (int32_t i = 0; i < graph->op_count; i++) {
        const rcnn_op *op = &graph->ops[i];
        bool wanted = op->kind == RCNN_OP_CONV || op->kind == RCNN_OP_FC || op->kind == RCNN_OP_DECONV;
        if (wanted && live_rows(net, graph, op) > 0) {
            RCNN_TRY(add_op(net, graph, op, err));
        }
    }
    RCNN_TRY(share_buffers(net, err));
    for (int32_t i = 0; i < net->count; i++) {
        RCNN_TRY(bind_op(net, &net->ops[i], err));
    }
    return RCNN_OK;
}

static void use_threads(int32_t threads)
{
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
}

/* ------------------------------------------------------------- interface */

rcnn_status bare_open(const rcnn_graph *graph, const bare_options *options, bare_net **out, rcnn_error *err)
{
    *out = NULL;
    bare_net *net = rcnn_calloc(1, sizeof *net);
    if (!net) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory");
    }
    net->options = *options;
    net->ops = rcnn_calloc((size_t)graph->op_count, sizeof *net->ops);
    use_threads(options->threads);
    rcnn_status status = net->ops ? fill(net, graph, err) : rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory");
    if (status != RCNN_OK) {
        bare_close(net);
        return status;
    }
    *out = net;
    return RCNN_OK;
}

void bare_close(bare_net *net)
{
    if (!net) {
        return;
    }
    for (int32_t i = 0; i < net->count; i++) {
        bare_op *op = &net->ops[i];
        for (int slot = 0; slot < SLOTS; slot++) {
            dnnl_memory_destroy(op->memory[slot]);
            rcnn_free(op->own[slot]);
        }
        dnnl_primitive_destroy(op->primitive);
        undo_description(op);
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        for (bare_type type = F32; type < TYPES; type++) {
            rcnn_free(net->shared[slot][type]);
        }
    }
    dnnl_stream_destroy(net->stream);
    dnnl_engine_destroy(net->engine);
    rcnn_free(net->ops);
    rcnn_free(net);
}

int32_t bare_count(const bare_net *net)
{
    return net->count;
}

const char *bare_name(const bare_net *net, int32_t index)
{
    return net->ops[index].name;
}

const char *bare_implementation(const bare_net *net, int32_t index)
{
    return net->ops[index].implementation;
}

const char *bare_types(const bare_net *net, int32_t index)
{
    return net->ops[index].types;
}

double bare_gflop(const bare_net *net, int32_t index)
{
    return net->ops[index].gflop;
}

void bare_library(char *text, size_t capacity)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, capacity, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
}

rcnn_status bare_run(bare_net *net, double *ms, rcnn_error *err)
{
    use_threads(net->options.threads);
    for (int32_t i = 0; i < net->count; i++) {
        const bare_op *op = &net->ops[i];
        double start = rcnn_clock_ms();
        dnnl_status_t status = dnnl_primitive_execute(op->primitive, net->stream, op->arg_count, op->args);
        if (status == dnnl_success) {
            status = dnnl_stream_wait(net->stream);
        }
        ms[i] = rcnn_clock_ms() - start;
        RCNN_TRY(check(status, op->name, "executing", err));
    }
    return RCNN_OK;
}
