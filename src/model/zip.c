/* The central directory decides: torch's local headers carry zero sizes (flag 0x0808, sizes in a trailing descriptor)
 * and are used for one thing, the length of their variable part. Record layouts: PKWARE APPNOTE.TXT 6.3.10, 4.3. */
#include "model/zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/bytes.h"

#define LOCAL_SIGNATURE     0x04034b50u
#define CENTRAL_SIGNATURE   0x02014b50u
#define END_SIGNATURE       0x06054b50u
#define END64_SIGNATURE     0x06064b50u
#define LOCATOR64_SIGNATURE 0x07064b50u
#define LOCAL_BYTES         30
#define CENTRAL_BYTES       46
#define END_BYTES           22
#define END64_BYTES         56
#define LOCATOR64_BYTES     20
#define COMMENT_MAX         65535
#define FLAG_ENCRYPTED      1
#define EXTRA_ZIP64         1

typedef struct directory {
    uint64_t count, bytes, offset; /* entries; size and place of the central directory */
} directory;

static bool has_signature(const uint8_t *data, uint32_t signature)
{
    return rcnn_load_u32(data) == signature;
}

/* The end record stands last, before a comment whose length it gives. */
static const uint8_t *find_end(const rcnn_zip *zip)
{
    if (zip->size < END_BYTES) {
        return NULL;
    }
    size_t last = zip->size - END_BYTES;
    size_t first = last > COMMENT_MAX ? last - COMMENT_MAX : 0;
    for (size_t at = last + 1; at > first; at--) {
        const uint8_t *record = zip->data + at - 1;
        if (has_signature(record, END_SIGNATURE) && rcnn_load_u16(record + 20) == last - (at - 1)) {
            return record;
        }
    }
    return NULL;
}

static rcnn_status read_end64(const rcnn_zip *zip, const uint8_t *end, directory *out, rcnn_error *err)
{
    size_t at = (size_t)(end - zip->data);
    const uint8_t *locator = end - LOCATOR64_BYTES;
    if (at < LOCATOR64_BYTES || !has_signature(locator, LOCATOR64_SIGNATURE)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: sizes call for a ZIP64 record, but there is none", zip->what);
    }
    uint64_t offset = rcnn_load_u64(locator + 8);
    if (offset > zip->size || zip->size - offset < END64_BYTES || !has_signature(zip->data + offset, END64_SIGNATURE)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: no ZIP64 end record at offset %llu", zip->what,
                         (unsigned long long)offset);
    }
    const uint8_t *record = zip->data + offset;
    *out = (directory){rcnn_load_u64(record + 32), rcnn_load_u64(record + 40), rcnn_load_u64(record + 48)};
    return RCNN_OK;
}

static rcnn_status read_end(const rcnn_zip *zip, directory *out, rcnn_error *err)
{
    const uint8_t *end = find_end(zip);
    if (!end) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: no end record: the file is truncated", zip->what);
    }
    if (rcnn_load_u16(end + 4) != 0 && rcnn_load_u16(end + 4) != UINT16_MAX) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: zip: archives over several disks are not read", zip->what);
    }
    *out = (directory){rcnn_load_u16(end + 10), rcnn_load_u32(end + 12), rcnn_load_u32(end + 16)};
    if (out->count == UINT16_MAX || out->bytes == UINT32_MAX || out->offset == UINT32_MAX) {
        RCNN_TRY(read_end64(zip, end, out, err));
    }
    if (out->offset > zip->size || out->bytes > zip->size - out->offset) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: directory of %llu bytes at offset %llu lies outside %zu bytes",
                         zip->what, (unsigned long long)out->bytes, (unsigned long long)out->offset, zip->size);
    }
    if (out->count > out->bytes / CENTRAL_BYTES) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: %llu entries do not fit a directory of %llu bytes", zip->what,
                         (unsigned long long)out->count, (unsigned long long)out->bytes);
    }
    if (out->count > RCNN_ZIP_ENTRIES_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: zip: want at most %d entries, got %llu", zip->what,
                         RCNN_ZIP_ENTRIES_MAX, (unsigned long long)out->count);
    }
    return RCNN_OK;
}

/* Replaces the fields that are all ones by their 64-bit values, which stand in this order in the extra field. */
static bool read_extra64(const uint8_t *extra, size_t length, rcnn_zip_entry *entry)
{
    uint64_t *fields[] = {&entry->bytes, &entry->packed_bytes, &entry->header_offset};
    while (length >= 4) {
        size_t id = rcnn_load_u16(extra), size = rcnn_load_u16(extra + 2);
        extra += 4;
        length -= 4;
        if (size > length) {
            return false;
        }
        for (size_t i = 0, used = 0; id == EXTRA_ZIP64 && i < 3; i++) {
            if (*fields[i] == UINT32_MAX) {
                if (size - used < 8) {
                    return false;
                }
                *fields[i] = rcnn_load_u64(extra + used);
                used += 8;
            }
        }
        if (id == EXTRA_ZIP64) {
            return true;
        }
        extra += size;
        length -= size;
    }
    return true; /* no ZIP64 field: 32-bit values stand as they are */
}

