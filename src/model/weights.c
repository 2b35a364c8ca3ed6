/* rcnn_weights: opening, telling the formats apart, and the look-ups of the public header. */
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/bytes.h"

/* ------------------------------------------------------------- name index */

static int compare_places(const void *a, const void *b)
{
    const struct rcnn_name_place *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : (left->place > right->place) - (left->place < right->place);
}

bool rcnn_name_index_build(rcnn_name_index *index, const char *const *first, size_t stride_bytes, size_t count)
{
    index->items = rcnn_calloc(count, sizeof index->items[0]);
    if (!index->items) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(&index->items[i].name, (const char *)first + i * stride_bytes, sizeof(const char *));
        index->items[i].place = i;
    }
    index->count = count;
    if (count > 1) {
        qsort(index->items, count, sizeof index->items[0], compare_places);
    }
    return true;
}

size_t rcnn_name_index_find(const rcnn_name_index *index, const char *name)
{
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(index->items[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < index->count && strcmp(index->items[low].name, name) == 0;
    return found ? index->items[low].place : SIZE_MAX;
}

/* ------------------------------------------------------------------ filling */

bool rcnn_shape_count(const int64_t *shape, int32_t rank, uint64_t *out)
{
    uint64_t count = 1;
    bool empty = false, fits = true;
    for (int32_t i = 0; i < rank; i++) {
        if (shape[i] < 0) {
            return false;
        }
        empty = empty || shape[i] == 0;
        if (shape[i] > 0 && count > (uint64_t)INT64_MAX / (uint64_t)shape[i]) {
            fits = false;
        } else {
            count *= (uint64_t)shape[i];
        }
    }
    *out = empty ? 0 : count;
    return empty || fits;
}

rcnn_status rcnn_weights_add_tensor(rcnn_weights *w, const void *name, size_t length, const rcnn_tensor_info *info,
                                    rcnn_error *err)
{
    static const char PREFIX[] = "module.";
    const char *text = name;
    if (length > sizeof PREFIX - 1 && memcmp(text, PREFIX, sizeof PREFIX - 1) == 0) {
        text += sizeof PREFIX - 1;
        length -= sizeof PREFIX - 1;
    }
    if (length > RCNN_WEIGHTS_NAME_MAX || memchr(text, 0, length)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: a tensor name is longer than %d bytes or holds a NUL byte", w->what,
                         RCNN_WEIGHTS_NAME_MAX);
    }
    if (w->tensor_count == RCNN_WEIGHTS_TENSORS_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: more than %d tensors", w->what, RCNN_WEIGHTS_TENSORS_MAX);
    }
    void *tensors = w->tensors;
    if (!rcnn_grow(&tensors, &w->tensor_capacity, w->tensor_count + 1, sizeof w->tensors[0])) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", w->what);
    }
    w->tensors = tensors;
    const char *copy = rcnn_arena_text(&w->names, text, length);
    if (!copy) {
        return rcnn_arena_fail(&w->names, w->what, err);
    }
    w->tensors[w->tensor_count] = *info;
    w->tensors[w->tensor_count++].name = copy;
    return RCNN_OK;
}

static rcnn_status add_pair(rcnn_weights *w, rcnn_weights_pair **pairs, size_t *count, size_t *capacity,
                            rcnn_weights_pair pair, rcnn_error *err)
{
    void *grown = *pairs;
    if (!rcnn_grow(&grown, capacity, *count + 1, sizeof **pairs)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", w->what);
    }
    *pairs = grown;
    (*pairs)[(*count)++] = pair;
    return RCNN_OK;
}

rcnn_status rcnn_weights_add_meta(rcnn_weights *w, const char *key, const char *value, size_t length, rcnn_error *err)
{
    if (w->meta_count == RCNN_WEIGHTS_META_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: more than %d meta entries", w->what, RCNN_WEIGHTS_META_MAX);
    }
    rcnn_weights_pair pair = {.key = rcnn_arena_text(&w->meta_text, key, strlen(key))};
    pair.value = pair.key ? rcnn_arena_text(&w->meta_text, value, length) : NULL;
    if (!pair.value) {
        return rcnn_arena_fail(&w->meta_text, w->what, err);
    }
    return add_pair(w, &w->meta, &w->meta_count, &w->meta_capacity, pair, err);
}

