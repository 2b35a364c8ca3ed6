/* The cpu backend's matrix products (product.h): every body that the processor has against sums in double, with features of
 * its type and results and residuals of all types; and the panels of weights that they take (panels.h). Bodies that the
 * processor lacks are left out, whatever the backend would choose. */
#include "cpu_support.h"

#include "backend/cpu/elements.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/product.h"
#include "base/dtype.h"
#include "base/memory.h"

/* not in builds for other processors or by compilers without the instructions */
#pragma weak rcnn_product_avx2
#pragma weak rcnn_product_avx512
#pragma weak rcnn_product_bf16
#pragma weak rcnn_product_vnni

enum { PANEL = RCNN_PRODUCT_PANEL, ROWS_MAX = RCNN_PRODUCT_ROWS_MAX };

typedef struct named_body {
    const char *name;
    const rcnn_product_body *body;
} named_body;

enum { BODIES = 4 };

static const named_body ALL_BODIES[BODIES] = {{"avx2", &rcnn_product_avx2},
                                              {"avx512", &rcnn_product_avx512},
                                              {"avx512_bf16", &rcnn_product_bf16},
                                              {"avx512_vnni", &rcnn_product_vnni}};

/* Those that run here into bodies[BODIES]; their number. Without any the program ends as skipped. */
static int32_t find_bodies(named_body *bodies)
{
    int32_t count = 0;
    for (int32_t i = 0; i < BODIES; i++) {
        if (is_testable(ALL_BODIES[i].name, ALL_BODIES[i].body)) {
            bodies[count++] = ALL_BODIES[i];
        }
    }
    if (count == 0) {
        SKIP("no body of the products runs here");
    }
    return count;
}

/* --------------------------------------------------------------- numbers */

static const rcnn_dtype TYPES[] = {RCNN_F32, RCNN_BF16, RCNN_I8, RCNN_U8};

enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

static void *must(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "test: out of memory\n");
        exit(1);
    }
    return pointer;
}

/* `value` as element i; of bytes it is a code. */
static void put(rcnn_dtype type, void *at, size_t i, float value)
{
    switch (type) {
    case RCNN_BF16:
        ((uint16_t *)at)[i] = rcnn_cpu_to_bf16(value);
        break;
    case RCNN_I8:
        ((int8_t *)at)[i] = rcnn_cpu_to_i8(value);
        break;
    case RCNN_U8:
        ((uint8_t *)at)[i] = rcnn_cpu_to_u8(value);
        break;
    default:
        ((float *)at)[i] = value;
        break;
    }
}

/* Any number that the type stores; floats in +-1. */
static float any_of(rcnn_dtype type, uint64_t *seed)
{
    const float low = type == RCNN_U8 ? 0 : type == RCNN_I8 ? -127 : -1;
    const float high = type == RCNN_U8 ? 255 : type == RCNN_I8 ? 127 : 1;
    return test_uniform(seed, low, high);
}

/* Of exactly so many elements, so that sanitizers see what is read or written past them. */
static void *array_of(rcnn_dtype type, size_t count)
{
    return must(malloc(count * rcnn_cpu_element_bytes(type)));
}

/* -------------------------------------------------------------- multiply */

/* Factors of a product: [rows][stretches][channels], `stride` and `stretch_stride` channels apart, and
 * [stretches * channels/w][PANEL][w], w channels in 32 bits. */
typedef struct factors {
    const rcnn_product_body *body;
    int32_t rows, stretches, channels;
    size_t stride, stretch_stride;
    void *features, *panel;
} factors;

static size_t feature_count(const factors *f)
{
    return (size_t)(f->rows - 1) * f->stride + (size_t)(f->stretches - 1) * f->stretch_stride + (size_t)f->channels;
}

static size_t panel_rows(const factors *f)
{
    return (size_t)f->stretches * (size_t)f->channels;
}

static size_t panel_index(const factors *f, size_t channel, size_t column)
{
    const size_t width = sizeof(float) / rcnn_cpu_element_bytes(f->body->features);
    return (channel / width * PANEL + column) * width + channel % width;
}

