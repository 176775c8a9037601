"""One way through a queue topic: from where its group stands to the end that it had when the way began."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from eventwire.errors import BrokerError
from eventwire.transport import Consumer, Delivery, Subscription, TopicSpec, Transport

_COMMIT = 0.05
_FIRST = 30.0
"""Seconds until the first message must be there: joining a group may take some."""
_QUIET = 3.0
"""Seconds of silence after which no more is expected, though not as many came as were counted."""
_RETURN = 5.0
_AGAIN = 0.05


class Reading:
    """`async with` joins the group and leaves it: what was not acked is handed back then.

    What comes after `total` messages were taken is never read, so a way that puts messages at the end does end.
    """

    def __init__(self, transport: Transport, topic: TopicSpec, group: str) -> None:
        self._transport = transport
        self._topic = topic
        self._group = group
        self._consumer: Consumer | None = None
        self._unplaced = False
        self.total = 0
        self.taken = 0
        self.settled = 0
        """To be counted by who settles, and keeps nothing of it."""

    async def __aenter__(self) -> Self:
        await self._transport.check([self._topic], [])
        self.total = await self._transport.lag(self._topic, self._group)
        if self.total:
            # the span may be all of it: who only looks settles nothing
            subscription = Subscription(
                self._group, (self._topic,), max_uncommitted=self.total + 1, commit_interval=_COMMIT
            )
            self._consumer = await self._transport.subscribe(subscription)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is None:
            return
        try:
            if error is None:
                await self._consumer.flush()
        finally:
            await self._consumer.close()
        if error is None and self._unplaced:
            await self._returned()

    async def _returned(self) -> None:
        """Wait, within bounds, until the broker has back what was in hand: it is not counted before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETURN):
                while (  # noqa: ASYNC110 no broker tells when
                    await self._transport.lag(self._topic, self._group) < self.total - self.settled
                ):
                    await asyncio.sleep(_AGAIN)

    @property
    def left(self) -> int:
        """How many more there should be."""
        return self.total - self.taken

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Up to `limit` more; none when no more come. Raises BrokerError when not even the first does."""
        if self._consumer is None or not self.left:
            return []
        try:
            async with asyncio.timeout(_QUIET if self.taken else _FIRST):
                found = await self._consumer.fetch(min(limit, self.left))
        except TimeoutError:
            if self.taken:
                return []
            raise BrokerError(
                f"{self._topic.name}: {self.total} messages wait for group {self._group}, and none came within "
                f"{_FIRST:g} s: does somebody else read them? {self._consumer.health().trouble or ''}".rstrip()
            ) from None
        self.taken += len(found)
        self._unplaced |= found[0].offset is None
        return found
