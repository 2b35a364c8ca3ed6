/* How many threads this process may use. */
#ifndef RCNN_SESSION_THREADS_H
#define RCNN_SESSION_THREADS_H

#include <stdint.h>

/* Cores in the process's affinity mask, at least 1. */
int32_t rcnn_threads_available(void);

#endif
