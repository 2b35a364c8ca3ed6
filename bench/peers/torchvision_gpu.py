#!/usr/bin/env python3
"""Times torchvision's Mask R-CNN R50-FPN on a GPU, as a peer of `rcnn`.

    torchvision_gpu.py --state FILE --image FILE --large FILE [--samples 20] [--max-autotune] [--device cuda] [--wait]

--state is a safetensors file of torchvision's names (`rcnn convert --names torchvision`). One image a run at 1333x800
and 3840x2304 bounds, host u8 pixels in, boolean masks of the whole image copied to the host, at most 100 detections,
fp16 autocast. Beside it the backbone, FPN and RPN head alone in fp16, channels last, under torch.compile in a CUDA
graph: device time of a replay by events; --max-autotune lets the compiler time its own convolutions too, which takes
minutes. Prints one JSON line "ready" after the warm-up, then one JSON object a round; --wait: a round for every line of
standard input. --device cpu runs the same steps without half precision, compiler and graph, to try the script.
"""
import argparse
import json
import statistics
import sys
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone


def load(path, sizes, device):
    state = load_file(path)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=torch.nn.BatchNorm2d,
                                   trainable_layers=5)
    model = MaskRCNN(backbone, num_classes=state["roi_heads.box_predictor.cls_score.weight"].shape[0],
                     box_detections_per_img=100, min_size=sizes[1], max_size=sizes[0])
    model.load_state_dict(state)
    return model.eval().to(device)


def pixels(path):
    image = np.array(Image.open(path).convert("RGB"))
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def summary(samples):
    ordered = sorted(samples)
    pick = lambda q: ordered[round(q * (len(ordered) - 1))]
    return {"median_ms": round(statistics.median(samples), 4), "p10_ms": round(pick(0.1), 4),
            "p90_ms": round(pick(0.9), 4), "samples": [round(s, 4) for s in samples]}


def detect(model, image, device):
    with torch.inference_mode(), torch.autocast(device, dtype=torch.float16, enabled=device == "cuda"):
        found = model([image.to(device).float() / 255])[0]
        masks = (found["masks"] > 0.5).cpu()
        found["boxes"].cpu(), found["scores"].cpu(), found["labels"].cpu()
    return masks.shape[0]


class Dense(torch.nn.Module):
    """Backbone, FPN and RPN head: what one CUDA graph of convolutions computes."""

    def __init__(self, model):
        super().__init__()
        self.backbone, self.head = model.backbone, model.rpn.head

    def forward(self, x):
        features = self.backbone(x)
        logits, deltas = self.head(list(features.values()))
        return list(features.values()) + logits + deltas


class DenseGraph:
    def __init__(self, model, n, height, width, max_autotune):
        dense = Dense(model).half().to(memory_format=torch.channels_last)
        # dynamic=False: else the second size would make the compiler write kernels for any size
        compiled = torch.compile(dense, dynamic=False, mode="max-autotune-no-cudagraphs" if max_autotune else None)
        self.input = torch.rand(n, 3, height, width, device="cuda").half().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(3):
                compiled(self.input)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = compiled(self.input)
            torch.cuda.synchronize()

    def samples(self, count):
        times = []
        for _ in range(count):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            self.graph.replay()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
        return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--large", required=True)
    parser.add_argument("--samples", default=20, type=int)
    parser.add_argument("--max-autotune", action="store_true")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--wait", action="store_true")
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    images = {"1333x800": pixels(args.image), "3840x2304": pixels(args.large)}
    cases = {name: (load(args.state, (image.shape[2], image.shape[1]), args.device), image) for name, image in images.items()}
    for model, image in cases.values():
        for _ in range(3):
            detect(model, image, args.device)
    graphs = {}
    if args.device == "cuda":
        graphs = {f"{width}x{height}": DenseGraph(load(args.state, (1333, 800), "cuda"), 1, height, width, args.max_autotune)
                  for width, height in ((1344, 800), (3840, 2304))}
    print(json.dumps({"ready": True}), flush=True)
    while not args.wait or sys.stdin.readline():
        round_ = {}
        for name, (model, image) in cases.items():
            times = []
            for _ in range(args.samples):
                if args.device == "cuda":
                    torch.cuda.synchronize()
                start = time.perf_counter()
                found = detect(model, image, args.device)
                times.append((time.perf_counter() - start) * 1000)
            round_["torchvision_fp16_autocast_" + name] = {**summary(times), "detections": found}
        for name, graph in graphs.items():
            round_["torch_compile_graph_backbone_fpn_rpn_fp16_" + name] = summary(graph.samples(args.samples))
        round_["versions"] = {"torch": torch.__version__, "torchvision": torchvision.__version__,
                              "cudnn": torch.backends.cudnn.version()}
        print(json.dumps(round_), flush=True)
        if not args.wait:
            break


if __name__ == "__main__":
    main()
