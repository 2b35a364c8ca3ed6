#include "eval_expected.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* An array of numbers; how many there were, -1 when something else stands there or they are too many. */
static int read_numbers(rcnn_json *json, double *out, int capacity)
{
    int count = 0;
    if (rcnn_json_expect(json, RCNN_JSON_ARRAY_BEGIN, NULL) != RCNN_OK) {
        return -1;
    }
    while (rcnn_json_next(json, NULL) == RCNN_OK && json->token == RCNN_JSON_NUMBER && count < capacity) {
        out[count++] = json->number;
    }
    return json->token == RCNN_JSON_ARRAY_END ? count : -1;
}

static int read_run_member(rcnn_json *json, expected_run *run)
{
    char key[32];
    snprintf(key, sizeof key, "%s", json->text);
    if (strcmp(key, "stats") == 0) {
        return read_numbers(json, run->stats, RCNN_EVAL_STAT_COUNT) == RCNN_EVAL_STAT_COUNT;
    }
    if (strcmp(key, "max_dets") == 0) {
        return read_numbers(json, run->max_dets, 3) == 3;
    }
    if (strcmp(key, "category_ap") == 0) {
        run->category_count = read_numbers(json, run->category_ap, EXPECTED_CATEGORIES_MAX);
        return run->category_count > 0;
    }
    if (rcnn_json_expect(json, RCNN_JSON_STRING, NULL) != RCNN_OK) {
        return 0;
    }
    if (strcmp(key, "detections") == 0) {
        snprintf(run->detections, sizeof run->detections, "%s", json->text);
    } else {
        run->iou_type = strcmp(json->text, "segm") == 0 ? RCNN_IOU_SEGM : RCNN_IOU_BBOX;
    }
    return 1;
}

static int read_runs(rcnn_json *json, expected_run *runs)
{
    int count = 0;
    while (rcnn_json_next(json, NULL) == RCNN_OK &&
           !(json->token == RCNN_JSON_KEY && strcmp(json->text, "runs") == 0)) {
        if (json->token == RCNN_JSON_END) {
            return -1;
        }
    }
    if (rcnn_json_expect(json, RCNN_JSON_ARRAY_BEGIN, NULL) != RCNN_OK) {
        return -1;
    }
    while (rcnn_json_next(json, NULL) == RCNN_OK && json->token == RCNN_JSON_OBJECT_BEGIN &&
           count < EXPECTED_RUNS_MAX) {
        while (rcnn_json_next(json, NULL) == RCNN_OK && json->token == RCNN_JSON_KEY) {
            if (!read_run_member(json, &runs[count])) {
                return -1;
            }
        }
        count++;
    }
    return json->token == RCNN_JSON_ARRAY_END ? count : -1;
}

int expected_read(const char *path, expected_run *runs)
{
    rcnn_file_map map;
    rcnn_json json;
    if (rcnn_file_map_open(path, 1 << 24, &map, NULL) != RCNN_OK) {
        return -1;
    }
    memset(runs, 0, EXPECTED_RUNS_MAX * sizeof *runs);
    rcnn_json_open(&json, path, map.data, map.size);
    const int count = read_runs(&json, runs);
    rcnn_json_close(&json);
    rcnn_file_map_close(&map);
    return count;
}
