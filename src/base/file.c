/* POSIX file mapping and write-then-rename. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

rcnn_status rcnn_file_map_open(const char *path, size_t max_bytes, rcnn_file_map *out, rcnn_error *err)
{
    *out = (rcnn_file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block us before fstat refuses it */
    if (fd < 0) {
        return rcnn_fail_errno(err, "%s: cannot open", path);
    }
    struct stat info;
    rcnn_status status = RCNN_OK;
    if (fstat(fd, &info) != 0) {
        status = rcnn_fail_errno(err, "%s: cannot read its size", path);
    } else if (S_ISDIR(info.st_mode)) {
        status = rcnn_fail(err, RCNN_ERR_IO, "%s: want a file, got a directory", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = rcnn_fail(err, RCNN_ERR_IO, "%s: want a regular file, got a device or pipe", path);
    } else if ((uint64_t)info.st_size > max_bytes) {
        status = rcnn_fail(err, RCNN_ERR_LIMIT, "%s: want at most %zu bytes, got %lld", path, max_bytes,
                           (long long)info.st_size);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = rcnn_fail_errno(err, "%s: cannot map %lld bytes", path, (long long)info.st_size);
        } else {
            out->data = data;
            out->size = (size_t)info.st_size;
        }
    }
    close(fd);
    return status;
}

void rcnn_file_map_close(rcnn_file_map *map)
{
    if (map->data) {
        munmap((void *)(uintptr_t)map->data, map->size);
    }
    *map = (rcnn_file_map){0};
}

void rcnn_file_map_release(const rcnn_file_map *map, size_t from, size_t to)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t first = (from + page - 1) / page * page, last = to / page * page;
    if (map->data && first < last && to <= map->size) {
        madvise((void *)(uintptr_t)(map->data + first), last - first,
                MADV_DONTNEED); /* a hint: nothing to do on failure */
    }
}

/* Renaming replaces whatever has the name, and that must not be a device, a pipe or a directory. */
static rcnn_status check_replaceable(const char *path, rcnn_error *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return rcnn_fail(err, RCNN_ERR_IO, "%s: want a regular file to write, got a %s", path,
                         S_ISDIR(info.st_mode) ? "directory" : "device or pipe");
    }
    return RCNN_OK;
}

rcnn_status rcnn_file_writer_open(const char *path, rcnn_file_writer *out, rcnn_error *err)
{
    *out = (rcnn_file_writer){0};
    RCNN_TRY(check_replaceable(path, err));
    size_t length = strlen(path);
    out->path = rcnn_strdup(path);
    out->temporary = rcnn_malloc(length + sizeof ".XXXXXX");
    if (!out->path || !out->temporary) {
        rcnn_file_writer_abort(out);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", path);
    }
    memcpy(out->temporary, path, length);
    memcpy(out->temporary + length, ".XXXXXX", sizeof ".XXXXXX");
    int fd = mkstemp(out->temporary);
    if (fd < 0) {
        rcnn_status status = rcnn_fail_errno(err, "%s: cannot create", path);
        rcnn_free(out->temporary);
        out->temporary = NULL; /* not ours: nothing to unlink */
        rcnn_file_writer_abort(out);
        return status;
    }
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(fd, 0666 & ~mask) != 0 || !(out->stream = fdopen(fd, "wb"))) {
        rcnn_status status = rcnn_fail_errno(err, "%s: cannot create", path);
        close(fd);
        rcnn_file_writer_abort(out);
        return status;
    }
    return RCNN_OK;
}

rcnn_status rcnn_file_writer_commit(rcnn_file_writer *writer, rcnn_error *err)
{
    if (!ferror(writer->stream)) {
        errno = 0; /* else that of the write that failed, which a retry may not repeat */
    }
    int failed = ferror(writer->stream) || fflush(writer->stream) != 0;
    if (fclose(writer->stream) != 0) {
        failed = 1;
    }
    writer->stream = NULL;
    if (failed || rename(writer->temporary, writer->path) != 0) {
        if (errno == 0) {
            errno = EIO;
        }
        rcnn_status status = rcnn_fail_errno(err, "%s: cannot write", writer->path);
        rcnn_file_writer_abort(writer);
        return status;
    }
    rcnn_free(writer->path);
    rcnn_free(writer->temporary);
    *writer = (rcnn_file_writer){0};
    return RCNN_OK;
}

void rcnn_file_writer_abort(rcnn_file_writer *writer)
{
    if (writer->stream) {
        fclose(writer->stream);
    }
    if (writer->temporary) {
        unlink(writer->temporary);
    }
    rcnn_free(writer->path);
    rcnn_free(writer->temporary);
    *writer = (rcnn_file_writer){0};
}
