/* The parts of the cuda backend's host side that need no GPU: weights in the orders of their kernels, kernel structs,
 * faults and claims. Device memory is host memory here; the headers of CUDA are those of tests/emulate. */
#include "backend/cuda/bottleneck.h"
#include "backend/cuda/conv.h"
#include "backend/cuda/conv_sm90_ops.h"
#include "base/memory.h"
#include "harness.h"
#include "ops/half.h"

/* ------------------------------------------------------------- the rest of the backend */

static int allocations_left = -1; /* -1: as many as wanted */

rcnn_status rcnn_from_cuda(cudaError_t code, const char *what, rcnn_error *err)
{
    return code == cudaSuccess ? RCNN_OK : rcnn_fail(err, RCNN_ERR_DEVICE, "%s", what);
}

bool rcnn_cuda_call_fails(void)
{
    return false;
}

rcnn_status rcnn_cuda_alloc(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err)
{
    *out = allocations_left == 0 ? NULL : calloc(1, bytes);
    allocations_left -= allocations_left > 0;
    backend->counters.device_allocations += *out != NULL;
    return *out ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "full");
}

void rcnn_cuda_free(rcnn_backend *backend, void *memory)
{
    (void)backend;
    free(memory);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind;
    (void)stream;
    memcpy(dst, src, bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return cudaSuccess;
}

/* Hopper's kernels take a MASK_LOGIT and its next here; a claimed run is prepared by noting how long it is. */
int32_t rcnn_sm90_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    return backend->sm == 90 && graph->ops[first].kind == RCNN_OP_MASK_LOGIT ? 2 : 0;
}

int32_t rcnn_cuda_match_bottleneck(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    (void)backend;
    (void)graph;
    (void)first;
    return 0;
}

static int32_t rows_span; /* what span.c would answer */
static int32_t prepared;

int32_t rcnn_cuda_match_rows_span(const rcnn_graph *graph, int32_t first)
{
    return graph->ops[first].rows == RCNN_NO_VALUE ? 0 : rows_span;
}

rcnn_status rcnn_sm90_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                              rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    return rcnn_cuda_prepare_conv(backend, graph, first, count, out, scratch_bytes, err);
}

rcnn_status rcnn_cuda_prepare_bottleneck(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    return rcnn_cuda_prepare_conv(backend, graph, first, count, out, scratch_bytes, err);
}

rcnn_status rcnn_cuda_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                   rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)backend;
    (void)graph;
    (void)first;
    (void)out;
    (void)scratch_bytes;
    (void)err;
    prepared = count;
    return RCNN_OK;
}

static void open_backend(rcnn_backend *backend)
{
    rcnn_error err;
    *backend = (rcnn_backend){.options.num_threads = 2, .sm = 90};
    CHECK_OK(rcnn_cuda_weights_open(backend, &err), err);
}

static void close_backend(rcnn_backend *backend)
{
    rcnn_cuda_weights_close(backend);
    rcnn_cuda_weights_close(backend);
    rcnn_free(backend->fault_names);
}

/* ------------------------------------------------------------- weights */

/* Values that name their own index and are exact in both half types up to 256. */
static float *numbered(size_t count)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; values && i < count; i++) {
        values[i] = (float)i;
    }
    return values;
}

static const float *get(rcnn_backend *backend, const rcnn_op_weights *w, rcnn_cuda_order order, int32_t pad_in)
{
    rcnn_error err = {0};
    const void *out = NULL;
    CHECK_OK(rcnn_cuda_weights_get(backend, w, order, pad_in, RCNN_CUDA_F32, &out, &err), err);
    return out;
}

