/* The opcode loop of the inert pickle machine. One table row per opcode says how its argument is read and what it does;
 * Python's Lib/pickletools.py is the reference for both. */
#include "model/pickle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "model/bytes.h"

#define PROTOCOL_MAX 5

enum argument { /* how the bytes after an opcode are read */
                NO_ARGUMENT,
                UINT1,
                UINT2,
                INT4,
                UINT4,
                UINT8,
                FLOAT8, /* into integer or real             */
                BYTES1,
                BYTES4,
                BYTES8, /* a length, then that many bytes   */
                LINE,
                TWO_LINES /* up to a newline                  */
};

typedef rcnn_status (*opcode_fn)(rcnn_pickle *p, rcnn_error *err);

/* ------------------------------------------------------------------ errors */

static rcnn_status fail_format(const rcnn_pickle *p, const char *problem, rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: pickle byte %zu (opcode 0x%02x): %s", p->what, p->opcode_at,
                     p->data[p->opcode_at], problem);
}

static rcnn_status fail_memory(const rcnn_pickle *p, rcnn_error *err)
{
    return rcnn_arena_fail(&p->nodes, p->what, err);
}

static rcnn_status fail_limit(const rcnn_pickle *p, const char *thing, size_t limit, rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: pickle byte %zu: more than %zu %s", p->what, p->opcode_at, limit, thing);
}

/* ------------------------------------------------------------------- stack */

static rcnn_status push(rcnn_pickle *p, rcnn_node *node, rcnn_error *err)
{
    if (!node) {
        return fail_memory(p, err);
    }
    if (p->stack.count == RCNN_PICKLE_STACK_MAX) {
        return fail_limit(p, "values on the stack", RCNN_PICKLE_STACK_MAX, err);
    }
    if (!rcnn_node_array_add(&p->stack, node)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", p->what);
    }
    return RCNN_OK;
}

/* Values below the last mark are out of reach until that mark is popped. */
static size_t stack_floor(const rcnn_pickle *p)
{
    return p->mark_count > 0 ? p->marks[p->mark_count - 1] : 0;
}

static rcnn_status need(const rcnn_pickle *p, size_t count, rcnn_error *err)
{
    return p->stack.count - stack_floor(p) < count ? fail_format(p, "the stack holds too few values", err) : RCNN_OK;
}

static rcnn_node *pop(rcnn_pickle *p) /* after need() */
{
    return p->stack.items[--p->stack.count];
}

static rcnn_node *top(const rcnn_pickle *p) /* after need() */
{
    return p->stack.items[p->stack.count - 1];
}

/* Removes the last mark; *first is the index of the first value above it. The values stay on the stack. */
static rcnn_status pop_mark(rcnn_pickle *p, size_t *first, rcnn_error *err)
{
    if (p->mark_count == 0) {
        return fail_format(p, "there is no mark on the stack", err);
    }
    *first = p->marks[--p->mark_count];
    return RCNN_OK;
}

/* The stack's values from index `first` on; NULL when there are none, as the stack may be unallocated then. */
static rcnn_node *const *values_from(const rcnn_pickle *p, size_t first)
{
    return p->stack.count > first ? p->stack.items + first : NULL;
}

static rcnn_status op_mark(rcnn_pickle *p, rcnn_error *err)
{
    void *marks = p->marks;
    if (p->mark_count == RCNN_PICKLE_STACK_MAX) {
        return fail_limit(p, "marks on the stack", RCNN_PICKLE_STACK_MAX, err);
    }
    if (!rcnn_grow(&marks, &p->mark_capacity, p->mark_count + 1, sizeof *p->marks)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", p->what);
    }
    p->marks = marks;
    p->marks[p->mark_count++] = p->stack.count;
    return RCNN_OK;
}

static rcnn_status op_pop(rcnn_pickle *p, rcnn_error *err)
{
    if (p->mark_count > 0 && p->stack.count == stack_floor(p)) {
        p->mark_count--; /* as Python: POP right after MARK removes the mark */
        return RCNN_OK;
    }
    RCNN_TRY(need(p, 1, err));
    pop(p);
    return RCNN_OK;
}

static rcnn_status op_pop_mark(rcnn_pickle *p, rcnn_error *err)
{
    size_t first = 0;
    RCNN_TRY(pop_mark(p, &first, err));
    p->stack.count = first;
    return RCNN_OK;
}

static rcnn_status op_dup(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 1, err));
    return push(p, top(p), err);
}

static rcnn_status op_stop(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 1, err));
    p->stopped = true;
    return RCNN_OK;
}

/* --------------------------------------------------------------------- memo */

