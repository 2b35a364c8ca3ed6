/* A reader for one known document, not for JSON at large: it walks objects and arrays, keeps the members it knows and
 * passes over the rest, so that new members of the plan do no harm. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *at;
    bool failed;
    int depth;
    plan_summary *plan;
} reader;

#define DEPTH_MAX 16

static bool take(reader *r, char wanted)
{
    r->at += strspn(r->at, " \t\r\n");
    if (*r->at != wanted) {
        return false;
    }
    r->at++;
    return true;
}

static void need(reader *r, char wanted)
{
    r->failed = !take(r, wanted) || r->failed;
}

/* The characters between quotes, cut to fit. Names in a plan hold no escapes worth decoding. */
static void read_text(reader *r, char text[PLAN_NAME_BYTES])
{
    size_t used = 0;
    need(r, '"');
    while (!r->failed && *r->at && *r->at != '"') {
        r->at += *r->at == '\\' && r->at[1];
        if (used + 1 < PLAN_NAME_BYTES) {
            text[used++] = *r->at;
        }
        r->at++;
    }
    text[used] = '\0';
    need(r, '"');
}

static int64_t read_integer(reader *r)
{
    char *end = NULL;
    long long value = strtoll(r->at, &end, 10);
    r->failed = r->failed || end == r->at;
    r->at = end;
    return value;
}

static void skip_value(reader *r);

/* Calls member(r, key, context) for each member of an object; member must read the value. */
static void read_object(reader *r, void (*member)(reader *, const char *, void *), void *context)
{
    char key[PLAN_NAME_BYTES];
    need(r, '{');
    if (take(r, '}')) {
        return;
    }
    do {
        read_text(r, key);
        need(r, ':');
        if (!r->failed) {
            member(r, key, context);
        }
    } while (!r->failed && take(r, ','));
    need(r, '}');
}

/* Calls element(r) for each element of an array. */
static void read_array(reader *r, void (*element)(reader *))
{
    need(r, '[');
    if (take(r, ']')) {
        return;
    }
    do {
        element(r);
    } while (!r->failed && take(r, ','));
    need(r, ']');
}

static void skip_member(reader *r, const char *key, void *context)
{
    (void)key;
    (void)context;
    skip_value(r);
}

static void skip_value(reader *r)
{
    char text[PLAN_NAME_BYTES];
    r->at += strspn(r->at, " \t\r\n");
    if (++r->depth > DEPTH_MAX) {
        r->failed = true;
    } else if (*r->at == '{') {
        read_object(r, skip_member, NULL);
    } else if (*r->at == '[') {
        read_array(r, skip_value);
    } else if (*r->at == '"') {
        read_text(r, text);
    } else {
        size_t length = strspn(r->at, "+-.0123456789eEtrufalsn");
        r->failed = length == 0;
        r->at += length;
    }
    r->depth--;
}

/* The array with one more, zeroed element at its end; NULL when out of memory, the old array stands then. */
static void *extend(void *array, size_t *count, size_t bytes)
{
    char *grown = realloc(array, (*count + 1) * bytes);
    if (grown) {
        memset(grown + *count * bytes, 0, bytes);
        ++*count;
    }
    return grown;
}

static void stage_member(reader *r, const char *key, void *context)
{
    plan_stage *stage = context;
    if (strcmp(key, "stage") == 0) {
        read_text(r, stage->name);
    } else if (strcmp(key, "macs") == 0) {
        stage->macs = read_integer(r);
    } else {
        skip_value(r);
    }
}

static void read_stage(reader *r)
{
    plan_summary *plan = r->plan;
    plan_stage *grown = extend(plan->stages, &plan->stage_count, sizeof *grown);
    if (!grown) {
        r->failed = true;
        return;
    }
    plan->stages = grown;
    read_object(r, stage_member, &grown[plan->stage_count - 1]);
}

static void value_member(reader *r, const char *key, void *context)
{
    plan_value *value = context;
    if (strcmp(key, "name") == 0) {
        read_text(r, value->name);
    } else if (strcmp(key, "dtype") == 0) {
        read_text(r, value->dtype);
    } else if (strcmp(key, "bytes") == 0) {
        value->bytes = read_integer(r);
    } else if (strcmp(key, "offset") == 0) {
        value->offset = read_integer(r);
    } else if (strcmp(key, "first_op") == 0) {
        value->first_op = read_integer(r);
    } else if (strcmp(key, "last_op") == 0) {
        value->last_op = read_integer(r);
    } else {
        skip_value(r);
    }
}

static void read_value(reader *r)
{
    plan_summary *plan = r->plan;
    plan_value *grown = extend(plan->values, &plan->value_count, sizeof *grown);
    if (!grown) {
        r->failed = true;
        return;
    }
    plan->values = grown;
    read_object(r, value_member, &grown[plan->value_count - 1]);
}

static void read_op(reader *r)
{
    skip_value(r);
    r->plan->op_count++;
}

static void read_kernel(reader *r)
{
    skip_value(r);
    r->plan->kernel_count++;
}

static void plan_member(reader *r, const char *key, void *context)
{
    plan_summary *plan = context;
    if (strcmp(key, "stages") == 0) {
        read_array(r, read_stage);
    } else if (strcmp(key, "values") == 0) {
        read_array(r, read_value);
    } else if (strcmp(key, "ops") == 0) {
        read_array(r, read_op);
    } else if (strcmp(key, "kernels") == 0) {
        read_array(r, read_kernel);
    } else if (strcmp(key, "precision") == 0) {
        read_text(r, plan->precision);
    } else if (strcmp(key, "width") == 0) {
        plan->width = read_integer(r);
    } else if (strcmp(key, "height") == 0) {
        plan->height = read_integer(r);
    } else if (strcmp(key, "arena_bytes") == 0) {
        plan->arena_bytes = read_integer(r);
    } else if (strcmp(key, "scratch_bytes") == 0) {
        plan->scratch_bytes = read_integer(r);
    } else {
        skip_value(r);
    }
}

bool plan_read(const char *json, plan_summary *out, rcnn_error *err)
{
    reader r = {.at = json, .plan = out};
    memset(out, 0, sizeof *out);
    read_object(&r, plan_member, out);
    if (r.failed) {
        plan_free(out);
        return tool_fail(err, "cannot read the plan at byte %zu", (size_t)(r.at - json));
    }
    return true;
}

void plan_free(plan_summary *plan)
{
    free(plan->stages);
    free(plan->values);
    memset(plan, 0, sizeof *plan);
}
