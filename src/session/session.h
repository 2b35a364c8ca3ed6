/* Inside a session. */
#ifndef RCNN_SESSION_SESSION_H
#define RCNN_SESSION_SESSION_H

#include "session/plan.h"

#define RCNN_NET_SIDE_MAX      16384 /* padded network input, each side */
#define RCNN_SESSION_PLANS_MAX 16    /* padded shapes kept prepared; the least recently used makes room */

struct rcnn_session {
    const rcnn_model *model;
    const rcnn_backend_vt *vt;
    rcnn_backend *backend;

    int32_t num_threads, max_batch, long_side, short_side, keep_values;
    rcnn_mask_format mask_format;
    float mask_threshold;
    uint8_t *label_wanted;
    rcnn_build_options build; /* batch, width and height are filled per plan */

    rcnn_plan *plans[RCNN_SESSION_PLANS_MAX];
    int32_t plan_count;
    uint64_t run_count;
    rcnn_plan *current;    /* the plan whose values stand in the arena, or NULL */
    void *arena, *scratch; /* backend memory shared by all plans */
    size_t arena_bytes, scratch_bytes;
    void *staging; /* host copy of downloaded values */
    size_t staging_capacity;
    rcnn_frame frame;
};

/* Network size and scale of an image whose view is set, and the padded shape that holds it. */
void rcnn_session_place_image(const rcnn_session *session, rcnn_frame_image *image, int32_t *width, int32_t *height);
/* The prepared plan of a number of images and a padded shape, made when there is none: the last, smaller batch of a run
 * does not pay for images that are not there. LIMIT over RCNN_NET_SIDE_MAX. */
rcnn_status rcnn_session_plan_for(rcnn_session *session, int32_t batch, int32_t width, int32_t height, rcnn_plan **out,
                                  rcnn_error *err);

#endif
