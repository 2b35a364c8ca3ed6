/* Choice of scale and rounding of int8 weights. */
#include "model/quantise.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#define CODE_MAX 127.0f

/* Adding and subtracting 1.5 * 2^23 rounds a float below 2^22 half to even, in the default rounding mode and without a
 * call to the C library, so that the loop becomes vector code on every target. */
static float round_even(float x)
{
    const float shift = 12582912.0f;
    return (x + shift) - shift;
}

static float encode(float quotient)
{
    float code = round_even(quotient);
    code = code > CODE_MAX ? CODE_MAX : code;
    return code < -CODE_MAX ? -CODE_MAX : code;
}

static float largest(const float *weights, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        const float size = fabsf(weights[i]);
        most = size > most ? size : most;
    }
    return most;
}

/* Sums of 16 lanes: independent additions vectorise, and the order does not depend on the target. */
static double squared_error(const float *weights, size_t count, float scale)
{
    enum { LANES = 16 };
    float lanes[LANES] = {0};
    const float inverse = 1 / scale;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            const float error = weights[i + k] - encode(weights[i + k] * inverse) * scale;
            lanes[k] += error * error;
        }
    }
    double sum = 0;
    for (size_t k = 0; k < LANES; k++) {
        sum += (double)lanes[k];
    }
    for (; i < count; i++) {
        const float error = weights[i] - encode(weights[i] * inverse) * scale;
        sum += (double)(error * error);
    }
    return sum;
}

float rcnn_quantise_channel(const float *weights, size_t count, size_t run, size_t stride, int8_t *codes)
{
    static const float ratios[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.7f};
    float most = 0;
    for (size_t at = 0, done = 0; done < count; at += stride, done += run) {
        const float size = largest(weights + at, run);
        most = size > most ? size : most;
    }
    const float full = most / CODE_MAX;
    const bool tiny = full < FLT_MIN * 256;
    float best = tiny ? 1 : full;
    double least = -1;
    for (size_t r = 0; !tiny && r < sizeof ratios / sizeof ratios[0]; r++) {
        const float candidate = full * ratios[r];
        double error = 0;
        for (size_t at = 0, done = 0; done < count; at += stride, done += run) {
            error += squared_error(weights + at, run, candidate);
        }
        if (least < 0 || error < least) {
            least = error;
            best = candidate;
        }
    }
    for (size_t at = 0, done = 0; done < count; at += stride, done += run) {
        for (size_t i = 0; i < run; i++) {
            codes[at + i] = (int8_t)encode(weights[at + i] / best);
        }
    }
    return best;
}
