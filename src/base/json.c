/* The JSON pull reader. One state per place in the grammar and one bit of stack per open container, so depth costs a
 * byte and no recursion. Strings are copied once, into a buffer that is reused. A byte order mark is passed over; a
 * lone surrogate escape becomes U+FFFD; raw bytes that are not UTF-8 are refused. */
#include "base/json.h"

#include <string.h>

#include "base/memory.h"
#include "base/number.h"

enum {                     /* what the grammar allows next; rcnn_json.state */
       STATE_VALUE,        /* a value                             */
       STATE_VALUE_OR_END, /* a value, or ] of an empty array     */
       STATE_KEY,          /* a key                               */
       STATE_KEY_OR_END,   /* a key, or } of an empty object      */
       STATE_AFTER,        /* a comma or the container's end      */
       STATE_DONE,         /* white space                         */
       STATE_FAILED
};

static const char *const TOKEN_NAMES[] = {"the end",  "'{'",      "'}'",  "'['",   "']'", "a key",
                                          "a string", "a number", "true", "false", "null"};

const char *rcnn_json_token_name(rcnn_json_token token)
{
    size_t index = (size_t)token;
    return index < sizeof TOKEN_NAMES / sizeof TOKEN_NAMES[0] ? TOKEN_NAMES[index] : "an unknown token";
}

void rcnn_json_open(rcnn_json *json, const char *what, const void *data, size_t size)
{
    *json = (rcnn_json){.token = RCNN_JSON_END, .what = what, .data = data, .size = size, .state = STATE_VALUE};
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        json->position = 3;
    }
}

void rcnn_json_close(rcnn_json *json)
{
    rcnn_free(json->buffer);
    json->buffer = NULL;
    json->buffer_capacity = 0;
    json->text = NULL;
    json->state = STATE_FAILED;
}

/* "what: byte N: want WANTED, got the byte that is there". */
static rcnn_status fail_here(rcnn_json *json, const char *wanted, rcnn_error *err)
{
    size_t at = json->position;
    json->state = STATE_FAILED;
    if (at >= json->size) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: JSON byte %zu: want %s, got the end of the data", json->what, at,
                         wanted);
    }
    unsigned byte = json->data[at];
    if (byte >= 0x20 && byte < 0x7f) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: JSON byte %zu: want %s, got '%c'", json->what, at, wanted, byte);
    }
    return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: JSON byte %zu: want %s, got byte 0x%02x", json->what, at, wanted, byte);
}

static bool is_digit(unsigned byte)
{
    return byte >= '0' && byte <= '9';
}

/* The byte at the position, or 0 at the end: 0 is no part of any token, so callers need no second test. */
static unsigned peek(const rcnn_json *json)
{
    return json->position < json->size ? json->data[json->position] : 0;
}

static void skip_space(rcnn_json *json)
{
    while (json->position < json->size) {
        uint8_t byte = json->data[json->position];
        if (byte != ' ' && byte != '\n' && byte != '\r' && byte != '\t') {
            break;
        }
        json->position++;
    }
}

/* ----------------------------------------------------------------- strings */

static rcnn_status add_text(rcnn_json *json, const void *bytes, size_t count, rcnn_error *err)
{
    void *buffer = json->buffer;
    size_t need;
    if (!rcnn_add_size(json->length, count, &need) || !rcnn_add_size(need, 1, &need) ||
        !rcnn_grow(&buffer, &json->buffer_capacity, need, 1)) {
        json->state = STATE_FAILED;
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory for a JSON string", json->what);
    }
    json->buffer = buffer;
    if (count > 0) {
        memcpy(json->buffer + json->length, bytes, count);
    }
    json->length += count;
    return RCNN_OK;
}

