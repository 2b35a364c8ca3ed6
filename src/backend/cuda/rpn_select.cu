/* From the RPN's raw predictions to the candidates of NMS, as src/backend/ref/rpn_select.c. Three launches:
 *
 *   count    many blocks a level: scores of all anchors as sorting keys, and how many fall into each of 4096 bins. Every
 *            block keeps its own counts, so that nothing has to be cleared, and no order depends on atomics
 *   collect  the same blocks: the bin of the pre_nms-th anchor follows from all counts; anchors up to that bin are
 *            gathered in the order of anchors, each block knowing from the counts where its own begin
 *   emit     some blocks a level: sort the few that were gathered, decode, clip and filter the best pre_nms. Each block
 *            counts how many of the level stand before each of its own. Levels stand one after another, so each waits
 *            for the number of boxes of those before it
 *
 * A bin that holds very many anchors (all logits equal, untrained weights) makes the gathered list long: one block then
 * cuts it to exactly pre_nms by radix selection and sorts it in passes. */
#include "backend/cuda/rank.cuh"

#define COUNT_THREADS   512
#define COLLECT_THREADS 512
#define EMIT_THREADS    RCNN_SORT_THREADS
#define LOADS           4 /* of a thread under way at once */

#define COARSE 64 /* bins of bins: the cut is found in two steps of few columns each */
#define FINE   64
#define BINS   (COARSE * FINE)
#define ROW    (BINS + COARSE) /* counts of one chunk: the bins, then the coarse ones */

#define EMIT_BLOCKS 130 /* of all levels and images: an H100 has 132 multiprocessors */
#define PARTS_MIN   3   /* of a level: with fewer, sorting by one block takes less time than counting */
#define PART_MAX    ((RCNN_RANK_MAX + PARTS_MIN - 1) / PARTS_MIN)

#define CHUNKS_WANTED   128 /* of a level: each collecting block reads a column of all of them */
#define CHUNK_CELLS_MIN 512
#define CHUNK_MAX       65535 /* anchors: counts are u16 */

typedef struct rpn_level {
    int32_t anchors, chunk_anchors, chunks;
    int32_t first_chunk;
    int32_t kept;        /* min(pre_nms, anchors) */
    size_t first_anchor; /* in the arrays of an image */
    size_t first_kept;
} rpn_level;

typedef struct rpn_plan {
    rcnn_cuda_rpn_select p;
    rpn_level level[RCNN_CUDA_LEVELS_MAX];
    int32_t chunks; /* of an image */
    int32_t parts;  /* blocks of emit, of a level */
    size_t anchors, kept;
    size_t bytes;
    uint32_t *key;                     /* [n][anchors]                                           */
    uint32_t *gathered_key, *gathered; /* [n][anchors] keys and anchors, per level in its region */
    uint32_t *spare;                   /* [n][kept]                                              */
    uint16_t *bins;                    /* [n][chunks][ROW]                                       */
    int32_t *gathered_count;           /* [n][levels]                                            */
    unsigned long long *boxes;         /* [n][levels] boxes of the parts that have told theirs, 2^32 a part */
    int32_t *ticket;                   /* [1]                                                    */
} rpn_plan;

/* ------------------------------------------------------------- count */

static __device__ __forceinline__ int32_t level_of_chunk(const rpn_plan *plan, int32_t chunk)
{
    int32_t l = 0;
    while (l + 1 < plan->p.level_count && chunk >= plan->level[l + 1].first_chunk) {
        l++;
    }
    return l;
}

/* Rises with the key. Of a sigmoid 128 bins an octave, 1.0 in the first; logits in steps of 1/64 from 32 down to -32. */
static __device__ __forceinline__ uint32_t bin_of(uint32_t key, int32_t rank_sigmoid)
{
    const uint32_t key_of_one = 0x407fffffu;
    if (rank_sigmoid) {
        return min((key >> 16) - (key_of_one >> 16), BINS - 1u);
    }
    return (uint32_t)fminf(fmaxf((32.0f - rcnn_key_score(key)) * 64.0f, 0.0f), BINS - 1.0f);
}

