/* Runs the op list. As a test: every case on ref, twice (same bytes) and against independent expectations where the op
 * has them, then on every other backend, level (instruction set and kind of convolution) and precision against ref.
 * Backends with memory of their own also record each op and replay the recording with other counts and image sizes. As a
 * benchmark (--bench): the same list, timed. */
#include "ops/op_list.h"

#include "base/clock.h"
#include "harness.h"
#include "ops/compare.h"
#include "ops/op_cases.h"

#define BENCH_RUNS 20
#define BENCH_MS   300.0

typedef struct settings {
    op_size size;
    bool bench;
    const char *backend, *filter;
    one_op_type type; /* ONE_OP_TYPE_COUNT = all */
    int32_t threads;
    const rcnn_backend_vt *const *backends;
    int32_t backend_count;
    void (*again)(int second);
} settings;

/* A backend under test. Those with memory of their own take long to open: they stay open. */
typedef struct target {
    const rcnn_backend_vt *vt;
    rcnn_backend *shared;
    uint32_t precisions; /* bits */
} target;

/* What the cpu backend is told through the environment. */
typedef struct level {
    const char *name;   /* in labels                                                                  */
    const char *mask;   /* RCNN_CPU_MASK, instruction sets; read when the backend is opened           */
    const char *method; /* RCNN_CPU_CONV, read when a convolution is prepared; NULL = not set         */
    bool own;           /* convolutions are the backend's own where one fits                          */
    bool narrow;        /* products of features other than floats by Winograd's, where the processor has them */
} level;

static const level PLAIN_LEVEL = {.name = "", .mask = ""};

/* oneDNN's convolutions at every instruction set, then the backend's choice for those that may be its own. */
static const level CPU_LEVELS[] = {
    {.name = "c", .mask = "c", .method = "direct"},
    {.name = "avx2", .mask = "avx2", .method = "direct"},
    {.name = "avx512", .mask = "avx512", .method = "direct"},
    {.name = "avx2 own", .mask = "avx2", .own = true},
    {.name = "avx512 own", .mask = "avx512", .own = true, .narrow = true},
};

/* One case of one type; ref holds what every backend must give, or nothing. */
typedef struct subject {
    const settings *settings;
    const op_case *c;
    const char *label;
    one_op *test;
    one_op_type type;
    const char *mix; /* its name */
    const level *level;
    one_op_run ref;
} subject;

/* Whether the cpu backend chooses Winograd's filtering, as src/backend/cpu/winograd.h has it. */
static bool fits_winograd(const rcnn_op *op)
{
    return op->kind == RCNN_OP_CONV && op->w.kh == 3 && op->w.kw == 3 && op->u.conv.stride <= 2 &&
           op->u.conv.pad == 1 && op->u.conv.groups == 1 && op->w.in % 32 == 0 && op->w.out % 32 == 0;
}

/* Whether it chooses its own product in some type, as src/backend/cpu/dense.h has it. */
static bool fits_product(const rcnn_op *op)
{
    const bool point = op->kind == RCNN_OP_CONV && op->w.kh == 1 && op->w.kw == 1 && op->u.conv.stride == 1 &&
                       op->u.conv.pad == 0 && op->u.conv.groups == 1;
    return (point || op->kind == RCNN_OP_FC) && op->w.in % 32 == 0 && op->w.out % 32 == 0;
}

/* --------------------------------------------------------------- running */

typedef rcnn_status (*run_function)(one_op_run *run, rcnn_error *err);

/* One run of an opened op into run->result; false after a failure that was reported. */
static bool run_once(const op_case *c, one_op_run *run, run_function enqueue)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_load(run, &err);
    if (status == RCNN_OK) {
        status = enqueue(run, &err);
    }
    if (status != c->want) {
        test_fail("want status %d, got %d: %s", (int)c->want, (int)status, err.message);
        return false;
    }
    if (status != RCNN_OK) {
        if (!strstr(err.message, run->test->op.name)) {
            test_fail("the message does not name the op: '%s'", err.message);
        }
        return false;
    }
    if (one_op_fetch(run, &err) != RCNN_OK) {
        test_fail("%s", err.message);
        return false;
    }
    return true;
}

static bool opened(const one_op *t, const rcnn_backend_vt *vt, const one_op_how *how, one_op_run *run)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_open_as(t, vt, how, run, &err);
    if (status != RCNN_OK) {
        test_fail("open: %d: %s", (int)status, err.message);
    }
    return status == RCNN_OK;
}

