#include "bench_out.h"

#include <math.h>

#include "out_json.h"
#include "outfile.h"

static void write_number(FILE *out, double value)
{
    fprintf(out, "%.8g", isfinite(value) ? value : 0.0);
}

static void write_member(FILE *out, const char *name, double value)
{
    fprintf(out, ",\"%s\":", name);
    write_number(out, value);
}

static void write_text(FILE *out, const char *name, const char *value)
{
    fprintf(out, ",\"%s\":", name);
    json_string(out, value);
}

static void write_times(FILE *out, const bench_times *t)
{
    fprintf(out, "{\"count\":%d", (int)t->count);
    write_member(out, "median_ms", t->median);
    write_member(out, "p10_ms", t->p10);
    write_member(out, "p90_ms", t->p90);
    write_member(out, "min_ms", t->min);
    fputs(",\"samples_ms\":[", out);
    for (int32_t i = 0; t->samples && i < t->count; i++) {
        fputs(i ? "," : "", out);
        write_number(out, t->samples[i]);
    }
    fputs("]}", out);
}

static void write_stages(FILE *out, const bench_row *row)
{
    const char *between = "";
    fputs(",\n  \"stages\":{", out);
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        if (row->stage[s].count > 0) {
            fprintf(out, "%s\n   \"%s\":", between, bench_stage_name((bench_stage)s));
            write_times(out, &row->stage[s]);
            between = ",";
        }
    }
    fputc('}', out);
}

static void write_by_stage(FILE *out, const char *name, const double value[BENCH_STAGE_COUNT])
{
    const char *between = "";
    fprintf(out, ",\"%s\":{", name);
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        if (value[s] > 0) {
            fprintf(out, "%s\"%s\":", between, bench_stage_name((bench_stage)s));
            write_number(out, value[s]);
            between = ",";
        }
    }
    fputc('}', out);
}

static void write_row(FILE *out, const bench_row *row)
{
    fputs("\n {\"subject\":", out);
    json_string(out, row->subject);
    write_text(out, "mode", row->mode);
    write_text(out, "device", row->device);
    write_text(out, "precision", row->precision);
    write_text(out, "preprocess", row->preprocess);
    write_text(out, "masks", row->masks);
    fprintf(out, ",\"width\":%d,\"height\":%d,\"batch\":%d", (int)row->width, (int)row->height, (int)row->batch);
    write_text(out, "skipped", row->skipped);
    fputs(",\n  \"end_to_end\":", out);
    write_times(out, &row->end_to_end);
    fputs(",\n  \"staged\":", out);
    write_times(out, &row->staged);
    write_stages(out, row);
    fputs(",\n ", out);
    fputs(" \"images_per_s\":", out);
    write_number(out, row->images_per_s);
    write_by_stage(out, "stage_gflop", row->stage_gflop);
    write_by_stage(out, "stage_gbyte", row->stage_gbyte);
    write_member(out, "gflop", row->gflop);
    write_member(out, "gbyte", row->gbyte);
    write_member(out, "first_run_ms", row->first_run_ms);
    write_member(out, "host_mb", row->host_mb);
    write_member(out, "device_mb", row->device_mb);
    fprintf(out, ",\"proposals\":%d,\"detections\":%d", (int)row->proposals, (int)row->detections);
    write_text(out, "picture", row->picture);
    fputc('}', out);
}

void bench_print_json(const bench_result *r, FILE *out)
{
    fprintf(out, "{\"schema\":%d,\"bench\":\"rcnn\",\"complete\":%s,\"random_weights\":%s,\n\"facts\":{", BENCH_SCHEMA,
            r->complete ? "true" : "false", r->random_weights ? "true" : "false");
    for (int32_t i = 0; i < r->fact_count; i++) {
        fputs(i ? ",\n " : "\n ", out);
        json_string(out, r->facts[i].name);
        fputc(':', out);
        json_string(out, r->facts[i].value);
    }
    fputs("},\n\"peak\":{\"precision\":", out);
    json_string(out, r->peak_precision);
    write_member(out, "tflops", r->peak_tflops);
    write_member(out, "gb_s", r->peak_gb_s);
    fputs("},\n\"rows\":[", out);
    for (int32_t i = 0; i < r->row_count; i++) {
        fputs(i ? "," : "", out);
        write_row(out, &r->rows[i]);
    }
    fputs("]}\n", out);
}

bool bench_write_json(const bench_result *r, const char *path, rcnn_error *err)
{
    outfile file;
    if (!outfile_open(&file, path, err)) {
        return false;
    }
    bench_print_json(r, file.stream);
    return outfile_commit(&file, err);
}
