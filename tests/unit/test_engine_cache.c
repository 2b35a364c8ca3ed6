/* The file of remembered engines: what is written is read back, and nothing that stands in a file does harm. */
#include "harness.h"

#include <ftw.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/cuda/engine_cache.h"
#include "base/memory.h"

#define IDENTITY "GPU X, sm 90, driver 1, cuDNN 2"
#define HEADER   "rcnn engines 1\t" IDENTITY "\n"

static void must_init(rcnn_engine_cache *cache, const char *identity, const char *directory)
{
    rcnn_error err = {0};
    CHECK_OK(rcnn_engine_cache_init(cache, identity, directory, &err), err);
}

static rcnn_status merge(rcnn_engine_cache *cache, const char *text, size_t size)
{
    rcnn_error err = {0};
    char *exact = malloc(size ? size : 1); /* so that sanitizers see over-reads */
    memcpy(exact, text, size);
    rcnn_status status = rcnn_engine_cache_merge(cache, exact, size, &err);
    CHECK(status == RCNN_OK || err.message[0]);
    free(exact);
    return status;
}

static void check_entry(const rcnn_engine_cache *cache, const char *key, const char *choice, float microseconds)
{
    const rcnn_engine_entry *entry = rcnn_engine_cache_find(cache, key);
    REQUIRE(entry != NULL);
    CHECK_MSG(strcmp(entry->choice, choice) == 0, "%s: want %s, got %s", key, choice, entry->choice);
    CHECK(entry->microseconds == microseconds);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static char folder_path[] = "/tmp/rcnn-test-engines-XXXXXX";

static void remove_folder(void)
{
    nftw(folder_path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* A folder of this test's own, made at the first call and removed at the end. */
static const char *folder(void)
{
    static char *made;
    if (!made) {
        made = mkdtemp(folder_path);
        atexit(remove_folder);
    }
    return made;
}

static void write_text(const char *path, const char *text, size_t size)
{
    FILE *f = fopen(path, "wb");
    REQUIRE(f != NULL);
    CHECK(fwrite(text, 1, size, f) == size);
    fclose(f);
}

/* --------------------------------------------------------------- entries */

TEST(puts_finds_and_replaces)
{
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    must_init(&cache, IDENTITY, NULL);
    CHECK(rcnn_engine_cache_find(&cache, "a") == NULL);
    CHECK_OK(rcnn_engine_cache_put(&cache, "a", "engine 1", 12.5f, &err), err);
    CHECK_OK(rcnn_engine_cache_put(&cache, "b", "engine 2", 0, &err), err);
    CHECK_OK(rcnn_engine_cache_put(&cache, "a", "engine 3", 8, &err), err);
    CHECK(cache.count == 2);
    check_entry(&cache, "a", "engine 3", 8);
    check_entry(&cache, "b", "engine 2", 0);
    rcnn_engine_cache_free(&cache);
}

TEST(refuses_what_a_line_cannot_hold)
{
    static const struct {
        const char *key, *choice;
        float microseconds;
    } bad[] = {{"", "c", 1},    {"k", "", 1},         {"a\tb", "c", 1},     {"a\nb", "c", 1},
               {"k", "c\n", 1}, {"k", "\x7f", 1},     {"\xc3\xa4", "c", 1}, {"k", "c", -1},
               {"k", "c", NAN}, {"k", "c", INFINITY}, {"k", "c", 2e9f}};
    char lengthy[RCNN_ENGINE_KEY_MAX + 1];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    rcnn_engine_cache cache;
    must_init(&cache, IDENTITY, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_MSG(rcnn_engine_cache_put(&cache, bad[i].key, bad[i].choice, bad[i].microseconds, NULL) ==
                      RCNN_ERR_ARGUMENT,
                  "case %zu", i);
    }
    CHECK(rcnn_engine_cache_put(&cache, lengthy, "c", 1, NULL) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_engine_cache_put(&cache, "k", lengthy, 1, NULL) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_engine_cache_put(&cache, lengthy + 1, lengthy + 1, 1, NULL) == RCNN_OK); /* the longest */
    CHECK(cache.count == 1);
    rcnn_engine_cache_free(&cache);
}

TEST(holds_a_limited_number)
{
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    char key[32];
    must_init(&cache, IDENTITY, NULL);
    for (int i = 0; i < RCNN_ENGINE_ENTRIES_MAX; i++) {
        snprintf(key, sizeof key, "key %d", i);
        REQUIRE(rcnn_engine_cache_put(&cache, key, "c", 1, &err) == RCNN_OK);
    }
    CHECK(rcnn_engine_cache_put(&cache, "one more", "c", 1, &err) == RCNN_ERR_LIMIT);
    CHECK(rcnn_engine_cache_put(&cache, "key 7", "d", 1, &err) == RCNN_OK);
    rcnn_engine_cache other;
    must_init(&other, IDENTITY, NULL);
    CHECK_OK(rcnn_engine_cache_put(&other, "own", "c", 1, &err), err);
    rcnn_text text = {0};
    rcnn_engine_cache_format(&cache, &text);
    CHECK(text.length <= RCNN_ENGINE_BYTES_MAX);
    CHECK(merge(&other, text.data, text.length) == RCNN_OK); /* one stays outside */
    CHECK(other.count == RCNN_ENGINE_ENTRIES_MAX);
    check_entry(&other, "own", "c", 1);
    rcnn_text_add(&text, "one more\tc\t1\n");
    CHECK(merge(&other, text.data, text.length) == RCNN_ERR_LIMIT);
    rcnn_text_free(&text);
    rcnn_engine_cache_free(&other);
    rcnn_engine_cache_free(&cache);
}

TEST(the_fullest_file_is_within_the_limit)
{
    const size_t line = RCNN_ENGINE_KEY_MAX + RCNN_ENGINE_CHOICE_MAX + 32;
    CHECK(sizeof HEADER + RCNN_ENGINE_IDENTITY_MAX + RCNN_ENGINE_ENTRIES_MAX * line <= RCNN_ENGINE_BYTES_MAX);
}

/* --------------------------------------------------------------- text */

TEST(text_reads_back)
{
    rcnn_engine_cache a, b;
    rcnn_error err = {0};
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where there is one: 0,5 must not be written */
    must_init(&a, "a\tb\nc\x80", NULL);
    must_init(&b, "a\tb\nc\x80", NULL);
    CHECK(strcmp(a.identity, "a?b?c?") == 0);
    CHECK_OK(rcnn_engine_cache_put(&a, "conv 1x2x3", "cudnn f41:2=0,13=1", 17.640625f, &err), err);
    CHECK_OK(rcnn_engine_cache_put(&a, "~ !", "thin", 0.5f, &err), err);
    rcnn_text text = {0};
    rcnn_engine_cache_format(&a, &text);
    CHECK(strcmp(text.data, "rcnn engines 1\ta?b?c?\nconv 1x2x3\tcudnn f41:2=0,13=1\t17.640625\n~ !\tthin\t0.5\n") ==
          0);
    CHECK(merge(&b, text.data, text.length) == RCNN_OK);
    CHECK(b.count == 2 && b.unsaved == 0);
    check_entry(&b, "conv 1x2x3", "cudnn f41:2=0,13=1", 17.640625f);
    check_entry(&b, "~ !", "thin", 0.5f);
    rcnn_text_free(&text);
    rcnn_engine_cache_free(&a);
    rcnn_engine_cache_free(&b);
    setlocale(LC_ALL, "C");
}

TEST(own_findings_stand_against_a_file)
{
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    must_init(&cache, IDENTITY, NULL);
    CHECK_OK(rcnn_engine_cache_put(&cache, "a", "mine", 5, &err), err);
    const char text[] = HEADER "a\ttheirs\t1\nb\tx\t1\nb\ty\t2\n";
    CHECK(merge(&cache, text, sizeof text - 1) == RCNN_OK);
    check_entry(&cache, "a", "mine", 5);
    check_entry(&cache, "b", "y", 2); /* the last of equal keys */
    const char later[] = HEADER "b\tz\t3\n";
    CHECK(merge(&cache, later, sizeof later - 1) == RCNN_OK);
    check_entry(&cache, "b", "z", 3);
    CHECK(cache.count == 2);
    rcnn_engine_cache_free(&cache);
}

TEST(hostile_texts_are_refused_whole)
{
#define TEXT(status, literal)                                                                                          \
    {                                                                                                                  \
        status, literal, sizeof(literal) - 1                                                                           \
    }
    static const struct {
        rcnn_status status;
        const char *text;
        size_t size;
    } cases[] = {
        TEXT(RCNN_ERR_FORMAT, ""),
        TEXT(RCNN_ERR_FORMAT, "rcnn engines 1\t" IDENTITY),
        TEXT(RCNN_ERR_UNSUPPORTED, "\n"),
        TEXT(RCNN_ERR_UNSUPPORTED, "rcnn engines 2\t" IDENTITY "\n"),
        TEXT(RCNN_ERR_UNSUPPORTED, "rcnn engines 1\tanother GPU\n"),
        TEXT(RCNN_ERR_UNSUPPORTED, "rcnn engines 1\t" IDENTITY "\r\n"),
        TEXT(RCNN_ERR_UNSUPPORTED, "rcnn engines 1\t" IDENTITY "\0\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t1"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\n\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t1\t2\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\n\tb\t1\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\t\t1\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t1\r\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\0\tb\t1\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\033[2J\t1\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\n\xff\tb\t1\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t-1\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\tnan\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\tinf\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t1e10\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t1e999\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t1,5\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t0x1p3\n"),
        TEXT(RCNN_ERR_FORMAT, HEADER "good\tc\t1\na\tb\t 1\n"),
    };
#undef TEXT
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    must_init(&cache, IDENTITY, NULL);
    CHECK_OK(rcnn_engine_cache_put(&cache, "mine", "c", 1, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rcnn_status status = merge(&cache, cases[i].text, cases[i].size);
        CHECK_MSG(status == cases[i].status, "case %zu: want %d, got %d", i, cases[i].status, status);
        CHECK(cache.count == 1);
    }
    rcnn_engine_cache_free(&cache);
}

TEST(keys_and_choices_that_are_too_long_are_refused)
{
    for (int part = 0; part < 2; part++) {
        for (size_t extra = 0; extra < 2; extra++) {
            rcnn_text text = {0};
            rcnn_engine_cache cache;
            must_init(&cache, IDENTITY, NULL);
            rcnn_text_add(&text, HEADER);
            for (int field = 0; field < 2; field++) {
                const size_t most = field == 0 ? RCNN_ENGINE_KEY_MAX : RCNN_ENGINE_CHOICE_MAX;
                const size_t length = field == part ? most - 1 + extra : 1;
                for (size_t i = 0; i < length; i++) {
                    rcnn_text_add(&text, "x");
                }
                rcnn_text_add(&text, "\t");
            }
            rcnn_text_add(&text, "1\n");
            CHECK(merge(&cache, text.data, text.length) == (extra ? RCNN_ERR_FORMAT : RCNN_OK));
            rcnn_text_free(&text);
            rcnn_engine_cache_free(&cache);
        }
    }
}

static const char SAMPLE[] =
    HEADER "conv 1x200x336x64\tcudnn f41:2=0,13=1\t17.5\nproduct 1000x1024\tcublaslt 00ff\t61\n";

TEST(every_cut_is_refused_or_ends_at_a_line)
{
    for (size_t size = 0; size < sizeof SAMPLE - 1; size++) {
        rcnn_engine_cache cache;
        must_init(&cache, IDENTITY, NULL);
        rcnn_status status = merge(&cache, SAMPLE, size);
        const bool whole_lines = size >= sizeof HEADER - 1 && SAMPLE[size - 1] == '\n';
        CHECK_MSG((status == RCNN_OK) == whole_lines, "cut at %zu: %d", size, status);
        CHECK(whole_lines || cache.count == 0);
        rcnn_engine_cache_free(&cache);
    }
}

TEST(changed_bytes_never_harm)
{
    uint64_t seed = 5;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof SAMPLE];
        memcpy(text, SAMPLE, sizeof SAMPLE);
        for (int changes = 1 + (int)(test_random(&seed) >> 62); changes > 0; changes--) {
            text[(test_random(&seed) >> 32) % (sizeof SAMPLE - 1)] = (char)(test_random(&seed) >> 56);
        }
        rcnn_engine_cache cache;
        must_init(&cache, IDENTITY, NULL);
        if (merge(&cache, text, sizeof SAMPLE - 1) == RCNN_OK) {
            for (size_t i = 0; i < cache.count; i++) { /* whatever was taken could have been put */
                const rcnn_engine_entry *e = &cache.entries[i];
                CHECK(rcnn_engine_cache_put(&cache, e->key, e->choice, e->microseconds, NULL) == RCNN_OK);
            }
        } else {
            CHECK(cache.count == 0);
        }
        rcnn_engine_cache_free(&cache);
    }
}

/* --------------------------------------------------------------- file */

static void check_saved(const char *directory, const char *key, const char *choice)
{
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    must_init(&cache, IDENTITY, directory);
    CHECK_OK(rcnn_engine_cache_load(&cache, &err), err);
    check_entry(&cache, key, choice, 1);
    rcnn_engine_cache_free(&cache);
}

static void must_save(const char *directory, const char *key, const char *choice)
{
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    must_init(&cache, IDENTITY, directory);
    CHECK_OK(rcnn_engine_cache_put(&cache, key, choice, 1, &err), err);
    CHECK_OK(rcnn_engine_cache_save(&cache, &err), err);
    CHECK(cache.unsaved == 0);
    rcnn_engine_cache_free(&cache);
}

TEST(files_are_merged)
{
    char directory[64];
    snprintf(directory, sizeof directory, "%s/deep/er", folder()); /* made on the way */
    must_save(directory, "a", "1");
    must_save(directory, "b", "2"); /* as another process that never read the file */
    must_save(directory, "a", "3");
    check_saved(directory, "a", "3");
    check_saved(directory, "b", "2");
}

TEST(nothing_to_say_writes_nothing)
{
    char directory[64];
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    snprintf(directory, sizeof directory, "%s/never", folder());
    must_init(&cache, IDENTITY, directory);
    CHECK_OK(rcnn_engine_cache_load(&cache, &err), err); /* there is none: no failure */
    CHECK_OK(rcnn_engine_cache_save(&cache, &err), err);
    CHECK(access(directory, F_OK) != 0);
    rcnn_engine_cache_free(&cache);
}

TEST(damaged_and_oversize_files_are_replaced)
{
    char *large = calloc(1, RCNN_ENGINE_BYTES_MAX + 1);
    const struct {
        const char *text;
        size_t size;
    } files[] = {{"", 0}, {"nonsense", 8}, {SAMPLE, sizeof SAMPLE - 5}, {large, RCNN_ENGINE_BYTES_MAX + 1}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char directory[64];
        rcnn_engine_cache cache;
        rcnn_error err = {0};
        snprintf(directory, sizeof directory, "%s/damaged", folder());
        must_save(directory, "first", "1"); /* makes the folder */
        must_init(&cache, IDENTITY, directory);
        write_text(cache.path, files[i].text, files[i].size);
        CHECK(rcnn_engine_cache_load(&cache, &err) != RCNN_OK);
        CHECK(cache.count == 0);
        CHECK_OK(rcnn_engine_cache_put(&cache, "second", "2", 1, &err), err);
        CHECK_OK(rcnn_engine_cache_save(&cache, &err), err);
        rcnn_engine_cache_free(&cache);
        check_saved(directory, "second", "2");
    }
    free(large);
}

TEST(places_that_cannot_be_written)
{
    char file[64], below[80], taken[64];
    rcnn_engine_cache cache;
    rcnn_error err = {0};
    snprintf(file, sizeof file, "%s/file", folder());
    snprintf(below, sizeof below, "%s/below", file);
    snprintf(taken, sizeof taken, "%s/taken", folder());
    write_text(file, "x", 1);
    must_init(&cache, IDENTITY, below); /* under a file */
    CHECK(rcnn_engine_cache_load(&cache, &err) != RCNN_OK);
    CHECK_OK(rcnn_engine_cache_put(&cache, "a", "b", 1, &err), err);
    CHECK(rcnn_engine_cache_save(&cache, &err) == RCNN_ERR_IO);
    CHECK(cache.unsaved == 1);
    rcnn_engine_cache_free(&cache);
    must_init(&cache, IDENTITY, taken); /* the name is a folder's */
    CHECK(mkdir(taken, 0700) == 0 && mkdir(cache.path, 0700) == 0);
    CHECK(rcnn_engine_cache_load(&cache, &err) == RCNN_ERR_IO);
    CHECK_OK(rcnn_engine_cache_put(&cache, "a", "b", 1, &err), err);
    CHECK(rcnn_engine_cache_save(&cache, &err) == RCNN_ERR_IO);
    rcnn_engine_cache_free(&cache);
}

TEST(identities_have_files_of_their_own)
{
    rcnn_engine_cache a, b;
    must_init(&a, "driver 1", "/x");
    must_init(&b, "driver 2", "/x");
    CHECK(strncmp(a.path, "/x/engines-", 11) == 0);
    CHECK(strcmp(a.path, b.path) != 0);
    rcnn_engine_cache_free(&a);
    rcnn_engine_cache_free(&b);
}

TEST(the_folder_comes_from_the_environment)
{
    char out[64];
    unsetenv("RCNN_CACHE_DIR");
    setenv("XDG_CACHE_HOME", "/xdg", 1);
    setenv("HOME", "/home/user", 1);
    CHECK(rcnn_engine_cache_directory(out, sizeof out) && strcmp(out, "/xdg/rcnn") == 0);
    setenv("XDG_CACHE_HOME", "relative", 1);
    CHECK(rcnn_engine_cache_directory(out, sizeof out) && strcmp(out, "/home/user/.cache/rcnn") == 0);
    unsetenv("XDG_CACHE_HOME");
    CHECK(rcnn_engine_cache_directory(out, sizeof out) && strcmp(out, "/home/user/.cache/rcnn") == 0);
    CHECK(!rcnn_engine_cache_directory(out, 8)); /* no room */
    setenv("RCNN_CACHE_DIR", "/mine", 1);
    CHECK(rcnn_engine_cache_directory(out, sizeof out) && strcmp(out, "/mine") == 0);
    setenv("RCNN_CACHE_DIR", "", 1);
    CHECK(!rcnn_engine_cache_directory(out, sizeof out));
    unsetenv("RCNN_CACHE_DIR");
    unsetenv("HOME");
    CHECK(!rcnn_engine_cache_directory(out, sizeof out));
}

TEST(failing_allocations_are_statuses)
{
    for (uint64_t nth = 1; nth < 64; nth++) {
        rcnn_engine_cache cache;
        char directory[64];
        snprintf(directory, sizeof directory, "%s/memory", folder());
        must_save(directory, "there", "1");
        rcnn_memory_fail_from(nth);
        rcnn_status status = rcnn_engine_cache_init(&cache, IDENTITY, directory, NULL);
        status = status == RCNN_OK ? rcnn_engine_cache_load(&cache, NULL) : status;
        status = status == RCNN_OK ? rcnn_engine_cache_put(&cache, "a", "b", 1, NULL) : status;
        status = status == RCNN_OK ? rcnn_engine_cache_save(&cache, NULL) : status;
        rcnn_memory_fail_from(0);
        CHECK(status == RCNN_OK || status == RCNN_ERR_MEMORY);
        rcnn_engine_cache_free(&cache);
        check_saved(directory, "there", "1");
        if (status == RCNN_OK) {
            return;
        }
    }
    CHECK_MSG(false, "the allocations do not come to an end");
}

TEST_MAIN
