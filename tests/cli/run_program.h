/* Runs the rcnn program and keeps what it said: output, exit status, time and peak memory. */
#ifndef RCNN_TESTS_CLI_RUN_PROGRAM_H
#define RCNN_TESTS_CLI_RUN_PROGRAM_H

#include <stddef.h>

typedef struct program_run {
    int status;          /* exit status; 128 + signal when killed */
    char *out, *err;     /* NUL-terminated, free with run_free    */
    double processor_ms; /* not wall time: a busy machine must not fail a test */
    long peak_kib;       /* resident memory                       */
} program_run;

/* Runs RCNN_PROGRAM with a NULL-terminated argument list in `directory` (NULL = here) and waits. Returns 0, or -1 when
 * it could not be started. interrupt_after_ms > 0 sends SIGINT then. */
int program_start_and_wait(const char *directory, const char *const *arguments, int interrupt_after_ms,
                           program_run *out);
void run_free(program_run *run);
/* Newlines in a text. */
int count_lines(const char *text);
/* Entries of a directory, hidden ones too. */
int count_entries(const char *directory);
/* A new empty directory under the system's temporary one; free with remove_tree. */
char *make_scratch_directory(void);
void remove_tree(char *directory);

#define RUN(run, ...) program_start_and_wait(NULL, (const char *const[]){__VA_ARGS__, NULL}, 0, (run))
#define RUN_IN(directory, run, ...)                                                                                    \
    program_start_and_wait((directory), (const char *const[]){__VA_ARGS__, NULL}, 0, (run))

#endif
