/* What the op list does not ask of the cpu backend's own ops: the same bytes whatever the number of threads, NMS where
 * the shift does not keep groups apart, NaN through max pooling, and the sorting they stand on. */
#include "harness.h"

#include "backend/cpu/order.h"
#include "base/memory.h"
#include "ops/op_cases.h"

static bool run(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, one_op_run *out)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_open(t, vt, threads, false, out, &err);
    status = status == RCNN_OK ? one_op_load(out, &err) : status;
    status = status == RCNN_OK ? one_op_enqueue(out, &err) : status;
    status = status == RCNN_OK ? one_op_fetch(out, &err) : status;
    CHECK_MSG(status == RCNN_OK, "op '%s', %d threads: %s", t->op.name, threads, err.message);
    return status == RCNN_OK;
}

/* Live elements are equal, byte for byte. */
static void check_same(const one_op *t, void *const *want, void *const *got, const char *what)
{
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const rcnn_value *value = &t->graph.values[t->op.output[i]];
        const size_t item = rcnn_dtype_bytes(value->desc.dtype);
        size_t different = 0;
        for (size_t e = 0; e < one_op_elements(t, t->op.output[i]); e++) {
            const char *a = (const char *)want[i] + e * item, *b = (const char *)got[i] + e * item;
            different += one_op_is_live(t, want, i, e) && memcmp(a, b, item) != 0;
        }
        CHECK_MSG(different == 0, "%s: %zu elements of '%s' differ", what, different, value->name);
    }
}

/* --------------------------------------------------------------- threads */

static void check_thread_counts(const op_case_list *list)
{
    static const int32_t threads[] = {2, 3, 5};
    for (int32_t c = 0; c < list->count; c++) {
        if (list->cases[c].size != OP_SMALL || list->cases[c].want != RCNN_OK) {
            continue;
        }
        one_op t;
        list->cases[c].build(&t, list->cases[c].params);
        one_op_run one = {0}, many = {0};
        run(&t, &rcnn_backend_cpu, 1, &one);
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            if (run(&t, &rcnn_backend_cpu, threads[i], &many)) {
                check_same(&t, one.result, many.result, list->cases[c].name);
            }
            one_op_close(&many);
        }
        one_op_close(&one);
        one_op_free(&t);
    }
}

TEST(same_bytes_with_any_number_of_threads)
{
    check_thread_counts(&op_cases_preprocess);
    check_thread_counts(&op_cases_maxpool);
    check_thread_counts(&op_cases_upsample_add);
    check_thread_counts(&op_cases_rpn_select);
    check_thread_counts(&op_cases_nms);
    check_thread_counts(&op_cases_roi_align);
    check_thread_counts(&op_cases_box_select);
    check_thread_counts(&op_cases_detect);
    check_thread_counts(&op_cases_mask_logit);
}

/* ------------------------------------------------------------------- nms */

/* `count` boxes in a square that starts at `low`, in groups 0, group_step, 2 * group_step. */
static void check_nms_like_ref(int32_t count, float low, float side, int32_t group_step, rcnn_nms_rule rule)
{
    const int32_t in[3] = {1, count, 4}, out[3] = {1, count, 4};
    uint64_t seed = 91;
    one_op t;
    one_op_begin(&t, RCNN_OP_NMS, 5);
    t.op.u.nms.rule = rule;
    t.op.u.nms.iou = 0.5f;
    float *boxes = t.data[one_op_input(&t, "boxes", RCNN_F32, 3, in)];
    float *scores = t.data[one_op_input(&t, "scores", RCNN_F32, 2, in)];
    int32_t *groups = t.data[one_op_input(&t, "groups", RCNN_I32, 2, in)];
    one_op_counts(&t, 1, &count, false);
    for (int32_t i = 0; i < count; i++) {
        for (int k = 0; k < 2; k++) {
            boxes[4 * i + k] = low + test_uniform(&seed, 0, 0.7f) * side;
            boxes[4 * i + k + 2] = boxes[4 * i + k] + test_uniform(&seed, 0.05f, 0.3f) * side;
        }
        scores[i] = (float)(test_random(&seed) % 50) / 50.0f;
        groups[i] = group_step * (int32_t)(test_random(&seed) % 3);
    }
    one_op_output(&t, "kept_boxes", RCNN_F32, 3, out);
    one_op_output(&t, "kept_scores", RCNN_F32, 2, out);
    one_op_output(&t, "kept_groups", RCNN_I32, 2, out);
    one_op_output(&t, "kept_counts", RCNN_I32, 1, out);
    one_op_end(&t);
    one_op_run ref = {0}, cpu = {0};
    if (run(&t, &rcnn_backend_ref, 1, &ref) && run(&t, &rcnn_backend_cpu, 2, &cpu)) {
        check_same(&t, ref.result, cpu.result, "nms");
    }
    one_op_close(&ref);
    one_op_close(&cpu);
    one_op_free(&t);
}

