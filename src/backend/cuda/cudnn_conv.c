/* The engine "cudnn": convolutions through the graph API of cuDNN 9.
 *
 * The fused graph does everything in one kernel. Where no engine takes it, the convolution runs alone and conv_epilogue.cu
 * does the rest. Finding and building an engine takes milliseconds to a second, so execution plans are kept in the
 * backend and shared by all kernels of the same convolution. */
#include "backend/cuda/cudnn_graph.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define WORKSPACE_MAX  (256ll << 20)
#define WORKSPACE_GOOD (64ll << 20)

/* ------------------------------------------------------------- plans */

typedef struct plan {
    struct plan *next;
    char key[RCNN_ENGINE_KEY_MAX];
    char choice[RCNN_ENGINE_CHOICE_MAX];
    bool first; /* what prepare took for the key without a choice */
    bool fused, compiles;
    int32_t users; /* runs */
    int64_t workspace;
    rcnn_dnn_parts parts;
    rcnn_dnn_part execution;
} plan;

struct rcnn_cuda_dnn {
    plan *plans;
    cudaStream_t stream; /* of the handle */
};

static void free_plan(plan *p)
{
    if (p) {
        rcnn_dnn_drop_from(&p->parts, 0);
        rcnn_free(p);
    }
}

rcnn_status rcnn_cuda_dnn_open(rcnn_backend *backend, rcnn_error *err)
{
    backend->dnn = rcnn_calloc(1, sizeof *backend->dnn);
    if (!backend->dnn) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    backend->dnn->stream = backend->stream;
    RCNN_CUDNN_TRY(cudnnSetStream(backend->cudnn, backend->stream), "giving cuDNN its stream", err);
    return RCNN_OK;
}

void rcnn_cuda_dnn_close(rcnn_backend *backend)
{
    if (!backend->dnn) {
        return;
    }
    for (plan *p = backend->dnn->plans; p;) {
        plan *next = p->next;
        free_plan(p);
        p = next;
    }
    rcnn_free(backend->dnn);
    backend->dnn = NULL;
}

/* choice NULL: the one that was taken without a choice. */
static plan *find_plan(const rcnn_backend *backend, const char *key, const char *choice)
{
    for (plan *p = backend->dnn->plans; p; p = p->next) {
        if (strcmp(p->key, key) == 0 && (choice ? strcmp(p->choice, choice) == 0 : p->first)) {
            return p;
        }
    }
    return NULL;
}

/* Candidates that lost are many; what is built fast from its choice need not be kept either. */
static void drop_unused(rcnn_backend *backend, plan *unused)
{
    if (unused->users > 0 || unused->first || unused->compiles) {
        return;
    }
    plan **link = &backend->dnn->plans;
    while (*link != unused) {
        link = &(*link)->next;
    }
    *link = unused->next;
    free_plan(unused);
}

static cudnnStatus_t make_engine(rcnn_dnn_parts *p, rcnn_dnn_part graph, const rcnn_dnn_config *c,
                                 rcnn_dnn_part *engine)
{
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_ENGINE_DESCRIPTOR, engine));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph));
    RCNN_DNN_STEP(rcnn_dnn_set(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c->engine));
    return rcnn_dnn_finalize(*engine);
}

static cudnnStatus_t make_engine_config(rcnn_dnn_parts *p, rcnn_dnn_part engine, const rcnn_dnn_config *c,
                                        rcnn_dnn_part *out)
{
    rcnn_dnn_part knobs[RCNN_DNN_KNOBS_MAX];
    for (int32_t i = 0; i < c->knob_count; i++) {
        const cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)c->knob[i].type;
        RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]));
        RCNN_DNN_STEP(rcnn_dnn_set(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type));
        RCNN_DNN_STEP(
            rcnn_dnn_set(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &c->knob[i].value));
        RCNN_DNN_STEP(rcnn_dnn_finalize(knobs[i]));
    }
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, out));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_ENGINECFG_ENGINE, engine));
    if (c->knob_count > 0) {
        RCNN_DNN_STEP(
            rcnn_dnn_set(*out, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, c->knob_count, knobs));
    }
    return rcnn_dnn_finalize(*out);
}

