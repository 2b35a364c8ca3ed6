/* Pieces of the network that a backend may run as one kernel or with shared choices, as a session runs them, against ref
 * op by op: in every precision a backend has, and with other counts than a recording was made with. */
#include "ops/op_list.h"

#include "harness.h"
#include "ops/net.h"

#define NONE RCNN_NO_VALUE

/* ----------------------------------------------------------------- pieces */

typedef struct piece {
    const char *name;
    void (*build)(net *n, const int32_t *p);
    int32_t p[7];
    bool large; /* more than the emulator can chew */
} piece;

/* p: images, height, width */
static void build_stem(net *n, const int32_t *p)
{
    rcnn_value_id image = net_image(n, p[0], p[1], p[2]);
    rcnn_value_id conv = net_conv(n, "backbone.stem", image, net_weights(n, 64, 3, 7, 7),
                                  (net_conv_options){.stride = 2, .relu = 1, .residual = NONE, .rows = NONE});
    const int32_t *in = n->graph.values[conv].desc.dim;
    const int32_t dim[4] = {in[0], (in[1] - 1) / 2 + 1, (in[2] - 1) / 2 + 1, 64};
    rcnn_op pool = net_op(RCNN_OP_MAXPOOL, "backbone.stem_pool");
    pool.u.maxpool.kernel = 3;
    pool.u.maxpool.stride = 2;
    pool.u.maxpool.pad = 1;
    net_input(&pool, conv);
    net_output(n, net_add(n, &pool, true, 4, dim));
}

/* p: images, height, width, channels in, inner channels, stride. Two blocks, the first with a shortcut. */
static void build_bottlenecks(net *n, const int32_t *p)
{
    const int32_t dim[4] = {p[0], p[1], p[2], p[3]};
    const int32_t inner = p[4], outer = 4 * p[4];
    rcnn_value_id x = net_features(n, "x", dim);
    for (int32_t block = 0; block < 2; block++) {
        const int32_t in = n->graph.values[x].desc.dim[3];
        const net_conv_options relu = {.stride = 1, .relu = 1, .residual = NONE, .rows = NONE};
        net_conv_options strided = relu, last = relu;
        strided.stride = block == 0 ? p[5] : 1;
        net_conv_options shortcut = strided;
        shortcut.relu = 0;
        last.residual = block == 0 ? net_conv(n, "shortcut", x, net_weights(n, outer, in, 1, 1), shortcut) : x;
        x = net_conv(n, block ? "1.conv1" : "0.conv1", x, net_weights(n, inner, in, 1, 1), relu);
        x = net_conv(n, block ? "1.conv2" : "0.conv2", x, net_weights(n, inner, inner, 3, 3), strided);
        x = net_conv(n, block ? "1.conv3" : "0.conv3", x, net_weights(n, outer, inner, 1, 1), last);
    }
    net_output(n, x);
}

/* p: images, height, width, top height, top width, channels */
static void build_top_down(net *n, const int32_t *p)
{
    const int32_t src[4] = {p[0], p[1], p[2], 2 * p[5]};
    const int32_t small[4] = {p[0], p[3], p[4], p[5]};
    const int32_t dim[4] = {p[0], p[1], p[2], p[5]};
    const net_conv_options plain = {.stride = 1, .residual = NONE, .rows = NONE};
    rcnn_value_id c = net_features(n, "c", src);
    rcnn_value_id top = net_features(n, "top", small);
    rcnn_op add = net_op(RCNN_OP_UPSAMPLE_ADD, "fpn.merge");
    add.inplace = 0;
    net_input(&add, net_conv(n, "fpn.lateral", c, net_weights(n, p[5], 2 * p[5], 1, 1), plain));
    net_input(&add, top);
    rcnn_value_id merged = net_add(n, &add, true, 4, dim);
    net_output(n, merged);
    net_output(n, net_conv(n, "fpn.output", merged, net_weights(n, p[5], p[5], 3, 3), plain));
}

