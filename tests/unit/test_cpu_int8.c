/* CONV, DECONV and FC of the cpu backend on bytes, against sums in double of the same codes: sources, destinations and
 * residuals of every type that int8 plans mix, groups, strides, packed rows (3x3 of numbers of channels that Winograd's
 * filtering does not take: see test_cpu_winograd.c); the network's first two ops and the mask head's
 * last two, by the backend's own products and by oneDNN. */
#include "cpu_support.h"

#include <math.h>

#include "backend/cpu/product.h"
#include "base/memory.h"
#include "ops/net.h"

typedef struct number_case {
    const char *name;
    rcnn_op_kind kind;
    rcnn_dtype src, dst, residual; /* residual F64: none */
    int32_t in, out, kernel, stride, groups, side, rows, relu;
} number_case;

#define NONE RCNN_F64

static const number_case CASES[] = {
    {"u8 > u8", RCNN_OP_CONV, RCNN_U8, RCNN_U8, NONE, 32, 48, 3, 1, 1, 9, 1, 1},
    {"u8 > i8", RCNN_OP_CONV, RCNN_U8, RCNN_I8, NONE, 32, 40, 1, 1, 1, 7, 2, 0},
    {"i8 > u8", RCNN_OP_CONV, RCNN_I8, RCNN_U8, NONE, 24, 16, 3, 1, 1, 8, 1, 1},
    {"i8 > i8, stride 2", RCNN_OP_CONV, RCNN_I8, RCNN_I8, NONE, 64, 40, 3, 2, 1, 11, 1, 0},
    {"u8 > f32", RCNN_OP_CONV, RCNN_U8, RCNN_F32, NONE, 32, 15, 1, 1, 1, 6, 1, 0},
    {"i8 > f32", RCNN_OP_CONV, RCNN_I8, RCNN_F32, NONE, 32, 15, 1, 1, 1, 6, 1, 0},
    {"f32 > u8", RCNN_OP_CONV, RCNN_F32, RCNN_U8, NONE, 3, 64, 7, 2, 1, 20, 1, 1},
    {"u8 + u8 > u8", RCNN_OP_CONV, RCNN_U8, RCNN_U8, RCNN_U8, 32, 64, 1, 1, 1, 8, 1, 1},
    {"u8 + i8 > u8", RCNN_OP_CONV, RCNN_U8, RCNN_U8, RCNN_I8, 32, 64, 1, 1, 1, 8, 1, 1},
    {"u8 + f32 > u8", RCNN_OP_CONV, RCNN_U8, RCNN_U8, RCNN_F32, 32, 64, 1, 1, 1, 8, 1, 1},
    {"u8 + u8 > f32", RCNN_OP_CONV, RCNN_U8, RCNN_F32, RCNN_U8, 16, 32, 3, 1, 1, 5, 1, 1},
    {"groups", RCNN_OP_CONV, RCNN_U8, RCNN_U8, NONE, 8, 64, 3, 1, 8, 9, 1, 1},
    {"rows", RCNN_OP_CONV, RCNN_U8, RCNN_U8, NONE, 16, 16, 3, 1, 1, 6, 21, 1},
    {"fc u8 > u8", RCNN_OP_FC, RCNN_U8, RCNN_U8, NONE, 96, 64, 1, 1, 1, 1, 7, 1},
    {"fc i8 > f32", RCNN_OP_FC, RCNN_I8, RCNN_F32, NONE, 96, 10, 1, 1, 1, 1, 5, 0},
    {"fc f32 > u8", RCNN_OP_FC, RCNN_F32, RCNN_U8, NONE, 40, 24, 1, 1, 1, 1, 5, 1},
    {"deconv u8 > u8", RCNN_OP_DECONV, RCNN_U8, RCNN_U8, NONE, 32, 32, 2, 2, 1, 5, 6, 1},
    {"deconv i8 > f32", RCNN_OP_DECONV, RCNN_I8, RCNN_F32, NONE, 32, 32, 2, 2, 1, 5, 3, 1},
};

