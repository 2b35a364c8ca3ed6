/* Inside the library: a decoder on a backend that a test brings. */
#ifndef RCNN_SESSION_DECODER_H
#define RCNN_SESSION_DECODER_H

#include "backend/backend.h"

/* As rcnn_decoder_create, whatever options->backend says. */
rcnn_status rcnn_decoder_create_on(const rcnn_decoder_options *options, const rcnn_backend_vt *vt, rcnn_decoder **out,
                                   rcnn_error *err);

#endif
