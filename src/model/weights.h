/* The inside of rcnn_weights: what the four format readers fill. The object maps the file, keeps every tensor's record
 * (the data stays where it lies in the file), and owns all text. A reader adds tensors, meta and globals in file order;
 * weights.c sorts the names once at the end, so that look-ups cost a binary search and duplicates are found whatever
 * names a file chooses. */
#ifndef RCNN_MODEL_WEIGHTS_H
#define RCNN_MODEL_WEIGHTS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/file.h"

#define RCNN_WEIGHTS_FILE_BYTES_MAX  ((size_t)1 << 40)
#define RCNN_WEIGHTS_TENSORS_MAX     131072
#define RCNN_WEIGHTS_NAME_MAX        1024                /* bytes of a tensor name or meta key             */
#define RCNN_WEIGHTS_NAMES_BYTES_MAX ((size_t)16 << 20)  /* all names and globals together                 */
#define RCNN_WEIGHTS_META_BYTES_MAX  ((size_t)8 << 20)   /* all meta keys and values together              */
#define RCNN_WEIGHTS_META_MAX        65536               /* meta entries                                   */
#define RCNN_WEIGHTS_GLOBALS_MAX     65536               /* different globals                              */
#define RCNN_TENSOR_EXPANDED_MAX     ((uint64_t)1 << 20) /* elements of a tensor that repeats its storage  */

typedef struct rcnn_weights_pair { /* a meta entry; a global has no value */
    const char *key, *value;
    int32_t known;
} rcnn_weights_pair;

typedef struct rcnn_name_index { /* names sorted, each with its place in file order */
    struct rcnn_name_place {
        const char *name;
        size_t place;
    } * items;
    size_t count;
} rcnn_name_index;

struct rcnn_weights {
    const char *what;   /* path, or "weights in memory": heads every message */
    const char *format; /* of rcnn_weights_format_name                       */
    const uint8_t *data;
    size_t size;
    rcnn_tensor_info *tensors;
    size_t tensor_count, tensor_capacity;
    rcnn_weights_pair *meta;
    size_t meta_count, meta_capacity;
    rcnn_weights_pair *globals;
    size_t global_count, global_capacity;
    rcnn_arena names, meta_text;
    rcnn_arena decoded; /* bytes that a pickle spells as text: the only tensor data not in the map */
    rcnn_name_index tensor_index, meta_index;
    char *path;
    rcnn_file_map map;
};

/* ------------------------------------------------ for the format readers */

/* Adds a tensor; name is `length` bytes, copied, "module." removed; the other fields of *info as in rcnn.h. FORMAT for
 * a bad name, LIMIT past a maximum, MEMORY. */
rcnn_status rcnn_weights_add_tensor(rcnn_weights *w, const void *name, size_t length, const rcnn_tensor_info *info,
                                    rcnn_error *err);
/* Adds a meta entry; both are copied. LIMIT past a maximum, MEMORY. */
rcnn_status rcnn_weights_add_meta(rcnn_weights *w, const char *key, const char *value, size_t length, rcnn_error *err);
/* Adds a global; duplicates are the caller's business. */
rcnn_status rcnn_weights_add_global(rcnn_weights *w, const char *name, bool known, rcnn_error *err);

/* Builds a sorted index of names[0 .. count-1]; equal names stand in file order. False when out of memory. */
bool rcnn_name_index_build(rcnn_name_index *index, const char *const *first, size_t stride_bytes, size_t count);
/* Place of the first entry of that name, or SIZE_MAX. */
size_t rcnn_name_index_find(const rcnn_name_index *index, const char *name);

/* The element count of a shape. False on a negative size or overflow; a size of 0 anywhere gives 0. */
bool rcnn_shape_count(const int64_t *shape, int32_t rank, uint64_t *out);

/* One reader per format; each fills an rcnn_weights whose what, data and size are set. */
rcnn_status rcnn_read_torch_zip(rcnn_weights *w, rcnn_error *err);
rcnn_status rcnn_read_torch_legacy(rcnn_weights *w, rcnn_error *err);
rcnn_status rcnn_read_pickle(rcnn_weights *w, rcnn_error *err);
rcnn_status rcnn_read_safetensors(rcnn_weights *w, rcnn_error *err);

#endif
