/* What is made from a benchmark's result: reading, comparison by ranks, charts, the page, the trace. */
#include "harness.h"

#include <sys/stat.h>
#include <unistd.h>

#include "bench_chart.h"
#include "bench_markup.h"
#include "bench_rank.h"
#include "bench_report.h"
#include "draw.h"
#include "json_check.h"
#include "run_program.h"
#include "thin_model.h"

#define SAMPLE RCNN_SOURCE_DIR "/samples/tissue.jpg"

/* ------------------------------------------------------------------ scratch */

static char *scratch; /* directory of the test that runs */

static const char *path_in(const char *name)
{
    static char path[4][4200];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", scratch, name);
    return out;
}

static const char *put_file(const char *name, const char *data, size_t size)
{
    const char *path = path_in(name);
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(data, 1, size, file);
        fclose(file);
    }
    return path;
}

static char *get_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        const long size = ftell(file);
        text = calloc((size_t)size + 1, 1);
        rewind(file);
        if (fread(text, 1, (size_t)size, file) != (size_t)size) {
            text[0] = '\0';
        }
    }
    if (file) {
        fclose(file);
    }
    return text;
}

static rcnn_status read_text(const char *text, bench_result *out, rcnn_error *err)
{
    return bench_read(put_file("in.json", text, strlen(text)), out, err);
}

/* ------------------------------------------------------------------ reading */

static const char WHOLE[] =
    "{\"schema\":1,\"bench\":\"rcnn\",\"complete\":true,\"random_weights\":true,\n"
    "\"facts\":{\"machine\":\"a \\\"box\\\" \\u00e9\\ud83d\\ude00\",\"threads\":16,\"turbo\":false,\"list\":[1]},\n"
    "\"peak\":{\"precision\":\"fp16\",\"tflops\":700.5,\"gb_s\":2800},\n"
    "\"rows\":[{\"subject\":\"rcnn\",\"mode\":\"raw_fp16\",\"device\":\"cuda:0\",\"precision\":\"fp16\",\"preprocess\":"
    "\"gpu\","
    "\"masks\":\"raw\",\"width\":1333,\"height\":800,\"batch\":2,\"skipped\":\"\","
    "\"end_to_end\":{\"count\":4,\"median_ms\":9,\"p10_ms\":9,\"p90_ms\":9,\"min_ms\":9,\"samples_ms\":[4,1,3,2]},"
    "\"staged\":{\"count\":3,\"median_ms\":2.5,\"p10_ms\":2.25,\"p90_ms\":3,\"min_ms\":2},"
    "\"stages\":{\"backbone\":{\"count\":3,\"median_ms\":1.5e0},\"no_such_stage\":{\"count\":1,\"median_ms\":1}},"
    "\"stage_gflop\":{\"backbone\":180.25,\"other\":1},\"stage_gbyte\":{\"neck\":0.5},"
    "\"images_per_s\":800,\"gflop\":400,\"gbyte\":3,\"first_run_ms\":812,\"host_mb\":640,\"device_mb\":2210,"
    "\"proposals\":1000,\"detections\":100,\"picture\":\"x.png\",\"new\":{\"a\":[null,true,{}]}},"
    "{\"mode\":\"bare\",\"end_to_end\":null,\"proposals\":null}]}\n";

TEST(a_whole_file)
{
    bench_result r;
    rcnn_error err = {0};
    CHECK_OK(read_text(WHOLE, &r, &err), err);
    REQUIRE(r.row_count == 2 && r.fact_count == 3);
    CHECK(r.complete && r.random_weights);
    CHECK(strcmp(r.facts[0].name, "machine") == 0 &&
          strcmp(r.facts[0].value, "a \"box\" \xc3\xa9\xf0\x9f\x98\x80") == 0);
    CHECK(strcmp(r.facts[1].value, "16") == 0 && strcmp(r.facts[2].value, "false") == 0);
    CHECK(r.peak_tflops == 700.5 && r.peak_gb_s == 2800 && strcmp(r.peak_precision, "fp16") == 0);
    const bench_row *row = &r.rows[0];
    CHECK(strcmp(row->subject, "rcnn") == 0 && strcmp(row->mode, "raw_fp16") == 0 && strcmp(row->masks, "raw") == 0);
    CHECK(strcmp(row->device, "cuda:0") == 0 && strcmp(row->preprocess, "gpu") == 0 && row->batch == 2);
    CHECK(row->width == 1333 && row->height == 800 && row->images_per_s == 800 && row->gflop == 400 && row->gbyte == 3);
    CHECK(row->first_run_ms == 812 && row->host_mb == 640 && row->device_mb == 2210);
    CHECK(row->proposals == 1000 && row->detections == 100 && strcmp(row->picture, "x.png") == 0);
    CHECK(row->staged.median == 2.5 && row->staged.p10 == 2.25 && row->staged.p90 == 3 && row->staged.min == 2);
    CHECK(row->staged.count == 3 && row->staged.samples == NULL);
    CHECK(row->stage[BENCH_STAGE_backbone].median == 1.5 && row->stage[BENCH_STAGE_neck].count == 0);
    CHECK(row->stage_gflop[BENCH_STAGE_backbone] == 180.25 && row->stage_gbyte[BENCH_STAGE_neck] == 0.5);
    /* quantiles are those of the samples, which are there, in their order */
    REQUIRE(row->end_to_end.count == 4 && row->end_to_end.samples);
    CHECK(row->end_to_end.samples[0] == 4 && row->end_to_end.samples[3] == 2);
    CHECK(row->end_to_end.median == 2.5 && row->end_to_end.min == 1);
    const bench_row *bare = &r.rows[1];
    CHECK(bare->end_to_end.count == 0 && bare->proposals == -1 && bare->detections == -1 && bare->subject[0] == '\0');
    bench_free(&r);
}

