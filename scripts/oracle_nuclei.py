#!/usr/bin/env python3
"""Runs torchvision's Mask R-CNN on the nuclei validation images and keeps what it found, as the reference for ours.

    oracle_nuclei.py [--shared ../shared] [--out build/oracle] [--threads 1] [--limit N]

Writes OUT/<image>.json as it goes (an image already there is not computed again) and at the end OUT/oracle.json: the
form of `rcnn detect --json` (file_name, width, height, detections of bbox xywh, category_id, score, segmentation), with
the unrounded corners beside as `box` and each mask's area. fp32 arithmetic on the CPU; masks are cut at > 0.5.
Needs torch and torchvision (Debian: python3-torch, python3-torchvision) and Pillow.
"""
import argparse
import hashlib
import json
import pathlib
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import rle

CHECKPOINT = "checkpoints/mask_rcnn_r50_fpn_nuclei_fp16.pth"


def load_model(path):
    """The architecture that train_nuclei.py trained, with its half-precision weights widened to fp32."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=torch.nn.BatchNorm2d, trainable_layers=5)
    model = MaskRCNN(backbone, num_classes=2, min_size=800, max_size=1333, box_detections_per_img=400)
    state = torch.load(path, map_location="cpu")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model.eval()


def detect(model, path):
    """The record of one image."""
    pixels = np.array(Image.open(path).convert("RGB"))
    start = time.perf_counter()
    with torch.no_grad():
        found = model([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])[0]
    seconds = time.perf_counter() - start
    height, width = pixels.shape[:2]
    detections = []
    for box, label, score, mask in zip(found["boxes"], found["labels"], found["scores"], found["masks"]):
        counts = rle.encode(mask[0].numpy() > 0.5)
        x1, y1, x2, y2 = box.tolist()
        detections.append({
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "box": [x1, y1, x2, y2],
            "category_id": int(label),
            "score": float(score),
            "area": rle.area(counts),
            "segmentation": {"size": [height, width], "counts": rle.to_text(counts)},
        })
    return {"file_name": path.name, "width": width, "height": height, "seconds": round(seconds, 3),
            "detections": detections}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", default="../shared", type=pathlib.Path)
    parser.add_argument("--out", default="build/oracle", type=pathlib.Path)
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--limit", default=0, type=int, help="only the first N images")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    names = [image["file_name"] for image in
             json.loads((args.shared / "nuclei/instances_val.json").read_text())["images"]]
    checkpoint = args.shared / CHECKPOINT
    model = load_model(checkpoint)
    records = []
    for index, name in enumerate(names[:args.limit] if args.limit else names):
        kept = args.out / (pathlib.Path(name).stem + ".json")
        if not kept.exists():
            record = detect(model, args.shared / "nuclei/img" / name)
            kept.with_suffix(".part").write_text(json.dumps(record))
            kept.with_suffix(".part").rename(kept)
            print(f"{index + 1}/{len(names)} {name} {len(record['detections'])} {record['seconds']} s", flush=True)
        records.append(json.loads(kept.read_text()))
    (args.out / "oracle.json").write_text(json.dumps({
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "images": records,
    }))


if __name__ == "__main__":
    main()
