/* The backend's copies of the model's weights in the layouts that primitives want. Every padded shape of a session has
 * kernels of its own, but nearly always the same weight layouts: they share one copy, counted by its users. */
#include "backend/cpu/onednn_call.h"

#include "base/memory.h"

static onednn_weights *find(const rcnn_onednn *dnn, const float *source, onednn_md_ref from, onednn_md_ref to)
{
    for (onednn_weights *w = dnn->weights; w; w = w->next) {
        if (w->source == source && dnnl_memory_desc_equal(onednn_md_view(&w->to), to) &&
            dnnl_memory_desc_equal(onednn_md_view(&w->from), from)) {
            return w;
        }
    }
    return NULL;
}

static dnnl_status_t reorder(rcnn_onednn *dnn, const onednn_weights *w)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t from = NULL;
    dnnl_memory_t to = NULL;
    union {
        const float *in;
        void *out;
    } source = {.in = w->source}; /* only read */
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&pd, onednn_md_view(&w->from), dnn->engine,
                                                              onednn_md_view(&w->to), dnn->engine, NULL);
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&primitive, pd);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&from, onednn_md_view(&w->from), dnn->engine, source.out);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&to, onednn_md_view(&w->to), dnn->engine, w->data);
    }
    if (status == dnnl_success) {
        const dnnl_exec_arg_t args[2] = {{.arg = DNNL_ARG_FROM, .memory = from}, {.arg = DNNL_ARG_TO, .memory = to}};
        status = dnnl_primitive_execute(primitive, dnn->stream, 2, args);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(dnn->stream);
    }
    /* each of these accepts NULL */
    dnnl_memory_destroy(to);
    dnnl_memory_destroy(from);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(pd);
    return status;
}

static void free_weights(onednn_weights *w)
{
    onednn_md_free(&w->from);
    onednn_md_free(&w->to);
    rcnn_free(w->data);
    rcnn_free(w);
}

static rcnn_status make(rcnn_onednn *dnn, onednn_weights *w, onednn_md_ref from, onednn_md_ref to, const char *where,
                        rcnn_error *err)
{
    ONEDNN_TRY(onednn_md_copy(&w->from, from), where, "describing the weights", err);
    ONEDNN_TRY(onednn_md_copy(&w->to, to), where, "describing the weights", err);
    size_t bytes = dnnl_memory_desc_get_size(to);
    w->data = rcnn_malloc_aligned(bytes);
    if (!w->data) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory for %zu bytes of weights", where, bytes);
    }
    return rcnn_from_dnnl(reorder(dnn, w), where, "reordering the weights", err);
}

rcnn_status onednn_weights_get(rcnn_onednn *dnn, const float *source, onednn_md_ref from, onednn_md_ref to,
                               const char *where, onednn_weights **out, rcnn_error *err)
{
    onednn_weights *w = find(dnn, source, from, to);
    if (w) {
        w->users++;
        *out = w;
        return RCNN_OK;
    }
    w = rcnn_calloc(1, sizeof *w);
    if (!w) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", where);
    }
    w->source = source;
    w->users = 1;
    rcnn_status status = make(dnn, w, from, to, where, err);
    if (status != RCNN_OK) {
        free_weights(w);
        return status;
    }
    w->next = dnn->weights;
    dnn->weights = w;
    *out = w;
    return RCNN_OK;
}

void onednn_weights_put(rcnn_onednn *dnn, onednn_weights *weights)
{
    if (!weights || --weights->users > 0) {
        return;
    }
    onednn_weights **link = &dnn->weights;
    while (*link != weights) {
        link = &(*link)->next;
    }
    *link = weights->next;
    free_weights(weights);
}
