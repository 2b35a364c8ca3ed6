#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY_NAME_KEPT 200 /* bytes */

static void forget(outfile *file)
{
    free(file->path);
    free(file->temporary);
    memset(file, 0, sizeof *file);
}

/* Opened above the standard descriptors: where the parent closed one of them, the next file would take its number, and
 * summary lines or messages would end up inside the file. */
static int open_above_standard(const char *path, int flags)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0666);
    if (descriptor >= 0 && descriptor <= STDERR_FILENO) {
        int low = descriptor;
        descriptor = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(low);
    }
    return descriptor;
}

/* "<directory>/<name>.<process>.tmp", the name cut so that a name of the longest length still has room. */
static char *name_temporary(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t capacity = strlen(path) + 32;
    char *temporary = malloc(capacity);
    if (temporary) {
        snprintf(temporary, capacity, "%.*s%.*s.%ld.tmp", (int)(name - path), path, TEMPORARY_NAME_KEPT, name,
                 (long)getpid());
    }
    return temporary;
}

/* Renaming over a device or pipe would replace it, so only regular files (or none yet) take the temporary way. */
static bool open_stream(outfile *file)
{
    struct stat info;
    if (strcmp(file->path, "-") == 0) {
        file->stream = stdout;
        return true;
    }
    bool direct = stat(file->path, &info) == 0 && !S_ISREG(info.st_mode);
    file->temporary = direct ? NULL : name_temporary(file->path);
    if (!direct && !file->temporary) {
        return false;
    }
    int descriptor = direct ? open_above_standard(file->path, 0) : open_above_standard(file->temporary, O_NOFOLLOW);
    if (descriptor < 0) {
        return false;
    }
    file->stream = fdopen(descriptor, "w");
    if (!file->stream) {
        close(descriptor);
        if (file->temporary) {
            unlink(file->temporary);
        }
    }
    return file->stream != NULL;
}

bool outfile_open(outfile *file, const char *path, rcnn_error *err)
{
    memset(file, 0, sizeof *file);
    file->path = strdup(path);
    if (!file->path || !open_stream(file)) {
        tool_fail(err, "'%.300s': cannot write: %s", path, strerror(errno));
        forget(file);
        return false;
    }
    return true;
}

bool outfile_flush(outfile *file, rcnn_error *err)
{
    if (fflush(file->stream) == 0 && !ferror(file->stream)) {
        return true;
    }
    return tool_fail(err, "'%.300s': cannot write: %s", file->path, strerror(errno));
}

bool outfile_commit(outfile *file, rcnn_error *err)
{
    if (!outfile_flush(file, err)) {
        outfile_discard(file);
        return false;
    }
    bool done = true;
    if (file->stream != stdout) {
        done = fclose(file->stream) == 0;
        file->stream = NULL;
    }
    if (file->temporary) {
        done = done && rename(file->temporary, file->path) == 0;
    }
    if (!done) {
        tool_fail(err, "'%.300s': cannot write: %s", file->path, strerror(errno));
        outfile_discard(file);
        return false;
    }
    forget(file);
    return true;
}

void outfile_discard(outfile *file)
{
    if (file->stream && file->stream != stdout) {
        fclose(file->stream);
    }
    if (file->temporary) {
        unlink(file->temporary);
    }
    forget(file);
}

bool directory_make(const char *option, const char *path, rcnn_error *err)
{
    char *partial = strdup(path);
    bool done = partial != NULL;
    for (size_t end = 1; done && partial[end - 1]; end++) {
        char kept = partial[end];
        if (kept == '/' || kept == '\0') {
            partial[end] = '\0';
            done = mkdir(partial, 0777) == 0 || errno == EEXIST;
            partial[end] = kept;
        }
    }
    free(partial);
    struct stat info;
    if (done && stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        errno = ENOTDIR;
        done = false;
    }
    done = done && access(path, W_OK | X_OK) == 0;
    return done || tool_fail(err, "%s: '%.300s': cannot write there: %s", option, path, strerror(errno));
}
