/* The bodies of winograd.h for any width of vector. winograd_<isa>.c includes it behind lanes_<isa>.h, with BF16_FACTORS or
 * BYTE_FACTORS defined where products are of BF16 or bytes. */
#include "backend/cpu/winograd.h"

#define IN_MAX  RCNN_WINOGRAD_IN_MAX
#define OUT_MAX RCNN_WINOGRAD_OUT_MAX

#ifdef BF16_FACTORS
#define STEP (2 * LANES) /* channels whose products are stored at once: one vector of BF16 */
#else
#define STEP LANES
#endif

/* The tiles of winograd.h; a constant wherever it is used. */
typedef enum shape { SHAPE_5X5, SHAPE_4X4, SHAPE_3X3_STRIDE2 } shape;

INLINE int in_of(shape s)
{
    return s == SHAPE_4X4 ? 6 : 7;
}

INLINE int out_of(shape s)
{
    return s == SHAPE_5X5 ? 5 : s == SHAPE_4X4 ? 4 : 3;
}

/* Inputs from one tile to the next. */
INLINE int pitch_of(shape s)
{
    return s == SHAPE_3X3_STRIDE2 ? 6 : out_of(s);
}

/* ------------------------------------------------------------- transforms */

/* Rows of B' are the coefficients of the products of (x - q) over all points q but the row's own; infinity's is that over
 * all. The column of a point p in A' is 1, p, p^2, ...; infinity's is 0, ..., 0, 1. */

#define A RCNN_WINOGRAD_5X5_A
#define B RCNN_WINOGRAD_5X5_B
#define C RCNN_WINOGRAD_5X5_C

/* The products of the points p and -p; q and r are the other pairs. */
INLINE void to_pair_5x5(float p, float q, float r, const lanes in[IN_MAX], lanes out[2])
{
    const lanes none = spread(q * q * r * r);
    const lanes two = spread(-q * q - r * r);
    const lanes even = fused(none, in[0], fused(two, in[2], in[4]));
    const lanes odd = fused(none, in[1], fused(two, in[3], in[5]));
    out[0] = fused(spread(p), even, odd);
    out[1] = fused(spread(-p), even, odd);
}

INLINE void to_products_5x5(const lanes in[IN_MAX], lanes out[IN_MAX])
{
    to_pair_5x5(A, B, C, in, out);
    to_pair_5x5(B, A, C, in, out + 2);
    to_pair_5x5(C, A, B, in, out + 4);
    out[6] = fused(spread(-A * A * B * B * C * C), in[0],
                   fused(spread(A * A * B * B + A * A * C * C + B * B * C * C), in[2],
                         fused(spread(-A * A - B * B - C * C), in[4], in[6])));
}

INLINE void to_outputs_5x5(const lanes in[IN_MAX], lanes out[OUT_MAX])
{
    const lanes aa = spread(A * A), bb = spread(B * B), cc = spread(C * C);
    const lanes even_a = in[0] + in[1];
    const lanes even_b = in[2] + in[3];
    const lanes even_c = in[4] + in[5];
    const lanes odd_a = spread(A) * (in[0] - in[1]);
    const lanes odd_b = spread(B) * (in[2] - in[3]);
    const lanes odd_c = spread(C) * (in[4] - in[5]);
    out[0] = even_a + even_b + even_c;
    out[1] = odd_a + odd_b + odd_c;
    out[2] = fused(aa, even_a, fused(bb, even_b, cc * even_c));
    out[3] = fused(aa, odd_a, fused(bb, odd_b, cc * odd_c));
    out[4] = fused(aa * aa, even_a, fused(bb * bb, even_b, fused(cc * cc, even_c, in[6])));
}

#undef A
#undef B
#undef C
#define A RCNN_WINOGRAD_4X4_A
#define B RCNN_WINOGRAD_4X4_B

/* The products of the points p and -p; q and -q are the other pair. */
INLINE void to_pair_4x4(float p, float q, const lanes in[IN_MAX], lanes out[2])
{
    const lanes even = fused(spread(-q * q), in[2], in[4]);
    const lanes odd = fused(spread(-q * q), in[1], in[3]);
    out[0] = fused(spread(p), odd, even);
    out[1] = fused(spread(-p), odd, even);
}

INLINE void to_products_4x4(const lanes in[IN_MAX], lanes out[IN_MAX])
{
    const lanes none = spread(A * A * B * B), two = spread(-A * A - B * B);
    out[0] = fused(none, in[0], fused(two, in[2], in[4]));
    to_pair_4x4(A, B, in, out + 1);
    to_pair_4x4(B, A, in, out + 3);
    out[5] = fused(none, in[1], fused(two, in[3], in[5]));
}

