/* Masks in the caller's form.
 *
 * A format is made for all detections at once, in two passes: sizes first (bounds from the boxes), then the pixels, in
 * parallel, each detection into its own slot. RLE does not know its size before it is done: its slot is a guess from the
 * box, and the few masks that need more are made again at the end of the block. What the device has pasted is not pasted
 * again: run lengths are used where they stand, bit-packed crops are expanded. */
#include <string.h>

#include "base/threads.h"
#include "session/results.h"

#define SLOT_ALIGNMENT 8

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

/* ------------------------------------------------------------- device forms */

rcnn_status rcnn_results_add_forms(rcnn_results *results, int32_t count, const rcnn_delivered_form *forms,
                                   const uint32_t *words, rcnn_error *err)
{
    if (results->form == RCNN_MASK_NONE) {
        return RCNN_OK;
    }
    size_t used = 0; /* words of this batch */
    for (int32_t i = 0; forms && i < count; i++) {
        const size_t end = forms[i].count > 0 ? (size_t)forms[i].offset + (size_t)forms[i].count : 0;
        used = end > used ? end : used;
    }
    if (!RCNN_RESULTS_GROW(results->forms, results->form_capacity, (size_t)results->detection_count) ||
        !RCNN_RESULTS_GROW(results->words, results->word_capacity, results->word_count + used)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d masks (%zu words)",
                         results->detection_count, used);
    }
    if (used > 0) {
        memcpy(results->words + results->word_count, words, used * sizeof *words);
    }
    rcnn_result_form *form = results->forms + (results->detection_count - count);
    for (int32_t i = 0; i < count; i++, form++) {
        *form = (rcnn_result_form){.count = -1};
        if (forms && forms[i].count >= 0) {
            form->offset = results->word_count + (size_t)forms[i].offset;
            form->count = forms[i].count;
            form->region = (rcnn_mask_region){forms[i].x, forms[i].y, forms[i].width, forms[i].height};
        }
    }
    results->word_count += used;
    return RCNN_OK;
}

static bool crop_fits(const rcnn_result_form *form, const rcnn_paste_spec *spec)
{
    const rcnn_mask_region *r = &form->region;
    const int64_t words = ((int64_t)r->width + 31) / 32 * r->height;
    return r->x >= 0 && r->y >= 0 && r->width > 0 && r->height > 0 && r->width <= spec->width - r->x &&
           r->height <= spec->height - r->y && form->count == words;
}

/* Points a slot at what the device pasted, where that serves the format. */
static void use_form(const rcnn_results *results, rcnn_mask_format format, int32_t i, rcnn_mask_slot *slot)
{
    const rcnn_mask_format needed = format == RCNN_MASK_RLE ? RCNN_MASK_RLE : RCNN_MASK_CROP;
    slot->words = NULL;
    slot->word_count = 0;
    if (results->form != needed) {
        return;
    }
    const rcnn_result_form *form = &results->forms[i];
    if (format == RCNN_MASK_RLE ? form->count > 0 : crop_fits(form, &slot->spec)) {
        slot->words = results->words + form->offset;
        slot->word_count = form->count;
        slot->region = form->region;
    }
}

/* Rows of bits, pixel x in bit x % 32 of word x / 32, to bytes. */
static void expand_bits(const uint32_t *words, const rcnn_mask_region *region, uint8_t *dst)
{
    for (int32_t y = 0; y < region->height; y++) {
        for (int32_t x = 0; x < region->width; x += 32) {
            const uint32_t word = *words++;
            const int32_t count = region->width - x < 32 ? region->width - x : 32;
            for (int32_t bit = 0; bit < count; bit++) {
                *dst++ = word >> bit & 1;
            }
        }
    }
}

/* dst [region height][region width] of 0/1, of the device's crop or pasted here. */
static void make_pixels(const rcnn_results *results, int32_t i, const rcnn_mask_slot *slot, uint8_t *dst, void *scratch)
{
    if (slot->words) {
        expand_bits(slot->words, &slot->region, dst);
    } else {
        rcnn_mask_paste(&slot->spec, soft_of(results, i), results->paste_boxes[i], &slot->region, dst, scratch);
    }
}

/* ------------------------------------------------------------------- layout */

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
        return slot->words ? 0 : usual_rle_counts(&slot->region) * sizeof(uint32_t);
    case RCNN_MASK_FULL:
        return (size_t)slot->spec.width * (size_t)slot->spec.height;
    default:
        return 0;
    }
}

/* Scratch of a paste, rounded up so that pixels may follow. */
static size_t paste_bytes(const rcnn_mask_slot *slot)
{
    return (rcnn_mask_scratch_bytes(&slot->spec, &slot->region) + SLOT_ALIGNMENT) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
}

