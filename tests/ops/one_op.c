/* See one_op.h. */
#include "ops/one_op.h"

#include <math.h>

#include "base/memory.h"
#include "harness.h"
#include "ops/half.h"

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
    if (t->frame.count == 0) { /* ops that never look at the images */
        one_op_image(t, RCNN_PIXEL_GRAY8, 1, 1, 1, 1, 0);
    }
}

static struct retired {
    void *memory;
    struct retired *next;
} * retired;

static void retire(void *memory)
{
    if (memory) {
        struct retired *entry = must(malloc(sizeof *entry));
        *entry = (struct retired){memory, retired};
        retired = entry;
    }
}

void one_op_retire(one_op *t)
{
    retire(t->weights);
    retire(t->bias);
    t->weights = NULL;
    t->bias = NULL;
    one_op_free(t);
}

void one_op_free_retired(void)
{
    while (retired) {
        struct retired *next = retired->next;
        free(retired->memory);
        free(retired);
        retired = next;
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

static size_t elements_of_row(const one_op *t, int32_t output)
{
    const rcnn_value_id id = t->op.output[output];
    return one_op_elements(t, id) / (size_t)t->graph.values[id].desc.dim[0];
}

bool one_op_live_span(const one_op *t, void *const *result, int32_t output, int32_t row, one_op_span *out)
{
    const int32_t *dim = t->graph.values[t->op.output[output]].desc.dim;
    const size_t row_elements = elements_of_row(t, output);
    size_t live = row_elements;
    if (row >= dim[0]) {
        return false;
    }
    if (one_op_live_of(t, output) == ONE_OP_ROWS) {
        live = (size_t)row < live_rows(t) ? row_elements : 0;
    } else if (one_op_live_of(t, output) == ONE_OP_LISTS) {
        const int32_t *counts = result[t->op.output_count - 1];
        live = row_elements / (size_t)dim[1] * (size_t)counts[row];
    }
    *out = (one_op_span){(size_t)row * row_elements, (size_t)row * row_elements + live};
    return true;
}

bool one_op_is_live(const one_op *t, void *const *result, int32_t output, size_t element)
{
    one_op_span span;
    const int32_t row = (int32_t)(element / elements_of_row(t, output));
    return one_op_live_span(t, result, output, row, &span) && element < span.end;
}

size_t one_op_first_difference(const one_op *t, void *const *result, int32_t output, const void *a, const void *b)
{
    const size_t item = rcnn_dtype_bytes(t->graph.values[t->op.output[output]].desc.dtype);
    one_op_span span;
    for (int32_t row = 0; one_op_live_span(t, result, output, row, &span); row++) {
        const char *left = (const char *)a + span.begin * item, *right = (const char *)b + span.begin * item;
        const size_t count = span.end - span.begin;
        if (memcmp(left, right, count * item) == 0) {
            continue;
        }
        for (size_t e = 0; e < count; e++) {
            if (memcmp(left + e * item, right + e * item, item) != 0) {
                return span.begin + e;
            }
        }
    }
    return SIZE_MAX;
}

/* ----------------------------------------------------------------- types */

static const struct {
    const char *name;
    rcnn_precision precision;
} TYPES[ONE_OP_TYPE_COUNT] = {[ONE_OP_F32] = {"f32", RCNN_PRECISION_FP32},
                              [ONE_OP_TF32] = {"tf32", RCNN_PRECISION_TF32},
                              [ONE_OP_F16] = {"f16", RCNN_PRECISION_FP16},
                              [ONE_OP_BF16] = {"bf16", RCNN_PRECISION_BF16},
                              [ONE_OP_INT8] = {"int8", RCNN_PRECISION_INT8}};

const char *one_op_type_name(one_op_type type)
{
    return TYPES[type].name;
}

rcnn_precision one_op_precision(one_op_type type)
{
    return TYPES[type].precision;
}

float one_op_rounded(one_op_type type, float value)
{
    switch (type) {
    case ONE_OP_TF32:
        return test_round_tf32(value);
    case ONE_OP_F16:
        return test_half_float(test_half_bits(value));
    case ONE_OP_BF16:
        return test_bfloat16_float(test_bfloat16_bits(value));
    default:
        return value;
    }
}

/* Of a value that rounds and saturates as I8 and U8 do. */
static float quantised(float value, float low, float high)
{
    return fminf(fmaxf(rintf(value), low), high);
}

float one_op_stored(rcnn_dtype stored, float scale, float value)
{
    switch (stored) {
    case RCNN_F16:
        return one_op_rounded(ONE_OP_F16, value);
    case RCNN_BF16:
        return one_op_rounded(ONE_OP_BF16, value);
    case RCNN_I8:
        return quantised(value / scale, -127, 127) * scale;
    case RCNN_U8:
        return quantised(value / scale, 0, 255) * scale;
    default:
        return value;
    }
}

static bool is_half_type(one_op_type type)
{
    return type == ONE_OP_F16 || type == ONE_OP_BF16;
}

static bool has_weights(rcnn_op_kind kind) /* MASK_LOGIT's stay float */
{
    return kind == RCNN_OP_CONV || kind == RCNN_OP_FC || kind == RCNN_OP_DECONV;
}

/* Input i, or output 0 when i is -1, is a feature map or row. */
static bool is_feature(const one_op *t, int32_t i)
{
    switch (t->op.kind) {
    case RCNN_OP_PREPROCESS:
    case RCNN_OP_CONV:
    case RCNN_OP_MAXPOOL:
    case RCNN_OP_UPSAMPLE_ADD:
    case RCNN_OP_FC:
    case RCNN_OP_DECONV:
        return true;
    case RCNN_OP_ROI_ALIGN:
        return i < t->op.u.roi_align.level_count;
    case RCNN_OP_MASK_LOGIT:
        return i == 0;
    default:
        return false;
    }
}

/* The value that is a preprocessed image, or RCNN_NO_VALUE. */
static rcnn_value_id image_of(const one_op *t)
{
    const rcnn_op *op = &t->op;
    if (op->kind == RCNN_OP_PREPROCESS) {
        return op->output[0];
    }
    return op->kind == RCNN_OP_CONV && op->w.in == 3 && op->u.conv.groups == 1 ? op->input[0] : RCNN_NO_VALUE;
}

int32_t one_op_half_image(const one_op *t, one_op_type type)
{
    const rcnn_value_id id = image_of(t);
    return is_half_type(type) && id != RCNN_NO_VALUE ? t->graph.values[id].desc.dim[3] : 0;
}

/* ----------------------------------------------------------------- mixes */

/* Kinds of features with INT8: of input 0, of further inputs, of the output. Inputs are no more than what networks have
 * in some place; every type stands in every place once. */
static const struct mix {
    const char *name;
    rcnn_dtype first, others, output;
} MIXES[] = {{"i8 + i8 > i8", RCNN_I8, RCNN_I8, RCNN_I8},     {"u8 + u8 > u8", RCNN_U8, RCNN_U8, RCNN_U8},
             {"bf16 + i8 > i8", RCNN_BF16, RCNN_I8, RCNN_I8}, {"i8 + u8 > bf16", RCNN_I8, RCNN_U8, RCNN_BF16},
             {"f32 + i8 > u8", RCNN_F32, RCNN_I8, RCNN_U8},   {"i8 + f32 > f32", RCNN_I8, RCNN_F32, RCNN_F32},
             {"u8 + bf16 > i8", RCNN_U8, RCNN_BF16, RCNN_I8}, {"bf16 + u8 > u8", RCNN_BF16, RCNN_U8, RCNN_U8}};

#define MIX_COUNT ((int32_t)(sizeof MIXES / sizeof MIXES[0]))

const char *one_op_mix_name(const one_op *t, one_op_type type, int32_t mix)
{
    if (type == ONE_OP_INT8) {
        return MIXES[mix].name;
    }
    return one_op_half_image(t, type) == 3 ? "3 channels" : "";
}

static bool takes_mix(const one_op *t, int32_t mix)
{
    switch (t->op.kind) {
    case RCNN_OP_PREPROCESS: /* never bytes */
        return false;
    case RCNN_OP_MAXPOOL:
        return mix < 2; /* one type and scale */
    case RCNN_OP_MASK_LOGIT:
        return mix < 2; /* one feature */
    default:
        return mix < MIX_COUNT;
    }
}

static rcnn_dtype mixed_type(const one_op *t, int32_t mix, int32_t input)
{
    const bool alike = t->op.kind == RCNN_OP_ROI_ALIGN; /* all levels */
    return input == 0 || alike ? MIXES[mix].first : MIXES[mix].others;
}

/* Says what type each feature is on the backend. */
static bool choose_types(one_op *t, one_op_type type, int32_t mix)
{
    const rcnn_op *op = &t->op;
    if (type == ONE_OP_INT8 && !takes_mix(t, mix)) {
        return false;
    }
    const rcnn_dtype half = type == ONE_OP_F16 ? RCNN_F16 : RCNN_BF16;
    for (int32_t i = 0; i < op->input_count && type != ONE_OP_TF32; i++) {
        if (is_feature(t, i)) {
            t->stored[op->input[i]] = type == ONE_OP_INT8 ? mixed_type(t, mix, i) : half;
        }
    }
    if (is_feature(t, -1) && type != ONE_OP_TF32) {
        t->stored[op->output[0]] = type == ONE_OP_INT8 ? MIXES[mix].output : half;
    }
    return true;
}

/* --------------------------------------------------------------- rounding */

/* Gives the three-channel image `id` a fourth channel of zeros. */
static void widen_image(one_op *t, rcnn_value_id id)
{
    rcnn_value *value = &t->graph.values[id];
    const size_t pixels = one_op_elements(t, id) / 3;
    float *wide = t->data[id] ? must(calloc(pixels, 4 * sizeof(float))) : NULL;
    for (size_t i = 0; wide && i < pixels; i++) {
        memcpy(wide + 4 * i, (float *)t->data[id] + 3 * i, 3 * sizeof(float));
    }
    free(t->data[id]);
    t->data[id] = wide;
    value->desc.dim[3] = 4;
    value->bytes = pixels * 4 * sizeof(float);
}

/* Values become what their type can hold. The scale of bytes is that of the largest, so that all codes are in use. */
static void round_input(one_op *t, one_op_type type, rcnn_value_id id)
{
    const rcnn_dtype stored = t->stored[id];
    const size_t count = one_op_elements(t, id);
    float *data = t->data[id];
    float largest = 0;
    for (size_t i = 0; i < count; i++) {
        data[i] = stored == RCNN_U8 ? fabsf(data[i]) : data[i];
        largest = fmaxf(largest, fabsf(data[i]));
    }
    t->scale[id] = stored == RCNN_I8 ? largest / 127 : stored == RCNN_U8 ? largest / 255 : 0;
    for (size_t i = 0; i < count; i++) {
        data[i] = type == ONE_OP_TF32 ? one_op_rounded(type, data[i]) : one_op_stored(stored, t->scale[id], data[i]);
    }
}

/* Results are of order 1: some of them saturate. */
static void scale_output(one_op *t)
{
    const rcnn_value_id id = t->op.output[0];
    const float largest = t->op.kind == RCNN_OP_ROI_ALIGN ? 0.6f : 1.6f;
    if (t->stored[id] == RCNN_I8 || t->stored[id] == RCNN_U8) {
        t->scale[id] = largest / (t->stored[id] == RCNN_I8 ? 127 : 255);
    }
    if (t->op.kind == RCNN_OP_MAXPOOL) {
        t->scale[id] = t->scale[t->op.input[0]];
    }
}

/* Of an output channel the largest weight is code 127 or -127, so that backends find the scale; scales are powers of two,
 * so that the weights are the same numbers in BF16. */
static void quantise_channel(float *const *weights, size_t count)
{
    size_t largest = 0;
    for (size_t i = 1; i < count; i++) {
        largest = fabsf(*weights[i]) > fabsf(*weights[largest]) ? i : largest;
    }
    const float scale = exp2f(ceilf(log2f(fabsf(*weights[largest]) / 127)));
    for (size_t i = 0; i < count; i++) {
        *weights[i] = quantised(*weights[i] / scale, -126, 126) * scale;
    }
    *weights[largest] = copysignf(127 * scale, *weights[largest]);
}

/* Weights are [out][..]; DECONV's are [in][out][kh*kw]. */
static void quantise_weights(one_op *t)
{
    const rcnn_op_weights *w = &t->op.w;
    const bool inner = t->op.kind == RCNN_OP_DECONV;
    const size_t taps = (size_t)w->kh * (size_t)w->kw, per_channel = (size_t)w->in * taps;
    float **weights = must(malloc(per_channel * sizeof *weights));
    for (size_t o = 0; o < (size_t)w->out; o++) {
        for (size_t i = 0; i < per_channel; i++) {
            const size_t at = inner ? (i / taps * (size_t)w->out + o) * taps + i % taps : o * per_channel + i;
            weights[i] = t->weights + at;
        }
        quantise_channel(weights, per_channel);
    }
    free(weights);
}

static void round_weights(one_op *t, one_op_type type)
{
    const rcnn_op_weights *w = &t->op.w;
    if (type == ONE_OP_INT8) {
        quantise_weights(t);
        return;
    }
    for (size_t i = 0; i < (size_t)w->out * (size_t)w->in * (size_t)w->kh * (size_t)w->kw; i++) {
        t->weights[i] = one_op_rounded(type, t->weights[i]);
    }
}

bool one_op_round(one_op *t, one_op_type type, int32_t mix)
{
    const rcnn_op *op = &t->op;
    if (type == ONE_OP_F32) {
        return mix == 0;
    }
    if (!(type == ONE_OP_TF32 ? has_weights(op->kind) : is_feature(t, 0)) || !choose_types(t, type, mix)) {
        return false;
    }
    if (type != ONE_OP_INT8 && mix > (one_op_half_image(t, type) ? 1 : 0)) {
        return false;
    }
    if (mix == 0 && one_op_half_image(t, type)) {
        widen_image(t, image_of(t));
    }
    for (int32_t i = 0; i < op->input_count; i++) {
        if (is_feature(t, i)) {
            round_input(t, type, op->input[i]);
        }
    }
    scale_output(t);
    if (has_weights(op->kind)) {
        round_weights(t, type);
    }
    return true;
}

/* -------------------------------------------------------------- elements */

/* Host floats <-> the elements a value has on the backend. Values that have one type in both are copied. */
static void to_backend(const rcnn_value *host, const rcnn_value *value, const void *src, void *dst)
{
    const float *from = src;
    const bool same = host->desc.dtype == value->desc.dtype;
    if (same) {
        memcpy(dst, src, value->bytes);
    }
    for (size_t i = 0; !same && i < host->bytes / sizeof *from; i++) {
        switch (value->desc.dtype) {
        case RCNN_F16:
            ((uint16_t *)dst)[i] = test_half_bits(from[i]);
            break;
        case RCNN_BF16:
            ((uint16_t *)dst)[i] = test_bfloat16_bits(from[i]);
            break;
        case RCNN_I8:
            ((int8_t *)dst)[i] = (int8_t)rintf(from[i] / value->scale);
            break;
        default:
            ((uint8_t *)dst)[i] = (uint8_t)rintf(from[i] / value->scale);
        }
    }
}

static void from_backend(const rcnn_value *host, const rcnn_value *value, const void *src, void *dst)
{
    float *to = dst;
    const bool same = host->desc.dtype == value->desc.dtype;
    if (same) {
        memcpy(dst, src, value->bytes);
    }
    for (size_t i = 0; !same && i < host->bytes / sizeof *to; i++) {
        switch (value->desc.dtype) {
        case RCNN_F16:
            to[i] = test_half_float(((const uint16_t *)src)[i]);
            break;
        case RCNN_BF16:
            to[i] = test_bfloat16_float(((const uint16_t *)src)[i]);
            break;
        case RCNN_I8:
            to[i] = ((const int8_t *)src)[i] * value->scale;
            break;
        default:
            to[i] = ((const uint8_t *)src)[i] * value->scale;
        }
    }
}

/* --------------------------------------------------------------- running */

/* The op's graph with the types of the run: floats for ref, whatever the op was rounded to. */
static void make_graph(one_op_run *run, const one_op_how *how)
{
    const one_op *t = run->test;
    run->graph = t->graph;
    run->graph.values = run->values;
    run->graph.precision = one_op_precision(how->type);
    memcpy(run->values, t->graph.values, (size_t)t->graph.value_count * sizeof *run->values);
    for (int32_t v = 0; v < t->graph.value_count; v++) {
        if (how->type != ONE_OP_F32 && t->stored[v] != RCNN_F32 && !(how->float_output && v == t->op.output[0])) {
            run->values[v].desc.dtype = t->stored[v];
            run->values[v].bytes = one_op_elements(t, v) * rcnn_dtype_bytes(t->stored[v]);
            run->values[v].scale = t->scale[v];
        }
    }
}

rcnn_status one_op_open_as(const one_op *t, const rcnn_backend_vt *vt, const one_op_how *how, one_op_run *run,
                           rcnn_error *err)
{
    memset(run, 0, sizeof *run);
    run->test = t;
    run->vt = vt;
    run->shared = how->shared != NULL;
    run->backend = how->shared;
    make_graph(run, how);
    const rcnn_backend_options options = {.num_threads = how->threads};
    if (!run->shared) {
        RCNN_TRY(vt->open(&options, &run->backend, err));
    }
    for (int32_t v = 0; v < t->graph.value_count; v++) {
        RCNN_TRY(vt->alloc(run->backend, run->values[v].bytes + GUARD_BYTES, &run->value[v], err));
    }
    if (how->inplace && t->op.inplace >= 0) {
        vt->release_memory(run->backend, run->value[t->op.output[0]]);
        run->value[t->op.output[0]] = run->value[t->op.input[t->op.inplace]];
    }
    RCNN_TRY(vt->prepare(run->backend, &run->graph, 0, 1, &run->kernel, &run->scratch_bytes, err));
    return run->scratch_bytes ? vt->alloc(run->backend, run->scratch_bytes, &run->scratch, err) : RCNN_OK;
}

rcnn_status one_op_open(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, bool inplace, one_op_run *run,
                        rcnn_error *err)
{
    const one_op_how how = {.threads = threads, .inplace = inplace};
    return one_op_open_as(t, vt, &how, run, err);
}

static bool is_alias(const one_op_run *run, rcnn_value_id id)
{
    const rcnn_op *op = &run->test->op;
    return op->inplace >= 0 && id == op->output[0] && run->value[id] == run->value[op->input[op->inplace]];
}

static rcnn_status write_memory(one_op_run *run, void *memory, const void *bytes, size_t size, rcnn_error *err)
{
    if (run->vt->upload) {
        return run->vt->upload(run->backend, memory, bytes, size, err);
    }
    memcpy(memory, bytes, size);
    return RCNN_OK;
}

rcnn_status one_op_load(one_op_run *run, rcnn_error *err)
{
    const one_op *t = run->test;
    for (int32_t v = -1; v < t->graph.value_count; v++) { /* -1: scratch */
        const size_t bytes = v < 0 ? run->scratch_bytes : run->values[v].bytes + GUARD_BYTES;
        if (bytes == 0 || (v >= 0 && is_alias(run, v))) {
            continue;
        }
        uint8_t *image = must(malloc(bytes));
        memset(image, 0xff, bytes);
        if (v >= 0 && t->data[v]) {
            to_backend(&t->graph.values[v], &run->values[v], t->data[v], image);
        }
        rcnn_status status = write_memory(run, v < 0 ? run->scratch : run->value[v], image, bytes, err);
        free(image);
        RCNN_TRY(status);
    }
    return RCNN_OK;
}

static rcnn_args args_of(const one_op_run *run)
{
    return (rcnn_args){.value = run->value, .scratch = run->scratch, .frame = &run->test->frame};
}

/* One run on a backend with memory of its own, through slot 0. sync: faults otherwise come with a delivery. */
static rcnn_status run_staged(one_op_run *run, bool replay, rcnn_error *err)
{
    const rcnn_backend_vt *vt = run->vt;
    const rcnn_args args = args_of(run);
    RCNN_TRY(vt->stage(run->backend, 0, &run->test->frame, err));
    rcnn_status status = replay ? vt->replay(run->backend, run->recording, err) : vt->enqueue(run->kernel, &args, err);
    RCNN_TRY(status);
    RCNN_TRY(vt->finish(run->backend, 0, err));
    RCNN_TRY(vt->wait(run->backend, 0, err));
    return vt->sync(run->backend, err);
}

static rcnn_status run_at_once(one_op_run *run, rcnn_error *err)
{
    const rcnn_args args = args_of(run);
    RCNN_TRY(run->vt->enqueue(run->kernel, &args, err));
    return run->vt->sync(run->backend, err);
}

static rcnn_status bracketed(one_op_run *run, bool replay, rcnn_error *err)
{
    if (run->vt->begin_run) {
        run->vt->begin_run(run->backend);
    }
    rcnn_status status = run->vt->stage ? run_staged(run, replay, err) : run_at_once(run, err);
    if (run->vt->end_run) {
        run->vt->end_run(run->backend);
    }
    return status;
}

rcnn_status one_op_enqueue(one_op_run *run, rcnn_error *err)
{
    return bracketed(run, false, err);
}

rcnn_status one_op_replay(one_op_run *run, rcnn_error *err)
{
    return bracketed(run, true, err);
}

rcnn_status one_op_record(one_op_run *run, rcnn_error *err)
{
    const rcnn_args args = args_of(run);
    RCNN_TRY(run->vt->record_begin(run->backend, err));
    rcnn_error ignored;
    rcnn_status status = run->vt->enqueue(run->kernel, &args, err);
    rcnn_status ended = run->vt->record_end(run->backend, status == RCNN_OK ? &run->recording : NULL,
                                            status == RCNN_OK ? err : &ignored);
    return status != RCNN_OK ? status : ended;
}

static rcnn_status read_value(one_op_run *run, rcnn_value_id id, void *bytes, size_t size, rcnn_error *err)
{
    if (run->vt->download) {
        return run->vt->download(run->backend, bytes, run->value[id], size, err);
    }
    memcpy(bytes, run->value[id], size);
    return RCNN_OK;
}

/* Written bytes past a value's end are at raw[bytes..]. */
static rcnn_status check_guard(const rcnn_value *value, const uint8_t *raw, rcnn_error *err)
{
    for (size_t g = 0; g < GUARD_BYTES; g++) {
        if (raw[value->bytes + g] != 0xff) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "wrote %zu bytes past the end of '%s'", g + 1, value->name);
        }
    }
    return RCNN_OK;
}

