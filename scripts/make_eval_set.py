#!/usr/bin/env python3
"""Makes a synthetic COCO instances file and result files for it: polygons of one and several rings, run lengths as
numbers and as text, crowds, equal scores, categories without annotations, images without either, boxes over the border.

    make_eval_set.py DIR [--images 5000] [--truths 36000] [--detections 180000] [--categories 80] [--seed 1]

Writes DIR/gt.json, dt_bbox.json (boxes), dt_segm.json (masks). Needs numpy and pycocotools. The same arguments give the
same files.
"""
import argparse
import json
import os

import numpy as np
from pycocotools import mask as mask_api

SIZES = ((480, 640), (427, 640), (640, 480), (375, 500))


def blob(rng, cx, cy, rx, ry, points):
    """A star-shaped polygon about a centre, two decimals as in COCO."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(0.75, 1.0, points)
    ring = np.stack([cx + rx * radius * np.cos(angle), cy + ry * radius * np.sin(angle)], 1)
    return [round(float(v), 2) for v in ring.reshape(-1)]


def to_rle(rings, height, width):
    return mask_api.merge(mask_api.frPyObjects(rings, height, width))


def as_numbers(rle):
    """Run lengths as numbers, the form of COCO's crowds."""
    flat = mask_api.decode(rle).reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    edges = edges[edges < flat.size]
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return {"size": [int(v) for v in rle["size"]], "counts": [int(c) for c in counts]}


def as_text(rle):
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode()}


def make_truth(rng, number, image, categories):
    height, width = image["height"], image["width"]
    scale = float(np.exp(rng.uniform(np.log(8), np.log(min(height, width) / 2))))
    cx, cy = rng.uniform(-5, width + 5), rng.uniform(-5, height + 5)
    rings = [blob(rng, cx, cy, scale, scale * rng.uniform(0.5, 1), int(rng.integers(8, 50)))]
    if rng.random() < 0.15:
        rings.append(blob(rng, cx + 1.5 * scale, cy, scale * 0.7, scale * 0.4, int(rng.integers(4, 20))))
    rle = to_rle(rings, height, width)
    crowd = int(rng.random() < 0.03)
    form = rng.random()
    box = [round(float(v), 2) for v in mask_api.toBbox(rle)]
    return {"id": number, "image_id": image["id"], "category_id": int(categories[rng.integers(len(categories))]),
            "iscrowd": crowd, "area": float(mask_api.area(rle)), "bbox": box,
            "segmentation": as_numbers(rle) if crowd else as_text(rle) if form < 0.1 else rings}, rings


def make_detection(rng, image, truth, rings, categories):
    """A detection near an annotation, sometimes of another category."""
    height, width = image["height"], image["width"]
    shift = rng.normal(0, 0.06, 2) * max(truth["bbox"][2:])
    size = rng.normal(1, 0.06)
    moved = [[round(float(v * size + shift[i % 2]), 2) for i, v in enumerate(ring)] for ring in rings]
    rle = to_rle(moved, height, width)
    x, y, w, h = truth["bbox"]
    box = [round(float(v), 2) for v in (x + shift[0], y + shift[1], w * size, h * size)]
    category = truth["category_id"] if rng.random() < 0.85 else int(categories[rng.integers(len(categories))])
    head = {"image_id": image["id"], "category_id": category, "score": round(float(rng.beta(2, 3)), 3)}
    return {**head, "bbox": box}, {**head, "segmentation": as_text(rle)}


def make_set(images, truths, detections, categories, seed):
    """(gt, dt_bbox, dt_segm) as the objects of the three files."""
    rng = np.random.default_rng(seed)
    ids = np.cumsum(rng.integers(1, 3, categories))
    used = ids[: categories - 1 - categories // 10]  # the last ones have no annotations
    image_ids = rng.permutation(np.cumsum(rng.integers(1, 4, images)))
    gt_images = []
    for image_id in image_ids:
        height, width = SIZES[rng.integers(len(SIZES))]
        gt_images.append({"id": int(image_id), "file_name": f"{image_id:012d}.jpg", "height": height, "width": width})
    annotations, sources = [], []
    for number in range(1, truths + 1):
        image = gt_images[rng.integers(len(gt_images))]
        annotation, rings = make_truth(rng, number, image, used)
        annotations.append(annotation)
        sources.append((image, annotation, rings))
    boxes, masks = [], []
    for _ in range(detections):
        image, annotation, rings = sources[rng.integers(len(sources))]
        box, mask = make_detection(rng, image, annotation, rings, ids)
        boxes.append(box)
        masks.append(mask)
    gt = {"info": {"description": f"synthetic, seed {seed}"}, "images": gt_images, "annotations": annotations,
          "categories": [{"id": int(i), "name": f"class{i}"} for i in ids]}
    return gt, boxes, masks


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file, separators=(",", ":"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--truths", type=int, default=36000)
    parser.add_argument("--detections", type=int, default=180000)
    parser.add_argument("--categories", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.directory, exist_ok=True)
    parts = make_set(args.images, args.truths, args.detections, args.categories, args.seed)
    for name, value in zip(("gt", "dt_bbox", "dt_segm"), parts):
        write(os.path.join(args.directory, name + ".json"), value)


if __name__ == "__main__":
    main()
