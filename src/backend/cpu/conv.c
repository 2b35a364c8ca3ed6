/* CONV and FC: by Winograd's filtering or as a product of our own where that is faster, else as a oneDNN primitive. */
#include "backend/cpu/dense.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/winograd.h"

rcnn_status rcnn_cpu_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                  size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_winograd_body *winograd = rcnn_winograd_choose(backend, graph, op);
    if (winograd) {
        return rcnn_winograd_prepare(backend, winograd, graph, op, out, scratch_bytes, err);
    }
    const rcnn_product_body *product = rcnn_dense_choose_conv(backend, graph, op);
    return product ? rcnn_dense_prepare(backend, product, graph, op, out, scratch_bytes, err)
                   : rcnn_onednn_prepare_conv(backend, graph, op, out, scratch_bytes, err);
}

rcnn_status rcnn_cpu_prepare_fc(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_product_body *product = rcnn_dense_choose_fc(backend, graph, op);
    return product ? rcnn_dense_prepare(backend, product, graph, op, out, scratch_bytes, err)
                   : rcnn_onednn_prepare_fc(backend, graph, op, out, scratch_bytes, err);
}
