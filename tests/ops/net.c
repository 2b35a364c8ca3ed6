/* See net.h. */
#include "ops/net.h"

#include <math.h>

#include "harness.h"
#include "ops/half.h"

static void *must(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "test: out of memory\n");
        exit(1);
    }
    return pointer;
}

static void must_ok(rcnn_status status, const rcnn_error *err)
{
    if (status != RCNN_OK) {
        fprintf(stderr, "test: %s\n", err->message);
        exit(1);
    }
}

static bool is_half_type(one_op_type type)
{
    return type == ONE_OP_F16 || type == ONE_OP_BF16;
}

static size_t elements_of(const rcnn_tensor_desc *desc)
{
    size_t count = 1;
    for (int32_t i = 0; i < desc->rank; i++) {
        count *= (size_t)desc->dim[i];
    }
    return count;
}

/* -------------------------------------------------------------- building */

void net_begin(net *n, const rcnn_backend_vt *vt, one_op_type type, bool typed, uint64_t seed)
{
    memset(n, 0, sizeof *n);
    rcnn_graph_init(&n->graph);
    n->graph.precision = typed ? one_op_precision(type) : RCNN_PRECISION_FP32;
    n->type = type;
    n->image_channels = is_half_type(type) && vt->half_image_channels ? vt->half_image_channels : 3;
    n->typed = typed;
    n->seed = seed;
    n->pixels = must(calloc(1, 1));
    n->frame.count = 1;
    n->frame.image[0] = (rcnn_frame_image){
        .view = {.data = n->pixels, .width = 1, .height = 1, .stride_bytes = 1, .format = RCNN_PIXEL_GRAY8},
        .net_width = 1,
        .net_height = 1,
        .scale_x = 1,
        .scale_y = 1,
        .ratio_x = 1,
        .ratio_y = 1};
}

void net_free(net *n)
{
    for (int i = 0; i < NET_VALUES_MAX; i++) {
        free(n->data[i]);
    }
    for (int32_t i = 0; i < n->memory_count; i++) {
        free(n->memory[i]);
    }
    free(n->pixels);
    free(n->ready);
    rcnn_graph_free(&n->graph);
    memset(n, 0, sizeof *n);
}

static rcnn_dtype feature_type(const net *n)
{
    if (!n->typed || !is_half_type(n->type)) {
        return RCNN_F32;
    }
    return n->type == ONE_OP_F16 ? RCNN_F16 : RCNN_BF16;
}

static rcnn_value_id add_value(net *n, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim)
{
    rcnn_error err = {0};
    rcnn_value_id id = RCNN_NO_VALUE;
    must_ok(rcnn_graph_add_value(&n->graph, name, dtype, rank, dim, &id, &err), &err);
    if (id >= NET_VALUES_MAX) {
        fprintf(stderr, "test: too many values\n");
        exit(1);
    }
    return id;
}

rcnn_value_id net_features(net *n, const char *name, const int32_t dim[4])
{
    rcnn_value_id id = add_value(n, name, feature_type(n), 4, dim);
    const size_t count = elements_of(&n->graph.values[id].desc);
    float *data = must(malloc(count * sizeof *data));
    for (size_t i = 0; i < count; i++) {
        data[i] = one_op_rounded(n->type, test_uniform(&n->seed, -1, 1));
    }
    n->data[id] = data;
    n->graph.values[id].producer = 0; /* made outside the graph */
    return id;
}

void net_ready(net *n, int32_t height, int32_t width)
{
    const size_t count = (size_t)n->frame.count * (size_t)height * (size_t)width * 3;
    n->ready = must(malloc(count * sizeof *n->ready));
    for (size_t i = 0; i < count; i++) {
        n->ready[i] = test_uniform(&n->seed, -2.5f, 2.5f);
    }
    n->frame.ready = n->ready;
    n->frame.ready_width = width;
    n->frame.ready_height = height;
}

rcnn_value_id net_image(net *n, int32_t images, int32_t height, int32_t width)
{
    const int32_t channels = n->image_channels;
    const int32_t dim[4] = {images, height, width, channels};
    rcnn_value_id id = net_features(n, "image", dim);
    float *data = n->data[id];
    for (size_t i = 3; channels == 4 && i < elements_of(&n->graph.values[id].desc); i += 4) {
        data[i] = 0;
    }
    return id;
}

