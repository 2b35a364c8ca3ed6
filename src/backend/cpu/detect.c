/* Final boxes in image and in network coordinates (spec 8.3, 9, 12, 13.10, 14.7). At most a few hundred: scalar. */
#include "backend/cpu/boxes.h"
#include "backend/cpu/op.h"

/* Lists of one image: inputs or outputs. */
typedef struct detections {
    float *boxes, *rois, *scores;
    int32_t *labels;
} detections;

static void to_both(const rcnn_op *op, const rcnn_frame_image *image, const float *box, float *image_box, float *roi)
{
    const float scale[2] = {image->scale_x, image->scale_y};
    const float ratio[2] = {image->ratio_x, image->ratio_y};
    for (int32_t k = 0; k < 4; k++) {
        if (op->u.detect
                .rescale_first) { /* the box is in image coordinates; mmdet 2.x scales it back, rounding again */
            image_box[k] = box[k];
            roi[k] = box[k] * scale[k & 1];
        } else {
            roi[k] = box[k];
            image_box[k] = op->u.detect.scale_rule == RCNN_SCALE_DIVIDE ? box[k] / scale[k & 1] : box[k] * ratio[k & 1];
        }
    }
}

static int32_t detect_image(const rcnn_op *op, const rcnn_frame_image *image, const detections *src, int32_t count,
                            const detections *dst)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < count; i++) {
        float *box = dst->boxes + (size_t)kept * 4;
        to_both(op, image, src->boxes + (size_t)i * 4, box, dst->rois + (size_t)kept * 4);
        if (op->u.detect.clip_output) {
            rcnn_cpu_clip_box(box, image->view.width, image->view.height);
            if (!(box[2] - box[0] > 0 && box[3] - box[1] > 0)) {
                continue;
            }
        }
        dst->scores[kept] = src->scores[i];
        dst->labels[kept] = src->labels[i];
        kept++;
    }
    return kept;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t *counts = rcnn_cpu_input(k, args, 3);
    int32_t *out_counts = rcnn_cpu_output(k, args, 4);
    for (int32_t n = 0; n < k->dst[4].dim[0]; n++) {
        const size_t from = (size_t)n * (size_t)k->src[0].dim[1];
        const size_t to = (size_t)n * (size_t)k->dst[0].dim[1];
        const detections src = {.boxes = (float *)rcnn_cpu_input(k, args, 0) + from * 4,
                                .scores = (float *)rcnn_cpu_input(k, args, 1) + from,
                                .labels = (int32_t *)rcnn_cpu_input(k, args, 2) + from};
        const detections dst = {.boxes = (float *)rcnn_cpu_output(k, args, 0) + to * 4,
                                .rois = (float *)rcnn_cpu_output(k, args, 1) + to * 4,
                                .scores = (float *)rcnn_cpu_output(k, args, 2) + to,
                                .labels = (int32_t *)rcnn_cpu_output(k, args, 3) + to};
        out_counts[n] = detect_image(&k->op, &args->frame->image[n], &src, counts[n], &dst);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_detect(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                    rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    *out = &k->head;
    return RCNN_OK;
}
