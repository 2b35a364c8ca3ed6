/* CONV and DECONV as oneDNN primitives with bias, requantisation, residual (sum) and ReLU fused; what oneDNN does not
 * combine is written as floats beside and stored by onednn_store.
 *
 * Packed rows. oneDNN's convolution has no batch size known only at run time, so an op over packed rows is prepared for
 * a few batch sizes that share one copy of the weights, and the live rows are cut into those: 37 = 2*16 + 4 + 1. On a
 * mask head row (14x14x256, 3x3) one row alone runs at 98 % of the speed of 16, so work follows the count.
 *
 * Lines. A 1x1 convolution whose sums go through floats is prepared for as many lines of pixels as leave those floats in the
 * caches, and for the rest of the map: they are stored from there, and no map of floats is written to memory.
 *
 * DECONV 2x2 stride 2: every source pixel makes its own 2x2 block, so the op is a 1x1 convolution with four times the outputs,
 * "taps" [..][2][2][Co], which pixels of the result are put together from. The mask tail takes them as they are. oneDNN 2.6's own
 * deconvolution is 10 times slower on NHWC, and its batched products, which could write in place, pack their weights for every
 * line (docs/decisions/0001). */
#include "backend/cpu/onednn_conv.h"

#include <string.h>

#include "backend/cpu/elements.h"
#include "backend/cpu/onednn_call.h"
#include "backend/cpu/product.h"
#include "base/memory.h"

#define CHUNKS_MAX 3
#define TAPS       4
#define SUMS_BYTES (1u << 20) /* of the floats beside, for each thread */

/* One prepared batch size. */
typedef struct chunk {
    int32_t rows;
    onednn_call call;
    onednn_weights *weights;
} chunk;

typedef struct conv_kernel {
    rcnn_kernel head;
    rcnn_onednn *dnn;
    int32_t threads;
    char where[ONEDNN_WHERE_MAX];
    rcnn_value_id src, residual, dst, rows; /* residual, rows: RCNN_NO_VALUE when absent */
    int32_t images;                         /* length of rows                            */
    bool lines;                             /* a row is a line of pixels, not a map      */
    int32_t row_count;                      /* dim[0], or lines of all maps              */
    onednn_numbers numbers;
    rcnn_tensor_desc src_map, dst_map;          /* of the convolution; dim[0] and, with `lines`, dim[1] vary */
    const float *bias, *scales, *weight_scales; /* of its outputs; scales: integers only                   */
    size_t src_row, dst_row;                    /* elements                                  */
    size_t src_element, dst_element;            /* bytes                                     */
    size_t scratch_bytes;                       /* of the primitives; the floats beside follow */
    size_t float_bytes;                         /* of those; DECONV: its taps follow         */
    float *tap_arrays; /* DECONV: [3][TAPS][Co] bias, scales of outputs and of weights; owned */
    int32_t chunk_count;
    chunk chunks[CHUNKS_MAX]; /* largest first */
} conv_kernel;

static const int32_t ROW_CHUNKS[CHUNKS_MAX] = {RCNN_ONEDNN_DECONV_ROWS, 4, 1};

/* ------------------------------------------------------------- running */

/* For residuals that the planner could not place under dst. */
static void copy_bytes(void *dst, const void *src, size_t count)
{
    const size_t block = 1u << 18;
    const int64_t blocks = (int64_t)((count + block - 1) / block);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
        size_t first = (size_t)i * block;
        size_t length = count - first < block ? count - first : block;
        memcpy((char *)dst + first, (const char *)src + first, length);
    }
}

/* c->rows rows; residual NULL when there is none or dst holds it. */
static rcnn_status run_chunk(const conv_kernel *k, const chunk *c, const void *src, const void *residual, void *dst,
                             void *scratch, rcnn_error *err)
{
    const onednn_numbers *n = &k->numbers;
    const size_t count = (size_t)c->rows * k->dst_row;
    if (n->by_float) {
        float *sums = (float *)(void *)((char *)scratch + k->scratch_bytes);
        RCNN_TRY(onednn_call_run(k->dnn, &c->call, src, sums, scratch, k->where, err));
        onednn_store(n, sums, n->has_residual && !residual ? dst : residual, dst, count);
        return RCNN_OK;
    }
    if (residual) {
        copy_bytes(dst, residual, count * k->dst_element);
    }
    return onednn_call_run(k->dnn, &c->call, src, dst, scratch, k->where, err);
}

