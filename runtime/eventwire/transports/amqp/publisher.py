"""Publishing: routes, outcomes, and a channel that is replaced when it is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
    TopicMissing,
    Unroutable,
)
from eventwire.message import Message, Receipt
from eventwire.partition import partition_of
from eventwire.transport import TopicSpec
from eventwire.transports.amqp import codec, frames, names, topology
from eventwire.transports.amqp.confirms import ChannelLost, Confirmation, ConfirmChannel
from eventwire.transports.amqp.connection import calling, dial, hang_up, open_channel, redial
from eventwire.transports.amqp.settings import Settings


@dataclass(frozen=True, slots=True)
class _Route:
    """What of a topic's publishes is the same each time. `prefixes` start the routing keys, by partition."""

    exchange: bytes
    prefixes: tuple[bytes, ...]

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
        async with self._opening:
            if not self._connected():
                self._connection = await dial(self._settings, self._settings.producer)

    async def connection(self) -> aio_pika.Connection:
        """The connection, made again if it was lost. Raises Unreachable and Closed."""
        async with self._opening:
            return await self._reconnected()

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
        async with self._opening:
            if self._channel is None or self._channel.lost:
                if self._channel:
                    self._routes.clear()  # it may be an exchange that went missing that made the broker close it
                try:
                    async with calling("opening a channel"):
                        raw = await open_channel(await self._reconnected(), confirms=True)
                except BrokerError as error:
                    raise PublishFailed(f"{message.topic}: not sent: {error}", message) from error
                self._channel = ConfirmChannel(raw)
            return self._channel

    async def _route(self, topic: TopicSpec, message: Message) -> _Route:
        """The topic's route, once its exchange was seen: publishing to a missing one costs everybody the channel."""
        async with self._routing:
            if topic not in self._routes:
                await self._check(topic, message)
                partitions = range(topic.partitions if topic.ordered and not topic.queue else 1)
                prefixes = tuple(f"p{number}.".encode() for number in partitions)
                self._routes[topic] = _Route(names.exchange(topic).encode(), prefixes)
            return self._routes[topic]

    async def _check(self, topic: TopicSpec, message: Message) -> None:
        try:
            await topology.check(await self.connection(), [topic], ())
        except TopicMissing as error:
            raise PublishFailed(f"{topic.name}: {error}", message) from error
        except BrokerError as error:
            raise PublishFailed(f"{topic.name}: not sent: {error}", message) from error

    async def _reconnected(self) -> aio_pika.Connection:
        if self._closed:
            raise BrokerError("the transport was closed meanwhile")
        if self._connection is None or not self._connected():
            self._connection = await redial(self._settings, self._settings.producer)
        return self._connection

    def _connected(self) -> bool:
        return self._connection is not None and self._connection.connected.is_set()

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
