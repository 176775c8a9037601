from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from typing_extensions import override

from eventwire import (
    BreakerPolicy,
    Bus,
    CapabilityError,
    ConfigurationError,
    Context,
    OnDead,
    Reject,
    RetryMode,
    RetryPolicy,
    WorkerStopped,
)
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.errors import HandlerDied, PublishFailed, PublishUnknown
from eventwire.message import Message, Receipt
from eventwire.middleware.breaker import Breaker
from eventwire.transactions import InTransaction, joined, require, require_no_inbox
from eventwire.transport import TopicSpec
from eventwire.worker import Worker
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS, OrdersHandler, OrdersPublisher, Placed

POLICY = RetryPolicy(max_attempts=3, initial_backoff=1, backoff_multiplier=2, jitter=0)


class Delivery(FakeDelivery):
    """A delivery in a transaction."""

    def __init__(self, failures: int = 0, error: Exception | None = None, *, alone: bool = True) -> None:
        super().__init__(b"k")
        self.failures = failures
        self.error = error
        self.alone = alone
        self.failed: list[tuple[Exception, bool]] = []
        self.published: list[tuple[TopicSpec, Message]] = []

    def fail(self, error: Exception, *, counted: bool = True) -> None:
        self.failed.append((error, counted))

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        self.published.append((topic, message))
        return Receipt(topic.name, message.id, 0, 0)


def read() -> Any:
    """An event that was read, and has no attributes."""
    attributes: dict[str, bytes] = {}
    return SimpleNamespace(event=ORDERS.events[0], data=None, attribute=attributes.get)


class Billing(OrdersHandler):
    @override
    async def on_placed(self, event: Placed, context: Context) -> None:
        """Placed."""


class Bench:
    """The middleware, and what it set aside."""

    def __init__(self) -> None:
        self.aside: list[tuple[int, Exception]] = []
        self.sleeper = NoSleep()
        self.counts = Counts()
        self.calls = 0
        self.refusal: PublishFailed | None = None
        self.breaker = Breaker(BreakerPolicy())
        self.middleware = InTransaction(POLICY, self.counts, self.breaker, self.set_aside)

    async def set_aside(self, context: Context, error: Exception) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.aside.append((context.attempt, error))

    async def handle(self, delivery: Delivery, error: Exception | None = None) -> None:
        bus: Any = None
        context = Context(bus, ORDERS, "g", delivery, self.sleeper)
        context.read(read())

        async def handler(_: Context) -> None:
            self.calls += 1
            if error is not None:
                raise error

        await self.middleware.on_handle(context, handler)


async def test_a_failed_attempt_is_undone_and_not_repeated_within_its_transaction() -> None:
    bench, delivery, error = Bench(), Delivery(), ValueError()
    await bench.handle(delivery, error)
    assert (bench.calls, delivery.failed, bench.aside) == (1, [(error, True)], [])


async def test_it_waits_longer_after_each_failure() -> None:
    bench = Bench()
    for failures in (1, 2):
        await bench.handle(Delivery(failures, ValueError()))
    assert (bench.sleeper.slept, bench.calls) == ([1, 2], 2)


async def test_the_last_failure_is_set_aside_without_another_call() -> None:
    bench, error = Bench(), ValueError()
    await bench.handle(Delivery(3, error))
    assert (bench.calls, bench.aside) == (0, [(3, error)])


@pytest.mark.parametrize("error", [Reject("no"), PublishUnknown("away")])
async def test_a_rejected_event_is_set_aside_and_a_transient_fault_is_no_attempt(error: Exception) -> None:
    bench, delivery = Bench(), Delivery()
    await bench.handle(delivery, error)
    hopeless = isinstance(error, Reject)
    assert delivery.failed == [(error, hopeless)]
    if hopeless:
        await bench.handle(Delivery(1, error))
        assert (bench.calls, bench.aside) == (1, [(2, error)])


async def test_a_dead_letter_waits_until_it_is_alone_in_its_transaction() -> None:
    bench, error = Bench(), ValueError()
    delivery = Delivery(3, error, alone=False)
    await bench.handle(delivery)
    assert (bench.aside, delivery.failed) == ([], [(error, False)])


async def test_a_dead_letter_that_is_refused_keeps_its_cause_and_pauses() -> None:
    bench, cause = Bench(), ValueError("the cause")
    bench.refusal = PublishFailed("no leader")
    delivery = Delivery(3, cause)
    await bench.handle(delivery)
    assert delivery.failed == [(cause, False)]
    assert bench.breaker.why == "PublishFailed: no leader"
    again = asyncio.create_task(bench.handle(Delivery(3, cause)))
    await asyncio.sleep(0)
    assert not again.done()  # it waits for the breaker, or it would try as fast as it can
    again.cancel()
    await asyncio.wait([again])


async def test_an_event_that_processes_died_of_is_set_aside_uncalled() -> None:
    bench, delivery = Bench(), Delivery()
    delivery.deaths = 3
    await bench.handle(delivery)
    assert bench.calls == 0
    ((attempt, error),) = bench.aside
    assert attempt == 3
    assert isinstance(error, HandlerDied)


async def test_who_stops_the_worker_stops_it() -> None:
    with pytest.raises(WorkerStopped):
        await Bench().handle(Delivery(), WorkerStopped("now"))


async def test_what_a_handler_publishes_goes_through_its_delivery() -> None:
    async with Bus("memory://", declare=True) as bus:
        await bus.declare(ORDERS)
        delivery = Delivery()
        origin = joined(bus, ORDERS, delivery, Deadlines(30))
        context = Context(origin, ORDERS, "g", delivery, NoSleep())
        context.read(read())
        orders = OrdersPublisher(context)
        await orders.publish(Placed("1"))
        receipt = await orders.publish_many([Placed("2"), Placed(""), Placed("3")])
    assert [message.key for _, message in delivery.published] == [b"1", b"2", b"3"]
    assert (receipt.confirmed, [failure.index for failure in receipt.failures]) == (2, [1])


def test_what_cannot_join_a_transaction_is_refused() -> None:
    with pytest.raises(CapabilityError, match="memory has no transactions"):
        Worker(Bus("memory://"), Billing(), group="g", transactional="app")
    kafka = Bus("kafka://localhost")
    with pytest.raises(CapabilityError, match="blocked keeps its transaction open"):
        Worker(kafka, Billing(), group="g", transactional="app", on_dead=OnDead.BLOCK_KEY)
    with pytest.raises(ConfigurationError, match="either"):
        require_no_inbox("app")
    require_no_inbox(None)
    Worker(kafka, Billing(), group="g", transactional="app")


def test_a_delayed_retry_would_leave_the_transaction() -> None:
    policy = RetryPolicy(mode=RetryMode.DELAYED)
    transport: Any = SimpleNamespace(features=SimpleNamespace(transport="kafka", transactions=True))
    with pytest.raises(CapabilityError, match="retry in place"):
        require(transport, ORDERS, policy, OnDead.CONTINUE)
