/* Little-endian loads from unaligned bytes, for the file readers. */
#ifndef RCNN_MODEL_BYTES_H
#define RCNN_MODEL_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t rcnn_load_le(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = count; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    return value;
}

static inline uint16_t rcnn_load_u16(const uint8_t *bytes)
{
    return (uint16_t)rcnn_load_le(bytes, 2);
}

static inline uint32_t rcnn_load_u32(const uint8_t *bytes)
{
    return (uint32_t)rcnn_load_le(bytes, 4);
}

static inline uint64_t rcnn_load_u64(const uint8_t *bytes)
{
    return rcnn_load_le(bytes, 8);
}

#endif
