#!/usr/bin/env python3
"""Makes tests/golden/data: checkpoints of thin networks and what the reference implementations compute with them.

    make_golden.py [--out tests/golden/data] [NAME ...]

Per model a checkpoint as its framework saves it, reference.safetensors (a small picture, every stage's values, the
detections and their masks) and large.safetensors (a picture in which all pyramid levels are used: detections only).
Run it with Debian's Python 3 and python3-torch, python3-torchvision, python3-opencv, python3-pil; it is deterministic
(see save_legacy for the one exception and how it is met).
How each value is named and laid out: src/stages/stages.h. Masks are run lengths (COCO order), one after another in
mask_counts, up to mask_ends[i] for detection i. Images of the u8 pipelines are kept as bytes and a table:
image[y][x][c] = image_lut[c][image_u8[y][x][c]], 0 in the padding.
"""
import argparse
import collections
import json
import pathlib
import pickle

import cv2
import numpy as np
import PIL
import torch
import torchvision

import golden_common as gc
import golden_container
import golden_detectron2
import golden_mmdet
import golden_torchvision
import rle

SMALL = {"long_side": 128, "short_side": 80, "rpn_pre_nms": 30, "rpn_post_nms": 20, "max_detections": 8}
LARGE = {"long_side": 640, "short_side": 480, "rpn_pre_nms": 60, "rpn_post_nms": 150, "max_detections": 30}
# name: how it is made, seed, picture of the small and the large run (width, height), half-precision file.
# The seeds are ones that give proposals on all four RoI levels in the large run.
MODELS = {
    "torchvision_v1": ("torchvision", "v1", 231, (100, 87), (166, 125), True),
    "torchvision_v2": ("torchvision", "v2", 32, (79, 95), (120, 161), True),
    "torchvision_r18_faster": ("torchvision", "faster", 193, (134, 93), (171, 128), True),
    "mmdet2": ("mmdet", gc.Thin(planes=4, blocks=(2, 1, 1, 1)), 64, (149, 97), (159, 106), True),
    "mmdet2_caffe": ("mmdet", gc.Thin(planes=4, fpn=8, style="caffe"), 135, (67, 91), (115, 147), False),
    "mmdet3_resnext": ("mmdet", gc.Thin(planes=4, groups=4), 86, (96, 96), (170, 113), True),
    "mmdet3_faster": ("mmdet", gc.Thin(planes=4, mask=False), 17, (81, 79), (121, 90), True),
    "detectron2": ("detectron2", gc.Thin(style="caffe", planes=4, fpn=8), 138, (143, 113), (113, 170), False),
}
CLASSES = 5


def compact_image(values, net_size):
    """Replaces `image` by bytes and a table when its values come from 256 bytes a channel; else leaves it."""
    image = values["image"][0]
    width, height = net_size
    live = image[:height, :width]
    tables, bytes_ = [], np.zeros(live.shape, dtype=np.uint8)
    for c in range(3):
        table = np.unique(live[..., c])
        if len(table) > 256:
            return
        bytes_[..., c] = np.searchsorted(table, live[..., c])
        tables.append(np.concatenate([table, np.full(256 - len(table), table[-1])]).astype(np.float32))
    lut = np.stack(tables)
    assert np.array_equal(np.stack([lut[c][bytes_[..., c]] for c in range(3)], axis=-1), live)
    del values["image"]
    values["image_u8"], values["image_lut"] = bytes_, lut


def add_masks(values, masks):
    counts = [rle.encode(mask) for mask in masks]
    values["mask_counts"] = np.array([c for one in counts for c in one], dtype=np.int16)
    values["mask_ends"] = np.cumsum([len(one) for one in counts]).astype(np.int32)


def overrides(config, extra):
    return "\n".join(f"{key}={value}" for key, value in {**config, **extra}.items())


FINAL = ("proposals", "proposal_scores", "proposal_groups", "det_boxes", "det_scores", "det_labels")


def write_reference(path, rgb, config, extra, net_size, values, masks, whole):
    padded = values["image"].shape[1:3]
    out = {"input": rgb}
    if whole:
        compact_image(values, net_size)
        out.update(values)
    else:
        out.update({name: values[name] for name in FINAL})
    if masks:
        add_masks(out, masks)
    golden_container.save_values(path, out, {
        "overrides": overrides(config, extra),
        "net_width": net_size[0], "net_height": net_size[1], "padded_width": padded[1], "padded_height": padded[0]})
    return {"detections": len(values["det_scores"]), "above_0.3": int((values["det_scores"] > 0.3).sum()),
            "masks": [rle.area(rle.encode(m)) for m in masks]}


