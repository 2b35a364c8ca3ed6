/* FC as one oneDNN matrix product whose row count is given at run time, so that work follows the live rows. On 12544 ->
 * 1024 it is as fast as a primitive made for the exact count from 8 rows up and needs one copy of the weights
 * (docs/decisions/0001). Weights are transposed once, to [in][out]; with permute_bins the rows of that matrix also go
 * from the frameworks' order c*B*B + y*B + x to the order of NHWC features, (y*B + x)*C + c. */
#include "backend/cpu/elements.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/onednn_call.h"

#include <string.h>

#include "base/memory.h"

typedef struct fc_kernel {
    rcnn_kernel head;
    rcnn_onednn *dnn;
    char where[ONEDNN_WHERE_MAX];
    rcnn_value_id src, dst, rows;
    int32_t images, row_count;
    int64_t in, out;
    onednn_numbers numbers;
    size_t scratch_bytes; /* of the primitive; floats beside dst follow */
    int32_t described;    /* rows that the call's src and dst memories stand for, 0 = none */
    onednn_call call;
    onednn_weights *weights;
} fc_kernel;

static dnnl_status_t make_matrix(onednn_md *md, dnnl_data_type_t type, int64_t rows, int64_t columns)
{
    const int64_t dims[2] = {rows, columns};
    const int64_t strides[2] = {columns, 1};
    return onednn_md_make_of(md, type, 2, dims, strides);
}

/* ------------------------------------------------------------- running */

static rcnn_status describe_slot(fc_kernel *k, onednn_slot slot, dnnl_data_type_t type, int32_t rows, int64_t columns,
                                 rcnn_error *err)
{
    onednn_md md;
    ONEDNN_TRY(make_matrix(&md, type, rows, columns), k->where, "describing the rows", err);
    rcnn_status status = onednn_call_describe(k->dnn, &k->call, slot, onednn_md_view(&md), k->where, err);
    onednn_md_free(&md);
    return status;
}

/* oneDNN's memory objects carry the row count: new ones when it changed since the last run. */
static rcnn_status describe_rows(fc_kernel *k, int32_t rows, rcnn_error *err)
{
    if (rows == k->described) {
        return RCNN_OK;
    }
    k->described = 0;
    RCNN_TRY(describe_slot(k, ONEDNN_SRC, onednn_type(k->numbers.src), rows, k->in, err));
    RCNN_TRY(describe_slot(k, ONEDNN_DST, k->numbers.written, rows, k->out, err));
    k->described = rows;
    return RCNN_OK;
}

static rcnn_status fc_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    fc_kernel *k = (fc_kernel *)kernel;
    const int32_t live = k->rows == RCNN_NO_VALUE ? k->row_count : rcnn_cpu_live_rows(args->value[k->rows], k->images);
    if (live == 0) {
        return RCNN_OK;
    }
    RCNN_TRY(describe_rows(k, live, err));
    const bool beside = k->numbers.by_float;
    void *dst = beside ? (char *)args->scratch + k->scratch_bytes : args->value[k->dst];
    RCNN_TRY(onednn_call_run(k->dnn, &k->call, args->value[k->src], dst, args->scratch, k->where, err));
    if (beside) {
        onednn_store(&k->numbers, dst, NULL, args->value[k->dst], (size_t)live * (size_t)k->out);
    }
    return RCNN_OK;
}

static void fc_release(rcnn_kernel *kernel)
{
    fc_kernel *k = (fc_kernel *)kernel;
    onednn_call_free(&k->call);
    onednn_weights_put(k->dnn, k->weights);
    onednn_numbers_free(&k->numbers);
    rcnn_free(k);
}

/* ------------------------------------------------------------- preparing */

/* The model's [out][C][B*B] as [B*B][C][out]; B = 1 without bins. */
static dnnl_status_t weight_layouts(const rcnn_op *op, onednn_md *from, onednn_md *to)
{
    const int64_t in = op->w.in;
    const int64_t out = op->w.out;
    const int64_t area = op->u.fc.permute_bins ? (int64_t)op->u.fc.permute_bins * op->u.fc.permute_bins : 1;
    const int64_t dims[3] = {area, in / area, out};
    const int64_t from_strides[3] = {1, area, in};
    const int64_t to_strides[3] = {in / area * out, out, 1};
    dnnl_status_t status = onednn_md_make(from, 3, dims, from_strides);
    return status == dnnl_success ? onednn_md_make(to, 3, dims, to_strides) : status;
}

