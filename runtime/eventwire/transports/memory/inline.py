"""`?inline=true`: a publish waits for the handlers, and for the handlers of what those publish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from eventwire.message import Message
from eventwire.transport import TopicPartition

logger = logging.getLogger("eventwire.memory")

CAUSATION = "ce_causationid"
"""The header in which a handler's Context puts the id of the event that it handles."""


class Errand:
    """One publish that waits: how many acks are outstanding, and the first error that came with one."""

    __slots__ = ("_done", "_error", "_open", "ids")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._open = 0
        self._error: Exception | None = None
        self._done = asyncio.Event()

    def expect(self) -> None:
        """Expect one more ack."""
        self._open += 1

    def settle(self, error: Exception | None) -> bool:
        """Count an ack; return whether it was the last."""
        self._error = self._error or error
        self._open -= 1
        if self._open == 0:
            self._done.set()
        return self._open == 0

    async def wait(self) -> None:
        """Wait for the last ack. Raises the first handler's error."""
        if self._open:
            await self._done.wait()
        if self._error is not None:
            raise self._error


class Inline:
    """Every publish of a broker that somebody waits for."""

    def __init__(self) -> None:
        self._by_id: dict[str, Errand] = {}
        self._by_ack: dict[tuple[str, TopicPartition, int], Errand] = {}

    def begin(
        self, message: Message, at: TopicPartition, offset: int, groups: Iterable[str]
    ) -> Errand | None:
        """Note a message that was written; None when the publish that caused it waits for it too.

        A message that keeps its id (a dead letter) belongs to what the first of that id belongs to.
        """
        cause = message.header(CAUSATION)
        known = self._by_id.get(cause.decode(errors="replace")) if cause else None
        known = known or self._by_id.get(message.id)
        errand = known or Errand()
        for group in groups:
            errand.expect()
            self._by_ack[group, at, offset] = errand
        if message.id and message.id not in self._by_id:
            self._by_id[message.id] = errand
            errand.ids.append(message.id)
        return None if known else errand

    async def wait(self, errand: Errand) -> None:
        """Wait until everything that came of a publish is handled. Raises the first handler's error."""
        try:
            await errand.wait()
        except asyncio.CancelledError:
            self._tell(errand)
            raise
        finally:
            self._forget(errand)

    def settled(self, group: str, at: TopicPartition, offset: int, error: Exception | None) -> None:
        """Note that a group acked a message."""
        if (errand := self._by_ack.pop((group, at, offset), None)) is not None and errand.settle(error):
            self._forget(errand)

    def left(self, group: str, error: Exception) -> None:
        """Note that the group has no member any more: whoever waits for it gets `error`."""
        for place in [place for place in self._by_ack if place[0] == group]:
            self.settled(*place, error)

    def _tell(self, errand: Errand) -> None:
        """Say for whom a publish waited in vain: PublishUnknown does not know."""
        waited = sorted({group for (group, _, _), known in self._by_ack.items() if known is errand})
        logger.warning(
            "inline: a publish gave up waiting for an ack of group %s: ack in another task than the one that "
            "publishes, or use memory:// without inline",
            ", ".join(waited),
        )

    def _forget(self, errand: Errand) -> None:
        for known in errand.ids:
            self._by_id.pop(known, None)
        errand.ids.clear()
