/* Decimal text to double, independent of the process locale: files say 0.5 also where the host program set a locale
 * that writes 0,5. */
#ifndef RCNN_BASE_NUMBER_H
#define RCNN_BASE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

#define RCNN_NUMBER_CHARS_MAX 512 /* longest accepted number; a double needs at most 17 significant digits */

/* Reads [+-]digits[.digits][e[+-]digits], correctly rounded, from exactly `length` characters (no NUL needed). False
 * and *out untouched when anything else stands there, when it is longer than RCNN_NUMBER_CHARS_MAX, or when the value
 * overflows. Any thread. */
bool rcnn_parse_double(const char *text, size_t length, double *out);

#endif
