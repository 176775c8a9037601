"""Cancelling at random points, and what the cancelled left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

from tests.chaos.waiting import until

T = TypeVar("T")


class Cancelled(Exception):
    """The operation was cancelled before it ended."""


class Canceller:
    """Runs operations and cancels some. `counts` tells how many of each kind were cancelled in the middle."""

    def __init__(self, rng: Random, chance: float = 0.7) -> None:
        self._rng = rng
        self._chance = chance
        self.counts: Counter[str] = Counter()

    async def run(self, kind: str, work: Coroutine[Any, Any, T], seconds: float = 0.005) -> T:
        """The operation's result. Raises Cancelled when it was cancelled, after some turns of the loop or some time."""
        task = asyncio.create_task(work)
        if self._rng.random() < self._chance:
            await self._wait(task, seconds)
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if (me := asyncio.current_task()) is not None and me.cancelling():
                raise
            self.counts[kind] += 1
            raise Cancelled from None

    async def _wait(self, task: asyncio.Task[T], seconds: float) -> None:
        for _ in range(self._rng.randrange(12)):
            await asyncio.sleep(0)
        if self._rng.random() < 0.5 and not task.done():
            await asyncio.wait([task], timeout=self._rng.random() * seconds)


def running() -> set[asyncio.Task[Any]]:
    """All tasks but the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def nothing_left(before: set[asyncio.Task[Any]], within: float = 10.0) -> None:
    """Raise when tasks that were not there before do not end."""
    await until(lambda: not running() - before, within, lambda: f"leaked tasks: {named(running() - before)}")


def named(tasks: set[asyncio.Task[Any]]) -> Counter[str]:
    """Tasks by what they run."""
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in tasks)
