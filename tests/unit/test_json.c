/* The JSON pull reader and the number parser below it: what is accepted, what is refused and where, limits. */
#include "harness.h"

#include <locale.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/number.h"

/* Reads all tokens and writes them as one line: { } [ ] k:text s:text n:number t f 0, or the status of the failure. */
static rcnn_status trace(const void *data, size_t size, char *out, size_t capacity, rcnn_error *err)
{
    static const char MARKS[] = "${}[]ksntf0";
    rcnn_json json;
    rcnn_status status;
    size_t used = 0;
    out[0] = '\0';
    rcnn_json_open(&json, "test", data, size);
    while ((status = rcnn_json_next(&json, err)) == RCNN_OK && json.token != RCNN_JSON_END) {
        int n = 0;
        if (json.token == RCNN_JSON_KEY || json.token == RCNN_JSON_STRING) {
            n = snprintf(out + used, capacity - used, "%c:%s ", MARKS[json.token], json.text);
        } else if (json.token == RCNN_JSON_NUMBER) {
            n = json.is_integer ? snprintf(out + used, capacity - used, "i:%lld ", (long long)json.integer)
                                : snprintf(out + used, capacity - used, "n:%.17g ", json.number);
        } else {
            n = snprintf(out + used, capacity - used, "%c ", MARKS[json.token]);
        }
        used += (size_t)n;
    }
    rcnn_json_close(&json);
    return status;
}

static void check_accepts(const char *text, const char *want)
{
    char got[512];
    rcnn_error err = {0};
    CHECK_OK(trace(text, strlen(text), got, sizeof got, &err), err);
    CHECK_MSG(strcmp(got, want) == 0, "%s: want \"%s\", got \"%s\"", text, want, got);
}

static void check_refuses(const char *text, rcnn_status want, const char *message)
{
    char got[512];
    rcnn_error err = {0};
    rcnn_status status = trace(text, strlen(text), got, sizeof got, &err);
    CHECK_MSG(status == want, "%s: want status %d, got %d", text, (int)want, (int)status);
    CHECK_MSG(strstr(err.message, message) != NULL, "%s: want \"%s\" in \"%s\"", text, message, err.message);
}

TEST(values)
{
    check_accepts("{}", "{ } ");
    check_accepts(" [ ] ", "[ ] ");
    check_accepts("null", "0 ");
    check_accepts("\xef\xbb\xbf[true,false]", "[ t f ] ");
    check_accepts("{\"a\":[1,-2.5,{\"b\":\"c\"}],\"d\":null}", "{ k:a [ i:1 n:-2.5 { k:b s:c } ] k:d 0 } ");
    check_accepts("[9223372036854775807,-9223372036854775808]", "[ i:9223372036854775807 i:-9223372036854775808 ] ");
    check_accepts("9223372036854775808", "n:9.2233720368547758e+18 ");
    check_accepts("[1e2,1E-2,0.1,1.0]", "[ n:100 n:0.01 n:0.10000000000000001 n:1 ] ");
}

TEST(strings)
{
    check_accepts("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s:\"\\/\b\f\n\r\t ");
    check_accepts("\"\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\"", "s:A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 ");
    check_accepts("\"\\ud83dx\\ud83d\\u0041\\udc00\"", "s:\xef\xbf\xbdx\xef\xbf\xbd"
                                                       "A\xef\xbf\xbd ");
    check_accepts("\"\xe2\x82\xac\"", "s:\xe2\x82\xac ");
    rcnn_json json;
    rcnn_error err = {0};
    rcnn_json_open(&json, "test", "\"a\\u0000b\"", 10);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_STRING, &err), err);
    CHECK(json.length == 3 && memcmp(json.text, "a\0b", 4) == 0);
    rcnn_json_close(&json);
}

TEST(refusals)
{
    check_refuses("", RCNN_ERR_FORMAT, "byte 0: want a value, got the end");
    check_refuses("[1,]", RCNN_ERR_FORMAT, "byte 3: want a value, got ']'");
    check_refuses("[1 2]", RCNN_ERR_FORMAT, "byte 3: want ',' or ']', got '2'");
    check_refuses("{\"a\" 1}", RCNN_ERR_FORMAT, "byte 5: want ':' after a key");
    check_refuses("{\"a\":1,}", RCNN_ERR_FORMAT, "byte 7: want a key, got '}'");
    check_refuses("{1:2}", RCNN_ERR_FORMAT, "want a key or '}'");
    check_refuses("[1]]", RCNN_ERR_FORMAT, "byte 3: want the end of the data");
    check_refuses("[1}", RCNN_ERR_FORMAT, "want ',' or ']', got '}'");
    check_refuses("01", RCNN_ERR_FORMAT, "want the end of the data");
    check_refuses("-", RCNN_ERR_FORMAT, "want a digit");
    check_refuses("1.", RCNN_ERR_FORMAT, "want a digit");
    check_refuses("1e+", RCNN_ERR_FORMAT, "want a digit");
    check_refuses("+1", RCNN_ERR_FORMAT, "want a value, got '+'");
    check_refuses("NaN", RCNN_ERR_FORMAT, "want a value");
    check_refuses("tru", RCNN_ERR_FORMAT, "want a value");
    check_refuses("1e999", RCNN_ERR_LIMIT, "too large");
    check_refuses("\"abc", RCNN_ERR_FORMAT, "closing '\"'");
    check_refuses("\"a\nb\"", RCNN_ERR_FORMAT, "byte 0x0a");
    check_refuses("\"\\x\"", RCNN_ERR_FORMAT, "after a backslash");
    check_refuses("\"\\u12g4\"", RCNN_ERR_FORMAT, "hexadecimal");
    check_refuses("\"\xc0\x80\"", RCNN_ERR_FORMAT, "UTF-8");
    check_refuses("\"\xed\xa0\x80\"", RCNN_ERR_FORMAT, "UTF-8");
    check_refuses("\"\xe2\x82", RCNN_ERR_FORMAT, "UTF-8");
}

