"""An outbox on a real database, for tests: recording, relays that are driven round by round, what arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from eventwire import Bus, Message, Middleware, PublishNext, Receipt, RetryPolicy
from eventwire.outbox import Outbox, Relay, Tables
from eventwire.outbox.membership import Membership
from eventwire.outbox.publishing import Publishing
from eventwire.outbox.rounds import Rounds
from eventwire.outbox.store import Store
from tests.unit.shop import ORDERS, PRICES, Cancelled, Placed, Price

AT_ONCE = RetryPolicy(initial_backoff=0.0, max_backoff=60.0)
LATER = RetryPolicy(initial_backoff=60.0, max_backoff=60.0, jitter=0.0)


class Seen(Middleware):
    """Remembers what was published; refuses what it is told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refuse: Callable[[Message], Exception | None] = lambda _: None

    async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
        if (error := self.refuse(message)) is not None:
            raise error
        self.messages.append(message)
        return await call_next(message)

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.messages]

    def bodies(self, key: bytes | None = None) -> list[bytes | None]:
        return [message.body for message in self.messages if key is None or message.key == key]


@dataclass
class Stage:
    """A database with the tables, and a bus."""

    engine: AsyncEngine
    sync_engine: Engine
    seen: Seen = field(default_factory=Seen)
    tables: Tables = field(default_factory=Tables)

    def __post_init__(self) -> None:
        self.bus = Bus("memory://", middleware=[self.seen])
        self.outbox: Outbox[Placed | Cancelled | Price] = Outbox(self.bus, ORDERS, PRICES, tables=self.tables)

    def relay(self, bus: Bus | None = None, **options: Any) -> Relay:
        given: dict[str, Any] = {"poll_interval": 0.01, "retry": AT_ONCE} | options
        return Relay(bus or self.bus, self.engine, tables=self.tables, **given)

    def rounds(
        self, bus: Bus | None = None, *, batch: int = 500, retry: RetryPolicy = AT_ONCE, lease: float = 60.0
    ) -> Rounds:
        """What a relay does, to be driven round by round; the heartbeats are the test's, too."""
        store = Store(self.engine, self.tables, longest_wait=retry.max_backoff, timeout=30.0)
        publishing = Publishing((bus or self.bus).channel, retry)
        return Rounds(store, Membership(store, lease), publishing, batch)

    def message(self, event: Placed) -> Message:
        """The event as the bus writes it."""
        return self.bus.writer(ORDERS).write(event, None, "id", None)

    def session(self) -> Session:
        return Session(self.sync_engine)

    def async_session(self) -> AsyncSession:
        return AsyncSession(self.engine)

    def record(self, *events: Placed | Cancelled | Price, **options: Any) -> list[str]:
        with self.session() as session, session.begin():
            return [self.outbox.add(session, event, **options) for event in events]

    def rows(self) -> Sequence[Any]:
        with self.session() as session:
            return session.execute(select(self.tables.rows).order_by(self.tables.rows.c.seq)).all()

    def change(self, **values: Any) -> None:
        """Change all rows, behind everybody's back."""
        with self.session() as session, session.begin():
            session.execute(update(self.tables.rows).values(**values))


@asynccontextmanager
async def stage(url: str, async_url: str, **engine_options: Any) -> AsyncGenerator[Stage]:
    """A stage with empty tables, dropped at the end."""
    sync_engine, engine = create_engine(url), create_async_engine(async_url, **engine_options)
    found = Stage(engine, sync_engine)
    if sync_engine.dialect.name == "sqlite":
        with (
            sync_engine.connect() as connection
        ):  # a test that reads must not wait for a relay that needs its loop
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    found.tables.metadata.create_all(sync_engine)
    try:
        async with found.bus:
            yield found
    finally:
        await engine.dispose()
        found.tables.metadata.drop_all(sync_engine)
        sync_engine.dispose()


@asynccontextmanager
async def joined(rounds: Rounds) -> AsyncGenerator[Rounds]:
    """A relay's work without the relay: it is among the others, and its rounds are the test's."""
    await rounds.join()
    try:
        yield rounds
    finally:
        await rounds.members.leave()


async def drain(rounds: Rounds) -> None:
    """Rounds until there is nothing to do."""
    while await rounds.round():
        pass


async def until(true: Callable[[], bool], within: float = 30.0) -> None:
    """Wait for what the relay does in the background."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  other tasks, and other processes, make it true
            await asyncio.sleep(0.005)
