"""Carrying settled positions to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from eventwire.errors import BrokerError
from eventwire.transports.kafka.assignment import AssignedPartition
from eventwire.transports.kafka.faults import describe

log = logging.getLogger(__name__)

_NO_METADATA = ""


class Committer:
    """Commits for one group what `assigned` has settled; one commit at a time, so that none overtakes a later one."""

    def __init__(
        self, client: AIOKafkaConsumer, group: str, assigned: Mapping[KafkaPartition, AssignedPartition]
    ) -> None:
        self._client = client
        self._group = group
        self._assigned = assigned
        self._turn = asyncio.Lock()
        self.lost = 0
        """How many positions could not be committed because their partition was lost; they are read again."""

    async def commit(self) -> None:
        """Commit the positions that moved, and where a new group begins: it must not begin elsewhere next time.

        Waits while the broker is away. Raises BrokerError when it refuses.
        """
        async with self._turn:
            moved = {
                partition: (assigned, assigned.position)
                for partition, assigned in self._assigned.items()
                if assigned.position != assigned.committed
            }
            if moved and await self._write(
                {partition: position for partition, (_, position) in moved.items()}
            ):
                for assigned, position in moved.values():
                    assigned.committed = position

    async def commit_within(self, seconds: float) -> None:
        """Commit. Raises BrokerError when the broker refuses, or does not answer in time; a later commit may do."""
        try:
            async with asyncio.timeout(seconds):
                await self.commit()
        except TimeoutError as error:
            raise BrokerError(
                f"group `{self._group}` cannot commit: no answer from Kafka within {seconds:g} s; "
                "what no later commit brings is read again"
            ) from error

    async def commit_if_possible(self, seconds: float) -> None:
        """Commit if that can be done in time. What is not committed is read again: logged, and nothing worse."""
        try:
            await self.commit_within(seconds)
        except BrokerError as error:
            log.warning("%s", describe(error))

    async def commit_every(self, seconds: float) -> None:
        """Commit for ever. Raises BrokerError."""
        while True:
            await asyncio.sleep(seconds)
            await self.commit()

    async def _write(self, positions: Mapping[KafkaPartition, int]) -> bool:
        """Write positions to the broker; False when the partitions are no longer ours."""
        offsets = {partition: OffsetAndMetadata(at, _NO_METADATA) for partition, at in positions.items()}
        try:
            await self._client.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            self.lost += len(offsets)
            log.warning("%d positions of group %s not committed: %s", len(offsets), self._group, error)
            return False
        except KafkaError as error:
            raise BrokerError(f"group `{self._group}` cannot commit: {describe(error)}") from error
        return True
