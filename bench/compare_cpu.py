#!/usr/bin/env python3
"""rcnn and other runtimes on one picture and one model, taking turns in one session of the machine; writes one JSON object.

    compare_cpu.py --build BUILD --model FILE --image FILE [--model-int8 FILE] [--calibrate DIR] --work DIR -o FILE
                   [--precisions fp32,bf16,int8] [--peers torchvision,onnxruntime,openvino] [--python PYTHON]
                   [--torch-python PYTHON] [--rounds 4] [--samples 2] [--threads 2]

BUILD holds rcnn and bench/bench_pipeline. DIR gets what the peers read: `rcnn export` and `rcnn convert` files of the model,
and the peers' own quantised files; all are kept for the next time. PYTHON has onnx, onnxruntime, openvino and nncf,
--torch-python's has torch and torchvision (both also numpy, pillow, safetensors). The picture must have the network's size
(1333x800), so that nobody resizes. What cannot run is left out, with the reason in "skipped".

Peers are started once, one after another, and wait; then each round runs every side in turn: rcnn in a process of its own
(two runs not counted, `samples` counted, raw masks; then with run-length masks, four pictures at a time, one thread, and
with every convolution left to oneDNN), a peer with one run not counted
and `samples` counted per span. All processes have the first `threads` cores and OMP_NUM_THREADS.

Spans. whole: decoded pixels to boxes, scores, labels and masks in host memory; masks are soft 28x28 for rcnn, ONNX Runtime
and OpenVINO, boolean of the whole image for torchvision and run lengths of the whole image for "rle" of rcnn. batch4: of
four pictures at a time. one_thread, direct: whole, so. dense:
normalised pixels to pyramid and RPN predictions (rcnn and torchvision: that part of a whole run). At most 100 detections.
"agreement" pairs boxes above score 0.5 with those of rcnn in fp32 at IoU 0.5: it shows that the work was the same, not how
good a model is.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PEERS = {  # name: script, precisions it has on a CPU
    "torchvision": ("torchvision_cpu.py", ("fp32", "bf16")),
    "onnxruntime": ("onnxruntime_cpu.py", ("fp32", "int8")),
    "openvino": ("openvino_cpu.py", ("fp32", "bf16", "int8")),
}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    pass


def output(command, variables={}):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode:
        raise Failed((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return done.stdout


def first_object(text):
    return json.loads(text[text.index("{"):])


def summary(samples):
    ordered = sorted(samples)
    pick = lambda q: ordered[int(q * (len(ordered) - 1) + 0.5)]
    return {"median_ms": round(statistics.median(ordered), 2), "p10_ms": pick(0.1), "p90_ms": pick(0.9),
            "samples": samples}


# ------------------------------------------------------------------------------------------------------ sides

class Ours:
    """rcnn in one precision: new processes each round, the last one's details are kept."""

    def __init__(self, args, precision):
        self.name, self.precision = "rcnn", precision
        self.model = args.model_int8 if precision == "int8" else args.model
        if not self.model:
            raise Failed("no --model-int8")
        self.rcnn, self.args = args.build / "rcnn", args
        self.command = [args.build / "bench" / "bench_pipeline", "-m", self.model, "--image", args.image, "--precision",
                        precision, "--threads", args.threads, "--samples", args.samples]
        self.times = {"whole": [], "rle": [], "batch4": [], "one_thread": [], "direct": [], "dense": [], "arithmetic": [],
                      "other": [], "bare": []}
        self.about = {"found": self.detect()}

    def detect(self):
        text = output([self.rcnn, "detect", self.args.image, "-m", self.model, "--device", "cpu", "--precision",
                       self.precision, "--threads", self.args.threads, "--json", "-", "--masks", "none", "-n", 100, "-q"])
        found = [d for d in first_object(text)["images"][0]["detections"] if d["score"] > 0.5]
        return {"boxes": [[x, y, x + w, y + h] for x, y, w, h in (d["bbox"] for d in found)],
                "scores": [d["score"] for d in found]}

    def round(self):
        last = json.loads(output(self.command + ["--masks", "raw"]))
        for key, source in (("whole", "whole_pipeline"), ("dense", "dense"), ("arithmetic", "arithmetic"),
                            ("bare", "bare_primitives")):
            self.times[key] += last[source]["samples"]
        self.times["other"].append(last["other"]["median_ms"])
        for key, options, variables in (("rle", ["--masks", "rle"], {}), ("batch4", ["--batch", 4], {}),
                                        ("one_thread", ["--threads", 1], {"OMP_NUM_THREADS": "1"}),
                                        ("direct", [], {"RCNN_CPU_CONV": "direct"})):
            run = json.loads(output(self.command + ["--masks", "raw", "--bare", 0] + options, variables))
            self.times[key] += run["whole_pipeline"]["samples"]
        self.last = last

    def report(self):
        median = {key: statistics.median(samples) for key, samples in self.times.items()}
        last = {key: self.last[key] for key in ("library", "network_input", "proposals", "detections", "gmac",
                                                "primitive_types", "stages_ms", "peak_resident_mb")}
        return {**{key: summary(samples) for key, samples in self.times.items()},
                "whole_over_bare": round(median["whole"] / median["bare"], 4),
                "other_share": round(median["other"] / (median["other"] + median["arithmetic"]), 4),
                "other_ops_ms": self.last["other"]["ops_ms"], **last}

    def stop(self):
        pass


