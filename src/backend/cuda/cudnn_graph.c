/* cuDNN's descriptors, and the graph of a convolution made of them.
 *
 * Fused: conv -> (+ residual) -> + bias -> (ReLU), in this order, with float between the steps and the bias in the type of
 * the source. That is the pattern for which cuDNN ships compiled kernels; with another order or a float bias for half
 * sources only engines that compile themselves at run time take the graph. */
#include "backend/cuda/cudnn_graph.h"

#define TENSOR_ALIGNMENT 16

/* ------------------------------------------------------------- descriptors */

cudnnStatus_t rcnn_dnn_set(rcnn_dnn_part d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           int64_t count, const void *value)
{
    return cudnnBackendSetAttribute(d, name, type, count, value);
}

cudnnStatus_t rcnn_dnn_set_part(rcnn_dnn_part part, cudnnBackendAttributeName_t name, rcnn_dnn_part value)
{
    return rcnn_dnn_set(part, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

cudnnStatus_t rcnn_dnn_get(rcnn_dnn_part d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           int64_t capacity, int64_t *count, void *value)
{
    return cudnnBackendGetAttribute(d, name, type, capacity, count, value);
}

cudnnStatus_t rcnn_dnn_finalize(rcnn_dnn_part d)
{
    return RCNN_DNN_CALL(cudnnBackendFinalize(d));
}

cudnnStatus_t rcnn_dnn_make(rcnn_dnn_parts *p, cudnnBackendDescriptorType_t type, rcnn_dnn_part *out)
{
    if (p->count == RCNN_DNN_PARTS_MAX) {
        return CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND;
    }
    RCNN_DNN_STEP(cudnnBackendCreateDescriptor(type, out));
    p->list[p->count++] = *out;
    return CUDNN_STATUS_SUCCESS;
}

void rcnn_dnn_drop_from(rcnn_dnn_parts *p, int32_t first)
{
    while (p->count > first) { /* what refers to others goes before them */
        (void)cudnnBackendDestroyDescriptor(p->list[--p->count]);
    }
}

bool rcnn_dnn_is_refusal(cudnnStatus_t code)
{
    switch (code) {
    case CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED:
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED:
        return false;
    case CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER: /* a kernel that does not load */
        return true;
    default:
        return CUDNN_STATUS_CATEGORY(code) >= CUDNN_STATUS_BAD_PARAM &&
               CUDNN_STATUS_CATEGORY(code) < CUDNN_STATUS_EXECUTION_FAILED;
    }
}

rcnn_status rcnn_dnn_refused(const rcnn_cuda_conv_want *want, cudnnStatus_t code, rcnn_error *err)
{
    if (!rcnn_dnn_is_refusal(code)) {
        return rcnn_from_cudnn(code, want->name, err);
    }
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: op '%s': cuDNN: %s (%d)", want->name, cudnnGetErrorString(code),
                     (int)code);
}

/* ------------------------------------------------------------- the graph */

static cudnnDataType_t data_type(rcnn_cuda_type type)
{
    return type == RCNN_CUDA_F16 ? CUDNN_DATA_HALF : type == RCNN_CUDA_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/* N,C,H,W of cuDNN over memory whose channels are innermost; filters alike as out,in,kh,kw. */
typedef struct tensor_shape {
    int64_t n, c, h, w;
} tensor_shape;

static cudnnStatus_t make_tensor(rcnn_dnn_parts *p, int64_t uid, cudnnDataType_t type, tensor_shape s,
                                 rcnn_dnn_part *out)
{
    const int64_t dim[4] = {s.n, s.c, s.h, s.w};
    const int64_t stride[4] = {s.h * s.w * s.c, 1, s.w * s.c, s.c};
    const int64_t alignment = TENSOR_ALIGNMENT;
    const bool is_virtual = uid >= RCNN_DNN_STEP_FIRST;
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual));
    return rcnn_dnn_finalize(*out);
}

static cudnnStatus_t make_window(rcnn_dnn_parts *p, const rcnn_cuda_conv *c, rcnn_dnn_part *out)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t spatial = 2;
    const int64_t pad[2] = {c->pad, c->pad}, stride[2] = {c->stride, c->stride}, dilation[2] = {1, 1};
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride));
    return rcnn_dnn_finalize(*out);
}

static cudnnStatus_t make_convolution(rcnn_dnn_parts *p, rcnn_dnn_part window, rcnn_dnn_part src, rcnn_dnn_part weights,
                                      rcnn_dnn_part dst, rcnn_dnn_part *out)
{
    const float one = 1, zero = 0;
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, out));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, src));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weights));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, dst));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, window));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero));
    return rcnn_dnn_finalize(*out);
}

