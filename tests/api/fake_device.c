/* See fake_device.h. Device addresses are host addresses plus a bias that no mapping has, so that a session that looks
 * behind one dies at once; commands carry them and only the device takes the bias off. */
#include "fake_device.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mask/mask.h"

#define BIAS                         ((uintptr_t)1 << 47)
#define BLOCKS_MAX                   64
#define COMMANDS_MAX                 4096
#define DELIVERED_AT_MOST(graph, id) ((id) == RCNN_NO_VALUE ? 0 : (graph)->values[id].bytes)

fake_control fake;

typedef struct block {
    uint8_t *host;
    size_t bytes;
} block;

typedef enum command_kind { COMMAND_STAGE, COMMAND_KERNEL, COMMAND_DELIVER, COMMAND_MARK, COMMAND_FINISH } command_kind;

typedef struct command {
    command_kind kind;
    int32_t slot;        /* STAGE, FINISH; MARK: its index */
    rcnn_kernel *kernel; /* KERNEL */
    void **value;        /* KERNEL, DELIVER: [values], device addresses; owned */
    int32_t values;
    void *scratch;
    const rcnn_graph *graph; /* DELIVER */
    rcnn_delivery delivery;
} command;

typedef struct command_list {
    command *items;
    int32_t count;
} command_list;

/* One slot's memory on the host side: staged pixels and what was delivered. */
typedef struct slot_memory {
    rcnn_frame frame;
    uint8_t *pixels[RCNN_BATCH_MAX];
    float *ready;
    size_t ready_bytes;
    bool busy, finished, synced; /* staged and not yet waited for; finish() was called; sync() came after */
    rcnn_status fault;
    float *boxes, *rois, *scores, *masks;
    int32_t *labels, *counts, *proposal_counts;
    rcnn_delivered_form *forms;
    uint32_t *words;
} slot_memory;

typedef struct delivery_room { /* bytes of the largest delivery so far */
    size_t boxes, rois, scores, labels, counts, masks, forms, words;
} delivery_room;

struct rcnn_backend {
    rcnn_backend *ref;
    block blocks[BLOCKS_MAX];
    command_list queue; /* put off */
    command_list recorded;
    bool recording;
    slot_memory slots[RCNN_BACKEND_SLOTS];
    int32_t staged; /* slot that what is executed reads */
    double marks[RCNN_BACKEND_MARKS];
    double clock; /* advances with every kernel */
    delivery_room room;
    rcnn_backend_counters counters;
};

struct rcnn_kernel {
    rcnn_backend *device;
    rcnn_kernel *ref[2]; /* NULL: half precision, for planning only; two when fused */
    bool preprocess;
    rcnn_value_id image;
    int32_t values;
};

struct rcnn_recording {
    rcnn_backend *device;
    command_list list;
};

/* -------------------------------------------------------------------- checking */

static void misuse(const char *what)
{
    if (!fake.misuse[0]) {
        snprintf(fake.misuse, sizeof fake.misuse, "%s", what);
    }
}

static rcnn_status fallible(const char *what, rcnn_error *err)
{
    fake.calls++;
    if (fake.fail_at && --fake.fail_at == 0) {
        return rcnn_fail(err, RCNN_ERR_DEVICE, "fake: %s failed", what);
    }
    return RCNN_OK;
}

/* The host address behind a device address; NULL and a note when it lies in no living block. */
static void *at(const rcnn_backend *device, const void *address)
{
    uint8_t *host = (uint8_t *)((uintptr_t)address - BIAS);
    for (int i = 0; i < BLOCKS_MAX; i++) {
        const block *b = &device->blocks[i];
        if (b->host && host >= b->host && host <= b->host + b->bytes) {
            return host;
        }
    }
    misuse("a command uses memory that was released");
    return NULL;
}

/* -------------------------------------------------------------------- commands */

static void list_add(command_list *list, command c)
{
    if (list->count == COMMANDS_MAX) {
        misuse("more commands than the test has room for");
        free(c.value);
        return;
    }
    if (!list->items) {
        list->items = calloc(COMMANDS_MAX, sizeof *list->items);
    }
    list->items[list->count++] = c;
}

static void list_clear(command_list *list)
{
    for (int32_t i = 0; i < list->count; i++) {
        free(list->items[i].value);
    }
    free(list->items);
    *list = (command_list){0};
}

