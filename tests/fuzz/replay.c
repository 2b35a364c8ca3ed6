/* A fuzz target as an ordinary test: runs every corpus file as it is, then seeded mutations of each, round by round, so
 * that a time limit cuts rounds and not files. The same files give the same inputs on every machine.
 *     replay FOLDER...      environment RCNN_REPLAY_TRACE=1: name every input before it runs, to find the one that crashed
 * It does not search: that is libFuzzer's work (RCNN_BUILD_FUZZ). */
#include "harness.h"

#include <dirent.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/file.h"
#include "fuzz.h"

#define ROUNDS         300u
#define TIME_LIMIT_MS  5000
#define FILE_BYTES_MAX (1 << 20)
#define EDITS_MAX      8  /* changes in one mutation */
#define INSERT_MAX     64 /* bytes one change may add */

typedef struct corpus_file {
    char *name;
    uint8_t *data;
    size_t size;
    uint64_t seed;
} corpus_file;

typedef struct corpus {
    corpus_file *files;
    size_t count;
} corpus;

static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "replay: out of memory\n");
        exit(1);
    }
    return memory;
}

/* Seeded by content, so that renaming or adding a file does not change what the others become. */
static uint64_t seed_of(const uint8_t *data, size_t size)
{
    uint64_t value = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < size; i++) {
        value = (value ^ data[i]) * 0x100000001b3ull;
    }
    return value | 1;
}

static void add_file(corpus *c, const char *folder, const char *name)
{
    rcnn_file_map map;
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = must(malloc(length));
    snprintf(path, length, "%s/%s", folder, name);
    if (rcnn_file_map_open(path, FILE_BYTES_MAX, &map, NULL) != RCNN_OK) {
        free(path); /* a folder, or too large */
        return;
    }
    c->files = must(realloc(c->files, (c->count + 1) * sizeof *c->files));
    corpus_file *f = &c->files[c->count++];
    *f = (corpus_file){.name = path, .data = must(malloc(map.size + 1)), .size = map.size};
    if (map.size) {
        memcpy(f->data, map.data, map.size);
    }
    f->seed = seed_of(f->data, f->size);
    rcnn_file_map_close(&map);
}

static int add_folder(corpus *c, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            add_file(c, folder, entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
    return count >= 0 ? 0 : -1;
}

/* Sets 1, 2 or 4 bytes to a number that sizes and counts break at. */
static void set_number(uint8_t *data, size_t size, uint64_t *random)
{
    static const uint32_t numbers[] = {0,      1,      0x7f,       0x80,       0xff,      0x7fff,
                                       0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
    uint32_t value = numbers[test_random(random) % (sizeof numbers / sizeof numbers[0])];
    size_t width = (size_t)1 << test_random(random) % 3, at = (size_t)(test_random(random) % size);
    bool little = test_random(random) & 1;
    for (size_t i = 0; i < width && at + i < size; i++) {
        data[at + i] = (uint8_t)(value >> 8 * (little ? i : width - 1 - i));
    }
}

/* Repeats a piece of the data at another place; `data` has room for INSERT_MAX more bytes. Returns the new size. */
static size_t insert_piece(uint8_t *data, size_t size, uint64_t *random)
{
    uint8_t piece[INSERT_MAX];
    size_t from = (size_t)(test_random(random) % size), to = (size_t)(test_random(random) % (size + 1));
    size_t length = 1 + (size_t)(test_random(random) % INSERT_MAX);
    length = length < size - from ? length : size - from;
    memcpy(piece, data + from, length);
    memmove(data + to + length, data + to, size - to);
    memcpy(data + to, piece, length);
    return size + length;
}

static size_t remove_piece(uint8_t *data, size_t size, uint64_t *random)
{
    size_t from = (size_t)(test_random(random) % size);
    size_t length = 1 + (size_t)(test_random(random) % INSERT_MAX);
    length = length < size - from ? length : size - from;
    memmove(data + from, data + from + length, size - from - length);
    return size - length;
}

static size_t edit(uint8_t *data, size_t size, uint64_t *random)
{
    if (size == 0) {
        return 0;
    }
    size_t at = (size_t)(test_random(random) % size);
    switch (test_random(random) % 8) {
    case 0:
    case 1:
        data[at] ^= (uint8_t)(1u << test_random(random) % 8);
        return size;
    case 2:
    case 3:
        data[at] = (uint8_t)test_random(random);
        return size;
    case 4:
    case 5:
        set_number(data, size, random);
        return size;
    case 6:
        return insert_piece(data, size, random);
    default:
        return test_random(random) % 4 == 0 ? at : remove_piece(data, size, random);
    }
}

/* Runs bytes from a block of exactly their size, where sanitizers see a read past the end. */
static void run(const corpus_file *f, const uint8_t *data, size_t size, uint32_t round)
{
    if (getenv("RCNN_REPLAY_TRACE")) {
        fprintf(stderr, "%s round %u\n", f->name, round);
    }
    uint8_t *exact = must(malloc(size ? size : 1));
    if (size) {
        memcpy(exact, data, size);
    }
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void run_mutation(const corpus_file *f, uint32_t round)
{
    uint64_t random = (f->seed ^ round * 0x9e3779b97f4a7c15ull) | 1;
    uint8_t *data = must(malloc(f->size + EDITS_MAX * INSERT_MAX + 1));
    size_t size = f->size;
    memcpy(data, f->data, size);
    size_t edits = 1 + (size_t)(test_random(&random) % EDITS_MAX);
    for (size_t i = 0; i < edits; i++) {
        size = edit(data, size, &random);
    }
    run(f, data, size, round);
    free(data);
}

int main(int argc, char **argv)
{
    corpus c = {0};
    double start = rcnn_clock_ms();
    for (int i = 1; i < argc; i++) {
        if (add_folder(&c, argv[i]) != 0) {
            fprintf(stderr, "replay: cannot read the folder %s\n", argv[i]);
            return 1;
        }
    }
    for (size_t i = 0; i < c.count; i++) {
        run(&c.files[i], c.files[i].data, c.files[i].size, 0);
    }
    size_t mutations = 0;
    bool in_time = true;
    for (uint32_t round = 1; round <= ROUNDS && in_time; round++) {
        for (size_t i = 0; i < c.count && in_time; i++, mutations++) {
            run_mutation(&c.files[i], round);
            in_time = rcnn_clock_ms() - start < TIME_LIMIT_MS;
        }
    }
    printf("%zu files, %zu mutations%s\n", c.count, mutations, in_time ? "" : " (stopped by the time limit)");
    for (size_t i = 0; i < c.count; i++) {
        free(c.files[i].name);
        free(c.files[i].data);
    }
    free(c.files);
    return c.count ? 0 : 1;
}
