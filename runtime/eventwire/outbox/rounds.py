"""The relay's work, round by round: read a batch, publish it, delete what was confirmed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from eventwire.middleware.backoff import backoff
from eventwire.outbox.membership import Membership
from eventwire.outbox.publishing import Outcomes, Publishing
from eventwire.outbox.store import DATABASE_ERRORS, Store, shown
from eventwire.policy import RetryPolicy

_log = logging.getLogger("eventwire.outbox")
DATABASE_RETRY = RetryPolicy(initial_backoff=0.1, max_backoff=5.0)


class Rounds:
    """Rounds of one relay, one after the other. `batch`: rows at most in a round."""

    def __init__(self, store: Store, members: Membership, publishing: Publishing, batch: int) -> None:
        self.store = store
        self.members = members
        self.publishing = publishing
        self.batch = batch
        self.published = self.failed = 0
        self.looked: float | None = None
        """When the outbox was last looked into with success, on the monotonic clock."""
        self.progress: float | None = None
        """When something was last published."""
        self.trouble: dict[str, str] = {}
        """What is wrong just now, by kind."""

    async def join(self) -> None:
        """Become one of the relays. Raises ConfigurationError when tables are missing, and DATABASE_ERRORS."""
        await self.store.prepare()
        await self.members.join()
        await self.members.balance()

    async def round(self) -> bool:
        """Publish one batch; whether there was anything to do. Raises DATABASE_ERRORS."""
        await self.members.balance()
        me, term, held = self.members.me, self.members.term, dict(self.members.slots)
        at = time.monotonic()
        rows, lost = await self.store.read(
            me,
            held,
            self.batch,
            brokers=self.publishing.brokers.paused(at),
            topics=self.publishing.topics.paused(at),
        )
        self.looked = time.monotonic()
        if term == self.members.term:
            self.members.lose(lost)
        if not rows:
            return False
        outcomes = await self.publishing.publish(rows, lambda: self.members.holds(term))
        await self._settle(me, term, held, outcomes)
        return bool(outcomes.confirmed or outcomes.failed)

    async def _settle(self, me: str, term: int, held: Mapping[int, int], outcomes: Outcomes) -> None:
        """Again until it is done, or the slots are lost: what is not deleted would be published again."""
        self._count(outcomes)
        failures = 0
        while (outcomes.confirmed or outcomes.failed) and term == self.members.term:
            try:
                lost = await self.store.settle(me, held, outcomes.confirmed, outcomes.failed)
            except DATABASE_ERRORS as error:
                failures += 1
                self.tell("database", f"database: {shown(error)}")
                await asyncio.sleep(backoff(DATABASE_RETRY, failures, 0.5))
            else:
                if lost and term == self.members.term:
                    self.members.lose(lost)
                return

    def _count(self, outcomes: Outcomes) -> None:
        if outcomes.confirmed:
            self.progress = time.monotonic()
        self.published += len(outcomes.confirmed)
        self.failed += len(outcomes.failed)
        if outcomes.failed:
            first = outcomes.failed[0]
            _log.log(
                logging.WARNING if any(failure.row.attempts == 0 for failure in outcomes.failed) else logging.INFO,
                "%d of %d rows were not published; the first is row %d, event %s of %s, at attempt %d: %s",
                len(outcomes.failed), len(outcomes.failed) + len(outcomes.confirmed), first.row.seq,
                first.row.message.id, first.row.message.topic, first.row.attempts + 1, shown(first.error),
            )  # fmt: skip

    def tell(self, kind: str, trouble: str) -> None:
        """Note a trouble; the first of its kind is logged."""
        if kind not in self.trouble:
            _log.warning("relay %s: %s", self.members.me, trouble)
        self.trouble[kind] = trouble
