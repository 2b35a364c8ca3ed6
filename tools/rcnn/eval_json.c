/* Files of `rcnn eval`: the numbers, and detections as COCO result files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "out_json.h"

void eval_json_number(FILE *out, double value)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    fputs(text, out);
}

/* ------------------------------------------------------------------ numbers */

/* {"AP":0.5,...}: category -1 = all. */
static void write_stats(const eval_job *j, FILE *out, int type, int32_t category)
{
    for (int i = 0; i < RCNN_EVAL_STAT_COUNT; i++) {
        fprintf(out, "%s\"%s\":", i ? "," : "", rcnn_eval_stat_name(i));
        eval_json_number(out, category < 0 ? rcnn_eval_stat(j->evals[type], i)
                                           : rcnn_eval_category_stat(j->evals[type], category, i));
    }
}

static void write_categories(const eval_job *j, FILE *out, int type)
{
    for (int32_t k = 0; k < rcnn_eval_truth_category_count(j->truth); k++) {
        int64_t id = 0;
        const char *name = "";
        if (rcnn_eval_truth_category(j->truth, k, &id, &name) != RCNN_OK) {
            continue;
        }
        fprintf(out, "%s\n   {\"id\":%lld,\"name\":", k ? "," : "", (long long)id);
        json_string(out, name);
        fputc(',', out);
        write_stats(j, out, type, k);
        fputc('}', out);
    }
}

static void write_type(const eval_job *j, FILE *out, int type)
{
    fprintf(out, "\"%s\":{\"stats\":[", eval_type_name(type));
    for (int i = 0; i < RCNN_EVAL_STAT_COUNT; i++) {
        fputs(i ? "," : "", out);
        eval_json_number(out, rcnn_eval_stat(j->evals[type], i));
    }
    fputs("],\n  ", out);
    write_stats(j, out, type, -1);
    fputs(",\n  \"categories\":[", out);
    write_categories(j, out, type);
    fputs("]}", out);
}

bool eval_write_json(eval_job *job, const char *path)
{
    outfile file;
    if (!outfile_open(&file, path, &job->err)) {
        return false;
    }
    FILE *out = file.stream;
    fputs("{\"version\":", out);
    json_string(out, rcnn_version());
    fputs(",\"model\":", out);
    json_string(out, job->model_path);
    fputs(",\"annotations\":", out);
    json_string(out, job->opts->value[OPT_ANN].text);
    fprintf(out, ",\n \"images\":%d,\"annotation_count\":%lld,\"detection_count\":%lld,\"max_dets\":[%d,%d,%d],\n",
            (int)job->images, (long long)rcnn_eval_truth_annotation_count(job->truth),
            (long long)rcnn_eval_detections_count(job->detections), (int)job->max_dets[0], (int)job->max_dets[1],
            (int)job->max_dets[2]);
    fprintf(out, " \"seconds\":{\"read\":%.3f,\"detect\":%.3f,\"evaluate\":%.3f}", job->read_ms / 1e3,
            job->detect_ms / 1e3, job->evaluate_ms / 1e3);
    for (int type = 0; type < EVAL_TYPES; type++) {
        if (job->evals[type]) {
            fputs(",\n ", out);
            write_type(job, out, type);
        }
    }
    fputs("}\n", out);
    return outfile_commit(&file, &job->err);
}

/* ----------------------------------------------------------------- detections */

/* "dir/x.json" and "segm" -> "dir/x.segm.json". */
static bool open_typed(eval_saver *saver, const char *path, int type, rcnn_error *err)
{
    const size_t length = strlen(path);
    const size_t stem = length > 5 && strcmp(path + length - 5, ".json") == 0 ? length - 5 : length;
    char *typed = malloc(length + 16);
    if (!typed) {
        return tool_fail(err, "out of memory");
    }
    snprintf(typed, length + 16, "%.*s.%s%s", (int)stem, path, eval_type_name(type), path + stem);
    saver->open[type] = outfile_open(&saver->files[type], typed, err);
    free(typed);
    return saver->open[type];
}

bool eval_saver_open(eval_saver *saver, const char *path, const bool wanted[EVAL_TYPES], rcnn_error *err)
{
    for (int type = 0; type < EVAL_TYPES; type++) {
        if (!wanted[type]) {
            continue;
        }
        if (wanted[0] && wanted[1]) {
            if (!open_typed(saver, path, type, err)) {
                return false;
            }
        } else {
            saver->open[type] = outfile_open(&saver->files[type], path, err);
            if (!saver->open[type]) {
                return false;
            }
        }
        fputc('[', saver->files[type].stream);
    }
    return true;
}

static bool write_mask(eval_saver *saver, FILE *out, const eval_detection *d, rcnn_error *err)
{
    const size_t length = rcnn_rle_to_string(d->counts, d->count, NULL, 0);
    if (length + 1 > saver->text_capacity) {
        char *grown = realloc(saver->text, length + 1);
        if (!grown) {
            return tool_fail(err, "out of memory for a mask of %zu bytes", length);
        }
        saver->text = grown;
        saver->text_capacity = length + 1;
    }
    rcnn_rle_to_string(d->counts, d->count, saver->text, saver->text_capacity);
    fprintf(out, "\"segmentation\":{\"size\":[%d,%d],\"counts\":", (int)d->height, (int)d->width);
    json_string(out, saver->text);
    fputs("},", out);
    return true;
}

bool eval_saver_add(eval_saver *saver, const eval_detection *d, rcnn_error *err)
{
    for (int type = 0; type < EVAL_TYPES; type++) {
        if (!saver->open[type]) {
            continue;
        }
        FILE *out = saver->files[type].stream;
        fprintf(out, "%s\n{\"image_id\":%lld,\"category_id\":%lld,", saver->written ? "," : "", (long long)d->image_id,
                (long long)d->category_id);
        if (type == RCNN_IOU_SEGM) {
            if (!write_mask(saver, out, d, err)) {
                return false;
            }
        } else {
            fputs("\"bbox\":[", out);
            for (int i = 0; i < 4; i++) {
                fputs(i ? "," : "", out);
                eval_json_number(out, d->bbox[i]);
            }
            fputs("],", out);
        }
        fputs("\"score\":", out);
        eval_json_number(out, d->score);
        fputc('}', out);
    }
    saver->written++;
    return true;
}

bool eval_saver_commit(eval_saver *saver, rcnn_error *err)
{
    bool done = true;
    for (int type = 0; type < EVAL_TYPES; type++) {
        if (saver->open[type]) {
            fputs("\n]\n", saver->files[type].stream);
            done = outfile_commit(&saver->files[type], err) && done;
            saver->open[type] = false;
        }
    }
    return done;
}

void eval_saver_discard(eval_saver *saver)
{
    for (int type = 0; type < EVAL_TYPES; type++) {
        if (saver->open[type]) {
            outfile_discard(&saver->files[type]);
            saver->open[type] = false;
        }
    }
    free(saver->text);
    saver->text = NULL;
}
