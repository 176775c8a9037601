"""Topics and messages in the file: declare, append, read, trim. Each runs within the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from eventwire.errors import TopicMismatch, TopicMissing
from eventwire.message import Headers, Message
from eventwire.transport import TopicPartition, TopicSpec
from eventwire.transports import DECLARE_IT

_Row: TypeAlias = tuple[int, int, float, str, bytes | None, str | None, str, bytes | None]
_TRIM = 10_000
"""At most so many messages of a partition are dropped in one transaction."""

_INSERT = """INSERT INTO log (partition, offset, time, id, key, content_type, headers, body)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_SELECT = """SELECT id, key, content_type, headers, body FROM log
             WHERE partition = ? AND offset >= ? ORDER BY offset LIMIT ?"""
_FIRST_KEPT = """SELECT offset FROM log WHERE partition = ? AND (time >= ? OR offset >= ?)
                 ORDER BY offset LIMIT 1"""


class Appender:
    """Appends messages within one transaction: offsets at once, rows with `flush`."""

    __slots__ = ("_connection", "_next", "_now", "_rows")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._next: dict[int, int] = {}
        self._rows: list[_Row] = []
        self._now = time.time()

    def __call__(self, partition: int, message: Message) -> int:
        """Give the message its offset in the partition of that row id."""
        if (offset := self._next.get(partition)) is None:
            [offset] = self._connection.execute(
                "SELECT next FROM partitions WHERE id = ?", (partition,)
            ).fetchone()
        self._next[partition] = offset + 1
        headers = pack(message.headers)
        row = (
            partition,
            offset,
            self._now,
            message.id,
            message.key,
            message.content_type,
            headers,
            message.body,
        )
        self._rows.append(row)
        return offset

    def flush(self) -> None:
        """Write the rows."""
        if self._rows:
            self._connection.executemany(_INSERT, self._rows)
            ends = [(end, partition) for partition, end in self._next.items()]
            self._connection.executemany("UPDATE partitions SET next = ? WHERE id = ?", ends)


def declare(connection: sqlite3.Connection, topics: Iterable[TopicSpec]) -> None:
    """Create what is missing. Raises TopicMissing for external ones that are, TopicMismatch for other counts."""
    for spec in topics:
        known = connection.execute("SELECT partitions FROM topics WHERE name = ?", (spec.name,)).fetchone()
        if known is None and not spec.external:
            connection.execute(
                "INSERT INTO topics VALUES (?, ?, ?)", (spec.name, spec.partitions, spec.retention)
            )
            numbers = [(spec.name, number) for number in range(spec.partitions)]
            connection.executemany("INSERT INTO partitions (topic, number) VALUES (?, ?)", numbers)
        else:
            partition_ids(connection, spec)
            if not spec.external:
                retention = (spec.retention, spec.name)
                connection.execute("UPDATE topics SET retention = ? WHERE name = ?", retention)


def partition_ids(connection: sqlite3.Connection, spec: TopicSpec) -> Sequence[int]:
    """The row ids of a topic's partitions. Raises TopicMissing and TopicMismatch."""
    rows = connection.execute(
        "SELECT id FROM partitions WHERE topic = ? ORDER BY number", (spec.name,)
    ).fetchall()
    if not rows:
        raise TopicMissing(f"topic {spec.name} was never declared in this file; {DECLARE_IT}")
    if len(rows) != spec.partitions:
        text = f"topic {spec.name} has {len(rows)} partitions in this file and {spec.partitions} declared"
        raise TopicMismatch(f"{text}: make them agree, or use a new topic")
    return [row[0] for row in rows]


def missing(connection: sqlite3.Connection, topics: Iterable[TopicSpec]) -> list[str]:
    """The names of topics that were never declared. Raises TopicMismatch."""
    absent: list[str] = []
    for spec in topics:
        try:
            partition_ids(connection, spec)
        except TopicMissing:
            absent.append(spec.name)
    return absent


def read(
    connection: sqlite3.Connection, partition: int, at: TopicPartition, start: int, limit: int
) -> list[Message]:
    """Up to `limit` messages from offset `start` on."""
    rows = connection.execute(_SELECT, (partition, start, limit))
    return [
        Message(at.topic, body, key, unpack(headers), content_type, identity)
        for identity, key, content_type, headers, body in rows
    ]


def trim(connection: sqlite3.Connection) -> None:
    """Drop what is older than its topic's retention and below every group; never what no group has read."""
    rows = connection.execute(
        """SELECT p.id, p.base, p.next, t.retention, (SELECT min(committed) FROM positions WHERE partition = p.id)
           FROM partitions p JOIN topics t ON t.name = p.topic WHERE t.retention IS NOT NULL"""
    ).fetchall()
    now = time.time()
    for partition, base, end, retention, committed in rows:
        if committed is None or committed <= base:
            continue
        first = connection.execute(_FIRST_KEPT, (partition, now - retention, committed)).fetchone()
        keep = min(first[0] if first else end, base + _TRIM)
        if keep > base:
            connection.execute("DELETE FROM log WHERE partition = ? AND offset < ?", (partition, keep))
            connection.execute("UPDATE partitions SET base = ? WHERE id = ?", (keep, partition))


def pack(headers: Headers) -> str:
    """Headers as JSON."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers]) if headers else "[]"


def unpack(text: str) -> Headers:
    """Headers from what `pack` gave."""
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(text)) if text != "[]" else ()