static rcnn_status memo_put(rcnn_pickle *p, uint64_t index, rcnn_error *err)
{
    RCNN_TRY(need(p, 1, err));
    /* Picklers number the slots from 0 or 1 as they fill them, and filling one takes a byte at least. */
    if (index > p->size || index >= RCNN_PICKLE_MEMO_MAX) {
        return fail_limit(p, "memo slots", index > p->size ? p->size : RCNN_PICKLE_MEMO_MAX, err);
    }
    void *items = p->memo.items;
    if (!rcnn_grow(&items, &p->memo.capacity, (size_t)index + 1, sizeof *p->memo.items)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", p->what);
    }
    p->memo.items = items;
    while (p->memo.count <= index) {
        p->memo.items[p->memo.count++] = NULL;
    }
    p->memo.items[index] = top(p);
    return RCNN_OK;
}

static rcnn_status memo_get(rcnn_pickle *p, uint64_t index, rcnn_error *err)
{
    if (index >= p->memo.count || !p->memo.items[index]) {
        return fail_format(p, "the memo slot is empty", err);
    }
    return push(p, p->memo.items[index], err);
}

static rcnn_status op_put(rcnn_pickle *p, rcnn_error *err)
{
    return memo_put(p, (uint64_t)p->integer, err);
}

static rcnn_status op_get(rcnn_pickle *p, rcnn_error *err)
{
    return memo_get(p, (uint64_t)p->integer, err);
}

static rcnn_status op_memoize(rcnn_pickle *p, rcnn_error *err)
{
    return memo_put(p, p->memo.count, err);
}

/* ------------------------------------------------------------------ scalars */

static rcnn_node *new_text(rcnn_pickle *p, rcnn_node_kind kind, const uint8_t *bytes, size_t length)
{
    rcnn_node *node = rcnn_node_new(p, kind);
    if (node) {
        node->text.bytes = bytes;
        node->text.length = length;
    }
    return node;
}

static rcnn_status push_integer(rcnn_pickle *p, rcnn_node_kind kind, int64_t value, rcnn_error *err)
{
    rcnn_node *node = rcnn_node_new(p, kind);
    if (node) {
        node->integer = value;
    }
    return push(p, node, err);
}

static rcnn_status op_none(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, rcnn_node_new(p, RCNN_NODE_NONE), err);
}

static rcnn_status op_true(rcnn_pickle *p, rcnn_error *err)
{
    return push_integer(p, RCNN_NODE_BOOL, 1, err);
}

static rcnn_status op_false(rcnn_pickle *p, rcnn_error *err)
{
    return push_integer(p, RCNN_NODE_BOOL, 0, err);
}

static rcnn_status op_integer(rcnn_pickle *p, rcnn_error *err)
{
    return push_integer(p, RCNN_NODE_INT, p->integer, err);
}

/* Decimal digits with an optional sign; false when something else stands there. *fits: the value is in *out. */
static bool parse_integer(const uint8_t *text, size_t length, int64_t *out, bool *fits)
{
    size_t start = length > 0 && (text[0] == '-' || text[0] == '+');
    bool negative = start > 0 && text[0] == '-';
    int64_t value = 0;
    *fits = true;
    for (size_t i = start; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        int digit = text[i] - '0';
        if (value > (INT64_MAX - digit) / 10) {
            *fits = false;
        } else {
            value = value * 10 + digit;
        }
    }
    *out = negative ? -value : value;
    return length > start;
}

static rcnn_status push_decimal(rcnn_pickle *p, size_t length, rcnn_error *err)
{
    int64_t value;
    bool fits;
    if (!parse_integer(p->text, length, &value, &fits)) {
        return fail_format(p, "want an integer", err);
    }
    return fits ? push_integer(p, RCNN_NODE_INT, value, err)
                : push(p, new_text(p, RCNN_NODE_BIGINT, p->text, length), err);
}

/* GET and PUT of protocol 0: the slot number as text. */
static rcnn_status parse_slot(rcnn_pickle *p, uint64_t *out, rcnn_error *err)
{
    int64_t value;
    bool fits;
    if (!parse_integer(p->text, p->length, &value, &fits) || !fits || value < 0) {
        return fail_format(p, "want the number of a memo slot", err);
    }
    *out = (uint64_t)value;
    return RCNN_OK;
}

static rcnn_status op_put_line(rcnn_pickle *p, rcnn_error *err)
{
    uint64_t slot = 0;
    RCNN_TRY(parse_slot(p, &slot, err));
    return memo_put(p, slot, err);
}

