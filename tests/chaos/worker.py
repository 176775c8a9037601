"""A worker of a fault run, one process: `python -m tests.chaos.worker SCENE OWNER`.

Each handling is noted when the handler has done its work and before it returns, so before anything can be acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from eventwire.context import Context
from eventwire.handler import Handler
from eventwire.transport import Consumer, TopicPartition
from eventwire.worker import Worker
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos import mutants, vitals
from tests.chaos.journal import NOWHERE, Appender, Handling, Kind, Step
from tests.chaos.scene import Scene, step_of


class Observed(Worker):
    """Notes when it begins to read, and which of its holds of a partition a delivery belongs to."""

    @property
    def in_lanes(self) -> int:
        """How many deliveries it holds."""
        return self._lanes.waiting

    def __init__(self, scene: Scene, owner: str, log: Appender) -> None:
        self._scene = scene
        self._owner = owner
        self._log = log
        self._holds: Counter[TopicPartition] = Counter()
        super().__init__(scene.open(), self._handler(), group=scene.group, **scene.worker)

    def _handler(self) -> Handler:
        observed = self

        class Generated(Handler, topic=self._scene.topic):
            async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:
                """As the generator writes it."""

        class Handles(Generated):
            async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:
                await observed.work(event, context)

        return Handles()

    async def work(self, event: OrderPlaced, context: Context) -> None:
        """Behave, then note it."""
        step, at = step_of(event), TopicPartition(context.topic.name, context.partition)
        hold = self._holds[at]
        if self._scene.starts:
            self._log.handling(self._line(Kind.STARTED, hold, step, context))
        await self._scene.behave(event, context)
        self._log.handling(self._line(Kind.HANDLED, hold, step, context))

    def _line(self, kind: Kind, hold: int, step: Step, context: Context) -> Handling:
        offset = -1 if context.offset is None else context.offset
        deaths = getattr(context.delivery, "deaths", 0)
        return Handling(
            kind, self._owner, hold, step, context.partition, offset, context.attempt, deaths, 0.0
        )

    async def _revoked(self, partitions: Collection[TopicPartition]) -> None:
        await super()._revoked(partitions)
        self._holds.update(partitions)

    async def _drain(self, seconds: float) -> None:
        logging.getLogger(__name__).info("stopping")
        await super()._drain(seconds)

    async def _work(self, consumers: Sequence[Consumer]) -> None:
        self._log.handling(Handling(Kind.JOINED, self._owner, 0, NOWHERE, -1, -1, 0, 0, 0.0))
        await super()._work(consumers)


def main(path: str, owner: str) -> None:
    """Work until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    mutants.apply()
    scene = Scene.load(path)
    asyncio.run(_run(scene, owner, Appender(Path(scene.handled))))


async def _run(scene: Scene, owner: str, log: Appender) -> None:
    worker = Observed(scene, owner, log)
    if not scene.vitals:
        return await worker.run()
    watching = asyncio.create_task(_watch(worker, scene.vitals_of(owner)))
    try:
        await worker.run()
    finally:
        watching.cancel()
    return None


async def _watch(worker: Observed, path: Path) -> None:
    turns = vitals.Turns()
    while True:
        vitals.append(path, vitals.sample(len(asyncio.all_tasks()), worker.in_lanes, turns.count))
        await asyncio.sleep(vitals.EVERY)


if __name__ == "__main__":
    main(*sys.argv[1:])
