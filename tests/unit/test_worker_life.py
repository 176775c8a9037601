"""How a worker starts and ends: in order, half way, twice, and when something dies under it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventwire import (
    BrokerError,
    Bus,
    Closed,
    ConfigurationError,
    Context,
    DeadLetterPolicy,
    Handler,
    HandlerCancelled,
    InvalidEvent,
    Middleware,
    RetryPolicy,
    TopicMissing,
    UnknownEvents,
    Unreachable,
    Worker,
    WorkerStopped,
)
from eventwire.middleware.base import HandleNext
from eventwire.transport import Consumer, Delivery, Subscription
from tests.unit.shop import ORDERS, PRICES, Cancelled, OrdersPublisher, OrdersSyncHandler, Placed, Price
from tests.unit.test_worker import Orders, dead_letters, fail, publish_raw, raw, settled

ONCE = RetryPolicy(max_attempts=1)
DISABLED = DeadLetterPolicy(disabled=True)


@pytest.fixture
async def bus() -> AsyncGenerator[Bus]:
    async with Bus("memory://") as made:
        yield made


ELSEWHERE = replace(PRICES, broker="other")
TWIN = replace(ELSEWHERE, name=ORDERS.name)


class ElsewhereHandler(Handler, topic=ELSEWHERE):
    async def on_price(self, event: Price, context: Context) -> None: ...


class Elsewhere(ElsewhereHandler):
    async def on_price(self, event: Price, context: Context) -> None: ...


class TwinHandler(Handler, topic=TWIN):
    async def on_price(self, event: Price, context: Context) -> None: ...


class Twin(TwinHandler):
    async def on_price(self, event: Price, context: Context) -> None: ...


class Stuck(Orders):
    """Never ends, but tells that it has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.started = asyncio.Event()

    async def on_placed(self, event: Placed, context: Context) -> None:
        self.started.set()
        await asyncio.get_running_loop().create_future()


async def redelivered(bus: Bus, count: int = 1) -> list[Placed]:
    handler = Orders()
    async with Worker(bus, handler, group="g") as worker:
        await settled(worker, count)
    return handler.seen


async def test_a_worker_runs_once(bus: Bus) -> None:
    worker = Worker(bus, Orders(), group="g")
    worker.stop()
    await worker.run()
    with pytest.raises(Closed, match="runs once"):
        await worker.run()
    with pytest.raises(Closed, match="runs once"):
        async with worker:
            pass


async def test_a_stop_before_the_start_ends_it_at_once() -> None:
    bus = Bus("memory://")
    worker = Worker(bus, Orders(), group="g")
    worker.stop()
    async with asyncio.timeout(10):
        await worker.run()
    assert not bus.started


async def test_a_start_that_fails_half_way_leaves_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    async def subscribe(_: Subscription) -> Consumer:
        raise TopicMissing("gone")

    async def join(subscription: Subscription) -> Consumer:
        consumer = await joined(subscription)
        close = consumer.close

        async def closed() -> None:
            left.append(subscription.group)
            await close()

        monkeypatch.setattr(consumer, "close", closed)
        return consumer

    async with Bus({"default": "memory://", "other": "memory://"}) as bus:
        joined = bus.transport(ORDERS).subscribe
        monkeypatch.setattr(bus.transport(ORDERS), "subscribe", join)
        monkeypatch.setattr(bus.transport(ELSEWHERE), "subscribe", subscribe)
        with pytest.raises(TopicMissing, match="gone"):
            await Worker(bus, Orders(), Elsewhere(), group="g").run()
        assert left == ["g"]


