/* A device that is not there: the ref backend behind the asynchronous half of the backend table, in host memory that the
 * host cannot read by mistake, with every command put off until somebody waits for it. It notes whatever a session does
 * that a real device would punish: using freed memory, reusing a slot before its run was waited for, releasing what still
 * runs, copying from memory that is being written. Each fallible entry can be made to fail. */
#ifndef RCNN_TESTS_API_FAKE_DEVICE_H
#define RCNN_TESTS_API_FAKE_DEVICE_H

#include "backend/backend.h"

typedef struct fake_control {
    /* set by tests */
    uint32_t precisions; /* bits; 0 = fp32 only                                          */
    rcnn_precision automatic;
    int32_t dry;            /* 1: kernels do nothing, memory is zero: quick, and nothing is ever found */
    int32_t unmade_forms;   /* every nth mask form finds no room; 0 = all do              */
    size_t recording_bytes; /* what every recording says it holds                         */
    uint64_t fail_at;       /* the nth fallible call from now on fails; 0 = none          */
    int32_t fault_at_width; /* a run whose first image is this wide ends with NUMERIC     */
    /* kept by the device */
    uint64_t calls; /* fallible ones */
    uint64_t waits, syncs, stages, replays, recordings, kernels_run, direct_enqueues;
    uint64_t warm_ups;   /* runs without images, which are stages and waits as well */
    uint64_t unrecorded; /* recordings that were begun, or not even that, and came to nothing */
    int32_t open_devices, live_kernels, live_recordings, live_blocks;
    char misuse[256]; /* the first one; "" = none */
} fake_control;

extern fake_control fake;
extern const rcnn_backend_vt fake_device_vt;

#endif
