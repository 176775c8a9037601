"""Bar 12: the same event delivered five times at once to two workers, which fail and are killed meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from eventwire.inbox.sql import SqlInbox
from tests.chaos.inbox import CONCURRENCY, INBOX, METADATA, InboxScene
from tests.chaos.report import Figures
from tests.chaos.run import Run
from tests.chaos.scene import steps
from tests.chaos.switches import sized

COPIES = 5
WORKERS = 2
KILLS = sized(2, 6)
FAULT = "the same event five times at once on two workers, handlers that raise when all is done, SIGKILL"


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The inbox's URL."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue(f"{request.param}_server").url)


def scene_of(url: str, store: str, folder: Path, behaviour: str) -> InboxScene:
    return InboxScene(
        url,
        str(folder),
        partitions=10,
        behaviour=f"tests.chaos.inbox:{behaviour}",
        retry={"max_attempts": 20},
        worker={"concurrency": CONCURRENCY, "commit_interval": 0.1},
        store=store,
    )


async def work(run: Run, events: int, rng: Random) -> None:
    """Publish every event five times in a row, and kill workers at points of progress."""
    await run.start(WORKERS)
    run.publish([step for step in steps(events, keys=events) for _ in range(COPIES)])
    for point in sorted(rng.uniform(0.05, 0.9) for _ in range(KILLS)):
        await run.progress(round(point * events))
        await run.kill_one(rng)
        await run.crew.start()
    await run.end(events)
    assert run.killed() == KILLS


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.bar(12, FAULT)
@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgres", marks=pytest.mark.server)], indirect=True
)
async def test_effects_in_the_inboxs_transaction_are_exactly_once(
    url: str, store: str, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    events = sized(300, 10_000 if store.startswith("postgres") else 2_000)
    scene = scene_of(url, store, tmp_path, "charge")
    async with scene.engine() as engine:
        async with engine.begin() as connection:
            await connection.run_sync(METADATA.drop_all)
            await connection.run_sync(METADATA.create_all)
        async with Run(scene) as run:
            await work(run, events, rng)
        effects = Counter((await scene.effects()).values())
        async with engine.connect() as connection:
            rows = await connection.scalar(select(func.count()).select_from(INBOX))
        purged = await asyncio.gather(*(SqlInbox(engine).purge(older_than=-1) for _ in range(2)))
        left = await SqlInbox(engine).purge(older_than=-1)
    figures.events, figures.faults = events * COPIES, f"{KILLS} SIGKILLs"
    figures.note(f"{len(run.crew.journal.handled):,} handlings of {events:,} events, each effect once")
    assert effects == {1: events}, f"effects of {events} events by how often they are there: {dict(effects)}"
    assert (rows, sum(purged) + left) == (events, events), f"{rows} rows of {events} events, {purged} purged"
    assert run.verdict().lost == []


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.bar(12, FAULT)
@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)
@pytest.mark.parametrize("store", ["redis"], indirect=True)
async def test_a_lease_keeps_copies_apart(
    url: str, store: str, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    """An effect is outside of Redis: what a killed worker had in hand may have it twice, and nothing else."""
    events = sized(300, 10_000)
    scene = scene_of(url, store, tmp_path, "mail")
    async with Run(scene) as run:
        await work(run, events, rng)
    figures.events, figures.faults = events * COPIES, f"{KILLS} SIGKILLs"
    figures.judged(run.verdict(), bound=KILLS * CONCURRENCY)
