/* `rcnn info`: what a model file is, and what running it costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "log.h"
#include "model_args.h"
#include "out_json.h"
#include "plan.h"
#include "session_args.h"

#define DEFAULT_WIDTH  1333
#define DEFAULT_HEIGHT 800
#define MIB            (1024.0 * 1024.0)

typedef struct subject {
    const options *opts;
    rcnn_error err;
    char path[MODEL_PATH_BYTES];
    rcnn_weights *weights;
    rcnn_model *model;
    session_set sessions;
    char *plan_json; /* of the session at the size asked for */
} subject;

/* Names come from files: control characters must not reach the terminal. */
static void print_name(const char *text)
{
    for (; text && *text; text++) {
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
    }
}

/* ----------------------------------------------------------------- the file */

static void print_globals(const rcnn_weights *weights)
{
    int32_t count = rcnn_weights_global_count(weights);
    printf("globals (%d), none executed:\n", (int)count);
    for (int32_t i = 0; i < count; i++) {
        const char *name = NULL;
        int32_t known = 0;
        if (rcnn_weights_global_get(weights, i, &name, &known) == RCNN_OK) {
            printf("  %-8s ", known ? "known" : "inert");
            print_name(name);
            putchar('\n');
        }
    }
}

static void print_tensors(const rcnn_weights *weights)
{
    static const char *const TYPES[] = {"f32", "f16", "bf16", "f64", "i8", "u8", "i16", "i32", "i64", "bool"};
    int32_t count = rcnn_weights_count(weights);
    printf("tensors (%d):\n", (int)count);
    for (int32_t i = 0; i < count; i++) {
        rcnn_tensor_info tensor;
        if (rcnn_weights_get(weights, i, &tensor) != RCNN_OK) {
            continue;
        }
        printf("  %-5s", (size_t)tensor.dtype < sizeof TYPES / sizeof TYPES[0] ? TYPES[tensor.dtype] : "?");
        print_name(tensor.name);
        fputs(" [", stdout);
        for (int32_t k = 0; k < tensor.rank; k++) {
            printf("%s%lld", k ? "," : "", (long long)tensor.shape[k]);
        }
        puts("]");
    }
}

/* ---------------------------------------------------------------- the model */

static void print_config(const rcnn_model *model)
{
    puts("config:");
    for (int32_t i = 0; i < rcnn_model_config_count(); i++) {
        const char *key, *value, *source;
        if (rcnn_model_config_get(model, i, &key, &value, &source) == RCNN_OK) {
            printf("  %-18s %-28s %s\n", key, value, source);
        }
    }
}

/* What a calibrated model computes on bytes, and what not. */
static void print_calibration(const rcnn_model *model)
{
    const int32_t count = rcnn_model_activation_count(model);
    rcnn_activation_info info;
    int32_t bytes = 0;
    for (int32_t i = 0; i < count; i++) {
        bytes += rcnn_model_activation_get(model, i, &info) == RCNN_OK && info.scale > 0;
    }
    if (count == 0) {
        return;
    }
    printf("calibration: %d images, %d activations int8, %d in floating point\n",
           (int)rcnn_model_calibration_images(model), (int)bytes, (int)(count - bytes));
    for (int32_t i = 0; i < count; i++) {
        if (rcnn_model_activation_get(model, i, &info) == RCNN_OK && !(info.scale > 0)) {
            printf("  %-18s sensitivity %.4f\n", info.name, (double)info.sensitivity);
        }
    }
}

/* The same as JSON: how each is stored, and the record of the calibration. */
static void print_calibration_json(const rcnn_model *model)
{
    const char *record = rcnn_model_calibration_json(model);
    rcnn_activation_info info;
    fputs(",\n\"activations\":[", stdout);
    for (int32_t i = 0; rcnn_model_activation_get(model, i, &info) == RCNN_OK; i++) {
        printf("%s{\"name\":\"%s\",\"type\":\"%s\",\"scale\":%.9g,\"method\":\"%s\",\"sensitivity\":%.9g}",
               i ? "," : "", info.name,
               !(info.scale > 0) ? "float"
               : info.is_signed  ? "i8"
                                 : "u8",
               (double)info.scale, info.method, (double)info.sensitivity);
    }
    printf("],\n\"calibration\":%s", record ? record : "null");
}

static void print_classes(const rcnn_model *model)
{
    int32_t count = rcnn_model_class_count(model);
    printf("classes (%d):", (int)count);
    for (int32_t label = 0; label < count; label++) {
        printf(label ? ", %d " : " %d ", (int)rcnn_model_category_id(model, label));
        print_name(rcnn_model_class_name(model, label));
    }
    putchar('\n');
}

static void print_cost(const plan_summary *plan)
{
    double total = 0;
    printf("cost, network input %lldx%lld:\n", (long long)plan->width, (long long)plan->height);
    for (size_t i = 0; i < plan->stage_count; i++) {
        total += 1e-9 * (double)plan->stages[i].macs;
        printf("  %-18s %9.3f GMAC\n", plan->stages[i].name, 1e-9 * (double)plan->stages[i].macs);
    }
    printf("  %-18s %9.3f GMAC (heads at full capacity)\n", "all", total);
}

