/* The tool's parts that need no model: outlines, label places, JSON text, input lists, output files, plan reader. */
#include "harness.h"

#include <sys/stat.h>
#include <unistd.h>

#include "contour.h"
#include "inputs.h"
#include "labels.h"
#include "out_json.h"
#include "outfile.h"
#include "palette.h"
#include "plan.h"
#include "run_program.h"
#include "utf8.h"

/* ---------------------------------------------------------------- outlines */

static double ring_area(const contour *c)
{
    double area = 0;
    int32_t first = 0;
    for (int32_t ring = 0; ring < c->ring_count; ring++) {
        int32_t end = c->ring_ends[ring];
        for (int32_t i = first; i < end; i++) {
            int32_t k = i + 1 < end ? i + 1 : first;
            area += 0.5 * ((double)c->points[2 * i] * (double)c->points[2 * k + 1] -
                           (double)c->points[2 * k] * (double)c->points[2 * i + 1]);
        }
        first = end;
    }
    return area;
}

TEST(outline_of_a_disc_has_its_area)
{
    float soft[28 * 28];
    const float box[4] = {10, 20, 66, 76}; /* two pixels per cell */
    for (int y = 0; y < 28; y++) {
        for (int x = 0; x < 28; x++) {
            float distance = hypotf((float)x - 13.5f, (float)y - 13.5f);
            soft[y * 28 + x] = fminf(1.0f, fmaxf(0.0f, 0.5f + 0.5f * (10.0f - distance)));
        }
    }
    contour c;
    REQUIRE(contour_trace(soft, 28, box, 0.5f, &c));
    CHECK(c.ring_count == 1);
    CHECK_MSG(fabs(fabs(ring_area(&c)) - acos(-1.0) * 400) < 6, "area %f", ring_area(&c));
    for (int32_t i = 0; i < c.point_count; i++) {
        double radius = hypot((double)c.points[2 * i] - 38, (double)c.points[2 * i + 1] - 48);
        CHECK_MSG(fabs(radius - 20) < 0.2, "radius %f", radius);
    }
    contour_free(&c);
}

TEST(outline_has_holes_of_opposite_turn)
{
    float soft[7 * 7];
    const float box[4] = {0, 0, 7, 7};
    for (int i = 0; i < 49; i++) {
        soft[i] = i == 24 ? 0.0f : 1.0f;
    }
    contour c;
    REQUIRE(contour_trace(soft, 7, box, 0.5f, &c));
    CHECK(c.ring_count == 2);
    /* The square reaches half a cell less 0.5 beyond its outer samples: 7x7 less the cut corners, less a diamond. */
    CHECK_MSG(fabs(fabs(ring_area(&c)) - (49 - 0.5 - 0.5)) < 0.01, "area %f", ring_area(&c));
    contour_free(&c);
}

TEST(outlines_always_close)
{
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        float soft[9 * 9];
        const float box[4] = {0, 0, 9, 9};
        for (int i = 0; i < 81; i++) {
            soft[i] = test_uniform(&seed, 0, 1);
        }
        contour c;
        REQUIRE(contour_trace(soft, 9, box, 0.5f, &c));
        int32_t first = 0;
        for (int32_t ring = 0; ring < c.ring_count; ring++) {
            int32_t last = c.ring_ends[ring] - 1;
            CHECK(last - first >= 2);
            CHECK(hypot((double)(c.points[2 * last] - c.points[2 * first]),
                        (double)(c.points[2 * last + 1] - c.points[2 * first + 1])) < 1.5);
            first = last + 1;
        }
        contour_free(&c);
    }
}

TEST(outline_of_nothing_is_empty)
{
    float soft[4] = {0, 0, 0, 0};
    contour c;
    REQUIRE(contour_trace(soft, 2, (const float[4]){0, 0, 1, 1}, 0.5f, &c));
    CHECK(c.ring_count == 0 && c.point_count == 0);
    contour_free(&c);
    CHECK(!contour_trace(soft, 0, (const float[4]){0, 0, 1, 1}, 0.5f, &c));
    CHECK(!contour_trace(soft, CONTOUR_SIDE_MAX + 1, (const float[4]){0, 0, 1, 1}, 0.5f, &c));
}

/* ------------------------------------------------------------------ labels */

