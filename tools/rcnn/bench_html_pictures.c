/* What two modes found in the same image: drawn side by side, and the differences counted. */
#include <stdlib.h>
#include <string.h>

#include "bench_html.h"
#include "bench_markup.h"
#include "draw.h"
#include "verify.h"

#define SHOWN_SCORE       0.3      /* drawn is what scores above it              */
#define PICTURE_BYTES_MAX 33554432 /* larger pictures are not put into the page  */
#define PATH_BYTES        4300

static const char *const FILE_NAMES[2] = {"detections_slowest.png", "detections_fastest.png"};

/* ----------------------------------------------------------------- figures */

/* A picture of the report's directory with its caption; false when it cannot be read. */
static bool put_figure(const html_page *page, const char *file, const char *caption)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", page->dir, file);
    fputs("<figure><img alt=\"", page->out);
    markup_text(page->out, caption);
    fputs("\" src=\"data:image/png;base64,", page->out);
    const bool done = markup_base64(page->out, path, PICTURE_BYTES_MAX);
    fputs("\"><figcaption>", page->out);
    markup_text(page->out, caption);
    fputs(done ? "</figcaption></figure>\n" : " (the picture cannot be read)</figcaption></figure>\n", page->out);
    return done;
}

/* --------------------------------------------------------------- comparison */

static bool take_detections(const bench_shown *shown, verify_side *out, rcnn_error *err)
{
    out->name = shown->mode;
    out->count = rcnn_results_count(shown->results, 0);
    out->items = calloc((size_t)out->count + 1, sizeof *out->items);
    out->paired = calloc((size_t)out->count + 1, sizeof *out->paired);
    if (!out->items || !out->paired) {
        return tool_fail(err, "--report: out of memory for %d detections", (int)out->count);
    }
    for (int32_t i = 0; i < out->count; i++) {
        if (rcnn_results_get(shown->results, 0, i, &out->items[i]) != RCNN_OK) {
            return tool_fail(err, "--report: no detection %d", (int)i);
        }
    }
    return true;
}

/* True also for a run without masks, where mask_iou stays -1. */
static bool compare_masks(const bench_shown shown[2], match *m, rcnn_error *err)
{
    rcnn_mask mask[2];
    for (int side = 0; side < 2; side++) {
        const int32_t item = side ? m->b : m->a;
        rcnn_error why = {0};
        if (rcnn_results_get_mask(shown[side].results, 0, item, RCNN_MASK_RLE, &mask[side], &why) != RCNN_OK) {
            if (why.status != RCNN_ERR_UNSUPPORTED) {
                *err = why;
            }
            return why.status == RCNN_ERR_UNSUPPORTED;
        }
    }
    m->mask_iou = mask_iou(mask[0].counts, mask[0].count, mask[1].counts, mask[1].count);
    return true;
}

static bool pair_up(const bench_shown shown[2], verify_image *image, rcnn_error *err)
{
    if (!take_detections(&shown[0], &image->side[0], err) || !take_detections(&shown[1], &image->side[1], err)) {
        return false;
    }
    if (!match_detections(image->side[0].items, image->side[0].count, image->side[1].items, image->side[1].count,
                          &image->matches, &image->match_count)) {
        return tool_fail(err, "--report: out of memory for matches");
    }
    for (int32_t i = 0; i < image->match_count; i++) {
        image->side[0].paired[image->matches[i].a] = true;
        image->side[1].paired[image->matches[i].b] = true;
        if (!compare_masks(shown, &image->matches[i], err)) {
            return false;
        }
    }
    return true;
}

static void image_free(verify_image *image)
{
    for (int side = 0; side < 2; side++) {
        free(image->side[side].items);
        free(image->side[side].paired);
    }
    free(image->matches);
}

/* ----------------------------------------------------------------- numbers */

static void count_row(FILE *out, const char *name, int64_t above, int64_t all)
{
    fprintf(out, "<tr><td>%s</td><td>%lld</td><td>%lld</td></tr>\n", name, (long long)above, (long long)all);
}