/* p: images, height and width of the largest level, channels. Five levels share the weights. */
static void build_rpn_heads(net *n, const int32_t *p)
{
    const net_conv_options relu = {.stride = 1, .relu = 1, .residual = NONE, .rows = NONE};
    const net_conv_options prediction = {.stride = 1, .residual = NONE, .rows = NONE, .prediction = true};
    rcnn_value_id levels[5];
    for (int32_t l = 0; l < 5; l++) {
        const int32_t dim[4] = {p[0], (p[1] - 1) / (1 << l) + 1, (p[2] - 1) / (1 << l) + 1, p[3]};
        levels[l] = net_features(n, "p", dim);
    }
    const rcnn_op_weights conv = net_weights(n, p[3], p[3], 3, 3), pred = net_weights(n, 15, p[3], 1, 1);
    for (int32_t l = 0; l < 5; l++) {
        rcnn_value_id x = net_conv(n, "rpn.conv0", levels[l], conv, relu);
        net_output(n, net_conv(n, "rpn.pred", x, pred, prediction));
    }
}

static rcnn_value_id add_counts(net *n, int32_t images, int32_t each)
{
    int32_t counts[RCNN_BATCH_MAX];
    for (int32_t i = 0; i < images; i++) {
        counts[i] = each;
    }
    return net_integers(n, "counts", 1, &images, counts);
}

static rcnn_value_id add_labels(net *n, int32_t images, int32_t capacity, int32_t classes)
{
    const int32_t rows = images * capacity, lists[2] = {images, capacity};
    int32_t *labels = calloc((size_t)rows, sizeof *labels);
    for (int32_t i = 0; labels && i < rows; i++) {
        labels[i] = (int32_t)(test_random(&n->seed) % (uint64_t)classes);
    }
    rcnn_value_id value = net_integers(n, "labels", 2, lists, labels);
    free(labels);
    return value;
}

/* channels: of the prediction, one when it is agnostic */
static void add_mask_tail(net *n, rcnn_value_id x, rcnn_value_id labels, rcnn_value_id counts, int32_t channels,
                          bool agnostic)
{
    const int32_t *in = n->graph.values[x].desc.dim;
    const int32_t twice[4] = {in[0], 2 * in[1], 2 * in[2], in[3]};
    rcnn_op deconv = net_op(RCNN_OP_DECONV, "mask.deconv");
    deconv.w = net_weights(n, twice[3], twice[3], 2, 2);
    deconv.u.deconv.relu = 1;
    deconv.rows = counts;
    net_input(&deconv, x);
    x = net_add(n, &deconv, true, 4, twice);
    rcnn_op logit = net_op(RCNN_OP_MASK_LOGIT, "mask.logits");
    logit.w = net_weights(n, channels, twice[3], 1, 1);
    logit.u.mask_logit.agnostic = agnostic;
    logit.rows = counts;
    net_input(&logit, x);
    net_input(&logit, labels);
    net_input(&logit, counts);
    net_output(n, net_add(n, &logit, false, 3, twice));
}

/* p: images, capacity of each, detections of each, channels, classes, convolutions */
static void build_mask_head(net *n, const int32_t *p)
{
    const int32_t dim[4] = {p[0] * p[1], 14, 14, p[3]};
    rcnn_value_id x = net_features(n, "mask_features", dim);
    rcnn_value_id counts = add_counts(n, p[0], p[2]);
    rcnn_value_id labels = add_labels(n, p[0], p[1], p[4]);
    for (int32_t i = 0; i < p[5]; i++) {
        const net_conv_options relu = {.stride = 1, .relu = 1, .residual = NONE, .rows = counts};
        char name[32];
        snprintf(name, sizeof name, "mask.conv%d", i);
        x = net_conv(n, name, x, net_weights(n, p[3], p[3], 3, 3), relu);
    }
    add_mask_tail(n, x, labels, counts, p[4], false);
}

