/* What the op list does not ask of the cpu backend's own ops: the same bytes whatever the number of threads, NMS where
 * the shift does not keep groups apart, the ends of the element types at every instruction set, masks made chunk by chunk,
 * images of 4 channels, types that do not fit together, and the sorting they stand on. */
#include "harness.h"

#include "backend/cpu/body.h"
#include "backend/cpu/elements.h"
#include "backend/cpu/order.h"
#include "base/memory.h"
#include "ops/half.h"
#include "ops/op_cases.h"

static bool run_as(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, one_op_type type, one_op_run *out)
{
    const one_op_how how = {.threads = threads, .type = type};
    rcnn_error err = {0};
    rcnn_status status = one_op_open_as(t, vt, &how, out, &err);
    status = status == RCNN_OK ? one_op_load(out, &err) : status;
    status = status == RCNN_OK ? one_op_enqueue(out, &err) : status;
    status = status == RCNN_OK ? one_op_fetch(out, &err) : status;
    CHECK_MSG(status == RCNN_OK, "op '%s', %d threads: %s", t->op.name, threads, err.message);
    return status == RCNN_OK;
}

static bool run(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, one_op_run *out)
{
    return run_as(t, vt, threads, ONE_OP_F32, out);
}

/* Live elements are equal, byte for byte. */
static void check_same(const one_op *t, void *const *want, void *const *got, const char *what)
{
    for (int32_t i = 0; i < t->op.output_count; i++) {
        const size_t e = one_op_first_difference(t, want, i, want[i], got[i]);
        CHECK_MSG(e == SIZE_MAX, "%s: '%s' differs at %zu", what, t->graph.values[t->op.output[i]].name, e);
    }
}

/* --------------------------------------------------------------- threads */

static void check_case(const op_case *c, one_op_type type, int32_t mix)
{
    static const int32_t threads[] = {2, 3, 5};
    one_op t;
    c->build(&t, c->params);
    one_op_run one = {0}, many = {0};
    if (one_op_round(&t, type, mix) && run_as(&t, &rcnn_backend_cpu, 1, type, &one)) {
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            if (run_as(&t, &rcnn_backend_cpu, threads[i], type, &many)) {
                check_same(&t, one.result, many.result, c->name);
            }
            one_op_close(&many);
        }
    }
    one_op_close(&one);
    one_op_free(&t);
}

