"""Groups in the file: members and their leases, positions with their fence. Each runs within the caller's transaction.

A member holds the partitions whose `owner` it is, as long as its row in `members` has not expired. Taking a partition
raises its epoch; whatever is written for an earlier epoch changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eventwire.log import shares
from eventwire.policy import Start
from eventwire.transport import TopicPartition

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_ATTEMPTS = 1000
"""For so many messages of a partition it is recorded how often they were handed out: who browses a log has them all."""
_EARLIER = 1.0
"""Seconds: a lease that was renewed later than this from now is of another run of the clock."""

_JOIN = """INSERT INTO members (id, consumers, topics, boot, expires, lease) VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, expires = excluded.expires"""
_EXPIRE = "DELETE FROM members WHERE expires < ? OR boot <> ? OR expires - lease > ?"
_POSITIONS = """SELECT p.topic, p.number, p.id, o.owner, o.epoch, o.committed, o.handed, o.suspect, o.strict,
                       CASE WHEN o.alone_epoch = o.epoch THEN o.alone END, p.next
                FROM positions o JOIN partitions p ON p.id = o.partition WHERE o.consumers = ?"""
_COUNT = """INSERT INTO attempts (consumers, partition, offset, count)
            SELECT ?, partition, offset, 1 FROM log WHERE partition = ? AND offset >= ? AND offset < ?
            ON CONFLICT DO UPDATE SET count = count + 1"""
_TAKE = """UPDATE positions SET owner = ?, epoch = epoch + 1, handed = committed, suspect = ?, strict = ?,
                  alone = NULL
           WHERE consumers = ? AND partition = ?"""
_CHARGE = """INSERT INTO deaths (consumers, partition, offset, count) VALUES (?, ?, ?, 1)
             ON CONFLICT DO UPDATE SET count = count + 1"""
_COMMIT = """UPDATE positions SET committed = ?, handed = max(handed, ?), alone = ?, alone_epoch = epoch
             WHERE consumers = ? AND partition = ? AND epoch = ?"""
_GIVE_UP = """UPDATE positions SET committed = ?, handed = ?, owner = NULL, alone = NULL
              WHERE consumers = ? AND partition = ? AND epoch = ?"""
_LAG = """SELECT coalesce(sum(p.next - coalesce(o.committed, p.base)), 0)
          FROM partitions p LEFT JOIN positions o ON o.partition = p.id AND o.consumers = ?
          WHERE p.topic = ?"""


def boot() -> str:
    """What tells this run of the machine's monotonic clock from others; empty where the system does not say.

    Leases only decide when to try: a wrong guess is caught by the epoch.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Member:
    """One consumer as the file knows it; `lease` is in seconds."""

    id: str
    group: str
    topics: Collection[str]
    lease: float
    boot: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A partition that a member took over: from where on, what was handed out before and how often.

    What is below `suspect` is to be handed out one by one; when `strict`, while the member has nothing else in hand.
    """

    at: TopicPartition
    partition: int
    epoch: int
    committed: int
    attempts: dict[int, int]
    deaths: dict[int, int]
    suspect: int
    strict: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an owner got: all below `committed` is settled, all below `handed` was handed out.

    `alone` is what it has in hand, or is about to, while it has nothing else.
    """

    partition: int
    epoch: int
    committed: int
    handed: int
    alone: int | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """What a heartbeat found: newly taken partitions, those to give up (too many, or lost already), all logs' ends."""

    taken: Sequence[Taken]
    surplus: Sequence[TopicPartition]
    lost: Sequence[TopicPartition]
    ends: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class _Position:
    at: TopicPartition
    partition: int
    owner: str | None
    epoch: int
    committed: int
    handed: int
    suspect: int
    strict: int
    alone: int | None
    end: int


def enter(connection: sqlite3.Connection, group: str, partitions: Iterable[int], start: Start) -> None:
    """Give the group a position in every partition where it has none."""
    column = "base" if start is Start.EARLIEST else "next"
    connection.executemany(
        f"""INSERT OR IGNORE INTO positions (consumers, partition, committed, handed)
            SELECT ?, id, {column}, {column} FROM partitions WHERE id = ?""",  # noqa: S608 one of two constants
        [(group, partition) for partition in partitions],
    )


