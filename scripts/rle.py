"""COCO run-length masks with numpy alone: counts, compressed text, and back.

Shared by the oracle and comparison scripts so that they need no pycocotools. Runs go down the columns, zeros first.
"""
import numpy as np


def encode(mask):
    """Run lengths of a [height][width] boolean mask."""
    flat = np.asarray(mask, dtype=bool).flatten(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([edges, [flat.size]])
    counts = np.diff(np.concatenate([[0], ends])).tolist()
    return [0] + counts if flat[0] else counts


def decode(counts, height, width):
    """[height][width] boolean mask of run lengths; they must add up to height*width."""
    if sum(counts) != height * width:
        raise ValueError(f"runs add up to {sum(counts)}, want {height}x{width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def to_text(counts):
    """The compressed text of run lengths."""
    out = []
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            out.append(chr((c | 32 if more else c) + 48))
    return "".join(out)


def from_text(text):
    """Run lengths of compressed text."""
    counts, p = [], 0
    while p < len(text):
        x, shift, more = 0, 0, True
        while more:
            c = ord(text[p]) - 48
            x |= (c & 31) << shift
            more = bool(c & 32)
            p += 1
            shift += 5
        if c & 16:
            x |= -1 << shift
        counts.append(x + counts[-2] if len(counts) > 2 else x)
    return counts


def area(counts):
    return sum(counts[1::2])
