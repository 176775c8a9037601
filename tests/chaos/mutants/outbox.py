"""Sabotage of the outbox."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from eventwire.outbox import SLOTS, membership
from eventwire.outbox.outbox import Outbox
from eventwire.outbox.publishing import Outcomes, Publishing
from eventwire.outbox.rounds import Rounds
from eventwire.outbox.rows import Row
from eventwire.outbox.store import Store
from tests.chaos.mutants import mutant

_BAR = "tests/chaos/test_outbox.py::test_outbox_publishes_what_was_committed"


@mutant(bar=_BAR, sees="lost: ")
def outbox_deletes_before_it_publishes() -> None:
    """Rows are deleted when they are read, before the broker has them."""

    async def sabotaged(self: Rounds) -> bool:
        await self.members.balance()
        me, held = self.members.me, dict(self.members.slots)
        rows, _ = await self.store.read(me, held, self.batch)
        await self.store.settle(me, held, rows, [])
        await self.publishing.publish(rows, lambda: True)
        return bool(rows)

    Rounds.round = sabotaged  # type: ignore[method-assign]


@mutant(bar=_BAR, sees="lost: ")
def outbox_reads_from_the_last_number() -> None:
    """The relay remembers, in the database, the highest number published of each slot, and reads what is above it."""
    read, settle = Store.read, Store.settle
    known = "CREATE TABLE IF NOT EXISTS highest (slot int PRIMARY KEY, seq bigint)"
    raised = "INSERT INTO highest VALUES ({}, {}) ON CONFLICT (slot) DO UPDATE SET seq = excluded.seq"

    async def reading(self: Store, *arguments: Any, **options: Any) -> tuple[list[Row], Collection[int]]:
        found, lost = await read(self, *arguments, **options)
        async with self.transaction() as connection:
            await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
            await connection.exec_driver_sql(known)
            rows: Any = await connection.exec_driver_sql("SELECT slot, seq FROM highest")
            highest = {int(slot): int(seq) for slot, seq in rows}
        return [row for row in found if row.seq > highest.get(row.slot, 0)], lost

    async def settling(self: Store, me: str, held: Any, confirmed: Sequence[Row], failed: Any) -> Any:
        lost = await settle(self, me, held, confirmed, failed)
        async with self.transaction() as connection:
            for slot, seq in {
                row.slot: row.seq for row in sorted(confirmed, key=lambda row: row.seq)
            }.items():
                await connection.exec_driver_sql(raised.format(slot, seq))
        return lost

    for name, function in (("read", reading), ("settle", settling)):
        setattr(Store, name, function)


@mutant(bar=_BAR, sees="duplicates: ")
def outbox_slots_have_no_owner() -> None:
    """Every relay publishes every slot, and no epoch is asked for."""

    async def everybody(self: Store, connection: AsyncConnection, *_: Any) -> Mapping[int, int]:
        found = await connection.execute(select(self.tables.slots.c.slot, self.tables.slots.c.epoch))
        return {row.slot: row.epoch for row in found}

    async def epochs(self: Store, connection: AsyncConnection, relay: str) -> Any:
        return await everybody(self, connection), await self.clock(connection)

    def all_of_them(me: str, relays: Collection[str]) -> int:
        return SLOTS

    async def claim(self: Store, *_: Any) -> dict[int, int]:
        async with self.transaction() as connection:
            return dict(await everybody(self, connection))

    sabotages: tuple[tuple[object, str, object], ...] = (
        (membership, "share", all_of_them),
        (Store, "epochs", epochs),
        (Store, "locked", everybody),
        (Store, "claim", claim),
    )
    for owner, name, function in sabotages:
        setattr(owner, name, function)


@mutant(bar=_BAR, sees="ghosts: ")
def outbox_records_outside_the_transaction() -> None:
    """An event is recorded in a transaction of its own, so that a rolled back one is published."""
    add: Any = vars(Outbox)["add"]

    def sabotaged(self: Outbox[Any], session: Any, event: Any, **options: Any) -> Any:
        other = type(session)(session.bind)
        id = add(self, other, event, **options)
        session.info.setdefault("recorded", []).append(other)
        flush = session.flush

        async def flushed() -> None:
            await flush()
            for each in session.info.pop("recorded", []):
                await each.commit()
                await each.close()

        session.flush = flushed
        return id

    setattr(Outbox, "add", sabotaged)  # noqa: B010  the checkers know the method's type


@mutant(bar=_BAR, sees="out of order: ")
def outbox_publishes_the_newest_first() -> None:
    """A batch is published backwards."""
    publish = Publishing.publish

    async def sabotaged(self: Publishing, rows: Any, may: Any) -> Outcomes:
        return await publish(self, reversed(list(rows)), may)

    Publishing.publish = sabotaged  # type: ignore[method-assign]