/* A = anchors a cell, or 0: any number. */
template <int32_t A>
static __device__ __forceinline__ float logit_at(const rcnn_cuda_rpn_select *p, int32_t l, int32_t n, int32_t i)
{
    const int32_t anchor_count = A ? A : p->anchor_count;
    const int32_t cell = i / anchor_count;
    const size_t cells = (size_t)p->height[l] * (size_t)p->width[l];
    return p->pred[l][((size_t)n * cells + (size_t)cell) * (size_t)p->pitch + (size_t)(i - cell * anchor_count)];
}

template <int32_t A>
static __device__ __forceinline__ void count_chunk(const rpn_plan *plan, int32_t n, int32_t l, int32_t chunk,
                                                   uint32_t *bins)
{
    const rcnn_cuda_rpn_select *p = &plan->p;
    const rpn_level *level = &plan->level[l];
    const int32_t first = chunk * level->chunk_anchors, end = min(first + level->chunk_anchors, level->anchors);
    uint32_t *keys = plan->key + (size_t)n * plan->anchors + level->first_anchor;
    for (int32_t base = first + (int32_t)threadIdx.x; base < end; base += COUNT_THREADS * LOADS) {
        float logit[LOADS];
#pragma unroll
        for (int32_t k = 0; k < LOADS; k++) {
            const int32_t i = base + k * COUNT_THREADS;
            logit[k] = i < end ? logit_at<A>(p, l, n, i) : 0.0f;
        }
#pragma unroll
        for (int32_t k = 0; k < LOADS; k++) {
            const int32_t i = base + k * COUNT_THREADS;
            if (i >= end) {
                break;
            }
            if (!rcnn_is_finite(logit[k])) {
                rcnn_note_fault(p->fault, RCNN_CUDA_FAULT_OBJECTNESS, n, l, i);
            }
            const uint32_t key = rcnn_score_key(p->rank_sigmoid ? 1.0f / (1.0f + expf(-logit[k])) : logit[k]);
            keys[i] = key;
            atomicAdd(&bins[bin_of(key, p->rank_sigmoid)], 1u);
        }
    }
}

/* Blocks: x chunks of all levels, y images. */
template <int32_t A>
static __global__ void __launch_bounds__(COUNT_THREADS) rpn_count_kernel(const __grid_constant__ rpn_plan plan)
{
    rcnn_begin();
    __shared__ __align__(16) uint32_t bins[BINS];
    const int32_t n = blockIdx.y, thread = threadIdx.x;
    if (blockIdx.x == 0 && thread < plan.p.level_count) {
        plan.boxes[n * plan.p.level_count + thread] = 0;
        if (n == 0 && thread == 0) {
            *plan.ticket = 0;
        }
    }
    if (n >= plan.p.frame->count) {
        return;
    }
    for (int32_t i = thread; i < BINS; i += COUNT_THREADS) {
        bins[i] = 0;
    }
    __syncthreads();
    const int32_t l = level_of_chunk(&plan, blockIdx.x);
    count_chunk<A>(&plan, n, l, (int32_t)blockIdx.x - plan.level[l].first_chunk, bins);
    __syncthreads();
    uint16_t *row = plan.bins + ((size_t)n * (size_t)plan.chunks + blockIdx.x) * ROW;
    for (int32_t c = rcnn_warp(); c < COARSE; c += COUNT_THREADS / 32) {
        const uint2 pair = reinterpret_cast<const uint2 *>(bins + c * FINE)[rcnn_lane()];
        reinterpret_cast<uint32_t *>(row + c * FINE)[rcnn_lane()] = pair.x | pair.y << 16;
        const uint32_t sum = __reduce_add_sync(RCNN_ALL_LANES, pair.x + pair.y);
        if (rcnn_lane() == 0) {
            row[BINS + c] = (uint16_t)sum;
        }
    }
}

/* ------------------------------------------------------------- collect */

