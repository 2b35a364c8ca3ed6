/* Monotonic time in milliseconds. */
#ifndef RCNN_BASE_CLOCK_H
#define RCNN_BASE_CLOCK_H

double rcnn_clock_ms(void);

#endif
