/* Files: whole-file mapping for reading, and writing that leaves either the whole new file or nothing. */
#ifndef RCNN_BASE_FILE_H
#define RCNN_BASE_FILE_H

#include <stdio.h>

#include "base/status.h"

typedef struct rcnn_file_map {
    const uint8_t *data; /* NULL when the file is empty */
    size_t size;
} rcnn_file_map;

/* Maps a regular file read-only. Directories, devices and pipes are refused; files over max_bytes give LIMIT. */
rcnn_status rcnn_file_map_open(const char *path, size_t max_bytes, rcnn_file_map *out, rcnn_error *err);
void rcnn_file_map_close(rcnn_file_map *map);
/* Says that bytes from .. to-1 were read and are not needed soon, so that their pages need not stay in memory. They may
 * still be read: the system then fetches them again. */
void rcnn_file_map_release(const rcnn_file_map *map, size_t from, size_t to);

/* A file being written under a temporary name beside `path`. */
typedef struct rcnn_file_writer {
    FILE *stream;    /* write through this                        */
    char *path;      /* final name                                */
    char *temporary; /* name until commit                         */
} rcnn_file_writer;

/* A path that names a directory, device or pipe is refused. */
rcnn_status rcnn_file_writer_open(const char *path, rcnn_file_writer *out, rcnn_error *err);
/* Flushes, checks, renames over `path`. On failure nothing is left behind. Either call ends the writer. */
rcnn_status rcnn_file_writer_commit(rcnn_file_writer *writer, rcnn_error *err);
void rcnn_file_writer_abort(rcnn_file_writer *writer);

#endif
