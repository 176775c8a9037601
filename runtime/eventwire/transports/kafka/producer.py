"""Publishing: one idempotent producer at a time, replaced when it is lost."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerClosed,
)
from aiokafka.structs import RecordMetadata

from eventwire.errors import BrokerError, Closed, InvalidEvent, PublishError, PublishFailed
from eventwire.message import Message, Receipt
from eventwire.partition import partition_of
from eventwire.transport import TopicSpec
from eventwire.transports.kafka.faults import describe, publish_error
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.records import write_headers
from eventwire.transports.kafka.topics import topic_missing

log = logging.getLogger(__name__)

_FLUSH = 2.5
_HALT = 0.5
_STILL_USABLE = (MessageSizeTooLargeError, KafkaTimeoutError, ProducerClosed)
"""What `send` raises about one message, not about the producer."""

_Sent: TypeAlias = "tuple[Producer, Future[RecordMetadata]]"


class Producer(AIOKafkaProducer):
    """aiokafka's producer that knows partition counts without asking and can end without its broker.

    Its metadata covers all topics, since a request that names one makes brokers create it.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._counts: dict[str, int] = {}
        self.client.cluster.add_listener(self._forget)

    def _forget(self, _: ClusterMetadata) -> None:
        self._counts.clear()

    def partitions(self, name: str) -> int:
        """The topic's partition count as of the newest metadata; 0 for a topic that is not there."""
        if found := self._counts.get(name):
            return found
        known = self.client.cluster.partitions_for_topic(name)
        if known:
            self._counts[name] = len(known)
        return len(known or ())

    async def open(self) -> None:
        """Connect, get a producer id and all metadata. Leaves nothing behind when it fails or is cancelled."""
        try:
            await self.start()
            await self.refresh()
        except BaseException:
            await self.halt()
            raise

    async def refresh(self) -> None:
        """Read the metadata of all topics. Raises KafkaConnectionError."""
        if not await self.client.force_metadata_update():
            raise KafkaConnectionError("the cluster's metadata cannot be read")

    async def finish(self) -> None:
        """Send what is waiting and disconnect; after some seconds disconnect without."""
        stopping = asyncio.create_task(self.stop())
        await asyncio.wait([stopping], timeout=_FLUSH)
        if not stopping.done():
            log.warning(
                "Kafka did not confirm everything in %g s: the outcome of the rest is unknown", _FLUSH
            )
            stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await self.halt()

    async def halt(self) -> None:
        """End now: nothing more is written, waiting publishes fail with ProducerClosed.

        aiokafka's own `stop` waits for an idempotent producer's batches for ever.
        """
        self._closed = True
        self._message_accumulator.fail_all(ProducerClosed())
        sender = self._sender.sender_task
        for _ in range(2):  # the first cancel lets requests on the wire come back, the second does not
            if sender is not None and not sender.done():
                sender.cancel()
                await asyncio.wait([sender], timeout=_HALT)
        await self.client.close()


class Publisher:
    """Publishes through one producer, made at the first publish. Its methods may be called concurrently."""

    def __init__(self, connect: Callable[[], Awaitable[Producer]]) -> None:
        self._connect = connect
        self._producer: Producer | None = None
        self._retired: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._turn = count()
        self._closed = False

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write one message. Cancelling it while its batch waits leaves the batch to be sent."""
        producer, future = await self._send(topic, message)
        try:
            written = await future
        except KafkaError as error:
            raise self._lost(producer, error, message) from error
        return Receipt(
            topic.name, message.id, written.partition, None if written.offset < 0 else written.offset
        )

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """Hand all over in their order, then wait for all."""
        sent: list[_Sent | PublishError] = []
        try:
            for message in messages:
                sent.append(await self._try_send(topic, message))  # noqa: PERF401 - a cancel must find them
            futures = [one[1] for one in sent if isinstance(one, tuple)]
            await asyncio.gather(*futures, return_exceptions=True)
        except asyncio.CancelledError:
            _nobody_waits(sent)
            raise
        return [self._outcome(topic, one, message) for one, message in zip(sent, messages, strict=True)]

    async def close(self) -> None:
        """Flush and disconnect within some seconds."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.finish()
        if self._retired is not None:
            await asyncio.wait([self._retired])

    async def _send(self, topic: TopicSpec, message: Message) -> _Sent:
        """Put the message into its partition's batch."""
        if message.key is None and message.body is None:
            raise InvalidEvent(f"{topic.name}: a tombstone needs the key it deletes", message)
        name = kafka_name(topic.name)
        producer = self._producer or await self._started(message)
        partitions = producer.partitions(name) or await self._looked_up(producer, name, message)
        partition = (
            next(self._turn) % partitions if message.key is None else partition_of(message.key, partitions)
        )
        headers = write_headers(message)
        try:
            return producer, await producer.send(name, message.body, message.key, partition, None, headers)
        except _STILL_USABLE as error:
            raise publish_error(error, message) from error
        except KafkaError as error:
            raise self._lost(producer, error, message) from error

    async def _try_send(self, topic: TopicSpec, message: Message) -> _Sent | PublishError:
        try:
            return await self._send(topic, message)
        except PublishError as error:
            return error

    def _outcome(
        self, topic: TopicSpec, sent: _Sent | PublishError, message: Message
    ) -> Receipt | PublishError:
        if isinstance(sent, PublishError):
            return sent
        producer, future = sent
        error = future.exception()
        if isinstance(error, KafkaError):
            failure = self._lost(producer, error, message)
            failure.__cause__ = error
            return failure
        written = future.result()
        return Receipt(
            topic.name, message.id, written.partition, None if written.offset < 0 else written.offset
        )

    async def _started(self, message: Message) -> Producer:
        async with self._starting:
            if self._closed:
                raise Closed("published through a transport that was closed")
            if self._retired is not None:
                await asyncio.wait([self._retired])
            if self._producer is None:
                self._producer = await self._connected(message)
            return self._producer

    async def _connected(self, message: Message) -> Producer:
        try:
            producer = await self._connect()
        except BrokerError as error:
            raise PublishFailed(f"{message.topic}: not sent: {describe(error)}", message) from error
        if self._closed:
            await producer.finish()
            raise Closed("published through a transport that was closed")
        return producer

    async def _looked_up(self, producer: Producer, name: str, message: Message) -> int:
        """The count of a topic that was not there a moment ago."""
        try:
            await producer.refresh()
        except KafkaConnectionError as error:
            raise PublishFailed(f"{message.topic}: not sent: {describe(error)}", message) from error
        if partitions := producer.partitions(name):
            return partitions
        absent = topic_missing(message.topic)
        raise PublishFailed(str(absent), message) from absent

    def _lost(self, producer: Producer, error: KafkaError, message: Message) -> PublishError:
        """The error of a batch that failed.

        Its sequence numbers are used up and the broker has not seen them: the producer's next batch for that partition
        would be refused, and so would every one after it. A new producer begins a new sequence.
        """
        if producer is self._producer:
            log.warning("Kafka producer is replaced: %s", describe(error))
            self._producer = None
            self._retired = asyncio.create_task(producer.halt())
        return publish_error(error, message)


def _nobody_waits(sent: Sequence[_Sent | PublishError]) -> None:
    for one in sent:
        if isinstance(one, tuple):
            one[1].cancel()