/* Checks a run's results: written, equal to `want` (NULL = none), as expected at samples, and the same when run again. */
static void check_run(const subject *s, const one_op_how *how, void *const *want, one_op_run *run, run_function enqueue)
{
    if (!run_once(s->c, run, enqueue)) {
        return;
    }
    compared results = {.test = s->test, .type = how->type, .float_output = how->float_output, .got = run->result};
    results.narrow =
        s->level->narrow && fits_winograd(&s->test->op) && s->test->stored[s->test->op.input[0]] != RCNN_F32;
    compare_written(&results);
    if (want) {
        compare_results(&results, want);
    }
    if (op_has_expectation(s->test->op.kind)) {
        compare_samples(&results);
    }
    void *first[RCNN_OP_OUTPUTS_MAX];
    memcpy(first, run->result, sizeof first);
    memset(run->result, 0, sizeof run->result);
    if (s->settings->again) {
        s->settings->again(1);
    }
    if (run_once(s->c, run, enqueue)) {
        compare_same_bytes(&results, first, "two runs");
    }
    if (s->settings->again) {
        s->settings->again(0);
    }
    for (int i = 0; i < RCNN_OP_OUTPUTS_MAX; i++) {
        free(first[i]);
    }
}

/* ------------------------------------------------------------- recordings */

/* Rows or list entries of one image at most. */
static int32_t capacity_of(const one_op *t)
{
    const int32_t images = t->graph.values[t->counts].desc.dim[0];
    if (one_op_live_of(t, 0) == ONE_OP_ROWS) {
        return t->graph.values[t->op.output[0]].desc.dim[0] / images;
    }
    return t->graph.values[t->op.input[t->op.kind == RCNN_OP_BOX_SELECT ? 1 : 0]].desc.dim[1];
}

static void fill_counts(one_op *t, int32_t most)
{
    const int32_t capacity = capacity_of(t);
    int32_t *counts = t->data[t->counts];
    for (int32_t n = 0; n < t->graph.values[t->counts].desc.dim[0]; n++) {
        counts[n] = capacity < most ? capacity : most;
    }
}

static void shrink_images(one_op *t)
{
    for (int32_t n = 0; n < t->frame.count; n++) {
        rcnn_frame_image *image = &t->frame.image[n];
        image->net_width -= image->net_width / 4;
        image->net_height -= image->net_height / 4;
        image->scale_x = (float)((double)image->net_width / image->view.width);
        image->scale_y = (float)((double)image->net_height / image->view.height);
        image->ratio_x = (float)((double)image->view.width / image->net_width);
        image->ratio_y = (float)((double)image->view.height / image->net_height);
    }
}

/* The op's counts or images have changed since the recording: it must follow. */
static void check_changed(const subject *s, const one_op_how *how, one_op_run *run, const char *change)
{
    char text[224];
    const char *before = current_case;
    one_op_run ref;
    rcnn_error err = {0};
    snprintf(text, sizeof text, "%s, recorded, then %s", before, change);
    current_case = text;
    if (one_op_on_ref(s->test, &ref, &err) != RCNN_OK) {
        test_fail("ref: %s", err.message);
    } else {
        check_run(s, how, ref.result, run, one_op_replay);
    }
    one_op_close(&ref);
    current_case = before;
}

static void check_changes(const subject *s, const one_op_how *how, one_op_run *run)
{
    one_op *t = s->test;
    if (t->counts != RCNN_NO_VALUE) {
        const int32_t images = t->graph.values[t->counts].desc.dim[0];
        int32_t kept[RCNN_BATCH_MAX];
        memcpy(kept, t->data[t->counts], (size_t)images * sizeof *kept);
        fill_counts(t, 0);
        check_changed(s, how, run, "nothing");
        fill_counts(t, 1);
        check_changed(s, how, run, "one a image");
        fill_counts(t, INT32_MAX);
        check_changed(s, how, run, "full");
        memcpy(t->data[t->counts], kept, (size_t)images * sizeof *kept);
    }
    const rcnn_frame kept = t->frame;
    shrink_images(t);
    check_changed(s, how, run, "smaller images");
    t->frame = kept;
}

