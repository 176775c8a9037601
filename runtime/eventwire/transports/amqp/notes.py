"""What a consumer writes to RabbitMQ beside its acks: marks, and messages that change their queue.

It has a connection of its own, made when it is first needed: a broker that is short of memory stops reading from
connections that publish, and acks have to go on; and one that cannot read a queue closes the connection that asked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import aio_pika
from aiormq.exceptions import DeliveryError
from aiormq.exceptions import PublishError as Returned

from eventwire.errors import BrokerError, PublishError, TopicMissing
from eventwire.message import Message
from eventwire.transports import DECLARE_IT
from eventwire.transports.amqp import codec, frames, names
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.confirms import ChannelLost, ConfirmChannel
from eventwire.transports.amqp.connection import calling, dial, hang_up, open_channel
from eventwire.transports.amqp.marks import Mark
from eventwire.transports.amqp.settings import Settings

_ANSWER = 5.0
"""Seconds that the broker has for anything asked here."""


class Notes:
    """Writes and reads; what was lost is opened again at the next use. All raise BrokerError, within seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: aio_pika.Connection | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._channel: Channel | None = None
        self._confirms: ConfirmChannel | None = None
        self._numbers = itertools.count()
        self._read: dict[str, tuple[ConfirmChannel, int]] = {}

    async def read(self, queue: str) -> Mark:
        """The queue's mark. It stays at the broker until another is written."""
        async with self._calling(f"reading the mark of {queue}"):
            confirms, channel = await self._open()
            found = Mark()
            while (answer := await channel.basic_get(names.mark(queue))).delivery_tag:
                await self._forget(queue)
                self._read[queue] = (confirms, answer.delivery_tag)
                found = Mark.decoded(answer.body)
            return found

    async def write(self, queue: str, mark: Mark) -> None:
        """Replace the queue's mark; return when the broker has it. After an error the old or the new one is there."""
        identity = f"mark-{next(self._numbers)}"
        properties = frames.properties(frames.table(b""), b"application/json", identity.encode(), b"")
        try:
            async with self._calling(f"writing the mark of {queue}"):
                await self._send(names.mark(queue), properties, mark.encoded(), identity)
                await self._forget(queue)
        except BrokerError:
            await self._discard()
            raise

    async def _forget(self, queue: str) -> None:
        confirms, tag = self._read.pop(queue, (None, 0))
        if self._channel is not None and confirms is self._confirms:
            await self._channel.basic_ack(tag)

    async def pass_on(self, queue: str, message: Message, attempt: int) -> None:
        """Write a message to a queue; return when the broker has it there. `attempt`: how often it was delivered."""
        try:
            identity, _, properties = codec.encode(message, b"", next(self._numbers), attempt)
        except PublishError as error:  # a third party's: more headers than we write
            raise BrokerError(f"{queue}: {error}") from error
        async with self._calling(f"passing a message on to {queue}"):
            await self._send(queue, properties, message.body or b"", identity)

    async def _send(self, queue: str, properties: bytes, body: bytes, identity: str) -> None:
        confirms, _ = await self._open()
        while (same := confirms.in_flight(identity)) is not None:
            await asyncio.wait([same])
            confirms.forget(same)
        data = frames.publish(
            confirms.number,
            b"",
            queue.encode(),
            properties,
            body,
            mandatory=True,
            frame_max=confirms.frame_max,
        )
        confirmation = confirms.send(data, identity)
        try:
            await confirmation
        finally:
            confirms.forget(confirmation)

    async def _open(self) -> tuple[ConfirmChannel, Channel]:
        async with self._opening:
            if self._confirms is None or self._channel is None or self._confirms.lost:
                if self._connection is None or not self._connection.connected.is_set():
                    self._connection = await dial(self._settings, self._settings.producer)
                    await self._refuse_closed(self._connection)
                self._channel = await open_channel(self._connection, confirms=True)
                self._confirms = ConfirmChannel(self._channel)
            return self._confirms, self._channel

    @asynccontextmanager
    async def _calling(self, doing: str) -> AsyncGenerator[None, None]:
        async with calling(doing):
            try:
                async with asyncio.timeout(_ANSWER):
                    yield
            except TimeoutError as error:
                raise BrokerError(f"{doing}: no answer within {_ANSWER:.0f} s") from error
            except Returned as error:
                raise TopicMissing(f"{doing}: the queue is gone; {DECLARE_IT}") from error
            except DeliveryError as error:
                raise BrokerError(f"{doing}: RabbitMQ refused it (nack)") from error
            except ChannelLost as error:
                raise BrokerError(f"{doing}: the connection was lost: {error}") from error

    async def _discard(self) -> None:
        """Close the channel, so that what was read with it comes back to its queue."""
        channel, self._channel = self._channel, None
        if self._confirms:
            await self._confirms.close()
        if channel is not None:
            with suppress(BrokerError, TimeoutError):
                async with asyncio.timeout(_ANSWER), calling("closing a channel"):
                    await channel.close()

    async def _refuse_closed(self, connection: aio_pika.Connection) -> None:
        if self._closed:
            await hang_up(connection, _ANSWER)
            raise BrokerError("notes: the consumer was closed meanwhile")

    async def close(self, within: float) -> None:
        """Disconnect, within so many seconds."""
        self._closed = True
        if self._confirms:
            await self._confirms.close()
        connection, self._connection = self._connection, None
        if connection:
            await hang_up(connection, within)
