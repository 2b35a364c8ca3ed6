/* A ResNet block of stride 1 with 64 inner and 256 outer channels as one kernel. As three kernels its inner activations
 * make two trips to memory each and the small convolutions cannot keep the tensor cores busy.
 *
 * A tile is 8x16 output pixels. With x its 10x18 input pixels (a border of one) and M, N, K the sizes of GEMMs:
 *     inner1 = relu(x w1 + b1)            M 180 (of 192), N 64,  K channels      kept with its border, 0 outside the image
 *     inner2 = relu(3x3 of inner1 + b2)   M 128,          N 64,  K 9*64          takes inner1's place
 *     dst    = relu(inner2 w3 + b3 + x)   M 128,          N 256, K 64            x from memory again (in L2 by then)
 * or, with a shortcut, dst = relu(inner2 w3 + x ws + b3 + bs), K 128, x from shared memory.
 *
 * One block of 8 warps a multiprocessor goes from tile to tile. It keeps w1 and w2 in shared memory and w3 (and ws) in
 * registers. The next tile's x comes in while the second and third convolutions work. Rows in shared memory are 16 bytes
 * longer than their values, so that 8 neighbouring rows are in different banks.
 *
 * The warps share the work so that operands are read from shared memory seldom: 48 pixels x 32 channels in the first
 * convolution; 4 rows of pixels x 16 channels in the second, where a row of inner1 serves up to three rows of outputs;
 * all pixels x 32 channels in the third. */
#include "backend/cuda/mma.cuh"

#define INNER   64
#define OUTER   256
#define TILE_H  8
#define TILE_W  16
#define X_W     (TILE_W + 2)
#define X_COUNT ((TILE_H + 2) * X_W) /* 180 */
#define THREADS 256
#define CHUNK   64 /* channels of x that arrive together */

#define INNER_PITCH (INNER * 2 + 16) /* bytes */
#define W2_PITCH    (9 * INNER * 2 + 16)

/* Shared memory of a block, in bytes. */
template <int CHANNELS> struct bottleneck_layout {
    static const bool shortcut = CHANNELS != OUTER;
    static const int chunks = CHANNELS / CHUNK;
    static const int x_pitch = CHANNELS * 2 + 16;
    static const int x_bytes = X_COUNT * x_pitch;
    static const int x_buffers = shortcut ? 2 : 1; /* the third convolution reads x while the next arrives */
    static const int w1 = 0;
    static const int w2 = w1 + INNER * x_pitch;
    static const int inner = w2 + INNER * W2_PITCH;
    static const int x = inner + X_COUNT * INNER_PITCH;
    static const int bytes = x + x_buffers * x_bytes;
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
    return y >= 0 && y < p->height && x >= 0 && x < p->width;
}

