/* The list of backends built into this library, best first, and the public functions that show it. A backend is added
 * here and nowhere else. */
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

#define PROBE_TEXT_BYTES 512

static const rcnn_backend_vt *const BACKENDS[] = {
#if RCNN_HAVE_ONEDNN
    &rcnn_backend_cpu,
#endif
    &rcnn_backend_ref,
};

#define BACKEND_COUNT ((int32_t)(sizeof BACKENDS / sizeof BACKENDS[0]))

int32_t rcnn_backend_registry_count(void)
{
    return BACKEND_COUNT;
}

const rcnn_backend_vt *rcnn_backend_registry_get(int32_t index)
{
    return index >= 0 && index < BACKEND_COUNT ? BACKENDS[index] : NULL;
}

/* The first backend that works here. Ref is left out: too slow to be anyone's silent choice. */
static rcnn_status find_auto(const rcnn_backend_vt **out, rcnn_error *err)
{
    char text[PROBE_TEXT_BYTES] = "none is built in";
    for (int32_t i = 0; i < BACKEND_COUNT; i++) {
        if (BACKENDS[i] == &rcnn_backend_ref) {
            continue;
        }
        if (BACKENDS[i]->probe(text, sizeof text) == RCNN_OK) {
            *out = BACKENDS[i];
            return RCNN_OK;
        }
    }
    return rcnn_fail(err, RCNN_ERR_DEVICE, "backend: no fast backend works here (%s); \"ref\" is slow but always there",
                     text);
}

rcnn_status rcnn_backend_find(const char *name, const rcnn_backend_vt **out, rcnn_error *err)
{
    *out = NULL;
    if (strcmp(name, "auto") == 0) {
        return find_auto(out, err);
    }
    char names[128] = "auto";
    for (int32_t i = 0; i < BACKEND_COUNT; i++) {
        if (strcmp(name, BACKENDS[i]->name) == 0) {
            *out = BACKENDS[i];
            return RCNN_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, ", %s", BACKENDS[i]->name);
    }
    return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "backend: no backend '%s' in this build; there are: %s", name, names);
}

int32_t rcnn_backend_count(void)
{
    return BACKEND_COUNT;
}

const char *rcnn_backend_name(int32_t index)
{
    const rcnn_backend_vt *vt = rcnn_backend_registry_get(index);
    return vt ? vt->name : NULL;
}

rcnn_status rcnn_backend_probe(int32_t index, char *text, size_t capacity)
{
    char line[PROBE_TEXT_BYTES] = "";
    const rcnn_backend_vt *vt = rcnn_backend_registry_get(index);
    rcnn_status status = vt ? vt->probe(line, sizeof line) : RCNN_ERR_ARGUMENT;
    if (text && capacity > 0) {
        snprintf(text, capacity, "%s", line);
    }
    return status;
}
