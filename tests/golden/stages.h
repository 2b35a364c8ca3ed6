/* Every value of the pipeline against the reference implementation, each op fed with the reference's own inputs, so that
 * an early error cannot hide a late one: what test_stages and its emulated sister have in common. */
#ifndef RCNN_TESTS_GOLDEN_STAGES_H
#define RCNN_TESTS_GOLDEN_STAGES_H

#include "golden.h"

#include "backend/backend.h"

/* One model; prints the largest error of each stage. Failures are counted in test_failures of harness.h. */
void stages_check(const golden_model *entry, const rcnn_backend_vt *vt, rcnn_precision precision);

#endif
