/* Pieces shared by the readers of annotation and result files: members of objects, numbers, masks. Every message names
 * the file and the byte. */
#ifndef RCNN_EVAL_READ_H
#define RCNN_EVAL_READ_H

#include "base/file.h"
#include "base/json.h"
#include "eval/store.h"

typedef struct rcnn_eval_reader {
    rcnn_json json;
    const char *name;         /* of the file, for messages                       */
    const rcnn_file_map *map; /* pages read are given back; NULL for memory       */
    size_t released;
    /* scratch of the mask being read */
    int32_t *vertices;
    size_t vertex_count, vertex_capacity;
    uint32_t *counts;
    size_t count_count, count_capacity;
    rcnn_text text;
    rcnn_eval_canvas canvas;
} rcnn_eval_reader;

void rcnn_eval_reader_open(rcnn_eval_reader *reader, const char *name, const void *data, size_t size);
void rcnn_eval_reader_close(rcnn_eval_reader *reader);
/* Lets the system take back the pages of the file that lie behind the reader: a file larger than memory may be read. */
void rcnn_eval_reader_release(rcnn_eval_reader *reader);

/* FORMAT: "name: JSON byte N: ..." */
rcnn_status rcnn_eval_bad(const rcnn_eval_reader *reader, size_t offset, rcnn_error *err, const char *format, ...)
    RCNN_PRINTF(4, 5);
rcnn_status rcnn_eval_no_memory(const rcnn_eval_reader *reader, rcnn_error *err);

typedef rcnn_status (*rcnn_eval_member_fn)(void *context, int member, rcnn_error *err);

/* Reads the rest of an object whose '{' is the current token: for the i-th of `names` calls on_member with the
 * reader on the key; other members are passed over; a known one that comes twice is refused. *seen gets a bit per
 * name. */
rcnn_status rcnn_eval_read_members(rcnn_eval_reader *reader, const char *const *names, int count,
                                   rcnn_eval_member_fn on_member, void *context, unsigned *seen, rcnn_error *err);
/* A member of names[] that is absent from `seen`: FORMAT that names it and the object at `offset`. */
rcnn_status rcnn_eval_require(const rcnn_eval_reader *reader, const char *const *names, unsigned wanted, unsigned seen,
                              const char *what, size_t offset, rcnn_error *err);
/* Reads the rest of an array of objects whose '[' comes next; on_object is called with the reader on each '{' and the
 * index of the object. */
rcnn_status rcnn_eval_read_objects(rcnn_eval_reader *reader, const char *what, rcnn_eval_member_fn on_object,
                                   void *context, rcnn_error *err);

/* The next token as a whole number (1.0 is one), a finite number, a yes or no (true, false or a whole number). */
rcnn_status rcnn_eval_read_integer(rcnn_eval_reader *reader, const char *what, int64_t *out, rcnn_error *err);
rcnn_status rcnn_eval_read_real(rcnn_eval_reader *reader, const char *what, double *out, rcnn_error *err);
rcnn_status rcnn_eval_read_flag(rcnn_eval_reader *reader, const char *what, bool *out, rcnn_error *err);
/* [x, y, width, height]; *present is false for [], which result files use for "none". */
rcnn_status rcnn_eval_read_box(rcnn_eval_reader *reader, double box[4], bool *present, rcnn_error *err);

/* A mask as it stands in a file: bytes appended to `bytes`; kind NONE for an empty list. height and width are those
 * that run lengths state, 0 for polygons. */
typedef struct rcnn_eval_read_mask {
    rcnn_eval_shape shape;
    int32_t width, height;
} rcnn_eval_read_mask;
rcnn_status rcnn_eval_read_segmentation(rcnn_eval_reader *reader, rcnn_text *bytes, rcnn_eval_read_mask *out,
                                        rcnn_error *err);

#endif
