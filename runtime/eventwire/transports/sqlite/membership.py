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
from pathlib import Path

from eventwire.log import shares
from eventwire.policy import Start
from eventwire.transport import TopicPartition

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_JOIN = """INSERT INTO members (id, consumers, topics, boot, expires) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, expires = excluded.expires"""
_POSITIONS = """SELECT p.topic, p.number, p.id, o.owner, o.epoch, o.committed, o.handed
                FROM positions o JOIN partitions p ON p.id = o.partition WHERE o.consumers = ?"""
_COUNT = """INSERT INTO attempts (consumers, partition, offset, count)
            SELECT ?, partition, offset, 1 FROM log WHERE partition = ? AND offset >= ? AND offset < ?
            ON CONFLICT DO UPDATE SET count = count + 1"""
_COMMIT = """UPDATE positions SET committed = ?, handed = max(handed, ?)
             WHERE consumers = ? AND partition = ? AND epoch = ?"""
_GIVE_UP = """UPDATE positions SET committed = ?, handed = ?, owner = NULL
              WHERE consumers = ? AND partition = ? AND epoch = ?"""


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
    """A partition that a member took over: from where on, and what was handed out before and how often."""

    at: TopicPartition
    partition: int
    epoch: int
    committed: int
    attempts: dict[int, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an owner got: all below `committed` is settled, all below `handed` was handed out."""

    partition: int
    epoch: int
    committed: int
    handed: int


@dataclass(frozen=True, slots=True)
class Shares:
    """What a heartbeat found: newly taken partitions, and those to give up (too many, or lost already)."""

    taken: Sequence[Taken]
    surplus: Sequence[TopicPartition]
    lost: Sequence[TopicPartition]


@dataclass(frozen=True, slots=True)
class _Position:
    at: TopicPartition
    partition: int
    owner: str | None
    epoch: int
    committed: int
    handed: int


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
    )


def commit(connection: sqlite3.Connection, group: str, progress: Iterable[Progress]) -> list[int]:
    """Record progress. Returns the partitions that another member took, for which nothing was recorded."""
    lost: list[int] = []
    for p in progress:
        where = (group, p.partition, p.epoch)
        if not connection.execute(_COMMIT, (p.committed, p.handed, *where)).rowcount:
            lost.append(p.partition)
        else:
            connection.execute(
                "DELETE FROM attempts WHERE consumers = ? AND partition = ? AND offset < ?",
                (group, p.partition, p.committed),
            )
    return lost


def give_up(
    connection: sqlite3.Connection, group: str, progress: Progress, attempts: Mapping[int, int]
) -> None:
    """Free a partition for others, with the attempts at what is not settled."""
    where = (group, progress.partition, progress.epoch)
    if not connection.execute(_GIVE_UP, (progress.committed, progress.committed, *where)).rowcount:
        return
    connection.execute("DELETE FROM attempts WHERE consumers = ? AND partition = ?", where[:2])
    rows = [(group, progress.partition, offset, count) for offset, count in attempts.items()]
    connection.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?)", rows)


def leave(connection: sqlite3.Connection, member: Member) -> None:
    """Remove the member; what it still holds is free."""
    connection.execute("DELETE FROM members WHERE id = ?", (member.id,))
    owned = (member.group, member.id)
    connection.execute("UPDATE positions SET owner = NULL WHERE consumers = ? AND owner = ?", owned)


def _live(connection: sqlite3.Connection, member: Member) -> dict[str, Collection[str]]:
    now = time.monotonic()
    topics = json.dumps(sorted(member.topics))
    connection.execute(_JOIN, (member.id, member.group, topics, member.boot, now + member.lease))
    connection.execute("DELETE FROM members WHERE expires < ? OR boot <> ?", (now, member.boot))
    rows = connection.execute(
        "SELECT id, topics FROM members WHERE consumers = ? ORDER BY joined", (member.group,)
    )
    return {identity: frozenset(json.loads(topics)) for identity, topics in rows}


def _take(connection: sqlite3.Connection, member: Member, position: _Position) -> Taken:
    place = (member.group, position.partition)
    connection.execute(_COUNT, (*place, position.committed, position.handed))
    connection.execute(
        """UPDATE positions SET owner = ?, epoch = epoch + 1, handed = committed
           WHERE consumers = ? AND partition = ?""",
        (member.id, *place),
    )
    counts = connection.execute(
        "SELECT offset, count FROM attempts WHERE consumers = ? AND partition = ?", place
    )
    return Taken(position.at, position.partition, position.epoch + 1, position.committed, dict(counts))
