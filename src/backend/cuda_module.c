/* Opens the module of the cuda backend when it is first asked for. The library itself needs none of NVIDIA's libraries;
 * a machine without a GPU, a driver or the module gets a stand-in that says so in one line. */
#include "backend/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE_FILE "librcnn_cuda.so"
#define PATH_BYTES  4096

/* ------------------------------------------------------------- stand-in */

static char why_absent[512]; /* written once, before anyone reads it */

static rcnn_status absent_probe(char *text, size_t capacity)
{
    if (capacity > 0) {
        snprintf(text, capacity, "%s", why_absent);
    }
    return RCNN_ERR_DEVICE;
}

static rcnn_status absent_open(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err)
{
    (void)options;
    *out = NULL;
    return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: %s", why_absent);
}

static rcnn_status absent_decoder_open(int32_t device, int32_t keep, rcnn_device_decoder **out, rcnn_error *err)
{
    (void)device;
    (void)keep;
    *out = NULL;
    return rcnn_fail(err, RCNN_ERR_DEVICE, "cuda: %s", why_absent);
}

static int32_t absent_device_count(void)
{
    return 0;
}

static const rcnn_backend_vt stand_in = {.abi = RCNN_BACKEND_ABI,
                                         .name = "cuda",
                                         .probe = absent_probe,
                                         .open = absent_open,
                                         .device_count = absent_device_count,
                                         .decoder_probe = absent_probe,
                                         .decoder_open = absent_decoder_open};

/* ------------------------------------------------------------- finding */

/* The module beside the file that holds this code: librcnn.so, or a program that the library was linked into. false when
 * there is no such file. */
static bool find_beside(char *path, size_t capacity)
{
    Dl_info self;
    if (dladdr(&stand_in, &self) == 0 || !self.dli_fname) {
        return false;
    }
    const char *slash = strrchr(self.dli_fname, '/');
    if (!slash) {
        return false; /* a program found through PATH: its name says nothing of where it lies */
    }
    int length = snprintf(path, capacity, "%.*s/%s", (int)(slash - self.dli_fname), self.dli_fname, MODULE_FILE);
    return length > 0 && (size_t)length < capacity && access(path, R_OK) == 0;
}

/* NULL when it cannot be opened; dlerror says why. RCNN_CUDA_MODULE names one module and no other is tried. */
static void *open_module(char *path, size_t capacity)
{
    const char *named = secure_getenv("RCNN_CUDA_MODULE");
    if (named && *named) {
        snprintf(path, capacity, "%s", named);
    } else if (!find_beside(path, capacity)) {
        snprintf(path, capacity, "%s", MODULE_FILE); /* no slash: the loader's search */
    }
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* ------------------------------------------------------------- loading */

static void host_log(rcnn_log_level level, const char *line)
{
    rcnn_log(level, "%s", line);
}

/* Not const: the module keeps a pointer to it for as long as the process lives. */
static rcnn_module_host host = {.abi = RCNN_BACKEND_ABI, .log = host_log, .log_enabled = rcnn_log_enabled};

/* A function by name: dlsym gives an object pointer, which C does not convert. */
static rcnn_module_entry_fn find_entry(void *module)
{
    rcnn_module_entry_fn entry = NULL;
    void *symbol = dlsym(module, RCNN_MODULE_ENTRY);
    _Static_assert(sizeof symbol == sizeof entry, "as POSIX wants");
    memcpy(&entry, &symbol, sizeof entry);
    return entry;
}

/* The module's table, or NULL with the reason in why_absent. Nothing is ever unloaded: CUDA does not take it well. */
static const rcnn_backend_vt *load(void)
{
    if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {
        snprintf(why_absent, sizeof why_absent, "no NVIDIA driver on this machine (libcuda.so.1 is not there)");
        return NULL;
    }
    char path[PATH_BYTES];
    void *module = open_module(path, sizeof path);
    if (!module) {
        const char *text = dlerror(); /* names the file itself */
        snprintf(why_absent, sizeof why_absent, "the module cannot be opened: %.400s", text ? text : path);
        return NULL;
    }
    rcnn_module_entry_fn entry = find_entry(module);
    if (!entry) {
        snprintf(why_absent, sizeof why_absent, "%.256s is no module of rcnn: it has no " RCNN_MODULE_ENTRY, path);
        return NULL;
    }
    host.version = rcnn_version();
    char why[256] = "it gave no reason";
    const rcnn_backend_vt *vt = entry(&host, why, sizeof why);
    if (!vt) {
        snprintf(why_absent, sizeof why_absent, "%.200s cannot be used: %.240s", path, why);
        return NULL;
    }
    if (vt->abi != RCNN_BACKEND_ABI) {
        snprintf(why_absent, sizeof why_absent, "%.256s was built for another version of the library (ABI %u, want %u)",
                 path, vt->abi, (unsigned)RCNN_BACKEND_ABI);
        return NULL;
    }
    rcnn_log(RCNN_LOG_DEBUG, "cuda: module %s", path);
    return vt;
}

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static const rcnn_backend_vt *table = &stand_in;

static void load_once(void)
{
    const rcnn_backend_vt *vt = load();
    if (vt) {
        table = vt;
    } else {
        rcnn_log(RCNN_LOG_DEBUG, "cuda: %s", why_absent);
    }
}

const rcnn_backend_vt *rcnn_backend_cuda(void)
{
    pthread_once(&loaded, load_once);
    return table;
}
