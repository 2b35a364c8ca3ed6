/* The command line as data: tables of commands and options made from commands.def and opts.def, and the parser that
 * checks arguments against them. Nothing here prints or exits; the caller shows the message. */
#ifndef RCNN_TOOLS_OPTS_H
#define RCNN_TOOLS_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum command_id {
#define COMMAND(ID, name, operands, fewest, most, summary, description) COMMAND_##ID,
#include "commands.def"
#undef COMMAND
    COMMAND_COUNT
} command_id;

typedef struct command_spec {
    const char *name;
    const char *operands;    /* as shown in the usage line, "" when none */
    int fewest, most;        /* operand counts; most -1 = any number     */
    const char *summary;     /* one line                                 */
    const char *description; /* a paragraph, "" when the summary is all  */
} command_spec;

typedef enum option_id {
#define OPTION(ID, name, letter, argument, commands, kind, low, high, choices, help) OPT_##ID,
#include "opts.def"
#undef OPTION
    OPTION_COUNT
} option_id;

typedef enum option_kind {
    KIND_FLAG,
    KIND_TOGGLE,
    KIND_INT,
    KIND_REAL,
    KIND_TEXT,
    KIND_CHOICE,
    KIND_SIZE,
    KIND_LIST,
    KIND_FILES,
    KIND_DEVICE
} option_kind;

typedef struct option_spec {
    const char *name;
    char letter;          /* 0 = none                          */
    const char *argument; /* NULL when it takes none           */
    unsigned commands;    /* bit set of 1 << command_id        */
    option_kind kind;
    double low, high;    /* INT, REAL, SIZE                   */
    const char *choices; /* CHOICE: "a|b|c"; DEVICE: words for the completion; else NULL */
    const char *help;
} option_spec;

typedef struct option_value {
    bool set;
    const char *text;      /* as given; CHOICE: the word          */
    int32_t integer;       /* INT; CHOICE: index; FLAG, TOGGLE: 1 or 0 */
    double real;           /* REAL                                */
    int32_t first, second; /* SIZE                                */
} option_value;

/* A parsed command line. Texts are borrowed from argv; the three arrays belong to the struct. */
typedef struct options {
    command_id command;
    option_value value[OPTION_COUNT];
    const char **operands;
    int operand_count;
    const char **lists; /* values of the repeatable option (--set), in order */
    int list_count;
    const char **files; /* values of the other repeatable option (--with), in order */
    int file_count;
} options;

#define OPTIONS_MESSAGE_BYTES 400

const command_spec *command_get(command_id id);
const option_spec *option_get(option_id id);
/* COMMAND_COUNT when there is no command of that name. */
command_id command_find(const char *name);

/* Parses what follows the command's name. Returns true, or false with one line in message[OPTIONS_MESSAGE_BYTES].
 * --help stops the check of operands, so that it can be asked for alone. options_free in both cases. */
bool options_parse(command_id command, int argc, const char *const *argv, options *out, char *message);
void options_free(options *parsed);

/* The command or option (of a command) spelled most like `word`, or NULL when none is near. */
const char *command_nearest(const char *word);
const char *option_nearest(command_id command, const char *word);

#endif