/* p: images, capacity of each, detections of each, channels, classes, side of a map, agnostic */
static void build_mask_tail(net *n, const int32_t *p)
{
    const int32_t dim[4] = {p[0] * p[1], p[5], p[5], p[3]};
    rcnn_value_id x = net_features(n, "mask_features", dim);
    rcnn_value_id counts = add_counts(n, p[0], p[2]);
    rcnn_value_id labels = add_labels(n, p[0], p[1], p[4]);
    add_mask_tail(n, x, labels, counts, p[6] ? 1 : p[4], p[6]);
}

static rcnn_value_id add_fc(net *n, const char *name, rcnn_value_id src, int32_t out, rcnn_value_id rows,
                            bool prediction)
{
    const rcnn_tensor_desc *in = &n->graph.values[src].desc;
    const int32_t dim[2] = {in->dim[0], out};
    const int32_t width = in->rank == 4 ? in->dim[1] * in->dim[2] * in->dim[3] : in->dim[1];
    rcnn_op op = net_op(RCNN_OP_FC, name);
    op.u.fc.permute_bins = in->rank == 4 ? in->dim[1] : 0;
    op.u.fc.relu = !prediction;
    op.rows = rows;
    op.w = net_weights(n, out, width, 1, 1);
    net_input(&op, src);
    return net_add(n, &op, !prediction, 2, dim);
}

/* p: images, capacity of each, proposals of each, channels, inner width, classes */
static void build_box_head(net *n, const int32_t *p)
{
    const int32_t dim[4] = {p[0] * p[1], 7, 7, p[3]};
    rcnn_value_id x = net_features(n, "box_features", dim);
    rcnn_value_id counts = add_counts(n, p[0], p[2]);
    x = add_fc(n, "box.fc0", x, p[4], counts, false);
    x = add_fc(n, "box.fc1", x, p[4], counts, false);
    net_output(n, add_fc(n, "box.pred", x, 5 * p[5] + 1, counts, true));
}

static const piece PIECES[] = {
    {"stem 32x64", build_stem, {1, 32, 64}, false},
    {"stem odd, batch 2", build_stem, {2, 41, 35}, false},
    {"stem one pixel", build_stem, {1, 1, 1}, false},
    {"stem narrow", build_stem, {1, 30, 22}, false},
    {"stem one row past a band", build_stem, {1, 65, 23}, false},
    {"stem three bands, batch 2", build_stem, {2, 131, 30}, true},
    {"stem 64x352", build_stem, {1, 64, 352}, true},
    {"stem 224x320, batch 2", build_stem, {2, 224, 320}, true},
    {"bottlenecks 64-64-256", build_bottlenecks, {1, 9, 18, 64, 64, 1}, false},
    {"bottlenecks 64-64-256 one row, batch 2", build_bottlenecks, {2, 1, 19, 64, 64, 1}, false},
    {"bottlenecks 64-64-256, large", build_bottlenecks, {1, 40, 50, 64, 64, 1}, true},
    {"bottlenecks 64-64-256 odd, batch 2", build_bottlenecks, {2, 13, 21, 64, 64, 1}, true},
    {"bottlenecks stride 2", build_bottlenecks, {1, 7, 10, 64, 32, 2}, false},
    {"bottlenecks stride 2, large", build_bottlenecks, {1, 31, 42, 128, 64, 2}, true},
    {"top down", build_top_down, {1, 8, 14, 4, 7, 64}, false},
    {"top down odd, batch 2", build_top_down, {2, 9, 5, 5, 3, 32}, false},
    {"top down, large", build_top_down, {1, 50, 68, 25, 34, 256}, true},
    {"rpn heads", build_rpn_heads, {1, 12, 16, 64}, false},
    {"rpn heads odd, batch 2", build_rpn_heads, {2, 9, 7, 32}, false},
    {"rpn heads, large", build_rpn_heads, {1, 25, 34, 256}, true},
    {"mask head", build_mask_head, {1, 9, 3, 16, 8, 4}, false},
    {"mask head, 2 images", build_mask_head, {2, 6, 6, 8, 80, 4}, false},
    {"mask head, one convolution", build_mask_head, {1, 3, 3, 16, 1, 1}, false},
    {"mask tail 7x7, 2 images", build_mask_tail, {2, 3, 2, 32, 5, 7, 0}, false},
    {"mask tail 7x7, agnostic", build_mask_tail, {1, 3, 2, 32, 4, 7, 1}, false},
    {"mask tail 14x14", build_mask_tail, {1, 3, 2, 64, 3, 14, 0}, false},
    {"mask head, large", build_mask_head, {1, 40, 5, 64, 80, 4}, true},
    {"box head", build_box_head, {1, 30, 20, 16, 64, 20}, false},
    {"box head, 3 images", build_box_head, {3, 30, 11, 8, 40, 3}, false},
    {"box head, large", build_box_head, {2, 200, 170, 32, 256, 80}, true},
};

