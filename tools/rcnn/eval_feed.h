/* What a model finds, handed to an evaluator: shared by `rcnn eval` and `rcnn verify --ann`. */
#ifndef RCNN_TOOLS_EVAL_FEED_H
#define RCNN_TOOLS_EVAL_FEED_H

#include "message.h"

enum { EVAL_TYPES = 2 }; /* RCNN_IOU_BBOX, RCNN_IOU_SEGM */

typedef struct eval_detection {
    int64_t image_id, category_id;
    double bbox[4], score;
    const uint32_t *counts; /* NULL = no mask */
    int32_t count, width, height;
} eval_detection;

typedef struct eval_feed {
    const rcnn_eval_truth *truth;     /* borrowed */
    rcnn_eval_detections *detections; /* borrowed */
    int32_t *categories;              /* label -> index into the truth, -1 = none; owned */
    bool masks;                       /* hand masks over too */
} eval_feed;

/* Finds the truth's categories among the model's classes. False with err filled when one is missing or memory is out;
 * eval_feed_close in either case. */
bool eval_feed_open(eval_feed *feed, const rcnn_model *model, const rcnn_eval_truth *truth,
                    rcnn_eval_detections *detections, bool masks, rcnn_error *err);
void eval_feed_close(eval_feed *feed);
/* Adds detection `index` of image `position` of the results as one of image `image` of the truth. *out is what was added, its
 * counts borrowed from the results; *added is false for a label without a category. False with err filled. */
bool eval_feed_add(eval_feed *feed, rcnn_results *results, int32_t position, int32_t index, int32_t image,
                   eval_detection *out, bool *added, rcnn_error *err);
/* False with err filled when the annotations give the picture another size than it has. */
bool eval_same_size(const rcnn_eval_image *info, const rcnn_image_view *view, rcnn_error *err);

#endif
