/* A graph of one op with inputs of its own, and running it on any backend: what the op list, the property tests and the
 * golden tests of single ops share. Test code: running out of memory or building nonsense ends the program. */
#ifndef RCNN_TESTS_OPS_ONE_OP_H
#define RCNN_TESTS_OPS_ONE_OP_H

#include <stdbool.h>

#include "backend/backend.h"

#define ONE_OP_VALUES_MAX (RCNN_OP_INPUTS_MAX + RCNN_OP_OUTPUTS_MAX + 1)
#define ONE_OP_IMAGES_MAX 8

/* What features (activations) and weights are on a backend; boxes, scores and counts never change type, and ref has
 * floats always. INT8: weights are bytes times a scale per output channel, features are I8, U8, BF16 or F32 value by
 * value. */
typedef enum one_op_type {
    ONE_OP_F32,
    ONE_OP_TF32,
    ONE_OP_F16,
    ONE_OP_BF16,
    ONE_OP_INT8,
    ONE_OP_TYPE_COUNT
} one_op_type;

/* Which elements of an output mean anything. */
typedef enum one_op_live {
    ONE_OP_ALL,  /* every element                                               */
    ONE_OP_ROWS, /* the first sum(counts) entries of dim[0]; counts is an input */
    ONE_OP_LISTS /* entries [n][0 .. counts[n]); counts is the last output      */
} one_op_live;

typedef struct one_op {
    rcnn_op op; /* filled by the caller between begin and end */
    rcnn_graph graph;
    void *data[ONE_OP_VALUES_MAX];        /* bytes of input value id, NULL for outputs  */
    rcnn_dtype stored[ONE_OP_VALUES_MAX]; /* element types of features on the backend, see one_op_round; F32 = 0 */
    float scale[ONE_OP_VALUES_MAX];       /* of those that are I8 or U8                                          */
    rcnn_value_id counts;                 /* input that says how many rows live, or RCNN_NO_VALUE */
    rcnn_frame frame;
    uint8_t *pixels[ONE_OP_IMAGES_MAX];
    float *weights, *bias;
    uint8_t *label_wanted;
    uint64_t seed;
} one_op;

void one_op_begin(one_op *t, rcnn_op_kind kind, uint64_t seed);
/* Adds an input value, zeroed; t->data[id] is the caller's to fill. */
rcnn_value_id one_op_input(one_op *t, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim);
/* The same of rank 4 and f32, filled with uniform values in [low,high). */
rcnn_value_id one_op_activation(one_op *t, const char *name, const int32_t *dim, float low, float high);
/* An i32 input [images] that holds `counts`. packed_rows: it becomes the op's `rows`. */
rcnn_value_id one_op_counts(one_op *t, int32_t images, const int32_t *counts, bool packed_rows);
rcnn_value_id one_op_output(one_op *t, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim);
/* Weights [out][in][kh][kw] in +-sqrt(3/(in*kh*kw)), so that outputs stay about as large as inputs, and a bias in +-1/2. */
void one_op_weights(one_op *t, int32_t out, int32_t in, int32_t kh, int32_t kw);
/* Adds an image to the frame; rows are `slack` bytes longer than their pixels. Pixels are random unless filled later
 * through t->pixels. scale and ratio follow from the sizes (DIVIDE and RATIO_F64 forms). */
void one_op_image(one_op *t, rcnn_pixel_format format, int32_t width, int32_t height, int32_t net_width,
                  int32_t net_height, size_t slack);
void one_op_end(one_op *t);
void one_op_free(one_op *t);
/* As free, but keeps the weights until one_op_free_retired: backends that stay open remember weights by their pointer. */
void one_op_retire(one_op *t);
void one_op_free_retired(void);

/* Makes an op fit for a type: says what its features are on the backend, and rounds them and its weights to that, so that
 * ref computes from the same numbers. There is more than one way for some types, its mixes, from 0 on: in half precision
 * images have 4 channels, the last of zeros (mix 0), or 3 (mix 1); INT8 has many kinds of inputs and outputs. False when
 * there is no such mix, or when nothing of the op is of that type. */
