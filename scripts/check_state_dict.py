#!/usr/bin/env python3
"""Carries a model to torchvision: writes it as a torchvision state dict with `rcnn convert --names torchvision`, loads
that strictly into torchvision's own maskrcnn_resnet50_fpn, runs both on a picture and compares the detections.

usage: check_state_dict.py [--rcnn build/release/rcnn] [--model MODEL] [--image IMAGE] [--device cpu]

Needs PyTorch and torchvision (tried: 1.13.1 and 0.14.1); the project itself does not. Works for a model of the shape of
maskrcnn_resnet50_fpn; its settings must be torchvision's, as a state dict does not carry them."""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from PIL import Image

DTYPES = {"F32": np.float32, "I64": np.int64}


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors, metadata


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def run_torchvision(tensors, config, image):
    classes = tensors["roi_heads.box_predictor.cls_score.weight"].shape[0]
    net = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=classes, min_size=config["short_side"],
        max_size=config["long_side"], box_score_thresh=config["score_threshold"],
        box_detections_per_img=config["max_detections"])
    print("load_state_dict(strict=True):", net.load_state_dict(tensors, strict=True))
    net.eval()
    pixels = torch.from_numpy(np.asarray(Image.open(image).convert("RGB")).copy()).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        out = net([pixels])[0]
    return [{"box": box.tolist(), "score": float(score)} for box, score in zip(out["boxes"], out["scores"])]


def run_rcnn(rcnn, model, image, device):
    text = subprocess.run([rcnn, "detect", "-m", model, image, "--score", "0.05", "--json", "-", "--masks", "none",
                           "--device", device, "-q"], check=True, capture_output=True, text=True).stdout
    found = json.loads(text)["images"][0]["detections"]
    return [{"box": [d["bbox"][0], d["bbox"][1], d["bbox"][0] + d["bbox"][2], d["bbox"][1] + d["bbox"][3]],
             "score": d["score"]} for d in found]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rcnn", default="build/release/rcnn")
    parser.add_argument("--model", default="models/mask_rcnn_r50_fpn_nuclei.safetensors")
    parser.add_argument("--image", default="samples/fluorescence.png")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "torchvision.safetensors")
        subprocess.run([args.rcnn, "convert", args.model, path, "--names", "torchvision"], check=True)
        tensors, metadata = read_safetensors(path)
        config = json.loads(metadata["rcnn_config"])["config"]
        theirs = run_torchvision(tensors, config, args.image)
        ours = run_rcnn(args.rcnn, path, args.image, args.device)
    strong = [d for d in theirs if d["score"] > 0.3]
    worst_box = worst_score = lost = 0
    for d in strong:
        best = max(ours, key=lambda o: iou(d["box"], o["box"]), default=None)
        if best is None or iou(d["box"], best["box"]) < 0.5:
            lost += 1
            continue
        worst_box = max(worst_box, max(abs(x - y) for x, y in zip(d["box"], best["box"])))
        worst_score = max(worst_score, abs(d["score"] - best["score"]))
    print(f"torchvision {len(theirs)} detections, {len(strong)} above 0.3; rcnn {len(ours)}, "
          f"{sum(d['score'] > 0.3 for d in ours)} above 0.3")
    print(f"lost {lost}, largest box difference {worst_box:.2e} px, largest score difference {worst_score:.2e}")
    passed = strong and not lost and worst_box < 0.1 and worst_score < 1e-3
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
