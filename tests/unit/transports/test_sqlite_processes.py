from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections import defaultdict
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from eventwire.errors import PublishError
from eventwire.transport import DriverOptions, TopicSpec
from eventwire.transports.sqlite import SqliteTransport
from eventwire.url import BrokerUrl
from tests.unit.transports.support import order, until

MEMBER = Path(__file__).with_name("sqlite_member.py")
SPEC = TopicSpec("orders", partitions=6, ordered=True)
COUNT = 3000
LEASE = 0.5


def lines(journal: Path) -> list[list[str]]:
    return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []


@pytest.mark.slow
async def test_four_processes_lose_nothing_when_one_is_killed_and_one_is_stopped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db?lease={LEASE}&poll=0.01"
    journal = tmp_path / "journal"
    members = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(MEMBER), url, "orders", "6", str(journal), f"m{number}"
        )
        for number in range(4)
    ]
    try:
        await publish(url)
        await until(lambda: len({owner.split(".")[0] for owner, *_ in lines(journal)}) == 4, 30)
        members[0].kill()
        members[1].send_signal(signal.SIGSTOP)
        await asyncio.sleep(2 * LEASE)
        members[1].send_signal(signal.SIGCONT)
        await publish(url, COUNT)
        await until(lambda: committed(tmp_path / "broker.db") == 2 * COUNT, 50)
    finally:
        for member in members:
            with suppress(ProcessLookupError):
                member.kill()
            await member.wait()
    seen = lines(journal)
    assert {identity for *_, identity in seen} == {f"id-{n}" for n in range(2 * COUNT)}
    offsets: dict[tuple[str, str], list[int]] = defaultdict(list)
    for owner, partition, offset, _, _ in seen:
        offsets[owner, partition].append(int(offset))
    for of_one_owner in offsets.values():
        assert all(after == before + 1 for before, after in pairwise(of_one_owner))
    repeated = len(seen) - 2 * COUNT
    assert repeated <= 2 * 6 * 20 * 3  # what was handed out to the two, a few times over; not the log again


async def publish(url: str, first: int = 0) -> None:
    transport = SqliteTransport(BrokerUrl.parse(url), DriverOptions())
    await transport.connect()
    await transport.declare([SPEC], [])
    for start in range(first, first + COUNT, 500):
        batch = [order(number, key=f"k{number % 60}") for number in range(start, start + 500)]
        outcomes = await transport.publish_many(SPEC, batch)
        assert not any(isinstance(outcome, PublishError) for outcome in outcomes)
    await transport.close()


def committed(path: Path) -> int:
    connection = sqlite3.connect(path, timeout=5)
    try:
        return int(connection.execute("SELECT coalesce(sum(committed), 0) FROM positions").fetchone()[0])
    finally:
        connection.close()