TEST(orders_of_a_convolution)
{
    enum { OUT = 5, IN = 3, KH = 2, KW = 4, PAD = 8 };
    rcnn_backend backend;
    open_backend(&backend);
    float *values = numbered(OUT * IN * KH * KW);
    const rcnn_op_weights w = {.weights = values, .out = OUT, .in = IN, .kh = KH, .kw = KW};
    const float *plain = get(&backend, &w, RCNN_CUDA_ORDER_AS_IS, 0);
    const float *ohwi = get(&backend, &w, RCNN_CUDA_ORDER_OHWI, 0);
    const float *padded = get(&backend, &w, RCNN_CUDA_ORDER_OHWI_PAD, PAD);
    CHECK(plain && ohwi && padded);
    for (int o = 0; plain && ohwi && padded && o < OUT; o++) {
        for (int y = 0; y < KH; y++) {
            for (int x = 0; x < KW; x++) {
                for (int i = 0; i < PAD; i++) {
                    const float want = i < IN ? values[((o * IN + i) * KH + y) * KW + x] : 0;
                    CHECK(padded[((o * KH + y) * KW + x) * PAD + i] == want);
                    CHECK(i >= IN || ohwi[((o * KH + y) * KW + x) * IN + i] == want);
                }
            }
        }
    }
    CHECK(plain && memcmp(plain, values, sizeof(float) * OUT * IN * KH * KW) == 0);
    close_backend(&backend);
    free(values);
}

TEST(order_of_the_stem)
{
    rcnn_backend backend;
    open_backend(&backend);
    float *values = numbered(64 * 3 * 7 * 7);
    const rcnn_op_weights w = {.weights = values, .out = 64, .in = 3, .kh = 7, .kw = 7};
    const float *stem = get(&backend, &w, RCNN_CUDA_ORDER_STEM, 0);
    for (int at = 0; stem && at < 7 * 8 * 4 * 64; at++) {
        const int y = at / (8 * 4 * 64), x = at / (4 * 64) % 8, c = at / 64 % 4, o = at % 64;
        CHECK(stem[at] == (x < 7 && c < 3 ? values[((o * 3 + c) * 7 + y) * 7 + x] : 0));
    }
    rcnn_error err;
    const void *out;
    const rcnn_op_weights other = {.weights = values, .out = 32, .in = 3, .kh = 7, .kw = 7};
    CHECK(rcnn_cuda_weights_get(&backend, &other, RCNN_CUDA_ORDER_STEM, 0, RCNN_CUDA_F32, &out, &err) ==
          RCNN_ERR_INTERNAL);
    close_backend(&backend);
    free(values);
}

TEST(orders_of_fc_and_deconv)
{
    enum { OUT = 6, CHANNELS = 5, BINS = 3, IN = CHANNELS * BINS * BINS };
    rcnn_backend backend;
    open_backend(&backend);
    float *values = numbered(OUT * IN);
    const rcnn_op_weights fc = {.weights = values, .out = OUT, .in = IN, .kh = 1, .kw = 1};
    const float *bins = get(&backend, &fc, RCNN_CUDA_ORDER_FC_BINS, BINS);
    for (int at = 0; bins && at < OUT * IN; at++) {
        const int o = at / IN, cell = at % IN / CHANNELS, c = at % CHANNELS;
        CHECK(bins[at] == values[o * IN + c * BINS * BINS + cell]);
    }
    float *taps = numbered(7 * OUT * 4);
    const rcnn_op_weights deconv = {.weights = taps, .out = OUT, .in = 7, .kh = 2, .kw = 2};
    const float *rows = get(&backend, &deconv, RCNN_CUDA_ORDER_DECONV, 0);
    for (int at = 0; rows && at < 4 * OUT * 7; at++) {
        const int tap = at / (OUT * 7), o = at / 7 % OUT, i = at % 7;
        CHECK(rows[at] == taps[(i * OUT + o) * 4 + tap]);
    }
    close_backend(&backend);
    free(values);
    free(taps);
}

