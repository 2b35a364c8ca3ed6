/* See conv_sm90.h. One persistent block a multiprocessor: a producer warp keeps a ring of tiles in flight with the copy
 * engine, two warp groups multiply 64 x tile_out each. Two blocks form a cluster and work on neighbouring pixel tiles
 * with the same weights: each brings half of the weights' tile to both, which takes a third of the traffic from L2, the
 * limit of a 3x3 convolution (48 KB a step of 4.2 MFLOP without it).
 *
 * Step s of a tile covers tap s / chunks and 64 channels. A pixel tile of a tap is one box of the source, shifted; what
 * lies outside the map arrives as zeros. */
#include "backend/cuda/conv_sm90.h"

#include "backend/cuda/device.cuh"
#include "backend/cuda/wgmma.cuh"

#define CLUSTER       2
#define CONSUMERS     2 /* warp groups */
#define GROUP         128
#define BLOCK         (GROUP * (CONSUMERS + 1))
#define SRC_BYTES     (RCNN_SM90_TILE_ROWS * 128)
#define STAGING_BYTES (RCNN_SM90_TILE_ROWS * 128) /* 64 channels of a tile */
#define TOP_BYTES     (STAGING_BYTES / 4)         /* the same of a map of half the size */
#define STEP_K        16
#define CONSUMER_ROWS 64
#define PRED_PITCH    264 /* half values of a row of pred_weights in shared memory: 16 bytes more than 256, no conflicts */
#define BARRIER_BYTES 256
#define NARROW        64 /* outputs of a narrow tile */

/* What is added before the ReLU. */
enum { NO_RESIDUAL, SAME_SIZE, UPSAMPLED };

/* Shared memory: a ring of stages (pixels and weights), staging chunks for results, and room for upsampled residuals. */
template <int TILE_OUT, int EPILOGUE, int RESIDUAL> struct geometry {
    static const int WEIGHT_BYTES = TILE_OUT * 128;
    static const int STAGE_BYTES = SRC_BYTES + WEIGHT_BYTES;
    static const int STAGING = EPILOGUE != RCNN_SM90_STORE ? 0 : RESIDUAL == NO_RESIDUAL ? 2 : 4;
    /* as many as fit: a step of a narrow tile is over before its bytes have come */
    static const int STAGES = TILE_OUT == 256   ? (RESIDUAL == NO_RESIDUAL ? 4 : 3)
                              : TILE_OUT == 128 ? (RESIDUAL == NO_RESIDUAL ? 6
                                                   : RESIDUAL == SAME_SIZE ? 5
                                                                           : 4)
                                                : (RESIDUAL == NO_RESIDUAL ? 8 : 6);
    static const int TOP = RESIDUAL == UPSAMPLED ? STAGING * TOP_BYTES : 0;
    static const int BARRIERS = 2 * STAGES + 2 * STAGING;
    static const int SHARED_BYTES = 1024 + BARRIER_BYTES + STAGES * STAGE_BYTES + STAGING * STAGING_BYTES + TOP;
    static const int CHUNKS = TILE_OUT / RCNN_SM90_CHUNK;
};

/* Addresses of the parts in shared memory. */
struct layout {
    uint32_t ring, staging, top;
    uint32_t full, empty; /* a stage's bytes have arrived; all its readers in the cluster are done  */
    uint32_t ready;       /* a staging chunk is free and its residual has arrived                   */
    uint32_t staged;      /* a staging chunk holds results                                          */
};

/* Which pixels and outputs a block works on next. */
struct tile {
    int segment, image, y, x, out;
    bool narrow;
    bool live; /* the second block of a pair may have none: it still passes weights on */
};

/* What a launch works on. Tile pairs of tile_out outputs come first; when the last round would leave most clusters
 * idle, its pairs are cut into pairs of NARROW outputs, which take 0.4 of the time. */
struct schedule {
    int live;  /* live images of segment 0; for DOT live pixels of its one row */
    int wide;  /* pairs of full width */
    int total; /* pairs */
    int rank;  /* of this block in its cluster */
};

