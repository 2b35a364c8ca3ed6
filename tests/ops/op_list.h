/* Running the lists of op cases and of runs of ops on backends: what test_ops, test_spans and their emulated sisters have
 * in common. */
#ifndef RCNN_TESTS_OPS_OP_LIST_H
#define RCNN_TESTS_OPS_OP_LIST_H

#include <stdbool.h>
#include <string.h>

#include "backend/backend.h"

/* Whether a case's name has what the user asked for: the filter somewhere, or, behind a ^, at its beginning. NULL: all. */
static inline bool op_list_is_wanted(const char *name, const char *filter)
{
    if (filter && filter[0] == '^') {
        return strncmp(name, filter + 1, strlen(filter + 1)) == 0;
    }
    return !filter || strstr(name, filter);
}

/* Options as in test_ops.c. The exit status: 0, 1 after failures, 2 for a bad command line. again (may be NULL) is called
 * before every second run of an op, whose results must be the same. */
int op_list_main(int argc, char **argv, const rcnn_backend_vt *const *backends, int32_t count,
                 void (*again)(int second));

/* Options as in test_spans.c. The exit status; ends the program with 77 when nothing but ref works. small_only: leaves out
 * what takes an emulator minutes. */
int span_list_main(int argc, char **argv, const rcnn_backend_vt *const *backends, int32_t count, bool small_only);

#endif
