/* Running parts of the network again with rounded activations. */
#include "calibrate/sensitivity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calibrate/live.h"
#include "calibrate/ranges.h"
#include "session/session.h"

/* Columns from .. to-1 of the rows of an output that belong together: logits and deltas differ in size. */
typedef struct output_part {
    rcnn_value_id value;
    int32_t from, to;
} output_part;

struct rcnn_sensitivity {
    rcnn_session *session;
    rcnn_results *results;
    rcnn_frame *frame;
    uint8_t *first;                 /* the arena after the first run           */
    uint8_t *dirty;                 /* [value_count] differs from the first run */
    const rcnn_activation **stored; /* [value_count] to be rounded, or NULL */
    output_part parts[RCNN_SENSITIVITY_PARTS];
    int32_t part_count;
};

/* ----------------------------------------------------------------- outputs */

static void add_part(rcnn_sensitivity *s, const char *name, int32_t from, int32_t to)
{
    const rcnn_value_id value = rcnn_graph_find(&s->session->current->graph, name);
    if (value != RCNN_NO_VALUE && rcnn_live_elements(s->session->current, value) > 0) {
        s->parts[s->part_count++] = (output_part){.value = value, .from = from, .to = to};
    }
}

static void list_parts(rcnn_sensitivity *s)
{
    const rcnn_graph *graph = &s->session->current->graph;
    for (int32_t l = 0; l < RCNN_LEVELS_MAX; l++) {
        char name[RCNN_LAYER_TEXT_MAX];
        snprintf(name, sizeof name, "rpn_pred%d", l + 2);
        const int32_t channels = graph->values[rcnn_graph_find(graph, name)].desc.dim[3];
        add_part(s, name, 0, channels / 5); /* one logit and four deltas an anchor */
        add_part(s, name, channels / 5, channels);
    }
    const int32_t classes = s->session->model->config.class_count + 1;
    const int32_t columns = graph->values[rcnn_graph_find(graph, "box_pred")].desc.dim[1];
    add_part(s, "box_pred", 0, classes);
    add_part(s, "box_pred", classes, columns);
    const rcnn_value_id masks = rcnn_graph_find(graph, "masks");
    if (masks != RCNN_NO_VALUE) {
        add_part(s, "masks", 0, graph->values[masks].desc.dim[2]);
    }
}

static const float *first_run(const rcnn_sensitivity *s, rcnn_value_id id)
{
    return (const float *)(const void *)(s->first + s->session->current->graph.values[id].offset);
}

static double part_error(const rcnn_sensitivity *s, const output_part *part)
{
    const rcnn_plan *plan = s->session->current;
    const rcnn_tensor_desc *desc = &plan->graph.values[part->value].desc;
    const size_t columns = (size_t)desc->dim[desc->rank - 1];
    const size_t rows = rcnn_live_elements(plan, part->value) / columns;
    const float *was = first_run(s, part->value), *is = plan->value[part->value];
    double sum = 0, squares = 0, changes = 0;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = (size_t)part->from; c < (size_t)part->to; c++) {
            const double a = (double)was[r * columns + c];
            const double change = (double)is[r * columns + c] - a;
            sum += a;
            squares += a * a;
            changes += change * change;
        }
    }
    const double count = (double)rows * (part->to - part->from);
    const double spread = squares - sum * sum / count;
    const double whole = spread > 1e-12 * squares ? spread : squares; /* an output without variation */
    return whole > 0 ? sqrt(changes / whole) : sqrt(changes / count);
}

/* ----------------------------------------------------------------- running */

/* Values of ops that decide on boxes stay as they are, and with them what says how many rows there are. */
static bool is_fixed(rcnn_op_kind kind)
{
    return kind == RCNN_OP_PREPROCESS || kind == RCNN_OP_RPN_SELECT || kind == RCNN_OP_NMS ||
           kind == RCNN_OP_BOX_SELECT || kind == RCNN_OP_DETECT;
}

static void round_values(float *values, size_t count, const rcnn_activation *stored)
{
    const float most = stored->is_signed ? RCNN_CODE_MAX_SIGNED : RCNN_CODE_MAX_UNSIGNED;
    const float least = stored->is_signed ? -RCNN_CODE_MAX_SIGNED : 0;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding and subtracting it rounds half to even */
    const float scale = stored->scale;
    for (size_t i = 0; i < count; i++) {
        float code = values[i] / scale;
        code = code > most ? most : code;
        code = code < least ? least : code;
        values[i] = ((code + shift) - shift) * scale;
    }
}

static rcnn_status run_op(rcnn_sensitivity *s, int32_t index, rcnn_error *err)
{
    const rcnn_session *session = s->session;
    const rcnn_args args = {.value = session->current->value, .scratch = session->scratch, .frame = s->frame};
    RCNN_TRY(session->vt->enqueue(session->current->steps[index].kernel, &args, err));
    return session->vt->sync(session->backend, err);
}

