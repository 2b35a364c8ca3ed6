/* See one_op.h. */
#include "ops/one_op.h"

#include <math.h>

#include "base/memory.h"
#include "harness.h"

#define GUARD_BYTES 64

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
        fprintf(stderr, "test: cannot build the graph: %s\n", err->message);
        exit(1);
    }
}

void one_op_begin(one_op *t, rcnn_op_kind kind, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    rcnn_graph_init(&t->graph);
    t->op.kind = kind;
    t->op.inplace = -1;
    t->op.rows = RCNN_NO_VALUE;
    t->counts = RCNN_NO_VALUE;
    t->seed = seed;
    snprintf(t->op.name, sizeof t->op.name, "test.%s", rcnn_op_kind_name(kind));
}

static rcnn_value_id add_value(one_op *t, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim)
{
    rcnn_error err = {0};
    rcnn_value_id id = RCNN_NO_VALUE;
    must_ok(rcnn_graph_add_value(&t->graph, name, dtype, rank, dim, &id, &err), &err);
    return id;
}

rcnn_value_id one_op_input(one_op *t, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim)
{
    rcnn_value_id id = add_value(t, name, dtype, rank, dim);
    t->graph.values[id].producer = 0; /* made outside the graph */
    t->data[id] = must(calloc(1, t->graph.values[id].bytes));
    t->op.input[t->op.input_count++] = id;
    return id;
}

rcnn_value_id one_op_activation(one_op *t, const char *name, const int32_t *dim, float low, float high)
{
    rcnn_value_id id = one_op_input(t, name, RCNN_F32, 4, dim);
    float *data = t->data[id];
    for (size_t i = 0; i < one_op_elements(t, id); i++) {
        data[i] = test_uniform(&t->seed, low, high);
    }
    return id;
}

rcnn_value_id one_op_counts(one_op *t, int32_t images, const int32_t *counts, bool packed_rows)
{
    rcnn_value_id id = one_op_input(t, "counts", RCNN_I32, 1, &images);
    memcpy(t->data[id], counts, (size_t)images * sizeof *counts);
    t->counts = id;
    if (packed_rows) {
        t->op.rows = id;
        t->op.input_count--; /* known to the op through `rows` only */
    }
    return id;
}

rcnn_value_id one_op_output(one_op *t, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim)
{
    rcnn_value_id id = add_value(t, name, dtype, rank, dim);
    t->op.output[t->op.output_count++] = id;
    return id;
}

void one_op_weights(one_op *t, int32_t out, int32_t in, int32_t kh, int32_t kw)
{
    size_t fan_in = (size_t)in * (size_t)kh * (size_t)kw;
    float bound = sqrtf(3.0f / (float)fan_in);
    t->weights = must(malloc((size_t)out * fan_in * sizeof(float)));
    t->bias = must(malloc((size_t)out * sizeof(float)));
    for (size_t i = 0; i < (size_t)out * fan_in; i++) {
        t->weights[i] = test_uniform(&t->seed, -bound, bound);
    }
    for (int32_t i = 0; i < out; i++) {
        t->bias[i] = test_uniform(&t->seed, -0.5f, 0.5f);
    }
    t->op.w = (rcnn_op_weights){.weights = t->weights, .bias = t->bias, .out = out, .in = in, .kh = kh, .kw = kw};
}

void one_op_image(one_op *t, rcnn_pixel_format format, int32_t width, int32_t height, int32_t net_width,
                  int32_t net_height, size_t slack)
{
    static const size_t PIXEL_BYTES[] = {3, 3, 1, 4, 4};
    int32_t n = t->frame.count++;
    size_t row = (size_t)width * PIXEL_BYTES[format];
    size_t stride = row + slack;
    size_t bytes = (size_t)(height - 1) * stride + row; /* not a byte more, so that sanitizers see over-reads */
    t->pixels[n] = must(malloc(bytes));
    for (size_t i = 0; i < bytes; i++) {
        t->pixels[n][i] = (uint8_t)(test_random(&t->seed) >> 56);
    }
    t->frame.image[n] = (rcnn_frame_image){
        .view = {.data = t->pixels[n], .width = width, .height = height, .stride_bytes = stride, .format = format},
        .net_width = net_width,
        .net_height = net_height,
        .scale_x = (float)((double)net_width / width),
        .scale_y = (float)((double)net_height / height),
        .ratio_x = (float)((double)width / net_width),
        .ratio_y = (float)((double)height / net_height)};
}

