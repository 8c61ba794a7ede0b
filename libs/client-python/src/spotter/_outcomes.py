"""Many pictures for programs without an event loop: a loop of their own runs in the background."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType

from anyio.from_thread import start_blocking_portal
from typing_extensions import Self

from spotter._async_client import AsyncClient
from spotter._many import Detect, Outcome, Window
from spotter._pictures import PictureSource
from spotter._settings import Settings


class Outcomes(Iterator[Outcome]):
    """The outcomes of `Client.detect_many`. `close`, or the end of a `with` block, cancels what is in flight."""

    def __init__(
        self,
        settings: Settings,
        pictures: Iterable[PictureSource],
        parallel: int,
        detect_with: Callable[[AsyncClient], Detect],
    ) -> None:
        self._pictures = iter(pictures)
        stack = ExitStack()
        # Also for an object that is dropped, and before the interpreter exits, which stops the thread of the loop: to
        # wait for that thread afterwards would take for ever.
        self._end = weakref.finalize(self, stack.close)
        self._portal = stack.enter_context(start_blocking_portal())
        client = stack.enter_context(self._portal.wrap_async_context_manager(AsyncClient._with(settings)))
        self._window = Window(parallel, detect_with(client))
        stack.callback(self._portal.call, self._window.close)

    def __next__(self) -> Outcome:
        if not self._end.alive:
            raise StopIteration
        try:
            self._fill()
            if self._window.is_empty:
                raise StopIteration
            return self._portal.call(self._window.first)
        except BaseException:
            self.close()
            raise

    def _fill(self) -> None:
        """Start pictures while there is room. They are taken in the thread of the caller."""
        while not self._window.is_full:
            try:
                picture = next(self._pictures)
            except StopIteration:
                return
            self._portal.call(self._window.start, picture)

    def close(self) -> None:
        """Cancel what is in flight. There are no further outcomes."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
