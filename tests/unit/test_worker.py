from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from eventwire import (
    Bus,
    CapabilityError,
    Context,
    DeadLetterPolicy,
    Handler,
    HandlerError,
    HandlerTimeout,
    InvalidEvent,
    Message,
    OnExhausted,
    Reject,
    Retry,
    RetryMode,
    RetryPolicy,
    Start,
    Unhandled,
    UnknownEvents,
    Worker,
    WorkerStopped,
)
from eventwire.route import spec_of
from eventwire.topic import Topic
from eventwire.transport import Consumer, Subscription, TopicSpec
from tests.unit.shop import (
    ORDERS,
    Cancelled,
    OrdersHandler,
    OrdersPublisher,
    OrdersSyncHandler,
    Placed,
    Price,
    PricesHandler,
    PricesPublisher,
)

Handle = Callable[[Placed, Context], Any]


class Orders(OrdersHandler):
    """Handles with a function; tells when it has handled so many."""

    def __init__(self, handle: Handle | None = None) -> None:
        self._handle = handle
        self.seen: list[Placed] = []

    async def on_placed(self, event: Placed, context: Context) -> None:
        if self._handle is not None:
            outcome = self._handle(event, context)
            if asyncio.iscoroutine(outcome):
                await outcome
        self.seen.append(event)


async def settled(worker: Worker, count: int) -> None:
    async with asyncio.timeout(10):
        while worker.counts.settled < count:  # noqa: ASYNC110  the counts are plain numbers
            await asyncio.sleep(0.001)


async def dead_letters(bus: Bus, name: str, count: int) -> list[Message]:
    spec = TopicSpec(name, queue=True)
    consumer: Consumer = await bus.transport(ORDERS).subscribe(
        Subscription("reader", (spec,), start=Start.EARLIEST)
    )
    found: list[Message] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            for delivery in await consumer.fetch(10):
                found.append(delivery.message)
                delivery.ack()
    await consumer.close()
    return found


@pytest.fixture
async def bus() -> AsyncGenerator[Bus]:
    async with Bus("memory://") as made:
        yield made


def fail(_: Placed, __: Context) -> None:
    raise ValueError("no")


async def test_events_are_handled_and_acknowledged(bus: Bus) -> None:
    handler = Orders()
    events = [Placed(str(n), n) for n in range(50)]
    async with Worker(bus, handler, group="g") as worker:
        assert (await OrdersPublisher(bus).publish_many(events)).ok
        await settled(worker, 50)
    assert sorted(handler.seen, key=lambda event: event.cents) == events
    again = Orders()
    async with Worker(bus, again, group="g") as worker:
        await OrdersPublisher(bus).publish(Placed("last"))
        await settled(worker, 1)
    assert again.seen == [Placed("last")]


async def test_a_failed_event_is_tried_again_then_dead_lettered_with_its_cause(bus: Bus) -> None:
    async with Worker(bus, Orders(fail), group="g") as worker:
        receipt = await OrdersPublisher(bus).publish(Placed("7", 5), headers={"x": "y"})
        await settled(worker, 1)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert (worker.counts.dead_lettered, worker.counts.retried) == (1, 2)
    headers = {name: value.decode() for name, value in letter.headers}
    assert (letter.body, letter.key) == (b'{"order_id": "7", "cents": 5, "tenant": null}', b"7")
    assert {name: headers[name] for name in ("x", "ce_id", "ce_type")} == {
        "x": "y",
        "ce_id": receipt.id,
        "ce_type": "shop.v1.Placed",
    }
    told = {name.removeprefix("eventwire_dead_"): value for name, value in headers.items() if "dead" in name}
    assert told.pop("time").endswith("Z")
    assert told == {
        "topic": "shop.v1",
        "group": "g",
        "partition": str(receipt.partition),
        "offset": "0",
        "attempts": "3",
        "error": "ValueError",
        "reason": "no",
    }


async def test_each_attempt_gets_the_event_as_it_was_published(bus: Bus) -> None:
    def changes_it(event: Placed, context: Context) -> None:
        event.cents += 1
        if context.attempt == 1:
            raise ValueError("once")

    handler = Orders(changes_it)
    async with Worker(bus, handler, group="g") as worker:
        await OrdersPublisher(bus).publish(Placed("7", 1))
        await settled(worker, 1)
    assert handler.seen == [Placed("7", 2)]


async def test_a_retry_may_be_asked_for_in_the_past(bus: Bus) -> None:
    def past(_: Placed, context: Context) -> None:
        if context.attempt == 1:
            raise Retry(after=-5)

    async with Worker(bus, Orders(past), group="g") as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert (worker.counts.handled, worker.counts.retried) == (1, 1)


async def test_reject_goes_to_the_dead_letter_at_once(bus: Bus) -> None:
    def reject(_: Placed, __: Context) -> None:
        raise Reject("never")

    async with Worker(bus, Orders(reject), group="g") as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert (worker.counts.dead_lettered, worker.counts.retried) == (1, 0)


