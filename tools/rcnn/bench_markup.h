/* Text and files inside of HTML and SVG. */
#ifndef RCNN_TOOLS_BENCH_MARKUP_H
#define RCNN_TOOLS_BENCH_MARKUP_H

#include <stdio.h>

#include "message.h"

/* The text with what means something in markup escaped; bytes that no XML 1.0 text may hold become '?'. */
void markup_text(FILE *out, const char *text);
/* The bytes of a file as base64. False when it cannot be opened, is no regular file, is larger than `most` bytes, or
 * ends early; nothing is written in the first three cases. */
bool markup_base64(FILE *out, const char *path, size_t most);

#endif
