/* The cuda backend with its real host code and kernels on the emulator: rcnn_backend_vt for tests on machines without a GPU.
 * Left out are recordings, and the engines of convolutions, inner products and deconvolutions: they all go through
 * conv_direct.cu. */
#ifndef RCNN_TESTS_EMULATE_EMULATED_H
#define RCNN_TESTS_EMULATE_EMULATED_H

#include "backend/backend.h"

/* The name is "cuda-emulated". One thread at a time. */
const rcnn_backend_vt *rcnn_emulated_backend(void);
/* Odd: blocks and threads run in falling order. */
void rcnn_emulate_order(int order);

#endif
