"""The odd and damaged pictures of scripts/make-nasty-pictures that decoders do not agree about.

What OpenCV and Pillow do with them is in docs/pictures.md.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pictures.formats import (
    ASCII,
    BYTE,
    LONG,
    PNG,
    RGB,
    SLONG,
    chunk,
    encoded,
    exif,
    mean_by_pillow,
    riff,
    segment,
    with_exif,
)


class Corpus(NamedTuple):
    """Where pictures go, and what they are made of."""

    add: Callable[..., None]
    folder: Path
    small: Image.Image

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def add_all(corpus: Corpus) -> None:
    for group in (oriented, odd_jpegs, odd_pngs, odd_gifs, odd_bitmaps, odd_webps):
        group(corpus)


# What `cv2.imread` of OpenCV 5.0 gave, as means of red, green and blue, where Pillow gives something else or nothing, and
# of what is damaged.
MEANS: dict[str, list[float]] = {
    "run-too-long.bmp": [0, 0, 0],
    "cmyk.jpg": [159.4, 86.9, 52.8],
    "16-bit-grey.png": [18.0, 18.0, 18.0],
    "exif-length-lie.webp": [158.4, 86.3, 52.5],
    "a-jpeg.png": [159.4, 86.9, 52.8],
    "archive-behind.jpg": [159.4, 86.9, 52.8],
    "two-pictures.jpg": [159.4, 86.9, 52.8],
    "adobe-7-cmyk.jpg": [183.2, 33.7, 150.5],
    "bad-code.jpg": [155.3, 91.6, 78.0],
    "pixels-end-early.jpg": [156.8, 108.3, 80.6],
    "marker-among-pixels.jpg": [157.4, 98.3, 68.9],
    "unknown-among-pixels.jpg": [157.4, 98.3, 68.9],
    "restart-missing.jpg": [153.0, 93.8, 65.3],
    "restart-order.jpg": [159.7, 112.2, 86.8],
    "restart-interval.jpg": [144.1, 121.4, 108.1],
    "4-bit-256-colours.bmp": [12.2, 242.8, 12.2],
    "runs-end-early.bmp": [3.1, 217.8, 37.2],
    "runs-skip.bmp": [0.9, 244.4, 10.6],
    "runs-skip-outside.bmp": [0.9, 244.4, 10.6],
    "profile-bomb.png": [0, 0, 0],
    "text-bomb.png": [0, 0, 0],
    "data-bomb.png": [0, 0, 0],
    "progressive-hole.jpg": [157.7, 86.8, 54.1],
}


def oriented(corpus: Corpus) -> None:
    add, small = corpus.add, corpus.small
    """EXIF as OpenCV reads it: two bytes of the value in the block's order, whatever type they claim to have."""
    plain = encoded(small, "JPEG")
    add("plain.jpg", plain, "detected", "nothing odd: what others are held against", size=[48, 32])

    def turned(name: str, data: bytes, why: str, *, turned: bool = True) -> None:
        other = "turned.jpg" if turned else "plain.jpg"
        add(name, data, "detected", why, size=[32, 48] if turned else [48, 32], same_pixels_as=other)

    six = with_exif(plain, exif(6))
    add("turned.jpg", six, "detected", "orientation 6 of a SHORT", size=[32, 48], mean=mean_by_pillow(plain))
    segment_of = lambda tiff: segment(0xE1, b"Exif\0\0" + tiff)  # noqa: E731
    before = lambda *segments: plain[:2] + b"".join(segments) + plain[2:]  # noqa: E731
    turned("exif-long.jpg", with_exif(plain, exif(6, kind=LONG)), "the orientation is a LONG")
    turned("exif-byte.jpg", with_exif(plain, exif(6, kind=BYTE)), "the orientation is a BYTE")
    turned("exif-slong.jpg", with_exif(plain, exif(6, kind=SLONG)), "the orientation is an SLONG")
    turned("exif-count-1000.jpg", with_exif(plain, exif(6, count=1000)), "a thousand orientations, of which one is there")
    turned("exif-big-endian.jpg", with_exif(plain, exif(6, big_endian=True)), "big-endian")
    turned("exif-long-big-endian.jpg", with_exif(plain, exif(6, kind=LONG, big_endian=True)), "a big-endian LONG has 0 in the two bytes that OpenCV reads", turned=False)
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    turned("exif-behind-xmp.jpg", before(xmp, segment_of(exif(6))), "an APP1 of XMP comes first")
    turned("exif-behind-app1.jpg", before(segment(0xE1, b"hello, world"), segment(0xE1, b""), segment_of(exif(6))), "APP1 segments that are nothing come first")
    turned("exif-behind-others.jpg", before(*[segment(0xE0 + number, b"x" * 40) for number in range(2, 14)], segment_of(exif(6))), "all other kinds of segments come first")
    turned("exif-second.jpg", before(segment_of(b"II"), segment_of(exif(6)[:10]), segment_of(exif(6))), "two damaged EXIF segments come first")
    turned("exif-first-counts.jpg", before(segment_of(exif(6)), segment_of(exif(3))), "two EXIF segments")
    turned("exif-behind-pixels.jpg", plain[:-2] + segment_of(exif(6)) + plain[-2:], "EXIF behind the pixels does not count", turned=False)
    turned("exif-other-name.jpg", before(segment(0xE1, b"exif\0\0" + exif(6))), "an APP1 that is called exif and not Exif", turned=False)
    outside = ((0x010F, ASCII, 100, struct.pack("<I", 60000)),)
    turned("exif-maker-outside.jpg", with_exif(plain, exif(6, before=outside)), "the maker's name lies outside the block: OpenCV reads no further", turned=False)
    add("exif-long.png", encoded(small, "PNG", exif=exif(6, kind=LONG)), "detected", "a LONG in a PNG", size=[32, 48])
    png_six = encoded(small, "PNG", exif=exif(6))
    at = png_six.index(b"eXIf") - 4
    block, rest = png_six[at : at + 12 + len(exif(6))], png_six[:at] + png_six[at + 12 + len(exif(6)) :]
    add("exif-behind-pixels.png", rest[:-12] + block + rest[-12:], "detected", "EXIF of a PNG may follow its pixels", size=[32, 48])
    add("exif-checksum.png", png_six.replace(block, block[:-1] + b"\0"), "detected", "EXIF whose checksum is wrong does not count", size=[48, 32], mean=mean_by_pillow(png_six))
    add("exif-big-endian.webp", encoded(small, "WEBP", exif=exif(6, big_endian=True)), "detected", "big-endian in a WebP", size=[32, 48])


