/* Keeping annotations and detections, and the small public calls about them. */
#include "eval/store.h"

#include <math.h>

#include "base/memory.h"

rcnn_eval_item *rcnn_eval_store_add(rcnn_eval_store *store)
{
    void *items = store->items;
    if (!rcnn_grow(&items, &store->capacity, store->count + 1, sizeof *store->items)) {
        return NULL;
    }
    store->items = items;
    rcnn_eval_item *item = &store->items[store->count++];
    *item = (rcnn_eval_item){0};
    return item;
}

void rcnn_eval_store_free(rcnn_eval_store *store)
{
    rcnn_free(store->items);
    rcnn_text_free(&store->bytes);
}

/* ------------------------------------------------------------------- truth */

void rcnn_eval_truth_destroy(rcnn_eval_truth *truth)
{
    if (truth) {
        rcnn_free(truth->images);
        rcnn_free(truth->categories);
        rcnn_eval_store_free(&truth->annotations);
        rcnn_text_free(&truth->names);
        rcnn_free(truth);
    }
}

int32_t rcnn_eval_truth_image_count(const rcnn_eval_truth *truth)
{
    return truth ? (int32_t)truth->image_count : 0;
}

rcnn_status rcnn_eval_truth_image(const rcnn_eval_truth *truth, int32_t index, rcnn_eval_image *out)
{
    if (!truth || !out || index < 0 || (size_t)index >= truth->image_count) {
        return RCNN_ERR_ARGUMENT;
    }
    const rcnn_eval_picture *image = &truth->images[index];
    *out = (rcnn_eval_image){image->id, truth->names.data + image->name, image->width, image->height};
    return RCNN_OK;
}

int32_t rcnn_eval_truth_category_count(const rcnn_eval_truth *truth)
{
    return truth ? (int32_t)truth->category_count : 0;
}

rcnn_status rcnn_eval_truth_category(const rcnn_eval_truth *truth, int32_t index, int64_t *id, const char **name)
{
    if (!truth || !id || !name || index < 0 || (size_t)index >= truth->category_count) {
        return RCNN_ERR_ARGUMENT;
    }
    *id = truth->categories[index].id;
    *name = truth->names.data + truth->categories[index].name;
    return RCNN_OK;
}

int64_t rcnn_eval_truth_annotation_count(const rcnn_eval_truth *truth)
{
    return truth ? (int64_t)truth->annotations.count : 0;
}

/* Position of an id among `count` structs of `stride` bytes that start with it and rise by it; -1 when absent. */
static int32_t find_id(const void *list, size_t count, size_t stride, int64_t id)
{
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int64_t here = *(const int64_t *)(const void *)((const char *)list + middle * stride);
        if (here == id) {
            return (int32_t)middle;
        }
        if (here < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

int32_t rcnn_eval_find_image(const rcnn_eval_truth *truth, int64_t id)
{
    return find_id(truth->images, truth->image_count, sizeof *truth->images, id);
}

int32_t rcnn_eval_find_category(const rcnn_eval_truth *truth, int64_t id)
{
    return find_id(truth->categories, truth->category_count, sizeof *truth->categories, id);
}

/* -------------------------------------------------------------- detections */

rcnn_status rcnn_eval_detections_create(const rcnn_eval_truth *truth, rcnn_eval_detections **out, rcnn_error *err)
{
    if (!truth || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "detections: want a truth and a place for the result, got NULL");
    }
    *out = rcnn_calloc(1, sizeof **out);
    if (!*out) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "detections: out of memory");
    }
    (*out)->truth = truth;
    return RCNN_OK;
}

void rcnn_eval_detections_destroy(rcnn_eval_detections *detections)
{
    if (detections) {
        rcnn_eval_store_free(&detections->store);
        rcnn_text_free(&detections->scratch);
        rcnn_free(detections);
    }
}

int64_t rcnn_eval_detections_count(const rcnn_eval_detections *detections)
{
    return detections ? (int64_t)detections->store.count : 0;
}

static rcnn_status check_added(const rcnn_eval_truth *truth, int32_t image, int32_t category, const double bbox[4],
                               double score, rcnn_error *err)
{
    if (image < 0 || (size_t)image >= truth->image_count || category < 0 || (size_t)category >= truth->category_count) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "detection: want image 0..%zu and category 0..%zu, got %d and %d",
                         truth->image_count, truth->category_count, image, category);
    }
    bool good = isfinite(score) && bbox[2] >= 0 && bbox[3] >= 0;
    for (int i = 0; i < 4; i++) {
        good = good && fabs(bbox[i]) <= RCNN_EVAL_COORDINATE_MAX;
    }
    if (!good) {
        return rcnn_fail(
            err, RCNN_ERR_ARGUMENT,
            "detection: want a finite score and a box of x, y, width >= 0, height >= 0 up to %g, got score "
            "%g, box %g %g %g %g",
            RCNN_EVAL_COORDINATE_MAX, score, bbox[0], bbox[1], bbox[2], bbox[3]);
    }
    return RCNN_OK;
}

/* Packs the counts at the end of the store's bytes. */
static rcnn_status add_mask(rcnn_eval_detections *d, const rcnn_eval_picture *image, const uint32_t *counts,
                            int32_t count, rcnn_eval_shape *out, rcnn_error *err)
{
    uint64_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += counts[i];
    }
    const uint64_t pixels = (uint64_t)image->width * (uint64_t)image->height;
    if (sum != pixels || pixels == 0 || pixels > RCNN_EVAL_PIXELS_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT,
                         "detection: want runs that add up to the image of %d x %d pixels, got %d that add up to %llu",
                         image->width, image->height, count, (unsigned long long)sum);
    }
    const size_t length = rcnn_rle_to_string(counts, count, NULL, 0);
    void *text = d->scratch.data;
    if (length > UINT32_MAX || !rcnn_grow(&text, &d->scratch.capacity, length + 1, 1)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "detection: out of memory for a mask");
    }
    d->scratch.data = text;
    rcnn_rle_to_string(counts, count, d->scratch.data, length + 1);
    *out = (rcnn_eval_shape){d->store.bytes.length, (uint32_t)length, RCNN_EVAL_SHAPE_RUNS};
    rcnn_text_add_bytes(&d->store.bytes, d->scratch.data, length);
    if (d->store.bytes.failed) {
        d->store.bytes.failed = false; /* the bytes so far are whole */
        return rcnn_fail(err, RCNN_ERR_MEMORY, "detection: out of memory for a mask");
    }
    return RCNN_OK;
}

rcnn_status rcnn_eval_detections_add(rcnn_eval_detections *detections, int32_t image, int32_t category,
                                     const double bbox[4], double score, const uint32_t *counts, int32_t count,
                                     rcnn_error *err)
{
    if (!detections || !bbox || count < 0) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "detection: want detections, a box and a count >= 0");
    }
    const rcnn_eval_truth *truth = detections->truth;
    rcnn_eval_shape shape = {0};
    RCNN_TRY(check_added(truth, image, category, bbox, score, err));
    if (counts) {
        RCNN_TRY(add_mask(detections, &truth->images[image], counts, count, &shape, err));
    }
    rcnn_eval_item *item = rcnn_eval_store_add(&detections->store);
    if (!item) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "detection: out of memory");
    }
    *item = (rcnn_eval_item){.box = {bbox[0], bbox[1], bbox[2], bbox[3]},
                             .area = counts ? (double)rcnn_rle_area(counts, count) : 0,
                             .score = score,
                             .shape = shape,
                             .image = image,
                             .category = category,
                             .has_box = true};
    return RCNN_OK;
}
