"""The outbox's tables, in plain SQLAlchemy: for `create_all`, for Alembic, for the user's own MetaData."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import registry
from sqlalchemy.sql.expression import FunctionElement

SLOTS = 64
"""Into how many slots keys are divided; relays share them. Fixed: rows hold their slot."""


class now(FunctionElement[datetime]):  # noqa: N801  an SQL function, named as the others are
    """The database's clock at the moment of the call, not at the beginning of the transaction."""

    type = DateTime(timezone=True)
    name = "now"
    inherit_cache = True


@compiles(now, "postgresql")
def _postgresql(*_: Any, **__: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _sqlite(*_: Any, **__: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"  # as SQLAlchemy writes a DateTime, so that texts compare


def utc(moment: datetime) -> datetime:
    """A moment as read from the database: SQLite keeps no time zone, and all that is written is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(eq=False)
class Recorded:
    """An event on its way into the table: what is final from here on."""

    slot: int
    topic: str
    broker: str
    spec: str
    in_order: bool
    event_id: str
    key: bytes | None
    body: bytes | None
    headers: str
    content_type: str | None
    deliver_at: datetime | None


class Tables:
    """The three tables, in a MetaData of their own or in yours.

    `prefix` and `schema` must be the same for everybody who records and relays. `metadata` is what Alembic or
    `create_all` takes.
    """

    def __init__(
        self, metadata: MetaData | None = None, *, prefix: str = "eventwire_", schema: str | None = None
    ) -> None:
        self.metadata = MetaData() if metadata is None else metadata
        self.rows = _rows(self.metadata, f"{prefix}outbox", schema)
        self.slots = Table(
            f"{prefix}outbox_slots",
            self.metadata,
            Column("slot", SmallInteger, primary_key=True, autoincrement=False),
            Column("owner", String(64)),
            Column("epoch", BigInteger, nullable=False),  # grows with each owner: the fence
            schema=schema,
        )
        self.relays = Table(
            f"{prefix}outbox_relays",
            self.metadata,
            Column("id", String(64), primary_key=True),
            Column("beat", BigInteger, nullable=False),  # grows while the relay lives
            schema=schema,
        )
        self.recorded = _mapped(self.rows)

    @property
    def all(self) -> tuple[Table, ...]:
        """The tables."""
        return self.rows, self.slots, self.relays


def _rows(metadata: MetaData, name: str, schema: str | None) -> Table:
    table = Table(
        name,
        metadata,
        Column("seq", BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True),
        Column("slot", SmallInteger, nullable=False),
        Column("topic", Text, nullable=False),
        Column("broker", Text, nullable=False),
        Column("spec", Text, nullable=False),  # JSON: the other facts of the topic
        Column("in_order", Boolean, nullable=False),  # waits for the earlier rows of its key
        Column("event_id", Text, nullable=False),
        Column("key", LargeBinary),
        Column("body", LargeBinary),
        Column("headers", Text, nullable=False),  # JSON: pairs; a value's bytes as U+0000 to U+00FF
        Column("content_type", Text),
        Column("recorded_at", DateTime(timezone=True), nullable=False, default=now()),
        Column("deliver_at", DateTime(timezone=True)),
        Column("attempts", Integer, nullable=False, default=0),
        Column("retry_at", DateTime(timezone=True)),
        Column("error", Text),
        schema=schema,
        sqlite_autoincrement=True,  # a number that was deleted never comes again
    )
    failed, scheduled = table.c.retry_at.is_not(None), table.c.deliver_at.is_not(None)
    Index(f"{name}_slot", table.c.slot, table.c.seq)
    Index(f"{name}_retry", table.c.slot, postgresql_where=failed, sqlite_where=failed)
    Index(f"{name}_deliver", table.c.deliver_at, postgresql_where=scheduled, sqlite_where=scheduled)
    return table


def _mapped(table: Table) -> type[Recorded]:
    """A class of its own for each table: what a session is given, for its flush to insert."""
    cls = cast("type[Recorded]", type(f"Recorded_{table.name}", (Recorded,), {}))
    registry(metadata=table.metadata).map_imperatively(cls, table, eager_defaults=False)
    return cls
