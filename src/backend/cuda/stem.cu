/* The stem in one kernel: 7x7 stride 2 convolution, bias, ReLU and 3x3 stride 2 max pooling, so that the convolution's
 * output (four times what goes in and out) never leaves the registers.
 *
 * Implicit GEMM by mma.m16n8k16. Of an input row, the 8 pixels 2*ox-4 .. 2*ox+3 of 4 channels are the 32 values of K for
 * filter row ky; the filter's columns stand at pixels 1..7 of them, the weight of pixel 0 is 0. In units of two pixels (16
 * bytes) that is unit ox-2 .. ox+1: neighbouring outputs are one unit apart, and an image of even width has its units
 * on 16 bytes.
 *
 * A block of two warps, 32 channels each, walks down a strip of 15 pooled columns. The 16 rows of an mma are the odd
 * convolution columns 2*px-1 and the even ones 2*px of 8 pooled columns, so that a lane has both of a pair and the third
 * column of the pooling window is one shuffle away. Two such tiles make 31 useful convolution columns of 32. A step makes
 * one pooled row from two new convolution rows and the odd row of the step before, which stays in registers as halves.
 * All weights of a warp stay in registers, 112 of them; the input comes through a ring of 16 rows in shared memory, four
 * rows a step, one step ahead.
 *
 * Shared memory: units of even and odd number apart, so that the 8 rows of a matrix are 8 neighbouring units (no bank
 * conflicts).
 *
 * The steps of all strips and images in a row are cut into one equal piece a block; a piece that does not begin at the
 * top of a strip makes one convolution row more. */
#include "backend/cuda/mma.cuh"

#define STRIP     15          /* pooled columns of a strip                  */
#define UNITS     35          /* pixel pairs of a strip's input row         */
#define PLANE     320         /* bytes from the even units to the odd ones  */
#define ROW       (2 * PLANE) /* bytes of an input row in shared memory     */
#define RING_ROWS 16
#define CHANNELS  64
#define THREADS   64 /* a warp for each half of the channels */

/* blocks of 64 threads with up to 255 registers on a multiprocessor */
#define BLOCKS_RESIDENT 4

typedef struct stem_strip {
    int32_t image, strip; /* of STRIP pooled columns   */
    int32_t row;          /* first pooled row          */
    int32_t count;        /* pooled rows               */
} stem_strip;

/* ------------------------------------------------------------- input */

/* Starts the copy of ring group `group`: input rows 4*row-5 + 4*group .. +3. 16 lanes a row. */
static __device__ __forceinline__ void load_group(const rcnn_cuda_stem *p, const stem_strip *s,
                                                  rcnn_shared_address ring, int32_t group)
{
    const int32_t lane = (int32_t)threadIdx.x % 16;
    const int32_t in_group = (int32_t)threadIdx.x / 16;
    const int32_t y = 4 * s->row - 5 + 4 * group + in_group;
    const bool row_live = y >= 0 && y < p->height;
    const char *src = static_cast<const char *>(p->src);
    const size_t row_at = ((size_t)s->image * (size_t)p->height + (size_t)(row_live ? y : 0)) * (size_t)p->width;
    const rcnn_shared_address dst = ring + (rcnn_shared_address)((4 * group + in_group) % RING_ROWS * ROW);
    for (int32_t unit = lane; unit < UNITS; unit += 16) {
        const int32_t x = 2 * (2 * STRIP * s->strip - 3 + unit);
        const rcnn_shared_address to = dst + (rcnn_shared_address)(unit % 2 * PLANE + unit / 2 * 16);
        if (p->width % 2 == 0) {
            const bool live = row_live && x >= 0 && x < p->width;
            rcnn_copy_async<16>(to, live ? src + (row_at + (size_t)x) * 8 : src, live);
            continue;
        }
        for (int32_t i = 0; i < 2; i++) { /* rows of odd width begin on 8 bytes */
            const bool live = row_live && x + i >= 0 && x + i < p->width;
            rcnn_copy_async<8>(to + (rcnn_shared_address)(8 * i), live ? src + (row_at + (size_t)(x + i)) * 8 : src,
                               live);
        }
    }
    rcnn_copy_commit();
}

