"""A channel that publishes with confirms, many at once.

aiormq keeps the confirms, the frames are ours: all publishes of one turn of the event loop go to the socket in one
write. That costs a third of `Channel.basic_publish`, which sends each by itself through a lock.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiormq.abc import ChannelFrame

from eventwire.transports.amqp.client import Channel

_BUFFER = 1024 * 1024
"""Bytes that wait for the socket before publishers have to."""


class Confirmation(asyncio.Future[Any]):
    """The broker's answer to one publish.

    aiormq sets it without looking whether its waiter was cancelled, which would end aiormq's reader; and nobody may be
    left who retrieves an error.
    """

    def __init__(self, identity: str, tag: int) -> None:
        super().__init__()
        self.identity = identity
        self.tag = tag

    def set_result(self, result: Any, /) -> None:
        """Settle it, unless nobody waits any more."""
        if not self.done():
            super().set_result(result)

    def set_exception(self, exception: type | BaseException, /) -> None:
        """Fail it, unless nobody waits any more."""
        if not self.done():
            super().set_exception(exception)
            self.exception()


class ChannelLost(Exception):
    """The channel closed before the broker confirmed."""


class ConfirmChannel:
    """Publishes on one aiormq channel. `lost` is true once the channel closed: it never opens again."""

    def __init__(self, channel: Channel) -> None:
        self.number = channel.number
        self.frame_max = channel.connection.connection_tune.frame_max
        self.lost: ChannelLost | None = None
        self._channel = channel
        self._frames: list[bytes] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._writer = asyncio.create_task(self._write())
        self._closing = channel.closing
        self._closing.add_done_callback(self._on_close)

    @property
    def has_room(self) -> bool:
        """Whether the socket keeps up."""
        return self._size <= _BUFFER

    def in_flight(self, identity: str) -> Confirmation | None:
        """The unconfirmed publish of this message id, if there is one."""
        tag = self._channel.message_id_delivery_tag.get(identity)
        found = None if tag is None else self._channel.confirmations.get(tag)
        return found if isinstance(found, Confirmation) else None

    async def room(self) -> None:
        """Wait until the socket took what was given to it."""
        await self._room.wait()

    def send(self, frames: bytes, identity: str) -> Confirmation:
        """Hand the frames of one publish to the socket, in the order of the calls.

        No other publish of the same message id may be in flight: a returned message is known by nothing else.
        """
        channel = self._channel
        confirmation = Confirmation(identity, channel.delivery_tag + 1)
        if self.lost:
            confirmation.set_exception(self.lost)
            return confirmation
        channel.delivery_tag = confirmation.tag
        channel.confirmations[confirmation.tag] = confirmation
        channel.message_id_delivery_tag[identity] = confirmation.tag
        self._frames.append(frames)
        self._size += len(frames)
        if not self.has_room:
            self._room.clear()
        self._filled.set()
        return confirmation

    def forget(self, confirmation: Confirmation) -> None:
        """The message id of a publish that was answered, or that nobody waits for, is free again."""
        identities = self._channel.message_id_delivery_tag
        if identities.get(confirmation.identity) == confirmation.tag:
            del identities[confirmation.identity]

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while await self._filled.wait():
            self._filled.clear()
            payload = b"".join(self._frames)
            self._frames.clear()
            self._size = 0
            written = loop.create_future()
            await self._channel.write_queue.put(
                ChannelFrame(payload, should_close=False, drain_future=written)
            )
            await written
            self._room.set()

    def _on_close(self, closing: asyncio.Future[None]) -> None:
        self._fail(
            "the transport was closed" if closing.cancelled() else str(closing.exception() or "closed")
        )

    def _fail(self, why: str) -> None:
        self.lost = ChannelLost(why)
        self._writer.cancel()
        self._room.set()
        for confirmation in self._channel.confirmations.values():
            if isinstance(confirmation, Confirmation):
                confirmation.set_exception(self.lost)

    async def close(self) -> None:
        """Fail what is unconfirmed and stop writing."""
        self._closing.remove_done_callback(self._on_close)
        self._closing.cancel()
        if not self.lost:
            self._fail("the transport was closed")
        await asyncio.gather(self._writer, return_exceptions=True)
