from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Collection, Sequence
from itertools import pairwise

import pytest

from eventwire.errors import CapabilityError, Closed, PublishError, TooLarge, TopicMismatch, UrlError
from eventwire.message import Message
from eventwire.partition import partition_of
from eventwire.policy import Start
from eventwire.transport import Consumer, Delivery, DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.memory import MemoryTransport
from eventwire.url import BrokerUrl

ORDERS = TopicSpec("orders", partitions=4, ordered=True)
PAYMENTS = TopicSpec("payments")


def transport(url: str = "memory://") -> MemoryTransport:
    return MemoryTransport(BrokerUrl.parse(url), DriverOptions())


@pytest.fixture
async def memory() -> AsyncGenerator[MemoryTransport]:
    made = transport()
    await made.connect()
    yield made
    await made.close()


def order(number: int, *, key: str | None = None, size: int = 10, spec: TopicSpec = ORDERS) -> Message:
    return Message(
        spec.name, b"x" * size, (key or f"k{number}").encode(), (("n", b"%d" % number),), None, f"id-{number}"
    )


def caused(by: Message, spec: TopicSpec, identity: str) -> Message:
    return Message(spec.name, b"", b"k", (("ce_causationid", by.id.encode()),), None, identity)


async def collect(consumer: Consumer, count: int, limit: int = 100) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += await consumer.fetch(min(limit, count - len(found)))
    return found


async def nothing(consumer: Consumer) -> bool:
    task = asyncio.ensure_future(consumer.fetch(10))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


async def test_a_message_arrives_as_it_was_sent(memory: MemoryTransport) -> None:
    message = Message("orders", b"\x00\xff", b"key", (("a", b"1"), ("a", b"2")), "application/protobuf", "id")
    receipt = await memory.publish(ORDERS, message)
    consumer = await memory.subscribe(Subscription("g", (ORDERS,)))
    [delivery] = await collect(consumer, 1)
    assert delivery.message == message
    assert (delivery.partition, delivery.offset, delivery.attempt) == (receipt.partition, receipt.offset, 1)
    assert receipt.partition == partition_of(b"key", 4)


async def test_each_group_gets_everything_and_keys_stay_in_order(memory: MemoryTransport) -> None:
    outcomes = await memory.publish_many(ORDERS, [order(n, key=f"k{n % 7}") for n in range(500)])
    assert not any(isinstance(outcome, PublishError) for outcome in outcomes)
    for group in ("a", "b"):
        found = await collect(await memory.subscribe(Subscription(group, (ORDERS,))), 500)
        assert len(set(ids(found))) == 500
        for partition in range(4):
            offsets = [delivery.offset for delivery in found if delivery.partition == partition]
            assert offsets == list(range(len(offsets)))


async def test_keyless_messages_go_round(memory: MemoryTransport) -> None:
    receipts = [await memory.publish(ORDERS, Message("orders", b"", None)) for _ in range(8)]
    assert Counter(receipt.partition for receipt in receipts) == dict.fromkeys(range(4), 2)


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


async def test_a_partition_moves_only_after_on_revoke_returned(memory: MemoryTransport) -> None:
    revoked: list[TopicPartition] = []
    drained = asyncio.Event()

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.extend(partitions)
        await drained.wait()

    first = await memory.subscribe(Subscription("g", (ORDERS,), on_revoke=on_revoke))
    for number in range(40):
        await memory.publish(ORDERS, order(number))
    held = await collect(first, 40)
    second = await memory.subscribe(Subscription("g", (ORDERS,)))
    assert await nothing(first)
    assert await nothing(second)
    assert len(revoked) == 2
    lost = [delivery for delivery in held if delivery.partition in {at.partition for at in revoked}]
    for delivery in lost[::2]:
        delivery.ack()
    drained.set()
    again = await collect(second, 1)
    assert again[0].attempt >= 1
    held[0].ack()


async def test_a_late_ack_of_an_earlier_assignment_is_dropped(memory: MemoryTransport) -> None:
    await memory.publish(PAYMENTS, order(1, spec=PAYMENTS))
    first = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    [late] = await collect(first, 1)
    await first.close()
    late.ack()
    second = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    [again] = await collect(second, 1)
    assert (again.message.id, again.attempt) == ("id-1", 2)
    again.ack()
    late.release()
    assert await nothing(second)


async def test_acks_settle_up_to_the_first_gap(memory: MemoryTransport) -> None:
    for number in range(5):
        await memory.publish(PAYMENTS, order(number, spec=PAYMENTS))
    first = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    found = await collect(first, 5)
    for number in (0, 1, 3):
        found[number].ack()
    await first.close()
    second = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    again = await collect(second, 3)
    assert ids(again) == ["id-2", "id-3", "id-4"]
    assert [delivery.attempt for delivery in again] == [2, 1, 2]


