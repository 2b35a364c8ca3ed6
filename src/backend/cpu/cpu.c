/* The cpu backend's vtable: opens oneDNN, picks the instruction set of the op bodies, and hands each op to the prepare
 * function of its file, in the order of ops.def. Every op is a kernel of its own, since the epilogues that matter (bias,
 * residual, ReLU) are part of the ops already; only the first two and the mask head's last two run as one, for
 * the memory between them. */
#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cpu/mask_tail.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/stem.h"
#include "backend/cpu/winograd.h"
#include "base/memory.h"

struct rcnn_backend {
    rcnn_backend_options options;
    rcnn_cpu_isa isa;
    rcnn_onednn *dnn;
    rcnn_panels *panels;
    int caller_threads; /* OpenMP threads of the calling thread outside a run */
};

typedef rcnn_status (*prepare_op)(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                  size_t *scratch_bytes, rcnn_error *err);

static const prepare_op PREPARE[] = {
#define OP(KIND, name, help) rcnn_cpu_prepare_##name,
#include "graph/ops.def"
#undef OP
};

static const char *const ISA_NAMES[] = {[RCNN_CPU_C] = "c", [RCNN_CPU_AVX2] = "avx2", [RCNN_CPU_AVX512] = "avx512"};

#define ISA_COUNT ((int)(sizeof ISA_NAMES / sizeof ISA_NAMES[0]))

/* ------------------------------------------------------------- processor */

static rcnn_cpu_isa detect_isa(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        return RCNN_CPU_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return RCNN_CPU_AVX2;
    }
#endif
    return RCNN_CPU_C;
}

/* The processor's best level, lowered by RCNN_CPU_MASK. oneDNN keeps its own (ONEDNN_MAX_CPU_ISA). */
static rcnn_status choose_isa(rcnn_cpu_isa *out, rcnn_error *err)
{
    *out = detect_isa();
    const char *mask = getenv("RCNN_CPU_MASK");
    if (!mask || !*mask) {
        return RCNN_OK;
    }
    for (int level = 0; level < ISA_COUNT; level++) {
        if (strcmp(mask, ISA_NAMES[level]) == 0) {
            *out = level < (int)*out ? (rcnn_cpu_isa)level : *out;
            return RCNN_OK;
        }
    }
    return rcnn_fail(err, RCNN_ERR_ARGUMENT, "cpu: RCNN_CPU_MASK: want c, avx2 or avx512, got '%s'", mask);
}

static rcnn_status cpu_probe(char *text, size_t capacity)
{
    char library[128];
    rcnn_onednn_describe(library, sizeof library);
    rcnn_onednn *dnn;
    rcnn_error err;
    rcnn_status status = rcnn_onednn_open(&dnn, &err);
    if (status != RCNN_OK) {
        snprintf(text, capacity, "%s: %s", library, err.message);
        return RCNN_ERR_DEVICE;
    }
    rcnn_onednn_close(dnn);
    snprintf(text, capacity, "%s%s%s%s; own ops: %s", library, rcnn_onednn_has_bf16() ? ", bf16" : "",
             rcnn_onednn_has_int8() ? ", int8" : "", rcnn_onednn_has_amx() ? ", AMX" : "", ISA_NAMES[detect_isa()]);
    return RCNN_OK;
}

/* ------------------------------------------------------------- device */

static void cpu_close(rcnn_backend *backend)
{
    if (backend) {
        rcnn_onednn_close(backend->dnn);
        rcnn_free(backend);
    }
}

static rcnn_status open_parts(rcnn_backend *backend, rcnn_error *err)
{
    RCNN_TRY(choose_isa(&backend->isa, err));
    return rcnn_onednn_open(&backend->dnn, err);
}

static rcnn_status cpu_open(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err)
{
    *out = NULL;
    if (options->device != 0) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "cpu: want device 0, got %d", options->device);
    }
    rcnn_backend *backend = rcnn_calloc(1, sizeof *backend);
    if (!backend) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory");
    }
    backend->options = *options;
    rcnn_status status = open_parts(backend, err);
    if (status != RCNN_OK) {
        cpu_close(backend);
        return status;
    }
    *out = backend;
    return RCNN_OK;
}

static rcnn_status cpu_alloc(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err)
{
    (void)backend;
    *out = rcnn_malloc_aligned(bytes);
    return *out ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory for %zu bytes", bytes);
}

static void cpu_release_memory(rcnn_backend *backend, void *memory)
{
    (void)backend;
    rcnn_free(memory);
}

/* OpenMP's thread count belongs to the calling thread: set for the run, given back after it. oneDNN reads it both when a
 * primitive is made and when it runs, and the two must agree. */
static void cpu_begin_run(rcnn_backend *backend)
{
#ifdef _OPENMP
    backend->caller_threads = omp_get_max_threads();
    omp_set_num_threads(backend->options.num_threads);
#else
    (void)backend;
#endif
}

