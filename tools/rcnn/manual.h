/* Everything the tool says about itself, made from the tables of opts.h: --help, the manual page, shell completion. */
#ifndef RCNN_TOOLS_MANUAL_H
#define RCNN_TOOLS_MANUAL_H

#include <stdio.h>

#include "opts.h"

/* The list of commands. */
void manual_overview(FILE *out);
/* One command: usage, description, options. */
void manual_command(FILE *out, command_id command);
/* The manual page in roff (man macros). */
void manual_page(FILE *out, const char *version);
/* A bash completion script. */
void manual_completion(FILE *out);

#endif
