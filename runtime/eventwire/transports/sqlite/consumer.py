"""One member of a group on a file: reads, settles in batches, keeps its lease, gives up what is not its share."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from eventwire.errors import BrokerError, Closed
from eventwire.log import HeldPartition, LogDelivery
from eventwire.message import Message
from eventwire.transport import Subscription, TopicPartition
from eventwire.transports.sqlite import log, membership
from eventwire.transports.sqlite.database import CommitUnknown, Database, Write
from eventwire.transports.sqlite.membership import Member, Progress, Shares, Taken

logger = logging.getLogger("eventwire.sqlite")
_IN_TRANSIT = 0.1
"""Seconds after which what a fetch returned counts as received, though no other fetch followed."""
_BEATS = 4
"""Heartbeats per lease."""
_BEAT = 0.5
"""At least so often, in seconds, a member looks whether others came or went."""
_CLOSE = 3.0
_FAULT = 1.0
"""Seconds to wait after a fault of the file, a lock or a full disk, before the next try."""
_FAILURES = (sqlite3.Error, CommitUnknown)
_LEAVING = (*_FAILURES, BrokerError, TimeoutError)


@dataclass(slots=True, eq=False)
class Lease:
    """A partition that this member holds."""

    held: HeldPartition
    partition: int
    epoch: int
    committed: int

    def progress(self) -> Progress:
        """What to record of it."""
        return Progress(self.partition, self.epoch, self.held.position, self.held.next)


class SqliteConsumer:
    """See Consumer. `changed` tells the other members in this process that partitions became free."""

    def __init__(
        self,
        database: Database,
        member: Member,
        subscription: Subscription,
        *,
        poll: float,
        changed: Callable[[], None],
    ) -> None:
        self._database = database
        self._member = member
        self._subscription = subscription
        self._poll = poll
        self._changed = changed
        self._leases: dict[TopicPartition, Lease] = {}
        self._turns: deque[Lease] = deque()
        self._revoking: dict[TopicPartition, None] = {}
        self._revocation: asyncio.Task[None] | None = None
        self._alive: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._received = asyncio.Event()
        self._received.set()
        self._full = False
        self._closed = False

    async def start(self) -> None:
        """Join the group. Raises BrokerError."""
        try:
            await self._beat()
        except _FAILURES as error:
            raise BrokerError(f"could not join group {self._member.group}: {error}") from error
        self._alive = asyncio.create_task(
            self._keep_alive(), name=f"eventwire heartbeat {self._member.group}"
        )
        self._changed()

    async def fetch(self, limit: int) -> Sequence[LogDelivery]:
        """See Consumer.fetch."""
        self._received.set()
        await asyncio.sleep(0)  # else a caller that is always served would starve the loop
        pause = self._poll / 4
        while True:
            self._check()
            self._news.clear()
            if taken := self._take_again(limit) or await self._take_new(limit):
                self._received.clear()
                return taken
            await _signal(self._news, pause)
            pause = min(pause * 2, self._poll)

    async def flush(self) -> None:
        """See Consumer.flush. Raises BrokerError when the file cannot be written now; acks are kept."""
        try:
            await self._commit()
        except _FAILURES as error:
            raise BrokerError(f"acks of group {self._member.group} could not be recorded: {error}") from error

    async def close(self) -> None:
        """See Consumer.close."""
        if self._closed:
            return
        self._closed = True
        self._news.set()
        for task in (self._alive, self._revocation):
            if task is not None:
                task.cancel()
        leases = [self._drop(at) for at in tuple(self._leases)]
        try:
            async with asyncio.timeout(_CLOSE):
                await self._database.write(partial(self._leave, leases))
        except _LEAVING as error:
            logger.warning(
                "group %s: a member could not leave, its lease must expire: %s", self._member.group, error
            )
        self._changed()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def reads(self, topic: str) -> bool:
        """Whether it reads the topic."""
        return topic in self._member.topics

    def wake(self) -> None:
        """Let a waiting fetch look again."""
        self._news.set()

    def look(self) -> None:
        """Let it compare what it holds to its share now."""
        self._look.set()

    def settled(self, held: HeldPartition, offset: int, error: Exception | None) -> None:  # noqa: ARG002 Holder's
        """See Holder.settled."""
        if self._full:
            self._news.set()

    def released(self) -> None:
        """See Holder.released."""
        self._news.set()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"this consumer of group {self._member.group} is closed")
        alive = self._alive
        if alive is not None and alive.done() and not alive.cancelled():
            error = alive.exception()
            raise BrokerError(f"the heartbeat of group {self._member.group} broke: {error}") from error

    # handing out

    def _take_again(self, limit: int) -> list[LogDelivery]:
        self._turns.rotate(-1)
        taken: list[LogDelivery] = []
        for lease in self._turns:
            if (left := limit - len(taken)) <= 0:
                break
            taken += lease.held.take_again(left)
        return taken

    async def _take_new(self, limit: int) -> list[LogDelivery]:
        wanted = [(lease, lease.held.next, min(limit, lease.held.room)) for lease in self._turns]
        self._full = any(room <= 0 for _, _, room in wanted)
        if not any(room > 0 for _, _, room in wanted):
            return []
        try:
            found = await self._database.read(partial(_read, wanted, limit))
            if not found:
                return []
            await self._record(found)
        except (sqlite3.OperationalError, CommitUnknown) as error:
            logger.warning("group %s: reading failed and is tried again: %s", self._member.group, error)
            await _signal(self._news, _FAULT)
            return []
        except sqlite3.Error as error:
            raise BrokerError(f"group {self._member.group} cannot go on: {error}") from error
        taken: list[LogDelivery] = []
        for lease, messages in found:
            if lease in self._turns:  # else it was lost, or is being given up
                taken += lease.held.take(messages)
        return taken

    async def _record(self, found: Sequence[tuple[Lease, list[Message]]]) -> None:
        """Record before it happens what is handed out: if this process dies, it counts as an attempt."""
        progress = [
            Progress(lease.partition, lease.epoch, lease.held.position, lease.held.next + len(messages))
            for lease, messages in found
        ]
        await self._write_progress(progress)

    # settling

    async def _commit(self) -> None:
        leases = [lease for lease in self._leases.values() if lease.held.position != lease.committed]
        if leases:
            await self._write_progress([lease.progress() for lease in leases])

    async def _write_progress(self, progress: Sequence[Progress]) -> None:
        group = self._member.group
        lost = await self._database.write(lambda write: membership.commit(write.connection, group, progress))
        written = {p.partition: p for p in progress}
        for at, lease in tuple(self._leases.items()):
            if lease.partition in lost and lease.epoch == written[lease.partition].epoch:
                self._lose(at)
            elif (p := written.get(lease.partition)) is not None and p.epoch == lease.epoch:
                lease.committed = p.committed

    # membership

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        every = min(self._member.lease / _BEATS, _BEAT)
        due = loop.time() + every
        while True:
            left = max(0.0, due - loop.time())
            await _signal(self._look, min(left, self._subscription.commit_interval))
            try:
                await self._commit()
                if self._look.is_set() or loop.time() >= due:
                    self._look.clear()
                    due = loop.time() + every
                    await self._beat()
            except _FAILURES as error:
                logger.warning(
                    "group %s: the heartbeat failed and is tried again: %s", self._member.group, error
                )
                await asyncio.sleep(every)

    async def _beat(self) -> None:
        holding = {at: lease.epoch for at, lease in self._leases.items()}
        shares = await self._database.write(partial(self._beat_and_trim, holding))
        if self._closed:
            return
        for at in shares.lost:
            self._lose(at)
        for taken in shares.taken:
            self._assign(taken)
        self._revoke([at for at in shares.surplus if at in self._leases])

    def _beat_and_trim(self, holding: dict[TopicPartition, int], write: Write) -> Shares:
        log.trim(write.connection)
        return membership.beat(write.connection, self._member, holding)

    def _leave(self, leases: Sequence[Lease], write: Write) -> None:
        for lease in leases:
            membership.give_up(write.connection, self._member.group, lease.progress(), lease.held.attempts)
        membership.leave(write.connection, self._member)

    def _assign(self, taken: Taken) -> None:
        bound = self._subscription.max_uncommitted
        held = HeldPartition(taken.at, taken.committed, taken.attempts, bound, self)
        lease = self._leases[taken.at] = Lease(held, taken.partition, taken.epoch, taken.committed)
        self._turns.append(lease)
        self._news.set()

    def _drop(self, at: TopicPartition) -> Lease:
        lease = self._leases.pop(at)
        lease.held.lose()
        if lease in self._turns:
            self._turns.remove(lease)
        return lease

    def _lose(self, at: TopicPartition) -> None:
        """Another member took it while this one was not heard of: its late acks are dropped."""
        if at in self._leases:
            logger.warning("group %s: the lease of %s %d expired", self._member.group, *at)
            self._drop(at)
            self._revoke([at])

    def _revoke(self, partitions: Collection[TopicPartition]) -> None:
        new = [at for at in partitions if at not in self._revoking]
        self._revoking.update(dict.fromkeys(new))
        for at in new:
            if (lease := self._leases.get(at)) is not None:
                self._turns.remove(lease)
        if new and (self._revocation is None or self._revocation.done()):
            self._revocation = asyncio.create_task(self._hand_over())

    async def _hand_over(self) -> None:
        while self._revoking:
            partitions = tuple(self._revoking)
            if not await _signal(self._received, _IN_TRANSIT):
                self._received.set()
            try:
                await self._subscription.on_revoke(partitions)
            except Exception:
                logger.exception("on_revoke failed in group %s; its partitions move on", self._member.group)
            leases = [self._drop(at) for at in partitions if at in self._leases]
            for at in partitions:
                del self._revoking[at]
            await self._give_up(leases)
            self._changed()

    async def _give_up(self, leases: Sequence[Lease]) -> None:
        def job(write: Write) -> None:
            for lease in leases:
                membership.give_up(
                    write.connection, self._member.group, lease.progress(), lease.held.attempts
                )

        try:
            await self._database.write(job)
        except _LEAVING as error:  # the next heartbeat finds partitions that nobody reads
            logger.warning("group %s: partitions could not be given up: %s", self._member.group, error)


async def _signal(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event at most so long; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _read(
    wanted: Sequence[tuple[Lease, int, int]], limit: int, connection: sqlite3.Connection
) -> list[tuple[Lease, list[Message]]]:
    found: list[tuple[Lease, list[Message]]] = []
    for lease, start, room in wanted:
        if limit > 0 and room > 0:
            messages = log.read(connection, lease.partition, lease.held.at, start, min(limit, room))
            if messages:
                found.append((lease, messages))
                limit -= len(messages)
    return found
