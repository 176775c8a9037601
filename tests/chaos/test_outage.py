"""Bars 3 and 4: the broker is killed and comes back, or is frozen and wakes, under load."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random

import pytest

from eventwire.bus import Bus
from tests.chaos.conftest import KAFKA, Own
from tests.chaos.crew import ROOT
from tests.chaos.holdings import apart, descriptors, tasks
from tests.chaos.journal import Outcome, Step, publications
from tests.chaos.load import Load
from tests.chaos.oracle import outcomes
from tests.chaos.report import Figures
from tests.chaos.scene import Scene, steps
from tests.chaos.switches import sized
from tests.chaos.waiting import until
from tools.servers import Server

EVENTS, PUBLISHERS = sized(1_500, 10_000), 100
RESUMED = 10.0
KEPT = 2
"""How many more or fewer file descriptors and tasks there may be at the end."""
RAFT = 2.5
"""Seconds until RabbitMQ 3.10 has written a new quorum queue: see Server.kill."""
FROZEN, DEADLINE = sized((3.0, 1.0), (30.0, 5.0))
CLOSED = 10.0
BROKERS = pytest.mark.parametrize("broker", ["kafka", "amqp"], indirect=True)


def load_of(own: Own, broker: str, tmp_path: Path, timeout: float) -> Load:
    options = KAFKA if broker == "kafka" else "?heartbeat=2&connect_timeout=3"
    return Load(Scene(f"{own.server.url}{options}", str(tmp_path), partitions=4), timeout)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(600)
@pytest.mark.bar(3, "broker SIGKILLed and started again at a third and at half, 100 publishers")
@BROKERS
async def test_a_killed_broker_loses_nothing(broker: str, own: Own, tmp_path: Path, figures: Figures) -> None:
    load = load_of(own, broker, tmp_path, 5.0)
    took: list[float] = []
    async with load.open() as bus:
        await bus.declare(load.scene.topic, groups=[load.scene.group])
        async with load.working():
            await load.publish(bus, steps(PUBLISHERS, PUBLISHERS), PUBLISHERS)
            await load.settled()
            await asyncio.sleep(RAFT)
            before = descriptors(), tasks()
            publishing = asyncio.create_task(load.publish(bus, steps(EVENTS, PUBLISHERS), PUBLISHERS))
            for point in (1 / 3, 1 / 2):
                await progress(load, publishing, round(EVENTS * point))
                took.append(await killed(own.server, load, bus))
            await publishing
            await load.settled()
            await until(
                lambda: max(apart(before, (descriptors(), tasks()))) <= KEPT,
                15,
                lambda: f"leak: {descriptors() - before[0]} descriptors, tasks {tasks() - before[1]}",
            )
    figures.faults = f"2 SIGKILLs; publishes: {load.told}"
    figures.note(f"resumed {max(took):.1f} s after it was ready, at most {RESUMED:g}")
    figures.judged(load.verdict())
    load.punctual()


async def killed(server: Server, load: Load, bus: Bus) -> float:
    """Kill it and start it again; how long after that something is handled again."""
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    probe = asyncio.create_task(load.publish(bus, [Step(f"probe-{len(load.confirmed)}", 0)], 1))
    took = await load.resumed(RESUMED)
    await probe
    return took


async def progress(load: Load, publishing: asyncio.Task[None], count: int) -> None:
    await until(
        lambda: len(load.confirmed) >= count or publishing.done(),
        120,
        lambda: f"{count} confirmed, {load.told}",
    )
    if publishing.done():
        await publishing


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(600)
@pytest.mark.bar(4, "broker SIGSTOPped, then SIGCONT; one bus is closed meanwhile")
@BROKERS
async def test_a_frozen_broker_keeps_nobody_waiting(
    broker: str, own: Own, tmp_path: Path, figures: Figures
) -> None:
    load = load_of(own, broker, tmp_path, DEADLINE)
    async with load.open() as bus, load.open() as other:
        await bus.declare(load.scene.topic, groups=[load.scene.group])
        await asyncio.sleep(RAFT)
        async with load.working():
            publishing = asyncio.create_task(load.publish(bus, steps(EVENTS, PUBLISHERS), PUBLISHERS))
            await progress(load, publishing, EVENTS // 3)
            async with frozen(own.server):
                thawed = time.monotonic() + FROZEN
                began = time.monotonic()
                await asyncio.wait_for(other.close(), CLOSED)
                closed = time.monotonic() - began
                await asyncio.sleep(max(0.0, thawed - time.monotonic()))
            await publishing
            await load.settled()
    figures.faults = f"frozen for {FROZEN:g} s; publishes: {load.told}"
    figures.note(
        f"slowest publish {load.slowest:.1f} s of {DEADLINE:g} + 1, closed in {closed:.1f} s of {CLOSED:g}"
    )
    figures.judged(load.verdict())
    load.punctual()
    assert load.errors, "no publish met the frozen broker"


@asynccontextmanager
async def frozen(server: Server) -> AsyncGenerator[None]:
    await asyncio.to_thread(server.suspend)
    try:
        yield
    finally:
        await asyncio.to_thread(server.resume)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.bar(3, "writing process SIGKILLed in the middle of its transactions")
@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)
async def test_a_writer_killed_in_its_transaction_loses_nothing(
    url: str, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    kills, events = sized((4, 50_000), (20, 50_000))
    load = Load(Scene(url, str(tmp_path)), 10.0)
    scene = load.scene.save()
    for _ in range(kills):
        writer = await started(scene, events)
        await growing(load.scene.published)
        await asyncio.sleep(rng.random() * 0.2)
        writer.kill()
        assert await writer.wait() == -signal.SIGKILL
    with closing(sqlite3.connect(url.partition("///")[2].partition("?")[0])) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    told = outcomes(publications(load.scene.published))
    load.confirmed |= {step for step, outcome in told.items() if outcome is Outcome.OK}
    async with load.working():
        await load.settled()
    figures.events, figures.faults = len(load.confirmed), f"{kills} SIGKILLs"
    assert load.confirmed, "nothing was confirmed"


async def growing(path: Path) -> None:
    """Wait until it is longer than now."""
    before = size(path)
    await until(lambda: size(path) > before, 30, "the writer writes")


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def started(scene: Path, events: int) -> asyncio.subprocess.Process:
    """A publisher, one process."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "examples/shop/gen")))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.publisher", str(scene), str(events), "40"),
        cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
