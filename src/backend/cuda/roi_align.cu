/* RoIAlign of all levels in one launch (He et al. 2017, section 3; spec 6.1, 6.2, 13.8, 14.5).
 *
 * The samples of a bin form a grid and bilinear weights are products, so a bin is the sum over map rows y and columns x of
 * wy[y] * wx[x] * map[y][x]. The weights of all samples of a bin that fall on one row or column are added up first: 4x4
 * samples touch 5x5 pixels instead of reading 8x8 taps. A thread makes V channels of a run of bins of one bin row: it
 * goes from column to column, sums each over the bin row's map rows once, and adds that sum to every bin the column has a
 * weight in. The warps of a block stand on neighbouring bin rows of one RoI and move along together, so that the map row
 * two of them share comes from the L1 cache. */
#include "backend/cuda/device.cuh"
#include "backend/cuda/vector.cuh"
#include "base/rules.h"

#define THREADS     224   /* 7 bin rows x 256 channels of 2 bytes */
#define RUN_BINS    7     /* of a thread, neighbours in x         */
#define TAPS        512   /* per axis of a RoI in shared memory   */
#define SAMPLES_MAX 65536 /* per bin side; beyond any map, bounds the work for boxes far outside */

/* One axis of a RoI on its map. */
typedef struct roi_axis {
    float start, bin;
    int32_t samples; /* per bin    */
    int32_t size;    /* of the map */
} roi_axis;

typedef struct roi_tap {
    int32_t at; /* map row or column; in the first entry of a bin: how many taps follow */
    float weight;
} roi_tap;

/* ------------------------------------------------------------- where the samples lie: the very bits of ref */

static __device__ __forceinline__ int32_t level_of(const rcnn_cuda_roi_align &p, float4 roi)
{
    const float side = sqrtf(__fmul_rn(roi.z - roi.x, roi.w - roi.y));
    float level;
    if (p.level_rule == RCNN_LEVEL_MMDET) {
        level = floorf(log2f(side / 56.0f + 1e-6f));
    } else if (p.level_rule == RCNN_LEVEL_TORCHVISION) {
        level = floorf(4.0f + log2f(side / 224.0f) + 1e-6f) - 2.0f;
    } else {
        level = floorf(4.0f + log2f(side / 224.0f + 1e-8f)) - 2.0f;
    }
    return level > 0.0f ? (int32_t)fminf(level, (float)(p.level_count - 1)) : 0; /* also for NaN and -infinity */
}

static __device__ __forceinline__ roi_axis axis_of(const rcnn_cuda_roi_align &p, float low, float high, float scale,
                                                   int32_t size)
{
    const float shift = p.aligned ? 0.5f : 0.0f;
    roi_axis axis;
    axis.size = size;
    axis.start = __fadd_rn(__fmul_rn(low, scale), -shift);
    float length = __fadd_rn(__fadd_rn(__fmul_rn(high, scale), -shift), -axis.start);
    if (!p.aligned) {
        length = fmaxf(length, 1.0f);
    }
    axis.bin = length / (float)p.bins;
    axis.samples = p.sampling;
    if (p.sampling <= 0) {
        axis.samples = axis.bin > 0.0f ? (int32_t)fminf(ceilf(axis.bin), (float)SAMPLES_MAX) : 0;
    }
    return axis;
}

static __device__ __forceinline__ float position_of(const roi_axis &axis, int32_t bin, int32_t sample)
{
    const float first = __fadd_rn(axis.start, __fmul_rn((float)bin, axis.bin));
    return __fadd_rn(first, __fmul_rn((float)sample + 0.5f, axis.bin) / (float)axis.samples);
}

/* The two cells around a position and their weights; false when it is over 1 pixel outside the map. */
static __device__ __forceinline__ bool cells_at(const roi_axis &axis, float position, int32_t *low, int32_t *high,
                                                float *fraction)
{
    if (!(position >= -1.0f && position <= (float)axis.size)) {
        return false;
    }
    position = fmaxf(position, 0.0f);
    const int32_t cell = (int32_t)position;
    const bool last = cell >= axis.size - 1;
    *low = last ? axis.size - 1 : cell;
    *high = last ? axis.size - 1 : cell + 1;
    *fraction = last ? 0.0f : position - (float)cell;
    return true;
}

/* ------------------------------------------------------------- weights of whole bins */

