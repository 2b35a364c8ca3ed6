/* Reading a COCO instances file. The three lists may come in any order: annotations keep the ids they name beside them
 * until the end, when ids become indices. */
#include "eval/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* What an annotation names, for as long as the file is being read. */
typedef struct loose_end {
    int64_t image, category;
    size_t offset;
    int32_t width, height; /* stated by run lengths, else 0 */
} loose_end;

typedef struct truth_job {
    rcnn_eval_reader reader;
    rcnn_eval_truth *truth;
    loose_end *ends; /* one per annotation */
    size_t end_capacity;
    /* the object being read */
    rcnn_eval_picture image;
    rcnn_eval_class category;
    rcnn_eval_item item;
    loose_end end;
} truth_job;

/* ------------------------------------------------------- images, categories */

/* The next token as text, appended to the names; *out gets its place there. */
static rcnn_status read_name(truth_job *job, const char *what, size_t *out, rcnn_error *err)
{
    rcnn_json *json = &job->reader.json;
    RCNN_TRY(rcnn_json_next(json, err));
    if (json->token != RCNN_JSON_STRING || strlen(json->text) != json->length) {
        return rcnn_eval_bad(&job->reader, json->offset, err, "%s: want text, got %s", what,
                             rcnn_json_token_name(json->token));
    }
    *out = job->truth->names.length;
    rcnn_text_add_bytes(&job->truth->names, json->text, json->length + 1);
    return job->truth->names.failed ? rcnn_eval_no_memory(&job->reader, err) : RCNN_OK;
}

enum { IMAGE_ID, IMAGE_WIDTH, IMAGE_HEIGHT, IMAGE_NAME };
static const char *const IMAGE_MEMBERS[] = {"id", "width", "height", "file_name"};

static rcnn_status on_image_member(void *context, int member, rcnn_error *err)
{
    truth_job *job = context;
    int64_t number = 0;
    if (member == IMAGE_NAME) {
        return read_name(job, "file_name", &job->image.name, err);
    }
    RCNN_TRY(rcnn_eval_read_integer(&job->reader, IMAGE_MEMBERS[member], &number, err));
    if (member == IMAGE_ID) {
        job->image.id = number;
        return RCNN_OK;
    }
    if (number < 0 || number > RCNN_EVAL_PIXELS_MAX) {
        return rcnn_eval_bad(&job->reader, job->reader.json.offset, err, "%s: want 0..%d pixels, got %lld",
                             IMAGE_MEMBERS[member], RCNN_EVAL_PIXELS_MAX, (long long)number);
    }
    *(member == IMAGE_WIDTH ? &job->image.width : &job->image.height) = (int32_t)number;
    return RCNN_OK;
}

static rcnn_status on_image(void *context, int index, rcnn_error *err)
{
    truth_job *job = context;
    rcnn_eval_truth *truth = job->truth;
    unsigned seen;
    (void)index;
    job->image = (rcnn_eval_picture){.offset = job->reader.json.offset};
    RCNN_TRY(rcnn_eval_read_members(&job->reader, IMAGE_MEMBERS, 4, on_image_member, job, &seen, err));
    RCNN_TRY(rcnn_eval_require(&job->reader, IMAGE_MEMBERS, 1u << IMAGE_ID, seen, "image", job->image.offset, err));
    void *images = truth->images;
    if (!rcnn_grow(&images, &truth->image_capacity, truth->image_count + 1, sizeof *truth->images)) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    truth->images = images;
    truth->images[truth->image_count++] = job->image;
    return RCNN_OK;
}

enum { CATEGORY_ID, CATEGORY_NAME };
static const char *const CATEGORY_MEMBERS[] = {"id", "name"};

static rcnn_status on_category_member(void *context, int member, rcnn_error *err)
{
    truth_job *job = context;
    return member == CATEGORY_ID ? rcnn_eval_read_integer(&job->reader, "id", &job->category.id, err)
                                 : read_name(job, "name", &job->category.name, err);
}

