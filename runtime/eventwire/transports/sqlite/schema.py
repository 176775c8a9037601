"""The file: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from eventwire.errors import BrokerError, Unreachable

_AGAIN = 0.01
_APPLICATION = 0x45766E74  # "Evnt"

_TABLES: Final = (
    # `retention` is in seconds; NULL keeps for ever
    "CREATE TABLE topics (name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention REAL) WITHOUT ROWID",
    # `base` is the lowest offset kept, `next` the one that the next message gets
    """CREATE TABLE partitions (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
       base INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number))""",
    # `headers` is JSON: pairs of name and value, a value's bytes as the characters U+0000 to U+00FF
    """CREATE TABLE log (partition INTEGER NOT NULL, offset INTEGER NOT NULL, time REAL NOT NULL, id TEXT NOT NULL,
       key BLOB, content_type TEXT, headers TEXT NOT NULL, body BLOB, PRIMARY KEY (partition, offset)) WITHOUT ROWID""",
    # below `committed` all is settled, below `handed` all was handed out; `epoch` grows with each owner: the fence
    """CREATE TABLE positions (consumers TEXT NOT NULL, partition INTEGER NOT NULL, committed INTEGER NOT NULL,
       handed INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, owner TEXT,
       PRIMARY KEY (consumers, partition)) WITHOUT ROWID""",
    # how often an unsettled message was handed out by earlier owners
    """CREATE TABLE attempts (consumers TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
       count INTEGER NOT NULL, PRIMARY KEY (consumers, partition, offset)) WITHOUT ROWID""",
    # an owner's partitions are leased until `expires` on the monotonic clock of this `boot`; `topics` is a JSON list
    """CREATE TABLE members (joined INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
       consumers TEXT NOT NULL, topics TEXT NOT NULL, boot TEXT NOT NULL, expires REAL NOT NULL)""",
)
_SUSPECTS: Final = (
    # what is below `suspect` was in flight when an owner died; `strict` after the second death in it
    "ALTER TABLE positions ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE positions ADD COLUMN strict INTEGER NOT NULL DEFAULT 0",
    # the one offset that the owner of `alone_epoch` has in hand, and nothing else in any partition; NULL for none
    "ALTER TABLE positions ADD COLUMN alone INTEGER",
    "ALTER TABLE positions ADD COLUMN alone_epoch INTEGER",
    # how many processes ended while they had that message in hand and no other
    """CREATE TABLE deaths (consumers TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
       count INTEGER NOT NULL, PRIMARY KEY (consumers, partition, offset)) WITHOUT ROWID""",
    # in seconds; `expires` less this is when the member was last heard of
    "ALTER TABLE members ADD COLUMN lease REAL",
)
STEPS: Final = (_TABLES, _SUSPECTS)
"""What takes a file from each version to the next. Only added to: processes of the version before may be running."""
VERSION: Final = len(STEPS)


class Identity:
    """Which file a path names: SQLite writes on into one that was deleted or replaced, and nobody reads that."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._known = self._now()

    def check(self) -> None:
        """Raise BrokerError when the path names no file any more, or another one."""
        if self._now() != self._known:
            raise BrokerError(
                f"{self._path} was deleted or replaced while it was in use: start again to use what is there"
            )

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def open_file(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open the file, creating it where there is none. Raises Unreachable, whose text says what is wrong with it."""
    try:
        connection = sqlite3.connect(
            path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise Unreachable(f"cannot open {path}: {error}; its folder must exist and be writable") from error
    try:
        _prepare(connection, path, time.monotonic() + busy_timeout)
    except sqlite3.Error as error:
        connection.close()
        raise Unreachable(f"cannot use {path} as a broker: {error}") from error
    except Unreachable:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, deadline: float) -> None:
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a confirmed message survives a power failure
            return _migrate(connection, path)
        except (
            sqlite3.OperationalError
        ) as error:  # SQLite does not wait by itself where several switch to WAL at once
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")  # of several processes, one creates
    try:
        for step in STEPS[_version(connection, path) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    # in this order: the file may be created between two of these
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if tables and application != _APPLICATION:
        raise Unreachable(f"{path} is the database of another program; give Eventwire a file of its own")
    if not 0 <= version <= VERSION:
        text = f"{path} has schema version {version}, this Eventwire knows {VERSION}"
        raise Unreachable(f"{text}; use the Eventwire that wrote it, or a new file")
    return int(version)
