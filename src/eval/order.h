/* The one order of the evaluator: falling score, equal scores as they came. */
#ifndef RCNN_EVAL_ORDER_H
#define RCNN_EVAL_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* Sorts indices into structs of `stride` bytes, of which score_of_first is the score of number 0. scratch holds as many
 * indices. */
void rcnn_eval_sort(const double *score_of_first, size_t stride, uint32_t *order, uint32_t *scratch, size_t count);

#endif
