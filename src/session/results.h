/* Inside a results object: detections of all images one after another, soft masks, and mask forms made from them. */
#ifndef RCNN_SESSION_RESULTS_H
#define RCNN_SESSION_RESULTS_H

#include "backend/backend.h"
#include "base/memory.h"
#include "mask/mask.h"

/* Masks of one format for every detection: one block of memory, addressed by byte offsets while it grows. */
typedef struct rcnn_mask_store {
    int32_t ready;    /* masks of all detections are there        */
    rcnn_mask *masks; /* [detection_count]; pointers into data    */
    size_t mask_capacity;
    uint8_t *data;
    size_t data_capacity;
} rcnn_mask_store;

/* A mask that the device has pasted: run lengths or a bit-packed crop in results->words, as rcnn_delivered_form. count -1:
 * it has not, the mask is made from the soft one. */
typedef struct rcnn_result_form {
    size_t offset;
    int32_t count;
    rcnn_mask_region region; /* crops; inside the image */
} rcnn_result_form;

/* One detection's way into a store while its masks are made. */
typedef struct rcnn_mask_slot {
    rcnn_paste_spec spec;
    rcnn_mask_region region;
    const uint32_t *words; /* pasted by the device, or NULL */
    int32_t word_count;
    size_t offset, bytes; /* in store->data */
} rcnn_mask_slot;

typedef struct rcnn_result_image {
    int32_t width, height;
    int32_t first, count; /* detections */
} rcnn_result_image;

struct rcnn_results {
    rcnn_result_image *images;
    size_t image_capacity;
    int32_t image_count;

    rcnn_detection *detections;
    float (*paste_boxes)[4]; /* image coordinates, the box a mask is pasted to      */
    float *soft;             /* [detection_count][side][side]                       */
    size_t detection_capacity, paste_capacity, soft_capacity;
    int32_t detection_count;

    int32_t has_masks, side;
    rcnn_paste paste;
    float threshold;
    rcnn_mask_format form;   /* what the device has pasted: NONE, RLE, or CROP for bit-packed crops */
    rcnn_result_form *forms; /* [detection_count] unless form is NONE */
    uint32_t *words;
    size_t form_capacity, word_capacity, word_count;
    rcnn_mask_store stores[RCNN_MASK_FULL + 1];
    uint8_t *scratch; /* for pasting, [threads][scratch_stride]              */
    size_t scratch_capacity;
    rcnn_mask_slot *slots; /* [detection_count] while masks are made              */
    size_t slot_capacity;
    uint8_t *visited; /* marks of outline tracing                            */
    size_t visited_capacity;

    double stage_ms[RCNN_STAGE_COUNT];
    double total_ms;
};

/* rcnn_grow for a typed array: pointer and capacity travel together. */
#define RCNN_RESULTS_GROW(array, capacity, need)                                                                       \
    rcnn_results_grow((void **)&(array), &(capacity), (need), sizeof *(array))
bool rcnn_results_grow(void **array, size_t *capacity, size_t need, size_t item);

/* Empties results for a new run, keeping its memory. */
void rcnn_results_reset(rcnn_results *results);
/* Room for `more` further detections and one further image. */
rcnn_status rcnn_results_reserve(rcnn_results *results, int32_t more, rcnn_error *err);
/* Takes the forms of the last `count` detections; forms NULL: there are none. */
rcnn_status rcnn_results_add_forms(rcnn_results *results, int32_t count, const rcnn_delivered_form *forms,
                                   const uint32_t *words, rcnn_error *err);
/* Makes the masks of every detection in a format, on up to `threads` threads. */
rcnn_status rcnn_results_make_masks(rcnn_results *results, rcnn_mask_format format, int32_t threads, rcnn_error *err);

#endif
