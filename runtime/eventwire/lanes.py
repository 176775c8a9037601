"""Lanes: deliveries of one key one after the other, of different keys concurrently.

No task is made per delivery: runners take the lanes that have work, `concurrency` of them at once. A runner that is
woken wakes the next only while work is left, so handlers that never wait cost one task switch per batch. One that waits
before a retry gives its place to another meanwhile: events that wait hold up nobody but their own keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from typing import TypeAlias

from eventwire.errors import WorkerStopped
from eventwire.runner import Places, Runner
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
        self._draining: list[Collection[TopicPartition] | None] = []
        self._fetched: dict[TopicPartition, int] = {}
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
        lane_of, lanes, ready, last = self._lane_of, self._lanes, self._ready, None
        for delivery in deliveries:
            if self._draining and self._drains(delivery):
                delivery.release()
                continue
            if last is not None and delivery.partition != last.partition:
                self._note(last)
            last = delivery
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
        if last is not None:
            self._note(last)
        self._wake_one()

    async def drain(self, partitions: Collection[TopicPartition] | None, seconds: float) -> None:
        """Finish what was begun, of these partitions or of all, within `seconds`, and give back the rest.

        What lies below something that was begun is handled, too: a log's position cannot pass it, so that all above it
        would be delivered again; but nothing is begun in the second half of `seconds`, so that it is not cut off. Waits
        before a retry end at once; past `seconds` handlers are cancelled. What was cancelled is given back, with what
        its key has after it. When it returns, nothing of the partitions is being handled; when it is cancelled, what is
        was cancelled, too, and ends by itself.
        """
        self._draining.append(partitions)
        try:
            self._give_back(partitions, self._begun(partitions))
            for runner in self._busy(partitions):
                runner.interrupt_sleep()
            await self._finish(partitions, seconds / 2)
            self._give_back(partitions)
            await self._finish(partitions, seconds / 2)
            self._abandon(partitions)
            await self._finish(partitions, None)
        except asyncio.CancelledError:  # who cannot wait any longer must not find them handled later on
            self._abandon(partitions)
            raise
        finally:
            self._draining.remove(partitions)
            for at in tuple(self._fetched) if partitions is None else partitions:
                self._fetched.pop(at, None)

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

    def _note(self, last: Delivery) -> None:
        """Remember the highest offset of its partition that was put."""
        if last.offset is not None:
            at = TopicPartition(last.message.topic, last.partition)
            self._fetched[at] = max(last.offset, self._fetched.get(at, -1))

    def _drains(self, delivery: Delivery) -> bool:
        return any(_within(delivery, partitions) for partitions in self._draining)

    async def _finish(self, partitions: Collection[TopicPartition] | None, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._busy(partitions) or (
                    self._group is not None and any(True for _ in self._unstarted(partitions))
                ):
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

    def _unstarted(self, partitions: Collection[TopicPartition] | None) -> Iterator[Delivery]:
        started = {id(runner.delivery) for runner in self._runners if runner.delivery is not None}
        for lane in {id(lane): lane for lane in (*self._ready, *self._lanes.values())}.values():
            for delivery in lane:
                if id(delivery) not in started and _within(delivery, partitions):
                    yield delivery

    def _begun(self, partitions: Collection[TopicPartition] | None) -> Mapping[TopicPartition, int]:
        """By partition, the highest offset that was begun or is settled.

        A log with holes (compaction) may make it too high: then more is handled before the end than need be.
        """
        waiting: dict[TopicPartition, set[int]] = {}
        for delivery in self._unstarted(partitions):
            if delivery.offset is not None:
                at = TopicPartition(delivery.message.topic, delivery.partition)
                waiting.setdefault(at, set()).add(delivery.offset)
        begun: dict[TopicPartition, int] = {}
        for at, offsets in waiting.items():
            begun[at] = self._fetched.get(at, -1)
            while begun[at] in offsets:
                begun[at] -= 1
        return begun

    def _give_back(
        self,
        partitions: Collection[TopicPartition] | None,
        begun: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """Release what has not started; with `begun` only what lies above it."""
        unstarted = {id(delivery) for delivery in self._unstarted(partitions) if not _below(delivery, begun)}
        for lane in {id(lane): lane for lane in (*self._ready, *self._lanes.values())}.values():
            for _ in range(len(lane)):
                delivery = lane.popleft()
                if id(delivery) in unstarted:
                    self._release(delivery)
                else:
                    lane.append(delivery)

    def _abandon(self, partitions: Collection[TopicPartition] | None) -> None:
        self._give_back(partitions)
        for runner in self._busy(partitions):
            runner.cancel()

    def _release(self, delivery: Delivery) -> None:
        self.waiting -= 1
        delivery.release()
        self._settled.set()

    def _start(self, group: asyncio.TaskGroup) -> None:
        runner = Runner(self._places, lambda: self._group is None)
        self._runners.append(runner)
        # In the context of the lanes, not of the handler that happens to be the one to wait.
        context: Context = self._context.copy()
        runner.task = group.create_task(self._run(runner), context=context)

    async def _run(self, runner: Runner) -> None:
        try:
            await self._work(runner)
        except asyncio.CancelledError as error:
            if self._group is None:
                raise
            self._group = None
            raise WorkerStopped(_STRAY) from error
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
        if self._draining and self._drains(delivery):
            runner.interrupt_sleep()
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
            while lane and self._drains(delivery):  # what comes after it must not overtake it
                self._release(lane.popleft())
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


def _below(delivery: Delivery, begun: Mapping[TopicPartition, int] | None) -> bool:
    if begun is None or delivery.offset is None:
        return False
    return delivery.offset < begun.get(TopicPartition(delivery.message.topic, delivery.partition), -1)
