/* Torch tensors: the arguments of torch._utils._rebuild_tensor_v2 and its relatives, checked against their storage. */
#include <string.h>

#include "model/checkpoint.h"
#include "model/convert.h"

#define WRAPPERS_MAX 4 /* a Parameter around a tensor, and no tower of them */

static rcnn_status fail_tensor(const rcnn_checkpoint *c, rcnn_status status, const char *problem, rcnn_error *err)
{
    return rcnn_fail(err, status, "%s: tensor '%s': %s", c->weights->what, c->tensor, problem);
}

/* The sixth item of a legacy id: None, or (key of the view, first element, elements) into the storage. */
static rcnn_status read_view(const rcnn_checkpoint *c, const rcnn_node *view, rcnn_storage_ref *out, rcnn_error *err)
{
    out->view_first = 0;
    out->view_count = out->count;
    if (!view || view->kind == RCNN_NODE_NONE) {
        return RCNN_OK;
    }
    if (!rcnn_node_size(rcnn_node_item(view, 1), &out->view_first) ||
        !rcnn_node_size(rcnn_node_item(view, 2), &out->view_count) || out->view_first > out->count ||
        out->view_count > out->count - out->view_first) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: a storage view lies outside its storage", c->weights->what);
    }
    return RCNN_OK;
}

rcnn_status rcnn_storage_ref_read(const rcnn_checkpoint *c, const rcnn_node *persistent, rcnn_storage_ref *out,
                                  rcnn_error *err)
{
    char text[RCNN_PICKLE_NAME_MAX + 64];
    const rcnn_node *id = persistent->id;
    const rcnn_node *type = rcnn_node_item(id, 1), *key = rcnn_node_item(id, 2);
    if (id->kind != RCNN_NODE_TUPLE) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: a persistent id is %.200s, want a storage", c->weights->what,
                         rcnn_node_describe(id, text, sizeof text));
    }
    if (rcnn_node_is_text(rcnn_node_item(id, 0), "module")) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                         "%s: the file holds a whole pickled module, want its state dict (torch.save(m.state_dict()))",
                         c->weights->what);
    }
    if (!rcnn_node_is_text(rcnn_node_item(id, 0), "storage") || !type || type->kind != RCNN_NODE_GLOBAL || !key ||
        key->kind != RCNN_NODE_TEXT || !rcnn_node_size(rcnn_node_item(id, 4), &out->count)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: a persistent id is no storage of a class, key and count",
                         c->weights->what);
    }
    if (type->meaning < RCNN_MEANS_STORAGE) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: storage class '%.200s' is not supported", c->weights->what,
                         type->name);
    }
    out->dtype = (rcnn_dtype)(type->meaning - RCNN_MEANS_STORAGE);
    out->key = key->text.bytes;
    out->key_length = key->text.length;
    return read_view(c, rcnn_node_item(id, 5), out, err);
}

/* Reads up to RCNN_TENSOR_RANK_MAX integers of a tuple. */
static rcnn_status read_sizes(const rcnn_checkpoint *c, const rcnn_node *list, int64_t *out, int32_t *rank,
                              rcnn_error *err)
{
    if (!list || (list->kind != RCNN_NODE_TUPLE && list->kind != RCNN_NODE_LIST)) {
        return fail_tensor(c, RCNN_ERR_FORMAT, "shape or stride is no tuple", err);
    }
    if (list->count > RCNN_TENSOR_RANK_MAX) {
        return fail_tensor(c, RCNN_ERR_UNSUPPORTED, "more than 8 dimensions", err);
    }
    for (uint32_t i = 0; i < list->count; i++) {
        uint64_t value;
        if (!rcnn_node_size(list->list.items[i], &value)) {
            return fail_tensor(c, RCNN_ERR_FORMAT, "a size or stride is no integer of 0 or more", err);
        }
        out[i] = (int64_t)value;
    }
    *rank = (int32_t)list->count;
    return RCNN_OK;
}

/* Index of the last element used, relative to the first; false on overflow. The tensor is not empty. */
static bool last_element(const rcnn_tensor_info *t, uint64_t *out)
{
    uint64_t last = 0;
    for (int32_t i = 0; i < t->rank; i++) {
        uint64_t steps = (uint64_t)t->shape[i] - 1, stride = (uint64_t)t->stride[i];
        if (stride != 0 && steps > ((uint64_t)INT64_MAX - last) / stride) {
            return false;
        }
        last += steps * stride;
    }
    *out = last;
    return true;
}

