"""A fault run: a scene's bus, publisher and workers, from the first event to the verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import Self

from eventwire.bus import Bus
from eventwire.transport import Transport
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos import broker
from tests.chaos.crew import Crew, Member
from tests.chaos.journal import Step, publications
from tests.chaos.oracle import Verdict, judge
from tests.chaos.publisher import Publisher
from tests.chaos.scene import Scene, order
from tests.chaos.switches import sized

PATIENCE = sized(40.0, 120.0)
"""Seconds within which something must come next: a kill become possible, the end be reached."""
_LOOK = 1.0
_RESTART = 0.02
_KEYS = 16


class Run:
    """Use it as a block; `bus` publishes, `transport` is another client, `crew` are the workers."""

    def __init__(self, scene: Scene, env: Mapping[str, str] | None = None) -> None:
        self.scene = scene
        self.crew = Crew(scene, env)
        self.bus: Bus = scene.open()
        self.transport: Transport
        self.publishing: asyncio.Task[None] | None = None
        self._supervising: asyncio.Task[None] | None = None
        self._keeping = 0
        self._extra = 0
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self.bus)
        self.transport = await self._opened.enter_async_context(broker.transport_of(self.scene.url))
        await self._opened.enter_async_context(self.crew)
        await self.bus.declare(self.scene.topic, groups=[self.scene.group])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in filter(None, (self.publishing, self._supervising)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._opened.__aexit__(kind, error, trace)

    async def start(self, workers: int) -> list[Member]:
        """Start so many workers and wait until all of them read."""
        members = [await self.crew.start() for _ in range(workers)]
        for member in members:
            await self.crew.joined(member)
        return members

    async def balance(self, members: Sequence[Member]) -> None:
        """Publish a little until each of the members has handled some: then the group has come to rest.

        RabbitMQ gives a queue to one member as long as that lives: there is nothing to wait for.
        """
        if self.scene.url.startswith("amqp"):
            return
        owners, publisher = {member.owner for member in members}, Publisher(self.scene, self.bus)
        deadline = time.monotonic() + PATIENCE
        while not owners <= self.crew.journal.read().owners.keys():
            assert time.monotonic() < deadline, f"no share for {owners - self.crew.journal.owners.keys()}"
            batch = [Step(f"balance{key}", self._extra // _KEYS) for key in range(_KEYS)]
            await publisher.publish(batch)
            self._extra += _KEYS
            await self.progress(0)

    def supervise(self, workers: int) -> None:
        """Keep so many workers running from now on, however they end, as a process manager does."""
        self.crew.guards.remove(self.crew.check)
        self._keeping = workers
        self._supervising = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while self._keeping:
            for _ in range(self._keeping - len(self.crew.alive)):
                await self.crew.start()
            await asyncio.sleep(_RESTART)

    def publish(self, steps: Sequence[Step], *, event: Callable[[Step], OrderPlaced] = order) -> None:
        """Publish them in the background."""
        publisher = Publisher(self.scene, self.bus, event=event)
        self.publishing = asyncio.create_task(publisher.publish(steps))

    async def progress(self, count: int, within: float = PATIENCE) -> None:
        """Wait until so many distinct events were handled, besides those of `balance`. See `reach`."""
        steps, count = self.crew.journal.steps, count + self._extra
        await self.reach(
            lambda: len(steps) >= count, lambda: f"{count} events handled, there are {len(steps)}", within
        )

    async def reach(
        self, true: Callable[[], bool], what: Callable[[], str], within: float = PATIENCE
    ) -> None:
        """Wait for something of the journal.

        Raises what the oracle finds when everything is published and settled meanwhile: no more will come. Raises
        TimeoutError after `within` seconds, and Died when a worker ends by itself.
        """
        deadline, quiet, seen = time.monotonic() + within, 0, -1
        while True:
            look = time.monotonic() + _LOOK
            await self.crew.until(_or_later(true, look), within, what)
            if true():
                return
            if quiet >= self._quiet:
                self.verdict().require(duplicates=len(self.crew.journal.handled))
                raise AssertionError(f"everything is settled, but not: {what()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within:g} s: {what()}")
            still = seen == (seen := len(self.crew.journal.handled)) and await self._over()
            quiet = quiet + 1 if still else 0

    @property
    def _quiet(self) -> int:
        """How often in turn it must look over: RabbitMQ's lag leaves out what a worker holds."""
        return 15 if self.scene.url.startswith("amqp") else 2

    async def _over(self) -> bool:
        if self.publishing is not None and not self.publishing.done():
            return False
        return await self.transport.lag(self.scene.spec, self.scene.group) == 0

    async def kill_one(self, rng: Random) -> Member:
        """SIGKILL one of those that have handled something: a process that is only starting proves little."""
        crew = self.crew

        def working() -> list[Member]:
            return [member for member in crew.alive if member.owner in crew.journal.owners]

        await self.reach(lambda: bool(working()), lambda: "a worker handles something")
        victim = rng.choice(working())
        await victim.kill()
        return victim

    def killed(self) -> int:
        """How many workers ended by SIGKILL."""
        return sum(member.process.returncode == -signal.SIGKILL for member in self.crew.members)

    async def end(self, count: int, within: float = PATIENCE) -> None:
        """Wait until `count` events were handled and all is settled; stop the workers, who must end well."""
        if self.publishing is not None:
            await self.publishing
        await self.progress(count, within)
        await broker.settled(self.scene, self.transport, within)
        if self._supervising is not None:
            self._keeping = 0
            await self._supervising
        for member in self.crew.alive:
            await self.crew.joined(member)
        codes = await self.crew.stop()
        assert codes == [0] * len(codes), f"workers told to stop ended with {codes}"
        await broker.settled(self.scene, self.transport, within)  # what they held unsettled would be back

    def verdict(self, *, dead: Collection[Step] = (), poison: Collection[Step] = ()) -> Verdict:
        """What the oracle says now."""
        told = publications(self.scene.published)
        return judge(told, self.crew.journal.read().handled, dead=dead, poison=poison)


def _or_later(true: Callable[[], bool], moment: float) -> Callable[[], bool]:
    return lambda: true() or time.monotonic() > moment
