/* Reading a COCO result file, by the rules of pycocotools' loadRes: the first entry says where boxes and areas of
 * all of them come from. */
#include "eval/read.h"

#include <string.h>

#include "base/memory.h"

typedef struct detections_job {
    rcnn_eval_reader reader;
    rcnn_eval_detections *detections;
    size_t unlisted; /* entries of categories that the truth does not list */
    /* the object being read */
    rcnn_eval_item item;
    rcnn_eval_read_mask mask;
    int64_t image, category;
    size_t offset;
} detections_job;

enum { DET_IMAGE, DET_CATEGORY, DET_SCORE, DET_BOX, DET_MASK };
static const char *const DET_MEMBERS[] = {"image_id", "category_id", "score", "bbox", "segmentation"};
#define DET_REQUIRED (1u << DET_IMAGE | 1u << DET_CATEGORY | 1u << DET_SCORE)

static rcnn_status on_member(void *context, int member, rcnn_error *err)
{
    detections_job *job = context;
    rcnn_eval_reader *reader = &job->reader;
    switch (member) {
    case DET_IMAGE:
        return rcnn_eval_read_integer(reader, "image_id", &job->image, err);
    case DET_CATEGORY:
        return rcnn_eval_read_integer(reader, "category_id", &job->category, err);
    case DET_SCORE:
        return rcnn_eval_read_real(reader, "score", &job->item.score, err);
    case DET_BOX:
        return rcnn_eval_read_box(reader, job->item.box, &job->item.has_box, err);
    default:
        return rcnn_eval_read_segmentation(reader, &job->detections->store.bytes, &job->mask, err);
    }
}

/* A mask must have the size of its image. */
static rcnn_status check_mask(const detections_job *job, const rcnn_eval_picture *image, rcnn_error *err)
{
    if (image->width < 1 || image->height < 1 || image->width > RCNN_EVAL_PIXELS_MAX / image->height) {
        return rcnn_eval_bad(&job->reader, job->offset, err,
                             "detection with a mask, but the annotations give no usable size of image id %lld",
                             (long long)image->id);
    }
    if (job->mask.shape.kind == RCNN_EVAL_SHAPE_RUNS &&
        (job->mask.width != image->width || job->mask.height != image->height)) {
        return rcnn_eval_bad(&job->reader, job->offset, err,
                             "detection: want a mask of the size of image id %lld [%d, %d], got [%d, %d]",
                             (long long)image->id, image->height, image->width, job->mask.height, job->mask.width);
    }
    return RCNN_OK;
}

/* Area and box from the mask. */
static rcnn_status measure_mask(detections_job *job, const rcnn_eval_picture *image, rcnn_error *err)
{
    rcnn_eval_canvas *canvas = &job->reader.canvas;
    rcnn_eval_spans spans;
    canvas->borders.count = 0;
    if (!rcnn_eval_shape_spread(canvas, (const uint8_t *)job->detections->store.bytes.data, &job->mask.shape,
                                image->width, image->height, &spans)) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    job->item.area = spans.area;
    if (!job->item.has_box) {
        const double box[4] = {spans.x, spans.y, spans.x2 - spans.x, spans.y2 - spans.y};
        memcpy(job->item.box, box, sizeof box);
        job->item.has_box = true;
    }
    return RCNN_OK;
}

/* The rule from the first entry, and whether an entry has what the rule needs. */
static rcnn_status apply_rule(detections_job *job, int index, rcnn_error *err)
{
    rcnn_eval_detections *d = job->detections;
    const bool has_mask = job->mask.shape.kind != RCNN_EVAL_SHAPE_NONE;
    if (index == 0) {
        d->area_rule = job->item.has_box ? RCNN_EVAL_AREA_OF_BOX : RCNN_EVAL_AREA_OF_MASK;
    }
    if (d->area_rule == RCNN_EVAL_AREA_OF_BOX && !job->item.has_box) {
        return rcnn_eval_bad(&job->reader, job->offset, err, "detection without \"bbox\", which the first one has");
    }
    if (d->area_rule == RCNN_EVAL_AREA_OF_MASK && !has_mask) {
        return rcnn_eval_bad(&job->reader, job->offset, err, "detection without \"%s\"%s",
                             index == 0 ? "bbox\" or \"segmentation" : "segmentation",
                             index == 0 ? "" : "; the first one has no \"bbox\"");
    }
    return RCNN_OK;
}

