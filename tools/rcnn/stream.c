#include "stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "gpu_reader.h"
#include "progress.h"

#define BATCH_MAX 64

/* A batch of consecutive files in a place of the ring. */
typedef struct chunk {
    stream_item *items; /* [batch] */
    int32_t decoded;    /* items read, or found unreadable */
    bool done;          /* results are there */
    rcnn_results *results;
} chunk;

/* A session with its thread. */
typedef struct lane {
    stream *stream;
    rcnn_session *session;
    size_t first; /* its first chunk */
    chunk *flights[RCNN_SESSION_IN_FLIGHT];
    int32_t flight_count;
    pthread_t thread;
} lane;

/* A thread that reads files. */
typedef struct reader {
    stream *stream;
    int32_t number;
    size_t next;    /* with a GPU: the next of its own images */
    gpu_reader gpu; /* that of session number % session_count  */
    pthread_t thread;
} reader;

struct stream {
    stream_options how;
    size_t chunk_count;
    chunk *ring; /* chunk k stands in ring[k % ring_count] while released <= k < released + ring_count */
    size_t ring_count;
    stream_item *items; /* of all chunks of the ring */
    size_t current;     /* chunk whose items are handed out */
    int32_t at;         /* of them handed out */

    /* below: shared by threads, changed under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next_image, released;
    bool stopping;

    lane lanes[DEVICES_MAX];
    reader *readers;                  /* [decoders] */
    int32_t reader_count, lane_count; /* threads started */
};

static int32_t chunk_size(const stream *s, size_t k)
{
    const size_t left = s->how.count - k * (size_t)s->how.batch;
    return left < (size_t)s->how.batch ? (int32_t)left : s->how.batch;
}

static chunk *chunk_at(const stream *s, size_t k)
{
    return &s->ring[k % s->ring_count];
}

/* ------------------------------------------------------------------ one chunk */

/* gpu NULL: on the CPU. What is drawn is read by the CPU in any case. */
static void decode(const stream *s, gpu_reader *gpu, size_t index, stream_item *item)
{
    rcnn_image_options how;
    rcnn_image_options_init(&how);
    how.ignore_exif = s->how.ignore_exif;
    const double start = clock_ms();
    *item = (stream_item){.path = s->how.paths[index], .index = index, .own = item->own};
    const bool there = gpu && gpu_reader_read(gpu, item->path, how.ignore_exif, &item->run);
    item->view = item->run;
    item->view.data = NULL;
    if (!there || s->how.keep_pixels) {
        if (rcnn_image_load(item->path, &how, &item->image, &item->failed) == RCNN_OK) {
            rcnn_image_get_view(item->image, &item->view);
            item->run = there ? item->run : item->view;
            item->failed.status = RCNN_OK;
        } else {
            item->run.data = NULL;
        }
    }
    item->decode_ms = clock_ms() - start;
}

/* Views of the readable images; returns how many. */
static int32_t gather(const chunk *c, rcnn_image_view views[BATCH_MAX])
{
    int32_t count = 0;
    for (int32_t i = 0; i < c->decoded; i++) {
        if (c->items[i].run.data) {
            views[count++] = c->items[i].run;
        }
    }
    return count;
}

static void give_results(chunk *c)
{
    int32_t position = 0;
    const int32_t together = rcnn_results_image_count(c->results);
    for (int32_t i = 0; i < c->decoded; i++) {
        stream_item *item = &c->items[i];
        if (item->run.data) {
            item->results = c->results;
            item->position = position++;
            item->together = together;
        }
    }
}

/* After a failed run: the image to blame has the failure, the others of its batch run alone. */
static void run_one_by_one(rcnn_session *session, chunk *c, const rcnn_error *failed)
{
    rcnn_image_view views[BATCH_MAX];
    const bool alone = gather(c, views) == 1;
    for (int32_t i = 0; i < c->decoded; i++) {
        stream_item *item = &c->items[i];
        if (item->run.data && alone) {
            item->failed = *failed;
        } else if (item->run.data && rcnn_session_run(session, &item->run, 1, &item->own, &item->failed) == RCNN_OK) {
            item->failed.status = RCNN_OK;
            item->results = item->own;
            item->together = 1;
        }
    }
}

static void drop_pixels(chunk *c)
{
    for (int32_t i = 0; i < c->decoded; i++) {
        rcnn_image_destroy(c->items[i].image);
        c->items[i].image = NULL;
        c->items[i].view.data = NULL;
        c->items[i].run.data = NULL;
    }
}

/* ---------------------------------------------------------------- without threads */

static void run_chunk_here(stream *s, size_t k)
{
    chunk *c = chunk_at(s, k);
    rcnn_image_view views[BATCH_MAX];
    rcnn_error failed = {0};
    for (c->decoded = 0; c->decoded < chunk_size(s, k); c->decoded++) {
        decode(s, NULL, k * (size_t)s->how.batch + (size_t)c->decoded, &c->items[c->decoded]);
    }
    const int32_t count = gather(c, views);
    if (count > 0 && rcnn_session_run(s->how.sessions[0], views, count, &c->results, &failed) == RCNN_OK) {
        give_results(c);
    } else if (count > 0) {
        run_one_by_one(s->how.sessions[0], c, &failed);
    }
    c->done = true;
}

