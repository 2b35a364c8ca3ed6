/* An output file that is complete or not there: written under a temporary name beside its place and renamed at the
 * end. Standard output and things that are no regular file (/dev/full, a pipe) are written directly. */
#ifndef RCNN_TOOLS_OUTFILE_H
#define RCNN_TOOLS_OUTFILE_H

#include <stdio.h>

#include "message.h"

typedef struct outfile {
    FILE *stream; /* NULL when closed */
    char *path;
    char *temporary; /* NULL when written directly */
} outfile;

/* path "-" = standard output. False with err filled, nothing left behind. */
bool outfile_open(outfile *file, const char *path, rcnn_error *err);
/* Hands what was written to the system; false when it did not take all (a full disk). */
bool outfile_flush(outfile *file, rcnn_error *err);
/* Completes the file and gives it its name; on failure removes it. */
bool outfile_commit(outfile *file, rcnn_error *err);
/* Removes an unfinished file; nothing to do when committed or never opened. */
void outfile_discard(outfile *file);

/* Makes the directory and those above it, and sees that it can be written. False with err filled; `option` heads it. */
bool directory_make(const char *option, const char *path, rcnn_error *err);

#endif
