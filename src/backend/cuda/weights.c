/* Weights, biases and constant tables on the device: each made once, in the order and type its kernels want, and shared
 * by all plans of the backend. The host's copies are the model's float arrays, which outlive the backend. */
#include "backend/cuda/cuda.h"

#include <string.h>

#include "base/memory.h"

typedef enum entry_kind { ENTRY_WEIGHTS, ENTRY_BIAS, ENTRY_CONSTANT } entry_kind;

typedef struct entry {
    entry_kind kind;
    const void *source; /* the model's array; CONSTANT: a copy of the content, owned */
    size_t bytes;       /* CONSTANT                                                  */
    int32_t order;      /* WEIGHTS: rcnn_cuda_order                                  */
    int32_t pad_in;     /* WEIGHTS; BIAS: copies                                     */
    rcnn_cuda_type type;
    void *device;
} entry;

struct rcnn_cuda_weights {
    entry *entries;
    size_t count, capacity;
};

/* ------------------------------------------------------------- conversion */

/* f32 -> bits of the type, to nearest, ties to even; what is too large becomes infinite, NaN stays NaN. */
static uint16_t f16_bits(float value)
{
    uint32_t f;
    memcpy(&f, &value, sizeof f);
    const uint32_t sign = f >> 16 & 0x8000u;
    const uint32_t magnitude = f & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u);
    }
    if (magnitude >= 0x477ff000u) { /* 65520 and up, half way to the next power of two, round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude <
        0x38800000u) { /* below 2^-14 subnormal: adding 0.5 leaves units of 2^-24, rounded, in the last bits */
        float shifted;
        memcpy(&shifted, &magnitude, sizeof shifted);
        shifted += 0.5f;
        uint32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

static uint16_t bf16_bits(float value)
{
    uint32_t f;
    memcpy(&f, &value, sizeof f);
    if ((f & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(f >> 16 | 0x40u);
    }
    return (uint16_t)((f + 0x7fffu + (f >> 16 & 1u)) >> 16);
}

static void convert(const float *src, size_t count, rcnn_cuda_type type, uint16_t *dst, int32_t threads)
{
    (void)threads; /* without OpenMP */
    const bool half = type == RCNN_CUDA_F16;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; i++) {
        dst[i] = half ? f16_bits(src[i]) : bf16_bits(src[i]);
    }
}

/* ------------------------------------------------------------- orders */

/* The device's array as rows of columns; each order fills one row from the model's array. */
typedef struct layout {
    size_t rows, columns;
    void (*fill)(const rcnn_op_weights *w, int32_t pad_in, size_t row, float *dst);
} layout;

static size_t taps_of(const rcnn_op_weights *w)
{
    return (size_t)(w->kh > 0 ? w->kh : 1) * (size_t)(w->kw > 0 ? w->kw : 1);
}

static void fill_as_is(const rcnn_op_weights *w, int32_t pad_in, size_t row, float *dst)
{
    (void)pad_in;
    const size_t columns = (size_t)w->in * taps_of(w);
    memcpy(dst, w->weights + row * columns, columns * sizeof *dst);
}

/* [in][taps] of one output -> [taps][pad_in] */
static void fill_ohwi(const rcnn_op_weights *w, int32_t pad_in, size_t row, float *dst)
{
    const size_t taps = taps_of(w);
    const size_t in = (size_t)w->in;
    const float *src = w->weights + row * in * taps;
    memset(dst, 0, taps * (size_t)pad_in * sizeof *dst);
    for (size_t t = 0; t < taps; t++) {
        for (size_t i = 0; i < in; i++) {
            dst[t * (size_t)pad_in + i] = src[i * taps + t];
        }
    }
}

/* One filter row, [8][4][64]: columns past 6 and the fourth channel are 0. */
static void fill_stem(const rcnn_op_weights *w, int32_t pad_in, size_t row, float *dst)
{
    (void)pad_in;
    memset(dst, 0, sizeof(float) * 8 * 4 * 64);
    for (size_t kx = 0; kx < 7; kx++) {
        for (size_t c = 0; c < 3; c++) {
            for (size_t o = 0; o < 64; o++) {
                dst[(kx * 4 + c) * 64 + o] = w->weights[((o * 3 + c) * 7 + row) * 7 + kx];
            }
        }
    }
}

/* Columns c,y,x -> y,x,c; pad_in is the side of the bins. */
static void fill_fc_bins(const rcnn_op_weights *w, int32_t pad_in, size_t row, float *dst)
{
    const size_t cells = (size_t)pad_in * (size_t)pad_in;
    const size_t channels = (size_t)w->in / cells;
    const float *src = w->weights + row * (size_t)w->in;
    for (size_t c = 0; c < channels; c++) {
        for (size_t cell = 0; cell < cells; cell++) {
            dst[cell * channels + c] = src[c * cells + cell];
        }
    }
}

/* Row tap*out + o of [taps*out][in]. */
static void fill_deconv(const rcnn_op_weights *w, int32_t pad_in, size_t row, float *dst)
{
    (void)pad_in;
    const size_t taps = taps_of(w);
    const size_t out = (size_t)w->out;
    for (size_t i = 0; i < (size_t)w->in; i++) {
        dst[i] = w->weights[(i * out + row % out) * taps + row / out];
    }
}

static bool is_stem(const rcnn_op_weights *w)
{
    return w->out == 64 && w->in == 3 && w->kh == 7 && w->kw == 7;
}

static rcnn_status choose_layout(const rcnn_op_weights *w, rcnn_cuda_order order, int32_t *pad_in, layout *out,
                                 rcnn_error *err)
{
    const size_t rows = (size_t)w->out;
    const size_t in = (size_t)w->in;
    bool fits = true;
    switch (order) {
    case RCNN_CUDA_ORDER_AS_IS:
        *out = (layout){rows, in * taps_of(w), fill_as_is};
        break;
    case RCNN_CUDA_ORDER_OHWI:
        *pad_in = w->in;
        *out = (layout){rows, in * taps_of(w), fill_ohwi};
        break;
    case RCNN_CUDA_ORDER_OHWI_PAD:
        fits = *pad_in >= w->in;
        *out = (layout){rows, (size_t)*pad_in * taps_of(w), fill_ohwi};
        break;
    case RCNN_CUDA_ORDER_STEM:
        fits = is_stem(w);
        *out = (layout){7, (size_t)8 * 4 * 64, fill_stem};
        break;
    case RCNN_CUDA_ORDER_FC_BINS:
        fits = *pad_in > 0 && w->in % (*pad_in * *pad_in) == 0;
        *out = (layout){rows, in, fill_fc_bins};
        break;
    case RCNN_CUDA_ORDER_DECONV:
        *out = (layout){rows * taps_of(w), in, fill_deconv};
        break;
    }
    return fits ? RCNN_OK
                : rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: weights of %d x %d (%d x %d) do not fit order %d, %d",
                            w->out, w->in, w->kh, w->kw, (int)order, *pad_in);
}

