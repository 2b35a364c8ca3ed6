/* One function per command: gets the parsed options, prints its own messages, returns the exit status. */
#ifndef RCNN_TOOLS_COMMANDS_H
#define RCNN_TOOLS_COMMANDS_H

#include "opts.h"

int cmd_detect(const options *opts);
int cmd_info(const options *opts);
int cmd_convert(const options *opts);
int cmd_export(const options *opts);
int cmd_verify(const options *opts);
int cmd_eval(const options *opts);
int cmd_bench(const options *opts);
int cmd_doctor(const options *opts);
int cmd_version(const options *opts);
int cmd_help(const options *opts);

#endif
