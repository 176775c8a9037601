"""The SQL inbox in real databases: SQLite always, PostgreSQL where there is one."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Insert,
    MetaData,
    String,
    Table,
    create_engine,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from eventwire import Bus, ConfigurationError, Context, HandlerError, InboxBusy, InboxUnavailable, Worker
from eventwire.inbox import InboxKey
from eventwire.inbox.purge import purge_batch
from eventwire.inbox.sql import SqlInbox, inbox_table
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS, OrdersHandler, OrdersPublisher, OrdersSyncHandler, Placed
from tools import servers

_PATIENCE = 20.0

METADATA = MetaData()
CHARGES = Table("charges", METADATA, Column("charge", String, primary_key=True), Column("order_id", String))


@dataclass
class Database:
    """A database of the test's own, with the inbox's table and one for effects."""

    name: str
    engine: AsyncEngine
    sync: Engine
    inbox_table: Table

    async def charges(self) -> list[str]:
        async with self.engine.connect() as connection:
            return list((await connection.scalars(select(CHARGES.c.order_id).order_by("order_id"))).all())

    async def remembered(self) -> int:
        async with self.engine.connect() as connection:
            rows = await connection.scalar(select(func.count()).select_from(self.inbox_table))
        return rows or 0


def charge(order_id: str) -> Insert:
    return insert(CHARGES).values(charge=secrets.token_hex(8), order_id=order_id)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Database]:
    if request.param == "sqlite":
        urls = [f"sqlite+{driver}:///{tmp_path / 'shop.db'}" for driver in ("aiosqlite", "pysqlite")]
    else:
        url = request.getfixturevalue("postgres_server").url
        urls = [url, url]
    options = {} if request.param == "sqlite" else {"pool_size": 20}
    database = Database(
        request.param,
        create_async_engine(urls[0], **options),
        create_engine(urls[1], **options),
        inbox_table(MetaData(), name=f"inbox_{secrets.token_hex(4)}"),
    )
    async with database.engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.run_sync(METADATA.create_all)
        await connection.run_sync(database.inbox_table.create)
    yield database
    async with database.engine.begin() as connection:
        await connection.run_sync(database.inbox_table.drop)
    await database.engine.dispose()
    database.sync.dispose()


Handle = Callable[[Placed, Context], Awaitable[None]]


class Billing(OrdersHandler):
    """Charges an order, then does what the test says."""

    def __init__(self, then: Handle | None = None) -> None:
        self._then = then
        self.calls = 0

    async def on_placed(self, event: Placed, context: Context) -> None:
        self.calls += 1
        await context.resource(AsyncSession).execute(charge(event.order_id))
        if self._then is not None:
            await self._then(event, context)


class SyncBilling(OrdersSyncHandler):
    def __init__(self, then: Callable[[Placed, Context], None] | None = None) -> None:
        self._then = then
        self.calls = 0

    def on_placed(self, event: Placed, context: Context) -> None:
        self.calls += 1
        context.resource(Session).execute(charge(event.order_id))
        if self._then is not None:
            self._then(event, context)


async def settled(worker: Worker, count: int) -> None:
    async with asyncio.timeout(_PATIENCE):
        while worker.counts.settled < count:  # noqa: ASYNC110  the counts are plain numbers
            await asyncio.sleep(0.001)


@asynccontextmanager
async def working(
    handler: OrdersHandler | OrdersSyncHandler, inbox: SqlInbox, *, seconds: float | None = None
) -> AsyncGenerator[tuple[OrdersPublisher, Worker]]:
    async with (
        Bus("memory://") as bus,
        Worker(bus, handler, group="billing", inbox=inbox, timeout=seconds) as worker,
    ):
        yield OrdersPublisher(bus), worker


async def publish(orders: OrdersPublisher, *ids: str) -> None:
    """Each to a partition of its own, so that copies of one id are handled at once."""
    for id in ids:
        await orders.publish(Placed(id), id=id)


# Once


async def test_a_second_delivery_is_skipped(database: Database) -> None:
    async with working(Billing(), SqlInbox(database.engine, table=database.inbox_table)) as (orders, worker):
        await publish(orders, "a", "b", "a", "b", "a")
        await settled(worker, 5)
        assert (worker.counts.handled, worker.counts.duplicates) == (2, 3)
    assert await database.charges() == ["a", "b"]


async def test_a_sync_handler_has_its_transaction_in_its_thread(database: Database) -> None:
    names: set[str] = set()

    def note(_: Placed, __: Context) -> None:
        names.add(threading.current_thread().name)

    inbox = SqlInbox(database.sync, table=database.inbox_table)
    async with working(SyncBilling(note), inbox) as (orders, worker):
        await publish(orders, "a", "b", "a", "b", "a")
        await settled(worker, 5)
        assert (worker.counts.handled, worker.counts.duplicates) == (2, 3)
    assert await database.charges() == ["a", "b"]
    assert all(name.startswith("eventwire-billing") for name in names)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_fails_leaves_nothing_and_is_tried_again(database: Database, kind: str) -> None:
    failures = iter([True, True, False])

    def fail(event: Placed, _: Context) -> None:
        if next(failures):
            raise ValueError(event.order_id)

    async def fail_async(event: Placed, context: Context) -> None:
        fail(event, context)

    handler = Billing(fail_async) if kind == "async" else SyncBilling(fail)
    source = database.engine if kind == "async" else database.sync
    async with working(handler, SqlInbox(source, table=database.inbox_table)) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.retried) == (1, 2)
    assert handler.calls == 3
    assert await database.charges() == ["a"]
    assert await database.remembered() == 1


async def test_what_failed_for_good_is_not_remembered(database: Database) -> None:
    async def fail(event: Placed, _: Context) -> None:
        raise ValueError(event.order_id)

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(fail), inbox) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert worker.counts.dead_lettered == 1
    assert await database.charges() == []
    assert await database.remembered() == 0


async def test_sessionmakers_give_sessions_of_their_own_class(database: Database) -> None:
    class OwnSession(AsyncSession):
        pass

    found: list[object] = []

    async def look(_: Placed, context: Context) -> None:
        found.extend((context.resource(OwnSession), context.resource(AsyncSession)))

    sessions = async_sessionmaker(database.engine, class_=OwnSession)
    inbox = SqlInbox(sessions, table=database.inbox_table)
    async with working(Billing(look), inbox) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert worker.counts.handled == 1
    assert isinstance(found[0], OwnSession)
    assert found[0] is found[1]
    sync = SqlInbox(sessionmaker(database.sync), table=database.inbox_table)
    async with working(SyncBilling(), sync) as (orders, worker):
        await publish(orders, "a", "b")
        await settled(worker, 2)
        assert (worker.counts.handled, worker.counts.duplicates) == (1, 1)


# Ends of an attempt


async def test_a_timeout_rolls_back(database: Database) -> None:
    calls: list[str] = []

    async def hang_at_first(event: Placed, _: Context) -> None:
        calls.append(event.order_id)
        if len(calls) == 1:
            await asyncio.Event().wait()

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(hang_at_first), inbox, seconds=0.5) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.retried) == (1, 1)
    assert await database.charges() == ["a"]


async def test_what_swallows_its_cancellation_is_rolled_back(database: Database) -> None:
    calls: list[str] = []

    async def swallow_at_first(event: Placed, _: Context) -> None:
        calls.append(event.order_id)
        if len(calls) == 1:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(swallow_at_first), inbox, seconds=0.5) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.retried) == (1, 1)
    assert await database.charges() == ["a"]


async def test_a_thread_that_outlives_its_timeout_commits_once(database: Database) -> None:
    go, calls = threading.Event(), 0

    def wait(_: Placed, __: Context) -> None:
        nonlocal calls
        calls += 1
        assert go.wait(_PATIENCE)

    inbox = SqlInbox(database.sync, table=database.inbox_table)
    async with working(SyncBilling(wait), inbox, seconds=0.2) as (orders, worker):
        await publish(orders, "a")
        async with asyncio.timeout(_PATIENCE):
            while not worker.counts.retried:  # noqa: ASYNC110  the counts are plain numbers
                await asyncio.sleep(0.001)
        go.set()
        await settled(worker, 1)
        assert worker.counts.handled + worker.counts.duplicates == 1
    assert await database.charges() == ["a"]


@pytest.mark.parametrize("end", ["rollback", "close", "commit"])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_handler_cannot_end_the_transaction_unseen(database: Database, kind: str, end: str) -> None:
    async def end_it(_: Placed, context: Context) -> None:
        await getattr(context.resource(AsyncSession), end)()

    def end_it_sync(_: Placed, context: Context) -> None:
        getattr(context.resource(Session), end)()

    handler = Billing(end_it) if kind == "async" else SyncBilling(end_it_sync)
    source = database.engine if kind == "async" else database.sync
    inbox = SqlInbox(source, table=database.inbox_table)
    async with Bus("memory://?inline=true") as bus, Worker(bus, handler, group="billing", inbox=inbox):
        with pytest.raises(HandlerError, match="inbox's session" if end == "commit" else "ended the inbox's"):
            await publish(OrdersPublisher(bus), "a")
    assert await database.charges() == []
    assert await database.remembered() == 0


async def test_a_failed_statement_that_the_handler_swallowed_is_no_success(database: Database) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK, and no error."""

    async def swallow(event: Placed, context: Context) -> None:
        session = context.resource(AsyncSession)
        row = {"charge": "one", "order_id": "one"}
        for _ in range(2):
            try:
                await session.execute(insert(CHARGES).values(row))
            except IntegrityError:
                return

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(swallow), inbox) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        handled = worker.counts.handled
    assert handled == (database.name == "sqlite")
    assert await database.remembered() == handled
    assert await database.charges() == (["a", "one"] if handled else [])


