/* A ResNet block of stride 1 with 64 inner and 256 outer channels as one kernel. As three kernels its inner activations
 * make two trips to memory each and the small convolutions cannot keep the tensor cores busy.
 *
 * A tile is 8x16 output pixels. With x its 10x18 input pixels (a border of one) and M, N, K the sizes of GEMMs:
 *     inner1 = relu(x w1 + b1)            M 180 (of 192), N 64,  K channels      kept with its border, 0 outside the image
 *     inner2 = relu(3x3 of inner1 + b2)   M 128,          N 64,  K 9*64          takes inner1's place
 *     dst    = relu(inner2 w3 + b3 + x)   M 128,          N 256, K 64            x from memory again (in L2 by then)
 * or, with a shortcut, dst = relu(inner2 w3 + x ws + b3 + bs), K 128, x from shared memory.
 *
 * One block of 8 warps a multiprocessor goes from tile to tile. It keeps w1, w2 and the biases in shared memory and w3 (and
 * ws) in registers. The next tile's x takes the place of what has been read of this one's: its first half from the middle
 * of the first convolution on, the rest during the second, a copy of 16 bytes every few products. All at once they would
 * fill the queue to memory, and the reads from shared memory behind them would wait for their arrival. Rows in shared
 * memory are 16 bytes longer than their values, so that 8 neighbouring rows are in different banks.
 *
 * The warps share the work so that operands are read from shared memory seldom: 48 pixels x 32 channels in the first
 * convolution; 4 rows of pixels x 16 channels in the second, where a row of inner1 serves up to three rows of outputs;
 * all pixels x 32 channels in the third. */
#include "backend/cuda/mma.cuh"

#define INNER        64
#define OUTER        256
#define TILE_H       8
#define TILE_W       16
#define X_W          (TILE_W + 2)
#define X_COUNT      ((TILE_H + 2) * X_W) /* 180 */
#define THREADS      256
#define CHUNK        64 /* channels of x that arrive together */
#define COPIES       6  /* pixels of x that a thread copies */
#define COPY_STEP    (X_COUNT / COPIES)
#define COPY_THREADS (COPY_STEP * 8)

#define INNER_PITCH (INNER * 2 + 16) /* bytes */
#define W2_PITCH    (9 * INNER * 2 + 16)

#define IDENTITY_AHEAD 4 /* rows of x that are under way for the last sum before it is their turn */

/* Shared memory of a block, in bytes. */
template <int CHANNELS> struct bottleneck_layout {
    static const bool shortcut = CHANNELS != OUTER;
    static const int chunks = CHANNELS / CHUNK;
    static const int copies = chunks * COPIES;        /* of a thread, of 16 bytes, for a tile's x           */
    static const int copies_early = shortcut ? 0 : 4; /* that the first convolution starts                  */
    static const int late = shortcut ? 0 : 2;         /* chunks that come while the first convolution works */
    static const int x_pitch = CHANNELS * 2 + 16;
    static const int x_bytes = X_COUNT * x_pitch;
    static const int x_buffers = shortcut ? 2 : 1; /* the third convolution reads x while the next arrives */
    static const int w1 = 0;
    static const int w2 = w1 + INNER * x_pitch;
    static const int inner = w2 + INNER * W2_PITCH;
    static const int x = inner + X_COUNT * INNER_PITCH;
    static const int bias = x + x_buffers * x_bytes; /* floats: b1, b2, b3 + bs */
    static const int bytes = bias + (2 * INNER + OUTER) * 4;
};

typedef struct bottleneck_tile {
    int32_t image, y, x; /* of the first output pixel */
} bottleneck_tile;

/* Tiles of one image, in pixels. */
typedef struct bottleneck_tiles {
    int32_t height, width;
} bottleneck_tiles;

static __device__ __forceinline__ bottleneck_tile tile_at(bottleneck_tiles tiles, int32_t index)
{
    const int32_t across = tiles.width / TILE_W, down = tiles.height / TILE_H;
    bottleneck_tile t;
    t.x = index % across * TILE_W;
    t.y = index / across % down * TILE_H;
    t.image = index / across / down;
    return t;
}

