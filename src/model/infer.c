/* Inference of the network. Three tables do most of the work: what other detectors look like, what tells the namings
 * apart, and which layers are counted. */
#include "model/infer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/mmdet_text.h"

/* -------------------------------------------------------------- refusals */

/* Tensor names of networks that look alike but are not what this library computes; '*' stands for any characters. The
 * first pattern that any tensor fits decides, so that the more telling ones come first. */
static const struct refusal {
    const char *pattern, *what;
} REFUSALS[] = {
    {"conv1_w", "a Caffe2 Detectron file (blob names); convert it with detectron2 first"},
    {"res2_0_branch2a_w", "a Caffe2 Detectron file (blob names); convert it with detectron2 first"},
    {"roi_head.bbox_head.0.*", "a Cascade R-CNN or HTC of mmdetection (several box heads)"},
    {"roi_head.mask_head.0.*", "a cascade of mask heads of mmdetection"},
    {"roi_head.point_head.*", "a PointRend network of mmdetection"},
    {"roi_head.grid_head.*", "a Grid R-CNN of mmdetection"},
    {"roi_head.mask_iou_head.*", "a Mask Scoring R-CNN of mmdetection"},
    {"roi_head.bbox_head.fc_branch.*", "a Double-Head R-CNN of mmdetection"},
    {"roi_head.bbox_head.cls_*s.*", "a box head with separate class and box branches"},
    {"roi_head.bbox_head.reg_*s.*", "a box head with separate class and box branches"},
    {"roi_head.shared_head.*", "an R-CNN without a pyramid (C4) of mmdetection"},
    {"neck.downsample_convs.*", "a network with a PAFPN neck"},
    {"neck.pafpn_convs.*", "a network with a PAFPN neck"},
    {"neck.0.*", "a network with a neck of several parts"},
    {"bbox_head.fc_cls.*", "a checkpoint of mmdetection 1.x (no 'roi_head.' in its names); upgrade it with "
                           "mmdetection's tools/model_converters/upgrade_model_version.py"},
    {"bbox_head.0.*", "a Cascade R-CNN of mmdetection 1.x"},
    {"bbox_head.retina_cls.*", "a RetinaNet of mmdetection"},
    {"bbox_head.multi_level_*", "a YOLOX or RTMDet of mmdetection"},
    {"bbox_head.convs_bridge.*", "a YOLOv3 of mmdetection"},
    {"bbox_head.conv_centerness.*", "an FCOS of mmdetection"},
    {"bbox_head.transformer.*", "a DETR of mmdetection"},
    {"bbox_head.*", "a single-stage detector of mmdetection"},
    {"mask_head.*", "a box-free instance segmenter of mmdetection (SOLO or the like)"},
    {"transformer.*", "a DETR-like network"},
    {"model.transformer.*", "a DETR-like network"},
    {"head.classification_head.*", "a single-stage detector of torchvision (RetinaNet, FCOS or SSD)"},
    {"head.cls_score.*", "a RetinaNet of detectron2"},
    {"roi_heads.box_predictor.0.*", "a Cascade R-CNN of detectron2"},
    {"roi_heads.res5.*", "an R-CNN without a pyramid (C4) of detectron2"},
    {"roi_heads.mask_point_head.*", "a PointRend network of detectron2"},
    {"roi_heads.mask_head.point_head.*", "a PointRend network of detectron2"},
    {"model.0.*", "a YOLO of the ultralytics kind"},
    {"model.model.0.*", "a YOLO of the ultralytics kind"},
    {"*.gn.weight", "a network with group normalisation"},
    {"*.gn1.weight", "a network with group normalisation"},
    {"*conv_offset*", "a network with deformable convolutions"},
    {"*conv2_offset*", "a network with deformable convolutions"},
    {"*.context_block*", "a GCNet"},
    {"backbone.layer1.*.convs.*", "a Res2Net"},
    {"backbone.layer1.*.rsoftmax*", "a ResNeSt"},
    {"backbone.stem.*", "a ResNet with a deep stem (ResNetV1d, ResNeSt or the like)"},
    {"backbone*patch_embed.*", "a vision transformer (Swin, ViT)"},
    {"backbone.net.*", "a vision transformer (ViTDet)"},
    {"backbone.downsample_layers.*", "a network with a ConvNeXt backbone"},
    {"backbone.transition1.*", "a network with an HRNet backbone"},
    {"backbone.features.*", "a network with a VGG or MobileNet backbone"},
    {"backbone.body.0.*", "a network with a MobileNet backbone"},
    {"layer1.0.conv1.weight", "a bare ResNet without detection heads"},
    {"res2.0.conv1.weight", "a bare ResNet without detection heads"},
};

