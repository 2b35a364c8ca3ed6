/* The picture that a benchmark runs on, exactly as large as the network's input shall be: a rendered one, or a file's. */
#ifndef RCNN_TOOLS_BENCH_SCENE_H
#define RCNN_TOOLS_BENCH_SCENE_H

#include "message.h"

/* A look-alike of fluorescence microscopy with `count` nuclei, larger in larger pictures; the same for the same size and seed. RGB8
 * pixels in *view, to be freed with scene_free. False with err filled. */
bool scene_render(int32_t width, int32_t height, int32_t count, uint64_t seed, rcnn_image_view *view, rcnn_error *err);
/* RGB8 pixels of `from` (RGB8), resized bilinearly; a copy when the size is the same. */
bool scene_resize(const rcnn_image_view *from, int32_t width, int32_t height, rcnn_image_view *view, rcnn_error *err);
void scene_free(rcnn_image_view *view);

/* xorshift64*, *state not 0: a number in [0,1). */
double scene_random(uint64_t *state);

#endif
