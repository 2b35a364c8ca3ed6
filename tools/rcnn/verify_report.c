/* The numbers of `rcnn verify` as text and as JSON. Text rounds for reading; JSON keeps nine digits. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "out_json.h"
#include "utf8.h"
#include "verify.h"

/* ------------------------------------------------------------------- text */

/* The first value of each line of the text. */
static bool starts_line(const char *name)
{
    return strcmp(name, "p2") == 0 || strcmp(name, "rpn_pred2") == 0 || strcmp(name, "rpn_counts") == 0 ||
           strcmp(name, "cand_counts") == 0;
}

static void print_stages(FILE *out, const verify_numbers *n)
{
    for (int32_t i = 0; i < STAGE_VALUE_COUNT; i++) {
        const stage_error *s = &n->stages[i];
        fprintf(out, "%s%s ",
                i == 0                             ? "  values: "
                : starts_line(stage_value_name(i)) ? "\n          "
                                                   : ", ",
                stage_value_name(i));
        if (s->outcome == STAGE_ABSENT) {
            fputs("-", out);
        } else if (s->outcome == STAGE_SHAPES_DIFFER) {
            fputs("shapes differ", out);
        } else if (s->outcome == STAGE_ROWS_DIFFER) {
            fputs("rows differ", out);
        } else if (stage_value_is_count(i)) {
            fprintf(out, s->count[0] == s->count[1] ? "%d" : "%d|%d", (int)s->count[0], (int)s->count[1]);
        } else {
            fprintf(out, "%.1e", s->error);
        }
    }
    fputc('\n', out);
}

static double mean(double sum, int64_t count)
{
    return count ? sum / (double)count : 0;
}

static void print_detections(FILE *out, const verify_numbers *n)
{
    fprintf(out, "  detections: A %lld, B %lld, matched %lld, only in A %lld, only in B %lld\n", (long long)n->found[0],
            (long long)n->found[1], (long long)n->matched, (long long)n->unmatched[0], (long long)n->unmatched[1]);
    if (n->matched == 0) {
        return;
    }
    fprintf(out, "  difference, largest (mean): box %.4g px (%.4g), score %.3g (%.3g)", n->box_max,
            mean(n->box_sum, n->matched), n->score_max, mean(n->score_sum, n->matched));
    if (n->masks) {
        fprintf(out, "; mask IoU, smallest (mean): %.4f (%.4f)", n->mask_min, mean(n->mask_sum, n->masks));
    }
    fputc('\n', out);
}

void report_image(FILE *out, const verify_image *image)
{
    char name[512];
    utf8_copy_printable(name, sizeof name, image->path);
    fprintf(out, "%s: %dx%d\n", name, (int)image->width, (int)image->height);
    if (image->numbers.images) {
        print_stages(out, &image->numbers);
    }
    print_detections(out, &image->numbers);
}

void report_total(FILE *out, const verify_numbers *total)
{
    fprintf(out, "all %d images\n", (int)total->images);
    print_stages(out, total);
    print_detections(out, total);
    if (total->masks) {
        fputs("  mask IoU histogram:", out);
        for (int32_t i = 0; i < HISTOGRAM_BINS; i++) {
            fprintf(out, " %.1f: %lld", (double)i / HISTOGRAM_BINS, (long long)total->histogram[i]);
        }
        fputc('\n', out);
    }
}

/* ---------------------------------------------------------------- verdict */

static int exceeded(FILE *out, const char *what, double got, double wanted, const char *relation, const char *option)
{
    fprintf(out, "outside: %s %.6g, want %s %g (--%s)\n", what, got, relation, wanted, option);
    return 1;
}

/* Names the worst value only: an early one drags all later ones with it. */
static int judge_stages(FILE *out, const verify_numbers *total, const verify_limits *limits)
{
    int32_t worst = -1;
    for (int32_t i = 0; i < STAGE_VALUE_COUNT; i++) {
        const stage_error *s = &total->stages[i];
        if (s->outcome == STAGE_COMPARED && s->error > limits->stage_error &&
            (worst < 0 || s->error > total->stages[worst].error)) {
            worst = i;
        }
    }
    if (worst < 0) {
        return 0;
    }
    char what[64];
    snprintf(what, sizeof what, "relative error of %s", stage_value_name(worst));
    return exceeded(out, what, total->stages[worst].error, limits->stage_error, "at most", "max-stage-error");
}

int report_verdict(FILE *out, const verify_numbers *total, const verify_limits *limits)
{
    int bad = judge_stages(out, total, limits);
    if (total->box_max > limits->box_px) {
        bad += exceeded(out, "box difference, px", total->box_max, limits->box_px, "at most", "max-box-px");
    }
    if (total->score_max > limits->score_diff) {
        bad += exceeded(out, "score difference", total->score_max, limits->score_diff, "at most", "max-score-diff");
    }
    if (total->masks && total->mask_min < limits->mask_iou) {
        bad += exceeded(out, "mask IoU", total->mask_min, limits->mask_iou, "at least", "min-mask-iou");
    }
    const int64_t unmatched = total->unmatched[0] + total->unmatched[1];
    if (unmatched > limits->unmatched) {
        bad += exceeded(out, "unmatched detections", (double)unmatched, limits->unmatched, "at most", "max-unmatched");
    }
    return bad;
}

/* ------------------------------------------------------------------- JSON */