static void print_memory(const plan_summary *plan, bool listed)
{
    int64_t sum = 0;
    for (size_t i = 0; i < plan->value_count; i++) {
        sum += plan->values[i].bytes;
    }
    printf("plan: %lld operations as %lld kernels, precision %s\n", (long long)plan->op_count,
           (long long)plan->kernel_count, plan->precision);
    printf("memory: %.1f MiB for %zu values (%.1f MiB without sharing), %.1f MiB scratch\n",
           (double)plan->arena_bytes / MIB, plan->value_count, (double)sum / MIB, (double)plan->scratch_bytes / MIB);
    if (!listed) {
        return;
    }
    printf("  %-32s %5s %12s %12s  %s\n", "value", "type", "bytes", "offset", "ops first..last");
    for (size_t i = 0; i < plan->value_count; i++) {
        const plan_value *v = &plan->values[i];
        printf("  %-32s %5s %12lld %12lld  %lld..%lld\n", v->name, v->dtype, (long long)v->bytes, (long long)v->offset,
               (long long)v->first_op, (long long)v->last_op);
    }
}

/* What the backend holds on a device so far: weights and room for images and results. */
static void print_device(const rcnn_session *session)
{
    rcnn_session_counters counters;
    rcnn_session_get_counters(session, &counters);
    if (counters.device_bytes > 0) {
        printf("device: %.1f MiB held before the first run\n", (double)counters.device_bytes / MIB);
    }
}

/* -------------------------------------------------------------------- order */

/* A session to plan with. The plan is of interest without a fast backend too, so auto falls back to ref here. */
static bool open_session(subject *s)
{
    const option_value *device = &s->opts->value[OPT_DEVICE];
    const bool automatic = !device->set || strcmp(device->text, "auto") == 0;
    rcnn_session_options wanted;
    rcnn_session_options_init(&wanted);
    if (session_set_open(&s->sessions, s->opts, s->model, &wanted, &s->err)) {
        if (s->sessions.count > 1) {
            tool_fail(&s->err, "--device: want one GPU here, got '%.80s'", device->text);
            s->err.status = RCNN_ERR_ARGUMENT;
        }
        return s->sessions.count == 1;
    }
    if (!automatic || s->err.status != RCNN_ERR_DEVICE) {
        return false;
    }
    session_set_close(&s->sessions);
    wanted.backend = "ref";
    s->sessions.count = rcnn_session_create(s->model, &wanted, &s->sessions.items[0], &s->err) == RCNN_OK;
    return s->sessions.count == 1;
}

static bool make_plan(subject *s)
{
    const option_value *size = &s->opts->value[OPT_SIZE];
    int32_t width = size->set ? size->first : DEFAULT_WIDTH, height = size->set ? size->second : DEFAULT_HEIGHT;
    return open_session(s) &&
           rcnn_session_plan_json(s->sessions.items[0], width, height, &s->plan_json, &s->err) == RCNN_OK;
}

static void print_json(const subject *s)
{
    fputs("{\"file\":", stdout);
    json_string(stdout, s->path);
    fputs(",\"format\":", stdout);
    json_string(stdout, rcnn_weights_format_name(s->weights));
    printf(",\"parameters\":%lld,\"classes\":[", (long long)rcnn_model_parameter_count(s->model));
    for (int32_t label = 0; label < rcnn_model_class_count(s->model); label++) {
        fputs(label ? "," : "", stdout);
        json_string(stdout, rcnn_model_class_name(s->model, label));
    }
    fputs("],\"backend\":", stdout);
    json_string(stdout, rcnn_session_backend_name(s->sessions.items[0]));
    printf(",\n\"config\":%s", rcnn_model_config_json(s->model));
    if (rcnn_model_activation_count(s->model) > 0) {
        print_calibration_json(s->model);
    }
    printf(",\n\"plan\":%s}\n", s->plan_json);
}

static bool print_text(subject *s)
{
    plan_summary plan;
    if (!plan_read(s->plan_json, &plan, &s->err)) {
        return false;
    }
    print_name(s->path);
    printf("\nformat: %s, %d tensors, %d globals\n", rcnn_weights_format_name(s->weights),
           (int)rcnn_weights_count(s->weights), (int)rcnn_weights_global_count(s->weights));
    print_config(s->model);
    print_classes(s->model);
    print_calibration(s->model);
    printf("parameters: %lld\n", (long long)rcnn_model_parameter_count(s->model));
    printf("backend: %s\n", rcnn_session_backend_name(s->sessions.items[0]));
    print_cost(&plan);
    print_memory(&plan, s->opts->value[OPT_MEMORY].set);
    print_device(s->sessions.items[0]);
    plan_free(&plan);
    return true;
}

static bool describe(subject *s)
{
    const option_value *value = s->opts->value;
    bool of_file = value[OPT_GLOBALS].set || value[OPT_TENSORS].set;
    if (s->opts->operand_count > 0) {
        snprintf(s->path, sizeof s->path, "%s", s->opts->operands[0]);
    } else if (!model_find_default(s->path, &s->err)) {
        return false;
    }
    if (rcnn_weights_open(s->path, &s->weights, &s->err) != RCNN_OK) {
        return false;
    }
    if (value[OPT_GLOBALS].set) {
        print_globals(s->weights);
    }
    if (value[OPT_TENSORS].set) {
        print_tensors(s->weights);
    }
    if (of_file && !value[OPT_MEMORY].set && !value[OPT_JSON_FLAG].set) {
        return true;
    }
    if (!model_load_with_options(s->opts, s->path, &s->model, &s->err) || !make_plan(s)) {
        return false;
    }
    if (value[OPT_JSON_FLAG].set) {
        print_json(s);
        return true;
    }
    return print_text(s);
}

int cmd_info(const options *opts)
{
    subject s = {.opts = opts};
    log_start(opts, NULL);
    bool done = describe(&s);
    if (!done) {
        message_error("%s", s.err.message);
    }
    rcnn_free(s.plan_json);
    session_set_close(&s.sessions);
    rcnn_model_destroy(s.model);
    rcnn_weights_close(s.weights);
    return done ? TOOL_DONE : tool_status(&s.err);
}