rcnn_status rcnn_weights_add_global(rcnn_weights *w, const char *name, bool known, rcnn_error *err)
{
    if (w->global_count == RCNN_WEIGHTS_GLOBALS_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: more than %d pickle globals", w->what, RCNN_WEIGHTS_GLOBALS_MAX);
    }
    rcnn_weights_pair pair = {.key = rcnn_arena_text(&w->names, name, strlen(name)), .known = known};
    if (!pair.key) {
        return rcnn_arena_fail(&w->names, w->what, err);
    }
    return add_pair(w, &w->globals, &w->global_count, &w->global_capacity, pair, err);
}

/* ------------------------------------------------------------------ opening */

static bool starts_with(const rcnn_weights *w, const char *prefix)
{
    size_t length = strlen(prefix);
    return w->size >= length && memcmp(w->data, prefix, length) == 0;
}

/* Says what the file looks like: a failed download is the usual reason to get here. */
static rcnn_status fail_unknown(const rcnn_weights *w, rcnn_error *err)
{
    static const char WANTED[] = "want a PyTorch, detectron2 or safetensors checkpoint";
    if (w->size == 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: %s, got an empty file", w->what, WANTED);
    }
    if (starts_with(w, "<")) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: %s, got what looks like a web page", w->what, WANTED);
    }
    if (starts_with(w, "version https://git-lfs")) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: %s, got a git-lfs pointer (run git lfs pull)", w->what, WANTED);
    }
    char bytes[3 * 8 + 1] = "";
    for (size_t i = 0; i < 8 && i < w->size; i++) {
        static const char DIGITS[] = "0123456789abcdef";
        bytes[3 * i] = ' ';
        bytes[3 * i + 1] = DIGITS[w->data[i] >> 4];
        bytes[3 * i + 2] = DIGITS[w->data[i] & 15];
        bytes[3 * i + 3] = '\0';
    }
    return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: %s, got %zu bytes that begin%s", w->what, WANTED, w->size, bytes);
}

static rcnn_status read_by_format(rcnn_weights *w, rcnn_error *err)
{
    const uint8_t *d = w->data;
    if (starts_with(w, "PK\x03\x04") || starts_with(w, "PK\x05\x06")) {
        w->format = "torch-zip";
        return rcnn_read_torch_zip(w, err);
    }
    if (starts_with(w, "\x80\x02\x8a\x0a")) {
        w->format = "torch-legacy";
        return rcnn_read_torch_legacy(w, err);
    }
    if (w->size >= 2 && d[0] == 0x80 && d[1] >= 2 && d[1] <= 5) {
        w->format = "detectron2-pkl";
        return rcnn_read_pickle(w, err);
    }
    if (w->size >= 9 && d[8] == '{') {
        w->format = "safetensors";
        return rcnn_read_safetensors(w, err);
    }
    return fail_unknown(w, err);
}

/* Sorts the names and refuses doubles: which of two tensors of one name counts would be a guess. */
static rcnn_status build_indexes(rcnn_weights *w, rcnn_error *err)
{
    const char *const *names = w->tensors ? &w->tensors[0].name : NULL;
    const char *const *keys = w->meta ? &w->meta[0].key : NULL;
    if (!rcnn_name_index_build(&w->tensor_index, names, sizeof w->tensors[0], w->tensor_count) ||
        !rcnn_name_index_build(&w->meta_index, keys, sizeof w->meta[0], w->meta_count)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", w->what);
    }
    for (size_t i = 1; i < w->tensor_index.count; i++) {
        if (strcmp(w->tensor_index.items[i - 1].name, w->tensor_index.items[i].name) == 0) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: tensor '%s' appears twice", w->what,
                             w->tensor_index.items[i].name);
        }
    }
    return RCNN_OK;
}

/* With what, data and size set. Takes w over: on failure it is closed. */
static rcnn_status open_data(rcnn_weights *w, rcnn_weights **out, rcnn_error *err)
{
    rcnn_arena_init(&w->names, RCNN_WEIGHTS_NAMES_BYTES_MAX);
    rcnn_arena_init(&w->meta_text, RCNN_WEIGHTS_META_BYTES_MAX);
    rcnn_arena_init(&w->decoded, SIZE_MAX); /* every string is decoded at most once: no larger than the file */
    rcnn_status status = read_by_format(w, err);
    if (status == RCNN_OK) {
        status = build_indexes(w, err);
    }
    if (status != RCNN_OK) {
        rcnn_weights_close(w);
        return status;
    }
    *out = w;
    return RCNN_OK;
}

