/* What the weights tests share: reading a fixture into an exact-size block, so that the sanitizer sees over-reads, and
 * building pickles in memory. */
#ifndef RCNN_TESTS_WEIGHTS_SUPPORT_H
#define RCNN_TESTS_WEIGHTS_SUPPORT_H

#include "harness.h"

#include <stdbool.h>

#define WEIGHTS_DIR RCNN_SOURCE_DIR "/tests/unit/data/weights/"
#define HOSTILE_DIR RCNN_SOURCE_DIR "/tests/unit/data/hostile/"

typedef struct blob {
    uint8_t *data;
    size_t size, capacity;
} blob;

static inline blob blob_read(const char *path)
{
    blob out = {0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    out.size = (size_t)ftell(file);
    rewind(file);
    out.data = malloc(out.size ? out.size : 1);
    if (!out.data || fread(out.data, 1, out.size, file) != out.size) {
        exit(1);
    }
    fclose(file);
    return out;
}

static inline void blob_add(blob *b, const void *bytes, size_t count)
{
    if (b->size + count > b->capacity) {
        b->capacity = 2 * (b->size + count);
        b->data = realloc(b->data, b->capacity);
        if (!b->data) {
            exit(1);
        }
    }
    memcpy(b->data + b->size, bytes, count);
    b->size += count;
}

static inline void blob_repeat(blob *b, char byte, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        blob_add(b, &byte, 1);
    }
}

#define BLOB_ADD(b, literal) blob_add((b), (literal), sizeof(literal) - 1)

/* BINUNICODE */
static inline void blob_text(blob *b, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);
    BLOB_ADD(b, "X");
    blob_add(b, &length, sizeof length);
    blob_add(b, text, length);
}

/* A numpy array of one float32, memoised in slot 0. */
static inline void blob_array(blob *b)
{
    BLOB_ADD(b, "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85"
                "C\1btR(K\1)cnumpy\ndtype\n(X\2\0\0\0f4\x89\x88tR\x89"
                "C\4\0\0\x80\x3ftbq\0");
}

#endif
