/* Names and dataset ids of classes. */
#ifndef RCNN_MODEL_CLASSES_H
#define RCNN_MODEL_CLASSES_H

#include "model/model.h"

#define RCNN_COCO_CLASSES 80
#define RCNN_COCO_ID_MAX  90

/* Name and category id of COCO's class 0 .. 79, in the order of ids. */
const char *rcnn_coco_name(int32_t label);
int32_t rcnn_coco_id(int32_t label);

/* Fills model->class_names and category_ids for config.class_count classes.
 *   names   newline-separated text from the file, or NULL; ignored (with a log line) when it is not one per class
 * Without names: COCO's 80 for 80 classes; for torchvision's 90 the same at their ids and "N/A" between them; else
 * "class_1", "class_2", ... Ids: COCO's for 80 classes unless the file names other classes, else label + 1, which for
 * torchvision is the label its models give. MEMORY; LIMIT when a name is longer than RCNN_CLASS_NAME_MAX. */
#define RCNN_CLASS_NAME_MAX 255
rcnn_status rcnn_classes_fill(rcnn_model *model, const char *names, rcnn_error *err);
/* Replaces the names, not the ids. ARGUMENT when the count is not config.class_count or a name is NULL or holds
 * a newline. */
rcnn_status rcnn_classes_rename(rcnn_model *model, const char *const *names, int32_t count, rcnn_error *err);
/* Replaces the name of one label. */
rcnn_status rcnn_classes_set(rcnn_model *model, int32_t label, const char *name, size_t length, rcnn_error *err);

#endif