static void **copy_values(void *const *value, int32_t count)
{
    void **copy = malloc((size_t)count * sizeof *copy);
    memcpy(copy, value, (size_t)count * sizeof *copy);
    return copy;
}

static void submit(rcnn_backend *device, command c)
{
    list_add(device->recording ? &device->recorded : &device->queue, c);
}

/* ------------------------------------------------------------------- executing */

static void fail_run(rcnn_backend *device, rcnn_status status)
{
    slot_memory *slot = &device->slots[device->staged];
    slot->fault = slot->fault == RCNN_OK ? status : slot->fault;
}

static void run_kernel(rcnn_backend *device, const command *c)
{
    slot_memory *slot = &device->slots[device->staged];
    void **value = malloc((size_t)c->values * sizeof *value);
    for (int32_t i = 0; i < c->values; i++) {
        value[i] = at(device, c->value[i]);
    }
    const rcnn_args args = {
        .value = value, .scratch = c->scratch ? at(device, c->scratch) : NULL, .frame = &slot->frame};
    fake.kernels_run++;
    device->clock += 1;
    if (fake.misuse[0]) {
        /* its memory is gone: a real device would fault */
    } else if (c->kernel->preprocess && slot->ready) {
        memcpy(value[c->kernel->image], slot->ready, slot->ready_bytes);
    } else if (!fake.dry) {
        for (int i = 0; i < 2 && c->kernel->ref[i]; i++) {
            fail_run(device, rcnn_backend_ref.enqueue(c->kernel->ref[i], &args, NULL));
        }
    }
    free(value);
}

/* The box a mask is pasted to, as the session computes it. */
static void paste_box(const command *c, const slot_memory *slot, int32_t image, int32_t d, float box[4])
{
    const int32_t capacity = c->graph->values[c->delivery.boxes].desc.dim[1];
    const size_t first = 4 * ((size_t)image * (size_t)capacity + (size_t)d);
    const rcnn_frame_image *f = &slot->frame.image[image];
    for (int k = 0; k < 4; k++) {
        const float scale = k % 2 ? f->scale_y : f->scale_x;
        box[k] = c->delivery.from_rois ? slot->rois[first + (size_t)k] / scale : slot->boxes[first + (size_t)k];
    }
}

static int32_t pack_bits(const uint8_t *pixels, const rcnn_mask_region *region, uint32_t *words)
{
    const int32_t row = (region->width + 31) / 32;
    memset(words, 0, (size_t)row * (size_t)region->height * sizeof *words);
    for (int32_t y = 0; y < region->height; y++) {
        for (int32_t x = 0; x < region->width; x++) {
            words[y * row + x / 32] |= (uint32_t)pixels[y * region->width + x] << x % 32;
        }
    }
    return row * region->height;
}

static void make_form(const rcnn_backend *device, const command *c, slot_memory *slot, int32_t image, const float *soft,
                      const float box[4], rcnn_delivered_form *form, size_t *used)
{
    const rcnn_image_view *view = &slot->frame.image[image].view;
    const rcnn_paste_spec spec = {.paste = c->delivery.paste,
                                  .side = c->graph->values[c->delivery.masks].desc.dim[1],
                                  .width = view->width,
                                  .height = view->height,
                                  .threshold = c->delivery.threshold};
    rcnn_mask_region region;
    rcnn_mask_region_of(&spec, box, &region);
    void *scratch = malloc(rcnn_mask_scratch_bytes(&spec, &region) + 64);
    *form = (rcnn_delivered_form){.offset = (int32_t)*used};
    if (c->delivery.form == RCNN_MASK_RLE) {
        form->count = rcnn_mask_paste_rle(&spec, soft, box, &region, slot->words + *used,
                                          (int32_t)(device->room.words / sizeof(uint32_t) - *used), scratch);
    } else {
        uint8_t *pixels = malloc((size_t)region.width * (size_t)region.height + 1);
        rcnn_mask_paste(&spec, soft, box, &region, pixels, scratch);
        *form = (rcnn_delivered_form){(int32_t)*used, 0, region.x, region.y, region.width, region.height};
        form->count = pack_bits(pixels, &region, slot->words + *used);
        free(pixels);
    }
    *used += (size_t)form->count;
    free(scratch);
}

