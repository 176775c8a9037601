"""Pulling: reading a topic in one's own loop instead of through handlers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, Generic, Self, TypeVar, cast

from eventwire.context import Context, Origin
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.dispatch import Shared, dead_letter_of
from eventwire.errors import Reject
from eventwire.group import Policies
from eventwire.middleware.base import handle_chain
from eventwire.middleware.breaker import Breaker
from eventwire.middleware.dead_letter import DeadLetter
from eventwire.middleware.read import Read
from eventwire.middleware.validation import Validation
from eventwire.policy import BreakerPolicy
from eventwire.route import Validator
from eventwire.topic import Topic
from eventwire.transport import Consumer, Delivery, Transport
from eventwire.wire.reader import Reader

E_co = TypeVar("E_co", covariant=True)


class Pulled(Generic[E_co]):
    """One event that was pulled. Settle it with exactly one of `ack`, `release` and `reject`."""

    def __init__(self, event: E_co, context: Context, dead_letter: DeadLetter) -> None:
        self.event = event
        self.context = context
        self._dead_letter = dead_letter

    def ack(self) -> None:
        """It was handled. Never blocks; settled at the broker soon after."""
        self.context.delivery.ack()

    def release(self) -> None:
        """Give it back: it is delivered again."""
        self.context.delivery.release()

    async def reject(self, reason: str) -> None:
        """Send it to the group's dead letter; return when it is there. Raises WorkerStopped when that is disabled."""
        error = Reject(reason)
        await self._dead_letter.set_aside(self.context, error)
        self.context.delivery.ack(error)


class Pull(Generic[E_co]):
    """An endless async iterator over a topic's events. For one task.

    What cannot be read, or what the bus's validator refuses, goes to the dead letter; unknown types follow the topic's
    `unknown_events`. Neither is yielded.
    """

    def __init__(
        self,
        origin: Origin,
        topic: Topic[Any],
        transport: Transport,
        consumer: Consumer,
        *,
        policies: Policies,
        validate: Validator | None,
    ) -> None:
        self.counts = Counts()
        self._origin = origin
        self._topic = topic
        self._group = policies.group
        self._consumer = consumer
        self._ready: deque[Delivery] = deque()
        shared = Shared(self.counts, Breaker(BreakerPolicy()), Deadlines(30.0))
        self._dead_letter = dead_letter_of(transport, topic, policies, shared)
        reader = Reader(topic, transport.features)
        read = Read(reader, topic.events, topic.unknown_events, policies.unhandled, self.counts)
        checks = [Validation(validate)] if validate is not None else []
        self._chain = handle_chain([self._dead_letter, read, *checks], _nothing)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Pulled[E_co]:
        while True:
            if not self._ready:
                self._ready.extend(await self._consumer.fetch(100))
            delivery = self._ready.popleft()
            context = Context(self._origin, self._topic, self._group, delivery, _Patient())
            try:
                await self._chain(context)
            except BaseException:
                delivery.release()
                raise
            if context.event is not None and context.failure is None:
                return Pulled(cast("E_co", context.event), context, self._dead_letter)
            delivery.ack(context.failure)


class _Patient:
    """Waits as long as it takes: a pull has nothing that stops it but cancellation."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, awaited: Awaitable[object]) -> None:
        await awaited


async def _nothing(_: Context) -> None:
    """The caller handles."""
