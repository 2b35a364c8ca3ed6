/* A chart as SVG: text that browsers, editors and papers take as it is. */
#include "bench_chart.h"
#include "bench_markup.h"

static void put_paint(FILE *out, const char *attribute, colour k)
{
    fprintf(out, " %s=\"#%02x%02x%02x\"", attribute, (unsigned)(255 * k.red + 0.5), (unsigned)(255 * k.green + 0.5),
            (unsigned)(255 * k.blue + 0.5));
}

static void put_bar(FILE *out, const chart_mark *m)
{
    fprintf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"", m->x, m->y, m->width, m->height);
    put_paint(out, "fill", m->paint);
    if (m->text[0]) {
        fputs("><title>", out);
        markup_text(out, m->text);
        fputs("</title></rect>\n", out);
    } else {
        fputs("/>\n", out);
    }
}

static void put_line(FILE *out, const chart_mark *m)
{
    fprintf(out, "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke-width=\"%.2f\"", m->x, m->y,
            m->x + m->width, m->y + m->height, m->size);
    put_paint(out, "stroke", m->paint);
    fputs("/>\n", out);
}

static void put_text(FILE *out, const chart_mark *m)
{
    const char *anchor = m->align < 0.25 ? "start" : m->align < 0.75 ? "middle" : "end";
    fprintf(out, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.1f\" text-anchor=\"%s\"%s", m->x, m->y, m->size, anchor,
            m->bold ? " font-weight=\"bold\"" : "");
    put_paint(out, "fill", m->paint);
    fputc('>', out);
    markup_text(out, m->text);
    fputs("</text>\n", out);
}

void chart_write_svg(const chart *c, bool inside, FILE *out)
{
    fprintf(out, "<svg%s viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\" aria-label=\"",
            inside ? "" : " xmlns=\"http://www.w3.org/2000/svg\"", c->width, c->height, c->width, c->height);
    markup_text(out, c->title);
    fputs("\" font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\">\n", out);
    fprintf(out, "<rect width=\"%.0f\" height=\"%.0f\" fill=\"#ffffff\"/>\n", c->width, c->height);
    for (int32_t i = 0; i < c->count; i++) {
        const chart_mark *m = &c->marks[i];
        switch (m->kind) {
        case CHART_BAR:
            put_bar(out, m);
            break;
        case CHART_LINE:
            put_line(out, m);
            break;
        case CHART_TEXT:
            put_text(out, m);
            break;
        }
    }
    fputs("</svg>\n", out);
}