class Peer:
    """A script of bench/peers, started and waiting for a round."""

    def __init__(self, args, name, precision):
        self.name, self.precision, self.times = name, precision, {}
        script, _ = PEERS[name]
        python = args.torch_python if name == "torchvision" else args.python
        if precision == "int8" and not args.calibrate:
            raise Failed("no --calibrate")
        command = [python, HERE / "peers" / script, "--work", args.work, "--image", args.image, "--precision", precision,
                   "--threads", args.threads, "--samples", args.samples, "--wait"]
        command += ["--calibrate", args.calibrate] if args.calibrate else []
        self.log = args.work / f"{name}_{precision}.log"
        try:
            with open(self.log, "w") as log:
                self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                stderr=log, text=True)
        except OSError as error:
            raise Failed(str(error)) from None
        self.about = self.read()["about"]

    def read(self):
        for line in self.process.stdout:  # libraries may print lines of their own
            if line.startswith('{"'):
                return json.loads(line)
        self.process.wait()
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        raise Failed(lines[-1].strip() if lines else f"exit status {self.process.returncode}")

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for span, samples in self.read().items():
            self.times.setdefault(span, []).extend(samples)

    def report(self):
        about = {key: value for key, value in self.about.items() if key not in ("peer", "precision", "threads", "found")}
        return {**{span: summary(samples) for span, samples in self.times.items()}, **about}

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


# ------------------------------------------------------------------------------------------------------ agreement

def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return both / (area(a) + area(b) - both) if both else 0


def agreement(reference, found):
    """Largest IoU first, each box once."""
    pairs = sorted(((iou(a, b), i, j) for i, a in enumerate(reference["boxes"]) for j, b in enumerate(found["boxes"])),
                   reverse=True)
    left, right, matched = set(), set(), []
    for value, i, j in pairs:
        if value >= 0.5 and i not in left and j not in right:
            left.add(i)
            right.add(j)
            matched.append((value, abs(reference["scores"][i] - found["scores"][j])))
    return {"boxes": len(found["boxes"]), "reference": len(reference["boxes"]), "matched": len(matched),
            "mean_iou": round(statistics.mean(m[0] for m in matched), 4) if matched else 0,
            "mean_score_difference": round(statistics.mean(m[1] for m in matched), 5) if matched else 0}


# ------------------------------------------------------------------------------------------------------ all

def stale(path, model):
    return not path.exists() or path.stat().st_mtime < model.stat().st_mtime


def prepare(args):
    """The files that peers read. Quantised ones of an older model go."""
    rcnn, work = args.build / "rcnn", args.work
    work.mkdir(parents=True, exist_ok=True)
    if stale(work / "config.json", args.model):
        for old in [*work.glob("ort_*"), *work.glob("ov_*")]:
            old.unlink()
        for part in ("all", "backbone"):
            output([rcnn, "export", args.model, "-o", work / f"{part}.onnx", "--part", part, "--set", "max_detections=100",
                    "-q"])
        output([rcnn, "convert", args.model, work / "state.safetensors", "--names", "torchvision", "-q"])
        config = first_object(output([rcnn, "info", args.model, "--json"]))["config"]["config"]
        (work / "config.json").write_text(json.dumps(config))
    return json.loads((work / "config.json").read_text())


