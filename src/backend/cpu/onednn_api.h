/* The oneDNN C API as this project uses it: the same few calls whether the library is 2.x (Debian 12) or 3.x (Debian 13,
 * Ubuntu 24.04). 3.0 made memory descriptors opaque and dropped operation descriptors; that difference lives here and
 * nowhere else. Included by onednn.c and by the bench of bare primitives; no other file sees a dnnl type.
 *
 * Everything is inference on the CPU engine. All functions return oneDNN's own status; outputs are untouched unless
 * it is dnnl_success. */
#ifndef RCNN_BACKEND_CPU_ONEDNN_API_H
#define RCNN_BACKEND_CPU_ONEDNN_API_H

#include <dnnl.h>
#include <dnnl_debug.h>

#include <stdint.h>

#define ONEDNN_V3 (DNNL_VERSION_MAJOR >= 3)

/* A descriptor owned by the caller (zero-initialised = none), and a borrowed one: what queries return and calls take. */
#if ONEDNN_V3
typedef dnnl_memory_desc_t onednn_md;
typedef const_dnnl_memory_desc_t onednn_md_ref;
#else
typedef dnnl_memory_desc_t onednn_md;
typedef const dnnl_memory_desc_t *onednn_md_ref;
#endif

/* The four tensors of a convolution, deconvolution or matrix product. */
typedef struct onednn_tensors {
    onednn_md src, weights, bias, dst;
} onednn_tensors;

/* stride and padding, [0] vertical, [1] horizontal. */
typedef struct onednn_window {
    dnnl_dims_t stride, pad_begin, pad_end; /* the first two used; oneDNN's parameters are whole dnnl_dims_t */
} onednn_window;

static inline onednn_md_ref onednn_md_view(const onednn_md *md)
{
#if ONEDNN_V3
    return *md;
#else
    return md;
#endif
}

/* A tensor of rank dimensions. strides in elements, one per dimension; NULL = any layout the primitive likes. */
static inline dnnl_status_t onednn_md_make_of(onednn_md *out, dnnl_data_type_t type, int rank, const int64_t *dims,
                                              const int64_t *strides)
{
    dnnl_dims_t all_dims = {0}; /* oneDNN's parameters are whole dnnl_dims_t */
    dnnl_dims_t all_strides = {0};
    for (int i = 0; i < rank; i++) {
        all_dims[i] = dims[i];
        all_strides[i] = strides ? strides[i] : 0;
    }
#if ONEDNN_V3
    return strides ? dnnl_memory_desc_create_with_strides(out, rank, all_dims, type, all_strides)
                   : dnnl_memory_desc_create_with_tag(out, rank, all_dims, type, dnnl_format_tag_any);
#else
    return strides ? dnnl_memory_desc_init_by_strides(out, rank, all_dims, type, all_strides)
                   : dnnl_memory_desc_init_by_tag(out, rank, all_dims, type, dnnl_format_tag_any);
#endif
}

static inline dnnl_status_t onednn_md_make(onednn_md *out, int rank, const int64_t *dims, const int64_t *strides)
{
    return onednn_md_make_of(out, dnnl_f32, rank, dims, strides);
}

/* A copy that outlives where the reference came from. */
static inline dnnl_status_t onednn_md_copy(onednn_md *out, onednn_md_ref md)
{
#if ONEDNN_V3
    return dnnl_memory_desc_clone(out, md);
#else
    *out = *md;
    return dnnl_success;
#endif
}

static inline void onednn_md_free(onednn_md *md)
{
#if ONEDNN_V3
    if (*md) {
        dnnl_memory_desc_destroy(*md);
        *md = NULL;
    }
#else
    (void)md;
#endif
}

static inline void onednn_tensors_free(onednn_tensors *t)
{
    onednn_md_free(&t->src);
    onednn_md_free(&t->weights);
    onednn_md_free(&t->bias);
    onednn_md_free(&t->dst);
}

/* Post-op: dst = result + scale * (what stands in dst, read as `type`; undef = the type of dst). */
static inline dnnl_status_t onednn_append_sum(dnnl_post_ops_t ops, float scale, dnnl_data_type_t type)
{
#if ONEDNN_V3
    return dnnl_post_ops_append_sum(ops, scale, 0, type);
#else
    return dnnl_post_ops_append_sum_v2(ops, scale, type);
#endif
}