static void make_forms(const rcnn_backend *device, const command *c, slot_memory *slot)
{
    const int32_t side = c->graph->values[c->delivery.masks].desc.dim[1];
    size_t used = 0;
    int32_t row = 0;
    for (int32_t n = 0; n < slot->frame.count; n++) {
        for (int32_t d = 0; d < slot->counts[n]; d++, row++) {
            float box[4];
            paste_box(c, slot, n, d, box);
            if (fake.unmade_forms && row % fake.unmade_forms == fake.unmade_forms - 1) {
                slot->forms[row] = (rcnn_delivered_form){.offset = -7, .count = -1};
                continue;
            }
            make_form(device, c, slot, n, slot->masks + (size_t)row * (size_t)side * (size_t)side, box,
                      &slot->forms[row], &used);
        }
    }
}

static void copy_value(rcnn_backend *device, const command *c, rcnn_value_id id, void *dst, size_t bytes)
{
    if (id != RCNN_NO_VALUE && bytes) {
        memcpy(dst, at(device, c->value[id]), bytes);
    }
}

static void run_deliver(rcnn_backend *device, const command *c)
{
    slot_memory *slot = &device->slots[device->staged];
    const rcnn_delivery *d = &c->delivery;
    const rcnn_graph *g = c->graph;
    if (fake.misuse[0]) {
        return;
    }
    copy_value(device, c, d->boxes, slot->boxes, g->values[d->boxes].bytes);
    copy_value(device, c, d->rois, slot->rois, DELIVERED_AT_MOST(g, d->rois));
    copy_value(device, c, d->scores, slot->scores, g->values[d->scores].bytes);
    copy_value(device, c, d->labels, slot->labels, g->values[d->labels].bytes);
    copy_value(device, c, d->counts, slot->counts, g->values[d->counts].bytes);
    copy_value(device, c, d->proposal_counts, slot->proposal_counts, DELIVERED_AT_MOST(g, d->proposal_counts));
    copy_value(device, c, d->masks, slot->masks, DELIVERED_AT_MOST(g, d->masks));
    if (d->masks != RCNN_NO_VALUE && d->form > RCNN_MASK_RAW) {
        make_forms(device, c, slot);
    }
}

static void execute(rcnn_backend *device, const command *c)
{
    switch (c->kind) {
    case COMMAND_STAGE:
        device->staged = c->slot;
        if (device->slots[c->slot].frame.count > 0 &&
            device->slots[c->slot].frame.image[0].view.width == fake.fault_at_width) {
            fail_run(device, RCNN_ERR_NUMERIC);
        }
        break;
    case COMMAND_KERNEL:
        run_kernel(device, c);
        break;
    case COMMAND_DELIVER:
        run_deliver(device, c);
        break;
    case COMMAND_MARK:
        device->marks[c->slot] = device->clock;
        break;
    case COMMAND_FINISH:
        break;
    }
}

/* Runs what was put off, up to the end of a slot's run; slot -1 = everything. */
static void run_queue(rcnn_backend *device, int32_t slot)
{
    int32_t i = 0;
    bool reached = false;
    for (; i < device->queue.count && !reached; i++) {
        execute(device, &device->queue.items[i]);
        free(device->queue.items[i].value);
        reached = device->queue.items[i].kind == COMMAND_FINISH && device->queue.items[i].slot == slot;
    }
    if (i > 0) {
        memmove(device->queue.items, device->queue.items + i, (size_t)(device->queue.count - i) * sizeof(command));
        device->queue.count -= i;
    }
}

/* ---------------------------------------------------------------- opening, memory */

static rcnn_status fake_probe(char *text, size_t capacity)
{
    snprintf(text, capacity, "made of ref, for tests");
    return RCNN_OK;
}

static rcnn_status fake_open(const rcnn_backend_options *options, rcnn_backend **out, rcnn_error *err)
{
    *out = NULL;
    if (fallible("open", err) != RCNN_OK) {
        return RCNN_ERR_DEVICE;
    }
    rcnn_backend *device = calloc(1, sizeof *device);
    rcnn_status status = rcnn_backend_ref.open(options, &device->ref, err);
    if (status != RCNN_OK) {
        free(device);
        return status;
    }
    fake.open_devices++;
    *out = device;
    return RCNN_OK;
}