static float scale_for(rcnn_dtype type)
{
    return type == RCNN_U8 ? 0.011f : type == RCNN_I8 ? 0.019f : 0;
}

static void fill(one_op *t, rcnn_value_id id)
{
    rcnn_value *value = &t->graph.values[id];
    value->scale = scale_for(value->desc.dtype);
    for (size_t i = 0; i < one_op_elements(t, id); i++) {
        const uint64_t random = test_random(&t->seed) >> 33;
        if (value->desc.dtype == RCNN_U8) {
            ((uint8_t *)t->data[id])[i] = (uint8_t)(random % 256);
        } else if (value->desc.dtype == RCNN_I8) {
            ((int8_t *)t->data[id])[i] = (int8_t)((int32_t)(random % 255) - 127);
        } else {
            ((float *)t->data[id])[i] = test_uniform(&t->seed, -1, 1);
        }
    }
}

static void build(one_op *t, const number_case *c)
{
    const int32_t pad = c->kernel / 2;
    const bool conv = c->kind == RCNN_OP_CONV;
    const int32_t to = c->kind == RCNN_OP_DECONV ? 2 * c->side
                       : conv                    ? (c->side + 2 * pad - c->kernel) / c->stride + 1
                                                 : 1;
    const int32_t src[4] = {c->rows, c->side, c->side, c->in * c->groups};
    const int32_t dst[4] = {c->rows, to, to, c->out};
    const int32_t flat_src[2] = {c->rows, c->in};
    const int32_t flat_dst[2] = {c->rows, c->out};
    const int32_t rank = c->kind == RCNN_OP_FC ? 2 : 4;
    one_op_begin(t, c->kind, 11);
    if (conv) {
        t->op.u.conv.stride = c->stride;
        t->op.u.conv.pad = pad;
        t->op.u.conv.groups = c->groups;
        t->op.u.conv.relu = c->relu;
        t->op.u.conv.residual = c->residual != NONE;
    } else if (c->kind == RCNN_OP_FC) {
        t->op.u.fc.relu = c->relu;
    } else {
        t->op.u.deconv.relu = c->relu;
    }
    fill(t, one_op_input(t, "src", c->src, rank, rank == 2 ? flat_src : src));
    if (c->residual != NONE) {
        t->op.inplace = 1;
        fill(t, one_op_input(t, "residual", c->residual, 4, dst));
    }
    one_op_weights(t, c->out, c->in, c->kind == RCNN_OP_FC ? 1 : c->kernel, c->kind == RCNN_OP_FC ? 1 : c->kernel);
    const rcnn_value_id out = one_op_output(t, "dst", c->dst, rank, rank == 2 ? flat_dst : dst);
    t->graph.values[out].scale = scale_for(c->dst);
    one_op_end(t);
}

static double stored(const one_op *t, rcnn_value_id id, size_t i)
{
    const rcnn_value *value = &t->graph.values[id];
    const void *data = t->data[id];
    switch (value->desc.dtype) {
    case RCNN_U8:
        return (double)((const uint8_t *)data)[i];
    case RCNN_I8:
        return (double)((const int8_t *)data)[i];
    default:
        return (double)((const float *)data)[i];
    }
}

static double unit(const one_op *t, rcnn_value_id id)
{
    return t->graph.values[id].scale > 0 ? (double)t->graph.values[id].scale : 1.0;
}

/* Weight `index` of output o as the backend multiplies with it. */
static double weight(const one_op *t, size_t index, double scale)
{
    const bool bytes = t->graph.values[t->op.input[0]].desc.dtype != RCNN_F32;
    const double w = (double)t->weights[index];
    return bytes ? nearbyint(w / scale) * scale : w;
}

