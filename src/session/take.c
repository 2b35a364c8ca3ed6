/* What a run left, into results: arrays of a batch to detections, soft masks and mask forms of the images. */
#include <string.h>

#include "model/model.h"
#include "session/session.h"

/* One batch on its way into results. */
typedef struct rcnn_taking {
    const rcnn_delivered *from;
    const rcnn_frame *frame;
    rcnn_results *to;
    int32_t first_image, first_detection; /* where the batch starts in the results */
    int32_t capacity;                     /* detections an image can have */
} rcnn_taking;

/* Adds one image entry per image of the frame, with its detections' counts. */
static rcnn_status take_counts(const rcnn_taking *t, rcnn_error *err)
{
    rcnn_results *results = t->to;
    for (int32_t n = 0; n < t->frame->count; n++) {
        const int32_t count = t->from->counts[n];
        if (count < 0 || count > t->capacity) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "session: image %d: want 0..%d detections, got %d", n, t->capacity,
                             count);
        }
        RCNN_TRY(rcnn_results_reserve(results, count, err));
        results->images[results->image_count++] = (rcnn_result_image){.width = t->frame->image[n].view.width,
                                                                      .height = t->frame->image[n].view.height,
                                                                      .first = results->detection_count,
                                                                      .count = count};
        results->detection_count += count;
    }
    return RCNN_OK;
}

static void take_detections(const rcnn_taking *t)
{
    for (int32_t i = t->first_image; i < t->to->image_count; i++) {
        const rcnn_result_image *image = &t->to->images[i];
        const size_t at = (size_t)(i - t->first_image) * (size_t)t->capacity;
        const float *boxes = t->from->boxes + 4 * at;
        for (int32_t d = 0; d < image->count; d++) {
            t->to->detections[image->first + d] = (rcnn_detection){.x1 = boxes[4 * d],
                                                                   .y1 = boxes[4 * d + 1],
                                                                   .x2 = boxes[4 * d + 2],
                                                                   .y2 = boxes[4 * d + 3],
                                                                   .score = t->from->scores[at + (size_t)d],
                                                                   .label = t->from->labels[at + (size_t)d]};
        }
        if (image->count > 0) {
            memcpy(t->to->paste_boxes + image->first, boxes, (size_t)image->count * 4 * sizeof *boxes);
        }
    }
}

/* mmdetection 2.x pastes to mask RoI / scale, a third rounding of the same box (spec section 10). */
static void take_rounded_paste_boxes(const rcnn_taking *t)
{
    for (int32_t i = t->first_image; i < t->to->image_count; i++) {
        const rcnn_result_image *image = &t->to->images[i];
        const rcnn_frame_image *frame = &t->frame->image[i - t->first_image];
        const float *src = t->from->rois + (size_t)(i - t->first_image) * (size_t)t->capacity * 4;
        for (int32_t d = 0; d < image->count; d++) {
            float *box = t->to->paste_boxes[image->first + d];
            box[0] = src[4 * d] / frame->scale_x;
            box[1] = src[4 * d + 1] / frame->scale_y;
            box[2] = src[4 * d + 2] / frame->scale_x;
            box[3] = src[4 * d + 3] / frame->scale_y;
        }
    }
}

rcnn_status rcnn_session_take(const rcnn_session *s, const rcnn_plan *plan, const rcnn_frame *frame,
                              const rcnn_delivered *delivered, rcnn_results *results, rcnn_error *err)
{
    const rcnn_taking t = {.from = delivered,
                           .frame = frame,
                           .to = results,
                           .first_image = results->image_count,
                           .first_detection = results->detection_count,
                           .capacity = plan->graph.values[plan->delivery.boxes].desc.dim[1]};
    RCNN_TRY(take_counts(&t, err));
    take_detections(&t);
    if (!results->has_masks) {
        return RCNN_OK;
    }
    if (s->model->config.rescale_first) {
        take_rounded_paste_boxes(&t);
    }
    /* packed rows: live masks and forms stand together, in the order of the detections */
    const int32_t live = results->detection_count - t.first_detection;
    const size_t mask = (size_t)results->side * (size_t)results->side;
    if (live > 0) {
        memcpy(results->soft + (size_t)t.first_detection * mask, delivered->masks, (size_t)live * mask * sizeof(float));
    }
    return rcnn_results_add_forms(results, live, delivered->forms, delivered->words, err);
}
