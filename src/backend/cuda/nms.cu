/* Batched non-maximum suppression with the results of src/backend/ref/nms.c, bit for bit. Three launches:
 *
 *   order   some blocks for each share of an image's candidates: sort them by score. Shares are the groups, when these
 *           are few and cannot touch each other (the levels of the RPN); else one share holds all. A share that comes
 *           sorted stays as it is, a short one is sorted by counting, a long one by one block in passes
 *   pairs   64x64 tiles of each share's sorted candidates: which suppresses which, one bit a pair. Other blocks find
 *           the rank of each candidate among all of the image
 *   walk    one block a share goes through its candidates 64 at a time. The block of an image that ends last writes the
 *           boxes kept, by rank
 *
 * More candidates than RCNN_SORT_SHARED_MAX are sorted by one block in device memory and walked by one block that tests
 * 64 candidates at a time against all kept so far, until enough are kept: no bit matrix, which would be too large, and
 * the walk mostly ends early.
 *
 * Why groups cannot touch: coordinates are in [0,largest], group g is moved by off(g) = g * (largest + 1) in float, and
 * moving is monotone. If largest + off(g) <= off(g + 1) after rounding, boxes of g and g + 1 have no common inside: the
 * intersection is 0 and suppresses nothing, as sides are not negative. All of this is checked on the device. */
#include "backend/cuda/rank.cuh"

#define ORDER_THREADS RCNN_SORT_THREADS
#define PAIRS_THREADS 256
#define WALK_THREADS  1024

#define LOADS     4 /* of a thread under way at once */
#define SHARES    8
#define TILE      64
#define WORDS_MAX ((RCNN_SORT_SHARED_MAX + TILE - 1) / TILE)
#define STEPS     (RCNN_SORT_SHARED_MAX / ORDER_THREADS) /* candidates a thread of order has in shared memory */

/* Blocks of all images, so that they run at the same time on an H100 (132 multiprocessors). */
#define ORDER_BLOCKS 64
#define TILE_BLOCKS  720                      /* of pairs: 5 sorted levels of 1000 have 680 tiles */
#define RANK_BLOCKS  160                      /* of pairs */
#define RANKED       (PAIRS_THREADS / SHARES) /* candidates that one of them ranks at a time */

#define MMCV_SPLIT            10000 /* as in src/backend/ref/nms.c */
#define TORCHVISION_SHIFT_MAX 1000

/* What order finds out about an image. */
typedef struct nms_image {
    int32_t start[SHARES], end[SHARES]; /* in the arrays by share */
    int32_t ended;                      /* shares walked */
    int32_t in_spare;                   /* long lists: where the sorted order is */
    float step;                         /* largest + 1 */
} nms_image;

typedef struct nms_plan {
    rcnn_cuda_nms p;
    int32_t limit; /* candidates that shares hold: min(capacity, RCNN_SORT_SHARED_MAX) */
    int32_t words; /* tiles in a row of tiles */
    int32_t parts; /* blocks of order that share the work of a share */
    size_t bytes;
    nms_image *image;
    uint32_t *key;        /* [n][limit] by share and score                                          */
    int32_t *from;        /* [n][limit] candidate                                                   */
    float4 *moved;        /* [n][limit] box that is compared                                        */
    int32_t *group;       /* [n][limit]                                                             */
    int32_t *rank;        /* [n][limit] among all of the image                                      */
    int32_t *by_rank;     /* [n][limit] candidate                                                   */
    uint32_t *kept;       /* [n][ceil(limit/32)] bits by rank                                       */
    uint64_t *bits;       /* [n][words + SHARES][words][64] by tile: row of tiles, column; bit j of a candidate: it
                             overlaps candidate j of the column. See tile_bits                      */
    uint32_t *long_key;   /* [n][capacity], these when capacity > limit                             */
    uint32_t *long_order; /* [n][capacity]                                                          */
    uint32_t *long_spare; /* [n][capacity]                                                          */
    float4 *long_kept;    /* [n][keep] moved boxes kept                                             */
    int32_t *long_group;  /* [n][keep]                                                              */
} nms_plan;

/* ------------------------------------------------------------- rules */

typedef struct nms_rule {
    bool torchvision, shifted, within_group;
    float iou;
} nms_rule;

static __device__ __forceinline__ nms_rule rule_of(const rcnn_cuda_nms *p, int32_t count)
{
    nms_rule rule = {p->torchvision != 0, true, false, p->iou};
    if (rule.torchvision) {
        rule.shifted = count <= TORCHVISION_SHIFT_MAX;
        rule.within_group = !rule.shifted;
    } else {
        rule.within_group = count >= MMCV_SPLIT;
    }
    return rule;
}

static __device__ __forceinline__ float shift_of(const rcnn_cuda_nms *p, nms_rule rule, int32_t group, float step)
{
    return rule.shifted ? (float)(group + p->first_group) * step : 0.0f;
}

static __device__ __forceinline__ float4 move_box(float4 box, float shift)
{
    return make_float4(box.x + shift, box.y + shift, box.z + shift, box.w + shift);
}

static __device__ __forceinline__ float area_of(float4 box)
{
    return (box.z - box.x) * (box.w - box.y);
}

/* Symmetric. */
static __device__ __forceinline__ bool overlaps(nms_rule rule, float4 a, float area_a, float4 b, float area_b)
{
    const float width = fmaxf(fminf(a.z, b.z) - fmaxf(a.x, b.x), 0.0f);
    const float height = fmaxf(fminf(a.w, b.w) - fmaxf(a.y, b.y), 0.0f);
    const float inter = width * height;
    const float both = area_a + area_b - inter;
    const float edge = rule.iou * both;
    /* torchvision divides; far from the edge of the decision the product says the same */
    if (!rule.torchvision || (edge > 1e-30f && fabsf(inter - edge) > edge * 1e-5f)) {
        return inter > edge;
    }
    return inter / both > rule.iou; /* 0/0 is not */
}

