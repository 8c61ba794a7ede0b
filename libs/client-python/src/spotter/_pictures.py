"""What a caller may pass as a picture, and how it is sent."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

PictureSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[np.uint8]"
)
"""A picture: a path, an `https` URL, the bytes of a file, an open file, a PIL picture, or an array.

An array has the shape [height, width, 3] (RGB) or [height, width] (grey), and values from 0 to 255.
"""

# Fast, and a third larger than the smallest.
PNG_COMPRESSION = 1
# Modes that a PNG has, and the API reads.
PNG_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
# Modes whose values may be in any range: Pillow cuts off what is above 255.
RANGELESS_MODES = ("I", "F", "I;16B", "I;16L", "I;16N")
INSTALL_PILLOW = "pip install 'spotter-detection[pillow]'"


@dataclass(frozen=True)
class Upload:
    """The bytes of a picture, and the file name that its task shows."""

    name: str
    content: bytes = field(repr=False)

    def body(self) -> bytes:
        return self.content

    def headers(self) -> dict[str, str]:
        disposition = f"attachment; filename*=UTF-8''{quote(self.name, safe='')}"
        return {"Content-Type": "application/octet-stream", "Content-Disposition": disposition}

    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True)
class Remote:
    """A picture that the API fetches. Its URL may contain a token, and is not shown."""

    url: str = field(repr=False)
    name: str = ""

    def body(self) -> bytes:
        return msgspec.json.encode({"url": self.url})

    def headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json"}

    def digest(self) -> bytes:
        return hashlib.sha256(self.url.encode()).digest()


Picture: TypeAlias = Upload | Remote


def load(source: PictureSource, name: str | None) -> Picture:
    """Read or encode a picture. Blocks while it reads a file."""
    check_name(name)
    if is_url(source):
        return Remote(str(source))
    if isinstance(source, str | os.PathLike):
        path = file_path(source)
        return Upload(printable(name or path.name), path.read_bytes())
    if isinstance(source, bytes | bytearray | memoryview):
        return Upload(printable(name or "picture"), bytes(source))
    if is_instance_of(source, "PIL.Image", "Image") or is_instance_of(source, "numpy", "ndarray"):
        return Upload(printable(name or "picture.png"), encode(open_picture(source)))
    if hasattr(source, "read"):
        file = cast(BinaryIO, source)
        own_name = Path(str(getattr(file, "name", "picture"))).name
        return Upload(printable(name or own_name), content_of(file))
    found = type(source).__name__
    expected = "expected a path, a URL, bytes, a file, a PIL picture or an array"
    raise TypeError(f"not a picture: {found}; {expected}; detect_many and submit_batch take many pictures")


def check_name(name: object) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name: expected a text, got {type(name).__name__}")


def is_url(source: object) -> bool:
    return isinstance(source, str) and source[:8].lower().startswith(("https://", "http://"))


def is_one(pictures: object) -> bool:
    """Whether this is a single picture or archive. Most of them are iterable, too; an array may be one of pictures."""
    if is_instance_of(pictures, "numpy", "ndarray"):
        return bool(cast(Any, pictures).ndim < 4)
    is_content = isinstance(pictures, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(pictures, "read")
    return is_content or is_instance_of(pictures, "PIL.Image", "Image")


def file_path(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_dir():
        advice = "a folder; expected a picture: pass the files in it to detect_many or submit_batch"
        raise IsADirectoryError(errno.EISDIR, advice, str(path))
    return path


def content_of(file: BinaryIO) -> bytes:
    """The bytes of an open file, from where it is."""
    # To read one that was opened as text would fail, or change its bytes.
    if not isinstance(file, io.TextIOBase):
        content = file.read()
        if isinstance(content, bytes):
            return content
    raise TypeError("not a picture: a file that is read as text; expected one opened with mode 'rb'")


def open_picture(source: PictureSource) -> Image.Image:
    """The picture as Pillow has it, upright: the API applies the EXIF orientation as well."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise ImportError(f"this needs Pillow: {INSTALL_PILLOW}") from None
    if isinstance(source, Image.Image):
        picture = source
    elif is_instance_of(source, "numpy", "ndarray"):
        picture = Image.fromarray(checked_array(source))
    else:
        loaded = load(source, None)
        if isinstance(loaded, Remote):
            raise ValueError("a picture by URL is not fetched here: pass its bytes")
        try:
            picture = Image.open(io.BytesIO(loaded.content))
        except UnidentifiedImageError:
            raise ValueError(f"not a picture that Pillow reads: {loaded.name}") from None
    with errors_about(picture):
        return ImageOps.exif_transpose(picture)


@contextmanager
def errors_about(picture: Image.Image) -> Iterator[None]:
    """Raises errors of Pillow, such as for a truncated file, as errors about a picture."""
    try:
        yield
    except (OSError, ValueError) as error:
        found = f"a PIL picture of mode {picture.mode} and size {list(picture.size)}"
        raise ValueError(f"not a picture: {found} that cannot be used: {error}") from error


def encode(picture: Image.Image) -> bytes:
    """The picture as PNG, which changes no pixel."""
    if picture.mode in RANGELESS_MODES:
        expected = "expected values from 0 to 255, such as mode L or RGB: scale and convert it"
        raise ValueError(f"not a picture: a PIL picture of mode {picture.mode}; {expected}")
    file = io.BytesIO()
    with errors_about(picture):
        converted = picture if picture.mode in PNG_MODES else picture.convert("RGB")
        converted.save(file, "PNG", compress_level=PNG_COMPRESSION)
    return file.getvalue()


def checked_array(source: Any) -> npt.NDArray[np.uint8]:
    """An array that is certain to be a picture: one of floats from 0 to 1 would be sent as black."""
    is_picture = source.ndim == 2 or (source.ndim == 3 and source.shape[2] == 3)
    if source.dtype != "uint8" or not is_picture or source.size == 0:
        raise ValueError(
            f"not a picture: an array of {source.dtype} with shape {list(source.shape)}; "
            f"expected uint8 with shape [height, width, 3] (RGB) or [height, width]{remedy(source)}"
        )
    return cast("npt.NDArray[np.uint8]", source)


def remedy(source: Any) -> str:
    """How the usual other arrays become pictures."""
    if source.dtype.kind == "f":
        return "; of values from 0 to 1: (array * 255).astype('uint8')"
    if source.ndim == 4:
        return "; submit_batch takes an array of many pictures"
    if source.ndim == 3 and source.shape[0] == 3:
        return "; with the channels in front: array.transpose(1, 2, 0)"
    if source.ndim == 3 and source.shape[2] == 4:
        return "; with an alpha channel: array[..., :3]"
    if source.ndim == 3 and source.shape[2] == 1:
        return "; of one channel: array[..., 0]"
    return ""


def is_instance_of(value: object, module: str, name: str) -> bool:
    """Whether `value` is of a class of a package that may be absent. A value of it exists only if it is imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def printable(name: str) -> str:
    """A file name as text. Linux allows names that are no UTF-8, which no header can have; such bytes become `?`."""
    return name.encode("utf-8", "replace").decode()
