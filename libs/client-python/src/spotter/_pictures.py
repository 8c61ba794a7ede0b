"""What a caller may pass as a picture, and how it is sent."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

PictureSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | BinaryIO | Image.Image | npt.NDArray[np.uint8]"
"""A picture: a path, an `https` URL, the bytes of a file, an open file, a PIL picture, or an array.

An array has the shape [height, width, 3] (RGB) or [height, width] (grey), and values from 0 to 255.
"""

# Fast, and a third larger than the smallest.
PNG_COMPRESSION = 1
# Modes that a PNG has, and the API reads.
PNG_MODES = ("L", "LA", "RGB", "RGBA")
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
    if isinstance(source, str) and source.startswith(("https://", "http://")):
        return Remote(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return Upload(printable(name or path.name), path.read_bytes())
    if isinstance(source, bytes | bytearray):
        return Upload(name or "picture", bytes(source))
    if is_instance_of(source, "PIL.Image", "Image") or is_instance_of(source, "numpy", "ndarray"):
        return Upload(name or "picture.png", encode(open_picture(source)))
    if hasattr(source, "read"):
        file = cast(BinaryIO, source)
        return Upload(printable(name or Path(str(getattr(file, "name", "picture"))).name), file.read())
    found = type(source).__name__
    raise TypeError(f"not a picture: {found}; expected a path, bytes, a file, a PIL picture or an array")


def open_picture(source: PictureSource) -> Image.Image:
    """The picture as Pillow has it, upright: the API applies the EXIF orientation as well."""
    try:
        from PIL import Image, ImageOps
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
        picture = Image.open(io.BytesIO(loaded.content))
    return ImageOps.exif_transpose(picture)


def encode(picture: Image.Image) -> bytes:
    """The picture as PNG, which changes no pixel."""
    if picture.mode not in PNG_MODES:
        picture = picture.convert("RGB")
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=PNG_COMPRESSION)
    return file.getvalue()


def checked_array(source: Any) -> npt.NDArray[np.uint8]:
    """An array that is certain to be a picture: one of floats from 0 to 1 would be sent as black."""
    is_picture = source.ndim == 2 or (source.ndim == 3 and source.shape[2] == 3)
    if source.dtype != "uint8" or not is_picture or source.size == 0:
        raise ValueError(
            f"not a picture: an array of {source.dtype} with shape {list(source.shape)}; "
            "expected uint8 with shape [height, width, 3] (RGB) or [height, width]"
        )
    return cast("npt.NDArray[np.uint8]", source)


def is_instance_of(value: object, module: str, name: str) -> bool:
    """Whether `value` is of a class of a package that may be absent. A value of it exists only if it is imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def printable(name: str) -> str:
    """A file name as text. Linux allows names that are no UTF-8, which no header can have; such bytes become `?`."""
    return name.encode("utf-8", "replace").decode()