async def test_savepoints_are_the_handlers(database: Database) -> None:
    async def part(_: Placed, context: Context) -> None:
        session = context.resource(AsyncSession)
        async with session.begin_nested():
            await session.execute(insert(CHARGES).values(charge="kept", order_id="kept"))
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                await session.execute(insert(CHARGES).values(charge="kept", order_id="twice"))

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(part), inbox) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
        assert worker.counts.handled == 1
    assert await database.charges() == ["a", "kept"]


# Two at once


async def test_a_second_delivery_waits_for_the_first(database: Database) -> None:
    if database.name == "sqlite":
        pytest.skip("SQLite has one writer: its deliveries take turns")
    at, go = asyncio.Event(), asyncio.Event()
    key = InboxKey("billing", "shop.v1", b"/shop/v1", "shop.v1.Placed", b"a")

    async def first() -> None:
        at.set()
        await go.wait()

    async def second() -> None:
        raise AssertionError("handled twice")

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    impatient = SqlInbox(database.engine, table=database.inbox_table, patience=0.2)
    holder = asyncio.create_task(inbox.once(key, _context(), first))
    await at.wait()
    with pytest.raises(InboxBusy, match="another delivery of the event"):
        await impatient.once(key, _context(), second)
    waiting = asyncio.create_task(inbox.once(key, _context(), second))
    await asyncio.sleep(0)
    go.set()
    assert (await holder, await waiting) == (True, False)