static rcnn_status op_get_line(rcnn_pickle *p, rcnn_error *err)
{
    uint64_t slot = 0;
    RCNN_TRY(parse_slot(p, &slot, err));
    return memo_get(p, slot, err);
}

static rcnn_status op_integer_line(rcnn_pickle *p, rcnn_error *err)
{
    if (p->length == 2 && p->text[0] == '0' && (p->text[1] == '0' || p->text[1] == '1')) {
        return push_integer(p, RCNN_NODE_BOOL, p->text[1] - '0', err);
    }
    return push_decimal(p, p->length, err);
}

static rcnn_status op_long_line(rcnn_pickle *p, rcnn_error *err)
{
    size_t length = p->length;
    return push_decimal(p, length > 0 && p->text[length - 1] == 'L' ? length - 1 : length, err);
}

/* LONG1, LONG4: little-endian two's complement of any length. */
static rcnn_status op_long_bytes(rcnn_pickle *p, rcnn_error *err)
{
    if (p->length > 8) {
        return push(p, new_text(p, RCNN_NODE_BIGINT, p->text, p->length), err);
    }
    uint64_t bits = rcnn_load_le(p->text, p->length);
    if (p->length > 0 && p->length < 8 && p->text[p->length - 1] & 0x80) {
        bits |= UINT64_MAX << 8 * p->length;
    }
    int64_t value;
    memcpy(&value, &bits, sizeof value);
    return push_integer(p, RCNN_NODE_INT, value, err);
}

static rcnn_status push_real(rcnn_pickle *p, double value, rcnn_error *err)
{
    rcnn_node *node = rcnn_node_new(p, RCNN_NODE_REAL);
    if (node) {
        node->real = value;
    }
    return push(p, node, err);
}

static rcnn_status op_real(rcnn_pickle *p, rcnn_error *err)
{
    return push_real(p, p->real, err);
}

static rcnn_status op_real_line(rcnn_pickle *p, rcnn_error *err)
{
    static const struct {
        const char *text;
        double value;
    } WORDS[] = {{"nan", (double)NAN}, {"inf", (double)INFINITY}, {"-inf", -(double)INFINITY}};
    double value;
    if (rcnn_parse_double((const char *)p->text, p->length, &value)) {
        return push_real(p, value, err);
    }
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (p->length == strlen(WORDS[i].text) && memcmp(p->text, WORDS[i].text, p->length) == 0) {
            return push_real(p, WORDS[i].value, err);
        }
    }
    return fail_format(p, "want a number", err);
}

static rcnn_status op_text(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, new_text(p, RCNN_NODE_TEXT, p->text, p->length), err);
}

static rcnn_status op_raw_text(rcnn_pickle *p, rcnn_error *err)
{
    rcnn_node *node = new_text(p, RCNN_NODE_TEXT, p->text, p->length);
    if (node) {
        node->raw = true;
    }
    return push(p, node, err);
}

static rcnn_status op_bytes(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, new_text(p, RCNN_NODE_BYTES, p->text, p->length), err);
}

/* ------------------------------------------------- text with escapes (protocol 0) */

/* Value of `count` hexadecimal digits at text, or -1. */
static int64_t parse_hex(const uint8_t *text, size_t left, size_t count)
{
    int64_t value = 0;
    if (left < count) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        unsigned lower = text[i] | 0x20u;
        if (text[i] >= '0' && text[i] <= '9') {
            value = value * 16 + (text[i] - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value * 16 + (int)(lower - 'a') + 10;
        } else {
            return -1;
        }
    }
    return value;
}

