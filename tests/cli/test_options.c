/* The option table against its parser, help, manual page and completion: whatever is added to opts.def is tested. */
#include "harness.h"
#include "manual.h"
#include "opts.h"

#define PARSE(command, parsed, message, ...)                                                                           \
    options_parse((command), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                            \
                  (const char *const[]){__VA_ARGS__}, (parsed), (message))

/* A command that has the option. */
static command_id command_of(const option_spec *option)
{
    int command = 0;
    while (!(option->commands & (1u << command))) {
        command++;
    }
    return (command_id)command;
}

static int parse_one(const option_spec *option, const char *value, char *message)
{
    char argument[128];
    options parsed;
    snprintf(argument, sizeof argument, "--%s=%s", option->name, value);
    const char *arguments[] = {argument, "a", "b"};
    command_id command = command_of(option);
    int good = options_parse(command, 1 + command_get(command)->fewest, arguments, &parsed, message);
    options_free(&parsed);
    return good;
}

static void check_refused(const option_spec *option, const char *value)
{
    char message[OPTIONS_MESSAGE_BYTES], head[64];
    snprintf(head, sizeof head, "--%s: want ", option->name);
    CHECK_MSG(!parse_one(option, value, message), "--%s=%s was taken", option->name, value);
    CHECK_MSG(strncmp(message, head, strlen(head)) == 0 && !strchr(message, '\n'), "'%s'", message);
    CHECK_MSG(strstr(message, ", got '"), "'%s'", message);
}

static void check_taken(const option_spec *option, const char *value)
{
    char message[OPTIONS_MESSAGE_BYTES];
    CHECK_MSG(parse_one(option, value, message), "--%s=%s: %s", option->name, value, message);
}

static void check_numbers(const option_spec *option)
{
    static const char *const BAD[] = {"", "x", " 1", "1 ", "0x1", "nan", "inf", "1e99", "-1", "1,5", "99999999999"};
    char text[64];
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        check_refused(option, BAD[i]);
    }
    snprintf(text, sizeof text, "%.10g", option->high);
    check_taken(option, text);
    snprintf(text, sizeof text, "%.10g", option->low);
    check_taken(option, text);
    snprintf(text, sizeof text, "%.10g", option->high + 1);
    check_refused(option, text);
}

TEST(every_option_refuses_bad_values)
{
    static const char *const BAD_SIZES[] = {"",        "x",   "100",         "100x",  "x100",
                                            "100X100", "0x0", "100x100x100", "1e3x1", "-5x100"};
    static const char *const BAD_DEVICES[] = {"",
                                              "gpu",
                                              "cud",
                                              "cuda:",
                                              "cuda:x",
                                              "cuda:0,",
                                              "cuda:,0",
                                              "cuda:-1",
                                              "cuda:1024",
                                              "cuda:0,0",
                                              "cuda:0 ",
                                              "cuda:0:1",
                                              "cpu:0",
                                              "auto:0",
                                              "ref:",
                                              "CUDA",
                                              "cuda:99999999999999999999",
                                              "cuda:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"};
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        switch (option->kind) {
        case KIND_FLAG:
        case KIND_TOGGLE:
            check_refused(option, "yes");
            break;
        case KIND_INT:
        case KIND_REAL:
            check_numbers(option);
            break;
        case KIND_SIZE:
            for (size_t k = 0; k < sizeof BAD_SIZES / sizeof BAD_SIZES[0]; k++) {
                check_refused(option, BAD_SIZES[k]);
            }
            check_taken(option, "1333x800");
            break;
        case KIND_CHOICE:
            check_refused(option, "");
            check_refused(option, "|");
            check_refused(option, "nosuchword");
            break;
        case KIND_DEVICE:
            for (size_t k = 0; k < sizeof BAD_DEVICES / sizeof BAD_DEVICES[0]; k++) {
                check_refused(option, BAD_DEVICES[k]);
            }
            check_taken(option, "cuda:0");
            check_taken(option, "cuda:3,0,1023");
            break;
        case KIND_TEXT:
        case KIND_FILES:
            check_refused(option, "");
            check_taken(option, "x");
            break;
        case KIND_LIST:
            check_refused(option, "");
            check_refused(option, "novalue");
            check_refused(option, "=1");
            check_taken(option, "key=value");
            break;
        }
    }
}

TEST(every_choice_is_taken)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        char words[128];
        snprintf(words, sizeof words, "%s", option->choices ? option->choices : "");
        for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|")) {
            check_taken(option, word);
        }
    }
}

TEST(every_option_asks_for_its_value)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        char argument[64], message[OPTIONS_MESSAGE_BYTES];
        options parsed;
        if (!option->argument) {
            continue;
        }
        snprintf(argument, sizeof argument, "--%s", option->name);
        CHECK(!PARSE(command_of(option), &parsed, message, argument));
        CHECK_MSG(strstr(message, "got nothing"), "'%s'", message);
        options_free(&parsed);
    }
}