/* Iterative '*' matching: on a mismatch the last star takes one more character. */
static bool fits(const char *pattern, const char *name)
{
    const char *star = NULL, *from = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            from = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

static const rcnn_tensor_entry *find_pattern(const rcnn_tensor_table *table, const char *pattern)
{
    for (int32_t i = 0; i < table->count; i++) {
        if (fits(pattern, table->entries[i].info.name)) {
            return &table->entries[i];
        }
    }
    return NULL;
}

static rcnn_status refuse_others(const rcnn_tensor_table *table, rcnn_error *err)
{
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        const rcnn_tensor_entry *entry = find_pattern(table, REFUSALS[i].pattern);
        if (entry) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                             "model: want a Faster or Mask R-CNN with FPN, got %s (tensor '%s')", REFUSALS[i].what,
                             entry->info.name);
        }
    }
    return RCNN_OK;
}

/* ---------------------------------------------------- naming and family */

static rcnn_status find_naming(const rcnn_tensor_table *table, rcnn_naming *naming, rcnn_error *err)
{
    static const rcnn_naming candidates[] = {RCNN_NAMING_MMDET, RCNN_NAMING_TORCHVISION, RCNN_NAMING_DETECTRON2};
    const rcnn_layer_spec stem = rcnn_names_spec(RCNN_ROW_STEM, 0, 0);
    rcnn_tensor_names names;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (rcnn_tensor_resolve(table, candidates[i], &stem, 0, &names)) {
            *naming = candidates[i];
            return RCNN_OK;
        }
    }
    return rcnn_fail(
        err, RCNN_ERR_UNSUPPORTED,
        "model: want tensor names of mmdetection, torchvision, detectron2 or a native file, got %d tensors "
        "such as '%s'",
        table->count, table->count ? table->entries[0].info.name : "");
}

static const char *first_meta(const rcnn_weights *weights, const char *const *keys)
{
    for (; *keys; keys++) {
        const char *value = rcnn_weights_meta(weights, *keys);
        if (value) {
            return value;
        }
    }
    return NULL;
}

static bool has_meta_prefix(const rcnn_weights *weights, const char *prefix)
{
    const char *key, *value;
    for (int32_t i = 0; i < rcnn_weights_meta_count(weights); i++) {
        if (rcnn_weights_meta_get(weights, i, &key, &value) == RCNN_OK && strncmp(key, prefix, strlen(prefix)) == 0) {
            return true;
        }
    }
    return false;
}

/* 2.x writes meta.mmdet_version, 3.x runs under mmengine, which writes meta.cfg and meta.dataset_meta instead. */
static rcnn_status mmdet_family(const rcnn_weights *weights, rcnn_family *family, rcnn_error *err)
{
    static const char *const version_keys[] = {"meta.mmdet_version", "mmdet_version", NULL};
    const char *version = first_meta(weights, version_keys);
    const long major = version ? strtol(version, NULL, 10) : 0; /* saturates; a file may say anything */
    if (version && major == 1) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "model: want mmdetection 2.x or 3.x, got version %.20s", version);
    }
    const bool engine = has_meta_prefix(weights, "meta.dataset_meta") || has_meta_prefix(weights, "meta.mmengine") ||
                        rcnn_weights_meta(weights, "meta.cfg");
    *family = major >= 3 || (major == 0 && engine) ? RCNN_FAMILY_MMDET3 : RCNN_FAMILY_MMDET2;
    return RCNN_OK;
}

static const char *mmdet_text(const rcnn_weights *weights)
{
    static const char *const keys[] = {"meta.config", "meta.cfg", "config", "cfg", NULL};
    return first_meta(weights, keys);
}

/* --------------------------------------------------------------- network */

typedef struct inference {
    const rcnn_tensor_table *table;
    rcnn_naming naming;
    rcnn_config *config;
    rcnn_config_sources *sources;
    rcnn_error *err;
} inference;

static void mark(inference *in, rcnn_config_key key, rcnn_config_source source)
{
    in->sources->of[key] = (uint8_t)source;
}

