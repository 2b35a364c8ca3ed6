/* The name table of names.def: filling in its templates, and listing the layers of a network. */
#include "model/names.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

typedef struct name_form {
    const char *conv, *norm; /* norm NULL: never normalised */
} name_form;

typedef struct name_row {
    const char *layer; /* canonical */
    rcnn_layer_kind kind;
    name_form forms[RCNN_NAMING_COUNT][RCNN_NAME_FORMS_MAX]; /* NATIVE has none */
} name_row;

#define NONE                      NULL
#define FORMS(naming, ...)        [RCNN_NAMING_##naming] = {__VA_ARGS__},
#define MMDET(...)                FORMS(MMDET, __VA_ARGS__)
#define TORCHVISION(...)          FORMS(TORCHVISION, __VA_ARGS__)
#define OLD(...)                  FORMS(TORCHVISION_OLD, __VA_ARGS__)
#define BOTH(...)                 TORCHVISION(__VA_ARGS__) OLD(__VA_ARGS__)
#define DETECTRON2(...)           FORMS(DETECTRON2, __VA_ARGS__)
#define ROW(id, kind, layer, ...) [RCNN_ROW_##id] = {layer, RCNN_LAYER_##kind, {__VA_ARGS__}},

static const name_row ROWS[RCNN_ROW_COUNT] = {
#include "model/names.def"
};

#undef ROW

rcnn_layer_kind rcnn_names_kind(rcnn_row row)
{
    return ROWS[row].kind;
}

/* ------------------------------------------------------------- templates */

static int32_t variable(const rcnn_layer_spec *spec, char letter)
{
    switch (letter) {
    case 's':
        return spec->stage;
    case 'b':
        return spec->block;
    case 'f':
        return spec->flat;
    default:
        return spec->index;
    }
}

/* Writes the template with its variables filled in. Templates are ours and short, so that nothing is ever cut. */
static void expand(const char *template, const rcnn_layer_spec *spec, char *out, size_t capacity)
{
    size_t used = 0;
    for (const char *p = template; *p && used + 1 < capacity;) {
        if (*p != '{') {
            out[used++] = *p++;
            continue;
        }
        int32_t value = variable(spec, p[1]) + (p[2] == '+' ? p[3] - '0' : 0);
        used += (size_t)snprintf(out + used, capacity - used, "%d", value);
        p = strchr(p, '}') + 1;
    }
    out[used < capacity ? used : capacity - 1] = '\0';
}

void rcnn_names_layer(const rcnn_layer_spec *spec, char out[RCNN_LAYER_NAME_MAX])
{
    expand(ROWS[spec->row].layer, spec, out, RCNN_LAYER_NAME_MAX);
}

static bool is_indexed(const char *template)
{
    return strstr(template, "{i") || strstr(template, "{f");
}

bool rcnn_names_tensor(const rcnn_layer_spec *spec, int32_t part, rcnn_naming naming, int32_t form,
                       rcnn_tensor_names *out)
{
    *out = (rcnn_tensor_names){{0}, {0}};
    if (naming == RCNN_NAMING_NATIVE) {
        rcnn_names_layer(spec, out->conv);
        return part == 0 && form == 0;
    }
    if (part >= spec->parts || form >= RCNN_NAME_FORMS_MAX) {
        return false;
    }
    const name_form *f = &ROWS[(int32_t)spec->row + part].forms[naming][form];
    if (!f->conv || (spec->index > 0 && !is_indexed(f->conv))) {
        return false;
    }
    expand(f->conv, spec, out->conv, sizeof out->conv);
    if (f->norm) {
        expand(f->norm, spec, out->norm, sizeof out->norm);
    }
    return true;
}

/* Where a naming has two forms, the network's size decides which of them the framework itself would use. */
static bool second_form(const rcnn_layer_spec *spec, const rcnn_config *config)
{
    return (spec->row == RCNN_ROW_RPN_CONV && config->rpn_convs > 1) ||
           (spec->row == RCNN_ROW_BOX_FC && config->box_convs > 0);
}