static void cpu_end_run(rcnn_backend *backend)
{
#ifdef _OPENMP
    omp_set_num_threads(backend->caller_threads);
#else
    (void)backend;
#endif
}

/* ------------------------------------------------------------- kernels */

static rcnn_status check_types(const rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    for (int32_t i = 0; i < op->input_count + op->output_count; i++) {
        rcnn_value_id id = i < op->input_count ? op->input[i] : op->output[i - op->input_count];
        const rcnn_value *value = &graph->values[id];
        const rcnn_dtype type = value->desc.dtype;
        const bool features = type == RCNN_F32 || type == RCNN_BF16 || type == RCNN_I8 || type == RCNN_U8;
        if (!features && type != RCNN_I32) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                             "cpu: %s '%s': value '%s' has element type %d, want f32, bf16, i8, u8 or i32",
                             rcnn_op_kind_name(op->kind), op->name, value->name, (int)value->desc.dtype);
        }
    }
    return RCNN_OK;
}

/* Ops from `first` on that run as one kernel. */
static int32_t length_of_run(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    const int32_t stem = rcnn_stem_match(backend, graph, first);
    const int32_t tail = rcnn_cpu_match_mask_tail(graph, first);
    const int32_t pair = rcnn_winograd_match(backend, graph, first);
    return stem ? stem : tail ? tail : pair ? pair : 1;
}

static rcnn_status prepare_run(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                               size_t *scratch_bytes, rcnn_error *err)
{
    if (graph->ops[first].kind == RCNN_OP_DECONV) {
        return rcnn_cpu_prepare_mask_tail(backend, graph, first, out, scratch_bytes, err);
    }
    return rcnn_stem_match(backend, graph, first)
               ? rcnn_stem_prepare(backend, graph, first, out, scratch_bytes, err)
               : rcnn_winograd_prepare_pair(backend, graph, first, out, scratch_bytes, err);
}

static rcnn_status cpu_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                               rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_op *op = &graph->ops[first];
    *out = NULL;
    *scratch_bytes = 0;
    if (count != 1 && count != length_of_run(backend, graph, first)) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cpu: asked to fuse %d ops at '%s'", count, op->name);
    }
    for (int32_t i = 0; i < count; i++) {
        RCNN_TRY(check_types(graph, op + i, err));
    }
    cpu_begin_run(backend);
    rcnn_status status = count == 1 ? PREPARE[op->kind](backend, graph, op, out, scratch_bytes, err)
                                    : prepare_run(backend, graph, first, out, scratch_bytes, err);
    cpu_end_run(backend);
    return status;
}

static int32_t cpu_claim(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t *keep_between)
{
    *keep_between = 0;
    return length_of_run(backend, graph, first);
}

/* BF16 and INT8 where oneDNN computes in them natively. AUTO is BF16 only with AMX, where it is many times faster than
 * FP32; elsewhere it is twice as fast and changes detections that nobody asked to change. */
static uint32_t cpu_precisions(rcnn_backend *backend, rcnn_precision *automatic)
{
    (void)backend;
    uint32_t set = 1u << RCNN_PRECISION_FP32;
    set |= rcnn_onednn_has_bf16() ? 1u << RCNN_PRECISION_BF16 : 0;
    set |= rcnn_onednn_has_int8() ? 1u << RCNN_PRECISION_INT8 : 0;
    *automatic = rcnn_onednn_has_amx() ? RCNN_PRECISION_BF16 : RCNN_PRECISION_FP32;
    return set;
}

static rcnn_status cpu_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    return kernel->enqueue(kernel, args, err);
}

static void cpu_release(rcnn_kernel *kernel)
{
    if (kernel) {
        kernel->release(kernel);
    }
}

static rcnn_status cpu_sync(rcnn_backend *backend, rcnn_error *err)
{
    return rcnn_onednn_wait(backend->dnn, err);
}

int32_t rcnn_cpu_threads(const rcnn_backend *backend)
{
    return backend->options.num_threads;
}

rcnn_cpu_isa rcnn_cpu_isa_of(const rcnn_backend *backend)
{
    return backend->isa;
}

rcnn_onednn *rcnn_cpu_onednn(const rcnn_backend *backend)
{
    return backend->dnn;
}

rcnn_panels **rcnn_cpu_panels(rcnn_backend *backend)
{
    return &backend->panels;
}

const rcnn_backend_vt rcnn_backend_cpu = {
    .abi = RCNN_BACKEND_ABI,
    .name = "cpu",
    .probe = cpu_probe,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release_memory = cpu_release_memory,
    .claim = cpu_claim,
    .prepare = cpu_prepare,
    .enqueue = cpu_enqueue,
    .release = cpu_release,
    .sync = cpu_sync,
    .begin_run = cpu_begin_run,
    .end_run = cpu_end_run,
    .precisions = cpu_precisions,
    .copy_speed = rcnn_cpu_copy_speed,
};