static rcnn_status read_hex4(rcnn_json *json, uint32_t *out, rcnn_error *err)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, json->position++) {
        unsigned c = peek(json);
        unsigned lower = c | 0x20u;
        if (is_digit(c)) {
            value = value * 16 + (c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value * 16 + (lower - 'a' + 10);
        } else {
            return fail_here(json, "four hexadecimal digits after \\u", err);
        }
    }
    *out = value;
    return RCNN_OK;
}

static rcnn_status add_code_point(rcnn_json *json, uint32_t c, rcnn_error *err)
{
    uint8_t utf8[4];
    size_t count;
    if (c < 0x80) {
        utf8[0] = (uint8_t)c;
        count = 1;
    } else if (c < 0x800) {
        utf8[0] = (uint8_t)(0xc0 | c >> 6);
        count = 2;
    } else if (c < 0x10000) {
        utf8[0] = (uint8_t)(0xe0 | c >> 12);
        count = 3;
    } else {
        utf8[0] = (uint8_t)(0xf0 | c >> 18);
        count = 4;
    }
    for (size_t i = 1; i < count; i++) {
        utf8[i] = (uint8_t)(0x80 | (c >> 6 * (count - 1 - i) & 0x3f));
    }
    return add_text(json, utf8, count, err);
}

/* After "\u": one code unit, or two that form a surrogate pair. */
static rcnn_status read_unicode_escape(rcnn_json *json, rcnn_error *err)
{
    uint32_t c = 0;
    RCNN_TRY(read_hex4(json, &c, err));
    if (c >= 0xd800 && c < 0xdc00 && json->size - json->position >= 6 && json->data[json->position] == '\\' &&
        json->data[json->position + 1] == 'u') {
        size_t second = json->position;
        uint32_t low = 0;
        json->position += 2;
        RCNN_TRY(read_hex4(json, &low, err));
        if (low >= 0xdc00 && low < 0xe000) {
            return add_code_point(json, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), err);
        }
        json->position = second; /* not a pair: the second escape is read on its own */
    }
    return add_code_point(json, c >= 0xd800 && c < 0xe000 ? 0xfffd : c, err);
}

static rcnn_status read_escape(rcnn_json *json, rcnn_error *err)
{
    static const char CODES[] = "\"\\/bfnrt";
    static const char VALUES[] = "\"\\/\b\f\n\r\t";
    json->position++; /* the backslash */
    unsigned c = peek(json);
    if (c == 'u') {
        json->position++;
        return read_unicode_escape(json, err);
    }
    const char *code = c ? strchr(CODES, (int)c) : NULL;
    if (!code) {
        return fail_here(json, "one of \"\\/bfnrtu after a backslash", err);
    }
    json->position++;
    return add_text(json, VALUES + (code - CODES), 1, err);
}

