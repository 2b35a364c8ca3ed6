/* The maker of thin state dicts. */
#include "state_dict.h"

#include "harness.h"

enum { FPN_WIDTH = 8, FC_WIDTH = 12, STEM_WIDTH = 8, BOX_BINS = 49 };

static void *need(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "state_dict: out of memory\n");
        exit(1);
    }
    return pointer;
}

state_dict *state_dict_new(void)
{
    state_dict *dict = need(calloc(1, sizeof *dict));
    dict->seed = 12345;
    return dict;
}

void state_dict_free(state_dict *dict)
{
    for (int32_t i = 0; i < dict->tensor_count; i++) {
        free(dict->tensors[i].data);
    }
    for (int32_t i = 0; i < dict->layer_count; i++) {
        free(dict->layers[i].weights);
        free(dict->layers[i].bias);
    }
    free(dict->bytes);
    free(dict);
}

dict_tensor *state_dict_add(state_dict *dict, const char *name, int32_t rank, const int64_t *shape)
{
    if (dict->tensor_count == STATE_DICT_TENSORS_MAX) {
        fprintf(stderr, "state_dict: too many tensors\n");
        exit(1);
    }
    dict_tensor *t = &dict->tensors[dict->tensor_count++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rank = rank;
    t->count = 1;
    for (int32_t i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->count *= (size_t)shape[i];
    }
    t->data = need(calloc(t->count, sizeof *t->data));
    return t;
}

void state_dict_meta(state_dict *dict, const char *key, const char *value)
{
    dict->meta[dict->meta_count][0] = key;
    dict->meta[dict->meta_count++][1] = value;
}

dict_tensor *state_dict_find(state_dict *dict, const char *name)
{
    for (int32_t i = 0; i < dict->tensor_count; i++) {
        if (strcmp(dict->tensors[i].name, name) == 0) {
            return &dict->tensors[i];
        }
    }
    fprintf(stderr, "state_dict: no tensor %s\n", name);
    exit(1);
}

void state_dict_remove(state_dict *dict, const char *name)
{
    dict_tensor *t = state_dict_find(dict, name);
    free(t->data);
    *t = dict->tensors[--dict->tensor_count];
}

static void add_header(const state_dict *dict, rcnn_text *text)
{
    size_t at = 0;
    rcnn_text_add(text, "{\"__metadata__\":{");
    for (int32_t i = 0; i < dict->meta_count; i++) {
        rcnn_text_add(text, i ? "," : "");
        rcnn_text_json_string(text, dict->meta[i][0]);
        rcnn_text_add(text, ":");
        rcnn_text_json_string(text, dict->meta[i][1]);
    }
    rcnn_text_add(text, "}");
    for (int32_t i = 0; i < dict->tensor_count; i++) {
        const dict_tensor *t = &dict->tensors[i];
        rcnn_text_printf(text, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", t->name);
        for (int32_t k = 0; k < t->rank; k++) {
            rcnn_text_printf(text, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        }
        rcnn_text_printf(text, "],\"data_offsets\":[%zu,%zu]}", at, at + 4 * t->count);
        at += 4 * t->count;
    }
    rcnn_text_add(text, "}");
}

rcnn_weights *state_dict_open(state_dict *dict)
{
    rcnn_text text = {0};
    rcnn_error err = {0};
    rcnn_weights *weights = NULL;
    add_header(dict, &text);
    const size_t header = text.length;
    for (int32_t i = 0; i < dict->tensor_count; i++) {
        rcnn_text_add_bytes(&text, (const char *)dict->tensors[i].data, 4 * dict->tensors[i].count);
    }
    free(dict->bytes);
    dict->bytes = need(malloc(8 + text.length));
    for (size_t i = 0; i < 8; i++) {
        dict->bytes[i] = (char)(header >> 8 * i);
    }
    memcpy(dict->bytes + 8, text.data, text.length);
    if (rcnn_weights_open_memory(dict->bytes, 8 + text.length, &weights, &err) != RCNN_OK) {
        fprintf(stderr, "state_dict: %s\n", err.message);
        exit(1);
    }
    rcnn_text_free(&text);
    return weights;
}

/* ---------------------------------------------------------- thin networks */

typedef struct making {
    state_dict *dict;
    const thin_network *network;
    int32_t x, y; /* input of the block, output of the layer before */
    int32_t c[4];
} making;

typedef struct sizes {
    int32_t out[RCNN_PARTS_MAX];
    int32_t in, kernel, groups;
} sizes;

static int32_t planes(const making *m, int32_t stage)
{
    const bool basic = m->network->config.block == RCNN_BLOCK_BASIC;
    return (basic ? 8 : 4) << (stage - 1);
}

static sizes backbone_sizes(const making *m, const rcnn_layer_spec *spec)
{
    const rcnn_config *c = &m->network->config;
    const int32_t p = planes(m, spec->stage), width = c->groups > 1 ? 2 * p : p;
    if (c->block == RCNN_BLOCK_BASIC) {
        const bool conv = spec->row != RCNN_ROW_SHORTCUT;
        return (sizes){{p, 0}, spec->row == RCNN_ROW_CONV2 ? p : m->x, conv ? 3 : 1, 1};
    }
    switch (spec->row) {
    case RCNN_ROW_CONV1:
        return (sizes){{width, 0}, m->x, 1, 1};
    case RCNN_ROW_CONV2:
        return (sizes){{width, 0}, width / c->groups, 3, c->groups};
    case RCNN_ROW_CONV3:
        return (sizes){{4 * p, 0}, width, 1, 1};
    default:
        return (sizes){{4 * p, 0}, m->x, 1, 1};
    }
}

static sizes head_sizes(const making *m, const rcnn_layer_spec *spec)
{
    const rcnn_config *c = &m->network->config;
    const int32_t foreground = c->class_count + (c->background_first ? 1 : 0);
    switch (spec->row) {
    case RCNN_ROW_STEM:
        return (sizes){{STEM_WIDTH, 0}, 3, 7, 1};
    case RCNN_ROW_LATERAL:
        return (sizes){{FPN_WIDTH, 0}, m->c[spec->index], 1, 1};
    case RCNN_ROW_RPN_SCORES:
        return (sizes){{3, 12}, FPN_WIDTH, 1, 1};
    case RCNN_ROW_BOX_FC:
        return (sizes){{FC_WIDTH, 0}, spec->index ? FC_WIDTH : FPN_WIDTH * BOX_BINS, 0, 1};
    case RCNN_ROW_BOX_SCORES:
        return (sizes){{c->class_count + 1, c->agnostic_box ? 4 : 4 * foreground}, FC_WIDTH, 0, 1};
    case RCNN_ROW_DECONV:
        return (sizes){{FPN_WIDTH, 0}, FPN_WIDTH, 2, 1};
    case RCNN_ROW_LOGITS:
        return (sizes){{c->agnostic_mask ? 1 : foreground, 0}, FPN_WIDTH, 1, 1};
    default:
        return (sizes){{FPN_WIDTH, 0}, FPN_WIDTH, 3, 1};
    }
}

static bool has_norm(const making *m, const rcnn_layer_spec *spec)
{
    const bool head = spec->row == RCNN_ROW_LATERAL || spec->row == RCNN_ROW_OUTPUT || spec->row == RCNN_ROW_BOX_CONV ||
                      spec->row == RCNN_ROW_MASK_CONV;
    return spec->row <= RCNN_ROW_SHORTCUT || (head && m->network->head_norms);
}

static dict_tensor *add_random(making *m, const char *base, const char *suffix, int32_t rank, const int64_t *shape,
                               float low, float high)
{
    char name[RCNN_TENSOR_NAME_MAX + 32];
    snprintf(name, sizeof name, "%s%s", base, suffix);
    dict_tensor *t = state_dict_add(m->dict, name, rank, shape);
    for (size_t i = 0; i < t->count; i++) {
        t->data[i] = test_uniform(&m->dict->seed, low, high);
    }
    return t;
}

/* Applies a batch norm to what the layer must hold: W' x + b' = gamma * ((W x + b) - mean) / sqrt(var + eps) + beta. */
static void make_norm(making *m, const char *base, dict_layer *layer)
{
    const int64_t shape[1] = {layer->out};
    const float *gamma = add_random(m, base, ".weight", 1, shape, 0.5f, 1.5f)->data;
    const float *beta = add_random(m, base, ".bias", 1, shape, -1, 1)->data;
    const float *mean = add_random(m, base, ".running_mean", 1, shape, -1, 1)->data;
    const float *var = add_random(m, base, ".running_var", 1, shape, 0.2f, 2)->data;
    const size_t per = layer->weight_count / (size_t)layer->out;
    for (size_t o = 0; o < (size_t)layer->out; o++) {
        const double deviation = sqrt((double)var[o] + m->network->config.bn_eps);
        for (size_t i = 0; i < per; i++) {
            layer->weights[o * per + i] *= (double)gamma[o] / deviation;
        }
        layer->bias[o] = ((layer->bias[o] - (double)mean[o]) / deviation) * (double)gamma[o] + (double)beta[o];
    }
}

static void make_part(making *m, const rcnn_layer_spec *spec, int32_t part, const sizes *s, dict_layer *layer)
{
    rcnn_tensor_names names;
    const int64_t out = s->out[part], in = s->in;
    if (!rcnn_names_tensor_to_write(spec, part, m->network->naming, &m->network->config, &names)) {
        fprintf(stderr, "state_dict: naming %d has no name for %s\n", (int)m->network->naming, layer->name);
        exit(1);
    }
    const bool deconv = spec->row == RCNN_ROW_DECONV;
    const int64_t shape[4] = {deconv ? in : out, deconv ? out : in, s->kernel, s->kernel};
    const dict_tensor *weights = add_random(m, names.conv, ".weight", s->kernel ? 4 : 2, shape, -1, 1);
    for (size_t i = 0; i < weights->count; i++) {
        layer->weights[layer->weight_count + i] = (double)weights->data[i];
    }
    layer->weight_count += weights->count;
    if (!has_norm(m, spec)) {
        const dict_tensor *bias = add_random(m, names.conv, ".bias", 1, &out, -1, 1);
        for (int64_t i = 0; i < out; i++) {
            layer->bias[layer->out + i] = (double)bias->data[i];
        }
    }
    layer->out += (int32_t)out;
    if (has_norm(m, spec)) {
        make_norm(m, names.norm, layer);
    }
}

static int32_t expected_stride(const making *m, const rcnn_layer_spec *spec)
{
    const rcnn_config *c = &m->network->config;
    if (spec->row == RCNN_ROW_STEM || spec->row == RCNN_ROW_DECONV) {
        return 2;
    }
    const bool strided = spec->stage >= 2 && spec->block == 0;
    const bool caffe = c->style == RCNN_STYLE_CAFFE || c->block == RCNN_BLOCK_BASIC;
    const rcnn_row where = caffe ? RCNN_ROW_CONV1 : RCNN_ROW_CONV2;
    return strided && (spec->row == where || spec->row == RCNN_ROW_SHORTCUT) ? 2 : 1;
}

static void make_layer(making *m, const rcnn_layer_spec *spec)
{
    const sizes s = spec->stage ? backbone_sizes(m, spec) : head_sizes(m, spec);
    dict_layer *layer = &m->dict->layers[m->dict->layer_count++];
    const int32_t out = s.out[0] + s.out[1];
    rcnn_names_layer(spec, layer->name);
    layer->groups = s.groups;
    layer->stride = expected_stride(m, spec);
    layer->weights = need(calloc((size_t)out * (size_t)s.in * (size_t)(s.kernel ? s.kernel * s.kernel : 1), 8));
    layer->bias = need(calloc((size_t)out, sizeof *layer->bias));
    for (int32_t part = 0; part < spec->parts; part++) {
        make_part(m, spec, part, &s, layer);
    }
    if (spec->row != RCNN_ROW_SHORTCUT) {
        m->y = layer->out;
    }
}

void state_dict_make(state_dict *dict, const thin_network *network)
{
    making m = {.dict = dict, .network = network};
    rcnn_layer_spec *specs = NULL;
    int32_t count = 0;
    if (rcnn_names_list(&network->config, &specs, &count, NULL) != RCNN_OK) {
        exit(1);
    }
    for (int32_t i = 0; i < count; i++) {
        const rcnn_layer_spec *spec = &specs[i];
        if (spec->row == RCNN_ROW_CONV1) {
            m.x = m.y; /* a block begins */
        }
        if (!(spec->row == RCNN_ROW_SHORTCUT && spec->stage == 1 && network->stage1_plain)) {
            make_layer(&m, spec);
        }
        if (spec->stage > 0) {
            m.c[spec->stage - 1] = m.y;
        }
    }
    rcnn_free(specs);
}

thin_network thin_network_of(rcnn_naming naming)
{
    thin_network n = {.naming = naming};
    rcnn_config_init(&n.config);
    for (int32_t s = 0; s < 4; s++) {
        n.config.blocks[s] = 1;
    }
    n.config.class_count = 3;
    n.config.background_first = naming == RCNN_NAMING_TORCHVISION || naming == RCNN_NAMING_TORCHVISION_OLD;
    n.config.style = naming == RCNN_NAMING_DETECTRON2 ? RCNN_STYLE_CAFFE : RCNN_STYLE_PYTORCH;
    n.config.bn_eps = naming == RCNN_NAMING_TORCHVISION_OLD ? 0 : 1e-5;
    return n;
}
