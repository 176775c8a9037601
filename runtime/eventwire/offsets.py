"""How far a group has got in one partition: acks come in any order, commits never pass a gap."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class OffsetTracker:
    """The unsettled offsets of one partition, for one assignment of it.

    `position` is the offset to commit: everything below it is settled. Offsets are fetched in ascending order
    and may have holes (compaction, transaction markers). A tracker is dropped with its assignment, so that
    late acks of an earlier one change nothing.
    """

    __slots__ = ("_highest", "_open", "_order", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self._highest = position - 1
        self._order: deque[int] = deque()  # from the lowest unsettled on, settled ones among them
        self._open: set[int] = set()

    def fetched(self, offset: int) -> None:
        """Note that `offset` was handed out; it holds `position` back until it is settled."""
        if not self._order:
            self.position = offset
        self._order.append(offset)
        self._open.add(offset)
        self._highest = offset

    def fetched_range(self, start: int, stop: int) -> None:
        """Note that all offsets from `start` to below `stop` were handed out."""
        if start >= stop:
            return
        if not self._order:
            self.position = start
        offsets = range(start, stop)
        self._order.extend(offsets)
        self._open.update(offsets)
        self._highest = stop - 1

    def settle(self, offset: int) -> bool:
        """Note that `offset` is done; whether `position` moved. Settling twice changes nothing."""
        if offset not in self._open:
            return False
        self._open.remove(offset)
        order = self._order
        if order[0] != offset:
            return False
        while order and order[0] not in self._open:
            order.popleft()
        self.position = order[0] if order else self._highest + 1
        return True

    def unsettled(self) -> Sequence[int]:
        """Return what was handed out and is not settled, ascending."""
        return [offset for offset in self._order if offset in self._open]

    @property
    def in_flight(self) -> int:
        """How many offsets were handed out and are not settled."""
        return len(self._open)

    @property
    def span(self) -> int:
        """How many offsets lie from the lowest unsettled to the highest fetched; 0 when all are settled."""
        return self._highest - self._order[0] + 1 if self._order else 0
