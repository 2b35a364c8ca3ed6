/* FC: one matrix product over all rows of the capacity. Proposals nearly always fill it, and the rows of the last few tiles
 * cost less than deciding on the device. */
#include "backend/cuda/gemm.h"

rcnn_status rcnn_cuda_fc_prepare(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, int32_t rows,
                                 rcnn_cuda_run **out, rcnn_error *err)
{
    const int32_t bins = op->u.fc.permute_bins;
    rcnn_cuda_gemm_want want = {.m = rows,
                                .n = op->w.out,
                                .k = op->w.in,
                                .precision = graph->precision,
                                .bias_of = &op->w,
                                .relu = op->u.fc.relu,
                                .src_alignment = 16,
                                .name = op->name};
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->input[0], &want.type, err));
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->output[0], &want.dst_type, err));
    if (want.dst_type != want.type && want.dst_type != RCNN_CUDA_F32) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: fc '%s': want an output of the input's type or F32",
                         op->name);
    }
    RCNN_TRY(rcnn_cuda_weights_get(backend, &op->w, bins ? RCNN_CUDA_ORDER_FC_BINS : RCNN_CUDA_ORDER_AS_IS, bins,
                                   want.type, &want.weights, err));
    return rcnn_cuda_gemm_prepare(backend, &want, out, err);
}

rcnn_status rcnn_cuda_prepare_fc(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                 rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    return rcnn_cuda_prepare_rows_span(backend, graph, first, count, out, scratch_bytes, err);
}
