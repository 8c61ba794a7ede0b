"""When a request is sent again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

# The delay in seconds before a retry where the API does not name one: it doubles up to the longest.
FIRST_DELAY = 0.5
LONGEST_DELAY = 15.0
# The least delay, also where the API says that none is needed.
SHORTEST_DELAY = 0.1


class Backoff:
    """The delays between the tries of one request.

    The delays are random within a range: many clients that failed together do not come back together.
    """

    def __init__(
        self,
        retry_for: float,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._retry_for = retry_for
        self._clock = clock
        self._uniform = uniform
        self._failing_since: float | None = None
        self._failures = 0

    def delay(self, retry_after: float | None) -> float | None:
        """Seconds until the next try. None if it would come later than `retry_for` after the first failure.

        `retry_after` are the seconds that the API asks its clients to wait, if it says so.
        """
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        self._failures += 1
        delay = self._delay(retry_after)
        return delay if now + delay <= self._failing_since + self._retry_for else None

    def succeeded(self) -> None:
        """Begin anew: what follows is another failure."""
        self._failing_since = None
        self._failures = 0

    def _delay(self, retry_after: float | None) -> float:
        if retry_after is not None:
            return max(SHORTEST_DELAY, retry_after) * self._uniform(1.0, 1.25)
        return min(FIRST_DELAY * 2.0 ** min(self._failures - 1, 10), LONGEST_DELAY) * self._uniform(0.5, 1.0)
