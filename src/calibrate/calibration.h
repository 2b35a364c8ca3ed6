/* Inside a calibration: what is collected image by image, and the steps that turn it into scales. */
#ifndef RCNN_CALIBRATE_CALIBRATION_H
#define RCNN_CALIBRATE_CALIBRATION_H

#include "calibrate/histogram.h"
#include "base/text.h"
#include "model/model.h"

#define RCNN_CALIBRATION_MAX_ERROR 0.05f /* of a single activation; options.max_error 0 */
/* The outputs' error with all activations together may be this many times that of a single one. */
#define RCNN_CALIBRATION_JOINT 2
/* Sensitivity is measured on an image resized to this short side (the long one in proportion), with few detections. */
#define RCNN_SENSITIVITY_SIDE       400
#define RCNN_SENSITIVITY_DETECTIONS 32

typedef struct rcnn_observed { /* an activation */
    char name[RCNN_LAYER_NAME_MAX];
    bool is_signed; /* nothing keeps it from going below zero */
    rcnn_histogram histogram;
} rcnn_observed;

typedef struct rcnn_observed_size { /* images of one network input size */
    int32_t width, height, images;
} rcnn_observed_size;

struct rcnn_calibration {
    const rcnn_model *model;
    rcnn_calibration_options options;
    rcnn_session *session; /* fp32, keeps values */
    rcnn_results *results;
    rcnn_observed *observed;
    int32_t observed_count;
    int32_t images;
    rcnn_observed_size *sizes;
    int32_t size_count;
    size_t size_capacity;
    uint8_t *sample_pixels; /* the image that sensitivity is measured on */
    rcnn_image_view sample;
    int32_t sample_detections;
};

/* What choosing came to. */
typedef struct rcnn_chosen {
    rcnn_activation *activations; /* [observed_count], in their order */
    double joint_error;           /* of the outputs, with all that have a scale */
} rcnn_chosen;

/* Session options for runs in fp32 on the best backend in host memory, from the caller's. */
rcnn_session_options rcnn_calibration_session(const rcnn_calibration *calibration);

/* choose.c: scales, sensitivities and decisions. chosen->activations is the caller's to free, also after a failure. */
rcnn_status rcnn_calibration_choose(rcnn_calibration *calibration, rcnn_chosen *chosen, rcnn_error *err);

/* record.c: appends the record of docs/weights-format.md section 7. */
void rcnn_calibration_write_json(const rcnn_calibration *calibration, const rcnn_chosen *chosen, rcnn_text *out);

#endif