static double weight_scale(const one_op *t, const number_case *c, int32_t o)
{
    const size_t taps = (size_t)c->kernel * (size_t)c->kernel;
    const size_t in = (size_t)c->in;
    double most = 0;
    for (size_t i = 0; i < in * taps; i++) {
        const size_t at = c->kind == RCNN_OP_DECONV ? (i / taps * (size_t)c->out + (size_t)o) * taps + i % taps
                                                    : (size_t)o * in * taps + i;
        most = fmax(most, fabs((double)t->weights[at]));
    }
    return most / 127;
}

/* One output before the ReLU, in real units. */
static double expected(const one_op *t, const number_case *c, int32_t row, int32_t y, int32_t x, int32_t o)
{
    const rcnn_value_id src = t->op.input[0];
    const double scale = weight_scale(t, c, o);
    const int32_t channels = c->in * c->groups;
    const int32_t first = c->out ? o / (c->out / c->groups) * c->in : 0;
    double sum = 0;
    for (int32_t i = 0; i < c->in; i++) {
        for (int32_t tap = 0; tap < c->kernel * c->kernel; tap++) {
            int32_t iy = y * c->stride + tap / c->kernel - c->kernel / 2;
            int32_t ix = x * c->stride + tap % c->kernel - c->kernel / 2;
            size_t at = ((size_t)o * (size_t)c->in + (size_t)i) * (size_t)(c->kernel * c->kernel) + (size_t)tap;
            if (c->kind == RCNN_OP_DECONV) {
                if (tap / 2 != y % 2 || tap % 2 != x % 2) {
                    continue;
                }
                iy = y / 2;
                ix = x / 2;
                at = ((size_t)i * (size_t)c->out + (size_t)o) * 4 + (size_t)tap;
            }
            if (iy >= 0 && ix >= 0 && iy < c->side && ix < c->side) {
                const size_t from =
                    (((size_t)row * (size_t)c->side + (size_t)iy) * (size_t)c->side + (size_t)ix) * (size_t)channels +
                    (size_t)(first + i);
                sum += stored(t, src, from) * unit(t, src) * weight(t, at, scale);
            }
        }
    }
    return sum + (double)t->bias[o];
}

static void check_element(const one_op *t, const number_case *c, const one_op_run *run, size_t e)
{
    const int32_t to =
        t->graph.values[t->op.output[0]].desc.rank == 2 ? 1 : t->graph.values[t->op.output[0]].desc.dim[1];
    const int32_t o = (int32_t)(e % (size_t)c->out);
    const int32_t pixel = (int32_t)(e / (size_t)c->out);
    double want = expected(t, c, pixel / (to * to), pixel / to % to, pixel % to, o);
    if (c->residual != NONE) {
        want += stored(t, t->op.input[1], e) * unit(t, t->op.input[1]);
    }
    want = c->relu ? fmax(want, 0) : want;
    if (c->dst == RCNN_F32) {
        const double got = (double)((const float *)run->result[0])[e];
        CHECK_MSG(fabs(got - want) <= 1e-4 + 1e-4 * fabs(want), "%s [%zu]: want %g, got %g", c->name, e, want, got);
        return;
    }
    const bool is_signed = c->dst == RCNN_I8;
    const double code = fmin(fmax(want / unit(t, t->op.output[0]), is_signed ? -127 : 0), is_signed ? 127 : 255);
    const double got =
        is_signed ? (double)((const int8_t *)run->result[0])[e] : (double)((const uint8_t *)run->result[0])[e];
    const double low = is_signed && code <= -127 ? -128 : code; /* oneDNN saturates at -128 */
    CHECK_MSG(fabs(got - code) <= 0.51 || fabs(got - low) <= 0.51, "%s [%zu]: want %g, got %g", c->name, e, code, got);
}

