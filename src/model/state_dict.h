/* State dicts: models written in the tensor names of a framework, and how such a file is told from others again. */
#ifndef RCNN_MODEL_STATE_DICT_H
#define RCNN_MODEL_STATE_DICT_H

#include "model/names.h"

#define RCNN_STATE_DICT_NAMING_KEY "rcnn_naming" /* in __metadata__, beside RCNN_NATIVE_CONFIG_KEY */

/* Batch norm epsilon that all three frameworks give a module they build; the identities in the file are made for it. */
#define RCNN_STATE_DICT_EPS 1e-5

/* What the RCNN_STATE_DICT_NAMING_KEY of a file says: how its tensors are called, and whether its class rows have the
 * background first. UNSUPPORTED for a word that is not known. */
rcnn_status rcnn_state_dict_find(const char *word, rcnn_naming *naming, bool *background_first, rcnn_error *err);

#endif
