/* What the cpu backend promises beyond right numbers (those are the op list's business): thread counts given back, work
 * that follows the counts, runs that allocate nothing, failures that leak nothing, one copy of shared weights. */
#include "cpu_support.h"

#include "base/memory.h"
#include "ops/one_op.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* 3x3 convolution, 8 -> 16 channels, on `rows` packed rows of 5x6 pixels with `live` of them in use. */
static void build_rows(one_op *t, int32_t rows, int32_t live)
{
    one_op_begin(t, RCNN_OP_CONV, 3);
    t->op.u.conv.stride = 1;
    t->op.u.conv.pad = 1;
    t->op.u.conv.groups = 1;
    t->op.u.conv.relu = 1;
    one_op_activation(t, "src", (const int32_t[4]){rows, 5, 6, 8}, -1, 1);
    one_op_counts(t, 1, &live, true);
    one_op_weights(t, 16, 8, 3, 3);
    one_op_output(t, "dst", RCNN_F32, 4, (const int32_t[4]){rows, 5, 6, 16});
    one_op_end(t);
}

/* 1x1 convolution with a residual, 16 channels. */
static void build_residual(one_op *t, int32_t height)
{
    const int32_t dim[4] = {1, height, 6, 16};
    one_op_begin(t, RCNN_OP_CONV, 4);
    t->op.u.conv.stride = 1;
    t->op.u.conv.groups = 1;
    t->op.u.conv.relu = 1;
    t->op.u.conv.residual = 1;
    t->op.inplace = 1;
    one_op_activation(t, "src", dim, -1, 1);
    one_op_activation(t, "residual", dim, -1, 1);
    one_op_weights(t, 16, 16, 1, 1);
    one_op_output(t, "dst", RCNN_F32, 4, dim);
    one_op_end(t);
}

static rcnn_status run_on_cpu(const one_op *t, bool inplace, one_op_run *run, rcnn_error *err)
{
    RCNN_TRY(one_op_open(t, &rcnn_backend_cpu, 2, inplace, run, err));
    RCNN_TRY(one_op_load(run, err));
    RCNN_TRY(one_op_enqueue(run, err));
    return one_op_fetch(run, err);
}

TEST(threads_are_given_back)
{
#ifdef _OPENMP
    int before = omp_get_max_threads();
    rcnn_backend *backend = open_cpu(before + 3);
    rcnn_backend_cpu.begin_run(backend);
    CHECK(omp_get_max_threads() == before + 3);
    rcnn_backend_cpu.end_run(backend);
    CHECK(omp_get_max_threads() == before);
    rcnn_backend_cpu.close(backend);
#endif
}

TEST(bad_mask_is_refused)
{
    const rcnn_backend_options options = {.device = 0, .num_threads = 1};
    rcnn_backend *backend = NULL;
    rcnn_error err;
    const char *before = getenv("RCNN_CPU_MASK");
    char saved[32] = "";
    snprintf(saved, sizeof saved, "%s", before ? before : "");
    setenv("RCNN_CPU_MASK", "sse9", 1);
    CHECK(rcnn_backend_cpu.open(&options, &backend, &err) == RCNN_ERR_ARGUMENT);
    CHECK_MSG(strstr(err.message, "sse9") != NULL, "%s", err.message);
    CHECK(backend == NULL);
    setenv("RCNN_CPU_MASK", saved, 1);
}