/* The tile as many tiles after t as `step` is after the first: an addition with carry, cheaper than the divisions. */
static __device__ __forceinline__ bottleneck_tile tile_after(bottleneck_tiles tiles, bottleneck_tile t,
                                                             bottleneck_tile step)
{
    t.x += step.x;
    t.y += step.y;
    t.image += step.image;
    if (t.x >= tiles.width) {
        t.x -= tiles.width;
        t.y += TILE_H;
    }
    if (t.y >= tiles.height) {
        t.y -= tiles.height;
        t.image++;
    }
    return t;
}

static __device__ __forceinline__ bool in_image(const rcnn_cuda_bottleneck *p, int32_t y, int32_t x)
{
    return (uint32_t)y < (uint32_t)p->height && (uint32_t)x < (uint32_t)p->width;
}

static __device__ __forceinline__ size_t pixel_at(const rcnn_cuda_bottleneck *p, int32_t image, int32_t y, int32_t x)
{
    return ((size_t)image * (size_t)p->height + (size_t)y) * (size_t)p->width + (size_t)x;
}

/* threadIdx.x as if it were new: what is made of it is made for every tile anew. Kept over the loop, the pixels of a thread
 * would take 30 registers that the products need. */
static __device__ __forceinline__ int32_t thread_anew(void)
{
    int32_t thread = (int32_t)threadIdx.x;
    asm volatile("" : "+r"(thread));
    return thread;
}

/* ------------------------------------------------------------- loading */

/* Starts the copy of `rows` rows of ROW_BYTES. */
template <int ROW_BYTES, int PITCH>
static __device__ __forceinline__ void load_rows(const void *src, int32_t rows, rcnn_shared_address dst)
{
    const int32_t units = ROW_BYTES / 16;
    for (int32_t i = (int32_t)threadIdx.x; i < rows * units; i += THREADS) {
        const rcnn_shared_address to = dst + (rcnn_shared_address)(i / units * PITCH + i % units * 16);
        rcnn_copy_async<16>(to, static_cast<const char *>(src) + (size_t)i * 16, true);
    }
}

/* What a thread copies of a tile's x: COPIES pixels, 8 threads a pixel, 16 bytes of every 64 channels. A copy is numbered
 * 64 channels * COPIES + pixel. The last 16 threads have nothing to copy: theirs are switched off one by one, since a
 * condition around the copies would split the code that the compiler mixes with the products. */
typedef struct bottleneck_copy {
    const char *image;       /* this thread's 16 bytes of pixel 0 */
    int32_t pixel[COPIES];   /* of the image; -1: zeros           */
    rcnn_shared_address dst; /* of copy 0                         */
} bottleneck_copy;

/* more: false = zeros for all, there is no such tile. x: the buffer that they go to. */
template <int CHANNELS>
static __device__ __forceinline__ void plan_copy(const rcnn_cuda_bottleneck *p, bottleneck_tile tile, bool more,
                                                 rcnn_shared_address x, bottleneck_copy *copy)
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t thread = thread_anew();
    copy->image = static_cast<const char *>(p->src) + pixel_at(p, tile.image, 0, 0) * (CHANNELS * 2) + thread % 8 * 16;
    copy->dst = x + (rcnn_shared_address)(thread / 8 * at::x_pitch + thread % 8 * 16);
#pragma unroll
    for (int32_t i = 0; i < COPIES; i++) {
        const int32_t pixel = thread / 8 + i * COPY_STEP;
        const int32_t row = tile.y - 1 + pixel / X_W, column = tile.x - 1 + pixel % X_W;
        copy->pixel[i] = more && in_image(p, row, column) ? row * p->width + column : -1;
    }
}

/* Starts copies first .. end-1; the last of a chunk ends a group. */
template <int CHANNELS>
static __device__ __forceinline__ void load_x(const bottleneck_copy *copy, int32_t first, int32_t end)
{
    typedef bottleneck_layout<CHANNELS> at;
#pragma unroll
    for (int32_t i = first; i < end; i++) {
        const int32_t pixel = copy->pixel[i % COPIES];
        rcnn_copy_async_if<16>((int32_t)threadIdx.x < COPY_THREADS,
                               copy->dst +
                                   (rcnn_shared_address)(i % COPIES * COPY_STEP * at::x_pitch + i / COPIES * 128),
                               copy->image + (size_t)max(pixel, 0) * (CHANNELS * 2) + i / COPIES * 128, pixel >= 0);
        if ((i + 1) % COPIES == 0) {
            rcnn_copy_commit();
        }
    }
}

