"""Bar 19: a steady load for long, with kills and cuts in between: nothing grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from eventwire.url import BrokerUrl
from tests.chaos import vitals
from tests.chaos.crew import Member
from tests.chaos.journal import Step
from tests.chaos.proxy import Proxy, proxied
from tests.chaos.publisher import Publisher
from tests.chaos.report import Figures
from tests.chaos.run import Run
from tests.chaos.scene import Scene, steps
from tests.chaos.switches import sized
from tests.chaos.vitals import Sample

SECONDS = sized(6.0, 75.0)
EVERY = sized(2.0, 15.0)
"""Seconds between two faults."""
RATE = 500
_BATCH = 50
PARTITIONS = 4
UNCOMMITTED = 200
MOST_SLOPE = 1.0
"""MiB a minute, over the second half."""
MOST_GROWTH = 8.0
"""MiB from the first third to the end: a short run has no slope worth the name."""
MORE_FILES, MORE_TASKS = 4, 8


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.bar(19, "500 events a second; a worker killed, or its connections cut, every 15 s")
@pytest.mark.parametrize(
    "broker",
    [
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_nothing_grows(url: str, tmp_path: Path, rng: Random, figures: Figures) -> None:
    every = steps(round(SECONDS * RATE))
    async with _cuttable(url) as (cut_url, proxy):
        scene = Scene(
            cut_url,
            str(tmp_path),
            partitions=PARTITIONS,
            behaviour="tests.chaos.behaviours:slow",
            options={"seconds": 0.002},
            worker={"max_uncommitted": UNCOMMITTED, "commit_interval": 0.1, "concurrency": 8},
            vitals=True,
        )
        async with Run(scene) as run:
            veteran, victim = await run.start(2)
            await run.balance([veteran, victim])
            run.publishing = asyncio.create_task(_steadily(run, every))
            kills, cuts = await _faults(run, victim, proxy, rng)
            await run.end(len(every))
    figures.faults = f"{kills} SIGKILLs" + (f", {cuts} times all connections cut" if proxy else "")
    _require_flat(vitals.samples(scene.vitals_of(veteran.owner)), figures)
    figures.judged(run.verdict(), bound=(kills + 2 * cuts) * UNCOMMITTED * PARTITIONS)


@asynccontextmanager
async def _cuttable(url: str) -> AsyncGenerator[tuple[str, Proxy | None]]:
    """RabbitMQ by way of a proxy. Kafka's clients go where the broker sends them, a file has no connections."""
    if not url.startswith("amqp"):
        yield url, None
        return
    [host] = BrokerUrl.parse(url).hosts
    port = host.port or 5672
    async with proxied(port) as proxy:
        yield url.replace(f"{host.name}:{port}", f"127.0.0.1:{proxy.port}"), proxy


async def _steadily(run: Run, every: list[Step]) -> None:
    """RATE events a second; what a cut leaves unconfirmed is published again before anything later."""
    publisher, began = Publisher(run.scene, run.bus), time.monotonic()
    for start in range(0, len(every), _BATCH):
        left = every[start : start + _BATCH]
        while left := await publisher.once(left):  # noqa: ASYNC110 - the broker decides
            await asyncio.sleep(0.1)
        await asyncio.sleep(max(0.0, began + start / RATE - time.monotonic()))


async def _faults(run: Run, victim: Member, proxy: Proxy | None, rng: Random) -> tuple[int, int]:
    """Kill the victim, and start another, or cut everything, at seeded moments until all is published."""
    kills = cuts = 0
    assert run.publishing is not None
    while True:
        await asyncio.wait({run.publishing}, timeout=EVERY * rng.uniform(0.8, 1.2))
        if run.publishing.done():
            return kills, cuts
        await run.crew.joined(victim)  # who cannot even begin ends with an error, rightly
        if proxy is not None and (kills > cuts):
            proxy.cut()
            cuts += 1
            continue
        await victim.kill()
        kills += 1
        victim = await run.crew.start()


def _require_flat(taken: list[Sample], figures: Figures) -> None:
    """Compares a worker that lived all along with itself."""
    early, late = taken[len(taken) // 3 : len(taken) // 2], taken[len(taken) // 2 :]
    slope = vitals.slope(late)
    growth = max(each.rss for each in late) - max(each.rss for each in early)
    files = late[-1].files - max(each.files for each in early)
    tasks = late[-1].tasks - max(each.tasks for each in early)
    figures.note(f"RSS {late[-1].rss:.0f} MiB, {slope:+.2f} MiB a minute; files {files:+d}, tasks {tasks:+d}")
    if sized(short=False, long=True):
        assert slope < MOST_SLOPE, f"RSS grows by {slope:.2f} MiB a minute"
    assert growth < MOST_GROWTH, f"RSS grew by {growth:.1f} MiB"
    assert files <= MORE_FILES, f"{files} more open files"
    assert tasks <= MORE_TASKS, f"{tasks} more tasks"
