/* The bodies of winograd.h for any width of vector. winograd_<isa>.c includes it behind lanes_<isa>.h, with BF16_FACTORS
 * defined where products are of BF16. */
#include "backend/cpu/winograd.h"

#define IN  RCNN_WINOGRAD_IN
#define OUT RCNN_WINOGRAD_OUT

#ifdef BF16_FACTORS
#define STEP (2 * LANES) /* channels whose products are stored at once: one vector of BF16 */
#else
#define STEP LANES
#endif

/* ------------------------------------------------------------- transforms */

/* out = B' in. Rows of B' are the coefficients of the products (x - q) over all points q but the row's own; infinity's is
 * that over all. */
INLINE void to_products(const lanes in[IN], lanes out[IN])
{
    const lanes aa = spread(-RCNN_WINOGRAD_A * RCNN_WINOGRAD_A);
    const lanes bb = spread(-RCNN_WINOGRAD_B * RCNN_WINOGRAD_B);
    const lanes both = spread(-RCNN_WINOGRAD_A * RCNN_WINOGRAD_A - RCNN_WINOGRAD_B * RCNN_WINOGRAD_B);
    const lanes all = spread(RCNN_WINOGRAD_A * RCNN_WINOGRAD_A * RCNN_WINOGRAD_B * RCNN_WINOGRAD_B);
    const lanes even_a = fused(bb, in[2], in[4]);
    const lanes odd_a = spread(RCNN_WINOGRAD_A) * fused(bb, in[1], in[3]);
    const lanes even_b = fused(aa, in[2], in[4]);
    const lanes odd_b = spread(RCNN_WINOGRAD_B) * fused(aa, in[1], in[3]);
    out[0] = fused(all, in[0], fused(both, in[2], in[4]));
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = fused(all, in[1], fused(both, in[3], in[5]));
}

/* out = A' in: column of a point p is 1, p, p^2, p^3; infinity's is 0, 0, 0, 1. */
INLINE void to_outputs(const lanes in[IN], lanes out[OUT])
{
    const lanes a = spread(RCNN_WINOGRAD_A);
    const lanes b = spread(RCNN_WINOGRAD_B);
    const lanes even_a = in[1] + in[2];
    const lanes even_b = in[3] + in[4];
    const lanes odd_a = a * (in[1] - in[2]);
    const lanes odd_b = b * (in[3] - in[4]);
    out[0] = in[0] + even_a + even_b;
    out[1] = odd_a + odd_b;
    out[2] = fused(a * a, even_a, b * b * even_b);
    out[3] = fused(a * a, odd_a, fused(b * b, odd_b, in[5]));
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

INLINE void scatter_of(rcnn_dtype type, const rcnn_product_store *how, const float *m, size_t stride, int32_t channels,
                       const void *const *residual, void *const pixel[OUT * OUT])
{
    const lanes residual_factor = spread(how->residual_factor);
    for (size_t c = 0; c < (size_t)channels; c += LANES) {
        lanes between[OUT][IN];
        for (int x = 0; x < IN; x++) {
            lanes in[IN], out[OUT];
            for (int y = 0; y < IN; y++) {
                in[y] = load(RCNN_F32, m, (size_t)(y * IN + x) * stride + c);
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

static void scatter(const rcnn_product_store *how, const float *m, size_t stride, int32_t channels,
                    const void *const *residual, void *const pixel[OUT * OUT])
{
    RCNN_CPU_BY_TYPE(how->dst, scatter_of, how, m, stride, channels, residual, pixel)
}
