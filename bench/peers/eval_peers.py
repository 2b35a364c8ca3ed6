#!/usr/bin/env python3
"""Times `rcnn eval` beside pycocotools and faster-coco-eval on one data set, each in a process of its own, by turns.

    eval_peers.py --rcnn build/release/rcnn --set DIR [--threads 2] [--rounds 3] > bench/results/eval_cpu.json

DIR holds gt.json, dt_bbox.json and dt_segm.json, as scripts/make_eval_set.py writes them. Timed is the whole process:
start, reading, evaluating, summary; of the Python peers also the time without start and imports ("inner_s"). The twelve
numbers of all must agree to 1e-9, or nothing is printed. Needs pycocotools and faster-coco-eval in this Python.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version

PEER = """
import sys, time, json, contextlib, io
package, gt, dt, iou_type = sys.argv[1:5]
if package == "pycocotools":
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval as Evaluation
else:
    from faster_coco_eval import COCO, COCOeval_faster as Evaluation
start = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(gt)
    e = Evaluation(truth, truth.loadRes(dt), iou_type)
    e.evaluate(); e.accumulate(); e.summarize()
print(json.dumps({"stats": [float(v) for v in e.stats[:12]], "inner_s": time.perf_counter() - start}))
"""

# In a process of its own: Linux starts a child's peak memory at its parent's, so this one stays small.
COUNT = """
import json, os, sys
gt, dt = (json.load(open(os.path.join(sys.argv[1], name))) for name in ("gt.json", "dt_bbox.json"))
print(json.dumps({"images": len(gt["images"]), "annotations": len(gt["annotations"]), "detections": len(dt)}))
"""


def measure(command, env):
    """Wall seconds, peak MiB and output of one process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed with status {status}")
    return {"wall_s": time.perf_counter() - start, "peak_mib": usage.ru_maxrss / 1024,
            "cpu_s": usage.ru_utime + usage.ru_stime}, out


def run(tool, args, iou_type):
    gt, dt = os.path.join(args.set, "gt.json"), os.path.join(args.set, f"dt_{iou_type}.json")
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    if tool == "rcnn":
        result, out = measure([args.rcnn, "eval", "--ann", gt, "--results", dt, "--iou-type", iou_type, "--threads",
                               str(args.threads), "--json", "-"], env)
        return {**result, "stats": json.loads(out)[iou_type]["stats"]}
    result, out = measure([sys.executable, "-c", PEER, tool, gt, dt, iou_type], env)
    return {**result, **json.loads(out)}


def summary(samples):
    result = {"stats": samples[0]["stats"]}
    for key in ("wall_s", "inner_s", "cpu_s", "peak_mib"):
        values = sorted(s[key] for s in samples if key in s)
        if values:
            result[key] = {"median": round(values[len(values) // 2], 3), "min": round(values[0], 3),
                           "samples": [round(s[key], 3) for s in samples]}
    return result


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rcnn", required=True)
    parser.add_argument("--set", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    tools = ("rcnn", "pycocotools", "faster-coco-eval")
    counts = json.loads(subprocess.run([sys.executable, "-c", COUNT, args.set], capture_output=True, check=True).stdout)
    report = {**counts, "threads": args.threads,
              "cpu": cpu_name(), "load_before": os.getloadavg()[0], "rounds": args.rounds,
              "versions": {"rcnn": subprocess.run([args.rcnn, "version"], capture_output=True, text=True,
                                                  check=True).stdout.splitlines()[0],
                           "pycocotools": version("pycocotools"), "faster-coco-eval": version("faster-coco-eval"),
                           "python": platform.python_version()}}
    for iou_type in ("bbox", "segm"):
        samples = {tool: [] for tool in tools}
        for _ in range(args.rounds):
            for tool in tools:
                samples[tool].append(run(tool, args, iou_type))
        part = {tool: summary(samples[tool]) for tool in tools}
        worst = max(abs(a - b) for tool in tools for a, b in zip(part[tool]["stats"], part["rcnn"]["stats"]))
        if not worst <= 1e-9:
            sys.exit(f"{iou_type}: the numbers differ by {worst}")
        part["largest_difference"] = worst
        part["times_faster"] = {tool: round(part[tool]["wall_s"]["median"] / part["rcnn"]["wall_s"]["median"], 1)
                                for tool in tools[1:]}
        report[iou_type] = part
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
