/* Element conversion: exhaustive for the 16-bit types, against arithmetic done in double for rounding, and random
 * strides against index arithmetic. */
#include "harness.h"

#include <stdbool.h>

#include "model/convert.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double half_value(uint32_t half) /* finite, sign 0 */
{
    uint32_t exponent = half >> 10, mantissa = half & 0x3ff;
    return exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024.0, (int)exponent - 25);
}

TEST(every_half_has_its_value)
{
    for (uint32_t h = 0; h < 0x7c00; h++) {
        if ((double)rcnn_f16_to_f32((uint16_t)h) != half_value(h) ||
            bits_of(rcnn_f16_to_f32((uint16_t)(h | 0x8000))) != (bits_of((float)half_value(h)) | 0x80000000u)) {
            CHECK_MSG(0, "half 0x%04x", h);
            return;
        }
    }
    CHECK(rcnn_f16_to_f32(0x7c00) == INFINITY && rcnn_f16_to_f32(0xfc00) == -INFINITY);
    CHECK(isnan(rcnn_f16_to_f32(0x7e00)) && isnan(rcnn_f16_to_f32(0xfc01)));
}

TEST(halves_survive_the_round_trip)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        uint16_t back = rcnn_f32_to_f16(rcnn_f16_to_f32((uint16_t)h));
        bool nan = (h & 0x7fff) > 0x7c00;
        if (nan ? back != (h | 0x200) : back != h) {
            CHECK_MSG(0, "half 0x%04x came back as 0x%04x", h, back);
            return;
        }
    }
}

/* Between each two neighbours: the middle goes to the even one, a float32 step to either side decides. */
TEST(half_rounding_is_nearest_even)
{
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float middle = (float)((half_value(h) + half_value(h + 1)) / 2); /* exact: one bit more than a half */
        uint16_t even = (uint16_t)(h + (h & 1));
        if (rcnn_f32_to_f16(middle) != even || rcnn_f32_to_f16(nextafterf(middle, 0)) != h ||
            rcnn_f32_to_f16(nextafterf(middle, INFINITY)) != h + 1) {
            CHECK_MSG(0, "between 0x%04x and the next", h);
            return;
        }
    }
    CHECK(rcnn_f32_to_f16(65519.996f) == 0x7bff && rcnn_f32_to_f16(65520.0f) == 0x7c00);
    CHECK(rcnn_f32_to_f16(-1e30f) == 0xfc00 && rcnn_f32_to_f16(-0.0f) == 0x8000 && rcnn_f32_to_f16(1e-30f) == 0);
    CHECK(rcnn_f32_to_f16(0x1p-25f) == 0 && rcnn_f32_to_f16(0x1.000002p-25f) == 1);
}

TEST(bfloat16)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = rcnn_bf16_to_f32((uint16_t)h);
        uint16_t back = rcnn_f32_to_bf16(value);
        if (bits_of(value) != h << 16 || (isnan(value) ? back != (h | 0x40) : back != h)) {
            CHECK_MSG(0, "bfloat16 0x%04x", h);
            return;
        }
    }
    CHECK(rcnn_f32_to_bf16(1.00390625f) == 0x3f80 && rcnn_f32_to_bf16(1.01171875f) == 0x3f82); /* ties to even */
    CHECK(rcnn_f32_to_bf16(3.4e38f) == 0x7f80);
}

#define CHECK_ROW(type, dtype_id, ...)                                                                                 \
    do {                                                                                                               \
        static const type VALUES[] = {__VA_ARGS__};                                                                    \
        uint8_t unaligned[sizeof VALUES + 1];                                                                          \
        float got[sizeof VALUES / sizeof VALUES[0]];                                                                   \
        rcnn_error err = {0};                                                                                          \
        memcpy(unaligned + 1, VALUES, sizeof VALUES);                                                                  \
        rcnn_tensor_info t = {.name = "t", .dtype = (dtype_id), .rank = 1};                                            \
        t.shape[0] = sizeof VALUES / sizeof VALUES[0];                                                                 \
        t.stride[0] = 1;                                                                                               \
        t.data = unaligned + 1;                                                                                        \
        CHECK_OK(rcnn_tensor_to_f32(&t, got, &err), err);                                                              \
        for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {                                                \
            CHECK(got[i] == (float)VALUES[i]);                                                                         \
        }                                                                                                              \
    } while (0)

TEST(every_type_unaligned)
{
    CHECK_ROW(float, RCNN_F32, 1.5f, -2.0f, 3e38f);
    CHECK_ROW(double, RCNN_F64, 1.0 / 3, -2.0, 1e-50);
    CHECK_ROW(int8_t, RCNN_I8, -128, 0, 127);
    CHECK_ROW(uint8_t, RCNN_U8, 0, 255);
    CHECK_ROW(int16_t, RCNN_I16, -32768, 32767);
    CHECK_ROW(int32_t, RCNN_I32, INT32_MIN, 16777217);
    CHECK_ROW(int64_t, RCNN_I64, INT64_MIN, 1);
    uint8_t flags[] = {0, 1, 7};
    float got[3];
    rcnn_error err = {0};
    rcnn_tensor_info t = {.name = "t", .dtype = RCNN_BOOL, .rank = 1, .shape = {3}, .stride = {1}, .data = flags};
    CHECK_OK(rcnn_tensor_to_f32(&t, got, &err), err);
    CHECK(got[0] == 0 && got[1] == 1 && got[2] == 1);
    t.dtype = (rcnn_dtype)42;
    CHECK(rcnn_tensor_to_f32(&t, got, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK(rcnn_dtype_bytes((rcnn_dtype)42) == 0 && strcmp(rcnn_dtype_name(RCNN_BF16), "BF16") == 0);
}

TEST(random_strides)
{
    static float storage[4096];
    uint64_t seed = 11;
    for (size_t i = 0; i < 4096; i++) {
        storage[i] = (float)i;
    }
    for (int round = 0; round < 500; round++) {
        rcnn_tensor_info t = {
            .name = "t", .dtype = RCNN_F32, .rank = (int32_t)(test_random(&seed) % 5), .data = storage};
        size_t count = 1;
        for (int32_t i = 0; i < t.rank; i++) {
            t.shape[i] = (int64_t)(test_random(&seed) % 6);
            t.stride[i] = (int64_t)(test_random(&seed) % 100);
            count *= (size_t)t.shape[i];
        }
        float got[1296] = {0};
        rcnn_error err = {0};
        CHECK(rcnn_tensor_element_count(&t) == count);
        CHECK_OK(rcnn_tensor_to_f32(&t, got, &err), err);
        for (size_t i = 0; i < count; i++) {
            size_t rest = i;
            int64_t at = 0;
            for (int32_t axis = t.rank - 1; axis >= 0; axis--) {
                at += (int64_t)(rest % (size_t)t.shape[axis]) * t.stride[axis];
                rest /= (size_t)t.shape[axis];
            }
            if (got[i] != (float)at) {
                CHECK_MSG(0, "round %d element %zu", round, i);
                return;
            }
        }
    }
}

TEST_MAIN
