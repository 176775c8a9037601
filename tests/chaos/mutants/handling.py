"""Sabotage of how a worker handles and settles."""

# Sabotage goes where nobody else does.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any

from eventwire import bus
from eventwire.lanes import Lanes
from eventwire.offsets import OffsetTracker
from eventwire.transport import Delivery
from eventwire.worker import Worker
from tests.chaos.mutants import mutant

_KILLS = "tests/chaos/test_kills.py::test_killed_workers_lose_nothing[sqlite]"
_BACKLOG = "tests/chaos/test_backpressure.py::test_a_backlog_stays_at_the_broker[sqlite]"
_STOP = "tests/chaos/test_stop.py::test_a_worker_told_to_stop_finishes_what_it_handles[sqlite]"
_SECOND = (
    "tests/chaos/test_stop.py::test_a_second_sigterm_ends_it_at_once_and_nothing_is_acknowledged[sqlite]"
)
_BLOCKED = "tests/chaos/test_backpressure.py::test_a_publisher_does_not_run_ahead_of_a_blocked_broker[sqlite]"
_MEMBERS = "tests/chaos/test_membership.py::test_joins_and_leaves_lose_nothing[sqlite]"


@mutant(bar=_KILLS, sees="lost: ")
def ack_before_the_handler() -> None:
    """Deliveries are acknowledged when they are put into lanes."""
    put = Lanes.put

    def sabotaged(self: Lanes, deliveries: Iterable[Delivery]) -> None:
        taken = list(deliveries)
        for delivery in taken:
            delivery.ack()
        put(self, taken)

    Lanes.put = sabotaged  # type: ignore[method-assign]


@mutant(bar=_MEMBERS, sees="commit past a gap")
def commit_past_a_gap() -> None:
    """The position to commit is behind the highest settled offset, whatever is open below it."""
    settle = OffsetTracker.settle

    def sabotaged(self: OffsetTracker, offset: int) -> bool:
        moved = settle(self, offset)
        self.position = max(self.position, offset + 1)
        return moved

    OffsetTracker.settle = sabotaged  # type: ignore[method-assign]


@mutant(bar=_BACKLOG, sees="events in flight, above|RSS|stops taking more in")
def unbounded_prefetch() -> None:
    """A worker asks for everything there is."""
    begin = Worker.__init__

    def sabotaged(self: Worker, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._max_uncommitted = 10_000_000

    Worker.__init__ = sabotaged  # type: ignore[method-assign]


@mutant(bar=_STOP, sees="handlers were cut off")
def no_drain_at_sigterm() -> None:
    """A worker told to stop cancels its handlers at once."""
    drain = Worker._drain

    async def sabotaged(self: Worker, seconds: float) -> None:
        await drain(self, 0.0)

    Worker._drain = sabotaged  # type: ignore[method-assign]


@mutant(bar=_SECOND, sees="s after SIGTERM")
def the_second_sigterm_is_ignored() -> None:
    """A worker that drains cannot be told to end at once."""
    Worker._signalled = Worker.stop  # type: ignore[method-assign]


@mutant(bar=_BLOCKED, sees="events taken within")
def a_publisher_reads_ahead() -> None:
    """`publish_many` takes the stream as fast as it comes, whatever is confirmed."""
    chunks = bus._chunks

    def sabotaged(events: Any, size: int) -> AsyncIterable[list[Any]]:
        return chunks(events, size * 100)

    bus._chunks = sabotaged