static cudnnStatus_t build(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const rcnn_dnn_config *c, plan *out)
{
    rcnn_dnn_part graph, engine, engine_config;
    bool allowed;
    int64_t one;
    RCNN_DNN_STEP(rcnn_dnn_make_graph(backend, want, c->fused, &out->parts, &graph));
    RCNN_DNN_STEP(make_engine(&out->parts, graph, c, &engine));
    RCNN_DNN_STEP(rcnn_dnn_read_notes(engine, want, &allowed, &out->compiles));
    if (!allowed) { /* a choice from a file */
        return CUDNN_STATUS_NOT_SUPPORTED;
    }
    RCNN_DNN_STEP(make_engine_config(&out->parts, engine, c, &engine_config));
    RCNN_DNN_STEP(rcnn_dnn_make(&out->parts, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &out->execution));
    RCNN_DNN_STEP(
        rcnn_dnn_set(out->execution, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &backend->cudnn));
    RCNN_DNN_STEP(rcnn_dnn_set_part(out->execution, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine_config));
    RCNN_DNN_STEP(rcnn_dnn_finalize(out->execution));
    RCNN_DNN_STEP(rcnn_dnn_get(out->execution, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one,
                               &out->workspace));
    return out->workspace <= WORKSPACE_MAX ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

/* The plan of a configuration, built unless it is there. UNSUPPORTED when cuDNN refuses it. */
static rcnn_status get_plan(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *key,
                            const rcnn_dnn_config *c, plan **out, rcnn_error *err)
{
    char choice[RCNN_ENGINE_CHOICE_MAX];
    if (!rcnn_dnn_write_choice(c, choice, sizeof choice)) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: op '%s': an engine with too many settings", want->name);
    }
    *out = find_plan(backend, key, choice);
    if (*out) {
        return RCNN_OK;
    }
    plan *made = rcnn_calloc(1, sizeof *made);
    if (!made) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    snprintf(made->key, sizeof made->key, "%s", key);
    snprintf(made->choice, sizeof made->choice, "%s", choice);
    made->fused = c->fused;
    cudnnStatus_t code = build(backend, want, c, made);
    if (code != CUDNN_STATUS_SUCCESS) {
        free_plan(made);
        return rcnn_dnn_refused(want, code, err);
    }
    made->next = backend->dnn->plans;
    backend->dnn->plans = made;
    *out = made;
    return RCNN_OK;
}

/* ------------------------------------------------------------- choosing */

/* The first of the form's engines that builds and is content with the better workspace limit, else the first that
 * builds; *out stays NULL when none does. Engines in float need their workspace, to rearrange the channels. */
static rcnn_status first_plan(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *key, bool fused,
                              plan **out, rcnn_error *err)
{
    const int64_t good = rcnn_cuda_conv_is_half(want) ? WORKSPACE_GOOD : WORKSPACE_MAX;
    rcnn_dnn_found f;
    RCNN_TRY(rcnn_dnn_search(backend, want, fused, &f, err));
    for (int32_t i = 0; i < f.count; i++) {
        plan *p = NULL;
        rcnn_error why = {0};
        rcnn_status status = get_plan(backend, want, key, &f.list[i], &p, &why);
        if (status == RCNN_ERR_UNSUPPORTED) {
            rcnn_cuda_log(RCNN_LOG_TRACE, "%s", why.message);
            continue;
        }
        if (status != RCNN_OK) {
            return rcnn_fail(err, status, "%s", why.message);
        }
        *out = *out && p->workspace > good ? *out : p;
        if (p->workspace <= good) {
            break;
        }
    }
    return RCNN_OK;
}

/* The fused graph takes the bias in the type of the source. Where the result is float and the source is not, that rounding
 * would be the largest error by far: the convolution then runs alone and conv_epilogue.cu adds the float bias. */
static bool fuses(const rcnn_cuda_conv_want *want)
{
    return want->conv.dst_type == want->conv.type || want->conv.type == RCNN_CUDA_F32;
}

static rcnn_status default_plan(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *key, plan **out,
                                rcnn_error *err)
{
    *out = find_plan(backend, key, NULL);
    if (!*out && fuses(want)) {
        RCNN_TRY(first_plan(backend, want, key, true, out, err));
    }
    if (!*out) {
        RCNN_TRY(first_plan(backend, want, key, false, out, err));
    }
    if (!*out) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: op '%s': cuDNN has no engine", want->name);
    }
    (*out)->first = true;
    return RCNN_OK;
}

