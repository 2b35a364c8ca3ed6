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
    int32_t threads;
    size_t thread_bytes; /* scratch of one thread or one part of the work, for ops that split theirs */
    const rcnn_cpu_body *body;
} rcnn_cpu_kernel;

typedef rcnn_status (*rcnn_cpu_enqueue)(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err);

/* A kernel of `op` that runs `enqueue`; released by rcnn_free. Statuses: MEMORY, UNSUPPORTED for element types other
 * than f32 and i32. */
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