/* With keep_values every op is a step of its own, and its values keep their places. */
static rcnn_status run_ops(rcnn_sensitivity *s, rcnn_error *err)
{
    const rcnn_plan *plan = s->session->current;
    for (int32_t i = 0; i < plan->graph.op_count; i++) {
        const rcnn_op *op = &plan->graph.ops[i];
        const rcnn_value_id output = op->output[0];
        bool changed = false;
        for (int32_t k = 0; k < op->input_count; k++) {
            changed = changed || s->dirty[op->input[k]];
        }
        if (is_fixed(op->kind) || !(changed || s->stored[output])) {
            continue;
        }
        s->dirty[output] = 1;
        if (changed) {
            RCNN_TRY(run_op(s, i, err));
        }
        if (s->stored[output]) {
            round_values(plan->value[output], rcnn_live_elements(plan, output), s->stored[output]);
        }
    }
    return RCNN_OK;
}

static void restore(rcnn_sensitivity *s)
{
    const rcnn_plan *plan = s->session->current;
    for (int32_t v = 0; v < plan->graph.value_count; v++) {
        if (s->dirty[v]) {
            memcpy(plan->value[v], first_run(s, v), plan->graph.values[v].bytes);
        }
        s->dirty[v] = 0;
        s->stored[v] = NULL;
    }
}

rcnn_status rcnn_sensitivity_measure(rcnn_sensitivity *s, const rcnn_activation *activations, int32_t count,
                                     const uint8_t *use, double errors[RCNN_SENSITIVITY_PARTS], rcnn_error *err)
{
    const rcnn_session *session = s->session;
    const rcnn_graph *graph = &session->current->graph;
    for (int32_t i = 0; i < count; i++) {
        const rcnn_value_id id = use[i] ? rcnn_graph_find(graph, activations[i].value) : RCNN_NO_VALUE;
        if (id != RCNN_NO_VALUE) {
            s->stored[id] = &activations[i];
        }
    }
    if (session->vt->begin_run) {
        session->vt->begin_run(session->backend);
    }
    rcnn_status status = run_ops(s, err);
    if (session->vt->end_run) {
        session->vt->end_run(session->backend);
    }
    for (int32_t i = 0; i < RCNN_SENSITIVITY_PARTS; i++) {
        errors[i] = status == RCNN_OK && i < s->part_count ? part_error(s, &s->parts[i]) : 0;
    }
    restore(s);
    return status;
}

/* ----------------------------------------------------------------- opening */

static rcnn_status first_pass(rcnn_sensitivity *s, const rcnn_image_view *image, rcnn_error *err)
{
    RCNN_TRY(rcnn_session_run(s->session, image, 1, &s->results, err));
    const rcnn_plan *plan = s->session->current;
    s->frame = rcnn_calloc(1, sizeof *s->frame);
    s->first = rcnn_malloc_aligned(plan->graph.arena_bytes);
    s->dirty = rcnn_calloc((size_t)plan->graph.value_count, 1);
    s->stored = rcnn_calloc((size_t)plan->graph.value_count, sizeof(const rcnn_activation *));
    if (!s->frame || !s->first || !s->dirty || !s->stored) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory for %zu bytes", plan->graph.arena_bytes);
    }
    int32_t width, height;
    s->frame->count = 1;
    s->frame->image[0].view = *image;
    rcnn_session_place_image(s->session, &s->frame->image[0], &width, &height);
    memcpy(s->first, s->session->arena, plan->graph.arena_bytes);
    list_parts(s);
    return RCNN_OK;
}

rcnn_status rcnn_sensitivity_open(const rcnn_model *model, const rcnn_session_options *options,
                                  const rcnn_image_view *image, rcnn_sensitivity **out, rcnn_error *err)
{
    rcnn_session_options floats = *options;
    floats.precision = RCNN_PRECISION_FP32; /* values are read as floats, whatever a backend would choose */
    floats.keep_values = 1;
    *out = NULL;
    rcnn_sensitivity *s = rcnn_calloc(1, sizeof *s);
    if (!s) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory");
    }
    rcnn_status status = rcnn_session_create(model, &floats, &s->session, err);
    if (status == RCNN_OK) {
        status = first_pass(s, image, err);
    }
    if (status != RCNN_OK) {
        rcnn_sensitivity_close(s);
        return status;
    }
    *out = s;
    return RCNN_OK;
}

void rcnn_sensitivity_close(rcnn_sensitivity *s)
{
    if (!s) {
        return;
    }
    rcnn_results_destroy(s->results);
    rcnn_session_destroy(s->session);
    rcnn_free(s->frame);
    rcnn_free(s->first);
    rcnn_free(s->dirty);
    rcnn_free((void *)s->stored);
    rcnn_free(s);
}
