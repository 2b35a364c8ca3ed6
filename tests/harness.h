/* A test program in one header: TEST(name) { ... CHECK(...); } and at the end of the file TEST_MAIN.
 * A failed check prints file, line and values and fails the test; SKIP(reason) ends the program with 77 (skipped).
 * An argument selects tests by substring. Random data: test_random(&seed), seeds printed by whoever uses them. */
#ifndef RCNN_TESTS_HARNESS_H
#define RCNN_TESTS_HARNESS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
} test_case;

/* weak: one of each in a program of several files, so that a CHECK in any of them counts */
__attribute__((weak)) test_case *test_list;
__attribute__((weak)) int test_failures;

#define TEST(id)                                                                                                       \
    static void test_run_##id(void);                                                                                   \
    __attribute__((constructor)) static void test_register_##id(void)                                                  \
    {                                                                                                                  \
        static test_case entry = {#id, test_run_##id, NULL};                                                           \
        test_case **end = &test_list;                                                                                  \
        while (*end) {                                                                                                 \
            end = &(*end)->next;                                                                                       \
        }                                                                                                              \
        *end = &entry;                                                                                                 \
    }                                                                                                                  \
    static void test_run_##id(void)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_failures++;                                                                                           \
            fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition);                              \
        }                                                                                                              \
    } while (0)

/* CHECK with a printf-formatted explanation. */
#define CHECK_MSG(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_failures++;                                                                                           \
            fprintf(stderr, "%s:%d: CHECK(%s) failed: ", __FILE__, __LINE__, #condition);                              \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
        }                                                                                                              \
    } while (0)

/* Fails and leaves the current function. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_failures++;                                                                                           \
            fprintf(stderr, "%s:%d: REQUIRE(%s) failed\n", __FILE__, __LINE__, #condition);                            \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

/* The call must return RCNN_OK; `error` is the rcnn_error it filled. */
#define CHECK_OK(call, error)                                                                                          \
    do {                                                                                                               \
        int check_status_ = (int)(call);                                                                               \
        if (check_status_ != 0) {                                                                                      \
            test_failures++;                                                                                           \
            fprintf(stderr, "%s:%d: %s -> %d: %s\n", __FILE__, __LINE__, #call, check_status_, (error).message);       \
        }                                                                                                              \
    } while (0)

#define SKIP(reason)                                                                                                   \
    do {                                                                                                               \
        fprintf(stderr, "SKIPPED: %s\n", (reason));                                                                    \
        exit(77);                                                                                                      \
    } while (0)

/* xorshift64*; *state must not be 0. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

static inline float test_uniform(uint64_t *state, float low, float high)
{
    return low + (high - low) * (float)(test_random(state) >> 40) * (1.0f / 16777216.0f);
}

#define TEST_MAIN                                                                                                      \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        const char *only = argc > 1 ? argv[1] : NULL;                                                                  \
        int ran = 0, failed = 0;                                                                                       \
        for (test_case *t = test_list; t; t = t->next) {                                                               \
            if (only && !strstr(t->name, only)) {                                                                      \
                continue;                                                                                              \
            }                                                                                                          \
            int before = test_failures;                                                                                \
            t->run();                                                                                                  \
            ran++;                                                                                                     \
            failed += test_failures != before;                                                                         \
            printf("%s %s\n", test_failures != before ? "FAIL" : "ok  ", t->name);                                     \
        }                                                                                                              \
        printf("%d tests, %d failed\n", ran, failed);                                                                  \
        return failed || !ran ? 1 : 0;                                                                                 \
    }

#endif
