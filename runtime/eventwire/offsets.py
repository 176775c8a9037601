"""How far a group has got in one partition: acks come in any order, commits never pass a gap."""

from __future__ import annotations


class OffsetTracker:
    """The unsettled offsets of one partition, for one assignment of it.

    `position` is the offset to commit: everything below it is settled. Offsets are fetched in ascending order and may
    have holes (compaction, transaction markers). A tracker is dropped with its assignment, so that late acks of an
    earlier one change nothing.
    """

    __slots__ = ("_highest", "_pending", "_settled", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self._highest = position - 1
        self._pending: dict[int, None] = {}
        self._settled: set[int] = set()

    def fetched(self, offset: int) -> None:
        """Note that `offset` was handed out; it holds `position` back until it is settled."""
        self._pending[offset] = None
        self._highest = offset

    def settle(self, offset: int) -> bool:
        """Note that `offset` is done; whether `position` moved. Settling twice changes nothing."""
        if offset not in self._pending:
            return False
        self._settled.add(offset)
        before = self.position
        self._advance()
        return self.position != before

    def _advance(self) -> None:
        while self._pending:
            lowest = next(iter(self._pending))
            if lowest not in self._settled:
                self.position = lowest
                return
            del self._pending[lowest]
            self._settled.remove(lowest)
        self.position = self._highest + 1

    @property
    def span(self) -> int:
        """How many offsets lie from the lowest unsettled to the highest fetched; 0 when all are settled."""
        return self._highest - next(iter(self._pending)) + 1 if self._pending else 0
