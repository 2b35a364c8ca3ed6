/* Tensor names: one table (names.def) that ties every canonical layer of model.h to the tensors that hold it in each framework
 * (spec section 15), in both directions: a loader asks which tensors make a layer, a writer of state dicts asks what
 * to call them. Shapes and arithmetic are not here. */
#ifndef RCNN_MODEL_NAMES_H
#define RCNN_MODEL_NAMES_H

#include <stdbool.h>

#include "model/model.h"

/* How a file calls its tensors; not to be confused with the family, whose arithmetic is followed. */
typedef enum rcnn_naming {
    RCNN_NAMING_NATIVE,          /* <layer>.weight, <layer>.bias, batch norm folded, merged layers whole */
    RCNN_NAMING_MMDET,           /* mmdetection 2.x and 3.x                                              */
    RCNN_NAMING_TORCHVISION,     /* current torchvision, v1 and v2                                       */
    RCNN_NAMING_TORCHVISION_OLD, /* torchvision < 0.14, and its published v1 files                       */
    RCNN_NAMING_DETECTRON2,
    RCNN_NAMING_COUNT
} rcnn_naming;

typedef enum rcnn_row { /* rows of names.def, in canonical layer order */
#define ROW(id, ...) RCNN_ROW_##id,
#include "model/names.def"
#undef ROW
                        RCNN_ROW_COUNT
} rcnn_row;

#define RCNN_PARTS_MAX 2 /* rows stacked into one layer: scores over deltas */

/* One canonical layer of a network. */
typedef struct rcnn_layer_spec {
    rcnn_row row;  /* first row; the following parts - 1 rows are stacked under it           */
    int32_t parts; /* 1 or 2                                                                 */
    int32_t stage; /* 1 .. 4 for rows of residual blocks, else 0                             */
    int32_t block; /* 0 .. blocks[stage-1]-1                                                 */
    int32_t index; /* number of the layer among its like, from 0                             */
    int32_t flat;  /* box fc: its position in torchvision's v2 head, a sequence of all parts */
} rcnn_layer_spec;

#define RCNN_TENSOR_NAME_MAX 128

/* Names of the tensors of a layer, without the final ".weight", ".bias", ".running_mean", ... */
typedef struct rcnn_tensor_names {
    char conv[RCNN_TENSOR_NAME_MAX]; /* convolution or linear layer                                  */
    char norm[RCNN_TENSOR_NAME_MAX]; /* batch norm that may follow it; "" where there is never one   */
} rcnn_tensor_names;

/* Lists the layers of a network of this config in canonical order. A shortcut is listed for the first block of every
 * stage; whether stage 1 has one shows in the file. *out is the caller's (rcnn_free). MEMORY. */
rcnn_status rcnn_names_list(const rcnn_config *config, rcnn_layer_spec **out, int32_t *count, rcnn_error *err);

/* Canonical name of a layer, "rpn.pred". */
void rcnn_names_layer(const rcnn_layer_spec *spec, char out[RCNN_LAYER_NAME_MAX]);

/* Names that a naming has for part 0 .. parts-1 of a layer. Namings have up to two forms, tried in order when reading
 * (an RPN of one convolution calls it "conv", of several "conv.0"); false when form is past the last, or when that
 * form cannot name the layer. */
#define RCNN_NAME_FORMS_MAX 2
bool rcnn_names_tensor(const rcnn_layer_spec *spec, int32_t part, rcnn_naming naming, int32_t form,
                       rcnn_tensor_names *out);
/* The one form a writer uses for a network of this config. False when the naming has no name for the layer. */
bool rcnn_names_tensor_to_write(const rcnn_layer_spec *spec, int32_t part, rcnn_naming naming,
                                const rcnn_config *config, rcnn_tensor_names *out);

rcnn_layer_kind rcnn_names_kind(rcnn_row row);
/* Spec of the index-th layer of a row outside the residual blocks. */
rcnn_layer_spec rcnn_names_spec(rcnn_row row, int32_t index, int32_t box_convs);
/* Spec of a row in block `block` of stage 1 .. 4. */
rcnn_layer_spec rcnn_names_block_spec(rcnn_row row, int32_t stage, int32_t block);

#endif
