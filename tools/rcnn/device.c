#include "device.h"

#include <ctype.h>
#include <string.h>

#define INDEX_MAX 1023

/* A number at *at, which moves behind it; -1 when there is none. */
static int32_t read_index(const char **at, const char *end)
{
    int32_t number = -1;
    for (; *at < end && isdigit((unsigned char)**at) && number <= INDEX_MAX; ++*at) {
        number = (number < 0 ? 0 : number) * 10 + (**at - '0');
    }
    return number <= INDEX_MAX ? number : -1;
}

static bool read_indices(const char *at, const char *end, device_choice *out)
{
    out->count = 0;
    while (out->count < DEVICES_MAX) {
        const int32_t index = read_index(&at, end);
        for (int32_t i = 0; i < out->count; i++) {
            if (out->index[i] == index) {
                return false;
            }
        }
        if (index < 0) {
            return false;
        }
        out->index[out->count++] = index;
        if (at == end) {
            return true;
        }
        if (*at++ != ',') {
            return false;
        }
    }
    return false;
}

bool device_parse(const char *text, size_t length, device_choice *out)
{
    static const char *const NAMES[] = {"auto", "cuda", "cpu", "ref"};
    const char *colon = memchr(text, ':', length);
    const size_t name = colon ? (size_t)(colon - text) : length;
    *out = (device_choice){.count = 1};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strlen(NAMES[i]) == name && strncmp(NAMES[i], text, name) == 0) {
            memcpy(out->backend, NAMES[i], name + 1);
            return !colon || (strcmp(NAMES[i], "cuda") == 0 && read_indices(colon + 1, text + length, out));
        }
    }
    return false;
}

const char *precision_name(int32_t precision)
{
    static const char *const NAMES[] = {"auto", "fp32", "tf32", "fp16", "bf16", "int8"};
    return precision >= 0 && precision < (int32_t)(sizeof NAMES / sizeof NAMES[0]) ? NAMES[precision] : NULL;
}
