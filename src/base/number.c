/* Decimal text to double. Short numbers take Clinger's exact path: a mantissa below 2^53 and a power of ten up to
 * 10^22 are both exact doubles, so one multiplication or division rounds once and correctly. The rest goes to strtod
 * in the C locale. */
#include "base/number.h"

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MANTISSA  ((uint64_t)1 << 53)
#define EXACT_POWER     22
#define MANTISSA_DIGITS 19 /* most that always fit uint64_t */

typedef struct decimal {
    uint64_t mantissa;
    int exponent; /* value = mantissa * 10^exponent                     */
    int digits;   /* significant digits seen, leading zeros not counted */
    bool negative;
    bool exact; /* mantissa and exponent hold the whole text          */
} decimal;

static const double POWERS[EXACT_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t scan_digits(const char *text, size_t length, size_t at, int scale, decimal *out)
{
    for (; at < length && is_digit(text[at]); at++) {
        if (out->digits == MANTISSA_DIGITS) {
            out->exact = false;
            continue;
        }
        out->mantissa = out->mantissa * 10 + (uint64_t)(text[at] - '0');
        out->digits += out->mantissa != 0;
        out->exponent -= scale;
    }
    return at;
}

static bool scan_exponent(const char *text, size_t length, size_t at, decimal *out)
{
    bool negative = at < length && text[at] == '-';
    if (at < length && (text[at] == '-' || text[at] == '+')) {
        at++;
    }
    if (at == length) {
        return false;
    }
    int value = 0;
    for (; at < length; at++) {
        if (!is_digit(text[at])) {
            return false;
        }
        value = value < 100000 ? value * 10 + (text[at] - '0') : value;
    }
    out->exponent += negative ? -value : value;
    return true;
}

static bool scan(const char *text, size_t length, decimal *out)
{
    size_t at = 0;
    out->exact = true;
    if (at < length && (text[at] == '-' || text[at] == '+')) {
        out->negative = text[at++] == '-';
    }
    size_t whole = at;
    at = scan_digits(text, length, at, 0, out);
    size_t count = at - whole;
    if (at < length && text[at] == '.') {
        size_t fraction = ++at;
        at = scan_digits(text, length, at, 1, out);
        count += at - fraction;
    }
    if (count == 0) {
        return false;
    }
    if (at < length && (text[at] == 'e' || text[at] == 'E')) {
        return scan_exponent(text, length, at + 1, out);
    }
    return at == length;
}

static bool parse_slow(const char *text, size_t length, double *out)
{
    char copy[RCNN_NUMBER_CHARS_MAX + 1];
    memcpy(copy, text, length);
    copy[length] = '\0';
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a static object in glibc and musl: no allocation */
    if (c_locale == (locale_t)0) {
        return false;
    }
    double value = strtod_l(copy, NULL, c_locale);
    freelocale(c_locale);
    if (!isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

bool rcnn_parse_double(const char *text, size_t length, double *out)
{
    decimal number = {0};
    if (length > RCNN_NUMBER_CHARS_MAX || !scan(text, length, &number)) {
        return false;
    }
    if (!number.exact || number.mantissa > EXACT_MANTISSA || abs(number.exponent) > EXACT_POWER) {
        return parse_slow(text, length, out);
    }
    double value = (double)number.mantissa;
    value = number.exponent < 0 ? value / POWERS[-number.exponent] : value * POWERS[number.exponent];
    *out = number.negative ? -value : value;
    return true;
}
