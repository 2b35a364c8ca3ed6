/* The rcnn program: finds the command, parses its options, runs it. The only place that ends the process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "manual.h"
#include "message.h"

static int (*const RUN[COMMAND_COUNT])(const options *) = {
    [COMMAND_DETECT] = cmd_detect, [COMMAND_INFO] = cmd_info,     [COMMAND_CONVERT] = cmd_convert,
    [COMMAND_EXPORT] = cmd_export, [COMMAND_VERIFY] = cmd_verify, [COMMAND_EVAL] = cmd_eval,
    [COMMAND_BENCH] = cmd_bench,   [COMMAND_DOCTOR] = cmd_doctor, [COMMAND_VERSION] = cmd_version,
    [COMMAND_HELP] = cmd_help,
};

static command_id find_command(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        return COMMAND_HELP;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        return COMMAND_VERSION;
    }
    return command_find(word);
}

static void reject_command(const char *word)
{
    const char *near = command_nearest(word);
    if (near) {
        message_error("no command '%.80s'; did you mean '%s'?", word, near);
    } else {
        message_error("no command '%.80s'; see 'rcnn help'", word);
    }
}

static int run(int argc, const char *const *argv)
{
    if (argc < 2) {
        manual_overview(stderr);
        return TOOL_USAGE;
    }
    command_id command = find_command(argv[1]);
    if (command == COMMAND_COUNT) {
        reject_command(argv[1]);
        return TOOL_USAGE;
    }
    options opts;
    char message[OPTIONS_MESSAGE_BYTES];
    int status = TOOL_USAGE;
    if (!options_parse(command, argc - 2, argv + 2, &opts, message)) {
        message_error("%s", message);
    } else if (opts.value[OPT_HELP].set) {
        manual_command(stdout, command);
        status = TOOL_DONE;
    } else {
        status = RUN[command](&opts);
    }
    options_free(&opts);
    return status;
}

int main(int argc, char **argv)
{
    int status = run(argc, (const char *const *)argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (status == TOOL_DONE) {
            message_error("standard output: %s", strerror(errno));
        }
        return status == TOOL_DONE ? TOOL_FAILED : status;
    }
    return status;
}