static const void *element_at(const void *base, size_t index, size_t bytes)
{
    return base ? (const char *)base + index * bytes : NULL;
}

/* `rows` rows from src to dst. */
static rcnn_status run_rows(const conv_kernel *k, const void *src, const void *residual, void *dst, int32_t rows,
                            void *scratch, rcnn_error *err)
{
    const size_t residual_element = k->numbers.has_residual ? rcnn_cpu_element_bytes(k->numbers.residual) : 0;
    int32_t done = 0;
    for (int32_t i = 0; i < k->chunk_count; i++) {
        for (; rows - done >= k->chunks[i].rows; done += k->chunks[i].rows) {
            const size_t from = (size_t)done * k->src_row;
            const size_t to = (size_t)done * k->dst_row;
            RCNN_TRY(run_chunk(k, &k->chunks[i], element_at(src, from, k->src_element),
                               element_at(residual, to, residual_element), (char *)dst + to * k->dst_element, scratch,
                               err));
        }
    }
    return RCNN_OK;
}

static int32_t live_rows(const conv_kernel *k, const rcnn_args *args)
{
    return k->rows == RCNN_NO_VALUE ? k->row_count : rcnn_cpu_live_rows(args->value[k->rows], k->images);
}

static rcnn_status conv_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const conv_kernel *k = (const conv_kernel *)kernel;
    void *dst = args->value[k->dst];
    const void *residual = k->residual == RCNN_NO_VALUE ? NULL : args->value[k->residual];
    return run_rows(k, args->value[k->src], residual == dst ? NULL : residual, dst, live_rows(k, args), args->scratch,
                    err);
}

static void conv_release(rcnn_kernel *kernel)
{
    conv_kernel *k = (conv_kernel *)kernel;
    for (int32_t i = 0; i < k->chunk_count; i++) {
        onednn_call_free(&k->chunks[i].call);
        onednn_weights_put(k->dnn, k->chunks[i].weights);
    }
    onednn_numbers_free(&k->numbers);
    rcnn_free(k->tap_arrays);
    rcnn_free(k);
}

/* ------------------------------------------------------------- CONV */

/* [N,C,H,W] of oneDNN over NHWC memory: `rows` maps, or one of so many lines. */
static dnnl_status_t make_nhwc(const conv_kernel *k, onednn_md *out, dnnl_data_type_t type, int64_t rows,
                               const rcnn_tensor_desc *desc)
{
    const int64_t h = k->lines ? rows : desc->dim[1];
    const int64_t w = desc->dim[2];
    const int64_t c = desc->dim[3];
    const int64_t dims[4] = {k->lines ? 1 : rows, c, h, w};
    const int64_t strides[4] = {h * w * c, 1, w * c, c};
    return onednn_md_make_of(out, type, 4, dims, strides);
}

/* Weights as the model has them, strides NULL = in the layout of the primitive's choice. */
static dnnl_status_t make_filter(onednn_md *out, const rcnn_op *op, dnnl_data_type_t type, bool plain)
{
    const int64_t groups = op->u.conv.groups;
    const int64_t in = op->w.in;
    const int64_t area = (int64_t)op->w.kh * op->w.kw;
    const int64_t out_group = op->w.out / groups;
    const int64_t dims[5] = {groups, out_group, in, op->w.kh, op->w.kw};
    const int64_t strides[5] = {out_group * in * area, in * area, area, op->w.kw, 1};
    const int skip = groups == 1; /* a convolution without groups has no group dimension */
    return onednn_md_make_of(out, type, 5 - skip, dims + skip, plain ? strides + skip : NULL);
}

static dnnl_status_t conv_tensors(const conv_kernel *k, const rcnn_op *op, int64_t rows, onednn_tensors *t)
{
    const int64_t out = op->w.out;
    const int64_t one = 1;
    dnnl_status_t status = make_nhwc(k, &t->src, onednn_type(k->numbers.src), rows, &k->src_map);
    if (status == dnnl_success) {
        status = make_nhwc(k, &t->dst, k->numbers.written, rows, &k->dst_map);
    }
    if (status == dnnl_success) {
        status = make_filter(&t->weights, op, k->numbers.weights, false);
    }
    return status == dnnl_success ? onednn_md_make(&t->bias, 1, &out, &one) : status;
}

