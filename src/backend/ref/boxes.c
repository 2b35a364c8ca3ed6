/* See boxes.h. Source: mmdet delta2bbox, torchvision BoxCoder.decode_single, detectron2 Box2BoxTransform. */
#include "backend/ref/boxes.h"

#include <math.h>
#include <string.h>

#define LOG_MAX_RATIO 4.135166556742356f /* log(1000/16) */

float rcnn_ref_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

bool rcnn_ref_all_finite(const float *values, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

static float clamp_log(float d, int32_t both)
{
    return fminf(both ? fmaxf(d, -LOG_MAX_RATIO) : d, LOG_MAX_RATIO);
}

void rcnn_ref_decode(const rcnn_decode *decode, const float *box, const float *delta, float *out)
{
    for (int32_t k = 0; k < 2; k++) { /* k = 0: x and width, k = 1: y and height */
        const float *w = decode->weight;
        float shift = decode->multiply ? delta[k] * w[k] : delta[k] / w[k];
        float growth = decode->multiply ? delta[k + 2] * w[k + 2] : delta[k + 2] / w[k + 2];
        float side = box[k + 2] - box[k];
        /* mmdet takes the middle of the corners, torchvision and detectron2 the corner plus half a side */
        float centre = decode->multiply ? (box[k] + box[k + 2]) * 0.5f : box[k] + 0.5f * side;
        float new_centre = centre + side * shift;
        float new_side = side * expf(clamp_log(growth, decode->clamp_both));
        out[k] = new_centre - new_side * 0.5f;
        out[k + 2] = new_centre + new_side * 0.5f;
    }
}

void rcnn_ref_clip(float *box, int32_t width, int32_t height)
{
    for (int32_t k = 0; k < 4; k++) {
        box[k] = fminf(fmaxf(box[k], 0.0f), (float)(k % 2 == 0 ? width : height));
    }
}

bool rcnn_ref_side_at_least(const float *box, float minimum, bool inclusive)
{
    float width = box[2] - box[0];
    float height = box[3] - box[1];
    if (minimum < 0) {
        return true;
    }
    return inclusive ? width >= minimum && height >= minimum : width > minimum && height > minimum;
}

/* Merges the sorted runs [from,middle) and [middle,to) of `order` into `spare`; the left run wins ties. */
static void merge_runs(const float *value, const int32_t *order, int32_t *spare, int32_t from, int32_t middle,
                       int32_t to)
{
    int32_t left = from;
    int32_t right = middle;
    for (int32_t i = from; i < to; i++) {
        bool take_left = left < middle && (right >= to || value[order[left]] >= value[order[right]]);
        spare[i] = take_left ? order[left++] : order[right++];
    }
}

/* A merge sort, because qsort is neither stable nor free of allocation. */
void rcnn_ref_order_descending(const float *value, int32_t count, int32_t *order, int32_t *spare)
{
    for (int32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (int64_t run = 1; run < count; run *= 2) {
        for (int64_t from = 0; from < count; from += 2 * run) {
            int64_t middle = from + run < count ? from + run : count;
            int64_t to = from + 2 * run < count ? from + 2 * run : count;
            merge_runs(value, order, spare, (int32_t)from, (int32_t)middle, (int32_t)to);
        }
        memcpy(order, spare, (size_t)count * sizeof *order);
    }
}

rcnn_ref_list rcnn_ref_list_of(const rcnn_tensor_desc *boxes_desc, void *boxes, void *scores, void *groups, int32_t n)
{
    size_t first = (size_t)n * (size_t)boxes_desc->dim[1];
    return (rcnn_ref_list){.boxes = (float *)boxes + first * 4,
                           .scores = (float *)scores + first,
                           .groups = (int32_t *)groups + first,
                           .capacity = boxes_desc->dim[1]};
}

bool rcnn_ref_list_add(rcnn_ref_list *list, const float *box, float score, int32_t group)
{
    if (list->count >= list->capacity) {
        return false;
    }
    memcpy(list->boxes + (size_t)list->count * 4, box, 4 * sizeof *box);
    list->scores[list->count] = score;
    list->groups[list->count] = group;
    list->count++;
    return true;
}
