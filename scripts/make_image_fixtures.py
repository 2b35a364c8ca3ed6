#!/usr/bin/python3
"""Writes tests/unit/data/image: small images of every kind the library reads, hostile ones, and manifest.txt with what
OpenCV makes of them. Needs OpenCV (the manifest names the version), Pillow, NumPy and, for arithmetic coding and restart
markers, a C compiler with libjpeg. Run from anywhere; no arguments. Same versions, same bytes.

Manifest lines:  ok NAME WIDTH HEIGHT HASH HASH_IGNORING_EXIF   |   fail NAME STATUS
HASH is FNV-1a, 64 bits, over the RGB bytes. A file that OpenCV cannot read, or reads though it is damaged, gets its line
from the tables below and not from OpenCV; those are the `fail` and the `accept` entries.
"""
import io
import os
import struct
import subprocess
import tempfile
import zlib

import cv2
import numpy as np
import PIL
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "unit", "data", "image")
rng = np.random.default_rng(20220601)
lines = []

RECODE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>
/* recode MODE < in > out: the same coefficients, coded anew. MODE: a = arithmetic, p = arithmetic progressive,
 * r = a restart marker after every MCU */
int main(int argc, char **argv)
{
    struct jpeg_decompress_struct in;
    struct jpeg_compress_struct out;
    struct jpeg_error_mgr err;
    in.err = out.err = jpeg_std_error(&err);
    jpeg_create_decompress(&in);
    jpeg_create_compress(&out);
    jpeg_stdio_src(&in, stdin);
    jpeg_read_header(&in, TRUE);
    jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&in);
    jpeg_copy_critical_parameters(&in, &out);
    out.arith_code = argv[1][0] != 'r';
    if (argv[1][0] == 'p') jpeg_simple_progression(&out);
    if (argv[1][0] == 'r') out.restart_interval = 1;
    jpeg_stdio_dest(&out, stdout);
    jpeg_write_coefficients(&out, coefficients);
    jpeg_finish_compress(&out);
    return 0;
}
"""


# ---------------------------------------------------------------- bookkeeping

def fnv(pixels):
    value = 0xCBF29CE484222325
    for byte in pixels.tobytes():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def write(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


def expect(name, upright, stored):
    lines.append("ok %s %d %d %016x %016x" % (name, upright.shape[1], upright.shape[0], fnv(upright), fnv(stored)))


def good(name, data):
    """A file that OpenCV reads, and whose pixels are the expectation."""
    write(name, data)
    path = os.path.join(OUT, name)
    upright = cv2.imread(path, cv2.IMREAD_COLOR)
    stored = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert upright is not None, name
    expect(name, upright[:, :, ::-1], stored[:, :, ::-1])


def accept(name, data, pixels):
    """A file that is valid though OpenCV 4.6 does not read it."""
    write(name, data)
    expect(name, pixels, pixels)


def fail(name, status, data):
    write(name, data)
    lines.append("fail %s %s" % (name, status))


# --------------------------------------------------------------------- pixels

def picture(width, height, channels=3, noise=12):
    """Gradients, an edge and a little noise: compresses well, and every conversion error shows."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), (x * 7 + y * 13) % 256,
              np.where(x + y > (width + height) / 2, 230, 40)]
    a = np.stack(planes[:channels], 2) + rng.integers(-noise, noise + 1, (height, width, channels))
    return np.clip(a, 0, 255).astype(np.uint8)


def save(image, kind, **options):
    f = io.BytesIO()
    image.save(f, kind, **options)
    return f.getvalue()


def jpeg(width, height, mode="RGB", **options):
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    a = picture(width, height, channels)
    return save(Image.fromarray(a[:, :, 0] if mode == "L" else a, mode), "JPEG", **{"quality": 85, **options})


# ----------------------------------------------------------------------- EXIF

def tiff(orientation, end="<"):
    return ((b"II*\0" if end == "<" else b"MM\0*") + struct.pack(end + "IH", 8, 1) +
            struct.pack(end + "HHIHHI", 0x112, 3, 1, orientation, 0, 0))


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_app1(data, *bodies):
    return data[:2] + b"".join(segment(0xE1, b) for b in bodies) + data[2:]


# ------------------------------------------------------------------------ PNG

