/* The one door to malloc. Counters are atomic so that sessions on several threads may share them. */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "rcnn/rcnn.h"

static atomic_uint_fast64_t allocation_count;
static atomic_uint_fast64_t fail_from; /* absolute allocation number, 0 = never */

static bool denied(void)
{
    uint64_t number = atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed) + 1;
    uint64_t limit = atomic_load_explicit(&fail_from, memory_order_relaxed);
    return limit != 0 && number >= limit;
}

void rcnn_memory_fail_from(uint64_t nth)
{
    atomic_store(&fail_from, nth ? atomic_load(&allocation_count) + nth : 0);
}

uint64_t rcnn_memory_allocation_count(void)
{
    return atomic_load(&allocation_count);
}

void *rcnn_malloc(size_t bytes)
{
    return denied() ? NULL : malloc(bytes ? bytes : 1);
}

void *rcnn_calloc(size_t count, size_t bytes)
{
    return denied() ? NULL : calloc(count ? count : 1, bytes ? bytes : 1);
}

void *rcnn_realloc(void *pointer, size_t bytes)
{
    return denied() ? NULL : realloc(pointer, bytes ? bytes : 1);
}

void *rcnn_malloc_aligned(size_t bytes)
{
    size_t rounded;
    if (denied() || !rcnn_add_size(bytes ? bytes : 1, RCNN_ALIGNMENT - 1, &rounded)) {
        return NULL;
    }
    return aligned_alloc(RCNN_ALIGNMENT, rounded / RCNN_ALIGNMENT * RCNN_ALIGNMENT);
}

char *rcnn_strndup(const char *text, size_t length)
{
    char *copy = rcnn_malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *rcnn_strdup(const char *text)
{
    return rcnn_strndup(text, strlen(text));
}

void rcnn_free(void *pointer)
{
    free(pointer);
}

bool rcnn_mul_size(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b) {
        return false;
    }
    *out = a * b;
    return true;
}

bool rcnn_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) {
        return false;
    }
    *out = a + b;
    return true;
}

bool rcnn_grow(void **array, size_t *capacity, size_t need, size_t item)
{
    if (need <= *capacity) {
        return true;
    }
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2) {
            return false;
        }
        wanted *= 2;
    }
    size_t bytes;
    if (!rcnn_mul_size(wanted, item, &bytes)) {
        return false;
    }
    void *grown = rcnn_realloc(*array, bytes);
    if (!grown) {
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}
