from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest

from eventwire.errors import CapabilityError, Closed, TooLarge, TopicMismatch, UrlError
from eventwire.message import Message, Receipt
from eventwire.transport import Delivery, DriverOptions, Subscription, TopicSpec
from eventwire.transports.memory import MemoryTransport
from eventwire.url import BrokerUrl
from tests.unit.transports.support import ORDERS, PAYMENTS, collect, ids, nothing, order


def transport(url: str = "memory://") -> MemoryTransport:
    return MemoryTransport(BrokerUrl.parse(url), DriverOptions())


@pytest.fixture
async def memory() -> AsyncGenerator[MemoryTransport]:
    made = transport()
    await made.connect()
    yield made
    await made.close()


async def test_members_share_partitions_and_each_message_goes_to_one(memory: MemoryTransport) -> None:
    consumers = [await memory.subscribe(Subscription("g", (ORDERS,))) for _ in range(3)]
    for _ in range(5):
        await asyncio.gather(*map(nothing, consumers))
    seen: list[str] = []
    owners: dict[int, set[int]] = {}

    async def read(number: int) -> None:
        while True:
            for delivery in await consumers[number].fetch(10):
                seen.append(delivery.message.id)
                owners.setdefault(delivery.partition, set()).add(number)
                delivery.ack()
                if len(seen) == 200:
                    done.set()

    done = asyncio.Event()
    tasks = [asyncio.create_task(read(number)) for number in range(3)]
    for number in range(200):
        await memory.publish(ORDERS, order(number))
    async with asyncio.timeout(5):
        await done.wait()
    for task in tasks:
        task.cancel()
    assert sorted(seen) == sorted(f"id-{n}" for n in range(200))
    assert all(len(members) == 1 for members in owners.values())
    assert {member for members in owners.values() for member in members} == {0, 1, 2}


async def test_too_large_is_refused() -> None:
    memory = transport("memory://?max_body=100&max_bytes=200")
    with pytest.raises(TooLarge, match="101 bytes is above this broker's 100") as caught:
        await memory.publish(PAYMENTS, order(1, size=101, spec=PAYMENTS))
    assert caught.value.id == "id-1"
    outcomes = await memory.publish_many(PAYMENTS, [order(1, size=101), order(2, size=100)])
    assert list(map(type, outcomes)) == [TooLarge, Receipt]
    with pytest.raises(TooLarge, match="max_bytes"):
        await memory.publish(PAYMENTS, Message("payments", b"x" * 100, None, (("h", b"x" * 200),)))


async def test_a_full_broker_makes_publish_wait_in_order() -> None:
    memory = transport("memory://?max_body=100&max_bytes=400")
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    tasks = [
        asyncio.create_task(memory.publish(PAYMENTS, order(n, size=90, spec=PAYMENTS))) for n in range(20)
    ]
    read: list[Delivery] = []
    read += await collect(consumer, 4)
    assert sum(task.done() for task in tasks) == 4
    async with asyncio.timeout(5):
        while len(read) < 20:
            for delivery in read:
                delivery.ack()
            read += await consumer.fetch(3)
    assert ids(read) == [f"id-{n}" for n in range(20)]
    assert [task.result().offset for task in tasks] == list(range(20))


async def test_history_is_kept_up_to_the_bound_and_dropped_oldest_first() -> None:
    memory = transport("memory://?max_body=100&max_bytes=1000")
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    for number in range(100):
        await memory.publish(PAYMENTS, order(number, size=90, spec=PAYMENTS))
        (await collect(consumer, 1))[0].ack()
    late = await memory.subscribe(Subscription("late", (PAYMENTS,)))
    kept = await late.fetch(100)
    assert 5 <= len(kept) <= 10
    assert kept[-1].offset == 99
    assert all(a.offset + 1 == b.offset for a, b in pairwise(kept) if a.offset is not None)


async def test_a_cancelled_waiting_publish_leaves_the_queue_usable() -> None:
    memory = transport("memory://?max_body=100&max_bytes=200")
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    tasks = [
        asyncio.create_task(memory.publish(PAYMENTS, order(n, size=90, spec=PAYMENTS))) for n in range(4)
    ]
    found = await collect(consumer, 2)
    tasks[2].cancel()
    for delivery in found:
        delivery.ack()
    assert ids(await collect(consumer, 1)) == ["id-3"]