/* ----------------------------------------------------------------------- decoders */

/* Readers that decode on the GPU of a session. */
static size_t readers_of(const stream *s, size_t session)
{
    const size_t sessions = (size_t)s->how.session_count;
    return ((size_t)s->how.decoders - session + sessions - 1) / sessions;
}

/* On GPUs the readers of a session take its images in turn: each knows beforehand how many of its pictures there can be
 * in the ring. */
static bool is_own(const stream *s, const reader *r, size_t index)
{
    const size_t batch = (size_t)s->how.batch, sessions = (size_t)s->how.session_count;
    const size_t k = index / batch, session = (size_t)r->number % sessions;
    return k % sessions == session &&
           (k / sessions * batch + index % batch) % readers_of(s, session) == (size_t)r->number / sessions;
}

static size_t first_own(const stream *s, const reader *r, size_t index)
{
    while (index < s->how.count && !is_own(s, r, index)) {
        index++;
    }
    return index;
}

/* Pictures of one reader in the ring, at most. */
static int32_t pictures_of(const stream *s, size_t session)
{
    const size_t sessions = (size_t)s->how.session_count, readers = readers_of(s, session);
    const size_t images = (s->ring_count + sessions - 1) / sessions * (size_t)s->how.batch;
    return (int32_t)((images + readers - 1) / readers);
}

