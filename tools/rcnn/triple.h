/* What is run: a model, a device and a precision, written MODEL[@DEVICE[:PRECISION]]. */
#ifndef RCNN_TOOLS_TRIPLE_H
#define RCNN_TOOLS_TRIPLE_H

#include "device.h"
#include "model_args.h"

typedef struct triple {
    char model[MODEL_PATH_BYTES];
    device_choice device;     /* one; auto when not given       */
    rcnn_precision precision; /* auto when not given            */
} triple;

/* The device starts behind the last '@' that no '/' follows, so that a file called a@b is written a@b@cpu. It is written
 * as for --device, with one GPU at most: cuda, cuda:1, cuda:1:fp16. False with err (ARGUMENT) naming what there is when
 * device or precision is none of it. */
bool triple_parse(const char *text, triple *out, rcnn_error *err);

#endif
