"""Sabotage of how a worker handles and settles."""

from __future__ import annotations

from collections.abc import Iterable

from eventwire.lanes import Lanes
from eventwire.offsets import OffsetTracker
from eventwire.transport import Delivery
from tests.chaos.mutants import mutant

_KILLS = "tests/chaos/test_kills.py::test_killed_workers_lose_nothing[sqlite]"
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
