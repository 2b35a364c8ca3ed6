/* The option parser. One walk over the arguments; each kind of value has its own check, and each message names the
 * option, what was wanted and what was given. */
#include "opts.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

static const command_spec COMMANDS[COMMAND_COUNT] = {
#define COMMAND(ID, name, operands, fewest, most, summary, description)                                                \
    [COMMAND_##ID] = {name, operands, fewest, most, summary, description},
#include "commands.def"
#undef COMMAND
};

#define IN(command) (1u << COMMAND_##command)
#define IN_ALL      ((1u << COMMAND_COUNT) - 1u)
static const option_spec OPTIONS[OPTION_COUNT] = {
#define OPTION(ID, name, letter, argument, commands, kind, low, high, choices, help)                                   \
    [OPT_##ID] = {name, letter, argument, commands, KIND_##kind, low, high, choices, help},
#include "opts.def"
#undef OPTION
};

const command_spec *command_get(command_id id)
{
    return &COMMANDS[id];
}

const option_spec *option_get(option_id id)
{
    return &OPTIONS[id];
}

command_id command_find(const char *name)
{
    int i = 0;
    while (i < COMMAND_COUNT && strcmp(COMMANDS[i].name, name) != 0) {
        i++;
    }
    return (command_id)i;
}

/* ------------------------------------------------------------- suggestions */

#define WORD_MAX 24 /* longer words are not compared */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Number of letters to insert, delete, replace or swap with their neighbour to turn a into b. */
static int edit_distance(const char *a, const char *b)
{
    int rows[3][WORD_MAX + 1];
    int a_length = (int)strlen(a), b_length = (int)strlen(b);
    for (int j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (int i = 1; i <= a_length; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least(row[j], above2[j - 2] + 1);
            }
        }
    }
    return rows[a_length % 3][b_length];
}

/* Keeps `name` as the best match when it is nearer to `word` than the best so far and near at all. */
static void consider(const char *word, const char *name, const char **best, int *best_distance)
{
    size_t length = strlen(word);
    if (length < 2 || length > WORD_MAX || strlen(name) > WORD_MAX) {
        return;
    }
    int distance = strncmp(name, word, length) == 0 ? 1 : edit_distance(word, name);
    if (distance < *best_distance && distance <= 1 + (int)length / 4) {
        *best_distance = distance;
        *best = name;
    }
}

const char *command_nearest(const char *word)
{
    const char *best = NULL;
    int distance = WORD_MAX;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        consider(word, COMMANDS[i].name, &best, &distance);
    }
    return best;
}

const char *option_nearest(command_id command, const char *word)
{
    const char *best = NULL;
    int distance = WORD_MAX;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (OPTIONS[i].commands & (1u << command)) {
            consider(word, OPTIONS[i].name, &best, &distance);
        }
    }
    return best;
}

/* ------------------------------------------------------------------ values */

typedef struct parser {
    command_id command;
    int argc;
    const char *const *argv;
    int next; /* index of the argument to read next */
    options *out;
    char *message;
} parser;

/* "none|raw|crop" as "none, raw or crop" at the end of *text. */
static void spell_choices(const char *choices, char *text, size_t capacity)
{
    size_t used = strlen(text);
    for (const char *p = choices; *p && used + 5 < capacity; p++) {
        const char *piece = *p != '|' ? NULL : strchr(p + 1, '|') ? ", " : " or ";
        used += piece ? (size_t)snprintf(text + used, capacity - used, "%s", piece)
                      : (size_t)snprintf(text + used, capacity - used, "%c", *p);
    }
}

static void spell_wanted(const option_spec *option, char *text, size_t capacity)
{
    text[0] = '\0';
    switch (option->kind) {
    case KIND_INT:
        snprintf(text, capacity, "a whole number in %.0f..%.0f", option->low, option->high);
        break;
    case KIND_REAL:
        snprintf(text, capacity, "a number in %g..%g", option->low, option->high);
        break;
    case KIND_SIZE:
        snprintf(text, capacity, "%s as in 1333x800, each side in %.0f..%.0f", option->argument, option->low,
                 option->high);
        break;
    case KIND_CHOICE:
        spell_choices(option->choices, text, capacity);
        break;
    case KIND_DEVICE:
        snprintf(text, capacity, "%s", DEVICE_WANTED);
        break;
    default:
        snprintf(text, capacity, "%s", option->argument ? option->argument : "no value");
        break;
    }
}

