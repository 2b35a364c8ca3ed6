/* Zip archives as PyTorch writes them: a table of contents read from the central directory, and entries that lie
 * stored, uncompressed, in the mapped file. ZIP64 is read. Compressed, encrypted and multi-disk archives are refused;
 * checksums are not verified (it would read the whole file at open). */
#ifndef RCNN_MODEL_ZIP_H
#define RCNN_MODEL_ZIP_H

#include "base/status.h"

#define RCNN_ZIP_ENTRIES_MAX 262144

typedef struct rcnn_zip_entry {
    const char *name; /* not NUL-terminated, in the archive */
    uint16_t name_length, method, flags;
    uint64_t packed_bytes, bytes, header_offset;
} rcnn_zip_entry;

typedef struct rcnn_zip {
    const char *what; /* file name for messages; borrowed, like the data */
    const uint8_t *data;
    size_t size;
    rcnn_zip_entry *entries; /* sorted by name */
    size_t count;
} rcnn_zip;

/* Reads the table of contents. FORMAT for a truncated or inconsistent archive, LIMIT past the entry maximum, MEMORY. */
rcnn_status rcnn_zip_open(rcnn_zip *zip, const char *what, const void *data, size_t size, rcnn_error *err);
void rcnn_zip_close(rcnn_zip *zip);
/* NULL when there is no such entry. */
const rcnn_zip_entry *rcnn_zip_find(const rcnn_zip *zip, const char *name, size_t length);
/* The entry's bytes inside the archive. UNSUPPORTED when it is compressed or encrypted, FORMAT when it lies outside. */
rcnn_status rcnn_zip_read(const rcnn_zip *zip, const rcnn_zip_entry *entry, const uint8_t **data, size_t *bytes,
                          rcnn_error *err);

#endif
