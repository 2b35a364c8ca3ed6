/* See stages.h. After an op has run, its outputs are compared and then replaced by the reference.
 *
 * Numbers: relative to the largest magnitude of the value; fp32 sums come in another order, in the other precisions inputs
 * and weights of an op, and its result in half precision, are rounded. Decisions (top-k, NMS, thresholds) are made on
 * floats in every precision and must be the same rows in the same order; rows may trade places only where their scores
 * are equal. */
#include "stages.h"

#include "harness.h"
#include "model/convert.h"
#include "ops/half.h"
#include "session/plan.h"

#define TOLERANCE 1e-4  /* of fp32, and of all that follows from floats */
#define TIE       1e-6f /* scores this close have no order: the frameworks' sigmoids differ in the last bits */

/* Of one op, or of the few that run as one kernel. */
static double tolerance_in(rcnn_precision precision)
{
    switch (precision) {
    case RCNN_PRECISION_TF32:
    case RCNN_PRECISION_FP16:
        return 8e-3;
    case RCNN_PRECISION_BF16:
        return 6e-2;
    default:
        return TOLERANCE;
    }
}

typedef struct bench {
    golden_case golden;
    rcnn_precision precision;
    const rcnn_backend_vt *vt;
    rcnn_backend *backend;
    rcnn_plan *plan;
    void *arena, *scratch;
    rcnn_frame frame;
    double stage_error[RCNN_STAGE_COUNT];
} bench;

/* A list of boxes with what goes along, as the ops hand them on. */
typedef struct list_names {
    const char *boxes, *scores, *groups, *counts;
} list_names;

static const list_names LISTS[] = {
    {"rpn_boxes", "rpn_scores", "rpn_groups", "rpn_counts"},
    {"proposals", "proposal_scores", "proposal_groups", "proposal_counts"},
    {"cand_boxes", "cand_scores", "cand_labels", "cand_counts"},
    {"nms_boxes", "nms_scores", "nms_labels", "nms_counts"},
    {"det_boxes", "det_scores", "det_labels", "det_counts"},
};
#define LIST_COUNT ((int32_t)(sizeof LISTS / sizeof LISTS[0]))

/* ------------------------------------------------------------------------------------------------ set-up */

static int bench_open(bench *b, const golden_model *entry, const rcnn_backend_vt *vt, rcnn_precision precision)
{
    rcnn_error err = {0};
    *b = (bench){.precision = precision, .vt = vt};
    if (!golden_open(&b->golden, entry, "reference.safetensors")) {
        CHECK_MSG(0, "%s does not open", entry->name);
        return 0;
    }
    const rcnn_config *config = &b->golden.model->config;
    const rcnn_backend_options device = {.device = 0, .num_threads = 2};
    const int half = precision == RCNN_PRECISION_FP16 || precision == RCNN_PRECISION_BF16;
    const rcnn_build_options options = {.batch = 1,
                                        .width = b->golden.padded_width,
                                        .height = b->golden.padded_height,
                                        .score_threshold = (float)config->score_threshold,
                                        .max_detections = config->max_detections,
                                        .masks = config->has_mask,
                                        .precision = precision,
                                        .image_channels = half ? b->vt->half_image_channels : 0};
    if (b->vt->open(&device, &b->backend, &err) ||
        rcnn_plan_create(b->golden.model, &options, 1, b->vt, b->backend, &b->plan, &err) ||
        b->vt->alloc(b->backend, b->plan->graph.arena_bytes, &b->arena, &err) ||
        b->vt->alloc(b->backend, b->plan->scratch_bytes + 1, &b->scratch, &err)) {
        CHECK_MSG(0, "%s on %s: %s", entry->name, vt->name, err.message);
        return 0;
    }
    rcnn_plan_bind(b->plan, b->arena);
    b->frame.count = 1;
    b->frame.image[0].view = b->golden.image;
    rcnn_preprocess_size(config, config->long_side, config->short_side, &b->frame.image[0]);
    CHECK(b->frame.image[0].net_width == b->golden.net_width);
    CHECK(b->frame.image[0].net_height == b->golden.net_height);
    return 1;
}

