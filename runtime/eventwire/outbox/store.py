"""The relay's side of the tables: every statement it runs, each in a short transaction of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, inspect, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from eventwire.errors import ConfigurationError
from eventwire.outbox.lag import Failing, Lag, failing_query, lag_query, read_lag
from eventwire.outbox.rows import Row, read_row
from eventwire.outbox.tables import SLOTS, Tables, now, utc

DATABASE_ERRORS = (DBAPIError, PoolTimeout, OSError)
"""What a database that is down, busy or restarted raises; the built-in TimeoutError among them."""
_DIALECTS = ("postgresql", "sqlite")
_SHOWN = 1000
_BYTES = 16 << 20
"""Of the bodies of one batch."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that was tried and not published; it is tried again in `wait` seconds."""

    row: Row
    error: Exception
    wait: float


class Store:
    """The tables, for one relay. `timeout`: seconds for one transaction; a server that is stuck never answers.

    All methods raise DATABASE_ERRORS.
    """

    def __init__(self, engine: AsyncEngine, tables: Tables, *, longest_wait: float, timeout: float) -> None:
        if engine.dialect.name not in _DIALECTS:
            raise ConfigurationError(
                f"the outbox works on {' and '.join(_DIALECTS)}; this engine's dialect is {engine.dialect.name}"
            )
        self._engine = engine
        self.tables = tables
        self._longest_wait = timedelta(seconds=longest_wait)
        self._timeout = timeout

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """One transaction, within the timeout."""
        async with asyncio.timeout(self._timeout), self._engine.begin() as connection:
            yield connection

    async def prepare(self) -> None:
        """Make sure of the tables, and of a row for each slot. Raises ConfigurationError."""
        async with self.transaction() as connection:
            missing = await connection.run_sync(_missing, self.tables.all)
            if missing:
                raise ConfigurationError(
                    f"the database has no {', '.join(missing)}: run the migration, or "
                    "`Tables().metadata.create_all(engine)`"
                )
        async with self.transaction() as connection:
            insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
            rows = [{"slot": slot, "epoch": 0} for slot in range(SLOTS)]
            await connection.execute(insert(self.tables.slots).values(rows).on_conflict_do_nothing())

    # --- relays and slots

    async def register(self, relay: str) -> Mapping[str, int]:
        """Join the relays; the beats of all of them."""
        relays = self.tables.relays
        async with self.transaction() as connection:
            await connection.execute(relays.insert().values(id=relay, beat=0))
            return await self._beats(connection)

    async def beat(self, relay: str) -> Mapping[str, int]:
        """Show that a relay lives; the beats of all of them. Without its own where others held it for dead."""
        relays = self.tables.relays
        async with self.transaction() as connection:
            await connection.execute(
                update(relays).where(relays.c.id == relay).values(beat=relays.c.beat + 1)
            )
            return await self._beats(connection)

    async def _beats(self, connection: AsyncConnection) -> Mapping[str, int]:
        relays = self.tables.relays.c
        found = await connection.execute(select(relays.id, relays.beat))
        return {row.id: row.beat for row in found}

    async def bury(self, relay: str, beat: int) -> None:
        """Take a dead relay's slots from it, unless it beat once more."""
        relays = self.tables.relays
        async with self.transaction() as connection:
            ended = await connection.execute(
                delete(relays).where(relays.c.id == relay, relays.c.beat == beat)
            )
            if ended.rowcount:
                await self._free(connection, relay)

    async def claim(self, relay: str, count: int) -> dict[int, int]:
        """Take up to so many slots that nobody has; their epochs."""
        slots, relays = self.tables.slots, self.tables.relays
        free = (
            select(slots.c.slot)
            .where(slots.c.owner.is_(None))
            .order_by(slots.c.slot)
            .limit(count)
            .with_for_update(skip_locked=True)
        )
        mine = (
            update(slots)
            .where(slots.c.slot.in_(free), exists().where(relays.c.id == relay))
            .values(owner=relay, epoch=slots.c.epoch + 1)
            .returning(slots.c.slot, slots.c.epoch)
        )
        async with self.transaction() as connection:
            return {row.slot: row.epoch for row in await connection.execute(mine)}

    async def keep(self, relay: str, slots: Collection[int]) -> None:
        """Give up every other slot, those among them that were claimed and never heard of."""
        async with self.transaction() as connection:
            await self._free(connection, relay, slots)

    async def leave(self, relay: str) -> None:
        """Give everything up."""
        relays = self.tables.relays
        async with self.transaction() as connection:
            await connection.execute(delete(relays).where(relays.c.id == relay))
            await self._free(connection, relay)

    async def _free(self, connection: AsyncConnection, relay: str, but: Collection[int] = ()) -> None:
        slots = self.tables.slots
        free = update(slots).where(slots.c.owner == relay, slots.c.slot.not_in(but)).values(owner=None)
        await connection.execute(free)

    # --- rows

    async def read(
        self,
        relay: str,
        held: Mapping[int, int],
        limit: int,
        *,
        brokers: Collection[str] = (),
        topics: Collection[tuple[str, str]] = (),
    ) -> tuple[Sequence[Row], Collection[int]]:
        """Up to `limit` rows to publish, in order; and those of the held slots that are another relay's now.

        Never told from a last number that was read: a lower one may be committed later. Left out are rows of `brokers`
        and `topics`, rows that wait for their next attempt, and what is behind them in order.
        """
        async with self.transaction() as connection:
            epochs, moment = await self.epochs(connection, relay)
            lost = [slot for slot, epoch in held.items() if epochs.get(slot) != epoch]
            if len(lost) == len(held):
                return [], lost
            ready = self._ready([slot for slot in held if slot not in lost], moment, brokers, topics)
            rows = self.tables.rows
            sized = select(rows.c.seq, func.coalesce(func.length(rows.c.body), 0))
            due = sized.where(*ready, rows.c.deliver_at <= moment).order_by(rows.c.deliver_at, rows.c.seq)
            ordered = sized.where(*ready, rows.c.deliver_at.is_(None), ~self._behind(moment))
            # Neither kind starves the other.
            found = list(await connection.execute(due.limit(max(1, limit // 2))))
            found += await connection.execute(ordered.order_by(rows.c.seq).limit(limit - len(found)))
            return await self._load(connection, fitting(found)), lost

    async def _load(self, connection: AsyncConnection, seqs: Sequence[int]) -> Sequence[Row]:
        if not seqs:
            return []
        rows = self.tables.rows
        found = await connection.execute(select(rows).where(rows.c.seq.in_(seqs)).order_by(rows.c.seq))
        return [read_row(row) for row in found]

    async def epochs(self, connection: AsyncConnection, relay: str) -> tuple[Mapping[int, int], datetime]:
        """The epochs of the slots that a relay has, and the time."""
        slots = self.tables.slots.c
        owned = await connection.execute(select(slots.slot, slots.epoch).where(slots.owner == relay))
        epochs = {row.slot: row.epoch for row in owned}
        return epochs, await self.clock(connection)

    async def clock(self, connection: AsyncConnection) -> datetime:
        """The database's clock."""
        return utc((await connection.execute(select(now()))).scalar_one())

    def _ready(
        self,
        slots: Collection[int],
        moment: datetime,
        brokers: Collection[str],
        topics: Collection[tuple[str, str]],
    ) -> list[ColumnElement[bool]]:
        rows = self.tables.rows
        found = [rows.c.slot.in_(slots), or_(rows.c.retry_at.is_(None), ~self._waits(rows, moment))]
        if brokers:
            found.append(rows.c.broker.not_in(brokers))
        if topics:
            found.append(tuple_(rows.c.broker, rows.c.topic).not_in(topics))
        return found

    def _waits(self, rows: Any, moment: datetime) -> ColumnElement[bool]:
        """Whether a row's next attempt is to come; one farther off than any wait was noted before the clock jumped."""
        return and_(rows.c.retry_at > moment, rows.c.retry_at <= moment + self._longest_wait)

    def _behind(self, moment: datetime) -> ColumnElement[bool]:
        """Whether an earlier row of the same key waits for its next attempt."""
        rows = self.tables.rows
        first = rows.alias("first")
        same = [first.c[name] == rows.c[name] for name in ("slot", "broker", "topic", "key")]
        return exists().where(
            self._waits(first, moment), first.c.in_order, rows.c.in_order, first.c.seq < rows.c.seq, *same
        )

    async def settle(
        self,
        relay: str,
        held: Mapping[int, int],
        confirmed: Sequence[Row],
        failed: Sequence[Failure],
    ) -> Collection[int]:
        """Delete what was published and note what was not, of slots that are still held; the slots that are not.

        Doing it twice is the same as once, but for the count of attempts.
        """
        touched = {row.slot for row in confirmed} | {failure.row.slot for failure in failed}
        async with self.transaction() as connection:
            epochs = await self.locked(connection, relay, touched)
            lost = {slot for slot in touched if epochs.get(slot) != held[slot]}
            rows = self.tables.rows
            if gone := [row.seq for row in confirmed if row.slot not in lost]:
                await connection.execute(delete(rows).where(rows.c.seq.in_(gone)))
            await self.note(connection, [failure for failure in failed if failure.row.slot not in lost])
        return lost

    async def locked(
        self, connection: AsyncConnection, relay: str, touched: Collection[int]
    ) -> Mapping[int, int]:
        """The epochs of the slots that the relay has; nobody takes them before the transaction ends."""
        slots = self.tables.slots
        if connection.dialect.name == "sqlite":
            # Locks by writing: a transaction that reads first may find itself unable to write.
            await connection.execute(update(slots).where(slots.c.slot == -1).values(epoch=0))
        owned = select(slots.c.slot, slots.c.epoch).where(
            slots.c.owner == relay, slots.c.slot.in_(sorted(touched))
        )
        found = await connection.execute(owned.order_by(slots.c.slot).with_for_update())
        return {row.slot: row.epoch for row in found}

    async def note(self, connection: AsyncConnection, failures: Sequence[Failure]) -> None:
        """Count the attempts of rows that failed, and say why, and when the next one is."""
        if not failures:
            return
        rows, moment = self.tables.rows, await self.clock(connection)
        for failure in failures:
            await connection.execute(
                update(rows)
                .where(rows.c.seq == failure.row.seq)
                .values(
                    attempts=rows.c.attempts + 1,
                    error=shown(failure.error),
                    retry_at=moment + timedelta(seconds=failure.wait),
                )
            )

    # --- lag

    async def lag(self) -> Lag:
        """What waits."""
        async with self.transaction() as connection:
            return read_lag((await connection.execute(lag_query(self.tables))).one())

    async def failing(self, limit: int) -> Sequence[Failing]:
        """The first rows that fail."""
        async with self.transaction() as connection:
            found = await connection.execute(failing_query(self.tables, limit))
            return [Failing(*row) for row in found]


def fitting(found: Iterable[Any]) -> list[int]:
    """The numbers of the first rows whose bodies fit into memory together; of one that alone does not, its own."""
    seqs: list[int] = []
    total = 0
    for seq, size in found:
        total += size
        if seqs and total > _BYTES:
            break
        seqs.append(seq)
    return seqs


def shown(error: Exception) -> str:
    """An error as a text column takes it; of a database's error without the statement's parameters."""
    told: BaseException = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = f"{type(told).__name__}: {told}"[:_SHOWN].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()


def _missing(connection: Connection, tables: Sequence[Table]) -> list[str]:
    known = inspect(connection)
    return [table.fullname for table in tables if not known.has_table(table.name, table.schema)]