static bool reject(parser *p, const option_spec *option, const char *got)
{
    char wanted[160];
    spell_wanted(option, wanted, sizeof wanted);
    snprintf(p->message, OPTIONS_MESSAGE_BYTES, "--%s: want %s, got '%.80s'", option->name, wanted, got);
    return false;
}

/* Reads decimal digits (no sign, no blanks) up to `end`; false unless the whole range is a number within low..high. */
static bool read_integer(const char *text, const char *end, double low, double high, int32_t *out)
{
    int64_t number = 0;
    if (text == end || end - text > 9) {
        return false;
    }
    for (const char *p = text; p < end; p++) {
        if (!isdigit((unsigned char)*p)) {
            return false;
        }
        number = number * 10 + (*p - '0');
    }
    *out = (int32_t)number;
    return (double)number >= low && (double)number <= high;
}

/* Plain decimal only: strtod alone would also take "nan", "inf", hexadecimal and leading blanks. */
static bool read_real(const char *text, double low, double high, double *out)
{
    char *end = NULL;
    if (text[0] == '\0' || strlen(text) > 40 || text[strspn(text, "+-.0123456789eE")] != '\0') {
        return false;
    }
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out) && *out >= low && *out <= high;
}

static bool read_choice(const char *choices, const char *text, int32_t *index)
{
    size_t length = strlen(text);
    *index = 0;
    for (const char *p = choices; length > 0; (*index)++) {
        size_t choice = strcspn(p, "|");
        if (choice == length && strncmp(p, text, length) == 0) {
            return true;
        }
        if (p[choice] == '\0') {
            return false;
        }
        p += choice + 1;
    }
    return false;
}

static bool read_size(const option_spec *option, const char *text, option_value *value)
{
    const char *middle = strchr(text, 'x');
    return middle && read_integer(text, middle, option->low, option->high, &value->first) &&
           read_integer(middle + 1, middle + 1 + strlen(middle + 1), option->low, option->high, &value->second);
}

static bool store(parser *p, const option_spec *option, const char *text)
{
    option_value *value = &p->out->value[option - OPTIONS];
    bool good = text[0] != '\0';
    switch (option->kind) {
    case KIND_INT:
        good = read_integer(text, text + strlen(text), option->low, option->high, &value->integer);
        break;
    case KIND_REAL:
        good = read_real(text, option->low, option->high, &value->real);
        break;
    case KIND_CHOICE:
        good = read_choice(option->choices, text, &value->integer);
        break;
    case KIND_SIZE:
        good = read_size(option, text, value);
        break;
    case KIND_DEVICE:
        good = device_parse(text, strlen(text), &(device_choice){.count = 0});
        break;
    case KIND_LIST:
        good = strchr(text, '=') && text[0] != '=';
        p->out->lists[p->out->list_count++] = text;
        break;
    case KIND_FILES:
        p->out->files[p->out->file_count++] = text;
        break;
    default:
        break;
    }
    value->set = true;
    value->text = text;
    return good || reject(p, option, text);
}

/* ----------------------------------------------------------------- walking */

static const option_spec *find_option(command_id command, const char *name, size_t length, bool *negated)
{
    bool no = length > 3 && strncmp(name, "no-", 3) == 0;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = &OPTIONS[i];
        if (!(option->commands & (1u << command))) {
            continue;
        }
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0) {
            *negated = false;
            return option;
        }
        if (no && option->kind == KIND_TOGGLE && strlen(option->name) == length - 3 &&
            strncmp(option->name, name + 3, length - 3) == 0) {
            *negated = true;
            return option;
        }
    }
    return NULL;
}

static const option_spec *find_letter(command_id command, char letter)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (OPTIONS[i].letter == letter && (OPTIONS[i].commands & (1u << command))) {
            return &OPTIONS[i];
        }
    }
    return NULL;
}

/* The option is unknown to this command: says so, and where it belongs or what may have been meant. */
static bool reject_unknown(parser *p, const char *shown, size_t length, const char *word)
{
    const char *command = COMMANDS[p->command].name;
    int used = snprintf(p->message, OPTIONS_MESSAGE_BYTES, "'%s' has no option %.*s", command,
                        (int)(length < 80 ? length : 80), shown);
    char *end = p->message + used;
    size_t room = OPTIONS_MESSAGE_BYTES - (size_t)used;
    char name[WORD_MAX + 1];
    snprintf(name, sizeof name, "%s", word);
    name[strcspn(name, "=")] = '\0';
    for (int i = 0; i < COMMAND_COUNT; i++) {
        bool negated;
        if (name[0] && find_option((command_id)i, name, strlen(name), &negated)) {
            snprintf(end, room, "; '%s' has", COMMANDS[i].name);
            return false;
        }
    }
    const char *near = option_nearest(p->command, name);
    if (near) {
        snprintf(end, room, "; did you mean --%s?", near);
    } else {
        snprintf(end, room, "; see 'rcnn help %s'", command);
    }
    return false;
}

