"""One assignment of one partition, and the deliveries read under it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition

from eventwire.message import Message
from eventwire.offsets import OffsetTracker
from eventwire.transports.kafka.notes import Suspicion
from eventwire.transports.kafka.records import read_headers


class KafkaDelivery:
    """A record handed out. The first of `ack` and `release` counts; both do nothing once the partition is lost."""

    __slots__ = ("_assigned", "_open", "attempt", "deaths", "message", "offset", "partition")

    def __init__(
        self, assigned: AssignedPartition, message: Message, offset: int, attempt: int, deaths: int = 0
    ) -> None:
        self._assigned = assigned
        self._open = True
        self.message = message
        self.partition = assigned.number
        self.offset: int | None = offset
        self.attempt = attempt
        self.deaths = deaths

    @property
    def live(self) -> bool:
        """Whether the partition is still ours, under the assignment it was read in."""
        return self._assigned.live

    def ack(self, error: Exception | None = None) -> None:  # noqa: ARG002 - the protocol's; Kafka keeps no reasons
        """Settle it: the next commit may pass it."""
        if self._open and self.offset is not None:
            self._open = False
            self._assigned.settle(self.offset)

    def release(self) -> None:
        """Hand it out again at the next fetch, as one attempt more."""
        if self._open and self.offset is not None:
            self._open = False
            self._assigned.take_back(
                KafkaDelivery(self._assigned, self.message, self.offset, self.attempt + 1, self.deaths)
            )

    @property
    def open(self) -> bool:
        """Whether it was neither acked nor released."""
        return self._open


class Hooks(NamedTuple):
    """What a partition asks of the consumer that has it."""

    give_back: Callable[[KafkaDelivery], None]
    """Hand this one out."""
    commit_soon: Callable[[], None]
    """Commit without waiting for the interval: something must be at the broker before it is handed out."""
    wake: Callable[[], None]
    """Look again what may be handed out."""


class AssignedPartition:
    """Keeps the commit position and the span of one partition while it is ours.

    A partition is paused when its span reaches `max_uncommitted` and resumed at half of it. What a poll brought beyond
    is not kept: the client seeks back to it. In suspect mode it is kept, since seeking back costs up to half a second:
    one record at a time is handed out. When that is strict it is held until the member has nothing else in hand.
    """

    __slots__ = (
        "_client",
        "_gate",
        "_held",
        "_highest",
        "_hooks",
        "_kafka",
        "_max_uncommitted",
        "_tracker",
        "_waiting",
        "committed",
        "leaving",
        "live",
        "number",
        "paused",
        "suspicion",
        "topic",
    )  # fmt: skip

    def __init__(
        self,
        client: AIOKafkaConsumer,
        partition: KafkaPartition,
        topic: str,
        *,
        position: int,
        committed: OffsetAndMetadata | None,
        max_uncommitted: int,
        suspicion: Suspicion,
        hooks: Hooks,
    ) -> None:
        self._client = client
        self._kafka = partition
        self._tracker = OffsetTracker(position)
        self._highest = position - 1
        self._max_uncommitted = max_uncommitted
        self._hooks = hooks
        self._held: KafkaDelivery | None = None
        self._waiting: deque[ConsumerRecord] = deque()
        self._gate = False
        """Suspect mode is over, and the broker does not know it yet."""
        self.paused = False
        self.topic = topic
        self.number = partition.partition
        self.suspicion = suspicion
        self.committed = committed
        """What is at the broker; None where it has nothing, or a commit is under way or failed: then either may be."""
        self.live = True
        self.leaving = False
        """The partition is given up: nothing of it is being handled, and the next commit says so."""

    @property
    def position(self) -> int:
        """What to commit: everything below it is settled."""
        return self._tracker.position

    @property
    def full(self) -> bool:
        """Whether nothing more is handed out until something is settled."""
        return self.paused and self.suspicion.until is None

    @property
    def suspect(self) -> bool:
        """Whether records are handed out one by one."""
        return self.suspicion.until is not None

    @property
    def exclusive(self) -> bool:
        """Whether nothing may be handed out beside what is suspect here, or the broker may still say that it is."""
        return self.suspicion.strict and (self.suspicion.until is not None or self._gate)

    @property
    def held(self) -> KafkaDelivery | None:
        """The strict suspect that waits to be handed out by `pass_out`."""
        return self._held

    @property
    def recorded(self) -> bool:
        """Whether the broker knows where the partition stands, and who is alone there."""
        return self.due() is None

    @property
    def unsettled(self) -> int:
        """How many offsets wait to be settled: those in hand, and those that were given back."""
        return len(self._tracker.unsettled()) - (self._held is not None)

    def due(self) -> OffsetAndMetadata | None:
        """What to commit, if that is not at the broker yet."""
        position = self._tracker.position
        due = OffsetAndMetadata(position, self.suspicion.note(position, leaving=self.leaving))
        return due if due != self.committed else None

    def writing(self) -> None:
        """Note that a commit is under way: should it fail, the broker may have it nevertheless."""
        self.committed = None

    def written(self, commit: OffsetAndMetadata) -> None:
        """Note that a commit is at the broker, and go on with what waited for it."""
        self.committed = commit
        if self.leaving or not self.live:
            return
        if self.exclusive:
            self._hooks.wake()
        if self._gate and self.suspicion.allows_many(commit.metadata):
            self._gate = False
            self._resume()

    def take(self, records: Sequence[ConsumerRecord], room: int) -> list[KafkaDelivery]:
        """Deliveries of the first `room` records that the span allows; the client seeks back to the rest."""
        if self.suspicion.until is not None or self._gate:
            self._take_one_by_one(records)
            return []
        last = self._ceiling(records[0].offset)
        if len(records) > room or records[-1].offset > last:
            records = self._cut(records, room, last)
        deliveries = [self._delivery(record) for record in records]
        if self._tracker.span >= self._max_uncommitted:
            self._pause()
        return deliveries

    def settle(self, offset: int) -> None:
        """Note that the offset is done, if the partition is still ours."""
        if self.live and self._tracker.settle(offset) and self.paused:
            self._go_on()

    def take_back(self, delivery: KafkaDelivery) -> None:
        """A delivery comes again: it is not being handled any more."""
        self.suspicion.alone = None
        if self.live:
            self._offer(delivery)

    def pass_out(self) -> KafkaDelivery | None:
        """Hand out what is held."""
        held, self._held = self._held, None
        return held

    def skip_to(self, position: int) -> None:
        """Nothing is in flight and the log goes on at `position`: below it there is nothing (a transaction's end)."""
        if (
            self._held is None
            and not self._waiting
            and not self._tracker.span
            and position > self._tracker.position
        ):
            self._tracker.position = position
            if self.suspicion.ends_at(position):
                self._end_suspicion()

    # Suspect mode

    def _take_one_by_one(self, records: Sequence[ConsumerRecord]) -> None:
        self._pause()
        if self._gate:
            self._client.seek(self._kafka, records[0].offset)
            return
        self._waiting.extend(records)
        if self._held is None and not self._tracker.span:
            self._next()

    def _next(self) -> None:
        """Nothing is in flight: hold the next record, or read on."""
        following = self._waiting[0].offset if self._waiting else self._tracker.position
        if self.suspicion.ends_at(following):
            self._end_suspicion()
        elif self._waiting:
            self._offer(self._delivery(self._waiting.popleft()))
        else:
            self._resume()

    def _offer(self, delivery: KafkaDelivery) -> None:
        """Hand it out, or let the member say when."""
        if not self.exclusive:
            self._hooks.give_back(delivery)
            return
        self._held = delivery
        self._hooks.wake()

    def _end_suspicion(self) -> None:
        self.suspicion.until = None
        self._gate = True
        self._pause()
        if self._waiting:
            self._client.seek(self._kafka, self._waiting[0].offset)
            self._waiting.clear()
        self._hooks.commit_soon()

    def _go_on(self) -> None:
        """The position moved while the partition was paused."""
        if self.suspicion.until is None:
            if self._tracker.span <= self._max_uncommitted // 2 and not self._gate:
                self._resume()
            return
        self.suspicion.alone = None
        self._next()
        if self.exclusive and self._held is None:
            self._hooks.commit_soon()  # who was alone is charged until the broker knows that he is settled

    # Records

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
        if self.suspicion.until is None:
            return KafkaDelivery(self, message, record.offset, 1)
        deaths = self.suspicion.deaths(record.offset)
        return KafkaDelivery(self, message, record.offset, 1 + deaths, deaths)

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._client.pause(self._kafka)

    def _resume(self) -> None:
        if self.paused:
            self.paused = False
            self._client.resume(self._kafka)
