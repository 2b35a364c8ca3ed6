/* Grouping by two stable counting sorts, by image and then by category: no key per possible pair, of which a data set
 * with 1200 categories and 100,000 images has too many. */
#include "eval/pairs.h"

#include "base/memory.h"

static int32_t key_of(const rcnn_eval_item *item, bool category)
{
    return category ? item->category : item->image;
}

/* Stable: to[] = the indices of from[] (NULL = 0, 1, ..) by rising key. starts: key count + 1 zeroed entries. */
static void sort_by(const rcnn_eval_store *store, bool category, const uint32_t *from, uint32_t *to, size_t *starts,
                    size_t key_count)
{
    for (size_t i = 0; i < store->count; i++) {
        starts[(size_t)key_of(&store->items[i], category) + 1]++;
    }
    for (size_t k = 1; k < key_count; k++) {
        starts[k] += starts[k - 1];
    }
    for (size_t i = 0; i < store->count; i++) {
        const uint32_t index = from ? from[i] : (uint32_t)i;
        to[starts[key_of(&store->items[index], category)]++] = index;
    }
}

/* *out = item indices by category (unless merged) and image. */
static rcnn_status make_order(const rcnn_eval_store *store, const rcnn_eval_truth *truth, bool merged, uint32_t **out,
                              rcnn_error *err)
{
    if (store->count >= UINT32_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "evaluation: want fewer than 2^32 items, got %zu", store->count);
    }
    uint32_t *by_image = rcnn_malloc(store->count * sizeof *by_image);
    uint32_t *by_both = merged ? NULL : rcnn_malloc(store->count * sizeof *by_both);
    size_t *images = rcnn_calloc(truth->image_count + 1, sizeof *images);
    size_t *categories = rcnn_calloc(truth->category_count + 1, sizeof *categories);
    const bool good = by_image && images && categories && (merged || by_both);
    if (good) {
        sort_by(store, false, NULL, by_image, images, truth->image_count + 1);
    }
    if (good && !merged) {
        sort_by(store, true, by_image, by_both, categories, truth->category_count + 1);
    }
    *out = good ? (merged ? by_image : by_both) : NULL;
    if (*out != by_image) {
        rcnn_free(by_image);
    }
    if (*out != by_both) {
        rcnn_free(by_both);
    }
    rcnn_free(images);
    rcnn_free(categories);
    return good ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "evaluation: out of memory");
}

/* A walk over one order. */
typedef struct walk {
    const rcnn_eval_store *store;
    const uint32_t *order;
    size_t at;
    bool merged;
} walk;

/* Position in the order of groups of the walk's current item; beyond all others at the end. */
static uint64_t place(const walk *w)
{
    if (w->at >= w->store->count) {
        return UINT64_MAX;
    }
    const rcnn_eval_item *item = &w->store->items[w->order[w->at]];
    return (uint64_t)(w->merged ? 0 : item->category) << 32 | (uint32_t)item->image;
}

static size_t take(walk *w, uint64_t here)
{
    const size_t first = w->at;
    while (place(w) == here) {
        w->at++;
    }
    return w->at - first;
}

static rcnn_status make_groups(rcnn_eval_pairs *pairs, walk truth, walk found, const rcnn_eval_options *options,
                               rcnn_error *err)
{
    const size_t max_dets = (size_t)options->max_dets[2];
    const uint64_t images = options->image_limit ? (uint64_t)options->image_limit : UINT32_MAX;
    size_t capacity = 0;
    void *groups = NULL;
    for (;;) {
        const uint64_t next = place(&truth), other = place(&found), here = next < other ? next : other;
        if (here == UINT64_MAX) {
            return RCNN_OK;
        }
        if ((here & UINT32_MAX) >= images) {
            take(&truth, here);
            take(&found, here);
            continue;
        }
        if (!rcnn_grow(&groups, &capacity, pairs->count + 1, sizeof *pairs->groups)) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "evaluation: out of memory");
        }
        pairs->groups = groups;
        rcnn_eval_group *g = &pairs->groups[pairs->count++];
        *g = (rcnn_eval_group){.category = (int32_t)(here >> 32),
                               .image = (int32_t)(here & UINT32_MAX),
                               .truth_first = truth.at,
                               .found_first = found.at,
                               .outcome_first = pairs->outcome_count};
        g->truth_count = take(&truth, here);
        g->found_count = take(&found, here);
        g->outcome_count = g->found_count < max_dets ? g->found_count : max_dets;
        pairs->outcome_count += g->outcome_count;
    }
}

rcnn_status rcnn_eval_pairs_make(const rcnn_eval_detections *detections, bool merge_categories,
                                 const rcnn_eval_options *options, rcnn_eval_pairs *out, rcnn_error *err)
{
    const rcnn_eval_truth *truth = detections->truth;
    *out = (rcnn_eval_pairs){0};
    RCNN_TRY(make_order(&truth->annotations, truth, merge_categories, &out->truth_order, err));
    RCNN_TRY(make_order(&detections->store, truth, merge_categories, &out->found_order, err));
    const walk annotated = {&truth->annotations, out->truth_order, 0, merge_categories};
    const walk found = {&detections->store, out->found_order, 0, merge_categories};
    return make_groups(out, annotated, found, options, err);
}

void rcnn_eval_pairs_free(rcnn_eval_pairs *pairs)
{
    rcnn_free(pairs->groups);
    rcnn_free(pairs->truth_order);
    rcnn_free(pairs->found_order);
    *pairs = (rcnn_eval_pairs){0};
}
