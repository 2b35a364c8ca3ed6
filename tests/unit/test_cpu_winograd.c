/* Winograd's filtering on the cpu backend: how exact every body is (winograd.h) against convolutions in double, with stride
 * 1 and 2, for all kinds of features; values that are not finite; both ways of sharing the work; what is prepared, shared
 * and given back. Bodies that the processor lacks are left out, whatever the backend would choose. */
#include "cpu_support.h"

#include "backend/cpu/onednn.h"
#include "backend/cpu/winograd.h"
#include "backend/cpu/winograd_tiles.h"
#include "backend/cpu/panels.h"
#include "base/memory.h"
#include "ops/op_cases.h"

/* not in builds for other processors or by compilers without the instructions */
#pragma weak rcnn_winograd_avx2
#pragma weak rcnn_winograd_avx512
#pragma weak rcnn_winograd_bf16
#pragma weak rcnn_winograd_vnni

typedef struct named_body {
    const char *name;
    const rcnn_winograd_body *body;
    double least,
        most; /* error over result, both root mean square: narrow products must not be more exact than they are */
} named_body;

typedef struct named_bodies {
    const char *name;
    const rcnn_winograd_bodies *bodies;
    double least[2], most[2]; /* with stride 1 and 2 */
} named_bodies;

enum { KINDS = 4, BODIES = 2 * KINDS };

static const named_bodies ALL_KINDS[KINDS] = {{"avx2", &rcnn_winograd_avx2, {0, 0}, {3e-6, 1e-6}},
                                              {"avx512", &rcnn_winograd_avx512, {0, 0}, {3e-6, 1e-6}},
                                              {"avx512_bf16", &rcnn_winograd_bf16, {1e-4, 1e-4}, {0.025, 0.004}},
                                              {"avx512_vnni", &rcnn_winograd_vnni, {1e-3, 1e-3}, {0.04, 0.02}}};

/* Those that run here into bodies[BODIES]; their number. Without any the program ends as skipped. */
static int32_t find_bodies(named_body *bodies)
{
    int32_t count = 0;
    for (int32_t i = 0; i < KINDS; i++) {
        const named_bodies *kind = &ALL_KINDS[i];
        if (is_testable(kind->name, kind->bodies)) {
            bodies[count++] = (named_body){kind->name, &kind->bodies->stride1, kind->least[0], kind->most[0]};
            bodies[count++] = (named_body){kind->name, &kind->bodies->stride2, kind->least[1], kind->most[1]};
        }
    }
    if (count == 0) {
        SKIP("no body of Winograd's filtering runs here");
    }
    return count;
}

static bool is_of_bytes(const named_body *with)
{
    return with->body->product->features == RCNN_U8;
}

/* --------------------------------------------------------------- running */

typedef struct conv_shape {
    int32_t n, h, w, in, out;
    bool relu, residual;
    int32_t live; /* > 0: packed rows, so many of n in use */
} conv_shape;

/* s: of the inputs */
static void build_conv(one_op *t, const conv_shape *s, const rcnn_winograd_body *body)
{
    const int32_t stride = body->tile->stride, h = (s->h - 1) / stride + 1, w = (s->w - 1) / stride + 1;
    one_op_begin(t, RCNN_OP_CONV, 77);
    t->op.u.conv.stride = stride;
    t->op.u.conv.pad = 1;
    t->op.u.conv.groups = 1;
    t->op.u.conv.relu = s->relu;
    t->op.u.conv.residual = s->residual;
    one_op_activation(t, "src", (const int32_t[4]){s->n, s->h, s->w, s->in}, -1, 1);
    if (s->residual) {
        one_op_activation(t, "residual", (const int32_t[4]){s->n, h, w, s->out}, -1, 1);
        t->op.inplace = 1;
    }
    if (s->live) {
        one_op_counts(t, 1, &s->live, true);
    }
    one_op_weights(t, s->out, s->in, 3, 3);
    one_op_output(t, "dst", RCNN_F32, 4, (const int32_t[4]){s->n, h, w, s->out});
    one_op_end(t);
}

