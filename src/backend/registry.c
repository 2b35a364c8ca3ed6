/* The list of backends, best first, and the public functions that show it. A backend is added here and nowhere else. */
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

#define PROBE_TEXT_BYTES 512

#if RCNN_HAVE_ONEDNN
static const rcnn_backend_vt *get_cpu(void)
{
    return &rcnn_backend_cpu;
}
#endif

static const rcnn_backend_vt *get_ref(void)
{
    return &rcnn_backend_ref;
}

/* Names stand apart from the tables: asking for a name must not open the cuda module. */
static const struct {
    const char *name;
    const rcnn_backend_vt *(*get)(void);
} BACKENDS[] = {
    {"cuda", rcnn_backend_cuda}, /* always listed: its module may come with another package */
#if RCNN_HAVE_ONEDNN
    {"cpu", get_cpu},
#endif
    {"ref", get_ref},
};

#define BACKEND_COUNT ((int32_t)(sizeof BACKENDS / sizeof BACKENDS[0]))

int32_t rcnn_backend_registry_count(void)
{
    return BACKEND_COUNT;
}

const rcnn_backend_vt *rcnn_backend_registry_get(int32_t index)
{
    return index >= 0 && index < BACKEND_COUNT ? BACKENDS[index].get() : NULL;
}

/* The first backend that works here. Ref is left out: too slow to be anyone's silent choice. */
static rcnn_status find_auto(const rcnn_backend_vt **out, rcnn_error *err)
{
    char reasons[2 * PROBE_TEXT_BYTES] = "";
    for (int32_t i = 0; i < BACKEND_COUNT; i++) {
        const rcnn_backend_vt *vt = BACKENDS[i].get();
        if (vt == &rcnn_backend_ref) {
            continue;
        }
        char text[PROBE_TEXT_BYTES] = "";
        if (vt->probe(text, sizeof text) == RCNN_OK) {
            *out = vt;
            return RCNN_OK;
        }
        size_t used = strlen(reasons);
        snprintf(reasons + used, sizeof reasons - used, "%s%s: %s", used ? "; " : "", vt->name, text);
    }
    return rcnn_fail(err, RCNN_ERR_DEVICE, "backend: no fast backend works here (%s); \"ref\" is slow but always there",
                     reasons);
}

rcnn_status rcnn_backend_find(const char *name, const rcnn_backend_vt **out, rcnn_error *err)
{
    *out = NULL;
    if (strcmp(name, "auto") == 0) {
        return find_auto(out, err);
    }
    char names[128] = "auto";
    for (int32_t i = 0; i < BACKEND_COUNT; i++) {
        if (strcmp(name, BACKENDS[i].name) == 0) {
            *out = BACKENDS[i].get();
            return RCNN_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, ", %s", BACKENDS[i].name);
    }
    return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "backend: no backend '%s' in this build; there are: %s", name, names);
}

int32_t rcnn_backend_count(void)
{
    return BACKEND_COUNT;
}

int32_t rcnn_backend_device_count(int32_t index)
{
    char text[PROBE_TEXT_BYTES];
    const rcnn_backend_vt *vt = rcnn_backend_registry_get(index);
    if (!vt || vt->probe(text, sizeof text) != RCNN_OK) {
        return 0;
    }
    return vt->device_count ? vt->device_count() : 1;
}

const char *rcnn_backend_name(int32_t index)
{
    return index >= 0 && index < BACKEND_COUNT ? BACKENDS[index].name : NULL;
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