static void check_case(const number_case *c, bool inplace)
{
    one_op t;
    one_op_run run;
    rcnn_error err = {0};
    build(&t, c);
    rcnn_status status = one_op_open(&t, &rcnn_backend_cpu, 2, inplace, &run, &err);
    if (status == RCNN_OK) {
        status = one_op_load(&run, &err);
    }
    if (status == RCNN_OK) {
        status = one_op_enqueue(&run, &err);
    }
    if (status == RCNN_OK) {
        status = one_op_fetch(&run, &err);
    }
    CHECK_MSG(status == RCNN_OK, "%s: %s", c->name, err.message);
    for (size_t e = 0; status == RCNN_OK && e < one_op_elements(&t, t.op.output[0]) && test_failures < 10; e++) {
        check_element(&t, c, &run, e);
    }
    one_op_close(&run);
    one_op_free(&t);
}

static bool has(rcnn_precision precision)
{
    rcnn_precision automatic;
    rcnn_backend *backend = open_cpu(2);
    const uint32_t set = rcnn_backend_cpu.precisions(backend, &automatic);
    rcnn_backend_cpu.close(backend);
    if (!(set & 1u << precision)) {
        printf("skipped: no %s in this oneDNN or on this processor\n",
               precision == RCNN_PRECISION_INT8 ? "int8" : "bf16");
    }
    return set & 1u << precision;
}

/* Products of bytes are the backend's own here. */
static bool has_own_bytes(void)
{
    rcnn_backend *backend = open_cpu(2);
    const bool own = rcnn_product_choose(backend, RCNN_U8);
    rcnn_backend_cpu.close(backend);
    return own;
}

TEST(bytes_multiply_as_their_codes_say)
{
    const bool run_here = has(RCNN_PRECISION_INT8);
    for (size_t i = 0; run_here && i < sizeof CASES / sizeof CASES[0]; i++) {
        check_case(&CASES[i], false);
        if (CASES[i].residual != NONE && rcnn_dtype_bytes(CASES[i].residual) == rcnn_dtype_bytes(CASES[i].dst)) {
            check_case(&CASES[i], true);
        }
    }
}

/* --------------------------------------------------------------- two ops */

static void *must(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "test: out of memory\n");
        exit(1);
    }
    return pointer;
}

/* Makes the value U8. */
static void make_bytes(net *n, rcnn_value_id id, float scale)
{
    rcnn_value *value = &n->graph.values[id];
    value->bytes = value->bytes / rcnn_dtype_bytes(value->desc.dtype);
    value->desc.dtype = RCNN_U8;
    value->scale = scale;
}

/* How a net of two ops is run. */
typedef struct two_ops {
    const char *name;
    bool direct;     /* by oneDNN                             */
    bool always_one; /* kernel, not only with an own product */
    net *net;
    rcnn_value_id src, dst;
} two_ops;

/* The output as it is stored; NULL after a failure that was reported. Free it. */
static void *run_two_ops(const two_ops *t)
{
    const rcnn_backend_vt *vt = &rcnn_backend_cpu;
    net_run run;
    void *result = NULL;
    rcnn_error err = {0};
    unsetenv("RCNN_CPU_CONV");
    if (t->direct) {
        setenv("RCNN_CPU_CONV", "direct", 1);
    }
    rcnn_backend *backend = open_cpu(2);
    const bool own = rcnn_product_choose(backend, t->net->graph.values[t->src].desc.dtype);
    rcnn_status status = net_open(t->net, vt, backend, &run, &err);
    status = status == RCNN_OK ? net_execute(&run, &err) : status;
    status = status == RCNN_OK ? net_fetch(&run, t->dst, &result, &err) : status;
    CHECK_MSG(status == RCNN_OK, "%s: %s", t->name, err.message);
    CHECK_MSG(run.kernel_count == (own || t->always_one ? 1 : 2), "%s: %d kernels", t->name, run.kernel_count);
    net_close(&run);
    vt->close(backend);
    unsetenv("RCNN_CPU_CONV");
    return result;
}

/* ------------------------------------------------------------------ stem */

enum { STEM_N = 2, STEM_H = 70, STEM_W = 22, CONV_H = 35, CONV_W = 11, POOL_H = 18, POOL_W = 6, STEM_OUT = 64 };

