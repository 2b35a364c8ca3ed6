/* The backend's memory of chosen engines: the tuning cache and its file, and the list for describe_choices. */
#include "backend/cuda/engines.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define SAVE_AFTER 16 /* fresh entries, so that little is lost when the process dies */

typedef struct choice_note {
    char op[RCNN_LAYER_TEXT_MAX];
    char engine[RCNN_ENGINE_CHOICE_MAX];
    float microseconds;
} choice_note;

struct rcnn_cuda_engines {
    rcnn_engine_cache cache;
    choice_note *notes;
    size_t note_count, note_capacity;
};

/* ------------------------------------------------------------- life */

/* Everything that a choice depends on. */
static void identify(const rcnn_backend *backend, char *out, size_t capacity)
{
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) {
        (void)cudaGetLastError();
    }
    snprintf(out, capacity, "%s, sm %d, %d multiprocessors, driver %d, cuDNN %zu, cuBLAS %zu, rcnn %s",
             backend->properties.name, backend->sm, backend->properties.multiProcessorCount, driver, cudnnGetVersion(),
             cublasLtGetVersion(), RCNN_VERSION_STRING);
}

rcnn_status rcnn_cuda_engines_open(rcnn_backend *backend, rcnn_error *err)
{
    char identity[RCNN_ENGINE_IDENTITY_MAX], folder[4096];
    backend->engines = rcnn_calloc(1, sizeof *backend->engines);
    if (!backend->engines) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: out of host memory");
    }
    rcnn_engine_cache *cache = &backend->engines->cache;
    identify(backend, identity, sizeof identity);
    const bool kept = rcnn_engine_cache_directory(folder, sizeof folder);
    RCNN_TRY(rcnn_engine_cache_init(cache, identity, kept ? folder : NULL, err));
    rcnn_error why;
    if (rcnn_engine_cache_load(cache, &why) != RCNN_OK) {
        rcnn_cuda_log(RCNN_LOG_WARN, "cuda: %s is not used: %s", cache->path, why.message);
    } else {
        rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: %zu engine choices from %s", cache->count, kept ? cache->path : "nowhere");
    }
    return RCNN_OK;
}

/* After a failure the file is left alone. */
static void save(rcnn_engine_cache *cache)
{
    rcnn_error why;
    if (rcnn_engine_cache_save(cache, &why) != RCNN_OK) {
        rcnn_cuda_log(RCNN_LOG_WARN, "cuda: engine choices are not kept: %s", why.message);
        rcnn_free(cache->path);
        cache->path = NULL;
    }
}

void rcnn_cuda_engines_close(rcnn_backend *backend)
{
    if (backend->engines) {
        save(&backend->engines->cache);
        rcnn_engine_cache_free(&backend->engines->cache);
        rcnn_free(backend->engines->notes);
        rcnn_free(backend->engines);
        backend->engines = NULL;
    }
}

/* ------------------------------------------------------------- choices */

const rcnn_engine_entry *rcnn_cuda_engines_find(const rcnn_backend *backend, const char *key)
{
    return rcnn_engine_cache_find(&backend->engines->cache, key);
}

void rcnn_cuda_engines_remember(rcnn_backend *backend, const char *key, const char *choice, float microseconds)
{
    rcnn_engine_cache *cache = &backend->engines->cache;
    rcnn_error why;
    if (rcnn_engine_cache_put(cache, key, choice, microseconds, &why) != RCNN_OK) {
        rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: %s", why.message);
    }
    if (cache->unsaved >= SAVE_AFTER) {
        save(cache);
    }
}

void rcnn_cuda_engines_reject(const rcnn_engine_entry *entry, const rcnn_error *why)
{
    rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: remembered engine '%s' of '%s' is not used: %s", entry->choice, entry->key,
                  why->message);
}

/* ------------------------------------------------------------- describe_choices */

static choice_note *note_of(rcnn_cuda_engines *engines, const char *op_name)
{
    for (size_t i = 0; i < engines->note_count; i++) {
        if (strcmp(engines->notes[i].op, op_name) == 0) {
            return &engines->notes[i];
        }
    }
    void *notes = engines->notes;
    if (!rcnn_grow(&notes, &engines->note_capacity, engines->note_count + 1, sizeof *engines->notes)) {
        return NULL;
    }
    engines->notes = notes;
    return &engines->notes[engines->note_count++];
}

void rcnn_cuda_note_choice(rcnn_backend *backend, const char *op_name, const char *engine, float microseconds)
{
    choice_note *note = note_of(backend->engines, op_name);
    if (note) { /* only a description is lost when out of memory */
        snprintf(note->op, sizeof note->op, "%s", op_name);
        snprintf(note->engine, sizeof note->engine, "%s", engine);
        note->microseconds = microseconds;
    }
    rcnn_cuda_log(RCNN_LOG_DEBUG, "cuda: op '%s' runs on %s", op_name, engine);
}

void rcnn_cuda_engines_describe(rcnn_backend *backend, char *text, size_t capacity)
{
    size_t used = 0;
    if (capacity > 0) {
        text[0] = '\0';
    }
    for (size_t i = 0; i < backend->engines->note_count; i++) {
        const choice_note *note = &backend->engines->notes[i];
        char line[RCNN_LAYER_TEXT_MAX + RCNN_ENGINE_CHOICE_MAX + 32];
        int length = note->microseconds < 0 ? snprintf(line, sizeof line, "%s: %s\n", note->op, note->engine)
                                            : snprintf(line, sizeof line, "%s: %s, %.1f us\n", note->op, note->engine,
                                                       (double)note->microseconds);
        if (length < 0 || used + (size_t)length >= capacity) {
            break; /* whole lines only */
        }
        memcpy(text + used, line, (size_t)length + 1);
        used += (size_t)length;
    }
}
