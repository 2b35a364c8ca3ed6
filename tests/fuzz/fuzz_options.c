/* Fuzz target: the command line parser. The input is a list of arguments, one a line, the first naming the command.
 * Whatever they are, the parser says yes, or no with one line that fits; values it took are in their range. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "opts.h"

#define ARGUMENTS_MAX 64

static void check_values(const options *parsed, int argc)
{
    require(parsed->operand_count + parsed->list_count <= argc);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        const option_value *value = &parsed->value[i];
        if (!value->set) {
            continue;
        }
        require((option->commands & (1u << parsed->command)) != 0);
        require(!option->argument || (value->text && value->text[0]));
        if (option->kind == KIND_INT) {
            require(value->integer >= option->low && value->integer <= option->high);
        } else if (option->kind == KIND_REAL) {
            require(value->real >= option->low && value->real <= option->high);
        } else if (option->kind == KIND_SIZE) {
            require(value->first >= option->low && value->second <= option->high);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    const char *argv[ARGUMENTS_MAX];
    int argc = 0;
    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = text; line && argc < ARGUMENTS_MAX;) {
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
        }
        argv[argc++] = line;
        line = end ? end + 1 : NULL;
    }
    command_id command = command_find(argv[0]);
    options parsed;
    char message[OPTIONS_MESSAGE_BYTES];
    if (command == COMMAND_COUNT) {
        (void)command_nearest(argv[0]);
    } else {
        if (options_parse(command, argc - 1, argv + 1, &parsed, message)) {
            check_values(&parsed, argc);
        } else {
            require(message[0] != '\0' && memchr(message, '\0', sizeof message) != NULL);
        }
        options_free(&parsed);
    }
    free(text);
    return 0;
}