/* Every beginning of a good file is a bad file, told in one line that names it. */
TEST(truncated_files)
{
    for (size_t size = 0; size + 2 < sizeof WHOLE; size++) { /* all but the last brace and newline */
        bench_result r;
        rcnn_error err = {0};
        const rcnn_status status = bench_read(put_file("cut.json", WHOLE, size), &r, &err);
        CHECK_MSG(status == RCNN_ERR_FORMAT && err.status == status, "%zu bytes: %d", size, (int)status);
        CHECK_MSG(strstr(err.message, "cut.json") && strstr(err.message, "line "), "%s", err.message);
        CHECK(r.row_count == 0 && !r.rows && !r.facts);
    }
}

/* Every byte replaced: read or refused, and nothing else (the sanitizers watch). */
TEST(damaged_files)
{
    static const char others[] = {'"', '{', ']', '\\', '9', '\0', '\x80'};
    char text[sizeof WHOLE];
    int refused = 0;
    for (size_t at = 0; at + 1 < sizeof WHOLE; at++) {
        bench_result r;
        rcnn_error err = {0};
        memcpy(text, WHOLE, sizeof text);
        text[at] = others[at % sizeof others];
        if (bench_read(put_file("bad.json", text, sizeof text - 1), &r, &err) == RCNN_OK) {
            bench_free(&r);
        } else {
            refused++;
            CHECK_MSG(err.message[0] && !strchr(err.message, '\n') && r.row_count == 0, "byte %zu", at);
        }
    }
    CHECK_MSG(refused > 300, "%d", refused);
}

