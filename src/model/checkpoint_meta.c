/* Meta: the plain values that stand beside the tensors, as text under dotted keys. Depth, work and size are bounded, so
 * that dictionaries which contain themselves or share their parts a million times cost no more than the bound. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "model/checkpoint.h"

#define DEPTH_MAX 6
#define WORK_MAX  200000 /* dictionary entries and list items looked at */

typedef struct walk {
    rcnn_checkpoint *checkpoint;
    const rcnn_node *skip;
    rcnn_text key; /* dotted, of the entry being looked at */
    rcnn_text value;
    size_t work;
} walk;

static bool spend(walk *w)
{
    return w->work < WORK_MAX && ++w->work;
}

static bool is_list(const rcnn_node *node)
{
    return node->kind == RCNN_NODE_LIST || node->kind == RCNN_NODE_TUPLE || node->kind == RCNN_NODE_SET;
}

/* Meta values are C strings: one that holds a NUL byte is left out. */
static bool is_plain_text(const rcnn_node *node)
{
    return node->kind == RCNN_NODE_TEXT && (node->text.length == 0 || !memchr(node->text.bytes, 0, node->text.length));
}

/* The items joined by newlines; false when one of them is no string, or the list is empty. */
static bool join(walk *w, const rcnn_node *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const rcnn_node *item = list->list.items[i];
        if (!spend(w) || !is_plain_text(item) || w->value.length > RCNN_WEIGHTS_META_BYTES_MAX) {
            return false;
        }
        rcnn_text_add(&w->value, i > 0 ? "\n" : "");
        rcnn_text_add_bytes(&w->value, (const char *)item->text.bytes, item->text.length);
    }
    return list->count > 0;
}

/* The text of a value in w->value; false when it is of no kind that meta holds. */
static bool write_value(walk *w, rcnn_node *node)
{
    rcnn_node number;
    w->value.length = 0;
    if (rcnn_numpy_scalar(w->checkpoint, node, &number)) {
        node = &number;
    }
    switch (node->kind) {
    case RCNN_NODE_BOOL:
        rcnn_text_add(&w->value, node->integer ? "true" : "false");
        return true;
    case RCNN_NODE_INT:
        rcnn_text_printf(&w->value, "%lld", (long long)node->integer);
        return true;
    case RCNN_NODE_REAL:
        rcnn_text_json_number(&w->value, node->real);
        return true;
    case RCNN_NODE_TEXT:
        if (!is_plain_text(node) || node->text.length > RCNN_WEIGHTS_META_BYTES_MAX) {
            return false;
        }
        rcnn_text_add_bytes(&w->value, (const char *)node->text.bytes, node->text.length);
        return true;
    default:
        return is_list(node) && join(w, node);
    }
}

static bool any_tensor(walk *w, const rcnn_node *dict)
{
    for (uint32_t i = 0; i < dict->count; i++) {
        if (!spend(w) || rcnn_node_is_tensor(dict->list.items[2 * (size_t)i + 1])) {
            return true;
        }
    }
    return false;
}

/* LIMIT ends the walk quietly. */
static rcnn_status visit_dict(walk *w, const rcnn_node *dict, int depth, rcnn_error *err);

static rcnn_status visit(walk *w, rcnn_node *value, int depth, rcnn_error *err)
{
    rcnn_node *dict = rcnn_node_dict(value);
    if (dict) {
        return dict != w->skip && depth < DEPTH_MAX && !any_tensor(w, dict) ? visit_dict(w, dict, depth + 1, err)
                                                                            : RCNN_OK;
    }
    if (!write_value(w, value)) {
        return RCNN_OK;
    }
    if (w->key.failed || w->value.failed) {
        return RCNN_ERR_MEMORY;
    }
    const char *text = w->value.data ? w->value.data : "";
    return rcnn_weights_add_meta(w->checkpoint->weights, w->key.data, text, w->value.length, err);
}

static rcnn_status visit_dict(walk *w, const rcnn_node *dict, int depth, rcnn_error *err)
{
    size_t prefix = w->key.length;
    for (uint32_t i = 0; i < dict->count; i++) {
        const rcnn_node *key = dict->list.items[2 * (size_t)i];
        if (!spend(w)) {
            return RCNN_ERR_LIMIT;
        }
        if (!is_plain_text(key) || key->text.length == 0 || prefix + key->text.length > RCNN_WEIGHTS_NAME_MAX) {
            continue;
        }
        w->key.length = prefix;
        rcnn_text_add(&w->key, prefix > 0 ? "." : "");
        rcnn_text_add_bytes(&w->key, (const char *)key->text.bytes, key->text.length);
        RCNN_TRY(visit(w, dict->list.items[2 * (size_t)i + 1], depth, err));
    }
    w->key.length = prefix;
    return RCNN_OK;
}

rcnn_status rcnn_checkpoint_collect_meta(rcnn_checkpoint *c, rcnn_node *top, const rcnn_node *skip, rcnn_error *err)
{
    walk w = {.checkpoint = c, .skip = skip};
    rcnn_status status = visit_dict(&w, top, 0, err);
    if (w.key.failed || w.value.failed) {
        status = rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", c->weights->what);
    }
    rcnn_text_free(&w.key);
    rcnn_text_free(&w.value);
    if (status == RCNN_ERR_LIMIT) {
        rcnn_error_clear(err);
        rcnn_log(RCNN_LOG_WARN, "%s: more meta data than the limits allow: the rest is left out", c->weights->what);
        return RCNN_OK;
    }
    return status;
}