/* b1, b2 and b3 + bs to shared memory. */
static __device__ __forceinline__ void load_biases(const rcnn_cuda_bottleneck *p, float *bias)
{
    const int32_t thread = (int32_t)threadIdx.x;
    if (thread < INNER) {
        bias[thread] = p->bias1[thread];
        bias[INNER + thread] = p->bias2[thread];
    }
    bias[2 * INNER + thread] = p->bias3[thread] + (p->shortcut_bias ? p->shortcut_bias[thread] : 0.0f);
}

/* B fragments of this warp's 32 outputs of a 64 -> 256 convolution. Column c of n-tile j is output c/2*8 + 2*j + c%2, which
 * gives every lane 8 neighbouring outputs. b[K step][j] */
static __device__ __forceinline__ void load_outer_weights(const void *weights, uint32_t (&b)[4][4][2])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t g = lane / 4, t = lane % 4;
    const int32_t first = (int32_t)threadIdx.x / 32 * 32 + g / 2 * 8 + g % 2;
#pragma unroll
    for (int32_t j = 0; j < 4; j++) {
        const uint32_t *row = static_cast<const uint32_t *>(weights) + (first + 2 * j) * (INNER / 2);
#pragma unroll
        for (int32_t k = 0; k < 4; k++) {
            b[k][j][0] = row[k * 8 + t];
            b[k][j][1] = row[k * 8 + t + 4];
        }
    }
}

/* ------------------------------------------------------------- sums */

/* The sums of n-tile j begin with bias[stride*j] and [stride*j + 1]: the lane's two outputs. */
template <int TILES, int COUNT>
static __device__ __forceinline__ void start_sums(const float *bias, int32_t stride, float (&sum)[TILES][COUNT][4])
{
#pragma unroll
    for (int32_t j = 0; j < COUNT; j++) {
        const float2 pair = *reinterpret_cast<const float2 *>(bias + stride * j);
#pragma unroll
        for (int32_t m = 0; m < TILES; m++) {
            sum[m][j][0] = sum[m][j][2] = pair.x;
            sum[m][j][1] = sum[m][j][3] = pair.y;
        }
    }
}

/* ------------------------------------------------------------- first convolution */

static __device__ __forceinline__ void wait_for_all_but(int32_t groups)
{
    switch (groups) { /* constant after unrolling */
    case 2:
        rcnn_copy_wait<2>();
        break;
    case 1:
        rcnn_copy_wait<1>();
        break;
    default:
        rcnn_copy_wait<0>();
        break;
    }
}

/* sum[m][j]: pixels 48*(warp/2) + 16*m, inner channels 32*(warp%2) + 8*j. The first chunk of x is there. Where the first
 * chunk has been read, copies of the next tile's start. */
template <typename T, int CHANNELS>
static __device__ __forceinline__ void convolve_first(rcnn_shared_address w1, rcnn_shared_address x,
                                                      const bottleneck_copy *copy, bool first_tile,
                                                      float (&sum)[3][4][4])
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t thread = thread_anew();
    const int32_t lane = thread % 32, warp = thread / 32;
    rcnn_shared_address a_at[3];
#pragma unroll
    for (int32_t m = 0; m < 3; m++) {
        const int32_t pixel = warp / 2 * 48 + m * 16 + lane % 16;
        const int32_t row = pixel < X_COUNT ? pixel : X_COUNT - 1; /* the last 12 of 192 are not used */
        a_at[m] = x + (rcnn_shared_address)(row * at::x_pitch + lane / 16 * 16);
    }
    const rcnn_shared_address b_at =
        w1 + (rcnn_shared_address)((warp % 2 * 32 + lane / 16 * 8 + lane % 8) * at::x_pitch + lane / 8 % 2 * 16);
