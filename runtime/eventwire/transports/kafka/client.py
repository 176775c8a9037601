"""aiokafka's consumer, with what it lacks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.protocol.group import HeartbeatRequest
from typing_extensions import override

_LEAVE_WITHIN = 1.5


class Reading(NamedTuple):
    """How far the client is in one partition. It changes with every answer of the broker."""

    position: int
    """The next offset that it brings."""
    end: int | None
    """Up to where records can be read, as of the last answer; None before the first."""
    answered: int | None
    """A mark of the last answer."""
    paused: bool


class Client(AIOKafkaConsumer):
    """aiokafka's consumer that can end without its broker and tells how it is.

    It is a member for as long as its event loop runs: aiokafka would leave the group when nobody polled for
    `max_poll_interval_ms`, and rejoin only then. A handler that takes longer would be called again for ever.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answered: float | None = None
        """When a broker last answered, by the monotonic clock."""
        self.heartbeat: float | None = None
        """When the group's coordinator last answered a heartbeat."""
        self._polling = ExitStack()
        send = self._client.send

        async def timed(node_id: int, request: object, **options: Any) -> Any:
            answer = await send(node_id, request, **options)
            self.answered = time.monotonic()
            if isinstance(request, HeartbeatRequest):
                self.heartbeat = self.answered
            return answer

        self._client.send = timed  # type: ignore[method-assign]  # aiokafka has no hook for it

    @override
    async def start(self) -> None:
        """Connect, and count as polling from now on."""
        await super().start()
        self._polling.enter_context(self._subscription.fetch_context())

    def ended(self) -> str | None:
        """Which of aiokafka's tasks ended, and why: it does not restart them, and `getmany` waits on."""
        # Private, since nothing public tells that one of aiokafka's two tasks has ended.
        tasks = {"fetching": self._fetcher.error_future, "coordination": self._coordinator._coordination_task}  # noqa: SLF001
        for name, task in tasks.items():
            if task.done():
                error = None if task.cancelled() else task.exception()
                return f"aiokafka's {name} ended" + (f": {error}" if error else "")
        return None

    def heartbeating(self) -> bool:
        """Whether it is between two rebalances, when heartbeats are due."""
        task = self._coordinator._heartbeat_task  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing public tells
        return task is not None and not task.done()

    def connected(self) -> bool:
        """Whether a connection to some broker is open."""
        known = self._client._conns  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing public tells
        return any(connection.connected() for connection in known.values())

    def reading(self, partition: KafkaPartition) -> Reading | None:
        """How far it is in the partition; None while it has no position there."""
        subscription = self._subscription.subscription
        state = (
            subscription.assignment.state_value(partition)
            if subscription and subscription.assignment
            else None
        )
        if state is None or not state.has_valid_position:
            return None
        end = state.highwater if state.lso is None or state.lso < 0 else state.lso
        return Reading(state.position, end, state.timestamp, state.paused)

    async def stands(
        self, partitions: Collection[KafkaPartition]
    ) -> Mapping[KafkaPartition, OffsetAndMetadata]:
        """What the group committed, with its metadata, which `committed` leaves out; nothing where it never did."""
        return await self._coordinator.fetch_committed_offsets(list(partitions))

    async def end(self) -> None:
        """Leave the group and disconnect; when the broker does not answer, disconnect all the same."""
        self._polling.close()
        stopping = asyncio.create_task(self.stop())
        await asyncio.wait([stopping], timeout=_LEAVE_WITHIN)
        await self._client.close()  # requests that still wait fail, and with them what stops `stop`
        await asyncio.wait([stopping], timeout=_LEAVE_WITHIN / 3)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