static void bench_close(bench *b)
{
    if (b->backend) {
        rcnn_plan_destroy(b->plan, b->vt);
        b->vt->release_memory(b->backend, b->arena);
        b->vt->release_memory(b->backend, b->scratch);
        b->vt->close(b->backend);
    }
    golden_close(&b->golden);
}

static size_t item_bytes(const rcnn_value *value)
{
    return rcnn_dtype_bytes(value->desc.dtype);
}

/* Channels of the value in memory when it is the image with room for a fourth; 0 for all else. */
static size_t image_pitch(const rcnn_value *value)
{
    return strcmp(value->name, "image") == 0 && value->desc.dim[3] > 3 ? (size_t)value->desc.dim[3] : 0;
}

/* Place in memory of element i as the reference counts them. */
static size_t place_of(const rcnn_value *value, size_t i)
{
    const size_t pitch = image_pitch(value);
    return pitch ? i / 3 * pitch + i % 3 : i;
}

static float widened(rcnn_dtype dtype, const uint8_t *item)
{
    uint16_t half;
    memcpy(&half, item, sizeof half);
    return dtype == RCNN_F16 ? rcnn_f16_to_f32(half) : rcnn_bf16_to_f32(half);
}

static uint16_t narrowed(rcnn_dtype dtype, float value)
{
    return dtype == RCNN_F16 ? test_half_bits(value) : test_bfloat16_bits(value);
}

static int is_half(const rcnn_value *value)
{
    return value->desc.dtype == RCNN_F16 || value->desc.dtype == RCNN_BF16;
}

/* Memory of a whole value; free() it. */
static uint8_t *value_download(const bench *b, rcnn_value_id id)
{
    rcnn_error err = {0};
    const size_t bytes = b->plan->graph.values[id].bytes;
    uint8_t *host = malloc(bytes + 1);
    if (host && b->vt->download) {
        CHECK_OK(b->vt->download(b->backend, host, b->plan->value[id], bytes, &err), err);
    } else if (host) {
        memcpy(host, b->plan->value[id], bytes);
    }
    return host;
}

/* The first `count` elements of a value as floats or integers; free() it. */
static void *value_get(const bench *b, rcnn_value_id id, size_t count)
{
    const rcnn_value *value = &b->plan->graph.values[id];
    uint8_t *raw = value_download(b, id);
    float *out = malloc(count * sizeof *out + 1);
    for (size_t i = 0; raw && out && i < count; i++) {
        const uint8_t *item = raw + place_of(value, i) * item_bytes(value);
        if (is_half(value)) {
            out[i] = widened(value->desc.dtype, item);
        } else {
            memcpy(&out[i], item, sizeof *out);
        }
    }
    free(raw);
    return out;
}

static void value_put(const bench *b, rcnn_value_id id, const void *src, size_t count)
{
    rcnn_error err = {0};
    const rcnn_value *value = &b->plan->graph.values[id];
    const size_t room = value->bytes / item_bytes(value);
    CHECK(count == 0 || place_of(value, count - 1) < room);
    uint8_t *raw = count && place_of(value, count - 1) < room ? value_download(b, id) : NULL;
    for (size_t i = 0; raw && i < count; i++) {
        uint8_t *item = raw + place_of(value, i) * item_bytes(value);
        const uint16_t half = is_half(value) ? narrowed(value->desc.dtype, ((const float *)src)[i]) : 0;
        memcpy(item, is_half(value) ? (const void *)&half : (const uint8_t *)src + i * 4, item_bytes(value));
    }
    if (raw && b->vt->upload) {
        CHECK_OK(b->vt->upload(b->backend, b->plan->value[id], raw, value->bytes, &err), err);
    } else if (raw) {
        memcpy(b->plan->value[id], raw, value->bytes);
    }
    free(raw);
}

/* ------------------------------------------------------------------------------------------- comparisons */

static void note_error(bench *b, const rcnn_value *value, rcnn_stage stage, double error, double allowed)
{
    CHECK_MSG(error <= allowed, "%s: %s on %s: relative error %.3g", b->golden.entry->name, value->name, b->vt->name,
              error);
    if (error > b->stage_error[stage] || isnan(error)) {
        b->stage_error[stage] = error;
    }
}