static void free_delivered(slot_memory *slot)
{
    void *blocks[] = {slot->boxes,           slot->rois,  slot->scores, slot->masks, slot->labels, slot->counts,
                      slot->proposal_counts, slot->forms, slot->words};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        free(blocks[i]);
    }
}

static void free_staged(slot_memory *slot)
{
    for (int32_t n = 0; n < RCNN_BATCH_MAX; n++) {
        free(slot->pixels[n]);
        slot->pixels[n] = NULL;
    }
    free(slot->ready);
    slot->ready = NULL;
}

static void fake_close(rcnn_backend *device)
{
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (device->blocks[i].host) {
            misuse("the device was closed with memory in use");
        }
    }
    for (int i = 0; i < RCNN_BACKEND_SLOTS; i++) {
        free_staged(&device->slots[i]);
        free_delivered(&device->slots[i]);
    }
    list_clear(&device->queue);
    list_clear(&device->recorded);
    rcnn_backend_ref.close(device->ref);
    free(device);
    fake.open_devices--;
}

static rcnn_status fake_alloc(rcnn_backend *device, size_t bytes, void **out, rcnn_error *err)
{
    *out = NULL;
    if (fallible("alloc", err) != RCNN_OK) {
        return RCNN_ERR_DEVICE;
    }
    int i = 0;
    while (i < BLOCKS_MAX && device->blocks[i].host) {
        i++;
    }
    void *memory = NULL;
    if (i == BLOCKS_MAX || rcnn_backend_ref.alloc(device->ref, bytes, &memory, err) != RCNN_OK) {
        return RCNN_ERR_MEMORY;
    }
    memset(memory, fake.dry ? 0 : 0xa5, bytes);
    device->blocks[i] = (block){memory, bytes};
    device->counters.device_allocations++;
    device->counters.bytes_held += bytes;
    fake.live_blocks++;
    *out = (void *)((uintptr_t)memory + BIAS);
    return RCNN_OK;
}

static void fake_release_memory(rcnn_backend *device, void *memory)
{
    if (device->queue.count > 0) {
        misuse("memory was released while commands wait");
    }
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (device->blocks[i].host && (uintptr_t)device->blocks[i].host + BIAS == (uintptr_t)memory) {
            device->counters.bytes_held -= device->blocks[i].bytes;
            rcnn_backend_ref.release_memory(device->ref, device->blocks[i].host);
            device->blocks[i].host = NULL;
            fake.live_blocks--;
            return;
        }
    }
    misuse("memory was released that is not the device's");
}

/* ------------------------------------------------------------------------ kernels */

/* Two convolutions in a row are one kernel, which needs the memory between them. */
static int32_t fake_claim(rcnn_backend *device, const rcnn_graph *graph, int32_t first, int32_t *keep_between)
{
    (void)device;
    const rcnn_op *op = &graph->ops[first];
    *keep_between = 1;
    return first + 1 < graph->op_count && op->kind == RCNN_OP_CONV && op[1].kind == RCNN_OP_CONV &&
                   op[1].stage == op->stage
               ? 2
               : 1;
}

static rcnn_status prepare_ref(rcnn_kernel *kernel, const rcnn_graph *graph, int32_t first, int32_t count,
                               size_t *scratch_bytes, rcnn_error *err)
{
    for (int32_t i = 0; i < count; i++) {
        size_t bytes = 0;
        RCNN_TRY(rcnn_backend_ref.prepare(kernel->device->ref, graph, first + i, 1, &kernel->ref[i], &bytes, err));
        *scratch_bytes = bytes > *scratch_bytes ? bytes : *scratch_bytes;
    }
    return RCNN_OK;
}

static void free_kernel(rcnn_kernel *kernel)
{
    for (int i = 0; i < 2 && kernel->ref[i]; i++) {
        rcnn_backend_ref.release(kernel->ref[i]);
    }
    free(kernel);
}

