/* The engines that cuDNN has for a convolution's graph: which ones its heuristics propose, which of those compute what is
 * asked for, and how an engine with its settings is written down. */
#include "backend/cuda/cudnn_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULTS_MAX 64 /* of the heuristics, of which not all are allowed */

/* ------------------------------------------------------------- engines */

static bool is_exact_float(const rcnn_cuda_conv_want *want)
{
    return !rcnn_cuda_conv_is_half(want) && want->precision != RCNN_PRECISION_TF32;
}

cudnnStatus_t rcnn_dnn_read_notes(rcnn_dnn_part engine, const rcnn_cuda_conv_want *want, bool *allowed, bool *compiles)
{
    cudnnBackendNumericalNote_t numerical[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t behavior[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t count = 0;
    *allowed = true;
    *compiles = false;
    RCNN_DNN_STEP(rcnn_dnn_get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, numerical));
    for (int64_t i = 0; i < count && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++) {
        const bool harmless = numerical[i] == CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP;
        const bool tensor_core = numerical[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        *allowed = *allowed && (harmless || (tensor_core && !is_exact_float(want)));
    }
    RCNN_DNN_STEP(rcnn_dnn_get(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                               CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &count, behavior));
    for (int64_t i = 0; i < count && i < CUDNN_BEHAVIOR_NOTE_TYPE_COUNT; i++) {
        *compiles = *compiles || behavior[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
        *allowed = *allowed && behavior[i] != CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER &&
                   behavior[i] != CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER;
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t read_knobs(rcnn_dnn_parts *p, rcnn_dnn_part engine_config, rcnn_dnn_config *out)
{
    rcnn_dnn_part knobs[RCNN_DNN_KNOBS_MAX];
    int64_t count = 0, one;
    for (int32_t i = 0; i < RCNN_DNN_KNOBS_MAX; i++) {
        RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]));
    }
    RCNN_DNN_STEP(rcnn_dnn_get(engine_config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                               RCNN_DNN_KNOBS_MAX, &count, knobs));
    if (count > RCNN_DNN_KNOBS_MAX) {
        return CUDNN_STATUS_NOT_SUPPORTED;
    }
    out->knob_count = (int32_t)count;
    for (int32_t i = 0; i < out->knob_count; i++) {
        cudnnBackendKnobType_t type;
        RCNN_DNN_STEP(rcnn_dnn_get(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &one, &type));
        RCNN_DNN_STEP(
            rcnn_dnn_get(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &one, &out->knob[i].value));
        out->knob[i].type = (int64_t)type;
    }
    return CUDNN_STATUS_SUCCESS;
}

/* A result of the heuristics as numbers. */
static cudnnStatus_t read_config(const rcnn_cuda_conv_want *want, rcnn_dnn_part engine_config, rcnn_dnn_config *out,
                                 bool *allowed)
{
    rcnn_dnn_parts p = {.count = 0};
    rcnn_dnn_part engine;
    int64_t one;
    cudnnStatus_t code = rcnn_dnn_make(&p, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine);
    if (code == CUDNN_STATUS_SUCCESS) {
        code =
            rcnn_dnn_get(engine_config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &engine);
    }
    if (code == CUDNN_STATUS_SUCCESS) {
        code = rcnn_dnn_get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &one, &out->engine);
    }
    if (code == CUDNN_STATUS_SUCCESS) {
        code = rcnn_dnn_read_notes(engine, want, allowed, &out->compiles);
    }
    if (code == CUDNN_STATUS_SUCCESS) {
        code = read_knobs(&p, engine_config, out);
    }
    rcnn_dnn_drop_from(&p, 0);
    return code;
}

/* ------------------------------------------------------------- choices as text */

bool rcnn_dnn_write_choice(const rcnn_dnn_config *c, char *out, size_t capacity)
{
    int length = snprintf(out, capacity, RCNN_DNN_NAME " %c%lld:", c->fused ? 'f' : 'p', (long long)c->engine);
    for (int32_t i = 0; i < c->knob_count && length > 0 && (size_t)length < capacity; i++) {
        length += snprintf(out + length, capacity - (size_t)length, "%s%lld=%lld", i ? "," : "",
                           (long long)c->knob[i].type, (long long)c->knob[i].value);
    }
    return length > 0 && (size_t)length < capacity;
}

static bool read_number(const char **text, char end, int64_t *out)
{
    char *stop;
    *out = strtoll(*text, &stop, 10);
    if (stop == *text || (end != '\0' && *stop != end)) {
        return false;
    }
    *text = end != '\0' ? stop + 1 : stop;
    return true;
}

bool rcnn_dnn_read_choice(const char *text, rcnn_dnn_config *out)
{
    *out = (rcnn_dnn_config){.knob_count = 0};
    const size_t name = strlen(RCNN_DNN_NAME " ");
    if (strncmp(text, RCNN_DNN_NAME " ", name) != 0 || (text[name] != 'f' && text[name] != 'p')) {
        return false;
    }
    out->fused = text[name] == 'f';
    text += name + 1;
    if (!read_number(&text, ':', &out->engine)) {
        return false;
    }
    while (*text && out->knob_count < RCNN_DNN_KNOBS_MAX) {
        const int32_t i = out->knob_count++;
        if (!read_number(&text, '=', &out->knob[i].type) || !read_number(&text, '\0', &out->knob[i].value) ||
            (*text && *text++ != ',')) {
            return false;
        }
    }
    return *text == '\0';
}

/* ------------------------------------------------------------- searching */

static void add_found(rcnn_dnn_found *f, const rcnn_dnn_config *c)
{
    char text[RCNN_ENGINE_CHOICE_MAX], other[RCNN_ENGINE_CHOICE_MAX];
    if (f->count == RCNN_DNN_FOUND_MAX || !rcnn_dnn_write_choice(c, text, sizeof text)) {
        return;
    }
    for (int32_t i = 0; i < f->count; i++) {
        if (rcnn_dnn_write_choice(&f->list[i], other, sizeof other) && strcmp(text, other) == 0) {
            return;
        }
    }
    f->list[f->count++] = *c;
}

static cudnnStatus_t read_results(rcnn_dnn_parts *p, const rcnn_cuda_conv_want *want, rcnn_dnn_part heuristics,
                                  bool fused, rcnn_dnn_found *out)
{
    rcnn_dnn_part results[RESULTS_MAX];
    int64_t count = 0;
    for (int32_t i = 0; i < RESULTS_MAX; i++) {
        RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &results[i]));
    }
    RCNN_DNN_STEP(RCNN_DNN_CALL(rcnn_dnn_get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                             RESULTS_MAX, &count, results)));
    for (int64_t i = 0; i < count && i < RESULTS_MAX; i++) {
        rcnn_dnn_config c = {.fused = fused};
        bool allowed = false;
        cudnnStatus_t code = read_config(want, results[i], &c, &allowed);
        if (code != CUDNN_STATUS_SUCCESS && !rcnn_dnn_is_refusal(code)) {
            return code;
        }
        if (code == CUDNN_STATUS_SUCCESS && allowed) {
            add_found(out, &c);
        }
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t query(rcnn_dnn_parts *p, const rcnn_cuda_conv_want *want, rcnn_dnn_part graph, bool fused,
                           cudnnBackendHeurMode_t mode, rcnn_dnn_found *out)
{
    rcnn_dnn_part heuristics;
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics));
    RCNN_DNN_STEP(rcnn_dnn_set_part(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph));
    RCNN_DNN_STEP(rcnn_dnn_set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    RCNN_DNN_STEP(rcnn_dnn_finalize(heuristics));
    return read_results(p, want, heuristics, fused, out);
}

