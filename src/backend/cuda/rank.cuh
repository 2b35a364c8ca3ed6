/* Sorting by counting: the place of a candidate is the number of those before it. Short lists are sorted faster so than by
 * passes with barriers between them, because any number of blocks can share the work. */
#ifndef RCNN_BACKEND_CUDA_RANK_CUH
#define RCNN_BACKEND_CUDA_RANK_CUH

#include "backend/cuda/boxes.cuh"

#define RCNN_RANK_MAX   2048 /* longest list: the work grows with the square */
#define RCNN_RANK_ITEMS 4    /* neighbours that a warp places at a time */

/* place[t] = how many of `count` keys in shared memory sort before key[first + t]; equal ones by number. One warp; all
 * lanes get the result. Items past the end get the place of the last one. */
static __device__ __forceinline__ void rcnn_warp_rank(const uint32_t *key, int32_t count, int32_t first,
                                                      uint32_t place[RCNN_RANK_ITEMS])
{
    uint32_t mine[RCNN_RANK_ITEMS];
#pragma unroll
    for (int32_t t = 0; t < RCNN_RANK_ITEMS; t++) {
        mine[t] = key[min(first + t, count - 1)];
        place[t] = 0;
    }
    int32_t j = rcnn_lane();
#pragma unroll 4
    for (; j < first; j += 32) { /* before all items */
        const uint32_t other = key[j];
#pragma unroll
        for (int32_t t = 0; t < RCNN_RANK_ITEMS; t++) {
            place[t] += other <= mine[t];
        }
    }
    if (j < count) { /* among the items */
        const uint32_t other = key[j];
#pragma unroll
        for (int32_t t = 0; t < RCNN_RANK_ITEMS; t++) {
            place[t] += other < mine[t] || (other == mine[t] && j < min(first + t, count - 1));
        }
    }
#pragma unroll 4
    for (j += 32; j < count; j += 32) { /* behind all items */
        const uint32_t other = key[j];
#pragma unroll
        for (int32_t t = 0; t < RCNN_RANK_ITEMS; t++) {
            place[t] += other < mine[t];
        }
    }
#pragma unroll
    for (int32_t t = 0; t < RCNN_RANK_ITEMS; t++) {
        place[t] = __reduce_add_sync(RCNN_ALL_LANES, place[t]);
    }
}

#endif
