/* From the node graph of a pickle to tensors, meta and globals: what torch zip, torch legacy and detectron2 files have
 * in common once their pickle is read. They differ in where storages lie, which a source answers. */
#ifndef RCNN_MODEL_CHECKPOINT_H
#define RCNN_MODEL_CHECKPOINT_H

#include "model/pickle.h"
#include "model/weights.h"

typedef struct rcnn_storage_ref { /* a persistent id: ('storage', class, key, location, count[, view]) */
    rcnn_dtype dtype;
    const uint8_t *key;
    size_t key_length;
    uint64_t count;                  /* elements of the whole storage           */
    uint64_t view_first, view_count; /* the part meant, elements of the storage */
} rcnn_storage_ref;

typedef struct rcnn_checkpoint {
    rcnn_weights *weights;
    rcnn_pickle pickle;
    /* First byte of a storage of ref->count elements, all of them inside the file; NULL: the format has no storages. */
    rcnn_status (*find_storage)(void *context, const rcnn_storage_ref *ref, const uint8_t **data, rcnn_error *err);
    void *context;
    char tensor[96]; /* start of the name of the tensor being read, for messages */
} rcnn_checkpoint;

/* Fills the weights from the object graph under root. */
rcnn_status rcnn_checkpoint_collect(rcnn_checkpoint *c, rcnn_node *root, rcnn_error *err);
/* Meta entries: strings, numbers, booleans and lists of strings of the top dictionary and, under dotted keys, of the
 * dictionaries in it; `skip` (the state dict) and dictionaries with tensors are left out. What goes past a maximum is
 * dropped, as meta is a help and not the model. MEMORY. */
rcnn_status rcnn_checkpoint_collect_meta(rcnn_checkpoint *c, rcnn_node *top, const rcnn_node *skip, rcnn_error *err);

/* True for a node that stands for a tensor, of a kind that is supported or not. */
bool rcnn_node_is_tensor(const rcnn_node *node);
/* Reads a tensor node (all but name). FORMAT, UNSUPPORTED, LIMIT, MEMORY. */
rcnn_status rcnn_torch_tensor(rcnn_checkpoint *c, rcnn_node *node, rcnn_tensor_info *out, rcnn_error *err);
rcnn_status rcnn_numpy_tensor(rcnn_checkpoint *c, rcnn_node *node, rcnn_tensor_info *out, rcnn_error *err);
/* The value of a numpy scalar as a number node (INT, BOOL or REAL in *out). False when it is none or of another kind.
 */
bool rcnn_numpy_scalar(rcnn_checkpoint *c, rcnn_node *node, rcnn_node *out);
/* Reads the id of a PERSISTENT node. FORMAT, UNSUPPORTED. */
rcnn_status rcnn_storage_ref_read(const rcnn_checkpoint *c, const rcnn_node *persistent, rcnn_storage_ref *out,
                                  rcnn_error *err);

#endif