static __device__ __forceinline__ size_t pixel_at(const rcnn_cuda_bottleneck *p, int32_t image, int32_t y, int32_t x)
{
    return ((size_t)image * (size_t)p->height + (size_t)y) * (size_t)p->width + (size_t)x;
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

/* What a thread copies of a tile's x: 16 bytes of every chunk of COPIES pixels, 8 threads a pixel. The last 16 threads have
 * nothing to copy and write zeros between the rows instead: a condition around the copies would split the code that the
 * compiler mixes with the second convolution. */
#define COPIES       6
#define COPY_STEP    (X_COUNT / COPIES)
#define COPY_THREADS (COPY_STEP * 8)
typedef struct bottleneck_copy {
    const char *from[COPIES];
    uint32_t live; /* bit i: pixel i is in the image */
} bottleneck_copy;

/* more: false = zeros for all, there is no such tile */
template <int CHANNELS>
static __device__ __forceinline__ void plan_copy(const rcnn_cuda_bottleneck *p, bottleneck_tile tile, bool more,
                                                 bottleneck_copy *copy)
{
    copy->live = 0;
#pragma unroll
    for (int32_t i = 0; i < COPIES; i++) {
        const int32_t pixel = (int32_t)threadIdx.x / 8 + i * COPY_STEP;
        const int32_t y = tile.y - 1 + pixel / X_W, x = tile.x - 1 + pixel % X_W;
        const bool live = more && threadIdx.x < COPY_THREADS && in_image(p, y, x);
        const size_t at = pixel_at(p, tile.image, live ? y : tile.y, live ? x : tile.x);
        copy->from[i] = static_cast<const char *>(p->src) + at * (CHANNELS * 2) + threadIdx.x % 8 * 16;
        copy->live |= (uint32_t)live << i;
    }
}

/* Starts the copy of one chunk of channels, a group of its own. */
template <int CHANNELS>
static __device__ __forceinline__ void load_chunk(const bottleneck_copy *copy, int32_t chunk, rcnn_shared_address x)
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t thread = (int32_t)threadIdx.x;
    const rcnn_shared_address dst =
        x + (rcnn_shared_address)(thread < COPY_THREADS ? thread / 8 * at::x_pitch + thread % 8 * 16 + chunk * CHUNK * 2
                                                        : (thread - COPY_THREADS) * at::x_pitch + CHANNELS * 2);
#pragma unroll
    for (int32_t i = 0; i < COPIES; i++) {
        rcnn_copy_async<16>(dst + (rcnn_shared_address)(i * COPY_STEP * at::x_pitch), copy->from[i] + chunk * CHUNK * 2,
                            copy->live >> i & 1u);
    }
    rcnn_copy_commit();
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

/* The sums of n-tile j begin with bias[stride*j] and [stride*j + 1] (and more[..], unless NULL): the lane's two outputs. */
template <int TILES, int COUNT>
static __device__ __forceinline__ void start_sums(const float *bias, const float *more, int32_t stride,
                                                  float (&sum)[TILES][COUNT][4])
{
#pragma unroll
    for (int32_t j = 0; j < COUNT; j++) {
        float2 pair = *reinterpret_cast<const float2 *>(bias + stride * j);
        if (more) {
            pair.x += more[stride * j];
            pair.y += more[stride * j + 1];
        }
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
    case 4:
        rcnn_copy_wait<4>();
        break;
    case 3:
        rcnn_copy_wait<3>();
        break;
    case 2:
        rcnn_copy_wait<2>();
        break;
    default:
        rcnn_copy_wait<1>();
        break;
    }
}

/* sum[m][j]: pixels 48*(warp/2) + 16*m, inner channels 32*(warp%2) + 8*j. The first chunk of x is there; for the first tile
 * the others may be under way, and w2 after them. */
template <typename T, int CHANNELS>
static __device__ __forceinline__ void convolve_first(rcnn_shared_address w1, rcnn_shared_address x, bool first_tile,
                                                      float (&sum)[3][4][4])
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t warp = (int32_t)threadIdx.x / 32;
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
    for (int32_t chunk = 0; chunk < at::chunks; chunk++) {
        if (first_tile && chunk > 0) {
            wait_for_all_but(at::chunks - chunk);
            __syncthreads();
        }
#pragma unroll
        for (int32_t k = 0; k < CHUNK / 16; k++) {
            const rcnn_shared_address step = (rcnn_shared_address)(chunk * CHUNK * 2 + k * 32);
            uint32_t a[3][4], b[2][4]; /* b: n-tiles 2i and 2i+1, two registers each */
#pragma unroll
            for (int32_t i = 0; i < 2; i++) {
                rcnn_ldmatrix(b[i], b_at + step + (rcnn_shared_address)(i * 16 * at::x_pitch));
            }
#pragma unroll
            for (int32_t m = 0; m < 3; m++) {
                rcnn_ldmatrix(a[m], a_at[m] + step);
            }
#pragma unroll
            for (int32_t m = 0; m < 3; m++) {
#pragma unroll
                for (int32_t j = 0; j < 4; j++) {
                    rcnn_mma<T>(sum[m][j], a[m][0], a[m][1], a[m][2], a[m][3], b[j / 2][j % 2 * 2],
                                b[j / 2][j % 2 * 2 + 1]);
                }
            }
        }
    }
}

