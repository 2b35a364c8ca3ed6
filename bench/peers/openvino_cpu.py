#!/usr/bin/env python3
"""Times OpenVINO on the CPU on what `rcnn export` writes, as a peer of `rcnn`.

    openvino_cpu.py --work DIR --image FILE [--precision fp32|bf16|int8] [--calibrate DIR] [--threads 2] [--wait]

DIR holds all.onnx, backbone.onnx and config.json, as compare_cpu.py makes them. Spans: `whole`, decoded pixels to boxes,
scores, labels and soft 28x28 masks in host memory (normalising by numpy; `preprocess` is its part); `dense`, normalised
pixels to pyramid and RPN predictions. One stream, latency hint; bf16 is INFERENCE_PRECISION_HINT. int8 is NNCF's
post-training quantisation with its mixed preset, what it leaves in floating point runs in bf16; where NNCF or OpenVINO
cannot do the whole detector, only the dense part is timed and "skipped" says why.
"""
import pathlib
import time

import openvino

import common

HINT = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}


def quantised(args, part):
    """Path of the int8 file of a part, made when it is not there."""
    path = pathlib.Path(args.work) / f"ov_int8_{part}.xml"
    if path.exists():
        return path
    import nncf
    inputs = [{"input": x} for x in common.calibration_inputs(args)]
    model = openvino.Core().read_model(f"{args.work}/{part}.onnx")
    answer = nncf.quantize(model, nncf.Dataset(inputs), preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs),
                           target_device=nncf.TargetDevice.CPU)
    openvino.save_model(answer, str(path.with_suffix(".part.xml")), compress_to_fp16=False)
    path.with_suffix(".part.bin").rename(path.with_suffix(".bin"))
    path.with_suffix(".part.xml").rename(path)
    return path


def open_part(args, part):
    path = quantised(args, part) if args.precision == "int8" else pathlib.Path(args.work) / f"{part}.onnx"
    core = openvino.Core()
    return core.compile_model(core.read_model(str(path)), "CPU",
                              {"INFERENCE_PRECISION_HINT": HINT[args.precision], "PERFORMANCE_HINT": "LATENCY",
                               "INFERENCE_NUM_THREADS": args.threads, "NUM_STREAMS": 1})


def main():
    args = common.parser(__doc__, ["fp32", "bf16", "int8"]).parse_args()
    common.cpu_threads(args.threads)
    image, preprocess = common.pixels(args.image), common.Preprocess(common.config(args.work))
    versions = {"openvino": openvino.__version__.split("-")[0]}
    if args.precision == "int8":
        import importlib.metadata
        versions["nncf"] = importlib.metadata.version("nncf")
    about = {"peer": "openvino", "precision": args.precision, "threads": args.threads, "versions": versions, "skipped": {}}
    spans = {}
    if "whole" in args.spans:
        try:
            detector = open_part(args, "all").create_infer_request()

            def whole():
                start = time.perf_counter()
                x = preprocess(image)
                prepared = (time.perf_counter() - start) * 1000
                answer = detector.infer({"input": x}, share_inputs=True, share_outputs=True)
                whole.answer = [answer[i] for i in range(len(answer))]
                return {"preprocess": prepared}

            whole()
            about["detections"] = len(whole.answer[0])
            about["found"] = common.found(whole.answer[0])
            spans["whole"] = whole
        except RuntimeError as error:
            about["skipped"]["whole"] = str(error).strip().splitlines()[0]
    if "dense" in args.spans:
        part, x = open_part(args, "backbone").create_infer_request(), preprocess(image).copy()
        spans["dense"] = lambda: part.infer({"input": x}, share_inputs=True, share_outputs=True) and None
    common.run_rounds(args, about, spans)


if __name__ == "__main__":
    main()
