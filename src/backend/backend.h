/* What a compute backend is: open a device, prepare ops into kernels, enqueue kernels. Backends know ops and graphs,
 * never stages, models or sessions.
 *
 * Life of a plan: for each op of the graph, in order, claim() may offer to run several consecutive ops as one kernel;
 * prepare() turns an op (or a claimed run) into a kernel and says how much scratch it wants; the session allocates one
 * arena and one scratch block with alloc(); each run calls enqueue() on the kernels in order and sync() at the end.
 * enqueue allocates nothing. A kernel is used by one thread at a time. */
#ifndef RCNN_BACKEND_BACKEND_H
#define RCNN_BACKEND_BACKEND_H

#include "graph/graph.h"

#define RCNN_BACKEND_ABI 1

typedef struct rcnn_backend rcnn_backend; /* each backend's own struct */
typedef struct rcnn_kernel rcnn_kernel;   /* each backend's own struct */

typedef struct rcnn_backend_options {
    int32_t device;      /* index, 0 for CPUs                                   */
    int32_t num_threads; /* 1 .. ; the session has resolved 0 to a real number  */
} rcnn_backend_options;

/* One enqueue. `value[id]` is the memory of value `id` of the graph the kernel was prepared for (backend memory from
 * alloc); a kernel remembers the ids of its op's inputs, outputs and rows at prepare. Intermediate values of a claimed
 * run have memory too, which the kernel need not touch. */
typedef struct rcnn_args {
    void *const *value;
    void *scratch;           /* at least the bytes that prepare asked for, RCNN_ALIGNMENT-aligned */
    const rcnn_frame *frame; /* host memory, valid until sync                                    */
} rcnn_args;

typedef struct rcnn_backend_vt {
    uint32_t abi;     /* RCNN_BACKEND_ABI */
    const char *name; /* "ref", "cpu"     */
    /* One or more lines on the device and libraries; DEVICE when the backend cannot be used here. */
    rcnn_status (*probe)(char *text, size_t capacity);
    rcnn_status (*open)(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err);
    void (*close)(rcnn_backend *backend);
    rcnn_status (*alloc)(rcnn_backend *backend, size_t bytes, void **out, rcnn_error *err); /* RCNN_ALIGNMENT-aligned */
    void (*release_memory)(rcnn_backend *backend, void *memory);
    /* How many consecutive ops, starting at op `first`, the backend will run as one kernel (>= 1). NULL = always 1. The
     * span is accounted to the stage of its first op; a run never crosses from one stage into the next. */
    int32_t (*claim)(rcnn_backend *backend, const rcnn_graph *graph, int32_t first);
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
} rcnn_backend_vt;

/* The backends' tables. cpu exists in builds with oneDNN (RCNN_HAVE_ONEDNN). */
extern const rcnn_backend_vt rcnn_backend_ref;
extern const rcnn_backend_vt rcnn_backend_cpu;

/* registry.c: backends built into this library, best first, "ref" last. */
int32_t rcnn_backend_registry_count(void);
const rcnn_backend_vt *rcnn_backend_registry_get(int32_t index);
/* By name; "auto" gives the first whose probe succeeds, never "ref". */
rcnn_status rcnn_backend_find(const char *name, const rcnn_backend_vt **out, rcnn_error *err);

#endif
