/* Finds the state dict in a checkpoint's object graph and adds its tensors in the order the file has them. */
#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define KEYS_SHOWN 6 /* top-level keys named when there is no state dict */

/* Where mmdetection and the PyTorch tutorials, torchvision and detectron2 put the weights. */
static const char *const STATE_KEYS[] = {"state_dict", "model", "model_state_dict"};

bool rcnn_node_is_tensor(const rcnn_node *node)
{
    static const char *const REBUILDERS[] = {"torch._utils._rebuild_", "torch._tensor._rebuild_"};
    switch (rcnn_call_meaning(node)) {
    case RCNN_MEANS_TENSOR:
    case RCNN_MEANS_PARAMETER:
    case RCNN_MEANS_FROM_TYPE:
    case RCNN_MEANS_NUMPY_ARRAY:
    case RCNN_MEANS_NUMPY_BUFFER:
        return true;
    default:
        break;
    }
    for (size_t i = 0; i < sizeof REBUILDERS / sizeof REBUILDERS[0]; i++) {
        if (node->kind == RCNN_NODE_CALL && node->call.callable->kind == RCNN_NODE_GLOBAL &&
            strncmp(node->call.callable->name, REBUILDERS[i], strlen(REBUILDERS[i])) == 0) {
            return true; /* quantised, sparse, ...: a tensor, and refused by name when it is read */
        }
    }
    return false;
}

static bool holds_tensors(const rcnn_node *dict)
{
    for (uint32_t i = 0; dict && i < dict->count; i++) {
        if (rcnn_node_is_tensor(dict->list.items[2 * (size_t)i + 1])) {
            return true;
        }
    }
    return false;
}

/* --------------------------------------------------------------- state dict */

static rcnn_status fail_no_state(const rcnn_checkpoint *c, const rcnn_node *top, rcnn_error *err)
{
    rcnn_text keys = {0};
    for (uint32_t i = 0, shown = 0; i < top->count && shown < KEYS_SHOWN; i++) {
        const rcnn_node *key = top->list.items[2 * (size_t)i];
        if (key->kind == RCNN_NODE_TEXT) {
            int length = key->text.length < 32 ? (int)key->text.length : 32;
            rcnn_text_printf(&keys, "%s%.*s", shown > 0 ? ", " : "", length, (const char *)key->text.bytes);
            shown++;
        }
    }
    rcnn_status status = rcnn_fail(err, RCNN_ERR_FORMAT,
                                   "%s: want a dictionary of tensors at the top or under 'state_dict' or 'model', got "
                                   "one of %u entries without tensors (%s)",
                                   c->weights->what, top->count, keys.data ? keys.data : "no text keys");
    rcnn_text_free(&keys);
    return status;
}

static rcnn_status find_state(const rcnn_checkpoint *c, rcnn_node *root, rcnn_node **top, rcnn_node **state,
                              rcnn_error *err)
{
    char text[RCNN_PICKLE_NAME_MAX + 64];
    *top = rcnn_node_dict(root);
    if (!*top) {
        rcnn_status status = root->kind == RCNN_NODE_CALL ? RCNN_ERR_UNSUPPORTED : RCNN_ERR_FORMAT;
        return rcnn_fail(err, status, "%s: the file holds %.300s, want a dictionary of tensors (nothing was executed)",
                         c->weights->what, rcnn_node_describe(root, text, sizeof text));
    }
    if (rcnn_dict_get(*top, "blobs")) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: Caffe2 Detectron files ('blobs') are not supported",
                         c->weights->what);
    }
    for (size_t i = 0; i < sizeof STATE_KEYS / sizeof STATE_KEYS[0]; i++) {
        *state = rcnn_node_dict(rcnn_dict_get(*top, STATE_KEYS[i]));
        if (holds_tensors(*state)) {
            return RCNN_OK;
        }
    }
    *state = *top;
    return holds_tensors(*top) ? RCNN_OK : fail_no_state(c, *top, err);
}

