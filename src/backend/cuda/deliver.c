/* Results on their way to the host: what a delivery consists of, where each part stands in the block of host memory that
 * takes it, and the kernels that fill it. The layout follows from graph and delivery alone, so prepare, deliver and
 * delivered each compute it anew. */
#include "backend/cuda/cuda.h"

#include <string.h>

#define ALIGNMENT 256

/* Room for mask forms. Ordinary masks always fit: a run-length mask has some two counts a column, a crop of 512 x 1024
 * pixels takes 16384 words. What finds no room is made by the host from the raw mask. */
#define RLE_WORDS_PER_MASK  4096
#define CROP_WORDS_PER_MASK 16384
#define WORDS_MAX           16777216 /* 64 MiB */

_Static_assert(sizeof(rcnn_cuda_form) == sizeof(rcnn_delivered_form) &&
                   offsetof(rcnn_cuda_form, offset) == offsetof(rcnn_delivered_form, offset) &&
                   offsetof(rcnn_cuda_form, count) == offsetof(rcnn_delivered_form, count) &&
                   offsetof(rcnn_cuda_form, x) == offsetof(rcnn_delivered_form, x) &&
                   offsetof(rcnn_cuda_form, y) == offsetof(rcnn_delivered_form, y) &&
                   offsetof(rcnn_cuda_form, width) == offsetof(rcnn_delivered_form, width) &&
                   offsetof(rcnn_cuda_form, height) == offsetof(rcnn_delivered_form, height),
               "the kernels write what the host reads");
_Static_assert(sizeof(rcnn_cuda_fault) <= RCNN_CUDA_DELIVERY_HEADER, "the header holds the fault");

/* ------------------------------------------------------------- layout */

typedef enum part {
    PART_FAULT,
    PART_BOXES,
    PART_ROIS,
    PART_SCORES,
    PART_LABELS,
    PART_COUNTS,
    PART_PROPOSAL_COUNTS,
    PART_MASKS,
    PART_FORMS,
    PART_WORDS,
    PART_COUNT
} part;

_Static_assert(PART_COUNT <= RCNN_CUDA_DELIVER_MAX, "an item a part");

/* Scratch of a delivery: offsets, and the bytes of it all. */
typedef struct scratch_layout {
    size_t forms, words, used, kernels, bytes;
} scratch_layout;

typedef struct layout {
    rcnn_cuda_deliver_item item[PART_COUNT]; /* bytes 0: not there; src and used are filled by deliver */
    rcnn_value_id value[PART_COUNT];         /* whose memory it is, or RCNN_NO_VALUE */
    size_t bytes;                            /* of the block */
    int32_t images, capacity;                /* N, D */
    bool has_forms;
    int32_t word_capacity;
    scratch_layout scratch;
} layout;

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void add_part(layout *l, part p, rcnn_cuda_deliver_kind kind, size_t bytes, size_t element_bytes)
{
    l->item[p] = (rcnn_cuda_deliver_item){
        .kind = kind, .offset = round_up(l->bytes), .bytes = bytes, .element_bytes = element_bytes};
    l->bytes = l->item[p].offset + bytes;
}

/* A value's part; elements: dimensions that belong to the lists and rows themselves, [N,D] or [N*D]. */
static void add_value(layout *l, const rcnn_graph *graph, part p, rcnn_value_id id, rcnn_cuda_deliver_kind kind,
                      size_t elements)
{
    l->value[p] = id;
    if (id != RCNN_NO_VALUE) {
        const size_t bytes = graph->values[id].bytes;
        add_part(l, p, kind, bytes, bytes / elements);
    }
}

static bool makes_forms(const rcnn_delivery *delivery)
{
    return delivery->masks != RCNN_NO_VALUE && delivery->form != RCNN_MASK_NONE && delivery->form != RCNN_MASK_RAW;
}

