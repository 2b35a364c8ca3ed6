/* Cases of the ops between pixels and predictions: conv, maxpool, upsample_add, fc, deconv, mask_logit. Channel counts
 * around 16 and 8 are the tails of vector code; real shapes are those of R50-FPN at 800x1344. */
#include "ops/op_cases.h"

#include "harness.h"

/* ------------------------------------------------------------------ conv */

typedef struct conv_params {
    int32_t n, h, w, ci, co, kernel, stride, pad, groups, relu, residual;
    int32_t images, counts[4]; /* images > 0: packed rows with these counts */
} conv_params;

static void build_conv(one_op *t, const void *pointer)
{
    const conv_params *p = pointer;
    one_op_begin(t, RCNN_OP_CONV, 21);
    t->op.u.conv.stride = p->stride;
    t->op.u.conv.pad = p->pad;
    t->op.u.conv.groups = p->groups;
    t->op.u.conv.relu = p->relu;
    t->op.u.conv.residual = p->residual;
    const int32_t in[4] = {p->n, p->h, p->w, p->ci};
    const int32_t out[4] = {p->n, (p->h + 2 * p->pad - p->kernel) / p->stride + 1,
                            (p->w + 2 * p->pad - p->kernel) / p->stride + 1, p->co};
    one_op_activation(t, "src", in, -1, 1);
    if (p->residual) {
        one_op_activation(t, "residual", out, -1, 1);
        t->op.inplace = 1;
    }
    if (p->images) {
        one_op_counts(t, p->images, p->counts, true);
    }
    one_op_weights(t, p->co, p->ci / p->groups, p->kernel, p->kernel);
    one_op_output(t, "dst", RCNN_F32, 4, out);
    one_op_end(t);
}

