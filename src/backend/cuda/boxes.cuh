/* What the kernels on boxes share: scores as keys that sort, the arithmetic of src/backend/ref/boxes.c, and counting and
 * sorting by one block. Decisions hang on the bits of these floats: files that include this are compiled with
 * --fmad=false. */
#ifndef RCNN_BACKEND_CUDA_BOXES_CUH
#define RCNN_BACKEND_CUDA_BOXES_CUH

#include "backend/cuda/device.cuh"

#define RCNN_ALL_LANES 0xffffffffu

static __device__ __forceinline__ int32_t rcnn_lane(void)
{
    return (int32_t)threadIdx.x % 32;
}

static __device__ __forceinline__ int32_t rcnn_warp(void)
{
    return (int32_t)threadIdx.x / 32;
}

static __device__ __forceinline__ uint32_t rcnn_lower_lanes(void)
{
    return (1u << rcnn_lane()) - 1u;
}

/* The next piece of a scratch block: `bytes` bytes, 256-aligned. A NULL base only counts. */
static inline void *rcnn_take(void *base, size_t *used, size_t bytes)
{
    const size_t at = *used;
    *used += (bytes + 255) / 256 * 256;
    return base ? (unsigned char *)base + at : NULL;
}

/* ------------------------------------------------------------- scores and boxes */

/* Rises as the score falls, so that the best sort first; equal for -0 and 0. Its own inverse on bits. */
static __device__ __forceinline__ uint32_t rcnn_score_key(float score)
{
    const uint32_t bits = __float_as_uint(score + 0.0f); /* -0 becomes 0 */
    return bits >> 31 ? bits : bits ^ 0x7fffffffu;
}

static __device__ __forceinline__ float rcnn_key_score(uint32_t key)
{
    return __uint_as_float(key >> 31 ? key : key ^ 0x7fffffffu);
}

