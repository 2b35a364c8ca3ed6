/* float <-> the bits of IEEE half and bfloat16, to nearest and ties to even; for tests and the emulator (C and C++). */
#ifndef RCNN_TESTS_OPS_HALF_H
#define RCNN_TESTS_OPS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t test_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float test_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t test_half_bits(float value)
{
    const uint32_t bits = test_float_bits(value);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return 0x7fff; /* NaN, as the GPU's conversion gives it */
    }
    if (magnitude >= 0x477ff000u) { /* 65520: rounds to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) { /* below 2^-14: a multiple of 2^-24; the addition rounds */
        const float shifted = test_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (test_float_bits(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

static inline float test_half_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = half >> 10 & 0x1fu;
    const uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1fu) {
        return test_float_of_bits(sign | 0x7f800000u | mantissa << 13);
    }
    if (exponent == 0) {
        const float small = (float)mantissa * (1.0f / 16777216.0f);
        return sign ? -small : small;
    }
    return test_float_of_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t test_bfloat16_bits(float value)
{
    const uint32_t bits = test_float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0x7fff;
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float test_bfloat16_float(uint16_t value)
{
    return test_float_of_bits((uint32_t)value << 16);
}

/* To the 10 explicit fraction bits of TF32; finite values only. */
static inline float test_round_tf32(float value)
{
    const uint32_t bits = test_float_bits(value);
    return test_float_of_bits((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

#endif
