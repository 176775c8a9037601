"""A topic on its transport: everything about publishing to it that can be decided once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from eventwire.context import Context
from eventwire.deadline import Deadlines
from eventwire.errors import CapabilityError, InvalidEvent, PublishError, PublishUnknown
from eventwire.message import Headers, Message, Receipt
from eventwire.middleware.base import Middleware, publish_chain
from eventwire.policy import Ordering
from eventwire.topic import Topic
from eventwire.transport import Features, TopicSpec, Transport
from eventwire.wire.attributes import CAUSATION, CORRELATION
from eventwire.wire.writer import Attributes, Writer

Validator: TypeAlias = Callable[[Any], None]
"""Raises any exception for an event that must not be published, or handled."""

ORDERED_TRANSPORTS = ("memory", "sqlite", "kafka", "amqp")


def spec_of(topic: Topic[Any]) -> TopicSpec:
    """What a transport needs to know of a topic."""
    return TopicSpec(
        topic.name,
        partitions=topic.partitions,
        ordered=topic.ordering is Ordering.PER_KEY,
        retention=topic.retention,
        compact=topic.compact,
        external=topic.external,
    )


def require_order(topic: Topic[Any], features: Features) -> None:
    """Raise CapabilityError when a topic asks for order that its transport cannot give."""
    if topic.ordering is Ordering.PER_KEY and not features.ordering:
        raise CapabilityError(
            f"topic {topic.name} is ordered per key, and {features.transport} gives no order: use one that does "
            f"({', '.join(ORDERED_TRANSPORTS)}) or declare `ordering: ORDERING_NONE`"
        )


class Channel:
    """Publishes finished messages to one topic. May be used concurrently."""

    def __init__(
        self, spec: TopicSpec, transport: Transport, *, middleware: Sequence[Middleware], deadlines: Deadlines
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._deadlines = deadlines
        self._bare = not middleware
        self._middleware = middleware
        self._chain = publish_chain(middleware, self._deliver)

    async def publish(self, message: Message) -> Receipt:
        """Through the middleware to the broker. Raises PublishError within the deadline."""
        return await self._chain(message)

    async def through(
        self, message: Message, deliver: Callable[[TopicSpec, Message], Awaitable[Receipt]]
    ) -> Receipt:
        """Through the middleware, and on by another way than the channel's own."""
        if self._bare:
            return await deliver(self.spec, message)
        return await publish_chain(self._middleware, partial(deliver, self.spec))(message)

    async def publish_many(self, messages: Sequence[Message]) -> Sequence[Receipt | PublishError]:
        """A batch, its order kept per key; one outcome for each. Raises what a middleware raised, after the last."""
        outcomes = await self.try_many(messages)
        for outcome in outcomes:
            if not isinstance(outcome, Receipt | PublishError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Receipt | PublishError)]

    async def try_many(self, messages: Sequence[Message]) -> Sequence[Receipt | Exception]:
        """A batch, its order kept per key; one outcome for each, a middleware's own exceptions among them."""
        if not self._bare:
            return await self._through_middleware(messages)
        try:
            with self._deadlines.guard():
                return await self._transport.publish_many(self.spec, messages)
        except TimeoutError:
            return [self._overdue(message) for message in messages]

    async def _through_middleware(self, messages: Sequence[Message]) -> Sequence[Receipt | Exception]:
        """One by one for each key, whose order a middleware that waits would break; keys concurrently."""
        lines: dict[bytes | int, list[int]] = {}
        for at, message in enumerate(messages):
            lines.setdefault(at if message.key is None else message.key, []).append(at)
        outcomes: dict[int, Receipt | Exception] = {}

        async def publish(line: Iterable[int]) -> None:
            for at in line:
                try:
                    outcomes[at] = await self._chain(messages[at])
                except Exception as error:  # noqa: BLE001  a middleware's own is its message's outcome; the others go on
                    outcomes[at] = error

        await asyncio.gather(*map(publish, lines.values()))
        return [outcomes[at] for at in range(len(messages))]

    async def _deliver(self, message: Message) -> Receipt:
        try:
            with self._deadlines.guard():
                return await self._transport.publish(self.spec, message)
        except TimeoutError as error:
            raise self._overdue(message) from error

    def _overdue(self, message: Message) -> PublishUnknown:
        return PublishUnknown(
            f"topic {message.topic}: not confirmed within {self._deadlines.seconds:g} s; it may be written or not: "
            "publish again with the same id",
            message,
        )


class Route(Channel):
    """Writes the events of one topic and publishes them. May be used concurrently."""

    def __init__(
        self,
        topic: Topic[Any],
        transport: Transport,
        *,
        middleware: Sequence[Middleware] = (),
        service: str | None = None,
        validate: Validator | None = None,
        deadlines: Deadlines,
        session_headers: Iterable[str] = (),
    ) -> None:
        require_order(topic, transport.features)
        super().__init__(spec_of(topic), transport, middleware=middleware, deadlines=deadlines)
        self._writer = Writer(topic, self.spec.name, transport.features, service)
        self._validate = validate
        self._session = frozenset(session_headers)

    def write(
        self,
        event: object,
        headers: Mapping[str, str] | None,
        id: str | None,
        cause: Context | None,
    ) -> Message:
        """The event as a message. Raises InvalidEvent and TooLarge."""
        if self._validate is not None:
            self._check(self._validate, event)
        if cause is None:
            return self._writer.write(event, id, headers)
        return self._writer.write(event, id, headers, self._inherited(cause), self._inherited_headers(cause))

    def tombstone(self, key: str | bytes | int, cause: Context | None) -> Message:
        """A tombstone as a message. Raises InvalidEvent."""
        return self._writer.tombstone(key, self._inherited(cause) if cause else ())

    def _check(self, validate: Validator, event: object) -> None:
        try:
            validate(event)
        except Exception as error:  # a validator says no by raising what it likes
            raise InvalidEvent(f"topic {self.spec.name}: the validator refuses the event: {error}") from error

    def _inherited(self, cause: Context) -> Attributes:
        found = [
            (name, value.encode())
            for name, value in ((CORRELATION, cause.correlation_id), (CAUSATION, cause.id))
            if value
        ]
        if self._session:
            known = ((name, cause.incoming.attribute(name)) for name in sorted(self._session))
            found += [(name, value) for name, value in known if value is not None]
        return found

    def _inherited_headers(self, cause: Context) -> Headers:
        if not self._session:
            return ()
        return tuple(header for header in cause.headers if header[0] in self._session)