/* -------------------------------------------------------------- comparing */

static const char *current = "";

/* Set while the cpu backend's 3x3 convolutions round transformed features and filters to BF16: 2.3 % of the result, in the
 * corners of some tiles six times that. */
static bool winograd_rounds = false;

static bool has_3x3(const net *n)
{
    for (int32_t i = 0; i < n->graph.op_count; i++) {
        const rcnn_op *op = &n->graph.ops[i];
        if (op->kind == RCNN_OP_CONV && op->w.kh == 3) {
            return true;
        }
    }
    return false;
}

/* |got - want| at most this, on values of order 1. Floats: as in op_list.c, over a few layers. TF32 rounds every layer's
 * input to 11 bits on the way in; halves round every layer's output, and engines without a bias or residual of their own
 * once more: a relative 2^-12 or 2^-11 of each, 2^-9 or 2^-8 for bfloat16, and a network of six layers. */
static float allowed_for(const net *n)
{
    static const float ALLOWED[ONE_OP_TYPE_COUNT] = {
        [ONE_OP_F32] = 1e-4f, [ONE_OP_TF32] = 6e-3f, [ONE_OP_F16] = 6e-3f, [ONE_OP_BF16] = 5e-2f};
    return n->type == ONE_OP_BF16 && winograd_rounds && has_3x3(n) ? 0.24f : ALLOWED[n->type];
}

/* Elements of an output that mean something: all, or those of live rows. */
static size_t live_elements(const net *n, rcnn_value_id id)
{
    const rcnn_value *value = &n->graph.values[id];
    const rcnn_value_id rows = n->graph.ops[value->producer].rows;
    size_t row = 1, live = 0;
    for (int32_t i = 1; i < value->desc.rank; i++) {
        row *= (size_t)value->desc.dim[i];
    }
    if (rows == RCNN_NO_VALUE) {
        return row * (size_t)value->desc.dim[0];
    }
    for (int32_t i = 0; i < n->graph.values[rows].desc.dim[0]; i++) {
        live += (size_t)((const int32_t *)n->data[rows])[i];
    }
    return row * live;
}

static void compare_value(net_run *run, const net_values *want, rcnn_value_id id)
{
    rcnn_error err = {0};
    void *memory;
    CHECK_OK(net_fetch(run, id, &memory, &err), err);
    const float allowed = allowed_for(run->net);
    const float *wanted = want->value[id];
    const float *got = memory;
    const size_t count = live_elements(run->net, id);
    size_t bad = 0, first = 0;
    float largest = 0;
    for (size_t e = 0; e < count; e++) {
        const float gap = fabsf(got[e] - wanted[e]);
        largest = gap > largest ? gap : largest;
        if (!(gap <= allowed * fmaxf(1, fabsf(wanted[e]))) && bad++ == 0) {
            first = e;
        }
    }
    CHECK_MSG(bad == 0, "%s: %s[%zu]: want %.9g, got %.9g; %zu of %zu differ, by %.3g at most; allowed %.3g", current,
              run->net->graph.values[id].name, first, (double)wanted[first], (double)got[first], bad, count,
              (double)largest, (double)allowed);
    free(memory);
}

