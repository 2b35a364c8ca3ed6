/* Stands for oneDNN in builds without it. The cpu backend is no choice of the user's then, since it convolves nothing; its
 * preprocessing still serves sessions that resize on the host for a GPU (session.c). */
#include <stdio.h>

#include "backend/cpu/onednn_conv.h"
#include "backend/cpu/onednn.h"

#define ABSENT "built without oneDNN"

rcnn_status rcnn_onednn_open(rcnn_onednn **out, rcnn_error *err)
{
    (void)err;
    *out = NULL;
    return RCNN_OK;
}

void rcnn_onednn_close(rcnn_onednn *dnn)
{
    (void)dnn;
}

rcnn_status rcnn_onednn_wait(rcnn_onednn *dnn, rcnn_error *err)
{
    (void)dnn;
    (void)err;
    return RCNN_OK;
}

bool rcnn_onednn_has_bf16(void)
{
    return false;
}

bool rcnn_onednn_has_int8(void)
{
    return false;
}

bool rcnn_onednn_has_amx(void)
{
    return false;
}

void rcnn_onednn_describe(char *text, size_t capacity)
{
    snprintf(text, capacity, "%s", ABSENT);
}

static rcnn_status refuse(const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    *out = NULL;
    *scratch_bytes = 0;
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cpu: %s '%s': " ABSENT, rcnn_op_kind_name(op->kind), op->name);
}

rcnn_status rcnn_onednn_prepare_conv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                     rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)backend;
    (void)graph;
    return refuse(op, out, scratch_bytes, err);
}

rcnn_status rcnn_onednn_prepare_fc(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_kernel **out,
                                   size_t *scratch_bytes, rcnn_error *err)
{
    (void)backend;
    (void)graph;
    return refuse(op, out, scratch_bytes, err);
}

rcnn_status rcnn_cpu_prepare_deconv(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                    rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)backend;
    (void)graph;
    return refuse(op, out, scratch_bytes, err);
}

/* Of a kernel that rcnn_cpu_prepare_deconv made: never called here. */
rcnn_status rcnn_onednn_deconv_taps(const rcnn_kernel *kernel, const rcnn_args *args, int32_t first, int32_t count,
                                    const void **taps, rcnn_error *err)
{
    (void)kernel;
    (void)args;
    (void)first;
    (void)count;
    *taps = NULL;
    return rcnn_fail(err, RCNN_ERR_INTERNAL, "cpu: " ABSENT);
}

int32_t rcnn_onednn_deconv_live_rows(const rcnn_kernel *kernel, const rcnn_args *args)
{
    (void)kernel;
    (void)args;
    return 0;
}
