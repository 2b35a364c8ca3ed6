/* Stage 8: results. It adds no ops to the graph: what leaves the graph (boxes, scores, labels, soft masks) is turned into
 * the caller's mask form by the session, because its size depends on the masks themselves (src/session/results.c). */
#include "stages/stages.h"

rcnn_status rcnn_stage_postprocess(rcnn_builder *b)
{
    (void)b;
    return RCNN_OK;
}