/* The groups of the first step and of the convolution row before it. */
static __device__ __forceinline__ void start_strip(const rcnn_cuda_stem *p, const stem_strip *s,
                                                   rcnn_shared_address ring)
{
#pragma unroll 1
    for (int32_t group = 0; group < 3; group++) {
        load_group(p, s, ring, group);
    }
}

/* ------------------------------------------------------------- weights */

/* The B fragments of all K steps of this warp's 32 channels. Column c of n-tile j is channel c/2*8 + 2*j + c%2, which
 * gives every lane 8 neighbouring channels of the output. b[2*ky+s][j]: K step s of filter row ky. */
static __device__ __forceinline__ void load_weights(const void *weights, int32_t first_channel, uint32_t (&b)[14][4][2])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t g = lane / 4, t = lane % 4;
    const char *src = static_cast<const char *>(weights) + (first_channel + g / 2 * 8) * 2;
#pragma unroll
    for (int32_t step = 0; step < 14; step++) {
#pragma unroll
        for (int32_t half = 0; half < 2; half++) {
            uint32_t low[4], high[4]; /* K values k and k+1, channels 2j and 2j+1 in word j */
            const int32_t k = step % 2 * 16 + half * 8 + 2 * t;
            const int32_t tap = step / 2 * 8 + (k / 4 + 7) % 8; /* pixel 0 has the weights of column 7: zeros */
            const uint4 *from = reinterpret_cast<const uint4 *>(src + (tap * 4 + k % 4) * CHANNELS * 2);
            *reinterpret_cast<uint4 *>(low) = from[0];
            *reinterpret_cast<uint4 *>(high) = from[CHANNELS * 2 / 16];
#pragma unroll
            for (int32_t j = 0; j < 4; j++) {
                b[step][j][half] = __byte_perm(low[j], high[j], g % 2 ? 0x7632 : 0x5410);
            }
        }
    }
}

/* ------------------------------------------------------------- convolution */

/* Adds ROWS neighbouring convolution rows (1 or 2) of both tiles to sum[row][tile][j]; the first reads the input rows at
 * ring row `first` on, the second those two later. at: this lane's matrix row in a row of the ring. */
template <typename T, int ROWS>
static __device__ __forceinline__ void convolve(rcnn_shared_address ring, int32_t first, int32_t at,
                                                const uint32_t (&b)[14][4][2], float (&sum)[2][2][4][4])
{
#pragma unroll
    for (int32_t i = 0; i < 7 + 2 * (ROWS - 1); i++) {
        const rcnn_shared_address row = ring + (rcnn_shared_address)((first + i) % RING_ROWS * ROW + at);
        uint32_t a[2][2][4]; /* [K step][tile] */
#pragma unroll
        for (int32_t m = 0; m < 4; m++) {
            rcnn_ldmatrix(a[m / 2][m % 2], row + (rcnn_shared_address)(m / 2 * 16 + m % 2 * 8 * 16));
        }
#pragma unroll
        for (int32_t r = 0; r < ROWS; r++) {
            const int32_t ky = i - 2 * r;
            if (ky < 0 || ky > 6) {
                continue;
            }
#pragma unroll
            for (int32_t m = 0; m < 4; m++) {
                const uint32_t(&tile)[4] = a[m / 2][m % 2];
#pragma unroll
                for (int32_t j = 0; j < 4; j++) {
                    const uint32_t(&w)[2] = b[2 * ky + m / 2][j];
                    rcnn_mma<T>(sum[r][m % 2][j], tile[0], tile[1], tile[2], tile[3], w[0], w[1]);
                }
            }
        }
    }
}

/* bias: this lane's 8 channels */
static __device__ __forceinline__ void start_sums(const float *bias, float (&sum)[2][4][4])
{
#pragma unroll
    for (int32_t j = 0; j < 4; j++) {
        const float2 pair = reinterpret_cast<const float2 *>(bias)[j];
#pragma unroll
        for (int32_t m = 0; m < 2; m++) {
            sum[m][j][0] = sum[m][j][2] = pair.x;
            sum[m][j][1] = sum[m][j][3] = pair.y;
        }
    }
}