/* Rows of one stretch, `gap` channels between them; or of more, which overlap those of the next row as a stem's patches do. */
static factors make_factors(const rcnn_product_body *body, int32_t rows, int32_t stretches, int32_t channels,
                            int32_t gap)
{
    factors f = {.body = body, .rows = rows, .stretches = stretches, .channels = channels};
    f.stride = (size_t)(stretches > 1 ? channels / 4 : channels + gap);
    f.stretch_stride = (size_t)rows * f.stride + (size_t)channels;
    f.features = array_of(body->features, feature_count(&f));
    f.panel = array_of(body->weights, panel_rows(&f) * PANEL);
    return f;
}

static void free_factors(const factors *f)
{
    free(f->features);
    free(f->panel);
}

/* A sum in double, and that of the products' sizes. */
static double sum_of(const factors *f, size_t row, size_t column, double *sizes)
{
    double sum = 0;
    *sizes = 0;
    for (size_t c = 0; c < panel_rows(f); c++) {
        const size_t at = row * f->stride + c / (size_t)f->channels * f->stretch_stride + c % (size_t)f->channels;
        const double product = (double)rcnn_cpu_element(f->body->features, f->features, at) *
                               (double)rcnn_cpu_element(f->body->weights, f->panel, panel_index(f, c, column));
        sum += product;
        *sizes += fabs(product);
    }
    return sum;
}

static rcnn_product_job job_of(const factors *f, float *sums)
{
    return (rcnn_product_job){.rows = f->rows,
                              .channels = f->channels,
                              .features = f->features,
                              .features_stride = f->stride,
                              .stretches = f->stretches,
                              .stretch_stride = f->stretch_stride,
                              .panel = f->panel,
                              .next = f->panel,
                              .sums = sums};
}

/* Bytes are exact up to the float that holds the sum; of floats every addition is off by half of the last of 24 bits. */
static void check_sums(const char *name, const factors *f, bool add)
{
    const size_t count = (size_t)f->rows * PANEL;
    const bool exact = f->body->features == RCNN_U8;
    const float before = 12345;
    float *sums = array_of(RCNN_F32, count);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        sums[i] = before;
    }
    rcnn_product_job job = job_of(f, sums);
    job.add = add;
    f->body->multiply(&job);
    for (size_t i = 0; i < count; i++) {
        double sizes;
        const double sum = sum_of(f, i / PANEL, i % PANEL, &sizes);
        const double want = exact && !add ? (double)(float)sum : sum + (add ? (double)before : 0);
        const double allowed =
            (exact ? 0 : (double)panel_rows(f) * 0x1p-24 * sizes) + (add ? 0x1p-23 * (sizes + (double)before) : 0);
        wrong += !(fabs((double)sums[i] - want) <= allowed);
    }
    CHECK_MSG(wrong == 0, "%s, %d rows of %d x %d channels%s: %zu sums", name, f->rows, f->stretches, f->channels,
              add ? ", added" : "", wrong);
    free(sums);
}

/* Sums of bytes in steps of their own for each row and output, from starts on; rounded three times. */
static void check_steps(const char *name, const factors *f, uint64_t *seed)
{
    enum { START_MAX = 1 << 22 };
    const size_t count = (size_t)f->rows * PANEL;
    int32_t start[PANEL];
    float column[PANEL], row[ROWS_MAX];
    float *sums = array_of(RCNN_F32, count);
    size_t wrong = 0;
    for (size_t o = 0; o < PANEL; o++) {
        start[o] = (int32_t)test_uniform(seed, -START_MAX, START_MAX);
        column[o] = test_uniform(seed, 0.001f, 1);
    }
    for (int32_t r = 0; r < f->rows; r++) {
        row[r] = test_uniform(seed, 0.001f, 1);
    }
    rcnn_product_job job = job_of(f, sums);
    job.steps = &(rcnn_product_steps){start, column, row};
    f->body->multiply(&job);
    for (size_t i = 0; i < count; i++) {
        double sizes;
        const double sum = sum_of(f, i / PANEL, i % PANEL, &sizes) + start[i % PANEL];
        const double want = sum * (double)column[i % PANEL] * (double)row[i / PANEL];
        wrong += !(fabs((double)sums[i] - want) <= 0x1p-22 * fabs(want));
    }
    CHECK_MSG(wrong == 0, "%s, %d rows of %d x %d channels in steps: %zu sums", name, f->rows, f->stretches,
              f->channels, wrong);
    free(sums);
}