/* Opens the op, and puts a kernel of the body in the place of the backend's own. */
static rcnn_status open_with(const one_op *t, const rcnn_winograd_body *body, const one_op_how *how, one_op_run *run,
                             rcnn_error *err)
{
    const rcnn_backend_vt *vt = &rcnn_backend_cpu;
    RCNN_TRY(one_op_open_as(t, vt, how, run, err));
    vt->release(run->kernel);
    vt->release_memory(run->backend, run->scratch);
    run->kernel = NULL;
    run->scratch = NULL;
    RCNN_TRY(rcnn_winograd_prepare(run->backend, body, &run->graph, &run->graph.ops[0], &run->kernel,
                                   &run->scratch_bytes, err));
    return vt->alloc(run->backend, run->scratch_bytes, &run->scratch, err);
}

/* Results are in run->result, as floats. *run is to be closed even after a failure. */
static bool run_with(const one_op *t, const named_body *with, const one_op_how *how, one_op_run *run)
{
    rcnn_error err = {0};
    rcnn_status status = open_with(t, with->body, how, run, &err);
    status = status == RCNN_OK ? one_op_load(run, &err) : status;
    status = status == RCNN_OK ? one_op_enqueue(run, &err) : status;
    status = status == RCNN_OK ? one_op_fetch(run, &err) : status;
    CHECK_MSG(status == RCNN_OK, "%s: %s", with->name, err.message);
    return status == RCNN_OK;
}

/* ----------------------------------------------------------------- error */

static void check_error(const one_op *t, const named_body *with, const one_op_run *run)
{
    const float *got = run->result[0];
    double errors = 0, results = 0;
    for (size_t e = 0; e < one_op_elements(t, t->op.output[0]); e++) {
        const double want = op_expectation(t, e);
        errors += ((double)got[e] - want) * ((double)got[e] - want);
        results += want * want;
    }
    const double relative = sqrt(errors / results);
    CHECK_MSG(relative >= with->least && relative < with->most,
              "%s, stride %d, %d-%d%s%s: error %.3g of the result, want %.3g to %.3g", with->name,
              with->body->tile->stride, t->op.w.in, t->op.w.out, t->op.u.conv.relu ? " relu" : "",
              t->op.u.conv.residual ? " residual" : "", relative, with->least, with->most);
}

static void check_shape(const conv_shape *shape, const named_body *with)
{
    const one_op_how how = {.threads = 2}, inplace = {.threads = 2, .inplace = true};
    one_op t;
    one_op_run run;
    build_conv(&t, shape, with->body);
    if (run_with(&t, with, &how, &run)) {
        check_error(&t, with, &run);
    }
    one_op_close(&run);
    if (shape->residual) {
        if (run_with(&t, with, &inplace, &run)) {
            check_error(&t, with, &run);
        }
        one_op_close(&run);
    }
    one_op_free(&t);
}

TEST(errors_are_those_of_the_products)
{
    static const conv_shape shapes[] = {{2, 9, 11, 32, 64, false, false, 0}, {1, 8, 8, 64, 64, true, false, 0},
                                        {1, 10, 7, 64, 32, false, true, 0},  {1, 13, 6, 32, 96, true, true, 0},
                                        {3, 1, 1, 32, 32, false, false, 0},  {1, 44, 44, 32, 32, true, false, 0},
                                        {1, 50, 60, 256, 32, true, false, 0}};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            check_shape(&shapes[s], &bodies[b]);
        }
    }
}

/* ----------------------------------------------------------------- types */

/* The largest distance from the right result, and the root mean square. */
typedef struct distance {
    double most, mean;
} distance;

/* That of the sums is as in tests/ops/compare.c; a type of results adds its rounding. */
static distance distance_allowed(rcnn_dtype stored, float scale, const named_body *with)
{
    const bool bf16 = with->body->product->features == RCNN_BF16;
    const distance sums = is_of_bytes(with) ? (distance){0.2, 0.04}
                          : bf16            ? (distance){0.15, 0.014}
                                            : (distance){2e-5, 3e-6};
    switch (stored) {
    case RCNN_I8:
    case RCNN_U8: /* rounding to a step is even over +-1/2, so 0.29 of it on the average */
        return (distance){sums.most + 0.5 * (double)scale, sums.mean + 0.31 * (double)scale};
    case RCNN_BF16: /* half of the last of 8 bits, of results that are below 4 and most of them below 1 */
        return (distance){sums.most + 0x1p-7, sums.mean + 0x1p-9};
    default:
        return sums;
    }
}

