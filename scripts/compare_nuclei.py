#!/usr/bin/env python3
"""Compares detections with the oracle's, and gives COCO average precision.

    compare_nuclei.py match RESULTS ORACLE [--score 0.5]     agreement of two result files, image by image
    compare_nuclei.py ap RESULTS ANNOTATIONS [--max-dets 400]   COCO AP of boxes and masks
    compare_nuclei.py expect ORACLE OUT IMAGE...             the expectations of tests/golden/test_nuclei.c

RESULTS and ORACLE are files of `rcnn detect --json` or scripts/oracle_nuclei.py; `ap` also takes COCO's own list of
results. match needs numpy; ap needs pycocotools too (pip install pycocotools). Prints JSON.
"""
import argparse
import contextlib
import io
import json
import pathlib

import numpy as np

import golden_container
import rle


def by_image(path):
    return {pathlib.Path(image["file_name"]).name: image for image in json.loads(pathlib.Path(path).read_text())["images"]}


def mask_of(detection):
    height, width = detection["segmentation"]["size"]
    return rle.decode(rle.from_text(detection["segmentation"]["counts"]), height, width)


def corners(detection):
    x, y, w, h = detection["bbox"]
    return np.array(detection.get("box", [x, y, x + w, y + h]))


def box_iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def mask_iou(a, b):
    either = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / either) if either else 1.0


def match_image(mine, oracle, score):
    """Pairs of the oracle's detections above `score` with ours of the same category: the largest box overlap, each of
    ours once, at least 0.5."""
    free = list(mine["detections"])
    pairs, alone = [], []
    for want in (d for d in oracle["detections"] if d["score"] > score):
        best = max((d for d in free if d["category_id"] == want["category_id"]),
                   key=lambda d: box_iou(corners(d), corners(want)), default=None)
        if best is None or box_iou(corners(best), corners(want)) < 0.5:
            alone.append(want["score"])
            continue
        free = [d for d in free if d is not best]
        pairs.append((best, want))
    return pairs, alone


def match(args):
    mine, oracle = by_image(args.results), by_image(args.oracle)
    report = {"images": 0, "same_count": 0, "matched": 0, "missing_images": sorted(set(oracle) - set(mine)),
              "exceptions": []}
    ious, boxes, scores = [], [], []
    for name in sorted(set(oracle) & set(mine)):
        counts = [sum(d["score"] > args.score for d in r[name]["detections"]) for r in (mine, oracle)]
        pairs, alone = match_image(mine[name], oracle[name], args.score)
        report["images"] += 1
        report["same_count"] += counts[0] == counts[1]
        if counts[0] != counts[1] or alone:
            near = [[round(d["score"], 6) for d in r[name]["detections"] if abs(d["score"] - args.score) < 0.02]
                    for r in (mine, oracle)]
            report["exceptions"].append({"image": name, "ours": counts[0], "oracle": counts[1], "unmatched": alone,
                                         "scores_near_threshold": {"ours": near[0], "oracle": near[1]}})
        for got, want in pairs:
            ious.append(mask_iou(mask_of(got), mask_of(want)))
            boxes.append(float(np.abs(corners(got) - corners(want)).max()))
            scores.append(abs(got["score"] - want["score"]))
    if ious:
        report.update(matched=len(ious), mean_mask_iou=float(np.mean(ious)), min_mask_iou=float(np.min(ious)),
                      max_box_difference=float(np.max(boxes)), median_box_difference=float(np.median(boxes)),
                      max_score_difference=float(np.max(scores)), median_score_difference=float(np.median(scores)))
    return report


def coco_results(path, annotations):
    """COCO's list of results from any of the forms."""
    data = json.loads(pathlib.Path(path).read_text())
    if isinstance(data, list):
        return data
    ids = {image["file_name"]: image["id"] for image in annotations["images"]}
    return [{"image_id": ids[pathlib.Path(image["file_name"]).name], **{k: d[k] for k in
             ("bbox", "category_id", "score", "segmentation") if k in d}}
            for image in data["images"] for d in image["detections"]]


def average_precision(truth, results, kind, max_dets):
    from pycocotools.cocoeval import COCOeval

    if kind == "segm":  # areas by mask, not by box
        results = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    else:
        results = [{k: v for k, v in r.items() if k != "segmentation"} for r in results]
    evaluation = COCOeval(truth, truth.loadRes(results), kind)
    evaluation.params.maxDets = [1, 10, max_dets]
    evaluation.evaluate()
    evaluation.accumulate()

    def mean(values):
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T,R,K,A,M], [T,K,A,M]
    thresholds = evaluation.params.iouThrs
    return {"AP": mean(precision[..., 0, 2]), "AP50": mean(precision[np.isclose(thresholds, 0.5), ..., 0, 2]),
            "AP75": mean(precision[np.isclose(thresholds, 0.75), ..., 0, 2]), "APs": mean(precision[..., 1, 2]),
            "APm": mean(precision[..., 2, 2]), "APl": mean(precision[..., 3, 2]), "AR1": mean(recall[..., 0, 0]),
            "AR10": mean(recall[..., 0, 1]), "AR": mean(recall[..., 0, 2]), "ARs": mean(recall[..., 1, 2]),
            "ARm": mean(recall[..., 2, 2]), "ARl": mean(recall[..., 3, 2])}


def ap(args):
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(args.annotations))
        results = coco_results(args.results, truth.dataset)
        report = {"max_dets": args.max_dets}
        for kind, key in (("bbox", "bbox"), ("segm", "segmentation")):
            if results and key in results[0]:
                report[kind] = average_precision(truth, results, kind, args.max_dets)
    return report


def expect(args):
    """Rows of x1 y1 x2 y2 score area, above a score of 0.5, one tensor an image."""
    oracle = by_image(args.oracle)
    tensors = {}
    for name in args.images:
        rows = [d["box"] + [d["score"], d["area"]] for d in oracle[name]["detections"] if d["score"] > 0.5]
        tensors[name] = np.array(rows, dtype=np.float32).reshape(-1, 6)
    source = json.loads(pathlib.Path(args.oracle).read_text())
    golden_container.save_values(args.out, tensors, {"columns": "x1 y1 x2 y2 score area",
                                                     "checkpoint_sha256": source["checkpoint_sha256"],
                                                     **source["versions"]})
    return {name: len(rows) for name, rows in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("match")
    command.add_argument("results", type=pathlib.Path)
    command.add_argument("oracle", type=pathlib.Path)
    command.add_argument("--score", default=0.5, type=float)
    command.set_defaults(run=match)
    command = commands.add_parser("ap")
    command.add_argument("results", type=pathlib.Path)
    command.add_argument("annotations", type=pathlib.Path)
    command.add_argument("--max-dets", default=400, type=int)
    command.set_defaults(run=ap)
    command = commands.add_parser("expect")
    command.add_argument("oracle", type=pathlib.Path)
    command.add_argument("out", type=pathlib.Path)
    command.add_argument("images", nargs="+")
    command.set_defaults(run=expect)
    args = parser.parse_args()
    print(json.dumps(args.run(args), indent=1))


if __name__ == "__main__":
    main()
