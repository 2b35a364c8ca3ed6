/* What a device reaches in a short test of its own, for scale: a product of square matrices as the backend runs it in a
 * network, and the copy that its table offers. A backend of its own is opened for the test, so that
 * nothing of it stays in a session. */
#include <stdbool.h>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/threads.h"

#define HOST_SIDE    1024   /* of the matrices: 2 GFLOP, short enough to fall between what else the machine does */
#define HOST_ROWS    32     /* of the image that stands for one of them there */
#define DEVICE_SIDE  8192   /* 1.1 TFLOP                 */
#define ROUNDS_MS    1000.0 /* rounds are repeated until this is over, the best one counts */
#define ROUNDS_LEAST 3

typedef struct product {
    const rcnn_backend_vt *vt;
    rcnn_backend *backend;
    rcnn_graph graph;
    float *weights, *bias; /* [side][side], [side] */
    rcnn_kernel *kernel;
    void *value[2], *scratch;
    size_t scratch_bytes;
    int32_t side, repeats; /* products of a round */
} product;

/* ------------------------------------------------------------- data */

static uint32_t next_random(uint32_t *state) /* xorshift32 */
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Numbers with random signs and mantissas and magnitudes around 1/8: constants switch fewer transistors. */
static void fill(rcnn_dtype type, void *memory, size_t count)
{
    uint32_t state = 2463534242u;
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = next_random(&state);
        if (type == RCNN_F32) {
            ((uint32_t *)memory)[i] = (bits & 0x807fffffu) | 124u << 23;
        } else {
            ((uint16_t *)memory)[i] =
                (uint16_t)(type == RCNN_F16 ? (bits & 0x83ffu) | 12u << 10 : (bits & 0x807fu) | 124u << 7);
        }
    }
}

static rcnn_dtype type_of(rcnn_precision precision)
{
    return precision == RCNN_PRECISION_FP16 ? RCNN_F16 : precision == RCNN_PRECISION_BF16 ? RCNN_BF16 : RCNN_F32;
}

static rcnn_status fill_source(product *p, rcnn_dtype type, rcnn_error *err)
{
    const size_t count = (size_t)p->side * (size_t)p->side, bytes = p->graph.values[0].bytes;
    if (!p->vt->upload) {
        fill(type, p->value[0], count);
        return RCNN_OK;
    }
    void *source = rcnn_malloc(bytes);
    if (!source) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "peak: out of memory for %zu bytes", bytes);
    }
    fill(type, source, count);
    rcnn_status status = p->vt->upload(p->backend, p->value[0], source, bytes, err);
    rcnn_free(source);
    return status;
}

/* ------------------------------------------------------------- the product */

/* On the host the product is a convolution of one pixel's kernel, which has its weights in the library's own order; there
 * an inner product is slower than what most of a network is made of. */
static rcnn_status build(product *p, rcnn_dtype type, rcnn_error *err)
{
    const bool host = !p->vt->stage;
    const int32_t flat[2] = {p->side, p->side}, image[4] = {1, HOST_ROWS, p->side / HOST_ROWS, p->side};
    const int32_t rank = host ? 4 : 2, *dim = host ? image : flat;
    rcnn_value_id src, dst;
    RCNN_TRY(rcnn_graph_add_value(&p->graph, "src", type, rank, dim, &src, err));
    p->graph.values[src].producer = 0; /* made outside the graph */
    RCNN_TRY(rcnn_graph_add_value(&p->graph, "dst", type, rank, dim, &dst, err));
    rcnn_op op = {.kind = host ? RCNN_OP_CONV : RCNN_OP_FC,
                  .stage = RCNN_STAGE_box_head,
                  .name = "peak",
                  .input_count = 1,
                  .output_count = 1,
                  .input = {src},
                  .output = {dst},
                  .inplace = -1,
                  .rows = RCNN_NO_VALUE,
                  .w = {p->weights, p->bias, p->side, p->side, 1, 1}};
    if (host) {
        op.u.conv.stride = 1;
        op.u.conv.groups = 1;
    }
    return rcnn_graph_add_op(&p->graph, &op, err);
}

static rcnn_status open_product(product *p, rcnn_precision precision, rcnn_error *err)
{
    const size_t count = (size_t)p->side * (size_t)p->side;
    const rcnn_dtype type = type_of(precision);
    p->graph.precision = precision;
    p->weights = rcnn_malloc(count * sizeof(float));
    p->bias = rcnn_calloc((size_t)p->side, sizeof(float));
    if (!p->weights || !p->bias) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "peak: out of memory for %zu bytes", count * sizeof(float));
    }
    fill(RCNN_F32, p->weights, count);
    RCNN_TRY(build(p, type, err));
    RCNN_TRY(p->vt->prepare(p->backend, &p->graph, 0, 1, &p->kernel, &p->scratch_bytes, err));
    RCNN_TRY(p->vt->alloc(p->backend, p->graph.values[0].bytes, &p->value[0], err));
    RCNN_TRY(p->vt->alloc(p->backend, p->graph.values[1].bytes, &p->value[1], err));
    RCNN_TRY(p->vt->alloc(p->backend, p->scratch_bytes ? p->scratch_bytes : 1, &p->scratch, err));
    return fill_source(p, type, err);
}

