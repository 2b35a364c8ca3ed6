/* From the box head's rows to the candidates of the final NMS, as src/backend/ref/box_select.c: one warp a row. Two
 * launches of the same code: the first counts each row's candidates, the second finds where they begin (candidates stand
 * in the order of rows) and writes them. Computing a row twice takes less time than keeping its scores.
 *
 * Of one class there is so little to do that one launch does it: a block an image, a thread a row. */
#include "backend/cuda/boxes.cuh"

#define THREADS 256
#define ROWS    (THREADS / 32)
#define LOADS   4 /* of a thread under way at once */

/* Softmax of a row of `count` logits: score = exp(logit - largest) / sum. */
typedef struct row_softmax {
    float largest, sum;
    bool is_finite;
} row_softmax;

static __device__ __forceinline__ row_softmax softmax_of(const float *logits, int32_t count)
{
    row_softmax row = {-INFINITY, 0.0f, true};
    for (int32_t base = rcnn_lane(); base < count; base += 32 * LOADS) {
        float logit[LOADS];
#pragma unroll
        for (int32_t k = 0; k < LOADS; k++) { /* past the end: the first once more */
            logit[k] = logits[base + k * 32 < count ? base + k * 32 : base];
        }
#pragma unroll
        for (int32_t k = 0; k < LOADS; k++) {
            row.largest = fmaxf(row.largest, logit[k]);
            row.is_finite = row.is_finite && rcnn_is_finite(logit[k]);
        }
    }
    for (int32_t step = 16; step > 0; step /= 2) {
        row.largest = fmaxf(row.largest, __shfl_xor_sync(RCNN_ALL_LANES, row.largest, step));
    }
    for (int32_t i = rcnn_lane(); i < count; i += 32) {
        row.sum += expf(logits[i] - row.largest);
    }
    for (int32_t step = 16; step > 0; step /= 2) {
        row.sum += __shfl_xor_sync(RCNN_ALL_LANES, row.sum, step);
    }
    row.is_finite = __all_sync(RCNN_ALL_LANES, row.is_finite);
    return row;
}

/* Box of a label, in the coordinates that leave the op; false when it is dropped. */
static __device__ __forceinline__ bool box_of(const rcnn_cuda_box_select *p, int32_t n, int32_t r, const float *row,
                                              int32_t label, float4 *out)
{
    int32_t entry = p->agnostic ? 0 : label;
    if (p->delta_classes > p->class_count) {
        entry += p->background_first; /* the deltas have a background entry before the labels' */
    }
    const float *d = row + p->class_count + 1 + (size_t)entry * 4;
    const float4 delta = make_float4(d[0], d[1], d[2], d[3]);
    if (!rcnn_is_finite(delta.x) || !rcnn_is_finite(delta.y) || !rcnn_is_finite(delta.z) || !rcnn_is_finite(delta.w)) {
        rcnn_note_fault(p->fault, RCNN_CUDA_FAULT_BOX_DELTA, n, r, label);
        return false;
    }
    const rcnn_cuda_frame_image *image = &p->frame->image[n];
    const float4 proposal = rcnn_box_at(p->proposals, (size_t)n * (size_t)p->rois + (size_t)r);
    const float4 box = rcnn_clip_box(rcnn_decode_box(&p->decode, proposal, delta), image->net_width, image->net_height);
    if (p->min_size > 0 && !rcnn_side_at_least(box, p->min_size, true)) {
        return false;
    }
    *out = p->rescale_first ? make_float4(box.x / image->scale_x, box.y / image->scale_y, box.z / image->scale_x,
                                          box.w / image->scale_y)
                            : box;
    return true;
}

/* Candidates of row r of image n, by label; with WRITE they go to the list from `place` on. Returns how many. One warp. */
template <bool WRITE>
static __device__ __forceinline__ int32_t select_row(const rcnn_cuda_box_select *p, int32_t n, int32_t r,
                                                     const float *row, int32_t place)
{
    const row_softmax softmax = softmax_of(row, p->class_count + 1);
    if (!softmax.is_finite) {
        if (rcnn_lane() == 0) {
            rcnn_note_fault(p->fault, RCNN_CUDA_FAULT_CLASS_LOGIT, n, r, 0);
        }
        return 0;
    }
    int32_t found = 0;
    for (int32_t base = 0; base < p->class_count; base += 32) {
        const int32_t label = base + rcnn_lane();
        float score = 0;
        float4 box = make_float4(0, 0, 0, 0);
        bool is_candidate = label < p->class_count && (!p->label_wanted || p->label_wanted[label]);
        if (is_candidate) {
            score = expf(row[label + (p->background_first ? 1 : 0)] - softmax.largest) / softmax.sum;
            is_candidate = score > p->score_threshold && box_of(p, n, r, row, label, &box);
        }
        const uint32_t votes = __ballot_sync(RCNN_ALL_LANES, is_candidate);
        const int32_t to = place + found + __popc(votes & rcnn_lower_lanes());
        if (WRITE && is_candidate && to < p->out.capacity) {
            rcnn_list_put(&p->out, n, to, box, score, label);
        }
        found += __popc(votes);
    }
    return found;
}