/* Bytes of the UTF-8 sequence at the position, 0 when invalid (overlong, surrogate, above U+10FFFF, cut short). */
static size_t utf8_sequence(const rcnn_json *json)
{
    const uint8_t *s = json->data + json->position;
    size_t left = json->size - json->position;
    size_t count = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
    if (count == 0 || count > left) {
        return 0;
    }
    for (size_t i = 1; i < count; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool wrong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
                 (s[0] == 0xf4 && s[1] > 0x8f);
    return wrong ? 0 : count;
}

/* Passes over characters that stand for themselves. */
static rcnn_status scan_plain(rcnn_json *json, rcnn_error *err)
{
    while (json->position < json->size) {
        uint8_t c = json->data[json->position];
        if (c == '"' || c == '\\' || c < 0x20) {
            break;
        }
        size_t count = c < 0x80 ? 1 : utf8_sequence(json);
        if (count == 0) {
            return fail_here(json, "UTF-8 text", err);
        }
        json->position += count;
    }
    return RCNN_OK;
}

/* With the position on the opening quote. */
static rcnn_status read_string(rcnn_json *json, rcnn_error *err)
{
    json->length = 0;
    json->position++;
    for (;;) {
        size_t start = json->position;
        RCNN_TRY(scan_plain(json, err));
        RCNN_TRY(add_text(json, json->data + start, json->position - start, err));
        unsigned c = peek(json);
        if (c == '\\') {
            RCNN_TRY(read_escape(json, err));
        } else if (c == '"') {
            break;
        } else {
            return fail_here(json, "the closing '\"' of a string (control characters are written as escapes)", err);
        }
    }
    json->position++;
    json->buffer[json->length] = '\0'; /* add_text keeps room for it */
    json->text = json->buffer;
    return RCNN_OK;
}

/* ----------------------------------------------------------------- numbers */

static rcnn_status scan_digits(rcnn_json *json, rcnn_error *err)
{
    if (!is_digit(peek(json))) {
        return fail_here(json, "a digit", err);
    }
    while (is_digit(peek(json))) {
        json->position++;
    }
    return RCNN_OK;
}

/* True and *out set when the digits (with an optional minus) fit int64_t. */
static bool parse_integer(const char *text, size_t length, int64_t *out)
{
    bool negative = text[0] == '-';
    int64_t value = 0; /* kept negative: INT64_MIN has no positive counterpart */
    for (size_t i = negative; i < length; i++) {
        int digit = text[i] - '0';
        if (value < (INT64_MIN + digit) / 10) {
            return false;
        }
        value = value * 10 - digit;
    }
    if (!negative && value == INT64_MIN) {
        return false;
    }
    *out = negative ? value : -value;
    return true;
}

static rcnn_status read_number(rcnn_json *json, rcnn_error *err)
{
    size_t start = json->position;
    bool whole = true;
    json->position += peek(json) == '-';
    if (peek(json) == '0') {
        json->position++; /* a further digit is refused by the caller's next state */
    } else {
        RCNN_TRY(scan_digits(json, err));
    }
    if (peek(json) == '.') {
        whole = false;
        json->position++;
        RCNN_TRY(scan_digits(json, err));
    }
    if ((peek(json) | 0x20u) == 'e') {
        whole = false;
        json->position++;
        json->position += peek(json) == '+' || peek(json) == '-';
        RCNN_TRY(scan_digits(json, err));
    }
    const char *text = (const char *)json->data + start;
    size_t length = json->position - start;
    if (!rcnn_parse_double(text, length, &json->number)) {
        json->state = STATE_FAILED;
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: JSON byte %zu: number of %zu characters is too long or too large",
                         json->what, start, length);
    }
    json->is_integer = whole && parse_integer(text, length, &json->integer);
    return RCNN_OK;
}

/* --------------------------------------------------------------- structure */

static void end_value(rcnn_json *json)
{
    json->state = json->depth > 0 ? STATE_AFTER : STATE_DONE;
}

static rcnn_status open_container(rcnn_json *json, bool object, rcnn_error *err)
{
    if (json->depth == RCNN_JSON_DEPTH_MAX) {
        json->state = STATE_FAILED;
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: JSON byte %zu: nested deeper than %d", json->what, json->position,
                         RCNN_JSON_DEPTH_MAX);
    }
    json->stack[json->depth++] = object;
    json->position++;
    json->token = object ? RCNN_JSON_OBJECT_BEGIN : RCNN_JSON_ARRAY_BEGIN;
    json->state = object ? STATE_KEY_OR_END : STATE_VALUE_OR_END;
    return RCNN_OK;
}

static rcnn_status close_container(rcnn_json *json)
{
    json->depth--;
    json->position++;
    json->token = json->stack[json->depth] ? RCNN_JSON_OBJECT_END : RCNN_JSON_ARRAY_END;
    end_value(json);
    return RCNN_OK;
}

static rcnn_status read_word(rcnn_json *json, const char *word, rcnn_json_token token, rcnn_error *err)
{
    size_t length = strlen(word);
    if (json->size - json->position < length || memcmp(json->data + json->position, word, length) != 0) {
        return fail_here(json, "a value", err);
    }
    json->position += length;
    json->token = token;
    end_value(json);
    return RCNN_OK;
}