async def test_a_signal_ends_a_start_that_waits_for_the_broker(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def subscribe(_: Subscription) -> Consumer:
        asked.set()
        never: asyncio.Future[Consumer] = asyncio.get_running_loop().create_future()
        return await never

    monkeypatch.setattr(bus.transport(ORDERS), "subscribe", subscribe)
    run = asyncio.create_task(Worker(bus, Orders(), group="g").run())
    await asked.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(run, 10)


async def test_an_unreachable_broker_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus("memory://")

    async def connect() -> None:
        raise Unreachable("nobody at a:1")

    monkeypatch.setattr(bus.transport(ORDERS), "connect", connect)
    with pytest.raises(Unreachable, match="nobody"):
        async with Worker(bus, Orders(), group="g"):
            pass
    assert not bus.started


async def test_a_consumer_that_cannot_go_on_ends_the_worker_and_loses_nothing(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, broken = bus.transport(ORDERS), asyncio.Event()
    subscribe = transport.subscribe

    async def breaking(subscription: Any) -> Any:
        consumer = await subscribe(subscription)
        fetch = consumer.fetch

        async def fetch_or_fail(limit: int) -> Sequence[Delivery]:
            if broken.is_set():
                raise BrokerError("the broker is gone")
            return await fetch(limit)

        monkeypatch.setattr(consumer, "fetch", fetch_or_fail)
        return consumer

    monkeypatch.setattr(transport, "subscribe", breaking)
    handler = Stuck()
    run = asyncio.create_task(Worker(bus, handler, group="g").run())
    await OrdersPublisher(bus).publish(Placed("7"))
    await handler.started.wait()
    broken.set()
    await OrdersPublisher(bus).publish(Placed("8"))
    with pytest.raises(BrokerError, match="the broker is gone"):
        await asyncio.wait_for(run, 10)
    monkeypatch.undo()
    assert {event.order_id for event in await redelivered(bus, 2)} == {"7", "8"}


async def test_a_worker_that_dies_ends_the_block_that_waits_for_it(bus: Bus) -> None:
    await OrdersPublisher(bus).publish(Placed("7"))
    with pytest.raises(WorkerStopped):
        async with (
            asyncio.timeout(10),
            Worker(bus, Orders(fail), group="g", retry=ONCE, dead_letter=DISABLED),
        ):
            await asyncio.get_running_loop().create_future()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await redelivered(bus) == [Placed("7")]


async def test_what_the_block_raises_comes_through_and_the_worker_ends_in_order(bus: Bus) -> None:
    worker = Worker(bus, Orders(), group="g")
    with pytest.raises(LookupError, match="mine"):
        async with worker:
            raise LookupError("mine")
    with pytest.raises(Closed):
        await worker.run()


async def test_a_start_that_is_cancelled_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    bus, connecting = Bus("memory://"), asyncio.Event()

    async def connect() -> None:
        connecting.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(bus.transport(ORDERS), "connect", connect)
    before = asyncio.all_tasks()
    start = asyncio.create_task(Worker(bus, Orders(), group="g").__aenter__())
    await connecting.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert asyncio.all_tasks() == before


async def test_cancelling_a_worker_gives_everything_back(bus: Bus) -> None:
    handler = Stuck()
    run = asyncio.create_task(Worker(bus, handler, group="g").run())
    await OrdersPublisher(bus).publish_many([Placed("k", n) for n in range(5)])
    await handler.started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [event.cents for event in await redelivered(bus, 5)] == list(range(5))


async def test_cancelling_a_worker_that_drains_ends_it(bus: Bus) -> None:
    handler = Stuck()
    worker = Worker(bus, handler, group="g", grace=3600)
    run = asyncio.create_task(worker.run())
    await OrdersPublisher(bus).publish(Placed("7"))
    await handler.started.wait()
    worker.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    run.cancel()
    done, _ = await asyncio.wait({run}, timeout=10)
    assert done
    assert await redelivered(bus) == [Placed("7")]


async def test_a_second_signal_stops_at_once(bus: Bus) -> None:
    handler = Stuck()
    run = asyncio.create_task(Worker(bus, handler, group="g", grace=3600).run())
    await OrdersPublisher(bus).publish(Placed("7"))
    await handler.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)
    assert not run.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(run, 10)
    assert await redelivered(bus) == [Placed("7")]


async def test_a_stop_ends_the_wait_for_a_retry(bus: Bus) -> None:
    failed = asyncio.Event()

    def fails(_: Placed, __: Context) -> None:
        failed.set()
        raise ValueError("no")

    slow = RetryPolicy(initial_backoff=3600, max_backoff=3600)
    async with asyncio.timeout(10):
        async with Worker(bus, Orders(fails), group="g", retry=slow):
            await OrdersPublisher(bus).publish(Placed("7"))
            await failed.wait()
        assert await redelivered(bus) == [Placed("7")]


async def test_a_handler_that_lets_a_cancellation_through_has_failed(bus: Bus) -> None:
    async def awaits_a_cancelled_one(event: Placed, _: Context) -> None:
        if event.cents == 0:
            task = asyncio.create_task(asyncio.sleep(3600))
            task.cancel()
            await task

    handler = Orders(awaits_a_cancelled_one)
    async with Worker(bus, handler, group="g", concurrency=1, retry=ONCE) as worker:
        await OrdersPublisher(bus).publish_many([Placed("k", n) for n in range(2)])
        await settled(worker, 2)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert letter.header("eventwire_dead_error") == HandlerCancelled.__name__.encode()
    assert handler.seen == [Placed("k", 1)]


async def test_a_handler_that_exits_stops_the_worker_in_order(bus: Bus) -> None:
    def exits(_: Placed, __: Context) -> None:
        sys.exit(3)

    await OrdersPublisher(bus).publish(Placed("7"))
    with pytest.raises(WorkerStopped, match=r"called sys\.exit"):
        await Worker(bus, Orders(exits), group="g").run()
    assert await redelivered(bus) == [Placed("7")]


async def test_a_middleware_that_fails_sets_the_event_aside(bus: Bus) -> None:
    class Failing(Middleware):
        async def on_handle(self, context: Context, call_next: HandleNext) -> None:
            if context.key == b"bad":
                raise LookupError("the middleware")
            await call_next(context)

    async with Worker(bus, Orders(), group="g", middleware=[Failing()]) as worker:
        await OrdersPublisher(bus).publish_many([Placed("bad"), Placed("good")])
        await settled(worker, 2)
    assert (worker.counts.handled, worker.counts.dead_lettered) == (1, 1)


def test_a_dead_letter_that_is_the_topic_itself_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="would come back for ever"):
        Worker(Bus("memory://"), Orders(), group="g", dead_letter=DeadLetterPolicy("{topic}"))