TEST(wrong_files)
{
    static const struct {
        const char *text;
        rcnn_status status;
        const char *message;
    } cases[] = {
        {"", RCNN_ERR_FORMAT, "line 1, column 1: want an object, got the end of the file"},
        {"[]", RCNN_ERR_FORMAT, "want an object, got '[]'"},
        {"{}", RCNN_ERR_FORMAT, "want \"schema\":1, got none"},
        {"{\"schema\":2}", RCNN_ERR_UNSUPPORTED, "want schema 1, got 2"},
        {"{\"schema\":1} x", RCNN_ERR_FORMAT, "want the end of the file, got 'x'"},
        {"{\"schema\":1,}", RCNN_ERR_FORMAT, "want a string, got '}'"},
        {"{\"schema\":\"1\"}", RCNN_ERR_FORMAT, "want a number"},
        {"{\"schema\":01}", RCNN_ERR_FORMAT, "want a number, got '01}'"},
        {"{\"schema\":1.}", RCNN_ERR_FORMAT, "want a number"},
        {"{\"schema\":1,\n \"rows\":{}}", RCNN_ERR_FORMAT, "line 2, column 9: want an array, got '{}}'"},
        {"{\"schema\":1,\"rows\":[7]}", RCNN_ERR_FORMAT, "want an object, got '7]}'"},
        {"{\"schema\":1,\"rows\":[{\"mode\":7}]}", RCNN_ERR_FORMAT, "want a string, got '7}]}'"},
        {"{\"schema\":1,\"rows\":[{\"width\":1e999}]}", RCNN_ERR_FORMAT, "want a number from -1 to 65500, got inf"},
        {"{\"schema\":1,\"rows\":[{\"width\":1.5}]}", RCNN_ERR_FORMAT, "want a whole number, got 1.5"},
        {"{\"schema\":1,\"rows\":[{\"gflop\":NaN}]}", RCNN_ERR_FORMAT, "want a number, got 'NaN}]}'"},
        {"{\"schema\":1,\"rows\":[{\"gflop\":-1}]}", RCNN_ERR_FORMAT, "want a number from 0"},
        {"{\"schema\":1,\"rows\":[{\"end_to_end\":{\"samples_ms\":[1,null]}}]}", RCNN_ERR_FORMAT, "want a number"},
        {"{\"schema\":1,\"rows\":[{\"end_to_end\":[1]}]}", RCNN_ERR_FORMAT, "want an object"},
        {"{\"schema\":1,\"complete\":1}", RCNN_ERR_FORMAT, "want true or false"},
        {"{\"schema\":1,\"x\":nul}", RCNN_ERR_FORMAT, "want a value"},
        {"{\"schema\":1,\"x\":\"\\q\"}", RCNN_ERR_FORMAT, "want an escape sequence"},
        {"{\"schema\":1,\"x\":\"\\u12g4\"}", RCNN_ERR_FORMAT, "want four hexadecimal digits"},
        {"{\"schema\":1,\"x\":\"a\nb\"}", RCNN_ERR_FORMAT, "want the end of a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bench_result r;
        rcnn_error err = {0};
        const rcnn_status status = read_text(cases[i].text, &r, &err);
        CHECK_MSG(status == cases[i].status && strstr(err.message, cases[i].message), "%s -> %d %s", cases[i].text,
                  (int)status, err.message);
    }
    bench_result r;
    rcnn_error err = {0};
    CHECK(bench_read(path_in("none.json"), &r, &err) == RCNN_ERR_NOT_FOUND && strstr(err.message, "none.json"));
    CHECK(bench_read(scratch, &r, &err) == RCNN_ERR_IO);
}

TEST(nesting_has_a_limit)
{
    char text[4000] = "{\"schema\":1,\"x\":";
    bench_result r;
    rcnn_error err = {0};
    memset(text + strlen(text), '[', sizeof text - 1 - strlen(text));
    CHECK(read_text(text, &r, &err) == RCNN_ERR_LIMIT && strstr(err.message, "nested deeper than 64"));
}

/* Texts of a file are cut to whole characters and hold no control characters. */
TEST(texts_are_cut_and_cleaned)
{
    char text[1000] =
        "{\"schema\":1,\"rows\":[{\"precision\":\"abcdef\xc3\xa9ghi\",\"mode\":\"a\\u0000\\nb\\ud800c\xff\"}]}";
    bench_result r;
    rcnn_error err = {0};
    CHECK_OK(read_text(text, &r, &err), err);
    REQUIRE(r.row_count == 1);
    CHECK_MSG(strcmp(r.rows[0].precision, "abcdef") == 0, "%s", r.rows[0].precision);
    CHECK_MSG(strcmp(r.rows[0].mode, "a??b\xef\xbf\xbd"
                                     "c?") == 0,
              "%s", r.rows[0].mode);
    bench_free(&r);
}

/* What has quantiles alone is written with an empty list of samples, and read again with its count. Numbers that nothing
 * can measure are 0. */
TEST(quantiles_without_samples_and_tiny_numbers)
{
    const char text[] = "{\"schema\":1,\"peak\":{\"gb_s\":1e-320,\"tflops\":1e-12},\"rows\":[{\"end_to_end\":"
                        "{\"count\":7,\"median_ms\":2.5,\"p90_ms\":3,\"samples_ms\":[]},"
                        "\"staged\":{\"samples_ms\":[],\"count\":0,\"median_ms\":2}}]}";
    bench_result r;
    rcnn_error err = {0};
    CHECK_OK(read_text(text, &r, &err), err);
    REQUIRE(r.row_count == 1);
    CHECK(r.rows[0].end_to_end.count == 7 && r.rows[0].end_to_end.median == 2.5 && !r.rows[0].end_to_end.samples);
    CHECK(r.rows[0].staged.count == 0 && r.rows[0].staged.median == 0);
    CHECK(r.peak_gb_s == 0 && r.peak_tflops == 1e-12);
    bench_free(&r);
}

/* -------------------------------------------------------------------- ranks */

TEST(ranks_by_hand)
{
    const double low[] = {1, 2, 3, 4, 5}, high[] = {6, 7, 8, 9, 10}, mixed[] = {1.5, 2.5, 3.5, 4.5, 5.5};
    rank_test t;
    REQUIRE(rank_compare(low, 5, high, 5, &t));
    CHECK(t.exact && fabs(t.p - 2.0 / 252) < 1e-15); /* one order of 10 over 5, twice */
    REQUIRE(rank_compare(low, 3, high, 3, &t));
    CHECK(t.exact && fabs(t.p - 0.1) < 1e-15 && t.low == 0 && t.high == 0);
    REQUIRE(rank_compare(low, 5, mixed, 5, &t));
    CHECK_MSG(fabs(t.p - 174.0 / 252) < 1e-12, "%f", t.p); /* U = 10: 87 orders give at most 10 */
    REQUIRE(rank_compare(low, 5, low, 5, &t));
    CHECK(!t.exact && t.p == 1 && fabs(t.ratio - 1) < 1e-9);
    CHECK(!rank_compare(low, 0, high, 5, &t) && !rank_compare(low, 5, high, 0, &t));
    const double least[] = {5e-324, 1e-323, 2e-323, 1e-322, 1e-320}; /* their quotients are neighbours */
    REQUIRE(rank_compare(low, 5, least, 5, &t));
    CHECK(t.exact && fabs(t.p - 2.0 / 252) < 1e-15 && t.ratio < 1e-150);
}

/* Exact p against all orders, one by one. */
TEST(exact_p_counts_orders)
{
    enum { N = 4, M = 5 };
    uint64_t seed = 11;
    int32_t orders[N * M + 1] = {0};
    for (unsigned set = 0; set < 1u << (N + M); set++) { /* bit: the place of that rank is a's */
        int32_t members = 0, u = 0, b_before = 0;
        for (int i = 0; i < N + M; i++) {
            const int in_a = (int)(set >> i & 1);
            members += in_a;
            u += in_a ? b_before : 0;
            b_before += !in_a;
        }
        orders[u < N * M ? u : N * M] += members == N;
    }
    for (int round = 0; round < 50; round++) {
        double a[N], b[M];
        int32_t u = 0, count = 0;
        rank_test t;
        for (int i = 0; i < N; i++) {
            a[i] = 1 + (double)test_uniform(&seed, 0, 1);
        }
        for (int i = 0; i < M; i++) {
            b[i] = 1 + (double)test_uniform(&seed, 0, 1.5f);
            for (int k = 0; k < N; k++) {
                u += b[i] < a[k];
            }
        }
        REQUIRE(rank_compare(a, N, b, M, &t));
        for (int32_t i = 0; i <= (u < N * M - u ? u : N * M - u); i++) {
            count += orders[i];
        }
        CHECK_MSG(t.exact && fabs(t.p - fmin(1, 2 * count / 126.0)) < 1e-12, "U %d: %f", (int)u, t.p);
    }
}

/* By the definition, with ties: z = (|U - nm/2| - 1/2) / sqrt(nm/12 (N + 1 - sum(t^3 - t)/(N (N - 1)))). */
TEST(ties_are_corrected)
{
    const double a[] = {1, 2, 2, 3, 3, 3}, b[] = {2, 3, 3, 4, 4};
    /* pairs with b < a: 3; equal: 2*1 + 3*2 = 8, as halves 4: U = 7. Groups: 1, 3, 5, 2 -> 24 + 120 + 6 = 150. */
    const double z = (fabs(7 - 15.0) - 0.5) / sqrt(30.0 / 12 * (12 - 150.0 / 110));
    rank_test t, back;
    REQUIRE(rank_compare(a, 6, b, 5, &t) && rank_compare(b, 5, a, 6, &back));
    CHECK_MSG(!t.exact && fabs(t.p - erfc(z / sqrt(2))) < 1e-12, "%f", t.p);
    CHECK(fabs(t.p - back.p) < 1e-12 && fabs(t.ratio * back.ratio - 1) < 1e-9);
}

/* The ratio is the median of the quotients, the interval two of them, and both turn over with the sides. */
TEST(intervals_are_quotients)
{
    enum { N = 12, M = 9 };
    uint64_t seed = 5;
    double a[N], b[M], all[N * M];
    rank_test t, back;
    for (int i = 0; i < N; i++) {
        a[i] = 10 + (double)test_uniform(&seed, 0, 3);
    }
    for (int i = 0; i < M; i++) {
        b[i] = 11 + (double)test_uniform(&seed, 0, 3);
    }
    for (int i = 0; i < N * M; i++) {
        const double quotient = b[i % M] / a[i / M];
        int at = i;
        for (; at > 0 && all[at - 1] > quotient; at--) {
            all[at] = all[at - 1];
        }
        all[at] = quotient;
    }
    REQUIRE(rank_compare(a, N, b, M, &t) && rank_compare(b, M, a, N, &back));
    /* 54 - 1.96 sqrt(108 * 22 / 12) = 26.4: the 26th from either end */
    CHECK_MSG(fabs(t.ratio - sqrt(all[53] * all[54])) < 1e-9, "%f", t.ratio);
    CHECK_MSG(fabs(t.low - all[25]) < 1e-9 && fabs(t.high - all[82]) < 1e-9, "%f %f", t.low, t.high);
    CHECK(fabs(t.low * back.high - 1) < 1e-9 && fabs(t.high * back.low - 1) < 1e-9);
}

/* --------------------------------------------------------------- comparison */

/* A row of `count` samples about `ms`, spread evenly over +-spread. count < 0: no samples in the file. seed 0 is the
 * first row of a file. */
static void put_row(FILE *out, const char *mode, double ms, double spread, int count, int seed)
{
    uint64_t state = (uint64_t)seed * 77 + 1;
    fprintf(out,
            "%s{\"subject\":\"rcnn\",\"mode\":\"%s\",\"device\":\"cuda:0\",\"precision\":\"fp16\",\"width\":640,"
            "\"height\":480,\"batch\":1,\"end_to_end\":{\"count\":%d,\"median_ms\":%g",
            seed ? "," : "", mode, abs(count), ms);
    for (int i = 0; i < count; i++) {
        fprintf(out, "%s%.9g", i ? "," : ",\"samples_ms\":[", ms * (1 + (double)test_uniform(&state, -1, 1) * spread));
    }
    fputs(count > 0 ? "]}}" : "}}", out);
}

static FILE *open_rows(const char *name)
{
    FILE *out = fopen(path_in(name), "w");
    if (out) {
        fputs("{\"schema\":1,\"complete\":true,\"facts\":{\"commit\":\"", out);
        fprintf(out, "%s\"},\"rows\":[", name);
    }
    return out;
}

static void close_rows(FILE *out)
{
    fputs("]}\n", out);
    fclose(out);
}

/* The line of the table that starts with the mode. */
static int line_says(const char *text, const char *mode, const char *what)
{
    char start[80], line[400] = "";
    snprintf(start, sizeof start, "\n%s ", mode);
    const char *at = strstr(text, start);
    if (at) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
    }
    CHECK_MSG(at && strstr(line, what), "%s: want '%s' in '%s'", mode, what, line);
    return at && strstr(line, what);
}

