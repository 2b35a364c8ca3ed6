#!/usr/bin/env python3
"""Renders the pictures in samples/: look-alikes of fluorescence and stained-tissue microscopy. Nothing is photographed or
copied; the same seed gives the same picture. Needs numpy and Pillow; usage: make_samples.py [OUTDIR [bench]]
With `bench` it writes bench.png instead, 1333x800 with 110 nuclei, which the benchmarks use and nobody need commit."""
import os
import sys

import numpy as np
from PIL import Image, ImageFilter

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "samples")


def smooth_noise(rng, height, width, cell):
    """Values in 0..1 that change over about `cell` pixels."""
    small = rng.random((height // cell + 3, width // cell + 3))
    image = Image.fromarray((small * 255).astype(np.uint8)).resize(
        (width + 2 * cell, height + 2 * cell), Image.BICUBIC)
    return np.asarray(image, np.float32)[cell:cell + height, cell:cell + width] / 255


def blob(rng, height, width, cx, cy, radius, aspect, wobble):
    """Soft 0..1 mask of a wobbly ellipse and its normalised radius field."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    dx, dy = x - cx, y - cy
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / (radius * aspect)
    v = (-dx * np.sin(angle) + dy * np.cos(angle)) / (radius / aspect)
    theta = np.arctan2(v, u)
    edge = np.ones_like(theta)
    for k in range(2, 6):
        edge += wobble / k * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    r = np.hypot(u, v) / edge
    return np.clip((1.0 - r) * radius / 1.5 + 0.5, 0, 1), r


def place(rng, height, width, count, radius, gap):
    """Centres that keep a distance, a few of them allowed to touch."""
    spots = []
    for _ in range(count * 60):
        r = radius * rng.uniform(0.75, 1.3)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if all(np.hypot(x - a, y - b) > (r + c) * gap for a, b, c in spots):
            spots.append((x, y, r))
        if len(spots) == count:
            break
    return spots


def window(x, y, r, height, width):
    pad = int(r * 2.2) + 3
    return (max(int(y) - pad, 0), min(int(y) + pad, height), max(int(x) - pad, 0), min(int(x) + pad, width))


def fluorescence(seed, height, width, count, radius, gap):
    rng = np.random.default_rng(seed)
    light = np.full((height, width), 0.035, np.float32) + 0.03 * smooth_noise(rng, height, width, 120)
    for x, y, r in place(rng, height, width, count, radius, gap):
        y0, y1, x0, x1 = window(x, y, r, height, width)
        mask, field = blob(rng, y1 - y0, x1 - x0, x - x0, y - y0, r, rng.uniform(1.0, 1.25), 0.12)
        texture = 0.75 + 0.5 * smooth_noise(rng, y1 - y0, x1 - x0, 6)
        glow = rng.uniform(0.25, 0.7) * (1.0 - 0.35 * np.clip(field, 0, 1) ** 2) * texture
        light[y0:y1, x0:x1] = np.maximum(light[y0:y1, x0:x1], mask * glow)
    image = Image.fromarray((np.clip(light, 0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.1))
    values = np.asarray(image, np.float32) + rng.normal(0, 1.0, (height, width))
    grey = np.clip(values, 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, 2))


def tissue(seed, height, width, count, radius):
    rng = np.random.default_rng(seed)
    pink = np.array([226, 178, 208], np.float32)
    pale = np.array([244, 232, 241], np.float32)
    purple = np.array([104, 72, 146], np.float32)
    fibres = 0.6 * smooth_noise(rng, height, width, 40) + 0.4 * smooth_noise(rng, height, width, 9)
    picture = pink + (pale - pink) * np.clip(1.6 * fibres - 0.3, 0, 1)[:, :, None]
    for x, y, r in place(rng, height, width, count, radius, 1.15):
        y0, y1, x0, x1 = window(x, y, r, height, width)
        mask, field = blob(rng, y1 - y0, x1 - x0, x - x0, y - y0, r, rng.uniform(1.0, 1.4), 0.1)
        chromatin = smooth_noise(rng, y1 - y0, x1 - x0, 4)
        tone = purple * (0.85 + 0.45 * chromatin[:, :, None]) * rng.uniform(0.85, 1.2)
        tone = tone * (1.0 - 0.22 * np.exp(-((np.clip(field, 0, 1.2) - 0.95) / 0.12) ** 2))[:, :, None]
        picture[y0:y1, x0:x1] += mask[:, :, None] * 0.9 * (tone - picture[y0:y1, x0:x1])
    picture += rng.normal(0, 3.0, picture.shape)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def main():
    os.makedirs(OUT, exist_ok=True)
    if sys.argv[2:] == ["bench"]:
        fluorescence(33, 800, 1333, 110, 26, 1.0).save(os.path.join(OUT, "bench.png"))
        return
    fluorescence(7, 360, 480, 34, 19, 1.02).save(os.path.join(OUT, "fluorescence.png"), optimize=True)
    fluorescence(21, 512, 640, 120, 15, 0.95).save(os.path.join(OUT, "crowded.png"), optimize=True)
    tissue(5, 400, 560, 60, 16).save(os.path.join(OUT, "tissue.jpg"), quality=92)


if __name__ == "__main__":
    main()