static bool take_value(parser *p, const option_spec *option, const char *attached)
{
    if (option->argument == NULL) {
        return !attached || reject(p, option, attached);
    }
    if (attached) {
        return store(p, option, attached);
    }
    if (p->next >= p->argc) {
        char wanted[160];
        spell_wanted(option, wanted, sizeof wanted);
        snprintf(p->message, OPTIONS_MESSAGE_BYTES, "--%s: want %s after it, got nothing", option->name, wanted);
        return false;
    }
    return store(p, option, p->argv[p->next++]);
}

static void store_flag(parser *p, const option_spec *option, bool on)
{
    if (!option->argument) {
        p->out->value[option - OPTIONS].set = true;
        p->out->value[option - OPTIONS].integer = on;
    }
}

static bool take_long(parser *p, const char *argument)
{
    const char *name = argument + 2;
    size_t length = strcspn(name, "=");
    bool negated = false;
    const option_spec *option = find_option(p->command, name, length, &negated);
    if (!option) {
        return reject_unknown(p, argument, length + 2, name);
    }
    store_flag(p, option, !negated);
    return take_value(p, option, name[length] == '=' ? name + length + 1 : NULL);
}

/* -x, -xVALUE, and flags together as in -rq. */
static bool take_letters(parser *p, const char *argument)
{
    for (const char *letter = argument + 1; *letter; letter++) {
        const option_spec *option = find_letter(p->command, *letter);
        if (!option) {
            return reject_unknown(p, argument, strlen(argument), letter == argument + 1 ? letter : "");
        }
        if (option->argument) {
            return take_value(p, option, letter[1] ? letter + 1 : NULL);
        }
        store_flag(p, option, true);
    }
    return true;
}

static bool check_operands(parser *p)
{
    const command_spec *command = &COMMANDS[p->command];
    int count = p->out->operand_count;
    if (count < command->fewest) {
        snprintf(p->message, OPTIONS_MESSAGE_BYTES, "%s: want %s, got %s; see 'rcnn help %s'", command->name,
                 command->operands, count ? "too few" : "nothing", command->name);
        return false;
    }
    if (command->most >= 0 && count > command->most) {
        snprintf(p->message, OPTIONS_MESSAGE_BYTES, "%s: want %s, got '%.80s' too", command->name,
                 command->most ? command->operands : "nothing after it", p->out->operands[command->most]);
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (p->out->operands[i][0] == '\0') {
            snprintf(p->message, OPTIONS_MESSAGE_BYTES, "%s: want %s, got an empty name", command->name,
                     command->operands);
            return false;
        }
    }
    return true;
}

bool options_parse(command_id command, int argc, const char *const *argv, options *out, char *message)
{
    parser p = {.command = command, .argc = argc, .argv = argv, .out = out, .message = message};
    memset(out, 0, sizeof *out);
    message[0] = '\0';
    out->command = command;
    out->operands = calloc((size_t)argc + 1, sizeof *out->operands);
    out->lists = calloc((size_t)argc + 1, sizeof *out->lists);
    out->files = calloc((size_t)argc + 1, sizeof *out->files);
    if (!out->operands || !out->lists || !out->files) {
        snprintf(message, OPTIONS_MESSAGE_BYTES, "out of memory");
        return false;
    }
    bool only_operands = false;
    while (p.next < argc) {
        const char *argument = argv[p.next++];
        if (only_operands || argument[0] != '-' || argument[1] == '\0') {
            out->operands[out->operand_count++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            only_operands = true;
        } else if (!(argument[1] == '-' ? take_long(&p, argument) : take_letters(&p, argument))) {
            return false;
        }
    }
    return out->value[OPT_HELP].set || check_operands(&p);
}

void options_free(options *parsed)
{
    free(parsed->operands);
    free(parsed->lists);
    free(parsed->files);
    parsed->files = NULL;
    parsed->operands = NULL;
    parsed->lists = NULL;
}
