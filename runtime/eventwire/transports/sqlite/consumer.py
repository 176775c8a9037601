"""One member of a group on a file: reads, settles in batches, keeps its lease, gives up what is not its share."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial

from eventwire.errors import BrokerError, Closed
from eventwire.log import HeldPartition, LogDelivery
from eventwire.message import Message
from eventwire.transport import ConsumerHealth, Subscription, TopicPartition
from eventwire.transports.sqlite import log, membership
from eventwire.transports.sqlite.database import CommitUnknown, Database, Write
from eventwire.transports.sqlite.leases import Lease, Leases
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
        self._leases = Leases()
        self._revocation: asyncio.Task[None] | None = None
        self._alive: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._received = asyncio.Event()
        self._received.set()
        self._full = False
        self._handing = False
        self._closed = False
        self._heard: float | None = None
        self._trouble: str | None = None
        self._rebuilt = 0

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
            if taken := await self._take(limit):
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
        leases = [self._leases.drop(at) for at in self._leases]
        try:
            async with asyncio.timeout(_CLOSE):
                await self._database.write(partial(self._leave, leases))
        except _LEAVING as error:
            logger.warning(
                "group %s: a member could not leave, its lease must expire: %s", self._member.group, error
            )
        self._changed()

    def health(self) -> ConsumerHealth:
        """See Consumer.health."""
        silent = None if self._heard is None else asyncio.get_running_loop().time() - self._heard
        alive = self._alive is not None and not self._alive.done()
        return ConsumerHealth(
            connected=alive and not self._closed and silent is not None and silent < self._member.lease,
            heartbeat=silent,
            lag=None if self._closed else self._leases.lag(),
            paused=tuple(self._leases.full()),
            suspect=tuple(self._leases.suspected()),
            rebuilt=self._rebuilt,
            trouble="closed" if self._closed else self._trouble,
        )

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

    async def _take(self, limit: int) -> list[LogDelivery]:
        try:
            if self._leases.watched:
                return await self._take_one_by_one(limit)
            leases = self._leases.turn()
            return self._leases.take_again(limit) or await self._take_new(leases, limit)
        except (sqlite3.OperationalError, CommitUnknown) as error:
            self._failing("reading failed", error)
            await _signal(self._news, _FAULT)
            return []
        except sqlite3.Error as error:
            raise BrokerError(f"group {self._member.group} cannot go on: {error}") from error

    async def _take_new(self, leases: Sequence[Lease], limit: int) -> list[LogDelivery]:
        wanted = [(lease, lease.held.next, min(limit, lease.held.room)) for lease in leases]
        self._full = any(room <= 0 for _, _, room in wanted)
        if not any(room > 0 for _, _, room in wanted):
            return []
        found = await self._database.read(partial(_read, wanted, limit))
        if not found:
            return []
        # Recorded before it happens: if this process dies, it counts as an attempt, and makes suspects.
        await self._write([lease.progress(more=len(messages)) for lease, messages in found])
        taken: list[LogDelivery] = []
        for lease, messages in found:
            if self._leases.may_hand_out(lease):  # else it was lost, or is being given up
                taken += lease.held.take(messages)
        return taken

    async def _take_one_by_one(self, limit: int) -> list[LogDelivery]:
        """Hand out while there are suspects: what is alone in this member's hands is noted in the file before."""
        self._full = True
        found = await self._next(limit)
        if found is None:
            await self._commit()
            return []
        lease, messages = found
        self._leases.note(lease)
        self._handing = True
        try:
            await self._write(
                [
                    each.progress(handing=True, more=len(messages) if each is lease else 0)
                    for each in {lease, *self._leases.unrecorded(handing=True)}
                ]
            )
        finally:
            self._handing = False
        if not self._leases.may_hand_out(lease):
            return []
        return lease.held.take_again(limit) or lease.held.take(messages)

    async def _next(self, limit: int) -> tuple[Lease, list[Message]] | None:
        """The lease whose turn it is, with what is new of it; none when it is released deliveries' turn."""
        for lease in self._leases.turn():
            if lease.held.waiting:
                return lease, []
            if (room := lease.held.room) <= 0:
                continue
            wanted = (lease, lease.held.next, min(limit, room))
            found = await self._database.read(partial(_read, [wanted], limit))
            if found and self._leases.may_hand_out(lease):
                return found[0]
        return None

    # settling

    async def _commit(self) -> None:
        if not self._handing:
            self._leases.note_the_last()
        if leases := self._leases.unrecorded(handing=self._handing):
            await self._write([lease.progress(handing=self._handing) for lease in leases])

    async def _write(self, progress: Sequence[Progress]) -> None:
        recorded = {p.partition: p for p in progress}
        leases = [lease for _, lease in self._leases.items() if lease.partition in recorded]
        numbers = [lease.writing(recorded[lease.partition]) for lease in leases]
        group = self._member.group
        lost = await self._database.write(lambda write: membership.commit(write.connection, group, progress))
        self._answered()
        for lease, number in zip(leases, numbers, strict=True):
            if lease.partition not in lost:
                lease.written(recorded[lease.partition], number)
            elif self._leases.holds(lease):
                self._lose(lease.held.at)

    def _answered(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._trouble = None

    def _failing(self, text: str, error: Exception) -> None:
        self._trouble = f"{text}: {error}"
        logger.warning("group %s: %s; it is tried again", self._member.group, self._trouble)

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
                self._failing("the heartbeat failed", error)
                await asyncio.sleep(every)

    async def _beat(self) -> None:
        shares = await self._database.write(partial(self._beat_and_trim, self._leases.epochs()))
        self._answered()
        if self._closed:
            return
        for at in shares.lost:
            self._lose(at)
        for taken in shares.taken:
            self._assign(taken)
        self._leases.ended(shares.ends)
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
        held = HeldPartition(
            taken.at,
            taken.committed,
            taken.attempts,
            bound,
            self,
            suspect=taken.suspect,
            deaths=taken.deaths,
        )
        self._leases.add(Lease(held, taken.partition, taken.epoch, taken.committed, strict=taken.strict))
        if held.suspected:
            logger.warning(
                "group %s: a process died while it had messages of %s %d in hand: they are handed out one by one",
                self._member.group,
                *taken.at,
            )
        self._news.set()

    def _lose(self, at: TopicPartition) -> None:
        """Another member took it while this one was not heard of: its late acks are dropped."""
        if at in self._leases:
            logger.warning("group %s: the lease of %s %d expired", self._member.group, *at)
            self._rebuilt += 1
            self._leases.drop(at)
            self._revoke([at])

    def _revoke(self, partitions: Collection[TopicPartition]) -> None:
        new = [at for at in partitions if at not in self._leases.revoking]
        self._leases.revoking.update(dict.fromkeys(new))
        for at in new:
            self._leases.withdraw(at)
        if new and (self._revocation is None or self._revocation.done()):
            self._revocation = asyncio.create_task(self._hand_over())

    async def _hand_over(self) -> None:
        while self._leases.revoking:
            partitions = tuple(self._leases.revoking)
            if not await _signal(self._received, _IN_TRANSIT):
                self._received.set()
            try:
                await self._subscription.on_revoke(partitions)
            except Exception:
                logger.exception("on_revoke failed in group %s; its partitions move on", self._member.group)
            leases = [self._leases.drop(at) for at in partitions if at in self._leases]
            for at in partitions:
                del self._leases.revoking[at]
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