static char *compare_text(const char *a, const char *b, rcnn_status *status, rcnn_error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    *status = bench_compare_files(a, b, out, err);
    fclose(out);
    return text;
}

TEST(verdicts)
{
    FILE *a = open_rows("a.json"), *b = open_rows("b.json");
    REQUIRE(a && b);
    const struct {
        const char *mode;
        double a, b, spread;
        int count_a, count_b;
    } rows[] = {{"quick", 10, 9, 0.03, 30, 30},     {"slow", 10, 11, 0.03, 30, 20},
                {"equal", 10, 10.02, 0.01, 40, 40}, {"noisy", 10, 10.3, 0.5, 20, 20},
                {"slight", 10, 10.15, 0.002, 9, 9}, {"edge", 10, 10.17, 0.012, 20, 20},
                {"few", 10, 20, 0.01, 3, 3},        {"exact", 10, 12, 0.01, 6, 6},
                {"quantiles", 10, 5, 0, -30, 30},   {"nothing", 10, 10, 0, 0, 30}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_row(a, rows[i].mode, rows[i].a, rows[i].spread, rows[i].count_a, (int)i);
        put_row(b, rows[i].mode, rows[i].b, rows[i].spread, rows[i].count_b, i ? (int)i + 50 : 0);
    }
    put_row(a, "old_mode", 1, 0, 5, 1);
    put_row(b, "new_mode", 1, 0, 5, 1);
    close_rows(a);
    close_rows(b);
    rcnn_status status;
    rcnn_error err = {0};
    char *text = compare_text(path_in("a.json"), path_in("b.json"), &status, &err);
    CHECK_OK(status, err);
    line_says(text, "quick", "faster by 1"); /* 10/9: 11 % */
    line_says(text, "slow", "slower by ");
    line_says(text, "slow", "30/20");
    line_says(text, "equal", "  same");
    line_says(text, "noisy", "unclear: the samples scatter too much");
    line_says(text, "slight", "same"); /* differs for certain, and by nothing to care for */
    line_says(text, "edge", "unclear: differs, but by less than 2 %");
    line_says(text, "few", "unclear: too few samples");
    line_says(text, "exact", "0.0022 exact");
    line_says(text, "exact", "slower by ");
    line_says(text, "quantiles", "unclear: no samples in A");
    line_says(text, "nothing", "unclear: not measured in A");
    CHECK(strstr(text, "only in A: old_mode, rcnn, 640x480 b1, cuda:0, fp16\n"));
    CHECK(strstr(text, "only in B: new_mode, rcnn, 640x480 b1, cuda:0, fp16\n"));
    CHECK(strstr(text, "differs: commit: A 'a.json', B 'b.json'\n"));
    CHECK(strstr(text, "\n1 faster, 2 slower, 2 same, 5 unclear\n"));
    CHECK(strstr(text, "Mann-Whitney U test, two-sided"));
    free(text);
    text = compare_text(path_in("b.json"), path_in("a.json"), &status, &err);
    line_says(text, "quick", "slower by 1"); /* the sides turned over */
    line_says(text, "slow", "faster by ");
    free(text);
    text = compare_text(path_in("a.json"), path_in("a.json"), &status, &err);
    line_says(text, "quick", "same");
    line_says(text, "noisy", "unclear"); /* equal files of samples that scatter prove nothing */
    free(text);
    text = compare_text(path_in("a.json"), path_in("none.json"), &status, &err);
    CHECK(status == RCNN_ERR_NOT_FOUND && strcmp(text, "") == 0);
    free(text);
}

