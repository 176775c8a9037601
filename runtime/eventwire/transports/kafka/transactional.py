"""A partition that is handled in transactions: batches that are settled whole, together with what they published."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import ConsumerRecord, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError
from typing_extensions import override

from eventwire.errors import BrokerError, PublishFailed
from eventwire.message import Message, Receipt
from eventwire.transport import TopicSpec
from eventwire.transports.kafka.assignment import AssignedPartition, KafkaDelivery
from eventwire.transports.kafka.faults import describe
from eventwire.transports.kafka.records import read_headers
from eventwire.transports.kafka.transaction import Fenced, Transactions

log = logging.getLogger(__name__)

BATCH = 100
"""How many deliveries share a transaction at most."""
_ASK_AGAIN_AFTER = 0.5


class TransactionalKafkaDelivery(KafkaDelivery):
    """See `eventwire.transport.TransactionalDelivery`."""

    __slots__ = ("_partition", "alone", "error", "failures")

    def __init__(
        self, partition: TransactionalPartition, message: Message, offset: int, deaths: int, *, alone: bool
    ) -> None:
        self.failures, self.error = partition.failed.get(offset, (0, None))
        super().__init__(partition, message, offset, 1 + deaths + self.failures, deaths)
        self._partition = partition
        self.alone = alone

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write one message as part of the transaction."""
        if not self._open or not self.live:
            raise PublishFailed(f"{message.topic}: published through a delivery that is settled", message)
        return await self._partition.transactions.publish(topic, message)

    def fail(self, error: Exception, *, counted: bool = True) -> None:
        """Undo the attempt: it comes again alone."""
        if self._open and self.offset is not None:
            self._partition.failed[self.offset] = (self.failures + counted, error)
            self.release()

    @override
    def release(self) -> None:
        """Undo the batch: it comes again."""
        if self._open and self.offset is not None:
            self._open = False
            self._partition.spoil(self.offset)