static rcnn_status fake_prepare(rcnn_backend *device, const rcnn_graph *graph, int32_t first, int32_t count,
                                rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    *out = NULL;
    *scratch_bytes = 0;
    if (fallible("prepare", err) != RCNN_OK) {
        return RCNN_ERR_DEVICE;
    }
    rcnn_kernel *kernel = calloc(1, sizeof *kernel);
    const rcnn_op *op = &graph->ops[first];
    kernel->device = device;
    kernel->values = graph->value_count;
    kernel->preprocess = op->kind == RCNN_OP_PREPROCESS;
    kernel->image = op->output[0];
    const bool half = graph->precision == RCNN_PRECISION_FP16 || graph->precision == RCNN_PRECISION_BF16;
    rcnn_status status = half ? RCNN_OK : prepare_ref(kernel, graph, first, count, scratch_bytes, err);
    if (status != RCNN_OK) {
        free_kernel(kernel);
        return status;
    }
    fake.live_kernels++;
    *out = kernel;
    return RCNN_OK;
}

static rcnn_status fake_enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    rcnn_backend *device = kernel->device;
    if (fallible("enqueue", err) != RCNN_OK) {
        return RCNN_ERR_DEVICE;
    }
    fake.direct_enqueues += !device->recording;
    submit(device, (command){.kind = COMMAND_KERNEL,
                             .kernel = kernel,
                             .value = copy_values(args->value, kernel->values),
                             .values = kernel->values,
                             .scratch = args->scratch});
    return RCNN_OK;
}

static void fake_release(rcnn_kernel *kernel)
{
    if (kernel->device->queue.count > 0) {
        misuse("a kernel was released while commands wait");
    }
    free_kernel(kernel);
    fake.live_kernels--;
}

static rcnn_status fake_sync(rcnn_backend *device, rcnn_error *err)
{
    (void)err;
    fake.syncs++;
    device->counters.host_syncs++;
    run_queue(device, -1);
    for (int i = 0; i < RCNN_BACKEND_SLOTS; i++) {
        device->slots[i].synced = true;
    }
    return RCNN_OK;
}

static rcnn_status fake_upload(rcnn_backend *device, void *dst, const void *src, size_t bytes, rcnn_error *err)
{
    RCNN_TRY(fallible("upload", err));
    memcpy(at(device, dst), src, bytes);
    return RCNN_OK;
}

static rcnn_status fake_download(rcnn_backend *device, void *dst, const void *src, size_t bytes, rcnn_error *err)
{
    RCNN_TRY(fallible("download", err));
    if (device->queue.count > 0) {
        misuse("memory was read while commands wait");
    }
    memcpy(dst, at(device, src), bytes);
    return RCNN_OK;
}

/* ------------------------------------------------------------------- asynchronous */

static int32_t fake_device_count(void)
{
    return 2;
}

static uint32_t fake_precisions(rcnn_backend *device, rcnn_precision *automatic)
{
    (void)device;
    *automatic = fake.precisions ? fake.automatic : RCNN_PRECISION_FP32;
    return fake.precisions ? fake.precisions : 1u << RCNN_PRECISION_FP32;
}

static void copy_pixels(slot_memory *slot, const rcnn_frame *frame)
{
    slot->frame = *frame;
    for (int32_t n = 0; n < frame->count; n++) {
        const rcnn_image_view *view = &frame->image[n].view;
        const size_t bytes = (size_t)(view->height - 1) * view->stride_bytes +
                             (size_t)view->width * (view->format == RCNN_PIXEL_GRAY8   ? 1u
                                                    : view->format >= RCNN_PIXEL_RGBA8 ? 4u
                                                                                       : 3u);
        slot->pixels[n] = malloc(bytes);
        memcpy(slot->pixels[n], view->data, bytes);
        slot->frame.image[n].view.data = slot->pixels[n];
    }
    if (frame->ready) {
        slot->ready_bytes =
            (size_t)frame->count * (size_t)frame->ready_width * (size_t)frame->ready_height * 3 * sizeof(float);
        slot->ready = malloc(slot->ready_bytes);
        memcpy(slot->ready, frame->ready, slot->ready_bytes);
        slot->frame.ready = slot->ready;
    }
}

static rcnn_status fake_stage(rcnn_backend *device, int32_t index, const rcnn_frame *frame, rcnn_error *err)
{
    slot_memory *slot = &device->slots[index];
    if (device->recording) {
        misuse("staged while recording");
    }
    if (slot->busy && !slot->synced) {
        misuse("a slot was staged before its run was waited for");
    }
    RCNN_TRY(fallible("stage", err));
    fake.stages++;
    fake.warm_ups += frame->count == 0;
    free_staged(slot);
    copy_pixels(slot, frame);
    slot->busy = true;
    slot->finished = slot->synced = false;
    slot->fault = RCNN_OK;
    submit(device, (command){.kind = COMMAND_STAGE, .slot = index});
    return RCNN_OK;
}

