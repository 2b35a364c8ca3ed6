#include "bench_markup.h"

#include <string.h>
#include <sys/stat.h>

#include "utf8.h"

void markup_text(FILE *out, const char *text)
{
    static const struct {
        char plain;
        const char *escaped;
    } special[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}};
    while (*text) {
        const int length = utf8_length(text);
        const unsigned char c = (unsigned char)*text;
        size_t i = 0;
        while (i < sizeof special / sizeof special[0] && special[i].plain != *text) {
            i++;
        }
        if (i < sizeof special / sizeof special[0]) {
            fputs(special[i].escaped, out);
        } else if (length == 0 || c < 0x20 || c == 0x7f || strncmp(text, "\xef\xbf\xbe", 3) == 0 ||
                   strncmp(text, "\xef\xbf\xbf", 3) == 0) { /* U+FFFE and U+FFFF */
            fputc('?', out);
        } else {
            fwrite(text, 1, (size_t)length, out);
        }
        text += length ? length : 1;
    }
}

static void put_triple(FILE *out, const unsigned char bytes[3], size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned value = (unsigned)bytes[0] << 16 | (unsigned)bytes[1] << 8 | bytes[2];
    fputc(digits[value >> 18], out);
    fputc(digits[value >> 12 & 63], out);
    fputc(count > 1 ? digits[value >> 6 & 63] : '=', out);
    fputc(count > 2 ? digits[value & 63] : '=', out);
}

bool markup_base64(FILE *out, const char *path, size_t most)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 0 || (size_t)info.st_size > most) {
        return false;
    }
    FILE *file = fopen(path, "rb");
    if (!file) {
        return false;
    }
    size_t total = 0, count = 3;
    while (count == 3) {
        unsigned char bytes[3] = {0};
        count = fread(bytes, 1, 3, file);
        total += count;
        if (count > 0) {
            put_triple(out, bytes, count);
        }
    }
    fclose(file);
    return total == (size_t)info.st_size;
}
