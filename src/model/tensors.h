/* The tensors of a weights file as a sorted table with marks, so that a loader finds them by name quickly, and can say
 * at the end which of them it had no use for. Reading one checks its shape, its layout and every value. */
#ifndef RCNN_MODEL_TENSORS_H
#define RCNN_MODEL_TENSORS_H

#include "model/names.h"

typedef struct rcnn_tensor_entry {
    rcnn_tensor_info info;
    bool used;
} rcnn_tensor_entry;

typedef struct rcnn_tensor_table {
    rcnn_tensor_entry *entries; /* sorted by name */
    int32_t count;
    const rcnn_weights *weights; /* borrowed */
} rcnn_tensor_table;

/* weights is borrowed until free. FORMAT when a name stands twice, MEMORY. */
rcnn_status rcnn_tensor_table_open(rcnn_tensor_table *table, const rcnn_weights *weights, rcnn_error *err);
void rcnn_tensor_table_free(rcnn_tensor_table *table);

/* The tensor named base + suffix (".weight"), or NULL. */
rcnn_tensor_entry *rcnn_tensor_find(const rcnn_tensor_table *table, const char *base, const char *suffix);
/* Names of a layer's part in this file: the first form of the naming whose ".weight" is there. torchvision's two
 * namings are read alike, whichever is asked for. False when there is none; *names then holds the first form. */
bool rcnn_tensor_resolve(const rcnn_tensor_table *table, rcnn_naming naming, const rcnn_layer_spec *spec, int32_t part,
                         rcnn_tensor_names *names);

/* Dimensions of a tensor; of a wanted shape, 0 stands for any. */
typedef struct rcnn_shape {
    int32_t rank;
    int64_t dim[4];
} rcnn_shape;

/* "conv1.weight: want [*,64,1,1], got [...]" (FORMAT) unless rank and every dimension fit and all are 1 .. 2^24. */
rcnn_status rcnn_tensor_check_shape(const rcnn_tensor_entry *entry, const rcnn_shape *want, rcnn_error *err);
/* Copies a floating-point tensor whose shape was checked to dst as float32, marks it used. FORMAT when it is not of a
 * floating-point type or its elements overlap in the file, NUMERIC when a value is NaN or infinite. */
rcnn_status rcnn_tensor_read(rcnn_tensor_entry *entry, float *dst, rcnn_error *err);
/* The same for int8 codes, unscaled. */
rcnn_status rcnn_tensor_read_int8(rcnn_tensor_entry *entry, float *dst, rcnn_error *err);

/* True when all are finite. */
bool rcnn_all_finite(const float *values, size_t count);
/* Logs how many tensors were not used and the first of their names; training state that inference never needs is not
 * counted. */
void rcnn_tensor_table_log_unused(const rcnn_tensor_table *table);

#endif
