/* Errors and log lines. Every fallible internal function returns rcnn_status and fills the caller's rcnn_error. */
#ifndef RCNN_BASE_STATUS_H
#define RCNN_BASE_STATUS_H

#include "rcnn/rcnn.h"

#if defined(__GNUC__)
#define RCNN_PRINTF(fmt_index, arg_index) __attribute__((format(printf, fmt_index, arg_index)))
#define RCNN_LIKELY(x)                    __builtin_expect(!!(x), 1)
#define RCNN_UNLIKELY(x)                  __builtin_expect(!!(x), 0)
#else
#define RCNN_PRINTF(fmt_index, arg_index)
#define RCNN_LIKELY(x)   (x)
#define RCNN_UNLIKELY(x) (x)
#endif

/* Fills err (when not NULL) with status and one printf-formatted line, control characters made visible; returns
 * status, so that `return rcnn_fail(err, ...)` is the idiom. The line says what, where, wanted, got. */
rcnn_status rcnn_fail(rcnn_error *err, rcnn_status status, const char *format, ...) RCNN_PRINTF(3, 4);

/* The same for a failed system call: appends ": " and the text of errno. Maps ENOENT to NOT_FOUND, ENOMEM to MEMORY,
 * anything else to IO. */
rcnn_status rcnn_fail_errno(rcnn_error *err, const char *format, ...) RCNN_PRINTF(2, 3);

/* Clears err. */
void rcnn_error_clear(rcnn_error *err);

#define RCNN_TRY(expression)                                                                                           \
    do {                                                                                                               \
        rcnn_status try_status_ = (expression);                                                                        \
        if (RCNN_UNLIKELY(try_status_ != RCNN_OK)) {                                                                   \
            return try_status_;                                                                                        \
        }                                                                                                              \
    } while (0)

/* One line to the installed log callback; nothing is formatted when the level is off. */
void rcnn_log(rcnn_log_level level, const char *format, ...) RCNN_PRINTF(2, 3);
int rcnn_log_enabled(rcnn_log_level level);

#endif