async def test_a_key_keeps_its_order_through_retries(bus: Bus) -> None:
    failed: set[int] = set()

    def once(event: Placed, _: Context) -> None:
        if event.cents % 3 == 0 and event.cents not in failed:
            failed.add(event.cents)
            raise ValueError("once")

    handler = Orders(once)
    async with Worker(bus, handler, group="g") as worker:
        await OrdersPublisher(bus).publish_many([Placed(f"k{n % 4}", n) for n in range(40)])
        await settled(worker, 40)
    for key in range(4):
        mine = [event.cents for event in handler.seen if event.order_id == f"k{key}"]
        assert mine == sorted(mine)


async def test_a_handler_that_never_returns_times_out(bus: Bus) -> None:
    async def never(_: Placed, __: Context) -> None:
        await asyncio.get_running_loop().create_future()

    once = RetryPolicy(max_attempts=1)
    async with Worker(bus, Orders(never), group="g", timeout=0.02, retry=once) as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert letter.header("eventwire_dead_error") == HandlerTimeout.__name__.encode()


async def test_a_handlers_own_timeout_error_is_not_the_worker_s(bus: Bus) -> None:
    def timed_out(_: Placed, __: Context) -> None:
        raise TimeoutError("the database")

    once = RetryPolicy(max_attempts=1)
    worker = Worker(bus, Orders(timed_out), group="g", timeout=60, retry=once, transient=())
    async with worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert letter.header("eventwire_dead_error") == b"TimeoutError"


async def publish_raw(bus: Bus, message: Message, topic: Topic[Any] = ORDERS) -> None:
    await bus.transport(topic).publish(spec_of(topic), message)


def raw(**changes: bytes) -> Message:
    attributes = {"specversion": b"1.0", "id": b"1", "source": b"/x", "type": b"shop.v1.Placed"} | changes
    return Message(
        "shop.v1",
        b"\xff",
        b"k",
        tuple((f"ce_{name}", value) for name, value in attributes.items()),
        None,
        "1",
    )


async def test_bytes_that_are_no_event_are_dead_lettered_and_never_tried_again(bus: Bus) -> None:
    async with Worker(bus, Orders(), group="g") as worker:
        await publish_raw(bus, raw())
        await settled(worker, 1)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert (letter.body, letter.header("eventwire_dead_error")) == (b"\xff", b"Undecodable")
    assert worker.counts.retried == 0


async def test_an_unknown_type_is_skipped_and_counted(bus: Bus) -> None:
    async with Worker(bus, Orders(), group="g") as worker:
        await publish_raw(bus, raw(type=b"shop.v1.New"))
        await settled(worker, 1)
    assert worker.counts.unknown == 1


async def test_an_unknown_type_may_stop_the_worker_unacked(bus: Bus) -> None:
    strict = replace(ORDERS, unknown_events=UnknownEvents.FAIL)

    class StrictHandler(Handler, topic=strict):
        async def on_placed(self, event: Placed, context: Context) -> None: ...

        async def on_cancelled(self, event: Cancelled, context: Context) -> None: ...

    class Strict(StrictHandler):
        async def on_placed(self, event: Placed, context: Context) -> None: ...

    await bus.declare(strict)
    await publish_raw(bus, raw(type=b"shop.v1.New"), strict)
    with pytest.raises(WorkerStopped, match=r"shop\.v1\.New"):
        await Worker(bus, Strict(), group="g").run()


@pytest.mark.parametrize(
    ("unhandled", "count"), [(Unhandled.SKIP, "unhandled"), (Unhandled.DEAD_LETTER, "dead_lettered")]
)
async def test_what_nobody_overrides_follows_unhandled(bus: Bus, unhandled: Unhandled, count: str) -> None:
    async with Worker(bus, Orders(), group="g", unhandled=unhandled) as worker:
        await OrdersPublisher(bus).publish(Cancelled("7"))
        await settled(worker, 1)
    assert getattr(worker.counts, count) == 1


async def test_without_dead_letter_an_exhausted_event_stops_the_worker_unacked(bus: Bus) -> None:
    disabled = DeadLetterPolicy(disabled=True)
    await OrdersPublisher(bus).publish(Placed("7"))
    with pytest.raises(WorkerStopped, match="its dead letter is disabled: ValueError: no"):
        await Worker(bus, Orders(fail), group="g", dead_letter=disabled).run()
    handler = Orders()
    async with Worker(bus, handler, group="g") as worker:
        await settled(worker, 1)
    assert handler.seen == [Placed("7")]


async def test_without_dead_letter_an_exhausted_event_may_be_dropped(bus: Bus) -> None:
    disabled = DeadLetterPolicy(disabled=True)
    async with Worker(
        bus, Orders(fail), group="g", dead_letter=disabled, on_exhausted=OnExhausted.DROP
    ) as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert (worker.counts.dropped, worker.counts.dead_lettered) == (1, 0)