/* Negative coordinates reach into the group before; far groups lose so many bits that neighbours coincide. */
TEST(nms_where_groups_are_not_apart)
{
    for (int rule = 0; rule < 2; rule++) {
        check_nms_like_ref(700, -50, 100, 1, (rcnn_nms_rule)rule);
        check_nms_like_ref(700, -1000, 400, 1, (rcnn_nms_rule)rule);
        check_nms_like_ref(700, 0, 100, 400000, (rcnn_nms_rule)rule);
        check_nms_like_ref(700, 0, 60000, 35, (rcnn_nms_rule)rule);
        check_nms_like_ref(1500, -50, 100, 1, (rcnn_nms_rule)rule);
    }
}

/* --------------------------------------------------------------- maxpool */

TEST(max_pooling_keeps_nan)
{
    static const char *const levels[] = {"c", "avx2", "avx512"};
    const int32_t in[4] = {1, 6, 6, 83}, out[4] = {1, 3, 3, 83};
    for (size_t level = 0; level < 3; level++) {
        one_op t;
        one_op_begin(&t, RCNN_OP_MAXPOOL, 9);
        t.op.u.maxpool.kernel = 3;
        t.op.u.maxpool.stride = 2;
        t.op.u.maxpool.pad = 1;
        float *src = t.data[one_op_activation(&t, "src", in, -1, 1)];
        for (int32_t c = 0; c < 83; c += 3) {
            src[(c * 7 % 36) * 83 + c] = NAN;
        }
        one_op_output(&t, "dst", RCNN_F32, 4, out);
        one_op_end(&t);
        setenv("RCNN_CPU_MASK", levels[level], 1);
        one_op_run ref = {0}, cpu = {0};
        if (run(&t, &rcnn_backend_ref, 1, &ref) && run(&t, &rcnn_backend_cpu, 2, &cpu)) {
            check_same(&t, ref.result, cpu.result, levels[level]);
        }
        one_op_close(&ref);
        one_op_close(&cpu);
        one_op_free(&t);
    }
    unsetenv("RCNN_CPU_MASK");
}

/* ----------------------------------------------------------------- order */

TEST(keys_follow_values)
{
    const float values[] = {INFINITY, 3e38f, 1.5f, 1.0f, 1e-40f, 0.0f, -1e-40f, -1.0f, -3e38f, -INFINITY};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        uint32_t key = rcnn_cpu_descending_key(values[i]);
        CHECK(rcnn_cpu_value_of_key(key) == values[i]);
        CHECK(i == 0 || key > rcnn_cpu_descending_key(values[i - 1]));
    }
    CHECK(rcnn_cpu_descending_key(-0.0f) == rcnn_cpu_descending_key(0.0f));
}

TEST(sorting_is_stable_and_agrees_with_selection)
{
    enum { COUNT = 3000 };
    static uint32_t keys[COUNT], original[COUNT], spare_keys[COUNT];
    static int32_t indices[COUNT], spare_indices[COUNT];
    uint64_t seed = 17;
    for (int round = 0; round < 24; round++) {
        const int32_t count = round < 4 ? round : COUNT - round;
        const uint64_t range = round % 3 == 0 ? 5 : round % 3 == 1 ? 70000 : (uint64_t)1 << 32;
        for (int32_t i = 0; i < count; i++) {
            original[i] = keys[i] = (uint32_t)((test_random(&seed) >> 16) % range);
            indices[i] = i;
        }
        rcnn_cpu_sort_pairs(keys, indices, spare_keys, spare_indices, count);
        for (int32_t i = 0; i < count; i++) {
            CHECK(keys[i] == original[indices[i]]);
            CHECK(i == 0 || keys[i] > keys[i - 1] || (keys[i] == keys[i - 1] && indices[i] > indices[i - 1]));
            if (i % 97 == 0 || i + 1 == count) {
                CHECK(rcnn_cpu_kth_key(original, count, i + 1) == keys[i]);
            }
        }
    }
}

TEST_MAIN
