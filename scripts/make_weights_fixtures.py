#!/usr/bin/python3
"""Writes tests/unit/data/weights: small checkpoints of every format the reader knows, made by the frameworks' own
writers (PyTorch, numpy), and manifest.txt with what a reader must find in them.

Manifest lines:   file <name> <format> <tensor count>
                  tensor <name> <dtype> <shape as 2,3 or -> <FNV-1a 64 of the float32 values in C order, hex>
                  meta <key> <value, newlines as \\n>
                  global <name> <known 0|1>
Usage: scripts/make_weights_fixtures.py [directory]. Needs PyTorch 1.13 and numpy 1.24 for byte-equal files.
"""
import collections
import json
import pathlib
import pickle
import struct
import sys
import types

import numpy as np
import torch

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                   pathlib.Path(__file__).resolve().parent.parent / "tests/unit/data/weights")
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int8": "I8", "uint8": "U8",
          "int16": "I16", "int32": "I32", "int64": "I64", "bool": "BOOL"}
lines = []


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & (1 << 64) - 1
    return value


def as_float32(tensor):
    if isinstance(tensor, torch.Tensor):
        return tensor.detach().to(torch.float32).contiguous().numpy()
    return np.ascontiguousarray(tensor.astype(np.float32))


def record(name, form, tensors, meta=(), globals_=()):
    lines.append(f"file {name} {form} {len(tensors)}")
    for key, tensor in tensors.items():
        key = key[len("module."):] if key.startswith("module.") else key
        dtype = DTYPES[str(tensor.dtype).replace("torch.", "")]
        shape = ",".join(map(str, tensor.shape)) or "-"
        lines.append(f"tensor {key} {dtype} {shape} {fnv(as_float32(tensor).tobytes()):016x}")
    lines.extend("meta {} {}".format(key, value.replace("\n", "\\n")) for key, value in meta)
    lines.extend(f"global {key} {known}" for key, known in globals_)


def values(*shape, scale=1.0):
    return torch.randn(*shape, generator=generator) * scale


def every_kind():
    """All dtypes, layouts and sharing that a state dict can hold."""
    base = values(4, 6)
    state = collections.OrderedDict()
    state["module.f32"] = values(3, 2, 3, 3)
    state["f16"] = values(5, 7).half()
    state["bf16"] = values(5, 7).bfloat16()
    state["f64"] = values(3, 3).double()
    state["i64"] = torch.tensor([0, -1, 1 << 40])
    state["i32"] = torch.tensor([7, -9], dtype=torch.int32)
    state["i16"] = torch.tensor([-300, 300], dtype=torch.int16)
    state["i8"] = torch.tensor([-128, 127], dtype=torch.int8)
    state["u8"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False, True])
    state["channels_last"] = values(4, 3, 3, 2).to(memory_format=torch.channels_last)
    state["whole"] = base
    state["row"] = base[2]
    state["column"] = base[:, 1]
    state["transposed"] = base.t()
    state["every_other"] = base[::2, 1::3]
    state["expanded"] = values(1).expand(5)
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 4)
    state["parameter"] = torch.nn.Parameter(values(3))
    state["half_specials"] = torch.tensor([0.0, -0.0, 6e-8, -6.1e-5, 65504.0, 1e-4]).half()
    state["not_a_tensor"] = 17
    return state


def tensors_of(state):
    return {k: v for k, v in state.items() if isinstance(v, (torch.Tensor, np.ndarray))}


TORCH_GLOBALS = [("torch._utils._rebuild_tensor_v2", 1)]


def torch_files():
    state = every_kind()
    torch.save(state, OUT / "every_kind.pth")
    record("every_kind.pth", "torch-zip", tensors_of(state), globals_=[("torch._utils._rebuild_parameter", 1)])
    torch.save({"model": state, "epoch": 3, "lr": 0.5}, OUT / "every_kind_legacy.pth",
               _use_new_zipfile_serialization=False)
    record("every_kind_legacy.pth", "torch-legacy", tensors_of(state), [("epoch", "3"), ("lr", "0.5")], TORCH_GLOBALS)
    small = collections.OrderedDict(a=values(2, 2), b=values(3))
    torch.save({"model": small, "optimizer": {"state": {0: {"step": 1, "m": values(2)}}}}, OUT / "protocol4.pth",
               pickle_protocol=4)
    record("protocol4.pth", "torch-zip", small, globals_=TORCH_GLOBALS)
    torch.save(small, OUT / "bare_legacy.pth", _use_new_zipfile_serialization=False)
    record("bare_legacy.pth", "torch-legacy", small, globals_=TORCH_GLOBALS)


def legacy_view():
    """A storage view, as PyTorch before 0.4 wrote it: the id's sixth item is (key, first element, elements)."""
    storage = torch.arange(10, dtype=torch.float32)

    class View:
        def __reduce__(self):
            return (torch._utils._rebuild_tensor, (Persistent(), 1, (3,), (1,)))

    class Persistent:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "77", "cpu", 10, ("88", 4, 5)) if isinstance(obj, Persistent) else None

    with open(OUT / "view_legacy.pth", "wb") as file:
        pickle.dump(torch.serialization.MAGIC_NUMBER, file, 2)
        pickle.dump(torch.serialization.PROTOCOL_VERSION, file, 2)
        pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, file, 2)
        Pickler(file, 2).dump({"view": View()})
        pickle.dump(["77"], file, 2)
        file.write(struct.pack("<q", 10) + storage.numpy().tobytes())
    record("view_legacy.pth", "torch-legacy", {"view": storage[5:8]}, globals_=[("torch._utils._rebuild_tensor", 1)])