def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def pack_rows(samples, depth):
    """Filtered scan lines of [h][w][c] samples; filters 0 and 1 (Sub) by turns."""
    out = b""
    pixel_bytes = max(1, samples.shape[2] * depth // 8) if samples.size else 1
    for y, row in enumerate(samples):
        bits = "".join(format(int(v), "0%db" % depth) for v in row.ravel())
        bits += "0" * (-len(bits) % 8)
        raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
        if y % 2:
            raw = bytes((v - (raw[i - pixel_bytes] if i >= pixel_bytes else 0)) & 255 for i, v in enumerate(raw))
        out += bytes([y % 2]) + raw
    return out


def ihdr(width, height, depth, colour, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(width, height, depth, colour, interlaced=0, extra=b"", palette=None, after=b""):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    top = len(palette) // 3 if palette else 1 << depth
    samples = rng.integers(0, top, (height, width, channels))
    if interlaced:
        body = b"".join(pack_rows(samples[y::dy, x::dx], depth) for x, y, dx, dy in ADAM7 if x < width and y < height)
    else:
        body = pack_rows(samples, depth)
    return (SIGNATURE + ihdr(width, height, depth, colour, interlaced) + (chunk(b"PLTE", palette) if palette else b"") +
            extra + chunk(b"IDAT", zlib.compress(body, 9)) + after + chunk(b"IEND", b""))


def colours(count):
    return bytes(rng.integers(0, 256, 3 * count, dtype=np.uint8))


# ---------------------------------------------------------------------- files

def jpegs():
    for width, height in ((1, 1), (3, 7), (17, 5), (64, 48)):
        for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
            good("jpeg_%s_%dx%d.jpg" % (name, width, height), jpeg(width, height, subsampling=subsampling))
    good("jpeg_grey_17x5.jpg", jpeg(17, 5, "L"))
    good("jpeg_progressive_33x29.jpg", jpeg(33, 29, progressive=True))
    good("jpeg_progressive_grey_33x29.jpg", jpeg(33, 29, "L", progressive=True))
    good("jpeg_quality10_40x40.jpg", jpeg(40, 40, quality=10))

    cmyk = jpeg(19, 11, "CMYK", quality=95)
    adobe = cmyk.index(b"Adobe") - 4
    size = 2 + struct.unpack(">H", cmyk[adobe + 2:adobe + 4])[0]
    good("jpeg_cmyk_adobe_19x11.jpg", cmyk)
    good("jpeg_cmyk_plain_19x11.jpg", cmyk[:adobe] + cmyk[adobe + size:])
    good("jpeg_ycck_19x11.jpg", cmyk[:adobe + size - 1] + b"\2" + cmyk[adobe + size:])
    good("jpeg_cmyk_progressive_19x11.jpg", jpeg(19, 11, "CMYK", progressive=True))
    plain = jpeg(19, 11, subsampling=0)
    jfif = 2 + 2 + struct.unpack(">H", plain[4:6])[0]
    good("jpeg_rgb_19x11.jpg",
         plain[:2] + segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)) + plain[jfif:])

    with tempfile.TemporaryDirectory() as folder:
        source, tool = os.path.join(folder, "recode.c"), os.path.join(folder, "recode")
        with open(source, "w") as f:
            f.write(RECODE)
        subprocess.run(["cc", "-o", tool, source, "-ljpeg"], check=True)
        base = jpeg(37, 23)
        for name, mode in (("arithmetic", "a"), ("arithmetic_progressive", "p"), ("restart", "r")):
            good("jpeg_%s_37x23.jpg" % name, subprocess.run([tool, mode], input=base, stdout=subprocess.PIPE,
                                                            check=True).stdout)

    base = jpeg(7, 4, quality=75)
    for orientation in range(1, 9):
        end = "<>"[orientation % 2]
        good("jpeg_exif%d.jpg" % orientation, with_app1(base, b"Exif\0\0" + tiff(orientation, end)))
    large = jpeg(75, 50, quality=40)
    for orientation in (5, 6, 7, 8):
        good("jpeg_exif%d_75x50.jpg" % orientation, with_app1(large, b"Exif\0\0" + tiff(orientation)))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    good("jpeg_exif9.jpg", with_app1(base, b"Exif\0\0" + tiff(9)))
    good("jpeg_exif_after_xmp.jpg", with_app1(base, xmp, b"Exif\0\0" + tiff(6)))
    good("jpeg_exif_before_xmp.jpg", with_app1(base, b"Exif\0\0" + tiff(6), xmp))
    good("jpeg_exif_short.jpg", with_app1(base, b"Exif\0\0" + tiff(6)[:-7]))
    good("jpeg_exif_mixed_mark.jpg", with_app1(base, b"Exif\0\0IM" + tiff(6)[2:]))
    good("jpeg_exif_far_directory.jpg", with_app1(base, b"Exif\0\0II*\0\xf0\xff\xff\xff" + tiff(6)[8:]))
    scan = jpeg(64, 48)
    good("jpeg_stray_bytes.jpg", scan[:-2] + b"\x55" * 9 + scan[-2:])
    good("jpeg_bytes_after_end.jpg", base + b"trailing" * 4)


