/* CONV: the table of engines and the choice among them, and the stem. conv.h says how the pieces fit. */
#include "backend/cuda/conv.h"

#include <stdio.h>
#include <string.h>

#include "backend/cuda/engines.h"
#include "base/memory.h"

/* In order of preference where nothing was timed. */
static const rcnn_cuda_conv_engine *const ENGINES[] = {&rcnn_cuda_conv_thin, &rcnn_cuda_conv_wgmma,
                                                       &rcnn_cuda_conv_cudnn, &rcnn_cuda_conv_direct};
#define ENGINE_COUNT (sizeof ENGINES / sizeof ENGINES[0])

/* ------------------------------------------------------------- runs */

rcnn_status rcnn_cuda_new_run(rcnn_backend *backend, size_t bytes,
                              rcnn_status (*enqueue)(rcnn_cuda_run *, const rcnn_cuda_call *, rcnn_error *),
                              void (*release)(rcnn_cuda_run *), rcnn_cuda_run **out, rcnn_error *err)
{
    rcnn_cuda_run *run = rcnn_calloc(1, bytes);
    *out = run;
    if (!run) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    run->backend = backend;
    run->enqueue = enqueue;
    run->release = release;
    run->microseconds = -1;
    return RCNN_OK;
}

void rcnn_cuda_release_run(rcnn_cuda_run *run)
{
    if (run) {
        run->release(run);
    }
}

/* ------------------------------------------------------------- what is wanted, in words */

bool rcnn_cuda_conv_is_half(const rcnn_cuda_conv_want *want)
{
    return want->conv.type != RCNN_CUDA_F32;
}

static const char *type_name(rcnn_cuda_type type)
{
    static const char *const NAMES[] = {"f32", "f16", "bf16"};
    return NAMES[type];
}

void rcnn_cuda_conv_key(const rcnn_cuda_conv_want *want, char key[RCNN_ENGINE_KEY_MAX])
{
    const rcnn_cuda_conv *c = &want->conv;
    const char *precision = rcnn_cuda_conv_is_half(want)             ? ""
                            : want->precision == RCNN_PRECISION_TF32 ? " tf32"
                                                                     : " fp32";
    snprintf(key, RCNN_ENGINE_KEY_MAX, "conv %dx%dx%dx%d to %dx%dx%d, in %d, %dx%d s%d p%d g%d, %s>%s%s%s%s", c->n,
             c->height, c->width, c->src_channels, c->out_height, c->out_width, c->out, c->in, c->kh, c->kw, c->stride,
             c->pad, c->groups, type_name(c->type), type_name(c->dst_type), precision, want->residual ? " add" : "",
             c->relu ? " relu" : "");
}

static rcnn_status no_engine(const rcnn_cuda_conv_want *want, rcnn_error *err)
{
    char key[RCNN_ENGINE_KEY_MAX];
    rcnn_cuda_conv_key(want, key);
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: op '%s': no engine for %s", want->name, key);
}

/* ------------------------------------------------------------- timing the candidates */

/* Memory to run candidates on, at full rows. */
typedef struct trial {
    void *src, *residual, *dst, *scratch;
    size_t scratch_bytes;
    rcnn_cuda_run *run;
} trial;

static size_t pixels_bytes(int32_t n, int32_t height, int32_t width, int32_t channels, rcnn_cuda_type type)
{
    return (size_t)n * (size_t)height * (size_t)width * (size_t)channels * rcnn_cuda_type_bytes(type);
}

static rcnn_status open_trial(rcnn_backend *backend, const rcnn_cuda_conv_want *want, trial *t, rcnn_error *err)
{
    const rcnn_cuda_conv *c = &want->conv;
    const size_t src_bytes = pixels_bytes(c->n, c->height, c->width, c->src_channels, c->type);
    const size_t dst_bytes = pixels_bytes(c->n, c->out_height, c->out_width, c->out, c->dst_type);
    RCNN_TRY(rcnn_cuda_alloc_random(backend, c->type, src_bytes, &t->src, err));
    if (want->residual) {
        RCNN_TRY(rcnn_cuda_alloc_random(backend, c->dst_type, dst_bytes, &t->residual, err));
    }
    return rcnn_cuda_alloc(backend, dst_bytes, &t->dst, err);
}

static void close_trial(rcnn_backend *backend, trial *t)
{
    rcnn_cuda_free(backend, t->src);
    rcnn_cuda_free(backend, t->residual);
    rcnn_cuda_free(backend, t->dst);
    rcnn_cuda_free(backend, t->scratch);
}