TEST(rows_past_the_count_are_not_computed)
{
    for (int32_t live = 0; live <= 23; live += live < 6 ? 1 : 17) {
        one_op t;
        one_op_run run = {0};
        rcnn_error err;
        build_rows(&t, 23, live);
        CHECK_OK(run_on_cpu(&t, false, &run, &err), err);
        const size_t row = 5 * 6 * 16;
        const uint32_t *bits = run.result[0];
        for (size_t i = 0; bits && i < 23 * row; i++) {
            bool written = bits[i] != UINT32_MAX; /* one_op_load fills with 0xff */
            if (written != (i < (size_t)live * row)) {
                CHECK_MSG(false, "live %d: element %zu of row %zu", live, i % row, i / row);
                break;
            }
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

TEST(residual_elsewhere_equals_residual_in_place)
{
    one_op t;
    one_op_run apart = {0};
    one_op_run inplace = {0};
    rcnn_error err;
    build_residual(&t, 9);
    CHECK_OK(run_on_cpu(&t, false, &apart, &err), err);
    CHECK_OK(run_on_cpu(&t, true, &inplace, &err), err);
    CHECK(memcmp(apart.result[0], inplace.result[0], 9 * 6 * 16 * sizeof(float)) == 0);
    one_op_close(&apart);
    one_op_close(&inplace);
    one_op_free(&t);
}

TEST(runs_allocate_nothing)
{
    one_op t;
    one_op_run run = {0};
    rcnn_error err;
    build_rows(&t, 23, 21);
    CHECK_OK(run_on_cpu(&t, false, &run, &err), err);
    uint64_t before = rcnn_memory_allocation_count();
    CHECK_OK(one_op_enqueue(&run, &err), err);
    CHECK(rcnn_memory_allocation_count() == before);
    one_op_close(&run);
    one_op_free(&t);
}

/* Two shapes of one layer on one backend: the second kernel finds the reordered weights, so preparing it takes the kernel
 * struct and nothing else. */
TEST(shapes_share_reordered_weights)
{
    one_op t[2];
    rcnn_kernel *kernel[2] = {NULL, NULL};
    size_t scratch;
    rcnn_error err;
    rcnn_backend *backend = open_cpu(1);
    build_residual(&t[0], 9);
    build_residual(&t[1], 12);
    t[1].graph.ops[0].w = t[0].graph.ops[0].w;
    CHECK_OK(rcnn_backend_cpu.prepare(backend, &t[0].graph, 0, 1, &kernel[0], &scratch, &err), err);
    uint64_t before = rcnn_memory_allocation_count();
    CHECK_OK(rcnn_backend_cpu.prepare(backend, &t[1].graph, 0, 1, &kernel[1], &scratch, &err), err);
    CHECK(rcnn_memory_allocation_count() == before + 1);
    rcnn_backend_cpu.release(kernel[0]);
    rcnn_backend_cpu.release(kernel[1]);
    rcnn_backend_cpu.close(backend);
    one_op_free(&t[0]);
    one_op_free(&t[1]);
}

TEST(failed_allocations_are_statuses)
{
    one_op t;
    build_rows(&t, 23, 5);
    int failures = 0;
    for (uint64_t nth = 1; nth < 100; nth++) {
        rcnn_backend *backend = open_cpu(1);
        rcnn_kernel *kernel = NULL;
        size_t scratch;
        rcnn_error err;
        rcnn_memory_fail_from(nth);
        rcnn_status status = rcnn_backend_cpu.prepare(backend, &t.graph, 0, 1, &kernel, &scratch, &err);
        rcnn_memory_fail_from(0);
        CHECK(status == RCNN_OK || (status == RCNN_ERR_MEMORY && kernel == NULL));
        rcnn_backend_cpu.release(kernel);
        rcnn_backend_cpu.close(backend);
        if (status == RCNN_OK) {
            break;
        }
        failures++;
    }
    CHECK_MSG(failures >= 3, "%d", failures); /* kernel, weights entry, weights */
    one_op_free(&t);
}

TEST(kernels_of_another_size_are_unsupported)
{
    one_op t;
    rcnn_error err;
    rcnn_backend *backend = open_cpu(1);
    rcnn_kernel *kernel = NULL;
    size_t scratch;
    one_op_begin(&t, RCNN_OP_DECONV, 5);
    one_op_activation(&t, "src", (const int32_t[4]){1, 4, 4, 8}, -1, 1);
    one_op_weights(&t, 8, 8, 4, 4);
    one_op_output(&t, "dst", RCNN_F32, 4, (const int32_t[4]){1, 8, 8, 8});
    one_op_end(&t);
    CHECK(rcnn_backend_cpu.prepare(backend, &t.graph, 0, 1, &kernel, &scratch, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK_MSG(strstr(err.message, "deconv") && strstr(err.message, "[1,4,4,8]"), "%s", err.message);
    rcnn_backend_cpu.close(backend);
    one_op_free(&t);
}

TEST_MAIN
