/* rcnn_model: config + fp32 layers with batch norm folded, in canonical names and order. Immutable after load and
 * reference counted: sessions hold a reference, so any number of threads share one copy of the weights.
 *
 * Canonical layers (b = block, i,l from 0), weights OIHW, every layer with a bias:
 *   backbone.stem                      backbone.layer{1..4}.{b}.conv{1..3}   backbone.layer{1..4}.{b}.shortcut
 *   fpn.lateral{l}  fpn.output{l}      rpn.conv{i}     rpn.pred   (3 objectness rows, then 12 delta rows)
 *   box.conv{i}  box.fc{i}             box.pred   (K+1 class rows, then 4K or 4(K+1) or 4 delta rows)
 *   mask.conv{i}  mask.deconv (weights IOHW, as ConvTranspose2d)  mask.logits
 * box.fc0 takes the RoI feature flattened as c*49 + y*7 + x, as in all three frameworks. */
#ifndef RCNN_MODEL_MODEL_H
#define RCNN_MODEL_MODEL_H

#include <stdatomic.h>

#include "model/config.h"

typedef enum rcnn_layer_kind { RCNN_LAYER_CONV, RCNN_LAYER_FC, RCNN_LAYER_DECONV } rcnn_layer_kind;

#define RCNN_LAYER_NAME_MAX 64

typedef struct rcnn_layer {
    char name[RCNN_LAYER_NAME_MAX];
    rcnn_layer_kind kind;
    int32_t out, in; /* output channels, input channels per group (all inputs for FC and DECONV) */
    int32_t kh, kw;  /* 1,1 for FC                                                               */
    int32_t groups, stride;
    float *weights; /* CONV [out][in][kh][kw], FC [out][in], DECONV [in][out][kh][kw]           */
    float *bias;    /* [out]                                                                    */
} rcnn_layer;

/* How an activation is stored in int8 plans, by the name of its value in the graph. */
typedef struct rcnn_activation {
    char value[RCNN_LAYER_NAME_MAX];
    float scale; /* real = stored * scale; 0: stays in floating point */
    int32_t is_signed;
    char method[16]; /* "minmax", "percentile", "entropy", "float"; "unknown" in a file without record */
    float min, max, error, sensitivity; /* as in rcnn_activation_info; 0 in a file without record */
} rcnn_activation;

struct rcnn_model {
    atomic_int references;
    rcnn_config config;
    rcnn_config_sources sources;
    rcnn_layer *layers;
    int32_t layer_count;
    char **class_names;           /* [config.class_count]                              */
    int32_t *category_ids;        /* [config.class_count]                              */
    rcnn_activation *activations; /* [activation_count], calibrated models */
    int32_t activation_count;
    int32_t calibration_images;
    char *calibration; /* record of the calibration as JSON, or NULL */
    char *config_json;
    char *config_text[RCNN_CONFIG_KEY_COUNT];
};

/* The layer of that canonical name, or NULL. */
const rcnn_layer *rcnn_model_layer(const rcnn_model *model, const char *name);
void rcnn_model_retain(const rcnn_model *model);
/* NULL when the model has none for the value. */
const rcnn_activation *rcnn_model_activation(const rcnn_model *model, const char *value);

#endif