TEST(conversion_rounds_to_nearest_even)
{
    static const float VALUES[] = {0.0f,       -0.0f,      1.0f,      -2.5f,   65504.0f,    65519.0f,
                                   65520.0f,   1e30f,      -1e30f,    1e-8f,   2.98e-8f,    2.9802322e-8f,
                                   8.9e-8f,    6.0975e-5f, 6.104e-5f, 1e-45f,  INFINITY,    -INFINITY,
                                   1.0004883f, 1.0014648f, 0.1f,      3.3e38f, 1.00390625f, 1.01171875f};
    enum { COUNT = sizeof VALUES / sizeof VALUES[0] };
    rcnn_backend backend;
    open_backend(&backend);
    const rcnn_op_weights w = {.weights = VALUES, .bias = VALUES, .out = COUNT, .in = 1, .kh = 1, .kw = 1};
    rcnn_error err;
    const void *half = NULL, *brain = NULL;
    CHECK_OK(rcnn_cuda_weights_get(&backend, &w, RCNN_CUDA_ORDER_AS_IS, 0, RCNN_CUDA_F16, &half, &err), err);
    CHECK_OK(rcnn_cuda_bias_get(&backend, &w, 1, RCNN_CUDA_BF16, &brain, &err), err);
    for (int i = 0; half && brain && i < COUNT; i++) {
        CHECK_MSG(((const uint16_t *)half)[i] == test_half_bits(VALUES[i]), "%a: %04x", (double)VALUES[i],
                  ((const uint16_t *)half)[i]);
        CHECK_MSG(((const uint16_t *)brain)[i] == test_bfloat16_bits(VALUES[i]), "%a: %04x", (double)VALUES[i],
                  ((const uint16_t *)brain)[i]);
    }
    close_backend(&backend);
}

TEST(copies_are_shared)
{
    float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    rcnn_backend backend;
    open_backend(&backend);
    rcnn_error err;
    const void *a, *b, *c;
    const rcnn_op_weights w = {.weights = values, .bias = values, .out = 4, .in = 2, .kh = 1, .kw = 1};
    CHECK(get(&backend, &w, RCNN_CUDA_ORDER_AS_IS, 0) == get(&backend, &w, RCNN_CUDA_ORDER_AS_IS, 0));
    CHECK(backend.counters.device_allocations == 1);
    CHECK_OK(rcnn_cuda_bias_get(&backend, &w, 1, RCNN_CUDA_F32, &a, &err), err);
    CHECK_OK(rcnn_cuda_bias_get(&backend, &w, 3, RCNN_CUDA_F32, &b, &err), err);
    CHECK_OK(rcnn_cuda_bias_get(&backend, &w, 3, RCNN_CUDA_F32, &c, &err), err);
    CHECK(a != b && b == c);
    for (int i = 0; i < 12; i++) {
        CHECK(((const float *)b)[i] == values[i % 4]);
    }
    const int32_t table[3] = {7, 8, 9}, same[3] = {7, 8, 9}, other[3] = {7, 8, 8};
    CHECK_OK(rcnn_cuda_constant_get(&backend, table, sizeof table, &a, &err), err);
    CHECK_OK(rcnn_cuda_constant_get(&backend, same, sizeof same, &b, &err), err);
    CHECK_OK(rcnn_cuda_constant_get(&backend, other, sizeof other, &c, &err), err);
    CHECK(a == b && a != c && memcmp(c, other, sizeof other) == 0);
    close_backend(&backend);
}

TEST(every_allocation_may_fail)
{
    float values[12] = {0};
    const rcnn_op_weights w = {.weights = values, .bias = values, .out = 4, .in = 3, .kh = 1, .kw = 1};
    rcnn_backend backend;
    rcnn_error err;
    const void *out;
    open_backend(&backend);
    allocations_left = 0;
    CHECK(rcnn_cuda_weights_get(&backend, &w, RCNN_CUDA_ORDER_OHWI, 0, RCNN_CUDA_F16, &out, &err) == RCNN_ERR_MEMORY);
    CHECK(rcnn_cuda_bias_get(&backend, &w, 2, RCNN_CUDA_F16, &out, &err) == RCNN_ERR_MEMORY);
    CHECK(rcnn_cuda_constant_get(&backend, values, sizeof values, &out, &err) == RCNN_ERR_MEMORY && !out);
    allocations_left = -1;
    rcnn_status status = RCNN_ERR_MEMORY;
    for (uint64_t n = 1; n < 20 && status != RCNN_OK; n++) {
        rcnn_memory_fail_from(n);
        status = rcnn_cuda_weights_get(&backend, &w, RCNN_CUDA_ORDER_OHWI, 0, RCNN_CUDA_F16, &out, &err);
        status = status == RCNN_OK ? rcnn_cuda_constant_get(&backend, values, sizeof values, &out, &err) : status;
        CHECK(status == RCNN_OK || status == RCNN_ERR_MEMORY);
    }
    rcnn_memory_fail_from(0);
    CHECK(status == RCNN_OK);
    close_backend(&backend);
}

