#!/usr/bin/env python3
"""Exported ONNX files against the library itself.

For each model: `rcnn export`, then onnx's checker with shape inference, then ONNX Runtime on pictures whose size needs no
resizing, and the same pictures through `rcnn detect`. Detections above 0.3 must be the same set, boxes within 0.1 px, scores
within 1e-3, soft masks within 1e-3. A picture without anything to find must give empty outputs on both sides.

    check_onnx.py RCNN MODEL[,KEY=VALUE...]...   settings go to both programs as --set
      --reference M also compare model M with the framework's recorded run beside it (done for each MODEL that has one)
      --openvino    the same from OpenVINO's CPU plugin
      --images DIR  real pictures (what Pillow reads), padded to multiples of 32, instead of made-up ones

A network whose objectness saturates (random weights, ranked by sigmoid) has its order decided by the last bit of a
runtime's sigmoid; such a model is only compared with the framework's recorded run (--reference).

Exit status 77 when onnx or onnxruntime is not installed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as missing:
    print(f"SKIPPED: {missing}; pip install onnx onnxruntime numpy, or name a python that has them in RCNN_ONNX_PYTHON")
    sys.exit(77)

SIZES = [(320, 320), (480, 352), (352, 640)]
SCORE, BOX_PX, SCORE_DIFF, MASK_DIFF = 0.3, 0.1, 1e-3, 1e-3


# ------------------------------------------------------------------------------------------------ pictures

def picture(width, height, seed):
    """RGB u8: discs and soft blobs on a gradient with noise, so that a network has something to answer."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.stack([60 + 80 * x / width, 90 + 60 * y / height, 120 - 50 * x / width], axis=-1)
    for _ in range(24):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        rx, ry = rng.uniform(0.02, 0.25, 2) * min(width, height) + 3
        far = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        weight = np.exp(-far * 2) if rng.random() < 0.5 else (far < 1).astype(np.float64)
        image += weight[..., None] * (rng.uniform(0, 255, 3) - image)
    image += rng.normal(0, 6, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def read_picture(path):
    from PIL import Image
    return np.asarray(Image.open(path).convert("RGB"))


def write_ppm(path, image):
    path.write_bytes(b"P6 %d %d 255\n" % (image.shape[1], image.shape[0]) + image.tobytes())


def normalised(image, config):
    """[1,3,H,W] as the preprocess stage makes it, padded with 0 to multiples of 32."""
    pixels = image[..., ::-1] if config["channel_order"] == "bgr" else image
    x = pixels.astype(np.float32)
    if config["unit_range"]:
        x = x / np.float32(255)
    x = (x - np.float32(config["mean"])) / np.float32(config["std"])
    height, width = x.shape[:2]
    x = np.pad(x, ((0, -height % 32), (0, -width % 32), (0, 0)))
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


# ------------------------------------------------------------------------------------------------ both programs

class Library:
    def __init__(self, program, model, overrides, folder):
        self.program, self.model, self.folder = program, model, folder
        self.overrides = [word for line in overrides for word in ("--set", line)]
        described = self.run("info", model, "--json")
        described = json.loads(described[described.index("{"):])
        self.thin = described["parameters"] < 1e6  # the graph is the same; full-size files take seconds each
        self.config = described["config"]["config"]
        self.categories = described["config"]["category_ids"]

    def run(self, command, *arguments):
        return subprocess.run([self.program, command, *map(str, arguments), *self.overrides], check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def export(self, *arguments):
        path = self.folder / "model.onnx"
        self.run("export", self.model, "-o", path, "-q", *arguments)
        return path

    def detect(self, image):
        """dets [N,5], labels [N], masks [N,S,S] or None."""
        path = self.folder / "picture.ppm"
        write_ppm(path, image)
        height, width = image.shape[:2]
        text = self.run("detect", path, "-m", self.model, "--json", "-", "-q", "--masks",
                        "raw" if self.config["has_mask"] else "none", "--scale",
                        f"{max(width, height)}x{min(width, height)}", "--score", self.config["score_threshold"])
        found = json.loads(text)["images"][0]["detections"]
        boxes = np.array([d["bbox"] for d in found], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        scores = np.array([d["score"] for d in found])
        labels = np.array([self.categories.index(d["category_id"]) for d in found], np.int64)
        masks = None
        if self.config["has_mask"]:
            side = 2 * self.config["mask_pool"]
            masks = np.array([d["segmentation"]["raw"] for d in found]).reshape(-1, side, side)
        return np.column_stack([boxes, scores]), labels, masks


class OnnxRuntime:
    name = "onnxruntime"

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, inputs):
        return dict(zip([o.name for o in self.session.get_outputs()], self.session.run(None, inputs)))


class OpenVino:
    name = "openvino"

    def __init__(self, path):
        import openvino
        core = openvino.Core()
        self.model = core.compile_model(core.read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(self, inputs):
        answer = self.model(inputs)
        return {name: np.asarray(answer[output]) for output in self.model.outputs for name in output.names}


# ------------------------------------------------------------------------------------------------ golden vectors

def read_safetensors(path):
    """-> ({name: array}, metadata); of the types the golden files have."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    types = {"F32": np.float32, "I32": np.int32, "I16": np.int16, "U8": np.uint8}
    arrays = {name: np.frombuffer(data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]],
                                  types[entry["dtype"]]).reshape(entry["shape"]) for name, entry in header.items()}
    return arrays, metadata


def golden_input(values, metadata):
    """The network's input [1,3,H,W] that the framework's run began with, and the size of the image in it."""
    height, width = int(metadata["net_height"]), int(metadata["net_width"])
    padded = int(metadata["padded_height"]), int(metadata["padded_width"])
    x = np.zeros((*padded, 3), np.float32)
    if "image" in values:
        x[:] = values["image"].reshape(x.shape)
    else:
        for c in range(3):
            x[:height, :width, c] = values["image_lut"][c][values["image_u8"][..., c]]
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None]), np.float32([height, width])


# ------------------------------------------------------------------------------------------------ comparison

class Failed(Exception):
    pass


def need(condition, message):
    if not condition:
        raise Failed(message)


def match(ours, theirs):
    """Pairs (i, j) of the same detection: for each of ours the nearest box of the same label."""
    taken, pairs = set(), []
    for i in range(len(ours[0])):
        far = np.abs(theirs[0] - ours[0][i]).max(axis=1) if len(theirs[0]) else np.zeros(0)
        far = np.where(theirs[1] == ours[1][i], far, np.inf)
        far[list(taken)] = np.inf
        need(len(far) and np.isfinite(far.min()), f"detection {i} (score {ours[0][i, 4]:.3f}) is missing")
        taken.add(int(far.argmin()))
        pairs.append((i, int(far.argmin())))
    return pairs


def above(found, score):
    keep = found[0][:, 4] > score
    return found[0][keep], found[1][keep], None if found[2] is None else found[2][keep]


def compare(ours, theirs):
    """Detections above SCORE are the same; ones within SCORE_DIFF of it may be on either side. -> a line of numbers"""
    worst_box = worst_score = worst_mask = 0.0
    count = 0
    for first, second in ((ours, theirs), (theirs, ours)):
        strong, candidates = above(first, SCORE + SCORE_DIFF), above(second, SCORE - SCORE_DIFF)
        count = max(count, len(strong[0]))
        for i, j in match(strong, candidates):
            worst_box = max(worst_box, np.abs(strong[0][i, :4] - candidates[0][j, :4]).max())
            worst_score = max(worst_score, abs(strong[0][i, 4] - candidates[0][j, 4]))
            if strong[2] is not None:
                worst_mask = max(worst_mask, np.abs(strong[2][i] - candidates[2][j]).max())
    need(worst_box <= BOX_PX, f"boxes differ by {worst_box:.3g} px, want at most {BOX_PX}")
    need(worst_score <= SCORE_DIFF, f"scores differ by {worst_score:.3g}, want at most {SCORE_DIFF}")
    need(worst_mask <= MASK_DIFF, f"masks differ by {worst_mask:.3g}, want at most {MASK_DIFF}")
    line = f"{count} above {SCORE} ({len(ours[0])}/{len(theirs[0])} in all)"
    return line + f", box {worst_box:.1e} px, score {worst_score:.1e}, mask {worst_mask:.1e}", count


def unpack(outputs, config):
    dets, labels, masks = outputs["dets"], outputs["labels"], outputs.get("masks")
    side = 2 * config["mask_pool"]
    need(dets.ndim == 2 and dets.shape[1] == 5 and dets.dtype == np.float32, f"dets is {dets.dtype}{dets.shape}")
    need(labels.shape == dets.shape[:1] and labels.dtype == np.int64, f"labels is {labels.dtype}{labels.shape}")
    if config["has_mask"]:
        need(masks.shape == (len(dets), side, side), f"masks is {masks.shape}")
    need(bool(np.all(np.diff(dets[:, 4]) <= 0)), "scores are not in descending order")
    return dets.astype(np.float64), labels, masks


# ------------------------------------------------------------------------------------------------ checks

def check_file(path, opset):
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    need([i.version for i in model.opset_import] == [opset], f"opset is {model.opset_import}")
    need(all(node.domain == "" for node in model.graph.node), "an operator is not standard")
    return model


def check_detector(library, engines, images, opset, padded):
    """Agreement on every image; -> number of detections above the score, over all images."""
    path = library.export("--opset", opset, *(["--image-size"] if padded else []))
    graph = check_file(path, opset).graph
    print(f"  opset {opset}{', image_size input' if padded else ''}: {len(graph.node)} nodes, "
          f"{path.stat().st_size / 1e6:.1f} MB, checker and shape inference pass")
    total = 0
    for make in engines:
        engine = make(path)
        for image in images:
            inputs = {"input": normalised(image, library.config)}
            if padded:
                inputs["image_size"] = np.float32(image.shape[:2])
            theirs = unpack(engine.run(inputs), library.config)
            line, count = compare(library.detect(image), theirs)
            total += count
            print(f"    {engine.name} {image.shape[1]}x{image.shape[0]}: {line}")
    return total


def check_empty(library, make):
    """A threshold that nothing passes, and proposals that none survive: outputs of 0 rows."""
    for what, change in (("no detections", ["score_threshold=1"]), ("no proposals", ["rpn_min_size=65500"])):
        keep = library.overrides
        library.overrides = keep + [word for line in change for word in ("--set", line)]
        path = library.export()
        library.overrides = keep
        outputs = unpack(make(path).run({"input": normalised(picture(320, 320, 1), library.config)}), library.config)
        need(len(outputs[0]) == 0, f"{what}: got {len(outputs[0])} detections")
        print(f"    {make.name} {what}: {', '.join(str(o.shape) for o in outputs if o is not None)}")


def check_parts(library, make):
    """backbone, then heads on the whole detector's boxes: the same masks, and scores that are probabilities."""
    x = normalised(picture(*SIZES[0], seed=7), library.config)
    detector = library.export()
    want = make(detector).run({"input": x})
    path = library.export("--part", "backbone")
    check_file(path, 17)
    dense = make(path).run({"input": x})
    path = library.export("--part", "heads")
    check_file(path, 17)
    inputs = {name: dense[name] for name in ("p2", "p3", "p4", "p5")}
    inputs["rois"] = want["dets"][:, :4]
    if library.config["has_mask"]:
        inputs["mask_rois"], inputs["mask_labels"] = want["dets"][:, :4], want["labels"]
    heads = make(path).run(inputs)
    need(bool(np.allclose(heads["scores"].sum(axis=1), 1, atol=1e-5)), "heads: scores are no probabilities")
    worst = 0.0
    if library.config["has_mask"]:
        worst = float(np.abs(heads["masks"] - want["masks"]).max(initial=0))
    need(worst <= 1e-5, f"heads: masks differ from the detector's by {worst:.3g}")
    print(f"    {make.name} parts: {len(dense)} dense outputs, scores {heads['scores'].shape}, "
          f"deltas {heads['deltas'].shape}, mask {worst:.1e}")


def check_reference(library, make, path):
    """The framework's own detections for the input that its run had: PyTorch against the exported file."""
    values, metadata = read_safetensors(path)
    keep = library.overrides
    library.overrides = keep + [word for line in metadata["overrides"].split() for word in ("--set", line)]
    model = library.export("--image-size")
    library.overrides = keep
    x, size = golden_input(values, metadata)
    dets, labels, masks = unpack(make(model).run({"input": x, "image_size": size}), library.config)
    boxes, scores = values["mask_rois" if library.config["has_mask"] else "nms_boxes"], values["det_scores"]
    if not library.config["has_mask"] and library.config["rescale_first"]:
        boxes = None  # recorded in image coordinates only
    need(labels.tolist() == values["det_labels"].tolist(), f"labels {labels}, want {values['det_labels']}")
    worst = [float(np.abs(dets[:, :4] - boxes).max(initial=0)) if boxes is not None else 0.0,
             float(np.abs(dets[:, 4] - scores).max(initial=0)),
             float(np.abs(masks - values["masks"].reshape(masks.shape)).max(initial=0)) if masks is not None else 0.0]
    need(worst[0] <= BOX_PX and worst[1] <= SCORE_DIFF and worst[2] <= MASK_DIFF,
         f"reference: box {worst[0]:.3g} px, score {worst[1]:.3g}, mask {worst[2]:.3g}")
    print(f"    {make.name} framework's own run: {len(dets)} detections, box {worst[0]:.1e} px, score {worst[1]:.1e}, "
          f"mask {worst[2]:.1e}")


def check_reference_only(name, options, engines, folder):
    print(f"{name}: reference only")
    library = Library(options.rcnn, name, [], folder)
    for make in engines:
        check_reference(library, make, pathlib.Path(name).parent / "reference.safetensors")


def check_model(argument, options, engines, folder):
    name, *settings = argument.split(",")
    library = Library(options.rcnn, name, settings, folder)
    config = library.config
    print(f"{argument}: {config['family']}, {config['style']}, ranked by {config['rpn_rank']}, masks {config['has_mask']}")
    if options.images:
        paths = sorted(p for p in pathlib.Path(options.images).iterdir() if p.suffix in (".png", ".jpg", ".ppm"))
        total = check_detector(library, engines, [read_picture(p) for p in paths], 17, True)
    else:
        images = [picture(width, height, seed) for seed, (width, height) in enumerate(SIZES)]
        total = check_detector(library, engines, images, 17, False)
        odd = picture(SIZES[0][0] - 19, SIZES[0][1] - 7, 5)
        check_detector(library, engines, [odd], 17, True)
        for opset in (16, 21) if library.thin else ():
            check_detector(library, engines[:1], images[:1], opset, False)
    need(total > 0, f"no detection above {SCORE}: nothing was compared")
    reference = pathlib.Path(name).parent / "reference.safetensors"
    for make in engines:
        if reference.exists():
            check_reference(library, make, reference)
        if library.thin:
            check_empty(library, make)
            check_parts(library, make)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rcnn")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--reference", action="append", default=[])
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--images")
    options = parser.parse_args()
    engines = [OnnxRuntime] + ([OpenVino] if options.openvino else [])
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    failures = 0
    work = [(check_model, argument) for argument in options.models]
    work += [(check_reference_only, argument) for argument in options.reference]
    for check, argument in work:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(argument, options, engines, pathlib.Path(folder))
            except (Failed, subprocess.CalledProcessError, onnx.checker.ValidationError) as error:
                print(f"FAILED {argument}: {error}")
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