/* What the type can hold of it. */
static double held(rcnn_dtype stored, double scale, double value)
{
    const double low = stored == RCNN_I8 ? -127 : 0;
    const double high = stored == RCNN_I8 ? 127 : 255;
    return stored == RCNN_I8 || stored == RCNN_U8 ? fmin(fmax(value, low * scale), high * scale) : value;
}

static void check_distance(const one_op *t, const named_body *with, const one_op_run *run, const char *mix)
{
    const rcnn_value_id dst = t->op.output[0];
    const distance allowed = distance_allowed(t->stored[dst], t->scale[dst], with);
    const size_t elements = one_op_elements(t, dst);
    const float *got = run->result[0];
    double most = 0, squares = 0;
    for (size_t e = 0; e < elements; e++) {
        const double want = held(t->stored[dst], (double)t->scale[dst], op_expectation(t, e));
        const double gap = fabs((double)got[e] - want);
        most = gap <= most ? most : gap; /* NaN stays */
        squares += gap * gap;
    }
    const double mean = sqrt(squares / (double)elements);
    CHECK_MSG(most <= allowed.most && mean <= allowed.mean,
              "%s, %s: off by %.3g, %.3g on the average; allowed %.3g, %.3g", with->name, mix, most, mean, allowed.most,
              allowed.mean);
}

/* False when there is no such mix. */
static bool check_mix(one_op_type type, int32_t mix, bool relu, const named_body *with)
{
    const conv_shape shape = {1, 9, 10, 64, 32, relu, true, 0};
    const one_op_how how = {.threads = 2, .type = type};
    one_op t;
    one_op_run run;
    build_conv(&t, &shape, with->body);
    const bool there = one_op_round(&t, type, mix);
    if (there) {
        const char *name = one_op_mix_name(&t, type, mix);
        if (run_with(&t, with, &how, &run)) {
            check_distance(&t, with, &run, name[0] ? name : one_op_type_name(type));
        }
        one_op_close(&run);
    }
    one_op_free(&t);
    return there;
}

TEST(features_of_all_types)
{
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        for (int32_t relu = 0; relu < 2; relu++) {
            CHECK(check_mix(ONE_OP_BF16, 0, relu, &bodies[b]));
            int32_t mixes = 0;
            while (check_mix(ONE_OP_INT8, mixes, relu, &bodies[b])) {
                mixes++;
            }
            CHECK(mixes > 0);
        }
    }
}

/* ------------------------------------------------------------ not finite */

/* One input of a map of 12x12 outputs is `value`: the outputs that it is a factor of, and those of its tile only, may tell. */
static void check_not_finite(float value, bool relu, one_op_type type, const named_body *with)
{
    enum { SIDE = 12, CHANNELS = 32, AT_Y = 7, AT_X = 8 };
    const int32_t stride = with->body->tile->stride, side = SIDE * stride, reach = with->body->tile->out;
    const conv_shape shape = {1, side, side, CHANNELS, CHANNELS, relu, false, 0};
    const one_op_how how = {.threads = 2, .type = type};
    one_op t;
    one_op_run run;
    size_t swallowed = 0, spread = 0;
    build_conv(&t, &shape, with->body);
    CHECK(one_op_round(&t, type, 0));
    ((float *)t.data[t.op.input[0]])[(AT_Y * stride * side + AT_X * stride) * CHANNELS + 3] = value;
    if (run_with(&t, with, &how, &run)) {
        for (int32_t e = 0; e < SIDE * SIDE * CHANNELS; e++) {
            const int32_t y = e / CHANNELS / SIDE, x = e / CHANNELS % SIDE;
            const bool finite = isfinite(((const float *)run.result[0])[e]);
            swallowed += finite && abs(y - AT_Y) * stride <= 1 && abs(x - AT_X) * stride <= 1;
            spread += !finite && (abs(y - AT_Y) > reach || abs(x - AT_X) > reach);
        }
    }
    CHECK_MSG(swallowed == 0, "%s: %zu outputs of %g are finite", with->name, swallowed, (double)value);
    CHECK_MSG(spread == 0, "%s: %zu outputs far from %g are not finite", with->name, spread, (double)value);
    one_op_close(&run);
    one_op_free(&t);
}

