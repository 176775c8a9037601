"""One assignment of one partition, and the deliveries read under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition

from eventwire.message import Message
from eventwire.offsets import OffsetTracker
from eventwire.transports.kafka.records import read_headers


class KafkaDelivery:
    """A record handed out. The first of `ack` and `release` counts; both do nothing once the partition is lost."""

    __slots__ = ("_assigned", "_open", "attempt", "message", "offset", "partition")

    def __init__(self, assigned: AssignedPartition, message: Message, offset: int, attempt: int) -> None:
        self._assigned = assigned
        self._open = True
        self.message = message
        self.partition = assigned.number
        self.offset: int | None = offset
        self.attempt = attempt

    @property
    def live(self) -> bool:
        """Whether the partition is still ours, under the assignment it was read in."""
        return self._assigned.live

    deaths = 0

    def ack(self, error: Exception | None = None) -> None:  # noqa: ARG002 - the protocol's; Kafka keeps no reasons
        """Settle it: the next commit may pass it."""
        if self._open and self.offset is not None:
            self._open = False
            self._assigned.settle(self.offset)

    def release(self) -> None:
        """Hand it out again at the next fetch, as one attempt more."""
        if self._open and self.offset is not None:
            self._open = False
            self._assigned.give_back(
                KafkaDelivery(self._assigned, self.message, self.offset, self.attempt + 1)
            )


class AssignedPartition:
    """Keeps the commit position and the span of one partition while it is ours.

    A partition is paused when its span reaches `max_uncommitted` and resumed at half of it. What a poll brought beyond
    is not kept: the client seeks back to it.
    """

    __slots__ = (
        "_client", "_highest", "_kafka", "_max_uncommitted", "_paused", "_tracker", "committed", "give_back", "live",
        "number", "topic",
    )  # fmt: skip

    def __init__(
        self,
        client: AIOKafkaConsumer,
        partition: KafkaPartition,
        topic: str,
        *,
        position: int,
        committed: int | None,
        max_uncommitted: int,
        give_back: Callable[[KafkaDelivery], None],
    ) -> None:
        self._client = client
        self._kafka = partition
        self._tracker = OffsetTracker(position)
        self._highest = position - 1
        self._max_uncommitted = max_uncommitted
        self._paused = False
        self.topic = topic
        self.number = partition.partition
        self.committed = committed
        """The position that is at the broker; None for a group that had none."""
        self.give_back = give_back
        self.live = True

    @property
    def position(self) -> int:
        """What to commit: everything below it is settled."""
        return self._tracker.position

    def take(self, records: Sequence[ConsumerRecord], room: int) -> list[KafkaDelivery]:
        """Deliveries of the first `room` records that the span allows; the client seeks back to the rest."""
        last = self._ceiling(records[0].offset)
        if len(records) > room or records[-1].offset > last:
            records = self._cut(records, room, last)
        deliveries = [self._delivery(record) for record in records]
        if self._tracker.span >= self._max_uncommitted:
            self._pause()
        return deliveries

    def settle(self, offset: int) -> None:
        """Note that the offset is done, if the partition is still ours."""
        if (
            self.live
            and self._tracker.settle(offset)
            and self._paused
            and self._tracker.span <= self._max_uncommitted // 2
        ):
            self._paused = False
            self._client.resume(self._kafka)

    def _ceiling(self, first: int) -> int:
        """The highest offset that may be handed out, if `first` is the next."""
        span = self._tracker.span
        lowest = self._highest - span + 1 if span else first
        return lowest + self._max_uncommitted - 1

    def _cut(self, records: Sequence[ConsumerRecord], room: int, last: int) -> Sequence[ConsumerRecord]:
        keep = 0
        while keep < min(room, len(records)) and records[keep].offset <= last:
            keep += 1
        if keep < len(records):
            self._client.seek(self._kafka, records[keep].offset)
            if records[keep].offset > last:
                self._pause()
        return records[:keep]

    def _delivery(self, record: ConsumerRecord) -> KafkaDelivery:
        self._highest = record.offset
        self._tracker.fetched(record.offset)
        headers, content_type = read_headers(record.headers)
        message = Message(self.topic, record.value, record.key, headers, content_type)
        return KafkaDelivery(self, message, record.offset, 1)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._client.pause(self._kafka)
