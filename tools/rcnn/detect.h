/* The state of one `rcnn detect`, shared by its two halves: detect_setup.c gets everything ready, cmd_detect.c runs. */
#ifndef RCNN_TOOLS_DETECT_H
#define RCNN_TOOLS_DETECT_H

#include "bench_result.h"
#include "draw.h"
#include "inputs.h"
#include "model_args.h"
#include "out_json.h"
#include "outfile.h"
#include "progress.h"
#include "session_args.h"

typedef struct job {
    const options *opts;
    rcnn_error err;
    int status; /* exit status so far                                  */
    path_list inputs, pictures;
    bool overlay, summary;
    FILE *lines; /* where summary lines go                              */
    char model_path[MODEL_PATH_BYTES];
    rcnn_model *model;
    session_set sessions;
    rcnn_mask_format masks; /* of the JSON                                         */
    double score;
    int32_t max_detections;
    int32_t ignore_exif;
    int32_t *labels; /* --classes; NULL = all                               */
    int32_t label_count;
    outfile json_file; /* stream NULL without --json                          */
    json_writer json;
    picture_item *items; /* scratch for pictures                                */
    size_t item_capacity;
    progress bar;
    bench_times stages[BENCH_STAGE_COUNT], calls; /* --profile: a sample an image */
} job;

/* Prints the job's error, sets the exit status and returns false: the run is over. */
bool detect_stop(job *j, int status);

/* From options and inputs to an open session, output directory and JSON file. False when the run is over. */
bool detect_setup(job *j);
/* Releases everything; an uncommitted JSON file is removed. */
void job_free(job *j);

#endif
