/* Runs the op list. As a test: every case on ref, twice (same bytes) and against independent expectations where the op
 * has them, then on every other backend and instruction set level against ref. As a benchmark (--bench): the same list,
 * timed.
 *
 *     test_ops [--large] [--bench] [--backend NAME] [--threads N] [FILTER]
 *
 * FILTER is a substring of "op: case". --large takes the real Mask R-CNN shapes instead of the small ones; there ref is
 * too slow for convolutions and inner products, which are checked at random elements only. */
#include <stdarg.h>

#include "base/clock.h"
#include "harness.h"
#include "ops/op_cases.h"

#define SAMPLES    256
#define BENCH_RUNS 20
#define BENCH_MS   300.0
#define LEVELS_MAX 3

typedef struct settings {
    op_size size;
    bool bench;
    const char *backend, *filter;
    int32_t threads;
} settings;

/* How far a backend may be from ref: |got - want| <= absolute + relative * |want|; 0, 0 = the same bits. */
typedef struct tolerance {
    float absolute, relative;
    const char *why;
} tolerance;

static const tolerance EXACT = {0, 0, "copies, comparisons and table look-ups: any difference is a bug"};

static const tolerance TOLERANCES[RCNN_OP_KIND_COUNT] = {
    [RCNN_OP_CONV] = {2e-5f, 1e-5f, "sums of up to 12544 products of order 1/sqrt(n) in float, in any order"},
    [RCNN_OP_FC] = {2e-5f, 1e-5f, "as conv"},
    [RCNN_OP_DECONV] = {2e-5f, 1e-5f, "as conv"},
    [RCNN_OP_MASK_LOGIT] = {2e-5f, 1e-5f, "as conv; the sigmoid only flattens"},
    [RCNN_OP_UPSAMPLE_ADD] = {0, 0, "one addition"},
    [RCNN_OP_ROI_ALIGN] = {5e-5f, 1e-5f, "sample positions of order 300 carry 3e-5 of rounding; features are in +-1"},
    [RCNN_OP_RPN_SELECT] = {1e-3f, 1e-5f, "exp within a few units in the last place on sides of up to 1e4 pixels"},
    [RCNN_OP_BOX_SELECT] = {1e-3f, 1e-5f, "as rpn_select"},
    [RCNN_OP_DETECT] = {0, 0, "one multiplication or division per coordinate"},
};

static tolerance tolerance_of(const one_op *t)
{
    if (t->op.kind == RCNN_OP_PREPROCESS && t->op.u.preprocess.resize == RCNN_RESIZE_FLOAT) {
        return (tolerance){2e-6f, 1e-6f, "three roundings more or fewer where multiply-adds are fused; values in +-5"};
    }
    tolerance found = TOLERANCES[t->op.kind];
    return found.why ? found : EXACT;
}

static const char *current_case = ""; /* for messages: "op: case on backend" */

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "FAIL %s: ", current_case);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    test_failures++;
}

/* ------------------------------------------------------------- comparing */

typedef struct difference {
    size_t count, compared, first;
    double largest_absolute, largest_relative;
} difference;

static void compare_float(difference *d, const tolerance *allowed, size_t element, float want, float got)
{
    double gap = fabs((double)got - (double)want);
    bool same = memcmp(&want, &got, sizeof want) == 0 || want == got;
    bool exact = allowed->absolute == 0 && allowed->relative == 0;
    bool close = !exact && gap <= (double)allowed->absolute + (double)allowed->relative * fabs((double)want);
    d->compared++;
    if (!same) {
        d->largest_absolute = fmax(d->largest_absolute, gap);
        d->largest_relative = fmax(d->largest_relative, gap / fmax(fabs((double)want), 1e-30));
    }
    if (!same && !close && d->count++ == 0) {
        d->first = element;
    }
}

static void report(const one_op *t, int32_t output, const difference *d, double want, double got)
{
    const rcnn_value *value = &t->graph.values[t->op.output[output]];
    tolerance allowed = tolerance_of(t);
    fail("%s[%zu]: want %.9g, got %.9g; %zu of %zu differ, largest absolute %.3g, relative %.3g; allowed %.3g + %.3g "
         "(%s)",
         value->name, d->first, want, got, d->count, d->compared, d->largest_absolute, d->largest_relative,
         (double)allowed.absolute, (double)allowed.relative, allowed.why);
}

static void compare_output(const one_op *t, void *const *want, void *const *got, int32_t output)
{
    const rcnn_value_id id = t->op.output[output];
    const bool integer = t->graph.values[id].desc.dtype == RCNN_I32;
    const tolerance allowed = tolerance_of(t);
    const float *wanted = want[output];
    const float *gotten = got[output];
    difference d = {0};
    for (size_t e = 0; e < one_op_elements(t, id); e++) {
        if (!one_op_is_live(t, want, output, e)) {
            continue;
        }
        if (integer) {
            const int32_t *w = want[output];
            const int32_t *g = got[output];
            d.compared++;
            d.first = w[e] != g[e] && d.count++ == 0 ? e : d.first;
        } else {
            compare_float(&d, &allowed, e, wanted[e], gotten[e]);
        }
    }
    if (d.count == 0) {
        return;
    }
    if (integer) {
        report(t, output, &d, ((const int32_t *)want[output])[d.first], ((const int32_t *)got[output])[d.first]);
    } else {
        report(t, output, &d, (double)wanted[d.first], (double)gotten[d.first]);
    }
}

