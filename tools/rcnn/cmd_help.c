/* `rcnn help` and `rcnn version`. */
#include <stdio.h>

#include "commands.h"
#include "manual.h"
#include "message.h"

int cmd_help(const options *opts)
{
    if (opts->value[OPT_MAN].set) {
        manual_page(stdout, rcnn_version());
        return TOOL_DONE;
    }
    if (opts->value[OPT_COMPLETION].set) {
        manual_completion(stdout);
        return TOOL_DONE;
    }
    if (opts->operand_count == 0) {
        manual_overview(stdout);
        return TOOL_DONE;
    }
    command_id command = command_find(opts->operands[0]);
    if (command == COMMAND_COUNT) {
        message_error("help: no command '%.80s'; see 'rcnn help'", opts->operands[0]);
        return TOOL_USAGE;
    }
    manual_command(stdout, command);
    return TOOL_DONE;
}

int cmd_version(const options *opts)
{
    (void)opts;
    printf("rcnn %s\n%s\n", rcnn_version(), rcnn_build_info());
    return TOOL_DONE;
}
