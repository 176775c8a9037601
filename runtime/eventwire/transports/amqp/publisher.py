"""Publishing: routes, outcomes, and a channel that is replaced when it is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import aio_pika
from aiormq.exceptions import DeliveryError
from aiormq.exceptions import PublishError as Returned

from eventwire.errors import (
    BrokerError,
    Closed,
    PublishError,
    PublishFailed,
    PublishUnknown,
    TooLarge,
    Unroutable,
)
from eventwire.message import Message, Receipt
from eventwire.partition import partition_of
from eventwire.transport import TopicSpec
from eventwire.transports.amqp import codec, frames, names, topology
from eventwire.transports.amqp.confirms import ChannelLost, Confirmation, ConfirmChannel
from eventwire.transports.amqp.connection import calling, dial, hang_up, open_channel, redial
from eventwire.transports.amqp.settings import Settings

_Dial: TypeAlias = Callable[[Settings, Mapping[str, Any]], Awaitable[aio_pika.Connection]]


@dataclass(frozen=True, slots=True)
class _Route:
    """What of a topic's publishes is the same each time. `prefixes` start the routing keys, by partition."""

    exchange: bytes
    prefixes: tuple[bytes, ...]

    @classmethod
    def to(cls, topic: TopicSpec) -> _Route:
        partitions = range(topic.partitions if topic.ordered and not topic.queue else 1)
        return cls(names.exchange(topic).encode(), tuple(f"p{number}.".encode() for number in partitions))

    def partition(self, key: bytes | None) -> int:
        return 0 if key is None or len(self.prefixes) == 1 else partition_of(key, len(self.prefixes))


@dataclass(frozen=True, slots=True)
class _Sent:
    """A publish on its way."""

    message: Message
    partition: int
    channel: ConfirmChannel
    confirmation: Confirmation