async def test_a_second_delivery_takes_over_when_the_first_fails(database: Database) -> None:
    at, go = asyncio.Event(), asyncio.Event()
    key = InboxKey("billing", "shop.v1", b"/shop/v1", "shop.v1.Placed", b"a")

    async def first() -> None:
        at.set()
        await go.wait()
        raise ValueError("no")

    async def second() -> None:
        pass

    inbox = SqlInbox(database.engine, table=database.inbox_table)
    holder = asyncio.create_task(inbox.once(key, _context(), first))
    await at.wait()
    waiting = asyncio.create_task(inbox.once(key, _context(), second))
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(ValueError, match="no"):
        await holder
    assert await waiting


def _context() -> Context:
    return Context(Bus("memory://"), ORDERS, "billing", FakeDelivery(), NoSleep())


# Life


async def test_a_missing_table_is_told_at_the_start(database: Database) -> None:
    inbox = SqlInbox(database.engine, table=inbox_table(name="nowhere"))
    with pytest.raises(ConfigurationError, match=r"nowhere is not in the database.*migrations"):
        async with working(Billing(), inbox):
            pass


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_engine_that_cannot_roll_back_is_refused(database: Database, kind: str) -> None:
    made = database.engine if kind == "async" else database.sync
    source = made.execution_options(isolation_level="AUTOCOMMIT")
    handler = Billing() if kind == "async" else SyncBilling()
    with pytest.raises(ConfigurationError, match="does not roll back"):
        async with working(handler, SqlInbox(source, table=database.inbox_table)):
            pass
    assert await database.remembered() == 0