static rcnn_status on_category(void *context, int index, rcnn_error *err)
{
    truth_job *job = context;
    rcnn_eval_truth *truth = job->truth;
    unsigned seen;
    if (index == RCNN_EVAL_CATEGORIES_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: JSON byte %zu: want at most %d categories", job->reader.name,
                         job->reader.json.offset, RCNN_EVAL_CATEGORIES_MAX);
    }
    job->category = (rcnn_eval_class){.offset = job->reader.json.offset};
    RCNN_TRY(rcnn_eval_read_members(&job->reader, CATEGORY_MEMBERS, 2, on_category_member, job, &seen, err));
    RCNN_TRY(rcnn_eval_require(&job->reader, CATEGORY_MEMBERS, 1u << CATEGORY_ID, seen, "category",
                               job->category.offset, err));
    void *categories = truth->categories;
    if (!rcnn_grow(&categories, &truth->category_capacity, truth->category_count + 1, sizeof *truth->categories)) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    truth->categories = categories;
    truth->categories[truth->category_count++] = job->category;
    return RCNN_OK;
}

/* ------------------------------------------------------------- annotations */

enum { ANN_ID, ANN_IMAGE, ANN_CATEGORY, ANN_AREA, ANN_BOX, ANN_CROWD, ANN_MASK };
static const char *const ANN_MEMBERS[] = {"id", "image_id", "category_id", "area", "bbox", "iscrowd", "segmentation"};
#define ANN_REQUIRED (1u << ANN_ID | 1u << ANN_IMAGE | 1u << ANN_CATEGORY | 1u << ANN_AREA)

static rcnn_status read_annotation_mask(truth_job *job, rcnn_error *err)
{
    rcnn_eval_read_mask mask;
    if (!job->truth->with_masks) {
        return rcnn_json_skip(&job->reader.json, err);
    }
    RCNN_TRY(rcnn_eval_read_segmentation(&job->reader, &job->truth->annotations.bytes, &mask, err));
    job->item.shape = mask.shape;
    job->end.width = mask.width;
    job->end.height = mask.height;
    return RCNN_OK;
}

static rcnn_status read_area(truth_job *job, rcnn_error *err)
{
    RCNN_TRY(rcnn_eval_read_real(&job->reader, "area", &job->item.area, err));
    if (job->item.area < 0) {
        return rcnn_eval_bad(&job->reader, job->reader.json.offset, err, "area: want 0 or more, got %g",
                             job->item.area);
    }
    return RCNN_OK;
}

static rcnn_status on_annotation_member(void *context, int member, rcnn_error *err)
{
    truth_job *job = context;
    switch (member) {
    case ANN_ID:
        return rcnn_eval_read_integer(&job->reader, "id", &job->item.id, err);
    case ANN_IMAGE:
        return rcnn_eval_read_integer(&job->reader, "image_id", &job->end.image, err);
    case ANN_CATEGORY:
        return rcnn_eval_read_integer(&job->reader, "category_id", &job->end.category, err);
    case ANN_AREA:
        return read_area(job, err);
    case ANN_BOX:
        return rcnn_eval_read_box(&job->reader, job->item.box, &job->item.has_box, err);
    case ANN_CROWD:
        return rcnn_eval_read_flag(&job->reader, "iscrowd", &job->item.crowd, err);
    default:
        return read_annotation_mask(job, err);
    }
}

static rcnn_status on_annotation(void *context, int index, rcnn_error *err)
{
    truth_job *job = context;
    unsigned seen;
    (void)index;
    job->item = (rcnn_eval_item){0};
    job->end = (loose_end){.offset = job->reader.json.offset};
    RCNN_TRY(rcnn_eval_read_members(&job->reader, ANN_MEMBERS, 7, on_annotation_member, job, &seen, err));
    RCNN_TRY(rcnn_eval_require(&job->reader, ANN_MEMBERS, ANN_REQUIRED, seen, "annotation", job->end.offset, err));
    void *ends = job->ends;
    const size_t count = job->truth->annotations.count;
    rcnn_eval_item *item = rcnn_eval_store_add(&job->truth->annotations);
    if (!item || !rcnn_grow(&ends, &job->end_capacity, count + 1, sizeof *job->ends)) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    job->ends = ends;
    *item = job->item;
    job->ends[count] = job->end;
    return RCNN_OK;
}

/* --------------------------------------------------------------------- ids */