/* ------------------------------------------------------------- order */

/* What decides whether groups can be walked one by one. */
typedef struct survey {
    float largest;
    int32_t first_group, last_group;
    bool is_plain;    /* no coordinate below 0, no side below 0, no NaN */
    uint32_t varying; /* bits in which scores' keys differ              */
} survey;

/* Also writes the keys of all scores. */
static __device__ survey survey_of(const rcnn_cuda_nms *p, int32_t n, int32_t count, uint32_t *key)
{
    const size_t first = (size_t)n * (size_t)p->in.capacity;
    const uint32_t sign = 0x80000000u;
    uint32_t largest = ~rcnn_score_key(-INFINITY); /* rises with the coordinate */
    uint32_t low = 0, high = 0, odd = 0;           /* group with its sign turned, for `low` inverted */
    uint32_t ones = 0, zeros = 0;
    for (int32_t base = threadIdx.x; base < count; base += ORDER_THREADS * LOADS) {
        float4 box[LOADS];
        float score[LOADS];
        uint32_t group[LOADS];
#pragma unroll
        for (int32_t k = 0; k < LOADS; k++) { /* past the end: the first once more */
            const int32_t i = base + k * ORDER_THREADS < count ? base + k * ORDER_THREADS : base;
            box[k] = rcnn_box_at(p->in.boxes, first + (size_t)i);
            score[k] = p->in.scores[first + (size_t)i];
            group[k] = (uint32_t)p->in.groups[first + (size_t)i] ^ sign;
        }
#pragma unroll
        for (int32_t k = 0; k < LOADS; k++) {
            const int32_t i = base + k * ORDER_THREADS < count ? base + k * ORDER_THREADS : base;
            const float4 b = box[k];
            const float most = fmaxf(fmaxf(b.x, b.y), fmaxf(b.z, b.w)); /* NaN only if all are */
            const uint32_t score_key = rcnn_score_key(score[k]);
            largest = max(largest, most == most ? ~rcnn_score_key(most) : 0u);
            odd |= !(b.x >= 0.0f && b.y >= 0.0f && b.z >= b.x && b.w >= b.y);
            low = max(low, ~group[k]);
            high = max(high, group[k]);
            ones |= score_key;
            zeros |= ~score_key;
            key[i] = score_key;
        }
    }
    __shared__ uint32_t warps[5][32];
    const uint32_t of_warp[5] = {__reduce_max_sync(RCNN_ALL_LANES, largest), __reduce_max_sync(RCNN_ALL_LANES, low),
                                 __reduce_max_sync(RCNN_ALL_LANES, high), __reduce_or_sync(RCNN_ALL_LANES, ones),
                                 __reduce_or_sync(RCNN_ALL_LANES, zeros)};
    if (rcnn_lane() == 0) {
        for (int32_t k = 0; k < 5; k++) {
            warps[k][rcnn_warp()] = of_warp[k];
        }
    }
    const bool is_plain = __syncthreads_or(odd != 0) == 0;
    survey s;
    s.largest = rcnn_key_score(~__reduce_max_sync(RCNN_ALL_LANES, warps[0][rcnn_lane()]));
    s.first_group = (int32_t)(~__reduce_max_sync(RCNN_ALL_LANES, warps[1][rcnn_lane()]) ^ sign);
    s.last_group = (int32_t)(__reduce_max_sync(RCNN_ALL_LANES, warps[2][rcnn_lane()]) ^ sign);
    s.is_plain = is_plain;
    s.varying = __reduce_or_sync(RCNN_ALL_LANES, warps[3][rcnn_lane()]) &
                __reduce_or_sync(RCNN_ALL_LANES, warps[4][rcnn_lane()]);
    return s;
}

/* Each group is a share: group first_group + s is share s. */
static __device__ bool groups_are_apart(const rcnn_cuda_nms *p, nms_rule rule, survey s)
{
    const uint32_t groups = (uint32_t)s.last_group - (uint32_t)s.first_group + 1u;
    if (groups < 2 || groups > SHARES) {
        return false;
    }
    bool apart = rule.within_group || s.is_plain;
    for (int32_t g = s.first_group; g < s.last_group; g++) {
        const float step = s.largest + 1.0f;
        apart =
            apart && (rule.within_group || s.largest + shift_of(p, rule, g, step) <= shift_of(p, rule, g + 1, step));
    }
    return apart;
}

/* What a block of order does: its part of one share, whose candidates stand in the arrays from `start` on. */
typedef struct share_part {
    int32_t share;
    int32_t part, parts;
    int32_t start, count; /* of the share */
} share_part;

static __device__ __forceinline__ share_part part_of(const nms_plan *plan, bool apart)
{
    const int32_t block = blockIdx.x;
    if (apart) {
        return {block % SHARES, block / SHARES, plan->parts, 0, 0};
    }
    return {0, block, plan->parts * SHARES, 0, 0};
}

/* Gathers the candidates of the share in the order of the list, and finds where the share stands. Each warp has its own
 * piece of the list. near: their keys, the first RCNN_RANK_MAX of them. */
