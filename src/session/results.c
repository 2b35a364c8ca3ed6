/* Results: growing arrays that keep their memory from run to run, and masks in the caller's form.
 *
 * A format is made for all detections at once, in two passes: sizes first (bounds from the boxes), then the pixels, in
 * parallel, each detection into its own slot. RLE does not know its size before it is done: its slot is a guess from the
 * box, and the few masks that need more are made again at the end of the block. */
#include "session/results.h"

#include <stdlib.h>
#include <string.h>

#include "base/threads.h"

#define SLOT_ALIGNMENT 8

void rcnn_results_reset(rcnn_results *results)
{
    results->image_count = 0;
    results->detection_count = 0;
    results->total_ms = 0;
    memset(results->stage_ms, 0, sizeof results->stage_ms);
    for (int32_t f = 0; f <= RCNN_MASK_FULL; f++) {
        results->stores[f].ready = 0;
    }
}

/* rcnn_grow for a typed array: pointer and capacity travel together. */
#define GROW(array, capacity, need) grow((void **)&(array), &(capacity), (need), sizeof *(array))

static bool grow(void **array, size_t *capacity, size_t need, size_t item)
{
    void *pointer;
    memcpy(&pointer, array, sizeof pointer);
    bool grown = rcnn_grow(&pointer, capacity, need, item);
    memcpy(array, &pointer, sizeof pointer);
    return grown;
}

rcnn_status rcnn_results_reserve(rcnn_results *results, int32_t more, rcnn_error *err)
{
    if (more > INT32_MAX - results->detection_count) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "results: want at most %d detections of all images, got more", INT32_MAX);
    }
    size_t count = (size_t)results->detection_count + (size_t)more;
    size_t soft = results->has_masks ? count * (size_t)results->side * (size_t)results->side : 0;
    if (!GROW(results->images, results->image_capacity, (size_t)results->image_count + 1) ||
        !GROW(results->detections, results->detection_capacity, count) ||
        !GROW(results->paste_boxes, results->paste_capacity, count) ||
        !GROW(results->soft, results->soft_capacity, soft)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "results: out of memory for %zu detections", count);
    }
    return RCNN_OK;
}

void rcnn_results_destroy(rcnn_results *results)
{
    if (!results) {
        return;
    }
    for (int32_t f = 0; f <= RCNN_MASK_FULL; f++) {
        rcnn_free(results->stores[f].masks);
        rcnn_free(results->stores[f].data);
    }
    rcnn_free(results->images);
    rcnn_free(results->detections);
    rcnn_free(results->paste_boxes);
    rcnn_free(results->soft);
    rcnn_free(results->scratch);
    rcnn_free(results->slots);
    rcnn_free(results->visited);
    rcnn_free(results);
}

int32_t rcnn_results_image_count(const rcnn_results *results)
{
    return results ? results->image_count : 0;
}

int32_t rcnn_results_count(const rcnn_results *results, int32_t image)
{
    return results && image >= 0 && image < results->image_count ? results->images[image].count : 0;
}

rcnn_status rcnn_results_get(const rcnn_results *results, int32_t image, int32_t index, rcnn_detection *out)
{
    if (!out || index < 0 || index >= rcnn_results_count(results, image)) {
        return RCNN_ERR_ARGUMENT;
    }
    *out = results->detections[results->images[image].first + index];
    return RCNN_OK;
}

double rcnn_results_stage_ms(const rcnn_results *results, int32_t stage)
{
    if (!results || stage < -1 || stage >= RCNN_STAGE_COUNT) {
        return 0;
    }
    return stage == -1 ? results->total_ms : results->stage_ms[stage];
}

/* ------------------------------------------------------------- mask forms */

static rcnn_paste_spec spec_of(const rcnn_results *results, const rcnn_result_image *image)
{
    return (rcnn_paste_spec){.paste = results->paste,
                             .side = results->side,
                             .width = image->width,
                             .height = image->height,
                             .threshold = results->threshold};
}

static const float *soft_of(const rcnn_results *results, int32_t detection)
{
    return results->soft + (size_t)detection * (size_t)results->side * (size_t)results->side;
}

