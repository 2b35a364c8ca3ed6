/* Layer building. Channel counts are not taken from a table of networks: they flow from layer to layer as the tensors
 * have them, so that any width loads, and two layers that do not fit together are found here with both shapes named. */
#include "model/layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { RPN_ANCHORS = 3 }; /* the length of config.anchor_ratios */

typedef struct builder {
    const rcnn_config *config;
    const rcnn_tensor_table *table;
    rcnn_naming naming;
    rcnn_error *err;
    rcnn_layer *layers;
    int32_t count;
    size_t parameters; /* of all layers so far                                   */
    int32_t y;         /* output channels of the layer before                    */
    int32_t x;         /* input channels of the current residual block           */
    int32_t c[4];      /* output channels of C2..C5                              */
    int32_t fpn;       /* channels of the pyramid; 0 until its first lateral     */
} builder;

/* Where the parts of one layer come from. */
typedef struct source {
    rcnn_tensor_names names[RCNN_PARTS_MAX];
    rcnn_tensor_entry *weight[RCNN_PARTS_MAX];
    int32_t rows[RCNN_PARTS_MAX]; /* outputs of the part */
    int32_t parts;
} source;

size_t rcnn_layer_weight_count(const rcnn_layer *layer)
{
    return (size_t)layer->out * (size_t)layer->in * (size_t)layer->kh * (size_t)layer->kw;
}

/* ---------------------------------------------------------------- shapes */

typedef struct extent { /* outputs (0 = any), inputs, kernel side */
    int64_t out, in;
    int32_t kernel;
} extent;

static int32_t delta_rows(const rcnn_config *c)
{
    return c->agnostic_box ? 4 : 4 * (c->class_count + (c->background_first ? 1 : 0));
}

static int32_t mask_rows(const rcnn_config *c)
{
    return c->agnostic_mask ? 1 : c->class_count + (c->background_first ? 1 : 0);
}

/* The last convolution of a block that has no shortcut must give back the block's own width. */
static int32_t block_out(const builder *b, const rcnn_layer_spec *spec)
{
    const rcnn_row last = b->config->block == RCNN_BLOCK_BOTTLENECK ? RCNN_ROW_CONV3 : RCNN_ROW_CONV2;
    return spec->row == last && spec->block > 0 ? b->x : 0;
}

static extent wanted_extent(const builder *b, const rcnn_layer_spec *spec)
{
    const rcnn_config *c = b->config;
    const int32_t head_in = spec->index == 0 ? b->fpn : b->y;
    switch (spec->row) {
    case RCNN_ROW_STEM:
        return (extent){0, 3, 7};
    case RCNN_ROW_CONV1:
        return (extent){0, b->x, c->block == RCNN_BLOCK_BOTTLENECK ? 1 : 3};
    case RCNN_ROW_CONV2:
        return (extent){block_out(b, spec), b->y / c->groups, 3};
    case RCNN_ROW_CONV3:
        return (extent){block_out(b, spec), b->y, 1};
    case RCNN_ROW_SHORTCUT:
        return (extent){b->y, b->x, 1};
    case RCNN_ROW_LATERAL:
        return (extent){b->fpn, b->c[spec->index], 1};
    case RCNN_ROW_OUTPUT:
        return (extent){b->fpn, b->fpn, 3};
    case RCNN_ROW_RPN_SCORES:
        return (extent){RPN_ANCHORS, b->y, 1};
    case RCNN_ROW_RPN_DELTAS:
        return (extent){4 * RPN_ANCHORS, b->y, 1};
    case RCNN_ROW_BOX_FC:
        return (extent){0, spec->index > 0 ? b->y : (int64_t)(c->box_convs ? b->y : b->fpn) * c->box_pool * c->box_pool,
                        1};
    case RCNN_ROW_BOX_SCORES:
        return (extent){c->class_count + 1, b->y, 1};
    case RCNN_ROW_BOX_DELTAS:
        return (extent){delta_rows(c), b->y, 1};
    case RCNN_ROW_DECONV:
        return (extent){0, c->mask_convs ? b->y : b->fpn, 2};
    case RCNN_ROW_LOGITS:
        return (extent){mask_rows(c), b->y, 1};
    default: /* the 3x3 convolutions of the three heads */
        return (extent){0, head_in, 3};
    }
}

static rcnn_shape shape_of(rcnn_layer_kind kind, extent e)
{
    switch (kind) {
    case RCNN_LAYER_FC:
        return (rcnn_shape){2, {e.out, e.in}};
    case RCNN_LAYER_DECONV:
        return (rcnn_shape){4, {e.in, e.out, e.kernel, e.kernel}};
    default:
        return (rcnn_shape){4, {e.out, e.in, e.kernel, e.kernel}};
    }
}