static void value_row(FILE *out, const char *name, const char *format, const double value[2], const bool known[2])
{
    fprintf(out, "<tr><td>%s</td>", name);
    for (int i = 0; i < 2; i++) {
        fputs("<td>", out);
        if (known[i]) {
            fprintf(out, format, value[i]);
        } else {
            fputc('-', out);
        }
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

/* Numbers of the detections that score above a threshold on either side, and of all. */
static void put_numbers(FILE *out, verify_image *image)
{
    verify_numbers n[2];
    for (int i = 0; i < 2; i++) {
        const verify_limits limits = {.score = i ? -1 : SHOWN_SCORE};
        memset(&image->numbers, 0, sizeof image->numbers);
        numbers_of_image(image, &limits);
        n[i] = image->numbers;
    }
    const bool matched[2] = {n[0].matched > 0, n[1].matched > 0}, masks[2] = {n[0].masks > 0, n[1].masks > 0};
    fprintf(out, "<table><thead><tr><th>difference</th><th>score above %g</th><th>all</th></tr></thead><tbody>\n",
            SHOWN_SCORE);
    count_row(out, "found by the slowest", n[0].found[0], n[1].found[0]);
    count_row(out, "found by the fastest", n[0].found[1], n[1].found[1]);
    count_row(out, "matched: same label, box IoU from 0.5", n[0].matched, n[1].matched);
    count_row(out, "only in the slowest", n[0].unmatched[0], n[1].unmatched[0]);
    count_row(out, "only in the fastest", n[0].unmatched[1], n[1].unmatched[1]);
    value_row(out, "largest difference of a box side, pixels", "%.3g", (double[]){n[0].box_max, n[1].box_max}, matched);
    value_row(out, "largest difference of a score", "%.3g", (double[]){n[0].score_max, n[1].score_max}, matched);
    value_row(
        out, "mean IoU of masks", "%.4f",
        (double[]){n[0].mask_sum / (double)(n[0].masks + !masks[0]), n[1].mask_sum / (double)(n[1].masks + !masks[1])},
        masks);
    value_row(out, "least IoU of masks", "%.4f", (double[]){n[0].mask_min, n[1].mask_min}, masks);
    fputs("</tbody></table>\n", out);
}

/* ---------------------------------------------------------------- pictures */

/* Items above the score. Those without a partner are red; the others have the colours of their classes, or one quiet
 * colour where a single class would give every instance its own, red among them. False with err filled. */
static bool collect_items(const bench_shown *shown, const verify_side *side, picture_item *items, int32_t *count,
                          rcnn_error *err)
{
    const picture_mark usual = rcnn_model_class_count(shown->model) > 1 ? PICTURE_PLAIN : PICTURE_SAME;
    *count = 0;
    for (int32_t i = 0; i < side->count; i++) {
        if ((double)side->items[i].score <= SHOWN_SCORE) {
            continue;
        }
        rcnn_mask mask;
        rcnn_error why = {0};
        picture_item *item = &items[(*count)++];
        *item = (picture_item){.detection = side->items[i],
                               .name = rcnn_model_class_name(shown->model, side->items[i].label),
                               .mark = side->paired[i] ? usual : PICTURE_DIFFERS};
        if (rcnn_results_get_mask(shown->results, 0, i, RCNN_MASK_RAW, &mask, &why) == RCNN_OK) {
            item->soft = mask.raw;
            item->side = mask.width;
        } else if (why.status != RCNN_ERR_UNSUPPORTED) { /* a run without masks has none to show */
            *err = why;
            return false;
        }
    }
    return true;
}

static bool draw_side(const html_page *page, const bench_shown *shown, const verify_side *side, const char *file)
{
    char path[PATH_BYTES];
    int32_t count;
    picture_item *items = calloc((size_t)side->count + 1, sizeof *items);
    if (!items) {
        return tool_fail(page->err, "--report: out of memory for %d detections", (int)side->count);
    }
    snprintf(path, sizeof path, "%s/%s", page->dir, file);
    bool done = collect_items(shown, side, items, &count, page->err);
    if (done) {
        const picture whole = {.view = *shown->image,
                               .items = items,
                               .count = count,
                               .class_count = rcnn_model_class_count(shown->model),
                               .score_threshold = SHOWN_SCORE,
                               .legend = true};
        done = draw_picture(&whole, path, page->err);
    }
    free(items);
    return done;
}

bool html_shown(const html_page *page, const bench_shown shown[2])
{
    verify_image image = {.width = shown[0].image->width, .height = shown[0].image->height};
    bool done = pair_up(shown, &image, page->err);
    fputs("<h2>What the slowest and the fastest mode found</h2>\n", page->out);
    if (done && draw_available()) {
        fputs("<div class=\"pair\">\n", page->out);
        for (int side = 0; done && side < 2; side++) {
            char caption[160];
            snprintf(caption, sizeof caption, "%s: %.64s", side ? "fastest" : "slowest", shown[side].mode);
            done =
                draw_side(page, &shown[side], &image.side[side], FILE_NAMES[side]) &&
                (put_figure(page, FILE_NAMES[side], caption) ||
                 tool_fail(page->err, "'%.300s/%s': cannot read what was just written", page->dir, FILE_NAMES[side]));
        }
        fprintf(page->out, "</div>\n<p class=\"note\">Drawn is what scores above %g; in red what has no partner.</p>\n",
                SHOWN_SCORE);
    }
    if (done) {
        put_numbers(page->out, &image);
    }
    image_free(&image);
    return done;
}

/* ----------------------------------------------------- pictures made before */

/* A plain file name: the report shows nothing from elsewhere. */
static bool has_picture(const bench_row *row)
{
    return row->picture[0] && !strchr(row->picture, '/') && row->end_to_end.count > 0 && !row->skipped[0];
}

void html_row_pictures(const html_page *page)
{
    const bench_row *slowest = NULL, *fastest = NULL;
    char caption[160];
    for (int32_t i = 0; i < page->r->row_count; i++) {
        const bench_row *row = &page->r->rows[i];
        if (has_picture(row)) {
            slowest = slowest && slowest->end_to_end.median >= row->end_to_end.median ? slowest : row;
            fastest = fastest && fastest->end_to_end.median <= row->end_to_end.median ? fastest : row;
        }
    }
    if (!slowest) {
        return;
    }
    fputs("<h2>What the slowest and the fastest mode found</h2>\n<div class=\"pair\">\n", page->out);
    snprintf(caption, sizeof caption, "slowest: %s, %s", slowest->mode, slowest->subject);
    put_figure(page, slowest->picture, caption);
    if (fastest != slowest) {
        snprintf(caption, sizeof caption, "fastest: %s, %s", fastest->mode, fastest->subject);
        put_figure(page, fastest->picture, caption);
    }
    fputs("</div>\n", page->out);
}
