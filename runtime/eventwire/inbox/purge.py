"""Purging: events that were handled long ago are forgotten, a bounded number in each transaction."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, Table, delete, func, select
from sqlalchemy.orm import Session


def purge_batch(session: Session, table: Table, older_than: float, limit: int) -> int:
    """Delete up to `limit` of the oldest rows that are older than so many seconds; how many it deleted.

    While another process is at it: none on PostgreSQL, elsewhere what that one left.
    """
    if session.get_bind().dialect.name == "postgresql" and not _alone(session, table):
        return 0
    now = session.scalars(select(func.now())).one()
    old = select(table.c.digest).where(table.c.handled_at < now - timedelta(seconds=older_than))
    digests = session.scalars(old.order_by(table.c.handled_at).limit(limit)).all()
    if not digests:
        return 0
    deleted = session.execute(delete(table).where(table.c.digest.in_(digests)))
    return cast("CursorResult[Any]", deleted).rowcount


def _alone(session: Session, table: Table) -> bool:
    """A lock that ends with the transaction, or with the process."""
    number = zlib.crc32(f"eventwire inbox purge {table.fullname}".encode())
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(number))))
