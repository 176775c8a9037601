"""Lanes: deliveries of one key one after the other, of different keys concurrently.

No task is made per delivery: runners take the lanes that have work, `concurrency` of them at once. A runner that is
woken wakes the next only while work is left, so handlers that never wait cost one task switch per batch. One that waits
before a retry gives its place to another meanwhile: events that wait hold up nobody but their own keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import TypeAlias

from eventwire.errors import WorkerStopped
from eventwire.transport import Delivery, TopicPartition

Handle: TypeAlias = "Callable[[Delivery, Runner], Awaitable[Exception | None]]"
"""Handles one delivery; what it returns is why it was set aside, if it was. What it raises ends the lanes."""
LaneOf: TypeAlias = Callable[[Delivery], Hashable | None]
"""The lane a delivery belongs to; None for one of its own."""

_STRAY = (
    "a handling ended as cancelled, though nobody cancelled it: a middleware or the transport let it through"
)
_SLICE = 0.01
"""Seconds that a runner whose handlers never wait keeps the event loop."""


class Lane(deque[Delivery]):
    """What waits for one key, the delivery being handled first."""

    __slots__ = ("key",)
    key: Hashable | None


class Runner:
    """One of the tasks that handle deliveries, and what it is doing."""

    __slots__ = ("_abandoned", "_cancels", "_napping", "_places", "delivery", "task")

    def __init__(self, places: Places) -> None:
        self._places = places
        self.delivery: Delivery | None = None
        self.task: asyncio.Task[None] | None = None
        self._abandoned = False
        self._napping = False
        self._cancels = 0

    def begin(self, delivery: Delivery) -> None:
        """Take on a delivery; what was asked for the last one is forgotten."""
        self.delivery = delivery
        self._abandoned = False
        self._cancels = 0

    async def sleep(self, seconds: float) -> None:
        """Wait before a retry, another runner in its place. Ends as cancelled when the lanes drain."""
        self._places.leave()
        try:
            await self.wait(asyncio.sleep(seconds))
        except BaseException:
            self._places.force()
            raise
        await self.wait(self._places.enter())

    async def wait(self, awaited: Awaitable[object]) -> None:
        """Wait, keeping its place. Ends as cancelled, the delivery given back, when the lanes drain."""
        if self._abandoned or self.cancelled():
            self.cancel()
        self._napping = True
        try:
            await awaited
        finally:
            self._napping = False

    def interrupt_sleep(self) -> None:
        """End a wait before a retry, or the next one as soon as it begins; handlers go on."""
        self._abandoned = True
        if self._napping:
            self.cancel()

    def cancel(self) -> None:
        """Cancel the delivery being handled; the runner goes on."""
        self._abandoned = True
        if self.task is not None and self.delivery is not None:
            self._cancels += 1
            self.task.cancel()

    def cancelled(self) -> bool:
        """Whether anybody asked the task to stop, though a handler may have swallowed it."""
        return self.task is not None and self.task.cancelling() > 0

    def recover(self) -> None:
        """Go on after a delivery that was cancelled. Raises CancelledError when the task itself was."""
        if self.task is None:
            return
        for _ in range(self._cancels):
            self.task.uncancel()
        if self.task.cancelling():
            raise asyncio.CancelledError


class Places:
    """How many runners may handle at once. Who waits for a retry leaves its place, and comes back when one is vacant.

    `left` is called when somebody left.
    """

    __slots__ = ("_back", "_left", "_taken", "_total", "away")

    def __init__(self, total: int, left: Callable[[], None]) -> None:
        self._total = total
        self._taken = 0
        self._back: deque[asyncio.Future[None]] = deque()
        self._left = left
        self.away = 0
        """How many left and are not back."""

    @property
    def free(self) -> bool:
        """Whether there is a place for somebody new: who comes back goes first."""
        return not self._back and self._taken < self._total

    @property
    def wanted(self) -> bool:
        """Whether somebody waits to come back."""
        return bool(self._back)

    @property
    def runners(self) -> int:
        """How many runners are of use."""
        return self._total + self.away

    def take(self) -> None:
        """Take a free place."""
        self._taken += 1

    def give_up(self) -> None:
        """Give a place to who waits for one, or leave it free."""
        self._taken -= 1
        while self._back and self._taken < self._total:
            waiter = self._back.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._taken += 1

    def leave(self) -> None:
        """Give the place up for a while."""
        self.away += 1
        self.give_up()
        self._left()

    def force(self) -> None:
        """Be back at once, place or not: for a delivery that only ends."""
        self.away -= 1
        self._taken += 1

    async def enter(self) -> None:
        """Come back when there is a place, first come first served; when cancelled at once."""
        if self.free:
            self.force()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._back.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():  # else it was given a place just before
                self._taken += 1
                with suppress(ValueError):
                    self._back.remove(waiter)
            raise
        finally:
            self.away -= 1


class Lanes:
    """Handles deliveries, up to `concurrency` at once. For one event loop; `run` once."""

    def __init__(self, handle: Handle, lane_of: LaneOf, concurrency: int) -> None:
        self._handle = handle
        self._lane_of = lane_of
        self._lanes: dict[Hashable, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._waking = False
        self._runners: list[Runner] = []
        self._places = Places(concurrency, self._wake_one)
        self._group: asyncio.TaskGroup | None = None
        self._context = copy_context()
        self._settled = asyncio.Event()
        self.waiting = 0
        """How many deliveries wait or are being handled."""
        self.progress: float | None = None
        """When a delivery was last done with, by the loop's clock."""

    async def run(self) -> None:
        """Handle what is put until cancelled. Raises, after cancelling the rest, what a handling raises."""
        async with asyncio.TaskGroup() as group:
            self._group, self._context = group, copy_context()
            try:
                self._wake_one()
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def put(self, deliveries: Iterable[Delivery]) -> None:
        """Add deliveries, a partition's in offset order. The consumer's `max_uncommitted` is the bound."""
        lane_of, lanes, ready = self._lane_of, self._lanes, self._ready
        for delivery in deliveries:
            self.waiting += 1
            key = lane_of(delivery)
            lane = lanes.get(key) if key is not None else None
            if lane is None:
                lane = Lane()
                lane.key = key
                ready.append(lane)
                if key is not None:
                    lanes[key] = lane
            lane.append(delivery)
        self._wake_one()

    async def drain(self, partitions: Collection[TopicPartition] | None, seconds: float) -> None:
        """Give back what has not started, of these partitions or of all, and finish the rest within `seconds`.

        Waits before a retry end at once; past `seconds` handlers are cancelled. What was cancelled is given back too.
        When it returns, nothing of the partitions is being handled.
        """
        self._give_back(partitions)
        for runner in self._busy(partitions):
            runner.interrupt_sleep()
        await self._finish(partitions, seconds)
        self._give_back(partitions)  # what a fetch that was under way has brought
        for runner in self._busy(partitions):
            runner.cancel()
        await self._finish(partitions, None)

    @property
    def in_flight(self) -> int:
        """How many are being handled, those among them that wait for their next attempt."""
        return len(self._busy(None))

    async def idle(self) -> None:
        """Wait until nothing waits and nothing is being handled."""
        while self.waiting:
            self._settled.clear()
            await self._settled.wait()

    # --- inside

    async def _finish(self, partitions: Collection[TopicPartition] | None, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._busy(partitions):
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return

    def _busy(self, partitions: Collection[TopicPartition] | None) -> list[Runner]:
        me = asyncio.current_task()
        return [
            runner
            for runner in self._runners
            if runner.delivery is not None and runner.task is not me and _within(runner.delivery, partitions)
        ]

    def _give_back(self, partitions: Collection[TopicPartition] | None) -> None:
        started = {id(runner.delivery) for runner in self._runners if runner.delivery is not None}
        for lane in {id(lane): lane for lane in (*self._ready, *self._lanes.values())}.values():
            for _ in range(len(lane)):
                delivery = lane.popleft()
                if id(delivery) in started or not _within(delivery, partitions):
                    lane.append(delivery)
                    continue
                self.waiting -= 1
                delivery.release()

    def _start(self, group: asyncio.TaskGroup) -> None:
        runner = Runner(self._places)
        self._runners.append(runner)
        # In the context of the lanes, not of the handler that happens to be the one to wait.
        context: Context = self._context.copy()
        runner.task = group.create_task(self._run(runner), context=context)

    async def _run(self, runner: Runner) -> None:
        try:
            await self._work(runner)
        except BaseException:
            self._group = None  # it ends them all
            raise
        finally:
            self._runners.remove(runner)

    async def _work(self, runner: Runner) -> None:
        """Take lanes as long as there is use for one more runner."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._waking = False
        while True:
            if not self._ready or not self._places.free:
                if len(self._runners) > self._places.runners:
                    return
                await self._next(loop)
                began = loop.time()
                continue
            lane = self._ready.popleft()
            self._places.take()
            self._wake_one()
            turn = len(lane)  # what comes in meanwhile waits behind the other lanes
            while lane and turn > 0:
                turn = 0 if self._places.wanted else turn - 1
                await self._one(lane, runner)
                self.progress = now = loop.time()
                if now - began > _SLICE:
                    await asyncio.sleep(0)
                    began = loop.time()
            self._places.give_up()
            if lane:
                self._ready.append(lane)
            elif lane.key is not None:
                del self._lanes[lane.key]

    async def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        waiter = loop.create_future()
        self._idle.append(waiter)
        await waiter
        self._waking = False

    async def _one(self, lane: Lane, runner: Runner) -> None:
        delivery = lane[0]
        runner.begin(delivery)
        failure = None
        try:
            failure = await self._handle(delivery, runner)
            cancelled = runner.cancelled()  # if a handler swallowed it: what was cancelled did not finish
        except asyncio.CancelledError as error:
            cancelled = runner.cancelled()
            if not cancelled:
                raise WorkerStopped(_STRAY) from error
        finally:
            lane.popleft()
            runner.delivery = None
            self.waiting -= 1
            self._settled.set()
        if cancelled:
            delivery.release()
            runner.recover()
        else:
            delivery.ack(failure)

    def _wake_one(self) -> None:
        if self._waking or not self._ready or not self._places.free:
            return
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._waking = True
                return
        if self._group is not None and len(self._runners) < self._places.runners:
            self._waking = True
            self._start(self._group)


def _within(delivery: Delivery, partitions: Collection[TopicPartition] | None) -> bool:
    return partitions is None or (delivery.message.topic, delivery.partition) in partitions