/* Counts a mask of ordinary shape stays under: a few runs a column. */
static size_t usual_rle_counts(const rcnn_mask_region *region)
{
    size_t safe = rcnn_mask_rle_capacity(region);
    size_t usual = 6 * (size_t)region->width + 16;
    return usual < safe ? usual : safe;
}

static size_t slot_bytes(rcnn_mask_format format, const rcnn_mask_slot *slot)
{
    size_t area = (size_t)slot->region.width * (size_t)slot->region.height;
    switch (format) {
    case RCNN_MASK_CROP:
        return area;
    case RCNN_MASK_RLE:
        return usual_rle_counts(&slot->region) * sizeof(uint32_t);
    case RCNN_MASK_FULL:
        return (size_t)slot->spec.width * (size_t)slot->spec.height;
    default:
        return 0;
    }
}

/* Fills slots, grows the store's block and the scratch. scratch_stride: bytes of scratch per thread, room for a paste and
 * for one region's pixels. */
static rcnn_status lay_out(rcnn_results *results, rcnn_mask_format format, rcnn_mask_slot *slots, int32_t threads,
                           size_t *scratch_stride, rcnn_error *err)
{
    rcnn_mask_store *store = &results->stores[format];
    size_t end = 0;
    size_t stride = 0;
    const rcnn_result_image *image = results->images;
    for (int32_t i = 0; i < results->detection_count; i++) {
        while (i >= image->first + image->count) {
            image++;
        }
        rcnn_mask_slot *slot = &slots[i];
        slot->spec = spec_of(results, image);
        rcnn_mask_region_of(&slot->spec, results->paste_boxes[i], &slot->region);
        slot->offset = end;
        slot->bytes = slot_bytes(format, slot);
        size_t scratch = rcnn_mask_scratch_bytes(&slot->spec, &slot->region) + SLOT_ALIGNMENT;
        if (format == RCNN_MASK_FULL || format == RCNN_MASK_POLYGON) {
            scratch += (size_t)slot->region.width * (size_t)slot->region.height;
        }
        stride = scratch > stride ? scratch : stride;
        if (!rcnn_add_size(end, slot->bytes + SLOT_ALIGNMENT, &end)) {
            return rcnn_fail(err, RCNN_ERR_LIMIT, "masks: %d masks do not fit in memory", results->detection_count);
        }
        end = end / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    }
    *scratch_stride = (stride + RCNN_ALIGNMENT) / RCNN_ALIGNMENT * RCNN_ALIGNMENT;
    size_t scratch_bytes;
    if (!rcnn_mul_size(*scratch_stride, (size_t)threads, &scratch_bytes) ||
        !GROW(results->scratch, results->scratch_capacity, scratch_bytes) ||
        !GROW(store->data, store->data_capacity, end ? end : 1) ||
        !GROW(store->masks, store->mask_capacity, (size_t)results->detection_count)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d masks (%zu bytes)",
                         results->detection_count, end);
    }
    return RCNN_OK;
}

static void paste_crop(const rcnn_results *results, int32_t i, const rcnn_mask_slot *slot, uint8_t *dst, void *scratch,
                       rcnn_mask *mask)
{
    rcnn_mask_paste(&slot->spec, soft_of(results, i), results->paste_boxes[i], &slot->region, dst, scratch);
    *mask = (rcnn_mask){.format = RCNN_MASK_CROP,
                        .x = slot->region.x,
                        .y = slot->region.y,
                        .width = slot->region.width,
                        .height = slot->region.height,
                        .bitmap = dst};
}

static void paste_full(const rcnn_results *results, int32_t i, const rcnn_mask_slot *slot, uint8_t *dst, void *scratch,
                       rcnn_mask *mask)
{
    const rcnn_mask_region *region = &slot->region;
    size_t paste_bytes =
        (rcnn_mask_scratch_bytes(&slot->spec, region) + SLOT_ALIGNMENT) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    uint8_t *pixels = (uint8_t *)scratch + paste_bytes;
    memset(dst, 0, slot->bytes);
    rcnn_mask_paste(&slot->spec, soft_of(results, i), results->paste_boxes[i], region, pixels, scratch);
    for (int32_t y = 0; y < region->height; y++) {
        memcpy(dst + (size_t)(region->y + y) * (size_t)slot->spec.width + (size_t)region->x,
               pixels + (size_t)y * (size_t)region->width, (size_t)region->width);
    }
    *mask =
        (rcnn_mask){.format = RCNN_MASK_FULL, .width = slot->spec.width, .height = slot->spec.height, .bitmap = dst};
}

