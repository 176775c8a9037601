"""Runners: the tasks that handle deliveries, and the places there are for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from eventwire.transport import Delivery


class Runner:
    """One of the tasks that handle deliveries, and what it is doing. `ending` tells whether all of them end."""

    __slots__ = ("_abandoned", "_cancels", "_ending", "_napping", "_places", "delivery", "task")

    def __init__(self, places: Places, ending: Callable[[], bool] = lambda: False) -> None:
        self._places = places
        self._ending = ending
        self.delivery: Delivery | None = None
        self.task: asyncio.Task[None] | None = None
        self._abandoned = False
        self._napping = False
        self._cancels = 0

    def begin(self, delivery: Delivery) -> None:
        """Take on a delivery; what was asked for the last one is forgotten."""
        self.delivery = delivery
        self._abandoned = False
        self._cancels = 0
        if self.task is not None and self.task.cancelling():
            self._forget_strays(self.task)

    async def sleep(self, seconds: float) -> None:
        """Wait before a retry, another runner in its place. Ends as cancelled when the lanes drain."""
        self._places.leave()
        try:
            await self.wait(asyncio.sleep(seconds))
        except BaseException:
            self._places.force()
            raise
        await self.wait(self._places.enter())

    async def wait(self, awaited: Awaitable[object]) -> None:
        """Wait, keeping its place. Ends as cancelled, the delivery given back, when the lanes drain."""
        if self._abandoned or self.cancelled():
            self.cancel()
        self._napping = True
        try:
            await awaited
        finally:
            self._napping = False

    def interrupt_sleep(self) -> None:
        """End a wait before a retry, or the next one as soon as it begins; handlers go on."""
        self._abandoned = True
        if self._napping:
            self.cancel()

    def cancel(self) -> None:
        """Cancel the delivery being handled; the runner goes on."""
        self._abandoned = True
        if self.task is not None and self.delivery is not None:
            self._cancels += 1
            self.task.cancel()

    def cancelled(self) -> bool:
        """Whether the lanes asked the task to stop, though a handler may have swallowed it.

        A mark that somebody else left says nothing: a library's timeout that never takes its cancellation back.
        """
        if self._cancels:
            return True
        return self.task is not None and self.task.cancelling() > 0 and self._ending()

    def recover(self) -> None:
        """Go on after a delivery that was cancelled. Raises CancelledError when the task itself was."""
        if self.task is None:
            return
        for _ in range(self._cancels):
            self.task.uncancel()
        if self.task.cancelling() and self._ending():
            raise asyncio.CancelledError

    def _forget_strays(self, task: asyncio.Task[None]) -> None:
        while task.cancelling() and not self._ending():
            task.uncancel()


class Places:
    """How many runners may handle at once. Who waits for a retry leaves its place, and comes back when one is vacant.

    `left` is called when somebody left.
    """

    __slots__ = ("_back", "_left", "_taken", "_total", "away")

    def __init__(self, total: int, left: Callable[[], None]) -> None:
        self._total = total
        self._taken = 0
        self._back: deque[asyncio.Future[None]] = deque()
        self._left = left
        self.away = 0
        """How many left and are not back."""

    @property
    def free(self) -> bool:
        """Whether there is a place for somebody new: who comes back goes first."""
        return not self._back and self._taken < self._total

    @property
    def wanted(self) -> bool:
        """Whether somebody waits to come back."""
        return bool(self._back)

    @property
    def runners(self) -> int:
        """How many runners are of use."""
        return self._total + self.away

    def take(self) -> None:
        """Take a free place."""
        self._taken += 1

    def give_up(self) -> None:
        """Give a place to who waits for one, or leave it free."""
        self._taken -= 1
        while self._back and self._taken < self._total:
            waiter = self._back.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._taken += 1

    def leave(self) -> None:
        """Give the place up for a while."""
        self.away += 1
        self.give_up()
        self._left()

    def force(self) -> None:
        """Be back at once, place or not: for a delivery that only ends."""
        self.away -= 1
        self._taken += 1

    async def enter(self) -> None:
        """Come back when there is a place, first come first served; when cancelled at once."""
        if self.free:
            self.force()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._back.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():  # else it was given a place just before
                self._taken += 1
                with suppress(ValueError):
                    self._back.remove(waiter)
            raise
        finally:
            self.away -= 1
