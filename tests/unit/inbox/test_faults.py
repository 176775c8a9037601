"""Which database errors are an event's, and which are not."""

from __future__ import annotations

import sqlite3

import psycopg.errors
import pytest
from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeout,
)

from eventwire.inbox.faults import in_the_way, transient

errors = psycopg.errors


def of_sqlite(code: int) -> OperationalError:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    return OperationalError("SELECT", None, error)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT", None, errors.SerializationFailure()),
        OperationalError("SELECT", None, errors.DeadlockDetected()),
        OperationalError("SELECT", None, errors.LockNotAvailable()),
        of_sqlite(sqlite3.SQLITE_BUSY),
        of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
        of_sqlite(sqlite3.SQLITE_LOCKED),
    ],
)
def test_who_is_in_the_way_of_another_is_tried_again(error: Exception) -> None:
    assert transient(error)
    assert in_the_way(error)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT", None, psycopg.OperationalError("connection refused")),
        OperationalError("SELECT", None, errors.AdminShutdown()),
        OperationalError("SELECT", None, errors.CannotConnectNow()),
        OperationalError("SELECT", None, errors.TooManyConnections()),
        OperationalError("SELECT", None, errors.DiskFull()),
        OperationalError("SELECT", None, errors.InvalidPassword()),
        InternalError("SELECT", None, errors.ReadOnlySqlTransaction()),
        InterfaceError("SELECT", None, psycopg.InterfaceError("the connection is closed")),
        ProgrammingError("SELECT", None, RuntimeError(), connection_invalidated=True),
        PoolTimeout("QueuePool limit"),
        of_sqlite(sqlite3.SQLITE_FULL),
        of_sqlite(sqlite3.SQLITE_IOERR_FSYNC),
        of_sqlite(sqlite3.SQLITE_CANTOPEN),
    ],
)
def test_a_database_out_of_reach_is_no_fault_of_the_event(error: Exception) -> None:
    assert transient(error)
    assert not in_the_way(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the handler's"),
        IntegrityError("INSERT", None, errors.UniqueViolation()),
        DataError("INSERT", None, errors.NumericValueOutOfRange()),
        ProgrammingError("SELECT", None, errors.UndefinedTable()),
        OperationalError("SELECT", None, errors.QueryCanceled()),
        InternalError("SELECT", None, errors.InFailedSqlTransaction()),
        of_sqlite(sqlite3.SQLITE_ERROR),
    ],
)
def test_what_the_handler_did_wrong_is_an_attempt(error: Exception) -> None:
    assert not transient(error)