/* Counts first: lists of different lengths are not worth comparing element by element. */
static void compare_results(const one_op *t, void *const *want, void *const *got)
{
    int before = test_failures;
    for (int32_t i = t->op.output_count - 1; i >= 0 && test_failures == before; i--) {
        compare_output(t, want, got, i);
    }
}

/* Live floats are finite: outputs start as NaN, so this is also "everything live was written". */
static void check_written(const one_op *t, void *const *result)
{
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const rcnn_value *value = &t->graph.values[t->op.output[i]];
        for (size_t e = 0; value->desc.dtype == RCNN_F32 && e < one_op_elements(t, t->op.output[i]); e++) {
            if (one_op_is_live(t, result, i, e) && !isfinite(((const float *)result[i])[e])) {
                fail("%s[%zu] is live but was not written or is not finite", value->name, e);
                return;
            }
        }
    }
}

static void check_samples(const one_op *t, void *const *result)
{
    const size_t elements = one_op_elements(t, t->op.output[0]);
    const tolerance allowed = tolerance_of(t);
    const float *got = result[0];
    uint64_t seed = 5;
    difference d = {0};
    double want_at_first = 0;
    for (int i = 0; i < SAMPLES; i++) {
        size_t e = (size_t)(test_random(&seed) % elements);
        if (one_op_is_live(t, result, 0, e)) {
            double want = op_expectation(t, e);
            size_t before = d.count;
            compare_float(&d, &allowed, e, (float)want, got[e]);
            want_at_first = d.count == 1 && before == 0 ? want : want_at_first;
        }
    }
    if (d.count) {
        report(t, 0, &d, want_at_first, (double)got[d.first]);
    }
}

/* --------------------------------------------------------------- running */

/* One run of an opened op into run->result; false after a failure that was reported. */
static bool run_once(const op_case *c, one_op_run *run)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_load(run, &err);
    if (status == RCNN_OK) {
        status = one_op_enqueue(run, &err);
    }
    if (status != c->want) {
        fail("want status %d, got %d: %s", (int)c->want, (int)status, err.message);
        return false;
    }
    if (status != RCNN_OK) {
        if (!strstr(err.message, run->test->op.name)) {
            fail("the message does not name the op: '%s'", err.message);
        }
        return false;
    }
    if (one_op_fetch(run, &err) != RCNN_OK) {
        fail("%s", err.message);
        return false;
    }
    return true;
}

static bool opened(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, bool inplace, one_op_run *run)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_open(t, vt, threads, inplace, run, &err);
    if (status != RCNN_OK) {
        fail("open: %d: %s", (int)status, err.message);
    }
    return status == RCNN_OK;
}

/* Checks a backend's results: written, equal to `want` (NULL = none), as expected at samples, and the same when run again. */
static void check_run(const op_case *c, const one_op *t, void *const *want, one_op_run *run)
{
    if (!run_once(c, run)) {
        return;
    }
    check_written(t, run->result);
    if (want) {
        compare_results(t, want, run->result);
    }
    if (op_has_expectation(t->op.kind)) {
        check_samples(t, run->result);
    }
    void *first[RCNN_OP_OUTPUTS_MAX];
    memcpy(first, run->result, sizeof first);
    memset(run->result, 0, sizeof run->result);
    if (run_once(c, run)) {
        for (int32_t i = 0; i < t->op.output_count; i++) {
            const rcnn_value_id id = t->op.output[i];
            const size_t item = rcnn_dtype_bytes(t->graph.values[id].desc.dtype);
            for (size_t e = 0; e < one_op_elements(t, id); e++) {
                if (one_op_is_live(t, first, i, e) &&
                    memcmp((char *)first[i] + e * item, (char *)run->result[i] + e * item, item) != 0) {
                    fail("%s[%zu] differs between two runs", t->graph.values[id].name, e);
                    break;
                }
            }
        }
    }
    for (int i = 0; i < RCNN_OP_OUTPUTS_MAX; i++) {
        free(first[i]);
    }
}