/* Floats stay in the plain order; other types go on to the layout that the primitive wants. */
static rcnn_status get_weights(fc_kernel *k, const rcnn_op *op, onednn_md_ref wanted, rcnn_error *err)
{
    onednn_md from;
    onednn_md to;
    onednn_md matrix;
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    memset(&matrix, 0, sizeof matrix);
    rcnn_status status = rcnn_from_dnnl(weight_layouts(op, &from, &to), k->where, "describing the weights", err);
    if (status == RCNN_OK) {
        status = rcnn_from_dnnl(make_matrix(&matrix, dnnl_f32, k->in, k->out), k->where, "describing the weights", err);
    }
    if (status == RCNN_OK && k->numbers.weights == dnnl_f32) {
        status = onednn_weights_get(k->dnn, op->w.weights, onednn_md_view(&from), onednn_md_view(&to), NULL, k->where,
                                    &k->weights, err);
    } else if (status == RCNN_OK) {
        const onednn_coding coding = {.scale = k->numbers.weight_scale, .count = k->out, .mask = 1 << 1};
        status = onednn_weights_get_matrix(k->dnn, op->w.weights, onednn_md_view(&from), onednn_md_view(&to),
                                           onednn_md_view(&matrix), wanted, &coding, k->where, &k->weights, err);
    }
    onednn_md_free(&from);
    onednn_md_free(&to);
    onednn_md_free(&matrix);
    return status;
}

static dnnl_status_t fc_tensors(const fc_kernel *k, onednn_tensors *t)
{
    const int64_t weights[2] = {k->in, k->out};
    const int64_t plain[2] = {k->out, 1};
    dnnl_status_t status = make_matrix(&t->src, onednn_type(k->numbers.src), DNNL_RUNTIME_DIM_VAL, k->in);
    if (status == dnnl_success) {
        status = onednn_md_make_of(&t->weights, k->numbers.weights, 2, weights,
                                   k->numbers.weights == dnnl_f32 ? plain : NULL);
    }
    if (status == dnnl_success) {
        status = make_matrix(&t->bias, dnnl_f32, 1, k->out);
    }
    return status == dnnl_success ? make_matrix(&t->dst, k->numbers.written, DNNL_RUNTIME_DIM_VAL, k->out) : status;
}

static dnnl_status_t fc_pd(const fc_kernel *k, dnnl_primitive_desc_t *out)
{
    onednn_tensors t;
    memset(&t, 0, sizeof t);
    const onednn_epilogue epilogue = {.scales = k->numbers.output_scale,
                                      .scale_count = k->out,
                                      .scale_mask = 1 << 1,
                                      .relu = k->numbers.relu && !k->numbers.by_float};
    dnnl_primitive_attr_t attr = onednn_attributes(&epilogue);
    dnnl_status_t status = attr ? fc_tensors(k, &t) : dnnl_out_of_memory;
    if (status == dnnl_success) {
        status = onednn_matmul_pd(out, k->dnn->engine, &t, attr);
    }
    dnnl_primitive_attr_destroy(attr);
    onednn_tensors_free(&t);
    return status;
}

static rcnn_status prepare(fc_kernel *k, const rcnn_op *op, rcnn_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    ONEDNN_TRY(fc_pd(k, &pd), k->where, "describing the matrix product", err);
    rcnn_status status = get_weights(k, op, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), err);
    if (status == RCNN_OK) {
        const float *bias = k->numbers.integer ? k->numbers.bias : op->w.bias;
        status = onednn_call_make(k->dnn, pd, k->weights->data, bias, k->where, &k->call, err);
    }
    dnnl_primitive_desc_destroy(pd);
    return status;
}

rcnn_status rcnn_onednn_prepare_fc(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                   size_t *scratch_bytes, rcnn_error *err)
{
    fc_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", op->name);
    }
    k->head = (rcnn_kernel){.enqueue = fc_enqueue, .release = fc_release};
    k->dnn = rcnn_cpu_onednn(backend);
    onednn_where(graph, op, k->where);
    k->src = op->input[0];
    k->dst = op->output[0];
    k->rows = op->rows;
    k->images = op->rows == RCNN_NO_VALUE ? 0 : graph->values[op->rows].desc.dim[0];
    k->row_count = graph->values[op->input[0]].desc.dim[0];
    k->in = op->w.in;
    k->out = op->w.out;
    rcnn_status status = onednn_numbers_make(backend, graph, op, k->where, &k->numbers, err);
    if (status == RCNN_OK) {
        status = prepare(k, op, err);
    }
    if (status != RCNN_OK) {
        fc_release(&k->head);
        return status;
    }
    k->scratch_bytes = (k->call.scratch_bytes + RCNN_ALIGNMENT - 1) / RCNN_ALIGNMENT * RCNN_ALIGNMENT;
    *scratch_bytes = k->scratch_bytes;
    if (k->numbers.by_float) {
        *scratch_bytes += (size_t)k->row_count * (size_t)k->out * sizeof(float);
    }
    *out = &k->head;
    return RCNN_OK;
}
