from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from eventwire import (
    Bus,
    Closed,
    ConfigurationError,
    Context,
    InvalidEvent,
    Message,
    Middleware,
    PublishNext,
    PublishUnknown,
    Receipt,
    UrlError,
    Worker,
)
from eventwire.transport import Subscription, TopicSpec
from tests.unit.shop import ORDERS, Cancelled, OrdersHandler, OrdersPublisher, Placed, PricesPublisher


async def test_a_receipt_tells_where_the_event_is() -> None:
    async with Bus("memory://") as bus:
        first = await OrdersPublisher(bus).publish(Placed("7"))
        second = await OrdersPublisher(bus).publish(Placed("7"), id="mine")
    assert (first.topic, second.id, second.partition) == ("shop.v1", "mine", first.partition)
    assert (first.offset, second.offset) == (0, 1)


async def test_a_bus_that_is_closed_while_it_connects_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    bus, connecting, go = Bus("memory://"), asyncio.Event(), asyncio.Event()

    async def connect() -> None:
        connecting.set()
        await go.wait()

    monkeypatch.setattr(bus.transport(ORDERS), "connect", connect)
    start = asyncio.create_task(bus.start())
    await connecting.wait()
    await bus.close()
    go.set()
    with pytest.raises(Closed, match="while it connected"):
        await start
    assert not bus.started


async def test_publishing_before_the_start_and_after_the_end_is_refused() -> None:
    bus = Bus("memory://")
    with pytest.raises(Closed, match="not started"):
        await OrdersPublisher(bus).publish(Placed("7"))
    async with bus:
        await OrdersPublisher(bus).publish(Placed("7"))
    with pytest.raises(Closed, match="the bus is closed"):
        await OrdersPublisher(bus).publish(Placed("7"))
    with pytest.raises(Closed, match="make a new one"):
        await bus.start()


async def test_publish_many_lists_what_was_not_confirmed_and_confirms_the_rest() -> None:
    async with Bus("memory://") as bus:
        receipt = await OrdersPublisher(bus).publish_many(
            [Placed("1"), Placed(""), Placed("2")], max_in_flight=2
        )
    assert (receipt.confirmed, receipt.ok) == (2, False)
    assert [(type(error), error.index) for error in receipt.failures] == [(InvalidEvent, 1)]


async def test_publish_many_takes_an_async_iterable() -> None:
    async def events() -> AsyncIterator[Placed]:
        for number in range(5):
            yield Placed(str(number))

    async with Bus("memory://") as bus:
        assert (await OrdersPublisher(bus).publish_many(events(), max_in_flight=2)).confirmed == 5
        with pytest.raises(ValueError, match="1 or more"):
            await OrdersPublisher(bus).publish_many([], max_in_flight=0)


async def test_a_publish_without_an_answer_is_unknown_within_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async with Bus("memory://", publish_timeout=0.02) as bus:
        monkeypatch.setattr(bus.transport(ORDERS), "publish", never)
        monkeypatch.setattr(bus.transport(ORDERS), "publish_many", never)
        with pytest.raises(PublishUnknown, match=r"not confirmed within 0\.02 s") as caught:
            await OrdersPublisher(bus).publish(Placed("7"))
        assert caught.value.id
        (failure,) = (await OrdersPublisher(bus).publish_many([Placed("7")])).failures
        assert isinstance(failure, PublishUnknown)


async def test_middleware_sees_every_publish() -> None:
    seen: list[str] = []

    class Note(Middleware):
        async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
            seen.append(message.id)
            return await call_next(message)

    async with Bus("memory://", middleware=[Note()]) as bus:
        receipt = await OrdersPublisher(bus).publish(Placed("7"))
        assert (await OrdersPublisher(bus).publish_many([Placed("8"), Placed("9")])).confirmed == 2
    assert seen[0] == receipt.id
    assert len(seen) == 3


async def test_a_middleware_that_waits_keeps_the_order_of_a_key() -> None:
    class Slow(Middleware):
        def __init__(self) -> None:
            self.turns = 20

        async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
            self.turns -= 1
            for _ in range(self.turns):  # the later, the sooner
                await asyncio.sleep(0)
            return await call_next(message)

    async with Bus("memory://", middleware=[Slow()]) as bus:
        events = [Placed(f"k{n % 2}", n) for n in range(20)]
        assert (await OrdersPublisher(bus).publish_many(events)).confirmed == 20
        async with bus.subscribe(ORDERS, group="g") as deliveries, asyncio.timeout(10):
            seen = [(await anext(aiter(deliveries))).event for _ in events]
    for key in ("k0", "k1"):
        mine = [event.cents for event in seen if isinstance(event, Placed) and event.order_id == key]
        assert mine == sorted(mine)


async def test_what_a_middleware_raises_comes_through_once_the_others_are_published() -> None:
    class Failing(Middleware):
        async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
            if message.key == b"bad":
                raise LookupError("the middleware")
            return await call_next(message)

    async with Bus("memory://", middleware=[Failing()]) as bus:
        with pytest.raises(LookupError):
            await OrdersPublisher(bus).publish_many([Placed("bad"), Placed("good"), Placed("good")])
        assert (await OrdersPublisher(bus).publish(Placed("good"))).offset == 2