static __device__ void gather_share(const rcnn_cuda_nms *p, int32_t n, int32_t count, const survey *found, bool apart,
                                    const uint32_t *key, share_part *share, uint16_t *order, uint32_t *near,
                                    uint32_t *sums)
{
    const size_t first = (size_t)n * (size_t)p->in.capacity;
    const int32_t steps = (count + ORDER_THREADS - 1) / ORDER_THREADS;
    const int32_t i0 = rcnn_warp() * steps * 32 + rcnn_lane();
    uint32_t votes[STEPS];
    uint32_t members = 0; /* of the share in the low half, of lower shares in the high one: at most 7168 */
#pragma unroll
    for (int32_t k = 0; k < STEPS; k++) {
        const int32_t i = i0 + k * 32;
        const bool live = k < steps && i < count;
        const int32_t owner = live && apart ? p->in.groups[first + (size_t)i] - found->first_group : 0;
        votes[k] = __ballot_sync(RCNN_ALL_LANES, live && owner == share->share);
        members += (uint32_t)__popc(votes[k]);
        members += (uint32_t)__popc(__ballot_sync(RCNN_ALL_LANES, live && owner < share->share)) << 16;
    }
    if (rcnn_lane() == 0) {
        sums[rcnn_warp()] = members;
    }
    __syncthreads();
    const uint32_t all = sums[rcnn_lane()];
    const uint32_t total = __reduce_add_sync(RCNN_ALL_LANES, all);
    share->count = (int32_t)(total & 0xffffu);
    share->start = (int32_t)(total >> 16);
    int32_t place = (int32_t)(__reduce_add_sync(RCNN_ALL_LANES, rcnn_lane() < rcnn_warp() ? all : 0) & 0xffffu);
#pragma unroll
    for (int32_t k = 0; k < STEPS; k++) {
        if (votes[k] >> rcnn_lane() & 1u) {
            const int32_t at = place + __popc(votes[k] & rcnn_lower_lanes());
            order[at] = (uint16_t)(i0 + k * 32);
            if (at < RCNN_RANK_MAX) {
                near[at] = key[i0 + k * 32];
            }
        }
        place += __popc(votes[k]);
    }
    __syncthreads();
}

/* Writes candidates order[begin..end) of the share to their places: places[j - begin], or j when NULL. */
static __device__ void write_share(const nms_plan *plan, int32_t n, nms_rule rule, float step, const uint32_t *key,
                                   int32_t start, const uint16_t *order, const uint16_t *places, int32_t begin,
                                   int32_t end)
{
    const rcnn_cuda_nms *p = &plan->p;
    const size_t first = (size_t)n * (size_t)p->in.capacity, share = (size_t)n * (size_t)plan->limit + (size_t)start;
    for (int32_t j = begin + (int32_t)threadIdx.x; j < end; j += ORDER_THREADS) {
        const int32_t from = order[j];
        const size_t to = share + (size_t)(places ? places[j - begin] : j);
        const int32_t group = p->in.groups[first + (size_t)from];
        plan->key[to] = key[from];
        plan->from[to] = from;
        plan->group[to] = group;
        plan->moved[to] = move_box(rcnn_box_at(p->in.boxes, first + (size_t)from), shift_of(p, rule, group, step));
    }
}

/* shared: RCNN_SORT_COUNTERS words, keys of all candidates, and two orders. */
static __device__ void order_share(const nms_plan *plan, int32_t n, int32_t count, nms_rule rule, const survey *found,
                                   bool apart, uint32_t *shared, uint32_t *sums)
{
    const uint32_t *key = shared + RCNN_SORT_COUNTERS;
    const float step = found->largest + 1.0f;
    uint16_t *order = (uint16_t *)(shared + RCNN_SORT_COUNTERS + plan->limit), *spare = order + plan->limit;
    share_part share = part_of(plan, apart);
    gather_share(&plan->p, n, count, found, apart, key, &share, order, shared, sums);
    if (threadIdx.x == 0 && share.part == 0) {
        plan->image[n].start[share.share] = share.start;
        plan->image[n].end[share.share] = share.start + share.count;
    }
    bool falls = false;
    for (int32_t j = threadIdx.x; j + 1 < share.count; j += ORDER_THREADS) {
        falls = falls || key[order[j]] > key[order[j + 1]];
    }
    const bool is_sorted = !__syncthreads_or(falls);
    const int32_t each = (share.count + share.parts - 1) / share.parts;
    const int32_t begin = min(share.part * each, share.count), end = min(begin + each, share.count);
    if (is_sorted) {
        write_share(plan, n, rule, step, key, share.start, order, NULL, begin, end);
    } else if (share.parts > 1 && share.count <= RCNN_RANK_MAX) {
        for (int32_t j = begin + rcnn_warp() * RCNN_RANK_ITEMS; j < end; j += RCNN_SORT_WARPS * RCNN_RANK_ITEMS) {
            uint32_t place[RCNN_RANK_ITEMS];
            rcnn_warp_rank(shared, share.count, j, place);
            for (int32_t t = 0; t < RCNN_RANK_ITEMS && j + t < end && rcnn_lane() == 0; t++) {
                spare[j - begin + t] = (uint16_t)place[t];
            }
        }
        __syncthreads();
        write_share(plan, n, rule, step, key, share.start, order, spare, begin, end);
    } else if (share.part == 0) {
        const uint16_t *sorted = rcnn_block_sort(key, order, spare, share.count, found->varying, shared);
        write_share(plan, n, rule, step, key, share.start, sorted, NULL, 0, share.count);
    }
}

/* A list too long for shares. */
static __device__ void order_long(const nms_plan *plan, int32_t n, int32_t count, const survey *found,
                                  uint32_t *counters)
{
    const size_t first = (size_t)n * (size_t)plan->p.in.capacity;
    uint32_t *order = plan->long_order + first, *spare = plan->long_spare + first;
    for (int32_t i = threadIdx.x; i < count; i += ORDER_THREADS) {
        order[i] = (uint32_t)i;
    }
    const uint32_t *sorted = rcnn_block_sort(plan->long_key + first, order, spare, count, found->varying, counters);
    if (threadIdx.x == 0) {
        plan->image[n].in_spare = sorted == spare;
        plan->image[n].step = found->largest + 1.0f;
    }
}

