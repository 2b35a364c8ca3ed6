/* Runs of several ops on every backend of the library that works here.
 *
 *     test_spans [--backend NAME] [FILTER] */
#include "ops/op_list.h"

int main(int argc, char **argv)
{
    const rcnn_backend_vt *backends[8];
    int32_t count = 0;
    for (int32_t b = 0; b < rcnn_backend_registry_count() && count < 8; b++) {
        backends[count++] = rcnn_backend_registry_get(b);
    }
    return span_list_main(argc, argv, backends, count, false);
}
