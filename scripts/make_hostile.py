#!/usr/bin/python3
"""Writes tests/unit/data/hostile: weights files that lie, cut off, loop, or would run code if anything executed them,
and expected.txt: file name, status, and a piece of the one line that must be printed. Standard library only.

The files stay small; the same tricks at full size (10^6 nested lists, 10^5 tensors) are made in tests/unit/test_weights.c.
Usage: scripts/make_hostile.py [directory]."""
import io
import json
import pathlib
import random
import struct
import sys
import zipfile

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                   pathlib.Path(__file__).resolve().parent.parent / "tests/unit/data/hostile")
expected = []


def emit(name, data, status, piece):
    (OUT / name).write_bytes(data)
    expected.append(f"{name}\t{status}\t{piece}")


# ---------------------------------------------------------------- pickle assembler

def text(s):
    raw = s.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(n):
    if 0 <= n < 256:
        return b"K" + bytes([n])
    if -2**31 <= n < 2**31:
        return b"J" + struct.pack("<i", n)
    raw = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def global_(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def storage(key="0", count=4, cls="FloatStorage", view=None):
    items = [text("storage"), global_("torch", cls), text(key), text("cpu"), integer(count)]
    return tuple_of(*items, *([view] if view is not None else [])) + b"Q"


def tensor(shape=(4,), stride=(1,), offset=0, store=None):
    return (global_("torch._utils", "_rebuild_tensor_v2") +
            tuple_of(store or storage(), integer(offset), tuple_of(*map(integer, shape)),
                     tuple_of(*map(integer, stride)), b"\x89", b"}") + b"R")


def dict_of(**pairs):
    return b"}(" + b"".join(text(k) + v for k, v in pairs.items()) + b"u"


def program(body, protocol=2):
    return b"\x80" + bytes([protocol]) + body + b"."


FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def archive(pickle, method=zipfile.ZIP_STORED, **more):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        entries = {"data.pkl": pickle, "data/0": FLOATS, "version": b"3\n"}
        entries.update({k.replace("__", "/"): v for k, v in more.items()})
        for name, data in entries.items():
            z.writestr(zipfile.ZipInfo("archive/" + name), data, method if name.startswith("data/") else zipfile.ZIP_STORED)
    return out.getvalue()


GOOD = archive(program(dict_of(w=tensor())))


def patched(data, at, raw):
    return data[:at] + raw + data[at + len(raw):]


def central(data, name):
    """Offset of the directory record of an entry."""
    return data.rindex(b"archive/" + name.encode()) - 46


def zips():
    end = len(GOOD) - 22
    emit("zip_truncated.pth", GOOD[:len(GOOD) // 2], "format", "truncated")
    emit("zip_cut_directory.pth", GOOD[:-1], "format", "truncated")
    emit("zip_lying_size.pth", patched(GOOD, central(GOOD, "data/0") + 20, struct.pack("<II", 1 << 30, 1 << 30)),
         "format", "does not fit the file")
    emit("zip_lying_offset.pth", patched(GOOD, central(GOOD, "data/0") + 42, struct.pack("<I", 0xfffffff0)), "format",
         "no local header")
    emit("zip_lying_storage.pth", archive(program(dict_of(w=tensor((5,), store=storage(count=5))))), "format",
         "want 5 F32 elements, got 16 bytes")
    emit("zip_lying_count.pth", patched(GOOD, end + 8, struct.pack("<HH", 60000, 60000)), "format", "do not fit")
    emit("zip_directory_outside.pth", patched(GOOD, end + 16, struct.pack("<I", 0x7fffffff)), "format", "lies outside")
    z64 = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 2**63, 2**63, 2**64 - 8, 2**64 - 16)
    locator = struct.pack("<IIQI", 0x07064b50, 0, end, 1)
    emit("zip64_overflow.pth", GOOD[:end] + z64 + locator + patched(GOOD[end:], 8, b"\xff" * 12), "format", "lies outside")
    emit("zip64_no_record.pth", patched(GOOD, end + 8, b"\xff" * 12), "format", "ZIP64")
    emit("zip64_bad_locator.pth", GOOD[:end] + struct.pack("<IIQI", 0x07064b50, 0, 2**64 - 8, 1) +
         patched(GOOD[end:], 8, b"\xff" * 12), "format", "no ZIP64 end record")
    emit("zip_compressed.pth", archive(program(dict_of(w=tensor())), zipfile.ZIP_DEFLATED), "unsupported", "compressed")
    emit("zip_encrypted.pth", patched(GOOD, central(GOOD, "data.pkl") + 8, b"\x01"), "unsupported", "encrypted")
    emit("zip_duplicate_entry.pth", archive(program(dict_of(w=tensor())), data__1=FLOATS).replace(b"data/1", b"data/0"),
         "format", "appears twice")
    emit("zip_big_endian.pth", archive(program(dict_of(w=tensor())), byteorder=b"big"), "unsupported", "big-endian")
    emit("zip_byteorder.pth", archive(program(dict_of(w=tensor())), byteorder=b"pdp11"), "format", "byteorder")
    emit("zip_torchscript.pt", archive(program(dict_of(w=tensor())), **{"constants.pkl": program(b")")}), "unsupported",
         "TorchScript")
    emit("zip_two_pickles.pth", archive(program(dict_of(w=tensor())), other__data_pkl=b"").replace(
        b"other/data_pkl", b"other/data.pkl"), "format", "more than one data.pkl")
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as z:
        z.writestr("readme.txt", "not a checkpoint")
    emit("zip_no_pickle.zip", plain.getvalue(), "format", "without data.pkl")
    emit("zip_missing_storage.pth", archive(program(dict_of(w=tensor(store=storage(key="9"))))), "format", "no entry")


def tensors():
    def bad(name, status, piece, *args, **kw):
        emit(name, archive(program(dict_of(w=tensor(*args, **kw)))), status, piece)

    bad("shape_billion.pth", "format", "outside its storage", (10**9,), (1,))
    bad("shape_billion_expanded.pth", "limit", "1000000000 elements made from a storage of 4", (10**9,), (0,))
    bad("shape_overflow.pth", "format", "overflows", (2**62, 2**62, 2**62), (0, 0, 0))
    bad("shape_negative.pth", "format", "integer of 0 or more", (-4,), (1,))
    bad("stride_negative.pth", "format", "integer of 0 or more", (4,), (-1,))
    bad("stride_overflow.pth", "format", "outside its storage", (3, 2), (2**62, 2**62))
    bad("offset_negative.pth", "format", "offset", (4,), (1,), -8)
    bad("offset_huge.pth", "format", "outside its storage", (1,), (1,), 2**62)
    bad("rank_9.pth", "unsupported", "8 dimensions", (1,) * 9, (1,) * 9)
    bad("rank_mismatch.pth", "format", "differ in length", (2, 2), (1,))
    bad("storage_class.pth", "unsupported", "ComplexFloatStorage", store=storage(cls="ComplexFloatStorage"))
    bad("storage_count_huge.pth", "format", "want 4611686018427387904 F32", store=storage(count=2**62))
    emit("duplicate_keys.pth", archive(program(b"}(" + text("w") + tensor() + text("module.w") + tensor() + b"u")),
         "format", "appears twice")
    emit("unknown_rebuild.pth", archive(program(dict_of(w=global_("torch._utils", "_rebuild_qtensor") + b")R"))),
         "unsupported", "_rebuild_qtensor")


def pickles():
    call = tuple_of(text("touch hostile_was_here"))
    evil = {"os_system": global_("os", "system") + call + b"R",
            "eval_stack_global": text("builtins") + text("eval") + b"\x93" + call + b"R",
            "inst": b"(" + text("touch hostile_was_here") + b"ios\nsystem\n",
            "obj": b"(" + global_("os", "system") + text("touch hostile_was_here") + b"o",
            "newobj": global_("subprocess", "Popen") + call + b"\x81",
            "build": global_("types", "SimpleNamespace") + b")R" + dict_of(f=global_("os", "system")) + b"b"}
    for name, body in evil.items():
        emit(f"evil_{name}.pkl", program(body, 4), "unsupported", "nothing was executed")
    emit("nested_lists.pkl", program(b"]" * 9000 + b"a" * 8999), "format", "holds a list")
    emit("self_list.pkl", program(b"]q\0h\0a"), "format", "holds a list")
    emit("self_dict.pkl", program(b"}q\0" + text("state_dict") + b"h\0s" + text("meta") + b"h\0s"), "format",
         "without tensors")
    emit("self_args.pkl", program(b"]q\0" + global_("collections", "OrderedDict") + b"h\0h\0a0h\0\x85R"), "unsupported",
         "made by 'collections.OrderedDict'")
    emit("memo_huge.pkl", program(b"Nr" + struct.pack("<I", 0xfffffff0)), "limit", "memo slots")
    emit("memo_missing.pkl", program(b"h\x07"), "format", "memo slot is empty")
    bomb = b"(" + b"N" * 200 + b"lq\0" + b"".join(
        b"(" + (b"h" + bytes([i])) * 200 + b"lq" + bytes([i + 1]) for i in range(20))
    emit("memo_bomb.pkl", program(bomb), "format", "holds a list")
    pairs = b"](" + (text("k") + integer(1) + b"\x86") * 300 + b"e\x85q\1"
    emit("dict_bomb.pkl", program(pairs + (global_("collections", "OrderedDict") + b"h\1R0") * 4000), "limit", "memory")
    emit("long4_huge.pkl", program(b"\x8b\xff\xff\xff\x7f"), "format", "ends inside an opcode")
    emit("long4_negative.pkl", program(b"\x8b\xff\xff\xff\xff"), "format", "ends inside an opcode")
    emit("string_huge.pkl", program(b"\x8d" + b"\xff" * 8), "format", "ends inside an opcode")
    emit("frame_huge.pkl", b"\x80\x04\x95" + b"\xff" * 8 + b".", "format", "frame")
    emit("no_stop.pkl", b"\x80\x02}" + b"N0" * 50, "format", "truncated")
    emit("underflow.pkl", program(b"NR"), "format", "too few values")
    emit("below_mark.pkl", program(b"N(R"), "format", "too few values")
    emit("no_mark.pkl", program(b"Nt"), "format", "no mark")
    emit("odd_items.pkl", program(b"}(Nu"), "format", "without a value")
    emit("extension.pkl", program(b"\x82\x01"), "unsupported", "extension registry")
    emit("out_of_band.pkl", program(b"\x97", 5), "unsupported", "out-of-band")
    emit("protocol_9.pkl", b"\x80\x09N.", "format", "want a PyTorch")
    emit("bad_opcode.pkl", program(b"\xfe"), "format", "no such opcode")
    emit("number_only.pkl", program(integer(5)), "format", "holds an integer")
    emit("caffe2_blobs.pkl", program(dict_of(blobs=dict_of(conv1_w=b"N"))), "unsupported", "Caffe2")
    dtype = global_("numpy", "dtype") + tuple_of(text("f4"), b"\x89", b"\x88") + b"R"

    def array(shape, order="<", data=FLOATS, dt=dtype):
        state = tuple_of(integer(1), tuple_of(*map(integer, shape)),
                         dt + tuple_of(integer(3), text(order), b"NNN", integer(-1), integer(-1), integer(0)) + b"b",
                         b"\x89", b"C" + bytes([len(data)]) + data)
        return (global_("numpy.core.multiarray", "_reconstruct") +
                tuple_of(global_("numpy", "ndarray"), tuple_of(integer(0)), b"C\x01b") + b"R" + state + b"b")

    emit("caffe2_names.pkl", program(dict_of(model=dict_of(res2_0_branch2a_w=array((4,))))), "unsupported", "Caffe2")
    emit("numpy_big_endian.pkl", program(dict_of(model=dict_of(w=array((4,), ">")))), "unsupported", "big-endian")
    emit("numpy_lying_shape.pkl", program(dict_of(model=dict_of(w=array((10**9,))))), "format", "do not match")
    emit("numpy_overflow.pkl", program(dict_of(model=dict_of(w=array((2**40, 2**40))))), "format", "do not match")
    emit("numpy_object.pkl", program(dict_of(model=dict_of(w=array((4,), dt=dtype.replace(b"f4", b"O8"))))),
         "unsupported", "dtype 'O8'")
    emit("numpy_no_state.pkl", program(dict_of(model=dict_of(w=global_("numpy.core.multiarray", "_reconstruct") + b")R"))),
         "format", "missing")


def legacy():
    magic = program(b"\x8a\x0a" + bytes.fromhex("6cfc9c46f9206aa85019"))
    facts = dict_of(protocol_version=integer(1001), little_endian=b"\x88")

    def file(body, keys=("0",), counts=(4,), data=FLOATS, facts=facts, magic=magic):
        out = magic + program(integer(1001)) + program(facts) + program(body) + program(
            b"](" + b"".join(map(text, keys)) + b"e")
        return out + b"".join(struct.pack("<q", n) + data for n in counts)

    w = dict_of(w=tensor())
    emit("legacy_big_endian.pth", file(w, facts=facts.replace(b"\x88", b"\x89")), "unsupported", "big-endian")
    emit("legacy_magic.pth", file(w, magic=program(b"\x8a\x0a" + b"\x11" * 10)), "format", "magic number")
    emit("legacy_truncated.pth", file(w)[:-3], "format", "truncated")
    emit("legacy_lying_count.pth", file(w, counts=(3,)), "format", "storage of 3 elements, want 4")
    emit("legacy_huge_count.pth", file(w, counts=(2**62,)), "format", "past the end")
    emit("legacy_negative_count.pth", file(w, counts=(-1,)), "format", "past the end")
    emit("legacy_key_twice.pth", file(w, keys=("0", "0"), counts=(4, 4)), "format", "one twice")
    emit("legacy_missing_key.pth", file(w, keys=(), counts=()), "format", "not in the file's list")
    emit("legacy_two_ways.pth", file(dict_of(a=tensor(), b=tensor(store=storage(cls="HalfStorage")))), "format",
         "two ways")
    view = tuple_of(text("v"), integer(3), integer(2))
    emit("legacy_view_outside.pth", file(dict_of(w=tensor((1,), store=storage(view=view)))), "format", "storage view")
    module = tuple_of(text("module"), global_("torch.nn", "Conv2d"), text("x.py"), text("")) + b"Q"
    emit("legacy_module.pth", file(module, keys=(), counts=()), "unsupported", "whole pickled module")


def safetensors():
    def file(header, data=FLOATS, length=None):
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(raw) if length is None else length) + raw + data

    def one(dtype="F32", shape=(4,), begin=0, end=16):
        return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}

    emit("st_header_huge.safetensors", file({"w": one()}, length=2**63), "format", "header of 9223372036854775808")
    emit("st_header_long.safetensors", file({"w": one()}, length=500), "format", "header of 500")
    emit("st_truncated.safetensors", file({"w": one()})[:-4], "format", "claims bytes 0 to 16 of a data part of 12")
    emit("st_overlap.safetensors", file({"a": one(), "b": one(shape=(2,), begin=8)}), "format", "overlap")
    emit("st_hole.safetensors", file({"a": one(shape=(1,), end=4), "b": one(shape=(2,), begin=8)}), "format", "without owner")
    emit("st_tail.safetensors", file({"a": one()}, FLOATS + b"tail"), "format", "tensors end at byte 16")
    emit("st_wrong_size.safetensors", file({"a": one("F16")}), "format", "do not make 16 bytes")
    emit("st_shape_overflow.safetensors", file({"a": one(shape=(2**62, 4))}), "format", "do not make")
    emit("st_shape_negative.safetensors", file({"a": one(shape=(-4,))}), "format", "non-negative integer")
    emit("st_offsets_swapped.safetensors", file({"a": one(begin=16, end=0)}), "format", "claims bytes 16 to 0")
    emit("st_dtype.safetensors", file({"a": one("F8_E4M3")}), "unsupported", "F8_E4M3")
    emit("st_duplicate.safetensors", file(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                                          b'"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'), "format", "twice")
    emit("st_missing_field.safetensors", file({"a": {"dtype": "F32", "shape": [4]}}), "format", "lacks")
    emit("st_deep.safetensors", file(b'{"__metadata__":{"a":' + b"[" * 4000), "format", "want a string, got '['")
    emit("st_deep_shape.safetensors", file(b'{"a":{"shape":' + b"[" * 4000), "format", "non-negative integer")
    emit("st_metadata_number.safetensors", file({"__metadata__": {"a": 1}, "w": one()}), "format", "want a string")
    emit("st_not_json.safetensors", file(b"{" + b"\xff" * 60), "format", "want a key or '}'")


def others():
    emit("empty.pth", b"", "format", "empty file")
    emit("one_byte.pth", b"\x80", "format", "want a PyTorch")
    emit("random.pth", random.Random(3).randbytes(4096), "format", "want a PyTorch")
    emit("text.pth", b"These are not the weights you are looking for.\n", "format", "want a PyTorch")
    emit("web_page.pth", b"<!DOCTYPE html><html><body>404</body></html>", "format", "web page")
    emit("lfs_pointer.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "format", "git-lfs")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    zips()
    tensors()
    pickles()
    legacy()
    safetensors()
    others()
    (OUT / "expected.txt").write_text("\n".join(expected) + "\n")
    print(f"{len(expected)} files, {sum(f.stat().st_size for f in OUT.iterdir())} bytes")