/* Blocks: x parts of shares, y images. */
static __global__ void __launch_bounds__(ORDER_THREADS) nms_order_kernel(const __grid_constant__ nms_plan plan)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(uint32_t, shared);
    __shared__ uint32_t sums[32];
    const int32_t n = blockIdx.y, count = plan.p.in.counts[n];
    if (blockIdx.x == 0) {
        const int32_t words = (plan.limit + 31) / 32;
        for (int32_t i = threadIdx.x; i < words; i += ORDER_THREADS) {
            plan.kept[(size_t)n * (size_t)words + (size_t)i] = 0;
        }
        if (threadIdx.x == 0) {
            plan.image[n].ended = 0;
        }
    }
    if (count <= 0 || (count > plan.limit && blockIdx.x > 0)) {
        return;
    }
    uint32_t *key =
        count > plan.limit ? plan.long_key + (size_t)n * (size_t)plan.p.in.capacity : shared + RCNN_SORT_COUNTERS;
    const survey found = survey_of(&plan.p, n, count, key);
    if (count > plan.limit) {
        order_long(&plan, n, count, &found, shared);
        return;
    }
    const nms_rule rule = rule_of(&plan.p, count);
    const bool apart = groups_are_apart(&plan.p, rule, found);
    if (!apart && blockIdx.x == 0 && threadIdx.x > 0 && threadIdx.x < SHARES) { /* there is one share */
        plan.image[n].start[threadIdx.x] = count;
        plan.image[n].end[threadIdx.x] = count;
    }
    order_share(&plan, n, count, rule, &found, apart, shared, sums);
}

/* ------------------------------------------------------------- pairs */

/* The 64 words of a tile of share s: word i holds the bits of candidate i of the row. Shares begin at any candidate, so
 * that each may need one row of tiles more. */
static __device__ __forceinline__ uint64_t *tile_bits(const nms_plan *plan, int32_t n, int32_t s, int32_t start,
                                                      int32_t row, int32_t column)
{
    const size_t of_image = (size_t)n * (size_t)(plan->words + SHARES);
    const size_t tile_row = of_image + (size_t)(start / TILE + s + row);
    return plan->bits + (tile_row * (size_t)plan->words + (size_t)column) * TILE;
}

/* Where the shares of an image are, in shared memory. */
typedef struct share_list {
    int32_t start[SHARES], end[SHARES];
} share_list;

/* Tile t of the upper triangles of all shares, which are numbered column by column. False: there is none. */
typedef struct nms_tile {
    int32_t share, start, end;
    int32_t row, column; /* in tiles */
} nms_tile;

static __device__ __forceinline__ bool tile_at(const share_list *shares, int32_t t, nms_tile *tile)
{
    for (int32_t s = 0; s < SHARES; s++) {
        const int32_t start = shares->start[s], end = shares->end[s];
        const int32_t side = (end - start + TILE - 1) / TILE, tiles = side * (side + 1) / 2;
        if (t < tiles) {
            int32_t column = (int32_t)((sqrtf(8.0f * (float)t + 1.0f) - 1.0f) * 0.5f); /* or one off */
            column += (column + 1) * (column + 2) / 2 <= t;
            column -= column * (column + 1) / 2 > t;
            *tile = {s, start, end, t - column * (column + 1) / 2, column};
            return true;
        }
        t -= tiles;
    }
    return false;
}

typedef struct tile_boxes {
    float4 box[TILE];
    float area[TILE];
    int32_t group[TILE];
} tile_boxes;

static __device__ void compare_tile(const nms_plan *plan, int32_t n, nms_rule rule, nms_tile tile, tile_boxes *columns,
                                    uint16_t (*bits)[TILE / 16])
{
    const size_t first = (size_t)n * (size_t)plan->limit;
    const int32_t thread = threadIdx.x;
    const int32_t row = tile.start + tile.row * TILE + thread % TILE, column0 = tile.start + tile.column * TILE;
    if (thread < TILE && column0 + thread < tile.end) {
        const float4 box = plan->moved[first + (size_t)(column0 + thread)];
        columns->box[thread] = box;
        columns->area[thread] = area_of(box);
        columns->group[thread] = plan->group[first + (size_t)(column0 + thread)];
    }
    const bool is_row = row < tile.end;
    const float4 box = is_row ? plan->moved[first + (size_t)row] : make_float4(0, 0, 0, 0);
    const int32_t group = is_row && rule.within_group ? plan->group[first + (size_t)row] : 0;
    const float area = area_of(box);
    __syncthreads();
    const int32_t part = thread / TILE * 16; /* 16 columns a thread */
    const int32_t live = is_row ? min(tile.end - column0 - part, 16) : 0;
    uint32_t mine = 0;
#pragma unroll 4
    for (int32_t j = 0; j < live; j++) {
        const bool same = !rule.within_group || columns->group[part + j] == group;
        const bool hit = same && overlaps(rule, box, area, columns->box[part + j], columns->area[part + j]);
        mine |= (uint32_t)hit << j;
    }
    bits[thread % TILE][part / 16] = (uint16_t)mine;
    __syncthreads();
    if (thread < TILE) {
        tile_bits(plan, n, tile.share, tile.start, tile.row, tile.column)[thread] =
            *reinterpret_cast<const uint64_t *>(bits[thread]);
    }
}

/* How many candidates of [start,end) stand before one with this key and number. keys: in shared memory; numbers are
 * looked at among equal keys only. */
