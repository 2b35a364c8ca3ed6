/* The list of ops on the emulated cuda backend, in every precision. Each op runs twice, the second time with blocks and
 * threads in falling order: results that differ come from a race. Options as of test_ops. */
#include "emulate/emulated.h"
#include "ops/op_list.h"

int main(int argc, char **argv)
{
    const rcnn_backend_vt *vt = rcnn_emulated_backend();
    return op_list_main(argc, argv, &vt, 1, rcnn_emulate_order);
}