TEST(values_arrive)
{
    options o;
    char message[OPTIONS_MESSAGE_BYTES];
    CHECK(PARSE(COMMAND_DETECT, &o, message, "a.png", "-m", "x.pth", "--score", "0.25", "-n7", "--scale=640x480",
                "--set", "a=1", "--masks", "crop", "--no-overlay", "-rq", "--set=b=2", "--", "-b.png"));
    CHECK_MSG(message[0] == '\0', "%s", message);
    CHECK(strcmp(o.value[OPT_MODEL].text, "x.pth") == 0 && o.value[OPT_SCORE].real == 0.25);
    CHECK(o.value[OPT_MAX_DETS].integer == 7 && o.value[OPT_SCALE].first == 640 && o.value[OPT_SCALE].second == 480);
    CHECK(o.value[OPT_MASKS].integer == 2 && o.value[OPT_OVERLAY].set && o.value[OPT_OVERLAY].integer == 0);
    CHECK(o.value[OPT_RECURSIVE].set && o.value[OPT_QUIET].set && !o.value[OPT_VERBOSE].set);
    CHECK(o.list_count == 2 && strcmp(o.lists[0], "a=1") == 0 && strcmp(o.lists[1], "b=2") == 0);
    CHECK(o.operand_count == 2 && strcmp(o.operands[0], "a.png") == 0 && strcmp(o.operands[1], "-b.png") == 0);
    options_free(&o);
}

static void check_message(command_id command, const char *argument, const char *wanted)
{
    options o;
    char message[OPTIONS_MESSAGE_BYTES];
    CHECK(!PARSE(command, &o, message, argument));
    CHECK_MSG(strcmp(message, wanted) == 0, "'%s'", message);
    options_free(&o);
}

TEST(messages_help)
{
    check_message(COMMAND_DETECT, "--scroe", "'detect' has no option --scroe; did you mean --score?");
    check_message(COMMAND_DETECT, "--thread=2", "'detect' has no option --thread; did you mean --threads?");
    check_message(COMMAND_DETECT, "--memory", "'detect' has no option --memory; 'info' has");
    check_message(COMMAND_DETECT, "--zzzzzz", "'detect' has no option --zzzzzz; see 'rcnn help detect'");
    check_message(COMMAND_DETECT, "-Z", "'detect' has no option -Z; see 'rcnn help detect'");
    check_message(COMMAND_DETECT, "--score=x", "--score: want a number in 0..1, got 'x'");
    check_message(COMMAND_DETECT, "--masks=x", "--masks: want none, raw, crop, rle, polygon or full, got 'x'");
    check_message(COMMAND_DETECT, "--device=gpu", "--device: want auto, cuda[:N[,M...]], cpu or ref, got 'gpu'");
    check_message(COMMAND_CONVERT, "a.pth", "convert: want IN OUT, got too few; see 'rcnn help convert'");
    check_message(COMMAND_DOCTOR, "a.pth", "doctor: want nothing after it, got 'a.pth' too");
    CHECK(strcmp(command_nearest("detct"), "detect") == 0);
    CHECK(command_nearest("frobnicate") == NULL);
}

/* What a manual function prints. */
static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    print(memory);
    fclose(memory);
    return text;
}

static void print_page(FILE *out)
{
    manual_page(out, "1.2.3");
}

TEST(manual_page_and_completion_list_every_option)
{
    char *page = printed(print_page), *completion = printed(manual_completion);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        char wanted[96], word[64];
        int used = snprintf(wanted, sizeof wanted, "\\-\\-%s", option->kind == KIND_TOGGLE ? "[no\\-]" : "");
        for (const char *p = option->name; *p; p++) {
            used += snprintf(wanted + used, sizeof wanted - (size_t)used, *p == '-' ? "\\%c" : "%c", *p);
        }
        snprintf(word, sizeof word, " --%s", option->name);
        CHECK_MSG(strstr(page, wanted), "%s is not in the page", wanted);
        CHECK_MSG(strstr(completion, word), "%s is not in the completion", word);
    }
    for (int i = 0; i < COMMAND_COUNT; i++) {
        char heading[64];
        snprintf(heading, sizeof heading, ".SS rcnn %s", command_get((command_id)i)->name);
        CHECK_MSG(strstr(page, heading), "%s", heading);
    }
    free(page);
    free(completion);
}

static command_id shown_command;

static void print_command(FILE *out)
{
    manual_command(out, shown_command);
}

TEST(help_fits_eighty_columns)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        shown_command = (command_id)i;
        char *text = printed(print_command);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            CHECK_MSG(strlen(line) <= 80, "%zu: %s", strlen(line), line);
            CHECK_MSG(line[strlen(line) - 1] != ' ', "blank at the end: '%s'", line);
        }
        free(text);
    }
}

TEST(letters_and_names_are_unambiguous)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        for (int k = i + 1; k < OPTION_COUNT; k++) {
            const option_spec *a = option_get((option_id)i), *b = option_get((option_id)k);
            int shared = (a->commands & b->commands) != 0;
            CHECK_MSG(!shared || strcmp(a->name, b->name) != 0, "--%s twice", a->name);
            CHECK_MSG(!shared || !a->letter || a->letter != b->letter, "-%c twice", a->letter);
        }
    }
}

TEST_MAIN
