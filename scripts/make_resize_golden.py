#!/usr/bin/python3
"""Writes tests/ops/data/resize_golden.bin: what OpenCV, Pillow and torch make of test pictures, for test_resize_golden.c.

Needs the Debian packages python3-opencv, python3-pil, python3-torch, python3-numpy; run from anywhere:
    /usr/bin/python3 scripts/make_resize_golden.py

File, little-endian: "RSZG", u32 record count, then per record
    u32 kernel (0 OpenCV, 1 Pillow, 2 torch float), u32 in_w, in_h, out_w, out_h, u32 form,
    form 0: out_h*out_w*3 bytes (kernels 0, 1) or f32 (kernel 2), RGB interleaved
    form 1: u64 FNV-1a of those bytes (kernels 0, 1), for sizes too large to keep
The picture is a formula of (x, y, channel), see picture(); kernel 2 resizes byte/255 as float.
"""
import pathlib
import struct

import cv2
import numpy as np
import PIL
import PIL.Image
import torch

STORED = [(37, 29, 53, 41), (61, 47, 29, 23), (64, 48, 32, 24), (50, 1, 31, 3), (1, 40, 2, 27), (45, 33, 45, 33),
          (45, 33, 45, 50), (200, 150, 19, 14), (7, 5, 40, 33), (3, 2, 1, 1)]
HASHED = [(640, 480, 1067, 800), (640, 427, 1199, 800), (640, 426, 1202, 800), (500, 333, 1201, 800),
          (1920, 1080, 1333, 750), (1000, 800, 500, 400)]
FLOATS = [(37, 29, 53, 41), (61, 47, 29, 23), (45, 33, 45, 33), (7, 5, 21, 17)]


def picture(width, height):
    """Bytes [height][width][3] that look like noise, from integer arithmetic any language can repeat."""
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint64) for n in (height, width, 3)), indexing="ij")
    v = (x * 374761393 + y * 668265263 + c * 2246822519) & 0xFFFFFFFF
    v = ((v ^ (v >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((v ^ (v >> 16)) & 255).astype(np.uint8)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def resize(kernel, pixels, width, height):
    if kernel == 0:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    if kernel == 1:
        return np.asarray(PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.BILINEAR))
    planes = (torch.from_numpy(pixels).float() / 255).permute(2, 0, 1)[None]
    out = torch.nn.functional.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(out[0].permute(1, 2, 0).numpy())


def record(kernel, sizes, form):
    width, height, out_width, out_height = sizes
    out = resize(kernel, picture(width, height), out_width, out_height).tobytes()
    head = struct.pack("<6I", kernel, *sizes, form)
    return head + (out if form == 0 else struct.pack("<Q", fnv1a(out)))


def main():
    records = [record(kernel, sizes, 0) for kernel in (0, 1) for sizes in STORED]
    records += [record(kernel, sizes, 1) for kernel in (0, 1) for sizes in HASHED]
    records += [record(2, sizes, 0) for sizes in FLOATS]
    path = pathlib.Path(__file__).resolve().parent.parent / "tests/ops/data/resize_golden.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RSZG" + struct.pack("<I", len(records)) + b"".join(records))
    print(f"{path.name}: {len(records)} records, {path.stat().st_size} bytes; OpenCV {cv2.__version__}, "
          f"Pillow {PIL.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
