/* The nodes of the inert pickle machine: making, growing and asking them. */
#include "model/pickle.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const struct {
    const char *name;
    uint8_t meaning;
} GLOBALS[] = {
#define X(name, meaning) {name, meaning},
#include "model/pickle_globals.def"
#undef X
};

rcnn_meaning rcnn_meaning_of(const char *global_name)
{
    for (size_t i = 0; i < sizeof GLOBALS / sizeof GLOBALS[0]; i++) {
        if (strcmp(GLOBALS[i].name, global_name) == 0) {
            return (rcnn_meaning)GLOBALS[i].meaning;
        }
    }
    return RCNN_MEANS_NOTHING;
}

rcnn_node *rcnn_node_new(rcnn_pickle *pickle, rcnn_node_kind kind)
{
    rcnn_node *node = rcnn_arena_alloc(&pickle->nodes, sizeof *node);
    if (node) {
        *node = (rcnn_node){.kind = (uint8_t)kind};
    }
    return node;
}

bool rcnn_node_array_add(rcnn_node_array *array, rcnn_node *node)
{
    void *items = array->items;
    if (!rcnn_grow(&items, &array->capacity, array->count + 1, sizeof *array->items)) {
        return false;
    }
    array->items = items;
    array->items[array->count++] = node;
    return true;
}

/* Room for `add` more pointers after the `used` first ones. The first allocation is exact, as most containers are
 * filled by one opcode; later ones double. The arena keeps the old array: its ceiling counts both. */
static bool reserve(rcnn_pickle *pickle, rcnn_node *node, size_t used, size_t add)
{
    if (add <= node->list.capacity - used) {
        return true;
    }
    size_t capacity = used + add;
    if (used > 0 && capacity < 2 * node->list.capacity) {
        capacity = 2 * node->list.capacity;
    }
    size_t bytes;
    if (!rcnn_mul_size(capacity, sizeof(rcnn_node *), &bytes)) {
        return false;
    }
    rcnn_node **items = rcnn_arena_alloc(&pickle->nodes, bytes);
    if (!items) {
        return false;
    }
    if (used > 0) {
        memcpy(items, node->list.items, used * sizeof *items);
    }
    node->list.items = items;
    node->list.capacity = capacity;
    return true;
}

bool rcnn_node_append(rcnn_pickle *pickle, rcnn_node *list, rcnn_node *const *items, size_t count)
{
    if (count == 0) {
        return true;
    }
    if (!reserve(pickle, list, list->count, count)) {
        return false;
    }
    memcpy(list->list.items + list->count, items, count * sizeof *items);
    list->count += (uint32_t)count; /* the arena's ceiling keeps counts far below 2^32 */
    return true;
}

bool rcnn_node_append_pairs(rcnn_pickle *pickle, rcnn_node *dict, rcnn_node *const *items, size_t pairs)
{
    if (pairs == 0) {
        return true;
    }
    if (!reserve(pickle, dict, 2 * (size_t)dict->count, 2 * pairs)) {
        return false;
    }
    memcpy(dict->list.items + 2 * (size_t)dict->count, items, 2 * pairs * sizeof *items);
    dict->count += (uint32_t)pairs;
    return true;
}

static bool is_sequence(const rcnn_node *node)
{
    return node->kind == RCNN_NODE_TUPLE || node->kind == RCNN_NODE_LIST || node->kind == RCNN_NODE_SET;
}

/* OrderedDict([[key, value], ...]), as Python 2 wrote it. NULL with *fits false when the list holds other things. */
static rcnn_node *dict_of_pairs(rcnn_pickle *pickle, const rcnn_node *list, bool *fits)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const rcnn_node *pair = list->list.items[i];
        if (!is_sequence(pair) || pair->count != 2) {
            *fits = false;
            return NULL;
        }
    }
    rcnn_node *dict = rcnn_node_new(pickle, RCNN_NODE_DICT);
    if (!dict || !reserve(pickle, dict, 0, 2 * (size_t)list->count)) {
        return NULL;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        memcpy(dict->list.items + 2 * (size_t)i, list->list.items[i]->list.items, 2 * sizeof(rcnn_node *));
    }
    dict->count = list->count;
    return dict;
}

