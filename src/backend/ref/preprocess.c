/* Pixels to the network's input: resize, channel order, normalise, pad with zeros. Three resize kernels, each computed
 * per output pixel straight from the source, so that the formulas stand as the spec has them:
 *   OPENCV  cv2.resize INTER_LINEAR on bytes, bit for bit (spec 2.3)
 *   PILLOW  Image.resize BILINEAR on bytes, antialiased, bit for bit (spec 14.2)
 *   FLOAT   torch interpolate bilinear, align_corners=False, of normalised floats (spec 13.3) */
#include "backend/ref/ref.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct pixel_source {
    const rcnn_image_view *view;
    size_t pixel_bytes;
    size_t channel[3];       /* byte of network channel c within a pixel          */
    const float (*lut)[256]; /* normalised value of a byte, by network channel    */
    int32_t net_width, net_height;
} pixel_source;

/* One output pixel: out [3], network channel order. */
typedef void (*sampler)(const pixel_source *source, int32_t y, int32_t x, float *out);

static pixel_source source_of(const rcnn_op *op, const rcnn_frame_image *image)
{
    static const size_t PIXEL_BYTES[] = {3, 3, 1, 4, 4}; /* order of rcnn_pixel_format */
    rcnn_pixel_format format = image->view.format;
    pixel_source source = {.view = &image->view,
                           .pixel_bytes = PIXEL_BYTES[format],
                           .lut = op->u.preprocess.lut,
                           .net_width = image->net_width,
                           .net_height = image->net_height};
    bool stored_bgr = format == RCNN_PIXEL_BGR8 || format == RCNN_PIXEL_BGRA8;
    bool wanted_bgr = op->u.preprocess.order == RCNN_CHANNELS_BGR;
    for (size_t c = 0; c < 3; c++) {
        source.channel[c] = stored_bgr == wanted_bgr ? c : 2 - c;
        if (format == RCNN_PIXEL_GRAY8) {
            source.channel[c] = 0;
        }
    }
    return source;
}

static uint8_t byte_at(const pixel_source *source, int32_t y, int32_t x, int32_t c)
{
    const uint8_t *row = source->view->data + (size_t)y * source->view->stride_bytes;
    return row[(size_t)x * source->pixel_bytes + source->channel[c]];
}