static void check_backend(const op_case *c, const one_op *t, void *const *want, const rcnn_backend_vt *vt,
                          int32_t threads)
{
    for (int inplace = 0; inplace <= (t->op.inplace >= 0); inplace++) {
        one_op_run run;
        if (opened(t, vt, threads, inplace, &run)) {
            check_run(c, t, want, &run);
        }
        one_op_close(&run);
    }
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void bench_backend(const one_op *t, const rcnn_backend_vt *vt, int32_t threads)
{
    one_op_run run;
    rcnn_error err = {0};
    double ms[BENCH_RUNS];
    int count = 0;
    if (opened(t, vt, threads, false, &run) && one_op_load(&run, &err) == RCNN_OK &&
        one_op_enqueue(&run, &err) == RCNN_OK) { /* the first one warms up */
        for (double total = 0; count < BENCH_RUNS && total < BENCH_MS; count++) {
            double start = rcnn_clock_ms();
            if (one_op_enqueue(&run, &err) != RCNN_OK) {
                break;
            }
            ms[count] = rcnn_clock_ms() - start;
            total += ms[count];
        }
    }
    one_op_close(&run);
    if (count > 0) {
        qsort(ms, (size_t)count, sizeof *ms, compare_double);
        double gmac = (double)rcnn_op_macs(&t->graph, &t->op) * 1e-9;
        printf("%-60s %10.3f ms median %10.3f ms min", current_case, ms[count / 2], ms[0]);
        printf(gmac > 0 ? " %9.1f GMAC/s\n" : "\n", gmac / ms[count / 2] * 1e3);
    }
}

/* ------------------------------------------------------------------ list */

/* Instruction set levels to run a backend at; the variable is read when the backend is opened. */
static int levels_of(const rcnn_backend_vt *vt, const char *levels[LEVELS_MAX])
{
    if (strcmp(vt->name, "cpu") != 0) {
        levels[0] = "";
        return 1;
    }
    levels[0] = "c";
    levels[1] = "avx2";
    levels[2] = "avx512";
    return 3;
}

static void run_on(const settings *s, const char *label, const op_case *c, const one_op *t, void *const *want,
                   const rcnn_backend_vt *vt)
{
    const char *levels[LEVELS_MAX];
    int count = levels_of(vt, levels);
    char text[192];
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%s on %s%s%s", label, vt->name, levels[i][0] ? " " : "", levels[i]);
        current_case = text;
        setenv("RCNN_CPU_MASK", levels[i], 1);
        if (!s->bench) {
            check_backend(c, t, want, vt, s->threads);
        } else if (c->want == RCNN_OK) {
            bench_backend(t, vt, s->threads);
        }
    }
    current_case = label;
}

static bool backend_wanted(const settings *s, const rcnn_backend_vt *vt)
{
    char text[256];
    return (!s->backend || strcmp(s->backend, vt->name) == 0) && vt->probe(text, sizeof text) == RCNN_OK;
}

/* How many backends the case ran on. */
static int run_case(const settings *s, const char *label, const op_case *c)
{
    one_op t;
    one_op_run ref = {0};
    int backends = 0;
    c->build(&t, c->params);
    const bool skip_ref = c->size == OP_LARGE && op_has_expectation(t.op.kind);
    current_case = label;
    if (!skip_ref && !s->bench && opened(&t, &rcnn_backend_ref, 1, false, &ref)) {
        run_once(c, &ref);
    }
    for (int32_t b = 0; b < rcnn_backend_registry_count(); b++) {
        const rcnn_backend_vt *vt = rcnn_backend_registry_get(b);
        if (backend_wanted(s, vt) && !(vt == &rcnn_backend_ref && skip_ref)) {
            run_on(s, label, c, &t, ref.result[0] ? ref.result : NULL, vt);
            backends++;
        }
    }
    one_op_close(&ref);
    one_op_free(&t);
    return backends;
}

static int run_list(const settings *s, const char *op, const op_case_list *list)
{
    int ran = 0;
    for (int32_t i = 0; i < list->count; i++) {
        const op_case *c = &list->cases[i];
        char label[128];
        snprintf(label, sizeof label, "%s: %s", op, c->name);
        if (c->size != s->size || (s->filter && !strstr(label, s->filter))) {
            continue;
        }
        int before = test_failures;
        int backends = run_case(s, label, c);
        ran += backends > 0;
        if (backends == 0) {
            printf("SKIPPED %s: too slow for ref, and there is no other backend\n", label);
        } else if (!s->bench) {
            printf("%s %s\n", test_failures != before ? "FAIL" : "ok  ", label);
        }
        fflush(stdout);
    }
    return ran;
}

static bool parse(settings *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--large") == 0) {
            s->size = OP_LARGE;
        } else if (strcmp(argv[i], "--bench") == 0) {
            s->bench = true;
        } else if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc) {
            s->backend = argv[++i];
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            s->threads = atoi(argv[++i]);
        } else if (argv[i][0] != '-') {
            s->filter = argv[i];
        } else {
            fprintf(stderr, "usage: test_ops [--large] [--bench] [--backend NAME] [--threads N] [FILTER]\n");
            return false;
        }
    }
    return s->threads >= 1;
}

int main(int argc, char **argv)
{
    settings s = {.threads = 2};
    if (!parse(&s, argc, argv)) {
        return 2;
    }
    int ran = 0;
#define OP(KIND, name, help) ran += run_list(&s, #name, &op_cases_##name);
#include "graph/ops.def"
#undef OP
    printf("%d cases, %d failures\n", ran, test_failures);
    return test_failures || !ran ? 1 : 0;
}
