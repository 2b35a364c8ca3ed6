/* See options.h. */
#include "base/options.h"

#include <string.h>

void rcnn_options_init(void *options, size_t struct_size, const void *defaults, size_t size)
{
    if (options && struct_size >= sizeof struct_size) {
        memset(options, 0, struct_size);
        memcpy(options, defaults, struct_size < size ? struct_size : size);
        memcpy(options, &struct_size, sizeof struct_size);
    }
}

rcnn_status rcnn_options_read(const char *what, const void *given, void *out, size_t size, rcnn_error *err)
{
    if (!given) {
        return RCNN_OK;
    }
    size_t given_size;
    memcpy(&given_size, given, sizeof given_size);
    if (given_size < sizeof given_size || given_size > RCNN_OPTIONS_BYTES_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "%s options: want rcnn_%s_options_init called, got a size of %zu",
                         what, what, given_size);
    }
    const unsigned char *bytes = given;
    for (size_t i = size; i < given_size; i++) {
        if (bytes[i] != 0) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s options: byte %zu was set by a newer version of the header",
                             what, i);
        }
    }
    memcpy(out, given, given_size < size ? given_size : size);
    memcpy(out, &size, sizeof size);
    return RCNN_OK;
}
