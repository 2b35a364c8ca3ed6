/* See range.h. Without NVTX this file is empty but for what ISO C wants of one. */
#include "base/range.h"

#if RCNN_HAVE_NVTX
#include <nvtx3/nvToolsExt.h>
#include <stdatomic.h>

/* Two threads that come first together make two domains of one name, which NVTX takes as one. */
static nvtxDomainHandle_t domain(void)
{
    static _Atomic(nvtxDomainHandle_t) made;
    nvtxDomainHandle_t d = atomic_load(&made);
    if (!d) {
        d = nvtxDomainCreateA("rcnn");
        atomic_store(&made, d);
    }
    return d;
}

void rcnn_range_begin(const char *name)
{
    nvtxEventAttributes_t about = {.version = NVTX_VERSION, .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE};
    about.messageType = NVTX_MESSAGE_TYPE_ASCII;
    about.message.ascii = name;
    (void)nvtxDomainRangePushEx(domain(), &about);
}

void rcnn_range_end(void)
{
    (void)nvtxDomainRangePop(domain());
}
#else
typedef int rcnn_no_ranges;
#endif
