/* The list of op cases: every op of ops.def has a list, every backend and instruction set level runs all of it, as check
 * and (--bench) as timing. A case is a name, parameters and a function that builds a one-op graph from them. */
#ifndef RCNN_TESTS_OPS_OP_CASES_H
#define RCNN_TESTS_OPS_OP_CASES_H

#include "ops/one_op.h"

typedef enum op_size {
    OP_SMALL, /* part of every test run                        */
    OP_LARGE  /* a real Mask R-CNN shape: run with --large or --bench */
} op_size;

typedef struct op_case {
    const char *name;
    op_size size;
    rcnn_status want; /* what enqueue must return; results are compared when RCNN_OK */
    void (*build)(one_op *t, const void *params);
    const void *params;
} op_case;

typedef struct op_case_list {
    const op_case *cases;
    int32_t count;
} op_case_list;

#define OP(KIND, name, help) extern const op_case_list op_cases_##name;
#include "graph/ops.def"
#undef OP

#define OP_CASE_LIST(op, array)                                                                                        \
    const op_case_list op_cases_##op = {.cases = (array), .count = (int32_t)(sizeof(array) / sizeof(array)[0])}

/* The value an element of output 0 must have, computed on its own from the definition (not with ref's code), for ops that
 * are sums of products: CONV, FC, DECONV, MASK_LOGIT. Lets large shapes be checked at random elements. */
bool op_has_expectation(rcnn_op_kind kind);
double op_expectation(const one_op *t, size_t element);

#endif