/* ------------------------------------------------------------- faults */

static void check_fault(const rcnn_backend *backend, rcnn_cuda_fault fault, rcnn_status want, const char *line)
{
    rcnn_error err = {0};
    CHECK(rcnn_cuda_fault_status(backend, &fault, &err) == want);
    CHECK_MSG(strcmp(err.message, line) == 0, "'%s'", err.message);
}

TEST(faults_read_as_those_of_ref)
{
    rcnn_backend backend;
    open_backend(&backend);
    const int32_t rpn = rcnn_cuda_fault_id(&backend, "rpn.select");
    const int32_t box = rcnn_cuda_fault_id(&backend, "box.select");
    CHECK(rpn == 0 && box == 1 && rcnn_cuda_fault_id(&backend, "rpn.select") == 0);
    check_fault(&backend, (rcnn_cuda_fault){0}, RCNN_OK, "");
    check_fault(&backend, (rcnn_cuda_fault){RCNN_CUDA_FAULT_OBJECTNESS, rpn, 1, 2, 3}, RCNN_ERR_NUMERIC,
                "op 'rpn.select': image 1, level 2, anchor 3: an objectness logit is not finite");
    check_fault(&backend, (rcnn_cuda_fault){RCNN_CUDA_FAULT_RPN_DELTA, rpn, 1, 2, 3}, RCNN_ERR_NUMERIC,
                "op 'rpn.select': image 1, level 2, anchor 3: a box delta is not finite");
    check_fault(&backend, (rcnn_cuda_fault){RCNN_CUDA_FAULT_CLASS_LOGIT, box, 0, 9, 0}, RCNN_ERR_NUMERIC,
                "op 'box.select': image 0, RoI 9: a class logit is not finite");
    check_fault(&backend, (rcnn_cuda_fault){RCNN_CUDA_FAULT_BOX_DELTA, box, 0, 9, 7}, RCNN_ERR_NUMERIC,
                "op 'box.select': image 0, RoI 9, label 7: a box delta is not finite");
    check_fault(&backend, (rcnn_cuda_fault){RCNN_CUDA_FAULT_CAPACITY, box, 0, 200, 100}, RCNN_ERR_INTERNAL,
                "op 'box.select': more than 100 candidates");
    check_fault(&backend, (rcnn_cuda_fault){RCNN_CUDA_FAULT_LABEL, 55, 0, 4, 80}, RCNN_ERR_INTERNAL,
                "op '?': image 0, RoI 4: label 80 has no mask channel");
    close_backend(&backend);
}

/* ------------------------------------------------------------- claims */

typedef struct stem_graph {
    rcnn_graph graph;
    rcnn_value_id image, conv, pool;
} stem_graph;

static rcnn_value_id add_value(rcnn_graph *graph, const char *name, rcnn_dtype dtype, int32_t side, int32_t channels)
{
    rcnn_error err;
    rcnn_value_id id = RCNN_NO_VALUE;
    const int32_t dim[4] = {1, side, side, channels};
    CHECK_OK(rcnn_graph_add_value(graph, name, dtype, 4, dim, &id, &err), err);
    return id;
}

/* preprocess -> conv 7x7 -> max pooling, as the stem's kernel takes them when channels is 4 */
static void build_stem(stem_graph *s, rcnn_dtype dtype, int32_t channels, bool pool_stage)
{
    rcnn_error err;
    rcnn_graph_init(&s->graph);
    s->image = add_value(&s->graph, "image", dtype, 64, channels);
    s->conv = add_value(&s->graph, "conv", dtype, 32, 64);
    s->pool = add_value(&s->graph, "pool", dtype, 16, 64);
    rcnn_op preprocess = {
        .kind = RCNN_OP_PREPROCESS, .output_count = 1, .output = {s->image}, .inplace = -1, .rows = -1};
    rcnn_op conv = {.kind = RCNN_OP_CONV,
                    .input_count = 1,
                    .output_count = 1,
                    .input = {s->image},
                    .output = {s->conv},
                    .inplace = -1,
                    .rows = RCNN_NO_VALUE,
                    .w = {.out = 64, .in = 3, .kh = 7, .kw = 7},
                    .u.conv = {.stride = 2, .pad = 3, .groups = 1, .relu = 1}};
    rcnn_op pool = {.kind = RCNN_OP_MAXPOOL,
                    .stage = pool_stage ? conv.stage + 1 : conv.stage,
                    .input_count = 1,
                    .output_count = 1,
                    .input = {s->conv},
                    .output = {s->pool},
                    .inplace = -1,
                    .rows = RCNN_NO_VALUE,
                    .u.maxpool = {.kernel = 3, .stride = 2, .pad = 1}};
    CHECK_OK(rcnn_graph_add_op(&s->graph, &preprocess, &err), err);
    CHECK_OK(rcnn_graph_add_op(&s->graph, &conv, &err), err);
    CHECK_OK(rcnn_graph_add_op(&s->graph, &pool, &err), err);
}

