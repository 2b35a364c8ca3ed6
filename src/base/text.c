/* Growing string and JSON literals. */
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"

void rcnn_text_add_bytes(rcnn_text *text, const char *bytes, size_t length)
{
    if (text->failed) {
        return;
    }
    void *data = text->data;
    size_t need;
    if (!rcnn_add_size(text->length, length, &need) || !rcnn_add_size(need, 1, &need) ||
        !rcnn_grow(&data, &text->capacity, need, 1)) {
        text->failed = true;
        return;
    }
    text->data = data;
    memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void rcnn_text_add(rcnn_text *text, const char *piece)
{
    rcnn_text_add_bytes(text, piece, strlen(piece));
}

void rcnn_text_printf(rcnn_text *text, const char *format, ...)
{
    char small[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (length < 0) {
        text->failed = true;
    } else if ((size_t)length < sizeof small) {
        rcnn_text_add_bytes(text, small, (size_t)length);
    } else {
        char *large = rcnn_malloc((size_t)length + 1);
        if (!large) {
            text->failed = true;
            return;
        }
        va_start(args, format);
        vsnprintf(large, (size_t)length + 1, format, args);
        va_end(args);
        rcnn_text_add_bytes(text, large, (size_t)length);
        rcnn_free(large);
    }
}

/* Length of the valid UTF-8 sequence at s, 0 when invalid (overlong, surrogate, above U+10FFFF, cut short). */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80) {
        return 1;
    }
    size_t length = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    return length;
}

void rcnn_text_json_string(rcnn_text *text, const char *value)
{
    rcnn_text_add(text, "\"");
    for (const unsigned char *p = (const unsigned char *)value; *p;) {
        if (*p == '"' || *p == '\\') {
            char escaped[2] = {'\\', (char)*p++};
            rcnn_text_add_bytes(text, escaped, 2);
        } else if (*p == '\n') {
            rcnn_text_add(text, "\\n");
            p++;
        } else if (*p < 0x20) {
            rcnn_text_printf(text, "\\u%04x", *p++);
        } else {
            size_t length = utf8_length(p);
            if (length == 0) {
                rcnn_text_add(text, "\\ufffd");
                p++;
            } else {
                rcnn_text_add_bytes(text, (const char *)p, length);
                p += length;
            }
        }
    }
    rcnn_text_add(text, "\"");
}

/* printf writes the decimal point of the process locale, which may be any characters; JSON wants '.'. */
static void make_point(char *digits)
{
    char *out = digits;
    for (const char *p = digits; *p; p++) {
        if (strchr("+-0123456789e", *p)) {
            *out++ = *p;
        } else if (out == digits || out[-1] != '.') {
            *out++ = '.';
        }
    }
    *out = '\0';
}

void rcnn_text_json_number(rcnn_text *text, double value)
{
    if (!isfinite(value)) {
        rcnn_text_add(text, "null");
        return;
    }
    char digits[48];
    double back = 0;
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        make_point(digits);
        if (rcnn_parse_double(digits, strlen(digits), &back) && back == value) {
            break;
        }
    }
    rcnn_text_add(text, digits);
}

char *rcnn_text_take(rcnn_text *text)
{
    if (!text->failed && !text->data) {
        rcnn_text_add(text, "");
    }
    char *data = text->failed ? NULL : text->data;
    if (text->failed) {
        rcnn_free(text->data);
    }
    *text = (rcnn_text){0};
    return data;
}

void rcnn_text_free(rcnn_text *text)
{
    rcnn_free(text->data);
    *text = (rcnn_text){0};
}
