/* Writing and reading the JSON of native files; the same JSON is rcnn_model_config_json. */
#include "model/native.h"

#include <string.h>

#include "base/memory.h"
#include "model/classes.h"

void rcnn_native_write_json(const rcnn_model *model, rcnn_text *out)
{
    const int32_t count = model->config.class_count;
    rcnn_text_add(out, "{\"rcnn_version\":");
    rcnn_text_json_string(out, rcnn_version());
    rcnn_text_add(out, ",\"config\":");
    rcnn_config_to_json(&model->config, out);
    rcnn_text_add(out, ",\"class_names\":[");
    for (int32_t i = 0; i < count; i++) {
        rcnn_text_add(out, i ? "," : "");
        rcnn_text_json_string(out, model->class_names[i]);
    }
    rcnn_text_add(out, "],\"category_ids\":[");
    for (int32_t i = 0; i < count; i++) {
        rcnn_text_printf(out, "%s%d", i ? "," : "", model->category_ids[i]);
    }
    rcnn_text_add(out, "]}");
}

void rcnn_native_classes_free(rcnn_native_classes *classes)
{
    rcnn_free(classes->names);
    rcnn_free(classes->ids);
    *classes = (rcnn_native_classes){0};
}

typedef struct reading {
    rcnn_json json;
    const char *text;
    rcnn_config *config;
    rcnn_config_sources *sources;
    rcnn_native_classes *classes;
    rcnn_error *err;
} reading;

static rcnn_status fail_token(const reading *r, const char *wanted)
{
    return rcnn_fail(r->err, RCNN_ERR_FORMAT, "model: rcnn_config: want %s, got %s at byte %zu", wanted,
                     rcnn_json_token_name(r->json.token), r->json.offset);
}

/* Finds the extent of the object and hands it to the config's own reader. */
static rcnn_status read_config(reading *r)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_OBJECT_BEGIN, r->err));
    const size_t begin = r->json.offset;
    RCNN_TRY(rcnn_json_skip(&r->json, r->err));
    const size_t end = r->json.offset + 1; /* the reader stands on the closing brace */
    return rcnn_config_from_json(r->config, r->sources, r->text + begin, end - begin, r->err);
}

static rcnn_status read_names(reading *r)
{
    rcnn_text names = {0};
    rcnn_status status = rcnn_json_expect(&r->json, RCNN_JSON_ARRAY_BEGIN, r->err);
    while (status == RCNN_OK && (status = rcnn_json_next(&r->json, r->err)) == RCNN_OK &&
           r->json.token != RCNN_JSON_ARRAY_END) {
        if (r->json.token != RCNN_JSON_STRING || memchr(r->json.text, '\n', r->json.length)) {
            status = fail_token(r, "class names, each one line of text");
            break;
        }
        rcnn_text_add(&names, r->classes->name_count++ ? "\n" : "");
        rcnn_text_add_bytes(&names, r->json.text, r->json.length);
    }
    rcnn_free(r->classes->names);
    r->classes->names = rcnn_text_take(&names);
    if (status == RCNN_OK && !r->classes->names) {
        status = rcnn_fail(r->err, RCNN_ERR_MEMORY, "model: out of memory for class names");
    }
    return status;
}

static rcnn_status read_ids(reading *r)
{
    size_t capacity = 0;
    rcnn_native_classes *c = r->classes;
    rcnn_free(c->ids);
    c->ids = NULL;
    c->id_count = 0;
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_ARRAY_BEGIN, r->err));
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, r->err));
        if (r->json.token == RCNN_JSON_ARRAY_END) {
            return RCNN_OK;
        }
        if (r->json.token != RCNN_JSON_NUMBER || !r->json.is_integer || r->json.integer < 0 ||
            r->json.integer > INT32_MAX) {
            return fail_token(r, "category ids, integers >= 0");
        }
        void *ids = c->ids;
        if (!rcnn_grow(&ids, &capacity, (size_t)c->id_count + 1, sizeof *c->ids)) {
            return rcnn_fail(r->err, RCNN_ERR_MEMORY, "model: out of memory for category ids");
        }
        c->ids = ids;
        c->ids[c->id_count++] = (int32_t)r->json.integer;
    }
}

static bool key_is(const reading *r, const char *key)
{
    return r->json.length == strlen(key) && memcmp(r->json.text, key, r->json.length) == 0;
}

static rcnn_status read_all(reading *r)
{
    bool has_config = false;
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_OBJECT_BEGIN, r->err));
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, r->err));
        if (r->json.token == RCNN_JSON_OBJECT_END) {
            break;
        }
        if (key_is(r, "config")) {
            RCNN_TRY(read_config(r));
            has_config = true;
        } else if (key_is(r, "class_names")) {
            r->classes->name_count = 0;
            RCNN_TRY(read_names(r));
        } else if (key_is(r, "category_ids")) {
            RCNN_TRY(read_ids(r));
        } else {
            RCNN_TRY(rcnn_json_skip(&r->json, r->err));
        }
    }
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_END, r->err));
    return has_config ? RCNN_OK : rcnn_fail(r->err, RCNN_ERR_FORMAT, "model: rcnn_config: want 'config', got none");
}

rcnn_status rcnn_native_read_json(const char *text, rcnn_config *config, rcnn_config_sources *sources,
                                  rcnn_native_classes *classes, rcnn_error *err)
{
    reading r = {.text = text, .config = config, .sources = sources, .classes = classes, .err = err};
    *classes = (rcnn_native_classes){0};
    rcnn_json_open(&r.json, "model: rcnn_config", text, strlen(text));
    rcnn_status status = read_all(&r);
    rcnn_json_close(&r.json);
    return status;
}
