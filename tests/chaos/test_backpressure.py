"""Bar 14: a backlog whose handlers do not return, and publishers whose broker does not answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos import vitals
from tests.chaos.journal import Appender, Outcome, Step
from tests.chaos.report import Figures
from tests.chaos.run import PATIENCE, Run
from tests.chaos.scene import Scene, order, steps
from tests.chaos.switches import sized
from tests.chaos.vitals import Sample
from tests.chaos.waiting import until
from tools import servers

BACKLOG = sized(6_000, 30_000)
BODY = 4096
CONCURRENCY = 32
UNCOMMITTED = 100
PARTITIONS = 4
STEADY = sized(10, 100)
"""Samples without a change in flight: then intake is paused."""
MOST_RSS = 80.0
MOST_GROWTH = 2.0
_HOUR = 3600.0
_DEADLINE = sized(1.0, 3.0)
_IN_FLIGHT = 50

ALL = [
    "sqlite",
    pytest.param("kafka", marks=pytest.mark.server),
    pytest.param("amqp", marks=pytest.mark.server),
]


@pytest.mark.slow
@pytest.mark.bar(14, "a backlog of 4 KiB events, handlers that sleep for an hour")
@pytest.mark.parametrize("broker", ALL, indirect=True)
async def test_a_backlog_stays_at_the_broker(calm_url: str, tmp_path: Path, figures: Figures) -> None:
    scene = Scene(
        calm_url if calm_url.startswith(("sqlite", "kafka")) else f"{calm_url}?prefetch={UNCOMMITTED}",
        str(tmp_path),
        partitions=PARTITIONS,
        behaviour="tests.chaos.behaviours:slow",
        options={"seconds": _HOUR},
        worker={"concurrency": CONCURRENCY, "max_uncommitted": UNCOMMITTED, "grace": 0.1},
        starts=True,
        vitals=True,
    )
    async with Run(scene) as run:
        run.publish(steps(BACKLOG, keys=BACKLOG // 4), event=_large)
        await _published(run)
        [member] = await run.start(1)
        await run.reach(
            lambda: len(run.crew.journal.started) >= CONCURRENCY, lambda: "all handlers are at work"
        )
        steady = await _steady(scene, member.owner)
        assert await run.crew.stop() == [0]
        await run.crew.start(replace(scene, behaviour="tests.chaos.behaviours:quick"))
        await run.end(BACKLOG)
    started = len([line for line in run.crew.journal.started if line.owner == member.owner])
    held, most = max(each.waiting for each in steady), max(each.rss for each in steady)
    growth = steady[-1].rss - steady[0].rss
    figures.faults = f"{started} handlers asleep, {held} of {BACKLOG:,} events held by the worker"
    figures.note(f"RSS {most:.0f} MiB of {MOST_RSS:.0f}, {growth:+.1f} MiB while asleep")
    assert started == CONCURRENCY, f"{started} handlers at once, concurrency is {CONCURRENCY}"
    assert held <= PARTITIONS * UNCOMMITTED, f"{held} events in flight, above {PARTITIONS * UNCOMMITTED}"
    assert most <= MOST_RSS, f"RSS {most:.0f} MiB, above {MOST_RSS:.0f}"
    assert growth <= MOST_GROWTH, f"RSS grew by {growth:.1f} MiB while nothing was handled"
    figures.judged(run.verdict(), bound=0)


def _large(step: Step) -> OrderPlaced:
    return order(step, padding=BODY)


async def _published(run: Run) -> None:
    assert run.publishing is not None
    await run.publishing


async def _steady(scene: Scene, owner: str) -> Sequence[Sample]:
    """The samples since the worker stopped taking more in."""
    path = scene.vitals_of(owner)

    def still() -> bool:
        last = vitals.samples(path)[-STEADY:]
        return len(last) == STEADY and {each.waiting for each in last} == {last[0].waiting}

    await until(still, PATIENCE + STEADY * vitals.EVERY, "the worker stops taking more in")
    return vitals.samples(path)[-STEADY:]


@pytest.mark.slow
@pytest.mark.bar(
    14, "publishing an endless stream while the broker does not answer (SIGSTOP; SQLite: locked)"
)
@pytest.mark.parametrize("broker", ALL, indirect=True)
async def test_a_publisher_does_not_run_ahead_of_a_blocked_broker(
    broker: str, url: str, tmp_path: Path, request: pytest.FixtureRequest, figures: Figures
) -> None:
    scene = Scene(url, str(tmp_path), bus={"publish_timeout": _DEADLINE})
    async with Run(scene) as run:
        await run.start(1)
        run.publish(steps(200, keys=10))
        await run.progress(200)
        drawn: list[Step] = []
        log = Appender(scene.published)
        async with blocked(broker, url, request):
            before = vitals.sample()
            stream = asyncio.create_task(
                run.bus.publish_many(scene.topic, _endless(drawn, log), max_in_flight=_IN_FLIGHT)
            )
            await asyncio.sleep(2.5 * _DEADLINE)
            ahead, growth = len(drawn), vitals.sample().rss - before.rss
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)
        figures.faults = f"blocked {2.5 * _DEADLINE:g} s, {ahead} events taken from the stream"
        figures.note(f"RSS {growth:+.1f} MiB")
        deadlines = 3
        assert 0 < ahead <= deadlines * _IN_FLIGHT, f"{ahead} events taken within {deadlines} deadlines"
        again = steps(400, keys=10)[200:]
        run.publish(again)
        await run.progress(len(run.crew.journal.read().steps | set(again)))
        await run.end(400)
    figures.judged(run.verdict(), bound=0)


def _endless(drawn: list[Step], log: Appender) -> Iterator[OrderPlaced]:
    while True:
        step = Step("blocked", len(drawn))
        drawn.append(step)
        log.publication(Outcome.TRIED, [step])
        yield order(step, padding=BODY)


@asynccontextmanager
async def blocked(broker: str, url: str, request: pytest.FixtureRequest) -> AsyncGenerator[None]:
    """The broker takes connections and answers nothing."""
    if broker == "sqlite":
        path = url.partition("sqlite:///")[2].partition("?")[0]
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
        return
    server: servers.Server = request.getfixturevalue(f"{broker}_server")
    if not server.controllable:
        pytest.skip(f"NOT RUN: {server.origin} is not ours to suspend")
    await asyncio.to_thread(server.suspend)
    try:
        yield
    finally:
        await asyncio.to_thread(server.resume)
