"""Many pictures, a few at a time, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from spotter._errors import AuthenticationError, BusyError, NoAnswerError, SpotterError, UnexpectedAnswerError
from spotter._models import Task
from spotter._pictures import PictureSource, is_one, is_url

# Errors that the next picture would have as well.
OF_THE_API = (AuthenticationError, BusyError, NoAnswerError, UnexpectedAnswerError)


Detect: TypeAlias = Callable[[PictureSource], Awaitable[Task]]
"""Detects the objects of one picture."""


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: a finished task, or an error."""

    picture: PictureSource = field(repr=False)
    """The picture, as it was passed."""
    task: Task | None
    error: Exception | None

    def __repr__(self) -> str:
        # Not the bytes of a picture, and no URL: it may contain a token.
        picture = repr(self.picture)
        if isinstance(self.picture, bytes | bytearray | memoryview):
            picture = f"{len(self.picture)} bytes"
        elif is_url(self.picture):
            picture = "a URL"
        return f"{type(self).__name__}(picture={picture}, task={self.task!r}, error={self.error!r})"

    def result(self) -> Task:
        """The finished task, or the error raised."""
        if self.task is None:
            raise self.error or RuntimeError("neither a task nor an error")
        return self.task


def checked_many(pictures: Iterable[PictureSource]) -> Iterable[PictureSource]:
    """Refuses a single picture: most of them are iterable, too."""
    if is_one(pictures) or not isinstance(pictures, Iterable):
        advice = "pass a list, or the files in a folder: sorted(Path(folder).iterdir())"
        raise TypeError(f"expected many pictures, got {type(pictures).__name__}; {advice}")
    return pictures


class Window:
    """The pictures that are in flight: no more than `size`, whatever the number of pictures."""

    def __init__(self, size: int, detect: Detect) -> None:
        if size < 1:
            raise ValueError(f"parallel must be at least 1, and is {size}")
        self._size = size
        self._detect = detect
        self._in_flight: deque[asyncio.Task[Outcome]] = deque()

    @property
    def is_full(self) -> bool:
        return len(self._in_flight) >= self._size

    @property
    def is_empty(self) -> bool:
        return not self._in_flight

    async def start(self, picture: PictureSource) -> None:
        """Begin with one more picture."""
        self._in_flight.append(asyncio.create_task(self._outcome(picture)))

    async def first(self) -> Outcome:
        """The outcome of the picture that was started first, and is dropped here."""
        outcome = await self._in_flight[0]
        self._in_flight.popleft()
        return outcome

    async def close(self) -> None:
        """Cancel what is still in flight."""
        for unfinished in self._in_flight:
            unfinished.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        self._in_flight.clear()

    async def _outcome(self, picture: PictureSource) -> Outcome:
        try:
            return Outcome(picture, await self._detect(picture), None)
        except OF_THE_API:
            raise
        except (SpotterError, OSError, ValueError, TypeError) as error:
            return Outcome(picture, None, error)
