/* Pixels to the network's input in one pass: resize, channel order, normalise, pad with zeros, element type.
 *   OPENCV  cv2.resize INTER_LINEAR on bytes, bit for bit (spec 2.3)
 *   PILLOW  Image.resize BILINEAR on bytes, antialiased, bit for bit (spec 14.2)
 *   FLOAT   torch interpolate bilinear, align_corners=False, of normalised floats (spec 13.3)
 *
 * A block makes a tile of the output, a warp a strip of ROWS rows of it, a thread two neighbouring pixels of each row: 16
 * bytes in half precision with four channels. Positions and weights, which take double arithmetic, are computed once per
 * column and row of the tile. Compiled without contraction of products and sums. */
#include "backend/cuda/device.cuh"

#include <string.h>

#include "base/rules.h"
#include "rcnn/rcnn.h"

#define THREADS     256
#define TILE_WIDTH  64
#define TILE_HEIGHT 32
#define ROWS        (TILE_HEIGHT * 32 / THREADS)

/* ------------------------------------------------------------- tiles and pixels */

/* The block's tile and the thread's place: columns x and x+1, rows y .. y+ROWS-1 of image n. */
typedef struct tile {
    int32_t n, left, top;
    int32_t x, y;
} tile;

static __device__ __forceinline__ tile tile_of_thread(void)
{
    tile t;
    t.n = blockIdx.z;
    t.left = blockIdx.x * TILE_WIDTH;
    t.top = blockIdx.y * TILE_HEIGHT;
    t.x = t.left + (int32_t)(threadIdx.x % 32) * 2;
    t.y = t.top + (int32_t)(threadIdx.x / 32) * ROWS;
    return t;
}

/* Values of two neighbouring pixels, network channel order. */
typedef struct pixel_pair {
    float at[2][3];
} pixel_pair;

/* Stores N elements in words. */
template <typename W, typename T, int N>
static __device__ __forceinline__ void store_words(T *dst, const T (&elements)[N])
{
    W words[N * sizeof(T) / sizeof(W)];
    memcpy(words, elements, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof(W); i++) {
        reinterpret_cast<W *>(dst)[i] = words[i];
    }
}

/* Both pixels, CHANNELS elements each: in half precision one word of 16 bytes or three of 4. x is even, and so is the
 * width: pairs are aligned. */
template <typename T, int CHANNELS> static __device__ __forceinline__ void store_pair(T *dst, const pixel_pair &pair)
{
    T elements[2 * CHANNELS];
    for (int i = 0; i < 2 * CHANNELS; i++) {
        const int c = i % CHANNELS;
        elements[i] = rcnn_from_float<T>(c < 3 ? pair.at[i / CHANNELS][c] : 0.0f);
    }
    if constexpr (CHANNELS == 4) {
        store_words<uint4>(dst, elements);
    } else if constexpr (sizeof(T) == 4) {
        store_words<uint2>(dst, elements);
    } else {
        store_words<uint32_t>(dst, elements);
    }
}

/* Pixels x and x+1 of row y. What lies outside the output is left out. */
template <typename T>
static __device__ __forceinline__ void store_pixels(const rcnn_cuda_preprocess &p, int32_t n, int32_t y, int32_t x,
                                                    const pixel_pair &pair)
{
    if (y >= p.height || x >= p.width) {
        return;
    }
    T *dst = (T *)p.dst + (((size_t)n * p.height + y) * p.width + x) * p.channels;
    if (p.width % 2 == 0 && p.channels == 4) {
        store_pair<T, 4>(dst, pair);
    } else if (p.width % 2 == 0) {
        store_pair<T, 3>(dst, pair);
    } else {
        for (int32_t i = 0; i < 2 && x + i < p.width; i++) {
            for (int32_t c = 0; c < p.channels; c++) {
                dst[i * p.channels + c] = rcnn_from_float<T>(c < 3 ? pair.at[i][c] : 0.0f);
            }
        }
    }
}

/* The source image of a tile. */
typedef struct pixel_source {
    const uint8_t *data;
    int64_t stride;
    int32_t width, height, net_width, net_height;
    int32_t pixel_bytes;
    int32_t channel[3]; /* byte of network channel c within a pixel */
} pixel_source;

