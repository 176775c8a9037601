"""Sabotage of the inboxes."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from eventwire.context import Context
from eventwire.inbox import Handle, InboxKey
from eventwire.inbox import redis as redis_inbox
from eventwire.inbox.table import insertion
from eventwire.inbox.transactions import AsyncTransactions, Attempt
from tests.chaos.mutants import mutant

_SQL = "tests/chaos/test_inbox.py::test_effects_in_the_inboxs_transaction_are_exactly_once[{}-sqlite]".format
_REDIS = "tests/chaos/test_inbox.py::test_a_lease_keeps_copies_apart[redis-sqlite]"


@mutant(bar=_SQL("sqlite"), sees="effects of 300 events")
def no_inbox() -> None:
    """Nothing is noted as handled."""

    def begin(self: Attempt) -> bool:
        self.fresh = True
        return True

    Attempt.begin = begin  # type: ignore[method-assign]
    Attempt.commit = lambda self: self.session.commit()  # type: ignore[method-assign]


@mutant(bar=_SQL("sqlite"), sees="300 events handled, there are|everything is settled, but not|lost: ")
def noted_before_the_handler() -> None:
    """The event is noted in a transaction of its own, before the handler's."""

    async def once(
        self: AsyncTransactions, table: Table, key: InboxKey, context: Context, handle: Handle
    ) -> bool:
        async with self.session() as session:
            try:
                await session.execute(insertion(table, key))
                await session.commit()
            except IntegrityError:
                return False
            context.provide(AsyncSession, session)
            await handle()
            await session.commit()
        return True

    AsyncTransactions.once = once  # type: ignore[method-assign]


@mutant(bar=_SQL("postgres"), sees="effects of 300 events")
def committed_without_success() -> None:
    """What the handler did is committed also when it raised."""

    async def once(
        self: AsyncTransactions, table: Table, key: InboxKey, context: Context, handle: Handle
    ) -> bool:
        async with self.session() as session:
            context.provide(AsyncSession, session)
            try:
                await handle()
            finally:
                await session.commit()
            try:
                await session.execute(insertion(table, key))
                await session.commit()
            except IntegrityError:
                return False
        return True

    AsyncTransactions.once = once  # type: ignore[method-assign]


@mutant(bar=_REDIS, sees="duplicates: ")
def no_lease() -> None:
    """An event that is being handled elsewhere is handled here, too."""
    take = redis_inbox.Lease.take

    async def sabotaged(self: redis_inbox.Lease) -> bool | None:
        return await take(self) is not False

    redis_inbox.Lease.take = sabotaged  # type: ignore[method-assign]


@mutant(bar=_REDIS, sees="300 events handled, there are|everything is settled, but not|lost: ")
def done_without_success() -> None:
    """The event is marked as done also when the handler raised."""

    async def give_back(self: redis_inbox.Lease) -> None:
        await self.finish()

    redis_inbox.Lease.give_back = give_back  # type: ignore[method-assign]