def bad_jpegs():
    base = jpeg(64, 48)
    frame, start = base.index(b"\xff\xc0"), base.index(b"\xff\xda")

    def patch(offset, new):
        return base[:offset] + new + base[offset + len(new):]

    fail("bad_jpeg_cut_in_header.jpg", "FORMAT", base[:frame + 5])
    fail("bad_jpeg_cut_after_header.jpg", "FORMAT", base[:start + 14])
    fail("bad_jpeg_cut_in_half.jpg", "FORMAT", base[:(start + len(base)) // 2])
    fail("bad_jpeg_no_end_marker.jpg", "FORMAT", base[:-2])
    fail("bad_jpeg_early_end_marker.jpg", "FORMAT", base[:start + 60] + b"\xff\xd9")
    fail("bad_jpeg_only_start.jpg", "FORMAT", base[:3])
    fail("bad_jpeg_65535x65535.jpg", "LIMIT", patch(frame + 5, b"\xff" * 4))
    fail("bad_jpeg_65500x65500.jpg", "LIMIT", patch(frame + 5, struct.pack(">HH", 65500, 65500)))
    fail("bad_jpeg_65500x4000.jpg", "FORMAT", patch(frame + 5, struct.pack(">HH", 65500, 4000)))
    fail("bad_jpeg_height_doubled.jpg", "FORMAT", patch(frame + 5, struct.pack(">H", 96)))
    fail("bad_jpeg_zero_height.jpg", "FORMAT", patch(frame + 5, b"\0\0"))
    fail("bad_jpeg_zero_width.jpg", "FORMAT", patch(frame + 7, b"\0\0"))
    fail("bad_jpeg_12_bits.jpg", "UNSUPPORTED", patch(frame + 4, b"\x0c"))
    fail("bad_jpeg_lossless.jpg", "UNSUPPORTED", patch(frame + 1, b"\xc3"))
    fail("bad_jpeg_no_scan.jpg", "FORMAT", base[:start] + b"\xff\xd9")
    fail("bad_jpeg_scan_damaged.jpg", "FORMAT", base[:start + 40] + b"\xff\x01\xff\xd3" * 8 + base[start + 72:])
    grey = jpeg(8, 8, "L")
    at = grey.index(b"\xff\xc0")
    two = grey[:at] + segment(0xC0, b"\x08\0\x08\0\x08\x02\x01\x11\0\x02\x11\0") + grey[at + 13:]
    fail("bad_jpeg_two_components.jpg", "UNSUPPORTED", two)
    many = jpeg(8, 8, "L", progressive=True)
    scan = many.index(b"\xff\xda")
    tables = many.index(b"\xff\xc4", scan)
    fail("bad_jpeg_600_scans.jpg", "LIMIT", many[:scan] + many[scan:tables] * 600 + many[tables:])


def pngs():
    for depth in (1, 2, 4, 8, 16):
        good("png_grey%d_17x5.png" % depth, png(17, 5, depth, 0))
        good("png_grey%d_adam7_13x11.png" % depth, png(13, 11, depth, 0, 1))
    for depth in (1, 2, 4, 8):
        good("png_palette%d_17x5.png" % depth, png(17, 5, depth, 3, palette=colours(min(1 << depth, 200))))
    good("png_palette4_adam7_13x11.png", png(13, 11, 4, 3, 1, palette=colours(16)))
    good("png_palette8_trns_9x9.png", png(9, 9, 8, 3, palette=colours(200), extra=chunk(b"tRNS", bytes(range(0, 250, 2)))))
    for depth in (8, 16):
        for name, colour in (("rgb", 2), ("greya", 4), ("rgba", 6)):
            good("png_%s%d_3x7.png" % (name, depth), png(3, 7, depth, colour))
            good("png_%s%d_adam7_13x11.png" % (name, depth), png(13, 11, depth, colour, 1))
    good("png_rgb8_1x1.png", png(1, 1, 8, 2))
    good("png_grey1_1x1.png", png(1, 1, 1, 0))
    good("png_rgb8_trns_5x5.png", png(5, 5, 8, 2, extra=chunk(b"tRNS", b"\0\1\0\2\0\3")))
    good("png_grey4_trns_5x5.png", png(5, 5, 4, 0, extra=chunk(b"tRNS", b"\0\3")))
    good("png_grey16_trns_5x5.png", png(5, 5, 16, 0, extra=chunk(b"tRNS", b"\1\3")))
    good("png_gamma_5x5.png", png(5, 5, 8, 2, extra=chunk(b"gAMA", struct.pack(">I", 100000)) +
                                  chunk(b"sBIT", b"\5\6\5") + chunk(b"bKGD", b"\0\1\0\2\0\3")))
    good("png_text_bomb_5x5.png", png(5, 5, 8, 2, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(4 << 20), 9))))
    good("png_too_much_data_5x5.png", png(5, 5, 8, 2)[:33] + chunk(b"IDAT", zlib.compress(bytes(4 << 20), 9)) +
         chunk(b"IEND", b""))
    for orientation in range(1, 9):
        good("png_exif%d.png" % orientation, png(5, 3, 8, 2, extra=chunk(b"eXIf", tiff(orientation, ">"))))
    good("png_exif_after.png", png(5, 3, 8, 2, after=chunk(b"eXIf", tiff(8))))
    good("png_exif_twice.png", png(5, 3, 8, 2, extra=chunk(b"eXIf", tiff(3)), after=chunk(b"eXIf", tiff(8))))
    good("png_exif_adam7.png", png(9, 4, 16, 6, 1, extra=chunk(b"eXIf", tiff(6))))