def same(a, b):
    """Whether two checkpoints hold the same."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def save_legacy(checkpoint, path):
    """The format before torch 1.6. It names storages by their memory addresses, so its bytes differ from run to run:
    a file that holds the same already is left alone."""
    if not (path.exists() and same(torch.load(path), checkpoint)):
        torch.save(checkpoint, path, _use_new_zipfile_serialization=False)


def make_torchvision(folder, kind, seed, half):
    config = {**SMALL, "classes": CLASSES}
    model = golden_torchvision.build(kind, config)
    golden_torchvision.randomise(model, seed)
    picture = gc.picture(150, 131, seed)
    golden_torchvision.calibrate(model, picture, CLASSES)
    state = golden_torchvision.halve(model) if half else model.state_dict()
    if kind == "faster":
        save_legacy(golden_torchvision.old_names(state), folder / "model.pth")
    else:
        torch.save(collections.OrderedDict(state), folder / "model.pth")

    def run(rgb, config):
        again = golden_torchvision.build(kind, {**config, "classes": CLASSES})
        again.load_state_dict(model.state_dict())
        sizes = []
        handle = again.transform.register_forward_hook(lambda m, i, o: sizes.append(o[0].image_sizes[0]))
        values, masks = golden_torchvision.run(again, rgb)
        handle.remove()
        return values, masks, (sizes[0][1], sizes[0][0])
    return run, {"size_rule": "floor_f32"}


def make_thin(folder, framework, thin, seed, half, version):
    w = gc.thin_weights(thin, seed)
    picture = gc.picture(150, 131, seed)

    def values(weights, rgb=picture, config=SMALL):
        with torch.no_grad():
            if framework == "mmdet":
                return golden_mmdet.run(weights, thin, rgb, config, version)
            return golden_detectron2.run(weights, thin, rgb, config)

    gc.calibrate_thin(w, thin, lambda weights: values(weights)[0])
    if half:
        w = gc.round_half(w)
    if framework == "mmdet":
        stored = {k: v.half() if half and v.is_floating_point() else v for k, v in w.items()}
        checkpoint = golden_mmdet.checkpoint(collections.OrderedDict(stored), thin, SMALL, version)
        (save_legacy if thin.style == "caffe" else torch.save)(checkpoint, folder / "model.pth")
    else:
        (folder / "model.pkl").write_bytes(pickle.dumps(golden_detectron2.checkpoint(w), protocol=2))
    target = (golden_mmdet if framework == "mmdet" else golden_detectron2).target_size

    def run(rgb, config):
        v, masks = values(w, rgb, config)
        return v, masks, target(rgb.shape[1], rgb.shape[0], config["long_side"], config["short_side"])
    return run, {}


def make(out, name):
    framework, what, seed, small, large, half = MODELS[name]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    if framework == "torchvision":
        run, extra = make_torchvision(folder, what, seed, half)
    else:
        run, extra = make_thin(folder, framework, what, seed, half, 3 if name.startswith("mmdet3") else 2)
    entry = {"seed": seed}
    for file, size, config, whole in (("reference", small, SMALL, True), ("large", large, LARGE, False)):
        rgb = gc.picture(*size, seed + 100)
        values, masks, net_size = run(rgb, config)
        entry[file] = write_reference(folder / f"{file}.safetensors", rgb, config, extra, net_size, values, masks, whole)
        entry[file]["levels"] = level_counts(values["proposals"])
    entry["files"] = {path.name: {"bytes": path.stat().st_size, "sha256": gc.sha256(path)}
                      for path in sorted(folder.iterdir())}
    return entry


def level_counts(proposals):
    side = np.sqrt((proposals[:, 2] - proposals[:, 0]) * (proposals[:, 3] - proposals[:, 1]))
    level = np.clip(np.floor(np.log2(np.maximum(side, 1e-3) / 56)), 0, 3).astype(int)
    return np.bincount(level, minlength=4).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="tests/golden/data", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    manifest = args.out / "manifest.json"
    models = json.loads(manifest.read_text())["models"] if args.names and manifest.exists() else {}
    for name in args.names or MODELS:
        models[name] = make(args.out, name)
        print(name, json.dumps({k: v for k, v in models[name].items() if k != "files"}))
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "opencv": cv2.__version__,
                "pillow": PIL.__version__, "numpy": np.__version__}
    others = {path.name: {"bytes": path.stat().st_size, "sha256": gc.sha256(path)}
              for path in sorted(args.out.glob("*.safetensors"))}  # made by compare_nuclei.py expect
    manifest.write_text(json.dumps({"script": "scripts/make_golden.py", "versions": versions, "models": models,
                                    "files": others}, indent=1, sort_keys=True) + "\n")
    print(sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file()), "bytes")


if __name__ == "__main__":
    main()