TEST(depth_limit)
{
    char text[2 * RCNN_JSON_DEPTH_MAX + 4];
    char got[4 * RCNN_JSON_DEPTH_MAX + 8];
    rcnn_error err = {0};
    memset(text, '[', RCNN_JSON_DEPTH_MAX);
    memset(text + RCNN_JSON_DEPTH_MAX, ']', RCNN_JSON_DEPTH_MAX);
    CHECK_OK(trace(text, 2 * RCNN_JSON_DEPTH_MAX, got, sizeof got, &err), err);
    memset(text, '[', sizeof text);
    CHECK(trace(text, sizeof text, got, sizeof got, &err) == RCNN_ERR_LIMIT);
    CHECK(strstr(err.message, "deeper than 256") != NULL);
}

TEST(skip_and_expect)
{
    static const char TEXT[] = "{\"skip\":{\"a\":[1,{}]},\"one\":1,\"list\":[[2],3]}";
    rcnn_json json;
    rcnn_error err = {0};
    rcnn_json_open(&json, "test", TEXT, sizeof TEXT - 1);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_OBJECT_BEGIN, &err), err);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_KEY, &err), err);
    CHECK_OK(rcnn_json_skip(&json, &err), err);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_KEY, &err), err);
    CHECK(strcmp(json.text, "one") == 0 && json.offset == 21);
    CHECK_OK(rcnn_json_skip(&json, &err), err);
    CHECK(json.token == RCNN_JSON_NUMBER && json.integer == 1);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_KEY, &err), err);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_ARRAY_BEGIN, &err), err);
    CHECK_OK(rcnn_json_skip(&json, &err), err);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_OBJECT_END, &err), err);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_END, &err), err);
    CHECK_OK(rcnn_json_expect(&json, RCNN_JSON_END, &err), err);
    rcnn_json_close(&json);

    rcnn_json_open(&json, "file.json", "[]", 2);
    CHECK(rcnn_json_expect(&json, RCNN_JSON_OBJECT_BEGIN, &err) == RCNN_ERR_FORMAT);
    CHECK(strcmp(err.message, "file.json: JSON byte 0: want '{', got '['") == 0);
    rcnn_json_close(&json);
}

TEST(failing_allocation)
{
    char text[400];
    rcnn_error err = {0};
    rcnn_json json;
    memset(text, 'a', sizeof text);
    text[0] = text[sizeof text - 1] = '"';
    rcnn_json_open(&json, "test", text, sizeof text);
    rcnn_memory_fail_from(1);
    CHECK(rcnn_json_next(&json, &err) == RCNN_ERR_MEMORY);
    rcnn_memory_fail_from(0);
    CHECK(rcnn_json_next(&json, &err) == RCNN_ERR_FORMAT);
    rcnn_json_close(&json);
}

static void check_double(const char *text)
{
    double got = 0;
    char *end;
    CHECK_MSG(rcnn_parse_double(text, strlen(text), &got), "%s refused", text);
    CHECK_MSG(got == strtod(text, &end), "%s: got %.17g", text, got);
}

TEST(numbers_equal_strtod)
{
    static const char *const EDGES[] = {"0",
                                        "-0",
                                        "1",
                                        "123456789012345678901234567890",
                                        "0.1",
                                        "2.2250738585072014e-308",
                                        "4.9e-324",
                                        "1e-400",
                                        "1.7976931348623157e308",
                                        "9007199254740993",
                                        "9007199254740992.5",
                                        "0.000001",
                                        "1e22",
                                        "1e23",
                                        "8.5e-22",
                                        "0.00000000000000000000000000000000000000000000000001",
                                        "1e-22",
                                        "100000000000000000000000e-20",
                                        "1e00000000001"};
    for (size_t i = 0; i < sizeof EDGES / sizeof EDGES[0]; i++) {
        check_double(EDGES[i]);
    }
    uint64_t seed = 7;
    for (int i = 0; i < 20000; i++) {
        char text[64];
        uint64_t bits = test_random(&seed);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) {
            snprintf(text, sizeof text, "%.*g", (int)(bits % 18) + 1, value);
            check_double(text);
            snprintf(text, sizeof text, "%.*f", (int)(bits % 9), (double)(int64_t)bits / 1e12);
            check_double(text);
        }
    }
    double value = 1;
    CHECK(!rcnn_parse_double("", 0, &value) && !rcnn_parse_double(".", 1, &value) &&
          !rcnn_parse_double("1x", 2, &value));
    CHECK(!rcnn_parse_double("1e", 2, &value) && !rcnn_parse_double("inf", 3, &value) && value == 1);
}

TEST(numbers_ignore_the_locale)
{
    static const char *const NAMES[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (setlocale(LC_ALL, NAMES[i])) {
            double value = 0;
            CHECK(rcnn_parse_double("0.12345678901234567890123", 25, &value) && value == 0.12345678901234567890123);
            setlocale(LC_ALL, "C");
            return;
        }
    }
    fprintf(stderr, "note: no locale with a decimal comma is installed, nothing was tested\n");
}

TEST_MAIN
