#!/usr/bin/env python3
"""rcnn and torchvision on a GPU, alternating in one session of the machine; prints one JSON object.

    compare_gpu.py --build BUILD --image FILE --model FILE [--python PYTHON] [--rounds 3] [--samples 60] [--peer-samples 15]
                   [--work DIR] [--commit TEXT] [--tune] [--no-peer] [--max-autotune] [--peer-device cuda]

The picture is resized to 1333x800 and 3840x2304 once. peers/torchvision_gpu.py is started and warmed up before bench_gpu,
so that neither tunes beside the other; then they take turns, a round each. A copy and a matrix product of the same session give the device's own ceilings. No accuracy here:
the same session's `rcnn eval` prints it (scripts/gpu_suite.sh).
"""
import argparse
import json
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
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


def merge(rounds):
    """Samples of all rounds together; other members from the last."""
    out = {}
    for name, last in rounds[-1].items():
        if not isinstance(last, dict) or "samples" not in last:
            out[name] = last
            continue
        samples = [s for r in rounds for s in r[name]["samples"]]
        ordered = sorted(samples)
        pick = lambda q: ordered[round(q * (len(ordered) - 1))]
        out[name] = {**{k: v for k, v in last.items() if k != "samples"}, "median_ms": statistics.median(ordered),
                     "p10_ms": pick(0.1), "p90_ms": pick(0.9), "min_ms": ordered[0], "sample_count": len(samples),
                     "round_medians_ms": [r[name]["median_ms"] for r in rounds]}
        if "batch" in last:
            out[name]["images_per_s"] = round(1000 * last["batch"] / out[name]["median_ms"], 1)
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
    parser.add_argument("--peer-samples", default=15, type=int)
    parser.add_argument("--work", default="out/gpu", type=pathlib.Path)
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
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
        turns["peer"] = Turn([args.python, HERE / "peers" / "torchvision_gpu.py", "--state", state, "--image", small,
                              "--large", large, "--samples", args.peer_samples, "--device", args.peer_device, "--wait"]
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
    out = {"schema": 1, "bench": "compare_gpu", "commit": args.commit, "ceilings": ceilings, "image": pathlib.Path(args.image).name,
           "rounds": args.rounds, **{name: merge(r) for name, r in rounds.items()}}
    if "peer" in out:
        peer, mine = out["peer"], out["rcnn"]
        ratio = lambda a, b: round(a["median_ms"] / b["median_ms"], 2)
        out["torchvision_over_rcnn_rle"] = {
            "1333x800": ratio(peer["torchvision_fp16_autocast_1333x800"], mine["fp16_rle"]),
            "3840x2304": ratio(peer["torchvision_fp16_autocast_3840x2304"], mine["fp16_rle_3840x2304"])}
        out["torchvision_over_rcnn_raw"] = {
            "1333x800": ratio(peer["torchvision_fp16_autocast_1333x800"], mine["fp16_raw"]),
            "3840x2304": ratio(peer["torchvision_fp16_autocast_3840x2304"], mine["fp16_raw_3840x2304"])}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
