/* Shared by the onednn_*.c files: a primitive that is ready to run, the weights in the layout it wants, and oneDNN's
 * statuses as ours. Nothing here knows a graph op. */
#ifndef RCNN_BACKEND_CPU_ONEDNN_CALL_H
#define RCNN_BACKEND_CPU_ONEDNN_CALL_H

#include <stdbool.h>

#include "backend/cpu/body.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/onednn_api.h"

#define ONEDNN_WHERE_MAX 176 /* op, layer and shapes for messages, with the NUL */

typedef struct onednn_weights onednn_weights;

struct rcnn_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    onednn_weights *weights; /* list */
};

/* OK for dnnl_success, else fails with "<where>: <what>: oneDNN status <number> (<text>)". */
rcnn_status rcnn_from_dnnl(dnnl_status_t status, const char *where, const char *what, rcnn_error *err);

#define ONEDNN_TRY(call, where, what, err) RCNN_TRY(rcnn_from_dnnl((call), (where), (what), (err)))

/* Writes "cpu: conv 'layer' [1,200,336,64] -> [1,200,336,256], weights [256,64,1,1]". */
void onednn_where(const rcnn_graph *graph, const rcnn_op *op, char text[ONEDNN_WHERE_MAX]);

/* What follows the sums of products: times scales (NULL = none), plus what stands in dst, ReLU. */
typedef struct onednn_epilogue {
    const float *scales; /* [scale_count], along the dimensions of scale_mask */
    int64_t scale_count;
    int scale_mask;
    bool sum, relu;
    float sum_scale;
    dnnl_data_type_t sum_type;
} onednn_epilogue;

/* Attributes with the epilogue, and scratch memory given by the caller. NULL when oneDNN is out of memory or cannot;
 * dnnl_primitive_attr_destroy. */
dnnl_primitive_attr_t onednn_attributes(const onednn_epilogue *epilogue);

/* ------------------------------------------------------------- numbers */

/* In which types and scales an op of weights is computed.
 *   float    F32 and BF16 sources: weights of that type.
 *   integer  I8 and U8 sources: weights as codes, w ~ code * weight_scale[o], weight_scale = largest |w| of the output / 127.
 *            sum * output_scale[o] is the result in units of what the primitive writes; the bias is added to the sum.
 *   by_float the primitive writes floats beside, and onednn_store adds the residual, applies the ReLU and stores: for
 *            destinations and residuals that oneDNN does not combine. */
typedef struct onednn_numbers {
    rcnn_dtype src, dst, residual;
    float src_scale, dst_scale, residual_scale; /* 0: no integer */
    dnnl_data_type_t weights, written;          /* type of the weights and of what the primitive writes */
    bool integer, by_float, has_residual, relu;
    float *weight_scale, *output_scale, *bias; /* [out], integer only; owned */
    int32_t out;
    const rcnn_cpu_body *body; /* stores */
} onednn_numbers;

dnnl_data_type_t onednn_type(rcnn_dtype type);
/* op: CONV, FC or DECONV. MEMORY; UNSUPPORTED for types that none of them takes. */
rcnn_status onednn_numbers_make(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                const char *where, onednn_numbers *out, rcnn_error *err);
void onednn_numbers_free(onednn_numbers *numbers);
/* Floats to the destination, `count` elements: dst = store(relu?(sums (+ residual))). residual may be dst. */
void onednn_store(const onednn_numbers *numbers, const float *sums, const void *residual, void *dst, size_t count);

/* ------------------------------------------------------------- weights */

/* Weights of the model in another layout, shared by every kernel of the backend that wants that layout. */
struct onednn_weights {
    onednn_weights *next;
    const float *source; /* the model's weights: the key, with both layouts */
    onednn_md from, to;
    int32_t users;
    void *data; /* RCNN_ALIGNMENT-aligned */
};

/* How float weights become codes: divided by scale[i], i along the dimensions of mask. scale NULL = they stay floats. */
typedef struct onednn_coding {
    const float *scale;
    int64_t count;
    int mask;
} onednn_coding;

/* The weights `source`, laid out as `from`, in the layout `to` (same dimensions): an existing copy or a new one. Give it
 * back with onednn_weights_put. MEMORY, UNSUPPORTED. */
rcnn_status onednn_weights_get(rcnn_onednn *dnn, const float *source, onednn_md_ref from, onednn_md_ref to,
                               const onednn_coding *coding, const char *where, onednn_weights **out, rcnn_error *err);
/* The same in two steps, for layouts of other dimensions: `from` to the floats `between`, which read as `matrix` go to
 * `to`. */
rcnn_status onednn_weights_get_matrix(rcnn_onednn *dnn, const float *source, onednn_md_ref from, onednn_md_ref between,
                                      onednn_md_ref matrix, onednn_md_ref to, const onednn_coding *coding,
                                      const char *where, onednn_weights **out, rcnn_error *err);
/* The last user's put frees the copy; NULL is fine. */
void onednn_weights_put(rcnn_onednn *dnn, onednn_weights *weights);

/* ------------------------------------------------------------- calls */

typedef enum onednn_slot {
    ONEDNN_SRC,
    ONEDNN_WEIGHTS,
    ONEDNN_BIAS,
    ONEDNN_DST,
    ONEDNN_SCRATCH,
    ONEDNN_SLOTS
} onednn_slot;

/* A primitive and its memory objects. Zero-initialised = empty, safe to free. */
typedef struct onednn_call {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ONEDNN_SLOTS];
    size_t scratch_bytes;
} onednn_call;

/* Makes the primitive of a descriptor. weights and bias are bound for good and must outlive the call. */
rcnn_status onednn_call_make(rcnn_onednn *dnn, const_dnnl_primitive_desc_t pd, const void *weights, const float *bias,
                             const char *where, onednn_call *out, rcnn_error *err);
/* Replaces the memory object of a slot by one of another descriptor: for dimensions known only at run time. */
rcnn_status onednn_call_describe(rcnn_onednn *dnn, onednn_call *call, onednn_slot slot, onednn_md_ref md,
                                 const char *where, rcnn_error *err);
rcnn_status onednn_call_run(rcnn_onednn *dnn, const onednn_call *call, const void *src, void *dst, void *scratch,
                            const char *where, rcnn_error *err);
void onednn_call_free(onednn_call *call);

#endif
