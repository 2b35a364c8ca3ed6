/* An inert pickle machine. It runs the opcodes of protocols 0 to 5 over bytes in memory and builds a graph of plain
 * nodes; nothing is imported, called or constructed. A global is a node that holds its name, a REDUCE, NEWOBJ, INST or
 * OBJ is a CALL node that holds callable and arguments, a BUILD keeps the state beside it. The few callables that only
 * build containers (OrderedDict, set, ...) become the container itself.
 *
 * Memory: nodes come from an arena with a ceiling (below), strings and bytes point into the pickle. The graph may hold
 * cycles and any depth; whoever walks it bounds both. The machine itself does not recurse. */
#ifndef RCNN_MODEL_PICKLE_H
#define RCNN_MODEL_PICKLE_H

#include <stdbool.h>

#include "base/arena.h"

/* Ceiling of the nodes of one file: a fixed part plus a multiple of the file, but never more than the maximum. Ordinary
 * checkpoints need 4 to 8 bytes of nodes per byte of pickle. */
#define RCNN_PICKLE_NODE_BYTES_BASE     ((size_t)1 << 20)
#define RCNN_PICKLE_NODE_BYTES_PER_BYTE 32
#define RCNN_PICKLE_NODE_BYTES_MAX      ((size_t)48 << 20)
#define RCNN_PICKLE_STACK_MAX           ((size_t)1 << 20) /* values, and marks, at one time */
#define RCNN_PICKLE_MEMO_MAX            ((size_t)1 << 21) /* memo slots                     */
#define RCNN_PICKLE_NAME_MAX            512               /* bytes of "module.name"         */

typedef enum rcnn_node_kind {
    RCNN_NODE_NONE,
    RCNN_NODE_BOOL,
    RCNN_NODE_INT,
    RCNN_NODE_BIGINT,
    RCNN_NODE_REAL,
    RCNN_NODE_TEXT,
    RCNN_NODE_BYTES,
    RCNN_NODE_TUPLE,
    RCNN_NODE_LIST,
    RCNN_NODE_SET,
    RCNN_NODE_DICT,
    RCNN_NODE_GLOBAL,
    RCNN_NODE_CALL,
    RCNN_NODE_PERSISTENT
} rcnn_node_kind;

typedef enum rcnn_meaning { /* of a GLOBAL; pickle_globals.def */
                            RCNN_MEANS_NOTHING,
                            RCNN_MEANS_DICT,
                            RCNN_MEANS_LIST,
                            RCNN_MEANS_SET,
                            RCNN_MEANS_VALUE,
                            RCNN_MEANS_BYTES,
                            RCNN_MEANS_OPAQUE,
                            RCNN_MEANS_TENSOR,
                            RCNN_MEANS_PARAMETER,
                            RCNN_MEANS_FROM_TYPE,
                            RCNN_MEANS_NUMPY_DTYPE,
                            RCNN_MEANS_NUMPY_ARRAY,
                            RCNN_MEANS_NUMPY_BUFFER,
                            RCNN_MEANS_NUMPY_SCALAR,
                            RCNN_MEANS_STORAGE = 32 /* + rcnn_dtype */
} rcnn_meaning;

typedef struct rcnn_node rcnn_node;

typedef struct rcnn_call_extra { /* what was done to a CALL node after it was made */
    rcnn_node *state;            /* the last BUILD's argument, or NULL        */
    rcnn_node *items;            /* DICT of SETITEM(S), or NULL               */
} rcnn_call_extra;

typedef struct rcnn_latin1 {
    size_t length;
    uint8_t bytes[];
} rcnn_latin1;

