"""Two threads with a connection each: one writes, in group commits, one reads."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from eventwire.errors import BrokerError, Closed
from eventwire.transports.sqlite.log import Appender
from eventwire.transports.sqlite.schema import Identity, open_file

T = TypeVar("T")
logger = logging.getLogger("eventwire.sqlite")

_BATCH = 1000
_CLOSE = 2.0


class CommitUnknown(Exception):
    """The disk failed, or the file was taken away, in the middle of a commit: what was written may be there or not."""


class Write:
    """An open transaction, as a job sees it."""

    __slots__ = ("append", "connection")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.append = Appender(connection)


class Database:
    """The file. Calls come from one event loop; SQL runs in the two threads.

    Jobs that are waiting when a transaction begins share it. A job that raises takes no other with it.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._writing = ThreadPoolExecutor(1, "eventwire-sqlite-write")
        self._reading = ThreadPoolExecutor(1, "eventwire-sqlite-read")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._identity = Identity(path)
        self._jobs: list[tuple[Callable[[Write], Any], asyncio.Future[Any]]] = []
        self._draining: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Open both connections. Raises Unreachable."""
        if self._reader is not None:
            return
        loop = asyncio.get_running_loop()
        self._writer = await loop.run_in_executor(self._writing, open_file, self._path, self._busy_timeout)
        self._identity = Identity(self._path)
        self._reader = await loop.run_in_executor(self._reading, open_file, self._path, self._busy_timeout)

    async def write(self, job: Callable[[Write], T]) -> T:
        """Run the job in a write transaction; return once it is on disk.

        Raises what the job raised, sqlite3.Error when nothing was written, BrokerError when the file is another one,
        CommitUnknown when it cannot be told whether anything was written.
        """
        if self._writer is None or self._closed:
            raise Closed(f"{self._path} is not open")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain(self._writer))
        return await future

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run the job on the reading connection. Raises what it raises; BrokerError when the file is another one."""
        if self._reader is None or self._closed:
            raise Closed(f"{self._path} is not open")
        return await asyncio.get_running_loop().run_in_executor(
            self._reading, _read, job, self._reader, self._identity
        )

    async def close(self) -> None:
        """Finish what waits, bounded, and close both connections."""
        if self._draining is not None:
            await asyncio.wait({self._draining}, timeout=_CLOSE)
        self._closed = True
        for _, future in self._jobs:
            if not future.done():
                future.set_exception(CommitUnknown("closed while it waited for the file"))
        self._jobs.clear()
        for executor, connection in ((self._writing, self._writer), (self._reading, self._reader)):
            if connection is not None:
                executor.submit(connection.close)
            executor.shutdown(wait=False)
        self._writer = self._reader = None

    async def _drain(self, connection: sqlite3.Connection) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs:
            batch, self._jobs = self._jobs[:_BATCH], self._jobs[_BATCH:]
            jobs = [job for job, _ in batch]
            outcomes = await loop.run_in_executor(self._writing, run_batch, connection, jobs, self._identity)
            for (_, future), (result, error) in zip(batch, outcomes, strict=True):
                if future.done():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)


def _read(job: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection, identity: Identity) -> T:
    identity.check()
    return job(connection)


def run_batch(
    connection: sqlite3.Connection, jobs: list[Callable[[Write], Any]], identity: Identity
) -> list[tuple[Any, Exception | None]]:
    """Run all jobs in one transaction; when one fails, each in its own."""
    try:
        identity.check()
        connection.execute("BEGIN IMMEDIATE")
    except (sqlite3.Error, BrokerError) as error:  # locked for too long, or gone: no use in trying each
        return [(None, error) for _ in jobs]
    try:
        return [(result, None) for result in _transaction(connection, jobs, identity)]
    except Exception as error:  # noqa: BLE001 every error goes to its job's caller
        logger.debug("a transaction of %d jobs failed: %s", len(jobs), error)
        if len(jobs) == 1 or isinstance(error, CommitUnknown):
            return [(None, error) for _ in jobs]
    return [outcome for job in jobs for outcome in run_batch(connection, [job], identity)]


def _transaction(
    connection: sqlite3.Connection, jobs: list[Callable[[Write], Any]], identity: Identity
) -> list[Any]:
    try:
        write = Write(connection)
        results = [job(write) for job in jobs]
        write.append.flush()
        _commit(connection, identity)
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
    return results


def _commit(connection: sqlite3.Connection, identity: Identity) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
            raise CommitUnknown(str(error)) from error
        raise
    try:
        identity.check()
    except BrokerError as error:
        raise CommitUnknown(str(error)) from error
