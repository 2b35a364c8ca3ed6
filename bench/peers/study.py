#!/usr/bin/env python3
"""The study's four modes of Mask R-CNN R50-FPN in PyTorch, and torchvision as it is, as peers of `rcnn bench`.

    study.py --state FILE --image FILE [--sizes 1333x800,3840x2304] [--device cuda|cpu] [--samples 30] [--warmup 5]
             [--modes LIST] [--threads N] [--max-autotune] [--wait] --json OUT

--state is a safetensors file of torchvision's names (`rcnn convert --names torchvision`). The picture is resized to
each size first, so that nobody scales it. At most 100 detections above 0.05, NMS 0.5, 1000 proposals.

Modes of subject "torchvision", its own model called as its documentation does, u8 pixels uploaded, boolean masks of the
whole image copied to the host:
  torchvision_fp32           as it is (TF32 in convolutions is torch's default, and is left on)
  torchvision_fp16           the same under autocast, which rounds its anchors to half precision too
Modes of subject "study's steps in torch", mmdetection's pipeline re-enacted step by step on the same weights:
  inference                  fp32; resized and normalised on the CPU, float tensor uploaded, masks pasted into the image
  inference_fp16             backbone, neck and heads in half precision, RoIAlign and all decisions in float
  inference_fp16_preprocess  u8 pixels uploaded, resized and normalised on the device
  inference_raw_mask         soft 28x28 masks copied to the host, nothing pasted
Mode of subject "torch.compile, dense part only":
  compiled_dense             backbone, FPN and RPN head, fp16, channels last, BatchNorm folded, under torch.compile in a
                             CUDA graph; time of a replay by events

mmdetection itself is not used: pip finds mmcv as source alone, whose build stops at "No module named 'pkg_resources'"
with present setuptools, and mmdet 3.3.0 refuses the newest, mmcv 2.2.0. So its steps are
written here from its published rules: sort of each level's scores, one NMS with coordinates shifted by group, masks
sampled from a grid over the whole image in chunks of 1 GiB on a GPU and box by box on a CPU, each mask copied alone.
RPN and RoI rules are torchvision's, as the weights are; "facts" tell how the detections agree with torchvision's.

On a CPU the modes of half precision run in bfloat16, which CPUs compute with; the rows say so.

End to end: host pixels to results on the host, with no waits but those the steps make themselves and one at the end.
Staged: the device is waited for at every border between stages too, in loops of their own. The JSON has the schema of
`rcnn bench` (docs/benchmarking.md). --wait: a line {"ready": true} after the warm-up, then for every line of standard
input one round, its JSON on one line.
"""
import argparse
import contextlib
import json
import math
import os
import pathlib
import platform
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image

import common
import result

try:
    import cv2
except ImportError:
    cv2 = None

TORCH = ".".join(torch.__version__.split("+")[0].split(".")[:2])
STOCK = "torchvision " + ".".join(torchvision.__version__.split("+")[0].split(".")[:2])
STEPS = f"study's steps in torch {TORCH}"
DENSE = f"torch.compile {TORCH}, dense part only"
PASTE_CHUNK_BYTES = 1 << 30
TYPE = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Stages:
    """Milliseconds by stage: mark(name) waits for the device and books what passed since the mark before."""

    def __init__(self, device, on):
        self.device, self.on, self.ms = device, on, {}
        self.last = time.perf_counter()

    def mark(self, name):
        if self.on:
            wait_for(self.device)
            now = time.perf_counter()
            self.ms[name] = self.ms.get(name, 0.0) + (now - self.last) * 1000
            self.last = now


