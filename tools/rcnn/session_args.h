/* The sessions a command works with: one on the CPU, or one on each GPU named. */
#ifndef RCNN_TOOLS_SESSION_ARGS_H
#define RCNN_TOOLS_SESSION_ARGS_H

#include "device.h"
#include "message.h"
#include "opts.h"

typedef struct session_set {
    rcnn_session *items[DEVICES_MAX];
    int32_t device[DEVICES_MAX]; /* GPU of each */
    int32_t count;
    bool gpu; /* they work on GPUs, beside the host's threads */
} session_set;

/* Opens the sessions: *wanted with --device, --precision, --preprocess, --batch, --tune, --threads and --scale put in
 * where the command has them; --decode is checked. False with err filled; session_set_close in either case. */
bool session_set_open(session_set *set, const options *opts, const rcnn_model *model, rcnn_session_options *wanted,
                      rcnn_error *err);
/* Threads that shall read images beside the sessions; 0 when they work on the host's own. */
int32_t session_set_decoders(const session_set *set, const options *opts);
/* GPUs that decode JPEG files (--decode gpu), one a session; NULL when the CPU does. */
const int32_t *session_set_decode_devices(const session_set *set, const options *opts);
void session_set_close(session_set *set);

#endif