static void check_product(const named_body *with, int32_t rows, int32_t stretches, int32_t channels, int32_t gap,
                          uint64_t *seed)
{
    const rcnn_product_body *body = with->body;
    const factors f = make_factors(body, rows, stretches, channels, gap);
    for (size_t e = 0; e < feature_count(&f); e++) {
        put(body->features, f.features, e, any_of(body->features, seed));
    }
    for (size_t e = 0; e < panel_rows(&f) * PANEL; e++) {
        put(body->weights, f.panel, e, any_of(body->weights, seed));
    }
    check_sums(with->name, &f, false);
    check_sums(with->name, &f, true);
    if (body->features == RCNN_U8) {
        check_steps(with->name, &f, seed);
    }
    free_factors(&f);
}

TEST(products_are_those_in_double)
{
    static const int32_t channels[] = {32, 64, 154, 256};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    uint64_t seed = 31;
    for (int32_t b = 0; b < count; b++) {
        const rcnn_product_body *body = bodies[b].body;
        CHECK(body->rows >= 1 && body->rows <= ROWS_MAX);
        for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
            if (body->features == RCNN_U8 && channels[i] % 4 != 0) {
                continue; /* not whole words */
            }
            check_product(&bodies[b], body->rows, 1, channels[i], 0, &seed);
            check_product(&bodies[b], body->rows, 1, channels[i], 12, &seed);
        }
        for (int32_t rows = 1; rows < body->rows; rows++) {
            check_product(&bodies[b], rows, 1, 64, 0, &seed);
            check_product(&bodies[b], rows, 7, 48, 0, &seed);
        }
    }
}

/* 2048 channels, more than there are at once: of bytes, sums of 255 * -127 and 255 * 127 in turn by columns. */
TEST(largest_sums_of_bytes_are_exact)
{
    enum { CHANNELS = 2048 };
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        const rcnn_product_body *body = bodies[b].body;
        if (body->features != RCNN_U8) {
            continue;
        }
        const factors f = make_factors(body, body->rows, 1, CHANNELS, 0);
        memset(f.features, 255, (size_t)body->rows * CHANNELS);
        for (size_t c = 0; c < CHANNELS; c++) {
            for (size_t o = 0; o < PANEL; o++) {
                put(body->weights, f.panel, panel_index(&f, c, o), o % 2 ? 127 : -127);
            }
        }
        check_sums(bodies[b].name, &f, false);
        free_factors(&f);
    }
}

/* ---------------------------------------------------------------- finish */

/* Outputs [ROWS_MAX + 1][STRIDE] of which a panel in the middle of some rows is made. */
enum { STRIDE = 3 * PANEL + 8, FIRST = PANEL, OUTPUTS = (ROWS_MAX + 1) * STRIDE };

typedef struct finish_case {
    rcnn_product_store how;
    float sums[ROWS_MAX * PANEL], scale[PANEL], bias[PANEL];
    int32_t rows;
    bool has_residual, inplace;
    void *residual; /* [OUTPUTS] */
} finish_case;

/* Results that saturate bytes now and then, so that both ends are in use. */
static void fill_finish(finish_case *c, uint64_t *seed)
{
    const bool floats = c->how.residual == RCNN_F32 || c->how.residual == RCNN_BF16;
    for (int32_t i = 0; i < ROWS_MAX * PANEL; i++) {
        c->sums[i] = test_uniform(seed, -2000, 2000);
    }
    for (int32_t o = 0; o < PANEL; o++) {
        c->scale[o] = test_uniform(seed, -0.12f, 0.12f);
        c->bias[o] = test_uniform(seed, -60, 60);
    }
    for (size_t i = 0; i < OUTPUTS; i++) {
        put(c->how.residual, c->residual, i, any_of(c->how.residual, seed));
    }
    c->how.scale = c->scale;
    c->how.bias = c->bias;
    c->how.residual_factor = floats ? 90.0f : 0.7f;
}

/* Output i of a row and column of the panel, before it is stored. */
static double finished(const finish_case *c, size_t row, size_t column)
{
    double value = (double)c->sums[row * PANEL + column] * (double)c->scale[column] + (double)c->bias[column];
    if (c->has_residual) {
        value += (double)rcnn_cpu_element(c->how.residual, c->residual, row * STRIDE + FIRST + column) *
                 (double)c->how.residual_factor;
    }
    return c->how.relu ? fmax(value, 0) : value;
}