def wait_for(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ------------------------------------------------------------------------------------------------------ torchvision

class Stock:
    """torchvision's model on one picture. Borders of its stages are found by hooks, set for staged runs alone."""
    def __init__(self, net, picture, precision, device):
        self.net, self.precision, self.device = net, precision, device
        self.pixels = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
        self.size = picture.shape[:2]

    @contextlib.contextmanager
    def hooks(self, stages):
        net, heads = self.net, self.net.roi_heads
        after = {"preprocess": net.transform, "backbone": net.backbone.body, "neck": net.backbone, "rpn_head": net.rpn,
                 "bbox_forward": heads.box_predictor, "mask_forward": heads.mask_predictor, "mask_post": net}
        hooks = [module.register_forward_hook(lambda *_, name=name: stages.mark(name)) for name, module in after.items()]
        hooks.append(heads.mask_roi_pool.register_forward_pre_hook(lambda *_: stages.mark("bbox_post")))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def proposals(self):
        counts = []
        hook = self.net.rpn.register_forward_hook(lambda _module, _inputs, out: counts.append(len(out[0][0])))
        self.run(Stages(self.device, False))
        hook.remove()
        return counts[0]

    def run(self, stages):
        self.net.transform.min_size, self.net.transform.max_size = (min(self.size),), max(self.size)
        half = torch.autocast(self.device.type, dtype=TYPE[self.precision], enabled=self.precision != "fp32")
        with torch.inference_mode(), half, self.hooks(stages) if stages.on else contextlib.nullcontext():
            image = self.pixels.to(self.device)
            stages.mark("upload")
            found = self.net([image.float() / 255])[0]
            masks = found["masks"][:, 0] > 0.5
            stages.mark("mask_post")
            answer = {"boxes": found["boxes"].float().cpu().numpy(), "scores": found["scores"].float().cpu().numpy(),
                      "labels": found["labels"].cpu().numpy()}
            answer["masks"] = masks.cpu().numpy()
            stages.mark("download")
        return answer


# ------------------------------------------------------------------------------------------------------ the study's steps

def decode(deltas, boxes, weights):
    """Boxes [N,4] moved by deltas [N,K,4], f32 -> [N,K,4]."""
    deltas = deltas / torch.tensor(weights, device=deltas.device)
    side = boxes[:, None, 2:] - boxes[:, None, :2]
    centre = boxes[:, None, :2] + 0.5 * side
    centre = centre + deltas[..., :2] * side
    half = 0.5 * side * deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp()
    return torch.cat([centre - half, centre + half], -1)


def clip(boxes, height, width):
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), limit)


def grouped_nms(boxes, scores, groups, threshold):
    """One NMS over all groups, kept apart by shifting each beyond the largest coordinate; kept indices by score."""
    if boxes.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    shift = groups.to(boxes) * (boxes.max() + 1)
    return torchvision.ops.nms(boxes + shift[:, None], scores, threshold)


def sampled(masks, boxes, rows, columns):
    """Soft masks [N,28,28] at the centres of pixels rows [H] and columns [W] of the image -> [N,H,W], zero outside."""
    x = (columns[None] + 0.5 - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    y = (rows[None] + 0.5 - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    x, y = (torch.where(torch.isinf(v), torch.zeros_like(v), v) for v in (x, y))
    shape = (len(boxes), len(rows), len(columns))
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], 3)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]


def pasted(masks, boxes, height, width):
    """Soft masks [N,28,28] and their boxes -> boolean masks [N,height,width] on the same device."""
    out = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    at = lambda begin, end: torch.arange(begin, end, device=masks.device, dtype=torch.float32)
    if masks.device.type == "cpu":
        for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            left, right = max(math.floor(x1) - 1, 0), min(math.ceil(x2) + 1, width)
            top, bottom = max(math.floor(y1) - 1, 0), min(math.ceil(y2) + 1, height)
            out[i, top:bottom, left:right] = sampled(masks[i:i + 1], boxes[i:i + 1], at(top, bottom), at(left, right))[0] >= 0.5
        return out
    chunks = math.ceil(len(masks) * height * width * 4 / PASTE_CHUNK_BYTES)
    for part in torch.arange(len(masks), device=masks.device).chunk(chunks) if chunks else ():
        out[part] = sampled(masks[part], boxes[part], at(0, height), at(0, width)) >= 0.5
    return out