static size_t put_utf8(uint8_t *out, uint32_t c)
{
    static const uint8_t LEADS[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t count = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (count == 1) {
        out[0] = (uint8_t)c;
        return 1;
    }
    for (size_t i = count; i-- > 1; c >>= 6) {
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    }
    out[0] = (uint8_t)(LEADS[count] | c);
    return count;
}

/* 'text' as Python 2's repr wrote it: quotes, and backslash escapes of single bytes. */
static rcnn_status op_string_line(rcnn_pickle *p, rcnn_error *err)
{
    static const char CODES[] = "\\'\"abfnrtv";
    static const char VALUES[] = "\\'\"\a\b\f\n\r\t\v";
    if (p->length < 2 || p->text[0] != p->text[p->length - 1] || (p->text[0] != '\'' && p->text[0] != '"')) {
        return fail_format(p, "want a string in quotes", err);
    }
    const uint8_t *text = p->text + 1;
    size_t length = p->length - 2, used = 0;
    uint8_t *out = rcnn_arena_alloc(&p->nodes, length);
    if (!out) {
        return fail_memory(p, err);
    }
    for (size_t i = 0; i < length; i++) {
        const char *code = text[i] == '\\' && i + 1 < length && text[i + 1] ? strchr(CODES, text[i + 1]) : NULL;
        int64_t hex =
            text[i] == '\\' && i + 1 < length && text[i + 1] == 'x' ? parse_hex(text + i + 2, length - i - 2, 2) : -1;
        if (code) {
            out[used++] = (uint8_t)VALUES[code - CODES];
            i++;
        } else if (hex >= 0) {
            out[used++] = (uint8_t)hex;
            i += 3;
        } else {
            out[used++] = text[i];
        }
    }
    p->text = out;
    p->length = used;
    return op_raw_text(p, err);
}

/* raw-unicode-escape: latin-1 bytes, and \uXXXX or \UXXXXXXXX. */
static rcnn_status op_unicode_line(rcnn_pickle *p, rcnn_error *err)
{
    size_t room, used = 0;
    uint8_t *out = rcnn_mul_size(p->length, 2, &room) ? rcnn_arena_alloc(&p->nodes, room) : NULL;
    if (!out) {
        return fail_memory(p, err);
    }
    for (size_t i = 0; i < p->length; i++) {
        size_t digits = 0;
        if (p->text[i] == '\\' && i + 1 < p->length) {
            digits = p->text[i + 1] == 'u' ? 4 : p->text[i + 1] == 'U' ? 8 : 0;
        }
        int64_t c = digits > 0 ? parse_hex(p->text + i + 2, p->length - i - 2, digits) : p->text[i];
        if (c < 0 || c > 0x10ffff) {
            return fail_format(p, "want hexadecimal digits of a character", err);
        }
        used += put_utf8(out + used, (uint32_t)c);
        i += digits > 0 ? digits + 1 : 0;
    }
    return push(p, new_text(p, RCNN_NODE_TEXT, out, used), err);
}

/* --------------------------------------------------------------- containers */

static rcnn_status op_empty_list(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, rcnn_node_new(p, RCNN_NODE_LIST), err);
}

static rcnn_status op_empty_tuple(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, rcnn_node_new(p, RCNN_NODE_TUPLE), err);
}

static rcnn_status op_empty_dict(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, rcnn_node_new(p, RCNN_NODE_DICT), err);
}

static rcnn_status op_empty_set(rcnn_pickle *p, rcnn_error *err)
{
    return push(p, rcnn_node_new(p, RCNN_NODE_SET), err);
}

/* Replaces the stack's values from `first` on by one container of them. */
static rcnn_status collect(rcnn_pickle *p, rcnn_node_kind kind, size_t first, rcnn_error *err)
{
    rcnn_node *node = rcnn_node_new(p, kind);
    if (!node || !rcnn_node_append(p, node, values_from(p, first), p->stack.count - first)) {
        return fail_memory(p, err);
    }
    p->stack.count = first;
    return push(p, node, err);
}

static rcnn_status collect_marked(rcnn_pickle *p, rcnn_node_kind kind, rcnn_error *err)
{
    size_t first = 0;
    RCNN_TRY(pop_mark(p, &first, err));
    return collect(p, kind, first, err);
}

static rcnn_status op_list(rcnn_pickle *p, rcnn_error *err)
{
    return collect_marked(p, RCNN_NODE_LIST, err);
}

static rcnn_status op_tuple(rcnn_pickle *p, rcnn_error *err)
{
    return collect_marked(p, RCNN_NODE_TUPLE, err);
}

static rcnn_status op_frozenset(rcnn_pickle *p, rcnn_error *err)
{
    return collect_marked(p, RCNN_NODE_SET, err);
}

static rcnn_status op_small_tuple(rcnn_pickle *p, rcnn_error *err)
{
    size_t count = (size_t)(p->data[p->opcode_at] - 0x85) + 1; /* TUPLE1, TUPLE2, TUPLE3 */
    RCNN_TRY(need(p, count, err));
    return collect(p, RCNN_NODE_TUPLE, p->stack.count - count, err);
}

/* Moves the stack's values from `first` on into a list or set; an opaque object swallows them. */
static rcnn_status extend(rcnn_pickle *p, rcnn_node *target, size_t first, rcnn_error *err)
{
    bool list = target->kind == RCNN_NODE_LIST || target->kind == RCNN_NODE_SET;
    if (!list && target->kind != RCNN_NODE_CALL) {
        return fail_format(p, "items are appended to what is no list", err);
    }
    if (list && !rcnn_node_append(p, target, values_from(p, first), p->stack.count - first)) {
        return fail_memory(p, err);
    }
    p->stack.count = first;
    return RCNN_OK;
}