def beat(connection: sqlite3.Connection, member: Member, holding: Mapping[TopicPartition, int]) -> Shares:
    """Renew the member's lease, and compare what it holds (with the epochs) to its fair share; take what is free."""
    members = _live(connection, member)
    positions = [
        _Position(TopicPartition(topic, number), *rest)
        for topic, number, *rest in connection.execute(_POSITIONS, (member.group,))
    ]
    lost = [p.at for p in positions if p.at in holding and (p.owner, p.epoch) != (member.id, holding[p.at])]
    held = {
        p.at: p.owner for p in positions if p.owner in members and (p.owner != member.id or p.at in holding)
    }
    wanted = shares([p.at for p in positions], members, held)
    mine = [p for p in positions if wanted.get(p.at) == member.id]
    return Shares(
        taken=[_take(connection, member, p) for p in mine if p.at not in held],
        surplus=[at for at, owner in held.items() if owner == member.id and wanted.get(at) != owner],
        lost=lost,
        ends={p.at: p.end for p in positions},
    )


def commit(connection: sqlite3.Connection, group: str, progress: Iterable[Progress]) -> list[int]:
    """Record progress. Returns the partitions that another member took, for which nothing was recorded."""
    lost: list[int] = []
    for p in progress:
        where = (group, p.partition, p.epoch)
        if not connection.execute(_COMMIT, (p.committed, p.handed, p.alone, *where)).rowcount:
            lost.append(p.partition)
        else:
            _forget(connection, "attempts", group, p)
            _forget(connection, "deaths", group, p)
    return lost


def give_up(
    connection: sqlite3.Connection, group: str, progress: Progress, attempts: Mapping[int, int]
) -> None:
    """Free a partition for others, with the attempts at what is not settled."""
    where = (group, progress.partition, progress.epoch)
    if not connection.execute(_GIVE_UP, (progress.committed, progress.committed, *where)).rowcount:
        return
    connection.execute("DELETE FROM attempts WHERE consumers = ? AND partition = ?", where[:2])
    counted = islice(attempts.items(), _ATTEMPTS)
    rows = [(group, progress.partition, offset, count) for offset, count in counted]
    connection.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?)", rows)
    _forget(connection, "deaths", group, progress)


def leave(connection: sqlite3.Connection, member: Member) -> None:
    """Remove the member; what it still holds is free."""
    connection.execute("DELETE FROM members WHERE id = ?", (member.id,))
    owned = (member.group, member.id)
    connection.execute("UPDATE positions SET owner = NULL WHERE consumers = ? AND owner = ?", owned)


def lag(connection: sqlite3.Connection, topic: str, group: str) -> int:
    """How many messages of the topic the group has not settled; all that are kept, when it never read it."""
    [count] = connection.execute(_LAG, (group, topic)).fetchone()
    return int(count)


def _forget(connection: sqlite3.Connection, table: str, group: str, progress: Progress) -> None:
    """Drop what a table says of settled messages."""
    connection.execute(
        f"DELETE FROM {table} WHERE consumers = ? AND partition = ? AND offset < ?",  # noqa: S608 one of two constants
        (group, progress.partition, progress.committed),
    )


def _live(connection: sqlite3.Connection, member: Member) -> dict[str, Collection[str]]:
    now = time.monotonic()
    topics = json.dumps(sorted(member.topics))
    connection.execute(
        _JOIN, (member.id, member.group, topics, member.boot, now + member.lease, member.lease)
    )
    connection.execute(_EXPIRE, (now, member.boot, now + _EARLIER))
    rows = connection.execute(
        "SELECT id, topics FROM members WHERE consumers = ? ORDER BY joined", (member.group,)
    )
    return {identity: frozenset(json.loads(topics)) for identity, topics in rows}


def _take(connection: sqlite3.Connection, member: Member, position: _Position) -> Taken:
    place = (member.group, position.partition)
    connection.execute(_COUNT, (*place, position.committed, position.handed))
    suspect, strict = position.suspect, bool(position.strict)
    if position.owner not in (None, member.id) and position.handed > position.committed:
        suspect, strict = _accuse(connection, member.group, position)
    connection.execute(_TAKE, (member.id, suspect, strict, *place))
    return Taken(
        position.at,
        position.partition,
        position.epoch + 1,
        position.committed,
        attempts=_counts(connection, "attempts", place),
        deaths=_counts(connection, "deaths", place),
        suspect=suspect,
        strict=strict,
    )


def _accuse(connection: sqlite3.Connection, group: str, position: _Position) -> tuple[int, bool]:
    """The last owner died with messages in hand: charge the one that was alone, and suspect them all.

    A second death among suspects that proved nothing, since other partitions were at work, makes the next ones strict.
    """
    if position.alone is not None and position.alone >= position.committed:
        connection.execute(_CHARGE, (group, position.partition, position.alone))
    return max(position.suspect, position.handed), position.suspect > position.committed


def _counts(connection: sqlite3.Connection, table: str, place: tuple[str, int]) -> dict[int, int]:
    rows = connection.execute(
        f"SELECT offset, count FROM {table} WHERE consumers = ? AND partition = ?",  # noqa: S608 one of two constants
        place,
    )
    return dict(rows)
