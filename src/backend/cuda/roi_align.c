/* RoIAlign: host side of roi_align.cu. */
#include "backend/cuda/feature.h"

#include "base/memory.h"

typedef struct roi_align_kernel {
    rcnn_kernel head;
    rcnn_value_id level[RCNN_CUDA_LEVELS_MAX], boxes, counts, dst;
    rcnn_cuda_roi_align p;
} roi_align_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const roi_align_kernel *k = (const roi_align_kernel *)kernel;
    rcnn_cuda_roi_align p = k->p;
    for (int32_t l = 0; l < p.level_count; l++) {
        p.level[l] = rcnn_cuda_value(args, k->level[l]);
    }
    p.boxes = rcnn_cuda_value(args, k->boxes);
    p.counts = rcnn_cuda_value(args, k->counts);
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_roi_align_launch(&p, stream), "running RoIAlign", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_roi_align(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t levels = op->u.roi_align.level_count;
    const int32_t *boxes = graph->values[op->input[levels]].desc.dim;
    const int32_t *dst = graph->values[op->output[0]].desc.dim;
    rcnn_cuda_roi_align p = {.n = boxes[0],
                             .capacity = boxes[1],
                             .channels = dst[3],
                             .level_count = levels,
                             .bins = op->u.roi_align.bins,
                             .sampling = op->u.roi_align.sampling,
                             .aligned = op->u.roi_align.aligned,
                             .level_rule = (int32_t)op->u.roi_align.level_rule};
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_feature_type(graph, op, levels, &p.type, err));
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(roi_align_kernel), enqueue, release, out, err));
    roi_align_kernel *k = (roi_align_kernel *)*out;
    for (int32_t l = 0; l < levels; l++) {
        const int32_t *level = graph->values[op->input[l]].desc.dim;
        k->level[l] = op->input[l];
        p.level_height[l] = level[1];
        p.level_width[l] = level[2];
        p.scale[l] = op->u.roi_align.scale[l];
    }
    k->boxes = op->input[levels];
    k->counts = op->input[levels + 1];
    k->dst = op->output[0];
    k->p = p;
    return RCNN_OK;
}