static rcnn_status fake_record_begin(rcnn_backend *device, rcnn_error *err)
{
    fake.unrecorded++;
    RCNN_TRY(fallible("record_begin", err));
    if (device->recording) {
        misuse("recordings nest");
    }
    device->recording = true;
    return RCNN_OK;
}

static rcnn_status fake_record_end(rcnn_backend *device, rcnn_recording **out, rcnn_error *err)
{
    device->recording = false;
    if (!out || fallible("record_end", err) != RCNN_OK) {
        list_clear(&device->recorded);
        return out ? RCNN_ERR_DEVICE : RCNN_OK;
    }
    *out = calloc(1, sizeof **out);
    (*out)->device = device;
    (*out)->list = device->recorded;
    device->recorded = (command_list){0};
    fake.unrecorded--;
    fake.recordings++;
    device->counters.recordings++;
    fake.live_recordings++;
    return RCNN_OK;
}

static rcnn_status fake_replay(rcnn_backend *device, rcnn_recording *recording, rcnn_error *err)
{
    RCNN_TRY(fallible("replay", err));
    fake.replays++;
    for (int32_t i = 0; i < recording->list.count; i++) {
        command c = recording->list.items[i];
        c.value = c.values ? copy_values(c.value, c.values) : NULL;
        list_add(&device->queue, c);
    }
    return RCNN_OK;
}

static void fake_release_recording(rcnn_backend *device, rcnn_recording *recording)
{
    if (device->queue.count > 0) {
        misuse("a recording was released while commands wait");
    }
    list_clear(&recording->list);
    free(recording);
    fake.live_recordings--;
}

static size_t fake_recording_bytes(const rcnn_recording *recording)
{
    (void)recording;
    return fake.recording_bytes;
}

static void grow_room(size_t *room, size_t bytes)
{
    *room = bytes > *room ? bytes : *room;
}

/* Every layout moves the slots' memory: results that were not taken before are lost. */
static rcnn_status fake_prepare_delivery(rcnn_backend *device, const rcnn_graph *graph, const rcnn_delivery *d,
                                         size_t *scratch_bytes, rcnn_error *err)
{
    RCNN_TRY(fallible("prepare_delivery", err));
    const rcnn_tensor_desc *boxes = &graph->values[d->boxes].desc;
    const size_t rows = (size_t)boxes->dim[0] * (size_t)boxes->dim[1];
    delivery_room *room = &device->room;
    *scratch_bytes = 64;
    grow_room(&room->boxes, graph->values[d->boxes].bytes);
    grow_room(&room->rois, DELIVERED_AT_MOST(graph, d->rois) + 1);
    grow_room(&room->scores, graph->values[d->scores].bytes);
    grow_room(&room->labels, graph->values[d->labels].bytes);
    grow_room(&room->counts, graph->values[d->counts].bytes);
    grow_room(&room->masks, DELIVERED_AT_MOST(graph, d->masks) + 1);
    grow_room(&room->forms, rows * sizeof(rcnn_delivered_form));
    grow_room(&room->words, rows * 8192 * sizeof(uint32_t));
    for (int i = 0; i < RCNN_BACKEND_SLOTS; i++) {
        slot_memory *slot = &device->slots[i];
        if (slot->busy && !slot->synced) {
            misuse("deliveries were laid out while a run is under way");
        }
        free_delivered(slot);
        slot->boxes = malloc(room->boxes);
        slot->rois = malloc(room->rois);
        slot->scores = malloc(room->scores);
        slot->labels = malloc(room->labels);
        slot->counts = malloc(room->counts);
        slot->proposal_counts = malloc(room->counts);
        slot->masks = malloc(room->masks);
        slot->forms = malloc(room->forms);
        slot->words = malloc(room->words);
    }
    return RCNN_OK;
}

