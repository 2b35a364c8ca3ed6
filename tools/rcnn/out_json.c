#include "out_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "utf8.h"

void json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const char *p = text ? text : ""; *p;) {
        int length = utf8_length(p);
        if (length == 0) {
            fputs("\\ufffd", out);
            length = 1;
        } else if (*p == '"' || *p == '\\') {
            fprintf(out, "\\%c", *p);
        } else if ((unsigned char)*p < 0x20) {
            fprintf(out, "\\u%04x", (unsigned)*p);
        } else {
            fwrite(p, 1, (size_t)length, out);
        }
        p += length;
    }
    fputc('"', out);
}

void json_float(FILE *out, float value)
{
    char text[32] = "null";
    for (int digits = 6; isfinite(value) && digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }
    fputs(text, out);
}

/* ------------------------------------------------------------------- masks */

static bool write_rle(json_writer *json, const rcnn_mask *mask, rcnn_error *err)
{
    size_t length = rcnn_rle_to_string(mask->counts, mask->count, NULL, 0);
    if (length + 1 > json->text_capacity) {
        char *grown = realloc(json->text, length + 1);
        if (!grown) {
            return tool_fail(err, "out of memory for a mask of %zu bytes", length);
        }
        json->text = grown;
        json->text_capacity = length + 1;
    }
    rcnn_rle_to_string(mask->counts, mask->count, json->text, json->text_capacity);
    fprintf(json->stream, "{\"size\":[%d,%d],\"counts\":", (int)mask->height, (int)mask->width);
    json_string(json->stream, json->text);
    fputc('}', json->stream);
    return true;
}

static void write_polygons(FILE *out, const rcnn_mask *mask)
{
    int32_t point = 0;
    fputc('[', out);
    for (int32_t ring = 0; ring < mask->count; ring++) {
        fputs(ring ? ",[" : "[", out);
        for (int32_t first = point; point < mask->ring_ends[ring]; point++) {
            fputs(point > first ? "," : "", out);
            json_float(out, mask->points[2 * point]);
            fputc(',', out);
            json_float(out, mask->points[2 * point + 1]);
        }
        fputc(']', out);
    }
    fputc(']', out);
}

static void write_raw(FILE *out, const rcnn_mask *mask)
{
    fprintf(out, "{\"size\":[%d,%d],\"raw\":[", (int)mask->height, (int)mask->width);
    for (int32_t i = 0; i < mask->width * mask->height; i++) {
        fputs(i ? "," : "", out);
        json_float(out, mask->raw[i]);
    }
    fputs("]}", out);
}

static void write_bitmap(FILE *out, const rcnn_mask *mask)
{
    const uint8_t *pixel = mask->bitmap;
    fputc('{', out);
    if (mask->format == RCNN_MASK_CROP) {
        fprintf(out, "\"origin\":[%d,%d],", (int)mask->x, (int)mask->y);
    }
    fprintf(out, "\"size\":[%d,%d],\"bitmap\":[", (int)mask->height, (int)mask->width);
    for (int32_t y = 0; y < mask->height && mask->width > 0; y++) {
        fputs(y ? ",\"" : "\"", out);
        for (int32_t x = 0; x < mask->width; x++) {
            fputc('0' + *pixel++, out);
        }
        fputc('"', out);
    }
    fputs("]}", out);
}

static bool write_segmentation(json_writer *json, const stream_item *item, int32_t index, rcnn_error *err)
{
    rcnn_mask mask;
    if (rcnn_results_get_mask(item->results, item->position, index, json->masks, &mask, err) != RCNN_OK) {
        return false;
    }
    fputs(",\"segmentation\":", json->stream);
    switch (json->masks) {
    case RCNN_MASK_RLE:
        return write_rle(json, &mask, err);
    case RCNN_MASK_POLYGON:
        write_polygons(json->stream, &mask);
        return true;
    case RCNN_MASK_RAW:
        write_raw(json->stream, &mask);
        return true;
    default:
        write_bitmap(json->stream, &mask);
        return true;
    }
}

/* ------------------------------------------------------------------ images */

static bool write_detection(json_writer *json, const stream_item *item, int32_t index, rcnn_error *err)
{
    rcnn_detection d;
    if (rcnn_results_get(item->results, item->position, index, &d) != RCNN_OK) {
        return tool_fail(err, "no detection %d", (int)index);
    }
    const float box[4] = {d.x1, d.y1, d.x2 - d.x1, d.y2 - d.y1};
    fputs(index ? ",\n  {\"bbox\":[" : "\n  {\"bbox\":[", json->stream);
    for (int i = 0; i < 4; i++) {
        fputs(i ? "," : "", json->stream);
        json_float(json->stream, box[i]);
    }
    fprintf(json->stream, "],\"category_id\":%d,\"category_name\":", (int)rcnn_model_category_id(json->model, d.label));
    json_string(json->stream, rcnn_model_class_name(json->model, d.label));
    fputs(",\"score\":", json->stream);
    json_float(json->stream, d.score);
    if (json->masks != RCNN_MASK_NONE && !write_segmentation(json, item, index, err)) {
        return false;
    }
    fputc('}', json->stream);
    return true;
}

static void write_timing(FILE *out, const stream_item *item, double draw_ms)
{
    fprintf(out, "\"timing_ms\":{\"decode\":%.3f", item->decode_ms);
    for (int32_t stage = 0; stage < rcnn_stage_count(); stage++) {
        fprintf(out, ",\"%s\":%.3f", rcnn_stage_name(stage),
                rcnn_results_stage_ms(item->results, stage) / item->together);
    }
    const double run_ms = rcnn_results_stage_ms(item->results, -1) / item->together;
    fprintf(out, ",\"draw\":%.3f,\"total\":%.3f}", draw_ms, item->decode_ms + draw_ms + run_ms);
}

void json_begin(json_writer *json, const json_info *info)
{
    FILE *out = json->stream;
    fputs("{\"info\":{\"version\":", out);
    json_string(out, rcnn_version());
    fputs(",\"model\":", out);
    json_string(out, info->model);
    fputs(",\"backend\":", out);
    json_string(out, info->backend);
    fputs(",\"precision\":", out);
    json_string(out, info->precision);
    fputs(",\"masks\":", out);
    json_string(out, info->masks);
    fprintf(out, ",\"score_threshold\":%g},\n\"images\":[", info->score_threshold);
}

bool json_image(json_writer *json, const stream_item *item, double draw_ms, rcnn_error *err)
{
    FILE *out = json->stream;
    fputs(json->images++ ? ",\n{\"file_name\":" : "\n{\"file_name\":", out);
    json_string(out, item->path);
    fprintf(out, ",\"width\":%d,\"height\":%d,\"detections\":[", (int)item->view.width, (int)item->view.height);
    bool done = true;
    for (int32_t i = 0; done && i < rcnn_results_count(item->results, item->position); i++) {
        done = write_detection(json, item, i, err);
    }
    fputs("],\n ", out);
    write_timing(out, item, draw_ms);
    fputc('}', out);
    return done;
}

void json_end(json_writer *json)
{
    fputs("\n]}\n", json->stream);
    free(json->text);
    json->text = NULL;
    json->text_capacity = 0;
}
