/* See engine_cache.h. */
#include "backend/cuda/engine_cache.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/number.h"

#define HEADER           "rcnn engines 1\t"
#define MICROSECONDS_MAX 1e9

/* ------------------------------------------------------------- text */

/* Printable ASCII, at least one character. */
static bool is_plain(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e) {
            return false;
        }
    }
    return length > 0;
}

static bool is_time(double microseconds)
{
    return isfinite(microseconds) && microseconds >= 0 && microseconds <= MICROSECONDS_MAX;
}

/* FNV-1a. */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++) {
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    }
    return hash;
}

/* Cuts the piece up to `end` off the front of text[at..size). False when `end` does not come. */
static bool cut(const char *text, size_t size, size_t *at, char end, const char **piece, size_t *length)
{
    const char *stop = *at < size ? memchr(text + *at, end, size - *at) : NULL;
    if (!stop) {
        return false;
    }
    *piece = text + *at;
    *length = (size_t)(stop - *piece);
    *at += *length + 1;
    return true;
}

/* ------------------------------------------------------------- life */

bool rcnn_engine_cache_directory(char *out, size_t capacity)
{
    const char *own = getenv("RCNN_CACHE_DIR");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length = 0;
    if (own) {
        length = snprintf(out, capacity, "%s", own);
    } else if (xdg && xdg[0] == '/') { /* the XDG base directory rules: relative ones are to be ignored */
        length = snprintf(out, capacity, "%s/rcnn", xdg);
    } else if (home && home[0] == '/') {
        length = snprintf(out, capacity, "%s/.cache/rcnn", home);
    }
    return length > 0 && (size_t)length < capacity;
}

rcnn_status rcnn_engine_cache_init(rcnn_engine_cache *cache, const char *identity, const char *directory,
                                   rcnn_error *err)
{
    *cache = (rcnn_engine_cache){0};
    snprintf(cache->identity, sizeof cache->identity, "%s", identity);
    for (char *c = cache->identity; *c; c++) {
        *c = is_plain(c, 1) ? *c : '?';
    }
    if (!directory) {
        return RCNN_OK;
    }
    rcnn_text path = {0};
    rcnn_text_printf(&path, "%s/engines-%016llx.txt", directory, (unsigned long long)hash_of(cache->identity));
    cache->path = rcnn_text_take(&path);
    return cache->path ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "engine cache: out of memory");
}

void rcnn_engine_cache_free(rcnn_engine_cache *cache)
{
    rcnn_free(cache->path);
    rcnn_free(cache->entries);
    *cache = (rcnn_engine_cache){0};
}

/* ------------------------------------------------------------- entries */

static rcnn_engine_entry *find(const rcnn_engine_cache *cache, const char *key)
{
    for (size_t i = 0; i < cache->count; i++) {
        if (strcmp(cache->entries[i].key, key) == 0) {
            return &cache->entries[i];
        }
    }
    return NULL;
}

const rcnn_engine_entry *rcnn_engine_cache_find(const rcnn_engine_cache *cache, const char *key)
{
    return find(cache, key);
}

/* The entry of that key, made when it is not there. */
static rcnn_status find_or_add(rcnn_engine_cache *cache, const char *key, rcnn_engine_entry **out, rcnn_error *err)
{
    *out = find(cache, key);
    if (*out) {
        return RCNN_OK;
    }
    if (cache->count == RCNN_ENGINE_ENTRIES_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "engine cache: want at most %d entries", RCNN_ENGINE_ENTRIES_MAX);
    }
    void *entries = cache->entries;
    if (!rcnn_grow(&entries, &cache->capacity, cache->count + 1, sizeof *cache->entries)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "engine cache: out of memory");
    }
    cache->entries = entries;
    *out = &cache->entries[cache->count++];
    **out = (rcnn_engine_entry){0};
    snprintf((*out)->key, sizeof(*out)->key, "%s", key);
    return RCNN_OK;
}

rcnn_status rcnn_engine_cache_put(rcnn_engine_cache *cache, const char *key, const char *choice, float microseconds,
                                  rcnn_error *err)
{
    const size_t key_length = strlen(key), choice_length = strlen(choice);
    if (!is_plain(key, key_length) || key_length >= RCNN_ENGINE_KEY_MAX || !is_plain(choice, choice_length) ||
        choice_length >= RCNN_ENGINE_CHOICE_MAX || !is_time((double)microseconds)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "engine cache: cannot keep '%s' for '%s'", choice, key);
    }
    rcnn_engine_entry *entry;
    RCNN_TRY(find_or_add(cache, key, &entry, err));
    memcpy(entry->choice, choice, choice_length + 1);
    entry->microseconds = microseconds;
    entry->fresh = true;
    cache->unsaved++;
    return RCNN_OK;
}

/* ------------------------------------------------------------- format */

void rcnn_engine_cache_format(const rcnn_engine_cache *cache, rcnn_text *out)
{
    rcnn_text_printf(out, HEADER "%s\n", cache->identity);
    for (size_t i = 0; i < cache->count; i++) {
        const rcnn_engine_entry *entry = &cache->entries[i];
        rcnn_text_printf(out, "%s\t%s\t", entry->key, entry->choice);
        rcnn_text_json_number(out, (double)entry->microseconds); /* the same in every locale */
        rcnn_text_add(out, "\n");
    }
}

static rcnn_status check_header(const rcnn_engine_cache *cache, const char *text, size_t size, size_t *at,
                                rcnn_error *err)
{
    const char *line;
    size_t length;
    if (!cut(text, size, at, '\n', &line, &length)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "engine cache: want a header line");
    }
    const size_t header_length = strlen(HEADER);
    if (length < header_length || memcmp(line, HEADER, header_length) != 0 ||
        length - header_length != strlen(cache->identity) ||
        memcmp(line + header_length, cache->identity, length - header_length) != 0) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "engine cache: written for another device or version");
    }
    return RCNN_OK;
}