static __device__ int32_t count_before(const uint32_t *keys, const int32_t *froms, int32_t start, int32_t end,
                                       uint32_t key, int32_t from)
{
    int32_t low = start, high = end;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        const uint32_t other = keys[middle];
        if (other < key || (other == key && froms[middle] < from)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - start;
}

/* Ranks of the candidates of block `block` of `blocks`: SHARES neighbouring lanes look for one candidate's place in a
 * share each. */
static __device__ void rank_candidates(const nms_plan *plan, int32_t n, int32_t count, const share_list *shares,
                                       int32_t block, int32_t blocks)
{
    __shared__ uint32_t keys[RCNN_SORT_SHARED_MAX];
    const size_t first = (size_t)n * (size_t)plan->limit;
    const int32_t *froms = plan->from + first;
    const int32_t s = (int32_t)threadIdx.x % SHARES, start = shares->start[s], end = shares->end[s];
    if (block * RANKED >= count) {
        return;
    }
#pragma unroll 8
    for (int32_t i = threadIdx.x; i < count; i += PAIRS_THREADS) {
        keys[i] = plan->key[first + (size_t)i];
    }
    __syncthreads();
    for (int32_t base = block * RANKED; base < count; base += blocks * RANKED) {
        const int32_t i = base + (int32_t)threadIdx.x / SHARES;
        int32_t rank = 0;
        if (i < count) {
            rank = i >= start && i < end ? i - start : count_before(keys, froms, start, end, keys[i], froms[i]);
        }
        for (int32_t lanes = 1; lanes < SHARES; lanes *= 2) {
            rank += __shfl_xor_sync(RCNN_ALL_LANES, rank, lanes);
        }
        if (i < count && s == 0) {
            plan->rank[first + (size_t)i] = rank;
            plan->by_rank[first + (size_t)rank] = froms[i];
        }
    }
}

/* Blocks: x tile_blocks for tiles, the rest for ranks; y images. */
static __global__ void __launch_bounds__(PAIRS_THREADS)
    nms_pairs_kernel(const __grid_constant__ nms_plan plan, int32_t tile_blocks)
{
    rcnn_begin();
    __shared__ tile_boxes columns;
    __shared__ __align__(8) uint16_t bits[TILE][TILE / 16];
    __shared__ share_list shares;
    const int32_t n = blockIdx.y, count = plan.p.in.counts[n];
    if (count <= 0 || count > plan.limit) {
        return;
    }
    if (threadIdx.x < SHARES) {
        shares.start[threadIdx.x] = plan.image[n].start[threadIdx.x];
        shares.end[threadIdx.x] = plan.image[n].end[threadIdx.x];
    }
    __syncthreads();
    if ((int32_t)blockIdx.x >= tile_blocks) {
        rank_candidates(&plan, n, count, &shares, (int32_t)blockIdx.x - tile_blocks, (int32_t)gridDim.x - tile_blocks);
        return;
    }
    const nms_rule rule = rule_of(&plan.p, count);
    nms_tile tile;
    for (int32_t t = blockIdx.x; tile_at(&shares, t, &tile); t += tile_blocks) {
        compare_tile(&plan, n, rule, tile, &columns, bits);
    }
}

/* ------------------------------------------------------------- walk */

/* Which of 64 candidates are kept. over_a, over_b: those that candidates `lane` and `lane + 32` overlap; alive: those not
 * suppressed from outside. One warp; all lanes get the result. Candidate i hangs on those before it alone, so each round
 * settles at least one more; most chunks take two or three. */
static __device__ __forceinline__ uint64_t resolve(uint64_t over_a, uint64_t over_b, uint64_t alive)
{
    const int32_t a = rcnn_lane(), b = a + 32;
    const uint64_t before_a = over_a & ((1ull << a) - 1ull), before_b = over_b & ((1ull << b) - 1ull);
    const bool alive_a = alive >> a & 1u, alive_b = alive >> b & 1u;
    uint64_t kept = alive;
    for (;;) {
        const uint32_t low = __ballot_sync(RCNN_ALL_LANES, alive_a && !(before_a & kept));
        const uint32_t high = __ballot_sync(RCNN_ALL_LANES, alive_b && !(before_b & kept));
        const uint64_t now = (uint64_t)high << 32 | low;
        if (now == kept) {
            return kept;
        }
        kept = now;
    }
}

static __device__ __forceinline__ uint64_t low_bits(int32_t count)
{
    return count >= TILE ? ~0ull : (1ull << count) - 1ull;
}

static __device__ __forceinline__ uint64_t warp_or(uint64_t bits)
{
    const uint32_t low = __reduce_or_sync(RCNN_ALL_LANES, (uint32_t)bits);
    return (uint64_t)__reduce_or_sync(RCNN_ALL_LANES, (uint32_t)(bits >> 32)) << 32 | low;
}

/* The two halves of words, little-endian, because atomics have 32 bits. */
static __device__ __forceinline__ void add_bits(uint32_t *halves, int32_t word, uint64_t bits)
{
    if ((uint32_t)bits) {
        atomicOr(&halves[2 * word], (uint32_t)bits);
    }
    if (bits >> 32) {
        atomicOr(&halves[2 * word + 1], (uint32_t)(bits >> 32));
    }
}

/* The walk through a share. Warp 0 resolves chunk c, while the others carry what chunk c - 1 keeps to the chunks from
 * c + 1 on: so one barrier a chunk is enough, if warp 0 itself carries what chunk c keeps to chunk c + 1. All words of
 * rows are loaded some chunks ahead, whether or not their rows will be kept. */
#define AHEAD   4                         /* chunks */
#define GROUP   16                        /* chunks whose first two tiles are in shared memory */
#define FAR     2                         /* nearest tile of the other warps: column c + FAR */
#define COLUMNS (WALK_THREADS / TILE - 1) /* of tiles, that the warps from 2 on have: a pair of warps each */

typedef struct walk_state {
    uint64_t own[GROUP][TILE], next[GROUP][TILE]; /* tiles (c, c) and (c, c + 1) of the chunks c of this group */
    uint64_t chosen[WORDS_MAX];                   /* kept candidates of each chunk */
    uint32_t removed[2 * WORDS_MAX];              /* halves, as add_bits has them */
} walk_state;

typedef struct walk_share {
    const uint64_t *bits; /* tile (0, 0) */
    size_t row_words;     /* from a row of tiles to the next */
    int32_t count, chunks;
} walk_share;

/* Word of this thread's row in tile (c, column); 0 where there is no tile. */
static __device__ __forceinline__ uint64_t word_of(const walk_share *share, int32_t c, int32_t column)
{
    const int32_t row = (int32_t)threadIdx.x % TILE;
    return column < share->chunks ? share->bits[(size_t)c * share->row_words + (size_t)(column * TILE + row)] : 0;
}

static __device__ void load_group(const walk_share *share, int32_t first, walk_state *state)
{
    const int32_t row = (int32_t)threadIdx.x % TILE, chunk = (int32_t)threadIdx.x / TILE;
    static_assert(GROUP == WALK_THREADS / TILE, "one chunk for 64 threads");
    state->own[chunk][row] = word_of(share, first + chunk, first + chunk);
    state->next[chunk][row] = word_of(share, first + chunk, first + chunk + 1);
    __syncthreads();
}

/* Warp 0: chunk c. carry: what chunk c - 1 removes from it, and then what it removes from the next. */
static __device__ __forceinline__ void resolve_chunk(const walk_share *share, int32_t c, uint64_t *carry,
                                                     walk_state *state)
{
    const int32_t a = rcnn_lane(), b = a + 32, k = c % GROUP;
    const uint64_t next_a = state->next[k][a], next_b = state->next[k][b];
    const uint64_t out = ((uint64_t)state->removed[2 * c + 1] << 32 | state->removed[2 * c]) | *carry;
    const uint64_t kept = resolve(state->own[k][a], state->own[k][b], low_bits(share->count - c * TILE) & ~out);
    *carry = warp_or((kept >> a & 1u ? next_a : 0) | (kept >> b & 1u ? next_b : 0));
    if (a == 0) {
        state->chosen[c] = kept;
    }
}

/* The other warps: what chunk c keeps removes from the chunks c + FAR and later. mine: the nearest of the columns. */
static __device__ __forceinline__ void carry_chunk(const walk_share *share, int32_t c, uint64_t mine, walk_state *state)
{
    const int32_t row = (int32_t)threadIdx.x % TILE;
    const bool kept = state->chosen[c] >> row & 1u;
    int32_t column = c + FAR - 1 + (int32_t)threadIdx.x / TILE;
    for (; column < share->chunks; column += COLUMNS) { /* the same for all lanes */
        const uint64_t bits = warp_or(kept ? mine : 0);
        if (rcnn_lane() == 0) {
            add_bits(state->removed, column, bits);
        }
        mine = word_of(share, c, column + COLUMNS);
    }
}

/* Marks the kept candidates of share s. */
static __device__ void walk(const nms_plan *plan, int32_t n, int32_t s, int32_t start, int32_t end)
{
    __shared__ walk_state state;
    const int32_t thread = threadIdx.x, count = end - start;
    const walk_share share = {tile_bits(plan, n, s, start, 0, 0), (size_t)plan->words * TILE, count,
                              (count + TILE - 1) / TILE};
    const int32_t column = FAR - 1 + thread / TILE; /* from the chunk's on; of the warps from 2 on */
    const bool is_carrier = thread >= TILE;
    uint64_t ahead[AHEAD];
#pragma unroll
    for (int32_t k = 0; k < AHEAD; k++) {
        ahead[k] = is_carrier ? word_of(&share, k, k + column) : 0;
    }
    for (int32_t i = thread; i < 2 * share.chunks; i += WALK_THREADS) {
        state.removed[i] = 0;
    }
    uint64_t carry = 0;
    int32_t total = 0, c = 0; /* total: kept by chunks before c */
    while (c < share.chunks && total < plan->p.out.capacity) {
        if (c % GROUP == 0) {
            load_group(&share, c, &state);
        }
#pragma unroll
        for (int32_t k = 0; k < AHEAD; k++) {
            if (c >= share.chunks || total >= plan->p.out.capacity) {
                break;
            }
            if (rcnn_warp() == 0) {
                resolve_chunk(&share, c, &carry, &state);
            } else if (is_carrier && c > 0) {
                carry_chunk(&share, c - 1, ahead[(k + AHEAD - 1) % AHEAD], &state);
                ahead[(k + AHEAD - 1) % AHEAD] = word_of(&share, c - 1 + AHEAD, c - 1 + AHEAD + column);
            }
            __syncthreads();
            total += __popcll(state.chosen[c++]);
        }
    }
    const size_t first = (size_t)n * (size_t)plan->limit + (size_t)start;
    uint32_t *kept = plan->kept + (size_t)n * (size_t)((plan->limit + 31) / 32);
    for (int32_t i = thread; i < min(c * TILE, count); i += WALK_THREADS) {
        if (state.chosen[i / TILE] >> i % TILE & 1u) {
            const int32_t rank = plan->rank[first + (size_t)i];
            atomicOr(&kept[rank / 32], 1u << rank % 32);
        }
    }
}

/* The kept candidates of an image by rank, as many as there is room for. */
static __device__ void write_kept(const nms_plan *plan, int32_t n, int32_t count, uint32_t *sums)
{
    __shared__ uint32_t bits[RCNN_SORT_SHARED_MAX / 32];
    __shared__ int32_t before[RCNN_SORT_SHARED_MAX / 32];
    const rcnn_cuda_nms *p = &plan->p;
    const int32_t thread = threadIdx.x, words = (count + 31) / 32; /* fewer than threads */
    const volatile uint32_t *kept = plan->kept + (size_t)n * (size_t)((plan->limit + 31) / 32);
    const uint32_t mine = thread < words ? kept[thread] : 0;
    const uint32_t lower = rcnn_warp_before((uint32_t)__popc(mine));
    if (rcnn_lane() == 31) {
        sums[rcnn_warp()] = lower + (uint32_t)__popc(mine);
    }
    __syncthreads();
    const uint32_t warp_sum = sums[rcnn_lane()];
    const uint32_t total = __reduce_add_sync(RCNN_ALL_LANES, warp_sum);
    const uint32_t lower_warps = __reduce_add_sync(RCNN_ALL_LANES, rcnn_lane() < rcnn_warp() ? warp_sum : 0);
    if (thread < words) {
        bits[thread] = mine;
        before[thread] = (int32_t)(lower_warps + lower);
    }
    if (thread == 0) {
        p->out.counts[n] = min((int32_t)total, p->out.capacity);
    }
    __syncthreads();
    for (int32_t rank = thread; rank < count; rank += WALK_THREADS) {
        const uint32_t word = bits[rank / 32];
        const int32_t place = before[rank / 32] + __popc(word & ((1u << rank % 32) - 1u));
        if (word >> rank % 32 & 1u && place < p->out.capacity) {
            const int32_t from = plan->by_rank[(size_t)n * (size_t)plan->limit + (size_t)rank];
            const size_t at = (size_t)n * (size_t)p->in.capacity + (size_t)from;
            rcnn_list_put(&p->out, n, place, rcnn_box_at(p->in.boxes, at), p->in.scores[at], p->in.groups[at]);
        }
    }
}

/* ------------------------------------------------------------- the walk of a long list */

/* 64 candidates by score. */
typedef struct long_chunk {
    tile_boxes moved;
    int32_t from[TILE];
    uint32_t overlap[2 * TILE]; /* halves, as add_bits has them */
    uint32_t removed[2];
    uint64_t chosen;
} long_chunk;

static __device__ void load_chunk(const nms_plan *plan, int32_t n, nms_rule rule, int32_t begin, int32_t count,
                                  long_chunk *chunk)
{
    const rcnn_cuda_nms *p = &plan->p;
    const int32_t thread = threadIdx.x;
    const size_t first = (size_t)n * (size_t)p->in.capacity;
    const uint32_t *order = (plan->image[n].in_spare ? plan->long_spare : plan->long_order) + first;
    if (thread < TILE && begin + thread < count) {
        const int32_t from = (int32_t)order[begin + thread];
        const int32_t group = p->in.groups[first + (size_t)from];
        const float4 box =
            move_box(rcnn_box_at(p->in.boxes, first + (size_t)from), shift_of(p, rule, group, plan->image[n].step));
        chunk->from[thread] = from;
        chunk->moved.box[thread] = box;
        chunk->moved.area[thread] = area_of(box);
        chunk->moved.group[thread] = group;
    }
    if (thread < 2 * TILE) {
        chunk->overlap[thread] = 0;
    }
    if (thread < 2) {
        chunk->removed[thread] = 0;
    }
    __syncthreads();
}

/* Candidate i of the chunk against every 16th box kept so far, and against 4 of the chunk. */
static __device__ void compare_chunk(const nms_plan *plan, int32_t n, nms_rule rule, int32_t live, int32_t total,
                                     long_chunk *chunk)
{
    const size_t first = (size_t)n * (size_t)plan->p.out.capacity;
    const int32_t i = (int32_t)threadIdx.x % TILE, part = (int32_t)threadIdx.x / TILE;
    const int32_t parts = WALK_THREADS / TILE, columns = TILE / parts;
    if (i >= live) {
        return;
    }
    const float4 box = chunk->moved.box[i];
    const float area = chunk->moved.area[i];
    const int32_t group = chunk->moved.group[i];
    bool hit = false;
    for (int32_t k = part; k < total && !hit; k += parts) {
        const float4 other = plan->long_kept[first + (size_t)k];
        hit = (!rule.within_group || plan->long_group[first + (size_t)k] == group) &&
              overlaps(rule, other, area_of(other), box, area);
    }
    if (hit) {
        atomicOr(&chunk->removed[i / 32], 1u << i % 32);
    }
    uint64_t bits = 0;
    for (int32_t j = part * columns; j < min((part + 1) * columns, live); j++) {
        const bool same = !rule.within_group || chunk->moved.group[j] == group;
        const bool both = same && overlaps(rule, box, area, chunk->moved.box[j], chunk->moved.area[j]);
        bits |= (uint64_t)both << j;
    }
    add_bits(chunk->overlap, i, bits);
}

/* Appends the chosen of the chunk to the boxes kept and to the output. */
static __device__ void keep_chosen(const nms_plan *plan, int32_t n, int32_t total, const long_chunk *chunk)
{
    const rcnn_cuda_nms *p = &plan->p;
    const int32_t i = threadIdx.x;
    const uint64_t chosen = chunk->chosen;
    if (i >= TILE || !(chosen >> i & 1u)) {
        return;
    }
    const int32_t place = total + __popcll(chosen & low_bits(i));
    if (place < p->out.capacity) {
        const size_t to = (size_t)n * (size_t)p->out.capacity + (size_t)place;
        const size_t at = (size_t)n * (size_t)p->in.capacity + (size_t)chunk->from[i];
        plan->long_kept[to] = chunk->moved.box[i];
        plan->long_group[to] = chunk->moved.group[i];
        rcnn_list_put(&p->out, n, place, rcnn_box_at(p->in.boxes, at), p->in.scores[at], p->in.groups[at]);
    }
}

static __device__ void walk_long(const nms_plan *plan, int32_t n, int32_t count)
{
    __shared__ long_chunk chunk;
    const nms_rule rule = rule_of(&plan->p, count);
    int32_t total = 0;
    for (int32_t begin = 0; begin < count && total < plan->p.out.capacity; begin += TILE) {
        const int32_t live = min(count - begin, TILE);
        load_chunk(plan, n, rule, begin, count, &chunk);
        compare_chunk(plan, n, rule, live, total, &chunk);
        __syncthreads();
        if (rcnn_warp() == 0) {
            const uint64_t out = (uint64_t)chunk.removed[1] << 32 | chunk.removed[0];
            const uint64_t *overlap = reinterpret_cast<const uint64_t *>(chunk.overlap);
            const int32_t a = rcnn_lane();
            const uint64_t result = resolve(overlap[a], overlap[a + 32], low_bits(live) & ~out);
            if (threadIdx.x == 0) {
                chunk.chosen = result;
            }
        }
        __syncthreads();
        keep_chosen(plan, n, total, &chunk);
        total += __popcll(chunk.chosen);
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        plan->p.out.counts[n] = min(total, plan->p.out.capacity);
    }
}

/* Blocks: x shares, y images. */
static __global__ void __launch_bounds__(WALK_THREADS) nms_walk_kernel(const __grid_constant__ nms_plan plan)
{
    rcnn_begin();
    __shared__ uint32_t sums[32];
    __shared__ bool is_last;
    const int32_t s = blockIdx.x, n = blockIdx.y;
    const int32_t count = plan.p.in.counts[n];
    if (count > plan.limit) {
        if (s == 0) {
            walk_long(&plan, n, count);
        }
        return;
    }
    if (count <= 0) {
        if (s == 0 && threadIdx.x == 0) {
            plan.p.out.counts[n] = 0;
        }
        return;
    }
    nms_image *image = &plan.image[n];
    if (image->start[s] < image->end[s]) {
        walk(&plan, n, s, image->start[s], image->end[s]);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(&image->ended, 1) == SHARES - 1;
        __threadfence();
    }
    __syncthreads();
    if (is_last) {
        write_kept(&plan, n, count, sums);
    }
}

/* ------------------------------------------------------------- launching */

static nms_plan plan_of(const rcnn_cuda_nms *p)
{
    nms_plan plan = {};
    plan.p = *p;
    plan.limit = p->in.capacity < RCNN_SORT_SHARED_MAX ? p->in.capacity : RCNN_SORT_SHARED_MAX;
    plan.words = (plan.limit + TILE - 1) / TILE;
    plan.parts = ORDER_BLOCKS / SHARES / p->n > 1 ? ORDER_BLOCKS / SHARES / p->n : 1;
    const size_t images = (size_t)p->n, all = images * (size_t)plan.limit;
    const size_t tiles = images * (size_t)(plan.words + SHARES) * (size_t)plan.words;
    const size_t kept_words = images * (size_t)((plan.limit + 31) / 32);
    plan.image = (nms_image *)rcnn_take(p->scratch, &plan.bytes, images * sizeof(nms_image));
    plan.key = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(uint32_t));
    plan.from = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.moved = (float4 *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(float4));
    plan.group = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.rank = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.by_rank = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.kept = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, kept_words * sizeof(uint32_t));
    plan.bits = (uint64_t *)rcnn_take(p->scratch, &plan.bytes, tiles * TILE * sizeof(uint64_t));
    if (p->in.capacity > plan.limit) {
        const size_t candidates = images * (size_t)p->in.capacity, keep = images * (size_t)p->out.capacity;
        plan.long_key = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, candidates * sizeof(uint32_t));
        plan.long_order = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, candidates * sizeof(uint32_t));
        plan.long_spare = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, candidates * sizeof(uint32_t));
        plan.long_kept = (float4 *)rcnn_take(p->scratch, &plan.bytes, keep * sizeof(float4));
        plan.long_group = (int32_t *)rcnn_take(p->scratch, &plan.bytes, keep * sizeof(int32_t));
    }
    return plan;
}