/* mask->count may exceed the slot: the caller makes such masks again. */
static void paste_rle(const rcnn_results *results, int32_t i, const rcnn_mask_slot *slot, uint8_t *dst, void *scratch,
                      rcnn_mask *mask)
{
    int32_t capacity = (int32_t)(slot->bytes / sizeof(uint32_t));
    int32_t count = rcnn_mask_paste_rle(&slot->spec, soft_of(results, i), results->paste_boxes[i], &slot->region,
                                        (uint32_t *)(void *)dst, capacity, scratch);
    *mask = (rcnn_mask){.format = RCNN_MASK_RLE,
                        .width = slot->spec.width,
                        .height = slot->spec.height,
                        .counts = (const uint32_t *)(const void *)dst,
                        .count = count};
}

static void paste_slot(rcnn_results *results, rcnn_mask_format format, int32_t i, const rcnn_mask_slot *slot,
                       void *scratch)
{
    rcnn_mask_store *store = &results->stores[format];
    uint8_t *dst = store->data + slot->offset;
    if (format == RCNN_MASK_CROP) {
        paste_crop(results, i, slot, dst, scratch, &store->masks[i]);
    } else if (format == RCNN_MASK_FULL) {
        paste_full(results, i, slot, dst, scratch, &store->masks[i]);
    } else {
        paste_rle(results, i, slot, dst, scratch, &store->masks[i]);
    }
}

