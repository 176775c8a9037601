"""The broker itself: logs of encoded messages, and the bound on their bytes.

The rule of the bound: history is kept for groups that come later, until a publish would pass `max_bytes`.
Then what every group of its topic has committed is dropped, oldest first in each partition, until an eighth of
the bound is free. What a group has not committed, or what no group reads yet, is never dropped: the publish
waits instead. Queue topics pass the bound: a dead letter that waited for room would keep its event from being settled,
and so the room from becoming free.
"""

from __future__ import annotations

import asyncio

from eventwire.errors import TooLarge, TopicMismatch
from eventwire.message import Message, Receipt
from eventwire.transport import TopicPartition, TopicSpec
from eventwire.transports.memory.group import Group
from eventwire.transports.memory.inline import Inline
from eventwire.transports.memory.logs import PartitionLog, TopicLog, size_of


class Broker:
    """What all transports of one name share. Belongs to one event loop at a time; nothing in it blocks."""

    def __init__(self, *, max_body: int, max_bytes: int, inline: bool) -> None:
        self.max_body = max_body
        self.max_bytes = max_bytes
        self.settings = (max_body, max_bytes, inline)
        self.inline = Inline() if inline else None
        self.users = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._topics: dict[str, TopicLog] = {}
        self._groups: dict[str, Group] = {}
        self._bytes = 0
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._progress = asyncio.Event()

    def topic(self, spec: TopicSpec) -> TopicLog:
        """Find the topic, or make it. Raises TopicMismatch for another number of partitions."""
        log = self._topics.get(spec.name)
        if log is None:
            log = self._topics[spec.name] = TopicLog(spec)
        self._match(log, spec)
        return log

    def check(self, spec: TopicSpec) -> None:
        """Raise TopicMismatch if the topic is there with another number of partitions."""
        if (log := self._topics.get(spec.name)) is not None:
            self._match(log, spec)

    def group(self, name: str) -> Group:
        """Find the group, or make it."""
        if (group := self._groups.get(name)) is None:
            group = self._groups[name] = Group(name, self.inline, self._moved)
        return group

    def publish(self, spec: TopicSpec, message: Message) -> tuple[PartitionLog, int] | None:
        """Write the message and return its place; None when it has to wait for room. Raises TooLarge."""
        size = size_of(message)
        if size > self.max_body:
            self._check_size(message, size)
        log = self.topic(spec)
        if not spec.queue and (
            self._waiting or (self._bytes + size > self.max_bytes and not self._free(size))
        ):
            return None
        return self._write(log, message, size)

    async def publish_in_turn(self, spec: TopicSpec, message: Message) -> tuple[PartitionLog, int]:
        """Wait for room, in the order of the calls, then write the message."""
        size = size_of(message)
        self._waiting += 1
        try:
            async with self._turn:
                while self._bytes + size > self.max_bytes and not self._free(size):
                    self._progress.clear()
                    await self._progress.wait()
                return self._write(self.topic(spec), message, size)
        finally:
            self._waiting -= 1

    def receipt(self, place: tuple[PartitionLog, int], message: Message) -> Receipt:
        """Make what the publisher gets."""
        log, offset = place
        return Receipt(log.at.topic, message.id, log.at.partition, offset)

    def lag(self, spec: TopicSpec, group: str) -> int:
        """Count what the group has not settled of the topic; all that is kept, when it never read it."""
        known = self._groups.get(group)
        positions = ((log, known.position(log.at) if known else None) for log in self.topic(spec).partitions)
        return sum(log.end - (log.base if position is None else position) for log, position in positions)

    def groups_of(self, topic: str) -> list[str]:
        """Name the groups with a member that reads the topic now."""
        return [name for name, group in self._groups.items() if group.reads(topic)]

    def _write(self, topic: TopicLog, message: Message, size: int) -> tuple[PartitionLog, int]:
        log = topic.place(message.key)
        offset = log.base + len(log.messages)
        log.messages.append(message)
        self._bytes += size
        for reader in log.readers:
            reader.wake()
        return log, offset

    def _check_size(self, message: Message, size: int) -> None:
        body = len(message.body or b"")
        if body > self.max_body:
            text = f"a body of {body:,} bytes is above this broker's {self.max_body:,}"
            raise TooLarge(f"{message.topic}: {text} (`max_body` of the memory URL)", message)
        if size > self.max_bytes:
            text = f"a message of {size:,} bytes is above all of this broker's {self.max_bytes:,}"
            raise TooLarge(f"{message.topic}: {text} (`max_bytes` of the memory URL)", message)

    def _free(self, size: int) -> bool:
        enough = self._bytes + size - self.max_bytes + self.max_bytes // 8
        for topic in self._topics.values():
            for log in topic.partitions:
                if enough <= 0:
                    break
                freed = log.drop_before(self._read_by_all(log.at), enough)
                self._bytes -= freed
                enough -= freed
        return self._bytes + size <= self.max_bytes

    def _read_by_all(self, at: TopicPartition) -> int:
        positions = [group.position(at) for group in self._groups.values()]
        return min((position for position in positions if position is not None), default=0)

    def _moved(self) -> None:
        if self._waiting:
            self._progress.set()

    def _match(self, log: TopicLog, spec: TopicSpec) -> None:
        if len(log.partitions) != spec.partitions:
            text = (
                f"topic {spec.name} has {len(log.partitions)} partitions here and {spec.partitions} declared"
            )
            raise TopicMismatch(f"{text}: publishers and readers of one memory broker must agree")