static void compare_outputs(net_run *run, const net_values *want)
{
    rcnn_error err = {0};
    rcnn_status status = net_execute(run, &err);
    CHECK_MSG(status == RCNN_OK, "%s: %d: %s", current, (int)status, err.message);
    for (int32_t v = 0; status == RCNN_OK && v < run->net->graph.value_count; v++) {
        if (run->net->graph.values[v].last_use == INT32_MAX) {
            compare_value(run, want, v);
        }
    }
}

/* ---------------------------------------------------------------- running */

static rcnn_value_id counts_of(const net *n)
{
    return rcnn_graph_find(&n->graph, "counts");
}

static void set_counts(net *n, int32_t each)
{
    const rcnn_value_id id = counts_of(n);
    for (int32_t i = 0; id != RCNN_NO_VALUE && i < n->graph.values[id].desc.dim[0]; i++) {
        ((int32_t *)n->data[id])[i] = each;
    }
}

static void check_counts(net_run *run, net *exact, int32_t each)
{
    net_values want;
    set_counts(exact, each);
    set_counts(run->net, each);
    net_run_on_ref(exact, &want);
    compare_outputs(run, &want);
    net_free_values(&want);
}

/* The run as it is, and with fewer rows than were there at first. */
static void check_run(const piece *p, net_run *run, net *exact, const net_values *want)
{
    compare_outputs(run, want);
    if (counts_of(exact) != RCNN_NO_VALUE) {
        check_counts(run, exact, 0);
        check_counts(run, exact, 1);
        check_counts(run, exact, p->p[1]);
        set_counts(exact, p->p[2]);
        set_counts(run->net, p->p[2]);
    }
}

static void check_piece(const piece *p, const rcnn_backend_vt *vt, rcnn_backend *backend, one_op_type type, net *graves,
                        int32_t *grave_count)
{
    net exact;
    net *typed = &graves[(*grave_count)++]; /* lives as long as the backend, which knows weights by their pointers */
    net_values want;
    net_run run;
    rcnn_error err = {0};
    char text[160];
    snprintf(text, sizeof text, "%s on %s %s", p->name, vt->name, one_op_type_name(type));
    current = text;
    net_begin(&exact, vt, type, false, 77);
    net_begin(typed, vt, type, true, 77);
    p->build(&exact, p->p);
    p->build(typed, p->p);
    net_run_on_ref(&exact, &want);
    rcnn_status status = net_open(typed, vt, backend, &run, &err);
    CHECK_MSG(status == RCNN_OK, "%s: %d: %s", current, (int)status, err.message);
    if (status == RCNN_OK) {
        check_run(p, &run, &exact, &want);
        if (vt->record_begin) {
            strncat(text, ", recorded", sizeof text - strlen(text) - 1);
            CHECK_OK(net_record(&run, &err), err);
            check_run(p, &run, &exact, &want);
        }
    }
    printf("%s: %d ops as %d kernels\n", text, typed->graph.op_count, run.kernel_count);
    net_close(&run);
    net_free_values(&want);
    net_free(&exact);
    current = "";
}

