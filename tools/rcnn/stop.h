/* Signals that ask the program to end: taken note of, so that a run can end in order with its files complete. */
#ifndef RCNN_TOOLS_STOP_H
#define RCNN_TOOLS_STOP_H

/* From here on the first interrupt, termination or hangup is only noted, and a second one ends the program at once;
 * writing to a closed pipe is noted and fails with EPIPE. What the parent ignored (nohup) stays ignored. */
void stop_catch(void);
/* The signal noted, 0 = none. Runs look at it between images and end with exit status 128 + signal. */
int stop_signal(void);

#endif