/* ------------------------------------------------------------------- charts */

static bench_times known(double ms)
{
    return (bench_times){.count = 9, .median = ms, .p10 = 0.98 * ms, .p90 = 1.04 * ms, .min = 0.95 * ms};
}

static bench_row make_row(const char *subject, const char *mode, const double *stages, double whole)
{
    bench_row row = {.width = 1333, .height = 800, .batch = 1, .proposals = 1000, .detections = -1};
    snprintf(row.subject, sizeof row.subject, "%s", subject);
    snprintf(row.mode, sizeof row.mode, "%s", mode);
    snprintf(row.device, sizeof row.device, "cuda:0");
    snprintf(row.precision, sizeof row.precision, "fp32");
    double sum = 0;
    for (int i = 0; stages && i < BENCH_STAGE_COUNT; i++) {
        row.stage[i] = stages[i] > 0 ? known(stages[i]) : (bench_times){0};
        sum += i > 0 ? stages[i] : 0;
    }
    row.staged = stages ? known(1.02 * sum) : (bench_times){0};
    row.end_to_end = known(whole);
    row.images_per_s = 1000 / whole;
    return row;
}

static const double SLOW[BENCH_STAGE_COUNT] = {8, 0.4, 3.2, 9.1, 4, 3.6, 1.1, 0.1, 2.2, 35, 1};
static const double FAST[BENCH_STAGE_COUNT] = {8, 0.05, 0.011, 0.73, 0.24, 0.24, 0.14, 0.02, 0.30, 0.02, 0.06};

#define LONG_NAME "a_mode_with_a_name_that_is_longer_than_any_name_has_to_be_WWWW"

typedef struct box {
    double x1, y1, x2, y2;
} box;

static box text_box(const chart_mark *m)
{
    const double width = chart_text_width(m->text, m->size, m->bold), x = m->x - m->align * width;
    return (box){x, m->y - 0.75 * m->size, x + width, m->y + 0.22 * m->size};
}

/* No text lies over another or leaves the picture; every number in a segment lies in it. */
static void check_places(const chart *c)
{
    for (int32_t i = 0; i < c->count; i++) {
        if (c->marks[i].kind != CHART_TEXT) {
            continue;
        }
        const box a = text_box(&c->marks[i]);
        CHECK_MSG(a.x1 >= 0 && a.y1 >= 0 && a.x2 <= c->width && a.y2 <= c->height, "'%s' leaves", c->marks[i].text);
        for (int32_t k = i + 1; k < c->count; k++) {
            if (c->marks[k].kind == CHART_TEXT) {
                const box b = text_box(&c->marks[k]);
                CHECK_MSG(a.x2 <= b.x1 || b.x2 <= a.x1 || a.y2 <= b.y1 || b.y2 <= a.y1, "'%s' over '%s'",
                          c->marks[i].text, c->marks[k].text);
            }
        }
    }
}

static int32_t count_texts(const chart *c, const char *text)
{
    int32_t count = 0;
    for (int32_t i = 0; i < c->count; i++) {
        count += c->marks[i].kind == CHART_TEXT && strcmp(c->marks[i].text, text) == 0;
    }
    return count;
}

TEST(charts_have_room_for_all)
{
    const bench_row rows[] = {
        make_row("rcnn", "inference", SLOW, 58.3), make_row("rcnn", "raw_fp16", FAST, 1.8),
        make_row("torchvision 0.26", "inference", NULL, 142),
        make_row("a peer whose name and version are quite long texts, 1.2.3-rc4", LONG_NAME, SLOW, 12345.6),
        make_row("rcnn", "tiny", NULL, 0.0001)};
    const bench_row *list[5];
    for (int i = 0; i < 5; i++) {
        list[i] = &rows[i];
    }
    for (int kind = CHART_STAGES; kind <= CHART_END_TO_END; kind++) {
        for (int32_t count = 1; count <= 5; count++) {
            chart c;
            REQUIRE(chart_rows(&c, (chart_kind)kind, list, count, "A title: 1333x800, batch 1", "A note."));
            check_places(&c);
            CHECK(count_texts(&c, "ms per image") == 1 && count_texts(&c, "raw_fp16") == (count > 1));
            CHECK(count_texts(&c, "12346 ms, 0.081 images/s") == (kind == CHART_END_TO_END && count >= 4));
            CHECK(count_texts(&c, "rcnn, cuda:0, fp32") == (count == 1 ? 1 : count == 5 ? 3 : 2));
            chart_free(&c);
        }
    }
    chart c;
    REQUIRE(chart_rows(&c, CHART_STAGES, list, 1, "t", ""));
    CHECK(count_texts(&c, "35.0") == 1 && count_texts(&c, "9.10") == 1 && count_texts(&c, "60.9 ms") == 1);
    CHECK(count_texts(&c, "0.100") == 0 && count_texts(&c, "decode") == 0 && count_texts(&c, "backbone") == 1);
    chart_free(&c);
    REQUIRE(chart_rows(&c, CHART_STAGES, list + 2, 1, "t", ""));
    CHECK(count_texts(&c, "not split by stage") == 1 && count_texts(&c, "142 ms") == 1);
    chart_free(&c);
}

