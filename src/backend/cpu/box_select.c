/* Box head rows to NMS candidates (spec 8.1-8.4, 13.9, 14.6). Softmax of all rows in parallel; then one pass in row
 * order decodes the few (RoI, class) pairs above the threshold, out of 80,000. */
#include "backend/cpu/boxes.h"
#include "backend/cpu/op.h"

typedef struct candidate_list {
    float *boxes, *scores;
    int32_t *labels;
    int32_t count, capacity;
} candidate_list;

/* One RoI. */
typedef struct roi_row {
    const float *pred;     /* K+1 logits, then deltas               */
    const float *proposal; /* [4]                                   */
    const float *scores;   /* [K+1] softmax; unset when !finite     */
    int32_t n, r;
} roi_row;

static int32_t logit_count(const rcnn_op *op)
{
    return op->u.box_select.class_count + 1;
}

static void softmax(const float *logits, int32_t count, float *out)
{
    float top = logits[0];
    for (int32_t i = 1; i < count; i++) {
        top = logits[i] > top ? logits[i] : top;
    }
    float sum = 0;
    for (int32_t i = 0; i < count; i++) {
        out[i] = expf(logits[i] - top);
        sum += out[i];
    }
    for (int32_t i = 0; i < count; i++) {
        out[i] /= sum;
    }
}

static const float *delta_of(const rcnn_op *op, const float *pred, int32_t label)
{
    const bool has_background = op->u.box_select.delta_classes > op->u.box_select.class_count;
    int32_t entry = op->u.box_select.agnostic ? 0 : label;
    entry += has_background && op->u.box_select.background_first ? 1 : 0;
    return pred + logit_count(op) + (size_t)entry * 4;
}

/* The box in the coordinates of the NMS to come; false when it is too small. */
static bool decode_candidate(const rcnn_op *op, const rcnn_frame_image *image, const float *proposal,
                             const float *delta, float *box)
{
    const float least = op->u.box_select.min_size;
    rcnn_cpu_decode_clipped(&op->u.box_select.decode, proposal, delta, image->net_width, image->net_height, box);
    if (least > 0 && !(box[2] - box[0] >= least && box[3] - box[1] >= least)) {
        return false;
    }
    if (op->u.box_select.rescale_first) {
        box[0] /= image->scale_x;
        box[1] /= image->scale_y;
        box[2] /= image->scale_x;
        box[3] /= image->scale_y;
    }
    return true;
}

static rcnn_status add_label(const rcnn_op *op, const rcnn_frame_image *image, const roi_row *row, int32_t label,
                             float score, candidate_list *list, rcnn_error *err)
{
    const float *delta = delta_of(op, row->pred, label);
    if (!rcnn_cpu_finite(delta, 4)) {
        return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d, label %d: a box delta is not finite",
                         op->name, row->n, row->r, label);
    }
    float box[4];
    if (!decode_candidate(op, image, row->proposal, delta, box)) {
        return RCNN_OK;
    }
    if (list->count >= list->capacity) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': more than %d candidates", op->name, list->capacity);
    }
    memcpy(list->boxes + (size_t)list->count * 4, box, sizeof box);
    list->scores[list->count] = score;
    list->labels[list->count] = label;
    list->count++;
    return RCNN_OK;
}

static rcnn_status select_row(const rcnn_op *op, const rcnn_frame_image *image, const roi_row *row,
                              candidate_list *list, rcnn_error *err)
{
    const uint8_t *wanted = op->u.box_select.label_wanted;
    const float *foreground = row->scores + (op->u.box_select.background_first ? 1 : 0);
    if (!rcnn_cpu_finite(row->pred, (size_t)logit_count(op))) {
        return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d: a class logit is not finite", op->name,
                         row->n, row->r);
    }
    for (int32_t label = 0; label < op->u.box_select.class_count; label++) {
        if (foreground[label] > op->u.box_select.score_threshold && (!wanted || wanted[label])) {
            RCNN_TRY(add_label(op, image, row, label, foreground[label], list, err));
        }
    }
    return RCNN_OK;
}

/* pred: the first row of image n. */
static rcnn_status select_image(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, const float *pred,
                                rcnn_error *err)
{
    const size_t classes = (size_t)logit_count(&k->op);
    const size_t row_elements = rcnn_cpu_row_elements(&k->src[0]);
    const int32_t rois = ((const int32_t *)rcnn_cpu_input(k, args, 2))[n];
    const float *proposals = (const float *)rcnn_cpu_input(k, args, 1) + (size_t)n * (size_t)k->src[1].dim[1] * 4;
    const size_t first = (size_t)n * (size_t)k->dst[0].dim[1];
    candidate_list list = {.boxes = (float *)rcnn_cpu_output(k, args, 0) + first * 4,
                           .scores = (float *)rcnn_cpu_output(k, args, 1) + first,
                           .labels = (int32_t *)rcnn_cpu_output(k, args, 2) + first,
                           .capacity = k->dst[0].dim[1]};
    float *scores = args->scratch;
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (int32_t r = 0; r < rois; r++) {
        softmax(pred + (size_t)r * row_elements, (int32_t)classes, scores + (size_t)r * classes);
    }
    for (int32_t r = 0; r < rois; r++) {
        const roi_row row = {.pred = pred + (size_t)r * row_elements,
                             .proposal = proposals + (size_t)r * 4,
                             .scores = scores + (size_t)r * classes,
                             .n = n,
                             .r = r};
        RCNN_TRY(select_row(&k->op, &args->frame->image[n], &row, &list, err));
    }
    ((int32_t *)rcnn_cpu_output(k, args, 3))[n] = list.count;
    return RCNN_OK;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t *roi_counts = rcnn_cpu_input(k, args, 2);
    const float *pred = rcnn_cpu_input(k, args, 0);
    for (int32_t n = 0; n < k->src[1].dim[0]; n++) {
        RCNN_TRY(select_image(k, args, n, pred, err));
        pred += (size_t)roi_counts[n] * rcnn_cpu_row_elements(&k->src[0]);
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_box_select(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    *scratch_bytes = (size_t)k->src[1].dim[1] * (size_t)logit_count(op) * sizeof(float);
    *out = &k->head;
    return RCNN_OK;
}
