"""Bar 7: workers join and leave under load."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.chaos.audit import audited
from tests.chaos.report import Figures
from tests.chaos.run import PATIENCE, Run
from tests.chaos.scene import Scene, steps
from tests.chaos.switches import sized

EVENTS = sized(3_000, 50_000)
CHANGES = sized(6, 30)
MOST = 3
PARTITIONS = 6
UNCOMMITTED = 100


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.bar(7, "workers join and leave (SIGTERM) under load; commits are compared to the handlers' log")
@pytest.mark.parametrize("broker", ["sqlite", pytest.param("kafka", marks=pytest.mark.server)], indirect=True)
async def test_joins_and_leaves_lose_nothing(
    calm_url: str, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    scene = Scene(
        calm_url,
        str(tmp_path),
        partitions=PARTITIONS,
        behaviour="tests.chaos.behaviours:uneven",
        options={"seconds": 0.02},
        worker={"max_uncommitted": UNCOMMITTED, "commit_interval": 0.05, "concurrency": 16},
    )
    async with Run(scene) as run, audited(run) as audit:
        await run.start(1)
        run.publish(steps(EVENTS))
        joins = leaves = 0
        for point in sorted(rng.uniform(0.02, 0.9) for _ in range(CHANGES)):
            await run.progress(round(point * EVENTS))
            if len(run.crew.alive) == 1 or (len(run.crew.alive) < MOST and rng.random() < 0.5):
                await run.crew.joined(await run.crew.start())
                joins += 1
            else:
                await _leave(run, rng)
                leaves += 1
        await run.end(EVENTS)
    assert audit.looks
    figures.faults = f"{joins} joins, {leaves} leaves"
    figures.note(f"{audit.looks} committed positions compared, none past a gap")
    figures.judged(run.verdict(), bound=CHANGES * UNCOMMITTED * PARTITIONS)


async def _leave(run: Run, rng: Random) -> None:
    member = rng.choice(run.crew.alive)
    member.tell()
    await run.reach(lambda: member.process.returncode is not None, lambda: f"{member.owner} leaves", PATIENCE)
    assert member.process.returncode == 0, member.tail()