/* Puts the entry into the store. Its mask bytes are the last ones there; they go again when they are not needed. */
static rcnn_status keep(detections_job *job, int index, rcnn_error *err)
{
    rcnn_eval_detections *d = job->detections;
    job->item.image = rcnn_eval_find_image(d->truth, job->image);
    job->item.category = rcnn_eval_find_category(d->truth, job->category);
    if (job->item.image < 0) {
        return rcnn_eval_bad(&job->reader, job->offset, err,
                             "detection of image id %lld, which the annotations do not list", (long long)job->image);
    }
    RCNN_TRY(apply_rule(job, index, err));
    const rcnn_eval_picture *image = &d->truth->images[job->item.image];
    if (job->mask.shape.kind != RCNN_EVAL_SHAPE_NONE) {
        RCNN_TRY(check_mask(job, image, err));
        if (d->area_rule == RCNN_EVAL_AREA_OF_MASK) {
            RCNN_TRY(measure_mask(job, image, err));
        }
    }
    const bool listed = job->item.category >= 0;
    job->item.shape = job->mask.shape;
    if ((!d->truth->with_masks || !listed) && job->mask.shape.kind != RCNN_EVAL_SHAPE_NONE) {
        d->store.bytes.length = job->mask.shape.offset;
        job->item.shape = (rcnn_eval_shape){0};
    }
    job->unlisted += !listed;
    rcnn_eval_item *item = listed ? rcnn_eval_store_add(&d->store) : &job->item;
    if (!item) {
        return rcnn_eval_no_memory(&job->reader, err);
    }
    *item = job->item;
    return RCNN_OK;
}

static rcnn_status on_detection(void *context, int index, rcnn_error *err)
{
    detections_job *job = context;
    unsigned seen;
    job->item = (rcnn_eval_item){0};
    job->mask = (rcnn_eval_read_mask){0};
    job->offset = job->reader.json.offset;
    RCNN_TRY(rcnn_eval_read_members(&job->reader, DET_MEMBERS, 5, on_member, job, &seen, err));
    RCNN_TRY(rcnn_eval_require(&job->reader, DET_MEMBERS, DET_REQUIRED, seen, "detection", job->offset, err));
    return keep(job, index, err);
}

static rcnn_status read_file(detections_job *job, rcnn_error *err)
{
    RCNN_TRY(rcnn_eval_read_objects(&job->reader, "detections", on_detection, job, err));
    RCNN_TRY(rcnn_json_expect(&job->reader.json, RCNN_JSON_END, err));
    if (job->unlisted > 0) {
        rcnn_log(RCNN_LOG_WARN, "%s: %zu detections are of categories that the annotations do not list; left out",
                 job->reader.name, job->unlisted);
    }
    return RCNN_OK;
}

static rcnn_status read_detections(const rcnn_eval_truth *truth, const char *name, const rcnn_file_map *map,
                                   const void *data, size_t size, rcnn_eval_detections **out, rcnn_error *err)
{
    detections_job job = {0};
    RCNN_TRY(rcnn_eval_detections_create(truth, &job.detections, err));
    rcnn_eval_reader_open(&job.reader, name, data, size);
    job.reader.map = map;
    const rcnn_status status = read_file(&job, err);
    rcnn_eval_reader_close(&job.reader);
    if (status != RCNN_OK) {
        rcnn_eval_detections_destroy(job.detections);
        return status;
    }
    *out = job.detections;
    return RCNN_OK;
}

rcnn_status rcnn_eval_detections_parse(const rcnn_eval_truth *truth, const char *name, const void *data, size_t size,
                                       rcnn_eval_detections **out, rcnn_error *err)
{
    if (!out || !truth || !name || (!data && size > 0)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "detections: want a truth, a name, bytes and a place for the result");
    }
    *out = NULL;
    return read_detections(truth, name, NULL, data ? data : "", size, out, err);
}

rcnn_status rcnn_eval_detections_load(const rcnn_eval_truth *truth, const char *path, rcnn_eval_detections **out,
                                      rcnn_error *err)
{
    rcnn_file_map map;
    if (!out || !truth || !path) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "detections: want a truth, a path and a place for the result");
    }
    *out = NULL;
    RCNN_TRY(rcnn_file_map_open(path, RCNN_EVAL_FILE_BYTES_MAX, &map, err));
    const void *data = map.data ? map.data : (const void *)"";
    const rcnn_status status = read_detections(truth, path, &map, data, map.size, out, err);
    rcnn_file_map_close(&map);
    return status;
}