static __device__ __forceinline__ int tiles_of(const rcnn_sm90_conv &p, const schedule &plan, int segment)
{
    const rcnn_sm90_segment &s = p.segment[segment];
    const int live = segment == 0 ? plan.live : s.n;
    if (p.epilogue == RCNN_SM90_DOT) { /* one long row of pixels */
        return (live + s.bw - 1) / s.bw;
    }
    return (live + s.bn - 1) / s.bn * s.tiles_h * s.tiles_w;
}

static __device__ __forceinline__ int pairs_of(const rcnn_sm90_conv &p, const schedule &plan, int segment)
{
    return (tiles_of(p, plan, segment) + CLUSTER - 1) / CLUSTER * p.out_tiles;
}

static __device__ schedule make_schedule(const rcnn_sm90_conv &p, bool may_narrow)
{
    schedule plan;
    plan.rank = cluster_rank();
    plan.live = p.segment[0].n;
    if (p.counts) {
        const int rows = rcnn_live_rows(p.counts, p.count_images);
        plan.live = p.epilogue == RCNN_SM90_DOT ? min(rows * p.side * p.side, p.segment[0].out_width)
                                                : min(rows, p.segment[0].n);
    }
    plan.wide = 0;
    for (int s = 0; s < p.segment_count; s++) {
        plan.wide += pairs_of(p, plan, s);
    }
    plan.total = plan.wide;
    const int clusters = gridDim.x / CLUSTER;
    const int left = plan.wide % clusters;
    const int cuts = p.tile_out / NARROW;
    if (may_narrow && left * cuts <= 2 * clusters) {
        plan.wide -= left;
        plan.total = plan.wide + left * cuts;
    }
    return plan;
}

/* Pair `index` of a cluster. False past the last. */
static __device__ bool tile_at(const rcnn_sm90_conv &p, const schedule &plan, int index, tile *t)
{
    if (index >= plan.total) {
        return false;
    }
    int cut = 0;
    t->narrow = index >= plan.wide;
    if (t->narrow) {
        const int cuts = p.tile_out / NARROW;
        cut = (index - plan.wide) % cuts;
        index = plan.wide + (index - plan.wide) / cuts;
    }
    for (int s = 0; s < p.segment_count; s++) {
        const int pairs = pairs_of(p, plan, s);
        if (index >= pairs) {
            index -= pairs;
            continue;
        }
        const rcnn_sm90_segment &segment = p.segment[s];
        int m = index / p.out_tiles * CLUSTER + plan.rank;
        t->segment = s;
        t->out = index % p.out_tiles * p.tile_out + cut * NARROW;
        t->live = m < tiles_of(p, plan, s);
        t->x = m % segment.tiles_w * segment.bw;
        m /= segment.tiles_w;
        t->y = m % segment.tiles_h * segment.bh;
        t->image = m / segment.tiles_h * segment.bn;
        return true;
    }
    return false;
}

/* ------------------------------------------------------------- producer */

/* Where a copy goes and what comes there: one step of a tile. */
struct step_place {
    uint32_t slot, arrived; /* stage and its barrier */
    int ky, kx, chunk;
};

template <typename G>
static __device__ __forceinline__ void bring_weights(const rcnn_sm90_conv &p, const schedule &plan, const tile &t,
                                                     const step_place &at)
{
    const rcnn_sm90_segment &segment = p.segment[t.segment];
    const int share = (t.narrow ? NARROW : p.tile_out) / CLUSTER; /* outputs whose weights this block brings */
    barrier_expect(at.arrived, segment.bn * segment.bh * segment.bw * 128 + share * CLUSTER * 128);
    load_2d_multicast(at.slot + SRC_BYTES + plan.rank * share * 128,
                      t.narrow ? &segment.narrow_weights : &segment.weights, at.arrived,
                      ((at.ky * p.kw + at.kx) * p.chunks + at.chunk) * RCNN_SM90_CHUNK, t.out + plan.rank * share,
                      (1 << CLUSTER) - 1);
}