def foreign_class(module, name):
    """A class of a module that exists nowhere but in this pickle."""
    parent = None
    for i in range(len(module.split("."))):
        part = ".".join(module.split(".")[:i + 1])
        sys.modules[part] = sys.modules.get(part, types.ModuleType(part))
        parent = sys.modules[part]
    cls = type(name, (), {"__module__": module})
    setattr(parent, name, cls)
    return cls


def mmdet_files():
    config = "model = dict(\n    backbone=dict(style='caffe'))\n"
    state = collections.OrderedDict()
    state["backbone.conv1.weight"] = values(4, 3, 3, 3)
    state["backbone.bn1.num_batches_tracked"] = torch.tensor(5)
    state._metadata = {"": {"version": 1}}
    optimizer = {"state": {0: {"momentum_buffer": values(4, 3, 3, 3)}}, "param_groups": [{"lr": 0.02, "params": [0]}]}
    old = {"meta": {"mmdet_version": "2.19.1", "CLASSES": ("person", "car"), "config": config, "epoch": 12,
                    "env": {"cuda": True}, "seed": None}, "state_dict": state, "optimizer": optimizer}
    torch.save(old, OUT / "mmdet2.pth", _use_new_zipfile_serialization=False)
    record("mmdet2.pth", "torch-legacy", state,
           [("meta.mmdet_version", "2.19.1"), ("meta.CLASSES", "person\ncar"), ("meta.config", config),
            ("meta.epoch", "12"), ("meta.env.cuda", "true")], TORCH_GLOBALS)
    history = foreign_class("mmengine.logging.history_buffer", "HistoryBuffer")()
    history._log_history, history._max_length = np.array([0.5, 0.25]), 100
    new = {"meta": {"mmdet_version": "3.1.0", "dataset_meta": {"classes": ("a", "b", "c"), "palette": [(1, 2, 3)]},
                    "cfg": config, "best": np.float64(0.5), "iter": np.int64(-7)},
           "state_dict": state, "message_hub": {"log_scalars": {"loss": history}},
           "ema_state_dict": {"module.backbone.conv1.weight": values(4, 3, 3, 3)}, "optimizer": optimizer}
    torch.save(new, OUT / "mmdet3.pth")
    record("mmdet3.pth", "torch-zip", state,
           [("meta.dataset_meta.classes", "a\nb\nc"), ("meta.cfg", config), ("meta.best", "0.5"), ("meta.iter", "-7")],
           [("mmengine.logging.history_buffer.HistoryBuffer", 0), ("numpy.core.multiarray._reconstruct", 1)])


def numpy_files():
    arrays = {"backbone.bottom_up.stem.conv1.weight": np.random.default_rng(5).normal(size=(2, 3, 3, 3)).astype("f4"),
              "half": np.arange(6, dtype="f2").reshape(2, 3), "double": np.linspace(0, 1, 5), "count": np.int64([4, -4]),
              "fortran": np.asfortranarray(np.arange(24, dtype="f4").reshape(2, 3, 4)), "empty": np.zeros((0, 2), "f4"),
              "scalar": np.array(1.5, "f4"), "bytes": np.arange(256, dtype="u1"), "flags": np.array([True, False])}
    content = {"model": arrays, "__author__": "detectron2 \u00e9", "matching_heuristics": True}
    for protocol in (2, 3, 4, 5):
        name = f"numpy_protocol{protocol}.pkl"
        (OUT / name).write_bytes(pickle.dumps(content, protocol))
        record(name, "detectron2-pkl", arrays, [("__author__", "detectron2 \u00e9"), ("matching_heuristics", "true")])


def safetensors_file():
    tensors = {"b": values(2, 3), "a": values(4).half(), "i8": torch.tensor([-3, 3], dtype=torch.int8),
               "empty": torch.zeros(0, 3), "scalar": torch.tensor(1.25, dtype=torch.float64),
               "bf16": values(3).bfloat16(), "flags": torch.tensor([True, False])}
    header, data = {"__metadata__": {"format": "pt", "note": "\u00fc\n\"quoted\""}}, b""
    for name, tensor in tensors.items():
        raw = bytes(tensor.contiguous().view(-1).view(torch.uint8).numpy()) if tensor.dim() and tensor.numel() else \
            tensor.numpy().tobytes()
        header[name] = {"dtype": DTYPES[str(tensor.dtype)[6:]], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (OUT / "small.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    record("small.safetensors", "safetensors", tensors, [("format", "pt"), ("note", "\u00fc\n\"quoted\"")])


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(20)
    torch_files()
    legacy_view()
    mmdet_files()
    numpy_files()
    safetensors_file()
    (OUT / "manifest.txt").write_text("\n".join(lines) + "\n")
