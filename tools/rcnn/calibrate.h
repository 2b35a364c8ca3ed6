/* `rcnn convert --precision int8`: images through the network, and the native file with activation scales. */
#ifndef RCNN_TOOLS_CALIBRATE_H
#define RCNN_TOOLS_CALIBRATE_H

#include "message.h"
#include "opts.h"

/* Calibrates the model on --calibrate's images and writes the second operand. Returns the exit status; err is filled when
 * it is not TOOL_DONE. */
int calibrate_file(const options *opts, const rcnn_model *model, rcnn_error *err);

#endif