/* Weight tensor of a layer's part, or NULL; names gets what it is (or would be) called. */
static const rcnn_tensor_entry *weight_of(const inference *in, rcnn_layer_spec spec, int32_t part,
                                          rcnn_tensor_names *names)
{
    return rcnn_tensor_resolve(in->table, in->naming, &spec, part, names)
               ? rcnn_tensor_find(in->table, names->conv, ".weight")
               : NULL;
}

static bool has_layer(const inference *in, rcnn_layer_spec spec)
{
    rcnn_tensor_names names;
    return weight_of(in, spec, 0, &names) != NULL;
}

/* Output rows of a part that must be there. */
static rcnn_status rows_of(const inference *in, rcnn_layer_spec spec, int32_t part, int32_t rank, int32_t *rows)
{
    rcnn_tensor_names names;
    const rcnn_tensor_entry *entry = weight_of(in, spec, part, &names);
    if (!entry) {
        return rcnn_fail(in->err, RCNN_ERR_FORMAT, "model: want tensor '%s.weight', got none", names.conv);
    }
    const rcnn_shape any = {.rank = rank};
    RCNN_TRY(rcnn_tensor_check_shape(entry, &any, in->err));
    *rows = (int32_t)entry->info.shape[0];
    return RCNN_OK;
}

static void infer_blocks(inference *in)
{
    for (int32_t stage = 1; stage <= 4; stage++) {
        int32_t blocks = 0;
        while (blocks < 1024 && has_layer(in, rcnn_names_block_spec(RCNN_ROW_CONV1, stage, blocks))) {
            blocks++;
        }
        in->config->blocks[stage - 1] = blocks;
    }
    const bool bottleneck = has_layer(in, rcnn_names_block_spec(RCNN_ROW_CONV3, 1, 0));
    in->config->block = bottleneck ? RCNN_BLOCK_BOTTLENECK : RCNN_BLOCK_BASIC;
    mark(in, RCNN_CONFIG_blocks, RCNN_SOURCE_INFERRED);
    mark(in, RCNN_CONFIG_block, RCNN_SOURCE_INFERRED);
}

/* A grouped 3x3 convolution has fewer inputs per filter than the 1x1 before it has outputs. */
static rcnn_status infer_groups(inference *in)
{
    if (in->config->block == RCNN_BLOCK_BASIC) {
        return RCNN_OK;
    }
    rcnn_tensor_names names;
    const rcnn_tensor_entry *conv2 = weight_of(in, rcnn_names_block_spec(RCNN_ROW_CONV2, 1, 0), 0, &names);
    int32_t planes = 0;
    RCNN_TRY(rows_of(in, rcnn_names_block_spec(RCNN_ROW_CONV1, 1, 0), 0, 4, &planes));
    const int64_t per_group = conv2 && conv2->info.rank == 4 ? conv2->info.shape[1] : 0;
    if (per_group > 0 && per_group <= planes && planes % per_group == 0) { /* else the shape check will speak */
        in->config->groups = (int32_t)(planes / per_group);
        mark(in, RCNN_CONFIG_groups, RCNN_SOURCE_INFERRED);
    }
    return RCNN_OK;
}

static void infer_counts(inference *in)
{
    rcnn_config *c = in->config;
    const struct {
        rcnn_row row;
        rcnn_config_key key;
        int32_t *count;
    } heads[] = {{RCNN_ROW_RPN_CONV, RCNN_CONFIG_rpn_convs, &c->rpn_convs},
                 {RCNN_ROW_BOX_CONV, RCNN_CONFIG_box_convs, &c->box_convs}, /* before the fcs, whose names need it */
                 {RCNN_ROW_BOX_FC, RCNN_CONFIG_box_fcs, &c->box_fcs},
                 {RCNN_ROW_MASK_CONV, RCNN_CONFIG_mask_convs, &c->mask_convs}};
    for (size_t h = 0; h < sizeof heads / sizeof heads[0]; h++) {
        int32_t count = 0;
        while (count < 64 && has_layer(in, rcnn_names_spec(heads[h].row, count, c->box_convs))) {
            count++;
        }
        if (count > 0 || heads[h].row == RCNN_ROW_BOX_CONV || heads[h].row == RCNN_ROW_MASK_CONV) {
            *heads[h].count = count; /* an RPN or box head without any is reported as a missing tensor */
            mark(in, heads[h].key, RCNN_SOURCE_INFERRED);
        }
    }
}

