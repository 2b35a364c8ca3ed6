/* State dicts made in memory: a list of float tensors that becomes safetensors bytes, and a maker of thin networks in
 * any framework's names. Beside every tensor the maker works out, on its own, what the loaded layer must hold. */
#ifndef RCNN_TESTS_STATE_DICT_H
#define RCNN_TESTS_STATE_DICT_H

#include "model/names.h"

#define STATE_DICT_TENSORS_MAX 512
#define STATE_DICT_META_MAX    8

typedef struct dict_tensor {
    char name[RCNN_TENSOR_NAME_MAX + 32];
    int32_t rank;
    int64_t shape[4];
    size_t count;
    float *data;
} dict_tensor;

typedef struct dict_layer { /* what a canonical layer must be after loading */
    char name[RCNN_LAYER_NAME_MAX];
    int32_t out, stride, groups;
    size_t weight_count;
    double *weights, *bias;
} dict_layer;

typedef struct state_dict {
    dict_tensor tensors[STATE_DICT_TENSORS_MAX];
    int32_t tensor_count;
    const char *meta[STATE_DICT_META_MAX][2];
    int32_t meta_count;
    dict_layer layers[STATE_DICT_TENSORS_MAX];
    int32_t layer_count;
    uint64_t seed;
    char *bytes; /* of the last state_dict_open */
} state_dict;

typedef struct thin_network { /* what to make; widths are fixed and small */
    rcnn_naming naming;
    rcnn_config
        config;      /* block, blocks, groups, counts, class_count, masks, agnostic, style, background_first, bn_eps */
    bool head_norms; /* torchvision v2: batch norm in pyramid and heads; RPN convolutions keep their bias */
    bool stage1_plain; /* no shortcut in stage 1 (basic blocks) */
} thin_network;

/* All functions end the program when they fail: they are the test's own tools. */
state_dict *state_dict_new(void);
void state_dict_free(state_dict *dict);
dict_tensor *state_dict_add(state_dict *dict, const char *name, int32_t rank, const int64_t *shape);
void state_dict_meta(state_dict *dict, const char *key, const char *value);
dict_tensor *state_dict_find(state_dict *dict, const char *name);
void state_dict_remove(state_dict *dict, const char *name);
/* The dict as an open weights file; lives until the next open or state_dict_free. */
rcnn_weights *state_dict_open(state_dict *dict);

/* Fills an empty dict with a thin network of random weights. */
void state_dict_make(state_dict *dict, const thin_network *network);
/* A bottleneck network of one block per stage with masks and 3 classes. */
thin_network thin_network_of(rcnn_naming naming);

#endif
