/* How many threads this process may use, and which one of a team is calling. */
#ifndef RCNN_BASE_THREADS_H
#define RCNN_BASE_THREADS_H

#include <stdint.h>

/* Cores in the process's affinity mask, at least 1. */
int32_t rcnn_threads_available(void);

/* Number of the calling thread in its OpenMP team, 0 outside of one and without OpenMP. */
int32_t rcnn_thread_index(void);

#endif
