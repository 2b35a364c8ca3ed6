/* The convolution engines that are kernels of ours: conv_thin.cu and conv_direct.cu. */
#include "backend/cuda/conv.h"

#include <stdio.h>

#include "base/memory.h"

typedef cudaError_t (*conv_launch)(const rcnn_cuda_conv *p, cudaStream_t stream);

typedef struct own_run {
    rcnn_cuda_run head;
    rcnn_cuda_conv conv;
    conv_launch launch;
} own_run;

static rcnn_status own_enqueue(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err)
{
    const own_run *r = (const own_run *)run;
    rcnn_cuda_conv p = r->conv;
    p.src = call->src;
    p.residual = call->residual;
    p.dst = call->dst;
    p.counts = call->counts;
    p.count_images = call->counts ? call->count_images : 0;
    RCNN_CUDA_TRY(r->launch(&p, call->stream), "running a convolution", err);
    return RCNN_OK;
}

static void own_release(rcnn_cuda_run *run)
{
    rcnn_free(run);
}

static rcnn_status prepare_own(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *name,
                               conv_launch launch, rcnn_cuda_run **out, rcnn_error *err)
{
    rcnn_cuda_conv conv = want->conv;
    const void *bias;
    RCNN_TRY(rcnn_cuda_weights_get(backend, want->w, RCNN_CUDA_ORDER_OHWI, 0, conv.type, &conv.weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, want->w, 1, RCNN_CUDA_F32, &bias, err));
    conv.bias = bias;
    RCNN_TRY(rcnn_cuda_new_run(backend, sizeof(own_run), own_enqueue, own_release, out, err));
    own_run *r = (own_run *)*out;
    r->conv = conv;
    r->launch = launch;
    r->head.follows_counts = true;
    snprintf(r->head.engine, sizeof r->head.engine, "%s", name);
    return RCNN_OK;
}

/* ------------------------------------------------------------- thin */

static bool thin_supports(const rcnn_backend *backend, const rcnn_cuda_conv_want *want)
{
    (void)backend;
    const rcnn_cuda_conv *c = &want->conv;
    const bool is_1x1 = c->kh == 1 && c->kw == 1 && c->stride == 1 && c->pad == 0 && c->groups == 1;
    const bool channels = c->in == c->src_channels && (c->in == 32 || c->in == 64 || c->in == 128 || c->in == 256);
    return is_1x1 && channels && c->out <= 16 && rcnn_cuda_conv_is_half(want) && !want->residual &&
           (c->dst_type == RCNN_CUDA_F32 || c->dst_type == c->type);
}

static rcnn_status thin_prepare(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *choice,
                                rcnn_cuda_run **out, rcnn_error *err)
{
    (void)choice;
    return prepare_own(backend, want, "thin", rcnn_cuda_conv_thin_launch, out, err);
}

const rcnn_cuda_conv_engine rcnn_cuda_conv_thin = {.name = "thin", .supports = thin_supports, .prepare = thin_prepare};

/* ------------------------------------------------------------- direct */

static bool direct_supports(const rcnn_backend *backend, const rcnn_cuda_conv_want *want)
{
    (void)backend;
    return want->conv.dst_type == RCNN_CUDA_F32 || want->conv.dst_type == want->conv.type;
}

static rcnn_status direct_prepare(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *choice,
                                  rcnn_cuda_run **out, rcnn_error *err)
{
    (void)choice;
    return prepare_own(backend, want, "direct", rcnn_cuda_conv_direct_launch, out, err);
}

const rcnn_cuda_conv_engine rcnn_cuda_conv_direct = {
    .name = "direct", .slow = true, .supports = direct_supports, .prepare = direct_prepare};