static bool has_suffix(const rcnn_node *key, const char *suffix)
{
    size_t length = strlen(suffix);
    return key->text.length >= length && memcmp(key->text.bytes + key->text.length - length, suffix, length) == 0;
}

static rcnn_status add_tensor(rcnn_checkpoint *c, const rcnn_node *key, rcnn_node *value, rcnn_error *err)
{
    rcnn_tensor_info info = {0};
    if (has_suffix(key, "_branch2a_w")) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: Caffe2 weights (blob '%.*s') are not supported",
                         c->weights->what, (int)key->text.length, (const char *)key->text.bytes);
    }
    snprintf(c->tensor, sizeof c->tensor, "%.*s", (int)key->text.length, (const char *)key->text.bytes);
    rcnn_meaning meaning = rcnn_call_meaning(value);
    if (meaning == RCNN_MEANS_NUMPY_ARRAY || meaning == RCNN_MEANS_NUMPY_BUFFER) {
        RCNN_TRY(rcnn_numpy_tensor(c, value, &info, err));
    } else {
        RCNN_TRY(rcnn_torch_tensor(c, value, &info, err));
    }
    return rcnn_weights_add_tensor(c->weights, key->text.bytes, key->text.length, &info, err);
}

/* Values that are no tensors (counters, extra state) are no weights and are passed over. */
static rcnn_status add_tensors(rcnn_checkpoint *c, const rcnn_node *state, rcnn_error *err)
{
    for (uint32_t i = 0; i < state->count; i++) {
        const rcnn_node *key = state->list.items[2 * (size_t)i];
        rcnn_node *value = state->list.items[2 * (size_t)i + 1];
        if (key->kind != RCNN_NODE_TEXT || !rcnn_node_is_tensor(value)) {
            continue;
        }
        if (key->text.length > RCNN_WEIGHTS_NAME_MAX) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: a tensor name of %zu bytes, want at most %d", c->weights->what,
                             key->text.length, RCNN_WEIGHTS_NAME_MAX);
        }
        RCNN_TRY(add_tensor(c, key, value, err));
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------------ globals */

static int compare_globals(const void *a, const void *b)
{
    const rcnn_node *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static int compare_order(const void *a, const void *b)
{
    const rcnn_node *const *left = a, *const *right = b;
    return ((*left)->count > (*right)->count) - ((*left)->count < (*right)->count);
}

/* Lists each global once, in order of first use: number the nodes, sort by name, keep the first of each, sort back. */
static rcnn_status add_globals(rcnn_checkpoint *c, rcnn_error *err)
{
    rcnn_node_array *globals = &c->pickle.globals;
    size_t kept = 0;
    for (size_t i = 0; i < globals->count; i++) {
        globals->items[i]->count = (uint32_t)i; /* no other use in a GLOBAL node */
    }
    if (globals->count > 1) {
        qsort(globals->items, globals->count, sizeof globals->items[0], compare_globals);
    }
    for (size_t i = 0; i < globals->count; i++) {
        rcnn_node *node = globals->items[i];
        if (kept == 0 || strcmp(globals->items[kept - 1]->name, node->name) != 0) {
            globals->items[kept++] = node;
        } else if (node->count < globals->items[kept - 1]->count) {
            globals->items[kept - 1] = node;
        }
    }
    globals->count = kept;
    if (kept > 1) {
        qsort(globals->items, kept, sizeof globals->items[0], compare_order);
    }
    for (size_t i = 0; i < kept; i++) {
        const rcnn_node *node = globals->items[i];
        RCNN_TRY(rcnn_weights_add_global(c->weights, node->name, node->meaning != RCNN_MEANS_NOTHING, err));
    }
    return RCNN_OK;
}

rcnn_status rcnn_checkpoint_collect(rcnn_checkpoint *c, rcnn_node *root, rcnn_error *err)
{
    rcnn_node *top, *state;
    RCNN_TRY(find_state(c, root, &top, &state, err));
    RCNN_TRY(add_tensors(c, state, err));
    if (state != top) {
        RCNN_TRY(rcnn_checkpoint_collect_meta(c, top, state, err));
    }
    return add_globals(c, err);
}