/* Images and categories start with an id and have an offset; both sort by them. */
static int compare_images(const void *a, const void *b)
{
    const rcnn_eval_picture *p = a, *q = b;
    return p->id != q->id ? (p->id < q->id ? -1 : 1) : (p->offset > q->offset) - (p->offset < q->offset);
}

static int compare_categories(const void *a, const void *b)
{
    const rcnn_eval_class *p = a, *q = b;
    return p->id != q->id ? (p->id < q->id ? -1 : 1) : (p->offset > q->offset) - (p->offset < q->offset);
}

static rcnn_status sort_lists(truth_job *job, rcnn_error *err)
{
    rcnn_eval_truth *truth = job->truth;
    if (truth->image_count > 0) {
        qsort(truth->images, truth->image_count, sizeof *truth->images, compare_images);
    }
    if (truth->category_count > 0) {
        qsort(truth->categories, truth->category_count, sizeof *truth->categories, compare_categories);
    }
    for (size_t i = 1; i < truth->image_count; i++) {
        if (truth->images[i].id == truth->images[i - 1].id) {
            return rcnn_eval_bad(&job->reader, truth->images[i].offset, err,
                                 "image id %lld was used at byte %zu already", (long long)truth->images[i].id,
                                 truth->images[i - 1].offset);
        }
    }
    for (size_t i = 1; i < truth->category_count; i++) {
        if (truth->categories[i].id == truth->categories[i - 1].id) {
            return rcnn_eval_bad(&job->reader, truth->categories[i].offset, err,
                                 "category id %lld was used at byte %zu already", (long long)truth->categories[i].id,
                                 truth->categories[i - 1].offset);
        }
    }
    return RCNN_OK;
}

typedef struct id_place {
    int64_t id;
    size_t offset;
} id_place;

static int compare_places(const void *a, const void *b)
{
    const id_place *p = a, *q = b;
    return p->id != q->id ? (p->id < q->id ? -1 : 1) : (p->offset > q->offset) - (p->offset < q->offset);
}

static rcnn_status check_annotation_ids(truth_job *job, rcnn_error *err)
{
    const size_t count = job->truth->annotations.count;
    id_place *places = rcnn_calloc(count, sizeof *places);
    rcnn_status status = RCNN_OK;
    if (!places) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    bool rising = true; /* the usual case needs no sorting */
    for (size_t i = 0; i < count; i++) {
        places[i] = (id_place){job->truth->annotations.items[i].id, job->ends[i].offset};
        rising = rising && (i == 0 || places[i - 1].id < places[i].id);
    }
    if (!rising) {
        qsort(places, count, sizeof *places, compare_places);
    }
    for (size_t i = 1; i < count && status == RCNN_OK; i++) {
        if (places[i].id == places[i - 1].id) {
            status =
                rcnn_eval_bad(&job->reader, places[i].offset, err, "annotation id %lld was used at byte %zu already",
                              (long long)places[i].id, places[i - 1].offset);
        }
    }
    rcnn_free(places);
    return status;
}

/* A mask must fit the image it belongs to. */
static rcnn_status check_mask_size(const truth_job *job, const rcnn_eval_item *item, const loose_end *end,
                                   rcnn_error *err)
{
    const rcnn_eval_picture *image = &job->truth->images[item->image];
    if (item->shape.kind == RCNN_EVAL_SHAPE_NONE) {
        return RCNN_OK;
    }
    if (image->width < 1 || image->height < 1 || image->width > RCNN_EVAL_PIXELS_MAX / image->height) {
        return rcnn_eval_bad(&job->reader, image->offset, err,
                             "image id %lld has masks: want width and height of at most %d pixels, got %d x %d",
                             (long long)image->id, RCNN_EVAL_PIXELS_MAX, image->width, image->height);
    }
    if (item->shape.kind == RCNN_EVAL_SHAPE_RUNS && (end->width != image->width || end->height != image->height)) {
        return rcnn_eval_bad(&job->reader, end->offset, err,
                             "annotation id %lld: want a mask of the image's size [%d, %d], got [%d, %d]",
                             (long long)item->id, image->height, image->width, end->height, end->width);
    }
    return RCNN_OK;
}

