/* The model's 3x3 filters as Winograd's products take them, one copy for all kernels of a backend that want it. */
#ifndef RCNN_BACKEND_CPU_WINOGRAD_FILTERS_H
#define RCNN_BACKEND_CPU_WINOGRAD_FILTERS_H

#include "backend/cpu/winograd.h"

/* G g G' of all filters of a CONV: an existing copy or a new one. MEMORY. */
rcnn_status rcnn_winograd_filters_get(rcnn_backend *backend, const rcnn_winograd_body *body, const rcnn_op *op,
                                      rcnn_winograd_filters **out, rcnn_error *err);
/* The last user's put frees the copy; NULL is fine. */
void rcnn_winograd_filters_put(rcnn_backend *backend, rcnn_winograd_filters *filters);
/* u of one product and PANEL output channels: see rcnn_winograd_body.multiply. */
const void *rcnn_winograd_panel(const rcnn_winograd_filters *filters, int32_t panel, int32_t product);

/* First of a backend's copies; cpu.c. */
rcnn_winograd_filters **rcnn_cpu_winograd_filters(rcnn_backend *backend);

#endif
