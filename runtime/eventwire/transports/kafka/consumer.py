"""Consuming: one member of a group, its assignments, commits and rebalances."""

from __future__ import annotations

import asyncio
import logging
import re
from asyncio import Future, Task
from collections.abc import Collection, Iterable, Mapping, Sequence

from aiokafka import ConsumerRebalanceListener, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from eventwire.errors import BrokerError, Closed, EventwireError, OffsetOutOfRange
from eventwire.policy import Start
from eventwire.transport import Subscription, TopicPartition
from eventwire.transports.kafka.assignment import AssignedPartition, KafkaDelivery
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.commits import Committer
from eventwire.transports.kafka.faults import describe
from eventwire.transports.kafka.logs import Outage
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.topics import topic_missing

log = logging.getLogger(__name__)

_POLL_MS = 1_000
_PLACED_WITHIN = 15.0
_COMMIT_WITHIN = 2.5
_FLUSH_WITHIN = 5.0
_DELETED_AFTER = 5.0


class KafkaConsumer:
    """One member of one group.

    aiokafka polls in a task of its own, so that a cancelled `fetch` leaves what was polled for the next one; that task
    also keeps the membership: aiokafka counts `max_poll_interval_ms` from the end of the last poll.
    """

    def __init__(self, client: Client, subscription: Subscription, drain: float) -> None:
        self._client = client
        self._subscription = subscription
        self._drain = drain
        self._names = {kafka_name(topic.name): topic.name for topic in subscription.topics}
        self._assigned: dict[KafkaPartition, AssignedPartition] = {}
        self._released: list[KafkaDelivery] = []
        self._polling: Task[dict[KafkaPartition, list[ConsumerRecord]]] | None = None
        self._woken: Future[None] = asyncio.get_running_loop().create_future()
        self._placed = asyncio.Event()
        self._giving_up = False
        self._absent_since: float | None = None
        self._failure: EventwireError | None = None
        self._outage = Outage(subscription.group)
        self._committer = Committer(client, subscription.group, self._assigned)
        self._committing: Task[None] | None = None
        self._closing: Task[None] | None = None

    @property
    def lost_commits(self) -> int:
        """How many positions could not be committed because their partition was lost; they are read again."""
        return self._committer.lost

    async def join(self) -> None:
        """Subscribe. For `Start.LATEST` wait until the positions are known: what comes after will be read."""
        pattern = f"^(?:{'|'.join(map(re.escape, self._names))})$"
        # By pattern, aiokafka asks for the metadata of all topics; by name, it would make brokers create them.
        self._client.subscribe(pattern=pattern, listener=_Listener(self))
        self._committing = asyncio.create_task(
            self._committer.commit_every(self._subscription.commit_interval)
        )
        self._committing.add_done_callback(self._commits_ended)
        if self._subscription.start is Start.LATEST:
            await self._placed.wait()
            self._raise_failure()

    async def fetch(self, limit: int) -> Sequence[KafkaDelivery]:
        """Wait for records and return up to `limit` deliveries, released ones first."""
        while True:
            self._raise_failure()
            if self._released and not self._giving_up and (again := self._given_back(limit)):
                return again
            polled = await self._poll(limit)
            self._outage.look(connected=bool(polled) or self._client.connected())
            if not polled:
                self._look_around()
            elif deliveries := self._accept(polled, limit):
                return deliveries

    async def flush(self) -> None:
        """Commit every position that moved. Raises BrokerError, after 5 seconds also when no broker answers."""
        await self._committer.commit_within(_FLUSH_WITHIN)

    async def close(self) -> None:
        """Commit, leave the group, disconnect; within about 5 seconds also when the broker is gone."""
        if self._closing is None:
            self._fail(Closed("the consumer was closed"))
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._committer.commit_if_possible(_COMMIT_WITHIN)
        if self._committing is not None:
            self._committing.cancel()
        self._abandon()
        await self._client.end()
        if self._polling is not None:
            self._polling.cancel()  # one that began in a rebalance waits for an assignment that never comes now
            await asyncio.gather(self._polling, return_exceptions=True)

    # Polling

    async def _poll(self, limit: int) -> Mapping[KafkaPartition, Sequence[ConsumerRecord]]:
        if self._polling is None:
            self._polling = asyncio.create_task(
                self._client.getmany(timeout_ms=_POLL_MS, max_records=limit), name="eventwire-kafka-poll"
            )
        polling = self._polling
        await asyncio.wait(
            (polling, self._woken), timeout=_POLL_MS / 1000, return_when=asyncio.FIRST_COMPLETED
        )
        if self._woken.done():
            self._woken = asyncio.get_running_loop().create_future()
        if not polling.done() or polling is not self._polling:
            return {}
        self._polling = None
        return self._polled(polling)

    def _polled(
        self, polling: Task[dict[KafkaPartition, list[ConsumerRecord]]]
    ) -> Mapping[KafkaPartition, Sequence[ConsumerRecord]]:
        match polling.exception():
            case None:
                return polling.result()
            case NoOffsetForPartitionError():  # positions are being looked up in _place
                return {}
            case OffsetOutOfRangeError() as error:
                raise self._out_of_range(error) from error
            case ConsumerStoppedError() as error:
                raise Closed("the consumer was closed") from error
            case error:
                # aiokafka drops what it had polled from other partitions: reading on would skip that.
                self._fail(
                    BrokerError(f"group `{self._subscription.group}` cannot read on: {describe(error)}"),
                    error,
                )
                self._raise_failure()
                return {}

    def _accept(
        self, polled: Mapping[KafkaPartition, Sequence[ConsumerRecord]], limit: int
    ) -> Sequence[KafkaDelivery]:
        """Records of a partition that has no position yet are dropped: placing it seeks back to them."""
        deliveries: list[KafkaDelivery] = []
        for partition, records in polled.items():
            if assigned := self._assigned.get(partition):
                deliveries += assigned.take(records, limit - len(deliveries))
        return deliveries

    def _given_back(self, limit: int) -> Sequence[KafkaDelivery]:
        live = sorted(
            (delivery for delivery in self._released if delivery.live),
            key=lambda delivery: (delivery.message.topic, delivery.partition, delivery.offset),
        )
        self._released = live[limit:]
        return live[:limit]

    def _give_back(self, delivery: KafkaDelivery) -> None:
        self._released.append(delivery)
        self._wake()

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    # Failing

    def _look_around(self) -> None:
        """Find what a quiet poll may hide: the fetching task is dead, or a topic was deleted."""
        if error := self._client.fetching_ended():
            self._fail(
                BrokerError(f"group `{self._subscription.group}` cannot read on: {describe(error)}"), error
            )
        absent = [name for known, name in self._names.items() if not self._client.partitions_for_topic(known)]
        now = asyncio.get_running_loop().time()
        if not absent:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = now
        elif now - self._absent_since > _DELETED_AFTER:
            raise topic_missing(*absent)

    def _fail(self, failure: EventwireError, cause: BaseException | None = None) -> None:
        """Let this and every later `fetch` raise `failure`; the first one stays, but for Closed."""
        if self._failure is None or isinstance(failure, Closed):
            failure.__cause__ = cause
            self._failure = failure
        self._placed.set()
        self._wake()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _out_of_range(self, error: OffsetOutOfRangeError) -> OffsetOutOfRange:
        ((partition, offset),) = error.args[0].items()
        name = self._names.get(partition.topic, partition.topic)
        return OffsetOutOfRange(
            f"group `{self._subscription.group}` is at offset {offset} of `{name}` partition {partition.partition}, "
            "which the log no longer has (or, after a loss at the broker, not yet): what lies between is lost to it. "
            "Reset the group's offsets to go on"
        )

    # Rebalances, called by aiokafka's coordination task, which only logs what they raise

    async def revoke(self) -> None:
        """Give all partitions up: let the subscriber finish, commit, forget."""
        self._giving_up = True
        if self._polling is not None and self._polling.done():
            self._polling.exception()
            self._polling = None  # polled and never handed out: whoever is next reads it again
        if self._assigned:
            await self._finish_handling()
            await self._committer.commit_if_possible(_COMMIT_WITHIN)
        self._abandon()
        self._giving_up = False

    async def _finish_handling(self) -> None:
        given_up = [TopicPartition(assigned.topic, assigned.number) for assigned in self._assigned.values()]
        finishing = asyncio.ensure_future(self._subscription.on_revoke(given_up))
        await asyncio.wait([finishing], timeout=self._drain)
        if not finishing.done():
            log.warning(
                "handlers of %s did not end within %g s: their events are read again", given_up, self._drain
            )
            finishing.cancel()
            await asyncio.wait([finishing], timeout=1)
        elif not finishing.cancelled() and (error := finishing.exception()):
            self._fail(BrokerError(f"giving partitions up failed: {describe(error)}"), error)

    def _abandon(self) -> None:
        for assigned in self._assigned.values():
            assigned.live = False
        self._assigned.clear()
        self._released.clear()

    async def place(self, partitions: Collection[KafkaPartition]) -> None:
        """Begin where the group stands, or where its subscription starts if it stands nowhere."""
        try:
            async with asyncio.timeout(_PLACED_WITHIN):
                committed = await self._committed(partitions)
                fresh = await self._fresh([partition for partition, at in committed.items() if at is None])
        except (KafkaError, TimeoutError) as error:
            group = self._subscription.group
            self._fail(
                BrokerError(f"Kafka does not tell where group `{group}` stands: {describe(error)}"), error
            )
            return
        for partition, at in committed.items():
            self._assign(partition, fresh[partition] if at is None else at, at)
        self._placed.set()

    async def _committed(self, partitions: Collection[KafkaPartition]) -> Mapping[KafkaPartition, int | None]:
        found = await asyncio.gather(*map(self._client.committed, partitions))
        return dict(zip(partitions, found, strict=True))

    async def _fresh(self, partitions: list[KafkaPartition]) -> Mapping[KafkaPartition, int]:
        if not partitions:
            return {}
        if self._subscription.start is Start.LATEST:
            return await self._client.end_offsets(partitions)
        return await self._client.beginning_offsets(partitions)

    def _assign(self, partition: KafkaPartition, position: int, committed: int | None) -> None:
        self._client.seek(partition, position)
        self._assigned[partition] = AssignedPartition(
            self._client,
            partition,
            self._names[partition.topic],
            position=position,
            committed=committed,
            max_uncommitted=self._subscription.max_uncommitted,
            give_back=self._give_back,
        )

    def _commits_ended(self, committing: Task[None]) -> None:
        if not committing.cancelled() and (error := committing.exception()):
            self._fail(BrokerError(describe(error)), error)


class _Listener(ConsumerRebalanceListener):
    """aiokafka's view of the consumer."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:  # noqa: ARG002 - it is all of them
        await self._consumer.revoke()

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        await self._consumer.place(assigned)
