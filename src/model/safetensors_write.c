/* The safetensors writer: header first, then the tensors as they come, so that no copy of the model is held. */
#include "model/safetensors.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "model/convert.h"
#include "model/weights.h"

#define DATA_ALIGNMENT 8

static bool entry_bytes(const rcnn_safetensors_entry *entry, uint64_t *out)
{
    uint64_t count, width = rcnn_dtype_bytes(entry->dtype);
    if (!entry->name || width == 0 || entry->rank < 0 || entry->rank > RCNN_TENSOR_RANK_MAX ||
        !rcnn_shape_count(entry->shape, entry->rank, &count) || count > UINT64_MAX / 2 / width) {
        return false;
    }
    *out = count * width;
    return strcmp(entry->name, "__metadata__") != 0;
}

static void add_metadata(rcnn_text *text, const rcnn_safetensors_pair *pairs, size_t count)
{
    rcnn_text_add(text, "\"__metadata__\":{");
    for (size_t i = 0; i < count; i++) {
        rcnn_text_add(text, i > 0 ? "," : "");
        rcnn_text_json_string(text, pairs[i].key);
        rcnn_text_add(text, ":");
        rcnn_text_json_string(text, pairs[i].value);
    }
    rcnn_text_add(text, "}");
}

static void add_entry(rcnn_text *text, const rcnn_safetensors_entry *entry, uint64_t begin, uint64_t end)
{
    rcnn_text_json_string(text, entry->name);
    rcnn_text_printf(text, ":{\"dtype\":\"%s\",\"shape\":[", rcnn_dtype_name(entry->dtype));
    for (int32_t i = 0; i < entry->rank; i++) {
        rcnn_text_printf(text, "%s%lld", i > 0 ? "," : "", (long long)entry->shape[i]);
    }
    rcnn_text_printf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin, (unsigned long long)end);
}

static rcnn_status check_names(const rcnn_safetensors_entry *entries, size_t count, const char *path, rcnn_error *err)
{
    rcnn_name_index index = {0};
    const char *const *names = entries ? &entries[0].name : NULL;
    if (!rcnn_name_index_build(&index, names, sizeof entries[0], count)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", path);
    }
    rcnn_status status = RCNN_OK;
    for (size_t i = 1; i < count && status == RCNN_OK; i++) {
        if (strcmp(index.items[i - 1].name, index.items[i].name) == 0) {
            status = rcnn_fail(err, RCNN_ERR_ARGUMENT, "%s: tensor '%s' given twice", path, index.items[i].name);
        }
    }
    rcnn_free(index.items);
    return status;
}

/* The header's JSON with its padding, and writer->sizes. */
static rcnn_status build_header(rcnn_safetensors_writer *writer, const char *path, const rcnn_safetensors_pair *pairs,
                                size_t pair_count, const rcnn_safetensors_entry *entries, rcnn_text *text,
                                rcnn_error *err)
{
    uint64_t at = 0;
    rcnn_text_add(text, "{");
    if (pair_count > 0) {
        add_metadata(text, pairs, pair_count);
    }
    for (size_t i = 0; i < writer->count; i++) {
        uint64_t bytes;
        if (!entry_bytes(&entries[i], &bytes) || bytes > INT64_MAX - at) {
            return rcnn_fail(err, RCNN_ERR_ARGUMENT, "%s: tensor %zu ('%s') has no valid name, dtype or shape", path, i,
                             entries[i].name ? entries[i].name : "");
        }
        rcnn_text_add(text, i > 0 || pair_count > 0 ? "," : "");
        add_entry(text, &entries[i], at, at + bytes);
        writer->sizes[i] = bytes;
        at += bytes;
    }
    RCNN_TRY(check_names(entries, writer->count, path, err));
    rcnn_text_add(text, "}");
    while (!text->failed && text->length % DATA_ALIGNMENT != 0) {
        rcnn_text_add(text, " ");
    }
    if (text->failed) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", path);
    }
    return text->length > RCNN_SAFETENSORS_HEADER_MAX
               ? rcnn_fail(err, RCNN_ERR_ARGUMENT, "%s: header of %zu bytes, want at most %d", path, text->length,
                           RCNN_SAFETENSORS_HEADER_MAX)
               : RCNN_OK;
}

static rcnn_status write_bytes(rcnn_safetensors_writer *writer, const void *data, size_t bytes, rcnn_error *err)
{
    errno = 0;
    if (bytes > 0 && fwrite(data, 1, bytes, writer->file.stream) != bytes) {
        errno = errno ? errno : EIO;
        return rcnn_fail_errno(err, "%s: cannot write", writer->file.path);
    }
    return RCNN_OK;
}

static rcnn_status write_header(rcnn_safetensors_writer *writer, const char *path, const rcnn_text *text,
                                rcnn_error *err)
{
    uint8_t length[8];
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (uint8_t)((uint64_t)text->length >> 8 * i);
    }
    RCNN_TRY(rcnn_file_writer_open(path, &writer->file, err));
    RCNN_TRY(write_bytes(writer, length, sizeof length, err));
    return write_bytes(writer, text->data, text->length, err);
}

rcnn_status rcnn_safetensors_begin(rcnn_safetensors_writer *writer, const char *path,
                                   const rcnn_safetensors_pair *metadata, size_t metadata_count,
                                   const rcnn_safetensors_entry *entries, size_t count, rcnn_error *err)
{
    rcnn_text text = {0};
    *writer = (rcnn_safetensors_writer){.count = count};
    writer->sizes = rcnn_calloc(count, sizeof writer->sizes[0]);
    rcnn_status status = writer->sizes ? build_header(writer, path, metadata, metadata_count, entries, &text, err)
                                       : rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", path);
    if (status == RCNN_OK) {
        status = write_header(writer, path, &text, err);
    }
    rcnn_text_free(&text);
    if (status != RCNN_OK) {
        rcnn_safetensors_abort(writer);
    }
    return status;
}

rcnn_status rcnn_safetensors_append(rcnn_safetensors_writer *writer, const void *data, size_t bytes, rcnn_error *err)
{
    if (writer->next == writer->count || bytes != writer->sizes[writer->next]) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "%s: tensor %zu of %zu: want %llu bytes, got %zu", writer->file.path,
                         writer->next, writer->count,
                         (unsigned long long)(writer->next < writer->count ? writer->sizes[writer->next] : 0), bytes);
    }
    RCNN_TRY(write_bytes(writer, data, bytes, err));
    writer->next++;
    return RCNN_OK;
}

rcnn_status rcnn_safetensors_commit(rcnn_safetensors_writer *writer, rcnn_error *err)
{
    if (writer->next != writer->count) {
        rcnn_status status = rcnn_fail(err, RCNN_ERR_ARGUMENT, "%s: want %zu tensors, got %zu", writer->file.path,
                                       writer->count, writer->next);
        rcnn_safetensors_abort(writer);
        return status;
    }
    rcnn_free(writer->sizes);
    writer->sizes = NULL;
    return rcnn_file_writer_commit(&writer->file, err);
}

void rcnn_safetensors_abort(rcnn_safetensors_writer *writer)
{
    rcnn_free(writer->sizes);
    rcnn_file_writer_abort(&writer->file);
    *writer = (rcnn_safetensors_writer){0};
}
