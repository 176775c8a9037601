"""What transports over a log share: a partition in a member's hands, its deliveries, and fair shares."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from eventwire.message import Message
from eventwire.offsets import OffsetTracker
from eventwire.transport import TopicPartition

Member = TypeVar("Member", bound=Hashable)


class Holder(Protocol):
    """The member that holds partitions. Called from its event loop; neither method may block or raise."""

    def settled(self, held: HeldPartition, offset: int, error: Exception | None) -> None:
        """Note that `offset` was acked; `held.position` may have moved."""
        ...

    def released(self) -> None:
        """Note that a delivery was given back and waits to be taken again."""
        ...


class HeldPartition:
    """One partition of a log while one member has it; every delivery of it belongs to this assignment.

    Offsets of the log are without holes. `next` is the offset to read next. `attempts` says how often an
    offset was handed out, for those where that is more than this assignment's first time. `bound` is the
    subscription's `max_uncommitted`. Offsets below `suspect` are handed out one by one; `deaths` says how many
    processes ended while they had an offset and nothing else in hand.
    """

    __slots__ = (
        *("_again", "_bound", "_deaths", "_holder", "_lost", "_suspect", "_tracker"),
        *("at", "attempts", "next"),
    )

    def __init__(
        self,
        at: TopicPartition,
        position: int,
        attempts: dict[int, int],
        bound: int,
        holder: Holder,
        *,
        suspect: int = 0,
        deaths: Mapping[int, int] | None = None,
    ) -> None:
        self.at = at
        self.next = position
        self.attempts = attempts
        self._suspect = suspect
        self._deaths = deaths or {}
        self._bound = bound
        self._holder = holder
        self._tracker = OffsetTracker(position)
        self._again: list[LogDelivery] = []
        self._lost = False

    @property
    def position(self) -> int:
        """The offset to commit: everything below is settled."""
        return self._tracker.position

    @property
    def room(self) -> int:
        """How many more offsets may be read from `next` on."""
        if self.suspected:
            return 0 if self._tracker.in_flight else 1
        return self._tracker.position + self._bound - self.next

    @property
    def suspected(self) -> bool:
        """Whether the lowest unsettled offset was in flight when a process died."""
        return self._tracker.position < self._suspect

    @property
    def out(self) -> int:
        """How many deliveries are in somebody's hands: neither settled nor released."""
        return self._tracker.in_flight - len(self._again)

    @property
    def waiting(self) -> int:
        """How many released deliveries `take_again` would hand out."""
        return len(self._again)

    def take_again(self, limit: int) -> list[LogDelivery]:
        """Hand out up to `limit` of the released deliveries again, in offset order."""
        if not self._again:
            return []
        self._again.sort(key=_offset)
        taken, self._again = self._again[:limit], self._again[limit:]
        return [self._delivery(old.message, old.offset) for old in taken]

    def take(self, messages: Sequence[Message]) -> list[LogDelivery]:
        """Hand out the messages from `next` on; `next` moves behind them."""
        start, self.next = self.next, self.next + len(messages)
        self._tracker.fetched_range(start, self.next)
        if not self.attempts:
            return [LogDelivery(self, message, offset, 1) for offset, message in enumerate(messages, start)]
        return [self._delivery(message, offset) for offset, message in enumerate(messages, start)]

    def settle(self, offset: int, error: Exception | None) -> None:
        """Take an ack; after `lose` it is dropped."""
        if self._lost:
            return
        if self.attempts:
            self.attempts.pop(offset, None)
        self._tracker.settle(offset)
        self._holder.settled(self, offset, error)

    def release(self, delivery: LogDelivery) -> None:
        """Take a delivery back, to be handed out again."""
        if self._lost:
            return
        self.attempts[delivery.offset] = delivery.attempt
        self._again.append(delivery)
        self._holder.released()

    def lose(self) -> None:
        """End the assignment. `attempts` then counts what was handed out and not settled."""
        self._lost = True
        for offset in self._tracker.unsettled():
            self.attempts.setdefault(offset, 1)

    def _delivery(self, message: Message, offset: int) -> LogDelivery:
        return LogDelivery(self, message, offset, self._attempt(offset), self._deaths.get(offset, 0))

    def _attempt(self, offset: int) -> int:
        attempt = self.attempts.get(offset, 0) + 1
        if attempt > 1:
            self.attempts[offset] = attempt
        return attempt


class LogDelivery:
    """A message of a held partition; settled once, by the first `ack` or `release`."""

    __slots__ = ("attempt", "deaths", "held", "message", "offset", "partition")

    def __init__(
        self, held: HeldPartition, message: Message, offset: int, attempt: int, deaths: int = 0
    ) -> None:
        self.held: HeldPartition | None = held  # None once settled
        self.message = message
        self.partition = held.at.partition
        self.offset = offset
        self.attempt = attempt
        self.deaths = deaths

    def ack(self, error: Exception | None = None) -> None:
        """See Delivery.ack."""
        held, self.held = self.held, None
        if held is not None:
            held.settle(self.offset, error)

    def release(self) -> None:
        """See Delivery.release."""
        held, self.held = self.held, None
        if held is not None:
            held.release(self)


def _offset(delivery: LogDelivery) -> int:
    return delivery.offset


def shares(
    partitions: Iterable[TopicPartition],
    members: Mapping[Member, Collection[str]],
    held: Mapping[TopicPartition, Member],
) -> dict[TopicPartition, Member]:
    """Who should have which partition; `members` maps each to the topics it reads, in the order they joined.

    Members that read alike get numbers of partitions that differ by at most one; nothing moves that need not.
    Every member that computes it from the same facts comes to the same result.
    """
    wanted = sorted(at for at in partitions if any(at.topic in topics for topics in members.values()))
    if not wanted:
        return {}
    least, over = divmod(len(wanted), len(members))
    load = dict.fromkeys(members, 0)
    result: dict[TopicPartition, Member] = {}
    for at in wanted:
        owner = held.get(at)
        if owner is None or owner not in members or at.topic not in members[owner]:
            continue
        if load[owner] < least or (load[owner] == least and over > 0):
            over -= load[owner] == least
            load[owner] += 1
            result[at] = owner
    for at in wanted:
        if at not in result:
            owner = min((m for m, topics in members.items() if at.topic in topics), key=load.__getitem__)
            load[owner] += 1
            result[at] = owner
    return result