/* ------------------------------------------------------------- upload */

/* The copy is ordered before everything that the stream gets later, and `src` may change at the return. */
static rcnn_status upload(rcnn_backend *backend, void *dst, const void *src, size_t bytes, rcnn_error *err)
{
    RCNN_CUDA_TRY(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, backend->stream), "uploading weights", err);
    backend->counters.host_syncs++;
    RCNN_CUDA_TRY(cudaStreamSynchronize(backend->stream), "uploading weights", err);
    return RCNN_OK;
}

/* Device copy of `bytes` from host memory. */
static rcnn_status make_copy(rcnn_backend *backend, const void *src, size_t bytes, void **out, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_alloc(backend, bytes, out, err));
    rcnn_status status = upload(backend, *out, src, bytes, err);
    if (status != RCNN_OK) {
        rcnn_cuda_free(backend, *out);
        *out = NULL;
    }
    return status;
}

/* Device copy of `count` floats as elements of `type`. */
static rcnn_status make_typed(rcnn_backend *backend, const float *src, size_t count, rcnn_cuda_type type, void **out,
                              rcnn_error *err)
{
    if (type == RCNN_CUDA_F32) {
        return make_copy(backend, src, count * sizeof *src, out, err);
    }
    uint16_t *converted = rcnn_malloc(count * sizeof *converted);
    if (!converted) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory for weights");
    }
    convert(src, count, type, converted, backend->options.num_threads);
    rcnn_status status = make_copy(backend, converted, count * sizeof *converted, out, err);
    rcnn_free(converted);
    return status;
}

static rcnn_status make_weights(rcnn_backend *backend, const rcnn_op_weights *w, const layout *l, int32_t pad_in,
                                rcnn_cuda_type type, void **out, rcnn_error *err)
{
    size_t count;
    if (!rcnn_mul_size(l->rows, l->columns, &count) || count > SIZE_MAX / sizeof(float)) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "cuda: weights of %zu x %zu are too large", l->rows, l->columns);
    }
    if (l->fill == fill_as_is) {
        return make_typed(backend, w->weights, count, type, out, err);
    }
    float *ordered = rcnn_malloc(count * sizeof *ordered);
    if (!ordered) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory for weights");
    }
    const int32_t threads = backend->options.num_threads;
    (void)threads; /* without OpenMP */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t row = 0; row < l->rows; row++) {
        l->fill(w, pad_in, row, ordered + row * l->columns);
    }
    rcnn_status status = make_typed(backend, ordered, count, type, out, err);
    rcnn_free(ordered);
    return status;
}