/* Segments lie end to end and are as long as they took. */
TEST(segments_are_to_scale)
{
    const bench_row row = make_row("rcnn", "inference", SLOW, 58.3);
    const bench_row *list[] = {&row};
    chart c;
    REQUIRE(chart_rows(&c, CHART_STAGES, list, 1, "t", ""));
    double end = 0, per_ms = 0;
    int stage = 1;
    for (int32_t i = 0; i < c.count; i++) {
        if (c.marks[i].kind != CHART_BAR || !strstr(c.marks[i].text, " ms")) {
            continue; /* a swatch of the legend */
        }
        CHECK(end == 0 || fabs(c.marks[i].x - end) < 1e-9);
        end = c.marks[i].x + c.marks[i].width;
        if (stage < BENCH_STAGE_COUNT) {
            per_ms = per_ms > 0 ? per_ms : c.marks[i].width / SLOW[stage];
            CHECK_MSG(fabs(c.marks[i].width - per_ms * SLOW[stage]) < 1e-6, "%s", c.marks[i].text);
        }
        stage++;
    }
    CHECK_MSG(stage == BENCH_STAGE_COUNT + 1, "%d", stage); /* all but decode, and the rest */
    chart_free(&c);
}

/* Whiskers end where the percentiles lie, also far behind the longest bar. */
TEST(whiskers_are_to_scale)
{
    bench_row row = make_row("rcnn", "inference", NULL, 10);
    const bench_row *list[] = {&row};
    chart c;
    row.end_to_end.p10 = 5;
    row.end_to_end.p90 = 40;
    REQUIRE(chart_rows(&c, CHART_END_TO_END, list, 1, "t", ""));
    const chart_mark *bar = NULL, *whisker = NULL;
    for (int32_t i = 0; i < c.count; i++) {
        bar = c.marks[i].kind == CHART_BAR && c.marks[i].text[0] ? &c.marks[i] : bar;
        whisker = c.marks[i].kind == CHART_LINE && c.marks[i].width > 0 ? &c.marks[i] : whisker;
    }
    REQUIRE(bar && whisker);
    CHECK(fabs(whisker->x - (bar->x + bar->width / 2)) < 1e-6 && fabs(whisker->width - 3.5 * bar->width) < 1e-6);
    CHECK(whisker->x + whisker->width < c.width);
    chart_free(&c);
}

TEST(slow_rows_call_for_a_closer_look)
{
    bench_row rows[5];
    const bench_row *list[5];
    const double flat[] = {1, 2, 3, 4, 5}, one_slow[] = {1, 2, 3, 4, 100}, many_slow[] = {1, 2, 50, 60, 70};
    for (int i = 0; i < 5; i++) {
        list[i] = &rows[i];
    }
    for (int i = 0; i < 5; i++) {
        rows[i] = make_row("rcnn", "m", NULL, flat[i]);
    }
    CHECK(chart_closer_limit(CHART_END_TO_END, list, 5) == 0 && chart_closer_limit(CHART_END_TO_END, list, 1) == 0);
    for (int i = 0; i < 5; i++) {
        rows[i] = make_row("rcnn", "m", NULL, one_slow[i]);
    }
    CHECK(chart_closer_limit(CHART_END_TO_END, list, 5) == 24); /* 8 times the median */
    for (int i = 0; i < 5; i++) {
        rows[i] = make_row("rcnn", "m", NULL, many_slow[i]);
    }
    CHECK(chart_closer_limit(CHART_END_TO_END, list, 5) == 2); /* the fast ones together */
}