static rcnn_status enqueue_trial(void *context, cudaStream_t stream, rcnn_error *err)
{
    const trial *t = context;
    const rcnn_cuda_call call = {
        .src = t->src, .residual = t->residual, .dst = t->dst, .scratch = t->scratch, .stream = stream};
    return t->run->enqueue(t->run, &call, err);
}

static rcnn_status time_run(rcnn_backend *backend, trial *t, rcnn_cuda_run *run, rcnn_error *err)
{
    if (run->scratch_bytes > t->scratch_bytes) {
        rcnn_cuda_free(backend, t->scratch);
        t->scratch = NULL;
        t->scratch_bytes = 0;
        RCNN_TRY(rcnn_cuda_alloc(backend, run->scratch_bytes, &t->scratch, err));
        t->scratch_bytes = run->scratch_bytes;
    }
    t->run = run;
    return rcnn_cuda_time(backend, enqueue_trial, t, &run->microseconds, err);
}

/* Keeps the faster of *best and this choice of the engine; one that cannot run leaves the race. */
static rcnn_status try_choice(rcnn_backend *backend, const rcnn_cuda_conv_want *want, trial *t,
                              const rcnn_cuda_conv_engine *engine, const char *choice, rcnn_cuda_run **best,
                              rcnn_error *err)
{
    rcnn_cuda_run *run = NULL;
    rcnn_error why = {0};
    rcnn_status status = engine->prepare(backend, want, choice, &run, &why);
    if (status == RCNN_OK) {
        status = time_run(backend, t, run, &why);
    }
    const bool out_of_race = status == RCNN_ERR_UNSUPPORTED || status == RCNN_ERR_DEVICE;
    if (out_of_race) {
        rcnn_cuda_log(status == RCNN_ERR_DEVICE ? RCNN_LOG_WARN : RCNN_LOG_DEBUG, "cuda: op '%s': candidate '%s': %s",
                      want->name, choice ? choice : engine->name, why.message);
    }
    if (status == RCNN_OK) {
        rcnn_cuda_log(RCNN_LOG_TRACE, "cuda: op '%s': candidate '%s': %.1f us", want->name, run->engine,
                      (double)run->microseconds);
    }
    if (status == RCNN_OK && (!*best || run->microseconds < (*best)->microseconds)) {
        rcnn_cuda_run *loser = *best;
        *best = run;
        run = loser;
    }
    rcnn_cuda_release_run(run);
    return status == RCNN_OK || out_of_race ? RCNN_OK : rcnn_fail(err, status, "%s", why.message);
}

static rcnn_status try_engine(rcnn_backend *backend, const rcnn_cuda_conv_want *want, trial *t,
                              const rcnn_cuda_conv_engine *engine, rcnn_cuda_run **best, rcnn_error *err)
{
    if (!engine->list) {
        return try_choice(backend, want, t, engine, NULL, best, err);
    }
    rcnn_cuda_choices choices = {.count = 0};
    RCNN_TRY(engine->list(backend, want, &choices, err));
    for (int32_t i = 0; i < choices.count; i++) {
        RCNN_TRY(try_choice(backend, want, t, engine, choices.text[i], best, err));
    }
    return RCNN_OK;
}

/* The fastest of all that are worth it; *out stays NULL when there is none. */
static rcnn_status tune(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *key, rcnn_cuda_run **out,
                        rcnn_error *err)
{
    trial t = {0};
    rcnn_status status = open_trial(backend, want, &t, err);
    if (status == RCNN_ERR_MEMORY) {
        rcnn_cuda_log(RCNN_LOG_WARN, "cuda: op '%s' is not timed: no memory for it", want->name);
        close_trial(backend, &t);
        return RCNN_OK;
    }
    for (size_t i = 0; i < ENGINE_COUNT && status == RCNN_OK; i++) {
        if (!ENGINES[i]->slow && ENGINES[i]->supports(backend, want)) {
            status = try_engine(backend, want, &t, ENGINES[i], out, err);
        }
    }
    close_trial(backend, &t);
    if (status != RCNN_OK) {
        rcnn_cuda_release_run(*out);
        *out = NULL;
    } else if (*out) {
        rcnn_cuda_engines_remember(backend, key, (*out)->engine, (*out)->microseconds);
    }
    return status;
}

/* ------------------------------------------------------------- choosing */

