/* CONV, DECONV and FC of the cpu backend on bytes, against sums in double of the same codes: sources, destinations and
 * residuals of every type that int8 plans mix, groups, strides, packed rows, and the mask head's last two ops in pieces. */
#include "harness.h"

#include <math.h>

#include "base/memory.h"
#include "ops/one_op.h"

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
    {"i8 > i8, stride 2", RCNN_OP_CONV, RCNN_I8, RCNN_I8, NONE, 64, 32, 3, 2, 1, 11, 1, 0},
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

TEST(bytes_multiply_as_their_codes_say)
{
    rcnn_precision automatic;
    const rcnn_backend_options options = {.num_threads = 1};
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_backend_cpu.open(&options, &backend, &err), err);
    const uint32_t set = rcnn_backend_cpu.precisions(backend, &automatic);
    rcnn_backend_cpu.close(backend);
    if (!(set & 1u << RCNN_PRECISION_INT8)) {
        printf("skipped: no int8 in this oneDNN or on this processor\n");
        return;
    }
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        check_case(&CASES[i], false);
        if (CASES[i].residual != NONE && rcnn_dtype_bytes(CASES[i].residual) == rcnn_dtype_bytes(CASES[i].dst)) {
            check_case(&CASES[i], true);
        }
    }
}

TEST_MAIN