static rcnn_status infer_classes(inference *in)
{
    rcnn_config *c = in->config;
    const rcnn_layer_spec box = rcnn_names_spec(RCNN_ROW_BOX_SCORES, 0, 0);
    int32_t scores = 0, deltas = 0;
    RCNN_TRY(rows_of(in, box, 0, 2, &scores));
    RCNN_TRY(rows_of(in, box, 1, 2, &deltas));
    c->class_count = scores - 1;
    c->agnostic_box = deltas == 4 && c->class_count + c->background_first != 1;
    mark(in, RCNN_CONFIG_class_count, RCNN_SOURCE_INFERRED);
    mark(in, RCNN_CONFIG_agnostic_box, RCNN_SOURCE_INFERRED);
    return RCNN_OK;
}

static rcnn_status infer_mask(inference *in)
{
    rcnn_config *c = in->config;
    const rcnn_layer_spec logits = rcnn_names_spec(RCNN_ROW_LOGITS, 0, 0);
    c->has_mask = has_layer(in, logits) || has_layer(in, rcnn_names_spec(RCNN_ROW_DECONV, 0, 0));
    mark(in, RCNN_CONFIG_has_mask, RCNN_SOURCE_INFERRED);
    if (c->has_mask) {
        int32_t rows = 0;
        RCNN_TRY(rows_of(in, logits, 0, 4, &rows));
        c->agnostic_mask = rows == 1 && c->class_count + c->background_first != 1;
        mark(in, RCNN_CONFIG_agnostic_mask, RCNN_SOURCE_INFERRED);
    }
    return RCNN_OK;
}

/* The first fully connected layer takes channels * bins^2 inputs. */
static void infer_box_pool(inference *in)
{
    rcnn_config *c = in->config;
    rcnn_tensor_names names;
    const rcnn_layer_spec before =
        c->box_convs ? rcnn_names_spec(RCNN_ROW_BOX_CONV, c->box_convs - 1, 0) : rcnn_names_spec(RCNN_ROW_OUTPUT, 0, 0);
    const rcnn_tensor_entry *conv = weight_of(in, before, 0, &names);
    const rcnn_tensor_entry *fc = weight_of(in, rcnn_names_spec(RCNN_ROW_BOX_FC, 0, c->box_convs), 0, &names);
    if (!conv || !fc || conv->info.rank != 4 || fc->info.rank != 2 || conv->info.shape[0] < 1 ||
        fc->info.shape[1] % conv->info.shape[0] != 0) {
        return;
    }
    const int64_t bins = fc->info.shape[1] / conv->info.shape[0];
    const int32_t side = (int32_t)lround(sqrt((double)(bins < 65536 ? bins : 65536)));
    if (side > 0 && (int64_t)side * side == bins) {
        c->box_pool = side;
        mark(in, RCNN_CONFIG_box_pool, RCNN_SOURCE_INFERRED);
    }
}

/* --------------------------------------------------------- pixels, style */

static bool read_pixels(const rcnn_tensor_table *table, const char *name, double out[3])
{
    rcnn_tensor_entry *entry = rcnn_tensor_find(table, name, "");
    float values[3];
    if (!entry || entry->info.rank < 1 || entry->info.shape[0] != 3 ||
        (entry->info.rank > 1 && entry->info.shape[1] != 1) || (entry->info.rank > 2 && entry->info.shape[2] != 1) ||
        entry->info.rank > 3 || rcnn_tensor_read(entry, values, NULL) != RCNN_OK) {
        return false;
    }
    for (int32_t i = 0; i < 3; i++) {
        /* 103.53 was rounded to float32 when it was stored: take the short decimal back where it is the same float. */
        const double shorter = round((double)values[i] * 1000) / 1000;
        out[i] = (float)shorter == values[i] ? shorter : (double)values[i];
    }
    return true;
}

/* detectron2's MSRA weights (stride in the first 1x1) come with a std of 1; weights from torchvision or the ResNeXt ones
 * (stride in the 3x3) with a real std, and the former also read RGB: their red mean, the largest, stands first. */
static void infer_detectron2_pixels(inference *in, double mean[3], double std[3], bool *has_mean, bool *has_std)
{
    static const double resnext_std[3] = {57.375, 57.12, 58.395};
    *has_mean = read_pixels(in->table, "pixel_mean", mean);
    *has_std = read_pixels(in->table, "pixel_std", std);
    if (!*has_std) {
        const bool grouped = in->config->groups > 1;
        for (int32_t i = 0; i < 3; i++) {
            std[i] = grouped ? resnext_std[i] : 1;
        }
    }
}

