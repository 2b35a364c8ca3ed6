/* Lines of resized samples to pixels of the image, which may be BF16 and have a fourth channel of zeros. */
#include "backend/cpu/elements.h"
#include "backend/cpu/resize.h"

/* Where the three samples of a pixel stand, from one pixel to the next `step` bytes. */
typedef struct source {
    const uint8_t *at;
    size_t step, channel[3];
} source;

static void look_up_f32(const rcnn_cpu_resize_job *job, const source *from, float *restrict dst)
{
    const float *lut0 = job->lut[0], *lut1 = job->lut[1], *lut2 = job->lut[2];
    const size_t channels = job->channels, step = from->step;
    const uint8_t *p0 = from->at + from->channel[0], *p1 = from->at + from->channel[1],
                  *p2 = from->at + from->channel[2];
    for (int32_t x = 0; x < job->net_width; x++, p0 += step, p1 += step, p2 += step, dst += channels) {
        dst[0] = lut0[*p0];
        dst[1] = lut1[*p1];
        dst[2] = lut2[*p2];
        if (channels == 4) {
            dst[3] = 0;
        }
    }
}

static void look_up_bf16(const rcnn_cpu_resize_job *job, const source *from, uint16_t *restrict dst)
{
    const uint16_t *lut0 = job->bf16_lut[0], *lut1 = job->bf16_lut[1], *lut2 = job->bf16_lut[2];
    const size_t channels = job->channels, step = from->step;
    const uint8_t *p0 = from->at + from->channel[0], *p1 = from->at + from->channel[1],
                  *p2 = from->at + from->channel[2];
    for (int32_t x = 0; x < job->net_width; x++, p0 += step, p1 += step, p2 += step, dst += channels) {
        dst[0] = lut0[*p0];
        dst[1] = lut1[*p1];
        dst[2] = lut2[*p2];
        if (channels == 4) {
            dst[3] = 0;
        }
    }
}

static void look_up(const rcnn_cpu_resize_job *job, const source *from, void *dst)
{
    if (job->type == RCNN_BF16) {
        look_up_bf16(job, from, dst);
    } else {
        look_up_f32(job, from, dst);
    }
}

void rcnn_cpu_store_bytes(const rcnn_cpu_resize_job *job, const uint8_t *line, void *dst)
{
    const source from = {.at = line, .step = 3, .channel = {0, 1, 2}};
    look_up(job, &from, dst);
}

void rcnn_cpu_store_pixels(const rcnn_cpu_resize_job *job, const uint8_t *row, void *dst)
{
    const source from = {
        .at = row, .step = job->pixel_bytes, .channel = {job->channel[0], job->channel[1], job->channel[2]}};
    look_up(job, &from, dst);
}

static void round_to_bf16(const rcnn_cpu_resize_job *job, const float *restrict line, uint16_t *restrict dst)
{
    const size_t channels = job->channels, samples = (size_t)job->net_width * 3;
    if (channels == 3) {
        for (size_t i = 0; i < samples; i++) {
            dst[i] = rcnn_cpu_to_bf16(line[i]);
        }
        return;
    }
    for (size_t i = 0; i < samples; i += 3, dst += channels) {
        dst[0] = rcnn_cpu_to_bf16(line[i]);
        dst[1] = rcnn_cpu_to_bf16(line[i + 1]);
        dst[2] = rcnn_cpu_to_bf16(line[i + 2]);
        dst[3] = 0;
    }
}

static void copy_f32(const rcnn_cpu_resize_job *job, const float *restrict line, float *restrict dst)
{
    const size_t channels = job->channels, samples = (size_t)job->net_width * 3;
    if (channels == 3) {
        memcpy(dst, line, samples * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < samples; i += 3, dst += channels) {
        memcpy(dst, line + i, 3 * sizeof *dst);
        dst[3] = 0;
    }
}

void rcnn_cpu_store_floats(const rcnn_cpu_resize_job *job, const float *line, void *dst)
{
    if (job->type == RCNN_BF16) {
        round_to_bf16(job, line, dst);
    } else {
        copy_f32(job, line, dst);
    }
}