/* Where the pixels of one region go behind the paste's own scratch. */
static uint8_t *pixel_scratch(const rcnn_mask_slot *slot, void *scratch)
{
    return (uint8_t *)scratch + (slot->words ? 0 : paste_bytes(slot));
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
        use_form(results, format, i, slot);
        if (!slot->words) {
            rcnn_mask_region_of(&slot->spec, results->paste_boxes[i], &slot->region);
        }
        slot->offset = end;
        slot->bytes = slot_bytes(format, slot);
        size_t scratch = slot->words ? SLOT_ALIGNMENT : paste_bytes(slot);
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
        !RCNN_RESULTS_GROW(results->scratch, results->scratch_capacity, scratch_bytes) ||
        !RCNN_RESULTS_GROW(store->data, store->data_capacity, end ? end : 1) ||
        !RCNN_RESULTS_GROW(store->masks, store->mask_capacity, (size_t)results->detection_count)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d masks (%zu bytes)",
                         results->detection_count, end);
    }
    return RCNN_OK;
}

/* -------------------------------------------------------------------- making */

static void paste_crop(const rcnn_results *results, int32_t i, const rcnn_mask_slot *slot, uint8_t *dst, void *scratch,
                       rcnn_mask *mask)
{
    make_pixels(results, i, slot, dst, scratch);
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
    uint8_t *pixels = pixel_scratch(slot, scratch);
    memset(dst, 0, slot->bytes);
    make_pixels(results, i, slot, pixels, scratch);
    for (int32_t y = 0; y < region->height; y++) {
        memcpy(dst + (size_t)(region->y + y) * (size_t)slot->spec.width + (size_t)region->x,
               pixels + (size_t)y * (size_t)region->width, (size_t)region->width);
    }
    *mask =
        (rcnn_mask){.format = RCNN_MASK_FULL, .width = slot->spec.width, .height = slot->spec.height, .bitmap = dst};
}

/* The device's run lengths where they stand, or pasted ones: mask->count may then exceed the slot, the caller makes such
 * masks again. */
static void paste_rle(const rcnn_results *results, int32_t i, const rcnn_mask_slot *slot, uint8_t *dst, void *scratch,
                      rcnn_mask *mask)
{
    *mask = (rcnn_mask){.format = RCNN_MASK_RLE, .width = slot->spec.width, .height = slot->spec.height};
    if (slot->words) {
        mask->counts = slot->words;
        mask->count = slot->word_count;
        return;
    }
    int32_t capacity = (int32_t)(slot->bytes / sizeof(uint32_t));
    mask->count = rcnn_mask_paste_rle(&slot->spec, soft_of(results, i), results->paste_boxes[i], &slot->region,
                                      (uint32_t *)(void *)dst, capacity, scratch);
    mask->counts = (const uint32_t *)(const void *)dst;
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
        if (slots[i].words || need <= slots[i].bytes) {
            continue;
        }
        slots[i].offset = (end + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
        slots[i].bytes = need;
        end = slots[i].offset + need;
        if (!RCNN_RESULTS_GROW(store->data, store->data_capacity, end)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %zu bytes of run lengths", end);
        }
        paste_slot(results, RCNN_MASK_RLE, i, &slots[i], results->scratch);
    }
    for (int32_t i = 0; i < results->detection_count; i++) {
        if (!slots[i].words) {
            store->masks[i].counts = (const uint32_t *)(const void *)(store->data + slots[i].offset);
        }
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
        uint8_t *pixels = pixel_scratch(&slots[i], results->scratch);
        size_t marks = ((size_t)region->width + 1) * ((size_t)region->height + 1);
        if (!RCNN_RESULTS_GROW(results->visited, results->visited_capacity, marks)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for outlines");
        }
        make_pixels(results, i, &slots[i], pixels, results->scratch);
        int32_t points = 0;
        int32_t rings = rcnn_mask_polygons(pixels, region, NULL, 0, NULL, 0, &points, results->visited);
        size_t point_bytes = (size_t)points * 2 * sizeof(float);
        size_t need = end + point_bytes + (size_t)rings * sizeof(int32_t);
        if (!RCNN_RESULTS_GROW(store->data, store->data_capacity, need ? need : 1)) {
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
    if (!RCNN_RESULTS_GROW(store->masks, store->mask_capacity, (size_t)results->detection_count)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "masks: out of memory for %d masks", results->detection_count);
    }
    for (int32_t i = 0; i < results->detection_count; i++) {
        store->masks[i] = (rcnn_mask){
            .format = RCNN_MASK_RAW, .width = results->side, .height = results->side, .raw = soft_of(results, i)};
    }
    return RCNN_OK;
}

/* Run lengths of the device need no work: not worth waking threads for. */
static bool any_work(rcnn_mask_format format, const rcnn_mask_slot *slots, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (format != RCNN_MASK_RLE || !slots[i].words) {
            return true;
        }
    }
    return false;
}

static rcnn_status make_pasted(rcnn_results *results, rcnn_mask_format format, rcnn_mask_slot *slots, int32_t threads,
                               rcnn_error *err)
{
    size_t stride = 0;
    if (threads > results->detection_count) { /* each has scratch of its own */
        threads = results->detection_count > 0 ? results->detection_count : 1;
    }
    RCNN_TRY(lay_out(results, format, slots, threads, &stride, err));
    if (format == RCNN_MASK_POLYGON) {
        return make_polygons(results, slots, err);
    }
    threads = any_work(format, slots, results->detection_count) ? threads : 1;
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
        if (!RCNN_RESULTS_GROW(results->slots, results->slot_capacity, (size_t)results->detection_count)) {
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