def test_what_is_each_events_own_is_not_carried_on() -> None:
    with pytest.raises(ConfigurationError, match="type, id are each event's own"):
        Bus("memory://", session_headers=["request", "type", "id"])


async def test_session_headers_are_carried_on_by_a_context_only() -> None:
    done = asyncio.Event()
    found: dict[str, str | None] = {}

    class Handler(OrdersHandler):
        async def on_placed(self, event: Placed, context: Context) -> None:
            await OrdersPublisher(context).publish(Cancelled(event.order_id))

        async def on_cancelled(self, event: Cancelled, context: Context) -> None:
            found.update({name: context.header(name) for name in ("request", "other", "ce_tenant")})
            done.set()

    async with (
        Bus("memory://", session_headers=["request", "tenant"]) as bus,
        Worker(bus, Handler(), group="g"),
    ):
        await OrdersPublisher(bus).publish(Placed("7", 1, "acme"), headers={"request": "r-1", "other": "no"})
        await asyncio.wait_for(done.wait(), 10)
    assert found == {"request": "r-1", "other": None, "ce_tenant": "acme"}


async def test_two_topics_of_one_name_are_refused() -> None:
    copy = replace(ORDERS, full_name="old.v1.Orders")
    async with Bus("memory://") as bus:
        await bus.declare(ORDERS)
        with pytest.raises(
            ConfigurationError, match=r"shop\.v1\.Orders and old\.v1\.Orders are both named shop\.v1"
        ):
            await bus.publish(copy, Placed("7"))


async def test_a_topic_goes_to_its_named_broker() -> None:
    other = replace(ORDERS, broker="audit")
    async with Bus({"default": "memory://", "audit": "devnull://"}) as bus:
        assert bus.transport(other).features.transport == "devnull"
    with pytest.raises(ConfigurationError, match="on broker `audit`; this bus has default"):
        Bus("memory://").transport(other)
    with pytest.raises(ConfigurationError, match="named `default`"):
        Bus({"audit": "memory://"})


async def test_a_tombstone_needs_a_key() -> None:
    async with Bus("memory://") as bus:
        assert (await PricesPublisher(bus).tombstone("sku")).id
        with pytest.raises(InvalidEvent, match="not empty"):
            await PricesPublisher(bus).tombstone("")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("localhost:9092", "has no scheme"),
        ("carrier-pigeon://x", r"no transport for `carrier-pigeon://`: installed are amqp://.*memory://"),
        ("memory://?inlined=true", r"has no option `inlined`; did you mean `inline`\?"),
        ("memory://?inline=perhaps", "`inline` is true or false"),
        ("kafka://a,,b", "host list is malformed"),
        ("kafka://:secret@a:99999", "malformed port: a port is a number from 1 to 65535"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_before_any_io(url: str, text: str) -> None:
    with pytest.raises(UrlError, match=text) as caught:
        Bus(url)
    assert "secret" not in str(caught.value)


async def test_pulling_yields_acks_releases_and_rejects() -> None:
    async with Bus("memory://") as bus:
        await OrdersPublisher(bus).publish_many([Placed("k", n) for n in range(3)])
        seen: list[int] = []
        async with bus.subscribe(ORDERS, group="g") as deliveries, asyncio.timeout(10):
            async for delivery in deliveries:
                assert isinstance(delivery.event, Placed)
                seen.append(delivery.event.cents)
                if len(seen) == 1:
                    delivery.release()
                elif delivery.event.cents == 2:
                    await delivery.reject("no good")
                else:
                    delivery.ack()
                if len(seen) == 4:
                    break
        assert sorted(seen) == [0, 0, 1, 2]
        dead = await bus.transport(ORDERS).subscribe(
            _reading("shop.v1.g.dead"),
        )
        (letter,) = await dead.fetch(10)
        assert letter.message.header("eventwire_dead_reason") == b"no good"
        await dead.close()


async def test_pulling_yields_nothing_that_the_validator_refuses() -> None:
    def positive(event: Any) -> None:
        if event.cents < 0:
            raise ValueError("negative")

    async with (
        Bus("memory://pull-validation") as free,
        Bus("memory://pull-validation", validate=positive) as strict,
        asyncio.timeout(10),
    ):
        await OrdersPublisher(free).publish_many([Placed("k", -1), Placed("k", 1)])
        async with strict.subscribe(ORDERS, group="g") as deliveries:
            pulled = await anext(aiter(deliveries))
            assert pulled.event == Placed("k", 1)
            assert deliveries.counts.dead_lettered == 1


def _reading(name: str) -> Subscription:
    return Subscription("reader", (TopicSpec(name, queue=True),))


async def test_a_bus_tells_what_it_is_without_secrets() -> None:
    bus = Bus("amqp://guest:secret@localhost")
    assert repr(bus) == "<Bus default=amqp://guest:***@localhost, not started>"
