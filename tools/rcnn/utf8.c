#include "utf8.h"

#include <string.h>

int utf8_length(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    int length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    int overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    int outside = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f); /* surrogates, above U+10FFFF */
    return overlong || outside ? 0 : length;
}

void utf8_copy_printable(char *dst, size_t capacity, const char *src)
{
    size_t used = 0;
    while (*src) {
        int length = utf8_length(src);
        int odd = length == 0 || (unsigned char)*src < 0x20 || *src == 0x7f;
        size_t bytes = odd ? 1 : (size_t)length;
        if (used + bytes >= capacity) {
            break;
        }
        memcpy(dst + used, odd ? "?" : src, bytes);
        used += bytes;
        src += bytes;
    }
    dst[used] = '\0';
}
