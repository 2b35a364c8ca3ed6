/* A module for test_cuda_module.c. FAKE_KIND: 0 refuses its host, 1 has another ABI, 2 is as it should be. */
#include <stdio.h>

#include "backend/backend.h"

RCNN_API const rcnn_backend_vt *rcnn_backend_module_entry(const rcnn_module_host *host, char *why, size_t capacity);

static rcnn_status probe(char *text, size_t capacity)
{
    snprintf(text, capacity, "a GPU of the test");
    return RCNN_OK;
}

static int32_t device_count(void)
{
    return 3;
}

const rcnn_backend_vt *rcnn_backend_module_entry(const rcnn_module_host *host, char *why, size_t capacity)
{
    static const rcnn_backend_vt table = {.abi = RCNN_BACKEND_ABI + (FAKE_KIND == 1 ? 1 : 0),
                                          .name = "cuda",
                                          .probe = probe,
                                          .device_count = device_count};
    if (FAKE_KIND == 0) {
        snprintf(why, capacity, "library %s does not please it", host->version);
        return NULL;
    }
    if (host->log_enabled(RCNN_LOG_INFO)) {
        host->log(RCNN_LOG_INFO, "a line of the module");
    }
    return &table;
}