/* The shape of the masks and all else that the sizes of the kernels' memory follow from. */
static rcnn_cuda_mask_forms forms_of(const rcnn_graph *graph, const rcnn_delivery *delivery, const layout *l)
{
    return (rcnn_cuda_mask_forms){.n = l->images,
                                  .capacity = l->capacity,
                                  .side = graph->values[delivery->masks].desc.dim[1],
                                  .rle = delivery->form == RCNN_MASK_RLE,
                                  .from_rois = delivery->from_rois,
                                  .padded = delivery->paste == RCNN_PASTE_PADDED,
                                  .threshold = delivery->threshold,
                                  .word_capacity = l->word_capacity};
}

static void lay_out_forms(layout *l, const rcnn_graph *graph, const rcnn_delivery *delivery)
{
    const size_t rows = (size_t)l->images * (size_t)l->capacity;
    const size_t words = rows * (delivery->form == RCNN_MASK_RLE ? RLE_WORDS_PER_MASK : CROP_WORDS_PER_MASK);
    l->has_forms = true;
    l->word_capacity = words < WORDS_MAX ? (int32_t)words : WORDS_MAX;
    add_part(l, PART_FORMS, RCNN_CUDA_DELIVER_ROWS, rows * sizeof(rcnn_cuda_form), sizeof(rcnn_cuda_form));
    add_part(l, PART_WORDS, RCNN_CUDA_DELIVER_WORDS, (size_t)l->word_capacity * sizeof(uint32_t), sizeof(uint32_t));
    const rcnn_cuda_mask_forms forms = forms_of(graph, delivery, l);
    scratch_layout *s = &l->scratch;
    s->forms = 0;
    s->words = round_up(l->item[PART_FORMS].bytes);
    s->used = s->words + round_up(l->item[PART_WORDS].bytes);
    s->kernels = s->used + ALIGNMENT;
    s->bytes = s->kernels + rcnn_cuda_mask_forms_scratch(&forms);
}

static layout lay_out(const rcnn_graph *graph, const rcnn_delivery *delivery)
{
    layout l = {.images = graph->values[delivery->boxes].desc.dim[0],
                .capacity = graph->values[delivery->boxes].desc.dim[1]};
    for (int32_t p = 0; p < PART_COUNT; p++) {
        l.value[p] = RCNN_NO_VALUE;
    }
    const size_t rows = (size_t)l.images * (size_t)l.capacity;
    add_part(&l, PART_FAULT, RCNN_CUDA_DELIVER_ALL, sizeof(rcnn_cuda_fault), sizeof(rcnn_cuda_fault));
    l.bytes = RCNN_CUDA_DELIVERY_HEADER;
    add_value(&l, graph, PART_BOXES, delivery->boxes, RCNN_CUDA_DELIVER_LISTS, rows);
    add_value(&l, graph, PART_ROIS, delivery->rois, RCNN_CUDA_DELIVER_LISTS, rows);
    add_value(&l, graph, PART_SCORES, delivery->scores, RCNN_CUDA_DELIVER_LISTS, rows);
    add_value(&l, graph, PART_LABELS, delivery->labels, RCNN_CUDA_DELIVER_LISTS, rows);
    add_value(&l, graph, PART_COUNTS, delivery->counts, RCNN_CUDA_DELIVER_ALL, 1);
    add_value(&l, graph, PART_PROPOSAL_COUNTS, delivery->proposal_counts, RCNN_CUDA_DELIVER_ALL, 1);
    add_value(&l, graph, PART_MASKS, delivery->masks, RCNN_CUDA_DELIVER_ROWS, rows);
    if (makes_forms(delivery)) {
        lay_out_forms(&l, graph, delivery);
    }
    l.bytes = round_up(l.bytes);
    return l;
}

/* ------------------------------------------------------------- vtable entries */

rcnn_status rcnn_cuda_prepare_delivery(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                                       size_t *scratch_bytes, rcnn_error *err)
{
    *scratch_bytes = 0;
    if (delivery->boxes == RCNN_NO_VALUE || delivery->counts == RCNN_NO_VALUE) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: a delivery without boxes or counts");
    }
    if (makes_forms(delivery) && delivery->from_rois && delivery->rois == RCNN_NO_VALUE) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: masks shall be pasted to RoIs, which are not delivered");
    }
    const layout l = lay_out(graph, delivery);
    *scratch_bytes = l.scratch.bytes;
    rcnn_cuda_frames_reserve(backend, l.bytes);
    return RCNN_OK;
}