bool one_op_round(one_op *t, one_op_type type, int32_t mix);
/* The value as a half precision element of the type, or as a factor in TF32. */
float one_op_rounded(one_op_type type, float value);
/* The value as an element of a feature of that type and scale. */
float one_op_stored(rcnn_dtype stored, float scale, float value);
rcnn_precision one_op_precision(one_op_type type);
const char *one_op_type_name(one_op_type type); /* "f32", .. */
/* What a mix is, in words; "" when there is but one. */
const char *one_op_mix_name(const one_op *t, one_op_type type, int32_t mix);
/* Channels of the image that the op reads or makes, when it does that in half precision; else 0. */
int32_t one_op_half_image(const one_op *t, one_op_type type);

size_t one_op_elements(const one_op *t, rcnn_value_id id);
one_op_live one_op_live_of(const one_op *t, int32_t output);

/* A prepared op on an opened backend. */
typedef struct one_op_run {
    const one_op *test;
    const rcnn_backend_vt *vt;
    rcnn_backend *backend;
    bool shared; /* the backend is the caller's */
    rcnn_graph graph;
    rcnn_value values[ONE_OP_VALUES_MAX]; /* those of the op, with the types of this run */
    rcnn_kernel *kernel;
    rcnn_recording *recording;
    void *value[ONE_OP_VALUES_MAX];
    void *scratch;
    size_t scratch_bytes;
    void *result[RCNN_OP_OUTPUTS_MAX]; /* host copies, after one_op_fetch: laid out as in the op's own graph */
} one_op_run;

typedef struct one_op_how {
    int32_t threads;
    bool inplace;         /* give output 0 the memory of the input that op.inplace names          */
    rcnn_backend *shared; /* an opened backend, or NULL to open one                                */
    one_op_type type;     /* of an op that went through one_op_round                              */
    bool float_output;    /* output 0 stays float all the same, as predictions of a network do      */
} one_op_how;

/* *run is to be closed even after a failure. */
rcnn_status one_op_open_as(const one_op *t, const rcnn_backend_vt *vt, const one_op_how *how, one_op_run *run,
                           rcnn_error *err);
rcnn_status one_op_open(const one_op *t, const rcnn_backend_vt *vt, int32_t threads, bool inplace, one_op_run *run,
                        rcnn_error *err);
/* Copies the inputs to the backend and fills outputs and scratch with 0xff bytes: NaN, -1. */
rcnn_status one_op_load(one_op_run *run, rcnn_error *err);
/* Runs the op and waits for it. */
rcnn_status one_op_enqueue(one_op_run *run, rcnn_error *err);
/* Backends that record: makes run->recording, and runs it and waits. */
rcnn_status one_op_record(one_op_run *run, rcnn_error *err);
rcnn_status one_op_replay(one_op_run *run, rcnn_error *err);
/* Copies the outputs back into run->result. INTERNAL when the bytes after a value were written to. */
rcnn_status one_op_fetch(one_op_run *run, rcnn_error *err);
void one_op_close(one_op_run *run);
/* Elements [begin, end) of an output. */
typedef struct one_op_span {
    size_t begin, end;
} one_op_span;

/* Those that are live in these results, row by row of dimension 0; an empty span in a row that has none. False behind the
 * last row. */
bool one_op_live_span(const one_op *t, void *const *result, int32_t output, int32_t row, one_op_span *out);
bool one_op_is_live(const one_op *t, void *const *result, int32_t output, size_t element);
/* First element of an output, live in these results, whose bytes are not the same in a and b; SIZE_MAX when there is none. */
size_t one_op_first_difference(const one_op *t, void *const *result, int32_t output, const void *a, const void *b);

/* All of it on ref with one thread; fails the program's checks through `err` alone. */
rcnn_status one_op_on_ref(const one_op *t, one_op_run *run, rcnn_error *err);

#endif
