"""Topics and partitions as lists of encoded messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventwire.message import Message
from eventwire.partition import partition_of
from eventwire.transport import TopicPartition, TopicSpec


class Reader(Protocol):
    """Who waits for messages of a partition."""

    def wake(self) -> None:
        """Look again: there may be something to read."""
        ...


class PartitionLog:
    """One partition: the messages from offset `base` on, and the members that read them now."""

    __slots__ = ("at", "base", "messages", "readers")

    def __init__(self, at: TopicPartition) -> None:
        self.at = at
        self.base = 0
        self.messages: list[Message] = []
        self.readers: list[Reader] = []

    @property
    def end(self) -> int:
        """The offset that the next message gets."""
        return self.base + len(self.messages)

    def read(self, start: int, limit: int) -> Sequence[Message]:
        """Up to `limit` messages from offset `start` on."""
        first = start - self.base
        return self.messages[first : first + limit]

    def drop_before(self, offset: int, enough: int) -> int:
        """Drop messages below `offset`, oldest first, until `enough` bytes are freed; return how many."""
        freed = count = 0
        for message in self.messages[: max(0, offset - self.base)]:
            if freed >= enough:
                break
            freed += size_of(message)
            count += 1
        del self.messages[:count]
        self.base += count
        return freed


class TopicLog:
    """One topic's partitions."""

    __slots__ = ("name", "partitions", "turn")

    def __init__(self, spec: TopicSpec) -> None:
        self.name = spec.name
        self.partitions = [
            PartitionLog(TopicPartition(spec.name, number)) for number in range(spec.partitions)
        ]
        self.turn = 0

    def place(self, key: bytes | None) -> PartitionLog:
        """Choose the partition for a key; without one, each in turn."""
        count = len(self.partitions)
        if count == 1:
            return self.partitions[0]
        if key is not None:
            return self.partitions[partition_of(key, count)]
        self.turn = (self.turn + 1) % count
        return self.partitions[self.turn]


def size_of(message: Message) -> int:
    """Count a message's bytes: body, key, and headers."""
    size = len(message.body or b"") + len(message.key or b"")
    for name, value in message.headers:
        size += len(name) + len(value)
    return size