/* ------------------------------------------------------------- runs */

#define POINTERS_MAX 5

typedef struct dnn_run {
    rcnn_cuda_run head;
    plan *plan;
    const void *weights, *bias;
    rcnn_cuda_conv epilogue; /* plain plans */
    size_t residual_bytes;   /* plain plans with a residual: room for it, should it be dst */
    const void *bound[6];    /* what `pack` was made with */
    rcnn_dnn_part pack;      /* NULL: none yet */
} dnn_run;

static void dnn_release(rcnn_cuda_run *run)
{
    dnn_run *r = (dnn_run *)run;
    if (r->pack) {
        (void)cudnnBackendDestroyDescriptor(r->pack);
    }
    if (r->plan) {
        r->plan->users--;
        drop_unused(run->backend, r->plan);
    }
    rcnn_free(r);
}

static cudnnStatus_t make_pack(dnn_run *r, const void *const pointers[POINTERS_MAX], void *workspace)
{
    const int64_t uids[POINTERS_MAX] = {RCNN_DNN_SRC, RCNN_DNN_WEIGHTS, RCNN_DNN_DST, RCNN_DNN_BIAS, RCNN_DNN_RESIDUAL};
    const int64_t count = !r->plan->fused ? 3 : pointers[4] ? 5 : 4;
    RCNN_DNN_STEP(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &r->pack));
    RCNN_DNN_STEP(rcnn_dnn_set(r->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers));
    RCNN_DNN_STEP(rcnn_dnn_set(r->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids));
    RCNN_DNN_STEP(rcnn_dnn_set(r->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace));
    return rcnn_dnn_finalize(r->pack);
}