rcnn_status rcnn_weights_open(const char *path, rcnn_weights **out, rcnn_error *err)
{
    if (!out || !path) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "rcnn_weights_open: path and out must not be NULL");
    }
    *out = NULL;
    rcnn_weights *w = rcnn_calloc(1, sizeof *w);
    if (!w || !(w->path = rcnn_strdup(path))) {
        rcnn_free(w);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", path);
    }
    rcnn_status status = rcnn_file_map_open(path, RCNN_WEIGHTS_FILE_BYTES_MAX, &w->map, err);
    if (status != RCNN_OK) {
        rcnn_weights_close(w);
        return status;
    }
    w->what = w->path;
    w->data = w->map.data;
    w->size = w->map.size;
    return open_data(w, out, err);
}

rcnn_status rcnn_weights_open_memory(const void *data, size_t size, rcnn_weights **out, rcnn_error *err)
{
    if (!out || (!data && size > 0)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "rcnn_weights_open_memory: data and out must not be NULL");
    }
    *out = NULL;
    rcnn_weights *w = rcnn_calloc(1, sizeof *w);
    if (!w) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "weights in memory: out of memory");
    }
    w->what = "weights in memory";
    w->data = data;
    w->size = size;
    return open_data(w, out, err);
}

void rcnn_weights_close(rcnn_weights *weights)
{
    if (!weights) {
        return;
    }
    rcnn_free(weights->tensors);
    rcnn_free(weights->meta);
    rcnn_free(weights->globals);
    rcnn_free(weights->tensor_index.items);
    rcnn_free(weights->meta_index.items);
    rcnn_arena_free(&weights->names);
    rcnn_arena_free(&weights->meta_text);
    rcnn_arena_free(&weights->decoded);
    rcnn_file_map_close(&weights->map);
    rcnn_free(weights->path);
    rcnn_free(weights);
}

/* ----------------------------------------------------------------- look-ups */

const char *rcnn_weights_format_name(const rcnn_weights *weights)
{
    return weights->format;
}

int32_t rcnn_weights_count(const rcnn_weights *weights)
{
    return (int32_t)weights->tensor_count;
}

rcnn_status rcnn_weights_get(const rcnn_weights *weights, int32_t index, rcnn_tensor_info *out)
{
    if (index < 0 || (size_t)index >= weights->tensor_count) {
        return RCNN_ERR_ARGUMENT;
    }
    *out = weights->tensors[index];
    return RCNN_OK;
}

rcnn_status rcnn_weights_find(const rcnn_weights *weights, const char *name, rcnn_tensor_info *out)
{
    size_t place = rcnn_name_index_find(&weights->tensor_index, name);
    if (place == SIZE_MAX) {
        return RCNN_ERR_NOT_FOUND;
    }
    *out = weights->tensors[place];
    return RCNN_OK;
}

const char *rcnn_weights_meta(const rcnn_weights *weights, const char *key)
{
    size_t place = rcnn_name_index_find(&weights->meta_index, key);
    return place == SIZE_MAX ? NULL : weights->meta[place].value;
}

int32_t rcnn_weights_meta_count(const rcnn_weights *weights)
{
    return (int32_t)weights->meta_count;
}

rcnn_status rcnn_weights_meta_get(const rcnn_weights *weights, int32_t index, const char **key, const char **value)
{
    if (index < 0 || (size_t)index >= weights->meta_count) {
        return RCNN_ERR_ARGUMENT;
    }
    *key = weights->meta[index].key;
    *value = weights->meta[index].value;
    return RCNN_OK;
}

int32_t rcnn_weights_global_count(const rcnn_weights *weights)
{
    return (int32_t)weights->global_count;
}

rcnn_status rcnn_weights_global_get(const rcnn_weights *weights, int32_t index, const char **name, int32_t *known)
{
    if (index < 0 || (size_t)index >= weights->global_count) {
        return RCNN_ERR_ARGUMENT;
    }
    *name = weights->globals[index].key;
    *known = weights->globals[index].known;
    return RCNN_OK;
}