#pragma unroll
    for (int32_t k = 0; k < CHANNELS / 16; k++) {
        const int32_t chunk = k / (CHUNK / 16);
        if (chunk > 0 && k % (CHUNK / 16) == 0 && (chunk >= at::chunks - at::late || first_tile)) {
            wait_for_all_but(at::chunks - 1 - chunk);
            __syncthreads(); /* the chunk is there, those before it have been read */
        }
        uint32_t a[3][4], b[2][4]; /* b: n-tiles 2i and 2i+1, two registers each */
#pragma unroll
        for (int32_t i = 0; i < 2; i++) {
            rcnn_ldmatrix(b[i], b_at + (rcnn_shared_address)(k * 32 + i * 16 * at::x_pitch));
        }
#pragma unroll
        for (int32_t m = 0; m < 3; m++) {
            rcnn_ldmatrix(a[m], a_at[m] + (rcnn_shared_address)(k * 32));
        }
#pragma unroll
        for (int32_t m = 0; m < 3; m++) {
#pragma unroll
            for (int32_t j = 0; j < 4; j++) {
                rcnn_mma<T>(sum[m][j], a[m][0], a[m][1], a[m][2], a[m][3], b[j / 2][j % 2 * 2],
                            b[j / 2][j % 2 * 2 + 1]);
            }
        }
        if (at::copies_early > 0 && chunk == at::chunks - at::late) {
            load_x<CHANNELS>(copy, k % 4, k % 4 + 1);
        }
    }
}

/* inner1 to shared memory: ReLU; outside the image 0, the second convolution's padding. */
template <typename T>
static __device__ __forceinline__ void store_first(const rcnn_cuda_bottleneck *p, bottleneck_tile tile, char *inner,
                                                   const float (&sum)[3][4][4])
{
    const int32_t thread = thread_anew();
    const int32_t lane = thread % 32, warp = thread / 32;
#pragma unroll
    for (int32_t i = 0; i < 6; i++) {
        const int32_t pixel = warp / 2 * 48 + i * 8 + lane / 4;
        const bool live = in_image(p, tile.y - 1 + pixel / X_W, tile.x - 1 + pixel % X_W);
        uint32_t *row = reinterpret_cast<uint32_t *>(inner + pixel * INNER_PITCH) + warp % 2 * 16 + lane % 4;
#pragma unroll
        for (int32_t j = 0; j < 4; j++) {
            const float(&s)[4] = sum[i / 2][j];
            const uint32_t pair = rcnn_relu_pair<T>(rcnn_pack<T>(s[i % 2 * 2], s[i % 2 * 2 + 1]));
            if (pixel < X_COUNT) {
                row[j * 4] = live ? pair : 0u;
            }
        }
    }
}

/* ------------------------------------------------------------- a lane's part of the result */

/* This lane's part of x and dst: of every row of 16 pixels the pixels g and g+8, 8 channels of the warp's 32. */
typedef struct bottleneck_part {
    size_t first;         /* byte of the tile's first row, pixel g */
    int32_t rows, pixels; /* of the tile that are in the image: up to 8; 0, 1 or 2 */
} bottleneck_part;

static __device__ __forceinline__ bottleneck_part part_of(const rcnn_cuda_bottleneck *p, bottleneck_tile tile)
{
    const int32_t column = tile.x + (int32_t)threadIdx.x % 32 / 4;
    bottleneck_part part;
    part.pixels = (column < p->width) + (column + 8 < p->width);
    part.rows = p->height - tile.y;
    part.first = (pixel_at(p, tile.image, tile.y, part.pixels ? column : tile.x) * OUTER + threadIdx.x / 32 * 32 +
                  threadIdx.x % 4 * 8) *
                 2;
    return part;
}

/* x of a row for the sum at the end; what is outside the image repeats what is inside, and is not used. */
static __device__ __forceinline__ void load_identity(const rcnn_cuda_bottleneck *p, const bottleneck_part *part,
                                                     int32_t row, uint4 (&x)[2])
{
    const char *src = static_cast<const char *>(p->src) + part->first +
                      (size_t)min(row, part->rows - 1) * (size_t)p->width * (OUTER * 2);
    x[0] = rcnn_load_early(src);
    x[1] = rcnn_load_early(src + (part->pixels == 2 ? 8 * OUTER * 2 : 0));
}

/* ------------------------------------------------------------- second convolution */

/* sum[r][j]: output row 4*(warp/4) + r, channels 16*(warp%4) + 8*j. Starts on the way what memory has to bring: the rest of
 * the next tile's x and, without a shortcut, the first rows of identity. */
