"""Writes the container of the golden values: a safetensors file of numpy arrays, with numpy alone."""
import json
import struct

import numpy as np

NAMES = {"float32": "F32", "int32": "I32", "int16": "I16", "uint8": "U8"}


def save_values(path, values, metadata):
    """float32, int32, int16 and uint8 arrays by name. Wider elements come first, so that every array stands aligned in
    a mapped file."""
    values = dict(sorted(values.items(), key=lambda item: -item[1].itemsize))
    header, offset = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0
    for name, value in values.items():
        header[name] = {"dtype": NAMES[str(value.dtype)], "shape": list(value.shape),
                        "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in values.values():
            file.write(np.ascontiguousarray(value).tobytes())
