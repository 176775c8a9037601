"""The inbox's place in a worker's chain: what it is asked, and what becomes of its answers."""

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
    ConfigurationError,
    Context,
    Handler,
    HandlerError,
    Ordering,
    RetryMode,
    RetryPolicy,
    Topic,
    WireFormat,
    Worker,
)
from eventwire.inbox import Handle, InboxKey
from tests.unit.inbox.remembering import RememberingInbox
from tests.unit.shop import (
    ORDERS,
    Cancelled,
    OrdersHandler,
    OrdersPublisher,
    OrdersSyncHandler,
    Placed,
)


class Orders(OrdersHandler):
    def __init__(self, handle: Callable[[Placed, Context], Any] = lambda _event, _context: None) -> None:
        self._handle = handle
        self.seen: list[str] = []

    async def on_placed(self, event: Placed, context: Context) -> None:
        self.seen.append(event.order_id)
        self._handle(event, context)


async def settled(worker: Worker, count: int) -> None:
    async with asyncio.timeout(10):
        while worker.counts.settled < count:  # noqa: ASYNC110  the counts are plain numbers
            await asyncio.sleep(0.001)


async def test_what_was_handled_is_acknowledged_and_counted_as_a_duplicate() -> None:
    inbox, orders = RememberingInbox(), Orders()
    async with Bus("memory://") as bus, Worker(bus, orders, group="billing", inbox=inbox) as worker:
        publisher = OrdersPublisher(bus)
        for id in ("a", "a", "b", "a"):
            await publisher.publish(Placed("1"), id=id)
        await settled(worker, 4)
        assert (worker.counts.handled, worker.counts.duplicates) == (2, 2)
    assert [key.id for key in inbox.asked] == [b"a", b"a", b"b", b"a"]
    assert inbox.asked[0][:4] == ("billing", "shop.v1", b"/shop/v1", "shop.v1.Placed")


async def test_each_attempt_is_the_inboxs() -> None:
    inbox, failures = RememberingInbox(), iter([True, True, False])

    def handle(event: Placed, context: Context) -> None:
        if next(failures):
            raise ValueError(event.order_id)

    async with (
        Bus("memory://") as bus,
        Worker(bus, orders := Orders(handle), group="billing", inbox=inbox) as worker,
    ):
        await OrdersPublisher(bus).publish(Placed("1"), id="a")
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.retried) == (1, 2)
    assert len(inbox.asked) == len(orders.seen) == 3
    assert len(inbox.handled) == 1


async def test_what_failed_for_good_is_not_remembered_as_handled() -> None:
    inbox = RememberingInbox()

    def handle(event: Placed, context: Context) -> None:
        raise ValueError(event.order_id)

    async with Bus("memory://") as bus, Worker(bus, Orders(handle), group="billing", inbox=inbox) as worker:
        await OrdersPublisher(bus).publish(Placed("1"), id="a")
        await settled(worker, 1)
        assert worker.counts.dead_lettered == 1
    assert inbox.handled == set()


async def test_groups_do_not_share_what_they_handled() -> None:
    inbox, billing, mailing = RememberingInbox(), Orders(), Orders()
    async with (
        Bus("memory://") as bus,
        Worker(bus, billing, group="billing", inbox=inbox) as one,
        Worker(bus, mailing, group="mailing", inbox=inbox) as two,
    ):
        await OrdersPublisher(bus).publish(Placed("1"), id="a")
        await settled(one, 1)
        await settled(two, 1)
    assert billing.seen == mailing.seen == ["1"]


async def test_an_inbox_lives_as_long_as_its_worker_works() -> None:
    inbox = RememberingInbox()
    async with Bus("memory://") as bus:
        async with Worker(bus, Orders(), group="billing", inbox=inbox):
            assert inbox.lives == ["began"]
        assert inbox.lives == ["began", "ended"]
    assert inbox.checked == [Orders]


def test_the_classes_of_factories_are_checked_too() -> None:
    inbox = RememberingInbox()

    @asynccontextmanager
    async def factory(context: Context) -> AsyncGenerator[Orders]:
        yield Orders()

    Worker(Bus("memory://"), factory, group="billing", inbox=inbox)
    assert inbox.checked == [Orders]