TEST(milliseconds_have_three_digits)
{
    static const struct {
        double ms;
        const char *text;
    } cases[] = {{0.0114, "0.011"}, {0.9994, "0.999"}, {0.9996, "1.00"}, {3.2, "3.20"}, {9.996, "10.0"},
                 {58.34, "58.3"},   {99.96, "100"},    {1234.5, "1234"}, {142, "142"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        chart_three_digits(text, cases[i].ms);
        CHECK_MSG(strcmp(text, cases[i].text) == 0, "%g: %s", cases[i].ms, text);
    }
}

TEST(texts_are_fitted)
{
    char text[CHART_TEXT_BYTES];
    chart_fit_text(text, "short", 12, false, 100);
    CHECK(strcmp(text, "short") == 0);
    chart_fit_text(text, LONG_NAME, 12, true, 100);
    CHECK(chart_text_width(text, 12, true) <= 100 && strlen(text) > 8 && !strcmp(text + strlen(text) - 3, "..."));
    CHECK(strncmp(text, LONG_NAME, strlen(text) - 3) == 0);
}

/* ----------------------------------------------------------------- the page */

#define OPEN_MAX_DEPTH 64

/* Every element that is opened is closed, in order; returns NULL, or where it is not so. */
static const char *unbalanced(const char *text)
{
    char open[OPEN_MAX_DEPTH][24];
    int depth = 0;
    for (const char *p = strchr(text, '<'); p; p = strchr(p + 1, '<')) {
        const char *start = p, *name = p + 1 + (p[1] == '/');
        const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!");
        char quote = '\0';
        for (p = name; *p && (quote || *p != '>'); p++) {
            quote = quote ? (*p == quote ? '\0' : quote) : *p == '"' ? '"' : '\0';
        }
        if (*p != '>' || length == 0 || length >= sizeof open[0]) {
            return start;
        }
        if (start[1] == '!' || p[-1] == '/' || strncmp(name, "meta ", 5) == 0 || strncmp(name, "br>", 3) == 0 ||
            strncmp(name, "img ", 4) == 0) {
            continue;
        }
        if (start[1] != '/') {
            if (depth == OPEN_MAX_DEPTH) {
                return start;
            }
            snprintf(open[depth++], sizeof open[0], "%.*s", (int)length, name);
        } else if (depth == 0 || strlen(open[--depth]) != length || strncmp(open[depth], name, length) != 0) {
            return start;
        }
    }
    return depth ? text + strlen(text) : NULL;
}

TEST(the_balance_check_can_fail)
{
    CHECK(!unbalanced("<a><b x=\"<\">t</b><br><c/></a>"));
    CHECK(unbalanced("<a><b></a></b>") && unbalanced("<a>") && unbalanced("</a>") && unbalanced("a < b"));
}

static void check_markup(const char *name, const char *text)
{
    const char *where = text ? unbalanced(text) : "no such file";
    CHECK_MSG(!where, "%s at: %.60s", name, where);
}

/* Facts, rows: two subjects of one mode, hostile names, a skipped one, another size. The result borrows the arrays. */
static bench_result make_result(bench_row rows[5], bench_fact facts[2])
{
    rows[0] = make_row("rcnn", "inference", SLOW, 58.3);
    rows[1] = make_row("torchvision 0.26", "inference", NULL, 1420);
    rows[2] = make_row("rcnn", "raw <b>&\"fp16'", FAST, 1.8);
    rows[3] = make_row("rcnn", "inference_int8", NULL, 1);
    rows[4] = make_row("rcnn", "inference_small", FAST, 1.5);
    rows[0].gflop = 400;
    rows[0].stage_gflop[BENCH_STAGE_backbone] = 182;
    snprintf(rows[0].picture, sizeof rows[0].picture, "slow.png");
    snprintf(rows[2].picture, sizeof rows[2].picture, "../etc/fast.png"); /* not beside the page: not shown */
    snprintf(rows[3].skipped, sizeof rows[3].skipped, "needs a record of ranges <script>");
    rows[3].end_to_end = (bench_times){0};
    rows[4].width = 640;
    rows[4].height = 480;
    rows[4].batch = 8;
    facts[0] = (bench_fact){"machine", "a <box>"};
    facts[1] = (bench_fact){"clocks", "1980 MHz"};
    return (bench_result){.facts = facts,
                          .fact_count = 2,
                          .peak_tflops = 500,
                          .peak_precision = "fp16",
                          .random_weights = true,
                          .rows = rows,
                          .row_count = 5};
}

TEST(report_page)
{
    bench_row rows[5];
    bench_fact facts[2];
    const bench_result r = make_result(rows, facts);
    rcnn_error err = {0};
    mkdir(path_in("out"), 0777);
    put_file("out/slow.png", "foobar", 6);
    CHECK_OK(bench_write_report(&r, NULL, 0, path_in("out"), &err), err);
    char *page = get_file(path_in("out/report.html"));
    REQUIRE(page);
    check_markup("report.html", page);
    CHECK(!strstr(page, "http") && !strstr(page, "<script") && !strstr(page, "raw <b>"));
    CHECK(strstr(page, "raw &lt;b&gt;&amp;&quot;fp16&#39;") && strstr(page, "a &lt;box&gt;"));
    CHECK(strstr(page, "Random weights") && strstr(page, "stopped before its end"));
    CHECK(strstr(page, "needs a record of ranges &lt;script&gt;") && strstr(page, "500 TFLOP/s (fp16"));
    CHECK(strstr(page, "640x480, batch 8") && strstr(page, "torchvision 0.26"));
    CHECK(strstr(page, "<td>20<small>4.0 %</small></td>")); /* 182 GFLOP in 9.1 ms of 500 TFLOP/s */
    CHECK(strstr(page, "base64,Zm9vYmFy\"") && !strstr(page, "etc/fast"));
    free(page);
    char *svg = get_file(path_in("out/stages_1333x800_b1.svg"));
    REQUIRE(svg);
    check_markup("stages svg", svg);
    CHECK(strstr(svg, ">inference</text>") && strstr(svg, ">raw &lt;b&gt;&amp;&quot;fp16&#39;</text>"));
    CHECK(strstr(svg, ">torchvision 0.26, cuda:0, fp32</text>") && !strstr(svg, "inference_int8"));
    CHECK(strstr(svg, "random weights"));
    free(svg);
    CHECK(access(path_in("out/stages_1333x800_b1_closer1.svg"), R_OK) == 0);
    CHECK(access(path_in("out/end_to_end_640x480_b8.svg"), R_OK) == 0);
    CHECK((access(path_in("out/stages_640x480_b8.png"), R_OK) == 0) == bench_report_has_png());
    CHECK(bench_report_has_png() == (RCNN_HAVE_CAIRO != 0));
    /* again over itself: the same files and no more */
    const int entries = count_entries(path_in("out"));
    CHECK_OK(bench_write_report(&r, NULL, 0, path_in("out"), &err), err);
    CHECK(count_entries(path_in("out")) == entries);
    CHECK(bench_write_report(&r, NULL, 0, "/dev/null/out", &err) == RCNN_ERR_IO &&
          strstr(err.message, "/dev/null/out"));
}

TEST(report_of_nothing)
{
    const bench_result r = {.complete = true};
    rcnn_error err = {0};
    CHECK_OK(bench_write_report(&r, NULL, 0, path_in("a/b"), &err), err);
    char *page = get_file(path_in("a/b/report.html"));
    REQUIRE(page);
    check_markup("report.html", page);
    CHECK(!strstr(page, "<svg") && !strstr(page, "Random weights") && count_entries(path_in("a/b")) == 1);
    free(page);
}

/* Two runs of a model on an image. */
typedef struct two_runs {
    rcnn_model *model;
    rcnn_session *session;
    rcnn_image *image;
    rcnn_image_view view;
    rcnn_results *results[2];
} two_runs;

static bool run_twice(two_runs *t, rcnn_error *err)
{
    rcnn_session_options options;
    if (rcnn_model_load(THIN_MODEL, NULL, &t->model, err) || rcnn_image_load(SAMPLE, NULL, &t->image, err)) {
        return false;
    }
    rcnn_image_get_view(t->image, &t->view);
    for (int i = 0; i < 2; i++) {
        rcnn_session_options_init(&options);
        options.backend = DEVICE;
        options.long_side = 160;
        options.short_side = 96;
        options.score_threshold = 0.05f;
        options.max_detections = i ? 3 : 10;
        options.mask_format = i ? RCNN_MASK_RLE : RCNN_MASK_RAW;
        if (rcnn_session_create(t->model, &options, &t->session, err) ||
            rcnn_session_run(t->session, &t->view, 1, &t->results[i], err)) {
            return false;
        }
        rcnn_session_destroy(t->session);
        t->session = NULL;
    }
    return true;
}

static void check_shown(const two_runs *t, int second, const char *matched, const char *lost)
{
    const bench_result r = {.complete = true};
    const bench_shown shown[2] = {{"slow <mode>", &t->view, t->results[0], t->model},
                                  {"fast", &t->view, t->results[second], t->model}};
    rcnn_error err = {0};
    CHECK_OK(bench_write_report(&r, shown, 2, path_in("shown"), &err), err);
    char *page = get_file(path_in("shown/report.html"));
    REQUIRE(page);
    check_markup("report.html", page);
    CHECK_MSG(strstr(page, matched) && strstr(page, lost), "want %s and %s", matched, lost);
    CHECK(strstr(page, "mean IoU of masks</td>") && !strstr(page, "slow <mode>"));
    CHECK((strstr(page, "base64,iVBOR") != NULL) == draw_available());
    CHECK((access(path_in("shown/detections_fastest.png"), R_OK) == 0) == draw_available());
    free(page);
}

TEST(detections_are_shown_and_compared)
{
    two_runs t = {0};
    rcnn_error err = {0};
    const bool ran = run_twice(&t, &err);
    CHECK_MSG(ran, "%s", err.message);
    if (ran) {
        const int32_t count = rcnn_results_count(t.results[0], 0), fewer = rcnn_results_count(t.results[1], 0);
        CHECK_MSG(count == 10 && fewer == 3, "%d and %d", (int)count, (int)fewer);
        check_shown(&t, 0, "from 0.5</td><td>", "<td>1.0000</td></tr>\n<tr><td>least IoU");
        check_shown(&t, 1, "only in the slowest</td><td>", "<td>7</td></tr>\n<tr><td>only in the fastest");
    }
    rcnn_results_destroy(t.results[0]);
    rcnn_results_destroy(t.results[1]);
    rcnn_session_destroy(t.session);
    rcnn_image_destroy(t.image);
    rcnn_model_destroy(t.model);
}

TEST(base64_by_rfc_4648)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        CHECK(markup_base64(out, put_file("x", cases[i][0], strlen(cases[i][0])), 6));
        CHECK(!markup_base64(out, path_in("none"), 6) && !markup_base64(out, scratch, 1 << 20));
        fclose(out);
        CHECK_MSG(strcmp(text, cases[i][1]) == 0, "%s", text);
        free(text);
    }
    CHECK(!markup_base64(stdout, put_file("x", "seven..", 7), 6));
}

