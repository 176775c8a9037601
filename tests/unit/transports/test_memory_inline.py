from __future__ import annotations

import asyncio
from collections import deque

import pytest

from eventwire.errors import Closed
from eventwire.message import Message
from eventwire.transport import Consumer, Delivery, DriverOptions, Subscription, TopicSpec
from eventwire.transports.memory import MemoryTransport
from eventwire.url import BrokerUrl
from tests.unit.transports.support import ORDERS, PAYMENTS, collect, order


def transport(url: str = "memory://?inline=true") -> MemoryTransport:
    return MemoryTransport(BrokerUrl.parse(url), DriverOptions())


def caused(by: Message, spec: TopicSpec, identity: str) -> Message:
    return Message(spec.name, b"", b"k", (("ce_causationid", by.id.encode()),), None, identity)


async def handle(consumer: Consumer, handled: deque[Delivery], errors: dict[str, Exception]) -> None:
    while True:
        for delivery in await consumer.fetch(10):
            handled.append(delivery)
            delivery.ack(errors.get(delivery.message.id))


async def test_inline_returns_when_every_group_is_done() -> None:
    memory = transport()
    first = await memory.subscribe(Subscription("a", (ORDERS,)))
    second = await memory.subscribe(Subscription("b", (ORDERS,)))
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    (await collect(first, 1))[0].ack()
    assert not task.done()
    (await collect(second, 1))[0].ack()
    assert (await task).offset == 0


async def test_who_waits_inline_for_himself_is_told(caplog: pytest.LogCaptureFixture) -> None:
    memory = transport()
    await memory.subscribe(Subscription("audit", (ORDERS,)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await memory.publish(ORDERS, order(1))
    assert "waiting for an ack of group audit: ack in another task" in caplog.text


async def test_inline_without_groups_returns_at_once() -> None:
    await transport().publish(ORDERS, order(1))


async def test_inline_raises_the_first_error() -> None:
    memory = transport()
    errors: dict[str, Exception] = {"id-1": ValueError("no"), "id-3": ValueError("nor this")}
    handled: deque[Delivery] = deque()
    consumer = await memory.subscribe(Subscription("a", (ORDERS,)))
    task = asyncio.create_task(handle(consumer, handled, errors))
    with pytest.raises(ValueError, match=r"^no$"):
        await memory.publish(ORDERS, order(1))
    await memory.publish(ORDERS, order(2))
    with pytest.raises(ValueError, match="nor this"):
        await memory.publish_many(ORDERS, [order(3), order(4)])
    task.cancel()


async def test_inline_waits_for_what_handlers_publish() -> None:
    memory = transport()
    shop = await memory.subscribe(Subscription("shop", (ORDERS,)))
    bank = await memory.subscribe(Subscription("bank", (PAYMENTS,)))
    root = order(1)
    task = asyncio.create_task(memory.publish(ORDERS, root))
    [delivery] = await collect(shop, 1)
    child = caused(root, PAYMENTS, "child")
    await memory.publish(PAYMENTS, child)
    delivery.ack()
    [payment] = await collect(bank, 1)
    await memory.publish(PAYMENTS, caused(child, PAYMENTS, "grandchild"))
    payment.ack()
    [last] = await collect(bank, 1)
    await asyncio.sleep(0)
    assert not task.done()
    last.ack(KeyError("late"))
    with pytest.raises(KeyError, match="late"):
        await task


async def test_inline_a_dead_letter_of_the_same_id_does_not_wait_for_itself() -> None:
    memory = transport()
    shop = await memory.subscribe(Subscription("shop", (ORDERS,)))
    dead = await memory.subscribe(Subscription("dead", (PAYMENTS,)))
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    [delivery] = await collect(shop, 1)
    await memory.publish(PAYMENTS, order(1, spec=PAYMENTS))
    delivery.ack(ValueError("no"))
    (await collect(dead, 1))[0].ack()
    with pytest.raises(ValueError, match="no"):
        await task


async def test_inline_says_when_the_last_member_left() -> None:
    memory = transport()
    consumer = await memory.subscribe(Subscription("a", (ORDERS,)))
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    await collect(consumer, 1)
    await consumer.close()
    with pytest.raises(Closed, match="last member"):
        await task


async def test_inline_a_cancelled_publish_can_be_repeated() -> None:
    memory = transport()
    consumer = await memory.subscribe(Subscription("a", (ORDERS,)))
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    [first] = await collect(consumer, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    [second] = await collect(consumer, 1)
    first.ack()
    assert not task.done()
    second.ack()
    await task
