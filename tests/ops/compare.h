/* How far a backend's results may be from ref's, and comparing them; failures are counted in test_failures. */
#ifndef RCNN_TESTS_OPS_COMPARE_H
#define RCNN_TESTS_OPS_COMPARE_H

#include "ops/one_op.h"

/* |got - want| <= absolute + relative * |want|; 0, 0 = the same bits. */
typedef struct tolerance {
    float absolute, relative;
    const char *why;
} tolerance;

tolerance tolerance_of(const one_op *t, one_op_type type, bool float_output);

extern const char *current_case; /* for messages: "op: case on backend" */
void test_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Results as one_op_fetch leaves them. */
typedef struct compared {
    const one_op *test;
    one_op_type type;
    bool float_output;
    bool narrow; /* products of Winograd's filtering, see allowed_for */
    void *const *got;
} compared;

/* Counts first: lists of different lengths are not worth comparing element by element. */
void compare_results(const compared *c, void *const *want);
/* Live floats are finite: outputs start as NaN, so this is also "everything live was written". */
void compare_written(const compared *c);
/* Random elements against op_expectation. */
void compare_samples(const compared *c);
/* The live elements have the same bytes. */
void compare_same_bytes(const compared *c, void *const *first, const char *what);

#endif
