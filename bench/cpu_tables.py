#!/usr/bin/env python3
"""Writes the tables of docs/results/cpu.md from the JSON of compare_cpu.py and of instructions.py.

    cpu_tables.py JSON INSTRUCTIONS_JSON MARKDOWN

A table stands between the lines <!-- table NAME --> and <!-- end -->; what is there is replaced, the rest is left alone.
"""
import json
import pathlib
import re
import sys

NAMES = {"rcnn": "rcnn", "torchvision": "torchvision", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(ms):
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def times(series):
    return [number(series[key]) for key in ("median_ms", "p10_ms", "p90_ms")]


def label(side):
    return f"{NAMES[side['side']]} {side['precision']}"


def ours(report):
    return [side for side in report["sides"] if side["side"] == "rcnn"]


def machine(report):
    versions = {"library": ours(report)[0]["library"]} if ours(report) else {}
    for side in report["sides"]:
        versions |= side.get("versions", {})
    text = [v if k == "library" else f"{k} {v}" for k, v in versions.items()]
    size = "x".join(str(n) for n in report["image"])
    return table(["", ""], [
        ["processor", f"{report['cpu']}, {', '.join(report['cpu_flags'])}"],
        ["threads", report["threads"]],
        ["picture", size + (f", {ours(report)[0]['proposals']} proposals, {ours(report)[0]['detections']} detections"
                            if ours(report) else "")],
        ["libraries", ", ".join(text)],
        ["samples a side", f"{report['rounds']} rounds of {report['samples']}"],
        ["commit", report["commit"]],
    ])


def span_table(report, span):
    base = {side["precision"]: side[span]["median_ms"] for side in ours(report)}
    rows = []
    for side in report["sides"]:
        if span in side:
            same = base.get(side["precision"])
            rows.append([label(side), *times(side[span]), f"{side[span]['median_ms'] / same:.2f}" if same else "-"])
    return table(["ms", "median", "p10", "p90", "times rcnn of the same precision"], rows)


def agreement(report):
    rows = [[label(side), f"{a['matched']} of {a['reference']}", f"{a['mean_iou']:.4f}", f"{a['mean_score_difference']:.5f}"]
            for side in report["sides"] if (a := side.get("agreement"))]
    return table(["", "boxes paired with rcnn fp32", "mean IoU", "mean score difference"], rows)


def floor(report):
    rows = [[side["precision"], number(side["whole"]["median_ms"]), number(side["rle"]["median_ms"]),
             number(side["bare"]["median_ms"]), f"{side['whole_over_bare']:.3f}", number(side["other"]["median_ms"]),
             f"{100 * side['other_share']:.1f} %", f"{2e3 * side['gmac'] / side['bare']['median_ms']:.0f}",
             f"{side['peak_resident_mb']:.0f}"] for side in ours(report)]
    return table(["precision", "whole, ms", "with run-length masks", "bare primitives", "whole / bare",
                  "outside convolutions and inner products", "share", "GFLOP/s of the primitives", "peak resident, MB"],
                 rows)


def forms(report):
    rows = []
    for side in ours(report):
        whole, batch, one, direct = (side[key]["median_ms"] for key in ("whole", "batch4", "one_thread", "direct"))
        rows.append([side["precision"], number(whole), f"{1e3 / whole:.2f}", number(batch), f"{4e3 / batch:.2f}", number(one),
                     f"{one / whole:.2f}", number(direct), f"{direct / whole:.2f}"])
    return table(["precision", "one picture, ms", "pictures/s", "four at a time, ms", "pictures/s", "one thread, ms",
                  "times two threads", "convolutions by oneDNN, ms", "times ours"], rows)


def columns(report, key):
    sides = ours(report)
    rows = [[name, *(number(side[key].get(name, 0)) for side in sides)] for name in (sides[0][key] if sides else [])]
    return table(["ms", *(side["precision"] for side in sides)], rows)


def types(report):
    rows = [[side["precision"], f"`{name}`", t["ops"], number(t["ms"]), f"{t['gflops']:.0f}"]
            for side in ours(report) for name, t in side["primitive_types"].items()]
    return table(["precision", "source * weights (+ residual) -> result", "ops", "ms", "GFLOP/s"], rows)


def instructions(report):
    """By kind of op, or name of the form of masks."""
    kinds = {}
    for part in report["instructions"]["parts"]:
        name = f"masks as {part['name']}" if part["kind"] == "masks" else part["kind"]
        kinds.setdefault(name, []).append(part)
    rows = []
    for name, parts in kinds.items():
        counts = [sum(part["instructions"][level] for part in parts) / 1e6 for level in ("c", "avx2")]
        ms = [sum(part["ms"][level] for part in parts) for level in ("c", "avx2", "avx512")]
        rows.append([name, len(parts), *(f"{count:.2f}" for count in counts), *(number(t) for t in ms)])
    return table(["", "ops", "10^6 instructions, C", "AVX2", "ms, C", "AVX2", "AVX-512"], rows)


def skipped(report):
    if not report["skipped"]:
        return "Nothing was left out."
    return table(["left out", "why"], [[name, f"`{reason}`"] for name, reason in report["skipped"].items()])


TABLES = {"machine": machine, "whole": lambda r: span_table(r, "whole"), "dense": lambda r: span_table(r, "dense"),
          "agreement": agreement, "floor": floor, "forms": forms, "stages": lambda r: columns(r, "stages_ms"),
          "other": lambda r: columns(r, "other_ops_ms"), "types": types, "instructions": instructions,
          "skipped": skipped}


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: cpu_tables.py JSON INSTRUCTIONS_JSON MARKDOWN")
    report, path = json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[3])
    report["instructions"] = json.loads(pathlib.Path(sys.argv[2]).read_text())
    text = path.read_text()
    wanted = re.findall(r"<!-- table (\w+) -->", text)
    if unknown := [name for name in wanted if name not in TABLES]:
        sys.exit(f"cpu_tables: no table {unknown[0]}")
    for name in wanted:
        text = re.sub(rf"(<!-- table {name} -->\n).*?(<!-- end -->)",
                      lambda m: f"{m[1]}{TABLES[name](report)}\n{m[2]}", text, flags=re.S)
    path.write_text(text)


if __name__ == "__main__":
    main()
