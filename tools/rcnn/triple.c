#include "triple.h"

#include <stdio.h>
#include <string.h>

static bool refuse(rcnn_error *err, const char *what, const char *wanted, const char *word, size_t length)
{
    tool_fail(err, "%s: available: %s; got '%.*s'", what, wanted, (int)(length < 80 ? length : 80), word);
    err->status = RCNN_ERR_ARGUMENT;
    return false;
}

static bool parse_precision(const char *word, rcnn_precision *out, rcnn_error *err)
{
    char names[64] = "";
    for (int32_t p = 0; precision_name(p); p++) {
        if (strcmp(precision_name(p), word) == 0) {
            *out = (rcnn_precision)p;
            return true;
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", p ? ", " : "", precision_name(p));
    }
    return refuse(err, "precision", names, word, strlen(word));
}

/* "ref", "cuda:1", "cuda:fp16", "cuda:1:fp16": a number after the first colon belongs to the device. */
static bool parse_place(const char *place, triple *out, rcnn_error *err)
{
    size_t length = strcspn(place, ":");
    if (place[length] && place[length + 1] >= '0' && place[length + 1] <= '9') {
        length += 1 + strcspn(place + length + 1, ":");
    }
    if (!device_parse(place, length, &out->device) || out->device.count != 1) {
        return refuse(err, "device", "auto, cuda[:N], cpu, ref", place, length);
    }
    return !place[length] || parse_precision(place + length + 1, &out->precision, err);
}

bool triple_parse(const char *text, triple *out, rcnn_error *err)
{
    const char *at = strrchr(text, '@');
    if (at && strchr(at, '/')) {
        at = NULL;
    }
    const size_t length = at ? (size_t)(at - text) : strlen(text);
    if (length == 0 || length >= sizeof out->model) {
        tool_fail(err, "want MODEL[@DEVICE[:PRECISION]], got '%.80s'", text);
        err->status = RCNN_ERR_ARGUMENT;
        return false;
    }
    memcpy(out->model, text, length);
    out->model[length] = '\0';
    out->precision = RCNN_PRECISION_AUTO;
    return parse_place(at ? at + 1 : "auto", out, err);
}
