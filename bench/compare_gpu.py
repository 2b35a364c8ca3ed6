#!/usr/bin/env python3
"""rcnn and PyTorch on a GPU, alternating in one session of the machine; prints one JSON object.

    compare_gpu.py --build BUILD --image FILE --model FILE [--python PYTHON] [--rounds 3] [--samples 60] [--peer-samples 4]
                   [--peer-modes LIST] [--peer-sizes LIST] [--peer-device cuda] [--max-autotune] [--work DIR] [--commit TEXT]
                   [--tune] [--no-peer]

The picture is resized to 1333x800 and 3840x2304 once. peers/study.py (torchvision, the study's four modes in torch
operators, the compiled dense part) is started and warmed up before bench_gpu, so that neither tunes beside the other;
then they take turns, a round each. A copy and a matrix product of the same session give the device's own ceilings. No
accuracy here: the same session's `rcnn eval` prints it (scripts/gpu_suite.sh).

Members: "rcnn" and "peer", times by case; ratios, the peer's median over rcnn's; and "bench", "facts", "peak" and "rows"
of the schema of `rcnn bench`, rows of both sides, so that the file can be read as one of its results.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
import result  # noqa: E402
CEILINGS = """
import json, torch
def best(f):
    times = []
    for _ in range(30):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record(); f(); b.record(); torch.cuda.synchronize(); times.append(a.elapsed_time(b))
    return sorted(times)[15]
n = 8192
x, y = (torch.randn(n, n, device="cuda").half() for _ in range(2))
c = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
d = torch.empty_like(c)
print(json.dumps({"device": torch.cuda.get_device_name(), "fp16_tflops": 2 * n ** 3 / best(lambda: x @ y) / 1e9,
                  "copy_tb_s": 2 * c.numel() / best(lambda: d.copy_(c)) / 1e9}))
"""


SIZES = ((1333, 800), (3840, 2304))
STAGES = {"upload": "upload", "preprocess": "preprocess", "backbone": "backbone", "neck": "neck", "rpn": "rpn_head",
          "roi_pool": "bbox_forward", "box_head": "bbox_forward", "box_post": "bbox_post", "mask_head": "mask_forward",
          "postprocess": "mask_post", "download": "download"}  # of the library: of `rcnn bench`
STAGED = {"stages_fp16": "fp16_raw", "stages_fp16_batch8": "fp16_raw_batch8", "stages_fp16_3840x2304": "fp16_raw_3840x2304"}
OVERLAPPED = ("fp16_raw_batch8", "fp16_raw_batch1_overlapped")  # time between collects, not of one call
DENSE = ("backbone", "neck", "rpn_head")


def merge(rounds):
    """Samples of all rounds together, medians of stages over the rounds; other members from the last."""
    out = {}
    for name, last in rounds[-1].items():
        if not isinstance(last, dict) or "samples" not in last:
            out[name] = last
            continue
        times = result.times([s for r in rounds for s in r[name]["samples"]])
        out[name] = {**{k: v for k, v in last.items() if k != "samples"}, **times, "sample_count": times["count"],
                     "round_medians_ms": [r[name]["median_ms"] for r in rounds]}
        if "stages_ms" in last:
            out[name]["stages_ms"] = {stage: round(statistics.median(r[name]["stages_ms"][stage] for r in rounds), 4)
                                      for stage in last["stages_ms"]}
        if "batch" in last:
            out[name]["images_per_s"] = round(1000 * last["batch"] / out[name]["median_ms"], 1)
    return out


def bench_stages(stages_ms):
    """Milliseconds by the library's stage -> by stage of `rcnn bench`."""
    out = {}
    for name, ms in stages_ms.items():
        if name in STAGES:
            out[STAGES[name]] = round(out.get(STAGES[name], 0) + ms, 4)
    return out


def our_rows(cases):
    """Rows of rcnn from bench_gpu's merged cases."""
    rows = []
    staged = {measured: cases[name] for name, measured in STAGED.items() if name in cases}
    for name, case in cases.items():
        if name in STAGED or "median_ms" not in case:
            continue
        size = SIZES[name.endswith("_3840x2304")]
        words = name.split("_")
        row = {"subject": "rcnn", "mode": name.removesuffix("_3840x2304"), "device": "cuda:0", "precision": words[0],
               "preprocess": "gpu", "masks": "none" if words[1] == "boxes" else words[1], "width": size[0], "height": size[1],
               "batch": case["batch"], "skipped": "", "images_per_s": case["images_per_s"],
               "detections": case["detections"], "device_mb": case["device_mb"], "first_run_ms": case["first_run_ms"]}
        if name not in OVERLAPPED:
            row["end_to_end"] = result.times(case["samples_ms"])
        if name in staged:
            row["staged"] = result.times(staged[name]["samples_ms"])
            row["stages"] = {stage: {"count": staged[name]["count"], "median_ms": ms}
                             for stage, ms in bench_stages(staged[name]["stages_ms"]).items()}
        rows.append(row)
    return rows


def merge_rows(rounds):
    """Rows of study.py with the samples of all rounds; one that failed in any round is the failed one."""
    rows = []
    for same in zip(*(r["rows"] for r in rounds)):
        row = next((r for r in same if r["skipped"]), same[-1])
        join = lambda get: result.times([s for r in same for s in get(r)["samples_ms"]])
        if not row["skipped"]:
            row = {**row, **{span: join(lambda r: r[span]) for span in ("end_to_end", "staged") if span in row}}
            if "stages" in row:
                row["stages"] = {name: join(lambda r: r["stages"][name]) for name in row["stages"]}
            if "images_per_s" in row:
                row["images_per_s"] = round(1000 * row["batch"] / row["end_to_end"]["median_ms"], 2)
        rows.append(row)
    return rows


