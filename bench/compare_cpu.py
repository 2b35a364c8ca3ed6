#!/usr/bin/env python3
"""rcnn and torchvision on one picture, alternating in one session of the machine; prints one JSON object.

    compare_cpu.py --bench BUILD/bench/bench_pipeline --checkpoint FILE --image FILE [--python PYTHON] [--rounds 4] [--threads 2]

Each round starts bench_pipeline (2 samples after 3 warm runs) and then bench/peers/torchvision_cpu.py (2 samples after 1),
so that a slow spell of the machine meets both. Spans: rcnn from decoded pixels to soft 28x28 masks in host memory, and again
with full-resolution run-length masks; torchvision from decoded pixels to boolean masks of the whole image. At most 100
detections on both sides. PYTHON is one that has torch and torchvision.
"""
import argparse
import json
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def run(command):
    return json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)


def summary(samples):
    ordered = sorted(samples)
    pick = lambda q: ordered[round(q * (len(ordered) - 1))]
    return {"median_ms": round(statistics.median(ordered), 2), "p10_ms": pick(0.1), "p90_ms": pick(0.9),
            "samples": samples}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--rounds", default=4, type=int)
    parser.add_argument("--threads", default=2, type=int)
    args = parser.parse_args()
    raw, rle, bare, peer, last, peer_last = [], [], [], [], {}, {}
    for _ in range(args.rounds):
        ours = [args.bench, "-m", args.checkpoint, "--image", args.image, "--threads", args.threads, "--samples", 2]
        last = run(ours + ["--masks", "raw"])
        raw += last["whole_pipeline"]["samples"]
        bare += last["bare_primitives"]["samples"]
        rle += run(ours + ["--masks", "rle"])["whole_pipeline"]["samples"]
        peer_last = run([args.python, HERE / "peers" / "torchvision_cpu.py", "--threads", args.threads, "--runs", 2,
                         "--checkpoint", args.checkpoint, "--image", args.image, "--max-dets", 100])
        peer += peer_last["total_ms"]["samples"]
    commit = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    print(json.dumps({
        "schema": 1, "bench": "compare_cpu", "commit": commit.stdout.strip(), "cpu": peer_last["cpu"],
        "threads": args.threads, "precision": "fp32", "network_input": last["network_input"],
        "proposals": last["proposals"], "detections": {"rcnn": last["detections"], "torchvision": peer_last["detections"]},
        "library": last["library"], "peer_versions": peer_last["versions"],
        "rcnn_raw_masks": summary(raw), "rcnn_rle_masks": summary(rle), "bare_primitives": summary(bare),
        "torchvision_boolean_masks": summary(peer),
        "pipeline_over_primitives": round(statistics.median(raw) / statistics.median(bare), 4),
        "torchvision_over_rcnn": round(statistics.median(peer) / statistics.median(raw), 2),
        "rcnn_stages_ms": last["stages_ms"], "rcnn_peak_resident_mb": last["peak_resident_mb"],
    }, indent=1))


if __name__ == "__main__":
    main()
