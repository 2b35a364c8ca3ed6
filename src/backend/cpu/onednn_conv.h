/* A DECONV kernel used in pieces, by mask_tail.c: rows first .. first+count-1 of its input to dst [count][..]. */
#ifndef RCNN_BACKEND_CPU_ONEDNN_CONV_H
#define RCNN_BACKEND_CPU_ONEDNN_CONV_H

#include "backend/cpu/cpu.h"

rcnn_status rcnn_cpu_deconv_rows(const rcnn_kernel *kernel, const rcnn_args *args, int32_t first, int32_t count,
                                 void *dst, void *scratch, rcnn_error *err);
size_t rcnn_cpu_deconv_row_bytes(const rcnn_kernel *kernel);
int32_t rcnn_cpu_deconv_live_rows(const rcnn_kernel *kernel, const rcnn_args *args);

#endif