rcnn_value_id net_integers(net *n, const char *name, int32_t rank, const int32_t *dim, const int32_t *data)
{
    rcnn_value_id id = add_value(n, name, RCNN_I32, rank, dim);
    n->data[id] = must(malloc(n->graph.values[id].bytes));
    memcpy(n->data[id], data, n->graph.values[id].bytes);
    n->graph.values[id].producer = 0;
    return id;
}

static float *random_floats(net *n, size_t count, float bound, bool rounded)
{
    float *data = must(malloc(count * sizeof *data));
    for (size_t i = 0; i < count; i++) {
        float value = test_uniform(&n->seed, -bound, bound);
        data[i] = rounded ? one_op_rounded(n->type, value) : value;
    }
    n->memory[n->memory_count++] = data;
    return data;
}

rcnn_op_weights net_weights(net *n, int32_t out, int32_t in, int32_t kh, int32_t kw)
{
    const size_t fan_in = (size_t)in * (size_t)kh * (size_t)kw;
    rcnn_op_weights w = {.out = out, .in = in, .kh = kh, .kw = kw};
    w.weights = random_floats(n, (size_t)out * fan_in, sqrtf(3.0f / (float)fan_in), true);
    w.bias = random_floats(n, (size_t)out, 0.5f, false);
    return w;
}

rcnn_op net_op(rcnn_op_kind kind, const char *name)
{
    rcnn_op op = {.kind = kind, .stage = RCNN_STAGE_backbone, .inplace = -1, .rows = RCNN_NO_VALUE};
    snprintf(op.name, sizeof op.name, "%s", name);
    return op;
}

void net_input(rcnn_op *op, rcnn_value_id id)
{
    op->input[op->input_count++] = id;
}

rcnn_value_id net_add(net *n, rcnn_op *op, bool features, int32_t rank, const int32_t *dim)
{
    rcnn_error err = {0};
    char name[RCNN_LAYER_TEXT_MAX];
    snprintf(name, sizeof name, "%.50s.out", op->name);
    rcnn_value_id id = add_value(n, name, features ? feature_type(n) : RCNN_F32, rank, dim);
    op->output[op->output_count++] = id;
    must_ok(rcnn_graph_add_op(&n->graph, op, &err), &err);
    return id;
}

rcnn_value_id net_conv(net *n, const char *name, rcnn_value_id src, rcnn_op_weights w, net_conv_options options)
{
    const int32_t *in = n->graph.values[src].desc.dim;
    rcnn_op op = net_op(RCNN_OP_CONV, name);
    op.w = w;
    op.rows = options.rows;
    op.u.conv.stride = options.stride;
    op.u.conv.pad = w.kh / 2;
    op.u.conv.groups = 1;
    op.u.conv.relu = options.relu;
    op.u.conv.residual = options.residual != RCNN_NO_VALUE;
    net_input(&op, src);
    if (op.u.conv.residual) {
        net_input(&op, options.residual);
        op.inplace = 1;
    }
    const int32_t dim[4] = {in[0], (in[1] + 2 * op.u.conv.pad - w.kh) / options.stride + 1,
                            (in[2] + 2 * op.u.conv.pad - w.kw) / options.stride + 1, w.out};
    return net_add(n, &op, !options.prediction, 4, dim);
}

void net_output(net *n, rcnn_value_id id)
{
    rcnn_graph_mark_output(&n->graph, id);
}

/* ------------------------------------------------------------------- ref */

static bool makes_features(const rcnn_op *op, const rcnn_value *value)
{
    if (value->desc.dtype != RCNN_F32) {
        return false;
    }
    switch (op->kind) {
    case RCNN_OP_PREPROCESS:
    case RCNN_OP_CONV:
    case RCNN_OP_MAXPOOL:
    case RCNN_OP_UPSAMPLE_ADD:
    case RCNN_OP_ROI_ALIGN:
    case RCNN_OP_FC:
    case RCNN_OP_DECONV:
        return true;
    default:
        return false;
    }
}