static __device__ __forceinline__ bool rcnn_is_finite(float value)
{
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

static __device__ __forceinline__ float4 rcnn_box_at(const float *boxes, size_t i)
{
    return reinterpret_cast<const float4 *>(boxes)[i];
}

#define RCNN_LOG_MAX_RATIO 4.135166556742356f /* log(1000/16) */

/* One axis of rcnn_ref_decode: k = 0 is x and width, 1 is y and height. */
static __device__ __forceinline__ void rcnn_decode_axis(const rcnn_cuda_decode *decode, int32_t k, float low,
                                                        float high, float shift, float growth, float *out_low,
                                                        float *out_high)
{
    const float shift_weight = decode->weight[k], growth_weight = decode->weight[k + 2];
    shift = decode->multiply ? shift * shift_weight : shift / shift_weight;
    growth = decode->multiply ? growth * growth_weight : growth / growth_weight;
    growth = fminf(decode->clamp_both ? fmaxf(growth, -RCNN_LOG_MAX_RATIO) : growth, RCNN_LOG_MAX_RATIO);
    const float side = high - low;
    const float centre = decode->multiply ? (low + high) * 0.5f : low + 0.5f * side;
    const float new_centre = centre + side * shift;
    const float new_side = side * expf(growth);
    *out_low = new_centre - new_side * 0.5f;
    *out_high = new_centre + new_side * 0.5f;
}

/* rcnn_ref_decode: delta dx,dy,dw,dh on a box. */
static __device__ __forceinline__ float4 rcnn_decode_box(const rcnn_cuda_decode *decode, float4 box, float4 delta)
{
    float4 out;
    rcnn_decode_axis(decode, 0, box.x, box.z, delta.x, delta.z, &out.x, &out.z);
    rcnn_decode_axis(decode, 1, box.y, box.w, delta.y, delta.w, &out.y, &out.w);
    return out;
}

static __device__ __forceinline__ float4 rcnn_clip_box(float4 box, int32_t width, int32_t height)
{
    const float right = (float)width, bottom = (float)height;
    return make_float4(fminf(fmaxf(box.x, 0.0f), right), fminf(fmaxf(box.y, 0.0f), bottom),
                       fminf(fmaxf(box.z, 0.0f), right), fminf(fmaxf(box.w, 0.0f), bottom));
}

static __device__ __forceinline__ bool rcnn_side_at_least(float4 box, float minimum, int32_t inclusive)
{
    const float width = box.z - box.x, height = box.w - box.y;
    if (minimum < 0) {
        return true;
    }
    return inclusive ? width >= minimum && height >= minimum : width > minimum && height > minimum;
}

static __device__ __forceinline__ void rcnn_list_put(const rcnn_cuda_list *list, int32_t n, int32_t place, float4 box,
                                                     float score, int32_t group)
{
    const size_t at = (size_t)n * (size_t)list->capacity + (size_t)place;
    reinterpret_cast<float4 *>(list->boxes)[at] = box;
    list->scores[at] = score;
    list->groups[at] = group;
}

/* ------------------------------------------------------------- counting by one block (all its threads call) */

/* How many threads before this one have the flag, and how many of the block do. sums: shared [32]. */
static __device__ __forceinline__ int32_t rcnn_block_place(bool flag, uint32_t *sums, int32_t *total)
{
    const uint32_t votes = __ballot_sync(RCNN_ALL_LANES, flag);
    if (rcnn_lane() == 0) {
        sums[rcnn_warp()] = (uint32_t)__popc(votes);
    }
    __syncthreads();
    const uint32_t sum = rcnn_lane() < (int32_t)blockDim.x / 32 ? sums[rcnn_lane()] : 0;
    *total = (int32_t)__reduce_add_sync(RCNN_ALL_LANES, sum);
    const uint32_t before = __reduce_add_sync(RCNN_ALL_LANES, rcnn_lane() < rcnn_warp() ? sum : 0);
    __syncthreads();
    return (int32_t)before + __popc(votes & rcnn_lower_lanes());
}

/* Sum of the values of the lanes below this one. */
static __device__ __forceinline__ uint32_t rcnn_warp_before(uint32_t value)
{
    uint32_t sum = value;
    for (int32_t step = 1; step < 32; step *= 2) {
        const uint32_t lower = __shfl_up_sync(RCNN_ALL_LANES, sum, (unsigned)step);
        sum += rcnn_lane() >= step ? lower : 0;
    }
    return sum - value;
}

static __device__ __forceinline__ uint32_t rcnn_block_or(uint32_t value, uint32_t *sums)
{
    value = __reduce_or_sync(RCNN_ALL_LANES, value);
    if (rcnn_lane() == 0) {
        sums[rcnn_warp()] = value;
    }
    __syncthreads();
    value = rcnn_lane() < (int32_t)blockDim.x / 32 ? sums[rcnn_lane()] : 0;
    value = __reduce_or_sync(RCNN_ALL_LANES, value);
    __syncthreads();
    return value;
}

static __device__ __forceinline__ uint32_t rcnn_block_max(uint32_t value, uint32_t *sums)
{
    value = __reduce_max_sync(RCNN_ALL_LANES, value);
    if (rcnn_lane() == 0) {
        sums[rcnn_warp()] = value;
    }
    __syncthreads();
    value = rcnn_lane() < (int32_t)blockDim.x / 32 ? sums[rcnn_lane()] : 0;
    value = __reduce_max_sync(RCNN_ALL_LANES, value);
    __syncthreads();
    return value;
}

/* Where a running sum over columns reaches a number. */
typedef struct rcnn_cut {
    int32_t column; /* the first whose sum, itself included, reaches it; the last one when none does */
    uint32_t below; /* sum of the columns before it                                                  */
} rcnn_cut;

/* Over 32 * PER_LANE columns in shared memory; every warp finds the same. */
template <int32_t PER_LANE> static __device__ rcnn_cut rcnn_find_cut(const uint32_t *columns, uint32_t wanted)
{
    const int32_t first = rcnn_lane() * PER_LANE;
    uint32_t sum = 0;
    for (int32_t i = 0; i < PER_LANE; i++) {
        sum += columns[first + i];
    }
    rcnn_cut cut = {first, rcnn_warp_before(sum)};
    const uint32_t votes = __ballot_sync(RCNN_ALL_LANES, cut.below + sum >= wanted);
    while (cut.column < first + PER_LANE - 1 && cut.below + columns[cut.column] < wanted) {
        cut.below += columns[cut.column++];
    }
    const int32_t lane = votes ? __ffs((int)votes) - 1 : 31;
    cut.column = __shfl_sync(RCNN_ALL_LANES, cut.column, lane);
    cut.below = __shfl_sync(RCNN_ALL_LANES, cut.below, lane);
    return cut;
}

/* ------------------------------------------------------------- sorting by one block */

#define RCNN_SORT_THREADS  1024
#define RCNN_SORT_WARPS    32
#define RCNN_SORT_DIGITS   256
#define RCNN_SORT_COUNTERS (RCNN_SORT_WARPS * RCNN_SORT_DIGITS)
/* Longest list that is sorted in shared memory: counters, keys and two u16 orders must fit the 99 KiB of sm_86. */
#define RCNN_SORT_SHARED_MAX 7168
#define RCNN_SORT_SHARED_BYTES                                                                                         \
    (sizeof(uint32_t) * RCNN_SORT_COUNTERS + (sizeof(uint32_t) + 2 * sizeof(uint16_t)) * RCNN_SORT_SHARED_MAX)

/* counters [warp][digit], how often a digit occurs in the warp's part -> where the first of them goes. */
static __device__ __forceinline__ void rcnn_sort_places(uint32_t *counters)
{
    __shared__ uint32_t quarters[4 * RCNN_SORT_DIGITS];
    __shared__ uint32_t sums[RCNN_SORT_WARPS];
    const int32_t digit = (int32_t)threadIdx.x % RCNN_SORT_DIGITS;
    const int32_t quarter = (int32_t)threadIdx.x / RCNN_SORT_DIGITS; /* 8 of the 32 parts */
    uint32_t *mine = counters + quarter * 8 * RCNN_SORT_DIGITS + digit;
    uint32_t sum = 0;
    for (int32_t part = 0; part < 8; part++) {
        sum += mine[part * RCNN_SORT_DIGITS];
    }
    quarters[threadIdx.x] = sum;
    __syncthreads();
    uint32_t all = 0, place = 0;
    for (int32_t q = 0; q < 4; q++) {
        const uint32_t count = quarters[q * RCNN_SORT_DIGITS + digit];
        all += count;
        place += q < quarter ? count : 0;
    }
    const uint32_t lower = rcnn_warp_before(all);
    if (rcnn_lane() == 31) {
        sums[rcnn_warp()] = lower + all;
    }
    __syncthreads();
    const int32_t first_warp = quarter * 8;
    const bool is_lower = rcnn_lane() >= first_warp && rcnn_lane() < rcnn_warp();
    place += lower + __reduce_add_sync(RCNN_ALL_LANES, is_lower ? sums[rcnn_lane()] : 0);
    for (int32_t part = 0; part < 8; part++) {
        const uint32_t count = mine[part * RCNN_SORT_DIGITS];
        mine[part * RCNN_SORT_DIGITS] = place;
        place += count;
    }
}

/* One stable pass by the digit of key at `shift`: dst = src in the order of that digit. */
template <typename Index>
static __device__ __forceinline__ void rcnn_sort_pass(const uint32_t *key, const Index *src, Index *dst, int32_t count,
                                                      int32_t shift, uint32_t *counters)
{
    const int32_t part = (count + RCNN_SORT_THREADS - 1) / RCNN_SORT_THREADS * 32; /* of one warp */
    const int32_t first = rcnn_warp() * part, end = min(first + part, count);
    uint32_t *mine = counters + rcnn_warp() * RCNN_SORT_DIGITS;
    for (int32_t i = rcnn_lane(); i < RCNN_SORT_DIGITS; i += 32) {
        mine[i] = 0;
    }
    __syncwarp();
    for (int32_t i = first + rcnn_lane(); i < end; i += 32) {
        atomicAdd(&mine[key[src[i]] >> shift & 255u], 1u);
    }
    __syncthreads();
    rcnn_sort_places(counters);
    __syncthreads();
    for (int32_t base = first; base < end; base += 32) {
        const bool live = base + rcnn_lane() < end;
        const Index item = live ? src[base + rcnn_lane()] : (Index)0;
        const uint32_t digit = live ? key[item] >> shift & 255u : 0;
        uint32_t same = __ballot_sync(RCNN_ALL_LANES, live); /* lanes with this digit */
        for (int32_t bit = 0; bit < 8; bit++) {
            const uint32_t votes = __ballot_sync(RCNN_ALL_LANES, digit >> bit & 1u);
            same &= digit >> bit & 1u ? votes : ~votes;
        }
        const uint32_t place = mine[digit] + (uint32_t)__popc(same & rcnn_lower_lanes());
        __syncwarp();
        if (live) {
            dst[place] = item;
            if (same >> rcnn_lane() == 1u) { /* the last of them */
                mine[digit] = place + 1;
            }
        }
        __syncwarp();
    }
    __syncthreads();
}

/* Sorts `order`, indices of key, stably by rising key; the sorted one of order and spare is returned. varying: the bits
 * in which keys differ, the same in all threads; digits without any are skipped. The block has RCNN_SORT_THREADS threads.
 * Radix sort rather than bitonic: the time is a few fixed costs for short lists and proportional for any length, in
 * shared or device memory alike. */
template <typename Index>
static __device__ __forceinline__ Index *rcnn_block_sort(const uint32_t *key, Index *order, Index *spare, int32_t count,
                                                         uint32_t varying, uint32_t *counters)
{
    __syncthreads();
    for (int32_t shift = 0; shift < 32; shift += 8) {
        if (varying >> shift & 255u) {
            rcnn_sort_pass(key, order, spare, count, shift, counters);
            Index *sorted = spare;
            spare = order;
            order = sorted;
        }
    }
    return order;
}

#endif