/* Largest difference over the largest magnitude. */
static double relative_error(const float *got, const float *want, size_t count)
{
    double worst = 0;
    double scale = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        worst = difference > worst || isnan(difference) ? difference : worst;
        scale = fmax(scale, fabs((double)want[i]));
    }
    return worst == 0 ? 0 : worst / fmax(scale, 1e-30);
}

static void compare_image(bench *b, rcnn_value_id id)
{
    const rcnn_value *value = &b->plan->graph.values[id];
    const size_t count = (size_t)value->desc.dim[1] * (size_t)value->desc.dim[2] * 3;
    float *want = golden_image(&b->golden);
    float *got = value_get(b, id, count);
    if (want && got) {
        if (b->golden.entry->exact_image && !is_half(value)) {
            CHECK_MSG(memcmp(want, got, count * sizeof *want) == 0, "%s: network input not bit-equal",
                      b->golden.entry->name);
        }
        note_error(b, value, RCNN_STAGE_preprocess, relative_error(got, want, count), tolerance_in(b->precision));
        value_put(b, id, want, count);
    }
    free(got);
    free(want);
}

static void compare_floats(bench *b, rcnn_value_id id, rcnn_stage stage)
{
    int32_t rows;
    size_t elements;
    const rcnn_value *value = &b->plan->graph.values[id];
    const float *want = golden_floats(&b->golden, value->name, &rows, &elements);
    if (!want) {
        return;
    }
    float *got = value_get(b, id, elements);
    if (got) {
        note_error(b, value, stage, relative_error(got, want, elements), tolerance_in(b->precision));
    }
    free(got);
    value_put(b, id, want, elements);
}

typedef struct box_list {
    const float *boxes, *scores;
    const int32_t *groups;
    int32_t count;
} box_list;

static float box_distance(const float *a, const float *b)
{
    float worst = 0;
    for (int32_t k = 0; k < 4; k++) {
        worst = fmaxf(worst, fabsf(a[k] - b[k]));
    }
    return worst;
}

/* Whether row i of `got` is row j of `want`, in numbers and in what it belongs to. */
static int same_row(const box_list *got, int32_t i, const box_list *want, int32_t j, float scale)
{
    return got->groups[i] == want->groups[j] &&
           fabsf(got->scores[i] - want->scores[j]) <= (float)TOLERANCE * fmaxf(1.0f, fabsf(want->scores[j])) &&
           box_distance(got->boxes + 4 * i, want->boxes + 4 * j) <= (float)TOLERANCE * scale;
}

/* Rows of `got` that are not at their place in `want`, nor at that of a row of equal score. */
static int32_t misplaced_rows(const box_list *got, const box_list *want, float scale)
{
    int32_t misplaced = 0;
    for (int32_t i = 0; i < got->count; i++) {
        int found = same_row(got, i, want, i, scale);
        for (int32_t j = 0; j < want->count && !found; j++) {
            found = fabsf(want->scores[i] - want->scores[j]) <= TIE * fmaxf(1.0f, fabsf(want->scores[i])) &&
                    same_row(got, i, want, j, scale);
        }
        misplaced += !found;
    }
    return misplaced;
}