static rcnn_status read_value(rcnn_json *json, rcnn_error *err)
{
    switch (peek(json)) {
    case '{':
        return open_container(json, true, err);
    case '[':
        return open_container(json, false, err);
    case 't':
        return read_word(json, "true", RCNN_JSON_TRUE, err);
    case 'f':
        return read_word(json, "false", RCNN_JSON_FALSE, err);
    case 'n':
        return read_word(json, "null", RCNN_JSON_NULL, err);
    case '"':
        RCNN_TRY(read_string(json, err));
        json->token = RCNN_JSON_STRING;
        break;
    default:
        if (peek(json) != '-' && !is_digit(peek(json))) {
            return fail_here(json, "a value", err);
        }
        RCNN_TRY(read_number(json, err));
        json->token = RCNN_JSON_NUMBER;
        break;
    }
    end_value(json);
    return RCNN_OK;
}

static rcnn_status read_key(rcnn_json *json, rcnn_error *err)
{
    if (peek(json) != '"') {
        return fail_here(json, json->state == STATE_KEY ? "a key" : "a key or '}'", err);
    }
    RCNN_TRY(read_string(json, err));
    skip_space(json);
    if (peek(json) != ':') {
        return fail_here(json, "':' after a key", err);
    }
    json->position++;
    json->token = RCNN_JSON_KEY;
    json->state = STATE_VALUE;
    return RCNN_OK;
}

/* Between two members: the container's end, or a comma and the next member. */
static rcnn_status read_after(rcnn_json *json, rcnn_error *err)
{
    bool object = json->stack[json->depth - 1];
    unsigned c = peek(json);
    if (c == (object ? '}' : ']')) {
        return close_container(json);
    }
    if (c != ',') {
        return fail_here(json, object ? "',' or '}'" : "',' or ']'", err);
    }
    json->position++;
    json->state = object ? STATE_KEY : STATE_VALUE;
    skip_space(json);
    json->offset = json->position;
    return object ? read_key(json, err) : read_value(json, err);
}

rcnn_status rcnn_json_next(rcnn_json *json, rcnn_error *err)
{
    if (json->state == STATE_FAILED) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: JSON reading has failed before", json->what);
    }
    skip_space(json);
    json->offset = json->position;
    json->text = NULL;
    json->length = 0;
    json->is_integer = false;
    switch (json->state) {
    case STATE_VALUE_OR_END:
        return peek(json) == ']' ? close_container(json) : read_value(json, err);
    case STATE_KEY_OR_END:
        return peek(json) == '}' ? close_container(json) : read_key(json, err);
    case STATE_KEY:
        return read_key(json, err);
    case STATE_AFTER:
        return read_after(json, err);
    case STATE_DONE:
        if (json->position < json->size) {
            return fail_here(json, "the end of the data", err);
        }
        json->token = RCNN_JSON_END;
        return RCNN_OK;
    default:
        return read_value(json, err);
    }
}

rcnn_status rcnn_json_skip(rcnn_json *json, rcnn_error *err)
{
    if (json->token == RCNN_JSON_KEY) {
        RCNN_TRY(rcnn_json_next(json, err));
    }
    if (json->token != RCNN_JSON_OBJECT_BEGIN && json->token != RCNN_JSON_ARRAY_BEGIN) {
        return RCNN_OK;
    }
    int32_t outside = json->depth - 1;
    while (json->depth > outside) {
        RCNN_TRY(rcnn_json_next(json, err));
    }
    return RCNN_OK;
}

rcnn_status rcnn_json_expect(rcnn_json *json, rcnn_json_token token, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_next(json, err));
    if (json->token != token) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: JSON byte %zu: want %s, got %s", json->what, json->offset,
                         rcnn_json_token_name(token), rcnn_json_token_name(json->token));
    }
    return RCNN_OK;
}