typedef struct column_sums { /* of 64 columns */
    uint32_t all[FINE];      /* over all chunks of the level    */
    uint32_t before[FINE];   /* over the chunks before this one */
} column_sums;

static __device__ __forceinline__ void sum_columns(const uint16_t *columns, int32_t chunks, int32_t chunk,
                                                   column_sums *sums)
{
    const int32_t thread = threadIdx.x, column = thread % FINE;
    if (thread < FINE) {
        sums->all[thread] = 0;
        sums->before[thread] = 0;
    }
    __syncthreads();
    uint32_t all = 0, before = 0;
#pragma unroll 8
    for (int32_t c = thread / FINE; c < chunks; c += COLLECT_THREADS / FINE) {
        const uint32_t count = columns[(size_t)c * ROW + (size_t)column];
        all += count;
        before += c < chunk ? count : 0;
    }
    atomicAdd(&sums->all[column], all);
    atomicAdd(&sums->before[column], before);
    __syncthreads();
}

/* Sum of the first `count` of 64 columns. */
static __device__ __forceinline__ uint32_t sum_first(const uint32_t *columns, int32_t count)
{
    const int32_t a = rcnn_lane(), b = a + 32;
    return __reduce_add_sync(RCNN_ALL_LANES, (a < count ? columns[a] : 0) + (b < count ? columns[b] : 0));
}

/* The last bin that is gathered, and where this chunk's anchors up to it go. */
typedef struct chunk_share {
    uint32_t last_bin;
    int32_t place;
} chunk_share;

static __device__ __forceinline__ chunk_share share_of(const rpn_plan *plan, int32_t n, int32_t l, int32_t chunk,
                                                       column_sums *sums)
{
    const rpn_level *level = &plan->level[l];
    const uint16_t *rows = plan->bins + ((size_t)n * (size_t)plan->chunks + (size_t)level->first_chunk) * ROW;
    sum_columns(rows + BINS, level->chunks, chunk, sums);
    const rcnn_cut coarse = rcnn_find_cut<COARSE / 32>(sums->all, (uint32_t)level->kept);
    uint32_t place = sum_first(sums->before, coarse.column);
    __syncthreads();
    sum_columns(rows + coarse.column * FINE, level->chunks, chunk, sums);
    const rcnn_cut fine = rcnn_find_cut<FINE / 32>(sums->all, (uint32_t)level->kept - coarse.below);
    place += sum_first(sums->before, fine.column + 1);
    if (chunk == 0 && threadIdx.x == 0) {
        plan->gathered_count[n * plan->p.level_count + l] =
            (int32_t)(coarse.below + fine.below + sums->all[fine.column]);
    }
    return {(uint32_t)(coarse.column * FINE + fine.column), (int32_t)place};
}

/* Blocks as in count. */
static __global__ void __launch_bounds__(COLLECT_THREADS) rpn_collect_kernel(const __grid_constant__ rpn_plan plan)
{
    rcnn_begin();
    __shared__ column_sums sums;
    __shared__ uint32_t warp_sums[32];
    const int32_t n = blockIdx.y;
    if (n >= plan.p.frame->count) {
        return;
    }
    const int32_t l = level_of_chunk(&plan, blockIdx.x);
    const rpn_level *level = &plan.level[l];
    const int32_t chunk = (int32_t)blockIdx.x - level->first_chunk;
    const int32_t first = chunk * level->chunk_anchors, end = min(first + level->chunk_anchors, level->anchors);
    const size_t region = (size_t)n * plan.anchors + level->first_anchor;
    int32_t i = first + (int32_t)threadIdx.x;
    uint32_t next = i < end ? plan.key[region + (size_t)i] : 0;
    chunk_share share = share_of(&plan, n, l, chunk, &sums);
    for (int32_t base = first; base < end; base += COLLECT_THREADS) {
        const uint32_t key = next;
        const bool is_gathered = i < end && bin_of(key, plan.p.rank_sigmoid) <= share.last_bin;
        const int32_t anchor = i;
        i += COLLECT_THREADS;
        next = i < end ? plan.key[region + (size_t)i] : 0;
        int32_t found;
        const int32_t place = share.place + rcnn_block_place(is_gathered, warp_sums, &found);
        if (is_gathered) {
            plan.gathered_key[region + (size_t)place] = key;
            plan.gathered[region + (size_t)place] = (uint32_t)anchor;
        }
        share.place += found;
    }
}