def peer_cases(rows):
    """Times of study.py by mode and size, in the form of bench_gpu's cases."""
    out = {}
    for row in rows:
        name = f"{row['mode']}_{row['width']}x{row['height']}"
        if row["skipped"]:
            out[name] = {"skipped": row["skipped"]}
            continue
        out[name] = {**row["end_to_end"], **{k: row[k] for k in ("images_per_s", "detections", "device_mb") if k in row}}
        if "stages" in row:
            out[name]["stages_ms"] = {stage: t["median_ms"] for stage, t in row["stages"].items()}
    return out


def ratios(peer, mine):
    """Medians of the peer over those of rcnn; what was not measured on both sides is left out."""
    out = {}
    for width, height in SIZES:
        size, suffix = f"{width}x{height}", "_3840x2304" if width == 3840 else ""
        raw, rle, staged = (mine.get(name + suffix, {}) for name in ("fp16_raw", "fp16_rle", "stages_fp16"))
        dense = bench_stages(staged.get("stages_ms", {}))
        dense = {"median_ms": sum(dense[stage] for stage in DENSE)} if all(s in dense for s in DENSE) else {}
        for name, theirs, ours in (("torchvision_over_rcnn_rle", "torchvision_fp16", rle),
                                   ("torchvision_over_rcnn_raw", "torchvision_fp16", raw),
                                   ("study_raw_mask_over_rcnn_raw", "inference_raw_mask", raw),
                                   ("compiled_dense_over_rcnn_dense", "compiled_dense", dense)):
            theirs = peer.get(f"{theirs}_{size}", {})
            if theirs.get("median_ms") and ours.get("median_ms"):
                out.setdefault(name, {})[size] = round(theirs["median_ms"] / ours["median_ms"], 2)
    return out


class Turn:
    def __init__(self, command):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"compare_gpu: {self.process.args[:2]} ended with status {self.process.wait()}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--image", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--samples", default=60, type=int)
    parser.add_argument("--peer-samples", default=4, type=int)
    parser.add_argument("--work", default="out/gpu", type=pathlib.Path)
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--peer-modes", help="of peers/study.py, with commas; all when not given")
    parser.add_argument("--peer-sizes", default=",".join(f"{w}x{h}" for w, h in SIZES), help="smaller ones try the peer on a CPU")
    parser.add_argument("--max-autotune", action="store_true", help="the peer's compiler times its own convolutions too: minutes")
    parser.add_argument("--peer-device", default="cuda", choices=("cuda", "cpu"), help="cpu tries the peer without a GPU")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    small, large, state = (args.work / n for n in ("small.ppm", "large.ppm", "state.safetensors"))
    resize = ("import sys; from PIL import Image; i = Image.open(sys.argv[1]).convert('RGB'); "
              "i.resize((1333, 800), Image.BICUBIC).save(sys.argv[2]); i.resize((3840, 2304), Image.BICUBIC).save(sys.argv[3])")
    subprocess.run([args.python, "-c", resize, args.image, small, large], check=True)
    ours = [args.build / "bench" / "bench_gpu", "-m", args.model, "--image", small, "--large", large, "--samples",
            args.samples, "--wait"] + (["--tune"] if args.tune else [])
    turns = {}
    if not args.no_peer:
        subprocess.run([args.build / "rcnn", "convert", args.model, state, "--names", "torchvision"],
                       check=True, stdout=subprocess.DEVNULL)
        turns["peer"] = Turn([args.python, HERE / "peers" / "study.py", "--state", state, "--image", args.image, "--sizes",
                              args.peer_sizes, "--samples", args.peer_samples, "--warmup", 3, "--device", args.peer_device,
                              "--wait"]
                             + (["--modes", args.peer_modes] if args.peer_modes else [])
                             + (["--max-autotune"] if args.max_autotune else []))
        turns["peer"].answer()
    turns["rcnn"] = Turn(ours)
    rounds = {name: [] for name in turns}
    for _ in range(args.rounds):
        for name, turn in turns.items():
            rounds[name].append(turn())
    for turn in turns.values():
        turn.end()
    ceilings = None
    if args.peer_device == "cuda":
        ceilings = json.loads(subprocess.run([args.python, "-c", CEILINGS], check=True, stdout=subprocess.PIPE, text=True).stdout)
    mine, theirs = merge(rounds["rcnn"]), merge_rows(rounds["peer"]) if "peer" in rounds else []
    facts = rounds["peer"][-1]["facts"] if theirs else {}
    out = {"schema": 1, "bench": "rcnn", "complete": True, "random_weights": False,
           "facts": {**facts, "commit": args.commit, "image": pathlib.Path(args.image).name, "rounds": str(args.rounds)},
           "commit": args.commit, "ceilings": ceilings, "image": pathlib.Path(args.image).name, "rounds": args.rounds,
           "rcnn": mine}
    if ceilings:
        out["facts"].setdefault("device", ceilings["device"])
        out["peak"] = {"precision": "fp16", "tflops": ceilings["fp16_tflops"], "gb_s": 1000 * ceilings["copy_tb_s"]}
    if theirs:
        out["peer"] = peer_cases(theirs)
        out.update(ratios(out["peer"], mine))
    out["rows"] = our_rows(mine) + theirs
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