/* Turns ids into indices; what names nothing listed is left out, as pycocotools does. */
static rcnn_status tie_ends(truth_job *job, rcnn_error *err)
{
    rcnn_eval_store *store = &job->truth->annotations;
    size_t kept = 0;
    for (size_t i = 0; i < store->count; i++) {
        rcnn_eval_item *item = &store->items[i];
        item->image = rcnn_eval_find_image(job->truth, job->ends[i].image);
        item->category = rcnn_eval_find_category(job->truth, job->ends[i].category);
        if (item->image < 0 || item->category < 0) {
            continue;
        }
        RCNN_TRY(check_mask_size(job, item, &job->ends[i], err));
        if (item->id == 0) {
            rcnn_log(RCNN_LOG_WARN,
                     "%s: annotation id 0: COCO counts what is matched to it as unmatched; number annotations from 1",
                     job->reader.name);
        }
        store->items[kept++] = *item;
    }
    if (kept < store->count) {
        rcnn_log(RCNN_LOG_WARN, "%s: %zu of %zu annotations name an image or category that is not listed; left out",
                 job->reader.name, store->count - kept, store->count);
    }
    store->count = kept;
    return RCNN_OK;
}

/* -------------------------------------------------------------------- file */

enum { FILE_IMAGES, FILE_CATEGORIES, FILE_ANNOTATIONS };
static const char *const FILE_MEMBERS[] = {"images", "categories", "annotations"};

static rcnn_status on_file_member(void *context, int member, rcnn_error *err)
{
    static const rcnn_eval_member_fn READERS[] = {on_image, on_category, on_annotation};
    truth_job *job = context;
    return rcnn_eval_read_objects(&job->reader, FILE_MEMBERS[member], READERS[member], job, err);
}

static rcnn_status read_file(truth_job *job, rcnn_error *err)
{
    unsigned seen;
    rcnn_text_add_bytes(&job->truth->names, "", 1); /* offset 0: no name */
    RCNN_TRY(rcnn_json_expect(&job->reader.json, RCNN_JSON_OBJECT_BEGIN, err));
    RCNN_TRY(rcnn_eval_read_members(&job->reader, FILE_MEMBERS, 3, on_file_member, job, &seen, err));
    RCNN_TRY(rcnn_json_expect(&job->reader.json, RCNN_JSON_END, err));
    RCNN_TRY(rcnn_eval_require(&job->reader, FILE_MEMBERS, 7, seen, "annotation file", 0, err));
    if (job->truth->names.failed) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    RCNN_TRY(sort_lists(job, err));
    RCNN_TRY(check_annotation_ids(job, err));
    return tie_ends(job, err);
}

static rcnn_status read_truth(const char *name, const rcnn_file_map *map, const void *data, size_t size,
                              int32_t with_masks, rcnn_eval_truth **out, rcnn_error *err)
{
    truth_job job = {.truth = rcnn_calloc(1, sizeof **out)};
    if (!job.truth) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", name);
    }
    job.truth->with_masks = with_masks != 0;
    rcnn_eval_reader_open(&job.reader, name, data, size);
    job.reader.map = map;
    const rcnn_status status = read_file(&job, err);
    rcnn_eval_reader_close(&job.reader);
    rcnn_free(job.ends);
    if (status != RCNN_OK) {
        rcnn_eval_truth_destroy(job.truth);
        return status;
    }
    *out = job.truth;
    return RCNN_OK;
}

rcnn_status rcnn_eval_truth_parse(const char *name, const void *data, size_t size, int32_t with_masks,
                                  rcnn_eval_truth **out, rcnn_error *err)
{
    if (!out || !name || (!data && size > 0)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT,
                         "annotations: want a name, bytes and a place for the result, got NULL");
    }
    *out = NULL;
    return read_truth(name, NULL, data ? data : "", size, with_masks, out, err);
}

rcnn_status rcnn_eval_truth_load(const char *path, int32_t with_masks, rcnn_eval_truth **out, rcnn_error *err)
{
    rcnn_file_map map;
    if (!out || !path) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "annotations: want a path and a place for the result, got NULL");
    }
    *out = NULL;
    RCNN_TRY(rcnn_file_map_open(path, RCNN_EVAL_FILE_BYTES_MAX, &map, err));
    const rcnn_status status =
        read_truth(path, &map, map.data ? map.data : (const void *)"", map.size, with_masks, out, err);
    rcnn_file_map_close(&map);
    return status;
}