/* A ReLU may make minus infinity zero, as it does to that of a convolution; NaN stays. */
TEST(what_is_not_finite_shows)
{
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        if (is_of_bytes(&bodies[b])) { /* which are finite */
            continue;
        }
        check_not_finite(NAN, true, ONE_OP_F32, &bodies[b]);
        check_not_finite(NAN, true, ONE_OP_BF16, &bodies[b]);
        check_not_finite(-NAN, true, ONE_OP_F32, &bodies[b]);
        check_not_finite(INFINITY, false, ONE_OP_F32, &bodies[b]);
        check_not_finite(-INFINITY, false, ONE_OP_BF16, &bodies[b]);
    }
}

/* ----------------------------------------------------------- packed rows */

/* Outputs of rows past the count keep the bytes that one_op_load fills them with; the others do not. */
static void check_rows(const one_op *t, int32_t live, int32_t threads, const named_body *with)
{
    const rcnn_value *dst = &t->graph.values[t->op.output[0]];
    const size_t elements = one_op_elements(t, t->op.output[0]);
    const size_t wanted = elements / (size_t)dst->desc.dim[0] * (size_t)live;
    const one_op_how how = {.threads = threads};
    one_op_run run;
    size_t wrong = 0;
    const bool good = run_with(t, with, &how, &run);
    for (size_t e = 0; good && e < elements; e++) {
        const bool written = ((const uint32_t *)run.result[0])[e] != UINT32_MAX;
        wrong += written != (e < wanted);
    }
    CHECK_MSG(wrong == 0, "%s, %d rows, %d threads: %zu elements", with->name, live, threads, wrong);
    one_op_close(&run);
}

/* 60 rows on 80 tiles; 5 of them end within a block. One thread goes block by block, 8 take pieces of blocks. */
TEST(rows_past_the_count_are_not_written)
{
    const conv_shape shape = {60, 5, 6, 256, 32, true, false, 60};
    const int32_t live[] = {0, 1, 5, 60};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        one_op t;
        build_conv(&t, &shape, bodies[b].body);
        for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
            *(int32_t *)t.data[t.counts] = live[i];
            check_rows(&t, live[i], 1, &bodies[b]);
            check_rows(&t, live[i], 8, &bodies[b]);
        }
        one_op_free(&t);
    }
}

/* --------------------------------------------------------------- threads */

/* One thread goes block by block, many take pieces of blocks: 81 tiles are 6 blocks of 14 at least. */
TEST(same_bytes_with_any_number_of_threads)
{
    static const int32_t threads[] = {2, 3, 8};
    const conv_shape shape = {1, 44, 43, 256, 96, true, false, 0};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        one_op t;
        one_op_run one, many;
        build_conv(&t, &shape, bodies[b].body);
        const size_t bytes = t.graph.values[t.op.output[0]].bytes;
        bool good = run_with(&t, &bodies[b], &(const one_op_how){.threads = 1}, &one);
        for (size_t i = 0; good && i < sizeof threads / sizeof *threads; i++) {
            if (run_with(&t, &bodies[b], &(const one_op_how){.threads = threads[i]}, &many)) {
                CHECK_MSG(memcmp(one.result[0], many.result[0], bytes) == 0, "%s: %d threads", bodies[b].name,
                          threads[i]);
            }
            one_op_close(&many);
        }
        one_op_close(&one);
        one_op_free(&t);
    }
}

/* ------------------------------------------------------------- preparing */

static rcnn_kernel *prepare_with(rcnn_backend *backend, const rcnn_winograd_body *body, const one_op *t)
{
    rcnn_kernel *kernel = NULL;
    size_t scratch = 0;
    rcnn_error err = {0};
    CHECK_OK(rcnn_winograd_prepare(backend, body, &t->graph, &t->graph.ops[0], &kernel, &scratch, &err), err);
    return kernel;
}

/* Of a kernel whose filters are its own: kernel, zeros, numbers, and the filters' entry, data and scales, and of bytes starts;
 * of one with shared filters. */
enum { OWN_ALLOCATIONS = 3 };

static uint64_t allocations_with(const named_body *with)
{
    return is_of_bytes(with) ? 7 : 6;
}

/* Prepares with the nth allocation failing; its status. Nothing is kept in the backend. */
static rcnn_status prepare_failing(uint64_t nth, const rcnn_winograd_body *body, const one_op *t)
{
    rcnn_backend *backend = open_cpu(1);
    rcnn_kernel *kernel = NULL;
    size_t scratch = 0;
    rcnn_error err = {0};
    rcnn_memory_fail_from(nth);
    rcnn_status status = rcnn_winograd_prepare(backend, body, &t->graph, &t->graph.ops[0], &kernel, &scratch, &err);
    rcnn_memory_fail_from(0);
    CHECK_MSG(status == RCNN_OK || (strstr(err.message, t->op.name) && !kernel), "allocation %d: '%s'", (int)nth,
              err.message);
    rcnn_backend_cpu.release(kernel);
    CHECK_MSG(*rcnn_cpu_panels(backend) == NULL, "allocation %d: filters are left", (int)nth);
    rcnn_backend_cpu.close(backend);
    return status;
}

