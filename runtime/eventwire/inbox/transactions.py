"""One transaction for each attempt: the event's row, what the handler does, commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Table, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from eventwire.errors import HandlerError, InboxBusy, InboxUnavailable
from eventwire.handler import AnyHandler, Handler, SyncHandler
from eventwire.inbox.base import Handle
from eventwire.inbox.key import InboxKey
from eventwire.inbox.table import insertion, selection

if TYPE_CHECKING:
    from eventwire.context import Context

T = TypeVar("T")

_ROLLED_BACK = (
    "the handler ended the inbox's transaction, so what it did is not stored: it must not roll back or close the "
    "session; for a part that may fail, use `session.begin_nested()`"
)
_EARLY_COMMIT = (
    "the handler called commit() on the inbox's session: the inbox commits when the handler has returned, so that "
    "nothing of a failed attempt stays; use `session.flush()`, or `session.begin_nested()`"
)


class Attempt:
    """One attempt's use of a session. For the thread, or the greenlet, that uses the session."""

    def __init__(self, session: Session, table: Table, key: InboxKey) -> None:
        self.session = session
        self._table = table
        self._key = key
        self._committing = False
        self.fresh: bool | None = None
        """False when the event was handled before; None before `begin`."""

    def begin(self) -> bool:
        """Note the event as handled; False when it was. Waits for a transaction that has noted it and not ended."""
        try:
            self.session.execute(insertion(self._table, self._key))
        except IntegrityError:
            self.fresh = False
        else:
            self.fresh = True
            event.listen(self.session, "before_commit", self._refuse)
        return self.fresh

    def commit(self) -> None:
        """Commit, unless the handler has ended the transaction, or the database has: then raises HandlerError.

        PostgreSQL answers the COMMIT of a failed transaction with a rollback and no error, hence the look.
        """
        if self.session.scalar(selection(self._table, self._key)) is None:
            raise HandlerError(_ROLLED_BACK)
        self._committing = True
        self.session.commit()

    def run(self, work: Callable[[], None]) -> None:
        """The whole attempt, in a handler's thread."""
        with self.session:
            if self.begin():
                work()
                self.commit()

    def _refuse(self, session: Session) -> None:
        if not self._committing and not session.in_nested_transaction():
            raise HandlerError(_EARLY_COMMIT)


class AsyncTransactions:
    """For handlers in the event loop. `patience`: seconds to wait for another delivery of the same event."""

    kind: type[AnyHandler] = Handler

    def __init__(self, sessions: async_sessionmaker[Any], patience: float) -> None:
        self._sessions = sessions
        self._patience = patience
        self._turn = asyncio.Lock()

    async def once(self, table: Table, key: InboxKey, context: Context, handle: Handle) -> bool:
        """See Inbox.once."""
        async with self.session() as session:
            attempt = Attempt(session.sync_session, table, key)
            if not await self._begin(session, attempt):
                return False
            context.provide(AsyncSession, session)
            context.provide(type(session), session)
            await handle()
            await session.run_sync(lambda _: attempt.commit())
        return True

    async def run(self, work: Callable[[Session], T]) -> T:
        """Do something else in a transaction of its own."""
        async with self.session() as session, session.begin():
            return await session.run_sync(work)

    async def _begin(self, session: AsyncSession, attempt: Attempt) -> bool:
        connected = False
        try:
            async with asyncio.timeout(self._patience):
                await session.connection()
                connected = True
                return await session.run_sync(lambda _: attempt.begin())
        except TimeoutError as error:
            if connected:
                raise InboxBusy(
                    f"another delivery of the event was still being handled after {self._patience:g} s"
                ) from error
            raise InboxUnavailable(f"no connection to the database within {self._patience:g} s") from error

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """SQLite has one writer: in turn, none waits so long for the lock of the others that it gives up."""
        session: AsyncSession = self._sessions()
        async with session:
            if session.get_bind().dialect.name != "sqlite":
                yield session
                return
            async with self._turn:
                yield session


class SyncTransactions:
    """For handlers in threads: the transaction is the thread's own, from its begin to its end.

    So a thread that was given up (timeout, grace) either commits in the end, and the next attempt finds its row, or
    does not.
    """

    kind: type[AnyHandler] = SyncHandler

    def __init__(self, sessions: sessionmaker[Any]) -> None:
        self._sessions = sessions

    async def once(self, table: Table, key: InboxKey, context: Context, handle: Handle) -> bool:
        """See Inbox.once."""
        session: Session = self._sessions()
        attempt = Attempt(session, table, key)
        context.provide(Session, session)
        context.provide(type(session), session)
        context.around = attempt.run
        await handle()
        if attempt.fresh is None:
            raise HandlerError(
                "an asynchronous handler ran where the inbox has a synchronous engine: nothing was noted; "
                "give SqlInbox an AsyncEngine"
            )
        return attempt.fresh

    async def run(self, work: Callable[[Session], T]) -> T:
        """Do something else in a transaction of its own."""

        def in_thread() -> T:
            with self._sessions() as session, session.begin():
                return work(session)

        return await asyncio.to_thread(in_thread)
