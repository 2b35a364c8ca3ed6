/* Batched non-maximum suppression with the results of src/backend/ref/nms.c, bit for bit. Three launches:
 *
 *   order   one block for each share of an image's candidates: sorts them by score. Shares are the groups, when these
 *           are few and cannot touch each other (the levels of the RPN); else one share holds all
 *   pairs   64x64 tiles of each share's sorted candidates: which suppresses which, one bit a pair. And the rank of each
 *           candidate among all of the image
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
#include "backend/cuda/boxes.cuh"

#define ORDER_THREADS RCNN_SORT_THREADS
#define PAIRS_THREADS 256
#define WALK_THREADS  1024

#define LOADS     4 /* of a thread under way at once */
#define SHARES    8
#define TILE      64
#define NEAR      16 /* words (64 bits) of a row that the walk has at hand: WALK_THREADS / TILE */
#define WORDS_MAX ((RCNN_SORT_SHARED_MAX + TILE - 1) / TILE)
#define BLOCKS    1056 /* of pairs, all images: what an H100 runs at a time */

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
    int32_t words; /* of a row of bits */
    size_t bytes;
    nms_image *image;
    uint32_t *key;        /* [n][limit] by share and score                                          */
    int32_t *from;        /* [n][limit] candidate                                                   */
    float4 *moved;        /* [n][limit] box that is compared                                        */
    int32_t *group;       /* [n][limit]                                                             */
    int32_t *rank;        /* [n][limit] among all of the image                                      */
    int32_t *by_rank;     /* [n][limit] candidate                                                   */
    uint32_t *kept;       /* [n][ceil(limit/32)] bits by rank                                       */
    uint64_t *bits;       /* [n][limit][words] bit j of word w: overlaps candidate start + 64*w + j */
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
static __device__ survey survey_of(const rcnn_cuda_nms *p, int32_t n, int32_t count, uint32_t *key, uint32_t *sums)
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
    survey s;
    s.largest = rcnn_key_score(~rcnn_block_max(largest, sums));
    s.first_group = (int32_t)(~rcnn_block_max(low, sums) ^ sign);
    s.last_group = (int32_t)(rcnn_block_max(high, sums) ^ sign);
    s.is_plain = rcnn_block_max(odd, sums) == 0;
    s.varying = rcnn_block_or(ones, sums) & rcnn_block_or(zeros, sums);
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

/* Writes the share's candidates, sorted, to the arrays from `start` on. */
static __device__ void write_share(const nms_plan *plan, int32_t n, nms_rule rule, float step, const uint16_t *sorted,
                                   const uint32_t *key, int32_t start, int32_t count)
{
    const rcnn_cuda_nms *p = &plan->p;
    const size_t first = (size_t)n * (size_t)p->in.capacity, to = (size_t)n * (size_t)plan->limit + (size_t)start;
    for (int32_t i = threadIdx.x; i < count; i += ORDER_THREADS) {
        const int32_t from = sorted[i];
        const int32_t group = p->in.groups[first + (size_t)from];
        plan->key[to + (size_t)i] = key[from];
        plan->from[to + (size_t)i] = from;
        plan->group[to + (size_t)i] = group;
        plan->moved[to + (size_t)i] =
            move_box(rcnn_box_at(p->in.boxes, first + (size_t)from), shift_of(p, rule, group, step));
    }
}

