/* See order.h. Radix selection and radix sort with 11-bit digits: three passes over the data whatever the values. */
#include "backend/cpu/order.h"

#define DIGIT_BITS 11
#define DIGITS     (1u << DIGIT_BITS)
#define PASSES     3

/* Of the keys whose bits from `high` on are `prefix`: how many have each value of bits low .. high-1. */
static inline void count_digits(const uint32_t *keys, int32_t count, uint32_t prefix, uint32_t high, uint32_t low,
                                int32_t *histogram)
{
    const uint32_t digit_mask = (1u << (high - low)) - 1u;
    for (int32_t i = 0; i < count; i++) {
        if (high == 32 || keys[i] >> (high & 31) == prefix) {
            histogram[keys[i] >> low & digit_mask]++;
        }
    }
}

uint32_t rcnn_cpu_kth_key(const uint32_t *keys, int32_t count, int32_t k)
{
    static const uint32_t digit_bits[PASSES] = {11, 11, 10};
    uint32_t prefix = 0;
    for (int32_t pass = 0; pass < PASSES; pass++) {
        int32_t histogram[DIGITS] = {0};
        switch (pass) { /* the shifts as constants: this is most of the work */
        case 0:
            count_digits(keys, count, prefix, 32, 21, histogram);
            break;
        case 1:
            count_digits(keys, count, prefix, 21, 10, histogram);
            break;
        default:
            count_digits(keys, count, prefix, 10, 0, histogram);
        }
        uint32_t digit = 0;
        while (k > histogram[digit]) {
            k -= histogram[digit++];
        }
        prefix = prefix << digit_bits[pass] | digit;
    }
    return prefix;
}

/* One stable counting pass by the digit at `shift`; false when all keys share that digit and nothing was moved. */
static int scatter(const uint32_t *keys, const int32_t *indices, uint32_t *to_keys, int32_t *to_indices, int32_t count,
                   uint32_t shift)
{
    int32_t start[DIGITS] = {0};
    for (int32_t i = 0; i < count; i++) {
        start[keys[i] >> shift & (DIGITS - 1)]++;
    }
    if (start[keys[0] >> shift & (DIGITS - 1)] == count) {
        return 0;
    }
    int32_t end = 0;
    for (uint32_t d = 0; d < DIGITS; d++) {
        int32_t size = start[d];
        start[d] = end;
        end += size;
    }
    for (int32_t i = 0; i < count; i++) {
        int32_t at = start[keys[i] >> shift & (DIGITS - 1)]++;
        to_keys[at] = keys[i];
        to_indices[at] = indices[i];
    }
    return 1;
}

void rcnn_cpu_sort_pairs(uint32_t *keys, int32_t *indices, uint32_t *spare_keys, int32_t *spare_indices, int32_t count)
{
    uint32_t *from_keys = keys, *to_keys = spare_keys;
    int32_t *from_indices = indices, *to_indices = spare_indices;
    for (uint32_t pass = 0; count > 0 && pass < PASSES; pass++) {
        if (scatter(from_keys, from_indices, to_keys, to_indices, count, pass * DIGIT_BITS)) {
            uint32_t *swap_keys = from_keys;
            int32_t *swap_indices = from_indices;
            from_keys = to_keys;
            from_indices = to_indices;
            to_keys = swap_keys;
            to_indices = swap_indices;
        }
    }
    if (from_keys != keys && count > 0) {
        memcpy(keys, from_keys, (size_t)count * sizeof *keys);
        memcpy(indices, from_indices, (size_t)count * sizeof *indices);
    }
}
