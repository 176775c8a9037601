"""Bar 8: events that raise, that cannot be read, and that kill the process which handles them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from eventwire.message import Message
from tests.chaos.broker import dead_letters
from tests.chaos.forging import Forger, undecodable
from tests.chaos.journal import Step
from tests.chaos.oracle import Violation
from tests.chaos.report import Figures
from tests.chaos.run import Run
from tests.chaos.scene import Scene, order, steps
from tests.chaos.switches import sized

EVENTS = sized(1_500, 20_000)
SHARES = {"raise": 0.01, "unreadable": sized(0.003, 0.001), "kill": sized(0.0014, 0.0005)}
ATTEMPTS = 3
WORKERS = 2
PARTITIONS = 4
UNCOMMITTED = 50
_WITHIN = sized(120.0, 600.0)
_ERRORS = {"raise": "ValueError", "unreadable": "Undecodable", "kill": "HandlerDied"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.bar(8, "poison: 1 % raise, 0.1 % unreadable, 0.05 % SIGKILL their own process; 3 attempts")
@pytest.mark.parametrize(
    "broker",
    [
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_poison_reaches_the_dead_letter_and_nothing_else_does(
    url: str, tmp_path: Path, rng: Random, figures: Figures
) -> None:
    scene = Scene(
        url,
        str(tmp_path),
        partitions=PARTITIONS,
        retry={"max_attempts": ATTEMPTS, "initial_backoff": 0.01, "max_backoff": 0.02},
        behaviour="tests.chaos.behaviours:poisoned",
        options={"seconds": 0.001},
        worker={"max_uncommitted": UNCOMMITTED, "commit_interval": 0.05, "concurrency": 8},
        starts=True,
    )
    kinds = drawn(steps(EVENTS), rng)
    async with Run(scene) as run:
        run.supervise(WORKERS)
        killers = sum(kind == "kill" for kind in kinds.values())
        run.crew.guards.append(lambda: require_end(run, killers))
        forger = Forger(
            scene,
            run.bus,
            lambda step: order(step, kind=kinds.get(step, "")),
            lambda step, message: undecodable(message) if kinds.get(step) == "unreadable" else message,
        )
        run.publishing = asyncio.create_task(forger.publish(steps(EVENTS)))
        try:
            await run.end(EVENTS - len(kinds), within=_WITHIN)
        finally:
            dead = await dead_letters(scene, run.transport)
            verdict = run.verdict(dead={step_of(message) for message in dead}, poison=kinds)
            assert not verdict.strays, f"healthy events in the dead letter: {told(dead, verdict.strays)}"
    deaths = run.killed()
    figures.faults = f"{len(kinds)} poison events, {deaths} processes killed by them"
    require_whole(dead, kinds, forger.written)
    require_attempts(run, kinds)
    figures.note(f"{len(dead)} dead letters of {len(kinds)} poison events")
    figures.judged(verdict, bound=deaths * UNCOMMITTED * PARTITIONS)


def drawn(every: Sequence[Step], rng: Random) -> dict[Step, str]:
    """Which of them are poison, and of which kind."""
    chosen = iter(rng.sample(every, len(every)))
    return {next(chosen): kind for kind, share in SHARES.items() for _ in range(round(share * len(every)))}


def told(dead: Sequence[Message], strays: Sequence[Step]) -> str:
    """What the dead letters of these say of why."""
    names = ("error", "attempts", "partition", "offset")
    return "; ".join(
        f"{step}: {' '.join((message.header(f'eventwire_dead_{name}') or b'').decode() for name in names)}"
        for message in dead
        if (step := step_of(message)) in strays
    )


def require_end(run: Run, killers: int) -> None:
    """A killer is let loose `ATTEMPTS` times, once more in a crowd, and now and then beside another."""
    if (deaths := run.killed()) > killers * (ATTEMPTS + 3):
        raise Violation(f"{killers} poison events have killed {deaths} processes, and no end")


def step_of(message: Message) -> Step:
    """The step of a message, by its id."""
    return Step.parse(message.id or (message.header("ce_id") or b"").decode())


def require_whole(
    dead: Sequence[Message], kinds: Mapping[Step, str], written: Mapping[Step, Message]
) -> None:
    """Each poison event has a dead letter with its own bytes and headers, and says why."""
    by_step = {step_of(message): message for message in dead}
    missing = sorted(kinds.keys() - by_step.keys())
    assert not missing, f"dead letter: {len(missing)} poison events are missing, {missing[:5]}"
    for step in kinds:
        message = by_step[step]
        original = written[step]
        assert message.body == original.body, f"dead letter of {step}: another body"
        assert message.key == original.key, f"dead letter of {step}: another key"
        assert set(original.headers) <= set(message.headers), f"dead letter of {step}: headers are missing"
        assert message.header("eventwire_dead_error") == _ERRORS[kinds[step]].encode(), step
        assert message.header("eventwire_dead_reason"), f"dead letter of {step}: no reason"
        if kinds[step] == "raise":
            assert message.header("eventwire_dead_attempts") == b"%d" % ATTEMPTS, (
                f"dead letter of {step}: attempts"
            )


def require_attempts(run: Run, kinds: Mapping[Step, str]) -> None:
    """A raising event was tried as often as it may be, and once more for each process that was killed beside it."""
    tried = Counter(line.step for line in run.crew.journal.started)
    for step, kind in kinds.items():
        if kind == "unreadable":
            assert not tried[step], f"{step} was handled, though it cannot be read"
        else:
            assert tried[step] >= ATTEMPTS, f"{step} ({kind}) was tried {tried[step]} times only"