class Steps:
    """The study's pipeline on one picture with the modules of torchvision's model."""

    def __init__(self, net, picture, precision, preprocess, masks, device):
        self.net, self.precision, self.preprocess, self.masks, self.device = net, precision, preprocess, masks, device
        self.height, self.width = picture.shape[:2]
        self.bgr = np.ascontiguousarray(picture[..., ::-1])  # as the study's decoder gives it
        self.padded = [(0, -self.width % 32), (0, -self.height % 32)]
        self.mean = np.float32(net.transform.image_mean) * 255
        self.std = np.float32(net.transform.image_std) * 255
        self.on_device = [torch.from_numpy(v).to(device).view(1, 3, 1, 1) for v in (self.mean, self.std)]
        self.type = TYPE[precision]

    def proposals(self):
        with torch.inference_mode():
            return len(self.propose(self.net.backbone(self.upload(Stages(self.device, False)))))

    def host_input(self):
        """f32 [1,3,H,W] on the host: resized, normalised, padded, by OpenCV where there is one."""
        if cv2:
            image = cv2.resize(self.bgr, (self.width, self.height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)
            cv2.subtract(image, np.float64([*self.mean, 0]), image)
            cv2.multiply(image, np.float64([*1 / self.std.astype(np.float64), 0]), image)
        else:  # of equal sizes, OpenCV's resize is a copy
            image = (self.bgr[..., ::-1].astype(np.float32) - self.mean) * (1 / self.std)
        image = np.pad(image, [self.padded[1], self.padded[0], (0, 0)])
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]

    def upload(self, stages):
        if self.preprocess == "cpu":
            image = self.host_input()
            stages.mark("preprocess")
            image = image.to(self.device)
            stages.mark("upload")
            image = image.to(self.type)
        else:
            image = torch.from_numpy(self.bgr).to(self.device)
            stages.mark("upload")
            image = image.permute(2, 0, 1)[None].flip(1).float()
            image = F.interpolate(image, size=(self.height, self.width), mode="bilinear", align_corners=False)
            image = F.pad((image - self.on_device[0]) / self.on_device[1], [*self.padded[0], *self.padded[1]]).to(self.type)
        stages.mark("preprocess")
        return image

    def propose(self, pyramid):
        """Proposals [N<=1000,4] f32: of each level the 1000 best decoded, then one NMS by level."""
        levels = list(pyramid.values())
        logits, deltas = self.net.rpn.head(levels)
        blank = torchvision.models.detection.image_list.ImageList(
            torch.empty(1, 3, self.height + self.padded[1][1], self.width + self.padded[0][1], device="meta"),
            [(self.height, self.width)])
        floats = [level.new_empty(level.shape, dtype=torch.float32) for level in levels]  # anchors take this type
        anchors = self.net.rpn.anchor_generator(blank, floats)[0]
        boxes, scores, groups, first = [], [], [], 0
        for i, (score, delta) in enumerate(zip(logits, deltas)):
            score = score[0].permute(1, 2, 0).reshape(-1).float().sigmoid()
            delta = delta[0].permute(1, 2, 0).reshape(-1, 4).float()
            anchor, first = anchors[first:first + len(score)], first + len(score)
            if len(score) > 1000:
                score, best = score.sort(descending=True)
                score, best = score[:1000], best[:1000]
                delta, anchor = delta[best], anchor[best]
            boxes.append(clip(decode(delta[:, None], anchor, (1.0, 1.0, 1.0, 1.0))[:, 0], self.height, self.width))
            scores.append(score)
            groups.append(torch.full((len(score),), i, device=score.device))
        boxes, scores, groups = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
        solid = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        boxes, scores, groups = boxes[solid], scores[solid], groups[solid]
        return boxes[grouped_nms(boxes, scores, groups, 0.7)[:1000]]

    def pooled(self, pool, pyramid, boxes):
        return pool({name: level.float() for name, level in pyramid.items()}, [boxes], [(self.height, self.width)]).to(self.type)

    def choose(self, logits, deltas, rois):
        """Boxes, scores, labels of at most 100 detections."""
        scores = logits.float().softmax(-1)
        boxes = clip(decode(deltas.float().view(len(rois), -1, 4), rois, (10.0, 10.0, 5.0, 5.0)), self.height, self.width)
        row, column = (scores[:, 1:] > 0.05).nonzero(as_tuple=True)
        boxes, scores, labels = boxes[row, column + 1], scores[row, column + 1], column + 1
        best = grouped_nms(boxes, scores, labels, 0.5)[:100]
        return boxes[best], scores[best], labels[best]

    def run(self, stages):
        heads = self.net.roi_heads
        with torch.inference_mode():
            image = self.upload(stages)
            levels = self.net.backbone.body(image)
            stages.mark("backbone")
            pyramid = self.net.backbone.fpn(levels)
            stages.mark("neck")
            rois = self.propose(pyramid)
            stages.mark("rpn_head")
            logits, deltas = heads.box_predictor(heads.box_head(self.pooled(heads.box_roi_pool, pyramid, rois)))
            stages.mark("bbox_forward")
            boxes, scores, labels = self.choose(logits, deltas, rois)
            stages.mark("bbox_post")
            masks = heads.mask_predictor(heads.mask_head(self.pooled(heads.mask_roi_pool, pyramid, boxes)))
            stages.mark("mask_forward")
            masks = masks[torch.arange(len(labels), device=labels.device), labels].float().sigmoid()
            if self.masks == "full":
                masks = pasted(masks, boxes, self.height, self.width)
            stages.mark("mask_post")
            answer = {"boxes": boxes.cpu().numpy(), "scores": scores.cpu().numpy(), "labels": labels.cpu().numpy()}
            answer["masks"] = [m.cpu().numpy() for m in masks] if self.masks == "full" else masks.cpu().numpy()
            stages.mark("download")
        return answer