/* One line "key<TAB>choice<TAB>microseconds". */
static bool parse_line(const char *line, size_t length, rcnn_engine_entry *out)
{
    const char *key, *choice;
    size_t key_length, choice_length, at = 0;
    double microseconds;
    if (!cut(line, length, &at, '\t', &key, &key_length) || !cut(line, length, &at, '\t', &choice, &choice_length) ||
        !is_plain(key, key_length) || key_length >= RCNN_ENGINE_KEY_MAX || !is_plain(choice, choice_length) ||
        choice_length >= RCNN_ENGINE_CHOICE_MAX || !rcnn_parse_double(line + at, length - at, &microseconds) ||
        !is_time(microseconds)) {
        return false;
    }
    *out = (rcnn_engine_entry){.microseconds = (float)microseconds};
    memcpy(out->key, key, key_length);
    memcpy(out->choice, choice, choice_length);
    return true;
}

static rcnn_status parse(rcnn_engine_cache *out, const char *text, size_t size, rcnn_error *err)
{
    size_t at = 0;
    RCNN_TRY(check_header(out, text, size, &at, err));
    for (size_t number = 2; at < size; number++) {
        const char *line;
        size_t length;
        rcnn_engine_entry entry, *place;
        if (!cut(text, size, &at, '\n', &line, &length) || !parse_line(line, length, &entry)) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "engine cache: line %zu is damaged", number);
        }
        RCNN_TRY(find_or_add(out, entry.key, &place, err));
        *place = entry;
    }
    return RCNN_OK;
}

/* Copies entries of `from` over ours that are not fresh; room for all of them has been made. */
static void take_over(rcnn_engine_cache *cache, const rcnn_engine_cache *from)
{
    for (size_t i = 0; i < from->count; i++) {
        rcnn_engine_entry *place = find(cache, from->entries[i].key);
        if (!place && cache->count < RCNN_ENGINE_ENTRIES_MAX) {
            place = &cache->entries[cache->count++];
            place->fresh = false;
        }
        if (place && !place->fresh) {
            *place = from->entries[i];
        }
    }
}

rcnn_status rcnn_engine_cache_merge(rcnn_engine_cache *cache, const char *text, size_t size, rcnn_error *err)
{
    rcnn_engine_cache read;
    rcnn_status status = rcnn_engine_cache_init(&read, cache->identity, NULL, err);
    if (status == RCNN_OK) {
        status = parse(&read, text, size, err);
    }
    void *entries = cache->entries;
    if (status == RCNN_OK &&
        !rcnn_grow(&entries, &cache->capacity, cache->count + read.count, sizeof *cache->entries)) {
        status = rcnn_fail(err, RCNN_ERR_MEMORY, "engine cache: out of memory");
    }
    cache->entries = entries;
    if (status == RCNN_OK) {
        take_over(cache, &read);
    }
    rcnn_engine_cache_free(&read);
    return status;
}

/* ------------------------------------------------------------- file */

rcnn_status rcnn_engine_cache_load(rcnn_engine_cache *cache, rcnn_error *err)
{
    if (!cache->path) {
        return RCNN_OK;
    }
    rcnn_file_map map;
    rcnn_status status = rcnn_file_map_open(cache->path, RCNN_ENGINE_BYTES_MAX, &map, err);
    if (status == RCNN_ERR_NOT_FOUND) {
        rcnn_error_clear(err);
        return RCNN_OK;
    }
    if (status == RCNN_OK) {
        status = rcnn_engine_cache_merge(cache, map.data ? (const char *)map.data : "", map.size, err);
    }
    rcnn_file_map_close(&map);
    return status;
}

/* The folder of a file and those above it; those that are there stay as they are. */
static rcnn_status make_folders(const char *path, rcnn_error *err)
{
    char *folder = rcnn_strdup(path);
    if (!folder) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "engine cache: out of memory");
    }
    rcnn_status status = RCNN_OK;
    for (char *slash = strchr(folder + 1, '/'); slash && status == RCNN_OK; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        struct stat info;
        if (stat(folder, &info) != 0 && mkdir(folder, 0700) != 0 && errno != EEXIST) {
            status = rcnn_fail_errno(err, "%s: cannot make the folder", folder);
        }
        *slash = '/';
    }
    rcnn_free(folder);
    return status;
}

static rcnn_status write_file(const char *path, const rcnn_text *text, rcnn_error *err)
{
    rcnn_file_writer writer;
    RCNN_TRY(rcnn_file_writer_open(path, &writer, err));
    fwrite(text->data, 1, text->length, writer.stream); /* commit sees a failure */
    return rcnn_file_writer_commit(&writer, err);
}

rcnn_status rcnn_engine_cache_save(rcnn_engine_cache *cache, rcnn_error *err)
{
    if (!cache->path || cache->unsaved == 0) {
        return RCNN_OK;
    }
    RCNN_TRY(make_folders(cache->path, err));
    rcnn_error ignored;
    if (rcnn_engine_cache_load(cache, &ignored) == RCNN_ERR_MEMORY) { /* a damaged file is replaced */
        return rcnn_fail(err, RCNN_ERR_MEMORY, "engine cache: out of memory");
    }
    rcnn_text text = {0};
    rcnn_engine_cache_format(cache, &text);
    rcnn_status status = text.failed ? rcnn_fail(err, RCNN_ERR_MEMORY, "engine cache: out of memory")
                                     : write_file(cache->path, &text, err);
    rcnn_text_free(&text);
    cache->unsaved = status == RCNN_OK ? 0 : cache->unsaved;
    return status;
}
