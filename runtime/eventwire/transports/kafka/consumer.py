"""Consuming: one member of a group, made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from asyncio import Future, Task
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from eventwire.errors import BrokerError, Closed, EventwireError, TopicMissing, Unreachable
from eventwire.policy import Start
from eventwire.transport import ConsumerHealth, Subscription
from eventwire.transports.kafka.assignment import KafkaDelivery
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.faults import REFUSED, describe
from eventwire.transports.kafka.logs import Outage
from eventwire.transports.kafka.member import Member
from eventwire.transports.kafka.placing import Role
from eventwire.transports.kafka.transaction import Make

log = logging.getLogger(__name__)

_FLUSH_WITHIN = 5.0
_WATCH = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_STEADY = 30.0
"""Seconds of life after which a member's loss is no longer counted with the one before."""
_KEEPER_ENDS_WITHIN = 2.5
_SILENT_AFTER = 10.0


class Connect(Protocol):
    """Makes a client for the group and connects it. Raises BrokerError, and leaves nothing behind when it fails."""

    def __call__(self) -> Awaitable[Client]:
        """Connect."""
        ...


class KafkaConsumer:
    """Reads a group's partitions. Made by `KafkaConsumer.open`.

    A member that is lost, or stopped silently, is made anew, for as long as that takes: what was not settled comes
    again. `fetch` raises only what a person has to mend.
    """

    def __init__(
        self,
        connect: Connect,
        subscription: Subscription,
        drain: float,
        session_timeout: float,
        make: Make | None = None,
    ) -> None:
        self._connect = connect
        self._role = Role(subscription, drain, session_timeout, secrets.token_hex(4), make)
        self.member: Member | None = None
        """The one that reads now; None while another is made."""
        self._failure: EventwireError | None = None
        self._changed = asyncio.Event()
        self._outage = Outage(subscription.group)
        self._keeper: Task[None] | None = None
        self._closing: Task[None] | None = None
        self._rebuilt = 0
        self._lost_commits = 0
        self._since = time.monotonic()
        self._trouble: str | None = None

    @classmethod
    async def open(
        cls,
        connect: Connect,
        subscription: Subscription,
        *,
        drain: float,
        session_timeout: float,
        make: Make | None = None,
    ) -> KafkaConsumer:
        """Begin to join the group; for `Start.LATEST` wait until it is known where that is. Raises BrokerError."""
        consumer = cls(connect, subscription, drain, session_timeout, make)
        try:
            member = await consumer._join()
            if subscription.start is Start.LATEST:
                await consumer._placed(member)
        except BaseException:
            await consumer.close()
            raise
        consumer._keeper = asyncio.create_task(consumer._keep(member), name="eventwire-kafka-keeper")
        consumer._keeper.add_done_callback(consumer._on_end)
        return consumer

    @property
    def lost_commits(self) -> int:
        """How many positions could not be committed because their partition was lost; they are read again."""
        return self._lost_commits + (self.member.committer.lost if self.member else 0)

    async def fetch(self, limit: int) -> Sequence[KafkaDelivery]:
        """Wait for records and return up to `limit` deliveries, released ones first."""
        while True:
            if self._failure is not None:
                raise self._failure
            member = self.member
            if member is None or member.lost.done():
                await self._changed.wait()
                continue
            deliveries = await member.fetch(limit)
            self._outage.look(connected=bool(deliveries) or member.client.connected())
            if deliveries:
                return deliveries

    async def flush(self) -> None:
        """Commit every position that moved. Raises BrokerError, after 5 seconds also when no broker answers."""
        if self.member is not None:
            await self.member.committer.commit_within(_FLUSH_WITHIN)

    def health(self) -> ConsumerHealth:
        """How it is."""
        member = self.member
        if member is None:
            return ConsumerHealth(
                connected=False, heartbeat=None, lag=None, rebuilt=self._rebuilt, trouble=self._worry()
            )
        now = time.monotonic()
        answered = member.client.answered
        joining = not member.placed.is_set() and now - self._since > _SILENT_AFTER
        return ConsumerHealth(
            connected=member.client.connected() and not joining and not member.lost.done(),
            heartbeat=None if answered is None else now - answered,
            lag=member.lag(),
            paused=member.places(lambda assigned: assigned.full),
            suspect=member.places(lambda assigned: assigned.suspect),
            rebuilt=self._rebuilt,
            trouble=self._worry(),
        )

    def _worry(self) -> str | None:
        member = self.member
        if self._failure is not None:
            return str(self._failure)
        if member is None or member.lost.done():
            return f"being made anew: {member.lost.result() if member else self._trouble}"
        if not member.client.connected():
            return "no Kafka broker can be reached"
        now, answered = time.monotonic(), member.client.answered
        if answered is not None and now - answered > _SILENT_AFTER:
            return f"Kafka has not answered for {now - answered:.0f} s"
        if not member.placed.is_set() and now - self._since > _SILENT_AFTER:
            return "joining the group"
        return member.committer.trouble

    async def close(self) -> None:
        """Commit, leave the group, disconnect; within about 5 seconds also when the broker is gone."""
        if self._closing is None:
            self._fail(Closed("the consumer was closed"))
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper], timeout=_KEEPER_ENDS_WITHIN)
        member, self.member = self.member, None
        if member is not None:
            member.wake()
            await member.close()

    # Keeping it up

    async def _join(self) -> Member:
        member = Member(await self._connect(), self._role, self._changed.clear)
        member.join()
        self.member, self._since = member, time.monotonic()
        self._changed.set()
        return member

    async def _placed(self, member: Member) -> None:
        placed = asyncio.create_task(member.placed.wait())
        either: list[Future[Any]] = [placed, member.lost]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        placed.cancel()
        if member.lost.done():
            raise member.failure or Unreachable(
                f"group `{self._role.subscription.group}`: {member.lost.result()}"
            )

    async def _keep(self, member: Member) -> None:
        """Watch the member; when it is lost, let handlers finish, then make another."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            self._trouble = await self._loss(member)
            if member.failure is not None:
                self._fail(member.failure)
                return
            self._rebuilt += 1
            log.warning("group %s: its member is made anew: %s", self._role.subscription.group, self._trouble)
            if failure := await self._let_go(member):
                self._fail(failure)
                return
            pause = _FIRST_PAUSE if time.monotonic() - began > _STEADY else min(pause * 2, _LONGEST_PAUSE)
            restored = await self._restored(pause)
            if restored is None:
                return
            member = restored

    async def _loss(self, member: Member) -> str:
        while True:
            done, _ = await asyncio.wait([member.lost], timeout=_WATCH)
            if done:
                return member.lost.result()
            member.look()

    async def _let_go(self, member: Member) -> BrokerError | None:
        """End the member; why the subscriber did not let go of its partitions, if it did not."""
        await member.revoke()
        self.member = None
        self._lost_commits += member.committer.lost
        await member.end()
        return member.failure

    async def _restored(self, pause: float) -> Member | None:
        """A new member, however long it takes; None when that is for a person to mend."""
        told = False
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                return await self._join()
            except BrokerError as error:
                if isinstance(error, TopicMissing) or isinstance(error.__cause__, REFUSED):
                    self._fail(error)
                    return None
                self._trouble = describe(error)
                if not told:
                    log.warning("group %s: %s; trying again", self._role.subscription.group, error)
                told = True

    def _fail(self, failure: EventwireError) -> None:
        """Let this and every later `fetch` raise `failure`; the first one stays, but for Closed."""
        if self._failure is None or isinstance(failure, Closed):
            self._failure = failure
        self._changed.set()
        if self.member is not None:
            self.member.wake()

    def _on_end(self, keeper: Task[None]) -> None:
        """Nobody watches any more: `fetch` has to say so."""
        if self._failure is None:
            error = None if keeper.cancelled() else keeper.exception()
            failure = BrokerError(f"group `{self._role.subscription.group}`: the consumer stopped: {error!r}")
            failure.__cause__ = error
            self._fail(failure)