#define CASE(fn, type, text, ...)                                                                                      \
    {                                                                                                                  \
        .name = (text), .build = (fn), .params = &(const type)                                                         \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CASE_LARGE(fn, type, text, ...)                                                                                \
    {                                                                                                                  \
        .name = (text), .size = OP_LARGE, .build = (fn), .params = &(const type)                                       \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CONV(text, ...)       CASE(build_conv, conv_params, text, __VA_ARGS__, 0, {0})
#define CONV_LARGE(text, ...) CASE_LARGE(build_conv, conv_params, text, __VA_ARGS__, 0, {0})
#define CONV_ROWS(text, ...)  CASE(build_conv, conv_params, text, __VA_ARGS__)

static const op_case CONV_CASES[] = {
    CONV("1x1", 1, 5, 7, 16, 16, 1, 1, 0, 1, 0, 0),
    CONV("1x1 one pixel", 1, 1, 1, 3, 5, 1, 1, 0, 1, 1, 0),
    CONV("1x1 channel tails", 1, 6, 5, 17, 31, 1, 1, 0, 1, 1, 0),
    CONV("1x1 stride 2 odd size", 1, 9, 7, 16, 32, 1, 2, 0, 1, 0, 0),
    CONV("1x1 residual relu", 2, 6, 5, 16, 24, 1, 1, 0, 1, 1, 1),
    CONV("1x1 15 outputs", 1, 7, 9, 32, 15, 1, 1, 0, 1, 0, 0),
    CONV("3x3", 1, 8, 8, 16, 16, 3, 1, 1, 1, 0, 0),
    CONV("3x3 relu batch 3", 3, 7, 5, 8, 16, 3, 1, 1, 1, 1, 0),
    CONV("3x3 on one pixel", 1, 1, 1, 16, 16, 3, 1, 1, 1, 1, 0),
    CONV("3x3 stride 2 even", 1, 8, 10, 16, 16, 3, 2, 1, 1, 1, 0),
    CONV("3x3 stride 2 odd", 1, 13, 11, 16, 17, 3, 2, 1, 1, 1, 0),
    CONV("3x3 residual", 1, 6, 7, 16, 16, 3, 1, 1, 1, 1, 1),
    CONV("3x3 groups 4", 1, 9, 8, 32, 32, 3, 1, 1, 4, 1, 0),
    CONV("3x3 groups 32 stride 2", 1, 9, 8, 128, 128, 3, 2, 1, 32, 1, 0),
    CONV("3x3 depthwise", 1, 5, 6, 16, 16, 3, 1, 1, 16, 0, 0),
    CONV("7x7 stem", 1, 32, 32, 3, 64, 7, 2, 3, 1, 1, 0),
    CONV("7x7 stem odd", 1, 33, 47, 3, 16, 7, 2, 3, 1, 1, 0),
    CONV_ROWS("3x3 packed rows", 6, 7, 7, 16, 16, 3, 1, 1, 1, 1, 0, 2, {2, 1}),
    CONV_ROWS("3x3 packed rows full", 6, 7, 7, 16, 16, 3, 1, 1, 1, 1, 0, 3, {2, 2, 2}),
    CONV_ROWS("3x3 packed rows none", 6, 7, 7, 16, 16, 3, 1, 1, 1, 1, 0, 2, {0, 0}),
    CONV_ROWS("3x3 packed rows, first image empty", 6, 7, 7, 16, 16, 3, 1, 1, 1, 1, 0, 2, {0, 3}),
    /* by Winograd's filtering on the cpu backend: tiles of 5x5, 4x4 or with stride 2 3x3 outputs, panels of 32 channels */
    CONV("3x3 32-32 on one pixel", 1, 1, 1, 32, 32, 3, 1, 1, 1, 0, 0),
    CONV("3x3 32-32 one tile", 1, 4, 4, 32, 32, 3, 1, 1, 1, 1, 0),
    CONV("3x3 32-32 residual relu", 1, 5, 7, 32, 32, 3, 1, 1, 1, 1, 1),
    CONV("3x3 32-96 batch 3", 3, 6, 5, 32, 96, 3, 1, 1, 1, 0, 0),
    CONV("3x3 64-32", 1, 9, 8, 64, 32, 3, 1, 1, 1, 0, 0),
    CONV_ROWS("3x3 32-32 packed rows", 4, 14, 14, 32, 32, 3, 1, 1, 1, 1, 0, 2, {2, 1}),
    CONV_ROWS("3x3 32-32 packed rows none", 4, 14, 14, 32, 32, 3, 1, 1, 1, 1, 0, 2, {0, 0}),
    CONV_ROWS("3x3 32-32 packed rows, first image empty", 4, 14, 14, 32, 32, 3, 1, 1, 1, 1, 0, 2, {0, 2}),
    CONV("3x3 32-32 many tiles", 1, 64, 72, 32, 32, 3, 1, 1, 1, 1, 0),
    CONV("3x3 32-32 stride 2 on one pixel", 1, 1, 1, 32, 32, 3, 2, 1, 1, 0, 0),
    CONV("3x3 32-64 stride 2 even", 2, 12, 8, 32, 64, 3, 2, 1, 1, 1, 0),
    CONV("3x3 64-32 stride 2 odd, residual", 1, 13, 5, 64, 32, 3, 2, 1, 1, 1, 1),
    CONV_ROWS("3x3 32-32 stride 2 packed rows", 4, 14, 14, 32, 32, 3, 2, 1, 1, 1, 0, 2, {2, 1}),
    /* by the cpu backend's own product: 3 or 14 pixels at once, one to eight times that in a block */
    CONV("1x1 32-32 residual on one pixel", 1, 1, 1, 32, 32, 1, 1, 0, 1, 1, 1),
    CONV("1x1 32-64 residual relu", 1, 5, 7, 32, 64, 1, 1, 0, 1, 1, 1),
    CONV("1x1 64-32 residual batch 3", 3, 3, 3, 64, 32, 1, 1, 0, 1, 0, 1),
    CONV("1x1 96-64 residual whole blocks", 1, 6, 7, 96, 64, 1, 1, 0, 1, 0, 1),
    CONV("1x1 32-32 residual many pixels", 1, 25, 27, 32, 32, 1, 1, 0, 1, 1, 1),
    CONV("1x1 256-64, in BF16 alone", 1, 5, 7, 256, 64, 1, 1, 0, 1, 1, 0),
    CONV_ROWS("1x1 32-32 residual packed rows", 6, 3, 3, 32, 32, 1, 1, 0, 1, 1, 1, 2, {2, 1}),
    CONV_ROWS("1x1 32-32 residual packed rows none", 6, 3, 3, 32, 32, 1, 1, 0, 1, 1, 1, 2, {0, 0}),
    CONV_LARGE("stem 800x1344", 1, 800, 1344, 3, 64, 7, 2, 3, 1, 1, 0),
    CONV_LARGE("layer1 1x1 64-64", 1, 200, 336, 64, 64, 1, 1, 0, 1, 1, 0),
    CONV_LARGE("layer1 3x3 64-64", 1, 200, 336, 64, 64, 3, 1, 1, 1, 1, 0),
    CONV_LARGE("layer1 1x1 64-256 + residual", 1, 200, 336, 64, 256, 1, 1, 0, 1, 1, 1),
    CONV_LARGE("layer2 3x3 stride 2", 1, 200, 336, 128, 128, 3, 2, 1, 1, 1, 0),
    CONV_LARGE("layer3 3x3", 1, 50, 84, 256, 256, 3, 1, 1, 1, 1, 0),
    CONV_LARGE("layer4 1x1 512-2048 + residual", 1, 25, 42, 512, 2048, 1, 1, 0, 1, 1, 1),
    CONV_LARGE("layer4 shortcut 1024-2048 stride 2", 1, 50, 84, 1024, 2048, 1, 2, 0, 1, 0, 0),
    CONV_LARGE("fpn lateral P2", 1, 200, 336, 256, 256, 1, 1, 0, 1, 0, 0),
    CONV_LARGE("fpn output P2", 1, 200, 336, 256, 256, 3, 1, 1, 1, 0, 0),
    CONV_LARGE("rpn conv P6", 1, 13, 21, 256, 256, 3, 1, 1, 1, 1, 0),
    CONV_LARGE("rpn pred P3", 1, 100, 168, 256, 15, 1, 1, 0, 1, 0, 0),
    CASE_LARGE(build_conv, conv_params, "mask conv, 37 of 100 rows", 100, 14, 14, 256, 256, 3, 1, 1, 1, 1, 0, 1, {37}),
};
OP_CASE_LIST(conv, CONV_CASES);

/* --------------------------------------------------------------- maxpool */

typedef struct maxpool_params {
    int32_t n, h, w, c, kernel, stride, pad;
} maxpool_params;

static void build_maxpool(one_op *t, const void *pointer)
{
    const maxpool_params *p = pointer;
    one_op_begin(t, RCNN_OP_MAXPOOL, 22);
    t->op.u.maxpool.kernel = p->kernel;
    t->op.u.maxpool.stride = p->stride;
    t->op.u.maxpool.pad = p->pad;
    const int32_t in[4] = {p->n, p->h, p->w, p->c};
    const int32_t out[4] = {p->n, (p->h + 2 * p->pad - p->kernel) / p->stride + 1,
                            (p->w + 2 * p->pad - p->kernel) / p->stride + 1, p->c};
    one_op_activation(t, "src", in, -2, -1); /* all below zero: padding with zeros would show */
    one_op_output(t, "dst", RCNN_F32, 4, out);
    one_op_end(t);
}

#define POOL(text, ...) CASE(build_maxpool, maxpool_params, text, __VA_ARGS__)

static const op_case MAXPOOL_CASES[] = {
    POOL("3x3 stride 2 even", 1, 8, 10, 16, 3, 2, 1),
    POOL("3x3 stride 2 odd", 2, 9, 7, 5, 3, 2, 1),
    POOL("3x3 one pixel", 1, 1, 1, 17, 3, 2, 1),
    POOL("3x3 one row", 1, 1, 9, 8, 3, 2, 1),
    POOL("1x1 stride 2 odd (P6)", 1, 25, 42, 16, 1, 2, 0),
    POOL("1x1 stride 2 tails", 2, 3, 5, 19, 1, 2, 0),
    POOL("2x2 stride 2", 1, 6, 8, 16, 2, 2, 0),
    CASE_LARGE(build_maxpool, maxpool_params, "stem pool 400x672", 1, 400, 672, 64, 3, 2, 1),
};
OP_CASE_LIST(maxpool, MAXPOOL_CASES);

/* ---------------------------------------------------------- upsample_add */

typedef struct upsample_params {
    int32_t n, h, w, top_h, top_w, c;
} upsample_params;

static void build_upsample(one_op *t, const void *pointer)
{
    const upsample_params *p = pointer;
    one_op_begin(t, RCNN_OP_UPSAMPLE_ADD, 23);
    t->op.inplace = 0;
    const int32_t lateral[4] = {p->n, p->h, p->w, p->c};
    const int32_t top[4] = {p->n, p->top_h, p->top_w, p->c};
    one_op_activation(t, "lateral", lateral, -1, 1);
    one_op_activation(t, "top", top, -1, 1);
    one_op_output(t, "dst", RCNN_F32, 4, lateral);
    one_op_end(t);
}

#define UPSAMPLE(text, ...) CASE(build_upsample, upsample_params, text, __VA_ARGS__)

static const op_case UPSAMPLE_CASES[] = {
    UPSAMPLE("twice", 1, 8, 12, 4, 6, 16),
    UPSAMPLE("twice, tails, batch 2", 2, 6, 10, 3, 5, 19),
    UPSAMPLE("odd target", 1, 7, 9, 4, 5, 16),
    UPSAMPLE("uneven factor", 1, 25, 42, 13, 21, 8),
    UPSAMPLE("same size", 1, 5, 5, 5, 5, 16),
    UPSAMPLE("from one pixel", 1, 3, 5, 1, 1, 7),
    CASE_LARGE(build_upsample, upsample_params, "P2 + P3", 1, 200, 336, 100, 168, 256),
};
OP_CASE_LIST(upsample_add, UPSAMPLE_CASES);

/* -------------------------------------------------------------------- fc */

typedef struct fc_params {
    int32_t rows, bins, in, out, relu; /* bins > 0: the input is [rows,bins,bins,in/bins^2] */
    int32_t images, counts[4];         /* images > 0: packed rows                           */
} fc_params;

static void build_fc(one_op *t, const void *pointer)
{
    const fc_params *p = pointer;
    one_op_begin(t, RCNN_OP_FC, 24);
    t->op.u.fc.relu = p->relu;
    t->op.u.fc.permute_bins = p->bins;
    const int32_t flat[2] = {p->rows, p->in};
    const int32_t binned[4] = {p->rows, p->bins, p->bins, p->bins ? p->in / (p->bins * p->bins) : 0};
    rcnn_value_id src =
        p->bins ? one_op_input(t, "src", RCNN_F32, 4, binned) : one_op_input(t, "src", RCNN_F32, 2, flat);
    for (size_t i = 0; i < one_op_elements(t, src); i++) {
        ((float *)t->data[src])[i] = test_uniform(&t->seed, -1, 1);
    }
    if (p->images) {
        one_op_counts(t, p->images, p->counts, true);
    }
    one_op_weights(t, p->out, p->in, 1, 1);
    const int32_t out[2] = {p->rows, p->out};
    one_op_output(t, "dst", RCNN_F32, 2, out);
    one_op_end(t);
}

#define FC(text, ...) CASE(build_fc, fc_params, text, __VA_ARGS__)

static const op_case FC_CASES[] = {
    FC("plain", 8, 0, 32, 16, 0, 0, {0}),
    FC("relu, tails", 5, 0, 33, 17, 1, 0, {0}),
    FC("one by one", 1, 0, 1, 1, 0, 0, {0}),
    FC("7x7 bins", 4, 7, 49 * 8, 16, 1, 0, {0}),
    FC("7x7 bins, rows of 2 images", 10, 7, 49 * 3, 20, 1, 2, {1, 4}),
    FC("rows none", 10, 0, 16, 16, 1, 2, {0, 0}),
    FC("rows one", 10, 0, 16, 405, 0, 2, {0, 1}),
    FC("rows full", 12, 0, 64, 10, 0, 3, {4, 4, 4}),
    /* by the cpu backend's own product, rows as a whole and in chunks */
    FC("64-32", 5, 0, 64, 32, 1, 0, {0}),
    FC("7x7 bins 64-96, rows of 2 images", 40, 7, 49 * 64, 96, 1, 2, {17, 20}),
    FC("4096-64, one row", 3, 0, 4096, 64, 0, 1, {1}),
    CASE_LARGE(build_fc, fc_params, "box fc0, 1000 rows", 1000, 7, 12544, 1024, 1, 1, {1000}),
    CASE_LARGE(build_fc, fc_params, "box fc0, 123 of 1000 rows", 1000, 7, 12544, 1024, 1, 1, {123}),
    CASE_LARGE(build_fc, fc_params, "box pred, 1000 rows", 1000, 0, 1024, 401, 0, 1, {1000}),
};
OP_CASE_LIST(fc, FC_CASES);

/* ---------------------------------------------------------------- deconv */

typedef struct rows_params {
    int32_t rows, side, ci, co, relu;
    int32_t images, counts[4];
    int32_t agnostic, channel_offset; /* mask_logit */
} rows_params;

static void build_deconv(one_op *t, const void *pointer)
{
    const rows_params *p = pointer;
    one_op_begin(t, RCNN_OP_DECONV, 25);
    t->op.u.deconv.relu = p->relu;
    const int32_t in[4] = {p->rows, p->side, p->side, p->ci};
    const int32_t out[4] = {p->rows, 2 * p->side, 2 * p->side, p->co};
    one_op_activation(t, "src", in, -1, 1);
    one_op_counts(t, p->images, p->counts, true);
    one_op_weights(t, p->co, p->ci, 2, 2); /* random all the same: only the order [in][out][2][2] differs */
    one_op_output(t, "dst", RCNN_F32, 4, out);
    one_op_end(t);
}

#define DECONV(text, ...) CASE(build_deconv, rows_params, text, __VA_ARGS__)

static const op_case DECONV_CASES[] = {
    DECONV("plain", 4, 5, 16, 16, 0, 1, {4}, 0, 0),
    DECONV("relu, tails", 3, 3, 17, 9, 1, 1, {3}, 0, 0),
    DECONV("one pixel", 1, 1, 8, 8, 1, 1, {1}, 0, 0),
    DECONV("rows of 3 images", 9, 4, 16, 16, 1, 3, {1, 0, 2}, 0, 0),
    DECONV("rows none", 4, 4, 16, 16, 1, 2, {0, 0}, 0, 0),
    CASE_LARGE(build_deconv, rows_params, "mask deconv, 37 of 100 rows", 100, 14, 256, 256, 1, 1, {37}, 0, 0),
};
OP_CASE_LIST(deconv, DECONV_CASES);

/* ------------------------------------------------------------ mask_logit */

static void build_mask_logit(one_op *t, const void *pointer)
{
    const rows_params *p = pointer;
    one_op_begin(t, RCNN_OP_MASK_LOGIT, 26);
    t->op.u.mask_logit.agnostic = p->agnostic;
    t->op.u.mask_logit.channel_offset = p->channel_offset;
    const int32_t in[4] = {p->rows, p->side, p->side, p->ci};
    const int32_t per_image[2] = {p->images, p->rows / p->images};
    one_op_activation(t, "src", in, -4, 4);
    rcnn_value_id labels = one_op_input(t, "labels", RCNN_I32, 2, per_image);
    for (int32_t i = 0; i < p->rows; i++) {
        uint64_t label = test_random(&t->seed) % (uint64_t)(p->co - p->channel_offset);
        ((int32_t *)t->data[labels])[i] = (int32_t)label;
    }
    t->op.rows = one_op_counts(t, p->images, p->counts, false);
    one_op_weights(t, p->co, p->ci, 1, 1);
    one_op_output(t, "masks", RCNN_F32, 3, in);
    one_op_end(t);
}

#define MASK(text, ...) CASE(build_mask_logit, rows_params, text, __VA_ARGS__)

static const op_case MASK_LOGIT_CASES[] = {
    MASK("80 classes", 4, 6, 16, 80, 0, 1, {4}, 0, 0),
    MASK("background first", 4, 6, 16, 91, 0, 1, {3}, 0, 1),
    MASK("agnostic", 4, 6, 16, 1, 0, 1, {4}, 1, 0),
    MASK("tails", 3, 5, 19, 3, 0, 1, {3}, 0, 0),
    MASK("3 images, one empty", 9, 4, 16, 5, 0, 3, {2, 0, 3}, 0, 0),
    MASK("none", 4, 4, 16, 5, 0, 2, {0, 0}, 0, 0),
    CASE_LARGE(build_mask_logit, rows_params, "100 masks of 28x28", 100, 28, 256, 80, 0, 1, {100}, 0, 0),
};
OP_CASE_LIST(mask_logit, MASK_LOGIT_CASES);