static rcnn_status run_round(const product *p, double *ms, rcnn_error *err)
{
    const rcnn_frame frame = {.count = 0};
    const rcnn_args args = {.value = p->value, .scratch = p->scratch, .frame = &frame};
    const double start = rcnn_clock_ms();
    rcnn_status status = RCNN_OK;
    for (int32_t i = 0; i < p->repeats && status == RCNN_OK; i++) {
        status = p->vt->enqueue(p->kernel, &args, err);
    }
    rcnn_status synced = p->vt->sync(p->backend, status == RCNN_OK ? err : NULL);
    *ms = rcnn_clock_ms() - start;
    return status == RCNN_OK ? synced : status;
}

static rcnn_status time_product(const product *p, double *tflops, rcnn_error *err)
{
    double best = 0, ms, start = 0;
    for (int32_t round = -1; round < ROUNDS_LEAST || rcnn_clock_ms() - start < ROUNDS_MS; round++) {
        start = round == 0 ? rcnn_clock_ms() : start;
        RCNN_TRY(run_round(p, &ms, err));
        best = round >= 0 && (best == 0 || ms < best) ? ms : best; /* round -1 warms up */
    }
    const double side = p->side;
    *tflops = 2 * side * side * side * p->repeats / (best * 1e9);
    return RCNN_OK;
}

static void close_product(product *p)
{
    if (p->kernel) {
        p->vt->release(p->kernel);
    }
    for (int32_t i = 0; i < 2; i++) {
        if (p->value[i]) {
            p->vt->release_memory(p->backend, p->value[i]);
        }
    }
    if (p->scratch) {
        p->vt->release_memory(p->backend, p->scratch);
    }
    rcnn_graph_free(&p->graph);
    rcnn_free(p->weights);
    rcnn_free(p->bias);
}

/* ------------------------------------------------------------- both */

static rcnn_status choose(const rcnn_backend_vt *vt, rcnn_backend *backend, rcnn_precision *precision, rcnn_error *err)
{
    rcnn_precision automatic = RCNN_PRECISION_FP32;
    const uint32_t have = vt->precisions ? vt->precisions(backend, &automatic) : 1u << RCNN_PRECISION_FP32;
    *precision = *precision == RCNN_PRECISION_AUTO ? automatic : *precision;
    if (*precision == RCNN_PRECISION_INT8 || !(have & 1u << *precision)) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "peak: backend %s has no test in precision %d", vt->name,
                         (int)*precision);
    }
    return RCNN_OK;
}

static rcnn_status measure(const rcnn_backend_vt *vt, rcnn_backend *backend, rcnn_precision precision, double *tflops,
                           double *gb_s, rcnn_error *err)
{
    RCNN_TRY(choose(vt, backend, &precision, err));
    RCNN_TRY(vt->copy_speed(backend, gb_s, err));
    product p = {.vt = vt, .backend = backend, .repeats = vt->stage ? 10 : 1};
    p.side = vt->stage ? DEVICE_SIDE : HOST_SIDE;
    rcnn_graph_init(&p.graph);
    if (vt->begin_run) {
        vt->begin_run(backend);
    }
    rcnn_status status = open_product(&p, precision, err);
    if (status == RCNN_OK) {
        status = time_product(&p, tflops, err);
    }
    if (vt->end_run) {
        vt->end_run(backend);
    }
    close_product(&p);
    return status;
}

rcnn_status rcnn_device_peak(const char *backend, int32_t device, int32_t num_threads, rcnn_precision precision,
                             double *tflops, double *gb_s, rcnn_error *err)
{
    if (!backend || !tflops || !gb_s || num_threads < 0 || num_threads > 1024 || precision < RCNN_PRECISION_AUTO ||
        precision > RCNN_PRECISION_INT8) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT,
                         "peak: want a backend's name, 0..1024 threads, a precision and places for the results");
    }
    *tflops = *gb_s = 0;
    const rcnn_backend_vt *vt;
    RCNN_TRY(rcnn_backend_find(backend, &vt, err));
    if (vt->abi != RCNN_BACKEND_ABI || !vt->copy_speed) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "peak: backend %s has no test of its speed", vt->name);
    }
    const rcnn_backend_options options = {.device = device,
                                          .num_threads = num_threads ? num_threads : rcnn_threads_available()};
    rcnn_backend *opened;
    RCNN_TRY(vt->open(&options, &opened, err));
    rcnn_status status = measure(vt, opened, precision, tflops, gb_s, err);
    vt->close(opened);
    return status;
}
