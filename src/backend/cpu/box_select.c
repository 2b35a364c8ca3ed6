/* Box head rows to NMS candidates (spec 8.1-8.4, 13.9, 14.6), rows in parallel: first the softmax of a row and how many of
 * its (RoI, class) pairs are candidates, a few hundred out of 80,000 in all; then, when every row knows where its own
 * begin, decoding them. */
#include "backend/cpu/boxes.h"
#include "backend/cpu/op.h"

/* One RoI. */
typedef struct roi_row {
    const float *pred;     /* K+1 logits, then deltas */
    const float *proposal; /* [4]                     */
    float *scores;         /* [K+1] softmax           */
} roi_row;

/* One image: its RoIs and where its candidates go. */
typedef struct image_work {
    const float *pred, *proposals;
    int32_t n, rois;
    float *scores;   /* [rois][K+1]                                          */
    int32_t *counts; /* [rois] candidates, or below 0: what is not finite    */
    int32_t *first;  /* [rois] place of the first                            */
    float *dst_boxes, *dst_scores;
    int32_t *dst_labels;
} image_work;

#define BAD_LOGIT (-1)
#define BAD_DELTA (-2) /* of label BAD_DELTA - count */

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
static bool decode_candidate(const rcnn_op *op, const rcnn_frame_image *image, const roi_row *row, int32_t label,
                             float *box)
{
    const float least = op->u.box_select.min_size;
    const float *delta = delta_of(op, row->pred, label);
    rcnn_cpu_decode_clipped(&op->u.box_select.decode, row->proposal, delta, image->net_width, image->net_height, box);
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

/* The first label from `label` on that is wanted and above the threshold, else class_count. */
static int32_t next_label(const rcnn_op *op, const float *scores, int32_t label)
{
    const uint8_t *wanted = op->u.box_select.label_wanted;
    const float *foreground = scores + (op->u.box_select.background_first ? 1 : 0);
    while (label < op->u.box_select.class_count &&
           !(foreground[label] > op->u.box_select.score_threshold && (!wanted || wanted[label]))) {
        label++;
    }
    return label;
}

/* Softmax, and the number of candidates or what is not finite. */
static int32_t count_row(const rcnn_op *op, const rcnn_frame_image *image, const roi_row *row)
{
    const int32_t labels = op->u.box_select.class_count;
    if (!rcnn_cpu_finite(row->pred, (size_t)logit_count(op))) {
        return BAD_LOGIT;
    }
    softmax(row->pred, logit_count(op), row->scores);
    int32_t count = 0;
    for (int32_t label = next_label(op, row->scores, 0); label < labels;
         label = next_label(op, row->scores, label + 1)) {
        if (!rcnn_cpu_finite(delta_of(op, row->pred, label), 4)) {
            return BAD_DELTA - label;
        }
        float box[4];
        count += op->u.box_select.min_size > 0 ? decode_candidate(op, image, row, label, box) : 1;
    }
    return count;
}

static void write_row(const rcnn_op *op, const rcnn_frame_image *image, const roi_row *row, const image_work *w,
                      int32_t at)
{
    const float *foreground = row->scores + (op->u.box_select.background_first ? 1 : 0);
    for (int32_t label = next_label(op, row->scores, 0); label < op->u.box_select.class_count;
         label = next_label(op, row->scores, label + 1)) {
        float box[4];
        if (decode_candidate(op, image, row, label, box)) {
            memcpy(w->dst_boxes + (size_t)at * 4, box, sizeof box);
            w->dst_scores[at] = foreground[label];
            w->dst_labels[at] = label;
            at++;
        }
    }
}

/* Gives every row its place; the number of candidates. */
static rcnn_status place_rows(const rcnn_cpu_kernel *k, const image_work *w, int32_t *count, rcnn_error *err)
{
    *count = 0;
    for (int32_t r = 0; r < w->rois; r++) {
        if (w->counts[r] == BAD_LOGIT) {
            return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d: a class logit is not finite",
                             k->op.name, w->n, r);
        }
        if (w->counts[r] < 0) {
            return rcnn_fail(err, RCNN_ERR_NUMERIC, "op '%s': image %d, RoI %d, label %d: a box delta is not finite",
                             k->op.name, w->n, r, BAD_DELTA - w->counts[r]);
        }
        w->first[r] = *count;
        *count += w->counts[r];
    }
    const int32_t capacity = k->dst[0].dim[1];
    return *count <= capacity ? RCNN_OK
                              : rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': image %d: %d candidates, want at most %d",
                                          k->op.name, w->n, *count, capacity);
}

static void take_scratch(const rcnn_cpu_kernel *k, rcnn_cpu_scratch *scratch, image_work *w)
{
    const size_t rois = (size_t)k->src[1].dim[1];
    w->scores = rcnn_cpu_take(scratch, rois * (size_t)logit_count(&k->op), sizeof *w->scores);
    w->counts = rcnn_cpu_take(scratch, rois, sizeof *w->counts);
    w->first = rcnn_cpu_take(scratch, rois, sizeof *w->first);
}

/* pred: the first row of image n. */
static image_work work_of(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t n, const float *pred)
{
    const size_t first = (size_t)n * (size_t)k->dst[0].dim[1];
    image_work w = {.pred = pred,
                    .proposals = (const float *)rcnn_cpu_input(k, args, 1) + (size_t)n * (size_t)k->src[1].dim[1] * 4,
                    .n = n,
                    .rois = ((const int32_t *)rcnn_cpu_input(k, args, 2))[n],
                    .dst_boxes = (float *)rcnn_cpu_output(k, args, 0) + first * 4,
                    .dst_scores = (float *)rcnn_cpu_output(k, args, 1) + first,
                    .dst_labels = (int32_t *)rcnn_cpu_output(k, args, 2) + first};
    rcnn_cpu_scratch scratch = {.base = args->scratch};
    take_scratch(k, &scratch, &w);
    return w;
}

static roi_row row_of(const rcnn_cpu_kernel *k, const image_work *w, int32_t r)
{
    return (roi_row){.pred = w->pred + (size_t)r * rcnn_cpu_row_elements(&k->src[0]),
                     .proposal = w->proposals + (size_t)r * 4,
                     .scores = w->scores + (size_t)r * (size_t)logit_count(&k->op)};
}

static rcnn_status select_image(const rcnn_cpu_kernel *k, const rcnn_args *args, const image_work *w, rcnn_error *err)
{
    const rcnn_frame_image *image = &args->frame->image[w->n];
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (int32_t r = 0; r < w->rois; r++) {
        const roi_row row = row_of(k, w, r);
        w->counts[r] = count_row(&k->op, image, &row);
    }
    RCNN_TRY(place_rows(k, w, (int32_t *)rcnn_cpu_output(k, args, 3) + w->n, err));
#pragma omp parallel for num_threads(k->threads) schedule(static)
    for (int32_t r = 0; r < w->rois; r++) {
        if (w->counts[r] > 0) {
            const roi_row row = row_of(k, w, r);
            write_row(&k->op, image, &row, w, w->first[r]);
        }
    }
    return RCNN_OK;
}

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t *roi_counts = rcnn_cpu_input(k, args, 2);
    const float *pred = rcnn_cpu_input(k, args, 0);
    for (int32_t n = 0; n < k->src[1].dim[0]; n++) {
        const image_work w = work_of(k, args, n, pred);
        RCNN_TRY(select_image(k, args, &w, err));
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
    rcnn_cpu_scratch scratch = {0};
    image_work w;
    take_scratch(k, &scratch, &w);
    *scratch_bytes = scratch.used;
    *out = &k->head;
    return RCNN_OK;
}