static __device__ __forceinline__ void bring_pixels(const rcnn_sm90_conv &p, const tile &t, const step_place &at)
{
    load_4d(at.slot, &p.segment[t.segment].src, at.arrived, at.chunk * RCNN_SM90_CHUNK, t.x * p.stride + at.kx - p.pad,
            t.y * p.stride + at.ky - p.pad, t.image);
}

/* The weights of the first stages are under way before the kernel in front of this one has ended: nobody writes weights.
 * Returns how many. */
template <typename G>
static __device__ int bring_first_weights(const rcnn_sm90_conv &p, const layout &at, const schedule &plan)
{
    tile t;
    const int steps = p.kh * p.kw * p.chunks;
    const int count = steps < G::STAGES ? steps : G::STAGES;
    if (!tile_at(p, plan, blockIdx.x / CLUSTER, &t)) {
        return 0;
    }
    for (int s = 0; s < count; s++) {
        const step_place place = {at.ring + s * G::STAGE_BYTES, at.full + 8 * s, s / p.chunks / p.kw,
                                  s / p.chunks % p.kw, s % p.chunks};
        bring_weights<G>(p, plan, t, place);
    }
    return count;
}

/* `under_way`: steps of the first tile whose weights were asked for before. */
template <typename G>
static __device__ void produce(const rcnn_sm90_conv &p, const layout &at, const schedule &plan, int under_way)
{
    const int step = gridDim.x / CLUSTER;
    int stage = 0;
    uint32_t parity = 1; /* the first wait for an empty stage passes */
    tile t;
    for (int index = blockIdx.x / CLUSTER; tile_at(p, plan, index, &t); index += step) {
        for (int ky = 0; ky < p.kh; ky++) {
            for (int kx = 0; kx < p.kw; kx++) {
                for (int chunk = 0; chunk < p.chunks; chunk++) {
                    const step_place place = {at.ring + stage * G::STAGE_BYTES, at.full + 8 * stage, ky, kx, chunk};
                    if (under_way > 0) {
                        under_way--;
                    } else {
                        barrier_wait(at.empty + 8 * stage, parity);
                        bring_weights<G>(p, plan, t, place);
                    }
                    bring_pixels(p, t, place);
                    if (++stage == G::STAGES) {
                        stage = 0;
                        parity ^= 1;
                    }
                }
            }
        }
    }
    /* a block must not leave while the other one may still write to it or arrive at its barriers */
    for (int i = 0; i < G::STAGES; i++) {
        barrier_wait(at.empty + 8 * stage, parity);
        if (++stage == G::STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
}

/* ------------------------------------------------------------- store warp */

template <typename G> static __device__ __forceinline__ int chunks_of(const tile &t)
{
    return t.narrow ? NARROW / RCNN_SM90_CHUNK : G::CHUNKS;
}

/* Makes staging chunk `chunk` ready for 64 channels from `out` of a tile: brings the residual there, if there is one. */
template <typename G, int RESIDUAL>
static __device__ void make_ready(const rcnn_sm90_conv &p, const layout &at, const tile &t, int out, int chunk)
{
    const rcnn_sm90_segment &segment = p.segment[t.segment];
    const uint32_t ready = at.ready + 8 * chunk;
    const uint32_t rows = segment.bn * segment.bh * segment.bw;
    if (RESIDUAL == NO_RESIDUAL || !t.live) {
        barrier_arrive(ready);
    } else if (RESIDUAL == SAME_SIZE) {
        barrier_expect(ready, rows * 128);
        load_4d(at.staging + chunk * STAGING_BYTES, &segment.residual, ready, out, t.x, t.y, t.image);
    } else {
        barrier_expect(ready, rows * 32);
        load_4d(at.top + chunk * TOP_BYTES, &segment.residual, ready, out, t.x / 2, t.y / 2, t.image);
    }
}

/* One thread: sends staged chunks to memory and makes their places ready again, one chunk behind, so that the copy
 * engine has read a chunk when the next residual is written over it. */
template <typename G, int RESIDUAL>
static __device__ void send(const rcnn_sm90_conv &p, const layout &at, const schedule &plan)
{
    const int step = gridDim.x / CLUSTER;
    const int first = blockIdx.x / CLUSTER;
    tile t, ahead; /* the tile being sent; the tile whose chunks are made ready */
    int ahead_index = first, ahead_chunk = 0;
    bool more = tile_at(p, plan, ahead_index, &ahead);
    int serial = 0; /* chunks made ready */
    int sent = 0;
    for (int index = first; tile_at(p, plan, index, &t); index += step) {
        for (int c = 0; c < chunks_of<G>(t); c++, sent++) {
            /* ready: everything up to the chunk before the last one sent, plus the whole ring at the start */
            while (more && serial < (sent > 0 ? sent - 1 : 0) + G::STAGING) {
                make_ready<G, RESIDUAL>(p, at, ahead, ahead.out + ahead_chunk * RCNN_SM90_CHUNK, serial % G::STAGING);
                serial++;
                if (++ahead_chunk == chunks_of<G>(ahead)) {
                    ahead_chunk = 0;
                    ahead_index += step;
                    more = tile_at(p, plan, ahead_index, &ahead);
                }
            }
            barrier_wait(at.staged + 8 * (sent % G::STAGING), sent / G::STAGING % 2);
            if (t.live) {
                store_4d(&p.segment[t.segment].dst, at.staging + sent % G::STAGING * STAGING_BYTES,
                         t.out + c * RCNN_SM90_CHUNK, t.x, t.y, t.image);
            }
            store_commit();
            store_wait_read<1>();
        }
    }
    store_wait_all();
}

/* ------------------------------------------------------------- epilogues */

template <bool BF16> static __device__ __forceinline__ uint32_t pack(float low, float high)
{
    uint32_t packed;
    if (BF16) {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    } else {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    }
    return packed;
}

template <bool BF16> static __device__ __forceinline__ float2 unpack(uint32_t packed)
{
    if (BF16) {
        return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
    }
    __half2 half;
    memcpy(&half, &packed, sizeof half);
    return __half22float2(half);
}

/* Image, row and column of a row of a tile; false outside the map. */
struct pixel {
    int image, y, x;
    bool inside;
};

static __device__ __forceinline__ pixel pixel_at(const rcnn_sm90_segment &s, const tile &t, int row, int images)
{
    pixel at;
    at.x = row % s.bw;
    row /= s.bw;
    at.y = row % s.bh;
    at.image = row / s.bh;
    at.inside = t.live && at.image < s.bn;
    at.x += t.x;
    at.y += t.y;
    at.image += t.image;
    at.inside = at.inside && at.x < s.out_width && at.y < s.out_height && at.image < images;
    return at;
}

/* 64 channels at a time through a staging chunk. `serial` counts the chunks of this block. */
template <typename G, int CHUNKS, int RESIDUAL, bool BF16>
static __device__ void store_tile(const rcnn_sm90_conv &p, const layout &at, const tile &t, const float *d, int *serial)
{
    const rcnn_sm90_segment &segment = p.segment[t.segment];
    const int thread = threadIdx.x - GROUP; /* among the consumers */
    const int lane = thread % 32;
    const int warp_row = thread / 32 * 16; /* first row of the warp in the tile */
    const int matrix_row = warp_row + lane % 8 + lane / 8 % 2 * 8;
    int residual_row[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        residual_row[i] = warp_row + lane / 4 + 8 * i;
        if (RESIDUAL == UPSAMPLED) {
            const int x = residual_row[i] % segment.bw;
            const int y = residual_row[i] / segment.bw % segment.bh;
            const int n = min(residual_row[i] / segment.bw / segment.bh, segment.bn - 1);
            residual_row[i] = (n * (segment.bh / 2) + y / 2) * (segment.bw / 2) + x / 2;
        }
    }
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++, ++*serial) {
        const int place = *serial % G::STAGING;
        const uint32_t block = at.staging + place * STAGING_BYTES;
        const uint32_t added = RESIDUAL == UPSAMPLED ? at.top + place * TOP_BYTES : block;
        uint32_t packed[16];
        barrier_wait(at.ready + 8 * place, *serial / G::STAGING % 2);
#pragma unroll
        for (int g = 0; g < 8; g++) {
            const int out = t.out + chunk * RCNN_SM90_CHUNK + g * 8 + lane % 4 * 2;
            const float2 bias = __ldg(reinterpret_cast<const float2 *>(segment.bias + out));
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float a = d[chunk * 32 + g * 4 + 2 * i] + bias.x;
                float b = d[chunk * 32 + g * 4 + 2 * i + 1] + bias.y;
                if (RESIDUAL != NO_RESIDUAL) {
                    const int row = residual_row[i];
                    const float2 r =
                        unpack<BF16>(load_shared(added + row * 128 + ((g ^ (row % 8)) << 4) + lane % 4 * 4));
                    a += r.x;
                    b += r.y;
                }
                if (p.relu) {
                    a = fmaxf(a, 0.0f);
                    b = fmaxf(b, 0.0f);
                }
                packed[2 * g + i] = pack<BF16>(a, b);
            }
        }
        if (RESIDUAL == SAME_SIZE) { /* a warp reads and writes the same 16 rows, but not lane by lane */
            __syncwarp();
        }
#pragma unroll
        for (int g = 0; g < 8; g += 2) {
            const int unit = g + lane / 16;
            store_matrices(block + matrix_row * 128 + ((unit ^ (matrix_row % 8)) << 4), packed[2 * g],
                           packed[2 * g + 1], packed[2 * g + 2], packed[2 * g + 3]);
        }
        fence_async_shared();
        __syncwarp();
        if (lane == 0) {
            barrier_arrive(at.staged + 8 * place);
        }
    }
}