static bool is_stored(rcnn_dtype type, double want, double got)
{
    const double sums = 3 * 500 * 0x1p-24; /* three roundings of numbers below 500 */
    switch (type) {
    case RCNN_BF16:
        return fabs(got - want) <= sums + fabs(want) * 0x1p-8;
    case RCNN_I8:
        return fabs(got - fmin(fmax(want, -127), 127)) <= 0.5 + sums;
    case RCNN_U8:
        return fabs(got - fmin(fmax(want, 0), 255)) <= 0.5 + sums;
    default:
        return fabs(got - want) <= sums;
    }
}

static void check_finish(const named_body *with, const finish_case *c)
{
    const rcnn_dtype type = c->how.dst;
    const size_t size = rcnn_cpu_element_bytes(type);
    uint8_t *dst = array_of(type, OUTPUTS), *before = array_of(type, OUTPUTS);
    size_t wrong = 0, beside = 0;
    memset(before, 0xa5, OUTPUTS * size);
    if (c->inplace) {
        memcpy(before, c->residual, OUTPUTS * size);
    }
    memcpy(dst, before, OUTPUTS * size);
    const void *residual = rcnn_cpu_at(c->how.residual, c->inplace ? dst : c->residual, FIRST);
    with->body->finish(&c->how, c->sums, c->rows, c->has_residual ? residual : NULL, rcnn_cpu_to(type, dst, FIRST),
                       STRIDE);
    for (size_t i = 0; i < OUTPUTS; i++) {
        const size_t row = i / STRIDE, column = i % STRIDE;
        if (row < (size_t)c->rows && column >= FIRST && column < FIRST + PANEL) {
            const double got = (double)rcnn_cpu_element(type, dst, i);
            wrong += !is_stored(type, finished(c, row, column - FIRST), got);
        } else {
            beside += memcmp(dst + i * size, before + i * size, size) != 0;
        }
    }
    CHECK_MSG(wrong == 0 && beside == 0, "%s, %d rows, %s%s%s%s > %s: %zu outputs wrong, %zu elements beside them",
              with->name, c->rows, c->how.relu ? "relu, " : "", c->has_residual ? "residual " : "no residual",
              c->has_residual ? rcnn_dtype_name(c->how.residual) : "", c->inplace ? " in place" : "",
              rcnn_dtype_name(type), wrong, beside);
    free(dst);
    free(before);
}

/* All types of residuals, and none, with one type of results. */
static void check_results(const named_body *with, rcnn_dtype dst, int32_t rows, bool relu, uint64_t *seed)
{
    for (int32_t r = 0; r < TYPE_COUNT; r++) {
        finish_case c = {.how = {.dst = dst, .residual = TYPES[r], .relu = relu}, .rows = rows, .has_residual = true};
        c.residual = array_of(TYPES[r], OUTPUTS);
        fill_finish(&c, seed);
        check_finish(with, &c);
        if (TYPES[r] == dst) {
            c.inplace = true;
            check_finish(with, &c);
            c.inplace = c.has_residual = false;
            check_finish(with, &c);
        }
        free(c.residual);
    }
}

TEST(sums_become_outputs_of_every_type)
{
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    uint64_t seed = 32;
    for (int32_t b = 0; b < count; b++) {
        for (int32_t rows = 1; rows <= bodies[b].body->rows; rows++) {
            for (int32_t t = 0; t < TYPE_COUNT; t++) {
                check_results(&bodies[b], TYPES[t], rows, false, &seed);
                check_results(&bodies[b], TYPES[t], rows, true, &seed);
            }
        }
    }
}

/* One NaN, of a sum or a residual, shows where it belongs and nowhere else. */
static void check_nan(const named_body *with, rcnn_dtype type, float nan, bool of_residual)
{
    enum { ROW = 1, COLUMN = 21 };
    uint64_t seed = 33;
    finish_case c = {.how = {.dst = type, .residual = type, .relu = true}, .rows = 2, .has_residual = true};
    void *dst = array_of(type, OUTPUTS);
    size_t wrong = 0;
    c.residual = array_of(type, OUTPUTS);
    fill_finish(&c, &seed);
    if (of_residual) {
        put(type, c.residual, ROW * STRIDE + COLUMN, nan);
    } else {
        c.sums[ROW * PANEL + COLUMN] = nan;
    }
    with->body->finish(&c.how, c.sums, c.rows, c.residual, dst, STRIDE);
    for (size_t row = 0; row < (size_t)c.rows; row++) {
        for (size_t column = 0; column < PANEL; column++) {
            const bool is_nan = isnan(rcnn_cpu_element(type, dst, row * STRIDE + column));
            wrong += is_nan != (row == ROW && column == COLUMN);
        }
    }
    CHECK_MSG(wrong == 0, "%s, NaN %s, %s: %zu outputs", with->name, of_residual ? "residual" : "sum",
              rcnn_dtype_name(type), wrong);
    free(c.residual);
    free(dst);
}