/* Entries a bin takes, the count included. Samples come in rising order and lie within the bin, so that they touch at
 * most its length and 3 cells more; 1 is for rounding. A box with swapped corners has neither. */
static __device__ __forceinline__ int32_t slots_of(const roi_axis &axis)
{
    const int32_t most = 2 * axis.samples;
    return 1 + (axis.bin >= 0.0f ? (int32_t)fminf((float)most, axis.bin + 4.0f) : most);
}

/* A cell that was met before is the last tap or the one before it. */
static __device__ __forceinline__ void add_tap(roi_tap *taps, int32_t *count, int32_t at, float weight)
{
    for (int32_t i = *count; i > 0 && i > *count - 2; i--) {
        if (taps[i].at == at) {
            taps[i].weight += weight;
            return;
        }
    }
    ++*count;
    taps[*count].at = at;
    taps[*count].weight = weight;
}

static __device__ __forceinline__ void fill_bin(const roi_axis &axis, int32_t bin, roi_tap *taps)
{
    int32_t count = 0;
    for (int32_t s = 0; s < axis.samples; s++) {
        int32_t low, high;
        float fraction;
        if (cells_at(axis, position_of(axis, bin, s), &low, &high, &fraction)) {
            add_tap(taps, &count, low, 1.0f - fraction);
            if (high != low) {
                add_tap(taps, &count, high, fraction);
            }
        }
    }
    const float share = 1.0f / (float)axis.samples;
    for (int32_t i = 1; i <= count; i++) {
        taps[i].weight *= share;
    }
    taps[0].at = count;
}

/* ------------------------------------------------------------- features */

/* V channels of a RoI's map, and where the bins of a run go. */
template <typename T> struct roi_run {
    const char *src;                  /* row 0, column 0             */
    uint32_t row_bytes, column_bytes; /* from one to the next        */
    T *dst;                           /* first bin of the run        */
    int32_t step;                     /* elements from bin to bin    */
    int32_t first, end;               /* bins in x                   */
    int32_t bin_y;
};

template <typename T> static __device__ __forceinline__ const char *row_of(const roi_run<T> &run, int32_t y)
{
    return run.src + (size_t)(uint32_t)y * run.row_bytes;
}

template <typename T, int V>
static __device__ __forceinline__ rcnn_pack<T, V> pixel_of(const roi_run<T> &run, const char *row, int32_t x)
{
    return rcnn_load_pack_readonly<V>((const T *)(row + (size_t)(uint32_t)x * run.column_bytes));
}

template <typename T, int V>
static __device__ __forceinline__ void add_weighted(float weight, const rcnn_pack<T, V> &pack, float (&sum)[V])
{
    float value[V];
    rcnn_to_floats(pack, value);
    for (int k = 0; k < V; k++) {
        sum[k] = fmaf(weight, value[k], sum[k]);
    }
}

/* The map rows of a bin row: exactly ROWS of them, in registers so that all loads of a column are under way at once, or with
 * ROWS 0 any number, left in the list that fill_bin made. */
template <int ROWS> struct roi_rows {
    const roi_tap *list;
    const char *row[ROWS > 0 ? ROWS : 1];
    float weight[ROWS > 0 ? ROWS : 1];
};

template <typename T, int ROWS>
static __device__ __forceinline__ roi_rows<ROWS> rows_of(const roi_run<T> &run, const roi_tap *list)
{
    roi_rows<ROWS> rows;
    rows.list = list;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        rows.row[i] = row_of(run, list[1 + i].at);
        rows.weight[i] = list[1 + i].weight;
    }
    return rows;
}

/* sum = weighted sum of column x over the map rows. */
template <typename T, int V, int ROWS>
static __device__ __forceinline__ void sum_column(const roi_run<T> &run, const roi_rows<ROWS> &rows, int32_t x,
                                                  float (&sum)[V])
{
    for (int k = 0; k < V; k++) {
        sum[k] = 0.0f;
    }
    if constexpr (ROWS > 0) {
        rcnn_pack<T, V> pack[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            pack[i] = pixel_of<T, V>(run, rows.row[i], x);
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            add_weighted(rows.weight[i], pack[i], sum);
        }
    } else {
        const int32_t count = rows.list[0].at;
#pragma unroll 4
        for (int32_t i = 1; i <= count; i++) {
            add_weighted(rows.list[i].weight, pixel_of<T, V>(run, row_of(run, rows.list[i].at), x), sum);
        }
    }
}

