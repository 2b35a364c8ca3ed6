/* What a compute backend is: open a device, prepare ops into kernels, enqueue kernels. Backends know ops and graphs,
 * never models or sessions.
 *
 * Life of a plan: for each op of the graph, in order, claim() may offer to run several consecutive ops as one kernel;
 * prepare() turns an op (or a claimed run) into a kernel and says how much scratch it wants; the session allocates one
 * arena and one scratch block with alloc(); each run calls enqueue() on the kernels in order and sync() at the end.
 * enqueue allocates nothing. A kernel is used by one thread at a time.
 *
 * Backends with memory of their own (GPUs) also have the entries of the second half: a run is then stage() into a slot,
 * enqueues or the replay of their recording, deliver(), finish(); the host waits once, in wait(), and reads delivered().
 * Up to RCNN_BACKEND_SLOTS runs may be under way; they execute in order and share one arena. */
#ifndef RCNN_BACKEND_BACKEND_H
#define RCNN_BACKEND_BACKEND_H

#include "graph/graph.h"

#define RCNN_BACKEND_ABI   4
#define RCNN_BACKEND_SLOTS 3

typedef struct rcnn_backend rcnn_backend; /* each backend's own struct */
typedef struct rcnn_kernel rcnn_kernel;   /* each backend's own struct */
typedef struct rcnn_recording rcnn_recording;
typedef struct rcnn_device_decoder rcnn_device_decoder;

typedef struct rcnn_backend_options {
    int32_t device;      /* index, 0 for CPUs                                   */
    int32_t num_threads; /* 1 .. ; the session has resolved 0 to a real number  */
    int32_t tune;        /* 1: time the candidates of each op at prepare and remember the best; 0: heuristics and what
                            was remembered */
} rcnn_backend_options;

/* One enqueue. `value[id]` is the memory of value `id` of the graph the kernel was prepared for (backend memory from
 * alloc); a kernel remembers the ids of its op's inputs, outputs and rows at prepare. Intermediate values of a claimed
 * run have memory too, which the kernel need not touch. */
typedef struct rcnn_args {
    void *const *value;
    void *scratch;           /* at least the bytes that prepare asked for, RCNN_ALIGNMENT-aligned */
    const rcnn_frame *frame; /* host memory, valid until sync                                    */
} rcnn_args;

/* What leaves the device after a run, by value ids of the graph; RCNN_NO_VALUE = not there. */
typedef struct rcnn_delivery {
    rcnn_value_id boxes, rois, scores, labels, counts; /* [N,D,4], [N,D,4], [N,D], [N,D], [N]   */
    rcnn_value_id proposal_counts;                     /* [N]                                   */
    rcnn_value_id masks;                               /* packed rows [N*D,S,S]                 */
    rcnn_mask_format form; /* made on the device beside the raw masks: RLE as run lengths; CROP, POLYGON and FULL as
                              bit-packed crops; NONE and RAW: nothing */
    rcnn_paste paste;
    float threshold;
    int32_t from_rois; /* paste boxes are rois / scale (mmdetection 2.x), not boxes */
} rcnn_delivery;

/* One mask form: `count` words from words[offset], or count -1: it found no room, the host makes it from the raw mask.
 * RLE: COCO run lengths of the whole image. Crops: rows of ceil(width/32) words, pixel x in bit x%32 of word x/32,
 * standing at x, y of the image. */
typedef struct rcnn_delivered_form {
    int32_t offset, count;
    int32_t x, y, width, height;
} rcnn_delivered_form;

/* The delivered arrays in host memory, laid out as their values; only live elements are valid. NULL = not there. */
typedef struct rcnn_delivered {
    const float *boxes, *rois, *scores;
    const int32_t *labels, *counts, *proposal_counts;
    const float *masks;
    const rcnn_delivered_form *forms; /* one a live packed row */
    const uint32_t *words;
} rcnn_delivered;

typedef struct rcnn_backend_counters { /* since open */
    uint64_t host_syncs, device_allocations, host_allocations, replays, recordings;
    uint64_t bytes_held; /* device memory from alloc and of the backend itself */
} rcnn_backend_counters;