TEST(labels_stay_inside_and_apart)
{
    enum { COUNT = 120 };
    rectangle boxes[COUNT], placed[COUNT];
    uint64_t seed = 99;
    for (int i = 0; i < COUNT; i++) {
        boxes[i] = (rectangle){(double)test_uniform(&seed, 0, 600), (double)test_uniform(&seed, 0, 400),
                               (double)test_uniform(&seed, 0, 40), (double)test_uniform(&seed, 0, 80)};
    }
    label_board board = {640, 480, boxes, COUNT, placed, 0};
    for (int32_t i = 0; i < COUNT; i++) {
        rectangle place;
        if (labels_place(&board, i, 60, 14, 1.0, &place)) {
            CHECK(place.x >= 0 && place.y >= 0 && place.x + 60 <= 640 && place.y + 14 <= 480);
        }
    }
    CHECK(board.placed_count > 40);
    for (int32_t i = 0; i < board.placed_count; i++) {
        for (int32_t k = 0; k < i; k++) {
            const rectangle *a = &placed[i], *b = &placed[k];
            CHECK(a->x >= b->x + 60 || b->x >= a->x + 60 || a->y >= b->y + 14 || b->y >= a->y + 14);
        }
    }
}

TEST(label_wider_than_the_picture_is_refused)
{
    rectangle box = {0, 0, 10, 10}, placed, place;
    label_board board = {50, 50, &box, 1, &placed, 0};
    CHECK(!labels_place(&board, 0, 51, 10, 1.0, &place));
    CHECK(labels_place(&board, 0, 50, 10, 1.0, &place));
}

TEST(palette_is_fixed_and_in_range)
{
    for (int32_t i = 0; i < 200; i++) {
        colour a = palette_colour(i), b = palette_colour(i + 1);
        CHECK(a.red >= 0 && a.red <= 1 && a.green >= 0 && a.green <= 1 && a.blue >= 0 && a.blue <= 1);
        CHECK(fabs(a.red - b.red) + fabs(a.green - b.green) + fabs(a.blue - b.blue) > 0.2);
    }
}

/* --------------------------------------------------------------- JSON text */

static void check_json_string(const char *value, const char *wanted)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    json_string(memory, value);
    fclose(memory);
    CHECK_MSG(strcmp(text, wanted) == 0, "'%s'", text);
    free(text);
}

