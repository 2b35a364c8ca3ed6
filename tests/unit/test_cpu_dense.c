/* 1x1 convolutions and fully connected layers on the cpu backend (dense.h): the same bytes with any number of threads, however
 * rows, chunks of them and panels are shared out, and right ones. What they compute in all types is tests/ops. */
#include "cpu_support.h"

#include "backend/cpu/dense.h"
#include "ops/op_cases.h"

typedef struct layer {
    const char *name;
    bool conv;
    int32_t rows, bins, in, out; /* conv: rows x 1 pixels with a residual */
} layer;

static void build(one_op *t, const layer *l)
{
    one_op_begin(t, l->conv ? RCNN_OP_CONV : RCNN_OP_FC, 55);
    if (l->conv) {
        t->op.u.conv = (__typeof__(t->op.u.conv)){.stride = 1, .groups = 1, .residual = true};
        one_op_activation(t, "src", (const int32_t[4]){1, l->rows, 1, l->in}, -1, 1);
        one_op_activation(t, "residual", (const int32_t[4]){1, l->rows, 1, l->out}, -1, 1);
    } else {
        t->op.u.fc.permute_bins = l->bins;
        one_op_activation(t, "src", (const int32_t[4]){l->rows, l->bins, l->bins, l->in / (l->bins * l->bins)}, -1, 1);
    }
    one_op_weights(t, l->out, l->in, 1, 1);
    if (l->conv) {
        one_op_output(t, "dst", RCNN_F32, 4, (const int32_t[4]){1, l->rows, 1, l->out});
    } else {
        one_op_output(t, "dst", RCNN_F32, 2, (const int32_t[2]){l->rows, l->out});
    }
    one_op_end(t);
}

static bool run_with(const one_op *t, int32_t threads, one_op_run *run)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_open(t, &rcnn_backend_cpu, threads, false, run, &err);
    status = status == RCNN_OK ? one_op_load(run, &err) : status;
    status = status == RCNN_OK ? one_op_enqueue(run, &err) : status;
    status = status == RCNN_OK ? one_op_fetch(run, &err) : status;
    CHECK_MSG(status == RCNN_OK, "%s", err.message);
    return status == RCNN_OK;
}

/* Sums of up to 4096 products of order 1/64. */
static void check_results(const layer *l, const one_op *t, const one_op_run *run)
{
    const float *got = run->result[0];
    double most = 0;
    for (size_t e = 0; e < one_op_elements(t, t->op.output[0]); e++) {
        const double gap = fabs((double)got[e] - op_expectation(t, e));
        most = gap <= most ? most : gap; /* NaN stays */
    }
    CHECK_MSG(most <= 1e-5, "%s: off by %g", l->name, most);
}

static void check_layer(const layer *l)
{
    static const int32_t THREADS[] = {2, 3, 8, 40};
    one_op t;
    one_op_run one, many;
    build(&t, l);
    const size_t bytes = t.graph.values[t.op.output[0]].bytes;
    bool good = run_with(&t, 1, &one);
    if (good) {
        check_results(l, &t, &one);
    }
    for (size_t i = 0; good && i < sizeof THREADS / sizeof *THREADS; i++) {
        if (run_with(&t, THREADS[i], &many)) {
            CHECK_MSG(memcmp(one.result[0], many.result[0], bytes) == 0, "%s: %d threads", l->name, THREADS[i]);
        }
        one_op_close(&many);
    }
    one_op_close(&one);
    one_op_free(&t);
}

/* 36 rows are a block of chunks on AVX2, 252 with AVX-512; 4096 inputs are 8 chunks. */
TEST(same_bytes_with_any_number_of_threads)
{
    static const layer LAYERS[] = {
        {"one row in chunks", false, 1, 8, 4096, 96},     {"one block in chunks", false, 31, 8, 4096, 160},
        {"blocks in chunks", false, 300, 8, 4096, 64},    {"a last chunk of less", false, 20, 7, 3136, 64},
        {"rows as a whole", false, 37, 1, 256, 64},       {"one panel", false, 3, 1, 32, 32},
        {"pixels with a residual", true, 500, 0, 64, 64},
    };
    for (size_t i = 0; i < sizeof LAYERS / sizeof *LAYERS; i++) {
        check_layer(&LAYERS[i]);
    }
}

/* What the backend takes for a layer whose features are of the type. */
static const rcnn_product_body *chosen(const layer *l, rcnn_dtype type, bool residual)
{
    rcnn_backend *backend = open_cpu(1);
    one_op t;
    build(&t, l);
    rcnn_value values[ONE_OP_VALUES_MAX];
    memcpy(values, t.graph.values, (size_t)t.graph.value_count * sizeof *values);
    rcnn_graph graph = t.graph;
    graph.values = values;
    values[t.op.input[0]].desc.dtype = type;
    rcnn_op op = graph.ops[0];
    if (l->conv) {
        op.u.conv.residual = residual;
    }
    const rcnn_product_body *body =
        l->conv ? rcnn_dense_choose_conv(backend, &graph, &op) : rcnn_dense_choose_fc(backend, &graph, &op);
    one_op_free(&t);
    rcnn_backend_cpu.close(backend);
    return body;
}

TEST(only_what_fits_is_chosen)
{
    const layer fc = {"", false, 2, 1, 64, 32}, narrow = {"", false, 2, 1, 64, 48}, odd = {"", false, 2, 1, 48, 32};
    const layer conv = {"", true, 2, 0, 64, 32}, wide = {"", true, 2, 0, 256, 32};
    unsetenv("RCNN_CPU_CONV");
    unsetenv("RCNN_CPU_MASK");
    if (!processor_has("avx2") || !chosen(&fc, RCNN_F32, false)) {
        SKIP("no product runs here");
    }
    CHECK(!chosen(&narrow, RCNN_F32, false) && !chosen(&odd, RCNN_F32, false));
    CHECK(chosen(&conv, RCNN_F32, true) && !chosen(&conv, RCNN_F32, false) && !chosen(&wide, RCNN_F32, false));
    CHECK(chosen(&conv, RCNN_BF16, true) == chosen(&wide, RCNN_BF16, false)); /* both where BF16 is multiplied at all */
    CHECK(!chosen(&conv, RCNN_BF16, false));
    setenv("RCNN_CPU_CONV", "direct", 1);
    CHECK(!chosen(&fc, RCNN_F32, false) && !chosen(&conv, RCNN_F32, true));
    unsetenv("RCNN_CPU_CONV");
}

TEST_MAIN