/* A JPEG file that was looked at (image/examine.h): Huffman coded, 8 bits, grey or YCbCr, complete, within the limits. */
typedef struct rcnn_device_jpeg {
    const uint8_t *data; /* host memory */
    size_t size;
    int32_t width, height; /* pixels */
} rcnn_device_jpeg;

typedef struct rcnn_backend_vt {
    uint32_t abi;     /* RCNN_BACKEND_ABI */
    const char *name; /* "ref", "cpu", "cuda" */
    /* One or more lines on the device and libraries; DEVICE when the backend cannot be used here. */
    rcnn_status (*probe)(char *text, size_t capacity);
    rcnn_status (*open)(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err);
    void (*close)(rcnn_backend *backend);
    rcnn_status (*alloc)(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err); /* RCNN_ALIGNMENT-aligned */
    void (*release_memory)(rcnn_backend *backend, void *memory);
    /* How many consecutive ops, starting at op `first`, the backend will run as one kernel (>= 1). NULL = always 1. The
     * span is accounted to the stage of its first op; a run never crosses from one stage into the next. Asked before the
     * values are placed: rcnn_graph_fuse tells the planner, with *keep_between = 1 when the kernel wants the memory of the
     * values between its ops. */
    int32_t (*claim)(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t *keep_between);
    /* Makes a kernel of ops first .. first+count-1. UNSUPPORTED names the op, shape and type. Weights may be reordered and cached inside the
     * backend, keyed by their pointer: the model outlives the backend. */
    rcnn_status (*prepare)(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                           rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);
    rcnn_status (*enqueue)(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err);
    void (*release)(rcnn_kernel *kernel);
    rcnn_status (*sync)(rcnn_backend *backend, rcnn_error *err);
    /* Host <-> device copies; NULL = the backend's memory is host memory. */
    rcnn_status (*upload)(rcnn_backend *backend, void *dst, const void *src, size_t bytes, rcnn_error *err);
    rcnn_status (*download)(rcnn_backend *backend, void *dst, const void *src, size_t bytes, rcnn_error *err);
    /* Bracket a run on the calling thread (thread count and the like); NULL = nothing to do. */
    void (*begin_run)(rcnn_backend *backend);
    void (*end_run)(rcnn_backend *backend);

    /* ---- every entry below may be NULL: absent ---- */

    int32_t (*device_count)(void); /* NULL = 1 */
    /* Precisions it computes in, bits 1u << rcnn_precision, and the one AUTO stands for. NULL = FP32. */
    uint32_t (*precisions)(rcnn_backend *backend, rcnn_precision *automatic);
    /* Channels it wants the preprocessed image to have in half precision (4: the last is zero); 0 = 3. */
    int32_t half_image_channels;

    /* Starts bringing the frame's pixels and sizes to the device. What is enqueued or replayed next reads them. Pixels in
     * pageable host memory have been copied at the return; device or page-locked pixels must stay until wait(slot). A
     * frame of no images comes before the first recording of a plan, which is enqueued once with it: kernels that would
     * be chosen by counts all run then, and every count is 0. */
    rcnn_status (*stage)(rcnn_backend *backend, int32_t slot, const rcnn_frame *frame, rcnn_error *err);
    /* What is enqueued between begin and end is recorded and not run. record_end is also called after a failed enqueue
     * (out NULL): the recording is dropped. A recording holds the kernels, values and scratch it was made with. */
    rcnn_status (*record_begin)(rcnn_backend *backend, rcnn_error *err);
    rcnn_status (*record_end)(rcnn_backend *backend, rcnn_recording **out, rcnn_error *err);
    rcnn_status (*replay)(rcnn_backend *backend, rcnn_recording *recording, rcnn_error *err);
    void (*release_recording)(rcnn_backend *backend, rcnn_recording *recording); /* waits until it no longer runs */
    size_t (*recording_bytes)(const rcnn_recording *recording);                  /* device memory, estimated */
    /* Bytes of device memory that deliver() wants as scratch. Runs staged afterwards have room for the delivery on the
     * host; results of runs staged before stay where they are. */
    rcnn_status (*prepare_delivery)(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                                    size_t *scratch_bytes, rcnn_error *err);
    /* Enqueued (or recorded) last: live results to host memory. */
    rcnn_status (*deliver)(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                           const rcnn_args *args, rcnn_error *err);
    /* Marks the end of what was enqueued for the slot. */
    rcnn_status (*finish)(rcnn_backend *backend, int32_t slot, rcnn_error *err);
    /* Waits for the slot's run: the one host wait of a run. NUMERIC and the like when the device noted a fault. */
    rcnn_status (*wait)(rcnn_backend *backend, int32_t slot, rcnn_error *err);
    /* Results of the slot's last run; valid until stage(slot). */
    void (*delivered)(rcnn_backend *backend, int32_t slot, const rcnn_graph *graph, const rcnn_delivery *delivery,
                      rcnn_delivered *out);
    /* Enqueues (or records) time mark `index`, 0 .. RCNN_BACKEND_MARKS-1; marks_ms, after wait: ms[i] = time from mark i
     * to mark i+1 of the last run, for i < count-1. */
    rcnn_status (*mark)(rcnn_backend *backend, int32_t index, rcnn_error *err);
    rcnn_status (*marks_ms)(rcnn_backend *backend, int32_t count, double *ms, rcnn_error *err);
    void (*counters)(const rcnn_backend *backend, rcnn_backend_counters *out);
    /* Several lines "op: engine, microseconds" on what prepare chose so far. */
    void (*describe_choices)(rcnn_backend *backend, char *text, size_t capacity);
    /* A short test: 10^9 bytes read or written a second while a large block is copied in the backend's memory. NULL = the
     * backend is not made for speed. */
    rcnn_status (*copy_speed)(rcnn_backend *backend, double *gb_s, rcnn_error *err);

    /* JPEG files to pixels in device memory; all four entries or none, the last two only where an open may succeed. A
     * decoder needs no open backend and is used by one thread at a time. The probe gives one line on the library behind it,
     * DEVICE when there is none. */
    rcnn_status (*decoder_probe)(char *text, size_t capacity);
    /* `keep` pictures stay valid at once. */
    rcnn_status (*decoder_open)(int32_t device, int32_t keep, rcnn_device_decoder **out, rcnn_error *err);
    /* RGB8 in device memory, there for every stream at the return, valid until `keep` more runs have begun or the close.
     * UNSUPPORTED when the library does not take the file, FORMAT when it finds it damaged: both leave the decoder as it
     * was. */
    rcnn_status (*decoder_run)(rcnn_device_decoder *decoder, const rcnn_device_jpeg *jpeg, rcnn_image_view *out,
                               rcnn_error *err);
    void (*decoder_close)(rcnn_device_decoder *decoder); /* NULL is fine */
} rcnn_backend_vt;

