"""Bar 21: tasks are cancelled at random points of publishing, fetching, handling and closing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import PublishFailed
from eventwire.message import Receipt
from eventwire.policy import BreakerPolicy
from eventwire.transport import Consumer, Delivery, Subscription, Transport
from eventwire.worker import Worker
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.cancelling import Cancelled, Canceller, nothing_left, running
from tests.chaos.handlers import handler_of
from tests.chaos.journal import Step
from tests.chaos.report import Figures
from tests.chaos.scene import Scene, order, step_of, steps
from tests.chaos.switches import sized
from tests.chaos.waiting import until

EVENTS = sized(400, 4_000)
FETCHES = sized(250, 4_000)
WORKERS = sized(
    {"memory": 8, "sqlite": 8, "kafka": 3, "amqp": 5}, {"memory": 300, "sqlite": 60, "kafka": 15, "amqp": 60}
)
"""How many workers are cancelled: a member of a Kafka group takes a second to join."""
TIMEOUT = 0.02
BATCH = 20


class Book:
    """What was published and handled."""

    def __init__(self) -> None:
        self.receipts: dict[Step, Receipt] = {}
        self.failed: set[Step] = set()
        self.handled: set[Step] = set()
        self.interrupted = 0

    async def handle(self, event: OrderPlaced, context: Context) -> None:
        """Take about as long as the timeout allows; only who gets to the end has handled it."""
        step, done = step_of(event), False
        try:
            await asyncio.sleep(TIMEOUT * 2 * ((step.number * 7 + context.attempt * 3) % 10) / 10)
            done = True
        finally:
            self.interrupted += not done
        self.handled.add(step)

    def idle(self) -> str:
        return f"lost: {len(self.lost())} left, and no worker handles any"

    def lost(self) -> list[Step]:
        """Confirmed and not handled."""
        return [step for step in self.receipts if step not in self.handled]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.bar(21, "tasks cancelled at random points of publish, fetch, handle, ack, flush and close")
@pytest.mark.parametrize(
    "broker",
    [
        "memory",
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)
async def test_cancelled_tasks_lose_nothing_and_leave_nothing(
    url: str, broker: str, tmp_path: Any, rng: Random, figures: Figures
) -> None:
    scene = Scene(url, str(tmp_path), partitions=2, retry={"max_attempts": 1000, "initial_backoff": 0.001})
    book, canceller, before = Book(), Canceller(rng), running()
    async with scene.open() as bus:
        await bus.declare(scene.topic, groups=[scene.group, "fetcher"])
        await publish(bus, scene, canceller, book, steps(EVENTS))
        for number in range(WORKERS[broker]):
            await cancelled_worker(scene, canceller, book, rng, number)
        await last_worker(scene, book)
        seen = await fetched(bus.transport(scene.topic), scene, canceller, book, rng)
    await nothing_left(before)
    figures.events = EVENTS
    figures.faults = f"{sum(canceller.counts.values()) + book.interrupted:,} cancellations"
    figures.note(", ".join(f"{count:,} {kind}" for kind, count in canceller.counts.items()))
    figures.note(f"{book.interrupted:,} handlers")
    figures.lost = len(book.lost())
    assert not book.lost(), f"lost: {book.lost()[:5]}"
    wrong = [step for step, receipt in book.receipts.items() if misplaced(receipt, seen.get(step))]
    assert not wrong, f"receipts of other messages: {wrong[:5]}"
    assert not book.failed & book.handled, f"failed, and handled: {book.failed & book.handled}"
    assert book.interrupted, "no handler was interrupted"


async def publish(bus: Bus, scene: Scene, canceller: Canceller, book: Book, steps: Sequence[Step]) -> None:
    """Many at once, most of them cancelled; after each batch one that is not, which must be confirmed at once."""

    async def one(step: Step) -> None:
        try:
            book.receipts[step] = await canceller.run("publish", bus.publish(scene.topic, order(step)))
        except Cancelled:
            return
        except PublishFailed:
            book.failed.add(step)

    for start in range(0, len(steps), BATCH):
        await asyncio.gather(*map(one, steps[start : start + BATCH]))
        probe = Step("probe", start)
        async with asyncio.timeout(10):
            book.receipts[probe] = await bus.publish(scene.topic, order(probe), id=str(probe))
        assert book.receipts[probe].id == str(probe)


def worker_of(scene: Scene, book: Book) -> Worker:
    return Worker(
        scene.open(), handler_of(scene.topic, book.handle), group=scene.group, timeout=TIMEOUT, commit_interval=0.01,
        breaker=BreakerPolicy(failures=10**9),
    )  # fmt: skip


async def cancelled_worker(scene: Scene, canceller: Canceller, book: Book, rng: Random, number: int) -> None:
    """A worker with a bus of its own, cancelled while it joins, works or settles. It must end."""
    task, handled = asyncio.create_task(worker_of(scene, book).run()), len(book.handled)
    if number % 4:
        await until(lambda: len(book.handled) > handled or not book.lost(), 30, book.idle)
    await asyncio.sleep(rng.random() * 0.1)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=30)
    assert done, "hangs: a cancelled worker does not end within 30 s"
    assert task.cancelled(), f"the worker ended by itself: {task}"
    canceller.counts["worker"] += 1


async def last_worker(scene: Scene, book: Book) -> None:
    async with worker_of(scene, book):
        await until(lambda: not book.lost(), 60, lambda: f"lost: {len(book.lost())}, first {book.lost()[:5]}")


class Reader:
    """A member that reads with fetches which are cancelled; what it saw, and where."""

    def __init__(self, consumer: Consumer, canceller: Canceller, rng: Random) -> None:
        self.consumer = consumer
        self.seen: dict[Step, Delivery] = {}
        self._canceller = canceller
        self._rng = rng

    async def fetch(self) -> None:
        """Once, perhaps in vain."""
        try:
            self._take(
                await self._canceller.run("fetch", self.consumer.fetch(self._rng.randrange(1, 6)), 0.003)
            )
            if self._rng.random() < 0.1:
                await self._canceller.run("flush", self.consumer.flush())
        except Cancelled:
            return

    async def rest(self, due: set[Step]) -> None:
        """Everything that is due."""
        try:
            async with asyncio.timeout(30):
                while due - self.seen.keys():
                    self._take(await self.consumer.fetch(100))
        except TimeoutError:
            left = due - self.seen.keys()
            raise AssertionError(
                f"lost by a cancelled fetch: {len(left)}, first {sorted(left)[:5]}"
            ) from None

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            step = step_of(OrderPlaced.FromString(delivery.message.body or b""))
            if step not in self.seen and self._rng.random() < 0.2:
                delivery.release()
            else:
                delivery.ack()
                self.seen[step] = delivery


async def fetched(
    transport: Transport, scene: Scene, canceller: Canceller, book: Book, rng: Random
) -> dict[Step, Delivery]:
    """Read all of the topic as another group. What was settled before a cancelled close does not come again."""
    always = Canceller(rng, chance=1.0)
    always.counts = canceller.counts
    subscription = Subscription("fetcher", (scene.spec,), commit_interval=0.01)
    reader = Reader(await transport.subscribe(subscription), always, rng)
    for _ in range(FETCHES):
        await reader.fetch()
    await reader.rest(set(book.receipts))
    await reader.consumer.flush()
    try:
        await always.run("close", reader.consumer.close())
    except Cancelled:
        async with asyncio.timeout(10):
            await reader.consumer.close()
    return reader.seen


def misplaced(receipt: Receipt, delivery: Delivery | None) -> bool:
    """Whether a receipt tells of another place than where its event was read."""
    if delivery is None:
        return True
    offsets = {receipt.offset, delivery.offset} - {None}
    return receipt.partition not in {None, delivery.partition} or len(offsets) > 1
