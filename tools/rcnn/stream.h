/* Image files through sessions: results come back in the order of the files, whatever ran beside what.
 *
 * Without decoders everything happens in stream_next, one batch after another. With them, threads read the next files
 * while each session has a thread that submits batches and collects results, and the caller writes: for sessions on GPUs.
 * Batch k goes to session k % count, so that what runs with what, and where, never depends on timing. */
#ifndef RCNN_TOOLS_STREAM_H
#define RCNN_TOOLS_STREAM_H

#include "message.h"

typedef struct stream stream;

typedef struct stream_options {
    rcnn_session *const *sessions; /* borrowed, in use until stream_close */
    int32_t session_count;
    char *const *paths; /* borrowed */
    size_t count;
    int32_t batch;    /* images per run, at most the sessions' max_batch */
    int32_t decoders; /* threads that read files; 0 = none, and one session */
    int32_t ignore_exif;
    bool keep_pixels;              /* items have them */
    const int32_t *decode_devices; /* GPU of each session, which JPEG files are decoded on, with at least one decoder a
                                      session; NULL = on the CPU. With keep_pixels on the CPU as well */
} stream_options;

typedef struct stream_item {
    const char *path;
    size_t index;
    rcnn_error failed;          /* status not OK: it could not be read or run, there are no results */
    rcnn_image_view view;       /* data NULL without keep_pixels */
    rcnn_results *results;      /* image `position` of them */
    int32_t position, together; /* images that ran in the same batch */
    double decode_ms;
    /* private */
    rcnn_image_view run; /* what the session reads; data NULL: nothing */
    rcnn_image *image;
    rcnn_results *own; /* of an image that was run again alone */
} stream_item;

/* False with err filled. */
bool stream_open(const stream_options *how, stream **out, rcnn_error *err);
/* The next item, valid until the next call; NULL after the last. */
stream_item *stream_next(stream *s);
/* Ends threads, also in the middle. NULL is fine. */
void stream_close(stream *s);

#endif