TEST(failed_allocations_are_statuses)
{
    const conv_shape shape = {1, 5, 6, 32, 32, false, false, 0};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        const uint64_t allocations = allocations_with(&bodies[b]);
        one_op t;
        build_conv(&t, &shape, bodies[b].body);
        for (uint64_t nth = 1; nth <= allocations; nth++) {
            const rcnn_status status = prepare_failing(nth, bodies[b].body, &t);
            CHECK_MSG(status == RCNN_ERR_MEMORY, "%s, allocation %d: status %d", bodies[b].name, (int)nth, (int)status);
        }
        CHECK(prepare_failing(allocations + 1, bodies[b].body, &t) == RCNN_OK);
        one_op_free(&t);
    }
}

/* Allocations that preparing takes. */
static uint64_t allocations_of(rcnn_backend *backend, const rcnn_winograd_body *body, const one_op *t,
                               rcnn_kernel **kernel)
{
    const uint64_t before = rcnn_memory_allocation_count();
    *kernel = prepare_with(backend, body, t);
    return rcnn_memory_allocation_count() - before;
}

/* t[1] is another shape of t[0]'s layer while its weights are the same, then another layer. */
static void check_sharing(const named_body *with, one_op t[2])
{
    const rcnn_winograd_body *body = with->body;
    rcnn_backend *backend = open_cpu(1);
    rcnn_kernel *first, *second, *other;
    const rcnn_op_weights own = t[1].graph.ops[0].w;
    CHECK(allocations_of(backend, body, &t[0], &first) == allocations_with(with));
    const rcnn_panels *shared = *rcnn_cpu_panels(backend);
    t[1].graph.ops[0].w = t[0].graph.ops[0].w;
    CHECK(allocations_of(backend, body, &t[1], &second) == OWN_ALLOCATIONS);
    CHECK(*rcnn_cpu_panels(backend) == shared);
    t[1].graph.ops[0].w = own;
    CHECK(allocations_of(backend, body, &t[1], &other) == allocations_with(with));
    rcnn_backend_cpu.release(other);
    rcnn_backend_cpu.release(first);
    CHECK(*rcnn_cpu_panels(backend) == shared); /* the second's still */
    rcnn_backend_cpu.release(second);
    CHECK(*rcnn_cpu_panels(backend) == NULL);
    rcnn_backend_cpu.close(backend);
}

TEST(kernels_of_one_layer_share_filters)
{
    const conv_shape shapes[] = {{1, 5, 6, 32, 32, false, false, 0}, {1, 8, 9, 32, 32, true, false, 0}};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    for (int32_t b = 0; b < count; b++) {
        one_op t[2];
        build_conv(&t[0], &shapes[0], bodies[b].body);
        build_conv(&t[1], &shapes[1], bodies[b].body);
        check_sharing(&bodies[b], t);
        one_op_free(&t[0]);
        one_op_free(&t[1]);
    }
}

/* By products of another type, or for another tile, also of the same number of products. */
TEST(other_bodies_have_filters_of_their_own)
{
    const conv_shape shape = {1, 5, 6, 32, 32, false, false, 0};
    named_body bodies[BODIES];
    const int32_t count = find_bodies(bodies);
    rcnn_backend *backend = open_cpu(1);
    one_op t;
    build_conv(&t, &shape, bodies[0].body);
    for (int32_t b = 1; b < count; b++) {
        const rcnn_winograd_body *body = bodies[b].body, *other = bodies[0].body;
        const bool alike = body->product->features == other->product->features && body->tile == other->tile;
        rcnn_kernel *first, *second;
        CHECK(allocations_of(backend, other, &t, &first) == allocations_with(&bodies[0]));
        CHECK(allocations_of(backend, body, &t, &second) == (alike ? OWN_ALLOCATIONS : allocations_with(&bodies[b])));
        rcnn_backend_cpu.release(first);
        rcnn_backend_cpu.release(second);
    }
    rcnn_backend_cpu.close(backend);
    one_op_free(&t);
}