class Occupied(RememberingInbox):
    """Lets nobody in until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.waiting = 0

    async def once(self, key: InboxKey, context: Context, handle: Handle) -> bool:
        self.waiting += 1
        await self.free.wait()
        return await super().once(key, context, handle)


async def test_a_timeout_while_waiting_for_the_inbox_is_no_attempt() -> None:
    inbox = Occupied()
    async with (
        Bus("memory://") as bus,
        Worker(bus, Orders(), group="billing", inbox=inbox, timeout=0.001) as worker,
    ):
        await OrdersPublisher(bus).publish(Placed("1"))
        async with asyncio.timeout(10):
            while inbox.waiting < 5:  # noqa: ASYNC110  more than the three attempts that there are
                await asyncio.sleep(0.001)
        inbox.free.set()
        await settled(worker, 1)
        assert (worker.counts.handled, worker.counts.retried) == (1, 0)


async def test_a_worker_that_stops_while_it_waits_for_the_inbox_gives_the_event_back() -> None:
    inbox, orders = Occupied(), Orders()
    async with Bus("memory://") as bus:
        async with Worker(bus, orders, group="billing", inbox=inbox, grace=0.01):
            await OrdersPublisher(bus).publish(Placed("1"))
            async with asyncio.timeout(10):
                while not inbox.waiting:  # noqa: ASYNC110  a plain number
                    await asyncio.sleep(0.001)
        async with Worker(bus, orders, group="billing", inbox=RememberingInbox()) as worker:
            await settled(worker, 1)
    assert orders.seen == ["1"]


# Resources


async def test_resources_are_those_of_one_attempt() -> None:
    found: list[object] = []

    def handle(event: Placed, context: Context) -> None:
        found.append(context.resource(RememberingInbox))
        if len(found) == 1:
            context.provide(Cancelled, Cancelled("left over"))
            raise ValueError(event.order_id)
        with pytest.raises(HandlerError, match=r"no Cancelled was provided .*RememberingInbox was"):
            context.resource(Cancelled)

    inbox = RememberingInbox()
    async with Bus("memory://") as bus, Worker(bus, Orders(handle), group="billing", inbox=inbox) as worker:
        await OrdersPublisher(bus).publish(Placed("1"))
        await settled(worker, 1)
        assert worker.counts.handled == 1
    assert found == [inbox, inbox]


async def test_an_inbox_may_run_a_sync_handler_in_its_thread() -> None:
    ran: list[str] = []

    class Around(RememberingInbox):
        async def once(self, key: Any, context: Context, handle: Any) -> bool:
            def around(work: Callable[[], None]) -> None:
                ran.append(threading.current_thread().name)
                work()
                ran.append("committed")

            context.around = around
            return await super().once(key, context, handle)

    class Mailing(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            ran.append(threading.current_thread().name)

    async with (
        Bus("memory://") as bus,
        Worker(bus, Mailing(), group="mailing", inbox=Around()) as worker,
    ):
        await OrdersPublisher(bus).publish(Placed("1"))
        await settled(worker, 1)
    assert ran == ["eventwire-mailing_0", "eventwire-mailing_0", "committed"]


# Messages without ids

PLAIN = replace(ORDERS, wire_format=WireFormat.PLAIN)
ACCEPTS_PLAIN = replace(ORDERS, accept=(WireFormat.PLAIN,))
WITH_IDS = replace(PLAIN, events=tuple(replace(event, id=event.key) for event in ORDERS.events))


def handler_of(topic: Topic[Any]) -> Handler:
    class Generated(Handler, topic=topic):
        async def on_placed(self, event: Placed, context: Context) -> None:
            """Placed."""

    class Own(Generated):
        async def on_placed(self, event: Placed, context: Context) -> None:
            """Nothing: the inbox is asked."""

    return Own()


@pytest.mark.parametrize("topic", [PLAIN, ACCEPTS_PLAIN])
def test_a_worker_does_not_start_where_messages_may_carry_no_id(topic: Topic[Any]) -> None:
    handler = handler_of(topic)
    bus = Bus("amqp://localhost")
    with pytest.raises(
        ConfigurationError, match=r"topic shop.v1: .*PLAIN.*`id_field` on every event .shop.v1.Pl"
    ):
        Worker(bus, handler, group="billing", inbox=RememberingInbox())
    Worker(bus, handler, group="billing")
    Worker(Bus("memory://"), handler, group="billing", inbox=RememberingInbox())
    Worker(bus, handler_of(WITH_IDS), group="billing", inbox=RememberingInbox())


async def keys_of(topic: Topic[Any], *events: Placed) -> list[bytes]:
    inbox = RememberingInbox()
    handler = handler_of(topic)
    async with Bus("memory://") as bus, Worker(bus, handler, group="billing", inbox=inbox) as worker:
        for event in events:
            await bus.publish(topic, event)
        await settled(worker, len(events))
    return [key.id for key in inbox.asked]


async def test_plain_messages_are_known_by_their_place_in_the_log() -> None:
    first, second = await keys_of(PLAIN, Placed("1"), Placed("1"))
    place, _, offset = first.rpartition(b"/")
    assert place.startswith(b"shop.v1/")
    assert (offset, second) == (b"0", place + b"/1")


async def test_what_waited_in_a_retry_topic_has_its_first_key() -> None:
    delayed = RetryPolicy(RetryMode.DELAYED, max_attempts=3, initial_backoff=0.01, max_backoff=0.02)
    inbox, failures = RememberingInbox(), iter([True, True, False])
    handler = handler_of(replace(PLAIN, ordering=Ordering.NONE, retry=delayed))

    async def once(key: InboxKey, context: Context, handle: Handle) -> bool:
        inbox.asked.append(key)
        if next(failures):
            raise ValueError("not yet")
        return True

    inbox.once = once  # type: ignore[method-assign]
    async with Bus("memory://") as bus, Worker(bus, handler, group="billing", inbox=inbox) as worker:
        await bus.publish(handler.eventwire_entries["on_placed"].topic, Placed("1"))
        await settled(worker, 3)
        assert (worker.counts.handled, worker.counts.postponed) == (1, 2)
    assert len({*inbox.asked}) == 1
    assert inbox.asked[0].id.startswith(b"shop.v1/")
    assert inbox.asked[0].topic == "shop.v1"


async def test_plain_messages_with_an_id_field_are_known_by_it() -> None:
    assert sorted(await keys_of(WITH_IDS, Placed("1"), Placed("2"), Placed("1"))) == [b"1", b"1", b"2"]
