/* Lines of resized samples to pixels of the image, which may be BF16 and have a fourth channel of zeros. */
#include "backend/cpu/elements.h"
#include "backend/cpu/resize.h"

static void look_up_f32(const rcnn_cpu_resize_job *job, const uint8_t *restrict line, float *restrict dst)
{
    const float *lut0 = job->lut[0], *lut1 = job->lut[1], *lut2 = job->lut[2];
    const size_t channels = job->channels;
    for (int32_t x = 0; x < job->net_width; x++, line += 3, dst += channels) {
        dst[0] = lut0[line[0]];
        dst[1] = lut1[line[1]];
        dst[2] = lut2[line[2]];
        if (channels == 4) {
            dst[3] = 0;
        }
    }
}

static void look_up_bf16(const rcnn_cpu_resize_job *job, const uint8_t *restrict line, uint16_t *restrict dst)
{
    const uint16_t *lut0 = job->bf16_lut[0], *lut1 = job->bf16_lut[1], *lut2 = job->bf16_lut[2];
    const size_t channels = job->channels;
    for (int32_t x = 0; x < job->net_width; x++, line += 3, dst += channels) {
        dst[0] = lut0[line[0]];
        dst[1] = lut1[line[1]];
        dst[2] = lut2[line[2]];
        if (channels == 4) {
            dst[3] = 0;
        }
    }
}

void rcnn_cpu_store_bytes(const rcnn_cpu_resize_job *job, const uint8_t *line, void *dst)
{
    if (job->type == RCNN_BF16) {
        look_up_bf16(job, line, dst);
    } else {
        look_up_f32(job, line, dst);
    }
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
