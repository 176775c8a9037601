"""Bars 1 and 2: workers are killed under load."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.chaos.report import Figures
from tests.chaos.run import Run
from tests.chaos.scene import Scene, steps
from tests.chaos.switches import sized

EVENTS = sized(4_000, 200_000)
KILLS = sized(4, 20)
WORKERS = 2
PARTITIONS = 4
UNCOMMITTED = 200


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.bar(1, "workers killed under load: SIGKILL at seeded points of progress, a new one for each")
@pytest.mark.parametrize(
    "broker",
    [
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_killed_workers_lose_nothing(url: str, tmp_path: Path, rng: Random, figures: Figures) -> None:
    scene = Scene(
        url,
        str(tmp_path),
        partitions=PARTITIONS,
        behaviour="tests.chaos.behaviours:slow",
        options={"seconds": 0.002},
        worker={"max_uncommitted": UNCOMMITTED, "commit_interval": 0.1, "concurrency": 8},
    )
    async with Run(scene) as run:
        await run.start(WORKERS)
        run.publish(steps(EVENTS))
        for point in sorted(rng.uniform(0.02, 0.9) for _ in range(KILLS)):
            await run.progress(round(point * EVENTS))
            await run.kill_one(rng)
            await run.crew.start()
        await run.end(EVENTS)
    assert run.killed() == KILLS
    figures.faults = f"{KILLS} SIGKILLs"
    figures.judged(run.verdict(), bound=KILLS * UNCOMMITTED * PARTITIONS)