def odd_jpegs(corpus: Corpus) -> None:
    """What libjpeg warns of: all pixels are there, or they are not and the task says so."""
    add = corpus.add
    plain = corpus.read("plain.jpg")
    scan = plain.index(b"\xff\xda")
    pixels_at = scan + 2 + struct.unpack(">H", plain[scan + 2 : scan + 4])[0]

    def whole(name: str, data: bytes, why: str) -> None:
        add(name, data, "detected", why, size=[48, 32], same_pixels_as="plain.jpg")

    def damaged(name: str, data: bytes, why: str, mean: list[float], size: tuple[int, int] = (48, 32)) -> None:
        add(name, data, "detected", why, size=list(size), mean=mean, warns=True)

    whole("junk-in-header.jpg", plain[:20] + b"junk" + plain[20:scan] + b"\0\0\0" + plain[scan:], "bytes that are no marker between segments")
    whole("markers-in-header.jpg", plain[:scan] + b"\xff\0\xff\1\xff\xd3\xff\xff" + plain[scan:], "markers that mean nothing there between segments")
    version = plain.index(b"JFIF\0") + 5
    whole("jfif-2.jpg", plain[:version] + b"\2" + plain[version + 1 :], "revision 2 of JFIF, which does not exist")
    adobe = lambda transform: segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))  # noqa: E731
    whole("adobe-2.jpg", plain[:2] + adobe(2) + plain[20:], "Adobe's transform for four colours, in a picture of three")
    whole("adobe-200.jpg", plain[:2] + adobe(200) + plain[20:], "an unknown transform of colours")
    cmyk = corpus.read("cmyk.jpg")
    at = cmyk.index(b"Adobe") + 11
    add("adobe-7-cmyk.jpg", cmyk[:at] + b"\7" + cmyk[at + 1 :], "detected", "an unknown transform of four colours stands for YCCK", size=[48, 32], mean=MEANS["adobe-7-cmyk.jpg"])
    profile = lambda number, count: segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + b"abcd")  # noqa: E731
    whole("profile-missing.jpg", plain[:20] + profile(1, 3) + profile(3, 3) + plain[20:], "the second of three parts of a colour profile is missing")
    whole("profile-twice.jpg", plain[:20] + profile(1, 2) + profile(1, 2) + plain[20:], "the first part of a colour profile, twice")
    whole("scan-of-phones.jpg", plain[: pixels_at - 3] + b"\0\0\0" + plain[pixels_at:], "parameters of a scan that a family of telephones writes")
    whole("scan-approximation.jpg", plain[: pixels_at - 3] + b"\0\x3f\x10" + plain[pixels_at:], "parameters of a scan that a sequential JPEG cannot have")
    whole("zeros-before-end.jpg", plain[:-2] + bytes(60) + plain[-2:], "padding between the last pixel and the end marker")
    whole("segment-length-0.jpg", plain[:20] + b"\xff\xe5\0\0\xff\xfe\0\1" + plain[20:], "segments that claim less than the length of their length")
    whole("unknown-marker-at-end.jpg", plain[:-2] + b"\xff\xf3\0\2" + plain[-2:], "a marker of nothing behind the last pixel")
    whole("number-of-lines.jpg", plain[:-2] + segment(0xDC, b"\0\x20") + plain[-2:], "the height, once more behind the pixels")
    whole("everything-odd.jpg", plain[:2] + b"\xff\xe5\0\0" + profile(2, 2) + plain[2:version] + b"\7" + plain[version + 1 : scan] + b"junk" + plain[scan : pixels_at - 3] + b"\5\5\5" + plain[pixels_at:-2] + bytes(9) + plain[-2:], "all oddities of the header at once")

    # All ones are no code of any table.
    ones = b"\xff\0" * 6
    damaged("bad-code.jpg", plain[: pixels_at + 150] + ones + plain[pixels_at + 162 :], "a code that does not exist among the pixels", MEANS["bad-code.jpg"])
    damaged("pixels-end-early.jpg", plain[: pixels_at + 300] + plain[-2:], "the second part of the pixels is missing, the end marker is there", MEANS["pixels-end-early.jpg"])
    damaged("marker-among-pixels.jpg", plain[: pixels_at + 400] + b"\xff\xc4\xff\xff" + plain[pixels_at + 404 :], "a marker among the pixels whose segment would end behind the file", MEANS["marker-among-pixels.jpg"])
    damaged("unknown-among-pixels.jpg", plain[: pixels_at + 400] + b"\xff\x45" + plain[pixels_at + 402 :], "a marker that does not exist among the pixels", MEANS["unknown-among-pixels.jpg"])
    damaged("phone-and-hole.jpg", plain[: pixels_at - 3] + b"\0\0\0" + plain[pixels_at : pixels_at + 300] + plain[-2:], "harmless parameters of a scan must not hide that pixels are missing", MEANS["pixels-end-early.jpg"])
    damaged("rubbish-before-end.jpg", plain[:-2] + bytes(range(1, 100)) + plain[-2:], "ninety-nine bytes that belong to no pixel: whether all of them are right, nobody can tell", mean_by_pillow(plain))
    restarts = corpus.read("restarts.jpg")
    third, fifth = restarts.index(b"\xff\xd2"), restarts.index(b"\xff\xd4")
    damaged("restart-missing.jpg", restarts[:third] + restarts[third + 2 :], "a restart marker is missing", MEANS["restart-missing.jpg"])
    damaged("restart-order.jpg", restarts[:third] + b"\xff\xd4" + restarts[third + 2 : fifth] + b"\xff\xd2" + restarts[fifth + 2 :], "two restart markers change places", MEANS["restart-order.jpg"])
    damaged("restart-interval.jpg", plain[:scan] + segment(0xDD, b"\0\2") + plain[scan:], "restart markers are announced and none is there", MEANS["restart-interval.jpg"])
    progressive = corpus.read("progressive.jpg")
    scans = [at for at in range(len(progressive)) if progressive[at : at + 2] == b"\xff\xda"]
    damaged("progressive-hole.jpg", progressive[: scans[1] + 20] + progressive[scans[1] + 49 :], "a hole in the second scan", MEANS["progressive-hole.jpg"])
    tables = progressive.rindex(b"\xff\xc4", 0, scans[1])
    add("zeros-between-scans.jpg", progressive[:tables] + bytes(20) + progressive[tables:], "detected", "padding between two scans", size=[48, 32], same_pixels_as="progressive.jpg")
    add("two-starts.jpg", plain[:2] + plain, "failed", "it starts twice, which OpenCV and Pillow refuse")


