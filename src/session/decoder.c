/* The public decoder: options, what a file must be to go to a device, and the backend's own decoder behind it. */
#include "session/decoder.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/options.h"
#include "image/examine.h"

struct rcnn_decoder {
    const rcnn_backend_vt *vt;
    rcnn_device_decoder *device;
};

/* ------------------------------------------------------------- options */

void rcnn_decoder_options_init_sized(rcnn_decoder_options *options, size_t struct_size)
{
    const rcnn_decoder_options defaults = {
        .struct_size = struct_size, .backend = "auto", .keep = RCNN_SESSION_IN_FLIGHT + 1};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

static rcnn_status read_options(const rcnn_decoder_options *given, rcnn_decoder_options *out, rcnn_error *err)
{
    rcnn_decoder_options_init(out);
    RCNN_TRY(rcnn_options_read("decoder", given, out, sizeof *out, err));
    if (!out->backend) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "decoder options: want a backend's name, got NULL");
    }
    if (out->device < 0) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "decoder options: want a device of 0 or more, got %d", out->device);
    }
    if (out->keep < 1 || out->keep > RCNN_DECODER_KEEP_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "decoder options: want keep of 1..%d, got %d", RCNN_DECODER_KEEP_MAX,
                         out->keep);
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------- life */

static rcnn_status check_backend(const rcnn_backend_vt *vt, rcnn_error *err)
{
    if (vt->abi != RCNN_BACKEND_ABI || !vt->decoder_open) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "decoder: backend %s decodes no images", vt->name);
    }
    return RCNN_OK;
}

rcnn_status rcnn_decoder_probe(const char *backend, char *text, size_t capacity)
{
    const rcnn_backend_vt *vt = NULL;
    rcnn_error err = {0};
    char line[512] = "";
    rcnn_status status = backend ? rcnn_backend_find(backend, &vt, &err)
                                 : rcnn_fail(&err, RCNN_ERR_ARGUMENT, "decoder: want a backend's name, got NULL");
    if (status == RCNN_OK) {
        status = check_backend(vt, &err);
    }
    if (status == RCNN_OK) {
        status = vt->decoder_probe(line, sizeof line);
    }
    if (text && capacity > 0) {
        snprintf(text, capacity, "%s", line[0] ? line : err.message);
    }
    return status;
}

static rcnn_status create(const rcnn_decoder_options *o, const rcnn_backend_vt *vt, rcnn_decoder **out, rcnn_error *err)
{
    RCNN_TRY(check_backend(vt, err));
    rcnn_decoder *decoder = rcnn_calloc(1, sizeof *decoder);
    if (!decoder) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "decoder: out of memory");
    }
    decoder->vt = vt;
    rcnn_status status = vt->decoder_open(o->device, o->keep, &decoder->device, err);
    if (status != RCNN_OK) {
        rcnn_free(decoder);
        return status;
    }
    *out = decoder;
    return RCNN_OK;
}

static rcnn_status no_place(rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_ARGUMENT, "decoder: want a place for the decoder, got NULL");
}

rcnn_status rcnn_decoder_create_on(const rcnn_decoder_options *options, const rcnn_backend_vt *vt, rcnn_decoder **out,
                                   rcnn_error *err)
{
    rcnn_decoder_options o;
    rcnn_error_clear(err);
    if (!out) {
        return no_place(err);
    }
    *out = NULL;
    RCNN_TRY(read_options(options, &o, err));
    return create(&o, vt, out, err);
}

rcnn_status rcnn_decoder_create(const rcnn_decoder_options *options, rcnn_decoder **out, rcnn_error *err)
{
    rcnn_decoder_options o;
    const rcnn_backend_vt *vt;
    rcnn_error_clear(err);
    if (!out) {
        return no_place(err);
    }
    *out = NULL;
    RCNN_TRY(read_options(options, &o, err));
    RCNN_TRY(rcnn_backend_find(o.backend, &vt, err));
    return create(&o, vt, out, err);
}

void rcnn_decoder_destroy(rcnn_decoder *decoder)
{
    if (decoder) {
        decoder->vt->decoder_close(decoder->device);
        rcnn_free(decoder);
    }
}

/* ------------------------------------------------------------- a picture */

rcnn_status rcnn_decoder_run(rcnn_decoder *decoder, const void *data, size_t size, const rcnn_image_options *options,
                             rcnn_image_view *out, rcnn_error *err)
{
    rcnn_error_clear(err);
    if (!decoder || !out || (!data && size > 0)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "decoder: want a decoder, data and a place for the view, got NULL");
    }
    *out = (rcnn_image_view){0};
    if (size > RCNN_IMAGE_FILE_BYTES_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "image data: want at most %d bytes, got %zu", RCNN_IMAGE_FILE_BYTES_MAX,
                         size);
    }
    rcnn_device_jpeg jpeg = {.data = data, .size = size};
    RCNN_TRY(rcnn_image_examine_jpeg(data, size, options, &jpeg.width, &jpeg.height, err));
    return decoder->vt->decoder_run(decoder->device, &jpeg, out, err);
}