TEST(nan_passes_the_relu)
{
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        for (int32_t i = 0; i < 8; i++) {
            check_nan(&bodies[b], i & 1 ? RCNN_BF16 : RCNN_F32, i & 2 ? -NAN : NAN, i & 4);
        }
    }
}

/* ------------------------------------------------------------------ dots */

enum { PARTS = RCNN_PRODUCT_PARTS };

/* Rows past the count keep their parts; the others add theirs to what is there, and add up to their dots. */
static void check_dots(const named_body *with, int32_t rows, bool relu, uint64_t *seed)
{
    finish_case c = {.how = {.dst = RCNN_F32, .residual = RCNN_F32, .relu = relu}, .rows = rows};
    float weights[PANEL], parts[(ROWS_MAX + 1) * PARTS] = {0}, before[ROWS_MAX + 1], dots[ROWS_MAX + 1];
    c.residual = array_of(RCNN_F32, OUTPUTS);
    fill_finish(&c, seed);
    for (int32_t o = 0; o < PANEL; o++) {
        weights[o] = test_uniform(seed, -1, 1);
    }
    for (int32_t r = 0; r <= ROWS_MAX; r++) {
        parts[r * PARTS] = before[r] = test_uniform(seed, -9, 9);
    }
    with->body->dots(&c.how, c.sums, rows, weights, parts);
    with->body->total(parts, ROWS_MAX + 1, dots);
    for (int32_t r = 0; r <= ROWS_MAX; r++) {
        double want = (double)before[r], sizes = 0;
        for (int32_t o = 0; r < rows && o < PANEL; o++) {
            const double term = finished(&c, (size_t)r, (size_t)o) * (double)weights[o];
            want += term;
            sizes += fabs(term);
        }
        const double allowed = r < rows ? PANEL * 0x1p-23 * (sizes + 300) : 0;
        CHECK_MSG(fabs((double)dots[r] - want) <= allowed, "%s, row %d of %d%s: want %.9g, got %.9g", with->name, r,
                  rows, relu ? ", relu" : "", want, (double)dots[r]);
    }
    c.sums[(rows - 1) * PANEL + 3] = NAN;
    with->body->dots(&c.how, c.sums, rows, weights, parts);
    with->body->total(parts, ROWS_MAX + 1, dots);
    for (int32_t r = 0; r <= ROWS_MAX; r++) {
        CHECK_MSG(!isnan(dots[r]) == (r != rows - 1), "%s, row %d of %d: NaN", with->name, r, rows);
    }
    free(c.residual);
}

TEST(dots_are_added_to_their_rows)
{
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    uint64_t seed = 34;
    for (int32_t b = 0; b < count; b++) {
        for (int32_t rows = 1; rows <= bodies[b].body->rows; rows++) {
            check_dots(&bodies[b], rows, false, &seed);
            check_dots(&bodies[b], rows, true, &seed);
        }
    }
}

/* ---------------------------------------------------------------- panels */

/* An op with weights [OUT][IN][MATRICES]; of output ZERO they are all 0. */
enum { OUT = 2 * PANEL, IN = 8, MATRICES = 3, ZERO = 37 };

typedef struct layer {
    rcnn_op op;
    float weights[OUT * IN * MATRICES];
} layer;

static float weight_at(const rcnn_op *op, int32_t o, int32_t i, int32_t matrix)
{
    return op->w.weights[(o * IN + i) * MATRICES + matrix];
}

static void all_weights(const rcnn_op *op, int32_t o, int32_t i, float *element)
{
    for (int32_t m = 0; m < MATRICES; m++) {
        element[m] = weight_at(op, o, i, m);
    }
}

/* Of outputs that differ in size, so that scales do. */
static void make_layer(layer *l, uint64_t seed)
{
    memset(l, 0, sizeof *l);
    snprintf(l->op.name, sizeof l->op.name, "some layer");
    for (int32_t i = 0; i < OUT * IN * MATRICES; i++) {
        const int32_t o = i / (IN * MATRICES);
        l->weights[i] = o == ZERO ? 0 : test_uniform(&seed, -1, 1) * (float)(o + 1);
    }
    l->op.w = (rcnn_op_weights){.weights = l->weights, .out = OUT, .in = IN, .kh = 1, .kw = 1};
}

