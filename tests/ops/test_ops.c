/* The list of ops on every backend of the library that works here.
 *
 *     test_ops [--large] [--bench] [--backend NAME] [--type f32|tf32|f16|bf16|int8] [--threads N] [FILTER]
 *
 * FILTER is a substring of "op: case", or, behind a ^, its beginning. --large takes the real Mask R-CNN shapes instead of the
 * small ones; there ref is too slow for convolutions and inner products, which are checked at random elements only.
 * --bench times. */
#include "ops/op_list.h"

int main(int argc, char **argv)
{
    const rcnn_backend_vt *backends[8];
    int32_t count = 0;
    for (int32_t b = 0; b < rcnn_backend_registry_count() && count < 8; b++) {
        backends[count++] = rcnn_backend_registry_get(b);
    }
    return op_list_main(argc, argv, backends, count, NULL);
}
