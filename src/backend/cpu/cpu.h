/* Inside the cpu backend: what its op files share. One op = one file; cpu.c holds the vtable and the op table made from
 * ops.def; only onednn.c includes the oneDNN headers. */
#ifndef RCNN_BACKEND_CPU_CPU_H
#define RCNN_BACKEND_CPU_CPU_H

#include <stdbool.h>

#include "backend/backend.h"

/* Head of every kernel of this backend; each op's own struct starts with it. */
struct rcnn_kernel {
    rcnn_status (*enqueue)(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err);
    void (*release)(rcnn_kernel *kernel); /* frees the kernel itself too */
};

/* Threads that a parallel region of this backend may use. */
int32_t rcnn_cpu_threads(const rcnn_backend *backend);

/* The table's entry; copy_speed.c. */
rcnn_status rcnn_cpu_copy_speed(rcnn_backend *backend, double *gb_s, rcnn_error *err);

/* rcnn_cpu_prepare_<op>: makes the kernel of one op. */
#define OP(KIND, name, help)                                                                                           \
    rcnn_status rcnn_cpu_prepare_##name(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,             \
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);
#include "graph/ops.def"
#undef OP

/* Instruction sets the op bodies are built for, best last. The level in use is the best the processor has, lowered by the
 * environment variable RCNN_CPU_MASK (c, avx2, avx512), read when the backend is opened. */
typedef enum rcnn_cpu_isa { RCNN_CPU_C = 0, RCNN_CPU_AVX2 = 1, RCNN_CPU_AVX512 = 2 } rcnn_cpu_isa;
rcnn_cpu_isa rcnn_cpu_isa_of(const rcnn_backend *backend);

/* Live rows of a packed value: sum of counts [images]. */
static inline int32_t rcnn_cpu_live_rows(const int32_t *counts, int32_t images)
{
    int32_t rows = 0;
    for (int32_t n = 0; n < images; n++) {
        rows += counts[n];
    }
    return rows;
}

/* Whether the op behind `first`, of the same stage, alone reads the first one's output, as its first input. */
static inline bool rcnn_cpu_is_chain(const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first], *next = op + 1;
    return first + 1 < graph->op_count && next->stage == op->stage && next->input[0] == op->output[0] &&
           graph->values[op->output[0]].last_use == first + 1;
}

/* Mask channel of packed row `packed` of a MASK_LOGIT kernel; INTERNAL when a label of rows first .. first+count-1 has
 * none. */
int32_t rcnn_cpu_mask_logit_channel(const rcnn_kernel *kernel, const rcnn_args *args, int32_t packed);
rcnn_status rcnn_cpu_mask_logit_check(const rcnn_kernel *kernel, const rcnn_args *args, int32_t first, int32_t count,
                                      rcnn_error *err);
/* Rows first .. first+count-1 of a MASK_LOGIT kernel's masks, from what DECONV makes of its source pixels, those rows alone:
 * taps [count][H/2][W/2][2][2][channels]. INTERNAL for labels without a mask channel. */
rcnn_status rcnn_cpu_mask_logit_taps(const rcnn_kernel *kernel, const rcnn_args *args, const void *taps, int32_t first,
                                     int32_t count, rcnn_error *err);

#endif