/* Candidates of share s: all when the image has one share only. */
static __device__ void order_share(const nms_plan *plan, int32_t n, int32_t s, int32_t count, nms_rule rule,
                                   const survey *found, bool apart, uint32_t *shared, uint32_t *sums)
{
    const rcnn_cuda_nms *p = &plan->p;
    const size_t first = (size_t)n * (size_t)p->in.capacity;
    const uint32_t *key = shared + RCNN_SORT_COUNTERS;
    uint16_t *order = (uint16_t *)(shared + RCNN_SORT_COUNTERS + plan->limit), *spare = order + plan->limit;
    int32_t start = 0, mine = 0;
    for (int32_t base = 0; base < count; base += ORDER_THREADS) {
        const int32_t i = base + (int32_t)threadIdx.x;
        const int32_t share = i < count && apart ? p->in.groups[first + (size_t)i] - found->first_group : 0;
        const bool is_mine = i < count && share == s;
        int32_t members;
        const int32_t place = mine + rcnn_block_place(is_mine, sums, &members);
        if (is_mine) {
            order[place] = (uint16_t)i;
        }
        mine += members;
        start += __syncthreads_count(i < count && share < s);
    }
    const uint16_t *sorted = rcnn_block_sort(key, order, spare, mine, found->varying, shared);
    write_share(plan, n, rule, found->largest + 1.0f, sorted, key, start, mine);
    if (threadIdx.x == 0) {
        plan->image[n].start[s] = start;
        plan->image[n].end[s] = start + mine;
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

/* Blocks: x shares, y images. */
static __global__ void __launch_bounds__(ORDER_THREADS) nms_order_kernel(const __grid_constant__ nms_plan plan)
{
    rcnn_begin();
    RCNN_DYNAMIC_SHARED(uint32_t, shared);
    __shared__ uint32_t sums[32];
    const int32_t s = blockIdx.x, n = blockIdx.y;
    const int32_t count = plan.p.in.counts[n];
    if (s == 0) {
        const int32_t words = (plan.limit + 31) / 32;
        for (int32_t i = threadIdx.x; i < words; i += ORDER_THREADS) {
            plan.kept[(size_t)n * (size_t)words + (size_t)i] = 0;
        }
        if (threadIdx.x == 0) {
            plan.image[n].ended = 0;
        }
    }
    if (count <= 0 || (count > plan.limit && s > 0)) {
        return;
    }
    uint32_t *key =
        count > plan.limit ? plan.long_key + (size_t)n * (size_t)plan.p.in.capacity : shared + RCNN_SORT_COUNTERS;
    const survey found = survey_of(&plan.p, n, count, key, sums);
    if (count > plan.limit) {
        order_long(&plan, n, count, &found, shared);
        return;
    }
    const nms_rule rule = rule_of(&plan.p, count);
    const bool apart = groups_are_apart(&plan.p, rule, found);
    if (apart || s == 0) {
        order_share(&plan, n, s, count, rule, &found, apart, shared, sums);
    } else if (threadIdx.x == 0) {
        plan.image[n].start[s] = count;
        plan.image[n].end[s] = count;
    }
}

/* ------------------------------------------------------------- pairs */

/* Tile t of the upper triangles of all shares, which are numbered column by column. False: there is none. */
typedef struct nms_tile {
    int32_t start, end;  /* of the share */
    int32_t row, column; /* in tiles     */
} nms_tile;

static __device__ __forceinline__ bool tile_at(const nms_image *image, int32_t t, nms_tile *tile)
{
    for (int32_t s = 0; s < SHARES; s++) {
        const int32_t start = image->start[s], end = image->end[s];
        const int32_t side = (end - start + TILE - 1) / TILE, tiles = side * (side + 1) / 2;
        if (t < tiles) {
            int32_t column = (int32_t)((sqrtf(8.0f * (float)t + 1.0f) - 1.0f) * 0.5f); /* or one off */
            column += (column + 1) * (column + 2) / 2 <= t;
            column -= column * (column + 1) / 2 > t;
            *tile = {start, end, t - column * (column + 1) / 2, column};
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
    const int32_t live = min(tile.end - column0 - part, 16);
    uint32_t mine = 0;
#pragma unroll 4
    for (int32_t j = 0; j < live; j++) {
        const bool same = !rule.within_group || columns->group[part + j] == group;
        const bool hit = same && overlaps(rule, box, area, columns->box[part + j], columns->area[part + j]);
        mine |= (uint32_t)hit << j;
    }
    bits[thread % TILE][part / 16] = (uint16_t)mine;
    __syncthreads();
    if (thread < TILE && is_row) {
        plan->bits[(first + (size_t)row) * (size_t)plan->words + (size_t)tile.column] =
            *reinterpret_cast<const uint64_t *>(bits[thread]);
    }
}

/* How many candidates of [start,end) stand before one with this key and number. */
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

/* Ranks of all candidates: SHARES neighbouring lanes look for one candidate's place in a share each. */
static __device__ void rank_candidates(const nms_plan *plan, int32_t n, int32_t count)
{
    const size_t first = (size_t)n * (size_t)plan->limit;
    const nms_image *image = &plan->image[n];
    const uint32_t *keys = plan->key + first;
    const int32_t *froms = plan->from + first;
    const int32_t s = (int32_t)threadIdx.x % SHARES, start = image->start[s], end = image->end[s];
    const int32_t each = PAIRS_THREADS / SHARES;                 /* candidates a block has at a time */
    const int32_t block = (int32_t)(gridDim.x - 1 - blockIdx.x); /* the last blocks have fewer tiles */
    for (int32_t base = block * each; base < count; base += (int32_t)gridDim.x * each) {
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

/* Blocks: x tiles, y images. */
static __global__ void __launch_bounds__(PAIRS_THREADS) nms_pairs_kernel(const __grid_constant__ nms_plan plan)
{
    rcnn_begin();
    __shared__ tile_boxes columns;
    __shared__ __align__(8) uint16_t bits[TILE][TILE / 16];
    const int32_t n = blockIdx.y, count = plan.p.in.counts[n];
    if (count <= 0 || count > plan.limit) {
        return;
    }
    rank_candidates(&plan, n, count);
    const nms_rule rule = rule_of(&plan.p, count);
    nms_tile tile;
    for (int32_t t = blockIdx.x; tile_at(&plan.image[n], t, &tile); t += (int32_t)gridDim.x) {
        compare_tile(&plan, n, rule, tile, &columns, bits);
    }
}

/* ------------------------------------------------------------- walk */

/* Which of 64 candidates are kept. overlap[i]: those that i overlaps; alive: those not suppressed from outside. One warp;
 * all lanes get the result. Candidate i hangs on those before it alone, so each round settles at least one more; most
 * chunks take two or three. */
static __device__ uint64_t resolve(const uint64_t *overlap, uint64_t alive)
{
    const int32_t a = rcnn_lane(), b = a + 32;
    const uint64_t before_a = overlap[a] & ((1ull << a) - 1ull), before_b = overlap[b] & ((1ull << b) - 1ull);
    uint64_t kept = alive;
    for (;;) {
        const uint32_t low = __ballot_sync(RCNN_ALL_LANES, (alive >> a & 1u) && !(before_a & kept));
        const uint32_t high = __ballot_sync(RCNN_ALL_LANES, (alive >> b & 1u) && !(before_b & kept));
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

/* Marks the kept candidates of share s. Thread t holds one word of row t / NEAR of the chunk: words t % NEAR of those from
 * the chunk's own on; it is loaded while the chunk before is resolved. */
static __device__ void walk_share(const nms_plan *plan, int32_t n, int32_t start, int32_t end)
{
    __shared__ uint32_t removed[2 * WORDS_MAX];
    __shared__ uint64_t overlap[TILE];
    __shared__ uint64_t chosen;
    const size_t first = (size_t)n * (size_t)plan->limit + (size_t)start;
    const int32_t count = end - start, chunks = (count + TILE - 1) / TILE;
    const int32_t thread = threadIdx.x, row = thread / NEAR, word = thread % NEAR;
    const uint64_t *bits = plan->bits + (first + (size_t)row) * (size_t)plan->words + word;
    uint32_t *kept = plan->kept + (size_t)n * (size_t)((plan->limit + 31) / 32);
    for (int32_t i = thread; i < 2 * chunks; i += WALK_THREADS) {
        removed[i] = 0;
    }
    uint64_t next = row < count && word < chunks ? bits[0] : 0;
    int32_t total = 0;
    for (int32_t c = 0; c < chunks; c++) {
        const uint64_t mine = next;
        const size_t at = (size_t)c * (TILE * (size_t)plan->words + 1); /* row 64 * c, word c */
        const bool has_next = (c + 1) * TILE + row < count && c + 1 + word < chunks;
        next = has_next ? bits[at + TILE * (size_t)plan->words + 1] : 0;
        if (word == 0) {
            overlap[row] = mine;
        }
        __syncthreads();
        if (rcnn_warp() == 0) {
            const uint64_t out = (uint64_t)removed[2 * c + 1] << 32 | removed[2 * c];
            const uint64_t result = resolve(overlap, low_bits(count - c * TILE) & ~out);
            if (thread == 0) {
                chosen = result;
            }
        }
        __syncthreads();
        const uint64_t keep = chosen;
        if (keep >> row & 1u) {
            if (word > 0) {
                add_bits(removed, c + word, mine); /* 0 past the last chunk */
            }
            for (int32_t w = NEAR; c + word + w < chunks; w += NEAR) {
                add_bits(removed, c + word + w, bits[at + (size_t)w]);
            }
        }
        const int32_t i = thread - (WALK_THREADS - TILE); /* the last two warps: the first has enough to do */
        if (i >= 0 && keep >> i & 1u) {
            const int32_t rank = plan->rank[first + (size_t)(c * TILE + i)];
            atomicOr(&kept[rank / 32], 1u << rank % 32);
        }
        total += __popcll(keep);
        if (total >= plan->p.out.capacity) {
            break;
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
            const uint64_t result = resolve(overlap, low_bits(live) & ~out);
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
        walk_share(&plan, n, image->start[s], image->end[s]);
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
    const size_t images = (size_t)p->n, all = images * (size_t)plan.limit;
    const size_t kept_words = images * (size_t)((plan.limit + 31) / 32);
    plan.image = (nms_image *)rcnn_take(p->scratch, &plan.bytes, images * sizeof(nms_image));
    plan.key = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(uint32_t));
    plan.from = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.moved = (float4 *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(float4));
    plan.group = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.rank = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.by_rank = (int32_t *)rcnn_take(p->scratch, &plan.bytes, all * sizeof(int32_t));
    plan.kept = (uint32_t *)rcnn_take(p->scratch, &plan.bytes, kept_words * sizeof(uint32_t));
    plan.bits = (uint64_t *)rcnn_take(p->scratch, &plan.bytes, all * (size_t)plan.words * sizeof(uint64_t));
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
    const int32_t tiles = plan.words * (plan.words + 1) / 2 + SHARES, wanted = BLOCKS / p->n;
    const dim3 shares(SHARES, (unsigned)p->n), pairs((unsigned)(tiles < wanted ? tiles : wanted), (unsigned)p->n);
    RCNN_LAUNCH(nms_order_kernel, shares, ORDER_THREADS, shared, stream, plan);
    RCNN_LAUNCH(nms_pairs_kernel, pairs, PAIRS_THREADS, 0, stream, plan);
    RCNN_LAUNCH(nms_walk_kernel, shares, WALK_THREADS, 0, stream, plan);
    return cudaGetLastError();
}