INLINE void to_outputs_4x4(const lanes in[IN_MAX], lanes out[OUT_MAX])
{
    const lanes aa = spread(A * A), bb = spread(B * B);
    const lanes even_a = in[1] + in[2];
    const lanes even_b = in[3] + in[4];
    const lanes odd_a = spread(A) * (in[1] - in[2]);
    const lanes odd_b = spread(B) * (in[3] - in[4]);
    out[0] = in[0] + even_a + even_b;
    out[1] = odd_a + odd_b;
    out[2] = fused(aa, even_a, bb * even_b);
    out[3] = fused(aa, odd_a, fused(bb, odd_b, in[5]));
}

#undef A
#undef B

INLINE void to_products_3x3_stride2(const lanes in[IN_MAX], lanes out[IN_MAX])
{
    out[0] = in[4] - in[0]; /* of the taps on even pixels, */
    out[1] = in[2] + in[4];
    out[2] = in[4] - in[2];
    out[3] = in[6] - in[2];
    out[4] = in[1]; /* and of those on odd ones */
    out[5] = in[3];
    out[6] = in[5];
}

INLINE void to_outputs_3x3_stride2(const lanes in[IN_MAX], lanes out[OUT_MAX])
{
    out[0] = in[0] + in[1] + in[2] + in[4];
    out[1] = in[1] - in[2] + in[5];
    out[2] = in[1] + in[2] + in[3] + in[6];
}

/* out = B' in */
INLINE void to_products(shape s, const lanes in[IN_MAX], lanes out[IN_MAX])
{
    if (s == SHAPE_5X5) {
        to_products_5x5(in, out);
    } else if (s == SHAPE_4X4) {
        to_products_4x4(in, out);
    } else {
        to_products_3x3_stride2(in, out);
    }
}

/* out = A' in */
INLINE void to_outputs(shape s, const lanes in[IN_MAX], lanes out[OUT_MAX])
{
    if (s == SHAPE_5X5) {
        to_outputs_5x5(in, out);
    } else if (s == SHAPE_4X4) {
        to_outputs_4x4(in, out);
    } else {
        to_outputs_3x3_stride2(in, out);
    }
}

/* ------------------------------------------------------------- gather */

/* The inputs that the tile to the right has and this one has not: they are wanted next. */
INLINE void fetch_ahead(shape s, rcnn_dtype type, const void *const *pixel, size_t channels, size_t c)
{
    for (int y = 0; y < in_of(s); y++) {
        for (int x = in_of(s) - pitch_of(s); x < in_of(s); x++) {
            __builtin_prefetch(rcnn_cpu_at(type, pixel[y * in_of(s) + x], c + (size_t)pitch_of(s) * channels));
        }
    }
}

INLINE void gather_columns(shape s, rcnn_dtype type, const void *const *pixel, size_t c, lanes between[IN_MAX][IN_MAX])
{
#pragma GCC unroll 8
    for (int x = 0; x < in_of(s); x++) {
        lanes in[IN_MAX], out[IN_MAX];
#pragma GCC unroll 8
        for (int y = 0; y < in_of(s); y++) {
            in[y] = load(type, pixel[y * in_of(s) + x], c);
        }
        to_products(s, in, out);
#pragma GCC unroll 8
        for (int y = 0; y < in_of(s); y++) {
            between[y][x] = out[y];
        }
    }
}

/* One product of STEP channels. */
INLINE void store_product(const rcnn_winograd_inputs *to, size_t p, size_t c, lanes out[STEP / LANES][IN_MAX], int x)
{
#if defined(BF16_FACTORS)
    _mm512_storeu_si512((uint16_t *)to->v + p * to->stride + c, (__m512i)_mm512_cvtne2ps_pbh(out[1][x], out[0][x]));
#elif defined(BYTE_FACTORS)
    store(RCNN_F32, to->work, p * to->work_stride + c, out[0][x]);
#else
    store(RCNN_F32, to->v, p * to->stride + c, out[0][x]);
#endif
}

#ifdef BYTE_FACTORS
#define CENTRE   128.0f /* bytes are so much more than what they stand for */
#define CODE_MAX 127.0f
#define UNITS    0x1p23f   /* added to a number below it, leaves the integer in the lowest bits */
#define TINY     0x1p-100f /* rows no larger are zero */

/* A row of products in steps of its largest / 127. */
INLINE float to_bytes(const float *row, size_t channels, uint8_t *v)
{
    lanes most = spread(0);
    for (size_t c = 0; c < channels; c += LANES) {
        most = larger(most, _mm512_abs_ps(load(RCNN_F32, row, c)));
    }
    const float largest = _mm512_reduce_max_ps(most);
    const lanes factor = spread(largest > TINY ? CODE_MAX / largest : 0);
    for (size_t c = 0; c < channels; c += LANES) {
        const lanes units = fused(load(RCNN_F32, row, c), factor, spread(UNITS + CENTRE));
        _mm_storeu_si128((__m128i *)(void *)(v + c), _mm512_cvtepi32_epi8(_mm512_castps_si512(units)));
    }
    return largest / CODE_MAX;
}
#endif

