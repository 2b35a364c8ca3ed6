/* A plan: the graph of one padded shape with every op prepared on a backend. Holds no activations: the session's arena
 * is shared by all its plans. */
#ifndef RCNN_SESSION_PLAN_H
#define RCNN_SESSION_PLAN_H

#include "backend/backend.h"
#include "stages/stages.h"

typedef struct rcnn_plan_step {
    rcnn_kernel *kernel;
    int32_t first, count; /* ops it runs */
    rcnn_stage stage;
} rcnn_plan_step;

typedef struct rcnn_plan {
    int32_t batch, width, height; /* images and padded network input: the key of the plan */
    rcnn_graph graph;
    rcnn_plan_step *steps;
    int32_t step_count;
    size_t scratch_bytes; /* largest of all steps, and of the delivery */
    void **value;         /* [graph.value_count], set by rcnn_plan_bind */

    /* filled by a session */
    uint64_t last_used;  /* session's run counter, for eviction */
    uint64_t generation; /* of the memory that value[] and recording stand for; 0 = none yet */
    rcnn_delivery delivery;
    rcnn_recording *recording; /* NULL = not recorded */
    bool warm;                 /* it has run once, so that it may be recorded */
    bool unrecordable;         /* the backend failed to: its kernels are enqueued every time */
    int32_t mark_count;        /* time marks of an enqueue; mark_stage[i] is the stage between mark i and i+1 */
    rcnn_stage *mark_stage;    /* [step_count + 2]: the upload, the steps, the delivery */
    struct rcnn_plan *host;    /* preprocessing on the host backend, or NULL */
} rcnn_plan;

_Static_assert(RCNN_STAGE_COUNT + 1 <= RCNN_BACKEND_MARKS, "a mark for every stage border");
#define RCNN_PLAN_TIMED_STEPS_MAX (RCNN_BACKEND_MARKS - 3) /* steps of a plan whose steps are timed */

/* Builds, places and prepares. *out is NULL on failure. */
rcnn_status rcnn_plan_create(const rcnn_model *model, const rcnn_build_options *options, int keep_values,
                             const rcnn_backend_vt *vt, rcnn_backend *backend, rcnn_plan **out, rcnn_error *err);
void rcnn_plan_destroy(rcnn_plan *plan, const rcnn_backend_vt *vt);
/* Points the values into an arena of at least graph.arena_bytes. */
void rcnn_plan_bind(rcnn_plan *plan, void *arena);
/* Enqueues one step of the plan, in a range of its name. */
rcnn_status rcnn_plan_enqueue_step(const rcnn_plan *plan, const rcnn_backend_vt *vt, int32_t step,
                                   const rcnn_args *args, rcnn_error *err);
/* Enqueues all steps and syncs. stage_ms [RCNN_STAGE_COUNT] gets the time of each stage added, step_ms [step_count] that
 * of each step, or is NULL: no step is timed. */
rcnn_status rcnn_plan_run(const rcnn_plan *plan, const rcnn_backend_vt *vt, rcnn_backend *backend, void *scratch,
                          const rcnn_frame *frame, double *stage_ms, double *step_ms, rcnn_error *err);

#endif
