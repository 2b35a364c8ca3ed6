#include "run_program.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64

/* of both user and system time */
static double processor_ms(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e3 +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1e-3;
}

static char *read_all(FILE *file)
{
    size_t size = 0, capacity = 4096;
    char *text = malloc(capacity);
    rewind(file);
    while (text) {
        size += fread(text + size, 1, capacity - size - 1, file);
        text[size] = '\0';
        if (size + 1 < capacity) {
            break;
        }
        capacity *= 2;
        char *grown = realloc(text, capacity);
        if (!grown) {
            free(text);
        }
        text = grown;
    }
    return text;
}

static void become_program(const char *directory, const char *const *arguments, FILE *out, FILE *err)
{
    char *list[ARGUMENTS_MAX] = {(char *)"rcnn"};
    for (int i = 0; arguments[i] && i + 2 < ARGUMENTS_MAX; i++) {
        list[i + 1] = (char *)(size_t)arguments[i];
    }
    if ((directory && chdir(directory) != 0) || dup2(fileno(out), STDOUT_FILENO) < 0 ||
        dup2(fileno(err), STDERR_FILENO) < 0) {
        _exit(125);
    }
    (void)setenv("LSAN_OPTIONS", "print_suppressions=0:suppressions=" RCNN_SOURCE_DIR "/tests/cli/lsan.supp", 0);
    execv(RCNN_PROGRAM, list);
    _exit(126);
}

int program_start_and_wait(const char *directory, const char *const *arguments, int interrupt_after_ms,
                           program_run *run)
{
    memset(run, 0, sizeof *run);
    FILE *out = tmpfile(), *err = tmpfile();
    pid_t child = out && err ? fork() : -1;
    if (child == 0) {
        become_program(directory, arguments, out, err);
    }
    int status = 0;
    struct rusage usage = {0};
    if (child > 0) {
        if (interrupt_after_ms > 0) {
            struct timespec pause = {interrupt_after_ms / 1000, interrupt_after_ms % 1000 * 1000000L};
            nanosleep(&pause, NULL);
            kill(child, SIGINT);
        }
        wait4(child, &status, 0, &usage);
        run->processor_ms = processor_ms(&usage);
        run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        run->peak_kib = usage.ru_maxrss;
        run->out = read_all(out);
        run->err = read_all(err);
    }
    if (out) {
        fclose(out);
    }
    if (err) {
        fclose(err);
    }
    return run->out && run->err ? 0 : -1;
}

void run_free(program_run *run)
{
    free(run->out);
    free(run->err);
    memset(run, 0, sizeof *run);
}

int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++) {
        lines += *text == '\n';
    }
    return lines;
}

int count_entries(const char *directory)
{
    int count = 0;
    DIR *d = opendir(directory);
    while (d && readdir(d)) {
        count++;
    }
    if (d) {
        closedir(d);
    }
    return count - 2;
}

char *make_scratch_directory(void)
{
    const char *base = getenv("TMPDIR");
    size_t capacity = (base ? strlen(base) : 4) + 32;
    char *path = malloc(capacity);
    if (path) {
        snprintf(path, capacity, "%s/rcnn-test-XXXXXX", base ? base : "/tmp");
    }
    if (!path || !mkdtemp(path)) {
        perror("scratch directory");
        exit(1);
    }
    return path;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void remove_tree(char *directory)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(directory);
}
