/* The session's plan in a form to print: read from the JSON that rcnn_session_plan_json gives. */
#ifndef RCNN_TOOLS_PLAN_H
#define RCNN_TOOLS_PLAN_H

#include "message.h"

#define PLAN_NAME_BYTES 64

typedef struct plan_stage {
    char name[PLAN_NAME_BYTES];
    int64_t macs;
} plan_stage;

typedef struct plan_value {
    char name[PLAN_NAME_BYTES], dtype[PLAN_NAME_BYTES];
    int64_t bytes, offset, first_op, last_op;
} plan_value;

typedef struct plan_summary {
    int64_t width, height; /* of the padded network input */
    int64_t arena_bytes, scratch_bytes, op_count, kernel_count;
    char precision[PLAN_NAME_BYTES];
    plan_stage *stages;
    plan_value *values;
    size_t stage_count, value_count;
} plan_summary;

/* False with err filled when the text is not such a plan. */
bool plan_read(const char *json, plan_summary *out, rcnn_error *err);
void plan_free(plan_summary *plan);

#endif