/* The container that a known callable builds, or NULL with *fits false when these arguments are not of that form. */
static rcnn_node *build_container(rcnn_pickle *pickle, rcnn_meaning meaning, const rcnn_node *args, bool *fits)
{
    rcnn_node *first = args->count > 0 ? args->list.items[0] : NULL;
    if (meaning == RCNN_MEANS_VALUE && args->count == 1) {
        return first;
    }
    if (meaning == RCNN_MEANS_DICT && (!first || first->kind == RCNN_NODE_GLOBAL || first->kind == RCNN_NODE_NONE)) {
        return rcnn_node_new(pickle, RCNN_NODE_DICT); /* a global: the value factory of a defaultdict */
    }
    if (meaning == RCNN_MEANS_DICT && is_sequence(first)) {
        return dict_of_pairs(pickle, first, fits);
    }
    if ((meaning == RCNN_MEANS_LIST || meaning == RCNN_MEANS_SET) && (!first || is_sequence(first))) {
        rcnn_node *out = rcnn_node_new(pickle, meaning == RCNN_MEANS_SET ? RCNN_NODE_SET : RCNN_NODE_LIST);
        bool copied = out && (!first || rcnn_node_append(pickle, out, first->list.items, first->count));
        return copied ? out : NULL;
    }
    *fits = false;
    return NULL;
}

rcnn_node *rcnn_node_call(rcnn_pickle *pickle, rcnn_node *callable, rcnn_node *args)
{
    if (callable->kind == RCNN_NODE_GLOBAL && args->kind == RCNN_NODE_TUPLE) {
        bool fits = true;
        rcnn_node *container = build_container(pickle, (rcnn_meaning)callable->meaning, args, &fits);
        if (container || fits) {
            return container;
        }
    }
    rcnn_node *call = rcnn_node_new(pickle, RCNN_NODE_CALL);
    if (call) {
        call->call.callable = callable;
        call->call.args = args;
    }
    return call;
}

rcnn_node *rcnn_node_dict(rcnn_node *node)
{
    if (node && node->kind == RCNN_NODE_CALL && node->call.extra) {
        return node->call.extra->items;
    }
    return node && node->kind == RCNN_NODE_DICT ? node : NULL;
}

bool rcnn_node_is_text(const rcnn_node *node, const char *text)
{
    size_t length = strlen(text);
    return node && node->kind == RCNN_NODE_TEXT && node->text.length == length &&
           memcmp(node->text.bytes, text, length) == 0;
}

rcnn_node *rcnn_dict_get(const rcnn_node *dict, const char *key)
{
    for (size_t i = dict ? dict->count : 0; i > 0; i--) {
        if (rcnn_node_is_text(dict->list.items[2 * (i - 1)], key)) {
            return dict->list.items[2 * (i - 1) + 1];
        }
    }
    return NULL;
}

rcnn_meaning rcnn_call_meaning(const rcnn_node *node)
{
    bool named = node && node->kind == RCNN_NODE_CALL && node->call.callable->kind == RCNN_NODE_GLOBAL;
    return named ? (rcnn_meaning)node->call.callable->meaning : RCNN_MEANS_NOTHING;
}

rcnn_node *rcnn_node_item(const rcnn_node *node, size_t index)
{
    if (node && node->kind == RCNN_NODE_CALL) {
        node = node->call.args;
    }
    return node && is_sequence(node) && index < node->count ? node->list.items[index] : NULL;
}

bool rcnn_node_size(const rcnn_node *node, uint64_t *out)
{
    if (!node || node->kind != RCNN_NODE_INT || node->integer < 0) {
        return false;
    }
    *out = (uint64_t)node->integer;
    return true;
}

const char *rcnn_node_describe(const rcnn_node *node, char *text, size_t capacity)
{
    static const char *const NAMES[] = {[RCNN_NODE_NONE] = "None",         [RCNN_NODE_BOOL] = "a boolean",
                                        [RCNN_NODE_INT] = "an integer",    [RCNN_NODE_BIGINT] = "a large integer",
                                        [RCNN_NODE_REAL] = "a float",      [RCNN_NODE_TEXT] = "a string",
                                        [RCNN_NODE_BYTES] = "bytes",       [RCNN_NODE_TUPLE] = "a tuple",
                                        [RCNN_NODE_LIST] = "a list",       [RCNN_NODE_SET] = "a set",
                                        [RCNN_NODE_DICT] = "a dictionary", [RCNN_NODE_GLOBAL] = "a global",
                                        [RCNN_NODE_CALL] = "an object",    [RCNN_NODE_PERSISTENT] = "a storage"};
    const char *name = node ? NAMES[node->kind] : "nothing";
    if (node && node->kind == RCNN_NODE_GLOBAL) {
        snprintf(text, capacity, "the global '%s'", node->name);
    } else if (node && node->kind == RCNN_NODE_CALL && node->call.callable->kind == RCNN_NODE_GLOBAL) {
        snprintf(text, capacity, "an object made by '%s'", node->call.callable->name);
    } else {
        snprintf(text, capacity, "%s", name);
    }
    return text;
}
