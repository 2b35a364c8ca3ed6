/* See gemm.h. cuBLASLt counts columns first: our row-major dst [m][n] is its D of n rows and m columns, the product of
 * the transposed weights (k x n) and src (k x m); a bias of n values then goes along D's columns, as its epilogue has it.
 *
 * A choice reads "cublaslt " and 128 hexadecimal digits: the algorithm's own bytes, which cuBLASLt says may be kept and
 * given back to the same version of it. */
#include "backend/cuda/gemm.h"

#include <stdio.h>
#include <string.h>

#include "backend/cuda/engines.h"
#include "base/memory.h"

#define WORKSPACE_MAX   ((size_t)32 << 20)
#define PROPOSALS_MAX   8
#define ENGINE_NAME     "cublaslt"
#define ALIGNMENT       16 /* of device addresses that are ours to choose */
#define REDUCTIONS_GOOD ((uint32_t)CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) /* or none: sums of parts stay float */

typedef struct gemm_run {
    rcnn_cuda_run head;
    rcnn_cuda_gemm_want want;
    const void *bias; /* of dst's type; NULL: none */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t weights, src, dst;
    cublasLtMatmulAlgo_t algorithm;
    bool direct; /* no algorithm: `conv` */
    rcnn_cuda_conv conv;
} gemm_run;

/* ------------------------------------------------------------- descriptions */