template <typename T, int CHANNELS>
static __device__ __forceinline__ void convolve_second(const rcnn_cuda_bottleneck *p, rcnn_shared_address w2,
                                                       rcnn_shared_address inner, const bottleneck_copy *copy,
                                                       const bottleneck_part *part, uint4 (&identity)[TILE_H][2],
                                                       float (&sum)[4][2][4])
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t steps = 3 * INNER / 16;
    const int32_t left = at::copies - at::copies_early;
    const int32_t thread = thread_anew();
    const int32_t lane = thread % 32, warp = thread / 32;
    const rcnn_shared_address a_at =
        inner + (rcnn_shared_address)((warp / 4 * 4 * X_W + lane % 16) * INNER_PITCH + lane / 16 * 16);
    const rcnn_shared_address b_at =
        w2 + (rcnn_shared_address)((warp % 4 * 16 + lane / 16 * 8 + lane % 8) * W2_PITCH + lane / 8 % 2 * 16);
#pragma unroll
    for (int32_t step = 0; step < steps; step++) {
        const int32_t kx = step / (INNER / 16), k = step % (INNER / 16);
        uint32_t b[3][4];
#pragma unroll
        for (int32_t ky = 0; ky < 3; ky++) {
            rcnn_ldmatrix(b[ky], b_at + (rcnn_shared_address)((ky * 3 + kx) * INNER * 2 + k * 32));
        }
#pragma unroll
        for (int32_t row = 0; row < 6; row++) {
            uint32_t a[4];
            rcnn_ldmatrix(a, a_at + (rcnn_shared_address)((row * X_W + kx) * INNER_PITCH + k * 32));
#pragma unroll
            for (int32_t ky = 0; ky < 3; ky++) {
                const int32_t r = row - ky;
                if (r < 0 || r > 3) {
                    continue;
                }
                rcnn_mma<T>(sum[r][0], a[0], a[1], a[2], a[3], b[ky][0], b[ky][1]);
                rcnn_mma<T>(sum[r][1], a[0], a[1], a[2], a[3], b[ky][2], b[ky][3]);
            }
        }
        load_x<CHANNELS>(copy, at::copies_early + step * left / steps, at::copies_early + (step + 1) * left / steps);
        if (!at::shortcut && step % 2 == 1 && step / 2 < IDENTITY_AHEAD) {
            load_identity(p, part, step / 2, identity[step / 2]);
        }
    }
}

/* inner2 to shared memory, pixel 16*row + column of the tile. */
template <typename T> static __device__ __forceinline__ void store_second(char *inner, const float (&sum)[4][2][4])
{
    const int32_t thread = thread_anew();
    const int32_t lane = thread % 32, warp = thread / 32;
#pragma unroll
    for (int32_t i = 0; i < 8; i++) {
        const int32_t pixel = warp / 4 * 64 + i * 8 + lane / 4;
        uint32_t *row = reinterpret_cast<uint32_t *>(inner + pixel * INNER_PITCH) + warp % 4 * 8 + lane % 4;
#pragma unroll
        for (int32_t j = 0; j < 2; j++) {
            const float(&s)[4] = sum[i / 2][j];
            row[j * 4] = rcnn_relu_pair<T>(rcnn_pack<T>(s[i % 2 * 2], s[i % 2 * 2 + 1]));
        }
    }
}

/* ------------------------------------------------------------- third convolution */

/* sum[m][j] += rows of 16 pixels m = 0, 1 at `rows`, `pitch` bytes a pixel, `next` bytes between the two. */
template <typename T>
static __device__ __forceinline__ void multiply_rows(rcnn_shared_address rows, int32_t pitch, int32_t next,
                                                     const uint32_t (&b)[4][4][2], float (&sum)[2][4][4])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const rcnn_shared_address a_at = rows + (rcnn_shared_address)(lane % 16 * pitch + lane / 16 * 16);
#pragma unroll
    for (int32_t k = 0; k < 4; k++) {
#pragma unroll
        for (int32_t m = 0; m < 2; m++) {
            uint32_t a[4];
            rcnn_ldmatrix(a, a_at + (rcnn_shared_address)(m * next + k * 32));
#pragma unroll
            for (int32_t j = 0; j < 4; j++) {
                rcnn_mma<T>(sum[m][j], a[0], a[1], a[2], a[3], b[k][j][0], b[k][j][1]);
            }
        }
    }
}

