/* Chunks grow from 4 KiB to 1 MiB; a larger request gets a chunk of its own. */
#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"

#define FIRST_CHUNK   4096
#define LARGEST_CHUNK ((size_t)1 << 20)
#define ALIGNMENT     8

struct rcnn_arena_chunk {
    rcnn_arena_chunk *next;
    uint64_t bytes[]; /* 64-bit items give the alignment */
};

void rcnn_arena_init(rcnn_arena *arena, size_t limit)
{
    *arena = (rcnn_arena){.limit = limit, .next_bytes = FIRST_CHUNK};
}

static void *new_chunk(rcnn_arena *arena, size_t bytes)
{
    size_t total;
    if (!rcnn_add_size(sizeof(rcnn_arena_chunk), bytes, &total)) {
        return NULL;
    }
    rcnn_arena_chunk *chunk = rcnn_malloc(total);
    if (!chunk) {
        return NULL;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk->bytes;
}

void *rcnn_arena_alloc(rcnn_arena *arena, size_t bytes)
{
    size_t rounded;
    arena->over_limit = false;
    if (!rcnn_add_size(bytes ? bytes : 1, ALIGNMENT - 1, &rounded)) {
        return NULL;
    }
    rounded -= rounded % ALIGNMENT;
    if (rounded > arena->limit - arena->used) {
        arena->over_limit = true;
        return NULL;
    }
    unsigned char *out;
    if (rounded > arena->left && rounded >= arena->next_bytes / 4) {
        out = new_chunk(arena, rounded); /* the current chunk stays in use for small pieces */
        if (!out) {
            return NULL;
        }
    } else {
        if (rounded > arena->left) {
            unsigned char *fresh = new_chunk(arena, arena->next_bytes);
            if (!fresh) {
                return NULL;
            }
            arena->cursor = fresh;
            arena->left = arena->next_bytes;
            arena->next_bytes = arena->next_bytes < LARGEST_CHUNK ? arena->next_bytes * 2 : LARGEST_CHUNK;
        }
        out = arena->cursor;
        arena->cursor += rounded;
        arena->left -= rounded;
    }
    arena->used += rounded;
    return out;
}

char *rcnn_arena_text(rcnn_arena *arena, const void *bytes, size_t length)
{
    size_t total;
    char *out = rcnn_add_size(length, 1, &total) ? rcnn_arena_alloc(arena, total) : NULL;
    if (out) {
        if (length > 0) {
            memcpy(out, bytes, length);
        }
        out[length] = '\0';
    }
    return out;
}

rcnn_status rcnn_arena_fail(const rcnn_arena *arena, const char *what, rcnn_error *err)
{
    if (arena->over_limit) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: the file's objects need more than %zu bytes of memory", what,
                         arena->limit);
    }
    return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", what);
}

void rcnn_arena_free(rcnn_arena *arena)
{
    while (arena->chunks) {
        rcnn_arena_chunk *next = arena->chunks->next;
        rcnn_free(arena->chunks);
        arena->chunks = next;
    }
    rcnn_arena_init(arena, arena->limit);
}