static void compare_list(bench *b, const list_names *names, rcnn_stage stage)
{
    const rcnn_graph *graph = &b->plan->graph;
    int32_t rows = 0;
    size_t elements = 0;
    box_list want = {.boxes = golden_floats(&b->golden, names->boxes, &rows, &elements)};
    want.scores = golden_floats(&b->golden, names->scores, &rows, &elements);
    want.groups = golden_ints(&b->golden, names->groups, &want.count);
    rcnn_value_id boxes = rcnn_graph_find(graph, names->boxes);
    rcnn_value_id scores = rcnn_graph_find(graph, names->scores);
    rcnn_value_id groups = rcnn_graph_find(graph, names->groups);
    rcnn_value_id counts = rcnn_graph_find(graph, names->counts);
    size_t n = (size_t)want.count;
    float *got_boxes = value_get(b, boxes, n * 4);
    float *got_scores = value_get(b, scores, n);
    int32_t *got_groups = value_get(b, groups, n);
    int32_t *got_count = value_get(b, counts, 1);
    const box_list got = {.boxes = got_boxes, .scores = got_scores, .groups = got_groups, .count = *got_count};
    CHECK_MSG(got.count == want.count, "%s: %s on %s: %d rows, want %d", b->golden.entry->name, names->boxes,
              b->vt->name, got.count, want.count);
    if (got.count == want.count) {
        float scale = (float)(b->golden.padded_width + b->golden.padded_height);
        int32_t misplaced = misplaced_rows(&got, &want, scale);
        CHECK_MSG(misplaced == 0, "%s: %s on %s: %d of %d rows differ", b->golden.entry->name, names->boxes,
                  b->vt->name, misplaced, want.count);
        if (misplaced == 0) {
            note_error(b, &graph->values[scores], stage, relative_error(got.scores, want.scores, n), TOLERANCE);
        }
    }
    value_put(b, boxes, want.boxes, n * 4);
    value_put(b, scores, want.scores, n);
    value_put(b, groups, want.groups, n);
    value_put(b, counts, &want.count, 1);
    free(got_boxes);
    free(got_scores);
    free(got_groups);
    free(got_count);
}

static void compare_outputs(bench *b, const rcnn_op *op)
{
    const rcnn_graph *graph = &b->plan->graph;
    for (int32_t i = 0; i < op->output_count; i++) {
        const char *name = graph->values[op->output[i]].name;
        int in_list = 0;
        for (int32_t l = 0; l < LIST_COUNT; l++) {
            const list_names *list = &LISTS[l];
            if (strcmp(name, list->boxes) == 0) {
                compare_list(b, list, op->stage);
            }
            in_list |= !strcmp(name, list->boxes) || !strcmp(name, list->scores) || !strcmp(name, list->groups) ||
                       !strcmp(name, list->counts);
        }
        if (strcmp(name, "image") == 0) {
            compare_image(b, op->output[i]);
        } else if (!in_list) {
            compare_floats(b, op->output[i], op->stage);
        }
    }
}

/* -------------------------------------------------------------------------------------------------- runs */

/* Of a run of ops that the backend fuses, only the last one's outputs are sure to be written. */
static void run_steps(bench *b)
{
    rcnn_error err = {0};
    const rcnn_args args = {.value = b->plan->value, .scratch = b->scratch, .frame = &b->frame};
    if (b->vt->begin_run) {
        b->vt->begin_run(b->backend);
    }
    if (b->vt->stage) {
        CHECK_OK(b->vt->stage(b->backend, 0, &b->frame, &err), err);
    }
    for (int32_t i = 0; i < b->plan->step_count; i++) {
        const rcnn_plan_step *step = &b->plan->steps[i];
        const rcnn_op *op = &b->plan->graph.ops[step->first + step->count - 1];
        rcnn_status status = b->vt->enqueue(step->kernel, &args, &err);
        if (status == RCNN_OK) {
            status = b->vt->sync(b->backend, &err);
        }
        CHECK_MSG(status == RCNN_OK, "%s: op %s: %s", b->golden.entry->name, op->name, err.message);
        if (status != RCNN_OK) {
            break;
        }
        compare_outputs(b, op);
    }
    if (b->vt->end_run) {
        b->vt->end_run(b->backend);
    }
}

static void print_errors(const bench *b)
{
    static const char *const NAMES[] = {"", "fp32", "tf32", "fp16", "bf16"};
    printf("%-24s %-4s %s", b->golden.entry->name, b->vt->name, NAMES[b->precision]);
    for (int32_t s = 0; s < RCNN_STAGE_COUNT; s++) {
        printf(" %s %.1e", rcnn_stage_name(s), b->stage_error[s]);
    }
    printf("\n");
}

void stages_check(const golden_model *entry, const rcnn_backend_vt *vt, rcnn_precision precision)
{
    bench b;
    if (bench_open(&b, entry, vt, precision)) {
        run_steps(&b);
        print_errors(&b);
    }
    bench_close(&b);
}
