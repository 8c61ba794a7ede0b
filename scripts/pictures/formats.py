"""Pictures byte by byte, for what no good encoder writes, and what Pillow makes of them.

Imported by scripts/make-nasty-pictures once Pillow can be imported.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def mean_by_pillow(data: bytes) -> list[float]:
    with Image.open(io.BytesIO(data)) as picture:
        # Pillow would mix what is clear with black.
        picture = picture.convert("RGBA" if picture.mode in ("LA", "PA", "P", "RGBA") else "RGB").convert("RGB")
    pixels = picture.tobytes()
    return [round(sum(pixels[channel::3]) / (len(pixels) / 3), 1) for channel in range(3)]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *, interlaced: int = 0, extra: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows, 9))
    return PNG + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


PNG = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def jpeg_frame(marker: int, width: int, height: int, precision: int = 8) -> bytes:
    return segment(marker, struct.pack(">BHH", precision, height, width) + bytes([1, 1, 0x11, 0]))


def scan_bomb(width: int, height: int, scans: int, *, approximation: int = 0x00) -> bytes:
    """A progressive JPEG whose every scan says "nothing changes" for every block of a huge picture.

    `approximation` 0x10 makes them refine, for which a decoder looks at all 63 coefficients of each block.

    The one Huffman code, 0, stands for symbol 0xE0: a run of 2^14 + 14 bits' worth of empty blocks.
    """
    out = b"\xff\xd8" + segment(0xDB, bytes([0]) + bytes([1] * 64)) + jpeg_frame(0xC2, width, height)
    out += segment(0xC4, bytes([0x10, 1] + [0] * 15 + [0xE0]))
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    bits = ""
    while blocks > 0:
        run = min(blocks, 0x7FFF)
        run = run if run >= 0x4000 else 0x4000
        bits += "0" + format(run - 0x4000, "014b")
        blocks -= run
    bits += "1" * (-len(bits) % 8)
    coded = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\x00")
    scan = segment(0xDA, bytes([1, 1, 0x00, 1, 63, approximation])) + coded
    return out + scan * scans + b"\xff\xd9"


def bmp(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    *,
    compression: int = 0,
    palette: bytes = b"",
    colours: int = 0,
) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 2835, 2835, colours, 0)
    at = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + info + palette + pixels


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for name, data in chunks:
        body += name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int, frame: tuple[int, int, int, int], coded: bytes, *, trailer: bytes = b";") -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", *frame, 0) + coded + trailer


# Four pixels of colour 0: clear, 0, 0, 0, 0, end in codes of 3 and then 4 bits.
GIF_2X2 = b"\x02\x03\x84\x00\x05\x00"


# Types of EXIF's values.
BYTE, ASCII, SHORT, LONG, SLONG = 1, 2, 3, 4, 9


def exif(orientation: int, *, kind: int = SHORT, count: int = 1, big_endian: bool = False, before: tuple = ()) -> bytes:
    """A TIFF structure; `before` are entries of tag, type, count and four bytes in front of the orientation's."""
    order = ">" if big_endian else "<"
    value = struct.pack(order + {BYTE: "B", SHORT: "H", LONG: "I", SLONG: "i"}[kind], orientation).ljust(4, b"\0")
    entries = [*before, (0x0112, kind, count, value)]
    directory = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    head = (b"MM" if big_endian else b"II") + struct.pack(order + "HIH", 42, 8, len(entries))
    return head + directory + struct.pack(order + "I", 0)


def with_exif(jpeg: bytes, tiff: bytes) -> bytes:
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + tiff) + jpeg[2:]
