/* See boxes.h. */
#include "backend/cpu/boxes.h"

/* log(1000/16): a box grows at most that much */
static const float LOG_GROWTH_MAX = 4.135166556742356f;

void rcnn_cpu_clip_box(float *box, int32_t width, int32_t height)
{
    const float right = (float)width;
    const float bottom = (float)height;
    box[0] = fminf(fmaxf(box[0], 0.0f), right);
    box[1] = fminf(fmaxf(box[1], 0.0f), bottom);
    box[2] = fminf(fmaxf(box[2], 0.0f), right);
    box[3] = fminf(fmaxf(box[3], 0.0f), bottom);
}

/* One axis: low and high edge of the box, d and log-growth g already weighted. */
static void decode_axis(float low, float high, float d, float g, const rcnn_decode *decode, float *out_low,
                        float *out_high)
{
    const float side = high - low;
    const float centre = decode->multiply ? (low + high) * 0.5f : low + 0.5f * side;
    if (decode->clamp_both) {
        g = fmaxf(g, -LOG_GROWTH_MAX);
    }
    const float half = side * expf(fminf(g, LOG_GROWTH_MAX)) * 0.5f;
    const float moved = centre + side * d;
    *out_low = moved - half;
    *out_high = moved + half;
}

void rcnn_cpu_decode_clipped(const rcnn_decode *decode, const float *box, const float *delta, int32_t width,
                             int32_t height, float *out)
{
    float d[4];
    for (int32_t k = 0; k < 4; k++) {
        d[k] = decode->multiply ? delta[k] * decode->weight[k] : delta[k] / decode->weight[k];
    }
    decode_axis(box[0], box[2], d[0], d[2], decode, &out[0], &out[2]);
    decode_axis(box[1], box[3], d[1], d[3], decode, &out[1], &out[3]);
    rcnn_cpu_clip_box(out, width, height);
}