static __device__ __forceinline__ pixel_source source_of(const rcnn_cuda_preprocess &p, int32_t n)
{
    const rcnn_cuda_frame_image *image = &p.frame->image[n];
    const int32_t format = image->format;
    const bool grey = format == RCNN_PIXEL_GRAY8;
    const bool swap = (format == RCNN_PIXEL_BGR8 || format == RCNN_PIXEL_BGRA8) != (p.bgr != 0);
    pixel_source source;
    source.data = image->data;
    source.stride = image->stride;
    source.width = image->width;
    source.height = image->height;
    source.net_width = image->net_width;
    source.net_height = image->net_height;
    source.pixel_bytes = grey ? 1 : format == RCNN_PIXEL_RGBA8 || format == RCNN_PIXEL_BGRA8 ? 4 : 3;
    source.channel[0] = grey || !swap ? 0 : 2;
    source.channel[1] = grey ? 0 : 1;
    source.channel[2] = grey || swap ? 0 : 2;
    return source;
}

/* Tiles that need no resizing: images past the batch and tiles in the padding are zero, and with frame->ready the host
 * has resized. True when the tile was one of these. */
template <typename T>
static __device__ __forceinline__ bool made_without_resize(const rcnn_cuda_preprocess &p, const pixel_source &source,
                                                           const tile &t)
{
    const bool live = t.n < p.frame->count;
    const float *ready = p.frame->ready;
    if (live && !ready && t.left < source.net_width && t.top < source.net_height) {
        return false;
    }
#pragma unroll 1
    for (int32_t y = t.y; y < t.y + ROWS; y++) {
        pixel_pair pair = {};
        for (int32_t i = 0; i < 2; i++) {
            if (live && ready && y < p.height && t.x + i < p.width) {
                const float *src = ready + (((size_t)t.n * p.height + y) * p.width + t.x + i) * 3;
                for (int c = 0; c < 3; c++) {
                    pair.at[i][c] = src[c];
                }
            }
        }
        store_pixels<T>(p, t.n, y, t.x, pair);
    }
    return true;
}

static __device__ __forceinline__ void load_lut(const float *src, float (&lut)[3][256])
{
    static_assert(THREADS == 256, "one byte value a thread");
    for (int c = 0; c < 3; c++) {
        lut[c][threadIdx.x] = src[c * 256 + threadIdx.x];
    }
}

