/* What network a checkpoint holds, read off its tensor names, shapes and meta text. Nothing here copies weights. */
#ifndef RCNN_MODEL_INFER_H
#define RCNN_MODEL_INFER_H

#include "model/tensors.h"

/* Finds the naming of a foreign checkpoint and fills the config: family preset, then what names and shapes say
 * (INFERRED), then what the file's own text or tensors say (FILE). UNSUPPORTED with one line that names the kind of
 * network when it is another detector; FORMAT when tensors that decide the network are missing or misshaped. */
rcnn_status rcnn_infer(const rcnn_tensor_table *table, rcnn_naming *naming, rcnn_config *config,
                       rcnn_config_sources *sources, rcnn_error *err);

#endif