def odd_pngs(corpus: Corpus) -> None:
    add, small = corpus.add, corpus.small
    width, height = small.size
    pixels = small.tobytes()
    rows = b"".join(b"\0" + pixels[at : at + 3 * width] for at in range(0, len(pixels), 3 * width))
    coded = zlib.compress(rows, 9)
    start = PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0))
    end = chunk(b"IEND", b"")
    broken = lambda whole: whole[:-4] + b"\xde\xad\xbe\xef"  # noqa: E731
    data = chunk(b"IDAT", coded)
    add("plain.png", start + data + end, "detected", "nothing odd: what others are held against", size=[48, 32])

    def whole(name: str, data: bytes, why: str) -> None:
        add(name, data, "detected", why, size=[48, 32], same_pixels_as="plain.png")

    whole("text-checksum.png", start + broken(chunk(b"tEXt", b"a\0b")) + data + broken(chunk(b"tIME", bytes(7))) + end, "wrong checksums of chunks that nobody needs")
    whole("profile-checksum.png", start + broken(chunk(b"iCCP", b"x\0\0rubbish")) + broken(chunk(b"gAMA", b"\0\0\xb1\x8f")) + data + end, "wrong checksums of what corrects colours")
    whole("end-checksum.png", start + data + broken(end), "a wrong checksum of the end mark")
    whole("no-end.png", start + data, "no end mark; nothing is cut off in a chunk")
    whole("zeros-for-end.png", start + data + bytes(64), "zeros in place of the end mark")
    whole("pixel-checksum.png", start + broken(data) + end, "a wrong checksum of the pixels' chunk, and a right one of the pixels")
    whole("pixel-checksums.png", start + broken(chunk(b"IDAT", coded[:999])) + broken(chunk(b"IDAT", coded[999:])) + end, "the same of two chunks")
    whole("unknown-chunk.png", start + chunk(b"ABCD", b"x") + data + end, "a critical chunk of no known kind")
    whole("palette-not-needed.png", start + chunk(b"PLTE", b"\1\2") + data + end, "a damaged palette that pixels do not name")
    whole("header-twice.png", start + start[8:] + data + end, "the same header twice")
    whole("empty-chunks.png", start + chunk(b"IDAT", b"") + chunk(b"IDAT", coded[:7]) + chunk(b"IDAT", b"") + chunk(b"IDAT", coded[7:]) + end, "chunks of pixels without any")
    middle = len(coded) // 2
    flipped = coded[:middle] + bytes([coded[middle] ^ 0x55]) + coded[middle + 1 :]
    add("pixels-flipped.png", start + data[:8] + flipped + data[-4:] + end, "failed", "a byte of the pixels is another, and their chunk's checksum says so")
    add("pixels-end-early.png", start + chunk(b"IDAT", coded[:middle]) + end, "failed", "the second half of the pixels is missing, which OpenCV and Pillow refuse")
    add("cut-in-end.png", start + data + end[:6], "refused:400", "cut off within the end mark")
    add("cut-behind-first.png", start + chunk(b"IDAT", coded[:middle]), "failed", "cut off between two chunks of pixels")


