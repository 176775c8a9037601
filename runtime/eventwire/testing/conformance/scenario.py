"""One promise of the transport contract, as something that can be run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eventwire.testing.conformance.failure import Broken, within
from eventwire.testing.conformance.harness import Harness, Stage

_WAITS = 6
"""Deadlines that a whole scenario has, should something hang that none of its waits bounds."""
_LEFT_OVER = 2.0
"""Seconds that a closed transport's tasks have to end."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A promise, played on a stage.

    `needs` names the `Features` without which it is skipped. `delivers` is False for what also holds where nothing is
    ever delivered. `restarts` marks what needs the server for itself, since it restarts it.
    """

    play: Callable[[Stage], Awaitable[None]]
    needs: tuple[str, ...] = ()
    delivers: bool = True
    restarts: bool = False

    def __str__(self) -> str:
        return self.play.__name__

    def skipped(self, harness: Harness) -> str | None:
        """Why it does not apply to this harness's transport; None when it does."""
        features = harness.features
        if self.delivers and features.vacuous:
            return f"Features.vacuous: {features.transport} never delivers anything"
        if lacking := [need for need in self.needs if not getattr(features, need)]:
            return f"{features.transport} has no Features.{', Features.'.join(lacking)}"
        if self.restarts and harness.restart is None:
            return f"the harness of {features.transport} has no server that it can restart"
        return None

    async def run(self, harness: Harness) -> None:
        """Play it. Raises Broken (Missing when a deadline passed), or what the transport raised."""
        async with within(harness.deadline * _WAITS, lambda: f"the end of {self}"), harness.stage() as stage:
            await self.play(stage)

    async def run_alone(self, harness: Harness) -> None:
        """Play it in a loop of its own; whatever still runs after everything was closed is Broken, too."""
        await self.run(harness)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        running = tasks and (await asyncio.wait(tasks, timeout=_LEFT_OVER))[1]
        if running:
            raise Broken(f"close() left tasks running: {[task.get_name() for task in running if task]}")