template <bool BF16>
static __device__ __forceinline__ void multiply_16x8(float *c, const uint32_t *a, uint32_t b0, uint32_t b1)
{
    if (BF16) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                     "{%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                     "{%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}

/* The RPN's second layer on the registers that hold the first: the accumulator layout of 16 columns is the layout of a
 * 16 x 16 left factor. */
template <bool BF16>
static __device__ void predict_tile(const rcnn_sm90_conv &p, const tile &t, const float *d, const uint16_t *weights,
                                    int live)
{
    const rcnn_sm90_segment &segment = p.segment[t.segment];
    const int thread = threadIdx.x - GROUP;
    const int lane = thread % 32;
    float c[2][4] = {};
#pragma unroll
    for (int k = 0; k < 16; k++) { /* 16 channels of 256 */
        uint32_t a[4];
#pragma unroll
        for (int g = 0; g < 2; g++) {
            const float *v = d + (2 * k + g) * 4;
            const float2 bias = __ldg(reinterpret_cast<const float2 *>(segment.bias + k * 16 + g * 8 + lane % 4 * 2));
            a[2 * g] = pack<BF16>(fmaxf(v[0] + bias.x, 0.0f), fmaxf(v[1] + bias.y, 0.0f));
            a[2 * g + 1] = pack<BF16>(fmaxf(v[2] + bias.x, 0.0f), fmaxf(v[3] + bias.y, 0.0f));
        }
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const uint16_t *row = weights + (n * 8 + lane / 4) * PRED_PITCH + k * 16 + lane % 4 * 2;
            multiply_16x8<BF16>(c[n], a, *reinterpret_cast<const uint32_t *>(row),
                                *reinterpret_cast<const uint32_t *>(row + 8));
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const pixel at = pixel_at(segment, t, thread / 32 * 16 + lane / 4 + 8 * i, t.segment == 0 ? live : segment.n);
        if (!at.inside) {
            continue;
        }
        float *pred =
            segment.pred + (((size_t)at.image * segment.out_height + at.y) * segment.out_width + at.x) * p.pred_out;
#pragma unroll
        for (int n = 0; n < 2; n++) {
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int out = n * 8 + lane % 4 * 2 + k;
                if (out < p.pred_out) {
                    pred[out] = c[n][2 * i + k] + p.pred_bias[out];
                }
            }
        }
    }
}

