/* The preprocess op of every backend against pictures resized by OpenCV, Pillow and torch themselves
 * (data/resize_golden.bin, made by scripts/make_resize_golden.py, which also describes the file). Bytes must be equal. */
#include "harness.h"
#include "ops/one_op.h"

#define FLOAT_TOLERANCE 1e-5f /* torch adds the four products in another order */

typedef struct record {
    uint32_t kernel, in_width, in_height, out_width, out_height, form;
} record;

static uint8_t picture_byte(uint32_t x, uint32_t y, uint32_t c)
{
    uint32_t v = x * 374761393u + y * 668265263u + c * 2246822519u;
    v = (v ^ (v >> 13)) * 1274126177u;
    return (uint8_t)(v ^ (v >> 16));
}

static void build(one_op *t, const record *r)
{
    one_op_begin(t, RCNN_OP_PREPROCESS, 1);
    t->op.u.preprocess.resize = (rcnn_resize)r->kernel;
    t->op.u.preprocess.order = RCNN_CHANNELS_RGB;
    for (int c = 0; c < 3; c++) {
        for (int v = 0; v < 256; v++) {
            t->op.u.preprocess.lut[c][v] = r->kernel == RCNN_RESIZE_FLOAT ? (float)v / 255.0f : (float)v;
        }
    }
    one_op_image(t, RCNN_PIXEL_RGB8, (int32_t)r->in_width, (int32_t)r->in_height, (int32_t)r->out_width,
                 (int32_t)r->out_height, 0);
    uint8_t *pixel = t->pixels[0];
    for (uint32_t y = 0; y < r->in_height; y++) {
        for (uint32_t x = 0; x < r->in_width; x++) {
            for (uint32_t c = 0; c < 3; c++) {
                *pixel++ = picture_byte(x, y, c);
            }
        }
    }
    const int32_t dim[4] = {1, (int32_t)(r->out_height + 31) / 32 * 32, (int32_t)(r->out_width + 31) / 32 * 32, 3};
    one_op_output(t, "image", RCNN_F32, 4, dim);
    one_op_end(t);
}

/* Element i of the resized picture in the padded result. */
static float result_at(const one_op *t, const record *r, const float *result, uint32_t i)
{
    const size_t row = (size_t)t->graph.values[t->op.output[0]].desc.dim[2] * 3;
    return result[i / (r->out_width * 3) * row + i % (r->out_width * 3)];
}

static void compare_stored(const one_op *t, const record *r, const float *result, const uint8_t *want, const char *on)
{
    for (uint32_t i = 0; i < r->out_width * r->out_height * 3; i++) {
        float wanted = (float)want[i];
        float allowed = 0;
        if (r->kernel == RCNN_RESIZE_FLOAT) {
            memcpy(&wanted, want + (size_t)i * 4, sizeof wanted);
            allowed = FLOAT_TOLERANCE;
        }
        float got = result_at(t, r, result, i);
        if (!(fabsf(got - wanted) <= allowed)) {
            CHECK_MSG(0, "%s: kernel %u %ux%u -> %ux%u, element %u: want %.9g, got %.9g", on, r->kernel, r->in_width,
                      r->in_height, r->out_width, r->out_height, i, (double)wanted, (double)got);
            return;
        }
    }
}

static void compare_hash(const one_op *t, const record *r, const float *result, uint64_t want, const char *on)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < r->out_width * r->out_height * 3; i++) {
        hash = (hash ^ (uint8_t)result_at(t, r, result, i)) * 0x100000001b3u;
    }
    CHECK_MSG(hash == want, "%s: kernel %u %ux%u -> %ux%u differs somewhere", on, r->kernel, r->in_width, r->in_height,
              r->out_width, r->out_height);
}

static void run_record(const record *r, const uint8_t *body)
{
    one_op t;
    build(&t, r);
    for (int32_t b = 0; b < rcnn_backend_registry_count(); b++) {
        const rcnn_backend_vt *vt = rcnn_backend_registry_get(b);
        char text[256];
        if (vt->probe(text, sizeof text) != RCNN_OK) {
            continue;
        }
        rcnn_error err = {0};
        one_op_run run;
        rcnn_status status = one_op_open(&t, vt, 2, false, &run, &err);
        status = status == RCNN_OK ? one_op_load(&run, &err) : status;
        status = status == RCNN_OK ? one_op_enqueue(&run, &err) : status;
        status = status == RCNN_OK ? one_op_fetch(&run, &err) : status;
        CHECK_OK(status, err);
        uint64_t hash;
        memcpy(&hash, body, sizeof hash);
        if (status == RCNN_OK && r->form == 0) {
            compare_stored(&t, r, run.result[0], body, vt->name);
        } else if (status == RCNN_OK) {
            compare_hash(&t, r, run.result[0], hash, vt->name);
        }
        one_op_close(&run);
    }
    one_op_free(&t);
}

TEST(resize_equals_opencv_pillow_and_torch)
{
    FILE *file = fopen(RCNN_SOURCE_DIR "/tests/ops/data/resize_golden.bin", "rb");
    REQUIRE(file != NULL);
    static uint8_t bytes[1 << 18];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    REQUIRE(size > 8 && size < sizeof bytes && memcmp(bytes, "RSZG", 4) == 0);
    uint32_t count;
    memcpy(&count, bytes + 4, sizeof count);
    size_t at = 8;
    for (uint32_t i = 0; i < count; i++) {
        record r;
        REQUIRE(at + sizeof r <= size);
        memcpy(&r, bytes + at, sizeof r);
        at += sizeof r;
        size_t item = r.kernel == RCNN_RESIZE_FLOAT ? 4 : 1;
        size_t body = r.form == 0 ? (size_t)r.out_width * r.out_height * 3 * item : 8;
        REQUIRE(at + body <= size);
        run_record(&r, bytes + at);
        at += body;
    }
    CHECK(at == size);
    CHECK(count >= 36);
}

TEST_MAIN
