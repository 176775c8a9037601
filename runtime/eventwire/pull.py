"""Pulling: reading a topic in one's own loop instead of through handlers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.dispatch import Policies, dead_letter_of, dead_letter_spec
from eventwire.errors import Reject
from eventwire.middleware.base import handle_chain
from eventwire.middleware.read import Read
from eventwire.middleware.validation import Validation
from eventwire.policy import Start, Unhandled
from eventwire.route import require_order, spec_of
from eventwire.topic import Topic
from eventwire.transport import Consumer, Delivery, Subscription
from eventwire.wire.reader import Reader

if TYPE_CHECKING:
    from eventwire.bus import Bus
    from eventwire.middleware.dead_letter import DeadLetter

E_co = TypeVar("E_co", covariant=True)
E = TypeVar("E")


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

    def __init__(self, bus: Bus, topic: Topic[E_co], policies: Policies, consumer: Consumer) -> None:
        self.counts = Counts()
        self._bus = bus
        self._topic = topic
        self._group = policies.group
        self._consumer = consumer
        self._ready: deque[Delivery] = deque()
        self._dead_letter = dead_letter_of(bus, topic, policies, self.counts, Deadlines(30.0))
        reader = Reader(topic, bus.transport(topic).features)
        read = Read(reader, topic.events, topic.unknown_events, policies.unhandled, self.counts)
        checks = [Validation(bus.validate)] if bus.validate is not None else []
        self._chain = handle_chain([self._dead_letter, read, *checks], _nothing)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Pulled[E_co]:
        while True:
            if not self._ready:
                self._ready.extend(await self._consumer.fetch(100))
            delivery = self._ready.popleft()
            context = Context(self._bus, self._topic, self._group, delivery, _Patient())
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


async def _nothing(_: Context) -> None:
    """The caller handles."""


@asynccontextmanager
async def subscribe(
    bus: Bus, topic: Topic[E], *, group: str, start: Start, max_uncommitted: int
) -> AsyncGenerator[Pull[E]]:
    """Join the group; leave it, what is unsettled given back, at the end. See `Bus.subscribe`."""
    transport = bus.transport(topic)
    require_order(topic, transport.features)
    policies = Policies(group, unhandled=Unhandled.SKIP)
    await bus.prepare([topic], [group])
    if (spec := dead_letter_spec(topic, policies)) is not None:
        await (transport.declare([spec], []) if bus.declares else transport.check([spec], []))
    subscription = Subscription(group, (spec_of(topic),), start=start, max_uncommitted=max_uncommitted)
    consumer = await transport.subscribe(subscription)
    try:
        yield Pull(bus, cast("Topic[Any]", topic), policies, consumer)
    finally:
        await consumer.close()
