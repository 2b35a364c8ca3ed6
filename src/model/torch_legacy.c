/* torch.save before 1.6: five pickles (magic number, protocol version, system facts, the object, the list of storage
 * keys), then for each key its element count and raw elements. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/bytes.h"
#include "model/checkpoint.h"
#include "model/convert.h"

#define PROTOCOL_VERSION 1001

/* 0x1950a86a20f9469cfc6c */
static const uint8_t MAGIC[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

typedef struct storage {
    rcnn_storage_ref ref;
    const uint8_t *data; /* NULL until the file's storage list has named it */
} storage;

typedef struct legacy_source {
    rcnn_checkpoint checkpoint;
    size_t position;
    storage *storages; /* one per key, sorted by key */
    size_t count;
} legacy_source;

static rcnn_status next_pickle(legacy_source *s, rcnn_node **root, rcnn_error *err)
{
    const rcnn_weights *w = s->checkpoint.weights;
    size_t used;
    RCNN_TRY(rcnn_pickle_run(&s->checkpoint.pickle, w->data + s->position, w->size - s->position, root, &used, err));
    s->position += used;
    return RCNN_OK;
}

static rcnn_status read_prologue(legacy_source *s, rcnn_error *err)
{
    const char *what = s->checkpoint.weights->what;
    rcnn_node *root;
    RCNN_TRY(next_pickle(s, &root, err));
    if (root->kind != RCNN_NODE_BIGINT || root->text.length != sizeof MAGIC ||
        memcmp(root->text.bytes, MAGIC, sizeof MAGIC) != 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: the magic number of torch.save is missing", what);
    }
    RCNN_TRY(next_pickle(s, &root, err));
    if (root->kind != RCNN_NODE_INT || root->integer != PROTOCOL_VERSION) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: want torch.save protocol %d", what, PROTOCOL_VERSION);
    }
    RCNN_TRY(next_pickle(s, &root, err));
    const rcnn_node *little = rcnn_dict_get(rcnn_node_dict(root), "little_endian");
    if (!little || little->kind != RCNN_NODE_BOOL) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: the system facts of torch.save are missing", what);
    }
    if (!little->integer) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: big-endian checkpoints are not supported", what);
    }
    return RCNN_OK;
}

static int compare_keys(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length)
{
    size_t common = a_length < b_length ? a_length : b_length;
    int order = common > 0 ? memcmp(a, b, common) : 0;
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_storages(const void *a, const void *b)
{
    const storage *left = a, *right = b;
    return compare_keys(left->ref.key, left->ref.key_length, right->ref.key, right->ref.key_length);
}

/* The table of storages that the object names: sorted, one entry per key. */
static rcnn_status list_storages(legacy_source *s, rcnn_error *err)
{
    const rcnn_node_array *ids = &s->checkpoint.pickle.persistent;
    const char *what = s->checkpoint.weights->what;
    s->storages = rcnn_calloc(ids->count, sizeof s->storages[0]);
    if (!s->storages) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", what);
    }
    for (size_t i = 0; i < ids->count; i++) {
        RCNN_TRY(rcnn_storage_ref_read(&s->checkpoint, ids->items[i], &s->storages[i].ref, err));
    }
    if (ids->count > 1) {
        qsort(s->storages, ids->count, sizeof s->storages[0], compare_storages);
    }
    for (size_t i = 0; i < ids->count; i++) {
        const rcnn_storage_ref *ref = &s->storages[i].ref;
        if (s->count == 0 || compare_storages(&s->storages[s->count - 1], &s->storages[i]) != 0) {
            s->storages[s->count++] = s->storages[i];
        } else if (ref->dtype != s->storages[s->count - 1].ref.dtype ||
                   ref->count != s->storages[s->count - 1].ref.count) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: storage '%.*s' is described in two ways", what,
                             ref->key_length < 64 ? (int)ref->key_length : 64, (const char *)ref->key);
        }
    }
    return RCNN_OK;
}

static storage *find_key(const legacy_source *s, const uint8_t *key, size_t length)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        storage *candidate = &s->storages[middle];
        int order = compare_keys(candidate->ref.key, candidate->ref.key_length, key, length);
        if (order == 0) {
            return candidate;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* One storage of the file: its count must be the one the object gave, and its elements must be there. */
static rcnn_status read_storage(legacy_source *s, const rcnn_node *key, rcnn_error *err)
{
    const rcnn_weights *w = s->checkpoint.weights;
    storage *found = key->kind == RCNN_NODE_TEXT ? find_key(s, key->text.bytes, key->text.length) : NULL;
    if (!found || found->data) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: the storage list names one that no tensor uses, or one twice",
                         w->what);
    }
    size_t left = w->size - s->position, width = rcnn_dtype_bytes(found->ref.dtype);
    uint64_t count = left >= 8 ? rcnn_load_u64(w->data + s->position) : 0;
    if (left < 8 || count > (left - 8) / width) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: byte %zu: a storage of %llu elements goes past the end: truncated?",
                         w->what, s->position, (unsigned long long)count);
    }
    if (count != found->ref.count) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: byte %zu: storage of %llu elements, want %llu", w->what,
                         s->position, (unsigned long long)count, (unsigned long long)found->ref.count);
    }
    found->data = w->data + s->position + 8;
    s->position += 8 + (size_t)count * width;
    return RCNN_OK;
}

static rcnn_status find_storage(void *context, const rcnn_storage_ref *ref, const uint8_t **data, rcnn_error *err)
{
    const legacy_source *s = context;
    const storage *found = find_key(s, ref->key, ref->key_length);
    if (!found || !found->data) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: storage '%.*s' is not in the file's list",
                         s->checkpoint.weights->what, ref->key_length < 64 ? (int)ref->key_length : 64,
                         (const char *)ref->key);
    }
    *data = found->data;
    return RCNN_OK;
}

static rcnn_status read_file(legacy_source *s, rcnn_error *err)
{
    rcnn_node *object, *keys;
    RCNN_TRY(read_prologue(s, err));
    RCNN_TRY(next_pickle(s, &object, err));
    RCNN_TRY(list_storages(s, err));
    RCNN_TRY(next_pickle(s, &keys, err));
    if (keys->kind != RCNN_NODE_LIST) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: the list of storage keys is missing", s->checkpoint.weights->what);
    }
    for (uint32_t i = 0; i < keys->count; i++) {
        RCNN_TRY(read_storage(s, keys->list.items[i], err));
    }
    return rcnn_checkpoint_collect(&s->checkpoint, object, err);
}

rcnn_status rcnn_read_torch_legacy(rcnn_weights *w, rcnn_error *err)
{
    legacy_source s = {.checkpoint = {.weights = w, .find_storage = find_storage}};
    s.checkpoint.context = &s;
    rcnn_pickle_open(&s.checkpoint.pickle, w->what, w->size);
    rcnn_status status = read_file(&s, err);
    rcnn_pickle_close(&s.checkpoint.pickle);
    rcnn_free(s.storages);
    return status;
}
