/* What the tests of the cpu backend's insides share. */
#ifndef RCNN_TESTS_UNIT_CPU_SUPPORT_H
#define RCNN_TESTS_UNIT_CPU_SUPPORT_H

#include <stdbool.h>
#include <string.h>

#include "harness.h"

#include "backend/backend.h"

static inline rcnn_backend *open_cpu(int32_t threads)
{
    const rcnn_backend_options options = {.num_threads = threads};
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_backend_cpu.open(&options, &backend, &err), err);
    return backend;
}

/* name: avx2, avx512, avx512_bf16 or avx512_vnni */
static inline bool processor_has(const char *name)
{
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           (strcmp(name, "avx512_bf16") != 0 || __builtin_cpu_supports("avx512bf16")) &&
           (strcmp(name, "avx512_vnni") != 0 || __builtin_cpu_supports("avx512vnni"));
#else
    (void)name;
    return false;
#endif
}

/* Whether the bodies of that name can be tested here, body being one of this build's or NULL; says why when not. */
static inline bool is_testable(const char *name, const void *body)
{
    const bool testable = body && processor_has(name);
    if (!testable) {
        fprintf(stderr, "left out %s: %s\n", name, body ? "the processor lacks the instructions" : "not in this build");
    }
    return testable;
}

#endif
