/* What a benchmark says about the machine and this process's memory. */
#ifndef RCNN_TOOLS_BENCH_HOST_H
#define RCNN_TOOLS_BENCH_HOST_H

#include <stddef.h>

/* "AMD EPYC, 2 cores": the processor and how many of its cores this process may use. */
void host_machine(char *text, size_t capacity);

/* Resident memory of this process in MB (10^6 bytes): now, and the largest since host_peak_reset or, where the system does
 * not let itself be reset, since the start. 0 when not known. */
double host_resident_mb(void);
double host_peak_mb(void);
void host_peak_reset(void);

/* MB that can still be had without swapping, by the system and by the limit of this control group; 0 = not known. */
double host_free_mb(void);

#endif
