"""Bar 17: the clock of the wall jumps two hours ahead and a day back."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.chaos import vitals
from tests.chaos.journal import Handling, Step
from tests.chaos.publisher import Publisher
from tests.chaos.report import Figures
from tests.chaos.run import PATIENCE, Run
from tests.chaos.scene import Scene, order, steps
from tests.chaos.switches import sized
from tests.chaos.waiting import until
from tools import servers
from tools.servers import faketime

EVENTS = sized(1_200, 20_000)
RETRIED = 12
BACKOFF = 0.5
"""Seconds between two attempts."""
EARLY, LATE = 0.9, 1.1
SLACK = 2.0
"""Seconds that a busy machine may take to come to a timer that is due."""
WORKERS = 2
JUMPS = {"+2h": 7_200, "-1d": -86_400}
"""As libfaketime reads them, and in seconds."""
_LOOKS = 10
_PROBES = 50
_AGAIN = 0.2
_NEAR = 60.0
_BUSY = 1_000


class Clock:
    """The wall clock of processes with `env`; their monotonic clock stays the machine's."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "clock"
        self.jump("+0")
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, by: str) -> None:
        """Set how far off it is."""
        self._file.write_text(by)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    try:
        return Clock(faketime.library(), tmp_path)
    except servers.Unavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"NOT RUN: {missing}")
        pytest.skip(f"NOT RUN: {missing}")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.bar(17, "the workers' wall clock jumps by +2 h, then by -1 d (libfaketime)")
@pytest.mark.parametrize(
    "broker",
    [
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_a_clock_that_jumps_changes_nothing(
    calm_url: str, tmp_path: Path, clock: Clock, rng: Random, figures: Figures
) -> None:
    scene = Scene(
        calm_url,
        str(tmp_path),
        retry={"initial_backoff": BACKOFF, "max_backoff": BACKOFF, "jitter": 0.0},
        behaviour="tests.chaos.behaviours:twice",
        options={"seconds": 0.005},
        worker={"concurrency": 16, "max_uncommitted": 200, "commit_interval": 0.5},
        starts=True,
        vitals=True,
    )
    every = steps(EVENTS)
    again = set(rng.sample(every, RETRIED))
    async with Run(scene, env=clock.env) as run:
        await run.balance(await run.start(WORKERS))
        run.publish(every, event=lambda step: order(step, kind="retry" if step in again else ""))
        probes = 0
        for place, (jump, seconds) in enumerate(JUMPS.items(), 1):
            await run.progress(place * EVENTS // (len(JUMPS) + 1))
            clock.jump(jump)
            probes = await _see_it(run, seconds, probes)
        await run.progress(EVENTS + probes)
        turns = await _idle_turns(run)
        await run.end(EVENTS + probes)
    gaps = _gaps(run, again)
    figures.faults = f"{len(JUMPS)} jumps"
    figures.note(f"{len(gaps)} waits of {BACKOFF} s took {min(gaps):.2f} to {max(gaps):.2f}")
    figures.note(f"event loops turn {turns:.0f} times a second when idle")
    assert len(gaps) >= RETRIED, f"{len(gaps)} second attempts at {RETRIED} events"
    assert min(gaps) >= BACKOFF * EARLY, f"an attempt came early: after {min(gaps):.2f} s of {BACKOFF}"
    assert max(gaps) <= BACKOFF * LATE + SLACK, f"an attempt came late: after {max(gaps):.2f} s of {BACKOFF}"
    assert turns < _BUSY, f"a worker with nothing to do turns its event loop {turns:.0f} times a second"
    figures.judged(run.verdict(), bound=0)


async def _see_it(run: Run, off: float, probes: int) -> int:
    """Ask a worker for its wall clock until it is as far off as it should be; how many were asked by then."""
    publisher = Publisher(run.scene, run.bus, event=lambda step: order(step, kind="wall"))
    told = 0.0
    for probe in range(probes, probes + _PROBES):
        path = Path(run.scene.folder, f"wall-{probe}")
        await publisher.publish([Step("wall", probe)])
        await until(path.exists, PATIENCE, "a worker tells its wall clock")
        if abs((told := _number(path)) - off) < _NEAR:
            return probe + 1
        await asyncio.sleep(_AGAIN)
    raise AssertionError(f"the workers' wall clock is off by {told:.0f} s, not by {off:.0f}")


def _number(path: Path) -> float:
    return float(path.read_text())


async def _idle_turns(run: Run) -> float:
    """How often a second the event loop of a worker turns that has nothing to do; the busiest worker's.

    Not its processor time: libfaketime makes every look at a clock dear, and a busy machine gives a loop that spins
    little of it.
    """
    files = [run.scene.vitals_of(member.owner) for member in run.crew.alive]
    before = [len(vitals.samples(file)) for file in files]
    done = [count + _LOOKS for count in before]
    await until(
        lambda: all(len(vitals.samples(f)) >= count for f, count in zip(files, done, strict=True)),
        PATIENCE,
        "workers tell their vital signs",
    )
    taken = [vitals.samples(file)[count:] for file, count in zip(files, before, strict=True)]
    return max((each[-1].turns - each[0].turns) / (each[-1].time - each[0].time) for each in taken)


def _gaps(run: Run, again: set[Step]) -> list[float]:
    """The times between two attempts at those that failed once, by the machine's monotonic clock."""
    began: defaultdict[tuple[str, int, Step], list[Handling]] = defaultdict(list)
    for line in run.crew.journal.started:
        if line.step in again:
            began[line.owner, line.assignment, line.step].append(line)
    tries = (pair for lines in began.values() for pair in pairwise(lines))
    return [after.time - before.time for before, after in tries if after.attempt == before.attempt + 1]
