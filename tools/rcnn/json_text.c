#include "json_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define KEY_BYTES 64

void json_text_fail(json_text *json, rcnn_status status, const char *format, ...)
{
    size_t line = 1, start = 0;
    char what[256];
    va_list args;
    if (json->failed) {
        return;
    }
    for (size_t i = 0; i < json->at; i++) {
        if (json->data[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    va_start(args, format);
    if (vsnprintf(what, sizeof what, format, args) < 0) {
        what[0] = '\0';
    }
    va_end(args);
    tool_fail(json->err, "'%.200s': line %zu, column %zu: %s", json->name, line, json->at - start + 1, what);
    json->err->status = status;
    json->failed = true;
}

static char peek_byte(const json_text *json)
{
    return json->at < json->size ? json->data[json->at] : '\0';
}

char json_text_peek(json_text *json)
{
    while (json->at < json->size && strchr(" \t\r\n", json->data[json->at]) && json->data[json->at]) {
        json->at++;
    }
    return peek_byte(json);
}

/* FORMAT: wanted this, got what stands there. */
static void fail_wanted(json_text *json, const char *wanted)
{
    char raw[24], got[24];
    const size_t left = json->size - json->at, length = left < 12 ? left : 12;
    memcpy(raw, json->data + json->at, length);
    raw[length] = '\0';
    raw[strcspn(raw, "\r\n")] = '\0';
    utf8_copy_printable(got, sizeof got, raw);
    if (left == 0) {
        json_text_fail(json, RCNN_ERR_FORMAT, "want %s, got the end of the file", wanted);
    } else {
        json_text_fail(json, RCNN_ERR_FORMAT, "want %s, got '%s'", wanted, got);
    }
}

static bool take(json_text *json, char wanted)
{
    if (json->failed || json_text_peek(json) != wanted) {
        return false;
    }
    json->at++;
    return true;
}

static void need(json_text *json, char wanted, const char *name)
{
    if (!take(json, wanted)) {
        fail_wanted(json, name);
    }
}

void json_text_end(json_text *json)
{
    json_text_peek(json);
    if (!json->failed && json->at != json->size) {
        fail_wanted(json, "the end of the file");
    }
}

/* ----------------------------------------------------------------- strings */

typedef struct string_out {
    char *text;
    size_t used, capacity;
    bool full; /* a character did not fit: what follows is cut */
} string_out;

/* One well-formed character, or '?' for a control character. */
static void put_character(string_out *out, const char *bytes, size_t length)
{
    const bool control = length == 1 && ((unsigned char)*bytes < 0x20 || *bytes == 0x7f);
    out->full = out->full || out->used + length >= out->capacity;
    if (!out->full) {
        memcpy(out->text + out->used, control ? "?" : bytes, length);
        out->used += length;
    }
}

static void put_code_point(string_out *out, uint32_t c)
{
    char b[4];
    if (c < 0x80) {
        b[0] = (char)c;
        put_character(out, b, 1);
    } else if (c < 0x800) {
        b[0] = (char)(0xc0 | c >> 6);
        b[1] = (char)(0x80 | (c & 0x3f));
        put_character(out, b, 2);
    } else if (c < 0x10000) {
        b[0] = (char)(0xe0 | c >> 12);
        b[1] = (char)(0x80 | (c >> 6 & 0x3f));
        b[2] = (char)(0x80 | (c & 0x3f));
        put_character(out, b, 3);
    } else {
        b[0] = (char)(0xf0 | c >> 18);
        b[1] = (char)(0x80 | (c >> 12 & 0x3f));
        b[2] = (char)(0x80 | (c >> 6 & 0x3f));
        b[3] = (char)(0x80 | (c & 0x3f));
        put_character(out, b, 4);
    }
}

static uint32_t read_hex4(json_text *json)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = peek_byte(json);
        const char *digits = "0123456789abcdefABCDEF", *found = c ? strchr(digits, c) : NULL;
        if (!found) {
            fail_wanted(json, "four hexadecimal digits");
            return 0;
        }
        const uint32_t digit = (uint32_t)(found - digits);
        value = 16 * value + (digit < 16 ? digit : digit - 6);
        json->at++;
    }
    return value;
}

/* Behind "\u". A surrogate without its partner becomes U+FFFD. */
static void read_unicode(json_text *json, string_out *out)
{
    uint32_t c = read_hex4(json);
    if (c >= 0xd800 && c < 0xdc00 && json->size - json->at >= 6 && memcmp(json->data + json->at, "\\u", 2) == 0) {
        const size_t before = json->at;
        json->at += 2;
        const uint32_t low = read_hex4(json);
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        } else {
            json->at = before;
        }
    }
    put_code_point(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
}

/* Behind a backslash. */
static void read_escape(json_text *json, string_out *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char c = peek_byte(json);
    const char *found = c ? strchr(names, c) : NULL;
    if (c == 'u') {
        json->at++;
        read_unicode(json, out);
    } else if (found) {
        json->at++;
        put_character(out, &values[found - names], 1);
    } else {
        fail_wanted(json, "an escape sequence");
    }
}

void json_text_string(json_text *json, char *out, size_t capacity)
{
    string_out text = {.text = out, .capacity = capacity};
    need(json, '"', "a string");
    while (!json->failed && peek_byte(json) != '"') {
        const char *at = json->data + json->at;
        const int length = json->at < json->size ? utf8_length(at) : 0; /* a NUL follows the last byte */
        if (json->at >= json->size || (unsigned char)*at < 0x20) {
            fail_wanted(json, "the end of a string");
        } else if (*at == '\\') {
            json->at++;
            read_escape(json, &text);
        } else {
            put_character(&text, length ? at : "?", length ? (size_t)length : 1);
            json->at += length ? (size_t)length : 1;
        }
    }
    json->at += !json->failed;
    out[text.used] = '\0';
}

/* ----------------------------------------------------------------- scalars */

static size_t skip_digits(const json_text *json, size_t at)
{
    while (at < json->size && json->data[at] >= '0' && json->data[at] <= '9') {
        at++;
    }
    return at;
}

/* End of the number at `at` by the grammar, or `at` when there is none. */
static size_t number_end(const json_text *json)
{
    const char *d = json->data; /* a NUL follows the last byte */
    size_t at = json->at + (d[json->at] == '-');
    size_t end = skip_digits(json, at);
    if (end == at || (d[at] == '0' && end > at + 1)) {
        return json->at;
    }
    if (d[end] == '.') {
        at = end + 1;
        end = skip_digits(json, at);
        if (end == at) {
            return json->at;
        }
    }
    if (d[end] == 'e' || d[end] == 'E') {
        at = end + 1 + (d[end + 1] == '+' || d[end + 1] == '-');
        end = skip_digits(json, at);
    }
    return end == at ? json->at : end;
}

double json_text_number(json_text *json, double low, double high)
{
    json_text_peek(json);
    if (json->failed) {
        return low;
    }
    const size_t end = number_end(json);
    const double value = end > json->at ? strtod(json->data + json->at, NULL) : 0;
    if (end == json->at) {
        fail_wanted(json, "a number");
    } else if (!isfinite(value) || value < low || value > high) {
        json_text_fail(json, RCNN_ERR_FORMAT, "want a number from %g to %g, got %g", low, high, value);
    } else {
        json->at = end;
        return value;
    }
    return low;
}

static bool take_word(json_text *json, const char *word)
{
    const size_t length = strlen(word);
    json_text_peek(json);
    if (json->failed || json->size - json->at < length || memcmp(json->data + json->at, word, length) != 0) {
        return false;
    }
    json->at += length;
    return true;
}

bool json_text_bool(json_text *json)
{
    if (take_word(json, "true")) {
        return true;
    }
    if (!take_word(json, "false")) {
        fail_wanted(json, "true or false");
    }
    return false;
}

/* -------------------------------------------------------------- containers */

static bool enter(json_text *json)
{
    if (++json->depth > JSON_TEXT_DEPTH_MAX) {
        json_text_fail(json, RCNN_ERR_LIMIT, "nested deeper than %d", JSON_TEXT_DEPTH_MAX);
    }
    return !json->failed;
}

void json_text_object(json_text *json, json_text_member member, void *context)
{
    char key[KEY_BYTES];
    need(json, '{', "an object");
    if (enter(json) && !take(json, '}')) {
        do {
            json_text_string(json, key, sizeof key);
            need(json, ':', "':'");
            if (!json->failed && !take_word(json, "null")) {
                member(json, key, context);
            }
        } while (!json->failed && take(json, ','));
        need(json, '}', "',' or '}'");
    }
    json->depth--;
}

void json_text_array(json_text *json, json_text_element element, void *context)
{
    need(json, '[', "an array");
    if (enter(json) && !take(json, ']')) {
        do {
            element(json, context);
        } while (!json->failed && take(json, ','));
        need(json, ']', "',' or ']'");
    }
    json->depth--;
}

static void skip_member(json_text *json, const char *key, void *context)
{
    (void)key;
    (void)context;
    json_text_skip(json);
}

static void skip_element(json_text *json, void *context)
{
    (void)context;
    json_text_skip(json);
}

void json_text_skip(json_text *json)
{
    char text[8];
    const char c = json_text_peek(json);
    if (c == '{') {
        json_text_object(json, skip_member, NULL);
    } else if (c == '[') {
        json_text_array(json, skip_element, NULL);
    } else if (c == '"') {
        json_text_string(json, text, sizeof text);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        const size_t end = number_end(json); /* its size does not matter */
        if (end == json->at) {
            fail_wanted(json, "a number");
        }
        json->at = end;
    } else if (!take_word(json, "null") && !take_word(json, "true") && !take_word(json, "false")) {
        fail_wanted(json, "a value");
    }
}
