/* CONV, DECONV and FC: what runs them, and how one engine among several is chosen.
 *
 *     run      one op prepared for a fixed number of rows (dim[0]): a library's plan or a kernel of ours
 *     engine   makes runs of convolutions; conv.c holds the table of them, in order of preference
 *     span     the kernel of one op or of several consecutive ones over the same packed rows: the runs of each for some
 *              numbers of rows, of which the live count picks one on the device (span.c) */
#ifndef RCNN_BACKEND_CUDA_CONV_H
#define RCNN_BACKEND_CUDA_CONV_H

#include "backend/cuda/cuda.h"
#include "backend/cuda/engine_cache.h"

/* ------------------------------------------------------------- runs */

/* One enqueue. */
typedef struct rcnn_cuda_call {
    const void *src, *residual; /* residual NULL when there is none; it may be dst          */
    void *dst;
    const int32_t *counts; /* packed rows: device memory [count_images]; NULL otherwise     */
    int32_t count_images;
    void *scratch; /* at least the run's scratch_bytes, aligned as values are       */
    cudaStream_t stream;
} rcnn_cuda_call;

/* Each maker's own struct begins with this. */
typedef struct rcnn_cuda_run rcnn_cuda_run;
struct rcnn_cuda_run {
    rcnn_backend *backend;
    rcnn_status (*enqueue)(rcnn_cuda_run *run, const rcnn_cuda_call *call, rcnn_error *err);
    void (*release)(rcnn_cuda_run *run);
    size_t scratch_bytes;
    bool follows_counts; /* its work follows call->counts: one run for the capacity does for any live rows */
    char engine[RCNN_ENGINE_CHOICE_MAX]; /* of a convolution: the choice that makes it again */
    float microseconds;                  /* as timed or remembered; < 0: neither */
};

/* A zeroed run of `bytes`; release frees what the maker owns, then calls rcnn_free. */
rcnn_status rcnn_cuda_new_run(rcnn_backend *backend, size_t bytes,
                              rcnn_status (*enqueue)(rcnn_cuda_run *, const rcnn_cuda_call *, rcnn_error *),
                              void (*release)(rcnn_cuda_run *), rcnn_cuda_run **out, rcnn_error *err);
void rcnn_cuda_release_run(rcnn_cuda_run *run); /* NULL is fine */

/* A convolution to be run: everything but the pointers to values. */
typedef struct rcnn_cuda_conv_want {
    rcnn_cuda_conv conv; /* src, residual, dst, weights, bias and counts NULL */
    bool residual;
    bool packed;              /* dim[0] is packed rows: calls have counts                          */
    rcnn_precision precision; /* FP32 or TF32 of float activations; no meaning for halves           */
    const rcnn_op_weights *w;
    const char *name; /* the op's */
} rcnn_cuda_conv_want;

/* The best engine's run: the remembered one, with options.tune the fastest, else the first of the table that takes it. */
rcnn_status rcnn_cuda_conv_prepare(rcnn_backend *backend, const rcnn_cuda_conv_want *want, rcnn_cuda_run **out,
                                   rcnn_error *err);

/* Runs of an op for `rows` of its dim[0] (deconv.c, fc.c). */
rcnn_status rcnn_cuda_deconv_prepare(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, int32_t rows,
                                     rcnn_cuda_run **out, rcnn_error *err);
rcnn_status rcnn_cuda_fc_prepare(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, int32_t rows,
                                 rcnn_cuda_run **out, rcnn_error *err);

/* ------------------------------------------------------------- engines */

#define RCNN_CUDA_CHOICES_MAX 12

typedef struct rcnn_cuda_choices {
    char text[RCNN_CUDA_CHOICES_MAX][RCNN_ENGINE_CHOICE_MAX];
    int32_t count;
} rcnn_cuda_choices;

typedef struct rcnn_cuda_conv_engine {
    const char *name; /* the first word of its choices; one without variants has just the name */
    bool slow;        /* not worth timing */
    bool (*supports)(const rcnn_backend *backend, const rcnn_cuda_conv_want *want);
    /* Appends variants worth timing, the most promising first. NULL: there is one. */
    rcnn_status (*list)(rcnn_backend *backend, const rcnn_cuda_conv_want *want, rcnn_cuda_choices *out,
                        rcnn_error *err);
    /* choice NULL: the engine's own. A choice may come from a file. UNSUPPORTED: another engine has to do it. */
    rcnn_status (*prepare)(rcnn_backend *backend, const rcnn_cuda_conv_want *want, const char *choice,
                           rcnn_cuda_run **out, rcnn_error *err);
} rcnn_cuda_conv_engine;

extern const rcnn_cuda_conv_engine rcnn_cuda_conv_cudnn;  /* cudnn_conv.c                            */
extern const rcnn_cuda_conv_engine rcnn_cuda_conv_wgmma;  /* conv_sm90.c: half, on Hopper             */
extern const rcnn_cuda_conv_engine rcnn_cuda_conv_thin;   /* conv_own.c: 1x1 to few outputs, in half */
extern const rcnn_cuda_conv_engine rcnn_cuda_conv_direct; /* conv_own.c: any                         */

/* A line that says which convolution it is, the same for all that can share a plan. */
void rcnn_cuda_conv_key(const rcnn_cuda_conv_want *want, char key[RCNN_ENGINE_KEY_MAX]);
bool rcnn_cuda_conv_is_half(const rcnn_cuda_conv_want *want); /* src of two bytes */

/* ------------------------------------------------------------- spans (span.c) */

/* Consecutive CONV, DECONV and MASK_LOGIT ops over the same packed rows from `first` on, the first a CONV, one stage;
 * 0 when there are not at least two. */
int32_t rcnn_cuda_match_rows_span(const rcnn_graph *graph, int32_t first);
/* The kernel of ops first .. first+count-1: one CONV, DECONV or FC, or a run that match_rows_span found. */
rcnn_status rcnn_cuda_prepare_rows_span(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                        rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
