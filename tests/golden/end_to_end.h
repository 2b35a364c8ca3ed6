/* Whole runs against the reference implementations: what test_end_to_end and its emulated sister have in common. */
#ifndef RCNN_TESTS_GOLDEN_END_TO_END_H
#define RCNN_TESTS_GOLDEN_END_TO_END_H

#include "golden.h"

#include "backend/backend.h"

/* vt NULL: the backend of that name. Failures are counted in test_failures of harness.h. */
typedef struct end_to_end {
    const char *backend;
    const rcnn_backend_vt *vt;
    rcnn_precision precision;
    int32_t keep_values; /* also compares the network's input: bit for bit where the framework resizes bytes */
} end_to_end;

void end_to_end_check(const golden_model *entry, const char *file, const end_to_end *how);

#endif