async def test_stopping_finishes_what_runs_and_loses_nothing(bus: Bus) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def wait(_: Placed, __: Context) -> None:
        started.set()
        await go.wait()

    first, second = Orders(wait), Orders()
    worker = Worker(bus, first, group="g", concurrency=1)
    run = asyncio.create_task(worker.run())
    await OrdersPublisher(bus).publish_many([Placed("k", n) for n in range(10)])
    await started.wait()
    worker.stop()
    go.set()
    await run
    assert first.seen
    async with Worker(bus, second, group="g") as worker:
        await settled(worker, 10 - len(first.seen))
    assert [event.cents for event in first.seen + second.seen] == list(range(10))


async def test_past_its_grace_a_handler_is_cancelled_and_its_event_redelivered(bus: Bus) -> None:
    started = asyncio.Event()

    async def never(_: Placed, __: Context) -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    async with Worker(bus, Orders(never), group="g", grace=0.01):
        await OrdersPublisher(bus).publish(Placed("7"))
        await started.wait()
    handler = Orders()
    async with Worker(bus, handler, group="g") as worker:
        await settled(worker, 1)
    assert handler.seen == [Placed("7")]


async def test_publishing_in_a_handler_inherits_correlation_and_causation(bus: Bus) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    class Transform(Orders):
        async def on_placed(self, event: Placed, context: Context) -> None:
            await OrdersPublisher(context).publish(Cancelled(event.order_id))

        async def on_cancelled(self, event: Cancelled, context: Context) -> None:
            seen.append((context.correlation_id, context.causation_id, context.attribute("type")))

    async with Worker(bus, Transform(), group="g") as worker:
        receipt = await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 2)
    assert seen == [(receipt.id, receipt.id, "shop.v1.Cancelled")]


async def test_a_sync_handler_runs_in_a_thread(bus: Bus) -> None:
    threads: set[str] = set()

    class Sync(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            threads.add(threading.current_thread().name)

    async with Worker(bus, Sync(), group="g") as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert all(name.startswith("eventwire-g") for name in threads)
    assert threads


async def test_a_factory_makes_a_handler_for_each_delivery(bus: Bus) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def scoped(context: Context) -> AsyncGenerator[Orders]:
        events.append(f"open {context.key!r}")
        yield Orders()
        events.append("close")

    async with Worker(bus, scoped, group="g") as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert events == ["open b'7'", "close"]


async def test_tombstones_reach_their_handler_with_the_key(bus: Bus) -> None:
    gone: list[str] = []

    class Prices(PricesHandler):
        async def on_price(self, event: Price, context: Context) -> None: ...

        async def on_tombstone(self, key: str, context: Context) -> None:
            gone.append(key)

    async with Worker(bus, Prices(), group="g") as worker:
        await PricesPublisher(bus).publish(Price("sku", 1))
        await PricesPublisher(bus).tombstone("sku")
        await settled(worker, 2)
    assert gone == ["sku"]


async def test_a_validator_refuses_on_both_sides() -> None:
    def positive(event: Any) -> None:
        if isinstance(event, Placed) and event.cents < 0:
            raise ValueError("cents must not be negative")

    async with (
        Bus("memory://shared-validation") as free,
        Bus("memory://shared-validation", validate=positive) as strict,
    ):
        with pytest.raises(InvalidEvent, match="cents must not be negative"):
            await OrdersPublisher(strict).publish(Placed("7", -1))
        async with Worker(strict, Orders(), group="g") as worker:
            await OrdersPublisher(free).publish(Placed("7", -1))
            await settled(worker, 1)
        (letter,) = await dead_letters(strict, "shop.v1.g.dead", 1)
        assert letter.header("eventwire_dead_error") == b"ValidationFailed"


def test_two_handlers_for_one_event_are_refused() -> None:
    with pytest.raises(
        HandlerError, match=r"shop\.v1\.Placed of topic shop\.v1 has two handlers in one group: Orders"
    ):
        Worker(Bus("memory://"), Orders(), Orders(), group="g")


def test_a_handler_class_in_the_place_of_an_instance_is_refused() -> None:
    with pytest.raises(HandlerError, match="Orders is a class"):
        Worker(Bus("memory://"), Orders, group="g")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_delayed_retry_of_an_ordered_topic_is_refused() -> None:
    with pytest.raises(CapabilityError, match="ordered per key"):
        Worker(Bus("memory://"), Orders(), group="g", retry=RetryPolicy(mode=RetryMode.DELAYED))


async def test_an_ordered_topic_needs_a_transport_with_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bus("memory://") as bus:
        transport = bus.transport(ORDERS)
        unordered = replace(transport.features, ordering=False, transport="unordered")
        monkeypatch.setattr(transport, "features", unordered)
        with pytest.raises(
            CapabilityError,
            match=r"unordered gives no order: use one that does \(memory, sqlite, kafka, amqp\)",
        ):
            await Worker(bus, Orders(), group="g").run()
        with pytest.raises(CapabilityError):
            await OrdersPublisher(bus).publish(Placed("7"))
