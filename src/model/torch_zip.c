/* torch.save since 1.6: a zip archive with <top>/data.pkl, one stored entry <top>/data/<key> per storage, and
 * <top>/byteorder in newer files. */
#include <string.h>

#include "model/checkpoint.h"
#include "model/convert.h"
#include "model/zip.h"

#define PICKLE_NAME    "data.pkl"
#define ENTRY_NAME_MAX 1024

typedef struct zip_source {
    rcnn_zip zip;
    const char *top; /* "<top>/" or "" */
    size_t top_length;
} zip_source;

static const rcnn_zip_entry *find_entry(const zip_source *source, const char *folder, const void *name, size_t length)
{
    char path[ENTRY_NAME_MAX];
    size_t folder_length = strlen(folder);
    if (length > sizeof path || source->top_length + folder_length > sizeof path - length) {
        return NULL;
    }
    memcpy(path, source->top, source->top_length);
    memcpy(path + source->top_length, folder, folder_length);
    memcpy(path + source->top_length + folder_length, name, length);
    return rcnn_zip_find(&source->zip, path, source->top_length + folder_length + length);
}

static rcnn_status find_storage(void *context, const rcnn_storage_ref *ref, const uint8_t **data, rcnn_error *err)
{
    const zip_source *source = context;
    size_t bytes, width = rcnn_dtype_bytes(ref->dtype);
    int shown = ref->key_length < 64 ? (int)ref->key_length : 64;
    const rcnn_zip_entry *entry = find_entry(source, "data/", ref->key, ref->key_length);
    if (!entry) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: there is no entry for storage '%.*s'", source->zip.what, shown,
                         (const char *)ref->key);
    }
    RCNN_TRY(rcnn_zip_read(&source->zip, entry, data, &bytes, err));
    if (bytes % width != 0 || bytes / width != ref->count) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: storage '%.*s': want %llu %s elements, got %zu bytes",
                         source->zip.what, shown, (const char *)ref->key, (unsigned long long)ref->count,
                         rcnn_dtype_name(ref->dtype), bytes);
    }
    return RCNN_OK;
}

static bool ends_with(const rcnn_zip_entry *entry, const char *suffix)
{
    size_t length = strlen(suffix);
    return entry->name_length >= length && memcmp(entry->name + entry->name_length - length, suffix, length) == 0;
}

static bool is_file(const rcnn_zip_entry *entry, const char *name)
{
    size_t length = strlen(name);
    return ends_with(entry, name) &&
           (entry->name_length == length || entry->name[entry->name_length - length - 1] == '/');
}

/* Finds the pickle by its suffix: <top> is the name the file had when it was saved. */
static rcnn_status find_pickle(zip_source *source, const rcnn_zip_entry **out, rcnn_error *err)
{
    const rcnn_zip *zip = &source->zip;
    *out = NULL;
    for (size_t i = 0; i < zip->count; i++) {
        const rcnn_zip_entry *entry = &zip->entries[i];
        if (is_file(entry, "constants.pkl")) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                             "%s: a TorchScript archive, want a checkpoint (torch.save of a state dict)", zip->what);
        }
        if (is_file(entry, PICKLE_NAME)) {
            if (*out) {
                return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: more than one data.pkl", zip->what);
            }
            *out = entry;
        }
    }
    if (!*out) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: a zip archive without data.pkl, want a PyTorch checkpoint",
                         zip->what);
    }
    source->top = (*out)->name;
    source->top_length = (*out)->name_length - strlen(PICKLE_NAME);
    return RCNN_OK;
}

static rcnn_status check_byte_order(const zip_source *source, rcnn_error *err)
{
    const rcnn_zip_entry *entry = find_entry(source, "byteorder", "", 0);
    if (!entry) {
        return RCNN_OK; /* before torch 2.1: little-endian in practice */
    }
    const uint8_t *data;
    size_t bytes;
    RCNN_TRY(rcnn_zip_read(&source->zip, entry, &data, &bytes, err));
    if (bytes == 3 && memcmp(data, "big", 3) == 0) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: big-endian checkpoints are not supported", source->zip.what);
    }
    if (bytes != 6 || memcmp(data, "little", 6) != 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: entry 'byteorder': want 'little' or 'big'", source->zip.what);
    }
    return RCNN_OK;
}

static rcnn_status read_archive(rcnn_weights *w, zip_source *source, rcnn_error *err)
{
    const rcnn_zip_entry *entry;
    const uint8_t *data;
    size_t bytes, used;
    rcnn_node *root;
    RCNN_TRY(find_pickle(source, &entry, err));
    RCNN_TRY(check_byte_order(source, err));
    RCNN_TRY(rcnn_zip_read(&source->zip, entry, &data, &bytes, err));
    rcnn_checkpoint c = {.weights = w, .find_storage = find_storage, .context = source};
    rcnn_pickle_open(&c.pickle, w->what, bytes);
    rcnn_status status = rcnn_pickle_run(&c.pickle, data, bytes, &root, &used, err);
    if (status == RCNN_OK) {
        status = rcnn_checkpoint_collect(&c, root, err);
    }
    rcnn_pickle_close(&c.pickle);
    return status;
}

rcnn_status rcnn_read_torch_zip(rcnn_weights *w, rcnn_error *err)
{
    zip_source source = {0};
    RCNN_TRY(rcnn_zip_open(&source.zip, w->what, w->data, w->size, err));
    rcnn_status status = read_archive(w, &source, err);
    rcnn_zip_close(&source.zip);
    return status;
}
