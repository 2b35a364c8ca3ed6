/* Help, manual page and completion from the option table, so that none of them can fall behind the parser. */
#include "manual.h"

#include <string.h>

#define LINE_COLUMNS 80
#define HELP_INDENT  26

/* Prints words of `text` broken at LINE_COLUMNS; the first line starts at `column`, later ones at `indent`. */
static void print_wrapped(FILE *out, const char *text, int column, int indent)
{
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column > indent && column + length > LINE_COLUMNS) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        }
        fprintf(out, "%.*s", length, text);
        column += length;
        text += length;
        if (*text == ' ') {
            text++;
            if (*text && column + 1 + (int)strcspn(text, " ") <= LINE_COLUMNS) {
                fputc(' ', out);
                column++;
            } else {
                column = LINE_COLUMNS;
            }
        }
    }
    fputc('\n', out);
}

void manual_overview(FILE *out)
{
    fprintf(out, "usage: rcnn COMMAND [OPTION...] [OPERAND...]\n\n"
                 "Faster R-CNN and Mask R-CNN inference.\n\ncommands:\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const command_spec *command = command_get((command_id)i);
        fprintf(out, "  %-10s%s\n", command->name, command->summary);
    }
    fprintf(out, "\n'rcnn help COMMAND' explains one. Exit status: 0 done, 1 failed, 2 bad usage,\n"
                 "130 interrupted.\n");
}

/* "-m, --model FILE" or "--[no-]legend"; returns its length. */
static int print_option_head(FILE *out, const option_spec *option)
{
    int length = option->letter ? fprintf(out, "  -%c, ", option->letter) : fprintf(out, "      ");
    length += fprintf(out, "--%s%s", option->kind == KIND_TOGGLE ? "[no-]" : "", option->name);
    if (option->argument) {
        length += fprintf(out, " %s", option->argument);
    }
    return length;
}

static void print_option_help(FILE *out, const option_spec *option)
{
    int column = print_option_head(out, option);
    if (column + 2 > HELP_INDENT) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_INDENT - column, "");
    column = HELP_INDENT;
    if (option->kind == KIND_CHOICE) {
        column += fprintf(out, "%s: ", option->choices);
    }
    print_wrapped(out, option->help, column, HELP_INDENT);
}

void manual_command(FILE *out, command_id command)
{
    const command_spec *spec = command_get(command);
    fprintf(out, "usage: rcnn %s%s%s [OPTION...]\n\n", spec->name, spec->operands[0] ? " " : "", spec->operands);
    print_wrapped(out, spec->summary, 0, 0);
    if (spec->description[0]) {
        fputc('\n', out);
        print_wrapped(out, spec->description, 0, 0);
    }
    fprintf(out, "\noptions:\n");
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        if (option->commands & (1u << command)) {
            print_option_help(out, option);
        }
    }
}

/* ------------------------------------------------------------- manual page */

/* Text as roff: hyphens and backslashes are escaped, a control character never starts a line. */
static void print_roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'') {
        fputs("\\&", out);
    }
    for (; *text; text++) {
        if (*text == '-') {
            fputs("\\-", out);
        } else if (*text == '\\') {
            fputs("\\e", out);
        } else {
            fputc(*text, out);
        }
    }
}

static void print_roff_option(FILE *out, const option_spec *option)
{
    fprintf(out, ".TP\n");
    if (option->letter) {
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    }
    fprintf(out, "\\fB\\-\\-%s", option->kind == KIND_TOGGLE ? "[no\\-]" : "");
    print_roff(out, option->name);
    fprintf(out, "\\fR");
    if (option->argument) {
        fprintf(out, " \\fI%s\\fR", option->argument);
    }
    fputc('\n', out);
    if (option->kind == KIND_CHOICE) {
        print_roff(out, option->choices);
        fputs(": ", out);
    }
    print_roff(out, option->help);
    fputs(".\n", out);
}

static void print_roff_command(FILE *out, command_id command)
{
    const command_spec *spec = command_get(command);
    fprintf(out, ".SS rcnn %s %s\n", spec->name, spec->operands);
    print_roff(out, spec->summary);
    fprintf(out, ".\n");
    if (spec->description[0]) {
        fprintf(out, ".PP\n");
        print_roff(out, spec->description);
        fputc('\n', out);
    }
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        if (option->commands & (1u << command)) {
            print_roff_option(out, option);
        }
    }
}