/* Reads the record at data[0 .. left-1]; returns its length, 0 when malformed. */
static size_t read_central(const uint8_t *data, size_t left, rcnn_zip_entry *out)
{
    if (left < CENTRAL_BYTES || !has_signature(data, CENTRAL_SIGNATURE)) {
        return 0;
    }
    size_t name = rcnn_load_u16(data + 28), extra = rcnn_load_u16(data + 30), comment = rcnn_load_u16(data + 32);
    size_t total = CENTRAL_BYTES + name + extra + comment;
    if (total > left) {
        return 0;
    }
    *out = (rcnn_zip_entry){.name = (const char *)data + CENTRAL_BYTES,
                            .name_length = (uint16_t)name,
                            .method = rcnn_load_u16(data + 10),
                            .flags = rcnn_load_u16(data + 8),
                            .packed_bytes = rcnn_load_u32(data + 20),
                            .bytes = rcnn_load_u32(data + 24),
                            .header_offset = rcnn_load_u32(data + 42)};
    return read_extra64(data + CENTRAL_BYTES + name, extra, out) ? total : 0;
}

static int compare_names(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t common = a_length < b_length ? a_length : b_length;
    int order = common > 0 ? memcmp(a, b, common) : 0;
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_entries(const void *a, const void *b)
{
    const rcnn_zip_entry *left = a, *right = b;
    return compare_names(left->name, left->name_length, right->name, right->name_length);
}

static rcnn_status read_entries(rcnn_zip *zip, const directory *dir, rcnn_error *err)
{
    const uint8_t *at = zip->data + dir->offset;
    size_t left = (size_t)dir->bytes;
    for (; zip->count < dir->count; zip->count++) {
        size_t length = read_central(at, left, &zip->entries[zip->count]);
        if (length == 0) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: entry %zu of the directory is malformed", zip->what,
                             zip->count);
        }
        at += length;
        left -= length;
    }
    qsort(zip->entries, zip->count, sizeof zip->entries[0], compare_entries);
    for (size_t i = 1; i < zip->count; i++) {
        if (compare_entries(&zip->entries[i - 1], &zip->entries[i]) == 0) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: entry '%.*s' appears twice", zip->what,
                             zip->entries[i].name_length, zip->entries[i].name);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_zip_open(rcnn_zip *zip, const char *what, const void *data, size_t size, rcnn_error *err)
{
    *zip = (rcnn_zip){.what = what, .data = data, .size = size};
    directory dir = {0};
    RCNN_TRY(read_end(zip, &dir, err));
    zip->entries = rcnn_calloc((size_t)dir.count, sizeof zip->entries[0]);
    if (!zip->entries) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", what);
    }
    rcnn_status status = read_entries(zip, &dir, err);
    if (status != RCNN_OK) {
        rcnn_zip_close(zip);
    }
    return status;
}

void rcnn_zip_close(rcnn_zip *zip)
{
    rcnn_free(zip->entries);
    *zip = (rcnn_zip){0};
}

const rcnn_zip_entry *rcnn_zip_find(const rcnn_zip *zip, const char *name, size_t length)
{
    size_t low = 0, high = zip->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const rcnn_zip_entry *entry = &zip->entries[middle];
        int order = compare_names(entry->name, entry->name_length, name, length);
        if (order == 0) {
            return entry;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

rcnn_status rcnn_zip_read(const rcnn_zip *zip, const rcnn_zip_entry *entry, const uint8_t **data, size_t *bytes,
                          rcnn_error *err)
{
    int length = entry->name_length;
    if (entry->flags & FLAG_ENCRYPTED) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: zip: entry '%.*s' is encrypted", zip->what, length,
                         entry->name);
    }
    if (entry->method != 0) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                         "%s: zip: entry '%.*s' is compressed (method %d), want stored as PyTorch writes it", zip->what,
                         length, entry->name, entry->method);
    }
    uint64_t offset = entry->header_offset;
    if (offset > zip->size || zip->size - offset < LOCAL_BYTES || !has_signature(zip->data + offset, LOCAL_SIGNATURE)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: entry '%.*s': no local header at offset %llu", zip->what,
                         length, entry->name, (unsigned long long)offset);
    }
    const uint8_t *header = zip->data + offset;
    size_t skip = LOCAL_BYTES + (size_t)rcnn_load_u16(header + 26) + (size_t)rcnn_load_u16(header + 28);
    size_t left = zip->size - (size_t)offset;
    if (skip > left || entry->bytes > left - skip || entry->packed_bytes != entry->bytes) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: zip: entry '%.*s' of %llu bytes does not fit the file", zip->what,
                         length, entry->name, (unsigned long long)entry->bytes);
    }
    *data = header + skip;
    *bytes = (size_t)entry->bytes;
    return RCNN_OK;
}