rcnn_status one_op_fetch(one_op_run *run, rcnn_error *err)
{
    const one_op *t = run->test;
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const rcnn_value_id id = t->op.output[i];
        const rcnn_value *value = &run->values[id];
        uint8_t *raw = must(malloc(value->bytes + GUARD_BYTES));
        free(run->result[i]);
        run->result[i] = must(malloc(t->graph.values[id].bytes));
        rcnn_status status = read_value(run, id, raw, value->bytes + GUARD_BYTES, err);
        if (status == RCNN_OK) {
            status = check_guard(value, raw, err);
        }
        if (status == RCNN_OK) {
            from_backend(&t->graph.values[id], value, raw, run->result[i]);
        }
        free(raw);
        RCNN_TRY(status);
    }
    return RCNN_OK;
}

void one_op_close(one_op_run *run)
{
    const rcnn_backend_vt *vt = run->vt;
    for (int i = 0; i < RCNN_OP_OUTPUTS_MAX; i++) {
        free(run->result[i]);
    }
    if (run->recording) {
        vt->release_recording(run->backend, run->recording);
    }
    if (run->kernel) {
        vt->release(run->kernel);
    }
    for (rcnn_value_id v = 0; run->backend && v < ONE_OP_VALUES_MAX; v++) {
        if (run->value[v] && !is_alias(run, v)) {
            vt->release_memory(run->backend, run->value[v]);
        }
    }
    if (run->scratch) {
        vt->release_memory(run->backend, run->scratch);
    }
    if (run->backend && !run->shared) {
        vt->close(run->backend);
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