/* What follows the products; the residual and the ReLU are left to onednn_store where that comes. */
static onednn_epilogue epilogue_of(const conv_kernel *k, const rcnn_op *op)
{
    const onednn_numbers *n = &k->numbers;
    onednn_epilogue e = {.scales = k->scales, .scale_count = op->w.out, .scale_mask = 1 << 1}; /* dst [N,C,H,W] */
    e.relu = n->relu && !n->by_float;
    e.sum = n->has_residual && !n->by_float;
    e.sum_scale = n->residual_scale > 0 ? n->residual_scale / n->dst_scale : 1;
    e.sum_type = n->has_residual ? onednn_type(n->residual) : dnnl_data_type_undef;
    return e;
}

static dnnl_status_t conv_pd(const conv_kernel *k, const rcnn_op *op, int64_t rows, dnnl_primitive_desc_t *out)
{
    const int64_t stride = op->u.conv.stride;
    const int64_t pad = op->u.conv.pad;
    const onednn_window window = {.stride = {stride, stride}, .pad_begin = {pad, pad}, .pad_end = {pad, pad}};
    onednn_tensors t;
    memset(&t, 0, sizeof t);
    const onednn_epilogue epilogue = epilogue_of(k, op);
    dnnl_primitive_attr_t attr = onednn_attributes(&epilogue);
    dnnl_status_t status = attr ? conv_tensors(k, op, rows, &t) : dnnl_out_of_memory;
    if (status == dnnl_success) {
        status = onednn_conv_pd(out, k->dnn->engine, &t, &window, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    onednn_tensors_free(&t);
    return status;
}

static rcnn_status conv_weights(const conv_kernel *k, const rcnn_op *op, onednn_md_ref wanted, onednn_weights **out,
                                rcnn_error *err)
{
    onednn_md plain;
    ONEDNN_TRY(make_filter(&plain, op, dnnl_f32, true), k->where, "describing the weights", err);
    const int mask = op->u.conv.groups == 1 ? 1 << 0 : 1 << 0 | 1 << 1;
    const onednn_coding coding = {.scale = k->weight_scales, .count = op->w.out, .mask = mask};
    rcnn_status status =
        onednn_weights_get(k->dnn, op->w.weights, onednn_md_view(&plain), wanted, &coding, k->where, out, err);
    onednn_md_free(&plain);
    return status;
}

/* ------------------------------------------------------------- DECONV */

/* The model's [Ci][Co][a][b] as [a][b][Co][Ci]. */
static rcnn_status taps_weights(const conv_kernel *k, const rcnn_op *op, onednn_md_ref wanted, onednn_weights **out,
                                rcnn_error *err)
{
    const int64_t in = op->w.in;
    const int64_t co = op->w.out / TAPS;
    const int64_t dims[4] = {2, 2, co, in};
    const int64_t from_strides[4] = {2, 1, TAPS, TAPS * co};
    const int64_t plain_strides[4] = {2 * co * in, co * in, in, 1};
    const int64_t matrix_dims[4] = {TAPS * co, in, 1, 1};
    const int64_t matrix_strides[4] = {in, 1, 1, 1};
    onednn_md from;
    onednn_md plain;
    onednn_md matrix;
    memset(&from, 0, sizeof from);
    memset(&plain, 0, sizeof plain);
    memset(&matrix, 0, sizeof matrix);
    dnnl_status_t made = onednn_md_make(&from, 4, dims, from_strides);
    made = made == dnnl_success ? onednn_md_make(&plain, 4, dims, plain_strides) : made;
    made = made == dnnl_success ? onednn_md_make(&matrix, 4, matrix_dims, matrix_strides) : made;
    rcnn_status status = rcnn_from_dnnl(made, k->where, "describing the weights", err);
    if (status == RCNN_OK) {
        const onednn_coding coding = {.scale = k->weight_scales, .count = op->w.out, .mask = 1 << 0};
        status = onednn_weights_get_matrix(k->dnn, op->w.weights, onednn_md_view(&from), onednn_md_view(&plain),
                                           onednn_md_view(&matrix), wanted, &coding, k->where, out, err);
    }
    onednn_md_free(&from);
    onednn_md_free(&plain);
    onednn_md_free(&matrix);
    return status;
}

/* ------------------------------------------------------------- preparing */

/* Sizes that any count, or that of the op, can be cut into, largest first; 0 = none. */
static void choose_chunks(const conv_kernel *k, int32_t rows[CHUNKS_MAX])
{
    if (k->rows != RCNN_NO_VALUE || k->tap_arrays) {
        memcpy(rows, ROW_CHUNKS, sizeof ROW_CHUNKS);
    } else if (k->lines) {
        const size_t most = (size_t)k->threads * SUMS_BYTES / (k->dst_row * sizeof(float));
        rows[0] = most < 1 ? 1 : most < (size_t)k->row_count ? (int32_t)most : k->row_count;
        rows[1] = k->row_count % rows[0];
    } else {
        rows[0] = k->row_count;
    }
}

typedef rcnn_status (*get_weights)(const conv_kernel *k, const rcnn_op *op, onednn_md_ref wanted, onednn_weights **out,
                                   rcnn_error *err);

static rcnn_status make_chunk(const conv_kernel *k, const rcnn_op *op, get_weights get, chunk *c, rcnn_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    ONEDNN_TRY(conv_pd(k, op, c->rows, &pd), k->where, "describing the convolution", err);
    rcnn_status status = get(k, op, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), &c->weights, err);
    if (status == RCNN_OK) {
        status = onednn_call_make(k->dnn, pd, c->weights->data, k->bias, k->where, &c->call, err);
    }
    dnnl_primitive_desc_destroy(pd);
    return status;
}

/* op: a CONV, or what a DECONV is as one. */
static rcnn_status make_chunks(conv_kernel *k, const rcnn_op *op, get_weights get, rcnn_error *err)
{
    int32_t rows[CHUNKS_MAX] = {0};
    choose_chunks(k, rows);
    for (int32_t i = 0; i < CHUNKS_MAX; i++) {
        if (rows[i] > 0 && rows[i] <= k->row_count) {
            chunk *c = &k->chunks[k->chunk_count++];
            c->rows = rows[i];
            RCNN_TRY(make_chunk(k, op, get, c, err));
        }
    }
    return RCNN_OK;
}

static rcnn_status make_kernel(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, conv_kernel **out,
                               rcnn_error *err)
{
    conv_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    const rcnn_tensor_desc *src = &graph->values[op->input[0]].desc;
    const rcnn_tensor_desc *dst = &graph->values[op->output[0]].desc;
    k->head = (rcnn_kernel){.enqueue = conv_enqueue, .release = conv_release};
    k->dnn = rcnn_cpu_onednn(backend);
    k->threads = rcnn_cpu_threads(backend);
    onednn_where(graph, op, k->where);
    k->src = op->input[0];
    k->residual = RCNN_NO_VALUE;
    k->dst = op->output[0];
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    k->row_count = src->dim[0];
    k->src_map = *src;
    k->dst_map = *dst;
    k->src_row = (size_t)src->dim[1] * (size_t)src->dim[2] * (size_t)src->dim[3];
    k->dst_row = (size_t)dst->dim[1] * (size_t)dst->dim[2] * (size_t)dst->dim[3];
    k->src_element = rcnn_cpu_element_bytes(src->dtype);
    k->dst_element = rcnn_cpu_element_bytes(dst->dtype);
    rcnn_status status = onednn_numbers_make(backend, graph, op, k->where, &k->numbers, err);
    if (status != RCNN_OK) {
        conv_release(&k->head);
        return status;
    }
    k->bias = k->numbers.integer ? k->numbers.bias : op->w.bias;
    k->scales = k->numbers.output_scale;
    k->weight_scales = k->numbers.weight_scale;
    *out = k;
    return RCNN_OK;
}

static rcnn_status finish(conv_kernel *k, rcnn_status status, rcnn_kernel **out, size_t *scratch_bytes)
{
    if (status != RCNN_OK) {
        conv_release(&k->head);
        return status;
    }
    size_t most = 0;
    for (int32_t i = 0; i < k->chunk_count; i++) {
        const size_t bytes = k->chunks[i].call.scratch_bytes;
        most = bytes > most ? bytes : most;
    }
    const size_t sums = k->chunk_count ? (size_t)k->chunks[0].rows * k->dst_row : 0;
    const int32_t tap_rows = k->row_count < RCNN_ONEDNN_DECONV_ROWS ? k->row_count : RCNN_ONEDNN_DECONV_ROWS;
    k->scratch_bytes = rcnn_aligned_size(most);
    k->float_bytes = k->numbers.by_float ? rcnn_aligned_size(sums * sizeof(float)) : 0;
    *scratch_bytes = k->scratch_bytes + k->float_bytes;
    *scratch_bytes += k->tap_arrays ? (size_t)tap_rows * k->dst_row * k->dst_element : 0;
    *out = &k->head;
    return RCNN_OK;
}

rcnn_status rcnn_onednn_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                     rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    conv_kernel *k;
    RCNN_TRY(make_kernel(backend, graph, op, &k, err));
    k->residual = op->u.conv.residual ? op->input[1] : RCNN_NO_VALUE;
    if (k->numbers.by_float && k->rows == RCNN_NO_VALUE && rcnn_product_is_point(op)) {
        const int32_t lines = k->dst_map.dim[1];
        k->lines = true;
        k->row_count *= lines;
        k->src_row /= (size_t)lines;
        k->dst_row /= (size_t)lines;
    }
    return finish(k, make_chunks(k, op, conv_weights, err), out, scratch_bytes);
}

