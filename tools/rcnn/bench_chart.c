#include "bench_chart.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* Advances of DejaVu Sans in thousandths of the font size, ' ' to '~': wider than Helvetica, Arial and Liberation. */
static const uint16_t ADVANCES[2][95] = {
    {318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361,  318, 337, 636, 636, 636,
     636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
     575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635,  611, 732, 684, 989, 685,
     611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352,  635, 634, 278, 278, 579,
     278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,  525, 636, 337, 636, 838},
    {348, 456,  521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415,  380, 365, 696, 696,  696,
     696, 696,  696, 696, 696, 696,  696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830,  683,
     683, 821,  837, 372, 372, 775,  637, 995, 837, 850, 733, 850, 770, 720,  682, 812, 774, 1103, 771,
     724, 725,  457, 365, 457, 838,  500, 500, 675, 716, 593, 716, 678, 435,  716, 712, 343, 343,  665,
     343, 1042, 712, 687, 716, 716,  493, 595, 478, 712, 652, 924, 645, 652,  582, 712, 365, 712,  838}};

static double character_width(const char *at, bool bold)
{
    const unsigned char c = (unsigned char)*at;
    return c >= ' ' && c <= '~' ? ADVANCES[bold][c - ' '] / 1000.0 : 1.0;
}

static size_t character_bytes(const char *at)
{
    const int length = utf8_length(at);
    return length ? (size_t)length : 1;
}

double chart_text_width(const char *text, double size, bool bold)
{
    double width = 0;
    for (; *text; text += character_bytes(text)) {
        width += character_width(text, bold);
    }
    return size * width;
}

void chart_fit_text(char out[CHART_TEXT_BYTES], const char *text, double size, bool bold, double room)
{
    char whole[CHART_TEXT_BYTES];
    utf8_copy_printable(whole, sizeof whole, text);
    snprintf(out, CHART_TEXT_BYTES, "%s", whole);
    if (chart_text_width(whole, size, bold) <= room && strlen(text) < sizeof whole) {
        return;
    }
    const double dots = chart_text_width("...", size, bold);
    double width = 0;
    size_t used = 0;
    while (whole[used] && used + character_bytes(whole + used) + 4 <= CHART_TEXT_BYTES) {
        width += size * character_width(whole + used, bold);
        if (width + dots > room) {
            break;
        }
        used += character_bytes(whole + used);
    }
    memcpy(out + used, "...", 4);
}

static chart_mark *add_mark(chart *c)
{
    if (!c->failed && c->count == c->capacity) {
        const int32_t capacity = c->capacity ? 2 * c->capacity : 64;
        chart_mark *grown = realloc(c->marks, (size_t)capacity * sizeof *grown);
        c->failed = !grown;
        if (grown) {
            c->marks = grown;
            c->capacity = capacity;
        }
    }
    return c->failed ? NULL : memset(&c->marks[c->count++], 0, sizeof *c->marks);
}

void chart_bar(chart *c, double x, double y, double width, double height, colour paint, const char *text)
{
    chart_mark *m = add_mark(c);
    if (m) {
        *m = (chart_mark){.kind = CHART_BAR, .x = x, .y = y, .width = width, .height = height, .paint = paint};
        utf8_copy_printable(m->text, sizeof m->text, text);
    }
}

void chart_line(chart *c, double x, double y, double width, double height, double thickness, colour paint)
{
    chart_mark *m = add_mark(c);
    if (m) {
        *m = (chart_mark){
            .kind = CHART_LINE, .x = x, .y = y, .width = width, .height = height, .size = thickness, .paint = paint};
    }
}

void chart_text(chart *c, double x, double y, double size, double align, bool bold, colour paint, const char *text)
{
    chart_mark *m = add_mark(c);
    if (m) {
        *m = (chart_mark){
            .kind = CHART_TEXT, .x = x, .y = y, .size = size, .align = align, .bold = bold, .paint = paint};
        utf8_copy_printable(m->text, sizeof m->text, text);
    }
}

void chart_free(chart *c)
{
    free(c->marks);
    memset(c, 0, sizeof *c);
}
