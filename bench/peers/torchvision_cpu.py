#!/usr/bin/env python3
"""Times torchvision's Mask R-CNN R50-FPN on the CPU, as a peer of `rcnn`.

    torchvision_cpu.py [--threads 2] [--width 1333] [--height 800] [--runs 7] [--checkpoint FILE --image FILE]

One image a run, pixels in and masks of the whole image out, fp32. Without a checkpoint the weights are random (few
detections survive: the mask head is then nearly free, which favours the peer); with the nuclei checkpoint a real image
is resized to the size asked for. Prints JSON: milliseconds (median, p10, p90, all samples) of the whole run and of its
parts, processor time of all threads (what is left to compare when others use the machine), detections, versions, threads, processor.
"""
import argparse
import json
import platform
import time

import numpy as np
import torch
import torchvision
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone


def load(checkpoint, max_dets):
    if not checkpoint:
        torch.manual_seed(0)
        return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=torch.nn.BatchNorm2d,
                                   trainable_layers=5)
    model = MaskRCNN(backbone, num_classes=state["roi_heads.box_predictor.cls_score.weight"].shape[0],
                     box_detections_per_img=max_dets)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model.eval()


def pixels(path, width, height):
    """RGB u8 [3][height][width]."""
    if path:
        from PIL import Image
        image = np.array(Image.open(path).convert("RGB").resize((width, height), Image.BILINEAR))
    else:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


class Parts:
    """Milliseconds of each part of one run, by hooks around the modules."""

    def __init__(self, model):
        self.started, self.spent = {}, {}
        for name in ("transform", "backbone", "rpn", "roi_heads"):
            module = getattr(model, name)
            module.register_forward_pre_hook(lambda m, i, n=name: self.started.__setitem__(n, time.perf_counter()))
            module.register_forward_hook(lambda m, i, o, n=name: self.spent.__setitem__(
                n, (time.perf_counter() - self.started[n]) * 1000))


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def summary(samples):
    return {"median": round(float(np.median(samples)), 2), "p10": round(float(np.percentile(samples, 10)), 2),
            "p90": round(float(np.percentile(samples, 90)), 2), "min": round(min(samples), 2),
            "samples": [round(s, 2) for s in samples]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--width", default=1333, type=int)
    parser.add_argument("--height", default=800, type=int)
    parser.add_argument("--runs", default=7, type=int)
    parser.add_argument("--max-dets", default=400, type=int)
    parser.add_argument("--checkpoint")
    parser.add_argument("--image")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, image = load(args.checkpoint, args.max_dets), pixels(args.image, args.width, args.height)
    parts, totals, cpu, spent = Parts(model), [], [], []
    with torch.no_grad():
        for run in range(args.runs + 1):  # the first is not counted
            start, cpu_start = time.perf_counter(), time.process_time()
            found = model([image.float() / 255])[0]
            masks = found["masks"] > 0.5
            totals.append((time.perf_counter() - start) * 1000)
            cpu.append((time.process_time() - cpu_start) * 1000)
            spent.append(dict(parts.spent))
    print(json.dumps({
        "peer": "torchvision", "model": "maskrcnn_resnet50_fpn", "weights": "checkpoint" if args.checkpoint else "random",
        "width": args.width, "height": args.height, "threads": args.threads, "precision": "fp32",
        "detections": int(masks.shape[0]), "total_ms": summary(totals[1:]),
        "processor_ms": summary(cpu[1:]),
        "parts_ms": {name: round(float(np.median([s[name] for s in spent[1:]])), 2) for name in spent[0]},
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__,
                     "onednn": "yes" if torch.backends.mkldnn.is_available() else "no"},
        "cpu": cpu_name(), "warm_up_runs": 1,
    }, indent=1))


if __name__ == "__main__":
    main()
