/* safetensors, the project's own model file format: an 8-byte little-endian header length, a JSON object
 * name -> {dtype, shape, data_offsets} with an optional "__metadata__" object of strings, then the raw tensors.
 * The reader is rcnn_read_safetensors (weights.h); here are its limits and the writer. */
#ifndef RCNN_MODEL_SAFETENSORS_H
#define RCNN_MODEL_SAFETENSORS_H

#include "base/file.h"

#define RCNN_SAFETENSORS_HEADER_MAX 100000000 /* bytes; the limit of the reference implementation */

typedef struct rcnn_safetensors_entry { /* a tensor to be written; borrowed until the begin call returns */
    const char *name;
    rcnn_dtype dtype;
    int32_t rank;
    int64_t shape[RCNN_TENSOR_RANK_MAX];
} rcnn_safetensors_entry;

typedef struct rcnn_safetensors_pair { /* one __metadata__ entry */
    const char *key, *value;
} rcnn_safetensors_pair;

typedef struct rcnn_safetensors_writer {
    rcnn_file_writer file;
    uint64_t *sizes;    /* bytes of each tensor, in order */
    size_t count, next; /* tensors announced; tensors appended */
} rcnn_safetensors_writer;

/* Opens path (through a temporary name, base/file.h) and writes the header, padded with spaces so that the data starts
 * at a multiple of 8. Tensors lie one after another without gaps, in the order given: put wider types first to have
 * them aligned. On failure nothing is left behind. ARGUMENT for a bad or repeated entry, IO, MEMORY. */
rcnn_status rcnn_safetensors_begin(rcnn_safetensors_writer *writer, const char *path,
                                   const rcnn_safetensors_pair *metadata, size_t metadata_count,
                                   const rcnn_safetensors_entry *entries, size_t count, rcnn_error *err);
/* Writes the next tensor: contiguous, little-endian, exactly its size in bytes. ARGUMENT on a wrong size or when all
 * are written, IO. The writer stays open on failure: abort it. */
rcnn_status rcnn_safetensors_append(rcnn_safetensors_writer *writer, const void *data, size_t bytes, rcnn_error *err);
/* Ends the file under its final name. ARGUMENT when a tensor is missing (the file is then dropped), IO. */
rcnn_status rcnn_safetensors_commit(rcnn_safetensors_writer *writer, rcnn_error *err);
/* Drops the file. Fine on a zeroed or ended writer. */
void rcnn_safetensors_abort(rcnn_safetensors_writer *writer);

#endif
