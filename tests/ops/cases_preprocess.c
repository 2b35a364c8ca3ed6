/* Cases of preprocess: three resize kernels, up and down, odd and extreme sizes, five pixel formats, batches. */
#include "ops/op_cases.h"

typedef struct params {
    rcnn_resize resize;
    rcnn_channel_order order;
    rcnn_pixel_format format;
    int32_t images, batch;         /* images further than the first are a little smaller */
    int32_t width, height;         /* of the image                                       */
    int32_t net_width, net_height; /* resized                                            */
    int32_t pad_width, pad_height; /* of the value                                       */
    size_t slack;
} params;

static void build(one_op *t, const void *pointer)
{
    const params *p = pointer;
    one_op_begin(t, RCNN_OP_PREPROCESS, 11);
    t->op.u.preprocess.resize = p->resize;
    t->op.u.preprocess.order = p->order;
    for (int c = 0; c < 3; c++) {
        for (int v = 0; v < 256; v++) {
            t->op.u.preprocess.lut[c][v] = ((float)v - 100.0f - 9.0f * (float)c) / (57.0f + (float)c);
        }
    }
    for (int32_t n = 0; n < p->images; n++) {
        one_op_image(t, p->format, p->width - n, p->height - n, p->net_width - n, p->net_height - n, p->slack);
    }
    const int32_t dim[4] = {p->batch ? p->batch : p->images, p->pad_height, p->pad_width, 3};
    one_op_output(t, "image", RCNN_F32, 4, dim);
    one_op_end(t);
}