class Publisher:
    """The connection that publishes, and declares; both heal by themselves at the next use after a loss."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._routing = asyncio.Lock()
        self._connection: aio_pika.Connection | None = None
        self._dialing: asyncio.Future[aio_pika.Connection] | None = None
        self._channel: ConfirmChannel | None = None
        self._routes: dict[TopicSpec, _Route] = {}
        self._numbers = itertools.count()
        self._active = 0
        self._idle = asyncio.Event()
        self._closing = False
        self._closed = False

    async def connect(self) -> None:
        """Connect, once. Raises Unreachable."""
        self._refuse_closed()
        await self._connected(dial)

    async def connection(self) -> aio_pika.Connection:
        """The connection, made again if it was lost. Raises Unreachable and Closed."""
        self._refuse_closed()
        return await self._connected(redial)

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Publish and wait for the broker's confirm. Raises PublishError and Closed."""
        with self._working():
            outcome = await _outcome(topic, await self._send(topic, message))
        if isinstance(outcome, PublishError):
            raise outcome from outcome.__cause__
        return outcome

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> list[Receipt | PublishError]:
        """Publish in order without waiting in between; one outcome for each. Raises Closed."""
        with self._working():
            sent = await self._send_all(topic, messages)
            return [item if isinstance(item, PublishError) else await _outcome(topic, item) for item in sent]

    async def _send_all(self, topic: TopicSpec, messages: Sequence[Message]) -> list[_Sent | PublishError]:
        """Send in order; once the channel is lost nothing more is sent, so that nothing overtakes what was lost."""
        sent: list[_Sent | PublishError] = []
        channel: ConfirmChannel | None = None
        for message in messages:
            if channel and channel.lost:
                sent.append(PublishFailed(f"{topic.name}: not sent, the connection was lost before", message))
                continue
            try:
                sent.append(one := await self._send(topic, message))
                channel = channel or one.channel
            except PublishError as error:
                sent.append(error)
        return sent

    async def _send(self, topic: TopicSpec, message: Message) -> _Sent:
        route = self._routes.get(topic) or await self._route(topic, message)
        body = message.body or b""
        if len(body) > self._settings.max_body:
            raise TooLarge(
                f"{topic.name}: body of {len(body)} bytes, `max_body` is {self._settings.max_body}", message
            )
        partition = route.partition(message.key)
        identity, key, properties = codec.encode(message, route.prefixes[partition], next(self._numbers))
        channel = await self._ready(message, identity)
        data = frames.publish(
            channel.number,
            route.exchange,
            key,
            properties,
            body,
            mandatory=not self._settings.unrouted,
            frame_max=channel.frame_max,
        )
        return _Sent(message, partition, channel, channel.send(data, identity))

    async def _ready(self, message: Message, identity: str) -> ConfirmChannel:
        """A channel with room, on which the message's id is not in flight."""
        while True:
            channel = self._channel
            if channel is None or channel.lost:
                channel = await self._opened(message)
            if not channel.has_room:
                await channel.room()
            elif (same := channel.in_flight(identity)) is not None:
                await asyncio.wait([same])
                channel.forget(same)
            else:
                return channel

    async def _opened(self, message: Message) -> ConfirmChannel:
        try:
            connection = await self._connected(redial)
            async with self._opening, calling("opening a channel"):
                if self._channel is None or self._channel.lost:
                    if self._channel:
                        self._routes.clear()  # it may be an exchange that went missing that made the broker close it
                    self._channel = ConfirmChannel(await open_channel(connection, confirms=True))
                return self._channel
        except BrokerError as error:
            raise PublishFailed(f"{message.topic}: not sent: {error}", message) from error

    async def _route(self, topic: TopicSpec, message: Message) -> _Route:
        """The topic's route, once its exchange was seen: publishing to a missing one costs everybody the channel."""
        try:
            connection = await self._connected(redial)
            async with self._routing:
                if topic not in self._routes:
                    await topology.check(connection, [topic], ())
                    self._routes[topic] = _Route.to(topic)
                return self._routes[topic]
        except BrokerError as error:
            raise PublishFailed(f"{topic.name}: not sent: {error}", message) from error

    async def _connected(self, how: _Dial) -> aio_pika.Connection:
        """The connection. All who find it lost wait for one and the same attempt."""
        if self._connection and self._connection.connected.is_set():
            return self._connection
        if self._closed:
            raise BrokerError("the transport was closed meanwhile")
        if self._dialing is None or self._dialing.done():
            self._dialing = asyncio.ensure_future(self._dial(how))
            self._dialing.add_done_callback(_retrieved)
        async with calling("connecting"):
            return await asyncio.shield(self._dialing)

    async def _dial(self, how: _Dial) -> aio_pika.Connection:
        self._connection = await how(self._settings, self._settings.producer)
        return self._connection

    def _refuse_closed(self) -> None:
        if self._closing:
            raise Closed("the AMQP transport is closed")

    @contextmanager
    def _working(self) -> Generator[None, None, None]:
        """A publish that `close` waits for."""
        self._refuse_closed()
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def close(self, within: float) -> None:
        """Wait for the publishes that began, then disconnect; both within the time."""
        self._closing = True
        if self._active:
            self._idle.clear()
            await asyncio.wait({asyncio.ensure_future(self._idle.wait())}, timeout=within / 2)
        self._closed = True
        if self._dialing:
            self._dialing.cancel()
        if self._channel:
            await self._channel.close()
        if self._connection:
            await hang_up(self._connection, within / 2)


async def _outcome(topic: TopicSpec, sent: _Sent) -> Receipt | PublishError:
    try:
        await sent.confirmation
    except (DeliveryError, ChannelLost) as error:
        failure = _failure(topic, sent.message, error)
        failure.__cause__ = error
        return failure
    finally:
        sent.channel.forget(sent.confirmation)
    return Receipt(topic.name, sent.message.id, sent.partition)


def _failure(topic: TopicSpec, message: Message, error: Exception) -> PublishError:
    if isinstance(error, Returned):
        return Unroutable(
            f"{topic.name}: no queue takes this message: no consumer group is declared (`unrouted=allow` permits it)",
            message,
        )
    if isinstance(error, DeliveryError):
        return PublishFailed(
            f"{topic.name}: RabbitMQ refused it (nack): its queue is full or has no leader", message
        )
    return PublishUnknown(f"{topic.name}: the connection was lost before the confirm: {error}", message)


def _retrieved(dialing: asyncio.Future[aio_pika.Connection]) -> None:
    """Its error was told to those who waited, if any are left."""
    if not dialing.cancelled():
        dialing.exception()
