/* Element types of weights: conversion to and from float32. Rounding is to nearest even everywhere;
 * the floating-point environment is not consulted, so results are the same under flush-to-zero. */
#ifndef RCNN_MODEL_CONVERT_H
#define RCNN_MODEL_CONVERT_H

#include "base/dtype.h"

/* IEEE half: subnormals kept, values of 65520 and above become infinity, NaN stays NaN (quiet, upper payload kept). */
uint16_t rcnn_f32_to_f16(float value);
float rcnn_f16_to_f32(uint16_t half); /* exact */
/* bfloat16: NaN stays NaN. */
uint16_t rcnn_f32_to_bf16(float value);
float rcnn_bf16_to_f32(uint16_t half); /* exact */

/* Product of the shape. The tensor must come from a reader, which has checked that it fits. */
size_t rcnn_tensor_element_count(const rcnn_tensor_info *t);

/* Copies a tensor of any dtype, stride and alignment to dst[element count], contiguous in C order. F64 and the integers
 * are rounded to float32, BOOL gives 0 or 1. UNSUPPORTED for a dtype outside the enumeration. Any thread. */
rcnn_status rcnn_tensor_to_f32(const rcnn_tensor_info *t, float *dst, rcnn_error *err);

#endif