bool rcnn_names_tensor_to_write(const rcnn_layer_spec *spec, int32_t part, rcnn_naming naming,
                                const rcnn_config *config, rcnn_tensor_names *out)
{
    const bool has_second =
        naming != RCNN_NAMING_NATIVE && part < spec->parts && ROWS[(int32_t)spec->row + part].forms[naming][1].conv;
    return rcnn_names_tensor(spec, part, naming, has_second && second_form(spec, config), out);
}

/* ------------------------------------------------------------ layer lists */

rcnn_layer_spec rcnn_names_spec(rcnn_row row, int32_t index, int32_t box_convs)
{
    const bool merged = row == RCNN_ROW_RPN_SCORES || row == RCNN_ROW_BOX_SCORES;
    /* torchvision v2: the convolution blocks, a flatten, then Linear and ReLU alternating */
    return (rcnn_layer_spec){.row = row, .parts = merged ? 2 : 1, .index = index, .flat = box_convs + 1 + 2 * index};
}

rcnn_layer_spec rcnn_names_block_spec(rcnn_row row, int32_t stage, int32_t block)
{
    return (rcnn_layer_spec){.row = row, .parts = 1, .stage = stage, .block = block};
}

static int32_t block_layers(const rcnn_config *config)
{
    int32_t blocks = 0;
    for (int32_t s = 0; s < 4; s++) {
        blocks += config->blocks[s];
    }
    return blocks * (config->block == RCNN_BLOCK_BOTTLENECK ? 3 : 2) + 4;
}

static rcnn_layer_spec *list_blocks(const rcnn_config *config, rcnn_layer_spec *at)
{
    for (int32_t s = 1; s <= 4; s++) {
        for (int32_t b = 0; b < config->blocks[s - 1]; b++) {
            *at++ = rcnn_names_block_spec(RCNN_ROW_CONV1, s, b);
            *at++ = rcnn_names_block_spec(RCNN_ROW_CONV2, s, b);
            if (config->block == RCNN_BLOCK_BOTTLENECK) {
                *at++ = rcnn_names_block_spec(RCNN_ROW_CONV3, s, b);
            }
            if (b == 0) {
                *at++ = rcnn_names_block_spec(RCNN_ROW_SHORTCUT, s, b);
            }
        }
    }
    return at;
}

rcnn_status rcnn_names_list(const rcnn_config *config, rcnn_layer_spec **out, int32_t *count, rcnn_error *err)
{
    const int32_t masks = config->has_mask ? 1 : 0;
    const struct {
        rcnn_row row;
        int32_t count;
    } after[] = {{RCNN_ROW_LATERAL, 4},
                 {RCNN_ROW_OUTPUT, 4},
                 {RCNN_ROW_RPN_CONV, config->rpn_convs},
                 {RCNN_ROW_RPN_SCORES, 1},
                 {RCNN_ROW_BOX_CONV, config->box_convs},
                 {RCNN_ROW_BOX_FC, config->box_fcs},
                 {RCNN_ROW_BOX_SCORES, 1},
                 {RCNN_ROW_MASK_CONV, masks * config->mask_convs},
                 {RCNN_ROW_DECONV, masks},
                 {RCNN_ROW_LOGITS, masks}};
    const size_t groups = sizeof after / sizeof after[0];
    int32_t total = 1 + block_layers(config);
    for (size_t g = 0; g < groups; g++) {
        total += after[g].count;
    }
    rcnn_layer_spec *specs = rcnn_calloc((size_t)total, sizeof *specs);
    if (!specs) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for %d layers", total);
    }
    specs[0] = rcnn_names_spec(RCNN_ROW_STEM, 0, 0);
    rcnn_layer_spec *at = list_blocks(config, specs + 1);
    for (size_t g = 0; g < groups; g++) {
        for (int32_t i = 0; i < after[g].count; i++) {
            *at++ = rcnn_names_spec(after[g].row, i, config->box_convs);
        }
    }
    *out = specs;
    *count = total;
    return RCNN_OK;
}
