"""The outbox on a real PostgreSQL, which two tests kill and suspend where it is ours."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import inspect

from eventwire import Unreachable
from eventwire.outbox import Tables
from tests.unit.outbox.cases import OutboxCases
from tests.unit.outbox.stage import Stage, drain, joined, until
from tests.unit.outbox.stage import stage as opened
from tests.unit.shop import Placed
from tools import docs, servers

PAGE = docs.read(docs.ROOT / "docs/outbox.md")
pytestmark = pytest.mark.server


@pytest.fixture
async def stage(postgres_server: servers.Server) -> AsyncGenerator[Stage]:
    async with opened(postgres_server.url, postgres_server.url) as found:
        yield found


@pytest.fixture
def mortal(postgres_server: servers.Server) -> servers.Server:
    """The server where it is ours to kill."""
    if not postgres_server.controllable:
        pytest.skip(f"NOT RUN: {postgres_server.origin} is not ours to kill")
    return postgres_server


class TestOnPostgres(OutboxCases):
    """All that must hold everywhere."""


async def test_a_lower_number_that_is_committed_later_is_not_skipped(stage: Stage) -> None:
    async with joined(stage.rounds()) as relay:
        with stage.session() as slow:
            first = stage.outbox.add(slow, Placed("1"))
            slow.flush()
            (second,) = stage.record(Placed("2"))
            await drain(relay)
            assert stage.seen.ids == [second]
            slow.commit()
        await drain(relay)
    assert stage.seen.ids == [second, first]


async def test_two_relays_that_claim_at_once_get_different_slots(stage: Stage) -> None:
    async with joined(stage.rounds()) as one, joined(stage.rounds()) as other:
        await one.store.keep(one.members.me, [])
        claims = await asyncio.gather(
            *(relay.store.claim(relay.members.me, 32) for relay in (one, other) for _ in range(2))
        )
    slots = [slot for claim in claims for slot in claim]
    assert len(slots) == len(set(slots))


async def test_a_relay_goes_on_when_the_database_was_killed_and_comes_back(
    stage: Stage, mortal: servers.Server
) -> None:
    async with stage.relay(lease=2.0) as relay:
        stage.record(*(Placed(str(number)) for number in range(20)))
        await until(lambda: len(set(stage.seen.ids)) == 20)
        await asyncio.to_thread(mortal.kill)
        await until(lambda: (relay.health().trouble or "").startswith("database: "))
        await asyncio.to_thread(mortal.start)
        stage.sync_engine.dispose()
        stage.record(*(Placed(str(number)) for number in range(20)))
        await until(lambda: len(set(stage.seen.ids)) == 40)
        await until(lambda: not stage.rows())
        await until(lambda: relay.health().trouble is None)


async def test_a_database_that_stands_still_is_told_and_outlived(
    stage: Stage, mortal: servers.Server
) -> None:
    async with stage.relay(lease=1.0, database_timeout=0.3) as relay:
        await asyncio.to_thread(mortal.suspend)
        try:
            await until(lambda: "TimeoutError" in (relay.health().trouble or ""))
        finally:
            await asyncio.to_thread(mortal.resume)
        (id,) = stage.record(Placed("1"))
        await until(lambda: stage.seen.ids == [id])
        await until(lambda: relay.health().trouble is None)


async def test_a_relay_ends_within_its_bounds_though_the_database_stands_still(
    stage: Stage, mortal: servers.Server
) -> None:
    relay = stage.relay(grace=0.1)
    run = asyncio.create_task(relay.run())
    await until(lambda: relay.health().looked is not None)
    await asyncio.to_thread(mortal.suspend)
    try:
        relay.stop()
        async with asyncio.timeout(25.0):
            await run
    finally:
        await asyncio.to_thread(mortal.resume)


async def test_a_database_that_cannot_be_reached_at_the_start_is_told_without_its_password(
    postgres_server: servers.Server,
) -> None:
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/none"
    async with opened(postgres_server.url, url) as stage:
        with pytest.raises(Unreachable) as caught:
            await stage.relay().run()
        with pytest.raises(Unreachable):
            await stage.relay().lag()
    assert "me:***@127.0.0.1:1/none" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_tables_in_a_schema_of_their_own(stage: Stage) -> None:
    tables = Tables(prefix="x_", schema="events")
    other = Stage(stage.engine, stage.sync_engine, tables=tables)
    with stage.sync_engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA events")
    tables.metadata.create_all(stage.sync_engine)
    try:
        (id,) = other.record(Placed("1"))
        async with other.bus, joined(other.rounds()) as relay:
            await drain(relay)
        assert other.seen.ids == [id]
    finally:
        tables.metadata.drop_all(stage.sync_engine)
        with stage.sync_engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA events")


async def test_the_migration_of_the_documentation_makes_exactly_the_tables(
    stage: Stage, tmp_path: Path
) -> None:
    [text] = [
        block.text for block in PAGE.blocks if block.argument == "migrations/versions/eventwire_outbox.py"
    ]
    (tmp_path / "migration.py").write_text(text)
    migration = runpy.run_path(str(tmp_path / "migration.py"))
    stage.tables.metadata.drop_all(stage.sync_engine)

    def ours(name: str | None, kind: str, _: object) -> bool:
        return (
            kind != "table" or name in stage.tables.metadata.tables
        )  # other tests leave theirs in the database

    with stage.sync_engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"target_metadata": stage.tables.metadata, "include_name": ours}
        )
        with Operations.context(context):
            migration["upgrade"]()
            assert compare_metadata(context, stage.tables.metadata) == []
    (id,) = stage.record(Placed("1"))
    async with joined(stage.rounds()) as relay:
        await drain(relay)
    assert stage.seen.ids == [id]
    with (
        stage.sync_engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        migration["downgrade"]()
    assert not inspect(stage.sync_engine).has_table(stage.tables.rows.name)
