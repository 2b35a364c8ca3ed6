#include "session_args.h"

#include <sched.h>
#include <string.h>

/* --preprocess and --decode; the words stand in the order cpu, gpu. */
static bool wants_gpu(const option_value *where)
{
    return where->set && where->integer == 1;
}

/* The same, once it is known what the device is. */
static bool check_places(const session_set *set, const options *opts, rcnn_error *err)
{
    const option_value *preprocess = &opts->value[OPT_PREPROCESS], *decode = &opts->value[OPT_DECODE];
    const char *backend = rcnn_session_backend_name(set->items[0]);
    if (wants_gpu(preprocess) && !set->gpu) {
        tool_fail(err, "--preprocess: want cpu, as backend %s has no GPU, got 'gpu'", backend);
    } else if (wants_gpu(decode) && !set->gpu) {
        tool_fail(err, "--decode: want cpu, as backend %s has no GPU, got 'gpu'", backend);
    } else if (wants_gpu(decode) && preprocess->set && preprocess->integer == 0) {
        tool_fail(err, "--decode: want cpu, as --preprocess cpu reads host memory, got 'gpu'");
    } else {
        return true;
    }
    err->status = RCNN_ERR_ARGUMENT;
    return false;
}

bool session_set_open(session_set *set, const options *opts, const rcnn_model *model, rcnn_session_options *wanted,
                      rcnn_error *err)
{
    const option_value *value = opts->value;
    const char *text = value[OPT_DEVICE].set ? value[OPT_DEVICE].text : "auto";
    device_choice device;
    *set = (session_set){.count = 0};
    if (!device_parse(text, strlen(text), &device)) {
        return tool_fail(err, "--device: want " DEVICE_WANTED ", got '%.80s'", text);
    }
    wanted->backend = device.backend;
    wanted->precision = (rcnn_precision)value[OPT_PRECISION].integer; /* the words stand in the order of the numbers */
    wanted->host_preprocess = value[OPT_PREPROCESS].set && value[OPT_PREPROCESS].integer == 0;
    wanted->max_batch = value[OPT_BATCH].set ? value[OPT_BATCH].integer : 1;
    wanted->tune = value[OPT_TUNE].set;
    wanted->num_threads = value[OPT_THREADS].integer;
    wanted->long_side = value[OPT_SCALE].first;
    wanted->short_side = value[OPT_SCALE].second;
    for (int32_t i = 0; i < device.count; i++) {
        wanted->device = device.index[i];
        if (rcnn_session_create(model, wanted, &set->items[i], err) != RCNN_OK) {
            return false;
        }
        set->device[set->count++] = device.index[i];
    }
    set->gpu = strcmp(rcnn_session_backend_name(set->items[0]), "cuda") == 0;
    return check_places(set, opts, err);
}

#define DECODERS_PER_GPU 4 /* reading a JPEG takes about as long as two or three runs of a small one */

int32_t session_set_decoders(const session_set *set, const options *opts)
{
    cpu_set_t allowed;
    const int usable = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    const int32_t threads = opts->value[OPT_THREADS].set ? opts->value[OPT_THREADS].integer : usable;
    const int32_t most = DECODERS_PER_GPU * set->count;
    return !set->gpu ? 0 : threads < most ? threads : most;
}

const int32_t *session_set_decode_devices(const session_set *set, const options *opts)
{
    return wants_gpu(&opts->value[OPT_DECODE]) ? set->device : NULL;
}

void session_set_close(session_set *set)
{
    for (int32_t i = 0; i < set->count; i++) {
        rcnn_session_destroy(set->items[i]);
    }
    *set = (session_set){.count = 0};
}
