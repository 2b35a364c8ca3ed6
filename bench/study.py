#!/usr/bin/env python3
"""The study of Mask R-CNN's inference, ours and PyTorch's, alternating in one session of the machine, as one report.

    study.py --build BUILD --model FILE --image FILE --out DIR [--device cuda|cpu] [--sizes 1333x800,3840x2304] [--rounds 2]
             [--samples 10] [--peer-samples 3] [--peer-modes LIST] [--no-peer] [--tune] [--threads N] [--python PYTHON]
             [--max-seconds N]

`rcnn bench` in all its modes, and peers/study.py in its own, take turns: the peer is started and warmed up first and waits,
then each round is one `rcnn bench` of --samples samples and one round of the peer. Samples of all rounds are put together.
DIR gets study.json and peers.json (the schema of docs/benchmarking.md), report.html with charts, study.md, study.csv and
trace.json, and under ours/ the report of the last `rcnn bench` alone, which has the pictures of its detections. No round is
begun after --max-seconds; what was measured until then is written.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import compare_gpu

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind in (("--build", pathlib.Path), ("--model", str), ("--image", str), ("--out", pathlib.Path)):
        parser.add_argument(name, required=True, type=kind)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--sizes", default="1333x800,3840x2304")
    parser.add_argument("--rounds", default=2, type=int)
    parser.add_argument("--samples", default=10, type=int)
    parser.add_argument("--peer-samples", default=3, type=int)
    parser.add_argument("--peer-modes", default="")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--max-seconds", default=1e9, type=float)
    return parser.parse_args()


def start_peer(args):
    rcnn, state = args.build / "rcnn", args.out / "state.safetensors"
    subprocess.run([rcnn, "convert", args.model, state, "--names", "torchvision", "-q"], check=True)
    command = [args.python, HERE / "peers" / "study.py", "--state", state, "--image", args.image, "--sizes", args.sizes,
               "--device", args.device, "--samples", args.peer_samples, "--warmup", 1, "--wait"]
    command += ["--modes", args.peer_modes] if args.peer_modes else []
    command += ["--threads", args.threads] if args.threads else []
    turn = compare_gpu.Turn(command)
    turn.answer()  # ready
    state.unlink()
    return turn


def our_round(args):
    path = args.out / "round.json"
    command = [args.build / "rcnn", "bench", "-m", args.model, "--device", args.device, "--image", args.image, "--sizes",
               args.sizes, "--samples", args.samples, "--json", path, "-q"]
    command += ["--tune"] if args.tune else []
    command += ["--threads", args.threads] if args.threads else []
    command += ["--report", args.out / "ours", "--trace", args.out / "trace.json"]
    subprocess.run([str(c) for c in command], check=True)
    result = json.loads(path.read_text())
    path.unlink()
    return result


def merged(rounds):
    """The last round's result with the samples of all. Overlapped batches have images a second of their own."""
    rows = compare_gpu.merge_rows(rounds)
    for row, same in zip(rows, zip(*(r["rows"] for r in rounds))):
        if not row["skipped"]:
            row["images_per_s"] = round(statistics.median(r["images_per_s"] for r in same), 2)
    return {**rounds[-1], "rows": rows}


def write(path, result):
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(path)


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    peer = None if args.no_peer else start_peer(args)
    ours, theirs = [], []
    for i in range(args.rounds):
        late = time.monotonic() - began > args.max_seconds
        if late and ours:
            print(f"study.py: {i} of {args.rounds} rounds, then the time was up", file=sys.stderr)
            break
        ours.append(our_round(args))
        if peer:
            theirs.append(peer())
    if peer:
        peer.end()
    write(args.out / "study.json", merged(ours))
    show = [args.build / "rcnn", "bench", "--from", args.out / "study.json", "--report", args.out, "--markdown",
            args.out / "study.md", "--csv", args.out / "study.csv"]
    if theirs:
        write(args.out / "peers.json", {**theirs[-1], "rows": compare_gpu.merge_rows(theirs)})
        show += ["--with", args.out / "peers.json"]
    subprocess.run([str(c) for c in show], check=True)


if __name__ == "__main__":
    main()