/* ------------------------------------------------------------- emit */

/* Anchors of one level by rising number, with their keys. */
typedef struct anchor_list {
    const uint32_t *key, *anchor;
    int32_t count;
} anchor_list;

/* The `wanted` (<= list.count) first by key, equal keys by anchor, in the order of the list. The key of the last of
 * them is found digit by digit. */
static __device__ void shorten(anchor_list list, int32_t wanted, uint32_t *key_out, uint32_t *anchor_out,
                               uint32_t *bins, uint32_t *sums)
{
    uint32_t last = 0, known = 0, equals = (uint32_t)wanted; /* equals: how many with the key `last` are wanted */
    for (int32_t shift = 24; shift >= 0; shift -= 8) {
        if (threadIdx.x < 256) {
            bins[threadIdx.x] = 0;
        }
        __syncthreads();
        for (int32_t i = threadIdx.x; i < list.count; i += EMIT_THREADS) {
            if ((list.key[i] & known) == last) {
                atomicAdd(&bins[list.key[i] >> shift & 255u], 1u);
            }
        }
        __syncthreads();
        const rcnn_cut cut = rcnn_find_cut<8>(bins, equals);
        equals -= cut.below;
        last |= (uint32_t)cut.column << shift;
        known |= 255u << shift;
        __syncthreads();
    }
    int32_t place = 0, equals_before = 0;
    for (int32_t base = 0; base < list.count; base += EMIT_THREADS) {
        const int32_t i = base + (int32_t)threadIdx.x;
        const uint32_t key = i < list.count ? list.key[i] : RCNN_ALL_LANES;
        const bool is_equal = i < list.count && key == last;
        int32_t found, found_equal;
        const int32_t equal = equals_before + rcnn_block_place(is_equal, sums, &found_equal);
        const bool is_wanted = i < list.count && (key < last || (is_equal && equal < (int32_t)equals));
        const int32_t at = place + rcnn_block_place(is_wanted, sums, &found);
        if (is_wanted) {
            key_out[at] = key;
            anchor_out[at] = list.anchor[i];
        }
        place += found;
        equals_before += found_equal;
    }
    __syncthreads();
}

/* Box of an anchor, decoded and clipped; false when it is dropped. */
static __device__ __forceinline__ bool box_of(const rcnn_cuda_rpn_select *p, int32_t l, int32_t n, int32_t i,
                                              bool report, float4 *out)
{
    const int32_t cell = i / p->anchor_count, a = i - cell * p->anchor_count;
    const size_t cells = (size_t)p->height[l] * (size_t)p->width[l];
    const float *d = p->pred[l] + ((size_t)n * cells + (size_t)cell) * (size_t)p->pitch + p->anchor_count + a * 4;
    const float4 delta = make_float4(d[0], d[1], d[2], d[3]);
    if (!rcnn_is_finite(delta.x) || !rcnn_is_finite(delta.y) || !rcnn_is_finite(delta.z) || !rcnn_is_finite(delta.w)) {
        if (report) {
            rcnn_note_fault(p->fault, RCNN_CUDA_FAULT_RPN_DELTA, n, l, i);
        }
        return false;
    }
    const float *base = p->base[l][a];
    const float x = (float)(cell % p->width[l]) * p->step_x[l], y = (float)(cell / p->width[l]) * p->step_y[l];
    const float4 anchor = make_float4(base[0] + x, base[1] + y, base[2] + x, base[3] + y);
    const rcnn_cuda_frame_image *image = &p->frame->image[n];
    *out = rcnn_clip_box(rcnn_decode_box(&p->decode, anchor, delta), image->net_width, image->net_height);
    return rcnn_side_at_least(*out, p->min_size, p->min_inclusive);
}