static void check_thread_counts(const op_case_list *list)
{
    for (int32_t c = 0; c < list->count; c++) {
        if (list->cases[c].size == OP_SMALL && list->cases[c].want == RCNN_OK) {
            check_case(&list->cases[c], ONE_OP_F32, 0);
            check_case(&list->cases[c], ONE_OP_BF16, 1);
            check_case(&list->cases[c], ONE_OP_BF16, 0);
            check_case(&list->cases[c], ONE_OP_INT8, 0);
        }
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

/* -------------------------------------------------------------- elements */

/* The body tables this machine can run, by level. */
static const rcnn_cpu_body *body_at(int32_t level)
{
    static const char *const levels[] = {"c", "avx2", "avx512"};
    const rcnn_backend_options options = {.num_threads = 1};
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    setenv("RCNN_CPU_MASK", levels[level], 1);
    CHECK_OK(rcnn_backend_cpu.open(&options, &backend, &err), err);
    const rcnn_cpu_body *body = backend ? rcnn_cpu_body_of(rcnn_cpu_isa_of(backend)) : &rcnn_cpu_body_c;
    rcnn_backend_cpu.close(backend);
    unsetenv("RCNN_CPU_MASK");
    return body;
}

enum { LEVELS = 3, MANY = 203 };

/* Values about the ends of every type, halfway between steps, and not numbers. */
static void fill_edges(float *values)
{
    static const float edges[] = {
        0.0f,   -0.0f,    0.5f,      -0.5f,     1.5f,   2.5f,   -2.5f,     126.5f,    127.0f,     127.4f,
        127.6f, -126.5f,  -127.5f,   -128.5f,   254.5f, 255.5f, 256.0f,    1e9f,      -1e9f,      3e38f,
        -3e38f, INFINITY, -INFINITY, 0x1.01p0f, 1e-39f, 1e-44f, 0x1.fep0f, 0x1.ffp0f, -0x1.03p5f, 0x1.fffffep127f};
    uint64_t seed = 3;
    for (int32_t i = 0; i < MANY; i++) {
        values[i] = test_uniform(&seed, -300, 300);
    }
    memcpy(values, edges, sizeof edges);
}

static void check_conversion(const rcnn_cpu_body *body, rcnn_dtype type, const float *values)
{
    const float zeros[MANY] = {0};
    float stored[MANY];
    const rcnn_cpu_addends how = {
        .a_type = RCNN_F32, .b_type = RCNN_F32, .dst_type = type, .a_factor = 1, .b_factor = 1};
    body->add(&how, values, zeros, MANY, stored);
    for (size_t i = 0; i < MANY; i++) {
        const float got = rcnn_cpu_element(type, stored, i), want = one_op_stored(type, 1, values[i]);
        CHECK_MSG(got == want, "%g as %s: %g, want %g", (double)values[i], rcnn_dtype_name(type), (double)got,
                  (double)want);
    }
}

TEST(floats_become_elements_at_every_level)
{
    float values[MANY];
    fill_edges(values);
    for (int32_t level = 0; level < LEVELS; level++) {
        check_conversion(body_at(level), RCNN_F32, values);
        check_conversion(body_at(level), RCNN_BF16, values);
        check_conversion(body_at(level), RCNN_I8, values);
        check_conversion(body_at(level), RCNN_U8, values);
    }
}

TEST(nan_stays_nan_in_bf16)
{
    float values[MANY], zeros[MANY] = {0};
    uint16_t stored[MANY];
    const rcnn_cpu_addends how = {
        .a_type = RCNN_F32, .b_type = RCNN_F32, .dst_type = RCNN_BF16, .a_factor = 1, .b_factor = 1};
    for (int32_t i = 0; i < MANY; i++) {
        values[i] = test_float_of_bits(i % 2 ? 0x7fffffffu - (uint32_t)i : 0xffffffffu - (uint32_t)i);
    }
    for (int32_t level = 0; level < LEVELS; level++) {
        body_at(level)->add(&how, values, zeros, MANY, stored);
        for (int32_t i = 0; i < MANY; i++) {
            CHECK(isnan(rcnn_cpu_of_bf16(stored[i])));
        }
    }
}

/* All combinations of types give the same bytes at every level. */
TEST(sums_are_the_same_at_every_level)
{
    static const rcnn_dtype types[] = {RCNN_F32, RCNN_BF16, RCNN_I8, RCNN_U8};
    float a[MANY], b[MANY], want[MANY], got[MANY];
    uint64_t seed = 8;
    for (int32_t i = 0; i < MANY; i++) { /* as F32, BF16 and bytes these are numbers */
        a[i] = test_float_of_bits((uint32_t)(test_random(&seed) >> 32) & 0xbfbfbfbfu);
        b[i] = test_float_of_bits((uint32_t)(test_random(&seed) >> 32) & 0xbfbfbfbfu);
    }
    for (int32_t combination = 0; combination < 256; combination++) { /* types; with and without ReLU and b */
        const rcnn_cpu_addends how = {.a_type = types[combination % 4],
                                      .b_type = types[combination / 4 % 4],
                                      .dst_type = types[combination / 16 % 4],
                                      .a_factor = 0.37f,
                                      .b_factor = 1.21f,
                                      .relu = combination >= 64 && combination < 192};
        const void *second = combination < 128 ? b : NULL;
        const size_t bytes = MANY * rcnn_cpu_element_bytes(how.dst_type);
        rcnn_cpu_body_c.add(&how, a, second, MANY, want);
        for (size_t i = 0; i < MANY; i++) {
            const float x = rcnn_cpu_element(how.a_type, a, i) * 0.37f;
            const float sum = second ? x + rcnn_cpu_element(how.b_type, b, i) * 1.21f : x;
            CHECK(rcnn_cpu_element(how.dst_type, want, i) ==
                  one_op_stored(how.dst_type, 1, how.relu && sum < 0 ? 0 : sum));
        }
        for (int32_t level = 1; level < LEVELS; level++) {
            body_at(level)->add(&how, a, second, MANY, got);
            CHECK_MSG(memcmp(want, got, bytes) == 0, "combination %d at level %d", combination, level);
        }
    }
}

/* --------------------------------------------------------------- maxpool */

static float larger_of(float a, float b)
{
    return isnan(a) || a > b ? a : b;
}

/* Random bits, so all kinds of numbers, NaNs of both signs among them. */
static void check_largest(const rcnn_cpu_body *body, rcnn_dtype type, int32_t count)
{
    static uint32_t memory[9][MANY];
    const void *taps[9];
    float largest[MANY];
    uint64_t seed = 12;
    for (int32_t t = 0; t < 9; t++) {
        for (int32_t i = 0; i < MANY; i++) {
            memory[t][i] = (uint32_t)(test_random(&seed) >> 31);
        }
        taps[t] = memory[t];
    }
    memory[count - 1][5] = 0xffc1ffc1; /* NaNs with a sign */
    memory[0][7] = 0x7fc17fc1;
    body->max_of(type, taps, count, MANY, largest);
    for (size_t i = 0; i < MANY; i++) {
        float want = rcnn_cpu_element(type, taps[0], i);
        for (int32_t t = 1; t < count; t++) {
            const float value = rcnn_cpu_element(type, taps[t], i);
            want = isnan(want) ? want : larger_of(value, want);
        }
        const float got = rcnn_cpu_element(type, largest, i);
        CHECK_MSG(got == want || (isnan(got) && isnan(want)), "%s[%zu] of %d: %g, want %g", rcnn_dtype_name(type), i,
                  count, (double)got, (double)want);
    }
}

TEST(largest_of_any_type_and_nan_wins)
{
    for (int32_t level = 0; level < LEVELS; level++) {
        for (int32_t count = 1; count <= 9; count += 4) {
            check_largest(body_at(level), RCNN_F32, count);
            check_largest(body_at(level), RCNN_BF16, count);
            check_largest(body_at(level), RCNN_I8, count);
            check_largest(body_at(level), RCNN_U8, count);
        }
    }
}

/* ------------------------------------------------------------ mask_logit */

/* Maps [count][H][W][..] in the order that DECONV makes them, [count][H/2][W/2][2][2][..]. */
static void put_taps(const rcnn_tensor_desc *map, const char *src, int32_t count, char *taps)
{
    const size_t height = (size_t)map->dim[1], width = (size_t)map->dim[2];
    const size_t pixel = (size_t)map->dim[3] * rcnn_cpu_element_bytes(map->dtype);
    for (size_t line = 0; line < (size_t)count * height; line++) {
        for (size_t x = 0; x < width; x++) {
            const size_t block = line / 2 * (width / 2) + x / 2;
            memcpy(taps + (4 * block + 2 * (line % 2) + x % 2) * pixel, src + (line * width + x) * pixel, pixel);
        }
    }
}

/* Rows in chunks of a size, from the taps of those rows alone, are the masks of the whole. */
static void check_chunks(const one_op *t, one_op_run *whole, int32_t live, int32_t chunk)
{
    const rcnn_value *src = &whole->values[t->op.input[0]], *dst = &whole->values[t->op.output[0]];
    const size_t src_row = src->bytes / (size_t)src->desc.dim[0], dst_row = dst->bytes / (size_t)dst->desc.dim[0];
    const rcnn_args args = {.value = whole->value, .scratch = whole->scratch, .frame = &t->frame};
    rcnn_error err = {0};
    char *want = malloc(dst->bytes), *rows = malloc(src_row * (size_t)chunk);
    memcpy(want, whole->value[t->op.output[0]], dst->bytes);
    memset(whole->value[t->op.output[0]], 0xff, (size_t)live * dst_row);
    for (int32_t first = 0; first < live; first += chunk) {
        const int32_t count = live - first < chunk ? live - first : chunk;
        put_taps(&src->desc, (char *)whole->value[t->op.input[0]] + (size_t)first * src_row, count, rows);
        CHECK_OK(rcnn_cpu_mask_logit_taps(whole->kernel, &args, rows, first, count, &err), err);
    }
    CHECK(memcmp(want, whole->value[t->op.output[0]], (size_t)live * dst_row) == 0);
    free(want);
    free(rows);
}

TEST(masks_chunk_by_chunk)
{
    static const one_op_type types[] = {ONE_OP_F32, ONE_OP_BF16, ONE_OP_INT8};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (int32_t chunk = 1; chunk <= 4; chunk++) {
            const op_case *c = &op_cases_mask_logit.cases[4]; /* 3 images, one empty: 5 rows */
            one_op t;
            one_op_run whole = {0};
            c->build(&t, c->params);
            if (one_op_round(&t, types[i], 0) && run_as(&t, &rcnn_backend_cpu, 3, types[i], &whole)) {
                check_chunks(&t, &whole, 5, chunk);
            }
            one_op_close(&whole);
            one_op_free(&t);
        }
    }
}

TEST(mask_labels_without_a_channel)
{
    const op_case *c = &op_cases_mask_logit.cases[0];
    one_op t;
    one_op_run run_of = {0};
    rcnn_error err = {0};
    c->build(&t, c->params);
    ((int32_t *)t.data[t.op.input[1]])[2] = 80;
    CHECK_OK(one_op_open(&t, &rcnn_backend_cpu, 1, false, &run_of, &err), err);
    CHECK_OK(one_op_load(&run_of, &err), err);
    CHECK(one_op_enqueue(&run_of, &err) == RCNN_ERR_INTERNAL && strstr(err.message, "row 2"));
    one_op_close(&run_of);
    one_op_free(&t);
}

/* ------------------------------------------------------------ preprocess */

/* The same pixels, and a fourth channel of zeros. */
static void check_wide_image(const op_case *c, one_op_type type)
{
    one_op narrow, wide;
    one_op_run narrow_run = {0}, wide_run = {0};
    c->build(&narrow, c->params);
    c->build(&wide, c->params);
    rcnn_value *image = &wide.graph.values[wide.op.output[0]];
    image->desc.dim[3] = 4;
    image->bytes = image->bytes / 3 * 4;
    narrow.stored[narrow.op.output[0]] = wide.stored[wide.op.output[0]] = type == ONE_OP_BF16 ? RCNN_BF16 : RCNN_F32;
    if (run_as(&narrow, &rcnn_backend_cpu, 2, type, &narrow_run) &&
        run_as(&wide, &rcnn_backend_cpu, 2, type, &wide_run)) {
        const float *three = narrow_run.result[0], *four = wide_run.result[0];
        size_t different = 0;
        for (size_t i = 0; i < one_op_elements(&wide, wide.op.output[0]); i++) {
            different += four[i] != (i % 4 < 3 ? three[i / 4 * 3 + i % 4] : 0);
        }
        CHECK_MSG(different == 0, "%s: %zu elements differ", c->name, different);
    }
    one_op_close(&narrow_run);
    one_op_close(&wide_run);
    one_op_free(&narrow);
    one_op_free(&wide);
}

TEST(images_of_four_channels)
{
    for (int32_t i = 0; i < op_cases_preprocess.count; i++) {
        if (op_cases_preprocess.cases[i].size == OP_SMALL) {
            check_wide_image(&op_cases_preprocess.cases[i], ONE_OP_F32);
            check_wide_image(&op_cases_preprocess.cases[i], ONE_OP_BF16);
        }
    }
}

/* ----------------------------------------------------------------- types */

static void check_refused(const op_case *c, one_op_type type, rcnn_dtype input, rcnn_dtype output, float scale)
{
    const one_op_how how = {.threads = 1, .type = type};
    one_op t;
    one_op_run refused;
    rcnn_error err = {0};
    c->build(&t, c->params);
    if (t.op.input_count > 0) {
        t.stored[t.op.input[0]] = input;
        t.scale[t.op.input[0]] = scale;
    }
    t.stored[t.op.output[0]] = output;
    t.scale[t.op.output[0]] = scale;
    rcnn_status status = one_op_open_as(&t, &rcnn_backend_cpu, &how, &refused, &err);
    CHECK_MSG(status == RCNN_ERR_UNSUPPORTED && strstr(err.message, t.op.name), "%s: %d '%s'", c->name, (int)status,
              err.message);
    one_op_close(&refused);
    one_op_free(&t);
}

TEST(types_that_do_not_fit_are_refused)
{
    check_refused(&op_cases_preprocess.cases[0], ONE_OP_INT8, RCNN_F32, RCNN_U8, 0.1f);
    check_refused(&op_cases_preprocess.cases[0], ONE_OP_F16, RCNN_F32, RCNN_F16, 0);
    check_refused(&op_cases_maxpool.cases[0], ONE_OP_INT8, RCNN_I8, RCNN_U8, 0.1f);
    check_refused(&op_cases_upsample_add.cases[0], ONE_OP_INT8, RCNN_I8, RCNN_I8, 0); /* no scale */
    check_refused(&op_cases_upsample_add.cases[0], ONE_OP_F16, RCNN_F16, RCNN_F16, 0);
    check_refused(&op_cases_roi_align.cases[0], ONE_OP_BF16, RCNN_BF16, RCNN_BF16, 0); /* other levels stay F32 */
    check_refused(&op_cases_mask_logit.cases[0], ONE_OP_BF16, RCNN_BF16, RCNN_BF16, 0);
    check_refused(&op_cases_detect.cases[0], ONE_OP_BF16, RCNN_BF16, RCNN_F32, 0);
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