/* What compiles at run time goes last; the rest keeps its order. */
static void sort_found(rcnn_dnn_found *f)
{
    rcnn_dnn_found sorted = {.count = 0};
    for (int32_t pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < f->count; i++) {
            if (f->list[i].compiles == (pass == 1)) {
                sorted.list[sorted.count++] = f->list[i];
            }
        }
    }
    *f = sorted;
}

rcnn_status rcnn_dnn_search(rcnn_backend *backend, const rcnn_cuda_conv_want *want, bool fused, rcnn_dnn_found *out,
                            rcnn_error *err)
{
    static const cudnnBackendHeurMode_t MODES[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK};
    rcnn_dnn_parts p = {.count = 0};
    rcnn_dnn_part graph;
    out->count = 0;
    cudnnStatus_t code = rcnn_dnn_make_graph(backend, want, fused, &p, &graph);
    const int32_t graph_parts = p.count;
    if (code != CUDNN_STATUS_SUCCESS) {
        rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: op '%s': cuDNN takes no %s graph: %s", want->name,
                      fused ? "fused" : "plain", cudnnGetErrorString(code));
    }
    for (size_t m = 0; m < sizeof MODES / sizeof MODES[0] && code == CUDNN_STATUS_SUCCESS; m++) {
        if (MODES[m] == CUDNN_HEUR_MODE_B && out->count > 0) {
            continue; /* slower to ask, and has nothing new */
        }
        code = query(&p, want, graph, fused, MODES[m], out);
        code = rcnn_dnn_is_refusal(code) ? CUDNN_STATUS_SUCCESS : code;
        rcnn_dnn_drop_from(&p, graph_parts);
    }
    rcnn_dnn_drop_from(&p, 0);
    sort_found(out);
    return code == CUDNN_STATUS_SUCCESS || rcnn_dnn_is_refusal(code) ? RCNN_OK : rcnn_dnn_refused(want, code, err);
}
