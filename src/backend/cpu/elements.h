/* Single feature elements as floats and back: what the types mean, in plain C. The vector bodies do the same to many. */
#ifndef RCNN_BACKEND_CPU_ELEMENTS_H
#define RCNN_BACKEND_CPU_ELEMENTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "graph/graph.h"

#define RCNN_CPU_BF16_NAN 0x7fff

static inline float rcnn_cpu_of_bf16(uint16_t value)
{
    const uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* To nearest, ties to even. */
static inline uint16_t rcnn_cpu_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t rounded = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    return value != value ? RCNN_CPU_BF16_NAN : rounded;
}

/* To nearest, ties to even, saturated; NaN gives one of the ends. Adding 1.5 * 2^23 leaves no room for fraction bits, and
 * the bits of the sum are in the order of the values: ends that are cut off as integers make no branches, which compilers
 * would not turn into vectors. */
static inline int32_t rcnn_cpu_to_integer(float value, int32_t low, int32_t high)
{
    const int32_t zero = 0x4b400000;
    const float shifted = value + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = bits > zero + low ? bits : zero + low;
    bits = bits < zero + high ? bits : zero + high;
    return bits - zero;
}

static inline int8_t rcnn_cpu_to_i8(float value)
{
    return (int8_t)rcnn_cpu_to_integer(value, -127, 127);
}

static inline uint8_t rcnn_cpu_to_u8(float value)
{
    return (uint8_t)rcnn_cpu_to_integer(value, 0, 255);
}

/* Keys in the order of the values, NaN above all: of positive numbers the sign bit is set, of negative ones all bits are
 * turned round, and NaNs with a sign, which are then the lowest 0x7f keys, are moved to the top. */
#define RCNN_CPU_BF16_NEGATIVE_NANS 0x7f

static inline uint16_t rcnn_cpu_bf16_key(uint16_t value)
{
    const uint16_t turn = (uint16_t)(0x8000 | -(value >> 15));
    return (uint16_t)((value ^ turn) - RCNN_CPU_BF16_NEGATIVE_NANS);
}

static inline uint16_t rcnn_cpu_bf16_of_key(uint16_t key)
{
    key = (uint16_t)(key + RCNN_CPU_BF16_NEGATIVE_NANS);
    const uint16_t turn = (uint16_t)(0x8000 | ((key >> 15) - 1));
    return (uint16_t)(key ^ turn);
}

/* The stored number of element i, as a float. */
static inline float rcnn_cpu_element(rcnn_dtype type, const void *at, size_t i)
{
    switch (type) {
    case RCNN_BF16:
        return rcnn_cpu_of_bf16(((const uint16_t *)at)[i]);
    case RCNN_I8:
        return ((const int8_t *)at)[i];
    case RCNN_U8:
        return ((const uint8_t *)at)[i];
    default:
        return ((const float *)at)[i];
    }
}

static inline size_t rcnn_cpu_element_bytes(rcnn_dtype type)
{
    return type == RCNN_BF16 ? sizeof(uint16_t) : type == RCNN_I8 || type == RCNN_U8 ? sizeof(uint8_t) : sizeof(float);
}

/* Address of element i. */
static inline const void *rcnn_cpu_at(rcnn_dtype type, const void *base, size_t i)
{
    return (const unsigned char *)base + i * rcnn_cpu_element_bytes(type);
}

static inline void *rcnn_cpu_to(rcnn_dtype type, void *base, size_t i)
{
    return (unsigned char *)base + i * rcnn_cpu_element_bytes(type);
}

/* function(type, ...) with the type as a constant. */
#define RCNN_CPU_BY_TYPE(type, function, ...)                                                                          \
    switch (type) {                                                                                                    \
    case RCNN_BF16:                                                                                                    \
        function(RCNN_BF16, __VA_ARGS__);                                                                              \
        break;                                                                                                         \
    case RCNN_I8:                                                                                                      \
        function(RCNN_I8, __VA_ARGS__);                                                                                \
        break;                                                                                                         \
    case RCNN_U8:                                                                                                      \
        function(RCNN_U8, __VA_ARGS__);                                                                                \
        break;                                                                                                         \
    default:                                                                                                           \
        function(RCNN_F32, __VA_ARGS__);                                                                               \
    }

#endif