#define ONE_PART (1ull << 32)

/* Tells the number of boxes of some parts of the level and waits for all of the levels before it: where the level's boxes
 * begin. Who completes the last level knows how many the image has. One thread. */
static __device__ int32_t place_level(const rpn_plan *plan, int32_t l, int32_t n, int32_t parts, int32_t boxes)
{
    unsigned long long *told = plan->boxes + n * plan->p.level_count;
    const unsigned long long add = (unsigned long long)parts * ONE_PART + (unsigned long long)boxes;
    const unsigned long long now = atomicAdd(&told[l], add) + add;
    int32_t first = 0;
    for (int32_t lower = 0; lower < l; lower++) {
        unsigned long long known;
        do {
            known = *(volatile unsigned long long *)&told[lower];
        } while ((int32_t)(known >> 32) < plan->parts);
        first += (int32_t)(uint32_t)known;
    }
    if (l + 1 == plan->p.level_count && (int32_t)(now >> 32) == plan->parts) {
        const int32_t all = first + (int32_t)(uint32_t)now;
        if (all > plan->p.out.capacity) {
            rcnn_note_fault(plan->p.fault, RCNN_CUDA_FAULT_CAPACITY, n, all, plan->p.out.capacity);
        }
        plan->p.out.counts[n] = min(all, plan->p.out.capacity);
    }
    return first;
}

/* Boxes of the first `count` of the list in an order (NULL: its own). Decoded twice: once to count those that stay, and
 * once to write them, which is cheaper than keeping them somewhere. */
template <typename Index>
static __device__ void emit(const rpn_plan *plan, int32_t l, int32_t n, anchor_list list, const Index *order,
                            int32_t count, uint32_t *sums)
{
    __shared__ int32_t first;
    const rcnn_cuda_rpn_select *p = &plan->p;
    float4 box = make_float4(0, 0, 0, 0);
    int32_t boxes = 0;
    for (int32_t base = 0; base < count; base += EMIT_THREADS) {
        const int32_t j = base + (int32_t)threadIdx.x;
        const bool stays = j < count && box_of(p, l, n, (int32_t)list.anchor[order ? order[j] : j], true, &box);
        boxes += __syncthreads_count(stays);
    }
    if (threadIdx.x == 0) {
        first = place_level(plan, l, n, plan->parts, boxes);
    }
    __syncthreads();
    int32_t place = first;
    for (int32_t base = 0; base < count; base += EMIT_THREADS) {
        const int32_t j = base + (int32_t)threadIdx.x;
        const int32_t at = j < count && order ? (int32_t)order[j] : j;
        const bool stays = j < count && box_of(p, l, n, (int32_t)list.anchor[at], false, &box);
        int32_t found;
        const int32_t to = place + rcnn_block_place(stays, sums, &found);
        if (stays && to < p->out.capacity) {
            rcnn_list_put(&p->out, n, to, box, rcnn_key_score(list.key[at]), l);
        }
        place += found;
    }
}

/* Sorts and emits a list that fits shared memory. */
static __device__ void emit_sorted(const rpn_plan *plan, int32_t l, int32_t n, anchor_list list, uint32_t *shared,
                                   uint32_t *sums)
{
    uint32_t *key = shared + RCNN_SORT_COUNTERS;
    uint16_t *order = (uint16_t *)(key + RCNN_SORT_SHARED_MAX), *spare = order + RCNN_SORT_SHARED_MAX;
    uint32_t varying = 0;
    for (int32_t i = threadIdx.x; i < list.count; i += EMIT_THREADS) {
        key[i] = list.key[i];
        order[i] = (uint16_t)i;
        varying |= key[i] ^ list.key[0];
    }
    varying = rcnn_block_or(varying, sums);
    const uint16_t *sorted = rcnn_block_sort(key, order, spare, list.count, varying, shared);
    emit(plan, l, n, list, sorted, min(list.count, plan->level[l].kept), sums);
}

