/* A run as trace events: the format that Chrome's tracing page and Perfetto read ("Trace Event Format", complete
 * events). */
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "out_json.h"
#include "outfile.h"

#define MICROSECONDS 1000.0 /* in a millisecond */

/* Each stage is a lane, numbered from 1 in order of first appearance. */
static void assign_lanes(const bench_step *steps, int32_t count, int32_t *lanes)
{
    int32_t used = 0;
    for (int32_t i = 0; i < count; i++) {
        int32_t first = 0;
        while (strcmp(steps[first].stage, steps[i].stage) != 0) {
            first++;
        }
        lanes[i] = first == i ? ++used : lanes[first];
    }
}

static void write_lane_names(FILE *out, const bench_step *steps, int32_t count, const int32_t *lanes)
{
    int32_t named = 0;
    for (int32_t i = 0; i < count; i++) {
        if (lanes[i] > named) {
            named = lanes[i];
            fprintf(out,
                    ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":", (int)named);
            json_string(out, steps[i].stage);
            fprintf(
                out,
                "}},\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%d}}",
                (int)named, (int)named);
        }
    }
}

static void write_step(FILE *out, const bench_step *s, int32_t lane)
{
    fputs(",\n{\"ph\":\"X\",\"pid\":1,\"name\":", out);
    json_string(out, s->name);
    fputs(",\"cat\":", out);
    json_string(out, s->stage);
    fprintf(out, ",\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"ops\":%d", (int)lane, MICROSECONDS * s->begin_ms,
            MICROSECONDS * s->ms, (int)s->ops);
    if (s->gflop > 0) {
        fprintf(out, ",\"GFLOP\":%.6g", s->gflop);
    }
    if (s->gbyte > 0) {
        fprintf(out, ",\"GB\":%.6g", s->gbyte);
    }
    if (s->gflop > 0 && s->ms > 0) {
        fprintf(out, ",\"TFLOP/s\":%.4g", s->gflop / s->ms);
    }
    if (s->gbyte > 0 && s->ms > 0) {
        fprintf(out, ",\"GB/s\":%.4g", 1000 * s->gbyte / s->ms);
    }
    fputs("}}", out);
}

rcnn_status bench_write_trace(const char *path, const bench_step *steps, int32_t count, const char *title,
                              rcnn_error *err)
{
    outfile file;
    int32_t *lanes = malloc(((size_t)count + 1) * sizeof *lanes);
    if (!lanes) {
        tool_fail(err, "'%.300s': out of memory for %d steps", path, (int)count);
        return err->status = RCNN_ERR_MEMORY;
    }
    assign_lanes(steps, count, lanes);
    bool done = outfile_open(&file, path, err);
    if (done) {
        fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\","
              "\"args\":{\"name\":",
              file.stream);
        json_string(file.stream, title);
        fputs("}}", file.stream);
        write_lane_names(file.stream, steps, count, lanes);
        for (int32_t i = 0; i < count; i++) {
            write_step(file.stream, &steps[i], lanes[i]);
        }
        fputs("\n]}\n", file.stream);
        done = outfile_commit(&file, err);
    }
    free(lanes);
    return done ? RCNN_OK : err->status;
}