/* Image and index in it of a packed RoI. */
static __device__ __forceinline__ int label_of(const rcnn_sm90_conv &p, int roi)
{
    int image = 0;
    int index = roi;
    while (image < p.count_images && index >= p.counts[image]) {
        index -= p.counts[image++];
    }
    const int label = p.labels[(size_t)image * p.capacity + index];
    const int channel = p.agnostic ? 0 : label + p.channel_offset;
    if (channel < 0 || channel >= p.classes) {
        rcnn_note_fault(p.fault, RCNN_CUDA_FAULT_LABEL, image, index, label);
        return 0;
    }
    return channel;
}

/* One tap of the 2x2 deconvolution, and the logit of the predicted class on top of it. live in pixels. */
static __device__ void dot_tile(const rcnn_sm90_conv &p, const tile &t, const float *d, int live)
{
    const rcnn_sm90_segment &segment = p.segment[0];
    const int thread = threadIdx.x - GROUP;
    const int lane = thread % 32;
    const int area = p.side * p.side;
    float sum[2] = {0, 0};
    const float *weights[2];
    int channel[2] = {0, 0};
    int at[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int row = thread / 32 * 16 + lane / 4 + 8 * i;
        at[i] = t.live && row < segment.bw && t.x + row < live ? t.x + row : -1;
        if (at[i] >= 0) {
            channel[i] = label_of(p, at[i] / area);
        }
        weights[i] = p.dot_weights + (size_t)channel[i] * 256 + lane % 4 * 2;
    }
#pragma unroll
    for (int g = 0; g < 32; g++) {
        const float2 bias = __ldg(reinterpret_cast<const float2 *>(segment.bias + t.out + g * 8 + lane % 4 * 2));
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float2 w = __ldg(reinterpret_cast<const float2 *>(weights[i] + g * 8));
            sum[i] += fmaxf(d[4 * g + 2 * i] + bias.x, 0.0f) * w.x + fmaxf(d[4 * g + 2 * i + 1] + bias.y, 0.0f) * w.y;
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
        sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
        if (lane % 4 == 0 && at[i] >= 0) {
            const int tap = t.out / 256;
            const int roi = at[i] / area;
            const int y = at[i] % area / p.side * 2 + tap / 2;
            const int x = at[i] % p.side * 2 + tap % 2;
            const float logit = sum[i] + p.dot_bias[channel[i]];
            p.masks[((size_t)roi * 2 * p.side + y) * 2 * p.side + x] = 1.0f / (1.0f + expf(-logit));
        }
    }
}

