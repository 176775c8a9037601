"""Where a member begins in each partition that it was given, and what it knows there of deaths."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition

from eventwire.policy import Start
from eventwire.transport import Subscription
from eventwire.transports.kafka.assignment import AssignedPartition, Hooks
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.notes import Suspicion, accuses, read_note

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


class Placing:
    """Asks the broker where the group stands, and makes the assigned partitions of it."""

    def __init__(self, client: Client, role: Role, hooks: Hooks) -> None:
        self._client = client
        self._role = role
        self._hooks = hooks
        self.names = {kafka_name(topic.name): topic.name for topic in role.subscription.topics}
        """The names that messages carry, by those on the broker."""

    async def places(self, partitions: list[KafkaPartition]) -> Mapping[KafkaPartition, AssignedPartition]:
        """Each partition at the group's position, or where the subscription starts if it has none.

        Raises KafkaError.
        """
        committed = await self._client.stands(partitions)
        fresh = await self._fresh([partition for partition in partitions if partition not in committed])
        suspicions = await self._suspicions(committed)
        return {
            partition: self._assigned(
                partition,
                fresh[partition] if (at := committed.get(partition)) is None else at.offset,
                at,
                suspicions.get(partition) or Suspicion(self._role.me),
            )
            for partition in partitions
        }

    async def _suspicions(
        self, committed: Mapping[KafkaPartition, OffsetAndMetadata]
    ) -> Mapping[KafkaPartition, Suspicion]:
        me, window = self._role.me, self._role.subscription.max_uncommitted
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
    ) -> AssignedPartition:
        return AssignedPartition(
            self._client,
            partition,
            self.names[partition.topic],
            position=position,
            committed=committed,
            max_uncommitted=self._role.subscription.max_uncommitted,
            suspicion=suspicion,
            hooks=self._hooks,
        )

    async def _fresh(self, partitions: list[KafkaPartition]) -> Mapping[KafkaPartition, int]:
        if not partitions:
            return {}
        if self._role.subscription.start is Start.LATEST:
            return await self._client.end_offsets(partitions)
        return await self._client.beginning_offsets(partitions)
