/* DECONV and MASK_LOGIT as one kernel; see mask_tail.c. */
#ifndef RCNN_BACKEND_CPU_MASK_TAIL_H
#define RCNN_BACKEND_CPU_MASK_TAIL_H

#include "backend/cpu/cpu.h"

/* 2 when ops first and first+1 are a DECONV and the MASK_LOGIT that alone reads it, else 0. */
int32_t rcnn_cpu_match_mask_tail(const rcnn_graph *graph, int32_t first);
rcnn_status rcnn_cpu_prepare_mask_tail(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                                       size_t *scratch_bytes, rcnn_error *err);

#endif