/* ------------------------------------------------------------- pooling */

/* Maxima of the columns of a pooling window in registers: [tile][j] pairs of the odd and the even convolution columns.
 * ReLU comes last, so that 0 stands for what is outside. */
typedef struct stem_columns {
    uint32_t odd[2][4], even[2][4];
} stem_columns;

template <typename T> static __device__ __forceinline__ void take_row(const float (&sum)[2][4][4], stem_columns *row)
{
#pragma unroll
    for (int32_t m = 0; m < 2; m++) {
#pragma unroll
        for (int32_t j = 0; j < 4; j++) {
            row->odd[m][j] = rcnn_pack<T>(sum[m][j][0], sum[m][j][1]);
            row->even[m][j] = rcnn_pack<T>(sum[m][j][2], sum[m][j][3]);
        }
    }
}

static __device__ __forceinline__ void clear_row(stem_columns *row)
{
#pragma unroll
    for (int32_t i = 0; i < 8; i++) {
        row->odd[i / 4][i % 4] = row->even[i / 4][i % 4] = 0;
    }
}

template <typename T> static __device__ __forceinline__ void max_row(stem_columns *best, const stem_columns *row)
{
#pragma unroll
    for (int32_t i = 0; i < 8; i++) {
        const int32_t m = i / 4, j = i % 4;
        best->odd[m][j] = rcnn_max_pair<T>(best->odd[m][j], row->odd[m][j]);
        best->even[m][j] = rcnn_max_pair<T>(best->even[m][j], row->even[m][j]);
    }
}

/* Pools across columns and stores one pooled row of the strip: pooled column 8m+g of it, 8 channels a lane. */
template <typename T>
static __device__ __forceinline__ void store_row(const rcnn_cuda_stem *p, const stem_strip *s, int32_t row,
                                                 int32_t channel, stem_columns *best)
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t g = lane / 4;
    char *dst = static_cast<char *>(p->dst);
#pragma unroll
    for (int32_t m = 0; m < 2; m++) { /* columns outside: 2*px-1 of the first pooled column, 2*px+1 of the last */
        const int32_t x = 2 * (STRIP * s->strip + 8 * m + g) - 1;
        if (x < 0 || x >= p->conv_width) {
#pragma unroll
            for (int32_t j = 0; j < 4; j++) {
                best->odd[m][j] = 0;
            }
        }
    }
#pragma unroll
    for (int32_t m = 0; m < 2; m++) {
        uint32_t pooled[4];
#pragma unroll
        for (int32_t j = 0; j < 4; j++) {
            /* the odd column of the next pooled one: of the lane four on, past the tile's end of the next tile */
            const uint32_t give = m == 0 && g == 0 ? best->odd[1][j] : best->odd[m][j];
            const uint32_t next = __shfl_sync(0xffffffffu, give, (lane + 4) % 32);
            const uint32_t own = rcnn_max_pair<T>(best->odd[m][j], best->even[m][j]);
            pooled[j] = rcnn_relu_pair<T>(rcnn_max_pair<T>(own, next));
        }
        const int32_t in_strip = 8 * m + g;
        const int32_t x = STRIP * s->strip + in_strip;
        if (in_strip < STRIP && x < p->pool_width) {
            const size_t at =
                ((size_t)s->image * (size_t)p->pool_height + (size_t)row) * (size_t)p->pool_width + (size_t)x;
            *reinterpret_cast<uint4 *>(dst + (at * CHANNELS + (size_t)channel) * 2) =
                make_uint4(pooled[0], pooled[1], pooled[2], pooled[3]);
        }
    }
}

/* ------------------------------------------------------------- one strip */

