/* A DECONV kernel used in pieces, by mask_tail.c. */
#ifndef RCNN_BACKEND_CPU_ONEDNN_CONV_H
#define RCNN_BACKEND_CPU_ONEDNN_CONV_H

#include "backend/cpu/cpu.h"

#define RCNN_ONEDNN_DECONV_ROWS 16 /* at a time, at the most */

/* Rows first .. first+count-1 of its input as [count][H][W][2][2][Co]: what a source pixel becomes, line after line. *taps
 * points into the scratch memory. */
rcnn_status rcnn_onednn_deconv_taps(const rcnn_kernel *kernel, const rcnn_args *args, int32_t first, int32_t count,
                                    const void **taps, rcnn_error *err);
int32_t rcnn_onednn_deconv_live_rows(const rcnn_kernel *kernel, const rcnn_args *args);

#endif
