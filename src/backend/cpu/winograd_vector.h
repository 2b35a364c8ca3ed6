/* The bodies of winograd.h for any width of vector. winograd_<isa>.c includes it behind lanes_<isa>.h, with BF16_FACTORS
 * defined where products are of BF16. */
#include "backend/cpu/winograd.h"

#define IN  RCNN_WINOGRAD_IN
#define OUT RCNN_WINOGRAD_OUT
#define A   RCNN_WINOGRAD_A
#define B   RCNN_WINOGRAD_B
#define C   RCNN_WINOGRAD_C

#ifdef BF16_FACTORS
#define STEP (2 * LANES) /* channels whose products are stored at once: one vector of BF16 */
#else
#define STEP LANES
#endif

/* ------------------------------------------------------------- transforms */

/* The products of the points p and -p; q and r are the other pairs. */
INLINE void to_pair(float p, float q, float r, const lanes in[IN], lanes out[2])
{
    const lanes none = spread(q * q * r * r);
    const lanes two = spread(-q * q - r * r);
    const lanes even = fused(none, in[0], fused(two, in[2], in[4]));
    const lanes odd = fused(none, in[1], fused(two, in[3], in[5]));
    out[0] = fused(spread(p), even, odd);
    out[1] = fused(spread(-p), even, odd);
}

/* out = B' in. Rows of B' are the coefficients of the products (x - q) over all points q but the row's own; infinity's is
 * that over all. */
INLINE void to_products(const lanes in[IN], lanes out[IN])
{
    to_pair(A, B, C, in, out);
    to_pair(B, A, C, in, out + 2);
    to_pair(C, A, B, in, out + 4);
    out[6] = fused(spread(-A * A * B * B * C * C), in[0],
                   fused(spread(A * A * B * B + A * A * C * C + B * B * C * C), in[2],
                         fused(spread(-A * A - B * B - C * C), in[4], in[6])));
}

/* out = A' in: column of a point p is 1, p, p^2, p^3, p^4; infinity's is 0, 0, 0, 0, 1. */
INLINE void to_outputs(const lanes in[IN], lanes out[OUT])
{
    const lanes a = spread(A), b = spread(B), c = spread(C);
    const lanes aa = spread(A * A), bb = spread(B * B), cc = spread(C * C);
    const lanes even_a = in[0] + in[1];
    const lanes even_b = in[2] + in[3];
    const lanes even_c = in[4] + in[5];
    const lanes odd_a = a * (in[0] - in[1]);
    const lanes odd_b = b * (in[2] - in[3]);
    const lanes odd_c = c * (in[4] - in[5]);
    out[0] = even_a + even_b + even_c;
    out[1] = odd_a + odd_b + odd_c;
    out[2] = fused(aa, even_a, fused(bb, even_b, cc * even_c));
    out[3] = fused(aa, odd_a, fused(bb, odd_b, cc * odd_c));
    out[4] = fused(aa * aa, even_a, fused(bb * bb, even_b, fused(cc * cc, even_c, in[6])));
}

/* ------------------------------------------------------------- gather */

/* The inputs that the tile to the right has and this one has not: they are wanted next. */
INLINE void fetch_ahead(rcnn_dtype type, const void *const pixel[RCNN_WINOGRAD_PRODUCTS], int32_t channels, size_t c)
{
    for (int y = 0; y < IN; y++) {
        for (int x = IN - OUT; x < IN; x++) {
            __builtin_prefetch(rcnn_cpu_at(type, pixel[y * IN + x], c + OUT * (size_t)channels));
        }
    }
}

INLINE void gather_columns(rcnn_dtype type, const void *const pixel[RCNN_WINOGRAD_PRODUCTS], size_t c,
                           lanes between[IN][IN])
{
    for (int x = 0; x < IN; x++) {
        lanes in[IN], out[IN];
        for (int y = 0; y < IN; y++) {
            in[y] = load(type, pixel[y * IN + x], c);
        }
        to_products(in, out);
        for (int y = 0; y < IN; y++) {
            between[y][x] = out[y];
        }
    }
}

INLINE void gather_of(rcnn_dtype type, const void *const pixel[RCNN_WINOGRAD_PRODUCTS], int32_t channels, void *v,
                      size_t stride)
{
    for (size_t c = 0; c < (size_t)channels; c += STEP) {
        lanes between[STEP / LANES][IN][IN];
        fetch_ahead(type, pixel, channels, c);
        for (size_t half = 0; half < STEP / LANES; half++) {
            gather_columns(type, pixel, c + half * LANES, between[half]);
        }
        for (int y = 0; y < IN; y++) {
            lanes out[STEP / LANES][IN];
            for (size_t half = 0; half < STEP / LANES; half++) {
                to_products(between[half][y], out[half]);
            }
            for (int x = 0; x < IN; x++) {
                const size_t at = (size_t)(y * IN + x) * stride + c;
#ifdef BF16_FACTORS
                _mm512_storeu_si512((uint16_t *)v + at, (__m512i)_mm512_cvtne2ps_pbh(out[1][x], out[0][x]));
#else
                store(RCNN_F32, v, at, out[0][x]);
#endif
            }
        }
    }
}

static void gather(rcnn_dtype type, const void *const pixel[RCNN_WINOGRAD_PRODUCTS], int32_t channels, void *v,
                   size_t stride)
{
    RCNN_CPU_BY_TYPE(type, gather_of, pixel, channels, v, stride)
}

/* ------------------------------------------------------------- scatter */

INLINE void scatter_of(rcnn_dtype type, const rcnn_product_store *how, const float *m, size_t stride,
                       size_t panel_stride, int32_t channels, const void *const *residual, void *const pixel[OUT * OUT])
{
    const lanes residual_factor = spread(how->residual_factor);
    for (size_t c = 0; c < (size_t)channels; c += LANES) {
        const size_t at = c / RCNN_PRODUCT_PANEL * panel_stride + c % RCNN_PRODUCT_PANEL;
        lanes between[OUT][IN];
        for (int x = 0; x < IN; x++) {
            lanes in[IN], out[OUT];
            for (int y = 0; y < IN; y++) {
                in[y] = load(RCNN_F32, m, (size_t)(y * IN + x) * stride + at);
            }
            to_outputs(in, out);
            for (int y = 0; y < OUT; y++) {
                between[y][x] = out[y];
            }
        }
        const lanes scale = load(RCNN_F32, how->scale, c);
        const lanes bias = load(RCNN_F32, how->bias, c);
        for (int y = 0; y < OUT; y++) {
            lanes out[OUT];
            to_outputs(between[y], out);
            for (int x = 0; x < OUT; x++) {
                lanes value = fused(out[x], scale, bias);
                if (residual) {
                    value = fused(load(how->residual, residual[y * OUT + x], c), residual_factor, value);
                }
                value =
                    how->relu && type != RCNN_U8 ? larger(spread(0), value) : value; /* U8 has no negative numbers */
                store(type, pixel[y * OUT + x], c, value);
            }
        }
    }
}

static void scatter(const rcnn_product_store *how, const float *m, size_t stride, size_t panel_stride, int32_t channels,
                    const void *const *residual, void *const pixel[OUT * OUT])
{
    RCNN_CPU_BY_TYPE(how->dst, scatter_of, how, m, stride, panel_stride, channels, residual, pixel)
}