static rcnn_panels *get(rcnn_backend *backend, const layer *l, rcnn_panels_recipe recipe)
{
    rcnn_panels *panels = NULL;
    rcnn_error err = {0};
    recipe.weights = all_weights;
    CHECK_OK(rcnn_panels_get(backend, &recipe, &l->op, &panels, &err), err);
    return panels;
}

/* Largest weight of an output, all rows and matrices of it. */
static float largest_of(const layer *l, int32_t o)
{
    float largest = 0;
    for (int32_t i = 0; i < IN * MATRICES; i++) {
        largest = fmaxf(largest, fabsf(weight_at(&l->op, o, i / MATRICES, i % MATRICES)));
    }
    return largest;
}

/* The stored number of a weight: its bits, of bytes within half a step. */
static bool is_weight(rcnn_dtype type, const void *panel, size_t at, float want, float scale)
{
    const float got = rcnn_cpu_element(type, panel, at);
    switch (type) {
    case RCNN_BF16:
        return got == rcnn_cpu_of_bf16(rcnn_cpu_to_bf16(want));
    case RCNN_I8:
        return fabsf(got * scale - want) <= 0.501f * scale;
    default:
        return got == want;
    }
}

static void check_output(const layer *l, const rcnn_panels *panels, rcnn_dtype type, int32_t o)
{
    const size_t width = sizeof(float) / rcnn_cpu_element_bytes(type);
    const float scale = rcnn_panels_scale(panels)[o], largest = largest_of(l, o);
    const float want = type == RCNN_I8 && o != ZERO ? largest / 127 : 1;
    size_t wrong = 0;
    for (int32_t i = 0; i < IN * MATRICES; i++) {
        const size_t row = (size_t)(i / MATRICES);
        const void *panel = rcnn_panels_at(panels, o / PANEL, i % MATRICES);
        const size_t at = (row / width * PANEL + (size_t)(o % PANEL)) * width + row % width;
        wrong += !is_weight(type, panel, at, weight_at(&l->op, o, i / MATRICES, i % MATRICES), scale);
    }
    CHECK_MSG(wrong == 0, "%s, output %d: %zu weights", rcnn_dtype_name(type), o, wrong);
    CHECK_MSG(fabsf(scale - want) <= 1e-6f * want, "%s, output %d: want scale %g, got %g", rcnn_dtype_name(type), o,
              (double)want, (double)scale);
}

TEST(panels_hold_the_weights_of_the_recipe)
{
    static const rcnn_dtype types[] = {RCNN_F32, RCNN_BF16, RCNN_I8};
    rcnn_backend *backend = open_cpu(2);
    layer l;
    make_layer(&l, 35);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        rcnn_panels *panels = get(backend, &l, (rcnn_panels_recipe){MATRICES, IN, types[t], NULL, false});
        for (int32_t o = 0; panels && o < OUT; o++) {
            check_output(&l, panels, types[t], o);
        }
        rcnn_panels_put(backend, panels);
    }
    rcnn_backend_cpu.close(backend);
}

/* Each output's largest weight of each matrix has the code 127, and starts are -128 times the sums of codes. */
static void check_each(const layer *l, const rcnn_panels *panels, int32_t o, int32_t m)
{
    const rcnn_product_steps steps = rcnn_panels_steps_at(panels, o / PANEL, m);
    const int8_t *panel = rcnn_panels_at(panels, o / PANEL, m);
    const float scale = steps.column[o % PANEL];
    int32_t sum = 0, largest = 0;
    size_t wrong = 0;
    for (int32_t i = 0; i < IN; i++) {
        const size_t at = (size_t)((i / 4 * PANEL + o % PANEL) * 4 + i % 4);
        wrong += !is_weight(RCNN_I8, panel, at, o < OUT ? weight_at(&l->op, o, i, m) : 0, scale);
        sum += panel[at];
        largest = abs(panel[at]) > largest ? abs(panel[at]) : largest;
    }
    CHECK_MSG(wrong == 0, "output %d of matrix %d: %zu weights", o, m, wrong);
    CHECK_MSG(largest == (o == ZERO || o >= OUT ? 0 : 127), "output %d of matrix %d: largest code %d", o, m, largest);
    CHECK_MSG(steps.start[o % PANEL] == -128 * sum, "output %d of matrix %d: start %d, sum %d", o, m,
              steps.start[o % PANEL], sum);
}

