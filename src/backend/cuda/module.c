/* The module's one door: the library that opened it hands over its log, and gets the backend's table. */
#include "backend/cuda/cuda.h"

#include <stdarg.h>
#include <stdio.h>

RCNN_API const rcnn_backend_vt *rcnn_backend_module_entry(const rcnn_module_host *host, char *why, size_t capacity);

static const rcnn_module_host *opened_by;

/* The module's own copy of src/base logs into the host's log as well. */
static void log_to_host(void *context, rcnn_log_level level, const char *line)
{
    (void)context;
    opened_by->log(level, line);
}

void rcnn_cuda_log(rcnn_log_level level, const char *format, ...)
{
    if (!opened_by->log_enabled(level)) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    opened_by->log(level, line);
}

const rcnn_backend_vt *rcnn_backend_module_entry(const rcnn_module_host *host, char *why, size_t capacity)
{
    if (host->abi != RCNN_BACKEND_ABI) {
        snprintf(why, capacity, "it was built for another version of the library (ABI %u, the library has %u)",
                 (unsigned)RCNN_BACKEND_ABI, host->abi);
        return NULL;
    }
    opened_by = host;
    rcnn_log_set(log_to_host, NULL, RCNN_LOG_TRACE); /* the host drops what is above its own level */
    return &rcnn_cuda_backend;
}
