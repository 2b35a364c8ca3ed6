/* CONV: by Winograd's filtering where that is faster, else as a oneDNN primitive. */
#include "backend/cpu/onednn.h"
#include "backend/cpu/winograd.h"

rcnn_status rcnn_cpu_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                  size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_winograd_body *body = rcnn_winograd_choose(backend, graph, op);
    return body ? rcnn_winograd_prepare(backend, body, graph, op, out, scratch_bytes, err)
                : rcnn_onednn_prepare_conv(backend, graph, op, out, scratch_bytes, err);
}
