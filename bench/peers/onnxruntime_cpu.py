#!/usr/bin/env python3
"""Times ONNX Runtime on the CPU on what `rcnn export` writes, as a peer of `rcnn`.

    onnxruntime_cpu.py --work DIR --image FILE [--precision fp32|int8] [--calibrate DIR] [--threads 2] [--wait]

DIR holds all.onnx, backbone.onnx and config.json, as compare_cpu.py makes them. Spans: `whole`, decoded pixels to boxes,
scores, labels and soft 28x28 masks in host memory (normalising by numpy; `preprocess` is its part); `dense`, normalised
pixels to pyramid and RPN predictions. int8 is ONNX Runtime's static quantisation in QDQ form: u8 activations, s8 weights per
output channel, ranges from smallest to largest value in calibration pictures; predictions of RPN and box head stay in fp32,
and so does all that its quantiser has no int8 for. The CPU provider has no bf16 convolutions.
"""
import pathlib
import time

import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import common

QUANTISED = ["Conv", "Gemm", "MatMul", "Relu", "Add", "MaxPool", "Resize"]


class Reader(CalibrationDataReader):
    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        x = next(self.inputs, None)
        return None if x is None else {"input": x}


def kept_in_float(model):
    """Nodes outside the layers, and the layers that predict scores, deltas and masks."""
    weights = {i.name for i in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        layer = next((name for name in node.input if name in weights and name.endswith(".weight")), "")
        dense = node.name.startswith(("backbone/", "neck/", "p2", "p3", "p4", "p5", "p6"))
        if node.op_type in ("Conv", "Gemm"):
            keep = any(part in layer for part in (".scores", ".deltas", ".logits"))
        else:
            keep = node.op_type != "Relu" and not dense
        if keep:
            kept.append(node.name)
    return kept


def quantised(args, part):
    """Path of the int8 file of a part, made when it is not there."""
    work = pathlib.Path(args.work)
    path = work / f"ort_int8_{part}.onnx"
    if path.exists():
        return path
    prepared, source = work / f"ort_prepared_{part}.onnx", work / f"{part}.onnx"
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    except Exception:  # shapes that depend on data defeat some versions: quantise the file as it is
        prepared = source
    quantize_static(str(prepared), str(path) + ".part", Reader(common.calibration_inputs(args)),
                    quant_format=QuantFormat.QDQ, op_types_to_quantize=QUANTISED, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    nodes_to_exclude=kept_in_float(onnx.load(str(prepared))))
    pathlib.Path(str(path) + ".part").rename(path)
    return path


def open_part(args, part):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = quantised(args, part) if args.precision == "int8" else pathlib.Path(args.work) / f"{part}.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main():
    args = common.parser(__doc__, ["fp32", "int8"]).parse_args()
    common.cpu_threads(args.threads)
    image, preprocess = common.pixels(args.image), common.Preprocess(common.config(args.work))
    about = {"peer": "onnxruntime", "precision": args.precision, "threads": args.threads,
             "versions": {"onnxruntime": onnxruntime.__version__}}
    spans = {}
    if "whole" in args.spans:
        detector = open_part(args, "all")

        def whole():
            start = time.perf_counter()
            x = preprocess(image)
            prepared = (time.perf_counter() - start) * 1000
            whole.answer = detector.run(None, {"input": x})
            return {"preprocess": prepared}

        whole()
        about["detections"] = len(whole.answer[0])
        about["found"] = common.found(whole.answer[0])
        spans["whole"] = whole
    if "dense" in args.spans:
        part, x = open_part(args, "backbone"), preprocess(image).copy()
        spans["dense"] = lambda: part.run(None, {"input": x}) and None
    common.run_rounds(args, about, spans)


if __name__ == "__main__":
    main()