/* Kernels run on the same memory again and again: the pack is made when that changes. */
static cudnnStatus_t bind(dnn_run *r, const rcnn_cuda_call *call)
{
    const void *const pointers[] = {call->src, r->weights, call->dst, r->bias, call->residual, call->scratch};
    if (r->pack && memcmp(r->bound, pointers, sizeof pointers) == 0) {
        return CUDNN_STATUS_SUCCESS;
    }
    if (r->pack) {
        RCNN_DNN_STEP(cudnnBackendDestroyDescriptor(r->pack));
        r->pack = NULL;
    }
    memset(r->bound, 0, sizeof r->bound);
    cudnnStatus_t code = make_pack(r, pointers, call->scratch);
    if (code != CUDNN_STATUS_SUCCESS) {
        if (r->pack) {
            (void)cudnnBackendDestroyDescriptor(r->pack);
        }
        r->pack = NULL;
        return code;
    }
    memcpy(r->bound, pointers, sizeof pointers);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t execute(dnn_run *r, const rcnn_cuda_call *call)
{
    rcnn_backend *backend = r->head.backend;
    if (backend->dnn->stream != call->stream) {
        RCNN_DNN_STEP(RCNN_DNN_CALL(cudnnSetStream(backend->cudnn, call->stream)));
        backend->dnn->stream = call->stream;
    }
    RCNN_DNN_STEP(bind(r, call));
    return RCNN_DNN_CALL(cudnnBackendExecute(backend->cudnn, r->plan->execution, r->pack));
}

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* The convolution goes to dst before the residual is added: one that stands there is first brought to safety. */
static rcnn_status enqueue_plain(dnn_run *r, const rcnn_cuda_call *call, rcnn_error *err)
{
    rcnn_cuda_conv epilogue = r->epilogue;
    epilogue.dst = call->dst;
    epilogue.residual = call->residual;
    if (call->residual && call->residual == call->dst) {
        void *saved = (char *)call->scratch + aligned((size_t)r->plan->workspace);
        RCNN_CUDA_TRY(cudaMemcpyAsync(saved, call->residual, r->residual_bytes, cudaMemcpyDeviceToDevice, call->stream),
                      "copying a residual", err);
        epilogue.residual = saved;
    }
    RCNN_TRY(rcnn_from_cudnn(execute(r, call), "running a convolution", err));
    RCNN_CUDA_TRY(rcnn_cuda_conv_epilogue_launch(&epilogue, call->stream), "running a convolution's epilogue", err);
    return RCNN_OK;
}

static rcnn_status dnn_enqueue(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err)
{
    dnn_run *r = (dnn_run *)run;
    if (!r->plan->fused) {
        return enqueue_plain(r, call, err);
    }
    return rcnn_from_cudnn(execute(r, call), "running a convolution", err);
}

static rcnn_status fill_run(dnn_run *r, const rcnn_cuda_conv_want *want, plan *p, rcnn_error *err)
{
    const rcnn_cuda_conv *c = &want->conv;
    rcnn_backend *backend = r->head.backend;
    const bool pads = c->groups == 1 && c->src_channels != c->in;
    r->plan = p;
    p->users++;
    RCNN_TRY(rcnn_cuda_weights_get(backend, want->w, pads ? RCNN_CUDA_ORDER_OHWI_PAD : RCNN_CUDA_ORDER_OHWI,
                                   pads ? c->src_channels : 0, c->type, &r->weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, want->w, 1, p->fused ? c->type : RCNN_CUDA_F32, &r->bias, err));
    r->epilogue = *c;
    r->epilogue.bias = p->fused ? NULL : r->bias;
    if (!p->fused && want->residual) {
        r->residual_bytes = (size_t)c->n * (size_t)c->out_height * (size_t)c->out_width * (size_t)c->out *
                            rcnn_cuda_type_bytes(c->dst_type);
    }
    r->head.scratch_bytes = aligned((size_t)p->workspace) + r->residual_bytes;
    snprintf(r->head.engine, sizeof r->head.engine, "%s", p->choice);
    return RCNN_OK;
}

static rcnn_status make_run(rcnn_backend *backend, const rcnn_cuda_conv_want *want, plan *p, rcnn_cuda_run **out,
                            rcnn_error *err)
{
    rcnn_cuda_run *run;
    RCNN_TRY(rcnn_cuda_new_run(backend, sizeof(dnn_run), dnn_enqueue, dnn_release, &run, err));
    rcnn_status status = fill_run((dnn_run *)run, want, p, err);
    if (status != RCNN_OK) {
        dnn_release(run);
        return status;
    }
    *out = run;
    return RCNN_OK;
}

/* ------------------------------------------------------------- the engine */

/* Groups over a part of the source's channels are beyond the tensors' description. */
static bool dnn_supports(const rcnn_backend *backend, const rcnn_cuda_conv_want *want)
{
    (void)backend;
    const rcnn_cuda_conv *c = &want->conv;
    return c->groups == 1 || c->src_channels == c->in * c->groups;
}

/* Variants of the fused graph, or of the plain one when there are none or it is not exact enough. Of those that compile themselves the first, and
 * only when nothing else is there. */
static rcnn_status dnn_list(rcnn_backend *backend, const rcnn_cuda_conv_want *want, rcnn_cuda_choices *out,
                            rcnn_error *err)
{
    rcnn_dnn_found f = {.count = 0};
    if (fuses(want)) {
        RCNN_TRY(rcnn_dnn_search(backend, want, true, &f, err));
    }
    if (f.count == 0) {
        RCNN_TRY(rcnn_dnn_search(backend, want, false, &f, err));
    }
    for (int32_t i = 0; i < f.count && out->count < RCNN_CUDA_CHOICES_MAX; i++) {
        if ((i == 0 || !f.list[i].compiles) &&
            rcnn_dnn_write_choice(&f.list[i], out->text[out->count], sizeof out->text[0])) {
            out->count++;
        }
    }
    return RCNN_OK;
}

static rcnn_status dnn_prepare(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *choice,
                               rcnn_cuda_run **out, rcnn_error *err)
{
    char key[RCNN_ENGINE_KEY_MAX];
    plan *p = NULL;
    rcnn_dnn_config c;
    *out = NULL;
    rcnn_cuda_conv_key(want, key);
    if (!choice) {
        RCNN_TRY(default_plan(backend, want, key, &p, err));
    } else if (rcnn_dnn_read_choice(choice, &c)) {
        RCNN_TRY(get_plan(backend, want, key, &c, &p, err));
    } else {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: op '%s': no engine is called '%s'", want->name, choice);
    }
    return make_run(backend, want, p, out, err);
}

const rcnn_cuda_conv_engine rcnn_cuda_conv_cudnn = {
    .name = RCNN_DNN_NAME, .supports = dnn_supports, .list = dnn_list, .prepare = dnn_prepare};