static __device__ __forceinline__ int32_t clamp_int(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* ------------------------------------------------------------- two taps an axis: OpenCV and float */

typedef struct cv_tap {
    int32_t first, second; /* source positions        */
    int32_t a, b;          /* their weights in 1/2048 */
} cv_tap;

static __device__ __forceinline__ void fill_tap(cv_tap *tap, int32_t position, int32_t in, int32_t out,
                                                bool stop_at_border)
{
    const double scale = 1.0 / ((double)out / (double)in);
    float f = (float)((position + 0.5) * scale - 0.5);
    int32_t i = (int32_t)floorf(f);
    f -= (float)i;
    if (stop_at_border && (i < 0 || i >= in - 1)) {
        i = i < 0 ? 0 : in - 1;
        f = 0;
    }
    tap->first = clamp_int(i, 0, in - 1);
    tap->second = clamp_int(i + 1, 0, in - 1);
    tap->a = (int32_t)rintf((1.0f - f) * 2048.0f);
    tap->b = (int32_t)rintf(f * 2048.0f);
}

typedef struct float_tap {
    int32_t first, second;
    float a, b;
} float_tap;

static __device__ __forceinline__ void fill_tap(float_tap *tap, int32_t position, int32_t in, int32_t out,
                                                bool stop_at_border)
{
    (void)stop_at_border;
    const float scale = (float)in / (float)out;
    const float at = fmaxf(((float)position + 0.5f) * scale - 0.5f, 0.0f);
    tap->first = clamp_int((int32_t)at, 0, in - 1);
    tap->second = tap->first + (tap->first < in - 1);
    tap->b = at - (float)tap->first;
    tap->a = 1.0f - tap->b;
}

/* A sample of a horizontal pass; second pixels of weight 0 are not read. `at` is the row's byte of the channel in pixel 0. */
static __device__ __forceinline__ int32_t across(const cv_tap &tap, const uint8_t *at, const float *lut)
{
    (void)lut;
    const int32_t second = tap.b != 0 ? __ldg(at + tap.second) : 0;
    return (__ldg(at + tap.first) * tap.a + second * tap.b) >> 4;
}

static __device__ __forceinline__ float across(const float_tap &tap, const uint8_t *at, const float *lut)
{
    const float second = tap.b != 0.0f ? lut[__ldg(at + tap.second)] : 0.0f;
    return tap.a * lut[__ldg(at + tap.first)] + tap.b * second;
}

/* The value of two horizontal samples above one another. */
static __device__ __forceinline__ float down(const cv_tap &tap, int32_t upper, int32_t lower, const float *lut)
{
    return lut[clamp_int((((tap.a * upper) >> 16) + ((tap.b * lower) >> 16) + 2) >> 2, 0, 255)];
}

static __device__ __forceinline__ float down(const float_tap &tap, float upper, float lower, const float *lut)
{
    (void)lut;
    return tap.a * upper + tap.b * lower;
}

/* Samples of a pair of columns on one source row. */
template <typename SAMPLE> struct sample_row {
    SAMPLE at[2][3];
};

template <typename TAP, typename SAMPLE>
static __device__ __forceinline__ void make_row(const pixel_source &source, int32_t y, const TAP (&taps)[2],
                                                const float (&lut)[3][256], sample_row<SAMPLE> *row)
{
    const uint8_t *pixels = source.data + y * source.stride;
    for (int i = 0; i < 2; i++) {
        for (int c = 0; c < 3; c++) {
            row->at[i][c] = across(taps[i], pixels + source.channel[c], lut[c]);
        }
    }
}

/* The last two horizontal rows of a strip. Enlarged and equally large images use most of them again. */
template <typename SAMPLE> struct row_pair {
    sample_row<SAMPLE> upper, lower;
    int32_t upper_at, lower_at;
};

/* Rows of weight 0 are not made. */
template <typename TAP, typename SAMPLE>
static __device__ __forceinline__ void move_to(const pixel_source &source, const TAP &row, const TAP (&taps)[2],
                                               const float (&lut)[3][256], row_pair<SAMPLE> *rows)
{
    if (row.first == rows->lower_at) {
        rows->upper = rows->lower;
    } else if (row.first != rows->upper_at) {
        make_row(source, row.first, taps, lut, &rows->upper);
    }
    rows->upper_at = row.first;
    if (row.b != 0 && row.second != rows->lower_at) {
        make_row(source, row.second, taps, lut, &rows->lower);
        rows->lower_at = row.second;
    }
}

template <typename T, typename TAP, typename SAMPLE>
static __global__ void __launch_bounds__(THREADS) preprocess_two_taps_kernel(rcnn_cuda_preprocess p)
{
    rcnn_begin();
    __shared__ float lut[3][256];
    __shared__ TAP columns[TILE_WIDTH], rows[TILE_HEIGHT];
    const tile t = tile_of_thread();
    const pixel_source source = source_of(p, t.n);
    load_lut(p.lut, lut);
    if (made_without_resize<T>(p, source, t)) {
        return;
    }
    const int32_t i = threadIdx.x;
    if (i < TILE_WIDTH) {
        TAP tap;
        fill_tap(&tap, min(t.left + i, source.net_width - 1), source.width, source.net_width, true);
        tap.first *= source.pixel_bytes;
        tap.second *= source.pixel_bytes;
        columns[i] = tap;
    } else if (i < TILE_WIDTH + TILE_HEIGHT) {
        fill_tap(&rows[i - TILE_WIDTH], min(t.top + i - TILE_WIDTH, source.net_height - 1), source.height,
                 source.net_height, false);
    }
    __syncthreads();
    const TAP taps[2] = {columns[t.x - t.left], columns[t.x - t.left + 1]};
    row_pair<SAMPLE> samples = {};
    samples.upper_at = samples.lower_at = -1;
#pragma unroll 1
    for (int32_t y = t.y; y < t.y + ROWS; y++) {
        pixel_pair pair = {};
        if (y < source.net_height) {
            const TAP row = rows[y - t.top];
            move_to(source, row, taps, lut, &samples);
            for (int k = 0; k < 2; k++) {
                for (int c = 0; c < 3; c++) {
                    const float value = down(row, samples.upper.at[k][c], samples.lower.at[k][c], lut[c]);
                    pair.at[k][c] = t.x + k < source.net_width ? value : 0.0f;
                }
            }
        }
        store_pixels<T>(p, t.n, y, t.x, pair);
    }
}

/* ------------------------------------------------------------- Pillow */

#define PIL_BITS 22
#define PIL_ROWS 16 /* source rows worked on at a time                                        */
#define PIL_TAPS 16 /* column weights held at a time: enough for 6 source pixels to a network pixel */
#define PIL_STEP (THREADS / TILE_WIDTH) /* a thread works on one column and on every PIL_STEP-th row */
#define PIL_OWN  (PIL_ROWS / PIL_STEP)

typedef struct pil_window {
    int32_t first, end;    /* source positions first .. end-1        */
    double centre, shrink; /* triangle's middle; 1 / its half width  */
    double total;          /* sum of the raw weights                 */
} pil_window;

static __device__ __forceinline__ double pil_triangle(const pil_window &window, int32_t position)
{
    const double distance = fabs((position - window.centre + 0.5) * window.shrink);
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

static __device__ __forceinline__ pil_window pil_window_at(int32_t position, int32_t in, int32_t out)
{
    const double scale = (double)in / (double)out;
    const double support = scale < 1.0 ? 1.0 : scale;
    pil_window window;
    window.centre = (position + 0.5) * scale;
    window.shrink = 1.0 / support;
    window.first = (int32_t)fmax(window.centre - support + 0.5, 0.0);
    window.end = (int32_t)fmin(window.centre + support + 0.5, (double)in);
    window.total = 0;
    for (int32_t i = window.first; i < window.end; i++) {
        window.total += pil_triangle(window, i);
    }
    return window;
}

static __device__ __forceinline__ int32_t pil_weight(const pil_window &window, int32_t position)
{
    return (int32_t)(0.5 + pil_triangle(window, position) / window.total * (1 << PIL_BITS));
}

static __device__ __forceinline__ int32_t pil_round(int32_t sum)
{
    return clamp_int(sum >> PIL_BITS, 0, 255);
}

/* What the block's threads share. Windows past the network image are empty. */
typedef struct pil_tile {
    pil_window columns[TILE_WIDTH], rows[TILE_HEIGHT];
    int32_t column_weights[PIL_TAPS][TILE_WIDTH]; /* of taps k0 .. of each column              */
    int32_t row_weights[TILE_HEIGHT][PIL_ROWS];   /* of source rows r0 .. where in the window  */
    int32_t samples[PIL_ROWS][TILE_WIDTH * 3];    /* horizontal pass of source rows r0 ..      */
    float lut[3][256];
} pil_tile;

static __device__ __forceinline__ void fill_windows(const tile &t, const pixel_source &source, pil_tile *shared)
{
    const int32_t i = threadIdx.x;
    const pil_window none = {};
    if (i < TILE_WIDTH) {
        const int32_t x = t.left + i;
        shared->columns[i] = x < source.net_width ? pil_window_at(x, source.width, source.net_width) : none;
    } else if (i < TILE_WIDTH + TILE_HEIGHT) {
        const int32_t y = t.top + i - TILE_WIDTH;
        shared->rows[i - TILE_WIDTH] =
            y < source.net_height ? pil_window_at(y, source.height, source.net_height) : none;
    }
}

static __device__ __forceinline__ void fill_column_weights(int32_t k0, pil_tile *shared)
{
    const int32_t i = threadIdx.x % TILE_WIDTH;
    const pil_window window = shared->columns[i];
    for (int32_t k = threadIdx.x / TILE_WIDTH; k < PIL_TAPS; k += PIL_STEP) {
        if (window.first + k0 + k < window.end) {
            shared->column_weights[k][i] = pil_weight(window, window.first + k0 + k);
        }
    }
}

/* Counted from the first row that is needed, so that whole warps have nothing to do where windows are short. */
static __device__ __forceinline__ void fill_row_weights(int32_t r0, pil_tile *shared)
{
    const int32_t i = threadIdx.x % TILE_HEIGHT;
    const pil_window window = shared->rows[i];
    const int32_t end = min(window.end, r0 + PIL_ROWS);
    for (int32_t r = max(window.first, r0) + (int32_t)threadIdx.x / TILE_HEIGHT; r < end; r += THREADS / TILE_HEIGHT) {
        shared->row_weights[i][r - r0] = pil_weight(window, r);
    }
}

/* Adds taps k0 .. of the thread's column to its samples of source rows r0 .. end-1; rounds them after the last. */
static __device__ __forceinline__ void add_taps(const pixel_source &source, int32_t r0, int32_t end, int32_t k0,
                                                bool last, pil_tile *shared)
{
    const int32_t i = threadIdx.x % TILE_WIDTH;
    const int32_t row = threadIdx.x / TILE_WIDTH; /* and every PIL_STEP-th after it */
    const int32_t first = shared->columns[i].first + k0;
    const int32_t taps = min(shared->columns[i].end - first, PIL_TAPS);
    const int32_t own = min((end - r0 - row + PIL_STEP - 1) / PIL_STEP, PIL_OWN);
    const uint8_t *at = source.data + (r0 + row) * source.stride + (int64_t)first * source.pixel_bytes;
    int32_t sum[PIL_OWN][3];
    for (int j = 0; j < PIL_OWN; j++) {
        for (int c = 0; c < 3; c++) {
            sum[j][c] = k0 == 0 ? 1 << (PIL_BITS - 1) : shared->samples[row + j * PIL_STEP][i * 3 + c];
        }
    }
    for (int32_t k = 0; k < taps; k++, at += source.pixel_bytes) {
        const int32_t weight = shared->column_weights[k][i];
        for (int j = 0; j < PIL_OWN; j++) {
            for (int c = 0; c < 3 && j < own; c++) {
                sum[j][c] += __ldg(at + j * PIL_STEP * source.stride + source.channel[c]) * weight;
            }
        }
    }
    for (int j = 0; j < PIL_OWN; j++) {
        for (int c = 0; c < 3; c++) {
            shared->samples[row + j * PIL_STEP][i * 3 + c] = last ? pil_round(sum[j][c]) : sum[j][c];
        }
    }
}

/* The vertical pass of source rows r0 .. for the thread's pixels. */
static __device__ __forceinline__ void add_rows(const tile &t, int32_t r0, const pil_tile *shared,
                                                int32_t (&sum)[ROWS][2][3])
{
    for (int i = 0; i < ROWS; i++) {
        const int32_t y = t.y - t.top + i;
        const int32_t end = min(shared->rows[y].end, r0 + PIL_ROWS);
        for (int32_t r = max(shared->rows[y].first, r0); r < end; r++) {
            const int32_t weight = shared->row_weights[y][r - r0];
            const int32_t *samples = &shared->samples[r - r0][(t.x - t.left) * 3];
            for (int k = 0; k < 6; k++) {
                sum[i][k / 3][k % 3] += samples[k] * weight;
            }
        }
    }
}

/* Source rows in groups of PIL_ROWS: horizontal pass of the group into shared memory, rounded to bytes as Pillow does,
 * then its share of every row of the tile. Windows of more than PIL_TAPS columns are worked off in as many pieces. */
template <typename T>
static __global__ void __launch_bounds__(THREADS, 4) preprocess_pillow_kernel(rcnn_cuda_preprocess p)
{
    rcnn_begin();
    __shared__ pil_tile shared;
    const tile t = tile_of_thread();
    const pixel_source source = source_of(p, t.n);
    load_lut(p.lut, shared.lut);
    if (made_without_resize<T>(p, source, t)) {
        return;
    }
    fill_windows(t, source, &shared);
    __syncthreads();
    const int32_t longest = 2 * (source.width / source.net_width + 1) + 2; /* no window has more columns */
    const int32_t end = shared.rows[min(TILE_HEIGHT, source.net_height - t.top) - 1].end;
    int32_t sum[ROWS][2][3];
    for (int i = 0; i < ROWS * 6; i++) {
        sum[i / 6][i / 3 % 2][i % 3] = 1 << (PIL_BITS - 1);
    }
    for (int32_t r0 = shared.rows[0].first; r0 < end; r0 += PIL_ROWS) {
        for (int32_t k0 = 0; k0 < longest; k0 += PIL_TAPS) {
            if (longest > PIL_TAPS || r0 == shared.rows[0].first) {
                __syncthreads();
                fill_column_weights(k0, &shared);
                __syncthreads();
            }
            add_taps(source, r0, end, k0, k0 + PIL_TAPS >= longest, &shared);
        }
        fill_row_weights(r0, &shared);
        __syncthreads();
        add_rows(t, r0, &shared, sum);
        __syncthreads();
    }
    for (int i = 0; i < ROWS; i++) {
        pixel_pair pair = {};
        for (int k = 0; k < 6; k++) {
            const bool inside = t.y + i < source.net_height && t.x + k / 3 < source.net_width;
            pair.at[k / 3][k % 3] = inside ? shared.lut[k % 3][pil_round(sum[i][k / 3][k % 3])] : 0.0f;
        }
        store_pixels<T>(p, t.n, t.y + i, t.x, pair);
    }
}

/* ------------------------------------------------------------- launch */

template <typename T> static void launch_type(const rcnn_cuda_preprocess *p, cudaStream_t stream)
{
    const dim3 grid((unsigned)((p->width + TILE_WIDTH - 1) / TILE_WIDTH),
                    (unsigned)((p->height + TILE_HEIGHT - 1) / TILE_HEIGHT), (unsigned)p->n);
    if (p->resize == RCNN_RESIZE_PILLOW) {
        const auto kernel = preprocess_pillow_kernel<T>;
        RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p);
    } else if (p->resize == RCNN_RESIZE_FLOAT) {
        const auto kernel = preprocess_two_taps_kernel<T, float_tap, float>;
        RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p);
    } else {
        const auto kernel = preprocess_two_taps_kernel<T, cv_tap, int32_t>;
        RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p);
    }
}

extern "C" cudaError_t rcnn_cuda_preprocess_launch(const rcnn_cuda_preprocess *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->type, T, launch_type<T>(p, stream));
    return cudaGetLastError();
}
