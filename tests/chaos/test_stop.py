"""Bar 13: SIGTERM at any moment."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.chaos.crew import Member
from tests.chaos.journal import Step
from tests.chaos.report import Figures
from tests.chaos.run import PATIENCE, Run
from tests.chaos.scene import Scene, steps
from tests.chaos.switches import sized

STOPS = sized(6, 50)
AT_ONCE = 3
EVENTS = STOPS * 60
LONGEST = sized(0.8, 2.0)
"""Seconds that a handler takes at most."""
GRACE = 5.0
IN_FLIGHT = 16
"""Events of a partition: all are at work at once, none waits for another of its key."""
_REST = sized(120.0, 400.0)
"""Seconds for the last worker to handle what the others left: with so few in flight Kafka gives some ten a second."""
_NEVER = 3600.0

ALL = [
    "sqlite",
    pytest.param("kafka", marks=pytest.mark.server),
    pytest.param("amqp", marks=pytest.mark.server),
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.bar(13, "SIGTERM at random moments, handlers of 0 to 2 s, grace 5 s; a new worker for each")
@pytest.mark.parametrize("broker", ALL, indirect=True)
async def test_a_worker_told_to_stop_finishes_what_it_handles(
    calm_url: str, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    scene = Scene(
        calm_url,
        str(tmp_path),
        partitions=AT_ONCE,
        behaviour="tests.chaos.behaviours:uneven",
        options={"seconds": LONGEST},
        worker={"concurrency": 64, "max_uncommitted": IN_FLIGHT, "grace": GRACE, "commit_interval": 0.1},
        starts=True,
    )
    moments = [rng.random() for _ in range(STOPS)]
    slots = asyncio.Semaphore(AT_ONCE)
    async with Run(scene) as run:
        run.publish(steps(EVENTS, keys=EVENTS // 4))
        took = await asyncio.gather(*(_life(run, moment, slots) for moment in moments))
        handling = sum(busy for _, busy in took)
        await run.start(1)
        await run.end(EVENTS, within=_REST)
    slowest = max(seconds for seconds, _ in took)
    figures.faults = f"{STOPS} SIGTERMs, {handling} handlers at work at them"
    figures.note(f"slowest end {slowest:.1f} s of {GRACE + 1:g}, all with exit code 0")
    assert handling, "no SIGTERM came while something was handled"
    cut = cut_off(run)
    assert not cut, f"handlers were cut off, though they end within the grace: {len(cut)}, first {cut[0]}"
    figures.judged(run.verdict(), bound=0)


def cut_off(run: Run) -> list[Step]:
    """What was begun and not finished by the worker that began it."""
    begun = Counter((line.owner, line.step) for line in run.crew.journal.started)
    begun.subtract((line.owner, line.step) for line in run.crew.journal.handled)
    return [step for (_, step), count in begun.items() if count]


async def _life(run: Run, moment: float, slots: asyncio.Semaphore) -> tuple[float, int]:
    """Start a worker, tell it to stop at its moment; the seconds it took and how many handlers it had at work."""
    async with slots:
        member = await run.crew.start()
        await run.crew.joined(member)
        await asyncio.sleep(moment)
        run.crew.journal.read()
        lines = [line for line in run.crew.journal.started if line.owner == member.owner]
        busy = len(lines) - run.crew.journal.owners.get(member.owner, 0)
        return await _stopped(member, GRACE + 1), busy


async def _stopped(member: Member, within: float) -> float:
    """SIGTERM; the seconds until it ended well."""
    began = time.monotonic()
    member.tell()
    try:
        async with asyncio.timeout(within + 5):
            code = await member.process.wait()
    except TimeoutError:
        raise AssertionError(f"{member.owner} runs on {within + 5:g} s after SIGTERM") from None
    seconds = time.monotonic() - began
    assert code == 0, f"{member.owner} ended with exit code {code} after SIGTERM\n{member.tail()}"
    assert seconds <= within, f"{member.owner} took {seconds:.1f} s to end after SIGTERM, of {within:g}"
    return seconds


@pytest.mark.slow
@pytest.mark.bar(
    13, "a second SIGTERM while handlers are at work: ends at once, and what was not handled comes again"
)
@pytest.mark.parametrize("broker", ALL, indirect=True)
async def test_a_second_sigterm_ends_it_at_once_and_nothing_is_acknowledged(
    calm_url: str, tmp_path: Path, figures: Figures
) -> None:
    endless = Scene(
        calm_url,
        str(tmp_path),
        behaviour="tests.chaos.behaviours:slow",
        options={"seconds": _NEVER},
        worker={"grace": _NEVER},
        starts=True,
    )
    count = 20
    async with Run(endless) as run:
        [member] = await run.start(1)
        run.publish(steps(count, keys=count))
        await run.reach(lambda: len(run.crew.journal.started) == count, lambda: "all handlers are at work")
        member.tell()
        await run.crew.until(lambda: "stopping" in member.tail(), PATIENCE, "the worker begins to drain")
        seconds = await _stopped(member, 1.0)
        quick = replace(endless, behaviour="tests.chaos.behaviours:quick")
        await run.crew.start(quick)
        await run.end(count)
    figures.faults = f"2 SIGTERMs, {count} handlers at work"
    figures.note(f"ended {seconds:.1f} s after the second")
    assert signal.SIGKILL not in {member.process.returncode for member in run.crew.members}
    figures.judged(run.verdict(), bound=0)
