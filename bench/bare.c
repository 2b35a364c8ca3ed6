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

enum { SRC, WEIGHTS, BIAS, DST, SCRATCH, SLOTS };

typedef struct bare_op {
    char name[RCNN_LAYER_TEXT_MAX];
    char implementation[64];
    double gflop;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[SLOTS];
    float *own[SLOTS]; /* weights and bias; the other slots point into the shared buffers */
} bare_op;

struct bare_net {
    bare_options options;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    bare_op *ops;
    int32_t count;
    float *shared[SLOTS]; /* src, dst, scratch: as large as the largest op needs */
};

static rcnn_status check(dnnl_status_t status, const char *name, const char *what, rcnn_error *err)
{
    if (status == dnnl_success) {
        return RCNN_OK;
    }
    return rcnn_fail(err, status == dnnl_unimplemented ? RCNN_ERR_UNSUPPORTED : RCNN_ERR_INTERNAL,
                     "bench: '%s': %s: oneDNN status %d (%s)", name, what, (int)status, dnnl_status2str(status));
}

/* ------------------------------------------------------------- descriptors */

static dnnl_status_t make_map(onednn_md *out, int64_t rows, const rcnn_tensor_desc *desc, bare_layout layout)
{
    const int64_t h = desc->dim[1];
    const int64_t w = desc->dim[2];
    const int64_t c = desc->dim[3];
    const int64_t dims[4] = {rows, c, h, w};
    const int64_t strides[4] = {h * w * c, 1, w * c, c};
    return onednn_md_make(out, 4, dims, layout == BARE_ANY ? NULL : strides);
}

static dnnl_status_t make_matrix(onednn_md *out, int64_t rows, int64_t columns, bool any)
{
    const int64_t dims[2] = {rows, columns};
    const int64_t strides[2] = {columns, 1};
    return onednn_md_make(out, 2, dims, any ? NULL : strides);
}

static dnnl_status_t conv_tensors(const rcnn_graph *graph, const rcnn_op *op, int64_t rows, bare_layout layout,
                                  onednn_tensors *t)
{
    const int64_t groups = op->u.conv.groups;
    const int64_t weights[5] = {groups, op->w.out / groups, op->w.in, op->w.kh, op->w.kw};
    const int64_t bias[1] = {op->w.out};
    const int64_t bias_stride[1] = {1};
    const int skip = groups == 1;
    dnnl_status_t status = make_map(&t->src, rows, &graph->values[op->input[0]].desc, layout);
    if (status == dnnl_success) {
        status = make_map(&t->dst, rows, &graph->values[op->output[0]].desc, layout);
    }
    if (status == dnnl_success) {
        status = onednn_md_make(&t->weights, 5 - skip, weights + skip, NULL);
    }
    return status == dnnl_success ? onednn_md_make(&t->bias, 1, bias, bias_stride) : status;
}

static dnnl_status_t product_tensors(int64_t rows, int64_t in, int64_t out, onednn_tensors *t)
{
    dnnl_status_t status = make_matrix(&t->src, rows, in, false);
    if (status == dnnl_success) {
        status = make_matrix(&t->weights, in, out, true);
    }
    if (status == dnnl_success) {
        status = make_matrix(&t->bias, 1, out, false);
    }
    return status == dnnl_success ? make_matrix(&t->dst, rows, out, false) : status;
}

