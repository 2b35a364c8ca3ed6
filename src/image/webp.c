/* WebP stills through libwebp, when the library was there at configure time. As in OpenCV 4.6, alpha is dropped without
 * compositing and EXIF is not looked at. Animations are refused. */
#include "image/codec.h"

#if RCNN_HAVE_WEBP

#include <webp/decode.h>

static rcnn_status from_webp(VP8StatusCode code, const rcnn_image_source *source, rcnn_error *err)
{
    switch (code) {
    case VP8_STATUS_OK:
        return RCNN_OK;
    case VP8_STATUS_OUT_OF_MEMORY:
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: webp: out of memory", source->name);
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: webp: a feature that libwebp does not read", source->name);
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: webp: the file ends too early", source->name);
    default:
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: webp: damaged data (libwebp status %d)", source->name, (int)code);
    }
}

rcnn_status rcnn_image_decode_webp(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: webp: libwebp is older than its header", source->name);
    }
    RCNN_TRY(from_webp(WebPGetFeatures(source->data, source->size, &config.input), source, err));
    if (config.input.has_animation) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: webp: want a still image, got an animation", source->name);
    }
    if (config.input.width < 0 || config.input.height < 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: webp: negative size", source->name);
    }
    RCNN_TRY(rcnn_image_allocate(source, (uint64_t)config.input.width, (uint64_t)config.input.height, image, err));
    const size_t stride = (size_t)image->width * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->pixels;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * (size_t)image->height;
    rcnn_status status = from_webp(WebPDecode(source->data, source->size, &config), source, err);
    WebPFreeDecBuffer(&config.output);
    return status;
}

#else

rcnn_status rcnn_image_decode_webp(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    (void)image;
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: webp: this build has no libwebp", source->name);
}

#endif
