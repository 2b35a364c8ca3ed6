/* The body `add` of body.h for any width of vector. body_<isa>.c includes it behind lanes_<isa>.h. What whole vectors leave over
 * is done by the C entry. */
#ifndef RCNN_BACKEND_CPU_ADD_VECTOR_H
#define RCNN_BACKEND_CPU_ADD_VECTOR_H

#include "backend/cpu/body.h"

INLINE void add_as(rcnn_dtype dst_type, rcnn_dtype a_type, rcnn_dtype b_type, const rcnn_cpu_addends *how,
                   const void *a, const void *b, size_t count, void *dst)
{
    const lanes a_factor = spread(how->a_factor), b_factor = spread(how->b_factor), zero = spread(0);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes sum = load(a_type, a, i) * a_factor;
        if (b) {
            sum += load(b_type, b, i) * b_factor;
        }
        store(dst_type, dst, i, how->relu ? larger(zero, sum) : sum);
    }
    if (i < count) {
        rcnn_cpu_add_rest(how, a, b, count, i, dst);
    }
}

/* The types that networks have are constants for the compiler, all others are looked at vector by vector. */
static void add(const rcnn_cpu_addends *how, const void *a, const void *b, size_t count, void *dst)
{
    const rcnn_dtype x = how->a_type, y = how->b_type, z = how->dst_type;
    if (x == RCNN_F32 && !b) {
        RCNN_CPU_BY_TYPE(z, add_as, RCNN_F32, RCNN_F32, how, a, NULL, count, dst)
    } else if (x == RCNN_F32 && y == RCNN_BF16) {
        RCNN_CPU_BY_TYPE(z, add_as, RCNN_F32, RCNN_BF16, how, a, b, count, dst)
    } else if (x == RCNN_F32 && y == RCNN_F32 && z == RCNN_F32) {
        add_as(RCNN_F32, RCNN_F32, RCNN_F32, how, a, b, count, dst);
    } else if (x == RCNN_BF16 && y == RCNN_BF16 && z == RCNN_BF16) {
        add_as(RCNN_BF16, RCNN_BF16, RCNN_BF16, how, a, b, count, dst);
    } else if (x == RCNN_I8 && y == RCNN_I8 && z == RCNN_I8) {
        add_as(RCNN_I8, RCNN_I8, RCNN_I8, how, a, b, count, dst);
    } else if (x == RCNN_BF16 && y == RCNN_I8 && z == RCNN_I8) {
        add_as(RCNN_I8, RCNN_BF16, RCNN_I8, how, a, b, count, dst);
    } else {
        add_as(z, x, y, how, a, b, count, dst);
    }
}

#endif
