#!/usr/bin/env python3
"""Instructions and times of the ops around the arithmetic, on one thread in fp32; writes one JSON object.

    instructions.py --build BUILD --model FILE --image FILE --work DIR -o FILE

BUILD holds bench/bench_ops. What every op reads is written to DIR once, from a run of the picture; the ops are then run
alone: under valgrind's callgrind, which counts the instructions of each call (bodies in C and for AVX2: valgrind 3.19 knows
no AVX-512), and without it for the time of each body (C, AVX2, AVX-512; median of --samples processes, by turns).
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

LEVELS = ("c", "avx2", "avx512")
COUNTED = ("c", "avx2")


def call(command, level):
    # direct: else the stem and its pooling are one kernel at some levels and two at others
    environment = {**os.environ, "RCNN_CPU_MASK": level, "RCNN_CPU_CONV": "direct", "OMP_NUM_THREADS": "1"}
    if level in COUNTED:
        environment["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"instructions: {command[0]}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def counted(args, level, bench):
    """Parts of a run, with their instructions: callgrind writes one file after every call of bench_part."""
    out = args.work / f"callgrind.{level}"
    for old in args.work.glob(f"{out.name}*"):
        old.unlink()
    report = call(["valgrind", "--tool=callgrind", "--toggle-collect=bench_part", "--dump-after=bench_part",
                   f"--callgrind-out-file={out}", *bench, "--replay", "1"], level)
    for number, part in enumerate(report["parts"], 1):
        text = pathlib.Path(f"{out}.{number}").read_text()
        part["instructions"] = int(re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1])
    return report


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("-o", dest="out", type=pathlib.Path, required=True)
    return parser.parse_args()


def main():
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    bench = [args.build / "bench" / "bench_ops", "-m", args.model, "--image", args.image, "--values", args.work / "values"]
    call([*bench, "--replay", "0"], "avx512")
    times = {level: [] for level in LEVELS}
    for _ in range(args.samples):
        for level in LEVELS:
            times[level].append([part["ms"] for part in call([*bench, "--replay", "1"], level)["parts"]])
    counts = {level: counted(args, level, bench) for level in COUNTED}
    report = {"schema": 1, "bench": "instructions", "threads": 1, "precision": "fp32",
              "network_input": counts["c"]["network_input"],
              "valgrind": subprocess.run(["valgrind", "--version"], capture_output=True, text=True).stdout.strip(),
              "parts": []}
    for number, part in enumerate(counts["c"]["parts"]):
        report["parts"].append({
            "kind": part["kind"], "name": part["name"],
            "instructions": {level: counts[level]["parts"][number]["instructions"] for level in COUNTED},
            "ms": {level: statistics.median(sample[number] for sample in times[level]) for level in LEVELS}})
    unfinished = args.out.with_name(args.out.name + ".part")
    unfinished.write_text(json.dumps(report, indent=1) + "\n")
    unfinished.rename(args.out)


if __name__ == "__main__":
    main()