/* Of one image: as many as there is work for, and no more than its part of what all images may have. */
static int32_t blocks_of(int32_t wanted, int32_t all, int32_t images)
{
    const int32_t most = all / images > 1 ? all / images : 1;
    return wanted < most ? wanted : most;
}

extern "C" size_t rcnn_cuda_nms_scratch(const rcnn_cuda_nms *p)
{
    rcnn_cuda_nms shape = *p;
    shape.scratch = NULL;
    return plan_of(&shape).bytes;
}

extern "C" cudaError_t rcnn_cuda_nms_launch(const rcnn_cuda_nms *p, cudaStream_t stream)
{
    const nms_plan plan = plan_of(p);
    const size_t shared =
        sizeof(uint32_t) * RCNN_SORT_COUNTERS + (sizeof(uint32_t) + 2 * sizeof(uint16_t)) * (size_t)plan.limit;
    const cudaError_t error =
        cudaFuncSetAttribute((const void *)nms_order_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error != cudaSuccess) {
        return error;
    }
    const unsigned images = (unsigned)p->n;
    const int32_t tiles = plan.words * (plan.words + 1) / 2 + SHARES, ranks = (plan.limit + RANKED - 1) / RANKED;
    const int32_t tile_blocks = blocks_of(tiles, TILE_BLOCKS, p->n), rank_blocks = blocks_of(ranks, RANK_BLOCKS, p->n);
    const dim3 parts((unsigned)(plan.parts * SHARES), images), pairs((unsigned)(tile_blocks + rank_blocks), images);
    const dim3 shares(SHARES, images);
    RCNN_LAUNCH(nms_order_kernel, parts, ORDER_THREADS, shared, stream, plan);
    RCNN_LAUNCH(nms_pairs_kernel, pairs, PAIRS_THREADS, 0, stream, plan, tile_blocks);
    RCNN_LAUNCH(nms_walk_kernel, shares, WALK_THREADS, 0, stream, plan);
    return cudaGetLastError();
}