static const char PAGE_TAIL[] =
    ".SH PICTURES\n"
    "A picture is the image with each instance filled in a translucent colour and outlined, its box, and a label with "
    "class and score. With a model of one class every instance has its own colour, given in the order of the scores; "
    "with more classes every class has its own. Labels never cover one another: where there is no room a label is "
    "reduced to its score, and left out when a box is smaller than that; the legend counts all of them. "
    "Pictures are named after the image, ending in .png; a name that is taken in the same run, or that is an input, "
    "gets \\-2, \\-3 and so on. Images with a side above 8192 pixels are drawn reduced.\n"
    ".SH JSON\n"
    "One object: \\fIinfo\\fR (version, model, backend, precision, options) and \\fIimages\\fR, an array with, per "
    "image, "
    "\\fIfile_name\\fR, \\fIwidth\\fR, \\fIheight\\fR, \\fIdetections\\fR and \\fItiming_ms\\fR (of a batch each image "
    "has "
    "its share; of a run on a GPU only the total is known). A detection has "
    "\\fIbbox\\fR [x,y,width,height] in pixels, \\fIcategory_id\\fR, \\fIcategory_name\\fR, \\fIscore\\fR and "
    "\\fIsegmentation\\fR:\n"
    ".TP\n\\fBrle\\fR\n{\"size\":[height,width],\"counts\":text}, COCO's compressed run lengths\n"
    ".TP\n\\fBpolygon\\fR\n[[x,y,x,y,...],...], one array per ring; rings inside one another are holes (even\\-odd)\n"
    ".TP\n\\fBraw\\fR\n{\"size\":[28,28],\"raw\":[...]}, the network's probabilities over the box, row by row\n"
    ".TP\n\\fBcrop\\fR\n{\"origin\":[x,y],\"size\":[height,width],\"bitmap\":[\"0110\",...]}, one text per row\n"
    ".TP\n\\fBfull\\fR\n{\"size\":[height,width],\"bitmap\":[\"0110\",...]} of the whole image\n"
    ".SH EXIT STATUS\n0 done; 1 failed, or some inputs failed; 2 bad usage; 130 ended by Ctrl\\-C, "
    "143 by a request to terminate, 141 when the reader of standard output has gone: detect's results so far are "
    "complete then.\n"
    ".SH ENVIRONMENT\n.TP\n\\fBRCNN_MODEL\\fR\nmodel used when \\-m is not given.\n"
    ".TP\n\\fBRCNN_CPU_MASK\\fR\nhighest instruction set the cpu backend uses for its own code: c, avx2 or avx512.\n"
    ".TP\n\\fBRCNN_CPU_CONV\\fR\ndirect: the cpu backend leaves all convolutions to oneDNN.\n"
    ".TP\n\\fBRCNN_CUDA_MODULE\\fR\nfile of the cuda backend's module: no other is tried then. Default: "
    "librcnn_cuda.so beside the library, then where the loader looks.\n"
    ".TP\n\\fBRCNN_NVJPEG\\fR\nfile of the nvJPEG library for \\-\\-decode gpu: no other is tried then.\n"
    ".TP\n\\fBRCNN_CACHE_DIR\\fR\nfolder for the engines that \\-\\-tune found, a file for each kind of GPU and set of "
    "library versions; empty: they are not kept. Default: $XDG_CACHE_HOME/rcnn, then $HOME/.cache/rcnn.\n"
    ".TP\n\\fBRCNN_CUDA_FAIL_AT\\fR, \\fBRCNN_CUDA_FAIL_ALL\\fR\n"
    "for tests: number of the CUDA call that fails; 1: so do all after it.\n"
    ".TP\n\\fBOMP_WAIT_POLICY\\fR\n\\fBpassive\\fR makes idle threads sleep instead of spin: faster where other "
    "programs use the "
    "same cores.\n"
    ".SH FILES\nThe model used without \\-m and RCNN_MODEL is the first that exists of "
    "models/mask_rcnn_r50_fpn_nuclei.safetensors in the current directory, ../../models beside the program (build "
    "tree) and ../share/rcnn/models beside the program (installed).\n";

void manual_page(FILE *out, const char *version)
{
    fprintf(
        out,
        ".TH RCNN 1 \"\" \"rcnn %s\" \"User Commands\"\n.ad l\n.nh\n.SH NAME\nrcnn \\- Faster R\\-CNN and Mask R\\-CNN "
        "inference\n.SH SYNOPSIS\n",
        version);
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const command_spec *command = command_get((command_id)i);
        fprintf(out, "%s\\fBrcnn %s\\fR %s [\\fIOPTION\\fR...]\n", i ? ".br\n" : "", command->name, command->operands);
    }
    fprintf(out, ".SH COMMANDS\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        print_roff_command(out, (command_id)i);
    }
    fputs(PAGE_TAIL, out);
}

/* -------------------------------------------------------------- completion */

static void print_completion_options(FILE *out, command_id command)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        if (option->commands & (1u << command)) {
            fprintf(out, " --%s", option->name);
            if (option->kind == KIND_TOGGLE) {
                fprintf(out, " --no-%s", option->name);
            }
        }
    }
}

/* `--masks) words="none raw ...";;` for every option that has words to offer. */
static void print_completion_choices(FILE *out)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_spec *option = option_get((option_id)i);
        if (!option->choices) {
            continue;
        }
        fprintf(out, "    --%s) words=\"", option->name);
        for (const char *p = option->choices; *p; p++) {
            fputc(*p == '|' ? ' ' : *p, out);
        }
        fprintf(out, "\" ;;\n");
    }
}

void manual_completion(FILE *out)
{
    fprintf(out, "# bash completion for rcnn; made by 'rcnn help --completion'\n"
                 "_rcnn() {\n  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=\n"
                 "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    words=\"");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "%s%s", i ? " " : "", command_get((command_id)i)->name);
    }
    fprintf(out, "\"\n    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n    return\n  fi\n"
                 "  case $previous in\n");
    print_completion_choices(out);
    fprintf(out, "  esac\n  if [ -z \"$words\" ] && [[ $current == -* ]]; then\n    case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "    %s) words=\"", command_get((command_id)i)->name);
        print_completion_options(out, (command_id)i);
        fprintf(out, "\" ;;\n");
    }
    fprintf(out, "    esac\n  fi\n"
                 "  if [ -n \"$words\" ]; then\n    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                 "  else\n    COMPREPLY=($(compgen -f -- \"$current\"))\n  fi\n}\n"
                 "complete -o filenames -F _rcnn rcnn\n");
}