class TransactionalPartition(AssignedPartition):
    """Hands out one batch of a partition at a time, and ends its transaction when all of it is settled.

    What the broker has is the only position: after an end that is not known to have come about, it is asked. `stands`
    asks it; `lost` is called when somebody else has the partition.
    """

    __slots__ = (
        "_alone_below", "_batch", "_ending", "_flight", "_lost", "_spoiled", "_stands", "failed", "transactions",
    )  # fmt: skip

    def __init__(
        self,
        transactions: Transactions,
        stands: Callable[[], Awaitable[OffsetAndMetadata | None]],
        lost: Callable[[str], None],
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.transactions = transactions
        self._stands = stands
        self._lost = lost
        self._batch: list[ConsumerRecord] = []
        self._flight: set[int] = set()
        self._spoiled = False
        self._alone_below = -1
        self._ending: asyncio.Task[None] | None = None
        self.failed: dict[int, tuple[int, Exception | None]] = {}
        """By offset: how many attempts failed here, and why the last one did."""

    @override
    def due(self) -> OffsetAndMetadata | None:
        """Nothing while a transaction has the position."""
        return None if self._flight or self._ending is not None else super().due()

    @override
    def take(self, records: Sequence[ConsumerRecord], room: int) -> list[KafkaDelivery]:
        """Keep the records; what is handed out comes back through the hooks."""
        self._pause()
        self._waiting.extend(records)
        self._go_on()
        return []

    @override
    def settle(self, offset: int) -> None:
        """One of the batch is done."""
        self._leave_flight(offset)

    def spoil(self, offset: int) -> None:
        """One of the batch is not done: all of it is undone."""
        self._spoiled = True
        self._leave_flight(offset)

    @property
    @override
    def recorded(self) -> bool:
        """Whether the broker knows where the partition stands: no transaction is about to move that."""
        return not self._flight and self._ending is None and super().due() is None

    @override
    def pass_out(self) -> KafkaDelivery | None:
        """Hand out what is held, as a batch of its own."""
        self._flight = {record.offset for record in self._batch}
        return super().pass_out()

    @property
    @override
    def unsettled(self) -> int:
        """How many of the batch wait to be settled."""
        return len(self._flight)

    @override
    def skip_to(self, position: int) -> None:
        """Nothing is in flight and the log goes on at `position`."""
        if not self._flight and self._ending is None:
            super().skip_to(position)

    async def conclude(self) -> None:
        """Return when no transaction is open: what is in flight is undone, what is settled is committed."""
        for offset in tuple(self._flight):
            self.spoil(offset)
        if self._ending is not None:
            await asyncio.wait([self._ending])

    def end(self) -> asyncio.Task[None]:
        """The partition is not ours any more."""
        if self._ending is not None:
            self._ending.cancel()
        return asyncio.create_task(self.transactions.close())

    # A batch

    @override
    def _go_on(self) -> None:
        """Hand out the next batch, if none is out; read on when there is none."""
        if self._batch or self._ending is not None or self._held is not None or self._gate:
            return
        if self.leaving or not self.live:
            return
        self._next()

    @override
    def _next(self) -> None:
        if not self._waiting:
            self._resume()
            return
        first = self._waiting[0].offset
        if self.suspicion.ends_at(first):
            self._end_suspicion()
        elif self.suspicion.until is not None:
            self._tracker.position = first
            self._offer(self._delivery(self._waiting.popleft()))
        elif first < self._alone_below:
            self._send_out([self._delivery(self._take_next())])
        else:
            self._send_out(
                [
                    self._delivery(self._take_next())
                    for _ in range(min(BATCH, self._max_uncommitted, len(self._waiting)))
                ]
            )

    @override
    def _resume(self) -> None:
        """After suspect mode there may be something waiting already."""
        if self._waiting:
            self._next()
        else:
            super()._resume()

    @override
    def _end_suspicion(self) -> None:
        """What waits is kept."""
        waiting, self._waiting = self._waiting, type(self._waiting)()
        super()._end_suspicion()
        self._waiting = waiting

    @override
    def _offer(self, delivery: KafkaDelivery) -> None:
        if not self.exclusive:
            self._send_out([delivery])
            return
        super()._offer(delivery)

    @override
    def _delivery(self, record: ConsumerRecord) -> KafkaDelivery:
        if self.suspicion.until is not None:
            self._batch = [record]
        headers, content_type = read_headers(record.headers)
        message = Message(self.topic, record.value, record.key, headers, content_type)
        alone = self.suspicion.until is not None or record.offset < self._alone_below
        deaths = self.suspicion.deaths(record.offset)
        return TransactionalKafkaDelivery(self, message, record.offset, deaths, alone=alone)

    def _take_next(self) -> ConsumerRecord:
        record = self._waiting.popleft()
        self._batch.append(record)
        return record

    def _send_out(self, deliveries: Sequence[KafkaDelivery]) -> None:
        self._flight = {record.offset for record in self._batch}
        for delivery in deliveries:
            self._hooks.give_back(delivery)

    def _leave_flight(self, offset: int) -> None:
        if self.live and offset in self._flight:
            self._flight.discard(offset)
            if not self._flight:
                self._ending = asyncio.create_task(self._end(), name="eventwire-kafka-transaction")

    # Its end

    async def _end(self) -> None:
        batch, spoiled = self._batch, self._spoiled
        try:
            following = batch[-1].offset + 1
            self.suspicion.alone = None
            if await (self._aborted() if spoiled else self._committed(following)):
                self._passed(following)
            else:
                self._waiting.extendleft(reversed(batch))
                self._alone_below = max(self._alone_below, following)
        except Fenced as error:
            self._lost(f"a transaction of {self.topic} partition {self.number} was fenced: {error}")
            return
        except Exception as error:  # noqa: BLE001  whatever it is: what is not known to be committed is read again
            self._lost(
                f"a transaction of {self.topic} partition {self.number} did not end: {describe(error)}"
            )
            return
        self._batch, self._spoiled, self._ending = [], False, None
        self._go_on()
        self._hooks.wake()

    async def _committed(self, following: int) -> bool:
        at = OffsetAndMetadata(following, self.suspicion.note(following, leaving=self.leaving))
        if await self.transactions.commit(self._kafka, at):
            self.committed = at
            return True
        return await self._asked(following)

    async def _aborted(self) -> bool:
        try:
            await self.transactions.abort()
        except BrokerError:
            return await self._asked(None)
        return False

    async def _asked(self, following: int | None) -> bool:
        """Whether the batch was committed after all; known once nothing of the id can be open any more."""
        await self.transactions.renew()
        while self.live:
            try:
                at = await self._stands()
            except KafkaError as error:
                log.warning("%s partition %d: %s; asking again", self.topic, self.number, describe(error))
                await asyncio.sleep(_ASK_AGAIN_AFTER)
                continue
            self.committed = at
            return at is not None and at.offset == following
        return False

    def _passed(self, following: int) -> None:
        self._tracker.position = following
        for record in self._batch:
            self.failed.pop(record.offset, None)
        if self.suspicion.ends_at(following):
            self.suspicion.until = None  # the transaction has told the broker


def identity(application: str, group: str, partition: KafkaPartition) -> str:
    """The transactional id: whoever has the partition uses it, so each fences the one before."""
    return f"{application}.{group}.{partition.topic}.{partition.partition}"