# ------------------------------------------------------------------------------------------------------ the dense part

class DensePart(torch.nn.Module):
    """Backbone, FPN and RPN head: what one CUDA graph of convolutions computes."""

    def __init__(self, net):
        super().__init__()
        self.backbone, self.head = net.backbone, net.rpn.head

    def forward(self, x):
        levels = list(self.backbone(x).values())
        logits, deltas = self.head(levels)
        return levels + logits + deltas


def fold_batch_norm(body):
    """BatchNorm of a ResNet body goes into the convolution before it."""
    fuse = torch.nn.utils.fuse_conv_bn_eval

    def fold(owner, conv, norm):
        setattr(owner, conv, fuse(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, torch.nn.Identity())

    fold(body, "conv1", "bn1")
    for block in (block for i in range(1, 5) for block in body[f"layer{i}"]):
        for i in range(1, 4):
            fold(block, f"conv{i}", f"bn{i}")
        if block.downsample is not None:
            fold(block.downsample, "0", "1")


class DenseGraph:
    """A CUDA graph of the compiled dense part. run() answers the milliseconds of one replay."""

    def __init__(self, net, picture, device, max_autotune):
        if device.type != "cuda":
            raise RuntimeError("a CUDA graph needs a CUDA device")
        height, width = picture.shape[:2]
        fold_batch_norm(net.backbone.body)
        part = DensePart(net).half().to(memory_format=torch.channels_last)
        # dynamic=False: else the second size would make the compiler write kernels for any size
        compiled = torch.compile(part, dynamic=False, mode="max-autotune-no-cudagraphs" if max_autotune else None)
        self.input = torch.rand(1, 3, height + -height % 32, width + -width % 32, device=device).half()
        self.input = self.input.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(3):
                compiled(self.input)
            wait_for(device)
            self.compiled = compiled  # the graph holds addresses of weights, not the weights
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = compiled(self.input)
            wait_for(device)

    def run(self):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)


# ------------------------------------------------------------------------------------------------------ measuring

MODES = {  # name: subject, precision, where pictures are prepared, masks
    "torchvision_fp32": (STOCK, "fp32", "gpu", "full"),
    "torchvision_fp16": (STOCK, "fp16", "gpu", "full"),
    "inference": (STEPS, "fp32", "cpu", "full"),
    "inference_fp16": (STEPS, "fp16", "cpu", "full"),
    "inference_fp16_preprocess": (STEPS, "fp16", "gpu", "full"),
    "inference_raw_mask": (STEPS, "fp16", "gpu", "raw"),
    "compiled_dense": (DENSE, "fp16", "gpu", "none"),
}


