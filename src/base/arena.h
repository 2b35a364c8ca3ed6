/* Memory handed out in pieces and released all at once, with a ceiling: what a hostile file can make the readers
 * allocate is bounded in one place instead of at every call. One thread at a time. */
#ifndef RCNN_BASE_ARENA_H
#define RCNN_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct rcnn_arena_chunk rcnn_arena_chunk;

typedef struct rcnn_arena {
    size_t used, limit; /* bytes handed out so far; most that will be                    */
    bool over_limit;    /* the last failure was the limit, not the system                */
    /* private */
    rcnn_arena_chunk *chunks;
    unsigned char *cursor;
    size_t left, next_bytes;
} rcnn_arena;

void rcnn_arena_init(rcnn_arena *arena, size_t limit);
/* 8-byte aligned, not zeroed, valid until rcnn_arena_free. NULL when out of memory or over the limit. */
void *rcnn_arena_alloc(rcnn_arena *arena, size_t bytes);
/* A NUL-terminated copy. */
char *rcnn_arena_text(rcnn_arena *arena, const void *bytes, size_t length);
/* The error behind a NULL: LIMIT or MEMORY. `what` (a file name) heads the message. */
rcnn_status rcnn_arena_fail(const rcnn_arena *arena, const char *what, rcnn_error *err);
/* Releases everything; the arena is as after init. An arena that is all zero is fine. */
void rcnn_arena_free(rcnn_arena *arena);

#endif
