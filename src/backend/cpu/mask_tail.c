/* DECONV and MASK_LOGIT as one kernel. Where oneDNN's product is the faster one, some RoIs at a time: the 28x28x256 features
 * between them, 0.8 MB a RoI in floats, never exist for all detections (321 MB at 400), and never in the order of a map. */
#include "backend/cpu/mask_tail.h"

#include "backend/cpu/mask_product.h"
#include "backend/cpu/onednn_conv.h"
#include "base/memory.h"

typedef struct tail_kernel {
    rcnn_kernel head;
    rcnn_kernel *deconv, *logit;
} tail_kernel;

int32_t rcnn_cpu_match_mask_tail(const rcnn_graph *graph, int32_t first)
{
    const rcnn_op *op = &graph->ops[first];
    const bool tail = op->kind == RCNN_OP_DECONV && op->rows != RCNN_NO_VALUE && rcnn_cpu_is_chain(graph, first) &&
                      op[1].kind == RCNN_OP_MASK_LOGIT;
    return tail ? 2 : 0;
}

static rcnn_status tail_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    const tail_kernel *k = (const tail_kernel *)kernel;
    const int32_t live = rcnn_onednn_deconv_live_rows(k->deconv, args);
    for (int32_t first = 0, count; first < live; first += count) {
        const void *taps;
        count = live - first < RCNN_ONEDNN_DECONV_ROWS ? live - first : RCNN_ONEDNN_DECONV_ROWS;
        RCNN_TRY(rcnn_onednn_deconv_taps(k->deconv, args, first, count, &taps, err));
        RCNN_TRY(rcnn_cpu_mask_logit_taps(k->logit, args, taps, first, count, err));
    }
    return RCNN_OK;
}

static void tail_release(rcnn_kernel *kernel)
{
    tail_kernel *k = (tail_kernel *)kernel;
    if (k->deconv) {
        k->deconv->release(k->deconv);
    }
    if (k->logit) {
        k->logit->release(k->logit);
    }
    rcnn_free(k);
}

static rcnn_status prepare(tail_kernel *k, rcnn_backend *backend, const rcnn_graph *graph, int32_t first,
                           size_t *scratch_bytes, rcnn_error *err)
{
    size_t none;
    RCNN_TRY(rcnn_cpu_prepare_deconv(backend, graph, &graph->ops[first], &k->deconv, scratch_bytes, err));
    RCNN_TRY(rcnn_cpu_prepare_mask_logit(backend, graph, &graph->ops[first + 1], &k->logit, &none, err));
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_mask_tail(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                                       size_t *scratch_bytes, rcnn_error *err)
{
    const rcnn_product_body *product = rcnn_mask_product_choose(backend, graph, &graph->ops[first]);
    if (product) {
        return rcnn_mask_product_prepare(backend, product, graph, first, out, scratch_bytes, err);
    }
    tail_kernel *k = rcnn_calloc(1, sizeof *k);
    if (!k) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory at op '%s'", graph->ops[first].name);
    }
    k->head = (rcnn_kernel){.enqueue = tail_enqueue, .release = tail_release};
    rcnn_status status = prepare(k, backend, graph, first, scratch_bytes, err);
    if (status != RCNN_OK) {
        tail_release(&k->head);
        return status;
    }
    *out = &k->head;
    return RCNN_OK;
}