/* -------------------------------------------------------------- choosing */

typedef struct conv_form {
    int32_t kernel, stride, pad, groups, in, out;
} conv_form;

/* ------------------------------------------------------------------ tiles */

/* Whether input (row, column) of a tile is pixel (y, x) of a map, or nowhere where the map has none. */
static bool sees(const rcnn_sheets *s, const rcnn_square *square, int32_t row, int32_t column, size_t map, int32_t y,
                 int32_t x)
{
    const bool inside = y >= 0 && x >= 0 && y < s->y.in && x < s->x.in;
    const size_t want = (map * (size_t)s->y.in + (size_t)y) * (size_t)s->x.in + (size_t)x;
    return rcnn_square_pixel(square->row[row], square->column[column]) == (inside ? want : RCNN_NO_PIXEL);
}

/* Every output of every map belongs to one tile, which sees the nine pixels around it within its map, and nothing else. */
static void check_sheets(const rcnn_winograd_tile *tile, int32_t height, int32_t width, const int32_t *counts,
                         int32_t images)
{
    rcnn_sheets sheets;
    rcnn_sheets_begin(&sheets, tile, height, width);
    for (int32_t n = 0; n < images; n++) {
        rcnn_sheets_add(&sheets, counts[n]);
    }
    const size_t out_width = (size_t)sheets.x.out, map = (size_t)sheets.y.out * out_width;
    const size_t pixels = map * (size_t)sheets.maps;
    int32_t *seen = calloc(pixels + 1, sizeof *seen);
    int wrong = 0;
    for (int64_t t = 0; t < sheets.tiles; t++) {
        rcnn_square square;
        rcnn_sheets_square(&sheets, t, &square);
        for (int32_t i = 0; i < tile->out * tile->out; i++) {
            const int32_t row = i / tile->out, column = i % tile->out;
            const size_t out = rcnn_square_pixel(square.out_row[row], square.out_column[column]);
            if (out == RCNN_NO_PIXEL) {
                continue;
            }
            seen[out]++;
            const int32_t y = (int32_t)(out % map / out_width) * tile->stride - 1;
            const int32_t x = (int32_t)(out % out_width) * tile->stride - 1;
            for (int32_t tap = 0; tap < 9; tap++) {
                wrong += !sees(&sheets, &square, row * tile->stride + tap / 3, column * tile->stride + tap % 3,
                               out / map, y + tap / 3, x + tap % 3);
            }
        }
    }
    for (size_t i = 0; i < pixels; i++) {
        wrong += seen[i] != 1;
    }
    CHECK_MSG(wrong == 0, "%dx%d by %d, stride %d, %d images, %d maps: %d wrong", height, width, tile->out,
              tile->stride, images, sheets.maps, wrong);
    free(seen);
}

TEST(tiles_cover_every_pixel_once)
{
    static const int32_t COUNTS[][3] = {{1, 0, 0}, {3, 0, 2}, {4, 1, 0}, {5, 8, 7}, {0, 0, 0}};
    for (int32_t height = 1; height <= 15; height++) {
        for (int32_t width = 1; width <= 15; width++) {
            for (size_t c = 0; c < sizeof COUNTS / sizeof COUNTS[0]; c++) {
                check_sheets(&rcnn_winograd_5x5, height, width, COUNTS[c], 3);
                check_sheets(&rcnn_winograd_4x4, height, width, COUNTS[c], 3);
                check_sheets(&rcnn_winograd_3x3_stride2, height, width, COUNTS[c], 3);
            }
        }
    }
}

/* What sharing is for: 100 RoIs of 7x7, in two columns, take 240 tiles and not 400; one takes 4, as alone. */
TEST(maps_of_an_image_share_tiles)
{
    rcnn_sheets sheets;
    rcnn_sheets_begin(&sheets, &rcnn_winograd_5x5, 7, 7);
    rcnn_sheets_add(&sheets, 100);
    CHECK(sheets.tiles == 240 && sheets.maps == 100);
    rcnn_sheets_begin(&sheets, &rcnn_winograd_5x5, 7, 7);
    rcnn_sheets_add(&sheets, 1);
    CHECK(sheets.tiles == 4);
    rcnn_sheets_begin(&sheets, &rcnn_winograd_5x5, 14, 14); /* the last row and column of zeros fill the tile */
    rcnn_sheets_add(&sheets, 100);
    CHECK(sheets.tiles == 900);
    rcnn_sheets_begin(&sheets, &rcnn_winograd_5x5, 15, 200);
    rcnn_sheets_add(&sheets, 7);
    CHECK(sheets.tiles == 7 * 3 * 40); /* nothing to share */
}

