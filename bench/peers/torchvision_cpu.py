#!/usr/bin/env python3
"""Times torchvision's Mask R-CNN R50-FPN on the CPU, as a peer of `rcnn`.

    torchvision_cpu.py --work DIR --image FILE [--precision fp32|bf16] [--threads 2] [--wait]

DIR holds state.safetensors and config.json, as compare_cpu.py makes them. One image a run, at most 100 detections. Spans:
`whole`, decoded pixels to boxes, scores, labels and boolean masks of the whole image; its parts by hooks: `dense`, backbone,
FPN and RPN head. Eager mode, channels last, torch.inference_mode; bf16 is torch.autocast.
"""
import contextlib
import pathlib
import time

import torch
import torchvision

import common


class Dense:
    """Milliseconds of backbone, FPN and RPN head in one run, by hooks around the modules."""

    def __init__(self, model):
        self.started, self.ms = 0.0, 0.0
        for module in (model.backbone, model.rpn.head):
            module.register_forward_pre_hook(self.begin)
            module.register_forward_hook(self.end)

    def begin(self, *_):
        self.started = time.perf_counter()

    def end(self, *_):
        self.ms += (time.perf_counter() - self.started) * 1000


def main():
    args = common.parser(__doc__, ["fp32", "bf16"]).parse_args()
    common.cpu_threads(args.threads)
    torch.set_num_threads(args.threads)
    model = common.torchvision_model(pathlib.Path(args.work) / "state.safetensors").to(memory_format=torch.channels_last)
    image, dense = torch.from_numpy(common.pixels(args.image)).permute(2, 0, 1), Dense(model)
    cast = torch.autocast("cpu", torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()

    def whole():
        dense.ms = 0.0
        with torch.inference_mode(), cast:
            whole.found = model([image.float() / 255])[0]
            whole.masks = whole.found["masks"] > 0.5
        return {"dense": dense.ms}

    whole()
    dets = torch.column_stack([whole.found["boxes"].float(), whole.found["scores"].float()])
    about = {"peer": "torchvision", "precision": args.precision, "threads": args.threads,
             "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
             "detections": len(dets), "found": common.found(dets.numpy())}
    common.run_rounds(args, about, {"whole": whole})


if __name__ == "__main__":
    main()
