/* Text from files and file names is bytes; JSON and cairo want UTF-8. */
#ifndef RCNN_TOOLS_UTF8_H
#define RCNN_TOOLS_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed UTF-8 sequence (RFC 3629) at the start of a non-empty text, 0 when there is none. */
int utf8_length(const char *text);
/* Copies what fits, whole characters only, with '?' for bytes that are not UTF-8 and for control characters. */
void utf8_copy_printable(char *dst, size_t capacity, const char *src);

#endif