def odd_gifs(corpus: Corpus) -> None:
    add = corpus.add
    colours = b"\0\0\xff\xff\0\0\0\xff\0\xff\xff\xff"
    # Sixteen pixels of colour 1 with a clear code between every two, so that codes stay three bits long.
    codes = [code for _ in range(8) for code in (4, 1, 1)] + [5]
    bits = sum(code << 3 * at for at, code in enumerate(codes))
    coded = bits.to_bytes((3 * len(codes) + 7) // 8, "little")

    def drawn(left: int, top: int, *, background: int = 0, table: bytes = colours, own: bytes = b"", before: bytes = b"", data: bytes = coded) -> bytes:
        screen = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x81 if table else 0, background, 0) + table
        frame = b"," + struct.pack("<HHHHB", left, top, 4, 4, 0x81 if own else 0) + own
        return screen + before + frame + b"\2" + bytes([len(data)]) + data + b"\0;"

    corner, quarter = "the frame covers a quarter of the screen: ", dict(size=[8, 8])
    add("background-0.gif", drawn(4, 4), "detected", corner + "the rest is colour 0", mean=[63.8, 0, 191.2], **quarter)
    add("background-2.gif", drawn(0, 4, background=2), "detected", corner + "the rest is colour 2, the background", mean=[63.8, 191.2, 0], **quarter)
    clear = lambda colour: b"!\xf9\4\1\0\0" + bytes([colour]) + b"\0"  # noqa: E731
    add("background-clear.gif", drawn(2, 2, background=3, before=clear(0)), "detected", corner + "the rest is the background, though colour 0 is clear", mean=[255, 191.2, 191.2], **quarter)
    add("background-unknown.gif", drawn(4, 0, background=200), "detected", corner + "the background is no colour of the table: as Pillow, the first", mean=[63.8, 0, 191.2], **quarter)
    add("background-none.gif", drawn(0, 0, table=b"", own=colours), "detected", corner + "without a table the rest is black", mean=[63.8, 0, 0], **quarter)
    add("unknown-extension.gif", drawn(4, 4, before=b"!\x42\3abc\0"), "detected", "an extension of no known kind", mean=[63.8, 0, 191.2], **quarter)
    add("rubbish-between.gif", drawn(4, 4, before=b"\0\x55\x66"), "detected", "bytes between blocks that are no block, which Pillow passes over", mean=[63.8, 0, 191.2], **quarter)
    add("control-too-long.gif", drawn(4, 4, before=b"!\xf9\5\1\0\0\2\0\0"), "detected", "a control extension that is a byte too long", mean=[63.8, 0, 191.2], **quarter)
    add("no-end-code.gif", drawn(4, 4, data=coded[:-1] + bytes([coded[-1] & 0b111])), "detected", "the codes have no end", mean=[63.8, 0, 191.2], **quarter)
    add("codes-end-early.gif", drawn(4, 4, data=coded[:5]), "failed", "half of the codes is missing, which OpenCV and Pillow refuse")