/* Adds x, applies ReLU and stores a row of 16 pixels; dst: this lane's part of it. */
template <typename T>
static __device__ __forceinline__ void store_third(char *dst, int32_t pixels, const float (&sum)[4][4],
                                                   const uint4 (&x)[2])
{
#pragma unroll
    for (int32_t i = 0; i < 2; i++) {
        const uint32_t identity[4] = {x[i].x, x[i].y, x[i].z, x[i].w};
        uint32_t pair[4];
#pragma unroll
        for (int32_t j = 0; j < 4; j++) {
            pair[j] = rcnn_relu_pair<T>(
                rcnn_pack<T>(sum[j][2 * i] + rcnn_low<T>(identity[j]), sum[j][2 * i + 1] + rcnn_high<T>(identity[j])));
        }
        if (i < pixels) {
            *reinterpret_cast<uint4 *>(dst + i * 8 * OUTER * 2) = make_uint4(pair[0], pair[1], pair[2], pair[3]);
        }
    }
}

/* From inner2 (and x) in shared memory to dst, two rows of 16 pixels at a time. */
template <typename T, int CHANNELS>
static __device__ __forceinline__ void convolve_third(const rcnn_cuda_bottleneck *p, const bottleneck_part *part,
                                                      const float *bias, rcnn_shared_address inner,
                                                      rcnn_shared_address x, const uint32_t (&w3)[4][4][2],
                                                      const uint32_t (&ws)[4][4][2], uint4 (&identity)[TILE_H][2])
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t output = thread_anew() / 32 * 32 + thread_anew() % 4 * 8;
    char *dst = static_cast<char *>(p->dst) + part->first;
#pragma unroll
    for (int32_t row = 0; row < TILE_H; row += 2) {
        float sum[2][4][4];
        start_sums(bias + output, 2, sum);
        if (at::shortcut) {
            const rcnn_shared_address inside = x + (rcnn_shared_address)(((row + 1) * X_W + 1) * at::x_pitch);
            multiply_rows<T>(inside, at::x_pitch, X_W * at::x_pitch, ws, sum);
            identity[row][0] = identity[row][1] = make_uint4(0, 0, 0, 0);
            identity[row + 1][0] = identity[row + 1][1] = make_uint4(0, 0, 0, 0);
        } else {
#pragma unroll
            for (int32_t r = row + IDENTITY_AHEAD; r < row + IDENTITY_AHEAD + 2 && r < TILE_H; r++) {
                load_identity(p, part, r, identity[r]);
            }
        }
        multiply_rows<T>(inner + (rcnn_shared_address)(row * TILE_W * INNER_PITCH), INNER_PITCH, TILE_W * INNER_PITCH,
                         w3, sum);
#pragma unroll
        for (int32_t r = row; r < row + 2; r++) {
            store_third<T>(dst, r < part->rows ? part->pixels : 0, sum[r - row], identity[r]);
            dst += (size_t)p->width * (OUTER * 2);
        }
    }
}

/* ------------------------------------------------------------- kernel */

