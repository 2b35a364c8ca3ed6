/* __half and __nv_bfloat16 with their pairs, for emulate.h. Sums and products of two values are formed in float and
 * rounded once more, which gives the correctly rounded result: float has more than twice their digits. */
#ifndef RCNN_TESTS_EMULATE_HALF_H
#define RCNN_TESTS_EMULATE_HALF_H

#include "ops/half.h"

struct __half {
    uint16_t bits_;
    __half() = default;
    explicit __half(float value) : bits_(test_half_bits(value))
    {
    }
    operator float() const
    {
        return test_half_float(bits_);
    }
};
struct __nv_bfloat16 {
    uint16_t bits_;
    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float value) : bits_(test_bfloat16_bits(value))
    {
    }
    operator float() const
    {
        return test_bfloat16_float(bits_);
    }
};
struct alignas(4) __half2 {
    __half x, y;
    __half2() = default;
    __half2(__half x_, __half y_) : x(x_), y(y_)
    {
    }
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
    __nv_bfloat162() = default;
    __nv_bfloat162(__nv_bfloat16 x_, __nv_bfloat16 y_) : x(x_), y(y_)
    {
    }
};
typedef __half half;
typedef __half2 half2;
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline __half __float2half(float a)
{
    return __half(a);
}
static inline __half __float2half_rn(float a)
{
    return __half(a);
}
static inline float __half2float(__half a)
{
    return (float)a;
}
static inline __nv_bfloat16 __float2bfloat16(float a)
{
    return __nv_bfloat16(a);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float a)
{
    return __nv_bfloat16(a);
}
static inline float __bfloat162float(__nv_bfloat16 a)
{
    return (float)a;
}

static inline unsigned short __half_as_ushort(__half a)
{
    return a.bits_;
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a)
{
    return a.bits_;
}
static inline __half __ushort_as_half(unsigned short bits)
{
    return rcnn_emulate_bits<__half>(bits);
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    return rcnn_emulate_bits<__nv_bfloat16>(bits);
}

static inline __half2 __halves2half2(__half a, __half b)
{
    return __half2(a, b);
}
static inline __half2 __half2half2(__half a)
{
    return __half2(a, a);
}
static inline __half2 __floats2half2_rn(float a, float b)
{
    return __half2(__half(a), __half(b));
}
static inline __half2 __float2half2_rn(float a)
{
    return __half2(__half(a), __half(a));
}
static inline __half2 __float22half2_rn(float2 a)
{
    return __half2(__half(a.x), __half(a.y));
}
static inline float2 __half22float2(__half2 a)
{
    return make_float2((float)a.x, (float)a.y);
}
static inline __half __low2half(__half2 a)
{
    return a.x;
}
static inline __half __high2half(__half2 a)
{
    return a.y;
}
static inline float __low2float(__half2 a)
{
    return (float)a.x;
}
static inline float __high2float(__half2 a)
{
    return (float)a.y;
}

static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b)
{
    return __nv_bfloat162(a, b);
}
static inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 a)
{
    return __nv_bfloat162(a, a);
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b)
{
    return __nv_bfloat162(__nv_bfloat16(a), __nv_bfloat16(b));
}
static inline __nv_bfloat162 __float2bfloat162_rn(float a)
{
    return __floats2bfloat162_rn(a, a);
}
static inline __nv_bfloat162 __float22bfloat162_rn(float2 a)
{
    return __floats2bfloat162_rn(a.x, a.y);
}
static inline float2 __bfloat1622float2(__nv_bfloat162 a)
{
    return make_float2((float)a.x, (float)a.y);
}
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 a)
{
    return a.x;
}
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 a)
{
    return a.y;
}
static inline float __low2float(__nv_bfloat162 a)
{
    return (float)a.x;
}
static inline float __high2float(__nv_bfloat162 a)
{
    return (float)a.y;
}