/* The same in device memory, where count collect left room: its arrays of the level are no longer needed. */
static __device__ void emit_sorted_long(const rpn_plan *plan, int32_t l, int32_t n, anchor_list list, uint32_t *order,
                                        uint32_t *spare, uint32_t *shared, uint32_t *sums)
{
    uint32_t varying = 0;
    for (int32_t i = threadIdx.x; i < list.count; i += EMIT_THREADS) {
        order[i] = (uint32_t)i;
        varying |= list.key[i] ^ list.key[0];
    }
    varying = rcnn_block_or(varying, sums);
    const uint32_t *sorted = rcnn_block_sort(list.key, order, spare, list.count, varying, shared);
    emit(plan, l, n, list, sorted, list.count, sums);
}

/* What the blocks of a level that sort by counting have in shared memory. */
typedef struct ranked_level {
    uint32_t key[RCNN_RANK_MAX]; /* of all anchors gathered; 0 when their order stays */
    uint32_t dropped_key[RCNN_RANK_MAX];
    uint16_t dropped[RCNN_RANK_MAX]; /* numbers of those without a box, in any order */
    uint16_t rank[PART_MAX];         /* of this part */
    uint16_t dropped_before[PART_MAX];
    bool has_box[PART_MAX];
    float4 box[PART_MAX];
} ranked_level;
static_assert(sizeof(ranked_level) <= RCNN_SORT_SHARED_BYTES, "ranked_level lies there");

/* Decodes the whole list, for it takes no longer than decoding the part, which is [begin,end). Returns how many of the
 * list are dropped. */
static __device__ int32_t load_ranked(const rpn_plan *plan, int32_t l, int32_t n, anchor_list list, bool keep_order,
                                      int32_t begin, int32_t end, ranked_level *level)
{
    __shared__ int32_t dropped_count;
    if (threadIdx.x == 0) {
        dropped_count = 0;
    }
    __syncthreads();
#pragma unroll 2
    for (int32_t j = threadIdx.x; j < list.count; j += EMIT_THREADS) {
        float4 box = make_float4(0, 0, 0, 0);
        const uint32_t key = keep_order ? 0 : list.key[j];
        const bool has_box = box_of(&plan->p, l, n, (int32_t)list.anchor[j], false, &box);
        level->key[j] = key;
        if (!has_box) {
            const int32_t at = atomicAdd(&dropped_count, 1);
            level->dropped[at] = (uint16_t)j;
            level->dropped_key[at] = key;
        }
        if (j >= begin && j < end) {
            level->has_box[j - begin] = has_box;
            level->box[j - begin] = box;
        }
    }
    __syncthreads();
    return dropped_count;
}

/* How many of the dropped stand before item j. One warp. */
static __device__ __forceinline__ uint32_t count_dropped(const ranked_level *level, int32_t dropped, int32_t j)
{
    uint32_t before = 0;
    for (int32_t d = rcnn_lane(); d < dropped; d += 32) {
        const uint32_t other = level->dropped_key[d];
        before += other < level->key[j] || (other == level->key[j] && level->dropped[d] < j);
    }
    return __reduce_add_sync(RCNN_ALL_LANES, before);
}

