/* Intermediate values of two sessions, side by side. Values with packed rows hold one row per proposal or detection: they
 * are compared over the rows in use, and only where row i means the same box on both sides. */
#include "verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAME_ROW_PX 1.0f /* boxes that are further apart are other rows, network pixels */

typedef enum value_rows { ROWS_ALL, ROWS_COUNT, ROWS_PROPOSALS, ROWS_DETECTIONS } value_rows;

static const struct {
    const char *name;
    value_rows rows;
} VALUES[STAGE_VALUE_COUNT] = {
    {"image", ROWS_ALL},
    {"c2", ROWS_ALL},
    {"c3", ROWS_ALL},
    {"c4", ROWS_ALL},
    {"c5", ROWS_ALL},
    {"p2", ROWS_ALL},
    {"p3", ROWS_ALL},
    {"p4", ROWS_ALL},
    {"p5", ROWS_ALL},
    {"p6", ROWS_ALL},
    {"rpn_pred2", ROWS_ALL},
    {"rpn_pred3", ROWS_ALL},
    {"rpn_pred4", ROWS_ALL},
    {"rpn_pred5", ROWS_ALL},
    {"rpn_pred6", ROWS_ALL},
    {"rpn_counts", ROWS_COUNT},
    {"proposal_counts", ROWS_COUNT},
    {"proposals", ROWS_PROPOSALS},
    {"proposal_scores", ROWS_PROPOSALS},
    {"box_features", ROWS_PROPOSALS},
    {"box_pred", ROWS_PROPOSALS},
    {"cand_counts", ROWS_COUNT},
    {"det_counts", ROWS_COUNT},
    {"det_boxes", ROWS_DETECTIONS},
    {"det_scores", ROWS_DETECTIONS},
    {"mask_features", ROWS_DETECTIONS},
    {"masks", ROWS_DETECTIONS},
};

const char *stage_value_name(int32_t index)
{
    return VALUES[index].name;
}

bool stage_value_is_count(int32_t index)
{
    return VALUES[index].rows == ROWS_COUNT;
}

void stage_buffers_free(stage_buffers *buffers)
{
    for (int side = 0; side < 2; side++) {
        free(buffers->bytes[side]);
    }
    memset(buffers, 0, sizeof *buffers);
}

/* ---------------------------------------------------------------- reading */

typedef struct reader {
    rcnn_session *const *session;
    stage_buffers *buffers;
    rcnn_error *err;
} reader;

/* Reads one side of a value into its buffer. *size 0 = there is none. */
static bool read_side(const reader *r, int side, const char *name, size_t *size)
{
    stage_buffers *b = r->buffers;
    rcnn_status status = rcnn_session_read_value(r->session[side], name, NULL, 0, size, r->err);
    if (status == RCNN_ERR_NOT_FOUND) {
        *size = 0;
        return true;
    }
    if (status == RCNN_OK && *size > b->capacity[side]) {
        free(b->bytes[side]);
        b->bytes[side] = malloc(*size);
        b->capacity[side] = b->bytes[side] ? *size : 0;
        if (!b->bytes[side]) {
            return tool_fail(r->err, "out of memory for value '%s' (%zu bytes)", name, *size);
        }
    }
    return status == RCNN_OK &&
           rcnn_session_read_value(r->session[side], name, b->bytes[side], *size, size, r->err) == RCNN_OK;
}

static bool read_both(const reader *r, const char *name, size_t size[2])
{
    return read_side(r, 0, name, &size[0]) && read_side(r, 1, name, &size[1]);
}

static float float_at(const stage_buffers *b, int side, size_t index)
{
    float value;
    memcpy(&value, b->bytes[side] + index * sizeof value, sizeof value);
    return value;
}

static bool read_count(const reader *r, const char *name, stage_error *out)
{
    size_t size[2];
    if (!read_both(r, name, size)) {
        return false;
    }
    *out = (stage_error){.outcome = size[0] && size[1] ? STAGE_COMPARED : STAGE_ABSENT};
    for (int side = 0; side < 2 && out->outcome == STAGE_COMPARED; side++) {
        memcpy(&out->count[side], r->buffers->bytes[side], sizeof out->count[side]);
    }
    return true;
}

