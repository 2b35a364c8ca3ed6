/* The filters of Winograd's tiles; winograd.h. */
#include "backend/cpu/winograd.h"

#define KERNEL 3
#define IN_MAX RCNN_WINOGRAD_IN_MAX

/* Rows of G. That of a point p is 1, p, p^2 divided by the product of (p - q) over the other points; infinity's is 0, 0, 1. */
typedef double points[IN_MAX][KERNEL];

#define POINT(p, divisor)                                                                                              \
    {                                                                                                                  \
        1 / (divisor), (p) / (divisor), (p) * (p) / (divisor)                                                          \
    }
#define INFINITE                                                                                                       \
    {                                                                                                                  \
        0, 0, 1                                                                                                        \
    }

#define A5                   (double)RCNN_WINOGRAD_5X5_A
#define B5                   (double)RCNN_WINOGRAD_5X5_B
#define C5                   (double)RCNN_WINOGRAD_5X5_C
#define DIVISOR_5X5(p, q, r) (2 * (p) * ((p) * (p) - (q) * (q)) * ((p) * (p) - (r) * (r)))

static const points POINTS_5X5 = {POINT(A5, DIVISOR_5X5(A5, B5, C5)),
                                  POINT(-A5, DIVISOR_5X5(-A5, B5, C5)),
                                  POINT(B5, DIVISOR_5X5(B5, A5, C5)),
                                  POINT(-B5, DIVISOR_5X5(-B5, A5, C5)),
                                  POINT(C5, DIVISOR_5X5(C5, A5, B5)),
                                  POINT(-C5, DIVISOR_5X5(-C5, A5, B5)),
                                  INFINITE};

#define A4                     (double)RCNN_WINOGRAD_4X4_A
#define B4                     (double)RCNN_WINOGRAD_4X4_B
#define DIVISOR_4X4_ZERO(p, q) ((p) * (p) * (q) * (q))
#define DIVISOR_4X4(p, q)      (2 * (p) * (p) * ((p) * (p) - (q) * (q)))

static const points POINTS_4X4 = {POINT(0, DIVISOR_4X4_ZERO(A4, B4)), POINT(A4, DIVISOR_4X4(A4, B4)),
                                  POINT(-A4, DIVISOR_4X4(A4, B4)),    POINT(B4, DIVISOR_4X4(B4, A4)),
                                  POINT(-B4, DIVISOR_4X4(B4, A4)),    INFINITE};

/* The first and last tap by the points 0, 1, -1 and infinity, then three times the one between. */
static const points POINTS_3X3_STRIDE2 = {{-1, 0, 0}, {0.5, 0, 0.5}, {0.5, 0, -0.5}, {0, 0, 1},
                                          {0, 1, 0},  {0, 1, 0},     {0, 1, 0}};

static void transform(const points g, int in, const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    const float *filter = op->w.weights + ((size_t)o * (size_t)op->w.in + (size_t)i) * KERNEL * KERNEL;
    for (int y = 0; y < in; y++) {
        double half[KERNEL];
        for (int x = 0; x < KERNEL; x++) {
            half[x] = g[y][0] * (double)filter[x] + g[y][1] * (double)filter[KERNEL + x] +
                      g[y][2] * (double)filter[2 * KERNEL + x];
        }
        for (int x = 0; x < in; x++) {
            element[y * in + x] = (float)(half[0] * g[x][0] + half[1] * g[x][1] + half[2] * g[x][2]);
        }
    }
}

static void filter_5x5(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    transform(POINTS_5X5, 7, op, o, i, element);
}

static void filter_4x4(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    transform(POINTS_4X4, 6, op, o, i, element);
}

static void filter_3x3_stride2(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    transform(POINTS_3X3_STRIDE2, 7, op, o, i, element);
}

const rcnn_winograd_tile rcnn_winograd_5x5 = {.in = 7, .out = 5, .stride = 1, .filter = filter_5x5};
const rcnn_winograd_tile rcnn_winograd_4x4 = {.in = 6, .out = 4, .stride = 1, .filter = filter_4x4};
const rcnn_winograd_tile rcnn_winograd_3x3_stride2 = {.in = 7, .out = 3, .stride = 2, .filter = filter_3x3_stride2};
