"""Sabotage of what a cancellation leaves behind."""

# pyright: reportPrivateUsage=false
# Sabotage reaches inside.

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from eventwire.log import LogDelivery
from eventwire.transports.memory.group import MemoryConsumer
from tests.chaos.mutants import mutant

_CANCELLED = "tests/chaos/test_cancellation.py::test_cancelled_tasks_lose_nothing_and_leave_nothing[memory]"


@mutant(bar=_CANCELLED, sees="lost: ")
def a_cancellation_acks() -> None:
    """What the lanes give back is acknowledged."""
    release = LogDelivery.release

    def sabotaged(self: LogDelivery) -> None:
        by_lanes = sys._getframe(1).f_globals["__name__"] == "eventwire.lanes"
        if by_lanes:
            self.ack()
        else:
            release(self)

    LogDelivery.release = sabotaged  # type: ignore[method-assign]


@mutant(bar=_CANCELLED, sees="lost by a cancelled fetch")
def a_cancelled_fetch_forgets_what_it_took() -> None:
    """A fetch that has taken messages can still be cancelled."""
    fetch = MemoryConsumer.fetch

    async def sabotaged(self: MemoryConsumer, limit: int) -> Sequence[LogDelivery]:
        taken = await fetch(self, limit)
        await asyncio.sleep(0.001)
        return taken

    MemoryConsumer.fetch = sabotaged  # type: ignore[method-assign]


@mutant(bar=_CANCELLED, sees="leaked tasks")
def a_closed_consumer_leaves_a_task() -> None:
    """Closing starts something that nobody ends."""
    close = MemoryConsumer.close
    kept: list[asyncio.Task[None]] = []

    async def sabotaged(self: MemoryConsumer) -> None:
        kept.append(asyncio.create_task(asyncio.sleep(3600)))
        await close(self)

    MemoryConsumer.close = sabotaged  # type: ignore[method-assign]
