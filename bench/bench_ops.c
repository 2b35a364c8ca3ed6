/* The ops around the arithmetic alone: what they cost in time and, under a counter of instructions, in instructions.
 *
 *   bench_ops -m MODEL --image FILE --values FILE [--replay 0|1] [--threads N] [--size LONGxSHORT]
 *
 * With --replay 0 it runs the picture and writes what every step of the plan reads that is not a CONV, FC or DECONV, and
 * what the run left, to the file of --values. With --replay 1 it reads that file and runs these steps alone, each on the
 * values of the real picture, then makes the masks in every form; no convolution is computed, so that a run under valgrind
 * takes seconds. Prints one JSON object: the measured parts in the order they ran, with their time.
 *
 * Each part is one call of bench_part, whose name is not changed by the compiler: instructions.py counts by it.
 * Uses the library's insides on purpose (ops are not things a user can ask for). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "session/session.h"

typedef struct options {
    const char *model, *image, *values;
    int32_t replay, threads, long_side, short_side;
} options;

/* What a part needs: a step of the plan, or the results whose masks are made. */
typedef struct part {
    const rcnn_session *session;
    const rcnn_args *args;
    int32_t step;
    rcnn_results *results; /* NULL: the step */
    rcnn_mask_format masks;
    rcnn_error *err;
} part;

/* ------------------------------------------------------------- values */

typedef enum direction { SAVE, REPLAY } direction;

typedef struct value_file {
    FILE *file;
    direction direction;
    rcnn_plan *plan;
    rcnn_error *err;
} value_file;

static rcnn_status pass_value(const value_file *f, rcnn_value_id id)
{
    if (id == RCNN_NO_VALUE) {
        return RCNN_OK;
    }
    const rcnn_value *value = &f->plan->graph.values[id];
    const size_t passed = f->direction == SAVE ? fwrite(f->plan->value[id], 1, value->bytes, f->file)
                                               : fread(f->plan->value[id], 1, value->bytes, f->file);
    return passed == value->bytes ? RCNN_OK
                                  : rcnn_fail(f->err, RCNN_ERR_IO, "values: '%s': want %zu bytes, got %zu", value->name,
                                              value->bytes, passed);
}

/* The op's name and what it reads; live rows are counted by a value too. */
static rcnn_status pass_inputs(const value_file *f, const rcnn_op *op)
{
    char name[RCNN_LAYER_TEXT_MAX] = "";
    memcpy(name, op->name, strlen(op->name));
    const size_t passed =
        f->direction == SAVE ? fwrite(name, sizeof name, 1, f->file) : fread(name, sizeof name, 1, f->file);
    if (passed != 1 || strncmp(name, op->name, sizeof name) != 0) {
        return rcnn_fail(f->err, RCNN_ERR_FORMAT, "values: want those of '%s', got another plan's", op->name);
    }
    for (int32_t i = 0; i < op->input_count; i++) {
        RCNN_TRY(pass_value(f, op->input[i]));
    }
    return pass_value(f, op->rows);
}

static rcnn_status pass_delivered(const value_file *f)
{
    const rcnn_delivery *d = &f->plan->delivery;
    const rcnn_value_id ids[] = {d->boxes, d->rois, d->scores, d->labels, d->counts, d->proposal_counts, d->masks};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        RCNN_TRY(pass_value(f, ids[i]));
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- parts */

static rcnn_status run(const part *p)
{
    if (p->results) {
        return rcnn_results_make_masks(p->results, p->masks, p->session->num_threads, p->err);
    }
    const rcnn_plan *plan = p->session->current;
    return p->session->vt->enqueue(plan->steps[p->step].kernel, p->args, p->err);
}

__attribute__((noinline, noclone)) rcnn_status bench_part(const part *p);

rcnn_status bench_part(const part *p)
{
    return run(p);
}

static rcnn_status run_part(const part *p, const char *kind, const char *name, bool first)
{
    const double start = rcnn_clock_ms();
    const rcnn_status status = bench_part(p);
    const double ms = rcnn_clock_ms() - start;
    printf("%s\n    {\"kind\": \"%s\", \"name\": \"%s\", \"ms\": %.4f}", first ? "" : ",", kind, name, ms);
    return status;
}

static bool is_arithmetic(const rcnn_plan *plan, const rcnn_plan_step *step)
{
    const rcnn_op_kind kind = plan->graph.ops[step->first].kind;
    return kind == RCNN_OP_CONV || kind == RCNN_OP_FC || kind == RCNN_OP_DECONV;
}

/* Every step in its order: all of them while values are saved, those that are no arithmetic when they are replayed. */
static rcnn_status run_steps(const rcnn_session *session, const rcnn_args *args, const value_file *f)
{
    bool first = true;
    part p = {.session = session, .args = args, .err = f->err};
    for (p.step = 0; p.step < f->plan->step_count; p.step++) {
        const rcnn_plan_step *step = &f->plan->steps[p.step];
        const rcnn_op *op = &f->plan->graph.ops[step->first];
        const bool arithmetic = is_arithmetic(f->plan, step);
        const long at = ftell(f->file);
        if (!arithmetic) {
            RCNN_TRY(pass_inputs(f, op));
        }
        if (f->direction == SAVE) {
            RCNN_TRY(run(&p));
        } else if (!arithmetic) {
            RCNN_TRY(run(&p)); /* touches memory that nobody has touched yet, and may write over its inputs */
            if (fseek(f->file, at, SEEK_SET) != 0) {
                return rcnn_fail(f->err, RCNN_ERR_IO, "values: cannot go back to those of '%s'", op->name);
            }
            RCNN_TRY(pass_inputs(f, op));
            RCNN_TRY(run_part(&p, rcnn_op_kind_name(op->kind), op->name, first));
            first = false;
        }
    }
    return pass_delivered(f);
}

static rcnn_status run_masks(const rcnn_session *session, const rcnn_frame *frame, rcnn_error *err)
{
    static const struct {
        const char *name;
        rcnn_mask_format format;
    } forms[] = {
        {"rle", RCNN_MASK_RLE}, {"crop", RCNN_MASK_CROP}, {"polygon", RCNN_MASK_POLYGON}, {"full", RCNN_MASK_FULL}};
    rcnn_delivered delivered;
    rcnn_results *results = rcnn_calloc(1, sizeof *results);
    if (!results) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "bench_ops: out of memory");
    }
    rcnn_session_delivered(session->current, &delivered);
    rcnn_status status = RCNN_OK;
    for (size_t i = 0; i < 2 * sizeof forms / sizeof forms[0] && status == RCNN_OK;
         i++) { /* every form: first to warm up */
        const part p = {.session = session, .results = results, .masks = forms[i / 2].format, .err = err};
        rcnn_session_begin_results(session, results);
        status = rcnn_session_take(session, session->current, frame, &delivered, results, err);
        if (status == RCNN_OK) {
            status = i % 2 == 0 ? run(&p) : run_part(&p, "masks", forms[i / 2].name, false);
        }
    }
    rcnn_results_destroy(results);
    return status;
}