static cudaDataType_t data_type(rcnn_cuda_type type)
{
    return type == RCNN_CUDA_F16 ? CUDA_R_16F : type == RCNN_CUDA_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static rcnn_status set_product(gemm_run *r, cublasLtMatmulDescAttributes_t name, const void *value, size_t bytes,
                               rcnn_error *err)
{
    RCNN_CUBLAS_TRY(cublasLtMatmulDescSetAttribute(r->product, name, value, bytes), "describing a product", err);
    return RCNN_OK;
}

static rcnn_status describe_product(gemm_run *r, rcnn_error *err)
{
    const rcnn_cuda_gemm_want *w = &r->want;
    const bool tf32 = w->type == RCNN_CUDA_F32 && w->precision == RCNN_PRECISION_TF32;
    const cublasComputeType_t compute = tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = r->bias ? (w->relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                                                : (w->relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT);
    RCNN_CUBLAS_TRY(cublasLtMatmulDescCreate(&r->product, compute, CUDA_R_32F), "describing a product", err);
    RCNN_TRY(set_product(r, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed, err));
    RCNN_TRY(set_product(r, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue, err));
    if (r->bias) {
        const int32_t bias_type = (int32_t)data_type(w->dst_type);
        RCNN_TRY(set_product(r, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &r->bias, sizeof r->bias, err));
        RCNN_TRY(set_product(r, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type, err));
    }
    return RCNN_OK;
}

static rcnn_status describe_matrix(cublasLtMatrixLayout_t *out, rcnn_cuda_type type, int32_t rows, int32_t columns,
                                   rcnn_error *err)
{
    RCNN_CUBLAS_TRY(cublasLtMatrixLayoutCreate(out, data_type(type), (uint64_t)rows, (uint64_t)columns, rows),
                    "describing a matrix", err);
    return RCNN_OK;
}

static rcnn_status describe(gemm_run *r, rcnn_error *err)
{
    const rcnn_cuda_gemm_want *w = &r->want;
    if (w->bias_of) {
        RCNN_TRY(rcnn_cuda_bias_get(r->head.backend, w->bias_of, 1, w->dst_type, &r->bias, err));
    }
    RCNN_TRY(describe_product(r, err));
    RCNN_TRY(describe_matrix(&r->weights, w->type, w->k, w->n, err));
    RCNN_TRY(describe_matrix(&r->src, w->type, w->k, w->m, err));
    return describe_matrix(&r->dst, w->dst_type, w->n, w->m, err);
}

/* ------------------------------------------------------------- runs */

static void gemm_release(rcnn_cuda_run *run)
{
    gemm_run *r = (gemm_run *)run;
    if (r->dst) {
        (void)cublasLtMatrixLayoutDestroy(r->dst);
    }
    if (r->src) {
        (void)cublasLtMatrixLayoutDestroy(r->src);
    }
    if (r->weights) {
        (void)cublasLtMatrixLayoutDestroy(r->weights);
    }
    if (r->product) {
        (void)cublasLtMatmulDescDestroy(r->product);
    }
    rcnn_free(r);
}

static rcnn_status enqueue_direct(const gemm_run *r, const rcnn_cuda_call *call, rcnn_error *err)
{
    rcnn_cuda_conv p = r->conv;
    p.src = call->src;
    p.dst = call->dst;
    RCNN_CUDA_TRY(rcnn_cuda_conv_direct_launch(&p, call->stream), "running a product", err);
    return RCNN_OK;
}

static rcnn_status gemm_enqueue(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err)
{
    const gemm_run *r = (const gemm_run *)run;
    const float one = 1, zero = 0;
    if (r->direct) {
        return enqueue_direct(r, call, err);
    }
    RCNN_CUBLAS_TRY(cublasLtMatmul(run->backend->cublas, r->product, &one, r->want.weights, r->weights, call->src,
                                   r->src, &zero, call->dst, r->dst, call->dst, r->dst, &r->algorithm, call->scratch,
                                   run->scratch_bytes, call->stream),
                    "running a product", err);
    return RCNN_OK;
}

/* The product as a 1x1 convolution. */
static rcnn_status use_direct(gemm_run *r, rcnn_error *err)
{
    const rcnn_cuda_gemm_want *w = &r->want;
    const void *bias = NULL;
    if (w->bias_of) {
        RCNN_TRY(rcnn_cuda_bias_get(r->head.backend, w->bias_of, 1, RCNN_CUDA_F32, &bias, err));
    }
    r->direct = true;
    r->conv = (rcnn_cuda_conv){.weights = w->weights,
                               .bias = bias,
                               .type = w->type,
                               .dst_type = w->dst_type,
                               .n = w->m,
                               .height = 1,
                               .width = 1,
                               .src_channels = w->k,
                               .out_height = 1,
                               .out_width = 1,
                               .out = w->n,
                               .in = w->k,
                               .groups = 1,
                               .kh = 1,
                               .kw = 1,
                               .stride = 1,
                               .relu = w->relu};
    snprintf(r->head.engine, sizeof r->head.engine, "direct");
    return RCNN_OK;
}

/* ------------------------------------------------------------- choices as text */

static void write_choice(const cublasLtMatmulAlgo_t *algorithm, char out[RCNN_ENGINE_CHOICE_MAX])
{
    unsigned char bytes[sizeof *algorithm];
    memcpy(bytes, algorithm, sizeof bytes);
    int at = snprintf(out, RCNN_ENGINE_CHOICE_MAX, ENGINE_NAME " ");
    for (size_t i = 0; i < sizeof bytes; i++) {
        at += snprintf(out + at, RCNN_ENGINE_CHOICE_MAX - (size_t)at, "%02x", bytes[i]);
    }
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_choice(const char *text, cublasLtMatmulAlgo_t *out)
{
    unsigned char bytes[sizeof *out];
    const size_t name = strlen(ENGINE_NAME " ");
    if (strncmp(text, ENGINE_NAME " ", name) != 0 || strlen(text) != name + 2 * sizeof bytes) {
        return false;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        const int high = digit_of(text[name + 2 * i]), low = digit_of(text[name + 2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (unsigned char)(high * 16 + low);
    }
    memcpy(out, bytes, sizeof bytes);
    return true;
}

/* ------------------------------------------------------------- proposals */

static rcnn_status set_preference(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name,
                                  const void *value, size_t bytes, rcnn_error *err)
{
    RCNN_CUBLAS_TRY(cublasLtMatmulPreferenceSetAttribute(preference, name, value, bytes), "asking for a product", err);
    return RCNN_OK;
}

static rcnn_status set_preferences(cublasLtMatmulPreference_t preference, const rcnn_cuda_gemm_want *w, rcnn_error *err)
{
    const uint64_t workspace = WORKSPACE_MAX;
    const uint32_t reductions = REDUCTIONS_GOOD, aligned = ALIGNMENT, src = (uint32_t)w->src_alignment;
    RCNN_TRY(set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace, err));
    RCNN_TRY(
        set_preference(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions, err));
    RCNN_TRY(set_preference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &aligned, sizeof aligned, err));
    RCNN_TRY(set_preference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &src, sizeof src, err));
    RCNN_TRY(set_preference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &aligned, sizeof aligned, err));
    return set_preference(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &aligned, sizeof aligned, err);
}

/* cuBLASLt's proposals, best first; none is no failure. */
static rcnn_status propose(gemm_run *r, cublasLtMatmulHeuristicResult_t out[PROPOSALS_MAX], int *count, rcnn_error *err)
{
    cublasLtMatmulPreference_t preference;
    *count = 0;
    RCNN_CUBLAS_TRY(cublasLtMatmulPreferenceCreate(&preference), "asking for a product", err);
    rcnn_status status = set_preferences(preference, &r->want, err);
    if (status == RCNN_OK) {
        cublasStatus_t code =
            rcnn_cuda_call_fails()
                ? CUBLAS_STATUS_EXECUTION_FAILED
                : cublasLtMatmulAlgoGetHeuristic(r->head.backend->cublas, r->product, r->weights, r->src, r->dst,
                                                 r->dst, preference, PROPOSALS_MAX, out, count);
        const bool none = code == CUBLAS_STATUS_NOT_SUPPORTED || code == CUBLAS_STATUS_INVALID_VALUE;
        *count = code == CUBLAS_STATUS_SUCCESS ? *count : 0;
        status = none ? RCNN_OK : rcnn_from_cublas(code, r->want.name, err);
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static uint32_t setting_of(const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulAlgoConfigAttributes_t name)
{
    uint32_t value = 0;
    size_t written = 0;
    (void)cublasLtMatmulAlgoConfigGetAttribute(algorithm, name, &value, sizeof value, &written);
    return value;
}

static void use_proposal(gemm_run *r, const cublasLtMatmulHeuristicResult_t *proposal)
{
    r->algorithm = proposal->algo;
    r->head.scratch_bytes = proposal->workspaceSize;
    snprintf(r->head.engine, sizeof r->head.engine, ENGINE_NAME " %u tile %u split %u",
             setting_of(&r->algorithm, CUBLASLT_ALGO_CONFIG_ID),
             setting_of(&r->algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
             setting_of(&r->algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
}

static bool is_usable(const cublasLtMatmulHeuristicResult_t *proposal)
{
    return proposal->state == CUBLAS_STATUS_SUCCESS && proposal->workspaceSize <= WORKSPACE_MAX;
}

/* ------------------------------------------------------------- timing them */

typedef struct gemm_trial {
    gemm_run *run;
    void *src, *dst, *scratch;
} gemm_trial;

static rcnn_status enqueue_trial(void *context, cudaStream_t stream, rcnn_error *err)
{
    const gemm_trial *t = context;
    const rcnn_cuda_call call = {.src = t->src, .dst = t->dst, .scratch = t->scratch, .stream = stream};
    return gemm_enqueue(&t->run->head, &call, err);
}

static rcnn_status open_trial(gemm_trial *t, rcnn_error *err)
{
    const rcnn_cuda_gemm_want *w = &t->run->want;
    rcnn_backend *backend = t->run->head.backend;
    const size_t m = (size_t)w->m;
    RCNN_TRY(rcnn_cuda_alloc_random(backend, w->type, m * (size_t)w->k * rcnn_cuda_type_bytes(w->type), &t->src, err));
    RCNN_TRY(rcnn_cuda_alloc(backend, m * (size_t)w->n * rcnn_cuda_type_bytes(w->dst_type), &t->dst, err));
    return rcnn_cuda_alloc(backend, WORKSPACE_MAX, &t->scratch, err);
}

static rcnn_status time_all(gemm_trial *t, const cublasLtMatmulHeuristicResult_t *proposals, int count, int *best,
                            float *best_us, rcnn_error *err)
{
    RCNN_TRY(open_trial(t, err));
    for (int i = 0; i < count; i++) {
        float us;
        if (!is_usable(&proposals[i])) {
            continue;
        }
        use_proposal(t->run, &proposals[i]);
        rcnn_error why = {0};
        rcnn_status status = rcnn_cuda_time(t->run->head.backend, enqueue_trial, t, &us, &why);
        if (status == RCNN_ERR_DEVICE) { /* leaves the race */
            rcnn_cuda_log(RCNN_LOG_WARN, "cuda: op '%s': a candidate failed: %s", t->run->want.name, why.message);
        } else if (status != RCNN_OK && status != RCNN_ERR_UNSUPPORTED) {
            return rcnn_fail(err, status, "%s", why.message);
        }
        if (status == RCNN_OK && (*best < 0 || us < *best_us)) {
            *best = i;
            *best_us = us;
        }
    }
    return RCNN_OK;
}

/* Leaves the fastest in the run; *best stays -1 when none runs. */
static rcnn_status tune(gemm_run *r, const char *key, const cublasLtMatmulHeuristicResult_t *proposals, int count,
                        int *best, rcnn_error *err)
{
    gemm_trial t = {.run = r};
    float us = -1;
    rcnn_status status = time_all(&t, proposals, count, best, &us, err);
    rcnn_cuda_free(r->head.backend, t.src);
    rcnn_cuda_free(r->head.backend, t.dst);
    rcnn_cuda_free(r->head.backend, t.scratch);
    if (status == RCNN_ERR_MEMORY) {
        rcnn_cuda_log(RCNN_LOG_WARN, "cuda: op '%s' is not timed: no memory for it", r->want.name);
        return RCNN_OK;
    }
    if (status == RCNN_OK && *best >= 0) {
        char choice[RCNN_ENGINE_CHOICE_MAX];
        use_proposal(r, &proposals[*best]);
        r->head.microseconds = us;
        write_choice(&r->algorithm, choice);
        rcnn_cuda_engines_remember(r->head.backend, key, choice, us);
    }
    return status;
}

/* ------------------------------------------------------------- choosing */

static void write_key(const rcnn_cuda_gemm_want *w, char key[RCNN_ENGINE_KEY_MAX])
{
    static const char *const NAMES[] = {"f32", "f16", "bf16"};
    const char *precision = w->type != RCNN_CUDA_F32 ? "" : w->precision == RCNN_PRECISION_TF32 ? " tf32" : " fp32";
    snprintf(key, RCNN_ENGINE_KEY_MAX, "product %dx%dx%d, %s>%s%s%s%s on %d", w->m, w->n, w->k, NAMES[w->type],
             NAMES[w->dst_type], precision, w->bias_of ? " bias" : "", w->relu ? " relu" : "", w->src_alignment);
}

/* A remembered algorithm, if cuBLASLt agrees to it; false leaves the run as it was. */
static bool use_remembered(gemm_run *r, const char *key)
{
    const rcnn_engine_entry *entry = rcnn_cuda_engines_find(r->head.backend, key);
    if (!entry) {
        return false;
    }
    cublasLtMatmulHeuristicResult_t result;
    memset(&result, 0, sizeof result);
    rcnn_error why = {.message = "cuBLASLt does not take it"};
    cublasLtMatmulAlgo_t algorithm;
    const bool usable = read_choice(entry->choice, &algorithm) &&
                        cublasLtMatmulAlgoCheck(r->head.backend->cublas, r->product, r->weights, r->src, r->dst, r->dst,
                                                &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
                        is_usable(&result) &&
                        (setting_of(&algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) & ~REDUCTIONS_GOOD) == 0;
    if (!usable) {
        rcnn_cuda_engines_reject(entry, &why);
        return false;
    }
    result.algo = algorithm;
    use_proposal(r, &result);
    r->head.microseconds = entry->microseconds;
    return true;
}

static rcnn_status choose(gemm_run *r, rcnn_error *err)
{
    char key[RCNN_ENGINE_KEY_MAX];
    cublasLtMatmulHeuristicResult_t proposals[PROPOSALS_MAX];
    int count, best = -1;
    write_key(&r->want, key);
    if (use_remembered(r, key)) {
        return RCNN_OK;
    }
    RCNN_TRY(propose(r, proposals, &count, err));
    if (r->head.backend->options.tune) {
        RCNN_TRY(tune(r, key, proposals, count, &best, err));
    }
    for (int i = 0; i < count && best < 0; i++) {
        if (is_usable(&proposals[i])) {
            best = i;
            use_proposal(r, &proposals[i]);
        }
    }
    return best < 0 ? use_direct(r, err) : RCNN_OK;
}

rcnn_status rcnn_cuda_gemm_prepare(rcnn_backend *backend, const rcnn_cuda_gemm_want *want, rcnn_cuda_run **out,
                                   rcnn_error *err)
{
    rcnn_cuda_run *run;
    *out = NULL;
    RCNN_TRY(rcnn_cuda_new_run(backend, sizeof(gemm_run), gemm_enqueue, gemm_release, &run, err));
    gemm_run *r = (gemm_run *)run;
    r->want = *want;
    rcnn_status status = describe(r, err);
    if (status == RCNN_OK) {
        status = choose(r, err);
    }
    if (status != RCNN_OK) {
        gemm_release(run);
        return status;
    }
    *out = run;
    return RCNN_OK;
}