/* *array for each tap, in room [TAPS][count]. */
static void repeat(const float **array, size_t count, float *room)
{
    for (size_t tap = 0; tap < TAPS; tap++) {
        memcpy(room + tap * count, *array, count * sizeof *room);
    }
    *array = room;
}

static rcnn_status prepare_taps(conv_kernel *k, const rcnn_op *op, rcnn_error *err)
{
    if (op->w.kh != 2 || op->w.kw != 2) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: want a 2x2 kernel", k->where);
    }
    const size_t count = (size_t)op->w.out;
    k->tap_arrays = rcnn_malloc_aligned(3 * TAPS * count * sizeof *k->tap_arrays);
    if (!k->tap_arrays) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", k->where);
    }
    repeat(&k->bias, count, k->tap_arrays);
    if (k->numbers.integer) {
        repeat(&k->scales, count, k->tap_arrays + TAPS * count);
        repeat(&k->weight_scales, count, k->tap_arrays + 2 * TAPS * count);
    }
    rcnn_op conv = *op;
    conv.w.out = TAPS * op->w.out;
    conv.w.kh = conv.w.kw = 1;
    conv.u.conv.stride = conv.u.conv.groups = 1;
    conv.u.conv.pad = 0;
    k->dst_map = k->src_map;
    k->dst_map.dim[3] = conv.w.out;
    return make_chunks(k, &conv, taps_weights, err);
}