static void check_recording(const subject *s, const one_op_how *how, one_op_run *run)
{
    char text[192];
    const char *before = current_case;
    rcnn_error err = {0};
    snprintf(text, sizeof text, "%s, recorded", before);
    current_case = text;
    if (one_op_record(run, &err) != RCNN_OK) {
        test_fail("%s", err.message);
    } else {
        check_run(s, how, s->ref.result[0] ? s->ref.result : NULL, run, one_op_replay);
        current_case = before;
        if (s->c->size == OP_SMALL) {
            check_changes(s, how, run);
        }
    }
    current_case = before;
}

/* ------------------------------------------------------------- one backend */

static void check_as(const subject *s, const target *on, const one_op_how *how)
{
    one_op_run run;
    if (opened(s->test, on->vt, how, &run)) {
        check_run(s, how, s->ref.result[0] ? s->ref.result : NULL, &run, one_op_enqueue);
        if (on->vt->record_begin && s->c->want == RCNN_OK) {
            check_recording(s, how, &run);
        }
    }
    one_op_close(&run);
}

/* The planner gives output 0 the memory of an input of as many bytes. */
static bool may_overwrite(const one_op *t)
{
    const rcnn_op *op = &t->op;
    return op->inplace >= 0 &&
           rcnn_dtype_bytes(t->stored[op->input[op->inplace]]) == rcnn_dtype_bytes(t->stored[op->output[0]]);
}