void one_op_end(one_op *t)
{
    rcnn_error err = {0};
    must_ok(rcnn_graph_add_op(&t->graph, &t->op, &err), &err);
    if (t->frame.count == 0) {
        t->frame.count = 1; /* ops that never look at the images */
    }
}

void one_op_free(one_op *t)
{
    for (int i = 0; i < ONE_OP_VALUES_MAX; i++) {
        free(t->data[i]);
    }
    for (int i = 0; i < ONE_OP_IMAGES_MAX; i++) {
        free(t->pixels[i]);
    }
    free(t->weights);
    free(t->bias);
    free(t->label_wanted);
    rcnn_graph_free(&t->graph);
    memset(t, 0, sizeof *t);
}

size_t one_op_elements(const one_op *t, rcnn_value_id id)
{
    const rcnn_value *value = &t->graph.values[id];
    return value->bytes / rcnn_dtype_bytes(value->desc.dtype);
}

one_op_live one_op_live_of(const one_op *t, int32_t output)
{
    switch (t->op.kind) {
    case RCNN_OP_RPN_SELECT:
    case RCNN_OP_NMS:
    case RCNN_OP_BOX_SELECT:
    case RCNN_OP_DETECT:
        return output == t->op.output_count - 1 ? ONE_OP_ALL : ONE_OP_LISTS;
    default:
        return t->counts == RCNN_NO_VALUE ? ONE_OP_ALL : ONE_OP_ROWS;
    }
}

static size_t live_rows(const one_op *t)
{
    const int32_t *counts = t->data[t->counts];
    size_t rows = 0;
    for (int32_t n = 0; n < t->graph.values[t->counts].desc.dim[0]; n++) {
        rows += (size_t)counts[n];
    }
    return rows;
}

bool one_op_is_live(const one_op *t, void *const *result, int32_t output, size_t element)
{
    rcnn_value_id id = t->op.output[output];
    const int32_t *dim = t->graph.values[id].desc.dim;
    size_t row_elements = one_op_elements(t, id) / (size_t)dim[0];
    size_t row = element / row_elements;
    switch (one_op_live_of(t, output)) {
    case ONE_OP_ALL:
        return true;
    case ONE_OP_ROWS:
        return row < live_rows(t);
    case ONE_OP_LISTS: {
        const int32_t *counts = result[t->op.output_count - 1];
        return element % row_elements / (row_elements / (size_t)dim[1]) < (size_t)counts[row];
    }
    }
    return true;
}

/* --------------------------------------------------------------- running */

rcnn_status one_op_open(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, bool inplace, one_op_run *run,
                        rcnn_error *err)
{
    memset(run, 0, sizeof *run);
    run->test = t;
    run->vt = vt;
    const rcnn_backend_options options = {.num_threads = threads};
    RCNN_TRY(vt->open(&options, &run->backend, err));
    for (int32_t v = 0; v < t->graph.value_count; v++) {
        RCNN_TRY(vt->alloc(run->backend, t->graph.values[v].bytes + GUARD_BYTES, &run->value[v], err));
    }
    if (inplace && t->op.inplace >= 0) {
        vt->release_memory(run->backend, run->value[t->op.output[0]]);
        run->value[t->op.output[0]] = run->value[t->op.input[t->op.inplace]];
    }
    size_t scratch = 0;
    RCNN_TRY(vt->prepare(run->backend, &t->graph, 0, 1, &run->kernel, &scratch, err));
    return scratch ? vt->alloc(run->backend, scratch, &run->scratch, err) : RCNN_OK;
}

