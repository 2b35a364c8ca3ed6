/* int8 weights of native files: symmetric, one scale per output channel. */
#ifndef RCNN_MODEL_QUANTISE_H
#define RCNN_MODEL_QUANTISE_H

#include <stddef.h>
#include <stdint.h>

/* One output channel, `count` weights that lie in runs of `run` values `stride` apart (run == count when contiguous), to
 * codes in the same places: q = round half to even (w / scale), clamped to -127 .. 127. Returns the scale, so that
 * w ~ q * scale. The scale is max|w| / 127, or a smaller one that clips the largest weights where that lowers the
 * squared error; 1 when all weights are 0 or so small that the scale would not be a normal float. */
float rcnn_quantise_channel(const float *weights, size_t count, size_t run, size_t stride, int8_t *codes);

#endif
