/* Runs of ops on the emulated cuda backend, in every precision. Options as of test_spans. */
#include "emulate/emulated.h"
#include "ops/op_list.h"

int main(int argc, char **argv)
{
    const rcnn_backend_vt *vt = rcnn_emulated_backend();
    return span_list_main(argc, argv, &vt, 1, true);
}
