/* The arithmetic of a graph as bare oneDNN primitives: one primitive per CONV, FC and DECONV, made from the graph's own
 * shapes and types with the same fused epilogue, run in the graph's order with nothing between them. What they take
 * together is the floor that a whole pipeline on the same library is measured against.
 *
 * Types: F32, BF16, U8 and I8 activations as the graph has them, weights of the source's kind (s8 with a scale per
 * output channel for bytes), f32 bias. A source in floating point has no byte destination in oneDNN: it is then written
 * in the source's type. A residual of the destination's width is added in place (sum), another one as a second source.
 * What this processor or library has no kernel for at all runs as f32; bare_types says what was made.
 *
 * Convolutions are made for the exact row count and NHWC (or, to compare, the layout oneDNN likes best). DECONV is the
 * plain matrix product of its four taps, without the scatter that the op still owes: a floor must not flatter.
 * Every primitive has weights of its own; sources and destinations are two buffers shared by all, so a source is as cold
 * as one written some ops ago. Data is random. Not part of the library; uses oneDNN directly. */
#ifndef RCNN_BENCH_BARE_H
#define RCNN_BENCH_BARE_H

#include "graph/graph.h"

typedef enum bare_layout { BARE_NHWC, BARE_ANY } bare_layout;

typedef struct bare_options {
    int32_t threads;
    int32_t box_rows;  /* live proposals: rows of the box head's ops   */
    int32_t mask_rows; /* live detections: rows of the mask head's ops */
    bare_layout layout;
} bare_options;

typedef struct bare_net bare_net;

/* Copies what it needs of the graph. MEMORY, UNSUPPORTED, INTERNAL with the op's name. */
rcnn_status bare_open(const rcnn_graph *graph, const bare_options *options, bare_net **out, rcnn_error *err);
void bare_close(bare_net *net);

int32_t bare_count(const bare_net *net);
const char *bare_name(const bare_net *net, int32_t index);           /* name of the op's output value */
const char *bare_implementation(const bare_net *net, int32_t index); /* as oneDNN calls it            */
/* Source, weights, residual, result: "u8*s8+s8->u8". */
const char *bare_types(const bare_net *net, int32_t index);
double bare_gflop(const bare_net *net, int32_t index);
/* "oneDNN 2.6.3" */
void bare_library(char *text, size_t capacity);

/* Runs every primitive once, in order, and writes the milliseconds of each to ms [bare_count]. Sets the calling thread's
 * OpenMP thread count to options.threads. */
rcnn_status bare_run(bare_net *net, double *ms, rcnn_error *err);

#endif