def odd_bitmaps(corpus: Corpus) -> None:
    add = corpus.add
    quadrants = [[(250, 10, 20), (30, 240, 60)], [(5, 80, 200), (120, 120, 120)]]
    upwards = [quadrants[1]] * 4 + [quadrants[0]] * 4
    rows = [[row[0]] * 8 + [row[1]] * 8 for row in upwards]
    packed = lambda pack: b"".join(pack(*colour) for row in rows for colour in row)  # noqa: E731
    bgr = packed(lambda r, g, b: bytes([b, g, r]))
    bgr0 = packed(lambda r, g, b: bytes([b, g, r, 0]))
    five_five_five = packed(lambda r, g, b: struct.pack("<H", (r >> 3) << 10 | (g >> 3) << 5 | b >> 3))
    five_six_five = packed(lambda r, g, b: struct.pack("<H", (r >> 3) << 11 | (g >> 2) << 5 | b >> 3))
    right = [101.2, 112.5, 100.0]
    size = dict(size=[16, 8])

    def made(bits: int, pixels: bytes, *, compression: int = 0, masks: tuple = (), palette: bytes = b"", colours: int = 0, header: int = 40, extra: bytes = b"", height: int = 8, planes: int = 1, claimed: int | None = None) -> bytes:
        claimed = len(pixels) if claimed is None else claimed
        info = struct.pack("<IiiHHIIiiII", header, 16, height, planes, bits, compression, claimed, 2835, 2835, colours, 0) + extra
        head = info + struct.pack(f"<{len(masks)}I", *masks) + palette
        return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head)) + head + pixels

    fields, eights = 3, (0xFF0000, 0xFF00, 0xFF)
    add("16-bit.bmp", made(16, five_five_five), "detected", "five bits for each colour", mean=[98.0, 112.0, 98.0], **size)
    add("masks-555.bmp", made(16, five_five_five, compression=fields, masks=(0x7C00, 0x3E0, 0x1F)), "detected", "the same, by masks", mean=[98.0, 112.0, 98.0], **size)
    add("masks-565.bmp", made(16, five_six_five, compression=fields, masks=(0xF800, 0x7E0, 0x1F)), "detected", "six bits of green", mean=[98.0, 112.0, 98.0], **size)
    add("masks-444.bmp", made(16, packed(lambda r, g, b: struct.pack("<H", (r >> 4) << 8 | (g >> 4) << 4 | b >> 4)), compression=fields, masks=(0xF00, 0xF0, 0xF)), "detected", "four bits for each colour, which OpenCV and Pillow do not read", mean=[97.8, 114.8, 97.8], **size)
    add("masks-888.bmp", made(32, bgr0, compression=fields, masks=eights), "detected", "the usual masks", mean=right, **size)
    add("masks-shifted.bmp", made(32, packed(lambda r, g, b: bytes([0, b, g, r])), compression=fields, masks=tuple(mask << 8 for mask in eights)), "detected", "colours in the three upper bytes, as Pillow reads them", mean=right, **size)
    add("masks-swapped.bmp", made(32, packed(lambda r, g, b: bytes([r, g, b, 0])), compression=fields, masks=eights[::-1]), "detected", "red in the lowest byte; OpenCV does not look", mean=right, **size)
    add("masks-ten.bmp", made(32, packed(lambda r, g, b: struct.pack("<I", r << 22 | g << 12 | b << 2)), compression=fields, masks=(0x3FF00000, 0xFFC00, 0x3FF)), "detected", "ten bits for each colour", mean=right, **size)
    add("masks-zero.bmp", made(32, bgr0, compression=fields, masks=(0, 0, 0)), "detected", "masks of nothing stand for the usual ones", mean=right, **size)
    add("masks-24.bmp", made(24, bgr, compression=fields, masks=eights), "detected", "masks that 24 bits do not need", mean=right, **size)
    add("masks-in-header.bmp", made(32, bgr0, compression=fields, header=124, extra=struct.pack("<4I", *eights, 0xFF000000) + b"BGRs" + bytes(64)), "detected", "masks within the longest header", mean=right, **size)
    add("planes-0.bmp", made(24, bgr, planes=0), "detected", "no planes", mean=right, **size)
    add("os2-2.bmp", made(24, bgr, header=64, extra=bytes(24)), "detected", "the header of OS/2 2.x", mean=right, **size)
    core = lambda bits, pixels: b"BM" + struct.pack("<IHHIIHHHH", 26 + len(pixels), 0, 0, 26, 12, 16, 8, 1, bits) + pixels  # noqa: E731
    add("os2-32.bmp", core(32, bgr0), "detected", "32 bits behind the header of OS/2 1.x", mean=right, **size)
    ramp = lambda count: b"".join(bytes([at * 255 // (count - 1), 255 - at * 255 // (count - 1), at * 7, 0]) for at in range(count))  # noqa: E731
    twos = bytes([0b00011011]) * 4
    add("2-bit.bmp", made(2, twos * 8, palette=ramp(4)), "detected", "four colours, two bits each; OpenCV and Pillow do not read them", mean=[10.5, 127.5, 127.5], **size)
    add("2-bit-3-colours.bmp", made(2, twos * 8, palette=ramp(4)[:12], colours=3), "detected", "a colour that the palette does not have is black", mean=[5.2, 127.5, 63.8], **size)
    add("4-bit-256-colours.bmp", made(4, bytes(range(8)) * 8, palette=ramp(37).ljust(1024, b"\0"), colours=256), "detected", "more colours than pixels can name", mean=MEANS["4-bit-256-colours.bmp"], **size)

    # Row by row: eight pixels of one colour, eight of another, the end of the row.
    full = b"".join(bytes([8, row % 4, 8, row % 4 ^ 1, 0, 0]) for row in range(8))
    four, rle8, rle4 = ramp(4), 1, 2
    runs = lambda pixels, kind=rle8, **more: made(8 if kind == rle8 else 4, pixels, compression=kind, palette=four, colours=4, **more)  # noqa: E731
    same = [10.5, 127.5, 127.5]
    add("runs.bmp", runs(full + b"\0\1"), "detected", "runs to the last pixel", mean=same, **size)
    add("runs-no-end.bmp", runs(full[:-2]), "detected", "no mark of the end behind the last pixel", mean=same, **size)
    add("runs-top-down.bmp", runs(full + b"\0\1", height=-8), "detected", "runs from the top down", mean=same, **size)
    add("runs-length-lie.bmp", runs(full + b"\0\1", claimed=100000), "detected", "the header claims more than the file has; the runs are all there", mean=same, **size)
    add("runs-end-early.bmp", runs(full[:18] + b"\0\1"), "detected", "the end comes after three rows: the rest has colour 0", mean=MEANS["runs-end-early.bmp"], **size)
    add("runs-short-rows.bmp", runs(b"\4\1\0\0" * 8 + b"\0\1"), "detected", "rows end early: the rest has colour 0", mean=[1.8, 233.8, 21.2], **size)
    add("runs-skip.bmp", runs(b"\x08\1\x08\0\0\0\0\2\4\2\4\2\0\0\0\1"), "detected", "pixels are skipped: they have colour 0", mean=MEANS["runs-skip.bmp"], **size)
    add("runs-skip-outside.bmp", runs(b"\x10\1\0\0\0\2\xff\xff\4\2\0\0\0\1"), "detected", "a jump out of the picture", mean=MEANS["runs-skip-outside.bmp"], **size)
    add("runs-list.bmp", runs(b"\0\5\1\2\3\0\1\0\x0b\2\0\0" * 8 + b"\0\1"), "detected", "pixels one by one", mean=[12.7, 100.9, 154.1], **size)
    add("half-runs.bmp", runs(b"\x10\x12\0\0" * 8 + b"\0\1", rle4), "detected", "runs of two colours", mean=same, **size)
    add("half-runs-end-early.bmp", runs(b"\x10\x12\0\0" * 3 + b"\0\1", rle4), "detected", "the same, and the end comes after three rows", mean=[3.9, 207.2, 47.8], **size)
    add("half-runs-too-long.bmp", runs(b"\x1e\x12\0\0" * 8 + b"\0\1", rle4), "detected", "runs over the end of the row, as Pillow reads them", mean=same, **size)
    add("runs-cut.bmp", runs(full[:18]), "refused:400", "the file ends after three rows, without a mark of the end")


def odd_webps(corpus: Corpus) -> None:
    add, small = corpus.add, corpus.small
    lossy = encoded(small, "WEBP", quality=80)
    add("plain.webp", lossy, "detected", "nothing odd: what others are held against", size=[48, 32])
    sides = struct.pack("<I", 47)[:3] + struct.pack("<I", 31)[:3]
    pixels = lossy[20 : 20 + struct.unpack("<I", lossy[16:20])[0]]
    extended = lambda flags, *more: riff((b"VP8X", bytes([flags, 0, 0, 0]) + sides), *more)  # noqa: E731
    whole = dict(size=[48, 32], same_pixels_as="plain.webp")
    add("no-alpha.webp", extended(0x10, (b"VP8 ", pixels)), "detected", "an alpha channel is announced and not there", **whole)
    add("no-profile.webp", extended(0x20, (b"VP8 ", pixels)), "detected", "a colour profile is announced and not there", **whole)
    add("unknown-chunks.webp", extended(0, (b"abcd", b"xyz"), (b"VP8 ", pixels), (b"efgh", b"")), "detected", "chunks of no known kind", **whole)
    add("exif-not-announced.webp", extended(0, (b"VP8 ", pixels), (b"EXIF", exif(6))), "detected", "EXIF that the header does not announce does not count", **whole)
    add("pixels-end-early.webp", riff((b"VP8 ", pixels[: len(pixels) // 2])), "failed", "the second half of the pixels is missing, which OpenCV and Pillow refuse")
    add("other-size.webp", riff((b"VP8X", bytes(4) + b"\x31\0\0\x27\0\0"), (b"VP8 ", pixels)), "failed", "two headers that claim two sizes")
