"""The publisher of a fault run: every attempt is noted, before and after. In the test's process, or one of its own.

`python -m tests.chaos.publisher SCENE COUNT KEYS` publishes so many steps and ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence

from eventwire.bus import Bus
from eventwire.errors import PublishFailed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos import mutants
from tests.chaos.journal import Appender, Outcome, Step
from tests.chaos.scene import Scene, order, steps

_BATCH = 500


class Publisher:
    """Publishes steps to the scene's topic and notes how each ended. For one task: batches keep their order."""

    def __init__(self, scene: Scene, bus: Bus, *, event: Callable[[Step], OrderPlaced] = order) -> None:
        self._scene = scene
        self._bus = bus
        self._event = event
        self._log = Appender(scene.published)

    async def publish(self, steps: Sequence[Step], *, batch: int = _BATCH) -> None:
        """Try each once."""
        for start in range(0, len(steps), batch):
            await self.once(steps[start : start + batch])

    async def once(self, steps: Sequence[Step]) -> list[Step]:
        """Try one batch; what was not confirmed, in its order."""
        self._log.publication(Outcome.TRIED, steps)
        receipt = await self._bus.publish_many(self._scene.topic, map(self._event, steps))
        bad = {error.index: error for error in receipt.failures if error.index is not None}
        failed = [steps[at] for at, error in bad.items() if isinstance(error, PublishFailed)]
        unknown = [steps[at] for at, error in bad.items() if not isinstance(error, PublishFailed)]
        self._log.publication(Outcome.OK, _without(steps, bad))
        self._log.publication(Outcome.FAILED, failed)
        self._log.publication(Outcome.UNKNOWN, unknown)
        return [steps[at] for at in sorted(bad)]

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def _without(steps: Sequence[Step], places: Iterable[int]) -> list[Step]:
    left_out = set(places)
    return [step for at, step in enumerate(steps) if at not in left_out]


async def _run(scene: Scene, count: int, keys: int) -> None:
    async with scene.open() as bus:
        await bus.declare(scene.topic, groups=[scene.group])
        await Publisher(scene, bus).publish(steps(count, keys))


if __name__ == "__main__":
    mutants.apply()
    asyncio.run(_run(Scene.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
