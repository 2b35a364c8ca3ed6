#include "inputs.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "message.h"

static const char *const SUFFIXES[] = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".ppm", ".pgm", ".pnm"};
#define DEPTH_MAX 64 /* nested directories followed by --recursive */

/* Takes ownership of path, NULL included (a failed allocation). */
static bool append(path_list *list, char *path)
{
    if (!path) {
        return false;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        char **grown = realloc(list->paths, capacity * sizeof *grown);
        if (!grown) {
            free(path);
            return false;
        }
        list->paths = grown;
        list->capacity = capacity;
    }
    list->paths[list->count++] = path;
    return true;
}

bool path_list_add(path_list *list, const char *path)
{
    return append(list, strdup(path));
}

void path_list_free(path_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->paths[i]);
    }
    free(list->paths);
    memset(list, 0, sizeof *list);
}

static char *join(const char *directory, const char *name)
{
    size_t length = strlen(directory);
    const char *slash = length && directory[length - 1] == '/' ? "" : "/";
    size_t capacity = length + strlen(name) + 2;
    char *path = malloc(capacity);
    if (path) {
        snprintf(path, capacity, "%s%s%s", directory, slash, name);
    }
    return path;
}

bool inputs_is_image_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot != name && i < sizeof SUFFIXES / sizeof SUFFIXES[0]; i++) {
        if (strcasecmp(dot, SUFFIXES[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------- directories */

typedef struct collector {
    bool recursive;
    path_list *out;
} collector;

static bool collect_directory(const collector *c, const char *path, int depth);

static bool collect_entry(const collector *c, const char *directory, const char *name, int depth)
{
    struct stat info;
    char *path = join(directory, name);
    if (!path) {
        return false;
    }
    /* Links to directories are not followed, so that a loop of links ends. */
    if (c->recursive && depth < DEPTH_MAX && lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        bool done = collect_directory(c, path, depth + 1);
        free(path);
        return done;
    }
    if (inputs_is_image_name(name) && stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        return append(c->out, path);
    }
    free(path);
    return true;
}

/* False with errno set when the directory cannot be read or memory is out. Hidden entries are passed over. */
static bool collect_directory(const collector *c, const char *path, int depth)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        return false;
    }
    bool done = true;
    for (int i = 0; i < count; i++) {
        if (done && entries[i]->d_name[0] != '.') {
            done = collect_entry(c, path, entries[i]->d_name, depth);
        }
        free(entries[i]);
    }
    free(entries);
    return done;
}

static bool collect_named_directory(const collector *c, const char *path)
{
    size_t before = c->out->count;
    if (!collect_directory(c, path, 0)) {
        message_error("'%.300s': cannot read the directory: %s", path, strerror(errno));
        return false;
    }
    if (c->out->count == before) {
        message_error("'%.300s': no images in the directory (%s)", path,
                      c->recursive ? "nor below it" : "-r looks deeper");
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------- operands */

static bool collect_path(const collector *c, const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return collect_named_directory(c, path);
    }
    if (!append(c->out, strdup(path))) {
        message_error("out of memory");
        return false;
    }
    return true;
}

static bool collect_pattern(const collector *c, const char *pattern)
{
    glob_t matches = {0};
    int status = glob(pattern, 0, NULL, &matches);
    bool done = status == 0;
    if (!done) {
        message_error("'%.300s': %s", pattern, status == GLOB_NOMATCH ? "no file matches" : "cannot expand");
    }
    for (size_t i = 0; i < matches.gl_pathc && status == 0; i++) {
        done = collect_path(c, matches.gl_pathv[i]) && done;
    }
    globfree(&matches);
    return done;
}

size_t inputs_collect(const char *const *operands, int count, bool recursive, path_list *out)
{
    collector c = {recursive, out};
    size_t failed = 0;
    for (int i = 0; i < count; i++) {
        struct stat info;
        bool literal = strpbrk(operands[i], "*?[") == NULL || lstat(operands[i], &info) == 0;
        bool done = literal ? collect_path(&c, operands[i]) : collect_pattern(&c, operands[i]);
        failed += !done;
    }
    return failed;
}

/* ---------------------------------------------------------------- identity */

bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool inputs_include(const path_list *inputs, const char *path)
{
    bool found = false;
    for (size_t i = 0; i < inputs->count && !found; i++) {
        found = same_file(inputs->paths[i], path);
    }
    return found;
}

/* ----------------------------------------------------------- picture names */

typedef struct identity {
    dev_t device;
    ino_t inode;
} identity;

/* Sorted identities of the inputs, and a chained hash table of the names given so far. */
typedef struct namer {
    identity *inputs;
    size_t input_count;
    size_t *first, *next; /* hash bucket -> index + 1 of a picture; picture -> the next of its bucket */
    uint32_t *collisions; /* per picture: the number last tried for its stem                        */
    size_t buckets;
    path_list *out;
} namer;

static int compare_identities(const void *a, const void *b)
{
    const identity *x = a, *y = b;
    if (x->device != y->device) {
        return x->device < y->device ? -1 : 1;
    }
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static bool is_input(const namer *n, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return false;
    }
    identity key = {info.st_dev, info.st_ino};
    return bsearch(&key, n->inputs, n->input_count, sizeof key, compare_identities) != NULL;
}

static size_t bucket_of(const namer *n, const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    }
    return (size_t)(hash % n->buckets);
}

/* Index + 1 of the picture that has this name, 0 = free. */
static size_t find_name(const namer *n, const char *name)
{
    size_t i = n->first[bucket_of(n, name)];
    while (i && strcmp(n->out->paths[i - 1], name) != 0) {
        i = n->next[i - 1];
    }
    return i;
}

static bool add_name(namer *n, char *name)
{
    if (!append(n->out, name)) {
        return false;
    }
    size_t index = n->out->count - 1, bucket = bucket_of(n, name);
    n->next[index] = n->first[bucket];
    n->first[bucket] = index + 1;
    return true;
}

static bool name_picture(namer *n, const char *directory, const char *input)
{
    const char *slash = strrchr(input, '/');
    const char *base = slash ? slash + 1 : input;
    const char *dot = strrchr(base, '.');
    int stem = (int)(dot && dot != base ? (size_t)(dot - base) : strlen(base));
    size_t capacity = strlen(directory) + strlen(base) + 32;
    char *path = malloc(capacity);
    if (!path) {
        return false;
    }
    snprintf(path, capacity, "%s/%.*s.png", directory, stem, base);
    size_t holder = find_name(n, path);
    uint32_t number = holder ? n->collisions[holder - 1] : 1;
    while (find_name(n, path) || is_input(n, path)) {
        snprintf(path, capacity, "%s/%.*s-%u.png", directory, stem, base, (unsigned)++number);
    }
    if (holder) {
        n->collisions[holder - 1] = number;
    }
    n->collisions[n->out->count] = 1;
    return add_name(n, path);
}

bool inputs_name_pictures(const path_list *inputs, const char *directory, path_list *out)
{
    size_t count = inputs->count ? inputs->count : 1;
    namer n = {.buckets = 2 * count + 1, .out = out};
    n.inputs = calloc(count, sizeof *n.inputs);
    n.first = calloc(n.buckets, sizeof *n.first);
    n.next = calloc(count, sizeof *n.next);
    n.collisions = calloc(count, sizeof *n.collisions);
    bool done = n.inputs && n.first && n.next && n.collisions;
    for (size_t i = 0; done && i < inputs->count; i++) {
        struct stat info;
        if (stat(inputs->paths[i], &info) == 0) {
            n.inputs[n.input_count++] = (identity){info.st_dev, info.st_ino};
        }
    }
    if (done) {
        qsort(n.inputs, n.input_count, sizeof *n.inputs, compare_identities);
    }
    for (size_t i = 0; done && i < inputs->count; i++) {
        done = name_picture(&n, directory, inputs->paths[i]);
    }
    free(n.inputs);
    free(n.first);
    free(n.next);
    free(n.collisions);
    return done;
}
