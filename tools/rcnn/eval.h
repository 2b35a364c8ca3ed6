/* The state of one `rcnn eval`, shared by its parts: cmd_eval.c reads the options and prints, eval_model.c runs the
 * model over the images, eval_json.c writes files, eval_report.c draws. */
#ifndef RCNN_TOOLS_EVAL_H
#define RCNN_TOOLS_EVAL_H

#include "eval_feed.h"
#include "message.h"
#include "model_args.h"
#include "opts.h"
#include "outfile.h"

typedef struct eval_job {
    const options *opts;
    rcnn_error err;
    bool wanted[EVAL_TYPES];
    int32_t max_dets[3];
    int32_t images; /* evaluated */
    char model_path[MODEL_PATH_BYTES];
    rcnn_eval_truth *truth;
    rcnn_eval_detections *detections;
    rcnn_eval *evals[EVAL_TYPES]; /* NULL when not wanted */
    double read_ms, detect_ms, evaluate_ms;
} eval_job;

/* "bbox", "segm". */
const char *eval_type_name(int type);
/* The options of a run of this type. */
void eval_options(const eval_job *job, int type, rcnn_eval_options *out);

/* eval_model.c: fills job->detections from the images of the truth. Returns an exit status, err filled when not
 * done. */
int eval_run_model(eval_job *job);

/* eval_json.c: the numbers in full precision. False with err filled. */
bool eval_write_json(eval_job *job, const char *path);
/* The shortest decimal that reads back as the same double. */
void eval_json_number(FILE *out, double value);

/* A result file being written, one per type. */
typedef struct eval_saver {
    outfile files[EVAL_TYPES];
    bool open[EVAL_TYPES];
    size_t written;
    char *text; /* scratch of one run-length text */
    size_t text_capacity;
} eval_saver;
/* path for one type; with two, "x.json" becomes x.bbox.json and x.segm.json: a file with both would have the areas
 * of its boxes taken for masks too. False with err filled. */
bool eval_saver_open(eval_saver *saver, const char *path, const bool wanted[EVAL_TYPES], rcnn_error *err);
bool eval_saver_add(eval_saver *saver, const eval_detection *detection, rcnn_error *err);
bool eval_saver_commit(eval_saver *saver, rcnn_error *err);
void eval_saver_discard(eval_saver *saver);

/* eval_report.c: precision-recall curves and confusion matrix as PNG files in a directory. eval_report_none.c stands
 * in for it when cairo is missing. False with err filled. */
bool eval_report_available(void);
bool eval_write_report(eval_job *job, const char *directory);

#endif
