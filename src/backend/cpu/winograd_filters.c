/* G g G' of the model's filters, made once and shared; winograd_filters.h. */
#include "backend/cpu/winograd_filters.h"

#include "backend/cpu/elements.h"
#include "base/memory.h"

#define IN       RCNN_WINOGRAD_IN
#define PRODUCTS RCNN_WINOGRAD_PRODUCTS
#define PANEL    RCNN_WINOGRAD_PANEL
#define KERNEL   3

struct rcnn_winograd_filters {
    rcnn_winograd_filters *next;
    const float *source; /* the model's weights: the key, with the type */
    rcnn_dtype type;
    int32_t in, out, users;
    void *data; /* [out/PANEL][PRODUCTS][in][PANEL], of BF16 [..][in/2][PANEL][2]; owned */
};

/* G: row of a point p is 1, p, p^2 divided by the product of (p - q) over the other points; infinity's is 0, 0, 1. */
static void points_of(double g[IN][KERNEL])
{
    const double point[IN - 1] = {0, RCNN_WINOGRAD_A, -RCNN_WINOGRAD_A, RCNN_WINOGRAD_B, -RCNN_WINOGRAD_B};
    for (int i = 0; i < IN - 1; i++) {
        double product = 1;
        for (int j = 0; j < IN - 1; j++) {
            product *= j == i ? 1 : point[i] - point[j];
        }
        g[i][0] = 1 / product;
        g[i][1] = point[i] / product;
        g[i][2] = point[i] * point[i] / product;
    }
    g[IN - 1][0] = g[IN - 1][1] = 0;
    g[IN - 1][2] = 1;
}

/* One filter [3][3] to its 36 factors. */
static void transform(double g[IN][KERNEL], const float *filter, double out[PRODUCTS])
{
    double half[IN][KERNEL];
    for (int i = 0; i < IN; i++) {
        for (int x = 0; x < KERNEL; x++) {
            half[i][x] = g[i][0] * filter[x] + g[i][1] * filter[KERNEL + x] + g[i][2] * filter[2 * KERNEL + x];
        }
    }
    for (int i = 0; i < PRODUCTS; i++) {
        const double *row = half[i / IN];
        out[i] = row[0] * g[i % IN][0] + row[1] * g[i % IN][1] + row[2] * g[i % IN][2];
    }
}

static size_t index_of(const rcnn_winograd_filters *f, int32_t panel, int32_t product)
{
    return ((size_t)panel * PRODUCTS + (size_t)product) * (size_t)f->in * PANEL;
}

static void store(const rcnn_winograd_filters *f, int32_t o, int32_t i, const double factor[PRODUCTS])
{
    const size_t column = (size_t)(o % PANEL);
    for (int p = 0; p < PRODUCTS; p++) {
        const size_t base = index_of(f, o / PANEL, p);
        if (f->type == RCNN_BF16) {
            const size_t pair = (size_t)(i / 2) * PANEL + column;
            ((uint16_t *)f->data)[base + 2 * pair + (size_t)(i % 2)] = rcnn_cpu_to_bf16((float)factor[p]);
        } else {
            ((float *)f->data)[base + (size_t)i * PANEL + column] = (float)factor[p];
        }
    }
}

static void fill(const rcnn_winograd_filters *f)
{
    double g[IN][KERNEL];
    points_of(g);
#pragma omp parallel for schedule(static)
    for (int32_t panel = 0; panel < f->out / PANEL; panel++) {
        for (int32_t i = 0; i < f->in; i++) {
            for (int32_t o = panel * PANEL; o < (panel + 1) * PANEL; o++) {
                double factor[PRODUCTS];
                transform(g, f->source + ((size_t)o * (size_t)f->in + (size_t)i) * KERNEL * KERNEL, factor);
                store(f, o, i, factor);
            }
        }
    }
}

rcnn_status rcnn_winograd_filters_get(rcnn_backend *backend, const rcnn_winograd_body *body, const rcnn_op *op,
                                      rcnn_winograd_filters **out, rcnn_error *err)
{
    rcnn_winograd_filters **list = rcnn_cpu_winograd_filters(backend);
    for (rcnn_winograd_filters *f = *list; f; f = f->next) {
        if (f->source == op->w.weights && f->type == body->factors) {
            f->users++;
            *out = f;
            return RCNN_OK;
        }
    }
    rcnn_winograd_filters *f = rcnn_calloc(1, sizeof *f);
    size_t bytes = 0;
    const size_t count = (size_t)op->w.in * (size_t)op->w.out;
    const bool fits = rcnn_mul_size(count, PRODUCTS * rcnn_cpu_element_bytes(body->factors), &bytes);
    void *data = f && fits ? rcnn_malloc_aligned(bytes) : NULL;
    if (!data) {
        rcnn_free(f);
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cpu: conv '%s': out of memory for %zu bytes of filters", op->name,
                         bytes);
    }
    *f = (rcnn_winograd_filters){.next = *list,
                                 .source = op->w.weights,
                                 .type = body->factors,
                                 .in = op->w.in,
                                 .out = op->w.out,
                                 .users = 1,
                                 .data = data};
    fill(f);
    *list = f;
    *out = f;
    return RCNN_OK;
}

void rcnn_winograd_filters_put(rcnn_backend *backend, rcnn_winograd_filters *filters)
{
    if (!filters || --filters->users > 0) {
        return;
    }
    rcnn_winograd_filters **link = rcnn_cpu_winograd_filters(backend);
    while (*link != filters) {
        link = &(*link)->next;
    }
    *link = filters->next;
    rcnn_free(filters->data);
    rcnn_free(filters);
}

const void *rcnn_winograd_panel(const rcnn_winograd_filters *filters, int32_t panel, int32_t product)
{
    return rcnn_cpu_at(filters->type, filters->data, index_of(filters, panel, product));
}