static rcnn_call_extra *call_extra(rcnn_pickle *p, rcnn_node *call)
{
    if (!call->call.extra) {
        rcnn_call_extra *extra = rcnn_arena_alloc(&p->nodes, sizeof *extra);
        if (extra) {
            *extra = (rcnn_call_extra){0};
        }
        call->call.extra = extra;
    }
    return call->call.extra;
}

/* The DICT that SETITEM on target fills: itself, or the one that goes with an opaque object. */
static rcnn_status item_dict(rcnn_pickle *p, rcnn_node *target, rcnn_node **out, rcnn_error *err)
{
    *out = target;
    if (target->kind == RCNN_NODE_DICT) {
        return RCNN_OK;
    }
    if (target->kind != RCNN_NODE_CALL) {
        return fail_format(p, "items are set on what is no dictionary", err);
    }
    rcnn_call_extra *extra = call_extra(p, target);
    if (extra && !extra->items) {
        extra->items = rcnn_node_new(p, RCNN_NODE_DICT);
    }
    *out = extra ? extra->items : NULL;
    return *out ? RCNN_OK : fail_memory(p, err);
}

static rcnn_status set_items(rcnn_pickle *p, rcnn_node *target, size_t first, rcnn_error *err)
{
    size_t count = p->stack.count - first;
    if (count % 2 != 0) {
        return fail_format(p, "a key without a value", err);
    }
    rcnn_node *dict = NULL;
    RCNN_TRY(item_dict(p, target, &dict, err));
    if (!rcnn_node_append_pairs(p, dict, values_from(p, first), count / 2)) {
        return fail_memory(p, err);
    }
    p->stack.count = first;
    return RCNN_OK;
}

static rcnn_status op_append(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 2, err));
    return extend(p, p->stack.items[p->stack.count - 2], p->stack.count - 1, err);
}

static rcnn_status op_appends(rcnn_pickle *p, rcnn_error *err) /* APPENDS and ADDITEMS */
{
    size_t first = 0;
    RCNN_TRY(pop_mark(p, &first, err));
    if (first == stack_floor(p)) {
        return fail_format(p, "there is no list below the mark", err);
    }
    return extend(p, p->stack.items[first - 1], first, err);
}

static rcnn_status op_dict(rcnn_pickle *p, rcnn_error *err)
{
    size_t first = 0;
    RCNN_TRY(pop_mark(p, &first, err));
    rcnn_node *dict = rcnn_node_new(p, RCNN_NODE_DICT);
    if (!dict) {
        return fail_memory(p, err);
    }
    RCNN_TRY(set_items(p, dict, first, err));
    return push(p, dict, err);
}

static rcnn_status op_setitem(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 3, err));
    return set_items(p, p->stack.items[p->stack.count - 3], p->stack.count - 2, err);
}

static rcnn_status op_setitems(rcnn_pickle *p, rcnn_error *err)
{
    size_t first = 0;
    RCNN_TRY(pop_mark(p, &first, err));
    if (first == stack_floor(p)) {
        return fail_format(p, "there is no dictionary below the mark", err);
    }
    return set_items(p, p->stack.items[first - 1], first, err);
}

/* -------------------------------------------------- globals and inert objects */

/* Pushes nothing: *out is a GLOBAL node "module.name", listed in p->globals. */
static rcnn_status new_global(rcnn_pickle *p, const uint8_t *module, size_t module_length, const uint8_t *name,
                              size_t name_length, rcnn_node **out, rcnn_error *err)
{
    if (module_length > RCNN_PICKLE_NAME_MAX || name_length > RCNN_PICKLE_NAME_MAX ||
        memchr(module, 0, module_length) || memchr(name, 0, name_length)) {
        return fail_format(p, "the name of a global is too long or holds a NUL byte", err);
    }
    char *text = rcnn_arena_alloc(&p->nodes, module_length + name_length + 2);
    rcnn_node *node = text ? rcnn_node_new(p, RCNN_NODE_GLOBAL) : NULL;
    if (!node) {
        return fail_memory(p, err);
    }
    memcpy(text, module, module_length);
    text[module_length] = '.';
    memcpy(text + module_length + 1, name, name_length);
    text[module_length + 1 + name_length] = '\0';
    node->name = text;
    node->meaning = (uint8_t)rcnn_meaning_of(text);
    if (!rcnn_node_array_add(&p->globals, node)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", p->what);
    }
    *out = node;
    return RCNN_OK;
}

