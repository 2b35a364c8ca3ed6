#include "triple.h"

#include <stdio.h>
#include <string.h>

/* What a session can compute in, whatever the device. */
static const char *const PRECISIONS[] = {"fp32"};
#define PRECISION_COUNT ((int32_t)(sizeof PRECISIONS / sizeof PRECISIONS[0]))

static int32_t device_count(void)
{
    return 1 + rcnn_backend_count();
}

static const char *device_name(int32_t index)
{
    return index == 0 ? "auto" : rcnn_backend_name(index - 1);
}

static const char *precision_name(int32_t index)
{
    return PRECISIONS[index];
}

/* Copies the word when it is one of `count` names. */
static bool choose(const char *what, const char *word, size_t length, int32_t count, const char *(*name_of)(int32_t),
                   char out[TRIPLE_WORD_BYTES], rcnn_error *err)
{
    char names[160] = "";
    for (int32_t i = 0; i < count; i++) {
        const char *name = name_of(i);
        if (strlen(name) == length && strncmp(name, word, length) == 0) {
            snprintf(out, TRIPLE_WORD_BYTES, "%s", name);
            return true;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", name);
    }
    tool_fail(err, "%s: available: %s; got '%.*s'", what, names, (int)(length < 80 ? length : 80), word);
    err->status = RCNN_ERR_ARGUMENT;
    return false;
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
    snprintf(out->device, sizeof out->device, "%s", "auto");
    snprintf(out->precision, sizeof out->precision, "%s", PRECISIONS[0]);
    if (!at) {
        return true;
    }
    const char *device = at + 1, *colon = strchr(device, ':');
    const size_t device_length = colon ? (size_t)(colon - device) : strlen(device);
    return choose("device", device, device_length, device_count(), device_name, out->device, err) &&
           (!colon ||
            choose("precision", colon + 1, strlen(colon + 1), PRECISION_COUNT, precision_name, out->precision, err));
}