/* The sums of two columns, whose loads are all under way before the first is added. */
template <typename T, int V, int ROWS>
static __device__ __forceinline__ void sum_columns(const roi_run<T> &run, const roi_rows<ROWS> &rows, int32_t x0,
                                                   int32_t x1, float (&sum0)[V], float (&sum1)[V])
{
    if constexpr (ROWS > 0) {
        rcnn_pack<T, V> pack[2 * ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            pack[i] = pixel_of<T, V>(run, rows.row[i], x0);
            pack[ROWS + i] = pixel_of<T, V>(run, rows.row[i], x1);
        }
        for (int k = 0; k < V; k++) {
            sum0[k] = sum1[k] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            add_weighted(rows.weight[i], pack[i], sum0);
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            add_weighted(rows.weight[i], pack[ROWS + i], sum1);
        }
    } else {
        sum_column<T, V, ROWS>(run, rows, x0, sum0);
        sum_column<T, V, ROWS>(run, rows, x1, sum1);
    }
}

/* Columns rise along a run, but a bin may begin up to one column before the last: the sums of the last two are kept, the
 * new one in place of the older, or two new ones. */
template <typename T, int V, int ROWS>
static __device__ __forceinline__ void run_by_columns(const roi_run<T> &run, const roi_tap *list,
                                                      const roi_tap *columns, int32_t slots)
{
    const roi_rows<ROWS> rows = rows_of<T, ROWS>(run, list);
    float a[V] = {}, b[V] = {};
    int32_t a_at = -1, b_at = -1;
    T *dst = run.dst;
    const roi_tap *end = columns + run.end * slots;
    for (const roi_tap *taps = columns + run.first * slots; taps < end; taps += slots, dst += run.step) {
        float total[V] = {};
        const int32_t count = taps[0].at;
        for (int32_t t = 1; t <= count; t++) {
            const roi_tap tap = taps[t];
            const bool is_new = tap.at != a_at && tap.at != b_at;
            if (is_new && t < count && taps[t + 1].at != a_at && taps[t + 1].at != b_at) {
                t++;
                a_at = tap.at;
                b_at = taps[t].at;
                sum_columns<T, V, ROWS>(run, rows, a_at, b_at, a, b);
                for (int k = 0; k < V; k++) {
                    total[k] = fmaf(taps[t].weight, b[k], fmaf(tap.weight, a[k], total[k]));
                }
                continue;
            }
            if (is_new) {
                if (a_at < b_at) {
                    a_at = tap.at;
                    sum_column<T, V, ROWS>(run, rows, a_at, a);
                } else {
                    b_at = tap.at;
                    sum_column<T, V, ROWS>(run, rows, b_at, b);
                }
            }
            for (int k = 0; k < V; k++) {
                total[k] = fmaf(tap.weight, tap.at == a_at ? a[k] : b[k], total[k]);
            }
        }
        rcnn_store_floats(dst, total);
    }
}

/* Sample by sample, for the rare RoI whose weights are too many for shared memory. */
template <typename T, int V>
static __device__ __forceinline__ void run_by_samples(const roi_run<T> &run, const roi_axis &y, const roi_axis &x)
{
    const float count = fmaxf((float)y.samples * (float)x.samples, 1.0f);
    T *dst = run.dst;
    for (int32_t bin = run.first; bin < run.end; bin++, dst += run.step) {
        float total[V] = {};
        for (int32_t iy = 0; iy < y.samples; iy++) {
            int32_t row[2];
            float fy;
            if (!cells_at(y, position_of(y, run.bin_y, iy), &row[0], &row[1], &fy)) {
                continue;
            }
            for (int32_t ix = 0; ix < x.samples; ix++) {
                int32_t column[2];
                float fx;
                if (!cells_at(x, position_of(x, bin, ix), &column[0], &column[1], &fx)) {
                    continue;
                }
                for (int i = 0; i < 4; i++) {
                    const float weight = (i & 2 ? fy : 1.0f - fy) * (i & 1 ? fx : 1.0f - fx);
                    add_weighted(weight, pixel_of<T, V>(run, row_of(run, row[i >> 1]), column[i & 1]), total);
                }
            }
        }
        for (int k = 0; k < V; k++) {
            total[k] /= count;
        }
        rcnn_store_floats(dst, total);
    }
}

/* ------------------------------------------------------------- kernel */