/* inner1 to shared memory: ReLU; outside the image 0, the second convolution's padding. */
template <typename T>
static __device__ __forceinline__ void store_first(const rcnn_cuda_bottleneck *p, bottleneck_tile tile, char *inner,
                                                   const float (&sum)[3][4][4])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t warp = (int32_t)threadIdx.x / 32;
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

/* ------------------------------------------------------------- second convolution */

/* sum[r][j]: output row 4*(warp/4) + r, channels 16*(warp%4) + 8*j. Starts the copies of the next tile on the way. */
template <typename T, int CHANNELS>
static __device__ __forceinline__ void convolve_second(rcnn_shared_address w2, rcnn_shared_address inner,
                                                       const bottleneck_copy *copy, rcnn_shared_address next_x,
                                                       float (&sum)[4][2][4])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t warp = (int32_t)threadIdx.x / 32;
    const rcnn_shared_address a_at =
        inner + (rcnn_shared_address)((warp / 4 * 4 * X_W + lane % 16) * INNER_PITCH + lane / 16 * 16);
    const rcnn_shared_address b_at =
        w2 + (rcnn_shared_address)((warp % 4 * 16 + lane / 16 * 8 + lane % 8) * W2_PITCH + lane / 8 % 2 * 16);
#pragma unroll
    for (int32_t step = 0; step < 3 * INNER / 16; step++) {
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
        if (step < bottleneck_layout<CHANNELS>::chunks) {
            load_chunk<CHANNELS>(copy, step, next_x);
        }
    }
}

/* inner2 to shared memory, pixel 16*row + column of the tile. */
template <typename T> static __device__ __forceinline__ void store_second(char *inner, const float (&sum)[4][2][4])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t warp = (int32_t)threadIdx.x / 32;
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

/* x of rows 0 .. 7 for the sum at the end; what is outside the image repeats what is inside, and is not used. */
static __device__ __forceinline__ void load_identity(const rcnn_cuda_bottleneck *p, const bottleneck_part *part,
                                                     uint4 (&x)[TILE_H][2])
{
    const char *row = static_cast<const char *>(p->src) + part->first;
    const int32_t second = part->pixels == 2 ? 8 * OUTER * 2 : 0;
#pragma unroll
    for (int32_t r = 0; r < TILE_H; r++) {
        x[r][0] = rcnn_load_early(row);
        x[r][1] = rcnn_load_early(row + second);
        row += r + 1 < part->rows ? (size_t)p->width * OUTER * 2 : 0;
    }
}

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
                                                      rcnn_shared_address inner, rcnn_shared_address x,
                                                      const uint32_t (&w3)[4][4][2], const uint32_t (&ws)[4][4][2],
                                                      uint4 (&identity)[TILE_H][2])
{
    typedef bottleneck_layout<CHANNELS> at;
    const int32_t output = (int32_t)threadIdx.x / 32 * 32 + (int32_t)threadIdx.x % 4 * 8;
    char *dst = static_cast<char *>(p->dst) + part->first;
#pragma unroll
    for (int32_t row = 0; row < TILE_H; row += 2) {
        float sum[2][4][4];
        start_sums(p->bias3 + output, at::shortcut ? p->shortcut_bias + output : NULL, 2, sum);
        if (at::shortcut) {
            const rcnn_shared_address inside = x + (rcnn_shared_address)(((row + 1) * X_W + 1) * at::x_pitch);
            multiply_rows<T>(inside, at::x_pitch, X_W * at::x_pitch, ws, sum);
            identity[row][0] = identity[row][1] = make_uint4(0, 0, 0, 0);
            identity[row + 1][0] = identity[row + 1][1] = make_uint4(0, 0, 0, 0);
        }
        multiply_rows<T>(inner + (rcnn_shared_address)(row * TILE_W * INNER_PITCH), INNER_PITCH, TILE_W * INNER_PITCH,
                         w3, sum);
#pragma unroll
        for (int32_t r = row; r < row + 2; r++) {
            store_third<T>(dst + (size_t)r * (size_t)p->width * OUTER * 2, r < part->rows ? part->pixels : 0,
                           sum[r - row], identity[r]);
        }
    }
}

