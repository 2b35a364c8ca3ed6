/* What every fuzz target shares: libFuzzer's entry, and the end of a run that found something. */
#ifndef RCNN_TESTS_FUZZ_H
#define RCNN_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

#endif