static void check_backend(const subject *s, const target *on)
{
    const one_op *t = s->test;
    one_op_how how = {.threads = s->settings->threads, .shared = on->shared, .type = s->type};
    check_as(s, on, &how);
    if (may_overwrite(t)) {
        how.inplace = true;
        check_as(s, on, &how);
        how.inplace = false;
    }
    const rcnn_dtype stored = t->stored[t->op.output[0]];
    const bool may_predict = (t->op.kind == RCNN_OP_CONV && !t->op.u.conv.relu && !t->op.u.conv.residual) ||
                             (t->op.kind == RCNN_OP_FC && !t->op.u.fc.relu);
    if (may_predict && s->type != ONE_OP_INT8 && stored != RCNN_F32) { /* INT8 has mixes with float outputs */
        how.float_output = true;
        check_as(s, on, &how);
    }
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static rcnn_status replay_many(one_op_run *run, rcnn_error *err)
{
    RCNN_TRY(run->vt->stage(run->backend, 0, &run->test->frame, err));
    for (int i = 0; i < BENCH_RUNS; i++) {
        RCNN_TRY(run->vt->replay(run->backend, run->recording, err));
    }
    RCNN_TRY(run->vt->finish(run->backend, 0, err));
    return run->vt->wait(run->backend, 0, err);
}

/* Of a run; of many replayed in one go where the backend records, as a session has them. */
static int time_runs(one_op_run *run, double *ms, rcnn_error *err)
{
    const bool many = run->vt->record_begin != NULL;
    int count = 0;
    if (one_op_load(run, err) != RCNN_OK || one_op_enqueue(run, err) != RCNN_OK || /* the first one warms up */
        (many && (one_op_record(run, err) != RCNN_OK || replay_many(run, err) != RCNN_OK))) {
        return 0;
    }
    for (double total = 0; count < BENCH_RUNS && total < BENCH_MS; count++) {
        double start = rcnn_clock_ms();
        if ((many ? replay_many : one_op_enqueue)(run, err) != RCNN_OK) {
            break;
        }
        double taken = rcnn_clock_ms() - start;
        ms[count] = many ? taken / BENCH_RUNS : taken;
        total += taken;
    }
    return count;
}

static void bench_backend(const subject *s, const target *on)
{
    const one_op *t = s->test;
    const one_op_how how = {.threads = s->settings->threads, .shared = on->shared, .type = s->type};
    one_op_run run;
    rcnn_error err = {0};
    double ms[BENCH_RUNS];
    int count = opened(t, on->vt, &how, &run) ? time_runs(&run, ms, &err) : 0;
    one_op_close(&run);
    if (count > 0) {
        qsort(ms, (size_t)count, sizeof *ms, compare_double);
        double gmac = (double)rcnn_op_macs(&t->graph, &t->op) * 1e-9;
        printf("%-60s %10.4f ms median %10.4f ms min", current_case, ms[count / 2], ms[0]);
        printf(gmac > 0 ? " %9.1f GMAC/s\n" : "\n", gmac / ms[count / 2] * 1e3);
    } else {
        test_fail("%s", err.message);
    }
}

/* ------------------------------------------------------------------ list */

static const level *levels_of(const rcnn_backend_vt *vt, int *count)
{
    const bool is_cpu = strcmp(vt->name, "cpu") == 0;
    *count = is_cpu ? (int)(sizeof CPU_LEVELS / sizeof CPU_LEVELS[0]) : 1;
    return is_cpu ? CPU_LEVELS : &PLAIN_LEVEL;
}

static void enter_level(const level *at)
{
    setenv("RCNN_CPU_MASK", at->mask, 1);
    if (at->method) {
        setenv("RCNN_CPU_CONV", at->method, 1);
    } else {
        unsetenv("RCNN_CPU_CONV");
    }
}

static void leave_level(void)
{
    unsetenv("RCNN_CPU_MASK");
    unsetenv("RCNN_CPU_CONV");
}

/* The subject at its level. */
static void run_at(const subject *s, const target *on)
{
    const char *name = s->level->name;
    char text[192];
    snprintf(text, sizeof text, "%s on %s%s%s%s%s%s%s", s->label, on->vt->name, name[0] ? " " : "", name,
             s->type != ONE_OP_F32 ? " " : "", s->type != ONE_OP_F32 ? one_op_type_name(s->type) : "",
             s->mix[0] ? ", " : "", s->mix);
    current_case = text;
    enter_level(s->level);
    if (!s->settings->bench) {
        check_backend(s, on);
    } else if (s->c->want == RCNN_OK) {
        bench_backend(s, on);
    }
    leave_level();
    current_case = s->label;
}

static void run_on(const subject *s, const target *on)
{
    int count;
    const level *levels = levels_of(on->vt, &count);
    for (int i = 0; i < count; i++) {
        if (!levels[i].own || fits_winograd(&s->test->op) || fits_product(&s->test->op)) {
            subject at = *s;
            at.level = &levels[i];
            run_at(&at, on);
        }
    }
}

/* The target computes in the type, and with images as wide as this op's. */
static bool takes(const target *on, const subject *s)
{
    const int32_t channels = one_op_half_image(s->test, s->type);
    const int32_t wanted = on->vt->half_image_channels ? on->vt->half_image_channels : 3;
    return (on->precisions >> one_op_precision(s->type) & 1u) && (channels == 0 || channels == wanted);
}

/* The case in one mix of a type on all targets; *ran when there was any. False when there is no such mix. */
static bool run_mix(const settings *chosen, const char *label, const op_case *c, one_op_type type, int32_t mix,
                    const target *targets, int32_t count, bool *ran)
{
    one_op t;
    subject s = {.settings = chosen, .c = c, .label = label, .test = &t, .type = type};
    c->build(&t, c->params);
    const bool skip_ref = c->size == OP_LARGE && op_has_expectation(t.op.kind);
    const one_op_how plain = {.threads = 1};
    const bool fits = one_op_round(&t, type, mix);
    bool wants_ref = !skip_ref && !chosen->bench;
    current_case = label;
    for (int32_t i = 0; fits && i < count; i++) {
        if (!takes(&targets[i], &s) || (targets[i].vt == &rcnn_backend_ref && skip_ref)) {
            continue;
        }
        s.mix = one_op_mix_name(&t, type, mix);
        if (wants_ref && opened(&t, &rcnn_backend_ref, &plain, &s.ref)) {
            run_once(c, &s.ref, one_op_enqueue);
        }
        wants_ref = false;
        run_on(&s, &targets[i]);
        *ran = true;
    }
    one_op_close(&s.ref);
    one_op_retire(&t);
    return fits;
}

static bool has_type(const target *targets, int32_t count, one_op_type type)
{
    for (int32_t i = 0; i < count; i++) {
        if (targets[i].precisions >> one_op_precision(type) & 1u) {
            return true;
        }
    }
    return false;
}

#define MIXES_LARGE 3 /* of large shapes: all bytes, and the float features that stand between them */

/* The case in one type on all targets. True when it ran on any. */
static bool run_typed(const settings *chosen, const char *label, const op_case *c, one_op_type type,
                      const target *targets, int32_t count)
{
    const int32_t mixes = c->size == OP_LARGE && !chosen->bench ? MIXES_LARGE : INT32_MAX;
    bool ran = false;
    for (int32_t mix = 0; mix < mixes && has_type(targets, count, type); mix++) {
        if (!run_mix(chosen, label, c, type, mix, targets, count, &ran)) {
            break;
        }
    }
    return ran;
}

static int run_list(const settings *s, const char *op, const op_case_list *list, const target *targets, int32_t count)
{
    int ran = 0;
    for (int32_t i = 0; i < list->count; i++) {
        const op_case *c = &list->cases[i];
        char label[128];
        snprintf(label, sizeof label, "%s: %s", op, c->name);
        if (c->size != s->size || !op_list_is_wanted(label, s->filter)) {
            continue;
        }
        int before = test_failures;
        bool any = false;
        for (int type = 0; type < ONE_OP_TYPE_COUNT; type++) {
            if (s->type == ONE_OP_TYPE_COUNT || s->type == (one_op_type)type) {
                any |= run_typed(s, label, c, (one_op_type)type, targets, count);
            }
        }
        ran += any;
        if (!any) {
            printf("SKIPPED %s: no backend that is fast enough and has the type\n", label);
        } else if (!s->bench) {
            printf("%s %s\n", test_failures != before ? "FAIL" : "ok  ", label);
        }
        fflush(stdout);
    }
    return ran;
}

/* --------------------------------------------------------------- backends */

static bool open_target(const settings *s, const rcnn_backend_vt *vt, target *out)
{
    char text[512];
    *out = (target){.vt = vt, .precisions = 1u << RCNN_PRECISION_FP32};
    if ((s->backend && strcmp(s->backend, vt->name) != 0) || vt->probe(text, sizeof text) != RCNN_OK) {
        return false;
    }
    if (!vt->stage && !vt->precisions) {
        return true;
    }
    const rcnn_backend_options options = {.num_threads = s->threads};
    rcnn_error err = {0};
    rcnn_precision automatic;
    if (vt->open(&options, &out->shared, &err) != RCNN_OK) {
        test_fail("opening %s: %s", vt->name, err.message);
        return false;
    }
    out->precisions = vt->precisions ? vt->precisions(out->shared, &automatic) : out->precisions;
    if (!vt->stage) {
        vt->close(out->shared);
        out->shared = NULL;
    }
    return true;
}

static int32_t open_targets(const settings *s, target *targets)
{
    int32_t count = 0;
    for (int32_t b = 0; b < s->backend_count; b++) {
        count += open_target(s, s->backends[b], &targets[count]);
    }
    return count;
}

static bool find_type(const char *name, one_op_type *out)
{
    for (int type = 0; type < ONE_OP_TYPE_COUNT; type++) {
        if (strcmp(name, one_op_type_name((one_op_type)type)) == 0) {
            *out = (one_op_type)type;
            return true;
        }
    }
    return false;
}

static bool parse(settings *s, int argc, char **argv)
{
    bool good = true;
    for (int i = 1; good && i < argc; i++) {
        if (strcmp(argv[i], "--large") == 0) {
            s->size = OP_LARGE;
        } else if (strcmp(argv[i], "--bench") == 0) {
            s->bench = true;
        } else if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc) {
            s->backend = argv[++i];
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            s->threads = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--type") == 0 && i + 1 < argc) {
            good = find_type(argv[++i], &s->type);
        } else {
            good = argv[i][0] != '-';
            s->filter = argv[i];
        }
    }
    return good && s->threads >= 1;
}

#define TARGETS_MAX 8

int op_list_main(int argc, char **argv, const rcnn_backend_vt *const *backends, int32_t count,
                 void (*again)(int second))
{
    settings s = {
        .threads = 2, .type = ONE_OP_TYPE_COUNT, .backends = backends, .backend_count = count, .again = again};
    if (!parse(&s, argc, argv) || count > TARGETS_MAX) {
        fprintf(stderr,
                "usage: %s [--large] [--bench] [--backend NAME] [--type f32|tf32|f16|bf16|int8] [--threads N] "
                "[FILTER]\n",
                argv[0]);
        return 2;
    }
    target targets[TARGETS_MAX];
    const int32_t target_count = open_targets(&s, targets);
    int ran = 0;
#define OP(KIND, name, help) ran += run_list(&s, #name, &op_cases_##name, targets, target_count);
#include "graph/ops.def"
#undef OP
    for (int32_t i = 0; i < target_count; i++) {
        if (targets[i].shared) {
            targets[i].vt->close(targets[i].shared);
        }
    }
    one_op_free_retired();
    printf("%d cases, %d failures\n", ran, test_failures);
    return test_failures || !ran ? 1 : 0;
}