static rcnn_status op_global(rcnn_pickle *p, rcnn_error *err)
{
    rcnn_node *node = NULL;
    RCNN_TRY(new_global(p, p->text, p->length, p->second, p->second_length, &node, err));
    return push(p, node, err);
}

static rcnn_status op_stack_global(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 2, err));
    const rcnn_node *name = pop(p), *module = pop(p);
    if (name->kind != RCNN_NODE_TEXT || module->kind != RCNN_NODE_TEXT) {
        return fail_format(p, "want two strings that name a global", err);
    }
    rcnn_node *node = NULL;
    RCNN_TRY(new_global(p, module->text.bytes, module->text.length, name->text.bytes, name->text.length, &node, err));
    return push(p, node, err);
}

static rcnn_status op_call(rcnn_pickle *p, rcnn_error *err) /* REDUCE and NEWOBJ: callable, arguments */
{
    RCNN_TRY(need(p, 2, err));
    rcnn_node *args = pop(p), *callable = pop(p);
    return push(p, rcnn_node_call(p, callable, args), err);
}

static rcnn_status op_newobj_ex(rcnn_pickle *p, rcnn_error *err) /* class, arguments, keyword arguments */
{
    RCNN_TRY(need(p, 3, err));
    pop(p);
    return op_call(p, err);
}

static rcnn_status op_inst(rcnn_pickle *p, rcnn_error *err) /* mark, arguments; the class is in the argument lines */
{
    rcnn_node *callable = NULL;
    RCNN_TRY(new_global(p, p->text, p->length, p->second, p->second_length, &callable, err));
    RCNN_TRY(collect_marked(p, RCNN_NODE_TUPLE, err));
    rcnn_node *args = pop(p);
    return push(p, rcnn_node_call(p, callable, args), err);
}

static rcnn_status op_obj(rcnn_pickle *p, rcnn_error *err) /* mark, class, arguments */
{
    size_t first = 0;
    RCNN_TRY(pop_mark(p, &first, err));
    if (first == p->stack.count) {
        return fail_format(p, "there is no class above the mark", err);
    }
    RCNN_TRY(collect(p, RCNN_NODE_TUPLE, first + 1, err));
    rcnn_node *args = pop(p), *callable = pop(p);
    return push(p, rcnn_node_call(p, callable, args), err);
}

/* Kept beside an opaque object; on anything else (OrderedDict's _metadata) it changes nothing that is read. */
static rcnn_status op_build(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 2, err));
    rcnn_node *state = pop(p), *target = top(p);
    if (target->kind == RCNN_NODE_CALL) {
        rcnn_call_extra *extra = call_extra(p, target);
        if (!extra) {
            return fail_memory(p, err);
        }
        extra->state = state;
    }
    return RCNN_OK;
}

static rcnn_status push_persistent(rcnn_pickle *p, rcnn_node *id, rcnn_error *err)
{
    rcnn_node *node = id ? rcnn_node_new(p, RCNN_NODE_PERSISTENT) : NULL;
    if (!node) {
        return fail_memory(p, err);
    }
    node->id = id;
    if (!rcnn_node_array_add(&p->persistent, node)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", p->what);
    }
    return push(p, node, err);
}

static rcnn_status op_persid(rcnn_pickle *p, rcnn_error *err)
{
    return push_persistent(p, new_text(p, RCNN_NODE_TEXT, p->text, p->length), err);
}

static rcnn_status op_binpersid(rcnn_pickle *p, rcnn_error *err)
{
    RCNN_TRY(need(p, 1, err));
    return push_persistent(p, pop(p), err);
}

/* ------------------------------------------------------------------ framing */

static rcnn_status op_proto(rcnn_pickle *p, rcnn_error *err)
{
    return p->integer > PROTOCOL_MAX ? fail_format(p, "the protocol is newer than 5", err) : RCNN_OK;
}

static rcnn_status op_frame(rcnn_pickle *p, rcnn_error *err)
{
    bool fits = p->integer >= 0 && (uint64_t)p->integer <= p->size - p->position;
    return fits ? RCNN_OK : fail_format(p, "a frame is longer than the data", err);
}

static rcnn_status op_extension(rcnn_pickle *p, rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: pickle byte %zu: the extension registry (EXT) is not supported",
                     p->what, p->opcode_at);
}

static rcnn_status op_buffer(rcnn_pickle *p, rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: pickle byte %zu: out-of-band buffers are not supported", p->what,
                     p->opcode_at);
}