TEST(json_strings_are_escaped)
{
    check_json_string("a\"b\\c\n\x01", "\"a\\\"b\\\\c\\u000a\\u0001\"");
    check_json_string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    check_json_string("\xff\xc3(\xe2\x82", "\"\\ufffd\\ufffd(\\ufffd\\ufffd\"");
    check_json_string("\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
                      "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"");
    check_json_string(NULL, "\"\"");
}

TEST(json_floats_read_back)
{
    uint64_t seed = 3;
    for (int i = 0; i < 2000; i++) {
        uint32_t bits = (uint32_t)test_random(&seed);
        float value;
        memcpy(&value, &bits, sizeof value);
        char text[64] = "";
        FILE *memory = fmemopen(text, sizeof text, "w");
        json_float(memory, value);
        fclose(memory);
        if (isfinite(value)) {
            CHECK_MSG(strtof(text, NULL) == value, "%s for %.9g", text, (double)value);
        } else {
            CHECK(strcmp(text, "null") == 0);
        }
    }
}

TEST(printable_copies_whole_characters)
{
    char text[6];
    utf8_copy_printable(text, sizeof text, "ab\xe2\x82\xac\xe2\x82\xac");
    CHECK(strcmp(text, "ab\xe2\x82\xac") == 0);
    utf8_copy_printable(text, sizeof text, "\x1b[0m\xff");
    CHECK(strcmp(text, "?[0m?") == 0);
}

/* ------------------------------------------------------------ input lists */

static char *path_in(const char *directory, const char *name)
{
    char *path = malloc(strlen(directory) + strlen(name) + 2);
    if (!path) {
        exit(1);
    }
    sprintf(path, "%s/%s", directory, name);
    return path;
}

static void touch(const char *directory, const char *name)
{
    char *path = path_in(directory, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    if (file) {
        fclose(file);
    }
    free(path);
}

static void make_directory_in(const char *directory, const char *name)
{
    char *path = path_in(directory, name);
    CHECK(mkdir(path, 0777) == 0);
    free(path);
}

static void check_collected(const char *base, const char *operand, bool recursive, const char *wanted)
{
    path_list list = {0};
    char joined[1024] = "";
    CHECK(inputs_collect(&operand, 1, recursive, &list) == 0);
    for (size_t i = 0; i < list.count; i++) {
        snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s%s", i ? " " : "",
                 list.paths[i] + strlen(base) + 1);
    }
    CHECK_MSG(strcmp(joined, wanted) == 0, "'%s'", joined);
    path_list_free(&list);
}

TEST(inputs_are_found_in_order)
{
    char *base = make_scratch_directory();
    make_directory_in(base, "sub");
    touch(base, "b.png");
    touch(base, "a.JPG");
    touch(base, "note.txt");
    touch(base, ".hidden.png");
    touch(base, "sub/c.webp");
    touch(base, "odd[1].png");
    char *loop = path_in(base, "sub/loop"), *pattern = path_in(base, "[ab].*"), *odd = path_in(base, "odd[1].png");
    CHECK(symlink(base, loop) == 0);
    check_collected(base, base, false, "a.JPG b.png odd[1].png");
    check_collected(base, base, true, "a.JPG b.png odd[1].png sub/c.webp");
    check_collected(base, pattern, false, "a.JPG b.png");
    check_collected(base, odd, false, "odd[1].png");
    free(loop);
    free(pattern);
    free(odd);
    remove_tree(base);
}

TEST(picture_names_do_not_collide)
{
    char *base = make_scratch_directory();
    char *inputs[] = {path_in(base, "x.jpg"), path_in(base, "x.png"), path_in(base, "x.webp"), path_in(base, "y.ppm")};
    touch(base, "x.jpg");
    touch(base, "x.png");
    path_list list = {inputs, 4, 4}, names = {0};
    static const char *const WANTED[] = {"x-2.png", "x-3.png", "x-4.png", "y.png"}; /* x.png is an input */
    REQUIRE(inputs_name_pictures(&list, base, &names) && names.count == 4);
    for (int i = 0; i < 4; i++) {
        CHECK_MSG(strcmp(names.paths[i] + strlen(base) + 1, WANTED[i]) == 0, "'%s'", names.paths[i]);
        free(inputs[i]);
    }
    path_list_free(&names);
    remove_tree(base);
}

/* ------------------------------------------------------------ output files */

TEST(output_files_appear_whole)
{
    char *base = make_scratch_directory(), *path = path_in(base, "out.json");
    rcnn_error err = {0};
    outfile file;
    REQUIRE(outfile_open(&file, path, &err));
    fputs("half", file.stream);
    CHECK(outfile_flush(&file, &err) && access(path, F_OK) != 0);
    outfile_discard(&file);
    CHECK(count_entries(base) == 0);
    REQUIRE(outfile_open(&file, path, &err));
    fputs("whole", file.stream);
    CHECK(outfile_commit(&file, &err) && access(path, F_OK) == 0 && count_entries(base) == 1);
    free(path);
    remove_tree(base);
}

TEST(full_disk_is_one_error)
{
    rcnn_error err = {0};
    outfile file;
    if (access("/dev/full", W_OK) != 0) {
        return;
    }
    REQUIRE(outfile_open(&file, "/dev/full", &err));
    fputs("x", file.stream);
    CHECK(!outfile_commit(&file, &err));
    CHECK_MSG(strstr(err.message, "/dev/full") && strstr(err.message, "No space"), "%s", err.message);
    struct stat info;
    CHECK(stat("/dev/full", &info) == 0 && S_ISCHR(info.st_mode));
    CHECK(!outfile_open(&file, "/nonexistent-directory/x", &err));
}

/* -------------------------------------------------------------------- plan */

TEST(plan_is_read)
{
    static const char PLAN[] =
        "{\"image_width\":9,\"width\":1344,\"height\":800,\"arena_bytes\":77,\"scratch_bytes\":5,"
        "\"new\":{\"a\":[1,{\"b\":null}],\"c\":\"x\\\"y\"},"
        "\"stages\":[{\"stage\":\"rpn\",\"macs\":12},{\"stage\":\"x\",\"macs\":3}],"
        "\"ops\":[{\"name\":\"o\",\"shape\":[1,2]},\n{}],"
        "\"values\":[{\"name\":\"p2\",\"bytes\":64,\"offset\":128,\"first_op\":1,\"last_op\":2}]}\n";
    plan_summary plan;
    rcnn_error err = {0};
    REQUIRE(plan_read(PLAN, &plan, &err));
    CHECK(plan.width == 1344 && plan.height == 800 && plan.arena_bytes == 77 && plan.scratch_bytes == 5);
    CHECK(plan.stage_count == 2 && strcmp(plan.stages[0].name, "rpn") == 0 && plan.stages[1].macs == 3);
    CHECK(plan.op_count == 2 && plan.value_count == 1 && plan.values[0].offset == 128 && plan.values[0].last_op == 2);
    plan_free(&plan);
}

TEST(truncated_plans_are_refused)
{
    static const char PLAN[] =
        "{\"width\":1,\"stages\":[{\"stage\":\"rpn\",\"macs\":12}],\"values\":[{\"name\":\"p\"}]}";
    for (size_t length = 0; length + 1 < sizeof PLAN - 1; length++) {
        char *text = calloc(length + 1, 1);
        plan_summary plan;
        rcnn_error err = {0};
        REQUIRE(text != NULL);
        memcpy(text, PLAN, length);
        CHECK_MSG(!plan_read(text, &plan, &err), "'%s'", text);
        free(text);
    }
}

TEST_MAIN