static rcnn_status fake_deliver(rcnn_backend *device, const rcnn_graph *graph, const rcnn_delivery *delivery,
                                const rcnn_args *args, rcnn_error *err)
{
    RCNN_TRY(fallible("deliver", err));
    submit(device, (command){.kind = COMMAND_DELIVER,
                             .value = copy_values(args->value, graph->value_count),
                             .values = graph->value_count,
                             .graph = graph,
                             .delivery = *delivery});
    return RCNN_OK;
}

static rcnn_status fake_finish(rcnn_backend *device, int32_t slot, rcnn_error *err)
{
    RCNN_TRY(fallible("finish", err));
    device->slots[slot].finished = true;
    submit(device, (command){.kind = COMMAND_FINISH, .slot = slot});
    return RCNN_OK;
}

static rcnn_status fake_wait(rcnn_backend *device, int32_t index, rcnn_error *err)
{
    slot_memory *slot = &device->slots[index];
    if (!slot->busy || !slot->finished) {
        misuse("waited for a run that was not started");
    }
    fake.waits++;
    device->counters.host_syncs++;
    run_queue(device, index);
    slot->busy = false;
    RCNN_TRY(fallible("wait", err));
    return slot->fault == RCNN_OK ? RCNN_OK : rcnn_fail(err, slot->fault, "fake: the run failed on the device");
}

static void fake_delivered(rcnn_backend *device, int32_t index, const rcnn_graph *graph, const rcnn_delivery *d,
                           rcnn_delivered *out)
{
    const slot_memory *slot = &device->slots[index];
    (void)graph;
    if (slot->busy) {
        misuse("results were read before their run was waited for");
    }
    const bool masks = d->masks != RCNN_NO_VALUE;
    *out = (rcnn_delivered){.boxes = slot->boxes,
                            .rois = d->rois == RCNN_NO_VALUE ? NULL : slot->rois,
                            .scores = slot->scores,
                            .labels = slot->labels,
                            .counts = slot->counts,
                            .proposal_counts = d->proposal_counts == RCNN_NO_VALUE ? NULL : slot->proposal_counts,
                            .masks = masks ? slot->masks : NULL,
                            .forms = masks && d->form > RCNN_MASK_RAW ? slot->forms : NULL,
                            .words = masks && d->form > RCNN_MASK_RAW ? slot->words : NULL};
}

static rcnn_status fake_mark(rcnn_backend *device, int32_t index, rcnn_error *err)
{
    RCNN_TRY(fallible("mark", err));
    submit(device, (command){.kind = COMMAND_MARK, .slot = index});
    return RCNN_OK;
}

static rcnn_status fake_marks_ms(rcnn_backend *device, int32_t count, double *ms, rcnn_error *err)
{
    RCNN_TRY(fallible("marks_ms", err));
    for (int32_t i = 0; i + 1 < count; i++) {
        ms[i] = device->marks[i + 1] - device->marks[i];
    }
    return RCNN_OK;
}

static void fake_counters(const rcnn_backend *device, rcnn_backend_counters *out)
{
    *out = device->counters;
    out->replays = fake.replays;
}

static void fake_describe_choices(rcnn_backend *device, char *text, size_t capacity)
{
    (void)device;
    snprintf(text, capacity, "everything: ref\n");
}

const rcnn_backend_vt fake_device_vt = {
    .abi = RCNN_BACKEND_ABI,
    .name = "fake",
    .probe = fake_probe,
    .open = fake_open,
    .close = fake_close,
    .alloc = fake_alloc,
    .release_memory = fake_release_memory,
    .claim = fake_claim,
    .prepare = fake_prepare,
    .enqueue = fake_enqueue,
    .release = fake_release,
    .sync = fake_sync,
    .upload = fake_upload,
    .download = fake_download,
    .device_count = fake_device_count,
    .precisions = fake_precisions,
    .half_image_channels = 4,
    .stage = fake_stage,
    .record_begin = fake_record_begin,
    .record_end = fake_record_end,
    .replay = fake_replay,
    .release_recording = fake_release_recording,
    .recording_bytes = fake_recording_bytes,
    .prepare_delivery = fake_prepare_delivery,
    .deliver = fake_deliver,
    .finish = fake_finish,
    .wait = fake_wait,
    .delivered = fake_delivered,
    .mark = fake_mark,
    .marks_ms = fake_marks_ms,
    .counters = fake_counters,
    .describe_choices = fake_describe_choices,
};
