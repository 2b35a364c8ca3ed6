/* What tuning found to be the fastest engine for which convolution or matrix product, in memory and in a text file:
 *
 *     rcnn engines 1<TAB>identity
 *     key<TAB>engine<TAB>microseconds
 *     ...
 *
 * identity names everything a choice depends on: device, driver, libraries. Keys and engines are printable ASCII that
 * this file does not interpret. A file is only a hint: one that is damaged, foreign or too large is ignored as a whole
 * and later replaced, and who uses an entry must check it as if it came from anywhere.
 *
 * Nothing here needs CUDA, so that it is tested on any machine. One thread at a time. */
#ifndef RCNN_BACKEND_CUDA_ENGINE_CACHE_H
#define RCNN_BACKEND_CUDA_ENGINE_CACHE_H

#include <stdbool.h>

#include "base/status.h"
#include "base/text.h"

#define RCNN_ENGINE_KEY_MAX      192 /* with the NUL */
#define RCNN_ENGINE_CHOICE_MAX   192
#define RCNN_ENGINE_IDENTITY_MAX 512
#define RCNN_ENGINE_ENTRIES_MAX  4096
#define RCNN_ENGINE_BYTES_MAX    2097152 /* of a file */

typedef struct rcnn_engine_entry {
    char key[RCNN_ENGINE_KEY_MAX];
    char choice[RCNN_ENGINE_CHOICE_MAX];
    float microseconds;
    bool fresh; /* found by this process: stands against the file's */
} rcnn_engine_entry;

typedef struct rcnn_engine_cache {
    char identity[RCNN_ENGINE_IDENTITY_MAX];
    char *path; /* owned; NULL: not kept in a file */
    rcnn_engine_entry *entries;
    size_t count, capacity;
    size_t unsaved; /* fresh entries since the last save */
} rcnn_engine_cache;

/* $RCNN_CACHE_DIR (empty: no file is kept), $XDG_CACHE_HOME/rcnn or $HOME/.cache/rcnn. False when there is none. */
bool rcnn_engine_cache_directory(char *out, size_t capacity);

/* An empty cache. directory NULL: not kept in a file, else in engines-<hash of the identity>.txt there. Control
 * characters of the identity become '?'. MEMORY. rcnn_engine_cache_free also after a failure. */
rcnn_status rcnn_engine_cache_init(rcnn_engine_cache *cache, const char *identity, const char *directory,
                                   rcnn_error *err);
void rcnn_engine_cache_free(rcnn_engine_cache *cache);

/* NULL when not there; valid until the next put, merge, load or save. */
const rcnn_engine_entry *rcnn_engine_cache_find(const rcnn_engine_cache *cache, const char *key);
/* Adds or replaces. ARGUMENT: text that a file could not hold; LIMIT: no room for another key; MEMORY. */
rcnn_status rcnn_engine_cache_put(rcnn_engine_cache *cache, const char *key, const char *choice, float microseconds,
                                  rcnn_error *err);

/* The whole file as text. */
void rcnn_engine_cache_format(const rcnn_engine_cache *cache, rcnn_text *out);
/* Takes over the entries of a file's text, save those that are fresh here. FORMAT: damaged; UNSUPPORTED: of another
 * identity or version; MEMORY, LIMIT. On failure nothing is taken over. */
rcnn_status rcnn_engine_cache_merge(rcnn_engine_cache *cache, const char *text, size_t size, rcnn_error *err);

/* Merges the file, if there is one. */
rcnn_status rcnn_engine_cache_load(rcnn_engine_cache *cache, rcnn_error *err);
/* Merges what others have written meanwhile, then replaces the file; makes its folder. Does nothing without fresh
 * entries or without a path. */
rcnn_status rcnn_engine_cache_save(rcnn_engine_cache *cache, rcnn_error *err);

#endif