/* ------------------------------------------------------------- all */

static rcnn_status ready(rcnn_session *session, const rcnn_image_view *view, rcnn_frame *frame, rcnn_error *err)
{
    int32_t width, height;
    rcnn_plan *plan;
    frame->count = 1;
    frame->image[0].view = *view;
    rcnn_session_place_image(session, &frame->image[0], &width, &height);
    RCNN_TRY(rcnn_session_plan_for(session, 1, width, height, &plan, err));
    RCNN_TRY(rcnn_session_ready_plan(session, plan, frame, err));
    session->current = plan;
    return RCNN_OK;
}

static rcnn_status run_all(const options *o, rcnn_session *session, const rcnn_image_view *view, FILE *file,
                           rcnn_error *err)
{
    static rcnn_frame frame;
    RCNN_TRY(ready(session, view, &frame, err));
    rcnn_plan *plan = session->current;
    const value_file values = {.file = file, .direction = o->replay ? REPLAY : SAVE, .plan = plan, .err = err};
    const rcnn_args args = {.value = plan->value, .scratch = session->scratch, .frame = &frame};
    printf("{\n  \"schema\": 1, \"bench\": \"ops\", \"threads\": %d, \"network_input\": [%d, %d], \"parts\": [",
           session->num_threads, plan->width, plan->height);
    session->vt->begin_run(session->backend);
    rcnn_status status = run_steps(session, &args, &values);
    if (status == RCNN_OK && o->replay) {
        status = run_masks(session, &frame, err);
    }
    session->vt->end_run(session->backend);
    printf("\n  ]\n}\n");
    return status;
}

static rcnn_status bench(const options *o, rcnn_session *session, const rcnn_image *image, rcnn_error *err)
{
    rcnn_image_view view;
    rcnn_image_get_view(image, &view);
    FILE *file = fopen(o->values, o->replay ? "rb" : "wb");
    if (!file) {
        return rcnn_fail(err, RCNN_ERR_IO, "values: cannot open '%s'", o->values);
    }
    rcnn_status status = run_all(o, session, &view, file, err);
    if (fclose(file) != 0 && status == RCNN_OK) {
        status = rcnn_fail(err, RCNN_ERR_IO, "values: cannot write '%s'", o->values);
    }
    return status;
}

static bool parse_option(const char *name, const char *value, options *o)
{
    if (strcmp(name, "-m") == 0) {
        o->model = value;
    } else if (strcmp(name, "--image") == 0) {
        o->image = value;
    } else if (strcmp(name, "--values") == 0) {
        o->values = value;
    } else if (strcmp(name, "--replay") == 0) {
        o->replay = atoi(value);
    } else if (strcmp(name, "--threads") == 0) {
        o->threads = atoi(value);
    } else if (strcmp(name, "--size") == 0) {
        return sscanf(value, "%dx%d", &o->long_side, &o->short_side) == 2;
    } else {
        return false;
    }
    return true;
}

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!parse_option(argv[i], argv[i + 1], o)) {
            return false;
        }
    }
    return argc % 2 == 1 && o->model && o->image && o->values;
}

int main(int argc, char **argv)
{
    options o = {.threads = 1};
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_image *image = NULL;
    rcnn_session_options settings;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "bench_ops: see the head of bench_ops.c for its options\n");
        return 2;
    }
    rcnn_session_options_init(&settings);
    settings.backend = "cpu";
    settings.num_threads = o.threads;
    settings.mask_format = RCNN_MASK_RAW;
    settings.long_side = o.long_side;
    settings.short_side = o.short_side;
    settings.max_detections = 100;
    settings.precision = RCNN_PRECISION_FP32;
    const int failed = rcnn_model_load(o.model, NULL, &model, &err) ||
                       rcnn_session_create(model, &settings, &session, &err) ||
                       rcnn_image_load(o.image, NULL, &image, &err) || bench(&o, session, image, &err);
    if (failed) {
        fprintf(stderr, "bench_ops: %s\n", err.message);
    }
    rcnn_image_destroy(image);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return failed;
}
