#include "bench_modes.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { ON_CPU = 1, ON_GPU = 0 };

static const bench_mode MODES[] = {
#define BENCH_MODE(name, gpu, without, masks, batch, where, cpu, help)                                                 \
    {#name, RCNN_PRECISION_##gpu, RCNN_PRECISION_##without, RCNN_MASK_##masks, batch, ON_##where, cpu, help},
#include "bench_modes.def"
#undef BENCH_MODE
};

#define MODE_COUNT ((int32_t)(sizeof MODES / sizeof MODES[0]))
_Static_assert(MODE_COUNT <= BENCH_MODES_MAX, "a list can hold every mode once");

int32_t bench_mode_count(void)
{
    return MODE_COUNT;
}

const bench_mode *bench_mode_get(int32_t index)
{
    return &MODES[index];
}

/* ------------------------------------------------------------- modes */

static bool refuse_mode(const char *word, size_t length, rcnn_error *err)
{
    char known[256] = "";
    for (int32_t i = 0; i < MODE_COUNT; i++) {
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", MODES[i].name);
    }
    tool_fail(err, "--modes: want all or some of %s, got '%.*s'", known, (int)(length < 40 ? length : 40), word);
    err->status = RCNN_ERR_ARGUMENT;
    return false;
}

static const bench_mode *find_mode(const char *word, size_t length)
{
    for (int32_t i = 0; i < MODE_COUNT; i++) {
        if (strlen(MODES[i].name) == length && strncmp(MODES[i].name, word, length) == 0) {
            return &MODES[i];
        }
    }
    return NULL;
}

static bool contains(const bench_mode *const *list, int32_t count, const bench_mode *mode)
{
    for (int32_t i = 0; i < count; i++) {
        if (list[i] == mode) {
            return true;
        }
    }
    return false;
}

bool bench_modes_read(const char *text, bool gpu, const bench_mode *out[BENCH_MODES_MAX], int32_t *count,
                      rcnn_error *err)
{
    const bool all = text && strcmp(text, "all") == 0;
    *count = 0;
    for (int32_t i = 0; (all || !text) && i < MODE_COUNT; i++) {
        if (all || gpu || MODES[i].cpu_default) {
            out[(*count)++] = &MODES[i];
        }
    }
    for (const char *word = all ? NULL : text; word;) {
        const size_t length = strcspn(word, ",");
        const bench_mode *mode = find_mode(word, length);
        if (!mode) {
            return refuse_mode(word, length, err);
        }
        if (!contains(out, *count, mode)) {
            out[(*count)++] = mode;
        }
        word = word[length] ? word + length + 1 : NULL;
    }
    return true;
}

/* ------------------------------------------------------------- sizes */

/* Decimal digits at *at, which moves behind them; 0 when they are no side. */
static int32_t read_side(const char **at)
{
    int32_t side = 0;
    const char *begin = *at;
    while (isdigit((unsigned char)**at) && side <= BENCH_SIDE_MOST) {
        side = side * 10 + (*(*at)++ - '0');
    }
    return *at > begin && side >= BENCH_SIDE_LEAST && side <= BENCH_SIDE_MOST ? side : 0;
}

bool bench_sizes_read(const char *text, bool gpu, bench_size out[BENCH_SIZES_MAX], int32_t *count, rcnn_error *err)
{
    const char *at = text ? text : gpu ? "1333x800,3840x2304" : "1333x800";
    for (*count = 0; *count < BENCH_SIZES_MAX;) {
        const char *begin = at;
        bench_size size = {.width = read_side(&at)};
        if (size.width > 0 && *at == 'x') {
            at++;
            size.height = read_side(&at);
        }
        if (size.height == 0 || (*at && *at != ',')) {
            tool_fail(err, "--sizes: want WxH,..., as in 1333x800, each side in %d..%d, got '%.*s'", BENCH_SIDE_LEAST,
                      BENCH_SIDE_MOST, (int)(strcspn(begin, ",") < 40 ? strcspn(begin, ",") : 40), begin);
            err->status = RCNN_ERR_ARGUMENT;
            return false;
        }
        out[(*count)++] = size;
        if (*at++ == '\0') {
            return true;
        }
    }
    tool_fail(err, "--sizes: want at most %d of them, got '%.80s'", BENCH_SIZES_MAX, text);
    err->status = RCNN_ERR_ARGUMENT;
    return false;
}
