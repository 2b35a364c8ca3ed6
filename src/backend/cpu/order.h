/* Sorting and ranking of floats by integer keys: ascending keys are descending values, so "best first, ties by lower
 * index" is a stable ascending sort. Allocates nothing. */
#ifndef RCNN_BACKEND_CPU_ORDER_H
#define RCNN_BACKEND_CPU_ORDER_H

#include <stdint.h>
#include <string.h>

/* Larger value, smaller key; -0 and +0 share a key. Not for NaN. */
static inline uint32_t rcnn_cpu_descending_key(float value)
{
    uint32_t bits;
    value += 0.0f; /* -0 becomes +0 */
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

static inline float rcnn_cpu_value_of_key(uint32_t key)
{
    uint32_t bits = key >> 31 ? key : ~key & 0x7fffffffu;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The k-th smallest key (k = 1 .. count). */
uint32_t rcnn_cpu_kth_key(const uint32_t *keys, int32_t count, int32_t k);

/* Sorts the pairs (key, index) by ascending key, keeping the order of equal keys. spare_*: [count] each. */
void rcnn_cpu_sort_pairs(uint32_t *keys, int32_t *indices, uint32_t *spare_keys, int32_t *spare_indices, int32_t count);

#endif