def runner(args, about, picture):
    if about["subject"] == DENSE:
        return DenseGraph(args.net.fresh(), picture, args.device, args.max_autotune)
    if about["subject"] == STOCK:
        return Stock(args.net("fp32"), picture, about["precision"], args.device)
    return Steps(args.net(about["precision"]), picture, about["precision"], about["preprocess"], about["masks"], args.device)


def reason(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:250]


class Case:
    """One mode at one size; skipped tells why it cannot run."""

    def __init__(self, args, mode, size, picture):
        self.args, self.mode, self.size, self.skipped = args, mode, size, ""
        subject, precision, preprocess, masks = MODES[mode]
        self.about = {"subject": subject, "mode": mode, "precision": precision, "preprocess": preprocess, "masks": masks}
        if args.device.type == "cpu" and precision == "fp16" and subject != DENSE:
            self.about["precision"] = "bf16"
        self.answer = None
        try:
            self.runner = runner(args, self.about, picture)
            if mode != "compiled_dense":
                self.about["proposals"] = self.runner.proposals()
                for _ in range(args.warmup):
                    self.answer = self.runner.run(Stages(args.device, False))
                self.about["detections"] = len(self.answer["boxes"])
                del self.answer["masks"]  # of the whole image they are large
        except Exception as error:  # a mode that cannot run is a row that says so
            self.fail(error)

    def fail(self, error):
        self.runner, self.answer, self.skipped = None, None, reason(error)
        if self.args.device.type == "cuda":
            torch.cuda.empty_cache()

    def timed(self, staged):
        """Whole milliseconds and milliseconds by stage of one run."""
        stages = Stages(self.args.device, staged)
        wait_for(self.args.device)
        start = stages.last = time.perf_counter()
        self.runner.run(stages)
        wait_for(self.args.device)
        return (time.perf_counter() - start) * 1000, stages.ms

    def measure(self):
        """Adds the times of a round to a row."""
        samples = self.args.samples
        if self.mode == "compiled_dense":
            self.runner.run()
            return {"end_to_end": result.times([self.runner.run() for _ in range(samples)])}
        if self.args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.timed(False)
        whole = result.times([self.timed(False)[0] for _ in range(samples)])
        memory = {}
        if self.args.device.type == "cuda":
            memory["device_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        self.timed(True)
        staged = [self.timed(True) for _ in range(samples)]
        stages = {name: result.times([ms[name] for _, ms in staged]) for name in staged[0][1]}
        return {"end_to_end": whole, "staged": result.times([ms for ms, _ in staged]),
                "stages": {"decode": self.args.decode, **stages},
                "images_per_s": round(1000 / whole["median_ms"], 2), **memory}

    def row(self):
        width, height = self.size
        row = {**self.about, "device": "cuda:0", "width": width, "height": height, "batch": 1}
        if self.args.device.type == "cpu":
            row.update({"device": "cpu", "preprocess": "cpu"})
        times = {}
        if not self.skipped:
            try:
                times = self.measure()
            except Exception as error:
                self.fail(error)
        return {**row, "skipped": self.skipped, **times}


def agreement(answer, reference):
    """Pairs of equal label at IoU 0.5 and more, each box used once, in a sentence."""
    iou = torchvision.ops.box_iou(torch.from_numpy(answer["boxes"]).float(), torch.from_numpy(reference["boxes"]).float()).numpy()
    used, pairs = set(), []
    for i, label in enumerate(answer["labels"]):
        free = [j for j in np.argsort(-iou[i]) if j not in used and reference["labels"][j] == label and iou[i][j] >= 0.5]
        if free:
            used.add(free[0])
            pairs.append((i, free[0]))
    box = max((float(np.abs(answer["boxes"][i] - reference["boxes"][j]).max()) for i, j in pairs), default=0.0)
    score = max((float(abs(answer["scores"][i] - reference["scores"][j])) for i, j in pairs), default=0.0)
    return (f"{len(pairs)} of {len(answer['boxes'])} matched ({len(reference['boxes'])} by torchvision_fp32), "
            f"largest difference of a box {box:.4f} px, of a score {score:.5f}")


def facts(args, cases):
    import torch.backends.cudnn as cudnn
    host = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    gpu = args.device.type == "cuda"
    out = {"machine": f"{host}, {os.cpu_count()} CPUs", "device": torch.cuda.get_device_name() if gpu else "cpu",
           "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
           "torch threads": str(torch.get_num_threads()), "image": pathlib.Path(args.image).name,
           "CPU preprocessing by": f"OpenCV {cv2.__version__}" if cv2 else "numpy (no OpenCV here)",
           "torch.compile": "max-autotune" if args.max_autotune else "default mode"}
    if gpu:
        out.update({"cudnn": str(cudnn.version()), "cudnn.benchmark": str(cudnn.benchmark),
                    "TF32 in fp32 convolutions": str(cudnn.allow_tf32)})
    reference = {c.size: c.answer for c in cases if c.mode == "torchvision_fp32" and c.answer}
    for case in cases:
        if case.answer and case.mode != "torchvision_fp32" and case.size in reference:
            width, height = case.size
            out[f"agreement {case.mode} {width}x{height}"] = agreement(case.answer, reference[case.size])
    return out


class Nets:
    """The model in each precision, loaded when first asked for."""

    def __init__(self, state, device):
        self.state, self.device, self.known = state, device, {}

    def fresh(self):
        return common.torchvision_model(self.state).to(self.device)

    def __call__(self, precision):
        if precision not in self.known:
            self.known[precision] = self.fresh().to(TYPE[precision])
        return self.known[precision]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", required=True, help="safetensors file of torchvision's names")
    parser.add_argument("--image", required=True)
    parser.add_argument("--sizes", default="1333x800,3840x2304")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--samples", default=30, type=int)
    parser.add_argument("--warmup", default=5, type=int)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--threads", type=int, help="torch's threads on the CPU")
    parser.add_argument("--max-autotune", action="store_true", help="the compiler times its own convolutions too: minutes")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--json", help="file for the result; required without --wait")
    args = parser.parse_args()
    try:
        args.sizes = [tuple(int(side) for side in size.split("x")) for size in args.sizes.split(",")]
        assert all(len(size) == 2 and min(size) > 0 for size in args.sizes)
    except (ValueError, AssertionError):
        parser.error("--sizes: WIDTHxHEIGHT[,WIDTHxHEIGHT...] is wanted")
    args.modes = args.modes.split(",")
    for mode in args.modes:
        if mode not in MODES:
            parser.error(f"--modes: {mode} is none of {', '.join(MODES)}")
    if min(args.samples, args.warmup) < 1:
        parser.error("--samples and --warmup: at least 1 is wanted")
    if not args.wait and not args.json:
        parser.error("--json: a file for the result is wanted")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    return args


def main():
    args = arguments()
    args.device = torch.device(args.device)
    torch.backends.cudnn.benchmark = True
    if args.threads:
        torch.set_num_threads(args.threads)
    args.decode = result.times([result.milliseconds(lambda: common.pixels(args.image)) for _ in range(5)])
    args.net = Nets(args.state, args.device)
    picture = Image.open(args.image).convert("RGB")
    cases = []
    for size in args.sizes:
        pixels = np.array(picture.resize(size, Image.BICUBIC))
        cases += [Case(args, mode, size, pixels) for mode in args.modes]
    about = facts(args, cases)
    for name, text in about.items():
        print(f"study.py: {name}: {text}", file=sys.stderr)
    if args.wait:
        print(json.dumps({"ready": True}), flush=True)
    while not args.wait or sys.stdin.readline():
        report = {"schema": 1, "bench": "rcnn", "complete": True, "random_weights": False, "facts": about,
                  "rows": [case.row() for case in cases]}
        if args.wait:
            print(json.dumps(report), flush=True)
        if args.json:
            part = pathlib.Path(args.json + ".part")
            part.write_text(json.dumps(report, indent=1) + "\n")
            part.replace(args.json)
        if not args.wait:
            break


if __name__ == "__main__":
    main()