/* Results of integer sums times scales[i], i along the dimensions of mask; before the post-ops, after the bias. Only the
 * second series of oneDNN has this form: with the third, int8 is refused (rcnn_onednn_has_int8). */
static inline dnnl_status_t onednn_set_output_scales(dnnl_primitive_attr_t attr, int64_t count, int mask,
                                                     const float *scales)
{
#if ONEDNN_V3
    (void)attr, (void)count, (void)mask, (void)scales;
    return dnnl_unimplemented;
#else
    return dnnl_primitive_attr_set_output_scales(attr, count, mask, scales);
#endif
}

static inline dnnl_status_t onednn_append_relu(dnnl_post_ops_t ops)
{
#if ONEDNN_V3
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f);
#else
    return dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
#endif
}

/* src [N,C,H,W], weights [O,I,kh,kw] or [G,O/G,I,kh,kw], dst [N,O,H,W] (logical order; layout is the descriptors'). */
static inline dnnl_status_t onednn_conv_pd(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const onednn_tensors *t,
                                           const onednn_window *w, const_dnnl_primitive_attr_t attr)
{
    static const dnnl_dims_t dilation = {0};
#if ONEDNN_V3
    return dnnl_convolution_forward_primitive_desc_create(out, engine, dnnl_forward_inference, dnnl_convolution_direct,
                                                          t->src, t->weights, t->bias, t->dst, w->stride, dilation,
                                                          w->pad_begin, w->pad_end, attr);
#else
    dnnl_convolution_desc_t op;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &op, dnnl_forward_inference, dnnl_convolution_direct, &t->src, &t->weights, &t->bias, &t->dst, w->stride,
        dilation, w->pad_begin, w->pad_end);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &op, attr, engine, NULL) : status;
#endif
}

/* As onednn_conv_pd for a transposed convolution: weights [O,I,kh,kw]. */
static inline dnnl_status_t onednn_deconv_pd(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const onednn_tensors *t,
                                             const onednn_window *w, const_dnnl_primitive_attr_t attr)
{
    static const dnnl_dims_t dilation = {0};
#if ONEDNN_V3
    return dnnl_deconvolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, dnnl_deconvolution_direct, t->src, t->weights, t->bias, t->dst, w->stride,
        dilation, w->pad_begin, w->pad_end, attr);
#else
    dnnl_deconvolution_desc_t op;
    dnnl_status_t status = dnnl_dilated_deconvolution_forward_desc_init(
        &op, dnnl_forward_inference, dnnl_deconvolution_direct, &t->src, &t->weights, &t->bias, &t->dst, w->stride,
        dilation, w->pad_begin, w->pad_end);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &op, attr, engine, NULL) : status;
#endif
}

/* src [rows,I], weights [O,I], bias [O], dst [rows,O]. */
static inline dnnl_status_t onednn_inner_product_pd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                                    const onednn_tensors *t, const_dnnl_primitive_attr_t attr)
{
#if ONEDNN_V3
    return dnnl_inner_product_forward_primitive_desc_create(out, engine, dnnl_forward_inference, t->src, t->weights,
                                                            t->bias, t->dst, attr);
#else
    dnnl_inner_product_desc_t op;
    dnnl_status_t status =
        dnnl_inner_product_forward_desc_init(&op, dnnl_forward_inference, &t->src, &t->weights, &t->bias, &t->dst);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &op, attr, engine, NULL) : status;
#endif
}

/* src [M,K], weights [K,N], bias [1,N], dst [M,N]; M may be DNNL_RUNTIME_DIM_VAL. */
static inline dnnl_status_t onednn_matmul_pd(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const onednn_tensors *t,
                                             const_dnnl_primitive_attr_t attr)
{
#if ONEDNN_V3
    return dnnl_matmul_primitive_desc_create(out, engine, t->src, t->weights, t->bias, t->dst, attr);
#else
    dnnl_matmul_desc_t op;
    dnnl_status_t status = dnnl_matmul_desc_init(&op, &t->src, &t->weights, &t->bias, &t->dst);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &op, attr, engine, NULL) : status;
#endif
}

#endif