static int32_t claimed(rcnn_backend *backend, const rcnn_graph *graph, int32_t first)
{
    int32_t keep = 1;
    const int32_t count = rcnn_cuda_claim(backend, graph, first, &keep);
    CHECK(keep == 0);
    return count;
}

TEST(the_stem_is_claimed)
{
    rcnn_backend backend = {.sm = 80};
    stem_graph s;
    build_stem(&s, RCNN_F16, 4, false);
    CHECK(claimed(&backend, &s.graph, 0) == 1);
    CHECK(claimed(&backend, &s.graph, 1) == 2);
    CHECK(claimed(&backend, &s.graph, 2) == 1);
    s.graph.ops[1].u.conv.relu = 0;
    CHECK(claimed(&backend, &s.graph, 1) == 1);
    s.graph.ops[1].u.conv.relu = 1;
    rcnn_graph_mark_output(&s.graph, s.conv);
    CHECK_MSG(claimed(&backend, &s.graph, 1) == 1, "the convolution's output is wanted by others too");
    rcnn_graph_free(&s.graph);
    build_stem(&s, RCNN_F32, 4, false);
    CHECK(claimed(&backend, &s.graph, 1) == 1);
    rcnn_graph_free(&s.graph);
    build_stem(&s, RCNN_BF16, 3, false);
    CHECK(claimed(&backend, &s.graph, 1) == 1);
    rcnn_graph_free(&s.graph);
    build_stem(&s, RCNN_BF16, 4, true);
    CHECK(claimed(&backend, &s.graph, 1) == 1);
    rcnn_graph_free(&s.graph);
}

/* A span of packed rows ends where a kernel of Hopper begins; elsewhere it is taken whole. */
TEST(spans_leave_hopper_its_own)
{
    rcnn_op ops[5] = {{.kind = RCNN_OP_CONV},
                      {.kind = RCNN_OP_CONV},
                      {.kind = RCNN_OP_DECONV},
                      {.kind = RCNN_OP_CONV},
                      {.kind = RCNN_OP_MASK_LOGIT}};
    const rcnn_graph graph = {.ops = ops, .op_count = 5};
    rcnn_backend backend = {.sm = 89};
    rcnn_error err = {0};
    rcnn_kernel *kernel;
    size_t scratch;
    int32_t keep = 0;
    for (int i = 0; i < 5; i++) {
        ops[i].w.in = 64;
    }
    rows_span = 5;
    CHECK(rcnn_cuda_claim(&backend, &graph, 0, &keep) == 5 && keep == 1);
    CHECK_OK(rcnn_cuda_prepare_claimed(&backend, &graph, 0, 5, &kernel, &scratch, &err), err);
    CHECK(prepared == 5);
    backend.sm = 90;
    CHECK(rcnn_cuda_claim(&backend, &graph, 0, &keep) == 4 && keep == 1);
    CHECK(rcnn_cuda_claim(&backend, &graph, 4, &keep) == 2 && keep == 0);
    CHECK(rcnn_cuda_prepare_claimed(&backend, &graph, 0, 5, &kernel, &scratch, &err) == RCNN_ERR_INTERNAL);
    rows_span = 0;
    CHECK(rcnn_cuda_claim(&backend, &graph, 0, &keep) == 1 && keep == 0);
}

TEST_MAIN
