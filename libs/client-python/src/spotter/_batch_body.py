"""The pictures of a batch as the body of one request."""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import quote

from spotter._flows import as_json
from spotter._parameters import SubmitParameters
from spotter._pictures import PictureSource, Remote, Upload, check_name, file_path, is_one, is_url, load, printable

PictureSources: TypeAlias = "PictureSource | Iterable[PictureSource] | Mapping[str, PictureSource]"
"""Pictures: any number of them, or a mapping from names to pictures. A file may be a zip archive of pictures.

They are all URLs, or none of them is. Files are read while they are sent; any other picture is in memory, and so is
what comes from a pipe.
"""

ItemParameters: TypeAlias = Mapping[str, SubmitParameters]
"""Parameters of single pictures, by their names; that of a URL without a name is the URL."""

# How much of a file is read at a time.
BLOCK = 256 << 10
# The longest name that the API keeps, in characters.
LONGEST_NAME = 255
# How zip archives begin: with an entry, or with their end if they have none.
ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"PK00")


@dataclass(frozen=True)
class PictureFile:
    """A file, which is opened and read each time that it is sent."""

    name: str
    path: Path
    is_archive: bool

    @classmethod
    def of(cls, path: Path, name: str | None) -> PictureFile:
        """A file that can be read: an error after half of the batch has been sent would come too late."""
        with path.open("rb") as file:
            return cls(printable(name or path.name), path, file.read(4) in ARCHIVES)

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


@dataclass(frozen=True)
class PictureBytes:
    """A picture in memory."""

    name: str
    content: bytes = field(repr=False)

    @property
    def is_archive(self) -> bool:
        return self.content[:4] in ARCHIVES

    def blocks(self) -> Iterator[bytes]:
        yield self.content


class Form:
    """Pictures as a form. It can be sent more than once."""

    def __init__(self, pictures: Sequence[PictureFile | PictureBytes], items: ItemParameters) -> None:
        self._pictures = pictures
        self._items = as_json("items", items) if items else b""
        # At random, so that no picture has it.
        self._boundary = secrets.token_hex(16)
        self.most_sent = 0
        """How many pictures one request has sent at most."""

    @property
    def media_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def __iter__(self) -> Iterator[bytes]:
        if self._items:
            # Before the files: the API reads them in this order.
            yield self._part('name="items"') + self._items + b"\r\n"
        for number, picture in enumerate(self._pictures, 1):
            yield self._part(f"name=\"file\"; filename*=UTF-8''{quote(printable(picture.name), safe='')}")
            yield from picture.blocks()
            yield b"\r\n"
            self.most_sent = max(self.most_sent, number)
        yield f"--{self._boundary}--\r\n".encode()

    def _part(self, disposition: str) -> bytes:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()


@dataclass(frozen=True)
class UrlList:
    """Pictures that the API fetches, as JSON. URLs may contain tokens, and are not shown."""

    content: bytes = field(repr=False)
    media_type = "application/json"
    most_sent = 0


def body_of(pictures: Iterable[tuple[str | None, PictureSource]], items: ItemParameters | None) -> Form | UrlList:
    """The body with these pictures: see `named`. Blocks while it opens files, and reads open ones."""
    items = checked_items(items)
    read = [read_picture(source, name) for name, source in pictures]
    if not read:
        raise ValueError("no pictures; expected at least one")
    urls = [picture for picture in read if isinstance(picture, Remote)]
    files = [picture for picture in read if not isinstance(picture, Remote)]
    if urls and files:
        raise ValueError(f"{len(urls)} URLs and {len(files)} other pictures; a batch has one or the other: submit two")
    if urls:
        check_names(items, [name_of(picture) for picture in urls])
        return UrlList(as_json("items", {"items": [url_item(picture, items) for picture in urls]}))
    if not any(picture.is_archive for picture in files):
        check_names(items, [picture.name for picture in files])
    check_kept(items)
    return Form(files, items)


def checked_items(items: object) -> dict[str, SubmitParameters]:
    """Parameters by name, without those that are None, as in `query_of`."""
    if items is None:
        return {}
    if not isinstance(items, Mapping) or not all(is_item(name, given) for name, given in items.items()):
        expected = "expected parameters by the names of pictures, such as {'a.jpg': {'confidence': 0.5}}"
        raise TypeError(f"items: {expected}")
    kept = {name: {key: value for key, value in given.items() if value is not None} for name, given in items.items()}
    return cast(dict[str, SubmitParameters], kept)


def is_item(name: object, given: object) -> bool:
    return isinstance(name, str) and isinstance(given, Mapping)


def named(pictures: PictureSources) -> Iterator[tuple[str | None, PictureSource]]:
    """Each picture, and the name that the caller gives it."""
    if isinstance(pictures, Mapping):
        yield from pictures.items()
    elif is_one(pictures):
        yield None, cast(PictureSource, pictures)
    elif isinstance(pictures, Iterable):
        yield from ((None, cast(PictureSource, picture)) for picture in pictures)
    else:
        raise TypeError(f"not pictures: {type(pictures).__name__}; expected paths, URLs or other pictures")


def read_picture(source: PictureSource, name: str | None) -> PictureFile | PictureBytes | Remote:
    check_name(name)
    if isinstance(source, str | os.PathLike) and not is_url(source):
        path = file_path(source)
        if path.is_file() or not path.exists():
            return PictureFile.of(path, name)
        # A pipe, for example: what is read from it does not come again.
        return PictureBytes(printable(name or path.name), path.read_bytes())
    picture = load(source, name)
    if isinstance(picture, Upload):
        return PictureBytes(picture.name, picture.content)
    return Remote(picture.url, name or "")


def name_of(picture: Remote) -> str:
    return picture.name or picture.url


def url_item(picture: Remote, items: ItemParameters) -> dict[str, Any]:
    """A picture of the list, with its parameters."""
    name = {"name": picture.name} if picture.name else {}
    return {"url": picture.url, **name, **items.get(name_of(picture), {})}


def check_names(items: ItemParameters, names: Collection[str]) -> None:
    """The API passes over parameters for a name that no picture has; they are a mistake."""
    unknown = sorted(items.keys() - set(names))
    if unknown and not is_url(unknown[0]):
        # A URL may contain a token.
        shown = [name for name in names if not is_url(name)]
        of_urls = "a URL without a name is named by the URL itself"
        expected = f"expected one such as {min(shown)!r}" if shown else of_urls
        raise ValueError(f"items: no picture has the name {unknown[0]!r}; {expected}")
    if unknown:
        raise ValueError("items: a URL that is none of the pictures")


def check_kept(items: ItemParameters) -> None:
    """The API replaces or removes control characters, and refuses longer names: their parameters would be lost."""
    for name in items:
        if len(name) > LONGEST_NAME or any(unicodedata.category(character) == "Cc" for character in name):
            expected = f"expected at most {LONGEST_NAME} characters, without control characters"
            raise ValueError(f"items: {name!r} is a name that the API does not keep; {expected}")