static const struct {
    opcode_fn run; /* NULL: no such opcode */
    uint8_t argument;
} OPCODES[256] = {
    ['('] = {op_mark, NO_ARGUMENT},
    ['.'] = {op_stop, NO_ARGUMENT},
    ['0'] = {op_pop, NO_ARGUMENT},
    ['1'] = {op_pop_mark, NO_ARGUMENT},
    ['2'] = {op_dup, NO_ARGUMENT},
    /* scalars */
    ['N'] = {op_none, NO_ARGUMENT},
    [0x88] = {op_true, NO_ARGUMENT},
    [0x89] = {op_false, NO_ARGUMENT},
    ['I'] = {op_integer_line, LINE},
    ['J'] = {op_integer, INT4},
    ['K'] = {op_integer, UINT1},
    ['M'] = {op_integer, UINT2},
    ['L'] = {op_long_line, LINE},
    [0x8a] = {op_long_bytes, BYTES1},
    [0x8b] = {op_long_bytes, BYTES4},
    ['F'] = {op_real_line, LINE},
    ['G'] = {op_real, FLOAT8},
    ['S'] = {op_string_line, LINE},
    ['T'] = {op_raw_text, BYTES4},
    ['U'] = {op_raw_text, BYTES1},
    ['V'] = {op_unicode_line, LINE},
    ['X'] = {op_text, BYTES4},
    [0x8c] = {op_text, BYTES1},
    [0x8d] = {op_text, BYTES8},
    ['B'] = {op_bytes, BYTES4},
    ['C'] = {op_bytes, BYTES1},
    [0x8e] = {op_bytes, BYTES8},
    [0x96] = {op_bytes, BYTES8},
    /* containers */
    [']'] = {op_empty_list, NO_ARGUMENT},
    ['l'] = {op_list, NO_ARGUMENT},
    ['a'] = {op_append, NO_ARGUMENT},
    ['e'] = {op_appends, NO_ARGUMENT},
    [')'] = {op_empty_tuple, NO_ARGUMENT},
    ['t'] = {op_tuple, NO_ARGUMENT},
    [0x85] = {op_small_tuple, NO_ARGUMENT},
    [0x86] = {op_small_tuple, NO_ARGUMENT},
    [0x87] = {op_small_tuple, NO_ARGUMENT},
    ['}'] = {op_empty_dict, NO_ARGUMENT},
    ['d'] = {op_dict, NO_ARGUMENT},
    ['s'] = {op_setitem, NO_ARGUMENT},
    ['u'] = {op_setitems, NO_ARGUMENT},
    [0x8f] = {op_empty_set, NO_ARGUMENT},
    [0x90] = {op_appends, NO_ARGUMENT},
    [0x91] = {op_frozenset, NO_ARGUMENT},
    /* memo */
    ['g'] = {op_get_line, LINE},
    ['h'] = {op_get, UINT1},
    ['j'] = {op_get, UINT4},
    ['p'] = {op_put_line, LINE},
    ['q'] = {op_put, UINT1},
    ['r'] = {op_put, UINT4},
    [0x94] = {op_memoize, NO_ARGUMENT},
    /* globals and objects */
    ['c'] = {op_global, TWO_LINES},
    [0x93] = {op_stack_global, NO_ARGUMENT},
    ['i'] = {op_inst, TWO_LINES},
    ['o'] = {op_obj, NO_ARGUMENT},
    [0x81] = {op_call, NO_ARGUMENT},
    [0x92] = {op_newobj_ex, NO_ARGUMENT},
    ['R'] = {op_call, NO_ARGUMENT},
    ['b'] = {op_build, NO_ARGUMENT},
    ['P'] = {op_persid, LINE},
    ['Q'] = {op_binpersid, NO_ARGUMENT},
    /* framing; refused */
    [0x80] = {op_proto, UINT1},
    [0x95] = {op_frame, UINT8},
    [0x82] = {op_extension, NO_ARGUMENT},
    [0x83] = {op_extension, NO_ARGUMENT},
    [0x84] = {op_extension, NO_ARGUMENT},
    [0x97] = {op_buffer, NO_ARGUMENT},
    [0x98] = {op_buffer, NO_ARGUMENT},
};

/* ------------------------------------------------------------------ arguments */

static rcnn_status take(rcnn_pickle *p, uint64_t count, const uint8_t **out, rcnn_error *err)
{
    if (count > p->size - p->position) {
        return fail_format(p, "the data ends inside an opcode", err);
    }
    *out = p->data + p->position;
    p->position += (size_t)count;
    return RCNN_OK;
}

static rcnn_status take_line(rcnn_pickle *p, const uint8_t **text, size_t *length, rcnn_error *err)
{
    const uint8_t *start = p->data + p->position;
    const uint8_t *end = p->position < p->size ? memchr(start, '\n', p->size - p->position) : NULL;
    if (!end) {
        return fail_format(p, "the data ends inside a line", err);
    }
    *text = start;
    *length = (size_t)(end - start);
    p->position += *length + 1;
    return RCNN_OK;
}