async def test_create_makes_the_table_once(database: Database) -> None:
    table = inbox_table(name=f"made_{secrets.token_hex(4)}")
    inbox = SqlInbox(database.engine, table=table)
    await inbox.create()
    await inbox.create()
    async with working(Billing(), inbox) as (orders, worker):
        await publish(orders, "a")
        await settled(worker, 1)
    async with database.engine.begin() as connection:
        await connection.run_sync(table.drop)


async def test_a_database_that_is_gone_uses_up_no_attempt(database: Database) -> None:
    gone = "sqlite+aiosqlite:////nowhere/at/all.db"
    if database.name == "postgresql":
        gone = str(database.engine.url.set(host="127.0.0.1", port=1))
    inbox = SqlInbox(create_async_engine(gone), table=database.inbox_table)

    async def never() -> None:
        raise AssertionError("handled without the inbox")

    with pytest.raises(InboxUnavailable):
        await inbox.once(InboxKey("g", "t", b"", "x", b"1"), _context(), never)
    with pytest.raises(InboxUnavailable):
        async with inbox.lifespan():
            pass


async def test_purging_forgets_what_is_old_and_no_more(database: Database) -> None:
    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(), inbox) as (orders, worker):
        await publish(orders, *map(str, range(30)))
        await settled(worker, 30)
    await make_old(database)
    before = await database.remembered()
    old = await inbox.purge(older_than=1800)
    assert 0 < old < 30
    assert await database.remembered() == before - old
    assert await inbox.purge(older_than=1800) == 0


async def make_old(database: Database) -> None:
    """By an hour, those whose id begins with 0 or 1."""
    table = database.inbox_table
    moment = datetime.now(UTC) - timedelta(hours=1)
    async with database.engine.begin() as connection:
        await connection.execute(update(table).where(table.c.event_id < "2").values(handled_at=moment))


async def test_purging_goes_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventwire.inbox.sql._BATCH", 7)
    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(), inbox) as (orders, worker):
        await publish(orders, *(f"1{n}" for n in range(30)))
        await settled(worker, 30)
    await make_old(database)
    assert await inbox.purge(older_than=1800) == 30
    assert await database.remembered() == 0


async def test_a_second_purge_leaves_it_to_the_first(database: Database) -> None:
    if database.name == "sqlite":
        pytest.skip("SQLite has one writer: a second purge waits and finds nothing")
    inbox = SqlInbox(database.engine, table=database.inbox_table)
    async with working(Billing(), inbox) as (orders, worker):
        await publish(orders, "1")
        await settled(worker, 1)
    await make_old(database)
    async with async_sessionmaker(database.engine)() as other:
        assert await other.run_sync(purge_batch, database.inbox_table, 1e9, 1) == 0
        assert await inbox.purge(older_than=1800) == 0
    assert await inbox.purge(older_than=1800) == 1


async def test_a_worker_purges_by_itself(database: Database) -> None:
    inbox = SqlInbox(database.engine, table=database.inbox_table, retention=1800, purge_every=0.01)
    async with working(Billing(), inbox) as (orders, worker):
        await publish(orders, "1")
        await settled(worker, 1)
        await make_old(database)
        async with asyncio.timeout(_PATIENCE):
            while await database.remembered():  # noqa: ASYNC110  another connection changes it
                await asyncio.sleep(0.01)


@pytest.mark.server
async def test_an_outage_of_the_database_dead_letters_nothing(postgres_server: servers.Server) -> None:
    if not postgres_server.controllable:
        pytest.skip(f"NOT RUN: {postgres_server.origin} is not ours to kill")
    engine, table = create_async_engine(postgres_server.url), inbox_table(name=f"i_{secrets.token_hex(4)}")
    inbox = SqlInbox(engine, table=table, patience=2)
    await inbox.create()
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.run_sync(METADATA.create_all)
    async with working(Billing(), inbox) as (orders, worker):
        await publish(orders, *(f"before{n}" for n in range(20)))
        await settled(worker, 20)
        await asyncio.to_thread(postgres_server.kill)
        await publish(orders, *(f"during{n}" for n in range(20)))
        async with asyncio.timeout(_PATIENCE):
            while worker.counts.transient < 3:  # noqa: ASYNC110  the counts are plain numbers
                await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres_server.start)
        await settled(worker, 40)
        counts = worker.counts
        assert (counts.handled, counts.dead_lettered, counts.retried) == (40, 0, 0)
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(CHARGES)) == 40
    await engine.dispose()
