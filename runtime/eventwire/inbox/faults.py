"""Which database errors are the database's and not the event's."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_CLASSES = frozenset({"08", "28", "3D", "40", "53", "58"})
"""SQLSTATE classes: connection, authorization, no such database, transaction rollback (deadlock, serialization),
out of resources, system error (PostgreSQL, "Appendix A. Error Codes")."""
_STATES = frozenset({"25006", "55P03", "57P01", "57P02", "57P03", "57P05"})
"""Read-only after a failover, lock not available, shutdowns and start-up."""
_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)


_IN_THE_WAY = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not available."""


def transient(error: BaseException) -> bool:
    """Whether another attempt may succeed though nothing is mended in the handler or the event.

    Lost connections, deadlocks, serialization failures, a database that is locked, full, starting or gone. A query
    that is wrong, or that takes longer than `statement_timeout`, is the handler's.
    """
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if state := _sqlstate(error.orig):
        return state[:2] in _CLASSES or state in _STATES
    if (code := getattr(error.orig, "sqlite_errorcode", None)) is not None:
        return (code & 0xFF) in _SQLITE
    return isinstance(error, OperationalError | InterfaceError)


def in_the_way(error: BaseException) -> bool:
    """Whether a transient error is another transaction's: a deadlock, a serialization failure, a lock."""
    origin = error.orig if isinstance(error, DBAPIError) else None
    if state := _sqlstate(origin):
        return state in _IN_THE_WAY
    return (getattr(origin, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _sqlstate(error: BaseException | None) -> str | None:
    """As psycopg and asyncpg name it, or psycopg2."""
    found = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return found if isinstance(found, str) else None
