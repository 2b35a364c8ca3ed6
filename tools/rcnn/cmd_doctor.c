/* `rcnn doctor`: what the machine and the build offer, and how to get what is missing. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "draw.h"
#include "model_args.h"

#define LINE_BYTES 8192 /* the flags line of /proc/cpuinfo is long */

/* The rest of the first line of `path` that starts with `key`, after its colon; "" when there is none. */
static void read_field(const char *path, const char *key, char *value, size_t capacity)
{
    static const char BLANKS[] = " \t";
    char line[LINE_BYTES];
    FILE *file = fopen(path, "r");
    value[0] = '\0';
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, key, strlen(key)) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(value, capacity, "%s", colon + 1 + strspn(colon + 1, BLANKS));
            break;
        }
    }
    if (file) {
        fclose(file);
    }
}

static bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word)) {
        if ((p == text || p[-1] == ' ') && (p[length] == ' ' || p[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* The processor features that the kernels can use; returns whether the fast ones are there. */
static void print_features(void)
{
    static const char *const WANTED[] = {"avx2",        "fma",      "f16c",  "avx512f", "avx512bw", "avx512_vnni",
                                         "avx512_bf16", "amx_int8", "asimd", "asimddp", "sve"};
    char flags[LINE_BYTES];
    read_field("/proc/cpuinfo", "flags", flags, sizeof flags);
    if (!flags[0]) {
        read_field("/proc/cpuinfo", "Features", flags, sizeof flags);
    }
    printf("  features:");
    bool any = false;
    for (size_t i = 0; i < sizeof WANTED / sizeof WANTED[0]; i++) {
        if (has_word(flags, WANTED[i])) {
            printf(" %s", WANTED[i]);
            any = true;
        }
    }
    puts(any ? "" : " none that matter here");
}

static void print_machine(void)
{
    char model[256];
    read_field("/proc/cpuinfo", "model name", model, sizeof model);
    printf("machine\n  processor: %s\n", model[0] ? model : "unknown");
    print_features();
    cpu_set_t allowed;
    int usable = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
    printf("  cores: %ld, usable by this process: %d\n", sysconf(_SC_NPROCESSORS_ONLN), usable);
    char total[64], available[64];
    read_field("/proc/meminfo", "MemTotal", total, sizeof total);
    read_field("/proc/meminfo", "MemAvailable", available, sizeof available);
    printf("  memory: %.1f GiB, available: %.1f GiB\n", strtod(total, NULL) / (1024.0 * 1024.0),
           strtod(available, NULL) / (1024.0 * 1024.0));
}

/* Indents every line of a text. */
static void print_lines(const char *text)
{
    while (*text) {
        int length = (int)strcspn(text, "\n");
        printf("  %.*s\n", length, text);
        text += length;
        text += *text == '\n';
    }
}

/* Returns the number of fast backends that work. */
static int print_backends(void)
{
    int fast = 0;
    puts("backends");
    for (int32_t i = 0; i < rcnn_backend_count(); i++) {
        char text[1024] = "";
        bool usable = rcnn_backend_probe(i, text, sizeof text) == RCNN_OK;
        const int32_t devices = usable ? rcnn_backend_device_count(i) : 0;
        printf("  %s: %s", rcnn_backend_name(i), usable ? "usable" : "not usable");
        if (devices > 1) {
            printf(", %d devices", (int)devices);
        }
        putchar('\n');
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            printf("    %s\n", line);
        }
        if (usable && rcnn_decoder_probe(rcnn_backend_name(i), text, sizeof text) != RCNN_ERR_UNSUPPORTED) {
            printf("    JPEG files: %s\n", text);
        }
        fast += usable && strcmp(rcnn_backend_name(i), "ref") != 0;
    }
    return fast;
}

/* Which engines the first GPU gets for the default model at its usual size: remembered ones, or by rule. */
static void print_engines(void)
{
    char path[MODEL_PATH_BYTES], text[64];
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    char *plan = NULL, *choices = NULL;
    rcnn_session_options wanted;
    rcnn_session_options_init(&wanted);
    wanted.backend = "cuda";
    if (strcmp(rcnn_backend_name(0), "cuda") != 0 || rcnn_backend_probe(0, text, sizeof text) != RCNN_OK ||
        !model_find_default(path, &err)) {
        return;
    }
    puts("engines of the GPU for the default model, 1333x800");
    if (rcnn_model_load(path, NULL, &model, &err) != RCNN_OK ||
        rcnn_session_create(model, &wanted, &session, &err) != RCNN_OK ||
        rcnn_session_plan_json(session, 1333, 800, &plan, &err) != RCNN_OK ||
        rcnn_session_choices(session, &choices, &err) != RCNN_OK) {
        printf("  %s\n", err.message);
    } else {
        print_lines(choices);
    }
    rcnn_free(choices);
    rcnn_free(plan);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
}

static int print_missing(bool there, const char *what, const char *consequence, const char *remedy)
{
    if (there) {
        return 0;
    }
    printf("  %s: %s\n    %s\n", what, consequence, remedy);
    return 1;
}

int cmd_doctor(const options *opts)
{
    (void)opts;
    static const char REBUILD[] = "then configure and build again";
    char path[MODEL_PATH_BYTES], remedy[160];
    rcnn_error err = {0};
    print_machine();
    puts("build");
    print_lines(rcnn_build_info());
    printf("  pictures: %s\n", draw_available() ? "cairo" : "none (built without cairo)");
    int fast = print_backends();
    print_engines();
    puts("missing");
    snprintf(remedy, sizeof remedy, "apt-get install libdnnl-dev, %s", REBUILD);
    int missing = print_missing(fast > 0, "oneDNN", "no fast backend; only ref works", remedy);
    snprintf(remedy, sizeof remedy, "apt-get install libwebp-dev pkg-config, %s", REBUILD);
    missing +=
        print_missing(strstr(rcnn_build_info(), "webp,") != NULL, "libwebp", "WebP images cannot be read", remedy);
    snprintf(remedy, sizeof remedy, "apt-get install libcairo2-dev pkg-config, %s", REBUILD);
    missing += print_missing(draw_available(), "cairo", "no overlay pictures", remedy);
    snprintf(remedy, sizeof remedy, "apt-get install libprotobuf-c-dev protobuf-c-compiler pkg-config, %s", REBUILD);
    missing +=
        print_missing(strstr(rcnn_build_info(), "exports: onnx") != NULL, "protobuf-c", "no export to ONNX", remedy);
    missing += print_missing(model_find_default(path, &err), "default model", err.message,
                             "give a model with -m, or set RCNN_MODEL");
    if (missing == 0) {
        puts("  nothing");
    }
    return TOOL_DONE;
}
