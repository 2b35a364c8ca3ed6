/* What is run: a model, a device and a precision, written MODEL[@DEVICE[:PRECISION]]. */
#ifndef RCNN_TOOLS_TRIPLE_H
#define RCNN_TOOLS_TRIPLE_H

#include "model_args.h"

#define TRIPLE_WORD_BYTES 32

typedef struct triple {
    char model[MODEL_PATH_BYTES];
    char device[TRIPLE_WORD_BYTES];    /* "auto" or the name of a backend; "auto" when not given */
    char precision[TRIPLE_WORD_BYTES]; /* "fp32" when not given                                  */
} triple;

/* The device starts behind the last '@' that no '/' follows, so that a file called a@b is written a@b@cpu. False with
 * err (ARGUMENT) naming what there is when device or precision is none of it. */
bool triple_parse(const char *text, triple *out, rcnn_error *err);

#endif