/* After start_strip. The ring may be filled anew when it returns. */
template <typename T>
static __device__ __forceinline__ void walk_strip(const rcnn_cuda_stem *p, const stem_strip *s,
                                                  rcnn_shared_address ring, const uint32_t (&b)[14][4][2])
{
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int32_t channel = (int32_t)threadIdx.x / 32 * 32 + lane % 4 * 8;
    const int32_t unit = lane / 8 % 2 + lane / 16; /* even columns begin a unit later, as does the second half of K */
    const int32_t at = unit % 2 * PLANE + (lane % 8 + unit / 2) * 16;
    float sum[2][2][4][4]; /* [row][tile][j][..] */
    stem_columns above;    /* the odd convolution row of the step before */
    rcnn_copy_wait<0>();
    __syncthreads();
    clear_row(&above);
    if (s->row > 0) {
        start_sums(p->bias + channel, sum[0]);
        convolve<T, 1>(ring, 0, at, b, sum);
        take_row<T>(sum[0], &above);
    }
    for (int32_t step = 0; step < s->count; step++) { /* reads the groups step .. step+2 */
        rcnn_copy_wait<0>();
        __syncthreads();
        if (step + 1 < s->count) {
            load_group(p, s, ring, step + 3);
        }
        start_sums(p->bias + channel, sum[0]);
        start_sums(p->bias + channel, sum[1]);
        convolve<T, 2>(ring, 4 * step + 2, at, b, sum);
        stem_columns best, below;
        take_row<T>(sum[0], &best);
        max_row<T>(&best, &above);
        take_row<T>(sum[1], &below);
        if (2 * (s->row + step) + 1 >= p->conv_height) {
            clear_row(&below);
        }
        max_row<T>(&best, &below);
        above = below;
        store_row<T>(p, s, s->row + step, channel, &best);
    }
    __syncthreads();
}

/* The strip of step `at` of all, and how many of its rows come before step `end`. */
static __device__ __forceinline__ stem_strip strip_at(const rcnn_cuda_stem *p, int32_t strips, int64_t at, int64_t end)
{
    const int64_t column = at / p->pool_height;
    stem_strip s;
    s.image = (int32_t)(column / strips);
    s.strip = (int32_t)(column % strips);
    s.row = (int32_t)(at % p->pool_height);
    s.count = (int32_t)(end - at < p->pool_height - s.row ? end - at : p->pool_height - s.row);
    return s;
}

template <typename T>
static __global__ void __launch_bounds__(THREADS, BLOCKS_RESIDENT) stem_nhwc_kernel(rcnn_cuda_stem p, int32_t strips)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(char, shared);
    const rcnn_shared_address ring = rcnn_address_of_shared(shared);
    const int64_t steps = (int64_t)p.n * strips * p.pool_height;
    const int64_t end = steps * (blockIdx.x + 1) / gridDim.x;
    int64_t at = steps * blockIdx.x / gridDim.x; /* < end: no more blocks than steps */
    stem_strip s = strip_at(&p, strips, at, end);
    start_strip(&p, &s, ring);
    uint32_t b[14][4][2];
    load_weights(p.weights, (int32_t)threadIdx.x / 32 * 32, b);
    for (;;) {
        walk_strip<T>(&p, &s, ring, b);
        at += s.count;
        if (at >= end) {
            return;
        }
        s = strip_at(&p, strips, at, end);
        start_strip(&p, &s, ring);
    }
}

cudaError_t rcnn_cuda_stem_launch(const rcnn_cuda_stem *p, cudaStream_t stream)
{
    if (p->type != RCNN_CUDA_F16 && p->type != RCNN_CUDA_BF16) {
        return cudaErrorInvalidValue;
    }
    const int32_t strips = (p->pool_width + STRIP - 1) / STRIP;
    const int64_t steps = (int64_t)p->n * strips * p->pool_height;
    const int64_t resident = (int64_t)rcnn_multiprocessors() * BLOCKS_RESIDENT;
    const uint32_t blocks = (uint32_t)(steps < resident ? steps : resident);
    if (p->type == RCNN_CUDA_F16) {
        RCNN_LAUNCH(stem_nhwc_kernel<__half>, blocks, THREADS, RING_ROWS * ROW, stream, *p, strips);
    } else {
        RCNN_LAUNCH(stem_nhwc_kernel<__nv_bfloat16>, blocks, THREADS, RING_ROWS * ROW, stream, *p, strips);
    }
    return cudaGetLastError();
}
