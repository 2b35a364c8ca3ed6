/* The parts of `rcnn verify`: intermediate values compared, detections matched, numbers gathered, judged and reported.
 * Side 0 is A, side 1 is B throughout. */
#ifndef RCNN_TOOLS_VERIFY_H
#define RCNN_TOOLS_VERIFY_H

#include <stdio.h>

#include "message.h"

/* ---------------------------------------------------------------- stages */

typedef enum stage_outcome {
    STAGE_COMPARED,
    STAGE_ABSENT, /* a side has no such value                                              */
    STAGE_SHAPES_DIFFER,
    STAGE_ROWS_DIFFER /* packed rows that do not stand for the same boxes on both sides        */
} stage_outcome;

typedef struct stage_error {
    stage_outcome outcome;
    double error;     /* COMPARED: largest absolute difference / largest absolute value of A */
    int32_t count[2]; /* counts only: the number on each side                                */
} stage_error;

#define STAGE_VALUE_COUNT 27

typedef struct stage_buffers { /* scratch; starts zeroed */
    unsigned char *bytes[2];
    size_t capacity[2];
} stage_buffers;

const char *stage_value_name(int32_t index);
/* True for values that are a number of rows, which have no error. */
bool stage_value_is_count(int32_t index);
/* Compares the values of the sessions' last runs, which were made with keep_values. False with err filled when memory is
 * out or a device fails. */
bool stages_compare(rcnn_session *const session[2], stage_buffers *buffers, stage_error out[STAGE_VALUE_COUNT],
                    rcnn_error *err);
void stage_buffers_free(stage_buffers *buffers);

/* -------------------------------------------------------------- matching */

typedef struct match {
    int32_t a, b;      /* indices of the detections                        */
    double iou;        /* of the boxes                                     */
    double box_px;     /* largest difference of a coordinate               */
    double score_diff; /* absolute                                         */
    double mask_iou;   /* -1 without masks                                 */
} match;

#define MATCH_IOU_MIN 0.5

double box_iou(const rcnn_detection *a, const rcnn_detection *b);
/* Of two run-length masks of the same image; 1 when both are empty. */
double mask_iou(const uint32_t *a, int32_t a_count, const uint32_t *b, int32_t b_count);
/* Pairs detections of the same label, the largest IoU first, down to MATCH_IOU_MIN; ties go to lower indices. *out holds
 * *count matches (free), without mask_iou. False when out of memory. */
bool match_detections(const rcnn_detection *a, int32_t a_count, const rcnn_detection *b, int32_t b_count, match **out,
                      int32_t *count);

/* --------------------------------------------------------------- numbers */

typedef struct verify_limits {
    double score; /* detections above it count */
    double stage_error, box_px, score_diff, mask_iou;
    int32_t unmatched;
} verify_limits;

#define HISTOGRAM_BINS 10

typedef struct verify_numbers { /* of one image or of all */
    int32_t images;
    stage_error stages[STAGE_VALUE_COUNT]; /* of all: the largest error; COMPARED when any image compared */
    int64_t found[2];                      /* detections that count                                       */
    int64_t matched, unmatched[2];
    double box_max, box_sum, score_max, score_sum;
    int64_t masks; /* matches with masks */
    double mask_min, mask_sum;
    int64_t histogram[HISTOGRAM_BINS]; /* of mask IoU: [0,0.1), ... [0.9,1] */
} verify_numbers;

/* Detections of one image and what became of them. */
typedef struct verify_side {
    const char *name;      /* as given on the command line */
    rcnn_detection *items; /* labels are category ids      */
    int32_t count;
    bool *paired; /* per item */
} verify_side;

typedef struct verify_image {
    const char *path;
    int32_t width, height;
    verify_side side[2];
    match *matches;
    int32_t match_count;
    verify_numbers numbers;
} verify_image;

/* True when the match has a detection above the score on either side. */
bool match_counts(const verify_image *image, const match *m, const verify_limits *limits);
/* True when it is within the limits. */
bool match_within(const match *m, const verify_limits *limits);
/* True for an unmatched detection that counts. */
bool item_is_lost(const verify_image *image, int side, int32_t item, const verify_limits *limits);
/* Fills image->numbers, all but the stages, from matches and detections. */
void numbers_of_image(verify_image *image, const verify_limits *limits);
void numbers_add(verify_numbers *total, const verify_numbers *image);

/* -------------------------------------------------------------- reporting */

void report_image(FILE *out, const verify_image *image);
void report_total(FILE *out, const verify_numbers *total);
/* One line for each limit that is not kept. Returns how many there are. */
int report_verdict(FILE *out, const verify_numbers *total, const verify_limits *limits);

void verify_json_image(FILE *out, const verify_image *image, const verify_limits *limits, bool first);
/* The members "stages", "found", ... of a numbers object, without braces. */
void verify_json_numbers(FILE *out, const verify_numbers *numbers);
void verify_json_limits(FILE *out, const verify_limits *limits);

#endif
