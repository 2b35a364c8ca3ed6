/* What the cpu backend's own ops (all but the oneDNN ones) have in common: a kernel that is a copy of the op with the
 * shapes of its values, and the cutting of scratch memory into arrays. Holds no arithmetic. */
#ifndef RCNN_BACKEND_CPU_OP_H
#define RCNN_BACKEND_CPU_OP_H

#include <stddef.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cpu/body.h"
#include "backend/cpu/cpu.h"

typedef struct rcnn_cpu_kernel {
    struct rcnn_kernel head;
    rcnn_op op;
    rcnn_tensor_desc src[RCNN_OP_INPUTS_MAX], dst[RCNN_OP_OUTPUTS_MAX];
    float src_scale[RCNN_OP_INPUTS_MAX], dst_scale[RCNN_OP_OUTPUTS_MAX]; /* real = stored * scale; 1 but for I8, U8 */
    int32_t threads;
    size_t thread_bytes; /* scratch of one thread or one part of the work, for ops that split theirs */
    const rcnn_cpu_body *body;
} rcnn_cpu_kernel;

typedef rcnn_status (*rcnn_cpu_enqueue)(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err);

/* A kernel of `op` that runs `enqueue`; released by rcnn_free. Features may be F32, BF16, I8 or U8 (PREPROCESS: F32 or
 * BF16; MAXPOOL: input and output alike; ROI_ALIGN: all levels of one type), everything else is F32 or I32. Statuses:
 * MEMORY, UNSUPPORTED for other element types. */
rcnn_status rcnn_cpu_kernel_create(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                   rcnn_cpu_enqueue enqueue, rcnn_cpu_kernel **out, rcnn_error *err);

static inline const rcnn_cpu_kernel *rcnn_cpu_kernel_of(const rcnn_kernel *kernel)
{
    return (const rcnn_cpu_kernel *)(const void *)kernel; /* head is its first member */
}

static inline void *rcnn_cpu_input(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t i)
{
    return args->value[k->op.input[i]];
}

static inline void *rcnn_cpu_output(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t i)
{
    return args->value[k->op.output[i]];
}

/* Elements of one entry of dim[0]. Values exist in memory, so the product fits. */
static inline size_t rcnn_cpu_row_elements(const rcnn_tensor_desc *desc)
{
    size_t count = 1;
    for (int32_t i = 1; i < desc->rank; i++) {
        count *= (size_t)desc->dim[i];
    }
    return count;
}

/* Maps are dealt out to threads in stretches of rows: rows alone are too few for many threads. */
#define RCNN_CPU_STRETCH 64

static inline int32_t rcnn_cpu_stretch_end(int32_t from, int32_t width)
{
    return width - from < RCNN_CPU_STRETCH ? width : from + RCNN_CPU_STRETCH;
}

/* A packed row: entry `r` of image `n`. */
typedef struct rcnn_cpu_row {
    int32_t n, r;
} rcnn_cpu_row;

static inline rcnn_cpu_row rcnn_cpu_row_at(const int32_t *counts, int32_t packed)
{
    rcnn_cpu_row at = {.n = 0, .r = packed};
    while (at.r >= counts[at.n]) {
        at.r -= counts[at.n++];
    }
    return at;
}

/* Number of the calling thread within a parallel region. */
static inline int32_t rcnn_cpu_thread_index(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* Hands out aligned arrays. With base NULL it only adds up, so that one function both sizes and cuts: call it at
 * prepare for `used`, at enqueue for the pointers. */
typedef struct rcnn_cpu_scratch {
    unsigned char *base;
    size_t used;
} rcnn_cpu_scratch;

static inline void *rcnn_cpu_take(rcnn_cpu_scratch *scratch, size_t count, size_t item)
{
    const size_t align = 64;
    void *pointer = scratch->base ? scratch->base + scratch->used : NULL;
    scratch->used += (count * item + align - 1) / align * align;
    return pointer;
}

#endif