/* Masks that outgrew their slots, at the end of the block; the block may move while it grows. */
static rcnn_status redo_long_rle(rcnn_results *results, rcnn_mask_slot *slots, rcnn_error *err)
{
    rcnn_mask_store *store = &results->stores[RCNN_MASK_RLE];
    size_t end = 0;
    for (int32_t i = 0; i < results->detection_count; i++) {
        size_t after = slots[i].offset + slots[i].bytes;
        end = after > end ? after : end;
    }
    for (int32_t i = 0; i < results->detection_count; i++) {
        size_t need = (size_t)store->masks[i].count * sizeof(uint32_t);
        if (need <= slots[i].bytes) {
            continue;
        }
        slots[i].offset = (end + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
        slots[i].bytes = need;
        end = slots[i].offset + need;
        if (!GROW(store->data, store->data_capacity, end)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %zu bytes of run lengths", end);
        }
        paste_slot(results, RCNN_MASK_RLE, i, &slots[i], results->scratch);
    }
    for (int32_t i = 0; i < results->detection_count; i++) {
        store->masks[i].counts = (const uint32_t *)(const void *)(store->data + slots[i].offset);
    }
    return RCNN_OK;
}

/* Outlines: their size is only known once traced, so one detection after another, twice. */
static rcnn_status make_polygons(rcnn_results *results, const rcnn_mask_slot *slots, rcnn_error *err)
{
    rcnn_mask_store *store = &results->stores[RCNN_MASK_POLYGON];
    size_t end = 0;
    for (int32_t i = 0; i < results->detection_count; i++) {
        const rcnn_mask_region *region = &slots[i].region;
        size_t paste_bytes =
            (rcnn_mask_scratch_bytes(&slots[i].spec, region) + SLOT_ALIGNMENT) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
        uint8_t *pixels = results->scratch + paste_bytes;
        size_t marks = ((size_t)region->width + 1) * ((size_t)region->height + 1);
        if (!GROW(results->visited, results->visited_capacity, marks)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for outlines");
        }
        rcnn_mask_paste(&slots[i].spec, soft_of(results, i), results->paste_boxes[i], region, pixels, results->scratch);
        int32_t points = 0;
        int32_t rings = rcnn_mask_polygons(pixels, region, NULL, 0, NULL, 0, &points, results->visited);
        size_t point_bytes = (size_t)points * 2 * sizeof(float);
        size_t need = end + point_bytes + (size_t)rings * sizeof(int32_t);
        if (!GROW(store->data, store->data_capacity, need ? need : 1)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d outline points", points);
        }
        rcnn_mask_polygons(pixels, region, (float *)(void *)(store->data + end), points,
                           (int32_t *)(void *)(store->data + end + point_bytes), rings, &points, results->visited);
        /* x holds the number of points until the block has stopped moving */
        store->masks[i] = (rcnn_mask){.format = RCNN_MASK_POLYGON,
                                      .x = points,
                                      .width = slots[i].spec.width,
                                      .height = slots[i].spec.height,
                                      .count = rings};
        end = need;
    }
    size_t offset = 0;
    for (int32_t i = 0; i < results->detection_count; i++) {
        rcnn_mask *mask = &store->masks[i];
        size_t point_bytes = (size_t)mask->x * 2 * sizeof(float);
        mask->points = (const float *)(const void *)(store->data + offset);
        mask->ring_ends = (const int32_t *)(const void *)(store->data + offset + point_bytes);
        mask->x = 0;
        offset += point_bytes + (size_t)mask->count * sizeof(int32_t);
    }
    return RCNN_OK;
}

static rcnn_status make_raw(rcnn_results *results, rcnn_error *err)
{
    rcnn_mask_store *store = &results->stores[RCNN_MASK_RAW];
    if (!GROW(store->masks, store->mask_capacity, (size_t)results->detection_count)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d masks", results->detection_count);
    }
    for (int32_t i = 0; i < results->detection_count; i++) {
        store->masks[i] = (rcnn_mask){
            .format = RCNN_MASK_RAW, .width = results->side, .height = results->side, .raw = soft_of(results, i)};
    }
    return RCNN_OK;
}

static rcnn_status make_pasted(rcnn_results *results, rcnn_mask_format format, rcnn_mask_slot *slots, int32_t threads,
                               rcnn_error *err)
{
    size_t stride;
    if (threads > results->detection_count) { /* each has scratch of its own */
        threads = results->detection_count > 0 ? results->detection_count : 1;
    }
    RCNN_TRY(lay_out(results, format, slots, threads, &stride, err));
    if (format == RCNN_MASK_POLYGON) {
        return make_polygons(results, slots, err);
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int32_t i = 0; i < results->detection_count; i++) {
        paste_slot(results, format, i, &slots[i], results->scratch + (size_t)rcnn_thread_index() * stride);
    }
    return format == RCNN_MASK_RLE ? redo_long_rle(results, slots, err) : RCNN_OK;
}

rcnn_status rcnn_results_make_masks(rcnn_results *results, rcnn_mask_format format, int32_t threads, rcnn_error *err)
{
    rcnn_mask_store *store = &results->stores[format];
    if (store->ready || format == RCNN_MASK_NONE) {
        return RCNN_OK;
    }
    if (format == RCNN_MASK_RAW) {
        RCNN_TRY(make_raw(results, err));
    } else {
        if (!GROW(results->slots, results->slot_capacity, (size_t)results->detection_count)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d masks", results->detection_count);
        }
        RCNN_TRY(make_pasted(results, format, results->slots, threads, err));
    }
    store->ready = 1;
    return RCNN_OK;
}

rcnn_status rcnn_results_get_mask(rcnn_results *results, int32_t image, int32_t index, rcnn_mask_format format,
                                  rcnn_mask *out, rcnn_error *err)
{
    if (!results || !out || index < 0 || index >= rcnn_results_count(results, image)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "results: no detection %d in image %d", index, image);
    }
    if (format <= RCNN_MASK_NONE || format > RCNN_MASK_FULL) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "results: want a mask format 1..%d, got %d", RCNN_MASK_FULL,
                         (int)format);
    }
    if (!results->has_masks) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "results: the run made no masks");
    }
    RCNN_TRY(rcnn_results_make_masks(results, format, 1, err));
    *out = results->stores[format].masks[results->images[image].first + index];
    return RCNN_OK;
}