/* A convolved pixel before it is stored. */
static double convolved(const net *n, size_t image, int32_t y, int32_t x, int32_t o)
{
    const rcnn_op *conv = &n->graph.ops[0];
    const float *pixels = (const float *)n->data[conv->input[0]] + image * STEM_H * STEM_W * 3;
    double sum = (double)conv->w.bias[o];
    for (int32_t tap = 0; tap < 49; tap++) {
        const int32_t v = 2 * y - 3 + tap / 7, u = 2 * x - 3 + tap % 7;
        for (int32_t c = 0; c < 3 && v >= 0 && v < STEM_H && u >= 0 && u < STEM_W; c++) {
            sum += (double)pixels[(v * STEM_W + u) * 3 + c] * (double)conv->w.weights[(o * 3 + c) * 49 + tap];
        }
    }
    return fmax(sum, 0);
}

/* [N][CONV_H][CONV_W][OUT] */
static double *convolve(const net *n)
{
    double *map = must(malloc(sizeof *map * STEM_N * CONV_H * CONV_W * STEM_OUT));
    for (int32_t e = 0; e < STEM_N * CONV_H * CONV_W * STEM_OUT; e++) {
        const int32_t pixel = e / STEM_OUT;
        map[e] =
            convolved(n, (size_t)(pixel / (CONV_H * CONV_W)), pixel / CONV_W % CONV_H, pixel % CONV_W, e % STEM_OUT);
    }
    return map;
}

static double pooled(const double *map, int32_t pixel, int32_t o)
{
    const int32_t y = pixel / POOL_W % POOL_H, x = pixel % POOL_W;
    const double *image = map + (size_t)(pixel / (POOL_H * POOL_W)) * CONV_H * CONV_W * STEM_OUT;
    double most = 0;
    for (int32_t tap = 0; tap < 9; tap++) {
        const int32_t v = 2 * y - 1 + tap / 3, u = 2 * x - 1 + tap % 3;
        if (v >= 0 && v < CONV_H && u >= 0 && u < CONV_W) {
            most = fmax(most, image[(v * CONV_W + u) * STEM_OUT + o]);
        }
    }
    return most;
}