template <typename T, int CHANNELS>
static __global__ void __launch_bounds__(THREADS, 1) bottleneck_nhwc_kernel(rcnn_cuda_bottleneck p, int32_t tiles)
{
    typedef bottleneck_layout<CHANNELS> at;
    RCNN_DYNAMIC_SHARED(char, shared);
    const rcnn_shared_address base = rcnn_address_of_shared(shared);
    float *bias = reinterpret_cast<float *>(shared + at::bias);
    load_rows<CHANNELS * 2, at::x_pitch>(p.weights1, INNER, base + at::w1);
    load_rows<9 * INNER * 2, W2_PITCH>(p.weights2, INNER, base + at::w2);
    rcnn_copy_commit();
    load_biases(&p, bias);
    uint32_t w3[4][4][2], ws[4][4][2];
    load_outer_weights(p.weights3, w3);
    if (at::shortcut) {
        load_outer_weights(p.shortcut, ws);
    }
    rcnn_begin(); /* what came before were constants */
    const bottleneck_tiles all = {(p.height + TILE_H - 1) & -TILE_H, (p.width + TILE_W - 1) & -TILE_W};
    const bottleneck_tile step = tile_at(all, (int32_t)gridDim.x);
    bottleneck_tile tile = tile_at(all, (int32_t)blockIdx.x);
    rcnn_shared_address x = base + at::x;
    bottleneck_copy copy;
    plan_copy<CHANNELS>(&p, tile, true, x, &copy);
    load_x<CHANNELS>(&copy, 0, at::copies);
    rcnn_copy_wait<at::chunks - 1>();
    for (int32_t index = (int32_t)blockIdx.x; index < tiles; index += (int32_t)gridDim.x) {
        __syncthreads(); /* the first chunk of x is there, inner2 has been read */
        const bool more = index + (int32_t)gridDim.x < tiles;
        const bottleneck_tile next = more ? tile_after(all, tile, step) : tile;
        const rcnn_shared_address next_x = at::x_buffers == 1 ? x : 2 * (base + at::x) + at::x_bytes - x;
        plan_copy<CHANNELS>(&p, next, more, next_x, &copy);
        float sum1[3][4][4];
        start_sums(bias + thread_anew() / 32 % 2 * 32 + thread_anew() % 4 * 2, 8, sum1);
        convolve_first<T, CHANNELS>(base + at::w1, x, &copy, index == (int32_t)blockIdx.x, sum1);
        store_first<T>(&p, tile, shared + at::inner, sum1);
        __syncthreads(); /* inner1 is complete, x (with a shortcut: the other buffer) is free */
        const bottleneck_part part = part_of(&p, tile);
        uint4 identity[TILE_H][2];
        float sum2[4][2][4];
        start_sums(bias + INNER + thread_anew() / 32 % 4 * 16 + thread_anew() % 4 * 2, 8, sum2);
        convolve_second<T, CHANNELS>(&p, base + at::w2, base + at::inner, &copy, &part, identity, sum2);
        __syncthreads(); /* inner1 has been read */
        store_second<T>(shared + at::inner, sum2);
        __syncthreads();
        convolve_third<T, CHANNELS>(&p, &part, bias + 2 * INNER, base + at::inner, x, w3, ws, identity);
        x = next_x;
        tile = next;
        rcnn_copy_wait<at::late>(); /* the next x, or zeros after the last tile */
    }
    rcnn_copy_wait<0>();
}

size_t rcnn_cuda_bottleneck_shared(int32_t channels)
{
    return channels == OUTER ? bottleneck_layout<OUTER>::bytes : bottleneck_layout<INNER>::bytes;
}

template <typename T, int CHANNELS>
static cudaError_t launch(const rcnn_cuda_bottleneck *p, int32_t tiles, cudaStream_t stream)
{
    const int bytes = bottleneck_layout<CHANNELS>::bytes;
    const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void *>(bottleneck_nhwc_kernel<T, CHANNELS>),
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (status != cudaSuccess) {
        return status;
    }
    const int32_t multiprocessors = rcnn_multiprocessors();
    const uint32_t blocks = (uint32_t)(tiles < multiprocessors ? tiles : multiprocessors);
    RCNN_LAUNCH((bottleneck_nhwc_kernel<T, CHANNELS>), blocks, THREADS, bytes, stream, *p, tiles);
    return cudaGetLastError();
}

cudaError_t rcnn_cuda_bottleneck_launch(const rcnn_cuda_bottleneck *p, cudaStream_t stream)
{
    const int64_t tiles =
        (int64_t)p->n * ((p->height + TILE_H - 1) / TILE_H) * (int64_t)((p->width + TILE_W - 1) / TILE_W);
    if ((p->channels != OUTER && p->channels != INNER) || tiles > INT32_MAX / 2 ||
        (p->type != RCNN_CUDA_F16 && p->type != RCNN_CUDA_BF16)) {
        return cudaErrorInvalidValue;
    }
    const bool half = p->type == RCNN_CUDA_F16;
    if (p->channels == OUTER) {
        return half ? launch<__half, OUTER>(p, (int32_t)tiles, stream)
                    : launch<__nv_bfloat16, OUTER>(p, (int32_t)tiles, stream);
    }
    return half ? launch<__half, INNER>(p, (int32_t)tiles, stream)
                : launch<__nv_bfloat16, INNER>(p, (int32_t)tiles, stream);
}
