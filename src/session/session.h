/* Inside a session.
 *
 * A batch of images is a flight. Backends that work in host memory finish it in launch; backends with memory of their own
 * (vt->stage) get up to RCNN_SESSION_IN_FLIGHT of them, one a slot, which land in the order they were launched. Whatever
 * needs an empty device (planning, larger memory, recording, forgetting a plan) lands all flights first. */
#ifndef RCNN_SESSION_SESSION_H
#define RCNN_SESSION_SESSION_H

#include "session/plan.h"
#include "session/results.h"

#define RCNN_NET_SIDE_MAX          16384 /* padded network input, each side */
#define RCNN_SESSION_PLANS_USUAL   64    /* padded shapes kept prepared when max_plans is 0 */
#define RCNN_SESSION_PLANS_MAX     4096
#define RCNN_SESSION_PLAN_MB_USUAL 512
#define RCNN_SESSION_PLAN_MB_MAX   1048576

_Static_assert(RCNN_SESSION_IN_FLIGHT == RCNN_BACKEND_SLOTS, "a flight is a slot");

typedef enum rcnn_flight_state { RCNN_FLIGHT_FREE, RCNN_FLIGHT_RUNNING, RCNN_FLIGHT_LANDED } rcnn_flight_state;

typedef struct rcnn_flight {
    rcnn_flight_state state;
    rcnn_frame frame; /* stays as it is while the flight runs */
    rcnn_plan *plan;  /* while it runs */
    uint64_t number;  /* of session's starts: the last one's values stand in the arena */
    void *ready;      /* host_preprocess: memory of the preprocessed images */
    size_t ready_bytes;
    double start_ms, host_ms; /* clock at launch; time of preprocessing on the host */
    double marked_ms;         /* time_stages: clock at mark 0 */
    rcnn_results *results;    /* of a landed flight; else only memory to use again, or NULL */
    rcnn_error failed;        /* of a landed flight whose status is not OK */
} rcnn_flight;

/* A step of the last run, timed. */
typedef struct rcnn_session_step {
    char name[2 * RCNN_LAYER_TEXT_MAX + 2];
    rcnn_step_time time; /* name is filled when it is handed out: steps move when their array grows */
} rcnn_session_step;

struct rcnn_session {
    const rcnn_model *model;
    const rcnn_backend_vt *vt;
    rcnn_backend *backend;
    const rcnn_backend_vt *host_vt; /* host_preprocess: what does it; else NULL */
    rcnn_backend *host;

    int32_t num_threads, max_batch, long_side, short_side, keep_values;
    bool time_stages, time_steps; /* on a device: by marks, which need one flight at a time */
    int32_t max_plans;
    size_t plan_bytes_max; /* of recordings */
    rcnn_precision precision;
    rcnn_mask_format mask_format;
    float mask_threshold;
    uint8_t *label_wanted;
    rcnn_build_options build; /* batch, width and height are filled per plan */

    rcnn_plan **plans;
    size_t plan_capacity;
    int32_t plan_count;
    uint64_t run_count, plans_made, plans_evicted;
    rcnn_plan *current;    /* the plan whose values stand in the arena, or NULL */
    void *arena, *scratch; /* backend memory shared by all plans */
    size_t arena_bytes, scratch_bytes;
    uint64_t generation; /* of arena and scratch: what was bound or recorded for another one is stale */
    uint64_t starts;     /* of runs on the device, also of those that failed half-way */
    void *host_scratch;
    size_t host_scratch_bytes;
    void *staging; /* host copy of downloaded values */
    size_t staging_capacity;

    rcnn_flight flights[RCNN_SESSION_IN_FLIGHT];
    int32_t oldest, pending;   /* flights oldest .. oldest+pending-1, round the end, are not free */
    rcnn_results *run_results; /* rcnn_session_run under way: flights add to it when they land; else NULL */

    rcnn_session_step *steps; /* time_steps: of the run that landed last */
    size_t step_capacity;
    int32_t step_count;
};

/* A session on a given backend, whatever options->backend says: tests bring backends of their own. */
rcnn_status rcnn_session_create_on(const rcnn_model *model, const rcnn_session_options *options,
                                   const rcnn_backend_vt *vt, rcnn_session **out, rcnn_error *err);

/* ------------------------------------------------------------- plans.c */

/* Network size and scale of an image whose view is set, and the padded shape that holds it. */
void rcnn_session_place_image(const rcnn_session *session, rcnn_frame_image *image, int32_t *width, int32_t *height);
/* The prepared plan of a number of images and a padded shape, made when there is none: the last, smaller batch of a run
 * does not pay for images that are not there. LIMIT over RCNN_NET_SIDE_MAX. */
rcnn_status rcnn_session_plan_for(rcnn_session *session, int32_t batch, int32_t width, int32_t height, rcnn_plan **out,
                                  rcnn_error *err);
/* Memory for a plan and, on backends that can, its recording. */
rcnn_status rcnn_session_ready_plan(rcnn_session *session, rcnn_plan *plan, const rcnn_frame *frame, rcnn_error *err);
/* Enqueues a plan's steps, delivery and time marks, for a recording or at once. */
rcnn_status rcnn_session_enqueue(rcnn_session *session, rcnn_plan *plan, const rcnn_frame *frame, rcnn_error *err);
void rcnn_session_forget_plans(rcnn_session *session);
/* Memory of `need` bytes from a backend; what was in a smaller one is lost. *grown (may be NULL) says whether it moved. */
rcnn_status rcnn_session_grow(const rcnn_backend_vt *vt, rcnn_backend *backend, void **block, size_t *have, size_t need,
                              bool *grown, rcnn_error *err);

/* ------------------------------------------------------------- flight.c */

/* Lands every flight that runs: into run_results during rcnn_session_run, else each into its own results, where a failure
 * waits for collect. */
rcnn_status rcnn_session_land_all(rcnn_session *session, rcnn_error *err);
/* Waits until nothing runs and frees all flights; their results are lost. */
void rcnn_session_abandon(rcnn_session *session);
/* Empties results for a run of this session. */
void rcnn_session_begin_results(const rcnn_session *session, rcnn_results *results);
/* What a run of a plan in host memory left, where it stands. */
void rcnn_session_delivered(const rcnn_plan *plan, rcnn_delivered *out);

/* ------------------------------------------------------------- step_times.c */

/* Keeps the times of a plan's steps, ms [step_count], with the work that the delivered counts say they did. */
rcnn_status rcnn_session_keep_steps(rcnn_session *session, const rcnn_plan *plan, const double *ms,
                                    const rcnn_delivered *delivered, rcnn_error *err);

/* ------------------------------------------------------------- take.c */

/* Adds what a run of the plan left to the results. */
rcnn_status rcnn_session_take(const rcnn_session *session, const rcnn_plan *plan, const rcnn_frame *frame,
                              const rcnn_delivered *delivered, rcnn_results *results, rcnn_error *err);

#endif