/* y = x + b, or y = relu(x) with b NULL. */
static cudnnStatus_t make_pointwise(rcnn_dnn_parts *p, rcnn_dnn_part x, rcnn_dnn_part b, rcnn_dnn_part y,
                                    rcnn_dnn_part *out)
{
    const cudnnPointwiseMode_t mode = b ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    rcnn_dnn_part pointwise;
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &pointwise));
    RCNN_DNN_STEP(rcnn_dnn_set(pointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    RCNN_DNN_STEP(rcnn_dnn_set(pointwise, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    RCNN_DNN_STEP(rcnn_dnn_finalize(pointwise));
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, out));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise));
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x));
    if (b) {
        RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b));
    }
    RCNN_DNN_STEP(rcnn_dnn_set_part(*out, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y));
    return rcnn_dnn_finalize(*out);
}

/* The operations in order; steps between them are virtual float tensors, the last one writes dst. */
typedef struct op_chain {
    rcnn_dnn_parts *p;
    rcnn_dnn_part ops[4];
    int32_t count, total;
    tensor_shape shape; /* of dst */
    rcnn_dnn_part dst, last;
} op_chain;

static cudnnStatus_t next_output(op_chain *c, rcnn_dnn_part *out)
{
    *out = c->dst;
    if (c->count + 1 == c->total) {
        return CUDNN_STATUS_SUCCESS;
    }
    return make_tensor(c->p, RCNN_DNN_STEP_FIRST + c->count, CUDNN_DATA_FLOAT, c->shape, out);
}

static cudnnStatus_t add_pointwise(op_chain *c, rcnn_dnn_part b)
{
    rcnn_dnn_part y;
    RCNN_DNN_STEP(next_output(c, &y));
    RCNN_DNN_STEP(make_pointwise(c->p, c->last, b, y, &c->ops[c->count]));
    c->count++;
    c->last = y;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t add_epilogue(op_chain *chain, const rcnn_cuda_conv_want *want)
{
    const rcnn_cuda_conv *c = &want->conv;
    if (want->residual) {
        rcnn_dnn_part residual;
        RCNN_DNN_STEP(make_tensor(chain->p, RCNN_DNN_RESIDUAL, data_type(c->dst_type), chain->shape, &residual));
        RCNN_DNN_STEP(add_pointwise(chain, residual));
    }
    rcnn_dnn_part bias;
    RCNN_DNN_STEP(make_tensor(chain->p, RCNN_DNN_BIAS, data_type(c->type), (tensor_shape){1, c->out, 1, 1}, &bias));
    RCNN_DNN_STEP(add_pointwise(chain, bias));
    return c->relu ? add_pointwise(chain, NULL) : CUDNN_STATUS_SUCCESS;
}

/* Channels of the filter: those the source has, where weights are padded with zeros to them. */
static int64_t filter_in(const rcnn_cuda_conv *c)
{
    return c->groups == 1 ? c->src_channels : c->in;
}

cudnnStatus_t rcnn_dnn_make_graph(rcnn_backend *backend, const rcnn_cuda_conv_want *want, bool fused, rcnn_dnn_parts *p,
                                  rcnn_dnn_part *out)
{
    const rcnn_cuda_conv *c = &want->conv;
    const cudnnDataType_t type = data_type(c->type);
    rcnn_dnn_part window, src, weights, y;
    op_chain chain = {.p = p, .shape = {c->n, c->out, c->out_height, c->out_width}};
    chain.total = fused ? 2 + want->residual + (c->relu != 0) : 1;
    RCNN_DNN_STEP(make_tensor(p, RCNN_DNN_SRC, type, (tensor_shape){c->n, c->src_channels, c->height, c->width}, &src));
    RCNN_DNN_STEP(make_tensor(p, RCNN_DNN_WEIGHTS, type, (tensor_shape){c->out, filter_in(c), c->kh, c->kw}, &weights));
    RCNN_DNN_STEP(make_tensor(p, RCNN_DNN_DST, data_type(c->dst_type), chain.shape, &chain.dst));
    RCNN_DNN_STEP(make_window(p, c, &window));
    RCNN_DNN_STEP(next_output(&chain, &y));
    RCNN_DNN_STEP(make_convolution(p, window, src, weights, y, &chain.ops[0]));
    chain.count = 1;
    chain.last = y;
    if (fused) {
        RCNN_DNN_STEP(add_epilogue(&chain, want));
    }
    RCNN_DNN_STEP(rcnn_dnn_make(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, out));
    RCNN_DNN_STEP(rcnn_dnn_set(*out, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &backend->cudnn));
    RCNN_DNN_STEP(
        rcnn_dnn_set(*out, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, chain.count, chain.ops));
    return rcnn_dnn_finalize(*out);
}