async def test_release_hands_out_again_in_order_with_one_more_attempt(memory: MemoryTransport) -> None:
    for number in range(3):
        await memory.publish(PAYMENTS, order(number, spec=PAYMENTS))
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    found = await collect(consumer, 3)
    for number in (2, 0):
        found[number].release()
        found[number].release()
        found[number].ack()
    again = await collect(consumer, 2)
    assert [(delivery.message.id, delivery.attempt) for delivery in again] == [("id-0", 2), ("id-2", 2)]
    again[0].release()
    [third] = await collect(consumer, 1)
    assert third.attempt == 3
    for delivery in (third, found[1], again[1]):
        delivery.ack()
    await memory.publish(PAYMENTS, order(9, spec=PAYMENTS))
    [fresh] = await collect(consumer, 1)
    assert (fresh.message.id, fresh.attempt) == ("id-9", 1)


async def test_start_latest_skips_history_once(memory: MemoryTransport) -> None:
    await memory.publish(PAYMENTS, order(1, spec=PAYMENTS))
    first = await memory.subscribe(Subscription("g", (PAYMENTS,), start=Start.LATEST))
    assert await nothing(first)
    await first.close()
    await memory.publish(PAYMENTS, order(2, spec=PAYMENTS))
    second = await memory.subscribe(Subscription("g", (PAYMENTS,), start=Start.LATEST))
    assert ids(await collect(second, 1)) == ["id-2"]


async def test_the_span_is_bounded(memory: MemoryTransport) -> None:
    for number in range(10):
        await memory.publish(PAYMENTS, order(number, spec=PAYMENTS))
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,), max_uncommitted=4))
    found = await collect(consumer, 4)
    for delivery in found[1:]:
        delivery.ack()
    assert await nothing(consumer)
    found[0].ack()
    assert ids(await collect(consumer, 4)) == ["id-4", "id-5", "id-6", "id-7"]


async def test_cancelled_fetches_lose_nothing(memory: MemoryTransport) -> None:
    consumer = await memory.subscribe(Subscription("g", (PAYMENTS,)))
    seen: list[str] = []
    for number in range(50):
        task = asyncio.ensure_future(consumer.fetch(10))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        await memory.publish(PAYMENTS, order(number, spec=PAYMENTS))
        task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        seen += [] if isinstance(outcome, BaseException) else ids(outcome)
    seen += ids(await collect(consumer, 50 - len(seen)))
    assert seen == [f"id-{n}" for n in range(50)]


async def test_too_large_is_refused() -> None:
    memory = transport("memory://?max_body=100&max_bytes=200")
    with pytest.raises(TooLarge, match="101 bytes is above this broker's 100") as caught:
        await memory.publish(PAYMENTS, order(1, size=101, spec=PAYMENTS))
    assert caught.value.id == "id-1"
    outcomes = await memory.publish_many(PAYMENTS, [order(1, size=101), order(2, size=100)])
    assert [type(outcome) for outcome in outcomes][0] is TooLarge
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


# inline


async def handle(consumer: Consumer, handled: deque[Delivery], errors: dict[str, Exception]) -> None:
    while True:
        for delivery in await consumer.fetch(10):
            handled.append(delivery)
            delivery.ack(errors.get(delivery.message.id))


async def test_inline_returns_when_every_group_is_done() -> None:
    memory = transport("memory://?inline=true")
    first = await memory.subscribe(Subscription("a", (ORDERS,)))
    second = await memory.subscribe(Subscription("b", (ORDERS,)))
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    (await collect(first, 1))[0].ack()
    assert not task.done()
    (await collect(second, 1))[0].ack()
    assert (await task).offset == 0


async def test_inline_without_groups_returns_at_once() -> None:
    await transport("memory://?inline=true").publish(ORDERS, order(1))


async def test_inline_raises_the_first_error() -> None:
    memory = transport("memory://?inline=true")
    errors: dict[str, Exception] = {"id-1": ValueError("no"), "id-3": ValueError("nor this")}
    handled: deque[Delivery] = deque()
    consumer = await memory.subscribe(Subscription("a", (ORDERS,)))
    task = asyncio.create_task(handle(consumer, handled, errors))
    with pytest.raises(ValueError, match="^no$"):
        await memory.publish(ORDERS, order(1))
    await memory.publish(ORDERS, order(2))
    with pytest.raises(ValueError, match="nor this"):
        await memory.publish_many(ORDERS, [order(3), order(4)])
    task.cancel()


async def test_inline_waits_for_what_handlers_publish() -> None:
    memory = transport("memory://?inline=true")
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
    memory = transport("memory://?inline=true")
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
    memory = transport("memory://?inline=true")
    consumer = await memory.subscribe(Subscription("a", (ORDERS,)))
    task = asyncio.create_task(memory.publish(ORDERS, order(1)))
    await collect(consumer, 1)
    await consumer.close()
    with pytest.raises(Closed, match="last member"):
        await task


async def test_inline_a_cancelled_publish_can_be_repeated() -> None:
    memory = transport("memory://?inline=true")
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
