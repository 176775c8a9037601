"""aiokafka's consumer, with what it lacks."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer

_LEAVE_WITHIN = 1.5


class Client(AIOKafkaConsumer):
    """aiokafka's consumer that can end without its broker and tells when it stopped fetching."""

    def fetching_ended(self) -> BaseException | None:
        """Why the task that fetches ended. `getmany` waits on when it did."""
        task = self._fetcher.error_future
        return task.exception() if task.done() and not task.cancelled() else None

    def connected(self) -> bool:
        """Whether a connection to some broker is open."""
        known = self._client._conns  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - nothing public tells
        return any(connection.connected() for connection in known.values())

    async def end(self) -> None:
        """Leave the group and disconnect; when the broker does not answer, disconnect all the same."""
        stopping = asyncio.create_task(self.stop())
        await asyncio.wait([stopping], timeout=_LEAVE_WITHIN)
        await self._client.close()  # requests that still wait fail, and with them what stops `stop`
        await asyncio.wait([stopping], timeout=_LEAVE_WITHIN / 3)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
