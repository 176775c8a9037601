"""Where a member begins in each partition that it was given, and what it knows there of deaths."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition

from eventwire.policy import Start
from eventwire.transport import Subscription
from eventwire.transports.kafka.assignment import AssignedPartition, Hooks
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.notes import Suspicion, accuses, read_note
from eventwire.transports.kafka.transaction import Make, Transactions
from eventwire.transports.kafka.transactional import BATCH, TransactionalPartition, identity

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """What stays the same however often a consumer's member is made anew. Times are in seconds."""

    subscription: Subscription
    drain: float
    """How long handlers may take to finish before partitions are given up."""
    session_timeout: float
    me: str
    """The consumer's name in its notes."""
    make: Make | None = None
    """Makes transactional producers, for a subscription with `transactional`."""


class Placing:
    """Asks the broker where the group stands, and makes the assigned partitions of it."""

    def __init__(self, client: Client, role: Role, hooks: Hooks, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._client = client
        self._role = role
        self._hooks = hooks
        self.names = {kafka_name(topic.name): topic.name for topic in role.subscription.topics}
        """The names that messages carry, by those on the broker."""

    async def places(self, partitions: list[KafkaPartition]) -> Mapping[KafkaPartition, AssignedPartition]:
        """Each partition at the group's position, or where the subscription starts if it has none.

        Raises KafkaError and BrokerError.
        """
        transactions = await self._transactions(partitions)
        try:
            return await self._places(partitions, transactions)
        except BaseException:
            for each in transactions.values():
                await each.close()
            raise

    async def _transactions(
        self, partitions: Sequence[KafkaPartition]
    ) -> Mapping[KafkaPartition, Transactions]:
        """Begun before the position is asked: what another process left open is over then."""
        group, application = self._role.subscription.group, self._role.subscription.transactional
        if self._role.make is None or application is None:
            return {}
        found: dict[KafkaPartition, Transactions] = {}
        for partition in partitions:
            found[partition] = Transactions(self._role.make, identity(application, group, partition), group)
        beginning = [asyncio.create_task(each.begin()) for each in found.values()]
        try:
            await asyncio.gather(*beginning)
        except BaseException:
            for task in beginning:
                task.cancel()
            await asyncio.gather(*beginning, return_exceptions=True)
            for each in found.values():
                await each.close()
            raise
        return found

    async def _places(
        self, partitions: list[KafkaPartition], transactions: Mapping[KafkaPartition, Transactions]
    ) -> Mapping[KafkaPartition, AssignedPartition]:
        committed = await self._client.stands(partitions)
        fresh = await self._fresh([partition for partition in partitions if partition not in committed])
        suspicions = await self._suspicions(committed)
        return {
            partition: self._assigned(
                partition,
                fresh[partition] if (at := committed.get(partition)) is None else at.offset,
                at,
                suspicions.get(partition) or Suspicion(self._role.me),
                transactions.get(partition),
            )
            for partition in partitions
        }

    async def _suspicions(
        self, committed: Mapping[KafkaPartition, OffsetAndMetadata]
    ) -> Mapping[KafkaPartition, Suspicion]:
        me, window = self._role.me, self._role.subscription.max_uncommitted
        if self._role.make is not None:
            window = min(window, BATCH)
        notes = {partition: read_note(at.metadata) for partition, at in committed.items()}
        doubted = [partition for partition, note in notes.items() if accuses(note, me)]
        ends = await self._client.end_offsets(doubted) if doubted else {}
        found: dict[KafkaPartition, Suspicion] = {}
        for partition, (position, _) in committed.items():
            end = ends.get(partition, position)
            found[partition] = Suspicion.resumed(notes[partition], me, position, window=window, end=end)
            self._tell(partition, position, found[partition])
        return found

    def _tell(self, partition: KafkaPartition, position: int, suspicion: Suspicion) -> None:
        if suspicion.until is not None:
            log.warning(
                "group %s: a process died while it handled %s partition %d: offsets %d to %d are handed out one by one",
                self._role.subscription.group, partition.topic, partition.partition, position, suspicion.until - 1,
            )  # fmt: skip

    def _assigned(
        self,
        partition: KafkaPartition,
        position: int,
        committed: OffsetAndMetadata | None,
        suspicion: Suspicion,
        transactions: Transactions | None,
    ) -> AssignedPartition:
        make: Callable[..., AssignedPartition] = AssignedPartition
        if transactions is not None:
            make = partial(TransactionalPartition, transactions, partial(self._stand, partition), self._lost)
        return make(
            self._client,
            partition,
            self.names[partition.topic],
            position=position,
            committed=committed,
            max_uncommitted=self._role.subscription.max_uncommitted,
            suspicion=suspicion,
            hooks=self._hooks,
        )

    async def _stand(self, partition: KafkaPartition) -> OffsetAndMetadata | None:
        return (await self._client.stands([partition])).get(partition)

    async def _fresh(self, partitions: list[KafkaPartition]) -> Mapping[KafkaPartition, int]:
        if not partitions:
            return {}
        if self._role.subscription.start is Start.LATEST:
            return await self._client.end_offsets(partitions)
        return await self._client.beginning_offsets(partitions)