/* Stages 2..4 halve the resolution in their first block: in the 3x3 of a bottleneck, or in its first 1x1 (caffe). */
static int32_t stride_of(const rcnn_config *c, const rcnn_layer_spec *spec)
{
    if (spec->row == RCNN_ROW_STEM || spec->row == RCNN_ROW_DECONV) {
        return 2;
    }
    if (spec->stage < 2 || spec->block > 0) {
        return 1;
    }
    const bool first = c->block == RCNN_BLOCK_BASIC || c->style == RCNN_STYLE_CAFFE;
    return spec->row == RCNN_ROW_SHORTCUT || spec->row == (first ? RCNN_ROW_CONV1 : RCNN_ROW_CONV2) ? 2 : 1;
}

/* --------------------------------------------------------------- sources */

static rcnn_status fail_missing(const builder *b, const char *base, const char *suffix)
{
    return rcnn_fail(b->err, RCNN_ERR_FORMAT, "model: want tensor '%s%s', got none", base, suffix);
}

/* Finds the weight tensors of a layer and checks their shapes. */
static rcnn_status find_source(const builder *b, const rcnn_layer_spec *spec, source *s)
{
    const rcnn_layer_kind kind = rcnn_names_kind(spec->row);
    *s = (source){.parts = b->naming == RCNN_NAMING_NATIVE ? 1 : spec->parts};
    for (int32_t part = 0; part < s->parts; part++) {
        rcnn_layer_spec row = *spec;
        row.row = (rcnn_row)((int32_t)spec->row + part);
        extent want = wanted_extent(b, &row);
        if (s->parts < spec->parts) { /* a native file holds the stacked layer */
            row.row = (rcnn_row)((int32_t)spec->row + 1);
            want.out += wanted_extent(b, &row).out;
        }
        if (!rcnn_tensor_resolve(b->table, b->naming, spec, part, &s->names[part])) {
            return fail_missing(b, s->names[part].conv, ".weight");
        }
        s->weight[part] = rcnn_tensor_find(b->table, s->names[part].conv, ".weight");
        const rcnn_shape shape = shape_of(kind, want);
        RCNN_TRY(rcnn_tensor_check_shape(s->weight[part], &shape, b->err));
        s->rows[part] = (int32_t)s->weight[part]->info.shape[kind == RCNN_LAYER_DECONV ? 1 : 0];
    }
    return RCNN_OK;
}

/* Allocates the layer that a source fills. */
static rcnn_status make_layer(builder *b, const rcnn_layer_spec *spec, const source *s, rcnn_layer *layer)
{
    const rcnn_tensor_info *info = &s->weight[0]->info;
    layer->kind = rcnn_names_kind(spec->row);
    rcnn_names_layer(spec, layer->name);
    for (int32_t part = 0; part < s->parts; part++) {
        layer->out += s->rows[part];
    }
    layer->in = (int32_t)info->shape[layer->kind == RCNN_LAYER_DECONV ? 0 : 1];
    layer->kh = info->rank == 4 ? (int32_t)info->shape[2] : 1;
    layer->kw = info->rank == 4 ? (int32_t)info->shape[3] : 1;
    layer->groups = spec->row == RCNN_ROW_CONV2 ? b->config->groups : 1;
    layer->stride = stride_of(b->config, spec);
    size_t weights, bytes;
    if (!rcnn_mul_size((size_t)layer->out, (size_t)layer->in, &weights) ||
        !rcnn_mul_size(weights, (size_t)layer->kh * (size_t)layer->kw, &weights) ||
        !rcnn_add_size(b->parameters, weights + (size_t)layer->out, &b->parameters) ||
        b->parameters > RCNN_MODEL_PARAMETERS_MAX || !rcnn_mul_size(weights, sizeof(float), &bytes)) {
        return rcnn_fail(b->err, RCNN_ERR_LIMIT, "model: layer '%s': want at most %zu parameters in all, got more",
                         layer->name, RCNN_MODEL_PARAMETERS_MAX);
    }
    layer->weights = rcnn_malloc_aligned(bytes);
    layer->bias = rcnn_calloc((size_t)layer->out, sizeof(float));
    if (!layer->weights || !layer->bias) {
        return rcnn_fail(b->err, RCNN_ERR_MEMORY, "model: layer '%s': out of memory for %zu bytes", layer->name, bytes);
    }
    return RCNN_OK;
}

/* --------------------------------------------------------------- reading */

/* Reads the vector base + suffix of `length` values. */
static rcnn_status read_vector(const builder *b, const char *base, const char *suffix, int32_t length, float *dst)
{
    rcnn_tensor_entry *entry = rcnn_tensor_find(b->table, base, suffix);
    if (!entry) {
        return fail_missing(b, base, suffix);
    }
    const rcnn_shape shape = {1, {length}};
    RCNN_TRY(rcnn_tensor_check_shape(entry, &shape, b->err));
    return rcnn_tensor_read(entry, dst, b->err);
}

