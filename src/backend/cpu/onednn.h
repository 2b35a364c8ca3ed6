/* oneDNN as the rest of the cpu backend sees it: an engine to open and close. No oneDNN type appears here; the ops made
 * of its primitives (CONV, FC, DECONV) are reached through rcnn_cpu_prepare_<op> like all others. */
#ifndef RCNN_BACKEND_CPU_ONEDNN_H
#define RCNN_BACKEND_CPU_ONEDNN_H

#include <stdbool.h>

#include "backend/cpu/cpu.h"

/* Engine, stream and the reordered weights of one backend. Used by one thread at a time. */
typedef struct rcnn_onednn rcnn_onednn;

/* MEMORY, or DEVICE when oneDNN has no CPU engine here. */
rcnn_status rcnn_onednn_open(rcnn_onednn **out, rcnn_error *err);
/* After the release of every kernel made with it; NULL is fine. */
void rcnn_onednn_close(rcnn_onednn *dnn);
/* Returns when everything that was enqueued is done. */
rcnn_status rcnn_onednn_wait(rcnn_onednn *dnn, rcnn_error *err);
/* Whether oneDNN computes in BF16 and on bytes at a speed worth it, and whether on AMX tiles. Byte products are exact from
 * VNNI on; before, oneDNN halves the weights to keep 16-bit sums from overflowing. */
bool rcnn_onednn_has_bf16(void);
bool rcnn_onednn_has_int8(void);
bool rcnn_onednn_has_amx(void);
/* Version and threading of the library in use, one line. */
void rcnn_onednn_describe(char *text, size_t capacity);

/* CONV and FC as oneDNN primitives; as rcnn_cpu_prepare_conv and rcnn_cpu_prepare_fc. */
rcnn_status rcnn_onednn_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                     rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);
rcnn_status rcnn_onednn_prepare_fc(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                   size_t *scratch_bytes, rcnn_error *err);

/* Of a backend; cpu.c. */
rcnn_onednn *rcnn_cpu_onednn(const rcnn_backend *backend);

#endif
