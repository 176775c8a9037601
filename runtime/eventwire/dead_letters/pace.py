"""So many a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Pace:
    """Spreads work evenly. `rate` is per second, None for no limit; `burst` is done between two waits at most."""

    def __init__(
        self,
        rate: float | None,
        burst: int,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if rate is not None and rate <= 0:
            raise ValueError("rate is more than 0 per second, or None for no limit")
        self._rate = rate
        self.burst = burst if rate is None else max(1, min(burst, int(rate / 4)))
        self._clock = clock or asyncio.get_running_loop().time
        self._sleep = sleep
        self._due = self._clock()

    async def wait(self, count: int) -> None:
        """Wait until `count` more may be done."""
        if self._rate is None:
            return
        now = self._clock()
        if self._due > now:
            await self._sleep(self._due - now)
        self._due = max(self._due, now) + count / self._rate