TEST(panels_of_each_matrix_have_scales_and_starts)
{
    rcnn_backend *backend = open_cpu(2);
    layer l;
    make_layer(&l, 39);
    rcnn_panels *panels = get(backend, &l, (rcnn_panels_recipe){MATRICES, IN, RCNN_I8, NULL, true});
    rcnn_panels *alike = get(backend, &l, (rcnn_panels_recipe){MATRICES, IN, RCNN_I8, NULL, false});
    CHECK(panels != alike);
    for (int32_t o = 0; panels && o < rcnn_product_panels(OUT) * PANEL; o++) {
        for (int32_t m = 0; m < MATRICES; m++) {
            check_each(&l, panels, o, m);
        }
    }
    rcnn_panels_put(backend, panels);
    rcnn_panels_put(backend, alike);
    rcnn_backend_cpu.close(backend);
}

TEST(panels_are_shared_by_recipe_and_weights)
{
    const rcnn_panels_recipe recipe = {MATRICES, IN, RCNN_F32, NULL, false};
    rcnn_backend *backend = open_cpu(2);
    layer l, other;
    make_layer(&l, 36);
    make_layer(&other, 37);
    rcnn_panels *first = get(backend, &l, recipe);
    rcnn_panels *apart[] = {get(backend, &l, (rcnn_panels_recipe){MATRICES, IN, RCNN_BF16, NULL, false}),
                            get(backend, &l, (rcnn_panels_recipe){MATRICES, IN / 2, RCNN_F32, NULL, false}),
                            get(backend, &l, (rcnn_panels_recipe){MATRICES - 1, IN, RCNN_F32, NULL, false}),
                            get(backend, &other, recipe)};
    const uint64_t before = rcnn_memory_allocation_count();
    CHECK(get(backend, &l, recipe) == first && rcnn_memory_allocation_count() == before);
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) {
        CHECK_MSG(apart[i] != first, "recipe %zu", i);
        for (size_t k = 0; k < i; k++) {
            CHECK_MSG(apart[i] != apart[k], "recipes %zu and %zu", k, i);
        }
    }
    rcnn_panels_put(backend, apart[1]); /* from the middle, the newest, then the rest */
    rcnn_panels_put(backend, apart[3]);
    rcnn_panels_put(backend, apart[0]);
    rcnn_panels_put(backend, apart[2]);
    CHECK(*rcnn_cpu_panels(backend) == first);
    rcnn_panels_put(backend, NULL);
    rcnn_panels_put(backend, first);
    CHECK(*rcnn_cpu_panels(backend) == first); /* the second's still */
    check_output(&l, first, RCNN_F32, 0);
    rcnn_panels_put(backend, first);
    CHECK(*rcnn_cpu_panels(backend) == NULL);
    rcnn_backend_cpu.close(backend);
}

TEST(failed_allocations_are_statuses)
{
    enum { ALLOCATIONS = 4 }; /* entry, data, scales, starts */
    const rcnn_panels_recipe recipe = {MATRICES, IN, RCNN_I8, all_weights, true};
    rcnn_backend *backend = open_cpu(2);
    layer l;
    make_layer(&l, 38);
    for (uint64_t nth = 1; nth <= ALLOCATIONS; nth++) {
        rcnn_panels *panels = NULL;
        rcnn_error err = {0};
        rcnn_memory_fail_from(nth);
        const rcnn_status status = rcnn_panels_get(backend, &recipe, &l.op, &panels, &err);
        rcnn_memory_fail_from(0);
        CHECK_MSG(status == RCNN_ERR_MEMORY && !panels && strstr(err.message, l.op.name), "allocation %d: %d, '%s'",
                  (int)nth, (int)status, err.message);
        CHECK(*rcnn_cpu_panels(backend) == NULL);
    }
    const uint64_t before = rcnn_memory_allocation_count();
    rcnn_panels *panels = get(backend, &l, recipe);
    CHECK(rcnn_memory_allocation_count() - before == ALLOCATIONS);
    rcnn_panels_put(backend, panels);
    rcnn_backend_cpu.close(backend);
}

TEST_MAIN
