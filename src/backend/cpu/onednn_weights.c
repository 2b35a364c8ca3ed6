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

/* A NULL attribute is a plain copy. */
static dnnl_status_t coding_attribute(const onednn_coding *coding, float *inverse, dnnl_primitive_attr_t *out)
{
    *out = NULL;
    if (!coding || !coding->scale) {
        return dnnl_success;
    }
    for (int64_t i = 0; i < coding->count; i++) {
        inverse[i] = 1.0f / coding->scale[i];
    }
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    return status == dnnl_success ? onednn_set_output_scales(*out, coding->count, coding->mask, inverse) : status;
}

static dnnl_status_t reorder(rcnn_onednn *dnn, onednn_md_ref from_md, const float *from_data, onednn_md_ref to_md,
                             void *to_data, dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t from = NULL;
    dnnl_memory_t to = NULL;
    union {
        const float *in;
        void *out;
    } source = {.in = from_data}; /* only read */
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&pd, from_md, dnn->engine, to_md, dnn->engine, attr);
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&primitive, pd);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&from, from_md, dnn->engine, source.out);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&to, to_md, dnn->engine, to_data);
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

/* What a copy is made of. between NULL: in one step. */
typedef struct recipe {
    const float *source;
    onednn_md_ref from, between, matrix, to;
    const onednn_coding *coding;
} recipe;

static rcnn_status fill(rcnn_onednn *dnn, const recipe *r, void *data, dnnl_primitive_attr_t attr, const char *where,
                        rcnn_error *err)
{
    if (!r->between) {
        return rcnn_from_dnnl(reorder(dnn, r->from, r->source, r->to, data, attr), where, "reordering the weights",
                              err);
    }
    float *floats = rcnn_malloc_aligned(dnnl_memory_desc_get_size(r->between));
    if (!floats) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory for the weights", where);
    }
    dnnl_status_t status = reorder(dnn, r->from, r->source, r->between, floats, NULL);
    if (status == dnnl_success) {
        status = reorder(dnn, r->matrix, floats, r->to, data, attr);
    }
    rcnn_free(floats);
    return rcnn_from_dnnl(status, where, "reordering the weights", err);
}

static rcnn_status make(rcnn_onednn *dnn, onednn_weights *w, const recipe *r, const char *where, rcnn_error *err)
{
    ONEDNN_TRY(onednn_md_copy(&w->from, r->from), where, "describing the weights", err);
    ONEDNN_TRY(onednn_md_copy(&w->to, r->to), where, "describing the weights", err);
    size_t bytes = dnnl_memory_desc_get_size(r->to);
    const size_t scales = r->coding && r->coding->scale ? (size_t)r->coding->count : 1;
    w->data = rcnn_malloc_aligned(bytes);
    float *inverse = rcnn_malloc(scales * sizeof *inverse);
    if (!w->data || !inverse) {
        rcnn_free(inverse);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory for %zu bytes of weights", where, bytes);
    }
    dnnl_primitive_attr_t attr = NULL;
    rcnn_status status = rcnn_from_dnnl(coding_attribute(r->coding, inverse, &attr), where, "coding the weights", err);
    if (status == RCNN_OK) {
        status = fill(dnn, r, w->data, attr, where, err);
    }
    if (attr) {
        dnnl_primitive_attr_destroy(attr);
    }
    rcnn_free(inverse);
    return status;
}

static rcnn_status get(rcnn_onednn *dnn, const recipe *r, const char *where, onednn_weights **out, rcnn_error *err)
{
    onednn_weights *w = find(dnn, r->source, r->from, r->to);
    if (w) {
        w->users++;
        *out = w;
        return RCNN_OK;
    }
    w = rcnn_calloc(1, sizeof *w);
    if (!w) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", where);
    }
    w->source = r->source;
    w->users = 1;
    rcnn_status status = make(dnn, w, r, where, err);
    if (status != RCNN_OK) {
        free_weights(w);
        return status;
    }
    w->next = dnn->weights;
    dnn->weights = w;
    *out = w;
    return RCNN_OK;
}

rcnn_status onednn_weights_get(rcnn_onednn *dnn, const float *source, onednn_md_ref from, onednn_md_ref to,
                               const onednn_coding *coding, const char *where, onednn_weights **out, rcnn_error *err)
{
    const recipe r = {.source = source, .from = from, .to = to, .coding = coding};
    return get(dnn, &r, where, out, err);
}

rcnn_status onednn_weights_get_matrix(rcnn_onednn *dnn, const float *source, onednn_md_ref from, onednn_md_ref between,
                                      onednn_md_ref matrix, onednn_md_ref to, const onednn_coding *coding,
                                      const char *where, onednn_weights **out, rcnn_error *err)
{
    const recipe r = {.source = source, .from = from, .between = between, .matrix = matrix, .to = to, .coding = coding};
    return get(dnn, &r, where, out, err);
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
