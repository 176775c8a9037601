"""The inbox's table, for migrations and for queries by hand."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Insert, MetaData, Select, String, Table, func, insert, select

from eventwire.inbox.key import InboxKey

_SHOWN = 255
"""Characters of a name that are kept for people; the digest is of the whole."""


def inbox_table(
    metadata: MetaData | None = None, *, name: str = "eventwire_inbox", schema: str | None = None
) -> Table:
    """The table, added to `metadata` unless it has it: to the application's own, so that Alembic sees it.

    One row for each event that a group has handled. `digest` is its key; the other columns are for people, shortened.
    `handled_at` is the database's clock.
    """
    metadata = MetaData() if metadata is None else metadata
    known = metadata.tables.get(f"{schema or metadata.schema}.{name}" if schema or metadata.schema else name)
    if known is not None:
        return known
    return Table(
        name,
        metadata,
        Column("digest", String(64), primary_key=True),
        Column("consumer_group", String(_SHOWN), nullable=False),
        Column("topic", String(_SHOWN), nullable=False),
        Column("source", String(_SHOWN), nullable=False),
        Column("type", String(_SHOWN), nullable=False),
        Column("event_id", String(_SHOWN), nullable=False),
        Column("handled_at", DateTime(timezone=True), nullable=False, server_default=func.now(), index=True),
        schema=schema,
    )


def insertion(table: Table, key: InboxKey) -> Insert:
    """The statement that notes an event as handled; it violates the primary key when it was."""
    return insert(table).values(
        digest=key.digest,
        consumer_group=_shown(key.group),
        topic=_shown(key.topic),
        source=_shown(key.source.decode(errors="replace")),
        type=_shown(key.type),
        event_id=_shown(key.id.decode(errors="replace")),
    )


def selection(table: Table, key: InboxKey) -> Select[tuple[str]]:
    """The statement that finds an event's row."""
    return select(table.c.digest).where(table.c.digest == key.digest)


def _shown(text: str) -> str:
    return text[:_SHOWN].replace("\0", "\ufffd")  # PostgreSQL's text has no NUL