static void put_number(FILE *out, double value)
{
    if (isfinite(value)) {
        fprintf(out, "%.9g", value);
    } else {
        fputs("null", out);
    }
}

static void put_member(FILE *out, const char *key, double value)
{
    fprintf(out, ",\"%s\":", key);
    put_number(out, value);
}

static void put_stages(FILE *out, const stage_error *stages)
{
    static const char *const OUTCOMES[] = {"compared", "absent", "shapes differ", "rows differ"};
    fputs("\"values\":[", out);
    for (int32_t i = 0; i < STAGE_VALUE_COUNT; i++) {
        const stage_error *s = &stages[i];
        fprintf(out, "%s{\"name\":\"%s\",\"outcome\":\"%s\"", i ? "," : "", stage_value_name(i), OUTCOMES[s->outcome]);
        if (stage_value_is_count(i)) {
            fprintf(out, ",\"a\":%d,\"b\":%d", (int)s->count[0], (int)s->count[1]);
        } else if (s->outcome == STAGE_COMPARED) {
            put_member(out, "relative_error", s->error);
        }
        fputc('}', out);
    }
    fputc(']', out);
}

void verify_json_numbers(FILE *out, const verify_numbers *n)
{
    put_stages(out, n->stages);
    fprintf(out, ",\n \"found_a\":%lld,\"found_b\":%lld,\"matched\":%lld,\"only_a\":%lld,\"only_b\":%lld",
            (long long)n->found[0], (long long)n->found[1], (long long)n->matched, (long long)n->unmatched[0],
            (long long)n->unmatched[1]);
    put_member(out, "box_px_max", n->box_max);
    put_member(out, "box_px_mean", mean(n->box_sum, n->matched));
    put_member(out, "score_diff_max", n->score_max);
    put_member(out, "score_diff_mean", mean(n->score_sum, n->matched));
    fprintf(out, ",\"masks\":%lld", (long long)n->masks);
    put_member(out, "mask_iou_min", n->masks ? n->mask_min : NAN);
    put_member(out, "mask_iou_mean", n->masks ? n->mask_sum / (double)n->masks : NAN);
    fputs(",\"mask_iou_histogram\":[", out);
    for (int32_t i = 0; i < HISTOGRAM_BINS; i++) {
        fprintf(out, "%s%lld", i ? "," : "", (long long)n->histogram[i]);
    }
    fputc(']', out);
}

void verify_json_limits(FILE *out, const verify_limits *limits)
{
    fputs("\"limits\":{\"score\":", out);
    put_number(out, limits->score);
    put_member(out, "max_stage_error", limits->stage_error);
    put_member(out, "max_box_px", limits->box_px);
    put_member(out, "max_score_diff", limits->score_diff);
    put_member(out, "min_mask_iou", limits->mask_iou);
    fprintf(out, ",\"max_unmatched\":%d}", (int)limits->unmatched);
}

static void put_detection(FILE *out, const rcnn_detection *d)
{
    const float values[5] = {d->x1, d->y1, d->x2, d->y2, d->score};
    fprintf(out, "{\"category_id\":%d,\"box\":[", (int)d->label);
    for (int i = 0; i < 4; i++) {
        fputs(i ? "," : "", out);
        json_float(out, values[i]);
    }
    fputs("],\"score\":", out);
    json_float(out, values[4]);
    fputc('}', out);
}

static void put_matches(FILE *out, const verify_image *image, const verify_limits *limits)
{
    const char *comma = "\n  ";
    fputs(",\n \"matches\":[", out);
    for (int32_t i = 0; i < image->match_count; i++) {
        const match *m = &image->matches[i];
        if (!match_counts(image, m, limits)) {
            continue;
        }
        fprintf(out, "%s{\"a\":", comma);
        put_detection(out, &image->side[0].items[m->a]);
        fputs(",\"b\":", out);
        put_detection(out, &image->side[1].items[m->b]);
        put_member(out, "box_iou", m->iou);
        put_member(out, "box_px", m->box_px);
        put_member(out, "score_diff", m->score_diff);
        put_member(out, "mask_iou", m->mask_iou < 0 ? NAN : m->mask_iou);
        fprintf(out, ",\"within\":%s}", match_within(m, limits) ? "true" : "false");
        comma = ",\n  ";
    }
    fputc(']', out);
}

static void put_lost(FILE *out, const verify_image *image, int side, const verify_limits *limits)
{
    const char *comma = "";
    fprintf(out, ",\n \"only_in_%c\":[", "ab"[side]);
    for (int32_t i = 0; i < image->side[side].count; i++) {
        if (item_is_lost(image, side, i, limits)) {
            fputs(comma, out);
            put_detection(out, &image->side[side].items[i]);
            comma = ",";
        }
    }
    fputc(']', out);
}

void verify_json_image(FILE *out, const verify_image *image, const verify_limits *limits, bool first)
{
    fputs(first ? "\n{\"file_name\":" : ",\n{\"file_name\":", out);
    json_string(out, image->path);
    fprintf(out, ",\"width\":%d,\"height\":%d,\n ", (int)image->width, (int)image->height);
    verify_json_numbers(out, &image->numbers);
    put_matches(out, image, limits);
    put_lost(out, image, 0, limits);
    put_lost(out, image, 1, limits);
    fputc('}', out);
}