def bad_pngs():
    base = png(21, 13, 8, 2)
    data = base.index(b"IDAT") - 4
    tail, end = base[data:], chunk(b"IEND", b"")

    def flip(offset):
        return base[:offset] + bytes([base[offset] ^ 1]) + base[offset + 1:]

    fail("bad_png_cut_in_signature.png", "FORMAT", base[:6])
    fail("bad_png_cut_in_header.png", "FORMAT", base[:25])
    fail("bad_png_cut_in_data.png", "FORMAT", base[:data + 100])
    fail("bad_png_no_end.png", "FORMAT", base[:-12])
    fail("bad_png_header_checksum.png", "FORMAT", flip(30))
    fail("bad_png_data_checksum.png", "FORMAT", flip(data + 60))
    fail("bad_png_exif_checksum.png", "FORMAT", base[:data] + chunk(b"eXIf", tiff(6))[:-1] + b"\0" + tail)
    fail("bad_png_exif_length.png", "FORMAT", base[:data] + b"\x77\0\0\x1aeXIf" + tiff(6) + tail)
    fail("bad_png_zero_width.png", "FORMAT", SIGNATURE + ihdr(0, 13, 8, 2) + tail)
    fail("bad_png_65535x65535.png", "LIMIT", SIGNATURE + ihdr(65535, 65535, 8, 2) + tail)
    fail("bad_png_60000x60000.png", "LIMIT", SIGNATURE + ihdr(60000, 60000, 8, 2) + tail)
    fail("bad_png_huge.png", "LIMIT", SIGNATURE + ihdr(0x7FFFFFFF, 1, 1, 0) + tail)
    fail("bad_png_over_31_bits.png", "FORMAT", SIGNATURE + ihdr(0xFFFFFFFF, 0xFFFFFFFF, 8, 2) + tail)
    fail("bad_png_16000x16000.png", "FORMAT", SIGNATURE + ihdr(16000, 16000, 8, 2) + tail)
    fail("bad_png_height_doubled.png", "FORMAT", SIGNATURE + ihdr(21, 26, 8, 2) + tail)
    fail("bad_png_depth.png", "FORMAT", SIGNATURE + ihdr(21, 13, 3, 2) + tail)
    fail("bad_png_colour.png", "FORMAT", SIGNATURE + ihdr(21, 13, 8, 5) + tail)
    fail("bad_png_no_palette.png", "FORMAT", SIGNATURE + ihdr(21, 13, 8, 3) + tail)
    fail("bad_png_no_data.png", "FORMAT", base[:data] + end)
    fail("bad_png_garbage_data.png", "FORMAT", base[:data] + chunk(b"IDAT", b"\x55" * 90) + end)
    fail("bad_png_chunk_length.png", "FORMAT", base[:data] + b"\x7f\xff\xff\xff" + base[data + 4:])
    fail("bad_png_unknown_critical.png", "FORMAT", base[:data] + chunk(b"ABCD", b"x") + tail)


