"""What an application published, for its tests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TypeVar

from eventwire.errors import PublishError
from eventwire.message import Message, Receipt
from eventwire.middleware.base import Middleware, PublishNext
from eventwire.topic import Topic
from eventwire.transport import Features
from eventwire.wire.reader import Reader

E = TypeVar("E")


class Recorder(Middleware):
    """Give it to a bus (`Bus(url, middleware=[recorder])`); it keeps everything that is published through it.

    A failed publish (PublishError) is not kept. `features` are those of the bus's transport.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self._messages: dict[str, list[Message]] = defaultdict(list)
        self._changed = asyncio.Event()

    async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
        """Keep the message from the moment it is published: an inline publish returns after what it causes."""
        kept = self._messages[message.topic]
        kept.append(message)
        self._changed.set()
        try:
            return await call_next(message)
        except PublishError:
            self._messages[message.topic] = [each for each in kept if each is not message]
            raise

    def messages(self, topic: Topic[E]) -> list[Message]:
        """The topic's messages as the broker has them, in the order they were published: for headers and keys."""
        return list(self._messages[topic.name])

    def published(self, topic: Topic[E]) -> list[E]:
        """The topic's events, in the order they were published; a tombstone is None. Raises ReadError."""
        reader = Reader(topic, self._features)
        incoming = [reader.read(message) for message in self._messages[topic.name]]
        return [None if each.data is None else each.decode() for each in incoming]  # type: ignore[misc]  # the caller names the type

    async def settled(self, topic: Topic[E], count: int, within: float = 5.0) -> list[E]:
        """Wait until `count` events were published to the topic, and return them.

        For work in the background; an inline publish needs no waiting. Raises TimeoutError after `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                while len(self._messages[topic.name]) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            found = len(self._messages[topic.name])
            raise TimeoutError(f"{found} of {count} events of {topic.name} within {within:g} s") from error
        return self.published(topic)