/* An empty tensor has no element to point at and any stride; give it a plain one. */
static void make_empty(rcnn_tensor_info *t)
{
    for (int32_t i = 0; i < t->rank; i++) {
        t->stride[i] = 1;
    }
    t->data = NULL;
}

static rcnn_status place_tensor(rcnn_checkpoint *c, const rcnn_storage_ref *ref, uint64_t offset, rcnn_tensor_info *out,
                                rcnn_error *err)
{
    uint64_t count, last;
    if (!rcnn_shape_count(out->shape, out->rank, &count)) {
        return fail_tensor(c, RCNN_ERR_FORMAT, "the product of its shape overflows", err);
    }
    if (count == 0) {
        make_empty(out);
        return RCNN_OK;
    }
    if (!last_element(out, &last) || offset >= ref->view_count || last >= ref->view_count - offset) {
        return rcnn_fail(err, RCNN_ERR_FORMAT,
                         "%s: tensor '%s': shape, stride and offset %llu reach outside its "
                         "storage of %llu elements",
                         c->weights->what, c->tensor, (unsigned long long)offset, (unsigned long long)ref->view_count);
    }
    if (count > ref->view_count && count > RCNN_TENSOR_EXPANDED_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: tensor '%s': %llu elements made from a storage of %llu",
                         c->weights->what, c->tensor, (unsigned long long)count, (unsigned long long)ref->view_count);
    }
    for (int32_t i = 0; i < out->rank; i++) {
        if (out->shape[i] == 1 && (uint64_t)out->stride[i] > ref->view_count) {
            out->stride[i] = 1; /* a step that is never taken: keep address arithmetic on it from overflowing */
        }
    }
    const uint8_t *data;
    RCNN_TRY(c->find_storage(c->context, ref, &data, err));
    out->data = data + (size_t)(ref->view_first + offset) * rcnn_dtype_bytes(ref->dtype);
    return RCNN_OK;
}

/* Arguments of _rebuild_tensor(_v2): storage, offset in elements, shape, stride in elements, ... */
static rcnn_status rebuild(rcnn_checkpoint *c, const rcnn_node *args, rcnn_tensor_info *out, rcnn_error *err)
{
    const rcnn_node *storage = rcnn_node_item(args, 0);
    rcnn_storage_ref ref;
    uint64_t offset;
    int32_t stride_rank;
    if (!storage || storage->kind != RCNN_NODE_PERSISTENT || !c->find_storage) {
        return fail_tensor(c, RCNN_ERR_UNSUPPORTED, "its data lies outside this file or in a nested one", err);
    }
    RCNN_TRY(rcnn_storage_ref_read(c, storage, &ref, err));
    if (!rcnn_node_size(rcnn_node_item(args, 1), &offset)) {
        return fail_tensor(c, RCNN_ERR_FORMAT, "its storage offset is no integer of 0 or more", err);
    }
    RCNN_TRY(read_sizes(c, rcnn_node_item(args, 2), out->shape, &out->rank, err));
    RCNN_TRY(read_sizes(c, rcnn_node_item(args, 3), out->stride, &stride_rank, err));
    if (stride_rank != out->rank) {
        return fail_tensor(c, RCNN_ERR_FORMAT, "shape and stride differ in length", err);
    }
    out->dtype = ref.dtype;
    return place_tensor(c, &ref, offset, out, err);
}

rcnn_status rcnn_torch_tensor(rcnn_checkpoint *c, rcnn_node *node, rcnn_tensor_info *out, rcnn_error *err)
{
    char text[RCNN_PICKLE_NAME_MAX + 64];
    for (int wrapper = 0; wrapper < WRAPPERS_MAX && node; wrapper++) {
        const rcnn_node *function = rcnn_node_item(node, 0);
        switch (rcnn_call_meaning(node)) {
        case RCNN_MEANS_TENSOR:
            return rebuild(c, node->call.args, out, err);
        case RCNN_MEANS_PARAMETER:
            node = rcnn_node_item(node, 0);
            continue;
        case RCNN_MEANS_FROM_TYPE: /* function, type, arguments, attributes */
            if (function && function->kind == RCNN_NODE_GLOBAL && function->meaning == RCNN_MEANS_TENSOR) {
                return rebuild(c, rcnn_node_item(node, 2), out, err);
            }
            break;
        default:
            break;
        }
        break;
    }
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: tensor '%s': %.200s is not supported", c->weights->what, c->tensor,
                     rcnn_node_describe(node, text, sizeof text));
}