static void *decode_images(void *argument)
{
    reader *r = argument;
    stream *s = r->stream;
    const size_t batch = (size_t)s->how.batch;
    size_t *next = s->how.decode_devices ? &r->next : &s->next_image;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->stopping && *next < s->how.count && *next / batch >= s->released + s->ring_count) {
            pthread_cond_wait(&s->changed, &s->lock);
        }
        if (s->stopping || *next == s->how.count) {
            break;
        }
        const size_t index = *next, k = index / batch;
        chunk *c = chunk_at(s, k);
        *next = s->how.decode_devices ? first_own(s, r, index + 1) : index + 1;
        pthread_mutex_unlock(&s->lock);
        decode(s, s->how.decode_devices ? &r->gpu : NULL, index, &c->items[index % batch]);
        pthread_mutex_lock(&s->lock);
        if (++c->decoded == chunk_size(s, k)) {
            pthread_cond_broadcast(&s->changed);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* -------------------------------------------------------------------------- lanes */

static void finish_chunk(stream *s, chunk *c)
{
    if (!s->how.keep_pixels) {
        drop_pixels(c);
    }
    pthread_mutex_lock(&s->lock);
    c->done = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Takes back the oldest run. When a batch failed, what runs beside it comes first: its images need the session alone. */
static void collect_chunk(lane *l)
{
    chunk *c = l->flights[0];
    rcnn_error failed = {0};
    memmove(l->flights, l->flights + 1, (size_t)--l->flight_count * sizeof l->flights[0]);
    if (rcnn_session_collect(l->session, &c->results, &failed) == RCNN_OK) {
        give_results(c);
    } else {
        while (l->flight_count > 0) {
            collect_chunk(l);
        }
        run_one_by_one(l->session, c, &failed);
    }
    finish_chunk(l->stream, c);
}

static void submit_chunk(lane *l, chunk *c)
{
    rcnn_image_view views[BATCH_MAX];
    rcnn_error failed = {0};
    const int32_t count = gather(c, views);
    if (count > 0 && rcnn_session_submit(l->session, views, count, &failed) == RCNN_OK) {
        l->flights[l->flight_count++] = c;
        return;
    }
    while (l->flight_count > 0) {
        collect_chunk(l);
    }
    if (count > 0) {
        run_one_by_one(l->session, c, &failed);
    }
    finish_chunk(l->stream, c);
}

/* Whether all images of a chunk have been read; the lock is held. */
static bool is_decoded(const stream *s, size_t k)
{
    return k < s->released + s->ring_count && chunk_at(s, k)->decoded == chunk_size(s, k);
}

static void *run_chunks(void *argument)
{
    lane *l = argument;
    stream *s = l->stream;
    for (size_t next = l->first;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->stopping && l->flight_count == 0 && next < s->chunk_count && !is_decoded(s, next)) {
            pthread_cond_wait(&s->changed, &s->lock);
        }
        const bool stopping = s->stopping, ready = next < s->chunk_count && is_decoded(s, next);
        pthread_mutex_unlock(&s->lock);
        if (stopping) {
            break;
        }
        if (ready && l->flight_count < RCNN_SESSION_IN_FLIGHT) {
            submit_chunk(l, chunk_at(s, next));
            next += (size_t)s->how.session_count;
        } else if (l->flight_count > 0) {
            collect_chunk(l);
        } else {
            break; /* all done */
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- opening, closing */

static bool make_readers(stream *s, rcnn_error *err)
{
    s->readers = calloc((size_t)s->how.decoders, sizeof *s->readers);
    if (!s->readers) {
        return tool_fail(err, "out of memory");
    }
    for (int32_t i = 0; i < s->how.decoders; i++) {
        reader *r = &s->readers[i];
        *r = (reader){.stream = s, .number = i};
        if (s->how.decode_devices) {
            const size_t session = (size_t)(i % s->how.session_count);
            r->next = first_own(s, r, 0);
            if (!gpu_reader_open(&r->gpu, s->how.decode_devices[session], pictures_of(s, session), err)) {
                return false;
            }
        }
    }
    return true;
}

static bool start_threads(stream *s, rcnn_error *err)
{
    if (!make_readers(s, err)) {
        return false;
    }
    for (int32_t i = 0; i < s->how.decoders; i++) {
        if (pthread_create(&s->readers[i].thread, NULL, decode_images, &s->readers[i]) != 0) {
            return tool_fail(err, "no thread to read images");
        }
        s->reader_count++;
    }
    for (int32_t i = 0; i < s->how.session_count; i++) {
        s->lanes[i] = (lane){.stream = s, .session = s->how.sessions[i], .first = (size_t)i};
        if (pthread_create(&s->lanes[i].thread, NULL, run_chunks, &s->lanes[i]) != 0) {
            return tool_fail(err, "no thread for a session");
        }
        s->lane_count++;
    }
    return true;
}

static bool make_ring(stream *s, rcnn_error *err)
{
    const size_t batch = (size_t)s->how.batch;
    s->ring_count = 1;
    if (s->how.decoders > 0) { /* under way and one being written, for each session; being read; one being written */
        s->ring_count = (size_t)s->how.session_count * (RCNN_SESSION_IN_FLIGHT + 1) +
                        ((size_t)s->how.decoders + batch - 1) / batch + 1;
    }
    s->ring = calloc(s->ring_count, sizeof *s->ring);
    s->items = calloc(s->ring_count * batch, sizeof *s->items);
    for (size_t i = 0; s->ring && s->items && i < s->ring_count; i++) {
        s->ring[i].items = s->items + i * batch;
    }
    return (s->ring && s->items) || tool_fail(err, "out of memory for %zu images", s->ring_count * batch);
}

bool stream_open(const stream_options *how, stream **out, rcnn_error *err)
{
    *out = NULL;
    stream *s = calloc(1, sizeof *s);
    if (!s) {
        return tool_fail(err, "out of memory");
    }
    s->how = *how;
    if (how->decode_devices && how->decoders < how->session_count) {
        s->how.decoders = how->session_count;
    }
    s->chunk_count = (how->count + (size_t)how->batch - 1) / (size_t)how->batch;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (!make_ring(s, err) || (s->how.decoders > 0 && !start_threads(s, err))) {
        stream_close(s);
        return false;
    }
    *out = s;
    return true;
}

static void free_ring(stream *s)
{
    for (size_t i = 0; s->items && i < s->ring_count * (size_t)s->how.batch; i++) {
        rcnn_image_destroy(s->items[i].image);
        rcnn_results_destroy(s->items[i].own);
    }
    for (size_t i = 0; s->ring && i < s->ring_count; i++) {
        rcnn_results_destroy(s->ring[i].results);
    }
    free(s->items);
    free(s->ring);
}

void stream_close(stream *s)
{
    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    for (int32_t i = 0; i < s->reader_count; i++) {
        pthread_join(s->readers[i].thread, NULL);
    }
    for (int32_t i = 0; i < s->lane_count; i++) {
        pthread_join(s->lanes[i].thread, NULL);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free_ring(s);
    for (int32_t i = 0; s->readers && i < s->how.decoders;
         i++) { /* after the sessions' threads: they read its memory */
        gpu_reader_close(&s->readers[i].gpu);
    }
    free(s->readers);
    free(s);
}

/* --------------------------------------------------------------------- handing out */

/* The place of a chunk that was handed out is free for a later one. */
static void release_chunk(stream *s, chunk *c)
{
    drop_pixels(c);
    pthread_mutex_lock(&s->lock);
    c->decoded = 0;
    c->done = false;
    s->released++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void await_chunk(stream *s, chunk *c)
{
    pthread_mutex_lock(&s->lock);
    while (!c->done) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

stream_item *stream_next(stream *s)
{
    if (s->current < s->chunk_count && s->at == chunk_size(s, s->current)) {
        release_chunk(s, chunk_at(s, s->current));
        s->current++;
        s->at = 0;
    }
    if (s->current == s->chunk_count) {
        return NULL;
    }
    chunk *c = chunk_at(s, s->current);
    if (s->at == 0 && s->how.decoders == 0) {
        run_chunk_here(s, s->current);
    } else if (s->at == 0) {
        await_chunk(s, c);
    }
    return &c->items[s->at++];
}
