/* What decoders on a device promise, as checks that run on the GPU (test_gpu_decode) and on the emulator with a library in
 * nvJPEG's place (test_emulated_decode). Failures are counted in test_failures of harness.h. */
#ifndef RCNN_TESTS_GPU_DECODE_CHECKS_H
#define RCNN_TESTS_GPU_DECODE_CHECKS_H

#include "backend/backend.h"

typedef struct decode_bed {
    const rcnn_backend_vt *vt;
    /* Allowed differences from the CPU's pixels, of 255. Chroma at full resolution, or none: rounding of the transform and of
     * the colours. Subsampled: also another way of upsampling. */
    int32_t full_max;
    double full_mean, subsampled_mean;
    const char *model;             /* whose detections are compared ... */
    const char *picture;           /* ... on this JPEG file             */
    int32_t long_side, short_side; /* 0 = the model's                   */
    double missing;                /* share of detections that may find none alike on the other side */
} decode_bed;

/* Files of every subsampling, grey, progressive, with restart markers, of odd sizes: one JSON line each. */
void decode_check_pixels(const decode_bed *bed);
/* A file from elsewhere, against the limits of subsampled ones. */
void decode_check_picture(const decode_bed *bed);
/* `keep` pictures stay as they are. */
void decode_check_ring(const decode_bed *bed);
/* Files that are the CPU's to read, limits, options, bad arguments. */
void decode_check_refused(const decode_bed *bed);
/* Cut and damaged files: a status and a line, and the decoder goes on. */
void decode_check_damaged(const decode_bed *bed);
/* A session that reads a decoder's pixels finds what it finds in the CPU's: one JSON line. */
void decode_check_session(const decode_bed *bed);

#endif
