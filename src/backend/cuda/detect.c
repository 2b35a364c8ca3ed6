/* Final boxes: host side of detect.cu. */
#include "backend/cuda/boxes.h"

#include "base/memory.h"

typedef struct detect_kernel {
    rcnn_kernel head;
    rcnn_cuda_list_ids in;
    rcnn_value_id boxes, rois, scores, labels, counts;
    rcnn_cuda_detect p;
} detect_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const detect_kernel *k = (const detect_kernel *)kernel;
    rcnn_cuda_detect p = k->p;
    p.in = rcnn_cuda_list_of(args, k->in, k->p.in.capacity);
    p.boxes = rcnn_cuda_value(args, k->boxes);
    p.rois = rcnn_cuda_value(args, k->rois);
    p.scores = rcnn_cuda_value(args, k->scores);
    p.labels = rcnn_cuda_value(args, k->labels);
    p.counts = rcnn_cuda_value(args, k->counts);
    p.frame = k->head.backend->frame;
    RCNN_CUDA_TRY(rcnn_cuda_detect_launch(&p, stream), "converting boxes", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_detect(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                     rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t *in = graph->values[op->input[0]].desc.dim;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(detect_kernel), enqueue, release, out, err));
    detect_kernel *k = (detect_kernel *)*out;
    k->in = rcnn_cuda_list_ids_of(op->input);
    k->boxes = op->output[0];
    k->rois = op->output[1];
    k->scores = op->output[2];
    k->labels = op->output[3];
    k->counts = op->output[4];
    k->p = (rcnn_cuda_detect){.in.capacity = in[1],
                              .n = in[0],
                              .scale_rule = op->u.detect.scale_rule,
                              .rescale_first = op->u.detect.rescale_first,
                              .clip_output = op->u.detect.clip_output};
    return RCNN_OK;
}
