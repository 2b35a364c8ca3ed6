/* The layers of Mask R-CNN R50-FPN (He et al. 2017, with the FPN of Lin et al. 2017), 80 classes. */
#include "network.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define NETWORK_LAYERS_MAX 96

typedef struct shape {
    rcnn_layer_kind kind;
    int32_t out, in, kernel, stride;
} shape;

static void add(rcnn_model *model, const char *name, shape s)
{
    rcnn_layer *layer = &model->layers[model->layer_count++];
    snprintf(layer->name, sizeof layer->name, "%s", name);
    layer->kind = s.kind;
    layer->out = s.out;
    layer->in = s.in;
    layer->kh = s.kernel;
    layer->kw = s.kernel;
    layer->groups = 1;
    layer->stride = s.stride;
}

static void add_conv(rcnn_model *model, const char *name, int32_t out, int32_t in, int32_t kernel, int32_t stride)
{
    add(model, name, (shape){RCNN_LAYER_CONV, out, in, kernel, stride});
}

static void add_backbone(rcnn_model *model)
{
    char name[RCNN_LAYER_NAME_MAX];
    int32_t in = 64;
    add_conv(model, "backbone.stem", 64, 3, 7, 2);
    for (int32_t stage = 1; stage <= 4; stage++) {
        const int32_t width = 32 << stage;
        for (int32_t block = 0; block < model->config.blocks[stage - 1]; block++) {
            const int32_t stride = block == 0 && stage > 1 ? 2 : 1;
            const shape conv[3] = {{RCNN_LAYER_CONV, width, in, 1, 1},
                                   {RCNN_LAYER_CONV, width, width, 3, stride},
                                   {RCNN_LAYER_CONV, 4 * width, width, 1, 1}};
            for (int32_t i = 0; i < 3; i++) {
                snprintf(name, sizeof name, "backbone.layer%d.%d.conv%d", stage, block, i + 1);
                add(model, name, conv[i]);
            }
            if (block == 0) {
                snprintf(name, sizeof name, "backbone.layer%d.%d.shortcut", stage, block);
                add_conv(model, name, 4 * width, in, 1, stride);
            }
            in = 4 * width;
        }
    }
}

static void add_heads(rcnn_model *model)
{
    char name[RCNN_LAYER_NAME_MAX];
    const int32_t classes = model->config.class_count;
    for (int32_t level = 0; level < 4; level++) {
        snprintf(name, sizeof name, "fpn.lateral%d", level);
        add_conv(model, name, 256, 256 << level, 1, 1);
        snprintf(name, sizeof name, "fpn.output%d", level);
        add_conv(model, name, 256, 256, 3, 1);
    }
    add_conv(model, "rpn.conv0", 256, 256, 3, 1);
    add_conv(model, "rpn.pred", 15, 256, 1, 1);
    add(model, "box.fc0", (shape){RCNN_LAYER_FC, 1024, 256 * 7 * 7, 1, 1});
    add(model, "box.fc1", (shape){RCNN_LAYER_FC, 1024, 1024, 1, 1});
    add(model, "box.pred", (shape){RCNN_LAYER_FC, classes + 1 + 4 * classes, 1024, 1, 1});
    for (int32_t i = 0; i < model->config.mask_convs; i++) {
        snprintf(name, sizeof name, "mask.conv%d", i);
        add_conv(model, name, 256, 256, 3, 1);
    }
    add(model, "mask.deconv", (shape){RCNN_LAYER_DECONV, 256, 256, 2, 2});
    add_conv(model, "mask.logits", classes, 256, 1, 1);
}

rcnn_status network_r50_fpn(rcnn_model *model, rcnn_error *err)
{
    memset(model, 0, sizeof *model);
    rcnn_config_init(&model->config); /* R50-FPN, 80 classes */
    model->layers = rcnn_calloc(NETWORK_LAYERS_MAX, sizeof *model->layers);
    if (!model->layers) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "bench: out of memory");
    }
    add_backbone(model);
    add_heads(model);
    return RCNN_OK;
}

void network_free(rcnn_model *model)
{
    rcnn_free(model->layers);
    memset(model, 0, sizeof *model);
}