#define SMALL(text, ...)                                                                                               \
    {                                                                                                                  \
        .name = (text), .build = build, .params = &(const params)                                                      \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define LARGE(text, ...)                                                                                               \
    {                                                                                                                  \
        .name = (text), .size = OP_LARGE, .build = build, .params = &(const params)                                    \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CV  RCNN_RESIZE_OPENCV
#define PIL RCNN_RESIZE_PILLOW
#define FLT RCNN_RESIZE_FLOAT
#define RGB RCNN_CHANNELS_RGB
#define BGR RCNN_CHANNELS_BGR

static const op_case CASES[] = {
    SMALL("opencv up", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 37, 29, 53, 41, 64, 64, 0),
    SMALL("opencv down", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 101, 83, 53, 43, 64, 64, 5),
    SMALL("opencv down far", CV, BGR, RCNN_PIXEL_RGB8, 1, 0, 301, 211, 31, 22, 32, 32, 0),
    SMALL("opencv half", CV, RGB, RCNN_PIXEL_BGR8, 1, 0, 64, 48, 32, 24, 32, 32, 0),
    SMALL("opencv same size", CV, BGR, RCNN_PIXEL_BGR8, 1, 0, 45, 33, 45, 33, 64, 64, 1),
    SMALL("opencv 1x1 to 32x32", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 1, 1, 32, 32, 32, 32, 0),
    SMALL("opencv to 1x1", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 9, 7, 1, 1, 32, 32, 0),
    SMALL("opencv one row", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 50, 1, 64, 2, 64, 32, 0),
    SMALL("opencv one column", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 1, 50, 2, 64, 32, 64, 0),
    SMALL("opencv grey", CV, RGB, RCNN_PIXEL_GRAY8, 1, 0, 37, 29, 50, 40, 64, 64, 3),
    SMALL("opencv rgba", CV, BGR, RCNN_PIXEL_RGBA8, 1, 0, 37, 29, 50, 40, 64, 64, 3),
    SMALL("opencv bgra", CV, RGB, RCNN_PIXEL_BGRA8, 1, 0, 37, 29, 50, 40, 64, 64, 0),
    SMALL("opencv batch with a free place", CV, RGB, RCNN_PIXEL_RGB8, 2, 3, 37, 29, 53, 41, 64, 64, 0),
    SMALL("opencv full tile", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 47, 31, 64, 32, 64, 32, 0),
    SMALL("pillow up", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 37, 29, 53, 41, 64, 64, 0),
    SMALL("pillow down", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 101, 83, 53, 43, 64, 64, 5),
    SMALL("pillow down far", PIL, RGB, RCNN_PIXEL_RGB8, 1, 0, 301, 211, 31, 22, 32, 32, 0),
    SMALL("pillow half", PIL, BGR, RCNN_PIXEL_BGR8, 1, 0, 64, 48, 32, 24, 32, 32, 0),
    SMALL("pillow same size", PIL, BGR, RCNN_PIXEL_BGR8, 1, 0, 45, 33, 45, 33, 64, 64, 1),
    SMALL("pillow same width", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 45, 33, 45, 61, 64, 64, 0),
    SMALL("pillow 1x1 to 32x32", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 1, 1, 32, 32, 32, 32, 0),
    SMALL("pillow to 1x1", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 9, 7, 1, 1, 32, 32, 0),
    SMALL("pillow grey", PIL, BGR, RCNN_PIXEL_GRAY8, 1, 0, 37, 29, 50, 40, 64, 64, 3),
    SMALL("pillow rgba", PIL, RGB, RCNN_PIXEL_RGBA8, 1, 0, 37, 29, 50, 40, 64, 64, 3),
    SMALL("pillow bgra", PIL, BGR, RCNN_PIXEL_BGRA8, 1, 0, 37, 29, 50, 40, 64, 64, 0),
    SMALL("pillow batch with a free place", PIL, BGR, RCNN_PIXEL_RGB8, 2, 3, 37, 29, 53, 41, 64, 64, 0),
    SMALL("float up", FLT, RGB, RCNN_PIXEL_RGB8, 1, 0, 37, 29, 53, 41, 64, 64, 0),
    SMALL("float down", FLT, RGB, RCNN_PIXEL_RGB8, 1, 0, 101, 83, 53, 43, 64, 64, 5),
    SMALL("float same size", FLT, BGR, RCNN_PIXEL_BGR8, 1, 0, 45, 33, 45, 33, 64, 64, 1),
    SMALL("float 1x1 to 32x32", FLT, RGB, RCNN_PIXEL_RGB8, 1, 0, 1, 1, 32, 32, 32, 32, 0),
    SMALL("float to 1x1", FLT, RGB, RCNN_PIXEL_RGB8, 1, 0, 9, 7, 1, 1, 32, 32, 0),
    SMALL("float grey", FLT, RGB, RCNN_PIXEL_GRAY8, 1, 0, 37, 29, 50, 40, 64, 64, 3),
    SMALL("float rgba", FLT, BGR, RCNN_PIXEL_RGBA8, 1, 0, 37, 29, 50, 40, 64, 64, 3),
    SMALL("float batch with a free place", FLT, RGB, RCNN_PIXEL_RGB8, 2, 3, 37, 29, 53, 41, 64, 64, 0),
    LARGE("opencv 1920x1080 to 1333x750", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 1920, 1080, 1333, 750, 1344, 768, 0),
    LARGE("opencv 640x480 to 1067x800", CV, RGB, RCNN_PIXEL_RGB8, 1, 0, 640, 480, 1067, 800, 1088, 800, 0),
    LARGE("pillow 1920x1080 to 1333x750", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 1920, 1080, 1333, 750, 1344, 768, 0),
    LARGE("pillow 640x480 to 1067x800", PIL, BGR, RCNN_PIXEL_RGB8, 1, 0, 640, 480, 1067, 800, 1088, 800, 0),
    LARGE("float 1920x1080 to 1333x749", FLT, RGB, RCNN_PIXEL_RGB8, 1, 0, 1920, 1080, 1333, 749, 1344, 768, 0),
    LARGE("float 640x480 to 1066x800", FLT, RGB, RCNN_PIXEL_RGB8, 1, 0, 640, 480, 1066, 800, 1088, 800, 0),
};

OP_CASE_LIST(preprocess, CASES);
