/* Allocation and size arithmetic. All of the library's own allocations go through here, so that tests can count them
 * and make the nth one fail. */
#ifndef RCNN_BASE_MEMORY_H
#define RCNN_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *rcnn_malloc(size_t bytes);                 /* NULL on failure; bytes 0 gives a unique pointer */
void *rcnn_calloc(size_t count, size_t bytes);   /* zeroed; NULL on failure or overflow             */
void *rcnn_realloc(void *pointer, size_t bytes); /* as realloc; the old block survives a failure    */
char *rcnn_strndup(const char *text, size_t length);
char *rcnn_strdup(const char *text);
void rcnn_free(void *pointer); /* the public one; NULL is fine                    */

#define RCNN_ALIGNMENT 64
/* Rounded up to a multiple of it. */
static inline size_t rcnn_aligned_size(size_t bytes)
{
    return (bytes + RCNN_ALIGNMENT - 1) / RCNN_ALIGNMENT * RCNN_ALIGNMENT;
}
/* RCNN_ALIGNMENT-aligned memory; release with rcnn_free. */
void *rcnn_malloc_aligned(size_t bytes);

/* Test hook: the nth allocation from now (1 = the next) and all after it fail; 0 = never. Not thread-safe. */
void rcnn_memory_fail_from(uint64_t nth);
/* Allocations made by this process so far through this file. */
uint64_t rcnn_memory_allocation_count(void);

/* *out = a*b or a+b; false (and *out untouched) on overflow. */
bool rcnn_mul_size(size_t a, size_t b, size_t *out);
bool rcnn_add_size(size_t a, size_t b, size_t *out);

/* Grows an array of `item` byte elements to hold at least `need`, doubling; false when out of memory (array intact). */
bool rcnn_grow(void **array, size_t *capacity, size_t need, size_t item);

#endif
