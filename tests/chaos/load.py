"""Load within the test's process: publishers that insist, a worker, and what is known of every event."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from zlib import crc32

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import BrokerError, EventwireError, PublishError, PublishFailed
from eventwire.worker import Worker
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.handlers import handler_of
from tests.chaos.journal import Handling, Kind, Outcome, Publication, Step
from tests.chaos.oracle import Verdict, Violation, judge
from tests.chaos.scene import Scene, order, step_of
from tests.chaos.waiting import until

SLACK = 1.0
"""Seconds that a publish may take beyond its deadline."""
_PAUSE = 0.1


class Load:
    """`timeout` is the buses' `publish_timeout`. `last` is when something was handled, by the monotonic clock."""

    def __init__(self, scene: Scene, timeout: float) -> None:
        self.scene = scene
        self.timeout = timeout
        self.confirmed: set[Step] = set()
        self.errors: Counter[str] = Counter()
        self.slowest = 0.0
        self.last = 0.0
        self._publications: list[Publication] = []
        self._handled: list[Handling] = []
        self._seen: set[Step] = set()

    def open(self) -> Bus:
        """A bus, not started."""
        return Bus(self.scene.url, declare=True, publish_timeout=self.timeout)

    async def handle(self, event: OrderPlaced, context: Context) -> None:
        """Note it."""
        step = step_of(event)
        self._handled.append(
            Handling(Kind.HANDLED, "w", 0, step, context.partition, 0, context.attempt, 0, 0.0)
        )
        self._seen.add(step)
        self.last = time.monotonic()

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncGenerator[Worker]:
        """A worker with a bus of its own. What makes it end ends the block."""
        arguments: dict[str, Any] = {"commit_interval": 0.1, "grace": 5.0, **options}
        handler = handler_of(self.scene.topic, self.handle)
        worker = Worker(self.open(), handler, group=self.scene.group, **arguments)
        async with worker:
            yield worker

    async def publish(self, bus: Bus, steps: Sequence[Step], publishers: int) -> None:
        """Publish them all, so many at once; each again, under the same id, until it is confirmed."""
        lanes: dict[int, list[Step]] = {}
        for step in steps:
            lanes.setdefault(crc32(step.key.encode()) % publishers, []).append(step)
        await asyncio.gather(*(self._in_turn(bus, lane) for lane in lanes.values()))

    async def _in_turn(self, bus: Bus, steps: Sequence[Step]) -> None:
        for step in steps:
            while not await self.once(bus, step):  # noqa: ASYNC110 - a publisher that backs off
                await asyncio.sleep(_PAUSE)

    async def once(self, bus: Bus, step: Step) -> bool:
        """Try once. Raises Violation when it takes longer than it may, or fails with anything but a typed error."""
        began = time.monotonic()
        outcome = Outcome.UNKNOWN
        self._publications.append(Publication(step, Outcome.TRIED))
        try:
            async with asyncio.timeout(self.timeout + 5 * SLACK):
                await bus.publish(self.scene.topic, order(step), id=f"id-{step}")
        except TimeoutError:
            raise Violation(f"hangs: a publish did not end within {self.timeout + 5 * SLACK:g} s") from None
        except EventwireError as error:
            if not isinstance(error, PublishError | BrokerError):
                raise
            self.errors[type(error).__name__] += 1
            outcome = Outcome.FAILED if isinstance(error, PublishFailed) else Outcome.UNKNOWN
        else:
            outcome = Outcome.OK
            self.confirmed.add(step)
        self._publications.append(Publication(step, outcome))
        self.slowest = max(self.slowest, time.monotonic() - began)
        return outcome is Outcome.OK

    def handled(self, step: Step) -> bool:
        """Whether it was handled."""
        return step in self._seen

    async def settled(self, within: float = 60.0) -> None:
        """Wait until everything that was confirmed is handled. Raises Violation."""
        try:
            await until(lambda: self.confirmed <= self._seen, within, "")
        except TimeoutError:
            left = sorted(self.confirmed - self._seen)
            raise Violation(f"lost: {len(left)} of {len(self.confirmed)}, first {left[:5]}") from None

    async def resumed(self, within: float) -> float:
        """Wait until something more is handled; how long it took."""
        began = time.monotonic()
        await until(lambda: self.last > began, within, lambda: f"resuming: nothing is handled, {self.errors}")
        return self.last - began

    def verdict(self) -> Verdict:
        """What the oracle says. Order is not judged: what is published again after an unknown outcome may come late."""
        found = judge(self._publications, self._handled)
        return Verdict(
            found.published, found.handled, found.duplicates, found.lost, found.ghosts, found.foreign
        )

    def punctual(self) -> None:
        """Raise Violation when a publish took longer than it may."""
        if self.slowest > self.timeout + SLACK:
            raise Violation(f"late: a publish took {self.slowest:.1f} s, its deadline is {self.timeout:g} s")

    @property
    def told(self) -> str:
        """How publishes ended that were not confirmed."""
        return ", ".join(f"{count:,} {name}" for name, count in self.errors.items()) or "none failed"