/* -------------------------------------------------------------- comparing */

/* The largest difference relative to the largest value of A, over the first `elements`. NaN counts as infinite. */
static double relative_error(const stage_buffers *b, size_t elements)
{
    float most = 0, difference = 0;
    for (size_t i = 0; i < elements; i++) {
        const float x = float_at(b, 0, i), y = float_at(b, 1, i), d = fabsf(x - y);
        if (isnan(d)) {
            return INFINITY;
        }
        most = fabsf(x) > most ? fabsf(x) : most;
        difference = d > difference ? d : difference;
    }
    if (difference == 0) {
        return 0;
    }
    return most > 0 ? (double)difference / (double)most : INFINITY;
}

/* How the rows of proposals or detections lie in memory, and whether they are the same on both sides. */
typedef struct row_set {
    bool present, same;
    size_t capacity[2]; /* rows there is room for */
    int32_t used;
} row_set;

static bool read_rows(const reader *r, const char *counts, const char *boxes, row_set *rows)
{
    stage_error count;
    size_t size[2];
    *rows = (row_set){0};
    if (!read_count(r, counts, &count) || !read_both(r, boxes, size)) {
        return false;
    }
    rows->present = count.outcome == STAGE_COMPARED && size[0] && size[1];
    rows->used = count.count[0];
    rows->same = rows->present && count.count[0] == count.count[1];
    for (int side = 0; side < 2; side++) {
        rows->capacity[side] = size[side] / (4 * sizeof(float));
    }
    for (size_t i = 0; rows->same && i < 4 * (size_t)rows->used; i++) {
        rows->same = fabsf(float_at(r->buffers, 0, i) - float_at(r->buffers, 1, i)) <= SAME_ROW_PX;
    }
    return true;
}

static bool compare_whole(const reader *r, const char *name, stage_error *out)
{
    size_t size[2];
    if (!read_both(r, name, size)) {
        return false;
    }
    *out = (stage_error){.outcome = !size[0] || !size[1] ? STAGE_ABSENT
                                    : size[0] != size[1] ? STAGE_SHAPES_DIFFER
                                                         : STAGE_COMPARED};
    if (out->outcome == STAGE_COMPARED) {
        out->error = relative_error(r->buffers, size[0] / sizeof(float));
    }
    return true;
}

static bool compare_rows(const reader *r, const char *name, const row_set *rows, stage_error *out)
{
    size_t size[2];
    if (!read_both(r, name, size)) {
        return false;
    }
    *out = (stage_error){.outcome = STAGE_ABSENT};
    if (!rows->present || !size[0] || !size[1]) {
        return true;
    }
    const size_t row = size[0] / rows->capacity[0];
    if (row != size[1] / rows->capacity[1]) {
        out->outcome = STAGE_SHAPES_DIFFER;
    } else if (!rows->same) {
        out->outcome = STAGE_ROWS_DIFFER;
    } else {
        out->outcome = STAGE_COMPARED;
        out->error = relative_error(r->buffers, row / sizeof(float) * (size_t)rows->used);
    }
    return true;
}

bool stages_compare(rcnn_session *const session[2], stage_buffers *buffers, stage_error out[STAGE_VALUE_COUNT],
                    rcnn_error *err)
{
    const reader r = {session, buffers, err};
    row_set proposals, detections;
    bool done = read_rows(&r, "proposal_counts", "proposals", &proposals) &&
                read_rows(&r, "det_counts", "det_boxes", &detections);
    for (int32_t i = 0; done && i < STAGE_VALUE_COUNT; i++) {
        switch (VALUES[i].rows) {
        case ROWS_ALL:
            done = compare_whole(&r, VALUES[i].name, &out[i]);
            break;
        case ROWS_COUNT:
            done = read_count(&r, VALUES[i].name, &out[i]);
            break;
        default:
            done =
                compare_rows(&r, VALUES[i].name, VALUES[i].rows == ROWS_PROPOSALS ? &proposals : &detections, &out[i]);
            break;
        }
    }
    return done;
}