void rcnn_fold_batch_norm(float *weights, float *bias, int32_t out, size_t per_filter, const float *const norm[4],
                          double eps)
{
    for (int32_t o = 0; o < out; o++) {
        const double scale = (double)norm[0][o] / sqrt((double)norm[3][o] + eps);
        float *filter = weights + (size_t)o * per_filter;
        for (size_t i = 0; i < per_filter; i++) {
            filter[i] = (float)((double)filter[i] * scale);
        }
        bias[o] = (float)((double)norm[1][o] + ((double)bias[o] - (double)norm[2][o]) * scale);
    }
}

static rcnn_status check_variance(const builder *b, const char *norm, const float *variance, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (variance[i] < 0 || (double)variance[i] + b->config->bn_eps <= 0) {
            return rcnn_fail(b->err, RCNN_ERR_FORMAT, "model: tensor '%s.running_var': want values %s 0, got %g at %d",
                             norm, b->config->bn_eps > 0 ? ">=" : "(bn_eps is 0) >", (double)variance[i], i);
        }
    }
    return RCNN_OK;
}

static rcnn_status fold_norm(const builder *b, const char *norm, rcnn_layer *layer)
{
    static const char *const suffixes[4] = {".weight", ".bias", ".running_mean", ".running_var"};
    if (!rcnn_tensor_find(b->table, norm, ".running_mean")) {
        return rcnn_fail(b->err, RCNN_ERR_UNSUPPORTED,
                         "model: want batch normalisation with '%s.running_mean', got a normalisation without", norm);
    }
    float *values = rcnn_calloc((size_t)layer->out, 4 * sizeof *values);
    if (!values) {
        return rcnn_fail(b->err, RCNN_ERR_MEMORY, "model: layer '%s': out of memory", layer->name);
    }
    rcnn_status status = RCNN_OK;
    const float *vectors[4];
    for (int32_t i = 0; i < 4 && status == RCNN_OK; i++) {
        float *at = values + (size_t)i * (size_t)layer->out;
        vectors[i] = at;
        status = read_vector(b, norm, suffixes[i], layer->out, at);
    }
    if (status == RCNN_OK) {
        status = check_variance(b, norm, vectors[3], layer->out);
    }
    if (status == RCNN_OK) {
        const size_t per_filter = rcnn_layer_weight_count(layer) / (size_t)layer->out;
        rcnn_fold_batch_norm(layer->weights, layer->bias, layer->out, per_filter, vectors, b->config->bn_eps);
    }
    rcnn_free(values);
    return status;
}

/* int8 codes of a native file times the scale of their output channel. */
static rcnn_status read_codes(const builder *b, const source *s, rcnn_layer *layer)
{
    float *scales = rcnn_calloc((size_t)layer->out, sizeof *scales);
    if (!scales) {
        return rcnn_fail(b->err, RCNN_ERR_MEMORY, "model: layer '%s': out of memory", layer->name);
    }
    rcnn_status status = rcnn_tensor_read_int8(s->weight[0], layer->weights, b->err);
    if (status == RCNN_OK) {
        status = read_vector(b, s->names[0].conv, RCNN_SCALE_SUFFIX, layer->out, scales);
    }
    if (status == RCNN_OK) {
        /* DECONV has its output channels second */
        const size_t outer = layer->kind == RCNN_LAYER_DECONV ? (size_t)layer->in : 1;
        const size_t inner = rcnn_layer_weight_count(layer) / outer / (size_t)layer->out;
        float *at = layer->weights;
        for (size_t i = 0; i < outer; i++) {
            for (int32_t o = 0; o < layer->out; o++) {
                for (size_t k = 0; k < inner; k++) {
                    *at++ *= scales[o];
                }
            }
        }
    }
    rcnn_free(scales);
    return status;
}

/* Reads the bias of a part, and the batch norm of a layer that has one; at least one of the two must be there. */
static rcnn_status read_bias(const builder *b, const rcnn_tensor_names *names, int32_t rows, float *bias,
                             rcnn_layer *layer)
{
    const bool normed = names->norm[0] && rcnn_tensor_find(b->table, names->norm, ".weight");
    const bool biased = rcnn_tensor_find(b->table, names->conv, ".bias") != NULL;
    if (!normed && !biased && names->norm[0]) {
        return rcnn_fail(b->err, RCNN_ERR_FORMAT, "model: want tensor '%s.weight' or '%s.bias', got neither",
                         names->norm, names->conv);
    }
    if (biased || !normed) {
        RCNN_TRY(read_vector(b, names->conv, ".bias", rows, bias));
    }
    return normed ? fold_norm(b, names->norm, layer) : RCNN_OK;
}