#define RCNN_BACKEND_MARKS 512 /* one for every kernel of the deepest networks, and some more */

/* The backends' tables. Without oneDNN (RCNN_HAVE_ONEDNN) cpu is not listed and prepares no convolution or product; cuda is
 * a module of its own, opened on request by cuda_module.c. */
extern const rcnn_backend_vt rcnn_backend_ref;
extern const rcnn_backend_vt rcnn_backend_cpu;
/* The module's table, or a stand-in named "cuda" whose probe and open say in one line why there is none. Any thread. */
const rcnn_backend_vt *rcnn_backend_cuda(void);

/* What a module may use of the library that opened it, and the one symbol it exports. */
typedef struct rcnn_module_host {
    uint32_t abi;        /* RCNN_BACKEND_ABI */
    const char *version; /* rcnn_version() */
    void (*log)(rcnn_log_level level, const char *line);
    int (*log_enabled)(rcnn_log_level level);
} rcnn_module_host;
/* NULL and a line in `why` when host and module do not fit. */
typedef const rcnn_backend_vt *(*rcnn_module_entry_fn)(const rcnn_module_host *host, char *why, size_t capacity);
#define RCNN_MODULE_ENTRY "rcnn_backend_module_entry"

/* registry.c: backends built into this library, best first, "ref" last. */
int32_t rcnn_backend_registry_count(void);
const rcnn_backend_vt *rcnn_backend_registry_get(int32_t index);
/* By name; "auto" gives the first whose probe succeeds, never "ref". */
rcnn_status rcnn_backend_find(const char *name, const rcnn_backend_vt **out, rcnn_error *err);

#endif
