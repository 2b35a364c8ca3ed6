"""What the peers' scripts share: the picture, calibration pictures, samples, and the rounds that compare_cpu.py drives.

A peer prints one line of JSON when it is ready ("about": versions, settings, what it found) and one per round: milliseconds
by span. With --wait it makes a round for every line of standard input, so that a driver can let several peers take turns.
"""
import argparse
import json
import os
import pathlib
import sys
import time

import numpy as np


def parser(doc, precisions):
    p = argparse.ArgumentParser(description=doc.splitlines()[0])
    p.add_argument("--work", required=True, help="folder with what compare_cpu.py exported; quantised files are kept there")
    p.add_argument("--image", required=True)
    p.add_argument("--precision", choices=precisions, default=precisions[0])
    p.add_argument("--spans", default="whole,dense")
    p.add_argument("--threads", default=2, type=int)
    p.add_argument("--samples", default=2, type=int)
    p.add_argument("--calibrate", help="folder of pictures for int8")
    p.add_argument("--calibration-images", default=8, type=int)
    p.add_argument("--wait", action="store_true")
    return p


def pixels(path):
    """RGB u8 [H,W,3]."""
    from PIL import Image
    return np.array(Image.open(path).convert("RGB"))


def config(work):
    """The model config that `rcnn info --json` told."""
    return json.loads((pathlib.Path(work) / "config.json").read_text())


class Preprocess:
    """u8 [H,W,3] of the network's size -> f32 [1,3,H,W], normalised and padded with 0, through a table of 256 values."""

    def __init__(self, config):
        unit = np.float32(255) if config["unit_range"] else np.float32(1)
        levels = np.arange(256, dtype=np.float32)[None] / unit
        self.table = (levels - np.float32(config["mean"])[:, None]) / np.float32(config["std"])[:, None]
        self.source = [2, 1, 0] if config["channel_order"] == "bgr" else [0, 1, 2]
        self.divisor = config["size_divisor"]
        self.out = np.zeros((0,), np.float32)

    def __call__(self, image):
        height, width = image.shape[:2]
        shape = (1, 3, height + -height % self.divisor, width + -width % self.divisor)
        if self.out.shape != shape:
            self.out = np.zeros(shape, np.float32)
        for c in range(3):
            self.out[0, c, :height, :width] = self.table[c][image[..., self.source[c]]]
        return self.out


def calibration_inputs(args):
    """Network inputs of every so-manieth picture of a folder, resized as the model does."""
    from PIL import Image
    settings = config(args.work)
    files = sorted(p for p in pathlib.Path(args.calibrate).iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    preprocess = Preprocess(settings)
    for path in files[::max(1, len(files) // args.calibration_images)][:args.calibration_images]:
        image = Image.open(path).convert("RGB")
        scale = min(settings["long_side"] / max(image.size), settings["short_side"] / min(image.size))
        size = [max(1, int(side * scale)) for side in image.size]
        yield preprocess(np.array(image.resize(size, Image.BILINEAR))).copy()


def torchvision_model(state):
    """torchvision's Mask R-CNN R50-FPN with the weights of a safetensors file, at most 100 detections, for inference."""
    import torch
    from safetensors.torch import load_file
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    weights = load_file(state)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=torch.nn.BatchNorm2d,
                                   trainable_layers=5)
    model = MaskRCNN(backbone, num_classes=weights["roi_heads.box_predictor.cls_score.weight"].shape[0],
                     box_detections_per_img=100)
    model.load_state_dict(weights)
    return model.eval()


def cpu_threads(threads):
    """Keeps this process on the first cores, one a thread."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)


def found(dets):
    """Boxes and scores above 0.5, for the driver to compare."""
    dets = np.asarray(dets, np.float64)
    dets = dets[dets[:, 4] > 0.5]
    return {"boxes": np.round(dets[:, :4], 2).tolist(), "scores": np.round(dets[:, 4], 4).tolist()}


def run_rounds(args, about, spans):
    """spans: {name: function}. Each is warmed up twice; a round takes one uncounted run and `samples` counted ones."""
    for function in spans.values():
        function()
        function()
    print(json.dumps({"about": about}), flush=True)
    while not args.wait or sys.stdin.readline():
        times = {}
        for name, function in spans.items():
            function()
            times[name] = []
            for _ in range(args.samples):
                start = time.perf_counter()
                extra = function()
                times[name].append(round((time.perf_counter() - start) * 1000, 2))
                for part, ms in (extra or {}).items():
                    times.setdefault(part, []).append(round(ms, 2))
        print(json.dumps(times), flush=True)
        if not args.wait:
            break