rcnn_status rcnn_onednn_deconv_taps(const rcnn_kernel *kernel, const rcnn_args *args, int32_t first, int32_t count,
                                    const void **taps, rcnn_error *err)
{
    const conv_kernel *k = (const conv_kernel *)kernel;
    const void *src = element_at(args->value[k->src], (size_t)first * k->src_row, k->src_element);
    void *dst = (char *)args->scratch + k->scratch_bytes + k->float_bytes;
    *taps = dst;
    return run_rows(k, src, NULL, dst, count, args->scratch, err);
}

int32_t rcnn_onednn_deconv_live_rows(const rcnn_kernel *kernel, const rcnn_args *args)
{
    return live_rows((const conv_kernel *)kernel, args);
}

/* Both lines of the result that a line of source pixels makes, from its taps. */
static void put_lines(const conv_kernel *k, int64_t line, const char *taps, char *dst)
{
    const size_t pair = 2 * (size_t)k->numbers.out * k->dst_element; /* neighbours in the result as in the taps */
    const size_t width = (size_t)k->src_map.dim[2], from = (size_t)line * width * 2;
    for (size_t x = 0; x < width; x++) {
        const char *pixel = taps + (from + 2 * x) * pair;
        memcpy(dst + (from + x) * pair, pixel, pair);
        memcpy(dst + (from + width + x) * pair, pixel + pair, pair);
    }
}

static rcnn_status deconv_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const conv_kernel *k = (const conv_kernel *)kernel;
    const int32_t live = live_rows(k, args);
    for (int32_t first = 0, count; first < live; first += count) {
        const void *taps;
        count = live - first < RCNN_ONEDNN_DECONV_ROWS ? live - first : RCNN_ONEDNN_DECONV_ROWS;
        RCNN_TRY(rcnn_onednn_deconv_taps(kernel, args, first, count, &taps, err));
        char *dst = (char *)args->value[k->dst] + (size_t)first * k->dst_row * k->dst_element;
#pragma omp parallel for schedule(static)
        for (int64_t line = 0; line < (int64_t)count * k->src_map.dim[1]; line++) {
            put_lines(k, line, taps, dst);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_deconv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                    rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    conv_kernel *k;
    RCNN_TRY(make_kernel(backend, graph, op, &k, err));
    k->head.enqueue = deconv_enqueue;
    return finish(k, prepare_taps(k, op, err), out, scratch_bytes);
}