/* Arithmetic and comparison of one value and of a pair; max and min prefer numbers to NaN, the _nan forms give NaN. */
#define RCNN_EMULATE_HALF_OPS(type, pair)                                                                              \
    static inline type __hadd(type a, type b)                                                                          \
    {                                                                                                                  \
        return type((float)a + (float)b);                                                                              \
    }                                                                                                                  \
    static inline type __hsub(type a, type b)                                                                          \
    {                                                                                                                  \
        return type((float)a - (float)b);                                                                              \
    }                                                                                                                  \
    static inline type __hmul(type a, type b)                                                                          \
    {                                                                                                                  \
        return type((float)a * (float)b);                                                                              \
    }                                                                                                                  \
    static inline bool __hisnan(type a)                                                                                \
    {                                                                                                                  \
        return (float)a != (float)a;                                                                                   \
    }                                                                                                                  \
    static inline bool __hgt(type a, type b)                                                                           \
    {                                                                                                                  \
        return (float)a > (float)b;                                                                                    \
    }                                                                                                                  \
    static inline bool __hge(type a, type b)                                                                           \
    {                                                                                                                  \
        return (float)a >= (float)b;                                                                                   \
    }                                                                                                                  \
    static inline bool __hlt(type a, type b)                                                                           \
    {                                                                                                                  \
        return (float)a < (float)b;                                                                                    \
    }                                                                                                                  \
    static inline bool __hle(type a, type b)                                                                           \
    {                                                                                                                  \
        return (float)a <= (float)b;                                                                                   \
    }                                                                                                                  \
    static inline bool __heq(type a, type b)                                                                           \
    {                                                                                                                  \
        return (float)a == (float)b;                                                                                   \
    }                                                                                                                  \
    static inline type __hmax(type a, type b)                                                                          \
    {                                                                                                                  \
        return type(fmaxf((float)a, (float)b));                                                                        \
    }                                                                                                                  \
    static inline type __hmin(type a, type b)                                                                          \
    {                                                                                                                  \
        return type(fminf((float)a, (float)b));                                                                        \
    }                                                                                                                  \
    static inline type __hmax_nan(type a, type b)                                                                      \
    {                                                                                                                  \
        return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b);                                                       \
    }                                                                                                                  \
    static inline type __hmin_nan(type a, type b)                                                                      \
    {                                                                                                                  \
        return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b);                                                       \
    }                                                                                                                  \
    static inline pair __hadd2(pair a, pair b)                                                                         \
    {                                                                                                                  \
        return pair(__hadd(a.x, b.x), __hadd(a.y, b.y));                                                               \
    }                                                                                                                  \
    static inline pair __hsub2(pair a, pair b)                                                                         \
    {                                                                                                                  \
        return pair(__hsub(a.x, b.x), __hsub(a.y, b.y));                                                               \
    }                                                                                                                  \
    static inline pair __hmul2(pair a, pair b)                                                                         \
    {                                                                                                                  \
        return pair(__hmul(a.x, b.x), __hmul(a.y, b.y));                                                               \
    }                                                                                                                  \
    static inline pair __hmax2(pair a, pair b)                                                                         \
    {                                                                                                                  \
        return pair(__hmax(a.x, b.x), __hmax(a.y, b.y));                                                               \
    }                                                                                                                  \
    static inline pair __hmin2(pair a, pair b)                                                                         \
    {                                                                                                                  \
        return pair(__hmin(a.x, b.x), __hmin(a.y, b.y));                                                               \
    }                                                                                                                  \
    static inline pair __hmax2_nan(pair a, pair b)                                                                     \
    {                                                                                                                  \
        return pair(__hmax_nan(a.x, b.x), __hmax_nan(a.y, b.y));                                                       \
    }                                                                                                                  \
    static inline pair __hmin2_nan(pair a, pair b)                                                                     \
    {                                                                                                                  \
        return pair(__hmin_nan(a.x, b.x), __hmin_nan(a.y, b.y));                                                       \
    }
RCNN_EMULATE_HALF_OPS(__half, __half2)
RCNN_EMULATE_HALF_OPS(__nv_bfloat16, __nv_bfloat162)

#endif