def pnms():
    def join(values):
        return " ".join(str(v) for v in values).encode()

    rgb, grey = picture(17, 5), picture(17, 5, 1)[:, :, 0]
    wide = rng.integers(0, 65536, (5, 17, 3))
    good("pnm_p6_17x5.ppm", b"P6\n17 5\n255\n" + rgb.tobytes())
    good("pnm_p5_17x5.pgm", b"P5\n17 5\n255\n" + grey.tobytes())
    good("pnm_p3_17x5.ppm", b"P3\n17 5\n255\n" + join(rgb.ravel()) + b"\n")
    good("pnm_p2_17x5.pgm", b"P2\n17 5\n255\n" + join(grey.ravel()) + b"\n")
    good("pnm_p6_16bit_17x5.ppm", b"P6\n17 5\n65535\n" + wide.astype(">u2").tobytes())
    good("pnm_p5_16bit_17x5.pgm", b"P5\n17 5\n65535\n" + wide[:, :, 0].astype(">u2").tobytes())
    good("pnm_p3_16bit_17x5.ppm", b"P3\n17 5\n65535\n" + join(wide.ravel()) + b"\n")
    good("pnm_p5_maxval15_3x1.pgm", b"P5\n3 1\n15\n\x00\x07\x0f")
    good("pnm_p5_maxval1000_3x1.pgm", b"P5\n3 1\n1000\n" + struct.pack(">HHH", 0, 500, 1000))
    good("pnm_p2_maxval15_4x1.pgm", b"P2\n4 1\n15\n0 7 15 99\n")
    good("pnm_p2_maxval1000_4x1.pgm", b"P2\n4 1\n1000\n0 500 1000 2000\n")
    good("pnm_comments_3x1.pgm", b"P5 # one\n#two\n3 # three\n 1\n255\n\x01\x02\x03")
    good("pnm_other_spaces_3x1.pgm", b"P5\x0b3\x0c1\t255\x0c\x01\x02\x03")
    good("pnm_line_ends_3x1.pgm", b"P5\r\n3 1\r\n255\r\n\x01\x02\x03")
    good("pnm_two_pictures_3x1.pgm", b"P5\n3 1\n255\n\x01\x02\x03P5\n1 1\n255\n\x09")
    accept("pnm_p2_no_last_newline_3x1.pgm", b"P2\n3 1\n255\n1 #c\n2 3",
           np.repeat(np.array([[[1], [2], [3]]], np.uint8), 3, 2))

    fail("bad_pnm_short.ppm", "FORMAT", b"P6\n17 5\n255\n" + rgb.tobytes()[:-1])
    fail("bad_pnm_short_text.pgm", "FORMAT", b"P2\n2 2\n255\n100 200 30 ")
    fail("bad_pnm_only_magic.pgm", "FORMAT", b"P5")
    fail("bad_pnm_no_maxval.pgm", "FORMAT", b"P5\n3 1\n")
    fail("bad_pnm_no_samples.pgm", "FORMAT", b"P5\n3 1\n255\n")
    fail("bad_pnm_zero_width.pgm", "FORMAT", b"P5\n0 1\n255\n")
    fail("bad_pnm_65535x65535.ppm", "LIMIT", b"P6\n65535 65535\n255\n\0\0\0")
    fail("bad_pnm_60000x60000.ppm", "LIMIT", b"P6\n60000 60000\n255\n\0\0\0")
    fail("bad_pnm_16000x16000.ppm", "FORMAT", b"P3\n16000 16000\n255\n1 2 3\n")
    fail("bad_pnm_endless_number.ppm", "FORMAT", b"P6\n" + b"9" * 60 + b" 1\n255\n\0\0\0")
    fail("bad_pnm_negative.pgm", "FORMAT", b"P2\n3 1\n255\n1 -2 3\n")
    fail("bad_pnm_maxval_0.pgm", "FORMAT", b"P5\n3 1\n0\n\0\0\0")
    fail("bad_pnm_maxval_65536.pgm", "FORMAT", b"P5\n3 1\n65536\n\0\0\0\0\0\0")
    fail("bad_pnm_glued.pgm", "FORMAT", b"P53 1\n255\n\0\0\0")
    fail("bad_pnm_p1.pbm", "UNSUPPORTED", b"P1\n3 1\n101\n")
    fail("bad_pnm_p7.pam", "UNSUPPORTED", b"P7\nWIDTH 1\n")


