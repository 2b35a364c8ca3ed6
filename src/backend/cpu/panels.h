/* Weights of the model as matrix products take them, in panels of 32 output channels: one copy for all kernels of a backend
 * that want it. */
#ifndef RCNN_BACKEND_CPU_PANELS_H
#define RCNN_BACKEND_CPU_PANELS_H

#include "backend/cpu/product.h"

typedef struct rcnn_panels rcnn_panels;

/* What a copy is made of. */
typedef struct rcnn_panels_recipe {
    int32_t matrices; /* that an op's weights become, each [rows][op->w.out] */
    int32_t rows;     /* a multiple of the channels in 32 bits of the type */
    rcnn_dtype type;  /* F32, BF16 or I8 */
    /* Element (i, o) of all matrices, i a row. */
    void (*weights)(const rcnn_op *op, int32_t o, int32_t i, float *element);
    bool each; /* I8: every matrix has scales of its own, and starts */
} rcnn_panels_recipe;

#define RCNN_PANELS_MATRICES_MAX 49

/* Weights of one matrix, of a 1x1 CONV or an FC: a recipe's `weights`. */
void rcnn_panels_rows(const rcnn_op *op, int32_t o, int32_t i, float *element);

/* An existing copy of the op's weights or a new one; a last panel with fewer outputs is filled up with zeros. MEMORY. */
rcnn_status rcnn_panels_get(rcnn_backend *backend, const rcnn_panels_recipe *recipe, const rcnn_op *op,
                            rcnn_panels **out, rcnn_error *err);
/* The last user's put frees the copy; NULL is fine. */
void rcnn_panels_put(rcnn_backend *backend, rcnn_panels *panels);
/* One panel of one matrix, as rcnn_product_body.multiply takes it. */
const void *rcnn_panels_at(const rcnn_panels *panels, int32_t panel, int32_t matrix);
/* [out]: weight = stored number * scale, in all matrices. 1 but for I8, where it is the output's largest weight / 127. */
const float *rcnn_panels_scale(const rcnn_panels *panels);
/* Of one panel of one matrix, made with `each`: start and column. */
rcnn_product_steps rcnn_panels_steps_at(const rcnn_panels *panels, int32_t panel, int32_t matrix);

/* First of a backend's copies; cpu.c. */
rcnn_panels **rcnn_cpu_panels(rcnn_backend *backend);

#endif
