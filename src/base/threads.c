#include "base/threads.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <sched.h>
#include <unistd.h>

int32_t rcnn_threads_available(void)
{
#ifdef _OPENMP
    /* counted by the runtime before it binds threads: with OMP_PROC_BIND the calling thread's own mask is one core */
    return omp_get_num_procs();
#else
    cpu_set_t set; /* cores of the machine are not cores we may run on: containers and taskset narrow them */
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) {
            return count;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
#endif
}

int32_t rcnn_thread_index(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}