struct rcnn_node {
    uint8_t kind;    /* rcnn_node_kind                                                        */
    uint8_t meaning; /* GLOBAL: rcnn_meaning                                                  */
    bool raw;        /* TEXT: a Python 2 str, that is bytes; else UTF-8                       */
    uint32_t count;  /* TUPLE, LIST, SET: items; DICT: pairs                                  */
    union {
        int64_t integer; /* BOOL, INT */
        double real;
        struct { /* TEXT, BYTES; BIGINT: little-endian two's complement, or digits    */
            const uint8_t *bytes;
            size_t length;
            const rcnn_latin1 *latin1; /* TEXT: its latin-1 encoding once someone asked, else NULL */
        } text;
        struct { /* TUPLE, LIST, SET, DICT (key, value, key, value, ...)        */
            rcnn_node **items;
            size_t capacity;
        } list;
        const char *name; /* GLOBAL: "module.name"                                       */
        struct {
            rcnn_node *callable, *args; /* args is a TUPLE, or whatever the file gave         */
            rcnn_call_extra *extra;     /* NULL while untouched                               */
        } call;
        rcnn_node *id; /* PERSISTENT */
    };
};

typedef struct rcnn_node_array {
    rcnn_node **items;
    size_t count, capacity;
} rcnn_node_array;

typedef struct rcnn_pickle {
    const char *what;           /* file name for messages; borrowed             */
    rcnn_arena nodes;           /* every node of every pickle run               */
    rcnn_node_array globals;    /* GLOBAL nodes in order of use, with repeats   */
    rcnn_node_array persistent; /* PERSISTENT nodes in order                    */
    /* the run in progress */
    const uint8_t *data;
    size_t size, position, opcode_at;
    rcnn_node_array stack, memo;
    size_t *marks;
    size_t mark_count, mark_capacity;
    int64_t integer; /* argument of the opcode */
    double real;
    const uint8_t *text, *second;
    size_t length, second_length;
    bool stopped;
} rcnn_pickle;

/* Prepares for the pickles of a file of file_bytes bytes. */
void rcnn_pickle_open(rcnn_pickle *pickle, const char *what, size_t file_bytes);
/* Runs one pickle; *root is what it leaves, *used the bytes up to and including STOP. The nodes live until close and
 * point into data. FORMAT, LIMIT, UNSUPPORTED (extension registry, out-of-band buffers), MEMORY. */
rcnn_status rcnn_pickle_run(rcnn_pickle *pickle, const void *data, size_t size, rcnn_node **root, size_t *used,
                            rcnn_error *err);
void rcnn_pickle_close(rcnn_pickle *pickle);

/* ------------------------------------------------- nodes (pickle_node.c) */

/* NULL when out of memory or over the limit; rcnn_arena_fail(&pickle->nodes, ...) says which. */
rcnn_node *rcnn_node_new(rcnn_pickle *pickle, rcnn_node_kind kind);
/* Appends to a TUPLE, LIST or SET; or a pair to a DICT. False as above. */
bool rcnn_node_append(rcnn_pickle *pickle, rcnn_node *list, rcnn_node *const *items, size_t count);
bool rcnn_node_append_pairs(rcnn_pickle *pickle, rcnn_node *dict, rcnn_node *const *items, size_t pairs);
/* The node a call makes: a container for the callables that only build one, else a CALL. NULL as above. */
rcnn_node *rcnn_node_call(rcnn_pickle *pickle, rcnn_node *callable, rcnn_node *args);
/* Grows an array by one; false when out of memory. */
bool rcnn_node_array_add(rcnn_node_array *array, rcnn_node *node);

rcnn_meaning rcnn_meaning_of(const char *global_name);

/* The DICT a node is or carries (dictionary subclasses), or NULL. */
rcnn_node *rcnn_node_dict(rcnn_node *node);
/* Value of the last pair with that text key, as Python would keep it, or NULL. */
rcnn_node *rcnn_dict_get(const rcnn_node *dict, const char *key);
bool rcnn_node_is_text(const rcnn_node *node, const char *text);
/* Meaning of the callable of a CALL, or NOTHING. */
rcnn_meaning rcnn_call_meaning(const rcnn_node *node);
/* Item of the argument tuple of a CALL, or of a TUPLE or LIST; NULL when there is none. */
rcnn_node *rcnn_node_item(const rcnn_node *node, size_t index);
/* The value of an INT that is not negative; false for anything else. */
bool rcnn_node_size(const rcnn_node *node, uint64_t *out);
/* A few words for messages: "a list", "an object made by 'os.system'". Written to text, which is returned. */
const char *rcnn_node_describe(const rcnn_node *node, char *text, size_t capacity);

#endif