/* Part `part` of a level whose list has at most RCNN_RANK_MAX anchors. */
static __device__ void emit_ranked(const rpn_plan *plan, int32_t l, int32_t n, anchor_list list, bool keep_order,
                                   int32_t part, ranked_level *level)
{
    __shared__ int32_t first;
    const int32_t each = (list.count + plan->parts - 1) / plan->parts;
    const int32_t begin = min(part * each, list.count), end = min(begin + each, list.count);
    const int32_t dropped = load_ranked(plan, l, n, list, keep_order, begin, end, level);
    for (int32_t j = begin + rcnn_warp() * RCNN_RANK_ITEMS; j < end; j += EMIT_THREADS / 32 * RCNN_RANK_ITEMS) {
        uint32_t rank[RCNN_RANK_ITEMS];
        rcnn_warp_rank(level->key, list.count, j, rank);
#pragma unroll
        for (int32_t t = 0; t < RCNN_RANK_ITEMS; t++) {
            if (j + t >= end) { /* the same for all lanes */
                break;
            }
            const uint32_t before = count_dropped(level, dropped, j + t);
            if (rcnn_lane() == 0) {
                level->rank[j + t - begin] = (uint16_t)rank[t];
                level->dropped_before[j + t - begin] = (uint16_t)before;
            }
        }
    }
    __syncthreads();
    const int32_t i = threadIdx.x, j = begin + i; /* a thread for each of the part: PART_MAX are fewer */
    const bool is_kept = j < end && level->rank[i] < plan->level[l].kept;
    const bool stays = is_kept && level->has_box[i];
    const uint32_t key = j < end ? list.key[j] : 0;
    if (is_kept && !stays) { /* tells whether it is broken */
        float4 box;
        (void)box_of(&plan->p, l, n, (int32_t)list.anchor[j], true, &box);
    }
    const int32_t boxes = __syncthreads_count(stays);
    if (i == 0) {
        first = place_level(plan, l, n, 1, boxes);
    }
    __syncthreads();
    const int32_t to = stays ? first + level->rank[i] - level->dropped_before[i] : 0;
    if (stays && to < plan->p.out.capacity) {
        rcnn_list_put(&plan->p.out, n, to, level->box[i], rcnn_key_score(key), l);
    }
}

/* A level by one block. */
static __device__ void emit_level(const rpn_plan *plan, int32_t l, int32_t n, anchor_list list, bool keep_order,
                                  uint32_t *shared, uint32_t *sums)
{
    const rpn_level *level = &plan->level[l];
    const size_t region = (size_t)n * plan->anchors + level->first_anchor;
    if (keep_order) {
        emit(plan, l, n, list, (const uint32_t *)NULL, list.count, sums);
        return;
    }
    if (list.count > RCNN_SORT_SHARED_MAX) {
        uint32_t *short_key = plan->key + region;
        uint32_t *short_anchor = plan->spare + (size_t)n * plan->kept + level->first_kept;
        shorten(list, level->kept, short_key, short_anchor, shared, sums);
        list = {short_key, short_anchor, level->kept};
    }
    if (list.count > RCNN_SORT_SHARED_MAX) {
        emit_sorted_long(plan, l, n, list, plan->gathered_key + region, plan->gathered + region, shared, sums);
    } else {
        emit_sorted(plan, l, n, list, shared, sums);
    }
}

/* Blocks: parts of levels of all images, by ticket: who waits for a lower level waits for blocks that run or have run. */
static __global__ void __launch_bounds__(EMIT_THREADS) rpn_emit_kernel(const __grid_constant__ rpn_plan plan)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(uint32_t, shared);
    __shared__ uint32_t sums[32];
    __shared__ int32_t ticket;
    if (threadIdx.x == 0) {
        ticket = atomicAdd(plan.ticket, 1);
    }
    __syncthreads();
    const int32_t level_number = ticket / plan.parts, part = ticket - level_number * plan.parts;
    const int32_t n = level_number / plan.p.level_count, l = level_number - n * plan.p.level_count;
    if (n >= plan.p.frame->count) {
        if (l == 0 && part == 0 && threadIdx.x == 0) {
            plan.p.out.counts[n] = 0;
        }
        return;
    }
    const rpn_level *level = &plan.level[l];
    const size_t region = (size_t)n * plan.anchors + level->first_anchor;
    const anchor_list list = {plan.gathered_key + region, plan.gathered + region,
                              plan.gathered_count[n * plan.p.level_count + l]};
    const bool keep_order = plan.p.keep_order && level->anchors == level->kept;
    if (plan.parts > 1 && list.count <= RCNN_RANK_MAX) {
        emit_ranked(&plan, l, n, list, keep_order, part, reinterpret_cast<ranked_level *>(shared));
    } else if (part == 0) {
        emit_level(&plan, l, n, list, keep_order, shared, sums);
    }
}