static void apply_detectron2(inference *in)
{
    double mean[3], std[3];
    bool has_mean, has_std;
    infer_detectron2_pixels(in, mean, std, &has_mean, &has_std);
    const bool unit = fabs(std[0] - 1) < 1e-3 && fabs(std[1] - 1) < 1e-3 && fabs(std[2] - 1) < 1e-3;
    rcnn_config_apply_family(in->config, RCNN_FAMILY_DETECTRON2, unit ? RCNN_STYLE_CAFFE : RCNN_STYLE_PYTORCH);
    if (has_std || !unit) {
        memcpy(in->config->std, std, sizeof in->config->std);
        mark(in, RCNN_CONFIG_std, has_std ? RCNN_SOURCE_FILE : RCNN_SOURCE_INFERRED);
        mark(in, RCNN_CONFIG_style, RCNN_SOURCE_INFERRED);
    }
    if (has_mean) {
        memcpy(in->config->mean, mean, sizeof in->config->mean);
        mark(in, RCNN_CONFIG_mean, RCNN_SOURCE_FILE);
        in->config->channel_order = mean[0] > mean[2] ? RCNN_CHANNELS_RGB : RCNN_CHANNELS_BGR;
        mark(in, RCNN_CONFIG_channel_order, RCNN_SOURCE_INFERRED);
    }
}

static void apply_mmdet(inference *in, rcnn_family family)
{
    const char *text = mmdet_text(in->table->weights);
    rcnn_style style = RCNN_STYLE_PYTORCH;
    if (text && rcnn_mmdet_text_style(text, &style)) {
        mark(in, RCNN_CONFIG_style, RCNN_SOURCE_FILE);
    }
    rcnn_config_apply_family(in->config, family, style);
    if (text) {
        rcnn_mmdet_text_read(text, in->config, in->sources);
    }
}

/* The published torchvision v1 files were trained with batch norm without epsilon. They carry the old RPN names and no
 * batch counters (spec 13.12). */
static void infer_torchvision_eps(inference *in)
{
    const bool old_rpn = rcnn_tensor_find(in->table, "rpn.head.conv", ".weight") != NULL;
    if (old_rpn && !find_pattern(in->table, "*num_batches_tracked")) {
        in->config->bn_eps = 0;
        mark(in, RCNN_CONFIG_bn_eps, RCNN_SOURCE_INFERRED);
    }
}

static rcnn_status infer_network(inference *in)
{
    infer_blocks(in);
    RCNN_TRY(infer_groups(in));
    infer_counts(in);
    RCNN_TRY(infer_classes(in));
    RCNN_TRY(infer_mask(in));
    infer_box_pool(in);
    return RCNN_OK;
}

rcnn_status rcnn_infer(const rcnn_tensor_table *table, rcnn_naming *naming, rcnn_config *config,
                       rcnn_config_sources *sources, rcnn_error *err)
{
    inference in = {.table = table, .config = config, .sources = sources, .err = err};
    RCNN_TRY(refuse_others(table, err));
    RCNN_TRY(find_naming(table, &in.naming, err));
    rcnn_family family = RCNN_FAMILY_DETECTRON2;
    if (in.naming == RCNN_NAMING_MMDET) {
        RCNN_TRY(mmdet_family(table->weights, &family, err));
    } else if (in.naming == RCNN_NAMING_TORCHVISION) {
        family = RCNN_FAMILY_TORCHVISION;
    }
    rcnn_config_init(config);
    memset(sources, RCNN_SOURCE_DEFAULT, sizeof *sources);
    config->background_first = family == RCNN_FAMILY_TORCHVISION;
    mark(&in, RCNN_CONFIG_family, RCNN_SOURCE_INFERRED);
    RCNN_TRY(infer_network(&in));
    if (family == RCNN_FAMILY_DETECTRON2) {
        apply_detectron2(&in);
    } else if (family == RCNN_FAMILY_TORCHVISION) {
        rcnn_config_apply_family(config, family, RCNN_STYLE_PYTORCH);
        infer_torchvision_eps(&in);
    } else {
        apply_mmdet(&in, family);
    }
    *naming = in.naming;
    return RCNN_OK;
}
