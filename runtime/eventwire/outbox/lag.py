"""What waits in the outbox, and what cannot be published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, func, or_, select

from eventwire.outbox.tables import Tables, now, utc


@dataclass(frozen=True, slots=True)
class Lag:
    """The whole outbox, as of now, for all relays."""

    waiting: int
    """Rows to be published now. What is published is deleted."""
    oldest: float | None
    """Seconds since the oldest of them was recorded, or was due; by the database's clock."""
    scheduled: int
    """Rows whose `deliver_at` has not come."""
    failing: int
    """Rows that could not be published when last tried. They are tried again, and hold up their key."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A row that could not be published, and why."""

    seq: int
    topic: str
    key: bytes | None
    id: str
    attempts: int
    error: str


def lag_query(tables: Tables) -> Executable:
    """One row: the counts, the moment from which the oldest waits, and the database's clock."""
    rows = tables.rows.c
    due = or_(rows.deliver_at.is_(None), rows.deliver_at <= now())
    return select(
        func.count().filter(due),
        func.min(func.coalesce(rows.deliver_at, rows.recorded_at)).filter(due),
        func.count().filter(~due),
        func.count(rows.error),
        now(),
    ).select_from(tables.rows)


def read_lag(found: Any) -> Lag:
    """What `lag_query` found."""
    waiting, since, scheduled, failing, at = found
    oldest = None if since is None else max(0.0, (utc(at) - utc(since)).total_seconds())
    return Lag(waiting, oldest, scheduled, failing)


def failing_query(tables: Tables, limit: int) -> Executable:
    """The first rows that fail."""
    rows = tables.rows.c
    return (
        select(rows.seq, rows.topic, rows.key, rows.event_id, rows.attempts, rows.error)
        .where(rows.error.is_not(None))
        .order_by(rows.seq)
        .limit(limit)
    )
