"""The partitions that a member holds: whose turn it is, what is in hand, and what may be handed out beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eventwire.log import HeldPartition, LogDelivery
from eventwire.transport import TopicPartition
from eventwire.transports.sqlite.membership import Progress

_UNSURE = -1
"""What is noted while a write is under way: the file may say what was, or what will be."""


@dataclass(slots=True, eq=False)
class Lease:
    """A partition that this member holds.

    `committed` and `noted` are what the file says. `alone` is the offset that was handed out, or is about to be, while
    this member had nothing else in hand. `end` is the partition's end as last seen.
    """

    held: HeldPartition
    partition: int
    epoch: int
    committed: int
    end: int = 0
    strict: bool = False
    alone: int | None = None
    noted: int | None = None
    writes: int = 0

    def progress(self, *, handing: bool = False, more: int = 0) -> Progress:
        """What to record of it: with `more` messages that are about to be handed out."""
        held = self.held
        return Progress(
            self.partition, self.epoch, held.position, held.next + more, self.note(handing=handing)
        )

    def note(self, *, handing: bool) -> int | None:
        """The offset to charge should the process die now. `handing`: what is `alone` is on its way out."""
        if self.alone is None or self.alone < self.held.position or not (handing or self.held.out):
            return None
        return self.alone

    def writing(self, progress: Progress) -> int:
        """Take note that a write is under way; its number for `written`."""
        if self.noted is not None or progress.alone is not None:
            self.noted = _UNSURE
        self.writes += 1
        return self.writes

    def written(self, progress: Progress, write: int) -> None:
        """Take note that the file says so, unless a later write is under way or was given up halfway."""
        self.committed = progress.committed
        if write == self.writes:
            self.noted = progress.alone


class Leases:
    """All leases of a member. Those that are being given up are held, and have no turn any more."""

    def __init__(self) -> None:
        self._held: dict[TopicPartition, Lease] = {}
        self._turns: deque[Lease] = deque()
        self.revoking: dict[TopicPartition, None] = {}

    def __contains__(self, at: TopicPartition) -> bool:
        return at in self._held

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(tuple(self._held))

    def items(self) -> Sequence[tuple[TopicPartition, Lease]]:
        """All that is held, as of now."""
        return tuple(self._held.items())

    def holds(self, lease: Lease) -> bool:
        """Whether this very lease is held, and not a later one of its partition."""
        return self._held.get(lease.held.at) is lease

    def epochs(self) -> dict[TopicPartition, int]:
        """With which epoch each is held."""
        return {at: lease.epoch for at, lease in self._held.items()}

    def add(self, lease: Lease) -> None:
        """Hold one more."""
        self._held[lease.held.at] = lease
        self._turns.append(lease)

    def withdraw(self, at: TopicPartition) -> None:
        """Hand out nothing more of it."""
        if (lease := self._held.get(at)) is not None and lease in self._turns:
            self._turns.remove(lease)

    def drop(self, at: TopicPartition) -> Lease:
        """Hold it no more; acks that come later are dropped."""
        self.withdraw(at)
        lease = self._held.pop(at)
        lease.held.lose()
        return lease

    def ended(self, ends: Mapping[TopicPartition, int]) -> None:
        """Take note of where the logs end."""
        for at, lease in self._held.items():
            lease.end = ends.get(at, lease.end)

    # whose turn it is

    def may_hand_out(self, lease: Lease) -> bool:
        """Whether it still has turns, and if it is strict nothing is in hand."""
        return lease in self._turns and not (self._strict(lease) and self.busy)

    def turn(self) -> Sequence[Lease]:
        """All that may be handed out now, the next one first: strict suspects before any other, and by themselves."""
        self._turns.rotate(-1)
        if strict := [lease for lease in self._turns if self._strict(lease)]:
            return [] if self.busy else strict
        return tuple(self._turns)

    def take_again(self, limit: int) -> list[LogDelivery]:
        """Hand out up to `limit` released deliveries."""
        taken: list[LogDelivery] = []
        for lease in self._turns:
            if (left := limit - len(taken)) <= 0:
                break
            taken += lease.held.take_again(left)
        return taken

    # what is in hand

    @property
    def busy(self) -> bool:
        """Whether anything is in hand, of the partitions held and of those that were lost and are being drained."""
        return self._draining or any(lease.held.out for lease in self._held.values())

    def suspected(self) -> list[TopicPartition]:
        """The partitions that are handed out one by one."""
        return [at for at, lease in self._held.items() if lease.held.suspected]

    @property
    def watched(self) -> bool:
        """Whether the file has to know of each hand-out: there are suspects, or it may still note one as in hand."""
        return any(lease.held.suspected or lease.noted is not None for lease in self._held.values())

    def full(self) -> list[TopicPartition]:
        """The partitions of which nothing more can be read before something is settled."""
        return [lease.held.at for lease in self._turns if lease.held.room <= 0]

    def lag(self) -> int:
        """How much of the partitions held is not settled, as far as their ends are known."""
        return sum(max(lease.end, lease.held.next) - lease.held.position for lease in self._held.values())

    def note(self, lease: Lease) -> None:
        """Note, before something of `lease` is handed out, whether that will be alone; what was alone is no more."""
        alone = lease.held.position if lease.held.suspected and not self.busy else None
        for each in self._held.values():
            each.alone = None
        lease.alone = alone

    def note_the_last(self) -> None:
        """Note what was not alone when it was handed out, and is by now. Not while anything is handed out."""
        out = [lease for lease in self._held.values() if lease.held.out]
        if len(out) == 1 and out[0].held.suspected and not self._draining:
            out[0].alone = out[0].held.position

    def unrecorded(self, *, handing: bool = False) -> list[Lease]:
        """Those of which the file does not say what is so."""
        return [
            lease
            for lease in self._held.values()
            if lease.held.position != lease.committed or lease.note(handing=handing) != lease.noted
        ]

    @property
    def _draining(self) -> bool:
        return any(at not in self._held for at in self.revoking)

    def _strict(self, lease: Lease) -> bool:
        return lease.strict and lease.held.suspected
