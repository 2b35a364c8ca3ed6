/* What the evaluator keeps of its files: fixed-size items and packed masks, nothing of the JSON. */
#ifndef RCNN_EVAL_STORE_H
#define RCNN_EVAL_STORE_H

#include "eval/shape.h"

/* One annotation or detection. */
typedef struct rcnn_eval_item {
    double box[4]; /* x, y, width, height                                                          */
    double area;   /* annotation: as stated; detection: of its mask (0 when none was read)         */
    double score;  /* detections                                                                   */
    int64_t id;    /* annotations                                                                  */
    rcnn_eval_shape shape;
    int32_t image, category; /* indices                                                                      */
    bool crowd, has_box;
} rcnn_eval_item;

typedef struct rcnn_eval_store {
    rcnn_eval_item *items;
    size_t count, capacity;
    rcnn_text bytes; /* packed masks */
} rcnn_eval_store;

/* A new last item, zeroed; NULL when out of memory. */
rcnn_eval_item *rcnn_eval_store_add(rcnn_eval_store *store);
void rcnn_eval_store_free(rcnn_eval_store *store);

typedef struct rcnn_eval_picture {
    int64_t id;
    size_t name;   /* offset of file_name in the names, NUL-terminated */
    size_t offset; /* where it stands in the file                      */
    int32_t width, height;
} rcnn_eval_picture;

typedef struct rcnn_eval_class {
    int64_t id;
    size_t name, offset;
} rcnn_eval_class;

struct rcnn_eval_truth {
    rcnn_eval_picture *images; /* by rising id */
    size_t image_count, image_capacity;
    rcnn_eval_class *categories; /* by rising id */
    size_t category_count, category_capacity;
    rcnn_eval_store annotations; /* in the order of the file */
    rcnn_text names;
    bool with_masks;
};

/* Where detections have their areas from. */
typedef enum rcnn_eval_area_rule {
    RCNN_EVAL_AREA_BY_TYPE, /* box for bbox, mask for segm           */
    RCNN_EVAL_AREA_OF_BOX,  /* file whose first entry has a bbox     */
    RCNN_EVAL_AREA_OF_MASK  /* file whose first entry has none       */
} rcnn_eval_area_rule;

struct rcnn_eval_detections {
    const rcnn_eval_truth *truth;
    rcnn_eval_store store;
    rcnn_eval_area_rule area_rule;
    rcnn_text scratch; /* run-length text of the detection being added */
};

/* Index of an id, -1 when not listed. */
int32_t rcnn_eval_find_image(const rcnn_eval_truth *truth, int64_t id);
int32_t rcnn_eval_find_category(const rcnn_eval_truth *truth, int64_t id);

#endif
