"""The transactions of one partition: a producer of its own, whose id fences whoever had the partition before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count

from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFenced,
)

from eventwire.errors import BrokerError, PublishError, PublishFailed, PublishUnknown
from eventwire.message import Message, Receipt
from eventwire.partition import partition_of
from eventwire.transport import TopicSpec
from eventwire.transports.kafka.faults import describe, publish_error
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.producer import Producer
from eventwire.transports.kafka.records import write_headers
from eventwire.transports.kafka.topics import topic_missing

log = logging.getLogger(__name__)

_FENCED = (ProducerFenced, InvalidProducerEpoch)
_FAILED = (KafkaError, TimeoutError, AssertionError)
"""An AssertionError is how aiokafka says that a transaction is in no state for what is asked of it."""
_END_WITHIN = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

Make = Callable[[str], Awaitable[Producer]]
"""Makes and opens a producer of this transactional id: what the last one of it left open is over then. Raises
BrokerError."""


class Fenced(Exception):
    """Somebody else has begun with the partition, or the broker ended the transaction since it took too long."""


class Transactions:
    """One transaction after the other, for one partition of one group."""

    def __init__(self, make: Make, identity: str, group: str) -> None:
        self._make = make
        self._identity = identity
        self._group = group
        self._producer: Producer | None = None
        self._began = asyncio.Lock()
        self._open = False
        self._spoiled = False
        self._fenced: str | None = None
        self._turn = count()
        self._closed = False

    async def begin(self) -> None:
        """Get ready: fences every other process, and ends what it left open. Raises BrokerError."""
        self._producer = await self._make(self._identity)
        if self._closed:
            await self.close()

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write as part of the transaction. Whatever fails after it was sent undoes the transaction."""
        producer = await self._within(message)
        name = kafka_name(topic.name)
        partitions = producer.partitions(name) or await self._looked_up(producer, name, message)
        partition = (
            next(self._turn) % partitions if message.key is None else partition_of(message.key, partitions)
        )
        try:
            sent = await producer.send(
                name, message.body, message.key, partition, None, write_headers(message)
            )
        except (MessageSizeTooLargeError, KafkaTimeoutError) as error:  # it was not sent
            raise publish_error(error, message) from error
        except KafkaError as error:
            raise self._spoil(error, message) from error
        try:
            written = await sent
        except KafkaError as error:
            raise self._spoil(error, message) from error
        except asyncio.CancelledError:
            self._spoiled = True
            raise
        return Receipt(topic.name, message.id, written.partition, written.offset)

    async def commit(self, partition: KafkaPartition, at: OffsetAndMetadata) -> bool:
        """Commit what was published, and the position; whether that is so. Raises Fenced.

        False: it is not known, or not so; then `renew` and see.
        """
        self._raise_if_fenced()
        producer = self._producer
        if producer is None or self._spoiled:
            return False
        try:
            async with asyncio.timeout(_END_WITHIN):
                await self._started(producer)
                await producer.send_offsets_to_transaction({partition: at}, self._group)
                await producer.commit_transaction()
        except _FENCED as error:
            raise Fenced(describe(error)) from error
        except _FAILED as error:
            log.warning("transaction %s: not known to be committed: %s", self._identity, describe(error))
            self._spoiled = True
            return False
        self._open = False
        return True

    async def abort(self) -> None:
        """Undo what was published. Raises Fenced, and BrokerError when that could not be done: then `renew`."""
        self._raise_if_fenced()
        producer = self._producer
        if producer is None or self._spoiled:
            raise BrokerError(f"transaction {self._identity} is broken")
        if not self._open:
            return
        try:
            async with asyncio.timeout(_END_WITHIN):
                await producer.abort_transaction()
        except _FENCED as error:
            raise Fenced(describe(error)) from error
        except _FAILED as error:
            self._spoiled = True
            raise BrokerError(f"transaction {self._identity}: not aborted: {describe(error)}") from error
        self._open = False

    async def renew(self) -> None:
        """Another producer in place of this one, however long it takes: what was open is over then."""
        await self._drop()
        pause = _FIRST_PAUSE
        while not self._closed:
            try:
                await self.begin()
            except BrokerError as error:
                log.warning("transaction %s: %s; trying again", self._identity, describe(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._open = self._spoiled = False
                return

    async def close(self) -> None:
        """End the producer. What is open is undone by whoever has the partition next, or by the broker in time."""
        self._closed = True
        await self._drop()

    def _raise_if_fenced(self) -> None:
        """Another producer of the id would fence whoever has it by right."""
        if self._fenced is not None:
            raise Fenced(self._fenced)

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.halt()

    async def _within(self, message: Message) -> Producer:
        if self._producer is None or self._spoiled:
            raise PublishFailed(f"{message.topic}: its transaction is undone already", message)
        try:
            await self._started(self._producer)
        except _FAILED as error:
            self._spoiled = True
            raise PublishFailed(f"{message.topic}: no transaction: {describe(error)}", message) from error
        return self._producer

    async def _started(self, producer: Producer) -> None:
        async with self._began:
            if not self._open:
                await producer.begin_transaction()
                self._open = True

    async def _looked_up(self, producer: Producer, name: str, message: Message) -> int:
        try:
            await producer.refresh()
        except KafkaError as error:
            raise PublishFailed(f"{message.topic}: not sent: {describe(error)}", message) from error
        if partitions := producer.partitions(name):
            return partitions
        absent = topic_missing(message.topic)
        raise PublishFailed(str(absent), message) from absent

    def _spoil(self, error: KafkaError, message: Message) -> PublishError:
        self._spoiled = True
        if isinstance(error, _FENCED):
            self._fenced = describe(error)
            return PublishUnknown(f"{message.topic}: its transaction was fenced: {describe(error)}", message)
        return publish_error(error, message)