/* -------------------------------------------------------------------- trace */

TEST(trace_is_json_in_lanes)
{
    const bench_step steps[] = {{"backbone", "backbone", 0, 1.5, 180, 0.5, 3},
                                {"conv \"1\"\n", "backbone", 0, 0.5, 60, 0, 1},
                                {"neck", "neck", 1.5, 0.25, 0, 0, 2},
                                {"conv 2", "backbone", 0.5, 1, 0, 0.25, 1}};
    rcnn_error err = {0};
    json_counts counts;
    CHECK_OK(bench_write_trace(path_in("t.json"), steps, 4, "NVIDIA <H100>", &err), err);
    char *text = get_file(path_in("t.json"));
    REQUIRE(text);
    CHECK_OK(json_check(text, &counts, &err), err);
    CHECK(strstr(text, "\"process_name\",\"args\":{\"name\":\"NVIDIA <H100>\"}"));
    CHECK(strstr(text, "\"tid\":2,\"name\":\"thread_name\",\"args\":{\"name\":\"neck\"}") &&
          !strstr(text, "\"tid\":3"));
    CHECK(strstr(
        text, "\"name\":\"backbone\",\"cat\":\"backbone\",\"tid\":1,\"ts\":0.000,\"dur\":1500.000,\"args\":{\"ops\":3,"
              "\"GFLOP\":180,\"GB\":0.5,\"TFLOP/s\":120,\"GB/s\":333.3}}"));
    CHECK(strstr(text, "\"tid\":2,\"ts\":1500.000,\"dur\":250.000,\"args\":{\"ops\":2}}"));
    CHECK(strstr(text, "\"tid\":1,\"ts\":500.000,\"dur\":1000.000,\"args\":{\"ops\":1,\"GB\":0.25,\"GB/s\":250}}"));
    free(text);
    CHECK_OK(bench_write_trace(path_in("t.json"), NULL, 0, "none", &err), err);
    text = get_file(path_in("t.json"));
    CHECK_OK(json_check(text, &counts, &err), err);
    free(text);
    CHECK(bench_write_trace("/dev/null/t.json", steps, 4, "x", &err) == RCNN_ERR_IO);
}

__attribute__((constructor)) static void make_scratch(void)
{
    scratch = make_scratch_directory();
}

__attribute__((destructor)) static void remove_scratch(void)
{
    remove_tree(scratch);
}

TEST_MAIN