/* ------------------------------------------------------------- consumers */

/* Where a consumer stands in the ring. */
struct ring_place {
    int stage;
    uint32_t parity;
};

/* d = 64 pixels x N outputs of a tile. */
template <typename G, int N, bool BF16>
static __device__ __forceinline__ void multiply_tile(const rcnn_sm90_conv &p, const layout &at, ring_place *place,
                                                     float *d)
{
    const int group = threadIdx.x / GROUP - 1;
    const int lane = threadIdx.x % 32;
    const int steps = p.kh * p.kw * p.chunks;
    int held = -1; /* stage whose products may still be under way */
    for (int s = 0; s < steps; s++) {
        barrier_wait(at.full + 8 * place->stage, place->parity);
        const uint32_t src = at.ring + place->stage * G::STAGE_BYTES + group * CONSUMER_ROWS * 128;
        const uint32_t weights = at.ring + place->stage * G::STAGE_BYTES + SRC_BYTES;
        wgmma_pin<N / 2>(d);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < RCNN_SM90_CHUNK / STEP_K; k++) {
            wgmma<N, BF16>(d, tile_descriptor(src + k * 32), tile_descriptor(weights + k * 32), s > 0 || k > 0);
        }
        wgmma_commit();
        wgmma_pin<N / 2>(d);
        wgmma_wait<1>();
        if (held >= 0 && lane < CLUSTER) {
            barrier_arrive_at(at.empty + 8 * held, lane);
        }
        held = place->stage;
        if (++place->stage == G::STAGES) {
            place->stage = 0;
            place->parity ^= 1;
        }
    }
    wgmma_wait<0>();
    wgmma_pin<N / 2>(d);
    if (lane < CLUSTER) {
        barrier_arrive_at(at.empty + 8 * held, lane);
    }
}

