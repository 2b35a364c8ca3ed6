#!/usr/bin/env python3
"""Writes tests/unit/data/mask_golden.bin: masks pasted by PyTorch, for tests/unit/test_mask.c.

Reference of GRID:   torch.nn.functional.grid_sample over the whole image, as mmdetection and detectron2 do (value >= t).
Reference of PADDED: torchvision.models.detection.roi_heads.paste_masks_in_image (value > t).
Known good with torch 1.13.1 and torchvision 0.14.1. Needed only to make the file again, never to build or test.

File, little-endian: "RMG1", u32 soft mask count M, u32 case count; M soft masks of u32 side and side*side u16 (value =
u16 / 65536); cases of u32 soft mask, u32 paste (0 GRID, 1 PADDED), u32 width, u32 height, f32 threshold, f32 box[4],
then width*height bits, row-major, first pixel in the lowest bit, padded to a byte.
"""
import argparse
import struct

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image


def soft_masks(rng):
    """A smooth blob, a ring, steps along both axes, noise, all ones; and a 14 x 14 blob."""
    y, x = np.mgrid[0:28, 0:28]
    r = np.hypot(x - 13.5, y - 12.0)
    masks = [
        1 / (1 + np.exp((r - 9) / 1.5)),
        np.exp(-((r - 8) / 3) ** 2),
        (x / 27 + (y > 14)) / 2,
        rng.random((28, 28)),
        np.ones((28, 28)),
    ]
    y, x = np.mgrid[0:14, 0:14]
    masks.append(1 / (1 + np.exp((np.hypot(x - 6, y - 7) - 4) / 1.2)))
    return [np.minimum(np.round(m * 65536), 65535).astype(np.uint16) for m in masks]


def boxes(rng, width, height):
    """Inside, over each edge, far outside, smaller than a pixel, one pixel, larger than the image, thin."""
    w, h = width, height
    fixed = [
        (0.3 * w, 0.2 * h, 0.7 * w, 0.9 * h),
        (-0.3 * w, 0.1 * h, 0.4 * w, 0.8 * h),
        (0.6 * w, 0.5 * h, 1.4 * w, 1.2 * h),
        (-3.0 * w, -2.5 * h, 4.0 * w, 3.0 * h),
        (0.2 * w, -40.0, 0.9 * w, 0.3 * h),
        (10.2, 11.3, 10.7, 11.9),
        (10.0, 11.0, 11.0, 12.0),
        (5.0, 6.0, 7.5, 0.9 * h),
        (0.0, 0.0, float(w), float(h)),
        (w + 5.0, 3.0, w + 40.0, 30.0),
    ]
    for _ in range(4):
        x = np.sort(rng.uniform(-10, w + 10, 2))
        y = np.sort(rng.uniform(-10, h + 10, 2))
        fixed.append((x[0], y[0], x[1] + 1, y[1] + 1))
    return np.array(fixed, np.float32)


def paste_grid(soft, box, width, height):
    x0, y0, x1, y1 = torch.from_numpy(box)
    px = (torch.arange(width, dtype=torch.float32) + 0.5 - x0) / (x1 - x0) * 2 - 1
    py = (torch.arange(height, dtype=torch.float32) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack([px[None, :].expand(height, width), py[:, None].expand(height, width)], dim=2)
    return F.grid_sample(soft[None, None], grid[None], align_corners=False)[0, 0]


def paste_padded(soft, box, width, height):
    if box[0] > width or box[1] > height:  # torchvision clips boxes before and fails on such ones
        return torch.zeros(height, width)
    return paste_masks_in_image(soft[None, None], torch.from_numpy(box)[None], (height, width))[0, 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="tests/unit/data/mask_golden.bin")
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    masks = soft_masks(rng)
    cases, close = [], 0
    for width, height, choices in ((97, 83, range(len(masks))), (131, 103, (1, 3))):
        for m in choices:
            soft = torch.from_numpy(np.float32(masks[m]) / np.float32(65536))
            for i, box in enumerate(boxes(rng, width, height)):
                paste = (i + m) % 2
                threshold = np.float32((0.5, 0.5, 0.5, 0.3, 0.7)[i % 5])
                value = (paste_padded if paste else paste_grid)(soft, box, width, height).numpy()
                close += int(np.sum(np.abs(value - threshold) < 2e-6))
                bits = value > threshold if paste else value >= threshold
                cases.append((m, paste, width, height, threshold, box, bits))
    with open(args.out, "wb") as out:
        out.write(b"RMG1" + struct.pack("<II", len(masks), len(cases)))
        for mask in masks:
            out.write(struct.pack("<I", mask.shape[0]) + mask.astype("<u2").tobytes())
        for m, paste, width, height, threshold, box, bits in cases:
            out.write(struct.pack("<IIIIf4f", m, paste, width, height, threshold, *box))
            out.write(np.packbits(bits, bitorder="little").tobytes())
        print(f"{len(cases)} cases, {out.tell()} bytes, {close} pixels within 2e-6 of their threshold")


if __name__ == "__main__":
    main()
