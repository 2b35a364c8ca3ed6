/* See compare.h. */
#include "ops/compare.h"

#include <stdarg.h>

#include "harness.h"
#include "ops/op_cases.h"

#define SAMPLES 256

const char *current_case = "";

void test_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "FAIL %s: ", current_case);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    test_failures++;
}

/* ------------------------------------------------------------- tolerances */

static const tolerance EXACT = {0, 0, "copies, comparisons and table look-ups: any difference is a bug"};

static const tolerance IN_FLOAT[RCNN_OP_KIND_COUNT] = {
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

static tolerance tolerance_in_float(const one_op *t)
{
    if (t->op.kind == RCNN_OP_PREPROCESS && t->op.u.preprocess.resize == RCNN_RESIZE_FLOAT) {
        return (tolerance){2e-6f, 1e-6f, "three roundings more or fewer where multiply-adds are fused; values in +-5"};
    }
    tolerance found = IN_FLOAT[t->op.kind];
    return found.why ? found : EXACT;
}

static bool is_product(rcnn_op_kind kind)
{
    return kind == RCNN_OP_CONV || kind == RCNN_OP_FC || kind == RCNN_OP_DECONV;
}

static rcnn_dtype stored_output(const one_op *t, bool float_output)
{
    return float_output ? RCNN_F32 : t->stored[t->op.output[0]];
}

/* Bytes: half a step, and a little where the step is not where ref has it because of the tolerance in float. Products: a
 * whole one, since oneDNN saturates at -128. */
static tolerance tolerance_of_bytes(const one_op *t, tolerance allowed)
{
    if (t->op.kind == RCNN_OP_MAXPOOL) {
        return allowed; /* exact */
    }
    allowed.absolute += t->scale[t->op.output[0]] * (is_product(t->op.kind) ? 1.0f : 0.5f) * (1 + 1e-4f);
    allowed.why = "as in float, rounded to a step";
    return allowed;
}

/* Factors are rounded beforehand (one_op_round), so products of half, TF32 and byte numbers are exact in float. What is
 * left: matrix units drop bits below the last one of their float sums instead of rounding, in steps of 4 to 16 products,
 * which is at most n/4 * 2^-23 of a sum that stays in +-3; and a half result is rounded to 11 or 8 bits. Engines without
 * bias and residual of their own round the bare sum once more. */
tolerance tolerance_of(const one_op *t, one_op_type type, bool float_output)
{
    tolerance allowed = tolerance_in_float(t);
    const rcnn_dtype stored = stored_output(t, float_output);
    const bool product = is_product(t->op.kind);
    if (product && type != ONE_OP_F32) {
        const float terms = (float)t->op.w.in * (float)t->op.w.kh * (float)t->op.w.kw;
        allowed.absolute = fmaxf(allowed.absolute, terms / 4 * 0x1p-23f * 3);
        allowed.why = "sums in float by matrix units";
    }
    if (stored == RCNN_I8 || stored == RCNN_U8) {
        return tolerance_of_bytes(t, allowed);
    }
    if (stored == RCNN_F32 || (allowed.absolute == 0 && allowed.relative == 0)) {
        return allowed; /* exact: also in half precision, where ref's value is rounded to the type first */
    }
    const float unit = stored == RCNN_F16 ? 0x1p-11f : 0x1p-8f;
    allowed.absolute += product ? 3 * unit : 0;
    allowed.relative += unit;
    allowed.why = product ? "sums in float by matrix units, a result and at most one sum before it rounded to the type"
                          : "as in float, rounded to the type";
    return allowed;
}

/* ------------------------------------------------------------- comparing */

typedef struct difference {
    size_t count, compared, first;
    double largest_absolute, largest_relative;
} difference;

static bool is_exact(const tolerance *allowed)
{
    return allowed->absolute == 0 && allowed->relative == 0;
}

static void compare_float(difference *d, const tolerance *allowed, size_t element, float want, float got)
{
    double gap = fabs((double)got - (double)want);
    bool same = memcmp(&want, &got, sizeof want) == 0 || want == got;
    bool close =
        !is_exact(allowed) && gap <= (double)allowed->absolute + (double)allowed->relative * fabs((double)want);
    d->compared++;
    if (!same) {
        d->largest_absolute = fmax(d->largest_absolute, gap);
        d->largest_relative = fmax(d->largest_relative, gap / fmax(fabs((double)want), 1e-30));
    }
    if (!same && !close && d->count++ == 0) {
        d->first = element;
    }
}

/* Winograd's filtering multiplies transformed features and filters, which neither BF16 nor bytes can hold even where they hold
 * what those are made of. With features and filters drawn as here both are rounded to 8 bits, and the transform of outputs
 * enlarges that most in the corners of a tile, where the error's root mean square is 0.025 of results of order 0.58, whatever
 * the number of channels; 0.15 is 6 times it. */
static tolerance allowed_for(const compared *c)
{
    tolerance allowed = tolerance_of(c->test, c->type, c->float_output);
    if (c->narrow) {
        allowed.absolute += 0.15f;
        allowed.why = "factors rounded after Winograd's transforms, 6 times the error's root mean square";
    }
    return allowed;
}

static void report(const compared *c, int32_t output, const difference *d, double want, double got)
{
    const rcnn_value *value = &c->test->graph.values[c->test->op.output[output]];
    tolerance allowed = allowed_for(c);
    test_fail("%s[%zu]: want %.9g, got %.9g; %zu of %zu differ, largest absolute %.3g, relative %.3g; allowed %.3g + "
              "%.3g (%s)",
              value->name, d->first, want, got, d->count, d->compared, d->largest_absolute, d->largest_relative,
              (double)allowed.absolute, (double)allowed.relative, allowed.why);
}

/* What ref's value must become on the backend, where it does not fit into the type's range or nothing but rounding to the
 * type may differ. */
static float wanted(const compared *c, int32_t output, const tolerance *allowed, float want)
{
    const rcnn_value_id id = c->test->op.output[output];
    const rcnn_dtype stored = output == 0 ? stored_output(c->test, c->float_output) : RCNN_F32;
    const float scale = c->test->scale[id];
    if (is_exact(allowed)) {
        return one_op_stored(stored, scale, want);
    }
    if (stored == RCNN_I8 || stored == RCNN_U8) {
        return fminf(fmaxf(want, stored == RCNN_I8 ? -127 * scale : 0), (stored == RCNN_I8 ? 127 : 255) * scale);
    }
    return want;
}

static void compare_floats(const compared *c, const float *want, void *const *all_wanted, int32_t output)
{
    const tolerance allowed = allowed_for(c);
    const float *got = c->got[output];
    difference d = {0};
    one_op_span live;
    for (int32_t row = 0; one_op_live_span(c->test, all_wanted, output, row, &live); row++) {
        for (size_t e = live.begin; e < live.end; e++) {
            compare_float(&d, &allowed, e, wanted(c, output, &allowed, want[e]), got[e]);
        }
    }
    if (d.count) {
        report(c, output, &d, (double)want[d.first], (double)got[d.first]);
    }
}

static void compare_integers(const compared *c, const int32_t *want, void *const *all_wanted, int32_t output)
{
    const int32_t *got = c->got[output];
    difference d = {0};
    one_op_span live;
    for (int32_t row = 0; one_op_live_span(c->test, all_wanted, output, row, &live); row++) {
        for (size_t e = live.begin; e < live.end; e++) {
            d.compared++;
            d.first = want[e] != got[e] && d.count++ == 0 ? e : d.first;
        }
    }
    if (d.count) {
        report(c, output, &d, want[d.first], got[d.first]);
    }
}

void compare_results(const compared *c, void *const *want)
{
    int before = test_failures;
    for (int32_t i = c->test->op.output_count - 1; i >= 0 && test_failures == before; i--) {
        if (c->test->graph.values[c->test->op.output[i]].desc.dtype == RCNN_I32) {
            compare_integers(c, want[i], want, i);
        } else {
            compare_floats(c, want[i], want, i);
        }
    }
}

void compare_written(const compared *c)
{
    const one_op *t = c->test;
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const rcnn_value *value = &t->graph.values[t->op.output[i]];
        const float *got = c->got[i];
        one_op_span live;
        for (int32_t row = 0; value->desc.dtype == RCNN_F32 && one_op_live_span(t, c->got, i, row, &live); row++) {
            while (live.begin < live.end && isfinite(got[live.begin])) {
                live.begin++;
            }
            if (live.begin < live.end) {
                test_fail("%s[%zu] is live but was not written or is not finite", value->name, live.begin);
                return;
            }
        }
    }
}

void compare_samples(const compared *c)
{
    const one_op *t = c->test;
    const size_t elements = one_op_elements(t, t->op.output[0]);
    const tolerance allowed = allowed_for(c);
    const float *got = c->got[0];
    uint64_t seed = 5;
    difference d = {0};
    double want_at_first = 0;
    for (int i = 0; i < SAMPLES; i++) {
        size_t e = (size_t)(test_random(&seed) % elements);
        if (one_op_is_live(t, c->got, 0, e)) {
            double want = op_expectation(t, e);
            size_t before = d.count;
            compare_float(&d, &allowed, e, wanted(c, 0, &allowed, (float)want), got[e]);
            want_at_first = d.count == 1 && before == 0 ? want : want_at_first;
        }
    }
    if (d.count) {
        report(c, 0, &d, want_at_first, (double)got[d.first]);
    }
}

void compare_same_bytes(const compared *c, void *const *first, const char *what)
{
    const one_op *t = c->test;
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const size_t e = one_op_first_difference(t, first, i, first[i], c->got[i]);
        if (e != SIZE_MAX) {
            test_fail("%s[%zu] differs between %s", t->graph.values[t->op.output[i]].name, e, what);
        }
    }
}