/* What the backend takes for a convolution of features 8x8. */
static const rcnn_winograd_body *chosen(const conv_form *form, rcnn_dtype src)
{
    const rcnn_backend_options options = {.num_threads = 1};
    rcnn_value values[1] = {{.desc = {.dtype = src, .rank = 4, .dim = {1, 8, 8, form->in}}}};
    const rcnn_graph graph = {.values = values, .value_count = 1};
    rcnn_op op = {.kind = RCNN_OP_CONV, .input = {0}, .input_count = 1};
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    op.w = (rcnn_op_weights){.kh = form->kernel, .kw = form->kernel, .in = form->in / form->groups, .out = form->out};
    op.u.conv.stride = form->stride;
    op.u.conv.pad = form->pad;
    op.u.conv.groups = form->groups;
    CHECK_OK(rcnn_backend_cpu.open(&options, &backend, &err), err);
    const rcnn_winograd_body *body = backend ? rcnn_winograd_choose(backend, &graph, &op) : NULL;
    rcnn_backend_cpu.close(backend);
    return body;
}

static void check_masks(const conv_form *fits)
{
    setenv("RCNN_CPU_MASK", "avx2", 1);
    CHECK(chosen(fits, RCNN_F32) == &rcnn_winograd_avx2.stride1 && !chosen(fits, RCNN_BF16) && !chosen(fits, RCNN_U8));
    setenv("RCNN_CPU_MASK", "c", 1);
    CHECK(!chosen(fits, RCNN_F32));
    unsetenv("RCNN_CPU_MASK");
}

/* NULL where the processor or the build has not got them, or has AMX. */
static const rcnn_winograd_bodies *narrow(const char *name, const rcnn_winograd_bodies *bodies)
{
    return is_testable(name, bodies) && !rcnn_onednn_has_amx() ? bodies : NULL;
}

static void check_choice(const conv_form *fits)
{
    const rcnn_winograd_bodies *f32 =
        is_testable("avx512", &rcnn_winograd_avx512) ? &rcnn_winograd_avx512 : &rcnn_winograd_avx2;
    const rcnn_winograd_bodies *bf16 = narrow("avx512_bf16", &rcnn_winograd_bf16);
    const rcnn_winograd_bodies *bytes = narrow("avx512_vnni", &rcnn_winograd_vnni);
    const bool twice = fits->stride == 2;
    CHECK(chosen(fits, RCNN_F32) == (twice ? &f32->stride2 : &f32->stride1));
    CHECK(chosen(fits, RCNN_BF16) == (!bf16 ? NULL : twice ? &bf16->stride2 : &bf16->stride1));
    CHECK(chosen(fits, RCNN_I8) == (!bytes ? NULL : twice ? &bytes->stride2 : &bytes->stride1));
    CHECK(chosen(fits, RCNN_U8) == chosen(fits, RCNN_I8));
}

TEST(only_what_fits_is_chosen)
{
    static const conv_form others[] = {{1, 1, 0, 1, 32, 32}, {3, 3, 1, 1, 32, 32}, {3, 1, 0, 1, 32, 32},
                                       {3, 1, 1, 2, 64, 64}, {3, 1, 1, 1, 48, 32}, {3, 1, 1, 1, 32, 16}};
    const conv_form fits = {3, 1, 1, 1, 32, 64}, fits_twice = {3, 2, 1, 1, 32, 64};
    named_body bodies[BODIES];
    (void)find_bodies(bodies);
    unsetenv("RCNN_CPU_MASK");
    unsetenv("RCNN_CPU_CONV");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK_MSG(!chosen(&others[i], RCNN_F32), "convolution %zu", i);
    }
    check_choice(&fits);
    check_choice(&fits_twice);
    setenv("RCNN_CPU_CONV", "direct", 1);
    CHECK(!chosen(&fits, RCNN_F32) && !chosen(&fits, RCNN_BF16) && !chosen(&fits, RCNN_U8));
    unsetenv("RCNN_CPU_CONV");
    check_masks(&fits);
}

TEST_MAIN
