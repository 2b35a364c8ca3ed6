/* Lookup, checking and reading of checkpoint tensors. */
#include "model/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/convert.h"

#define DIM_MAX ((int64_t)1 << 24) /* no layer of any R-CNN has a longer side; keeps every product in 64 bits */

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const rcnn_tensor_entry *)a)->info.name, ((const rcnn_tensor_entry *)b)->info.name);
}

rcnn_status rcnn_tensor_table_open(rcnn_tensor_table *table, const rcnn_weights *weights, rcnn_error *err)
{
    *table = (rcnn_tensor_table){.weights = weights};
    const int32_t count = rcnn_weights_count(weights);
    rcnn_tensor_entry *entries = rcnn_calloc((size_t)count, sizeof *entries);
    if (!entries) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for the names of %d tensors", count);
    }
    table->entries = entries;
    table->count = count;
    for (int32_t i = 0; i < count; i++) {
        RCNN_TRY(rcnn_weights_get(weights, i, &entries[i].info));
    }
    qsort(entries, (size_t)count, sizeof *entries, compare_entries);
    for (int32_t i = 1; i < count; i++) {
        if (strcmp(entries[i - 1].info.name, entries[i].info.name) == 0) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "model: tensor '%s' stands twice in the file", entries[i].info.name);
        }
    }
    return RCNN_OK;
}

void rcnn_tensor_table_free(rcnn_tensor_table *table)
{
    rcnn_free(table->entries);
    *table = (rcnn_tensor_table){0};
}

