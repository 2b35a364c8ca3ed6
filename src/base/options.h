/* Option structs of the public header. Each begins with its struct_size, so that a program built against another version
 * of the header is understood or refused. Any thread. */
#ifndef RCNN_BASE_OPTIONS_H
#define RCNN_BASE_OPTIONS_H

#include "base/status.h"

#define RCNN_OPTIONS_BYTES_MAX 65536 /* a larger struct_size is no version of the header but memory never initialised */

/* Fills the caller's struct of struct_size bytes from the `size` bytes of our defaults; fields that only the caller knows
 * become zero. options NULL, or too small to hold its own size: does nothing. */
void rcnn_options_init(void *options, size_t struct_size, const void *defaults, size_t size);

/* Copies the caller's struct over the defaults that stand in out [size]; given NULL changes nothing. `what` ("session")
 * heads the messages. ARGUMENT when struct_size cannot be; UNSUPPORTED when a field that we do not know is set. */
rcnn_status rcnn_options_read(const char *what, const void *given, void *out, size_t size, rcnn_error *err);

#endif
