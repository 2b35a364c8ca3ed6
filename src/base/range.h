/* Named ranges on NVIDIA's profiler timelines (Nsight Systems): what the host is at, and with it the kernels it starts.
 * Nothing at all unless configured with RCNN_WITH_NVTX=ON; then a few nanoseconds a range without a profiler.
 * Source: NVTX 3, nvtxDomainRangePushEx. */
#ifndef RCNN_BASE_RANGE_H
#define RCNN_BASE_RANGE_H

#if RCNN_HAVE_NVTX
/* Begins a range of the calling thread in the domain "rcnn"; ranges nest. name is copied. */
void rcnn_range_begin(const char *name);
void rcnn_range_end(void);
#else
static inline void rcnn_range_begin(const char *name)
{
    (void)name;
}
static inline void rcnn_range_end(void)
{
}
#endif

#endif