/* Two bands of pooled rows, and fewer convolved pixels than a product's rows. type: of the image, BF16 or float. */
static void build_stem(net *n, one_op_type type, float scale)
{
    static const int32_t dim[4] = {STEM_N, POOL_H, POOL_W, STEM_OUT};
    const net_conv_options options = {.stride = 2, .relu = 1, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
    net_begin(n, &rcnn_backend_cpu, type, true, 12);
    rcnn_value_id image = net_image(n, STEM_N, STEM_H, STEM_W);
    rcnn_value_id conv = net_conv(n, "stem", image, net_weights(n, STEM_OUT, 3, 7, 7), options);
    rcnn_op pool = net_op(RCNN_OP_MAXPOOL, "pool");
    pool.u.maxpool.kernel = 3;
    pool.u.maxpool.stride = 2;
    pool.u.maxpool.pad = 1;
    net_input(&pool, conv);
    rcnn_value_id dst = net_add(n, &pool, true, 4, dim);
    net_output(n, dst);
    make_bytes(n, conv, scale);
    make_bytes(n, dst, scale);
}

static void check_stem(one_op_type type, bool direct)
{
    const float scale = 1.6f / 255; /* some saturate */
    net n;
    size_t wrong = 0;
    build_stem(&n, type, scale);
    const two_ops t = {.name = type == ONE_OP_BF16 ? "stem bf16 > u8" : "stem f32 > u8",
                       .direct = direct,
                       .net = &n,
                       .src = n.graph.ops[0].input[0],
                       .dst = n.graph.ops[1].output[0]};
    double *map = convolve(&n);
    uint8_t *got = run_two_ops(&t);
    for (int32_t e = 0; got && e < STEM_N * POOL_H * POOL_W * STEM_OUT; e++) {
        const double want = fmin(pooled(map, e / STEM_OUT, e % STEM_OUT) / (double)scale, 255);
        wrong += !(fabs((double)got[e] - want) <= 0.51);
    }
    CHECK_MSG(wrong == 0, "%s%s: %zu codes", t.name, direct ? ", direct" : "", wrong);
    free(got);
    free(map);
    net_free(&n);
}

TEST(stems_make_bytes)
{
    const bool bytes = has(RCNN_PRECISION_INT8), halves = bytes && has(RCNN_PRECISION_BF16);
    for (int32_t direct = 0; bytes && direct < 2; direct++) {
        check_stem(ONE_OP_INT8, direct);
        if (halves) {
            check_stem(ONE_OP_BF16, direct);
        }
    }
}

/* A patch of 7 rows is no whole number of words of four bytes. */
TEST(stems_of_bytes_are_two_ops)
{
    rcnn_backend *backend = open_cpu(2);
    int32_t keep = 0;
    net n;
    build_stem(&n, ONE_OP_INT8, 0.01f);
    make_bytes(&n, n.graph.ops[0].input[0], 0.01f);
    CHECK(rcnn_backend_cpu.claim(backend, &n.graph, 0, &keep) == 1);
    rcnn_backend_cpu.close(backend);
    net_free(&n);
}

/* ------------------------------------------------------------- mask tail */

enum { IMAGES = 2, CAPACITY = 2, SIDE = 7, IN = 64, BETWEEN = 32, CLASSES = 3, MASK = 4 * SIDE * SIDE };

/* DECONV's sum for a pixel of a mask, of codes and code weights; the ReLU's result. */
static double between_of(const net *n, int32_t row, int32_t pixel, int32_t o, double scale)
{
    const rcnn_op *deconv = &n->graph.ops[0];
    const int32_t y = pixel / (2 * SIDE), x = pixel % (2 * SIDE), tap = y % 2 * 2 + x % 2;
    const uint8_t *codes = (const uint8_t *)n->data[deconv->input[0]];
    codes += ((row * SIDE + y / 2) * SIDE + x / 2) * IN;
    double sum = 0;
    for (int32_t i = 0; i < IN; i++) {
        sum += (double)codes[i] * nearbyint((double)deconv->w.weights[(i * BETWEEN + o) * 4 + tap] / scale);
    }
    const double unit = (double)n->graph.values[deconv->input[0]].scale;
    return fmax(sum * scale * unit + (double)deconv->w.bias[o], 0);
}

/* The mask pixels [rows][MASK] that are wanted of the class of each row. */
static double *wanted_masks(const net *n, const int32_t *channel, int32_t rows)
{
    const rcnn_op *deconv = &n->graph.ops[0], *logit = &n->graph.ops[1];
    double *masks = must(calloc((size_t)rows * MASK + 1, sizeof *masks));
    for (int32_t o = 0; o < BETWEEN; o++) {
        double largest = 0;
        for (int32_t i = 0; i < IN * 4; i++) {
            largest = fmax(largest, fabs((double)deconv->w.weights[(i / 4 * BETWEEN + o) * 4 + i % 4]));
        }
        for (int32_t e = 0; e < rows * MASK; e++) {
            masks[e] += between_of(n, e / MASK, e % MASK, o, largest / 127) *
                        (double)logit->w.weights[channel[e / MASK] * BETWEEN + o];
        }
    }
    for (int32_t e = 0; e < rows * MASK; e++) {
        masks[e] = 1 / (1 + exp(-masks[e] - (double)logit->w.bias[channel[e / MASK]]));
    }
    return masks;
}

/* The two ops on random codes; the masks. between: bytes, which a product never makes. */
static rcnn_value_id build_mask_tail(net *n, const int32_t *counts, const int32_t *labels, bool agnostic, bool between)
{
    static const int32_t images = IMAGES, lists[2] = {IMAGES, CAPACITY};
    static const int32_t src[4] = {IMAGES * CAPACITY, SIDE, SIDE, IN};
    static const int32_t twice[4] = {IMAGES * CAPACITY, 2 * SIDE, 2 * SIDE, BETWEEN};
    net_begin(n, &rcnn_backend_cpu, ONE_OP_INT8, true, 13);
    rcnn_value_id x = net_features(n, "x", src);
    make_bytes(n, x, scale_for(RCNN_U8));
    for (size_t i = 0; i < n->graph.values[x].bytes; i++) {
        ((uint8_t *)n->data[x])[i] = (uint8_t)(test_random(&n->seed) >> 40);
    }
    rcnn_value_id live = net_integers(n, "counts", 1, &images, counts);
    rcnn_value_id classes = net_integers(n, "labels", 2, lists, labels);
    rcnn_op deconv = net_op(RCNN_OP_DECONV, "deconv");
    deconv.w = net_weights(n, BETWEEN, IN, 2, 2);
    deconv.u.deconv.relu = 1;
    deconv.rows = live;
    net_input(&deconv, x);
    rcnn_value_id up = net_add(n, &deconv, true, 4, twice);
    if (between) {
        make_bytes(n, up, 0.05f);
    }
    rcnn_op logit = net_op(RCNN_OP_MASK_LOGIT, "logit");
    logit.w = net_weights(n, agnostic ? 1 : CLASSES, BETWEEN, 1, 1);
    logit.u.mask_logit.agnostic = agnostic;
    logit.rows = live;
    net_input(&logit, up);
    net_input(&logit, classes);
    net_input(&logit, live);
    rcnn_value_id masks = net_add(n, &logit, false, 3, twice);
    net_output(n, masks);
    return masks;
}

/* Rows past the counts keep the ones that net_execute fills memory with. */
static void check_mask_tail(const int32_t counts[IMAGES], bool agnostic, bool direct)
{
    static const int32_t labels[IMAGES * CAPACITY] = {2, 0, 1, 2};
    int32_t channel[IMAGES * CAPACITY], rows = 0;
    size_t wrong = 0, written = 0;
    net n;
    two_ops t = {
        .name = agnostic ? "mask tail, agnostic" : "mask tail", .direct = direct, .always_one = true, .net = &n};
    for (int32_t i = 0; i < IMAGES * CAPACITY; i++) {
        if (i % CAPACITY < counts[i / CAPACITY]) {
            channel[rows++] = agnostic ? 0 : labels[i];
        }
    }
    t.dst = build_mask_tail(&n, counts, labels, agnostic, !direct && has_own_bytes());
    t.src = n.graph.ops[0].input[0];
    double *want = wanted_masks(&n, channel, rows);
    float *got = run_two_ops(&t);
    for (int32_t e = 0; got && e < IMAGES * CAPACITY * MASK; e++) {
        if (e < rows * MASK) {
            wrong += !(fabs((double)got[e] - want[e]) <= 2e-5);
        } else {
            written += ((const uint32_t *)(const void *)got)[e] != UINT32_MAX;
        }
    }
    CHECK_MSG(wrong == 0 && written == 0, "%s%s, %d rows: %zu pixels, %zu past the counts", t.name,
              direct ? ", direct" : "", rows, wrong, written);
    free(got);
    free(want);
    net_free(&n);
}

TEST(mask_tails_take_bytes)
{
    static const int32_t counts[][IMAGES] = {{1, 2}, {2, 2}, {0, 1}, {0, 0}};
    const bool run_here = has(RCNN_PRECISION_INT8);
    for (size_t i = 0; run_here && i < sizeof counts / sizeof *counts; i++) {
        check_mask_tail(counts[i], false, false);
        check_mask_tail(counts[i], true, false);
        check_mask_tail(counts[i], false, true);
    }
}

TEST_MAIN
