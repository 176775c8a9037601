from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from eventwire.message import Message
from eventwire.transport import DriverOptions, TopicSpec
from eventwire.transports.sqlite import SqliteTransport
from eventwire.url import BrokerUrl

VICTIM = Path(__file__).with_name("sqlite_victim.py")
SPEC = TopicSpec("t", partitions=3)
BODIES = [f"poison-{n}" if n in {40, 100, 200} else f"event-{n}" for n in range(240)]


@pytest.mark.slow
async def test_what_kills_processes_is_charged_exactly_and_nothing_else_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db?lease=0.2&poll=0.01"
    journal = tmp_path / "journal"
    await publish(url)
    killed = 0
    async with asyncio.timeout(120):
        while await run(url, journal) == -signal.SIGKILL:
            killed += 1
    seen = [line.split() for line in journal.read_text().splitlines()]
    assert {body for body, _ in seen} == set(BODIES)
    assert {(body, deaths) for body, deaths in seen if deaths != "0"} == {
        (body, "3") for body in BODIES if body.startswith("poison")
    }
    assert 9 <= killed <= 3 * (3 + 2)  # at most two deaths each that proved nothing
    again = Counter(body for body, _ in seen)
    assert sum(again.values()) - len(again) <= killed * 3 * 50  # max_uncommitted of three partitions


async def run(url: str, journal: Path) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, str(VICTIM), url, "t", "3", str(journal))
    return await process.wait()


async def publish(url: str) -> None:
    transport = SqliteTransport(BrokerUrl.parse(url), DriverOptions())
    await transport.connect()
    await transport.declare([SPEC], [])
    for number, body in enumerate(BODIES):
        await transport.publish(SPEC, Message("t", body.encode(), None, (), None, f"id-{number}"))
    await transport.close()