INLINE void gather_of(rcnn_dtype type, shape s, const void *const *pixel, size_t channels,
                      const rcnn_winograd_inputs *to)
{
    for (size_t c = 0; c < channels; c += STEP) {
        lanes between[STEP / LANES][IN_MAX][IN_MAX];
        fetch_ahead(s, type, pixel, channels, c);
        for (size_t half = 0; half < STEP / LANES; half++) {
            gather_columns(s, type, pixel, c + half * LANES, between[half]);
        }
#pragma GCC unroll 8
        for (int y = 0; y < in_of(s); y++) {
            lanes out[STEP / LANES][IN_MAX];
            for (size_t half = 0; half < STEP / LANES; half++) {
                to_products(s, between[half][y], out[half]);
            }
#pragma GCC unroll 8
            for (int x = 0; x < in_of(s); x++) {
                store_product(to, (size_t)(y * in_of(s) + x), c, out, x);
            }
        }
    }
#ifdef BYTE_FACTORS
    for (size_t p = 0; p < (size_t)(in_of(s) * in_of(s)); p++) {
        to->step[p * to->step_stride] =
            to_bytes(to->work + p * to->work_stride, channels, (uint8_t *)to->v + p * to->stride);
    }
#endif
}

/* ------------------------------------------------------------- scatter */

INLINE void scatter_of(rcnn_dtype type, shape s, const rcnn_product_store *how, const float *m, size_t stride,
                       size_t panel_stride, int32_t channels, const void *const *residual, void *const *pixel)
{
    const lanes residual_factor = spread(how->residual_factor);
    for (size_t c = 0; c < (size_t)channels; c += LANES) {
        const size_t at = c / RCNN_PRODUCT_PANEL * panel_stride + c % RCNN_PRODUCT_PANEL;
        lanes between[OUT_MAX][IN_MAX];
#pragma GCC unroll 8
        for (int x = 0; x < in_of(s); x++) {
            lanes in[IN_MAX], out[OUT_MAX];
#pragma GCC unroll 8
            for (int y = 0; y < in_of(s); y++) {
                in[y] = load(RCNN_F32, m, (size_t)(y * in_of(s) + x) * stride + at);
            }
            to_outputs(s, in, out);
#pragma GCC unroll 8
            for (int y = 0; y < out_of(s); y++) {
                between[y][x] = out[y];
            }
        }
        const lanes scale = load(RCNN_F32, how->scale, c);
        const lanes bias = load(RCNN_F32, how->bias, c);
#pragma GCC unroll 8
        for (int y = 0; y < out_of(s); y++) {
            lanes out[OUT_MAX];
            to_outputs(s, between[y], out);
#pragma GCC unroll 8
            for (int x = 0; x < out_of(s); x++) {
                const int at_pixel = y * out_of(s) + x;
                lanes value = fused(out[x], scale, bias);
                if (residual) {
                    value = fused(load(how->residual, residual[at_pixel], c), residual_factor, value);
                }
                value =
                    how->relu && type != RCNN_U8 ? larger(spread(0), value) : value; /* U8 has no negative numbers */
                store(type, pixel[at_pixel], c, value);
            }
        }
    }
}

/* ------------------------------------------------------------- bodies */

#define FUNCTIONS(shape, suffix)                                                                                       \
    static void gather_##suffix(rcnn_dtype type, const void *const *pixel, int32_t channels,                           \
                                const rcnn_winograd_inputs *to)                                                        \
    {                                                                                                                  \
        RCNN_CPU_BY_TYPE(type, gather_of, shape, pixel, (size_t)channels, to)                                          \
    }                                                                                                                  \
    static void scatter_##suffix(const rcnn_product_store *how, const float *m, size_t stride, size_t panel_stride,    \
                                 int32_t channels, const void *const *residual, void *const *pixel)                    \
    {                                                                                                                  \
        RCNN_CPU_BY_TYPE(how->dst, scatter_of, shape, how, m, stride, panel_stride, channels, residual, pixel)         \
    }

#ifdef BYTE_FACTORS
FUNCTIONS(SHAPE_4X4, 4x4)
#else
FUNCTIONS(SHAPE_5X5, 5x5)
#endif
FUNCTIONS(SHAPE_3X3_STRIDE2, 3x3_stride2)

#define BODY(suffix, multiplier, tiles)                                                                                \
    {                                                                                                                  \
        .tile = &rcnn_winograd_##suffix, .product = &(multiplier), .block_tiles = (tiles), .gather = gather_##suffix,  \
        .scatter = scatter_##suffix                                                                                    \
    }
#define BODIES(name, suffix, multiplier, tiles)                                                                        \
    const rcnn_winograd_bodies name = {.stride1 = BODY(suffix, multiplier, tiles),                                     \
                                       .stride2 = BODY(3x3_stride2, multiplier, tiles)};