/* ------------------------------------------------------------- the store */

static bool same(const entry *a, const entry *b)
{
    if (a->kind != b->kind || a->type != b->type || a->order != b->order || a->pad_in != b->pad_in) {
        return false;
    }
    if (a->kind == ENTRY_CONSTANT) {
        return a->bytes == b->bytes && memcmp(a->source, b->source, a->bytes) == 0;
    }
    return a->source == b->source;
}

static const void *find(const rcnn_cuda_weights *store, const entry *key)
{
    for (size_t i = 0; i < store->count; i++) {
        if (same(&store->entries[i], key)) {
            return store->entries[i].device;
        }
    }
    return NULL;
}

/* Room for one more entry, so that adding what has been made cannot fail. */
static rcnn_status reserve(rcnn_cuda_weights *store, rcnn_error *err)
{
    void *entries = store->entries;
    if (!rcnn_grow(&entries, &store->capacity, store->count + 1, sizeof *store->entries)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    store->entries = entries;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_weights_get(rcnn_backend *backend, const rcnn_op_weights *w, rcnn_cuda_order order,
                                  int32_t pad_in, rcnn_cuda_type type, const void **out, rcnn_error *err)
{
    rcnn_cuda_weights *store = backend->weights;
    layout l = {0};
    *out = NULL;
    RCNN_TRY(choose_layout(w, order, &pad_in, &l, err));
    entry key = {.kind = ENTRY_WEIGHTS, .source = w->weights, .order = (int32_t)order, .pad_in = pad_in, .type = type};
    *out = find(store, &key);
    if (*out) {
        return RCNN_OK;
    }
    RCNN_TRY(reserve(store, err));
    RCNN_TRY(make_weights(backend, w, &l, pad_in, type, &key.device, err));
    store->entries[store->count++] = key;
    *out = key.device;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_bias_get(rcnn_backend *backend, const rcnn_op_weights *w, int32_t copies, rcnn_cuda_type type,
                               const void **out, rcnn_error *err)
{
    rcnn_cuda_weights *store = backend->weights;
    entry key = {.kind = ENTRY_BIAS, .source = w->bias, .pad_in = copies, .type = type};
    *out = find(store, &key);
    if (*out) {
        return RCNN_OK;
    }
    RCNN_TRY(reserve(store, err));
    const size_t count = (size_t)w->out;
    float *repeated = rcnn_malloc(count * (size_t)copies * sizeof *repeated);
    if (!repeated) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    for (size_t i = 0; i < (size_t)copies; i++) {
        memcpy(repeated + i * count, w->bias, count * sizeof *repeated);
    }
    rcnn_status status = make_typed(backend, repeated, count * (size_t)copies, type, &key.device, err);
    rcnn_free(repeated);
    RCNN_TRY(status);
    store->entries[store->count++] = key;
    *out = key.device;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_constant_get(rcnn_backend *backend, const void *data, size_t bytes, const void **out,
                                   rcnn_error *err)
{
    rcnn_cuda_weights *store = backend->weights;
    entry key = {.kind = ENTRY_CONSTANT, .source = data, .bytes = bytes};
    *out = find(store, &key);
    if (*out) {
        return RCNN_OK;
    }
    RCNN_TRY(reserve(store, err));
    void *copy = rcnn_malloc(bytes);
    if (!copy) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    memcpy(copy, data, bytes);
    key.source = copy;
    rcnn_status status = make_copy(backend, copy, bytes, &key.device, err);
    if (status != RCNN_OK) {
        rcnn_free(copy);
        return status;
    }
    store->entries[store->count++] = key;
    *out = key.device;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_weights_open(rcnn_backend *backend, rcnn_error *err)
{
    backend->weights = rcnn_calloc(1, sizeof *backend->weights);
    return backend->weights ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
}

void rcnn_cuda_weights_close(rcnn_backend *backend)
{
    rcnn_cuda_weights *store = backend->weights;
    if (!store) {
        return;
    }
    for (size_t i = 0; i < store->count; i++) {
        rcnn_cuda_free(backend, store->entries[i].device);
        if (store->entries[i].kind == ENTRY_CONSTANT) {
            rcnn_free((void *)(uintptr_t)store->entries[i].source);
        }
    }
    rcnn_free(store->entries);
    rcnn_free(store);
    backend->weights = NULL;
}