void net_run_on_ref(const net *n, net_values *out)
{
    const rcnn_backend_vt *vt = &rcnn_backend_ref;
    const rcnn_backend_options options = {.num_threads = 1};
    rcnn_backend *backend;
    rcnn_error err = {0};
    memset(out, 0, sizeof *out);
    must_ok(vt->open(&options, &backend, &err), &err);
    for (int32_t v = 0; v < n->graph.value_count; v++) {
        out->value[v] = must(calloc(1, n->graph.values[v].bytes));
        if (n->data[v]) {
            memcpy(out->value[v], n->data[v], n->graph.values[v].bytes);
        }
    }
    for (int32_t i = 0; i < n->graph.op_count; i++) {
        rcnn_kernel *kernel;
        size_t bytes = 0;
        must_ok(vt->prepare(backend, &n->graph, i, 1, &kernel, &bytes, &err), &err);
        void *scratch = must(malloc(bytes + 1));
        const rcnn_args args = {.value = out->value, .scratch = scratch, .frame = &n->frame};
        must_ok(vt->enqueue(kernel, &args, &err), &err);
        free(scratch);
        vt->release(kernel);
        const rcnn_value *value = &n->graph.values[n->graph.ops[i].output[0]];
        float *made = out->value[n->graph.ops[i].output[0]];
        const bool round = is_half_type(n->type) && makes_features(&n->graph.ops[i], value);
        for (size_t e = 0; round && e < elements_of(&value->desc); e++) {
            made[e] = one_op_rounded(n->type, made[e]);
        }
    }
    vt->close(backend);
}

void net_free_values(net_values *values)
{
    for (int i = 0; i < NET_VALUES_MAX; i++) {
        free(values->value[i]);
    }
    memset(values, 0, sizeof *values);
}

/* --------------------------------------------------------------- running */

/* Asks which ops run together, tells the planner, and places the values. */
static rcnn_status plan(net_run *run, rcnn_error *err)
{
    rcnn_graph *graph = &run->net->graph;
    for (int32_t v = 0; v < graph->value_count; v++) {
        graph->values[v].producer = run->net->data[v] ? -1 : graph->values[v].producer;
    }
    for (int32_t first = 0; first < graph->op_count; first += run->count[run->kernel_count++]) {
        int32_t keep = 0;
        const int32_t count = run->vt->claim ? run->vt->claim(run->backend, graph, first, &keep) : 1;
        if (count < 1 || count > graph->op_count - first) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "claimed %d ops", count);
        }
        rcnn_graph_fuse(graph, first, count, keep);
        run->first[run->kernel_count] = first;
        run->count[run->kernel_count] = count;
    }
    return rcnn_graph_plan(graph, 0, err);
}

rcnn_status net_open(net *n, const rcnn_backend_vt *vt, rcnn_backend *backend, net_run *run, rcnn_error *err)
{
    memset(run, 0, sizeof *run);
    run->vt = vt;
    run->backend = backend;
    run->net = n;
    RCNN_TRY(plan(run, err));
    RCNN_TRY(vt->alloc(backend, n->graph.arena_bytes, &run->arena, err));
    for (int32_t v = 0; v < n->graph.value_count; v++) {
        run->value[v] = (uint8_t *)run->arena + n->graph.values[v].offset;
    }
    for (int32_t k = 0; k < run->kernel_count; k++) {
        size_t bytes = 0;
        RCNN_TRY(vt->prepare(backend, &n->graph, run->first[k], run->count[k], &run->kernels[k], &bytes, err));
        run->scratch_bytes = bytes > run->scratch_bytes ? bytes : run->scratch_bytes;
    }
    return run->scratch_bytes ? vt->alloc(backend, run->scratch_bytes, &run->scratch, err) : RCNN_OK;
}

static rcnn_status write_memory(net_run *run, void *dst, const void *src, size_t bytes, rcnn_error *err)
{
    if (run->vt->upload) {
        return run->vt->upload(run->backend, dst, src, bytes, err);
    }
    memcpy(dst, src, bytes);
    return RCNN_OK;
}

static rcnn_status poison(net_run *run, void *memory, size_t bytes, rcnn_error *err)
{
    uint8_t *ones = must(malloc(bytes + 1));
    memset(ones, 0xff, bytes);
    rcnn_status status = bytes ? write_memory(run, memory, ones, bytes, err) : RCNN_OK;
    free(ones);
    return status;
}

static uint16_t half_bits(rcnn_dtype dtype, float value)
{
    return dtype == RCNN_F16 ? test_half_bits(value) : test_bfloat16_bits(value);
}