template <typename G, int TILE_OUT, int EPILOGUE, int RESIDUAL, bool BF16>
static __device__ void consume(const rcnn_sm90_conv &p, const layout &at, const schedule &plan,
                               const uint16_t *pred_weights)
{
    const int step = gridDim.x / CLUSTER;
    float d[TILE_OUT / 2];
    ring_place place = {0, 0};
    int serial = 0;
    tile t;
    for (int index = blockIdx.x / CLUSTER; tile_at(p, plan, index, &t); index += step) {
        if constexpr (EPILOGUE == RCNN_SM90_STORE && TILE_OUT > NARROW) {
            if (t.narrow) {
                multiply_tile<G, NARROW, BF16>(p, at, &place, d);
                store_tile<G, NARROW / RCNN_SM90_CHUNK, RESIDUAL, BF16>(p, at, t, d, &serial);
                continue;
            }
        }
        multiply_tile<G, TILE_OUT, BF16>(p, at, &place, d);
        if constexpr (EPILOGUE == RCNN_SM90_STORE) {
            store_tile<G, G::CHUNKS, RESIDUAL, BF16>(p, at, t, d, &serial);
        } else if constexpr (EPILOGUE == RCNN_SM90_PRED) {
            predict_tile<BF16>(p, t, d, pred_weights, plan.live);
        } else {
            dot_tile(p, t, d, plan.live);
        }
    }
}

/* ------------------------------------------------------------- kernel */

template <typename G> static __device__ layout lay_out(const void *shared)
{
    layout at;
    at.ring = (shared_address(shared) + 1023) / 1024 * 1024;
    at.staging = at.ring + G::STAGES * G::STAGE_BYTES;
    at.top = at.staging + G::STAGING * STAGING_BYTES;
    at.full = at.top + G::TOP;
    at.empty = at.full + 8 * G::STAGES;
    at.ready = at.empty + 8 * G::STAGES;
    at.staged = at.ready + 8 * G::STAGING;
    return at;
}