/* ------------------------------------------------------------- kernel */

template <typename T, int CHANNELS>
static __global__ void __launch_bounds__(THREADS, 1) bottleneck_nhwc_kernel(rcnn_cuda_bottleneck p, int32_t tiles)
{
    rcnn_begin();
    typedef bottleneck_layout<CHANNELS> at;
    RCNN_DYNAMIC_SHARED(char, shared);
    const rcnn_shared_address base = rcnn_address_of_shared(shared);
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t warp = (int32_t)threadIdx.x / 32;
    const bottleneck_tiles all = {(p.height + TILE_H - 1) / TILE_H * TILE_H, (p.width + TILE_W - 1) / TILE_W * TILE_W};
    const bottleneck_tile step = tile_at(all, (int32_t)gridDim.x);
    bottleneck_tile tile = tile_at(all, (int32_t)blockIdx.x);
    bottleneck_copy copy;
    load_rows<CHANNELS * 2, at::x_pitch>(p.weights1, INNER, base + at::w1); /* in the first chunk's group */
    plan_copy<CHANNELS>(&p, tile, true, &copy);
    for (int32_t chunk = 0; chunk < at::chunks; chunk++) {
        load_chunk<CHANNELS>(&copy, chunk, base + at::x);
    }
    load_rows<9 * INNER * 2, W2_PITCH>(p.weights2, INNER, base + at::w2);
    rcnn_copy_commit();
    uint32_t w3[4][4][2], ws[4][4][2];
    load_outer_weights(p.weights3, w3);
    if (at::shortcut) {
        load_outer_weights(p.shortcut, ws);
    }
    rcnn_shared_address x = base + at::x;
    wait_for_all_but(at::chunks);
    for (int32_t index = (int32_t)blockIdx.x; index < tiles; index += (int32_t)gridDim.x) {
        const bool first_tile = index == (int32_t)blockIdx.x;
        __syncthreads(); /* x is there, inner2 has been read */
        const bool more = index + (int32_t)gridDim.x < tiles;
        const bottleneck_tile next = more ? tile_after(all, tile, step) : tile;
        plan_copy<CHANNELS>(&p, next, more, &copy);
        float sum1[3][4][4];
        start_sums(p.bias1 + warp % 2 * 32 + lane % 4 * 2, NULL, 8, sum1);
        convolve_first<T, CHANNELS>(base + at::w1, x, first_tile, sum1);
        store_first<T>(&p, tile, shared + at::inner, sum1);
        rcnn_copy_wait<0>(); /* w2, before the first tile */
        __syncthreads();     /* inner1 is complete, x (with a shortcut: the other buffer) is free */
        const bottleneck_part part = part_of(&p, tile);
        uint4 identity[TILE_H][2];
        if (!at::shortcut) {
            load_identity(&p, &part, identity);
        }
        const rcnn_shared_address next_x = at::x_buffers == 1 ? x : 2 * (base + at::x) + at::x_bytes - x;
        float sum2[4][2][4];
        start_sums(p.bias2 + warp % 4 * 16 + lane % 4 * 2, NULL, 8, sum2);
        convolve_second<T, CHANNELS>(base + at::w2, base + at::inner, &copy, next_x, sum2);
        __syncthreads(); /* inner1 has been read */
        store_second<T>(shared + at::inner, sum2);
        __syncthreads();
        convolve_third<T, CHANNELS>(&p, &part, base + at::inner, x, w3, ws, identity);
        x = next_x;
        tile = next;
        rcnn_copy_wait<0>(); /* the next x, or zeros after the last tile */
    }
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
