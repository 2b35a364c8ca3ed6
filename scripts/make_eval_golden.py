#!/usr/bin/env python3
"""Makes tests/unit/data/eval: a small synthetic data set, polygons with their masks, and the numbers of pycocotools.

    make_eval_golden.py [--out tests/unit/data/eval]

Needs numpy and pycocotools (version in expected.json). The tests that read the files need neither. pycocotools' own
summary looks for maxDets 100 only, so the twelve numbers are taken from its precision and recall arrays.
"""
import argparse
import contextlib
import copy
import io
import json
import os
from importlib.metadata import version

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from make_eval_set import as_text, make_set, to_rle, write


def mean(values):
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0


def numbers(evaluation):
    """The summary at the limits asked for, and AP per category."""
    p, r = evaluation.eval["precision"], evaluation.eval["recall"]  # [T,R,K,A,M], [T,K,A,M]
    stats = [mean(p[:, :, :, 0, 2]), mean(p[0, :, :, 0, 2]), mean(p[5, :, :, 0, 2])]
    stats += [mean(p[:, :, :, a, 2]) for a in (1, 2, 3)]
    stats += [mean(r[:, :, 0, m]) for m in (0, 1, 2)] + [mean(r[:, :, a, 2]) for a in (1, 2, 3)]
    return stats, [mean(p[:, :, k, 0, 2]) for k in range(p.shape[2])]


def evaluate(gt, dt, iou_type, max_dets):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(gt)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(dt)), iou_type)
        evaluation.params.maxDets = list(max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
    return numbers(evaluation)


def odd_polygons(rng, count):
    """Rings that are hard on the rasteriser: off the image, degenerate, on exact pixel borders, long and thin."""
    for i in range(count):
        height, width = int(rng.integers(1, 60)), int(rng.integers(1, 60))
        rings = []
        for _ in range(int(rng.integers(1, 4))):
            points = rng.uniform(-0.4, 1.4, (int(rng.integers(3, 9)), 2)) * [width, height]
            step = (1.0, 0.5, 0.1, 0.01)[i % 4]
            rings.append([round(float(v), 4) for v in (np.round(points / step) * step).reshape(-1)])
        if i % 10 == 1:
            rings.append([1.0, 2.0, 20.0, 2.5])  # two points
        yield height, width, rings


def polygon_files(rng, count):
    """Annotation i is a polygon, detection i the run lengths pycocotools makes of it."""
    gt = {"images": [], "categories": [{"id": 1, "name": "thing"}], "annotations": []}
    dt = []
    for i, (height, width, rings) in enumerate(odd_polygons(rng, count), 1):
        gt["images"].append({"id": i, "height": height, "width": width})
        gt["annotations"].append({"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 1,
                                  "bbox": [0, 0, 1, 1], "segmentation": rings})
        dt.append({"image_id": i, "category_id": 1, "score": 0.5,
                   "segmentation": as_text(to_rle(rings, height, width))})
    return gt, dt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "../tests/unit/data/eval"))
    out = parser.parse_args().out
    os.makedirs(out, exist_ok=True)
    gt, boxes, masks = make_set(12, 60, 320, 6, 7)
    both = [{**b, "segmentation": m["segmentation"]} for b, m in zip(boxes, masks)]
    files = {"gt": gt, "dt_bbox": boxes, "dt_segm": masks, "dt_both": both}
    runs = []
    for name, iou_type, max_dets in (("dt_bbox", "bbox", (1, 10, 100)), ("dt_bbox", "segm", (1, 10, 100)),
                                     ("dt_segm", "segm", (1, 10, 100)), ("dt_segm", "bbox", (1, 10, 100)),
                                     ("dt_both", "segm", (1, 10, 100)), ("dt_both", "bbox", (1, 10, 100)),
                                     ("dt_segm", "segm", (1, 2, 3)), ("dt_bbox", "bbox", (2, 3, 400))):
        stats, category_ap = evaluate(gt, files[name], iou_type, max_dets)
        runs.append({"detections": name, "iou_type": iou_type, "max_dets": max_dets, "stats": stats,
                     "category_ap": category_ap})
    polygons = polygon_files(np.random.default_rng(3), 400)
    for name, value in files.items():
        write(os.path.join(out, name + ".json"), value)
    write(os.path.join(out, "polygons_gt.json"), polygons[0])
    write(os.path.join(out, "polygons_dt.json"), polygons[1])
    with open(os.path.join(out, "expected.json"), "w") as file:
        json.dump({"made_with": f"pycocotools {version('pycocotools')}, numpy {np.__version__}", "runs": runs}, file,
                  indent=1)


if __name__ == "__main__":
    main()