template <typename G> static __device__ void init_barriers(const layout &at)
{
    for (int i = 0; i < G::STAGES; i++) {
        barrier_init(at.full + 8 * i, 1);
        barrier_init(at.empty + 8 * i, CONSUMERS * GROUP / 32 * CLUSTER);
    }
    for (int i = 0; i < G::STAGING; i++) {
        barrier_init(at.ready + 8 * i, 1);
        barrier_init(at.staged + 8 * i, CONSUMERS * GROUP / 32);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

template <int TILE_OUT, int EPILOGUE, int RESIDUAL, bool BF16>
__global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(BLOCK, 1)
    conv_wgmma_nhwc_kernel(const __grid_constant__ rcnn_sm90_conv p)
{
    typedef geometry<TILE_OUT, EPILOGUE, RESIDUAL> G;
    static_assert(G::BARRIERS * 8 <= BARRIER_BYTES && G::SHARED_BYTES <= 227 * 1024, "it fits");
    extern __shared__ unsigned char shared[];
    __shared__ __align__(16) uint16_t pred_weights[EPILOGUE == RCNN_SM90_PRED ? 16 * PRED_PITCH : 8];
    const layout at = lay_out<G>(shared);
    if (threadIdx.x == 0) {
        init_barriers<G>(at);
    }
    if (EPILOGUE == RCNN_SM90_PRED) {
        for (int i = threadIdx.x; i < 16 * 256; i += BLOCK) {
            pred_weights[i / 256 * PRED_PITCH + i % 256] =
                i / 256 < p.pred_out ? static_cast<const uint16_t *>(p.pred_weights)[i] : (uint16_t)0;
        }
    }
    if (p.counts) {
        rcnn_begin(); /* the schedule reads them */
    }
    const schedule plan = make_schedule(p, EPILOGUE == RCNN_SM90_STORE && TILE_OUT > NARROW);
    __syncthreads();
    cluster_sync();
    const int under_way = threadIdx.x == 0 ? bring_first_weights<G>(p, at, plan) : 0;
    rcnn_begin();
    if (threadIdx.x < GROUP) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0) {
            produce<G>(p, at, plan, under_way);
        }
        if constexpr (EPILOGUE == RCNN_SM90_STORE) {
            if (threadIdx.x == 32) {
                send<G, RESIDUAL>(p, at, plan);
            }
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        consume<G, TILE_OUT, EPILOGUE, RESIDUAL, BF16>(p, at, plan, pred_weights);
    }
}

template <int TILE_OUT, int EPILOGUE, int RESIDUAL, bool BF16>
static cudaError_t launch(const rcnn_sm90_conv *p, int32_t multiprocessors, cudaStream_t stream)
{
    typedef geometry<TILE_OUT, EPILOGUE, RESIDUAL> G;
    cudaError_t status = cudaFuncSetAttribute(conv_wgmma_nhwc_kernel<TILE_OUT, EPILOGUE, RESIDUAL, BF16>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize, G::SHARED_BYTES);
    if (status != cudaSuccess) {
        return status;
    }
    const int blocks = multiprocessors / CLUSTER * CLUSTER;
    RCNN_LAUNCH((conv_wgmma_nhwc_kernel<TILE_OUT, EPILOGUE, RESIDUAL, BF16>), dim3(blocks), dim3(BLOCK),
                G::SHARED_BYTES, stream, *p);
    return cudaGetLastError();
}

template <int TILE_OUT, bool BF16>
static cudaError_t launch_store(const rcnn_sm90_conv *p, int32_t multiprocessors, cudaStream_t stream)
{
    switch (p->residual) {
    case RCNN_SM90_RESIDUAL_NONE:
        return launch<TILE_OUT, RCNN_SM90_STORE, NO_RESIDUAL, BF16>(p, multiprocessors, stream);
    case RCNN_SM90_RESIDUAL_SAME:
        return launch<TILE_OUT, RCNN_SM90_STORE, SAME_SIZE, BF16>(p, multiprocessors, stream);
    default:
        return launch<TILE_OUT, RCNN_SM90_STORE, UPSAMPLED, BF16>(p, multiprocessors, stream);
    }
}

template <bool BF16>
static cudaError_t launch_type(const rcnn_sm90_conv *p, int32_t multiprocessors, cudaStream_t stream)
{
    if (p->epilogue == RCNN_SM90_PRED) {
        return launch<256, RCNN_SM90_PRED, NO_RESIDUAL, BF16>(p, multiprocessors, stream);
    }
    if (p->epilogue == RCNN_SM90_DOT) {
        return launch<256, RCNN_SM90_DOT, NO_RESIDUAL, BF16>(p, multiprocessors, stream);
    }
    if (p->tile_out == 256) {
        return launch_store<256, BF16>(p, multiprocessors, stream);
    }
    if (p->tile_out == 128) {
        return launch_store<128, BF16>(p, multiprocessors, stream);
    }
    return launch_store<64, BF16>(p, multiprocessors, stream);
}

cudaError_t rcnn_cuda_conv_sm90_launch(const rcnn_sm90_conv *p, int32_t multiprocessors, cudaStream_t stream)
{
    return p->bf16 ? launch_type<true>(p, multiprocessors, stream) : launch_type<false>(p, multiprocessors, stream);
}