static rcnn_status take_number(rcnn_pickle *p, enum argument kind, rcnn_error *err)
{
    static const uint8_t WIDTHS[] = {[UINT1] = 1, [UINT2] = 2, [INT4] = 4, [UINT4] = 4, [UINT8] = 8, [FLOAT8] = 8};
    const uint8_t *bytes = NULL;
    RCNN_TRY(take(p, WIDTHS[kind], &bytes, err));
    uint64_t bits = rcnn_load_le(bytes, WIDTHS[kind]);
    if (kind == FLOAT8) {
        bits = 0;
        for (int i = 0; i < 8; i++) { /* the one big-endian argument */
            bits = bits << 8 | bytes[i];
        }
        memcpy(&p->real, &bits, sizeof p->real);
        return RCNN_OK;
    }
    memcpy(&p->integer, &bits, sizeof p->integer);
    if (kind == INT4 && bits > INT32_MAX) {
        p->integer -= (int64_t)1 << 32;
    }
    return RCNN_OK;
}

/* A length above 2^31 in a 4-byte field is negative for Python and more than any file of ours holds: both end here. */
static rcnn_status take_bytes(rcnn_pickle *p, size_t width, rcnn_error *err)
{
    const uint8_t *length = NULL;
    RCNN_TRY(take(p, width, &length, err));
    uint64_t count = rcnn_load_le(length, width);
    p->length = 0;
    RCNN_TRY(take(p, count, &p->text, err));
    p->length = (size_t)count;
    return RCNN_OK;
}

static rcnn_status take_argument(rcnn_pickle *p, enum argument kind, rcnn_error *err)
{
    switch (kind) {
    case NO_ARGUMENT:
        return RCNN_OK;
    case BYTES1:
        return take_bytes(p, 1, err);
    case BYTES4:
        return take_bytes(p, 4, err);
    case BYTES8:
        return take_bytes(p, 8, err);
    case LINE:
        return take_line(p, &p->text, &p->length, err);
    case TWO_LINES:
        RCNN_TRY(take_line(p, &p->text, &p->length, err));
        return take_line(p, &p->second, &p->second_length, err);
    default:
        return take_number(p, kind, err);
    }
}

/* ---------------------------------------------------------------------- run */

static rcnn_status step(rcnn_pickle *p, rcnn_error *err)
{
    if (p->position >= p->size) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: pickle byte %zu: the data ends before STOP: the file is truncated",
                         p->what, p->position);
    }
    p->opcode_at = p->position++;
    uint8_t opcode = p->data[p->opcode_at];
    if (!OPCODES[opcode].run) {
        return fail_format(p, "there is no such opcode", err);
    }
    RCNN_TRY(take_argument(p, (enum argument)OPCODES[opcode].argument, err));
    return OPCODES[opcode].run(p, err);
}

void rcnn_pickle_open(rcnn_pickle *pickle, const char *what, size_t file_bytes)
{
    size_t limit = RCNN_PICKLE_NODE_BYTES_MAX;
    if (file_bytes < (limit - RCNN_PICKLE_NODE_BYTES_BASE) / RCNN_PICKLE_NODE_BYTES_PER_BYTE) {
        limit = RCNN_PICKLE_NODE_BYTES_BASE + file_bytes * RCNN_PICKLE_NODE_BYTES_PER_BYTE;
    }
    *pickle = (rcnn_pickle){.what = what};
    rcnn_arena_init(&pickle->nodes, limit);
}

rcnn_status rcnn_pickle_run(rcnn_pickle *pickle, const void *data, size_t size, rcnn_node **root, size_t *used,
                            rcnn_error *err)
{
    pickle->data = data;
    pickle->size = size;
    pickle->position = 0;
    pickle->stack.count = pickle->memo.count = pickle->mark_count = 0;
    pickle->stopped = false;
    while (!pickle->stopped) {
        RCNN_TRY(step(pickle, err));
    }
    *root = top(pickle);
    *used = pickle->position;
    return RCNN_OK;
}

void rcnn_pickle_close(rcnn_pickle *pickle)
{
    rcnn_free(pickle->globals.items);
    rcnn_free(pickle->persistent.items);
    rcnn_free(pickle->stack.items);
    rcnn_free(pickle->memo.items);
    rcnn_free(pickle->marks);
    rcnn_arena_free(&pickle->nodes);
    *pickle = (rcnn_pickle){0};
}
