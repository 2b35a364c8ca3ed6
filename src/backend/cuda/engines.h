/* Which engine runs which convolution and matrix product: remembered choices and how candidates are timed. */
#ifndef RCNN_BACKEND_CUDA_ENGINES_H
#define RCNN_BACKEND_CUDA_ENGINES_H

#include "backend/cuda/cuda.h"
#include "backend/cuda/engine_cache.h"

/* What was remembered for a key; NULL when nothing was. Valid until the next remember. */
const rcnn_engine_entry *rcnn_cuda_engines_find(const rcnn_backend *backend, const char *key);
/* Remembers a timed choice; the file is written now and then and at close. A failure is logged and nothing else. */
void rcnn_cuda_engines_remember(rcnn_backend *backend, const char *key, const char *choice, float microseconds);
/* A remembered choice that turned out to be unusable; says so at debug level. */
void rcnn_cuda_engines_reject(const rcnn_engine_entry *entry, const rcnn_error *why);

/* ------------------------------------------------------------- timing (timing.c) */

/* Device time of what fn enqueues, as part of a recorded graph: median of several. fn may be called any number of times
 * and must be repeatable. Nothing may be recording. UNSUPPORTED when it cannot be recorded. */
typedef rcnn_status (*rcnn_cuda_timed_fn)(void *context, cudaStream_t stream, rcnn_error *err);
rcnn_status rcnn_cuda_time(rcnn_backend *backend, rcnn_cuda_timed_fn fn, void *context, float *microseconds,
                           rcnn_error *err);
/* Device memory of random finite values of a type in [-1,1]; release with rcnn_cuda_free. */
rcnn_status rcnn_cuda_alloc_random(rcnn_backend *backend, rcnn_cuda_type type, size_t bytes, void **out,
                                   rcnn_error *err);

#endif
