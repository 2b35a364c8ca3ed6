/* How fast the threads of a backend copy memory that no cache holds. */
#include "backend/cpu/cpu.h"

#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

#define COPY_BYTES ((size_t)256 << 20)
#define ROUNDS     5 /* the first touches the pages, the best of the others counts */

static double copy_once(char *to, const char *from, int32_t threads)
{
    const double start = rcnn_clock_ms();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int32_t part = 0; part < threads; part++) {
        const size_t begin = COPY_BYTES / (size_t)threads * (size_t)part;
        const size_t end = part + 1 == threads ? COPY_BYTES : COPY_BYTES / (size_t)threads * ((size_t)part + 1);
        memcpy(to + begin, from + begin, end - begin);
    }
    return rcnn_clock_ms() - start;
}

rcnn_status rcnn_cpu_copy_speed(rcnn_backend *backend, double *gb_s, rcnn_error *err)
{
    char *from = rcnn_malloc_aligned(COPY_BYTES), *to = rcnn_malloc_aligned(COPY_BYTES);
    double best = 0;
    if (from && to) {
        memset(from, 1, COPY_BYTES); /* untouched pages would all be one page of zeros */
        (void)copy_once(to, from, rcnn_cpu_threads(backend));
        for (int round = 1; round < ROUNDS; round++) {
            const double ms = copy_once(to, from, rcnn_cpu_threads(backend));
            best = best == 0 || ms < best ? ms : best;
        }
    }
    const bool done = from && to;
    rcnn_free(from);
    rcnn_free(to);
    if (!done) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: out of memory for two blocks of %zu bytes", COPY_BYTES);
    }
    *gb_s = best > 0 ? 2.0 * (double)COPY_BYTES / (best * 1e6) : 0;
    return RCNN_OK;
}