static rcnn_status read_layer(const builder *b, const source *s, rcnn_layer *layer)
{
    float *weights = layer->weights, *bias = layer->bias;
    const size_t per_row = rcnn_layer_weight_count(layer) / (size_t)layer->out;
    for (int32_t part = 0; part < s->parts; part++) {
        if (b->naming == RCNN_NAMING_NATIVE && s->weight[part]->info.dtype == RCNN_I8) {
            RCNN_TRY(read_codes(b, s, layer));
        } else {
            RCNN_TRY(rcnn_tensor_read(s->weight[part], weights, b->err));
        }
        RCNN_TRY(read_bias(b, &s->names[part], s->rows[part], bias, layer));
        weights += (size_t)s->rows[part] * per_row;
        bias += s->rows[part];
    }
    if (!rcnn_all_finite(layer->weights, rcnn_layer_weight_count(layer)) ||
        !rcnn_all_finite(layer->bias, (size_t)layer->out)) {
        return rcnn_fail(b->err, RCNN_ERR_NUMERIC,
                         "model: layer '%s' (tensor '%s.weight'): want finite values after "
                         "folding, got an overflow",
                         layer->name, s->names[0].conv);
    }
    return RCNN_OK;
}

/* -------------------------------------------------------------- the walk */

/* The first block of stage 1 may do without a shortcut when its width stays and nothing is strided. */
static bool may_be_absent(const builder *b, const rcnn_layer_spec *spec)
{
    rcnn_tensor_names names;
    return spec->row == RCNN_ROW_SHORTCUT && spec->stage == 1 && b->x == b->y &&
           !rcnn_tensor_resolve(b->table, b->naming, spec, 0, &names);
}

/* Carries the channel counts on to the next layer. */
static void advance(builder *b, const rcnn_layer_spec *spec, int32_t out, const rcnn_layer_spec *next)
{
    if (spec->row != RCNN_ROW_SHORTCUT) {
        b->y = out;
    }
    if (spec->row == RCNN_ROW_LATERAL) {
        b->fpn = out;
    }
    const bool block_ends =
        spec->row <= RCNN_ROW_SHORTCUT && next && (next->stage != spec->stage || next->block != spec->block);
    if (block_ends) {
        b->x = b->y;
        if (spec->stage > 0) {
            b->c[spec->stage - 1] = b->y;
        }
    }
}

static rcnn_status build_layer(builder *b, const rcnn_layer_spec *spec)
{
    source s;
    if (spec->row == RCNN_ROW_CONV2 && b->y % b->config->groups != 0) {
        return rcnn_fail(b->err, RCNN_ERR_FORMAT, "model: stage %d, block %d: want a multiple of %d channels, got %d",
                         spec->stage, spec->block, b->config->groups, b->y);
    }
    RCNN_TRY(find_source(b, spec, &s));
    rcnn_layer *layer = &b->layers[b->count];
    b->count++; /* counted first, so that a failure below frees what it holds */
    RCNN_TRY(make_layer(b, spec, &s, layer));
    if (spec->row == RCNN_ROW_CONV2 && layer->out % layer->groups != 0) {
        return rcnn_fail(b->err, RCNN_ERR_FORMAT, "model: tensor '%s.weight': want a multiple of %d outputs, got %d",
                         s.names[0].conv, layer->groups, layer->out);
    }
    return read_layer(b, &s, layer);
}

static rcnn_status build_all(builder *b, const rcnn_layer_spec *specs, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        const rcnn_layer_spec *next = i + 1 < count ? &specs[i + 1] : NULL;
        if (may_be_absent(b, &specs[i])) {
            advance(b, &specs[i], b->y, next);
            continue;
        }
        RCNN_TRY(build_layer(b, &specs[i]));
        advance(b, &specs[i], b->layers[b->count - 1].out, next);
    }
    return RCNN_OK;
}

rcnn_status rcnn_layers_build(const rcnn_config *config, const rcnn_tensor_table *table, rcnn_naming naming,
                              rcnn_layer **layers, int32_t *count, rcnn_error *err)
{
    builder b = {.config = config, .table = table, .naming = naming, .err = err};
    rcnn_layer_spec *specs;
    int32_t spec_count;
    RCNN_TRY(rcnn_names_list(config, &specs, &spec_count, err));
    b.layers = rcnn_calloc((size_t)spec_count, sizeof *b.layers);
    rcnn_status status = b.layers ? build_all(&b, specs, spec_count)
                                  : rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for %d layers", spec_count);
    rcnn_free(specs);
    *layers = b.layers;
    *count = b.count;
    return status;
}

void rcnn_layers_free(rcnn_layer *layers, int32_t count)
{
    for (int32_t i = 0; layers && i < count; i++) {
        rcnn_free(layers[i].weights);
        rcnn_free(layers[i].bias);
    }
    rcnn_free(layers);
}
