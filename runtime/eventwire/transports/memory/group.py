"""Consumer groups: what each has settled, and which member has which partition."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence

from eventwire.errors import Closed
from eventwire.log import HeldPartition, LogDelivery, shares
from eventwire.policy import Start
from eventwire.transport import ConsumerHealth, Subscription, TopicPartition
from eventwire.transports.memory.inline import Inline
from eventwire.transports.memory.logs import PartitionLog, TopicLog

logger = logging.getLogger("eventwire.memory")
_IN_TRANSIT = 0.1
"""Seconds after which what a fetch returned counts as received, though no other fetch followed."""


class Group:
    """One consumer group. It outlives its members: its positions hold history back."""

    def __init__(self, name: str, inline: Inline | None, moved: Callable[[], None]) -> None:
        self.name = name
        self.inline = inline
        self.moved = moved
        self._members: dict[MemoryConsumer, Collection[str]] = {}
        self._owners: dict[TopicPartition, MemoryConsumer] = {}
        self._logs: dict[TopicPartition, PartitionLog] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._attempts: dict[TopicPartition, dict[int, int]] = {}

    def reads(self, topic: str) -> bool:
        """Whether a member reads the topic now."""
        return any(topic in topics for topics in self._members.values())

    def position(self, at: TopicPartition) -> int | None:
        """Where the group stands in a partition; None when it never read the topic."""
        owner = self._owners.get(at)
        return self._committed.get(at) if owner is None else owner.position(at)

    def join(self, member: MemoryConsumer, topics: Sequence[TopicLog], start: Start) -> None:
        """Add a member; what the group never read begins at `start`."""
        for log in (log for topic in topics for log in topic.partitions):
            self._logs[log.at] = log
            self._committed.setdefault(log.at, log.base if start is Start.EARLIEST else log.end)
        self._members[member] = {topic.name for topic in topics}
        self._rebalance()

    def leave(self, member: MemoryConsumer) -> None:
        """Remove a member; what it had goes to the others."""
        del self._members[member]
        self.take_back(member, [at for at, owner in self._owners.items() if owner is member])
        if not self._members and self.inline is not None:
            self.inline.left(
                self.name, Closed(f"the last member of group {self.name} left before it was handled")
            )

    def take_back(self, member: MemoryConsumer, given_up: Collection[TopicPartition]) -> None:
        """Take partitions from a member that handles nothing of them any more."""
        for at in given_up:
            if self._owners.get(at) is member:
                held = member.drop(at)
                held.lose()
                self._committed[at] = held.position
                del self._owners[at]
        self._rebalance()

    def _rebalance(self) -> None:
        wanted = shares(self._logs, self._members, self._owners)
        surplus: dict[MemoryConsumer, list[TopicPartition]] = {}
        for at, owner in self._owners.items():
            if wanted.get(at) is not owner:
                surplus.setdefault(owner, []).append(at)
        for at, member in wanted.items():
            if at not in self._owners:
                self._owners[at] = member
                member.assign(at, self._committed[at], self._attempts.setdefault(at, {}), self._logs[at])
        for owner, partitions in surplus.items():
            owner.revoke(partitions)


class MemoryConsumer:
    """One member of a group. Acks settle at once."""

    def __init__(self, group: Group, subscription: Subscription) -> None:
        self._group = group
        self._bound = subscription.max_uncommitted
        self._on_revoke = subscription.on_revoke
        self._held: dict[TopicPartition, tuple[HeldPartition, PartitionLog]] = {}
        self._turns: deque[tuple[HeldPartition, PartitionLog]] = deque()
        self._revoking: dict[TopicPartition, None] = {}
        self._revocation: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._received = asyncio.Event()
        self._received.set()
        self._full = False
        self._closed = False

    async def fetch(self, limit: int) -> Sequence[LogDelivery]:
        """See Consumer.fetch."""
        self._received.set()
        await asyncio.sleep(0)  # else a caller that is always served would starve the loop
        while True:
            if self._closed:
                raise Closed(f"this consumer of group {self._group.name} is closed")
            if taken := self._take(limit):
                self._received.clear()
                return taken
            await self._wait()

    async def flush(self) -> None:
        """See Consumer.flush: acks settle at once."""

    def health(self) -> ConsumerHealth:
        """See Consumer.health: the broker is in this process, and nobody else's death can be seen from within it."""
        held = self._held.values()
        return ConsumerHealth(
            connected=not self._closed,
            heartbeat=0.0,
            lag=None if self._closed else sum(log.end - part.position for part, log in held),
            paused=tuple(part.at for part, _ in self._turns if part.room <= 0),
            trouble="closed" if self._closed else None,
        )

    async def close(self) -> None:
        """See Consumer.close."""
        if self._closed:
            return
        self._closed = True
        if self._revocation is not None:
            self._revocation.cancel()
        self._group.leave(self)
        self.wake()

    def wake(self) -> None:
        """Let a waiting fetch look again."""
        if (waiter := self._waiter) is not None and not waiter.done():
            waiter.set_result(None)

    def settled(self, held: HeldPartition, offset: int, error: Exception | None) -> None:
        """See Holder.settled."""
        group = self._group
        group.moved()
        if self._full:
            self.wake()
        if group.inline is not None:
            group.inline.settled(group.name, held.at, offset, error)

    def released(self) -> None:
        """See Holder.released."""
        self.wake()

    def position(self, at: TopicPartition) -> int:
        """Return what is settled of a partition that it holds."""
        return self._held[at][0].position

    def assign(self, at: TopicPartition, position: int, attempts: dict[int, int], log: PartitionLog) -> None:
        """Take a partition over."""
        entry = self._held[at] = (HeldPartition(at, position, attempts, self._bound, self), log)
        self._turns.append(entry)
        log.readers.append(self)
        self.wake()

    def revoke(self, partitions: Collection[TopicPartition]) -> None:
        """Hand out nothing more of the partitions, and give them up once `on_revoke` returned."""
        new = [at for at in partitions if at not in self._revoking]
        self._revoking.update(dict.fromkeys(new))
        for at in new:
            self._turns.remove(self._held[at])
        if new and (self._revocation is None or self._revocation.done()):
            self._revocation = asyncio.create_task(self._hand_over())

    def drop(self, at: TopicPartition) -> HeldPartition:
        """Forget a partition; return its last state."""
        held, log = entry = self._held.pop(at)
        log.readers.remove(self)
        if at in self._revoking:
            del self._revoking[at]
        else:
            self._turns.remove(entry)
        return held

    async def _hand_over(self) -> None:
        while self._revoking:
            partitions = tuple(self._revoking)
            await self._let_arrive()
            try:
                await self._on_revoke(partitions)
            except Exception:
                logger.exception("on_revoke failed in group %s; its partitions move on", self._group.name)
            self._group.take_back(self, partitions)

    async def _let_arrive(self) -> None:
        """Wait for the caller's next fetch: it shows that what the last one returned has reached it."""
        try:
            await asyncio.wait_for(self._received.wait(), _IN_TRANSIT)
        except TimeoutError:
            self._received.set()

    def _take(self, limit: int) -> list[LogDelivery]:
        self._turns.rotate(-1)
        self._full = False
        taken: list[LogDelivery] = []
        for held, log in self._turns:
            taken += held.take_again(limit - len(taken))
            if (left := limit - len(taken)) <= 0:
                break
            if (ready := log.end - held.next) > 0:
                room = min(left, ready, held.room)
                self._full |= room <= 0
                if room > 0:
                    taken += held.take(log.read(held.next, room))
        return taken

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