static int32_t clamp_int(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* ---------------------------------------------------------------- OpenCV */

typedef struct cv_tap {
    int32_t first, second; /* source positions            */
    int32_t a, b;          /* their weights in 1/2048     */
} cv_tap;

static cv_tap cv_tap_at(int32_t position, int32_t in, int32_t out, bool stop_at_border)
{
    double scale = 1.0 / ((double)out / (double)in);
    float f = (float)((position + 0.5) * scale - 0.5);
    int32_t i = (int32_t)floorf(f);
    f -= (float)i;
    if (stop_at_border && (i < 0 || i >= in - 1)) {
        i = i < 0 ? 0 : in - 1;
        f = 0;
    }
    return (cv_tap){.first = clamp_int(i, 0, in - 1),
                    .second = clamp_int(i + 1, 0, in - 1),
                    .a = (int32_t)lrintf((1.0f - f) * 2048.0f),
                    .b = (int32_t)lrintf(f * 2048.0f)};
}

static int32_t cv_horizontal(const pixel_source *source, int32_t y, const cv_tap *tap, int32_t c)
{
    return byte_at(source, y, tap->first, c) * tap->a + byte_at(source, y, tap->second, c) * tap->b;
}

static void sample_opencv(const pixel_source *source, int32_t y, int32_t x, float *out)
{
    cv_tap column = cv_tap_at(x, source->view->width, source->net_width, true);
    cv_tap row = cv_tap_at(y, source->view->height, source->net_height, false);
    for (int32_t c = 0; c < 3; c++) {
        int32_t upper = (row.a * (cv_horizontal(source, row.first, &column, c) >> 4)) >> 16;
        int32_t lower = (row.b * (cv_horizontal(source, row.second, &column, c) >> 4)) >> 16;
        out[c] = source->lut[c][clamp_int((upper + lower + 2) >> 2, 0, 255)];
    }
}

/* ---------------------------------------------------------------- Pillow */

#define PIL_BITS 22

typedef struct pil_window {
    int32_t first, end;    /* source positions first .. end-1 */
    double centre, shrink; /* triangle's middle; 1 / its half width */
    double total;          /* sum of the raw weights */
} pil_window;

static double pil_triangle(const pil_window *window, int32_t position)
{
    double distance = fabs((position - window->centre + 0.5) * window->shrink);
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

static pil_window pil_window_at(int32_t position, int32_t in, int32_t out)
{
    double scale = (double)in / (double)out;
    double support = scale < 1.0 ? 1.0 : scale;
    pil_window window = {.centre = (position + 0.5) * scale, .shrink = 1.0 / support};
    window.first = (int32_t)fmax(window.centre - support + 0.5, 0.0);
    window.end = (int32_t)fmin(window.centre + support + 0.5, (double)in);
    for (int32_t i = window.first; i < window.end; i++) {
        window.total += pil_triangle(&window, i);
    }
    return window;
}

static int32_t pil_weight(const pil_window *window, int32_t position)
{
    return (int32_t)(0.5 + pil_triangle(window, position) / window->total * (1 << PIL_BITS));
}

static int32_t pil_round(int32_t sum)
{
    return clamp_int(sum >> PIL_BITS, 0, 255);
}

static int32_t pil_horizontal(const pixel_source *source, int32_t y, const pil_window *columns, int32_t c)
{
    int32_t sum = 1 << (PIL_BITS - 1);
    for (int32_t x = columns->first; x < columns->end; x++) {
        sum += byte_at(source, y, x, c) * pil_weight(columns, x);
    }
    return pil_round(sum);
}

/* Pillow skips a pass whose size does not change; there the window's weights are 1 and 0, which is the same. */
static void sample_pillow(const pixel_source *source, int32_t y, int32_t x, float *out)
{
    pil_window columns = pil_window_at(x, source->view->width, source->net_width);
    pil_window rows = pil_window_at(y, source->view->height, source->net_height);
    for (int32_t c = 0; c < 3; c++) {
        int32_t sum = 1 << (PIL_BITS - 1);
        for (int32_t row = rows.first; row < rows.end; row++) {
            sum += pil_horizontal(source, row, &columns, c) * pil_weight(&rows, row);
        }
        out[c] = source->lut[c][pil_round(sum)];
    }
}

/* ----------------------------------------------------------------- float */

typedef struct float_tap {
    int32_t first, second;
    float a, b;
} float_tap;

static float_tap float_tap_at(int32_t position, int32_t in, int32_t out)
{
    float scale = (float)in / (float)out;
    float at = fmaxf(((float)position + 0.5f) * scale - 0.5f, 0.0f);
    int32_t first = clamp_int((int32_t)at, 0, in - 1);
    float b = at - (float)first;
    return (float_tap){.first = first, .second = first + (first < in - 1), .a = 1.0f - b, .b = b};
}

static void sample_float(const pixel_source *source, int32_t y, int32_t x, float *out)
{
    float_tap column = float_tap_at(x, source->view->width, source->net_width);
    float_tap row = float_tap_at(y, source->view->height, source->net_height);
    for (int32_t c = 0; c < 3; c++) {
        const float *lut = source->lut[c];
        float upper = column.a * lut[byte_at(source, row.first, column.first, c)] +
                      column.b * lut[byte_at(source, row.first, column.second, c)];
        float lower = column.a * lut[byte_at(source, row.second, column.first, c)] +
                      column.b * lut[byte_at(source, row.second, column.second, c)];
        out[c] = row.a * upper + row.b * lower;
    }
}

/* -------------------------------------------------------------------- op */

static const sampler SAMPLERS[] = {
    [RCNN_RESIZE_OPENCV] = sample_opencv, [RCNN_RESIZE_PILLOW] = sample_pillow, [RCNN_RESIZE_FLOAT] = sample_float};

rcnn_status rcnn_ref_preprocess(const rcnn_ref_call *call, rcnn_error *err)
{
    const rcnn_tensor_desc *desc = &call->dst_desc[0];
    const sampler sample = SAMPLERS[call->op->u.preprocess.resize];
    float *dst = call->dst[0];
    memset(dst, 0, (size_t)desc->dim[0] * rcnn_ref_row_elements(desc) * sizeof *dst);
    for (int32_t n = 0; n < call->frame->count; n++) {
        const rcnn_frame_image *image = &call->frame->image[n];
        if (n >= desc->dim[0] || image->net_height > desc->dim[1] || image->net_width > desc->dim[2]) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "op '%s': image %d of %dx%d does not fit in a batch of %d %dx%d",
                             call->op->name, n, image->net_width, image->net_height, desc->dim[0], desc->dim[2],
                             desc->dim[1]);
        }
        const pixel_source source = source_of(call->op, image);
        for (int32_t y = 0; y < image->net_height; y++) {
            for (int32_t x = 0; x < image->net_width; x++) {
                sample(&source, y, x, dst + rcnn_ref_offset(desc, n, y, x, 0));
            }
        }
    }
    return RCNN_OK;
}