static dnnl_status_t make_attributes(int sum, int relu, dnnl_primitive_attr_t *out)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && sum) {
        status = onednn_append_sum(ops);
    }
    if (status == dnnl_success && relu) {
        status = onednn_append_relu(ops);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_create(out);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(*out, ops);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    }
    dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_status_t describe_conv(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                                   onednn_tensors *t, dnnl_primitive_desc_t *out)
{
    const int64_t stride = op->u.conv.stride;
    const int64_t pad = op->u.conv.pad;
    const onednn_window window = {.stride = {stride, stride}, .pad_begin = {pad, pad}, .pad_end = {pad, pad}};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = make_attributes(op->u.conv.residual, op->u.conv.relu, &attr);
    if (status == dnnl_success) {
        status = conv_tensors(graph, op, rows, net->options.layout, t);
    }
    if (status == dnnl_success) {
        status = onednn_conv_pd(out, net->engine, t, &window, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    return status;
}

/* FC, and DECONV as the product of its pixels with the four taps. */
static dnnl_status_t describe_product(const bare_net *net, const rcnn_graph *graph, const rcnn_op *op, int64_t rows,
                                      onednn_tensors *t, dnnl_primitive_desc_t *out)
{
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    const bool taps = op->kind == RCNN_OP_DECONV;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = make_attributes(0, taps ? op->u.deconv.relu : op->u.fc.relu, &attr);
    if (status == dnnl_success) {
        status = product_tensors(taps ? rows * src->dim[1] * src->dim[2] : rows, op->w.in,
                                 taps ? (int64_t)op->w.out * op->w.kh * op->w.kw : op->w.out, t);
    }
    if (status == dnnl_success) {
        status = onednn_matmul_pd(out, net->engine, t, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    return status;
}

/* ------------------------------------------------------------- primitives */

static onednn_md_ref slot_md(const bare_op *op, int slot)
{
    switch (slot) {
    case SRC:
        return dnnl_primitive_desc_query_md(op->pd, dnnl_query_src_md, 0);
    case WEIGHTS:
        return dnnl_primitive_desc_query_md(op->pd, dnnl_query_weights_md, 0);
    case BIAS:
        return dnnl_primitive_desc_query_md(op->pd, dnnl_query_weights_md, 1);
    case DST:
        return dnnl_primitive_desc_query_md(op->pd, dnnl_query_dst_md, 0);
    default:
        return dnnl_primitive_desc_query_md(op->pd, dnnl_query_scratchpad_md, 0);
    }
}

static float *random_floats(size_t bytes)
{
    float *data = rcnn_malloc_aligned(bytes);
    uint32_t state = 12345;
    for (size_t i = 0; data && i < bytes / sizeof *data; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (float)(state >> 8) * (0.1f / 16777216.0f) - 0.05f;
    }
    return data;
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
    onednn_tensors t;
    memset(&t, 0, sizeof t);
    snprintf(bare->name, sizeof bare->name, "%s", graph->values[op->output[0]].name);
    bare->gflop = 2e-9 * (double)rcnn_op_macs(graph, op) * (double)rows / (double)capacity;
    dnnl_status_t made = op->kind == RCNN_OP_CONV ? describe_conv(net, graph, op, rows, &t, &bare->pd)
                                                  : describe_product(net, graph, op, rows, &t, &bare->pd);
    onednn_tensors_free(&t);
    RCNN_TRY(check(made, bare->name, "describing", err));
    RCNN_TRY(check(dnnl_primitive_create(&bare->primitive, bare->pd), bare->name, "creating", err));
    const char *text = "";
    dnnl_primitive_desc_query(bare->pd, dnnl_query_impl_info_str, 0, (void *)&text);
    snprintf(bare->implementation, sizeof bare->implementation, "%s", text);
    for (int slot = WEIGHTS; slot <= BIAS; slot++) {
        bare->own[slot] = random_floats(dnnl_memory_desc_get_size(slot_md(bare, slot)));
        if (!bare->own[slot]) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: '%s': out of memory", bare->name);
        }
    }
    return RCNN_OK;
}

static rcnn_status share_buffers(bare_net *net, rcnn_error *err)
{
    static const int slots[] = {SRC, DST, SCRATCH};
    for (size_t s = 0; s < sizeof slots / sizeof slots[0]; s++) {
        size_t largest = 0;
        for (int32_t i = 0; i < net->count; i++) {
            size_t bytes = dnnl_memory_desc_get_size(slot_md(&net->ops[i], slots[s]));
            largest = bytes > largest ? bytes : largest;
        }
        net->shared[slots[s]] = random_floats(largest);
        if (!net->shared[slots[s]]) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory for %zu bytes", largest);
        }
    }
    return RCNN_OK;
}

static rcnn_status bind(bare_net *net, rcnn_error *err)
{
    for (int32_t i = 0; i < net->count; i++) {
        bare_op *op = &net->ops[i];
        for (int slot = 0; slot < SLOTS; slot++) {
            float *data = op->own[slot] ? op->own[slot] : net->shared[slot];
            RCNN_TRY(check(dnnl_memory_create(&op->memory[slot], slot_md(op, slot), net->engine, data), op->name,
                           "binding memory", err));
        }
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
    return bind(net, err);
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
        dnnl_primitive_desc_destroy(op->pd);
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        rcnn_free(net->shared[slot]);
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
    static const int arg[SLOTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    use_threads(net->options.threads);
    for (int32_t i = 0; i < net->count; i++) {
        const bare_op *op = &net->ops[i];
        dnnl_exec_arg_t args[SLOTS];
        for (int slot = 0; slot < SLOTS; slot++) {
            args[slot] = (dnnl_exec_arg_t){.arg = arg[slot], .memory = op->memory[slot]};
        }
        double start = rcnn_clock_ms();
        dnnl_status_t status = dnnl_primitive_execute(op->primitive, net->stream, SLOTS, args);
        if (status == dnnl_success) {
            status = dnnl_stream_wait(net->stream);
        }
        ms[i] = rcnn_clock_ms() - start;
        RCNN_TRY(check(status, op->name, "executing", err));
    }
    return RCNN_OK;
}