/* ------------------------------------------------------------- launching */

static void plan_level(const rcnn_cuda_rpn_select *p, rpn_level *level, int32_t l)
{
    const int32_t cells = p->height[l] * p->width[l];
    int32_t chunk_cells = (cells + CHUNKS_WANTED - 1) / CHUNKS_WANTED;
    chunk_cells = chunk_cells < CHUNK_CELLS_MIN ? CHUNK_CELLS_MIN : chunk_cells;
    chunk_cells = chunk_cells > CHUNK_MAX / p->anchor_count ? CHUNK_MAX / p->anchor_count : chunk_cells;
    level->anchors = cells * p->anchor_count;
    level->chunk_anchors = chunk_cells * p->anchor_count;
    level->chunks = (cells + chunk_cells - 1) / chunk_cells;
    level->kept = level->anchors < p->pre_nms ? level->anchors : p->pre_nms;
}

static rpn_plan plan_of(const rcnn_cuda_rpn_select *p)
{
    rpn_plan plan = {};
    plan.p = *p;
    for (int32_t l = 0; l < p->level_count; l++) {
        rpn_level *level = &plan.level[l];
        plan_level(p, level, l);
        level->first_chunk = plan.chunks;
        level->first_anchor = plan.anchors;
        level->first_kept = plan.kept;
        plan.chunks += level->chunks;
        plan.anchors += (size_t)level->anchors;
        plan.kept += (size_t)level->kept;
    }
    const size_t images = (size_t)p->n, levels = images * (size_t)p->level_count;
    plan.parts = EMIT_BLOCKS / (p->n * p->level_count) < PARTS_MIN ? 1 : EMIT_BLOCKS / (p->n * p->level_count);
    const size_t all_anchors = images * plan.anchors * sizeof(uint32_t);
    plan.key = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, all_anchors);
    plan.gathered_key = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, all_anchors);
    plan.gathered = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, all_anchors);
    plan.spare = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, images * plan.kept * sizeof(uint32_t));
    plan.bins = (uint16_t *)rcnn_take(p->scratch, &plan.bytes, images * (size_t)plan.chunks * ROW * sizeof(uint16_t));
    plan.gathered_count = (int32_t *)rcnn_take(p->scratch, &plan.bytes, levels * sizeof(int32_t));
    plan.boxes = (unsigned long long *)rcnn_take(p->scratch, &plan.bytes, levels * sizeof(unsigned long long));
    plan.ticket = (int32_t *)rcnn_take(p->scratch, &plan.bytes, sizeof(int32_t));
    return plan;
}

extern "C" size_t rcnn_cuda_rpn_select_scratch(const rcnn_cuda_rpn_select *p)
{
    rcnn_cuda_rpn_select shape = *p;
    shape.scratch = NULL;
    return plan_of(&shape).bytes;
}

extern "C" cudaError_t rcnn_cuda_rpn_select_launch(const rcnn_cuda_rpn_select *p, cudaStream_t stream)
{
    const rpn_plan plan = plan_of(p);
    const dim3 chunks((unsigned)plan.chunks, (unsigned)p->n);
    const unsigned blocks = (unsigned)(p->n * p->level_count * plan.parts);
    const cudaError_t error = cudaFuncSetAttribute(
        (const void *)rpn_emit_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)RCNN_SORT_SHARED_BYTES);
    if (error != cudaSuccess) {
        return error;
    }
    const auto count_kernel = p->anchor_count == 3 ? rpn_count_kernel<3> : rpn_count_kernel<0>;
    RCNN_LAUNCH(count_kernel, chunks, COUNT_THREADS, 0, stream, plan);
    RCNN_LAUNCH(rpn_collect_kernel, chunks, COLLECT_THREADS, 0, stream, plan);
    RCNN_LAUNCH(rpn_emit_kernel, blocks, EMIT_THREADS, RCNN_SORT_SHARED_BYTES, stream, plan);
    return cudaGetLastError();
}