static bool is_alias(const one_op_run *run, rcnn_value_id id)
{
    const rcnn_op *op = &run->test->op;
    return op->inplace >= 0 && id == op->output[0] && run->value[id] == run->value[op->input[op->inplace]];
}

static rcnn_status write_value(one_op_run *run, rcnn_value_id id, const void *bytes, size_t size, rcnn_error *err)
{
    if (run->vt->upload) {
        return run->vt->upload(run->backend, run->value[id], bytes, size, err);
    }
    memcpy(run->value[id], bytes, size);
    return RCNN_OK;
}

rcnn_status one_op_load(one_op_run *run, rcnn_error *err)
{
    const one_op *t = run->test;
    for (int32_t v = 0; v < t->graph.value_count; v++) {
        if (is_alias(run, v)) {
            continue;
        }
        size_t bytes = t->graph.values[v].bytes;
        uint8_t *image = must(malloc(bytes + GUARD_BYTES));
        memset(image, 0xff, bytes + GUARD_BYTES);
        if (t->data[v]) {
            memcpy(image, t->data[v], bytes);
        }
        rcnn_status status = write_value(run, v, image, bytes + GUARD_BYTES, err);
        free(image);
        RCNN_TRY(status);
    }
    return RCNN_OK;
}

rcnn_status one_op_enqueue(one_op_run *run, rcnn_error *err)
{
    const rcnn_args args = {.value = run->value, .scratch = run->scratch, .frame = &run->test->frame};
    if (run->vt->begin_run) {
        run->vt->begin_run(run->backend);
    }
    rcnn_status status = run->vt->enqueue(run->kernel, &args, err);
    if (status == RCNN_OK) {
        status = run->vt->sync(run->backend, err);
    }
    if (run->vt->end_run) {
        run->vt->end_run(run->backend);
    }
    return status;
}

static rcnn_status read_value(one_op_run *run, rcnn_value_id id, void *bytes, size_t size, rcnn_error *err)
{
    if (run->vt->download) {
        return run->vt->download(run->backend, bytes, run->value[id], size, err);
    }
    memcpy(bytes, run->value[id], size);
    return RCNN_OK;
}

rcnn_status one_op_fetch(one_op_run *run, rcnn_error *err)
{
    const one_op *t = run->test;
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const rcnn_value *value = &t->graph.values[t->op.output[i]];
        free(run->result[i]);
        run->result[i] = must(malloc(value->bytes + GUARD_BYTES));
        RCNN_TRY(read_value(run, t->op.output[i], run->result[i], value->bytes + GUARD_BYTES, err));
        for (size_t g = 0; g < GUARD_BYTES; g++) {
            if (((uint8_t *)run->result[i])[value->bytes + g] != 0xff) {
                return rcnn_fail(err, RCNN_ERR_INTERNAL, "wrote %zu bytes past the end of '%s'", g + 1, value->name);
            }
        }
    }
    return RCNN_OK;
}

void one_op_close(one_op_run *run)
{
    for (int i = 0; i < RCNN_OP_OUTPUTS_MAX; i++) {
        free(run->result[i]);
    }
    if (run->kernel) {
        run->vt->release(run->kernel);
    }
    for (rcnn_value_id v = 0; run->backend && v < ONE_OP_VALUES_MAX; v++) {
        if (run->value[v] && !is_alias(run, v)) {
            run->vt->release_memory(run->backend, run->value[v]);
        }
    }
    if (run->backend) {
        if (run->scratch) {
            run->vt->release_memory(run->backend, run->scratch);
        }
        run->vt->close(run->backend);
    }
    memset(run, 0, sizeof *run);
}

rcnn_status one_op_on_ref(const one_op *t, one_op_run *run, rcnn_error *err)
{
    RCNN_TRY(one_op_open(t, &rcnn_backend_ref, 1, false, run, err));
    RCNN_TRY(one_op_load(run, err));
    RCNN_TRY(one_op_enqueue(run, err));
    return one_op_fetch(run, err);
}