static rcnn_status make_forms(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                              const rcnn_args *args, const layout *l, rcnn_error *err)
{
    unsigned char *scratch = args->scratch;
    rcnn_cuda_mask_forms forms = forms_of(graph, delivery, l);
    forms.masks = rcnn_cuda_value(args, delivery->masks);
    forms.boxes = rcnn_cuda_value(args, delivery->from_rois ? delivery->rois : delivery->boxes);
    forms.counts = rcnn_cuda_value(args, delivery->counts);
    forms.frame = backend->frame;
    forms.forms = (rcnn_cuda_form *)(void *)(scratch + l->scratch.forms);
    forms.words = (uint32_t *)(void *)(scratch + l->scratch.words);
    forms.used = (int32_t *)(void *)(scratch + l->scratch.used);
    forms.scratch = scratch + l->scratch.kernels;
    RCNN_CUDA_TRY(rcnn_cuda_mask_forms_launch(&forms, backend->stream), "making masks", err);
    return RCNN_OK;
}

static const void *source_of(const rcnn_backend *backend, const rcnn_args *args, const layout *l, part p)
{
    const unsigned char *scratch = args->scratch;
    switch (p) {
    case PART_FAULT:
        return backend->fault;
    case PART_FORMS:
        return scratch + l->scratch.forms;
    case PART_WORDS:
        return scratch + l->scratch.words;
    default:
        return rcnn_cuda_value(args, l->value[p]);
    }
}

rcnn_status rcnn_cuda_deliver(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_delivery *delivery,
                              const rcnn_args *args, rcnn_error *err)
{
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    const layout l = lay_out(graph, delivery);
    if (l.bytes > rcnn_cuda_frames_reserved(backend)) { /* the kernel would write past the block */
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "cuda: a delivery that was not prepared");
    }
    if (l.has_forms) {
        RCNN_TRY(make_forms(backend, graph, delivery, args, &l, err));
    }
    rcnn_cuda_deliver_list list = {.frame = backend->frame,
                                   .counts = rcnn_cuda_value(args, delivery->counts),
                                   .n = l.images,
                                   .capacity = l.capacity};
    for (part p = 0; p < PART_COUNT; p++) {
        if (l.item[p].bytes > 0) {
            rcnn_cuda_deliver_item *item = &list.item[list.item_count++];
            *item = l.item[p];
            item->src = source_of(backend, args, &l, p);
            item->used = p == PART_WORDS
                             ? (const int32_t *)(const void *)((const unsigned char *)args->scratch + l.scratch.used)
                             : NULL;
        }
    }
    RCNN_CUDA_TRY(rcnn_cuda_deliver_launch(&list, backend->stream), "delivering results", err);
    return RCNN_OK;
}

/* Typed pointers into a block; NULL: the part is not there. */
static const void *part_at(const layout *l, const unsigned char *block, part p)
{
    return block && l->item[p].bytes > 0 ? block + l->item[p].offset : NULL;
}

void rcnn_cuda_delivered(rcnn_backend *backend, int32_t slot, const rcnn_graph *graph, const rcnn_delivery *delivery,
                         rcnn_delivered *out)
{
    const layout l = lay_out(graph, delivery);
    const unsigned char *block = rcnn_cuda_frames_block(backend, slot);
    *out = (rcnn_delivered){.boxes = part_at(&l, block, PART_BOXES),
                            .rois = part_at(&l, block, PART_ROIS),
                            .scores = part_at(&l, block, PART_SCORES),
                            .labels = part_at(&l, block, PART_LABELS),
                            .counts = part_at(&l, block, PART_COUNTS),
                            .proposal_counts = part_at(&l, block, PART_PROPOSAL_COUNTS),
                            .masks = part_at(&l, block, PART_MASKS),
                            .forms = part_at(&l, block, PART_FORMS),
                            .words = part_at(&l, block, PART_WORDS)};
}