/* Images that were preprocessed on the host come through unchanged but for the type; places without an image are 0. */
static void check_ready(const rcnn_backend_vt *vt, rcnn_backend *backend, one_op_type type)
{
    enum { HEIGHT = 32, WIDTH = 64, PIXELS = HEIGHT * WIDTH };
    net n;
    net_run run;
    rcnn_error err = {0};
    void *memory = NULL;
    net_begin(&n, vt, type, true, 5);
    const int32_t channels = n.image_channels;
    const int32_t dim[4] = {2, HEIGHT, WIDTH, channels};
    rcnn_op op = net_op(RCNN_OP_PREPROCESS, "preprocess");
    rcnn_value_id image = net_add(&n, &op, true, 4, dim);
    net_output(&n, image);
    net_ready(&n, HEIGHT, WIDTH);
    rcnn_status status = net_open(&n, vt, backend, &run, &err);
    status = status == RCNN_OK ? net_execute(&run, &err) : status;
    status = status == RCNN_OK ? net_fetch(&run, image, &memory, &err) : status;
    CHECK_MSG(status == RCNN_OK, "ready image in %s: %s", one_op_type_name(type), err.message);
    int bad = 0;
    for (int32_t i = 0; status == RCNN_OK && i < 2 * PIXELS * channels; i++) {
        const int32_t pixel = i / channels, c = i % channels;
        const float want = pixel < PIXELS && c < 3 ? one_op_rounded(type, n.ready[pixel * 3 + c]) : 0;
        bad += ((const float *)memory)[i] != want;
    }
    CHECK_MSG(bad == 0, "ready image in %s: %d elements differ", one_op_type_name(type), bad);
    free(memory);
    net_close(&run);
    net_free(&n);
}

#define PIECE_COUNT (sizeof PIECES / sizeof PIECES[0])

static void check_backend(const rcnn_backend_vt *vt, const char *filter, bool small_only)
{
    static net graves[PIECE_COUNT * ONE_OP_TYPE_COUNT];
    int32_t grave_count = 0;
    const rcnn_backend_options options = {.num_threads = 2};
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    rcnn_precision automatic;
    CHECK_OK(vt->open(&options, &backend, &err), err);
    if (!backend) {
        return;
    }
    const uint32_t precisions = vt->precisions ? vt->precisions(backend, &automatic) : 1u << RCNN_PRECISION_FP32;
    for (int type = 0; type < ONE_OP_TYPE_COUNT; type++) {
        if (!(precisions >> one_op_precision((one_op_type)type) & 1u) || type == ONE_OP_INT8) {
            continue; /* nets of bytes need a scale for every value: the models' tests have them */
        }
        for (size_t i = 0; i < PIECE_COUNT; i++) {
            if (op_list_is_wanted(PIECES[i].name, filter) && !(small_only && PIECES[i].large)) {
                check_piece(&PIECES[i], vt, backend, (one_op_type)type, graves, &grave_count);
            }
        }
        if (vt->stage && op_list_is_wanted("ready image", filter) && type != ONE_OP_TF32) {
            check_ready(vt, backend, (one_op_type)type);
        }
    }
    vt->close(backend);
    for (int32_t i = 0; i < grave_count; i++) {
        net_free(&graves[i]);
    }
}

/* The cpu backend also with every convolution left to oneDNN, and with the narrower products of its own. */
static void check_methods(const rcnn_backend_vt *vt, const char *filter, bool small_only)
{
    if (strcmp(vt->name, "cpu") == 0) {
        setenv("RCNN_CPU_CONV", "direct", 1);
        check_backend(vt, filter, small_only);
        unsetenv("RCNN_CPU_CONV");
        setenv("RCNN_CPU_MASK", "avx2", 1);
        check_backend(vt, filter, true);
        unsetenv("RCNN_CPU_MASK");
        winograd_rounds = true;
    }
    check_backend(vt, filter, small_only);
    winograd_rounds = false;
}

int span_list_main(int argc, char **argv, const rcnn_backend_vt *const *backends, int32_t count, bool small_only)
{
    const char *only_backend = NULL, *filter = NULL;
    int tested = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc) {
            only_backend = argv[++i];
        } else {
            filter = argv[i];
        }
    }
    for (int32_t b = 0; b < count; b++) {
        char text[512];
        if (backends[b] != &rcnn_backend_ref && (!only_backend || strcmp(only_backend, backends[b]->name) == 0) &&
            backends[b]->probe(text, sizeof text) == RCNN_OK) {
            check_methods(backends[b], filter, small_only);
            tested++;
        }
    }
    if (!tested) {
        SKIP("no backend but ref works here");
    }
    printf("%d failures\n", test_failures);
    return test_failures ? 1 : 0;
}