rcnn_tensor_entry *rcnn_tensor_find(const rcnn_tensor_table *table, const char *base, const char *suffix)
{
    char name[RCNN_TENSOR_NAME_MAX + 32];
    snprintf(name, sizeof name, "%s%s", base, suffix);
    int32_t low = 0, high = table->count;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const int order = strcmp(name, table->entries[middle].info.name);
        if (order == 0) {
            return &table->entries[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

bool rcnn_tensor_resolve(const rcnn_tensor_table *table, rcnn_naming naming, const rcnn_layer_spec *spec, int32_t part,
                         rcnn_tensor_names *names)
{
    const bool torchvision = naming == RCNN_NAMING_TORCHVISION || naming == RCNN_NAMING_TORCHVISION_OLD;
    const rcnn_naming namings[2] = {naming, naming == RCNN_NAMING_TORCHVISION ? RCNN_NAMING_TORCHVISION_OLD
                                                                              : RCNN_NAMING_TORCHVISION};
    rcnn_tensor_names first = {{0}, {0}};
    for (int32_t n = 0; n < (torchvision ? 2 : 1); n++) {
        for (int32_t form = 0; form < RCNN_NAME_FORMS_MAX; form++) {
            if (!rcnn_names_tensor(spec, part, namings[n], form, names)) {
                continue;
            }
            if (rcnn_tensor_find(table, names->conv, ".weight")) {
                return true;
            }
            if (!first.conv[0]) {
                first = *names;
            }
        }
    }
    *names = first;
    return false;
}

/* --------------------------------------------------------------- reading */

#define SHAPE_TEXT_MAX 200

static const char *shape_text(const int64_t *dim, int32_t rank, char out[SHAPE_TEXT_MAX])
{
    size_t used = (size_t)snprintf(out, SHAPE_TEXT_MAX, "[");
    for (int32_t i = 0; i < rank && used < SHAPE_TEXT_MAX; i++) {
        const char *comma = i ? "," : "";
        used += (size_t)(dim[i] ? snprintf(out + used, SHAPE_TEXT_MAX - used, "%s%lld", comma, (long long)dim[i])
                                : snprintf(out + used, SHAPE_TEXT_MAX - used, "%s*", comma));
    }
    if (used < SHAPE_TEXT_MAX) {
        snprintf(out + used, SHAPE_TEXT_MAX - used, "]");
    }
    return out;
}

rcnn_status rcnn_tensor_check_shape(const rcnn_tensor_entry *entry, const rcnn_shape *want, rcnn_error *err)
{
    const rcnn_tensor_info *info = &entry->info;
    bool fits = info->rank == want->rank;
    for (int32_t i = 0; fits && i < want->rank; i++) {
        fits =
            info->shape[i] >= 1 && info->shape[i] <= DIM_MAX && (want->dim[i] == 0 || info->shape[i] == want->dim[i]);
    }
    if (fits) {
        return RCNN_OK;
    }
    char wanted[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    return rcnn_fail(err, RCNN_ERR_FORMAT, "model: tensor '%s': want shape %s, got %s", info->name,
                     shape_text(want->dim, want->rank, wanted), shape_text(info->shape, info->rank, got));
}

/* A layout that visits fewer places than it has elements can claim any size at no cost: nothing that training saves
 * looks like that. Dimensions are at most DIM_MAX here, strides are what the reader found to lie inside the file. */
static bool overlaps(const rcnn_tensor_info *info)
{
    double elements = 1, extent = 1;
    for (int32_t i = 0; i < info->rank; i++) {
        elements *= (double)info->shape[i];
        extent += (double)(info->shape[i] - 1) * (double)info->stride[i];
    }
    return elements > extent;
}

bool rcnn_all_finite(const float *values, size_t count)
{
    const uint32_t exponent = 0x7f800000;
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    return !bad;
}

static rcnn_status convert(rcnn_tensor_entry *entry, float *dst, rcnn_error *err)
{
    if (overlaps(&entry->info)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "model: tensor '%s': want elements apart, got some that overlap",
                         entry->info.name);
    }
    entry->used = true;
    return rcnn_tensor_to_f32(&entry->info, dst, err);
}

rcnn_status rcnn_tensor_read(rcnn_tensor_entry *entry, float *dst, rcnn_error *err)
{
    const rcnn_tensor_info *info = &entry->info;
    if (info->dtype != RCNN_F32 && info->dtype != RCNN_F16 && info->dtype != RCNN_BF16 && info->dtype != RCNN_F64) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "model: tensor '%s': want floating-point values, got %s", info->name,
                         rcnn_dtype_name(info->dtype));
    }
    RCNN_TRY(convert(entry, dst, err));
    const size_t count = rcnn_tensor_element_count(info);
    if (rcnn_all_finite(dst, count)) {
        return RCNN_OK;
    }
    size_t at = 0;
    while (at < count && rcnn_all_finite(dst + at, 1)) {
        at++;
    }
    return rcnn_fail(err, RCNN_ERR_NUMERIC, "model: tensor '%s': want finite values, got %g at element %zu", info->name,
                     (double)dst[at], at);
}

rcnn_status rcnn_tensor_read_int8(rcnn_tensor_entry *entry, float *dst, rcnn_error *err)
{
    if (entry->info.dtype != RCNN_I8) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "model: tensor '%s': want I8, got %s", entry->info.name,
                         rcnn_dtype_name(entry->info.dtype));
    }
    return convert(entry, dst, err);
}

/* ---------------------------------------------------------------- unused */

static bool has_suffix(const char *text, const char *suffix)
{
    const size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* Counters, tables that are computed again, and what only training reads. */
static bool is_training_state(const char *name)
{
    static const char *const prefixes[] = {"optimizer", "ema_", "scheduler", "lr_scheduler", "message_hub"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return has_suffix(name, "num_batches_tracked") || strstr(name, "cell_anchors") || strcmp(name, "pixel_mean") == 0 ||
           strcmp(name, "pixel_std") == 0;
}

void rcnn_tensor_table_log_unused(const rcnn_tensor_table *table)
{
    enum { SHOWN = 3 };
    const char *shown[SHOWN] = {"", "", ""};
    int32_t unused = 0;
    for (int32_t i = 0; i < table->count; i++) {
        const rcnn_tensor_entry *entry = &table->entries[i];
        if (!entry->used && !is_training_state(entry->info.name)) {
            if (unused < SHOWN) {
                shown[unused] = entry->info.name;
            }
            unused++;
        }
    }
    if (unused > 0) {
        rcnn_log(RCNN_LOG_WARN, "model: %d of %d tensors are of no use to this network: %s %s %s%s", unused,
                 table->count, shown[0], shown[1], shown[2], unused > SHOWN ? " ..." : "");
    }
}
