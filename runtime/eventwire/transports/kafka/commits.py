"""Carrying settled positions to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from eventwire.errors import BrokerError
from eventwire.transports.kafka.assignment import AssignedPartition
from eventwire.transports.kafka.faults import REFUSED, describe

log = logging.getLogger(__name__)


class CommitRefused(BrokerError):
    """The user may not commit for the group."""


class Committer:
    """Commits for one group what `assigned` has settled; one commit at a time, so that none overtakes a later one.

    A commit that fails is not fatal: what it should have carried is carried by the next, or read again by whoever has
    the partition then. Only a refusal is raised.
    """

    def __init__(
        self, client: AIOKafkaConsumer, group: str, assigned: Mapping[KafkaPartition, AssignedPartition]
    ) -> None:
        self._client = client
        self._group = group
        self._assigned = assigned
        self._turn = asyncio.Lock()
        self._soon = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None
        self.lost = 0
        """How many positions could not be committed because their partition was lost; they are read again."""
        self.trouble: str | None = None
        """Why the last commit failed; None when it did not."""

    def soon(self) -> None:
        """Let the next commit of `commit_every` not wait for its interval."""
        self._soon.set()

    async def commit(self) -> bool:
        """Commit the positions that moved, and what their notes have to tell; whether everything is at the broker.

        Waits while the broker is away. Raises CommitRefused.
        """
        async with self._turn:
            due = {
                partition: (assigned, commit)
                for partition, assigned in self._assigned.items()
                if (commit := assigned.due())
            }
            for assigned, _ in due.values():
                assigned.writing()
            if due and not await self.write({partition: commit for partition, (_, commit) in due.items()}):
                return False
            for assigned, commit in due.values():
                assigned.written(commit)
            return True

    async def commit_within(self, seconds: float) -> None:
        """Commit. Raises BrokerError when the broker refuses, or does not answer in time; a later commit may do."""
        try:
            async with asyncio.timeout(seconds):
                done = await self.commit()
        except TimeoutError as error:
            raise BrokerError(
                f"group `{self._group}` cannot commit: no answer from Kafka within {seconds:g} s; "
                "what no later commit brings is read again"
            ) from error
        if not done and self.trouble:
            raise BrokerError(f"group `{self._group}`: {self.trouble}")

    async def commit_if_possible(self, seconds: float) -> None:
        """Commit if that can be done in time. What is not committed is read again: logged, and nothing worse."""
        try:
            await self.commit_within(seconds)
        except BrokerError as error:
            log.warning("%s", describe(error))

    async def commit_every(self, seconds: float) -> None:
        """Commit for ever, sooner when asked. Raises CommitRefused."""
        while True:
            try:
                async with asyncio.timeout(seconds):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            await self.commit()

    async def write(self, commits: Mapping[KafkaPartition, OffsetAndMetadata]) -> bool:
        """Write to the broker; False when that was not possible. Raises CommitRefused."""
        self._writing = asyncio.ensure_future(self._client.commit(dict(commits)))
        try:
            await asyncio.wait([self._writing])
        except asyncio.CancelledError:
            self._writing.cancel()
            raise
        if self._writing.cancelled():
            return False
        return self._wrote(commits, self._writing.exception())

    def _wrote(
        self, commits: Mapping[KafkaPartition, OffsetAndMetadata], error: BaseException | None
    ) -> bool:
        match error:
            case None:
                self.trouble = None
                return True
            case CommitFailedError() | IllegalStateError():
                self.lost += len(commits)
                log.warning("%d positions of group %s not committed: %s", len(commits), self._group, error)
                return False
            case _ if isinstance(error, REFUSED):
                raise CommitRefused(f"group `{self._group}` cannot commit: {describe(error)}") from error
            case _:
                if self.trouble is None:
                    log.warning(
                        "group %s: a commit failed, the next may do: %s", self._group, describe(error)
                    )
                self.trouble = f"the last commit failed: {describe(error)}"
                return False

    def forget(self) -> None:
        """End the commit that is under way: aiokafka would try it again under the next assignment, and go back."""
        if self._writing is not None:
            self._writing.cancel()
