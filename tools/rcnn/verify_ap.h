/* `rcnn verify --ann`: COCO's AP of both sides over the images that an annotation file names. Side 0 is A, 1 is B. */
#ifndef RCNN_TOOLS_VERIFY_AP_H
#define RCNN_TOOLS_VERIFY_AP_H

#include <stdio.h>

#include "eval_feed.h"
#include "opts.h"

enum { VERIFY_AP_STATS = 3 }; /* AP, AP50, AP75 */

typedef struct verify_ap { /* starts zeroed; everything below is for truth != NULL */
    rcnn_eval_truth *truth;
    rcnn_eval_detections *detections[2];
    eval_feed feed[2];
    float threshold[2]; /* detections above it count: the model's own */
    int32_t max_dets;   /* per image: the larger of the two sides'    */
    int32_t threads;
    bool masks;                                   /* both models have them                     */
    bool *seen;                                   /* per image of the truth                    */
    int32_t images;                               /* of the truth that were run                */
    int32_t skipped;                              /* run, but not in the truth, or once before */
    double max_drop;                              /* by which AP may fall from A to B          */
    double value[EVAL_TYPES][2][VERIFY_AP_STATS]; /* -1 = undefined; filled by verify_ap_evaluate */
} verify_ap;

/* Reads --ann, --max-ap-drop and -n; without --ann there is nothing to do here and below. False with err filled. */
bool verify_ap_open(verify_ap *ap, const options *opts, rcnn_model *const model[2], rcnn_error *err);
/* Adds what both sides found in one image, or counts it as skipped. False with err filled. */
bool verify_ap_add(verify_ap *ap, const char *path, const rcnn_image_view *view, rcnn_results *const results[2],
                   rcnn_error *err);
/* Once, after the last image. False with err filled, also when no image was one of the annotations. */
bool verify_ap_evaluate(verify_ap *ap, rcnn_error *err);
void verify_ap_free(verify_ap *ap);

void report_ap(FILE *out, const verify_ap *ap);
/* One line for each kind of AP that falls by more than it may. Returns how many there are. */
int report_ap_verdict(FILE *out, const verify_ap *ap);
/* The object after "ap":. */
void verify_json_ap(FILE *out, const verify_ap *ap);

#endif