/* The run of thread `unit` of a RoI: channels fastest, then bin rows, then runs; first >= bins past the last. */
template <typename T, int V>
static __device__ __forceinline__ roi_run<T> run_of(const rcnn_cuda_roi_align &p, int32_t unit, int32_t n,
                                                    int32_t level, size_t row)
{
    const int32_t groups = p.channels / V;
    const int32_t c = unit % groups * V;
    const int32_t rest = unit / groups;
    roi_run<T> run;
    run.bin_y = rest % p.bins;
    run.first = rest / p.bins * RUN_BINS;
    run.end = min(run.first + RUN_BINS, p.bins);
    run.column_bytes = (uint32_t)(p.channels * (int32_t)sizeof(T));
    run.row_bytes = (uint32_t)p.level_width[level] * run.column_bytes;
    run.src = (const char *)p.level[level] + (size_t)n * p.level_height[level] * run.row_bytes + c * sizeof(T);
    run.step = p.channels;
    run.dst = (T *)p.dst + ((row * p.bins + run.bin_y) * p.bins + run.first) * p.channels + c;
    return run;
}

/* Blocks: x RoIs of an image times `parts` of a RoI's runs, y images. */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS, 4) roi_align_kernel(rcnn_cuda_roi_align p, int32_t parts)
{
    rcnn_begin();
    __shared__ roi_tap taps[2][TAPS]; /* rows, columns; bin b from b * slots on */
    const int32_t n = blockIdx.y;
    const int32_t r = (int32_t)blockIdx.x / parts, part = (int32_t)blockIdx.x % parts;
    const float4 roi = ((const float4 *)p.boxes)[(size_t)n * p.capacity + r];
    if (r >= p.counts[n]) {
        return;
    }
    const int32_t level = level_of(p, roi);
    const roi_axis y = axis_of(p, roi.y, roi.w, p.scale[level], p.level_height[level]);
    const roi_axis x = axis_of(p, roi.x, roi.z, p.scale[level], p.level_width[level]);
    const int32_t y_slots = slots_of(y), x_slots = slots_of(x);
    const bool fits = y_slots <= TAPS / p.bins && x_slots <= TAPS / p.bins;
    if (fits) {
        for (int32_t i = threadIdx.x; i < 2 * p.bins; i += THREADS) {
            const bool of_rows = i < p.bins;
            const roi_axis axis = of_rows ? y : x;
            const int32_t bin = of_rows ? i : i - p.bins;
            fill_bin(axis, bin, taps[of_rows ? 0 : 1] + bin * (of_rows ? y_slots : x_slots));
        }
        __syncthreads();
    }
    const size_t row = (size_t)rcnn_live_rows(p.counts, n) + r;
    const roi_run<T> run = run_of<T, V>(p, part * THREADS + (int32_t)threadIdx.x, n, level, row);
    if (run.first >= p.bins) {
        return;
    }
    if (!fits) {
        run_by_samples<T, V>(run, y, x);
        return;
    }
    const roi_tap *rows = taps[0] + run.bin_y * y_slots;
    switch (rows[0].at) {
    case 2:
        run_by_columns<T, V, 2>(run, rows, taps[1], x_slots);
        break;
    case 3:
        run_by_columns<T, V, 3>(run, rows, taps[1], x_slots);
        break;
    case 4:
        run_by_columns<T, V, 4>(run, rows, taps[1], x_slots);
        break;
    default:
        run_by_columns<T, V, 0>(run, rows, taps[1], x_slots);
        break;
    }
}

template <typename T, int V> static void launch(const rcnn_cuda_roi_align *p, cudaStream_t stream)
{
    const auto kernel = roi_align_kernel<T, V>;
    const int32_t runs = (p->bins + RUN_BINS - 1) / RUN_BINS;
    const int32_t parts = (p->channels / V * p->bins * runs + THREADS - 1) / THREADS;
    const dim3 grid((unsigned)p->capacity * (unsigned)parts, (unsigned)p->n);
    RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p, parts);
}

template <typename T> static void launch_type(const rcnn_cuda_roi_align *p, cudaStream_t stream)
{
    if (p->channels % RCNN_VECTOR(T) == 0) {
        launch<T, RCNN_VECTOR(T)>(p, stream);
    } else {
        launch<T, 1>(p, stream);
    }
}

extern "C" cudaError_t rcnn_cuda_roi_align_launch(const rcnn_cuda_roi_align *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->type, T, launch_type<T>(p, stream));
    return cudaGetLastError();
}
