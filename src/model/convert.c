/* Element conversion. Elements are loaded with memcpy: data in a mapped file may lie at any address. */
#include "model/convert.h"

#include <stdbool.h>
#include <string.h>

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Shifts right, rounding to nearest even; shift is 1 .. 31. */
static uint32_t round_shift(uint32_t value, uint32_t shift)
{
    uint32_t half = (uint32_t)1 << (shift - 1);
    uint32_t odd = value >> shift & 1;
    return (value + half - 1 + odd) >> shift;
}

uint16_t rcnn_f32_to_f16(float value)
{
    uint32_t bits = float_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    }
    if (magnitude >= 0x477ff000) { /* 65520: halfway between the largest half and 2^16, ties go up to infinity */
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude >= 0x38800000) { /* 2^-14: normal halves; a carry out of the mantissa raises the exponent */
        return (uint16_t)(sign | round_shift(magnitude - 0x38000000, 13));
    }
    uint32_t exponent = magnitude >> 23;
    if (exponent < 102) { /* below 2^-25: rounds to zero */
        return (uint16_t)sign;
    }
    uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | round_shift(mantissa, 126 - exponent));
}

float rcnn_f16_to_f32(uint16_t half)
{
    uint32_t sign = ((uint32_t)half & 0x8000) << 16;
    uint32_t shifted = ((uint32_t)half & 0x7fff) << 13;
    uint32_t exponent = shifted & 0x0f800000;
    uint32_t normal = shifted + 0x38000000;
    /* subnormal: put the mantissa under 2^-14 and take 2^-14 away: exact, and no subnormal float32 is touched */
    uint32_t subnormal = float_bits(bits_float(shifted | 0x38800000) - 0x1p-14f);
    uint32_t magnitude = exponent == 0 ? subnormal : normal;
    magnitude = exponent == 0x0f800000 ? (shifted | 0x7f800000) : magnitude;
    return bits_float(sign | magnitude);
}

uint16_t rcnn_f32_to_bf16(float value)
{
    uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float rcnn_bf16_to_f32(uint16_t half)
{
    return bits_float((uint32_t)half << 16);
}

/* ------------------------------------------------------------------ tensors */

/* row_<type>: dst[i] = src[i * step], step in bytes. With a step that is the constant element size the compiler
 * vectorises the loop, hence the test before it. */
#define ROW(id, type, expression)                                                                                      \
    static void row_##id(const uint8_t *src, ptrdiff_t step, size_t count, float *dst)                                 \
    {                                                                                                                  \
        type value;                                                                                                    \
        if (step == (ptrdiff_t)sizeof value) {                                                                         \
            for (size_t i = 0; i < count; i++) {                                                                       \
                memcpy(&value, src + i * sizeof value, sizeof value);                                                  \
                dst[i] = (expression);                                                                                 \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        for (size_t i = 0; i < count; i++) {                                                                           \
            memcpy(&value, src + (ptrdiff_t)i * step, sizeof value);                                                   \
            dst[i] = (expression);                                                                                     \
        }                                                                                                              \
    }

ROW(f32, float, value)
ROW(f16, uint16_t, rcnn_f16_to_f32(value))
ROW(bf16, uint16_t, rcnn_bf16_to_f32(value))
ROW(f64, double, (float)value)
ROW(i8, int8_t, (float)value)
ROW(u8, uint8_t, (float)value)
ROW(i16, int16_t, (float)value)
ROW(i32, int32_t, (float)value)
ROW(i64, int64_t, (float)value)
ROW(bool, uint8_t, value ? 1.0f : 0.0f)

typedef void (*row_fn)(const uint8_t *src, ptrdiff_t step, size_t count, float *dst);

static const row_fn ROWS[RCNN_DTYPE_COUNT] = {
    [RCNN_F32] = row_f32, [RCNN_F16] = row_f16, [RCNN_BF16] = row_bf16, [RCNN_F64] = row_f64, [RCNN_I8] = row_i8,
    [RCNN_U8] = row_u8,   [RCNN_I16] = row_i16, [RCNN_I32] = row_i32,   [RCNN_I64] = row_i64, [RCNN_BOOL] = row_bool};

size_t rcnn_tensor_element_count(const rcnn_tensor_info *t)
{
    size_t count = 1;
    for (int32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] == 0) {
            return 0;
        }
    }
    for (int32_t i = 0; i < t->rank; i++) {
        count *= (size_t)t->shape[i];
    }
    return count;
}

static bool is_contiguous(const rcnn_tensor_info *t)
{
    int64_t expected = 1;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != expected) {
            return false;
        }
        expected *= t->shape[i];
    }
    return true;
}

/* Walks all axes but the last like an odometer; the last is one row. */
static void copy_strided(const rcnn_tensor_info *t, row_fn row, float *dst)
{
    int32_t last = t->rank - 1; /* rank >= 1: a scalar is contiguous */
    int64_t at[RCNN_TENSOR_RANK_MAX] = {0};
    int64_t bytes = (int64_t)rcnn_dtype_bytes(t->dtype);
    const uint8_t *src = t->data;
    for (;;) {
        row(src, (ptrdiff_t)(t->stride[last] * bytes), (size_t)t->shape[last], dst);
        dst += t->shape[last];
        int32_t axis = last - 1;
        for (; axis >= 0; axis--) {
            src += t->stride[axis] * bytes;
            if (++at[axis] < t->shape[axis]) {
                break;
            }
            src -= t->shape[axis] * t->stride[axis] * bytes;
            at[axis] = 0;
        }
        if (axis < 0) {
            return;
        }
    }
}

rcnn_status rcnn_tensor_to_f32(const rcnn_tensor_info *t, float *dst, rcnn_error *err)
{
    if ((size_t)t->dtype >= RCNN_DTYPE_COUNT) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "tensor '%s': element type %d is unknown", t->name, (int)t->dtype);
    }
    size_t count = rcnn_tensor_element_count(t);
    if (count == 0) {
        return RCNN_OK;
    }
    if (!is_contiguous(t)) {
        copy_strided(t, ROWS[t->dtype], dst);
    } else if (t->dtype == RCNN_F32) {
        memcpy(dst, t->data, count * sizeof *dst);
    } else {
        ROWS[t->dtype](t->data, (ptrdiff_t)rcnn_dtype_bytes(t->dtype), count, dst);
    }
    return RCNN_OK;
}
