/* The growing string and its JSON literals. */
#include <locale.h>

#include "base/memory.h"
#include "base/text.h"
#include "harness.h"

static void expect(rcnn_text *text, const char *want)
{
    char *got = rcnn_text_take(text);
    CHECK_MSG(got && strcmp(got, want) == 0, "want %s, got %s", want, got ? got : "NULL");
    rcnn_free(got);
}

TEST(numbers_read_back)
{
    const struct {
        double value;
        const char *want;
    } cases[] = {{0, "0"},
                 {0.1, "0.1"},
                 {-2.5, "-2.5"},
                 {1e300, "1e+300"},
                 {123456789, "123456789"},
                 {0.05f, "0.05000000074505806"},
                 {1.0 / 3, "0.3333333333333333"},
                 {NAN, "null"},
                 {INFINITY, "null"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rcnn_text text = {0};
        rcnn_text_json_number(&text, cases[i].value);
        expect(&text, cases[i].want);
    }
}

TEST(numbers_do_not_follow_the_locale)
{
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) {
        printf("SKIPPED: no locale with a decimal comma is installed\n");
        return;
    }
    rcnn_text text = {0};
    rcnn_text_json_number(&text, 0.5);
    setlocale(LC_NUMERIC, "C");
    expect(&text, "0.5");
}

TEST(strings_are_escaped)
{
    rcnn_text text = {0};
    rcnn_text_json_string(&text, "a\"b\\c\nd\te\x01 \xc3\xa4 \xff \xed\xa0\x80");
    expect(&text, "\"a\\\"b\\\\c\\nd\\u0009e\\u0001 \xc3\xa4 \\ufffd \\ufffd\\ufffd\\ufffd\"");
}

TEST(failure_sticks_and_frees)
{
    rcnn_text text = {0};
    rcnn_text_add(&text, "kept");
    rcnn_memory_fail_from(1);
    for (int i = 0; i < 100; i++) {
        rcnn_text_printf(&text, "%d %0300d", i, i);
    }
    rcnn_memory_fail_from(0);
    CHECK(text.failed);
    CHECK(rcnn_text_take(&text) == NULL);
}

TEST_MAIN