async def test_declared_counts_are_checked(memory: MemoryTransport) -> None:
    await memory.declare([ORDERS], ["g"])
    await memory.declare([ORDERS], ["g"])
    with pytest.raises(TopicMismatch, match="4 partitions here and 5 declared"):
        await memory.declare([TopicSpec("orders", partitions=5)], [])
    with pytest.raises(TopicMismatch):
        await memory.check([TopicSpec("orders", partitions=5)], [])
    await memory.check([TopicSpec("new", partitions=5)], [])


async def test_close_wakes_fetch_and_refuses_the_rest(memory: MemoryTransport) -> None:
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    task = asyncio.ensure_future(consumer.fetch(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await memory.close()
    await memory.close()
    with pytest.raises(Closed):
        await task
    with pytest.raises(Closed):
        await memory.publish(PAYMENTS, order(1))
    with pytest.raises(Closed):
        await memory.publish_many(PAYMENTS, [order(1)])
    with pytest.raises(Closed):
        await memory.subscribe(Subscription("g", (PAYMENTS,)))


async def test_named_brokers_are_shared_and_must_agree() -> None:
    one, two, other = (
        transport("memory://shared-1"),
        transport("memory://shared-1"),
        transport("memory://shared-2"),
    )
    await one.publish(PAYMENTS, order(1, spec=PAYMENTS))
    assert ids(await collect(await two.subscribe(Subscription("g", (PAYMENTS,))), 1)) == ["id-1"]
    assert await nothing(await other.subscribe(Subscription("g", (PAYMENTS,))))
    with pytest.raises(UrlError, match="must agree"):
        transport("memory://shared-1?max_body=5")


def test_a_named_broker_belongs_to_one_event_loop() -> None:
    one, two = transport("memory://looped"), transport("memory://looped")

    async def elsewhere() -> None:
        with pytest.raises(CapabilityError, match="another event loop"):
            await two.connect()
        await one.close()
        await two.connect()
        await two.close()

    asyncio.run(one.connect())
    asyncio.run(elsewhere())


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("memory://?inlin=true", "did you mean `inline`"),
        ("memory://?inline=maybe", "true or false"),
        ("memory://a,b", "memory://name"),
        ("memory://a/path", "memory://name"),
        ("memory://?max_body=10&max_bytes=5", "at least `max_body`"),
    ],
)
def test_bad_urls(url: str, text: str) -> None:
    with pytest.raises(UrlError, match=text):
        transport(url)


def test_driver_options_are_refused() -> None:
    with pytest.raises(UrlError, match="no client"):
        MemoryTransport(BrokerUrl.parse("memory://"), DriverOptions(producer={"a": 1}))


async def test_a_small_message_does_not_overtake_one_that_waits() -> None:
    memory = transport("memory://?max_body=100&max_bytes=200")
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    sizes = (100, 90, 80, 1)
    tasks = [
        asyncio.create_task(
            memory.publish(PAYMENTS, Message("payments", b"x" * size, None, (), None, f"{size}"))
        )
        for size in sizes
    ]
    found: list[Delivery] = []
    while len(found) < 4:
        found += await collect(consumer, 1)
        found[-1].ack()
    assert ids(found) == ["100", "90", "80", "1"]
    assert [(await task).offset for task in tasks] == [0, 1, 2, 3]


async def test_the_slowest_group_holds_publishers_back() -> None:
    memory = transport("memory://?max_body=100&max_bytes=200")
    fast = await memory.subscribe(Subscription("fast", (PAYMENTS,)))
    slow = await memory.subscribe(Subscription("slow", (PAYMENTS,)))
    tasks = [
        asyncio.create_task(memory.publish(PAYMENTS, order(n, size=90, spec=PAYMENTS))) for n in range(3)
    ]
    for delivery in await collect(fast, 2):
        delivery.ack()
    assert await nothing(fast)
    for delivery in await collect(slow, 2):
        delivery.ack()
    assert ids(await collect(fast, 1)) == ["id-2"]
    await asyncio.gather(*tasks)


async def test_a_dead_letter_finds_room_where_a_publish_has_to_wait() -> None:
    """Else its event could not be settled, and nothing would ever become free."""
    transport = MemoryTransport(BrokerUrl.parse("memory://?max_body=180&max_bytes=200"), DriverOptions())
    topic, dead = TopicSpec("full.v1"), TopicSpec("full.v1.g.dead", queue=True)
    await transport.connect()
    await transport.publish(topic, Message("full.v1", b"x" * 150, b"k"))
    waiting = asyncio.create_task(transport.publish(topic, Message("full.v1", b"y" * 150, b"k")))
    await asyncio.sleep(0)
    assert not waiting.done()
    await transport.publish(dead, Message(dead.name, b"x" * 150, b"k"))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await transport.close()