static bool makes(const rcnn_cuda_conv_engine *engine, const char *choice)
{
    const size_t length = strlen(engine->name);
    return strncmp(choice, engine->name, length) == 0 && (choice[length] == ' ' || choice[length] == '\0');
}

/* What was remembered for the key; *out stays NULL when there is nothing or it cannot be had. */
static rcnn_status use_remembered(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *key,
                                  rcnn_cuda_run **out, rcnn_error *err)
{
    const rcnn_engine_entry *entry = rcnn_cuda_engines_find(backend, key);
    for (size_t i = 0; entry && i < ENGINE_COUNT; i++) {
        if (!makes(ENGINES[i], entry->choice) || !ENGINES[i]->supports(backend, want)) {
            continue;
        }
        rcnn_error why = {0};
        rcnn_status status = ENGINES[i]->prepare(backend, want, entry->choice, out, &why);
        if (status == RCNN_OK) {
            (*out)->microseconds = entry->microseconds;
        } else if (status == RCNN_ERR_UNSUPPORTED) {
            rcnn_cuda_engines_reject(entry, &why);
        } else {
            return rcnn_fail(err, status, "%s", why.message);
        }
        break;
    }
    return RCNN_OK;
}

rcnn_status rcnn_cuda_conv_prepare(rcnn_backend *backend, const rcnn_cuda_conv_want *want, rcnn_cuda_run **out,
                                   rcnn_error *err)
{
    char key[RCNN_ENGINE_KEY_MAX];
    *out = NULL;
    rcnn_cuda_conv_key(want, key);
    RCNN_TRY(use_remembered(backend, want, key, out, err));
    if (!*out && backend->options.tune) {
        RCNN_TRY(tune(backend, want, key, out, err));
    }
    for (size_t i = 0; !*out && i < ENGINE_COUNT; i++) {
        if (ENGINES[i]->supports(backend, want)) {
            rcnn_status status = ENGINES[i]->prepare(backend, want, NULL, out, err);
            if (status != RCNN_OK && status != RCNN_ERR_UNSUPPORTED) {
                return status;
            }
        }
    }
    return *out ? RCNN_OK : no_engine(want, err);
}

/* ------------------------------------------------------------- stem */

typedef struct stem_kernel {
    rcnn_kernel head;
    rcnn_value_id src, dst;
    rcnn_cuda_stem p;
} stem_kernel;

static rcnn_status stem_enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const stem_kernel *k = (const stem_kernel *)kernel;
    rcnn_cuda_stem p = k->p;
    p.src = rcnn_cuda_value(args, k->src);
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_stem_launch(&p, stream), "running the stem", err);
    return RCNN_OK;
}

static void stem_release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

/* The run [CONV, MAXPOOL] that claim.c found fit for stem.cu. */
static rcnn_status prepare_stem(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                                rcnn_error *err)
{
    const rcnn_op *conv = &graph->ops[first], *pool = &graph->ops[first + 1];
    const int32_t *src = graph->values[conv->input[0]].desc.dim;
    const int32_t *mid = graph->values[conv->output[0]].desc.dim;
    const int32_t *dst = graph->values[pool->output[0]].desc.dim;
    rcnn_cuda_stem p = {.n = src[0],
                        .height = src[1],
                        .width = src[2],
                        .conv_height = mid[1],
                        .conv_width = mid[2],
                        .pool_height = dst[1],
                        .pool_width = dst[2]};
    const void *bias;
    RCNN_TRY(rcnn_cuda_type_of(graph, conv, conv->input[0], &p.type, err));
    RCNN_TRY(rcnn_cuda_weights_get(backend, &conv->w, RCNN_CUDA_ORDER_STEM, 0, p.type, &p.weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, &conv->w, 1, RCNN_CUDA_F32, &bias, err));
    p.bias = bias;
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(stem_kernel), stem_enqueue, stem_release, out, err));
    stem_kernel *k = (stem_kernel *)*out;
    k->src = conv->input[0];
    k->dst = pool->output[0];
    k->p = p;
    rcnn_cuda_note_choice(backend, conv->name, "stem", -1);
    return RCNN_OK;
}

/* ------------------------------------------------------------- the ops' entries */

rcnn_status rcnn_cuda_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                   rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    if (count == 2 && graph->ops[first + 1].kind == RCNN_OP_MAXPOOL) {
        *scratch_bytes = 0;
        return prepare_stem(backend, graph, first, out, err);
    }
    return rcnn_cuda_prepare_rows_span(backend, graph, first, count, out, scratch_bytes, err);
}
