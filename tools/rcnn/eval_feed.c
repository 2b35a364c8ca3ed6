/* What a model finds, handed to an evaluator: which of its classes is which annotated category, and each detection as
 * COCO counts it. Decides nothing about scores; runs no model. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eval_feed.h"

typedef struct category_search {
    const rcnn_model *model;
    const rcnn_eval_truth *truth;
    rcnn_error *err;
} category_search;

/* -------------------------------------------------------------- categories */

/* Label whose category id or, by_name, whose name is that of the truth's category; -1 = none. */
static int32_t find_label(const category_search *s, int32_t category, bool by_name)
{
    int64_t id;
    const char *name;
    if (rcnn_eval_truth_category(s->truth, category, &id, &name) != RCNN_OK) {
        return -1;
    }
    for (int32_t label = 0; label < rcnn_model_class_count(s->model); label++) {
        const char *own = rcnn_model_class_name(s->model, label);
        if (by_name ? own && strcasecmp(own, name) == 0 : rcnn_model_category_id(s->model, label) == id) {
            return label;
        }
    }
    return -1;
}

/* How many of the truth's categories a way of naming finds, and how many of those by the id agree in name too. */
static void count_found(const category_search *s, int32_t *ids, int32_t *names, int32_t *agree)
{
    *ids = *names = *agree = 0;
    for (int32_t k = 0; k < rcnn_eval_truth_category_count(s->truth); k++) {
        const int32_t by_id = find_label(s, k, false), by_name = find_label(s, k, true);
        *ids += by_id >= 0;
        *names += by_name >= 0;
        *agree += by_id >= 0 && by_id == by_name;
    }
}

static bool fail_mapping(const category_search *s, bool by_name)
{
    for (int32_t k = 0; k < rcnn_eval_truth_category_count(s->truth); k++) {
        int64_t id;
        const char *name;
        if (find_label(s, k, by_name) < 0 && rcnn_eval_truth_category(s->truth, k, &id, &name) == RCNN_OK) {
            return tool_fail(
                s->err,
                "category %lld '%.60s' of the annotations is none of the model's %d classes ('%.60s', ...), by "
                "id or by name; --class-names gives the model other names",
                (long long)id, name, (int)rcnn_model_class_count(s->model), rcnn_model_class_name(s->model, 0));
        }
    }
    return tool_fail(s->err, "the model's category ids are those of the annotations, but mean other classes; "
                             "--class-names gives the model other names");
}

/* Ids when they and half of the names agree, else names, else the one class for the one category. Categories that only
 * share an id are not taken for one another. */
static bool map_categories(const category_search *s, int32_t *categories)
{
    const int32_t labels = rcnn_model_class_count(s->model), count = rcnn_eval_truth_category_count(s->truth);
    int32_t ids, names, agree;
    if (labels == 1 && count == 1) {
        categories[0] = 0;
        return true;
    }
    count_found(s, &ids, &names, &agree);
    const bool by_id = ids == count && 2 * agree >= count;
    if (!by_id && names < count) {
        return fail_mapping(s, ids < count ? ids < names : true);
    }
    for (int32_t k = 0; k < count; k++) {
        categories[find_label(s, k, !by_id)] = k;
    }
    return true;
}

bool eval_feed_open(eval_feed *feed, const rcnn_model *model, const rcnn_eval_truth *truth,
                    rcnn_eval_detections *detections, bool masks, rcnn_error *err)
{
    const category_search search = {model, truth, err};
    const size_t bytes = ((size_t)rcnn_model_class_count(model) + 1) * sizeof *feed->categories;
    *feed = (eval_feed){.truth = truth, .detections = detections, .masks = masks, .categories = malloc(bytes)};
    if (!feed->categories) {
        return tool_fail(err, "out of memory");
    }
    memset(feed->categories, -1, bytes);
    return map_categories(&search, feed->categories);
}

void eval_feed_close(eval_feed *feed)
{
    free(feed->categories);
    feed->categories = NULL;
}

/* -------------------------------------------------------------- detections */

static bool take_mask(rcnn_results *results, int32_t position, int32_t index, eval_detection *out, rcnn_error *err)
{
    rcnn_mask mask;
    if (rcnn_results_get_mask(results, position, index, RCNN_MASK_RLE, &mask, err) != RCNN_OK) {
        return false;
    }
    out->counts = mask.counts;
    out->count = mask.count;
    out->width = mask.width;
    out->height = mask.height;
    return true;
}

bool eval_feed_add(eval_feed *feed, rcnn_results *results, int32_t position, int32_t index, int32_t image,
                   eval_detection *out, bool *added, rcnn_error *err)
{
    rcnn_detection d;
    rcnn_eval_image info;
    const char *name;
    *added = false;
    if (rcnn_results_get(results, position, index, &d) != RCNN_OK ||
        rcnn_eval_truth_image(feed->truth, image, &info) != RCNN_OK) {
        return tool_fail(err, "no detection %d or no image %d", (int)index, (int)image);
    }
    const int32_t category = feed->categories[d.label];
    if (category < 0) {
        return true;
    }
    const float width = d.x2 - d.x1, height = d.y2 - d.y1;
    *out = (eval_detection){.image_id = info.id,
                            .bbox = {(double)d.x1, (double)d.y1, (double)width, (double)height},
                            .score = (double)d.score};
    *added = (!feed->masks || take_mask(results, position, index, out, err)) &&
             rcnn_eval_truth_category(feed->truth, category, &out->category_id, &name) == RCNN_OK &&
             rcnn_eval_detections_add(feed->detections, image, category, out->bbox, out->score, out->counts, out->count,
                                      err) == RCNN_OK;
    return *added;
}

bool eval_same_size(const rcnn_eval_image *info, const rcnn_image_view *view, rcnn_error *err)
{
    if (info->width > 0 && info->height > 0 && (info->width != view->width || info->height != view->height)) {
        return tool_fail(err, "'%.200s': the annotations say %dx%d pixels, the file has %dx%d", info->file_name,
                         (int)info->width, (int)info->height, (int)view->width, (int)view->height);
    }
    return true;
}
