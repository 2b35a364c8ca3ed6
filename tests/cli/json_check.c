#include "json_check.h"

#include <string.h>

static void count_key(const char *key, json_counts *counts)
{
    counts->images += strcmp(key, "file_name") == 0;
    counts->timings += strcmp(key, "timing_ms") == 0;
    counts->boxes += strcmp(key, "bbox") == 0;
    counts->scores += strcmp(key, "score") == 0;
    counts->names += strcmp(key, "category_name") == 0;
    counts->ids += strcmp(key, "category_id") == 0;
    counts->segmentations += strcmp(key, "segmentation") == 0;
}

rcnn_status json_check(const char *text, json_counts *out, rcnn_error *err)
{
    rcnn_json json;
    rcnn_status status;
    memset(out, 0, sizeof *out);
    rcnn_json_open(&json, "detections", text, strlen(text));
    do {
        status = rcnn_json_next(&json, err);
        if (status == RCNN_OK && json.token == RCNN_JSON_KEY) {
            count_key(json.text, out);
        }
    } while (status == RCNN_OK && json.token != RCNN_JSON_END);
    rcnn_json_close(&json);
    out->detections = out->boxes;
    return status;
}