def test_a_timeout_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="more than 0"):
        Worker(Bus("memory://"), Orders(), group="g", timeout=0)


def test_two_topics_of_one_name_need_two_workers() -> None:
    with pytest.raises(ConfigurationError, match="have one name"):
        Worker(Bus({"default": "memory://", "other": "memory://"}), Orders(), Twin(), group="g")


async def test_a_middleware_sees_the_event_that_was_read(bus: Bus) -> None:
    seen: list[tuple[str, str, Any]] = []

    class Note(Middleware):
        async def on_handle(self, context: Context, call_next: HandleNext) -> None:
            seen.append((context.id, context.type, context.event))
            await call_next(context)

    async with Worker(bus, Orders(), group="g", middleware=[Note()]) as worker:
        receipt = await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert seen == [(receipt.id, "shop.v1.Placed", Placed("7"))]


async def test_a_sync_handler_publishes_through_its_context(bus: Bus) -> None:
    seen: list[str | None] = []

    class Sync(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            context.blocking(OrdersPublisher).publish(Cancelled(event.order_id))

        def on_cancelled(self, event: Cancelled, context: Context) -> None:
            seen.append(context.causation_id)

    async with Worker(bus, Sync(), group="g") as worker:
        receipt = await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 2)
    assert seen == [receipt.id]


async def test_an_async_handler_is_told_to_await_its_publisher(bus: Bus) -> None:
    def blocks(_: Placed, context: Context) -> None:
        context.blocking(OrdersPublisher).publish(Cancelled("7"))

    async with Worker(bus, Orders(blocks), group="g", retry=RetryPolicy(max_attempts=1)) as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert letter.header("eventwire_dead_error") == b"HandlerError"


async def test_a_dead_letter_is_logged_with_the_handlers_traceback(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Placed, __: Context) -> None:
        raise ValueError("no")

    async with Worker(bus, Orders(fails), group="g", retry=RetryPolicy(max_attempts=1)) as worker:
        await OrdersPublisher(bus).publish(Placed("7"))
        await settled(worker, 1)
    assert "in fails" in caplog.text
    assert "ValueError: no" in caplog.text


async def test_a_replaced_topic_is_told_of(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    class Handling(Handler, topic=replace(PRICES, replaces="shop.v0.Price")):
        async def on_price(self, event: Price, context: Context) -> None: ...

        async def on_tombstone(self, key: str, context: Context) -> None: ...

    class Mine(Handling):
        async def on_price(self, event: Price, context: Context) -> None: ...

    async with Worker(bus, Mine(), group="g"):
        pass
    assert "replaces shop.v0.Price, whose events this version does not read" in caplog.text


async def test_an_unknown_type_may_go_to_the_dead_letter(bus: Bus) -> None:
    strict = replace(ORDERS, unknown_events=UnknownEvents.DEAD_LETTER)

    class Handling(Handler, topic=strict):
        async def on_placed(self, event: Placed, context: Context) -> None: ...

        async def on_cancelled(self, event: Cancelled, context: Context) -> None: ...

    class Mine(Handling):
        async def on_placed(self, event: Placed, context: Context) -> None: ...

    async with Worker(bus, Mine(), group="g") as worker:
        await publish_raw(bus, raw(type=b"shop.v1.New"), strict)
        await settled(worker, 1)
    (letter,) = await dead_letters(bus, "shop.v1.g.dead", 1)
    assert letter.header("eventwire_dead_error") == b"UnknownEvent"


async def test_an_event_without_key_is_refused_by_its_publisher(bus: Bus) -> None:
    with pytest.raises(InvalidEvent, match="is the key of its topic and is empty"):
        await OrdersPublisher(bus).publish(Placed(""))