/* Sum of the candidates of rows 0 .. rows-1. All threads of the block. */
static __device__ __forceinline__ int32_t candidates_before(const int32_t *row_counts, int32_t rows, uint32_t *sums)
{
    uint32_t sum = 0;
    for (int32_t i = threadIdx.x; i < rows; i += THREADS) {
        sum += (uint32_t)row_counts[i];
    }
    sum = __reduce_add_sync(RCNN_ALL_LANES, sum);
    if (rcnn_lane() == 0) {
        sums[rcnn_warp()] = sum;
    }
    __syncthreads();
    sum = __reduce_add_sync(RCNN_ALL_LANES, rcnn_lane() < ROWS ? sums[rcnn_lane()] : 0);
    __syncthreads();
    return (int32_t)sum;
}

static __device__ __forceinline__ void write_count(const rcnn_cuda_box_select *p, int32_t n, int32_t candidates)
{
    if (candidates > p->out.capacity) {
        rcnn_note_fault(p->fault, RCNN_CUDA_FAULT_CAPACITY, n, candidates, p->out.capacity);
    }
    p->out.counts[n] = min(candidates, p->out.capacity);
}

/* Blocks: x ROWS rows, y images. row_counts [n][rois]. */
template <bool WRITE>
static __global__ void __launch_bounds__(THREADS)
    box_select_kernel(const __grid_constant__ rcnn_cuda_box_select p, int32_t *row_counts)
{
    rcnn_begin();
    __shared__ uint32_t sums[ROWS];
    const int32_t n = blockIdx.y, first = (int32_t)blockIdx.x * ROWS, r = first + rcnn_warp();
    const int32_t rows = p.proposal_counts[n];
    int32_t *mine = row_counts + (size_t)n * (size_t)p.rois;
    int32_t place = 0;
    if (WRITE) {
        if (blockIdx.x == 0) {
            const int32_t candidates = candidates_before(mine, rows, sums);
            if (threadIdx.x == 0) {
                write_count(&p, n, candidates);
            }
        } else if (first < rows) {
            place = candidates_before(mine, first, sums);
        }
        if (r >= rows || mine[r] == 0) {
            return;
        }
        for (int32_t i = first; i < r; i++) {
            place += mine[i];
        }
    } else if (r >= rows) {
        return;
    }
    const size_t live = (size_t)rcnn_live_rows(p.proposal_counts, n) + (size_t)r;
    const int32_t found = select_row<WRITE>(&p, n, r, p.pred + live * (size_t)p.pitch, place);
    if (!WRITE && rcnn_lane() == 0) {
        mine[r] = found;
    }
}

#define ONE_THREADS 1024

/* Score of the one class of a row: row_softmax of two logits. False when it is no number. */
static __device__ __forceinline__ bool score_one(const rcnn_cuda_box_select *p, const float *row, float *score)
{
    const float a = row[0], b = row[1], largest = fmaxf(a, b);
    const float sum = expf(a - largest) + expf(b - largest);
    *score = expf((p->background_first ? b : a) - largest) / sum;
    return rcnn_is_finite(a) && rcnn_is_finite(b);
}

/* Blocks: x images. */
static __global__ void __launch_bounds__(ONE_THREADS)
    box_select_one_kernel(const __grid_constant__ rcnn_cuda_box_select p)
{
    rcnn_begin();
    __shared__ uint32_t sums[32];
    const int32_t n = blockIdx.x, rows = p.proposal_counts[n];
    const size_t live = (size_t)rcnn_live_rows(p.proposal_counts, n);
    const bool is_wanted = !p.label_wanted || p.label_wanted[0];
    int32_t place = 0;
    for (int32_t base = 0; base < rows; base += ONE_THREADS) {
        const int32_t r = base + (int32_t)threadIdx.x;
        const float *row = p.pred + (live + (size_t)r) * (size_t)p.pitch;
        float score = 0;
        float4 box = make_float4(0, 0, 0, 0);
        bool is_candidate = r < rows;
        if (is_candidate && !score_one(&p, row, &score)) {
            rcnn_note_fault(p.fault, RCNN_CUDA_FAULT_CLASS_LOGIT, n, r, 0);
            is_candidate = false;
        }
        is_candidate = is_candidate && is_wanted && score > p.score_threshold && box_of(&p, n, r, row, 0, &box);
        int32_t found;
        const int32_t to = place + rcnn_block_place(is_candidate, sums, &found);
        if (is_candidate && to < p.out.capacity) {
            rcnn_list_put(&p.out, n, to, box, score, 0);
        }
        place += found;
    }
    if (threadIdx.x == 0) {
        write_count(&p, n, place);
    }
}

extern "C" size_t rcnn_cuda_box_select_scratch(const rcnn_cuda_box_select *p)
{
    return (size_t)p->n * (size_t)p->rois * sizeof(int32_t);
}

extern "C" cudaError_t rcnn_cuda_box_select_launch(const rcnn_cuda_box_select *p, cudaStream_t stream)
{
    if (p->class_count == 1) {
        RCNN_LAUNCH(box_select_one_kernel, (unsigned)p->n, ONE_THREADS, 0, stream, *p);
        return cudaGetLastError();
    }
    const dim3 grid((unsigned)((p->rois + ROWS - 1) / ROWS), (unsigned)p->n);
    int32_t *row_counts = (int32_t *)p->scratch;
    const auto count_kernel = box_select_kernel<false>, write_kernel = box_select_kernel<true>;
    RCNN_LAUNCH(count_kernel, grid, THREADS, 0, stream, *p, row_counts);
    RCNN_LAUNCH(write_kernel, grid, THREADS, 0, stream, *p, row_counts);
    return cudaGetLastError();
}