static bool is_half_value(const rcnn_value *value)
{
    return value->desc.dtype == RCNN_F16 || value->desc.dtype == RCNN_BF16;
}

static rcnn_status load(net_run *run, rcnn_error *err)
{
    const net *n = run->net;
    RCNN_TRY(poison(run, run->arena, n->graph.arena_bytes, err));
    RCNN_TRY(poison(run, run->scratch, run->scratch_bytes, err));
    for (int32_t v = 0; v < n->graph.value_count; v++) {
        const rcnn_value *value = &n->graph.values[v];
        if (!n->data[v]) {
            continue;
        }
        uint16_t *halves = must(malloc(value->bytes));
        for (size_t e = 0; is_half_value(value) && e < elements_of(&value->desc); e++) {
            halves[e] = half_bits(value->desc.dtype, ((const float *)n->data[v])[e]);
        }
        const void *src = is_half_value(value) ? (const void *)halves : n->data[v];
        rcnn_status status = write_memory(run, run->value[v], src, value->bytes, err);
        free(halves);
        RCNN_TRY(status);
    }
    return RCNN_OK;
}

static rcnn_status enqueue_all(net_run *run, rcnn_error *err)
{
    const rcnn_args args = {.value = run->value, .scratch = run->scratch, .frame = &run->net->frame};
    for (int32_t k = 0; k < run->kernel_count; k++) {
        RCNN_TRY(run->vt->enqueue(run->kernels[k], &args, err));
    }
    return RCNN_OK;
}

static rcnn_status run_staged(net_run *run, rcnn_error *err)
{
    const rcnn_backend_vt *vt = run->vt;
    RCNN_TRY(vt->stage(run->backend, 0, &run->net->frame, err));
    RCNN_TRY(run->recording ? vt->replay(run->backend, run->recording, err) : enqueue_all(run, err));
    RCNN_TRY(vt->finish(run->backend, 0, err));
    return vt->wait(run->backend, 0, err);
}

rcnn_status net_execute(net_run *run, rcnn_error *err)
{
    RCNN_TRY(load(run, err));
    if (run->vt->begin_run) {
        run->vt->begin_run(run->backend);
    }
    rcnn_status status = run->vt->stage ? run_staged(run, err) : enqueue_all(run, err);
    if (status == RCNN_OK) {
        status = run->vt->sync(run->backend, err);
    }
    if (run->vt->end_run) {
        run->vt->end_run(run->backend);
    }
    return status;
}

rcnn_status net_record(net_run *run, rcnn_error *err)
{
    rcnn_error ignored;
    RCNN_TRY(run->vt->record_begin(run->backend, err));
    rcnn_status status = enqueue_all(run, err);
    rcnn_status ended = run->vt->record_end(run->backend, status == RCNN_OK ? &run->recording : NULL,
                                            status == RCNN_OK ? err : &ignored);
    return status != RCNN_OK ? status : ended;
}

rcnn_status net_fetch(net_run *run, rcnn_value_id id, void **out, rcnn_error *err)
{
    const rcnn_value *value = &run->net->graph.values[id];
    const size_t count = elements_of(&value->desc);
    void *raw = must(malloc(value->bytes));
    rcnn_status status = RCNN_OK;
    if (run->vt->download) {
        status = run->vt->download(run->backend, raw, run->value[id], value->bytes, err);
    } else {
        memcpy(raw, run->value[id], value->bytes);
    }
    *out = raw;
    if (is_half_value(value)) {
        float *floats = must(malloc(count * sizeof *floats));
        for (size_t e = 0; e < count; e++) {
            const uint16_t bits = ((const uint16_t *)raw)[e];
            floats[e] = value->desc.dtype == RCNN_F16 ? test_half_float(bits) : test_bfloat16_float(bits);
        }
        free(raw);
        *out = floats;
    }
    return status;
}

void net_close(net_run *run)
{
    if (run->recording) {
        run->vt->release_recording(run->backend, run->recording);
    }
    for (int32_t k = 0; k < run->kernel_count; k++) {
        if (run->kernels[k]) {
            run->vt->release(run->kernels[k]);
        }
    }
    if (run->arena) {
        run->vt->release_memory(run->backend, run->arena);
    }
    if (run->scratch) {
        run->vt->release_memory(run->backend, run->scratch);
    }
    memset(run, 0, sizeof *run);
}