def check_size(args, config):
    from_pixels = "from PIL import Image; import sys; print(*Image.open(sys.argv[1]).size)"
    size = [int(n) for n in output([args.python, "-c", from_pixels, args.image]).split()]
    if min(config["long_side"] / max(size), config["short_side"] / min(size)) != 1:
        sys.exit(f"compare_cpu: want a picture that the model does not resize, got {size[0]}x{size[1]}")
    return size


def start(args, skipped):
    sides = []
    wanted = [("rcnn", p) for p in args.precisions]
    wanted += [(name, p) for name in args.peers for p in PEERS[name][1] if p in args.precisions]
    for name, precision in wanted:
        say(f"starting {name} {precision}")
        try:
            sides.append(Ours(args, precision) if name == "rcnn" else Peer(args, name, precision))
        except Failed as reason:
            skipped[f"{name} {precision}"] = str(reason)
            say(f"  skipped: {reason}")
    return sides


def rounds(args, sides, skipped):
    for number in range(args.rounds):
        for side in list(sides):
            say(f"round {number + 1} of {args.rounds}: {side.name} {side.precision}")
            try:
                side.round()
            except (Failed, KeyError, json.JSONDecodeError) as reason:
                skipped[f"{side.name} {side.precision}"] = f"round {number + 1}: {reason}"
                say(f"  dropped: {reason}")
                side.stop()
                sides.remove(side)


def ratios(sides):
    """Median of each peer's whole run over that of rcnn in the same precision, and over rcnn's fastest."""
    ours = {s["precision"]: s["whole"]["median_ms"] for s in sides if s["side"] == "rcnn"}
    answer = {}
    for side in sides:
        if side["side"] != "rcnn" and "whole" in side and ours:
            whole = side["whole"]["median_ms"]
            answer[f"{side['side']} {side['precision']}"] = {
                **({"over_rcnn_same": round(whole / ours[side["precision"]], 2)} if side["precision"] in ours else {}),
                "over_rcnn_fastest": round(whole / min(ours.values()), 2)}
    return answer


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


def cpu_flags():
    with open("/proc/cpuinfo") as file:
        flags = next((line.split(":", 1)[1].split() for line in file if line.startswith("flags")), [])
    return [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8") if f in flags]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--model-int8", type=pathlib.Path)
    parser.add_argument("--image", required=True, type=pathlib.Path)
    parser.add_argument("--calibrate", type=pathlib.Path, help="folder of pictures for the peers' int8")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("-o", "--output", required=True, type=pathlib.Path)
    parser.add_argument("--precisions", default="fp32,bf16,int8", type=lambda text: text.split(","))
    parser.add_argument("--peers", default=",".join(PEERS), type=lambda text: [p for p in text.split(",") if p])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch-python")
    parser.add_argument("--rounds", default=4, type=int)
    parser.add_argument("--samples", default=2, type=int)
    parser.add_argument("--threads", default=2, type=int)
    args = parser.parse_args()
    args.torch_python = args.torch_python or args.python
    return args


def main():
    args = arguments()
    cores = sorted(os.sched_getaffinity(0))[:args.threads]
    os.sched_setaffinity(0, cores)  # all children inherit it
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    skipped, began, load = {}, time.time(), os.getloadavg()[0]
    if load > 0.5:
        say(f"load is {load:.2f}: other programs are running, times will be too long")
    size = check_size(args, prepare(args))
    sides = start(args, skipped)
    started = time.time()
    rounds(args, sides, skipped)
    reference = next((s.about["found"] for s in sides if s.name == "rcnn" and s.precision == "fp32"), None)
    reports = []
    for side in sides:
        found = side.about.get("found")
        reports.append({"side": side.name, "precision": side.precision, **side.report(),
                        **({"agreement": agreement(reference, found)} if reference and found else {})})
        side.stop()
    commit = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    args.output.write_text(json.dumps({
        "schema": 2, "bench": "compare_cpu", "commit": commit.stdout.strip(), "cpu": cpu_name(), "cpu_flags": cpu_flags(),
        "cores": cores, "threads": args.threads, "image": size, "rounds": args.rounds, "samples": args.samples,
        "load_before": round(load, 2), "start_s": round(started - began), "rounds_s": round(time.time() - started),
        "sides": reports, "ratios": ratios(reports), "skipped": skipped,
    }, indent=1) + "\n")


if __name__ == "__main__":
    main()