def webps():
    rgb, rgba = picture(33, 21), picture(17, 9, 4)
    good("webp_lossy_33x21.webp", save(Image.fromarray(rgb), "WEBP", quality=70))
    good("webp_lossy_1x1.webp", save(Image.fromarray(rgb[:1, :1]), "WEBP", quality=70))
    good("webp_lossless_17x9.webp", save(Image.fromarray(rgb[:9, :17]), "WEBP", lossless=True))
    good("webp_lossy_alpha_17x9.webp", save(Image.fromarray(rgba), "WEBP", quality=70))
    good("webp_lossless_alpha_17x9.webp", save(Image.fromarray(rgba), "WEBP", lossless=True, exact=True))
    good("webp_exif6_7x4.webp", save(Image.fromarray(rgb[:4, :7]), "WEBP", lossless=True, exif=tiff(6)))
    whole = save(Image.fromarray(rgb), "WEBP", quality=70)
    frames = [Image.fromarray(picture(8, 8)) for _ in range(2)]
    fail("bad_webp_animation.webp", "UNSUPPORTED", save(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    fail("bad_webp_cut_in_header.webp", "FORMAT", whole[:14])
    fail("bad_webp_cut_in_half.webp", "FORMAT", whole[:len(whole) // 2])
    fail("bad_webp_zero_size.webp", "FORMAT", whole[:26] + b"\0\0\0\0" + whole[30:])
    canvas = struct.pack("<I", 0)[:4] + b"\xff\xff\0" + b"\xff\xff\0"
    fail("bad_webp_canvas.webp", "FORMAT", b"RIFF" + struct.pack("<I", 4 + 18 + len(whole) - 12) + b"WEBPVP8X" +
         struct.pack("<I", 10) + canvas + whole[12:])


def others():
    image = Image.fromarray(picture(4, 4))
    fail("bad_empty.jpg", "FORMAT", b"")
    fail("bad_text.jpg", "FORMAT", b"this is not an image\n")
    fail("bad_gif.jpg", "UNSUPPORTED", save(image, "GIF"))
    fail("bad_bmp.png", "UNSUPPORTED", save(image, "BMP"))
    fail("bad_tiff.jpg", "UNSUPPORTED", save(image, "TIFF"))


def main():
    os.makedirs(OUT, exist_ok=True)
    for name in os.listdir(OUT):
        os.remove(os.path.join(OUT, name))
    for make in (jpegs, bad_jpegs, pngs, bad_pngs, pnms, webps, others):
        make()
    with open(os.path.join(OUT, "manifest.txt"), "w") as f:
        f.write("# made by scripts/make_image_fixtures.py with OpenCV %s, Pillow %s\n" % (cv2.__version__, PIL.__version__))
        f.write("\n".join(lines) + "\n")
    total = sum(os.path.getsize(os.path.join(OUT, n)) for n in os.listdir(OUT))
    print("%d files, %d bytes" % (len(lines) + 1, total))


main()
