"""The SQL inbox: the event's key and the handler's effects in one transaction. Needs the extra `inbox`."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from eventwire.errors import ConfigurationError, InboxBusy, InboxUnavailable, MissingDriver

try:
    import sqlalchemy
except ModuleNotFoundError as error:
    raise MissingDriver("SqlInbox needs SQLAlchemy: pip install 'eventwire[inbox]'") from error
from sqlalchemy import Engine, Insert, Table, delete
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from eventwire.handler import AnyHandler
from eventwire.inbox.base import Handle
from eventwire.inbox.faults import in_the_way, transient
from eventwire.inbox.key import InboxKey
from eventwire.inbox.purge import purge_batch
from eventwire.inbox.table import inbox_table, insertion, selection
from eventwire.inbox.transactions import AsyncTransactions, SyncTransactions

if TYPE_CHECKING:
    from eventwire.context import Context

__all__ = ["SqlInbox", "inbox_table", "transient"]

_log = logging.getLogger("eventwire.inbox")
_WEEK = 7 * 24 * 3600.0
_BATCH = 1000


class SqlInbox:
    """Handles each event once for its group, as far as the effects are in this database.

    Each attempt is one transaction: the event's key is inserted, the handler runs with the session, and both are
    committed when it returns. What it raises rolls both back. A second delivery of the event waits for the first one's
    transaction, and is skipped when that has committed.

    `source`: an AsyncEngine or async_sessionmaker for handlers in the event loop, which get the session as
    `context.resource(AsyncSession)`; an Engine or sessionmaker for synchronous handlers, `context.resource(Session)`.
    The handler neither commits nor rolls back. Give the pool a connection for each of the worker's `concurrency`.
    `table`: by `inbox_table`, made by your migrations (or `create`). `retention`: seconds that an event is remembered,
    more than the longest time after which the broker can deliver it again; None for ever. Every `purge_every` seconds
    a worker's process removes what is older. `patience`: seconds that a second delivery waits before it raises
    InboxBusy.

    Errors that are the database's and not the event's (`transient`) become InboxUnavailable, those of transactions
    that are in each other's way (deadlock, serialization failure) InboxBusy. Neither uses up an attempt.
    """

    def __init__(
        self,
        source: AsyncEngine | async_sessionmaker[Any] | Engine | sessionmaker[Any],
        *,
        table: Table | None = None,
        retention: float | None = _WEEK,
        purge_every: float = 300.0,
        patience: float = 10.0,
    ) -> None:
        if retention is not None and retention <= 0:
            raise ConfigurationError("retention is more than 0 seconds, or None for ever")
        self._table = inbox_table() if table is None else table
        self._retention = retention
        self._purge_every = purge_every
        self._transactions = _transactions(source, patience)

    def check(self, handlers: Sequence[type[AnyHandler]]) -> None:
        """See Inbox.check."""
        kind = self._transactions.kind
        for handler in handlers:
            if not issubclass(handler, kind):
                raise ConfigurationError(
                    f"{handler.__qualname__} is no {kind.__name__}: a SqlInbox of an AsyncEngine is for asynchronous "
                    "handlers, one of an Engine for synchronous ones; write a worker for each, in groups of their own"
                )

    async def once(self, key: InboxKey, context: Context, handle: Handle) -> bool:
        """See Inbox.once. Raises HandlerError when the handler ended the transaction."""
        try:
            return await self._transactions.once(self._table, key, context, handle)
        except Exception as error:
            if transient(error):
                kind = InboxBusy if in_the_way(error) else InboxUnavailable
                raise kind(f"the database: {_shown(error)}") from error
            raise

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """See Inbox.lifespan."""
        await self._require_table()
        await self._require_rollback()
        purging = asyncio.create_task(self._purge_regularly(), name="eventwire inbox purge")
        try:
            yield
        finally:
            purging.cancel()
            await asyncio.gather(purging, return_exceptions=True)

    async def create(self) -> None:
        """Create the table where it is missing: for tests and first steps; migrations do it elsewhere."""
        await self._transactions.run(
            lambda session: self._table.create(session.connection(), checkfirst=True)
        )

    async def purge(self, older_than: float) -> int:
        """Forget events handled more than so many seconds ago; how many rows that were.

        In transactions of 1,000 rows. On PostgreSQL and SQLite one process at a time does it, whoever calls: a second
        one leaves it to the first. Elsewhere call it from one.
        """
        removed = 0
        while True:
            rows = await self._transactions.run(
                lambda session: purge_batch(session, self._table, older_than, _BATCH)
            )
            removed += rows
            if rows < _BATCH:
                return removed

    async def _require_table(self) -> None:
        def there(session: Session) -> bool:
            found = sqlalchemy.inspect(session.connection())
            return found.has_table(self._table.name, schema=self._table.schema)

        try:
            known = await self._transactions.run(there)
        except Exception as error:
            if transient(error):
                raise InboxUnavailable(f"the database: {_shown(error)}") from error
            raise
        if not known:
            raise ConfigurationError(
                f"the inbox's table {self._table.fullname} is not in the database: add `inbox_table(metadata)` to your "
                "migrations, or `await inbox.create()` once"
            )

    async def _require_rollback(self) -> None:
        """An engine in AUTOCOMMIT would keep the row of a failed attempt, and the event would be skipped."""
        probe = InboxKey("", "", b"", "probe", secrets.token_bytes(16))
        with suppress(_RollBack):
            await self._transactions.run(partial(_insert_and_fail, insertion(self._table, probe)))
        found = selection(self._table, probe)
        if await self._transactions.run(lambda session: session.scalar(found)) is not None:
            own = self._table.c.digest == probe.digest
            await self._transactions.run(lambda session: session.execute(delete(self._table).where(own)))
            raise ConfigurationError(
                "the inbox's engine does not roll back (isolation level AUTOCOMMIT?): give it one with transactions"
            )

    async def _purge_regularly(self) -> None:
        while self._retention is not None:
            await asyncio.sleep(self._purge_every * random.uniform(0.5, 1.0))  # noqa: S311  spreads the processes
            try:
                removed = await self.purge(self._retention)
            except Exception as error:  # noqa: BLE001  a purge that fails is made up for by the next one
                _log.warning(
                    "inbox %s: purge failed, next time again: %s", self._table.fullname, _shown(error)
                )
            else:
                _log.debug("inbox %s: %d rows purged", self._table.fullname, removed)


class _RollBack(Exception):
    """Ends a transaction."""


def _insert_and_fail(statement: Insert, session: Session) -> None:
    session.execute(statement)
    raise _RollBack


def _transactions(
    source: AsyncEngine | async_sessionmaker[Any] | Engine | sessionmaker[Any], patience: float
) -> AsyncTransactions | SyncTransactions:
    match source:
        case AsyncEngine():
            return AsyncTransactions(async_sessionmaker(source, expire_on_commit=False), patience)
        case async_sessionmaker():
            return AsyncTransactions(source, patience)
        case Engine():
            return SyncTransactions(sessionmaker(source))
        case sessionmaker():
            return SyncTransactions(source)


def _shown(error: Exception) -> str:
    """Without the statement and its parameters, which hold the event's data."""
    origin = getattr(error, "orig", None) or error
    return f"{type(error).__name__}: {str(origin)[:200]}"
