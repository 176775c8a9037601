"""What memory and sqlite promise alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from pathlib import Path

import pytest

from eventwire.errors import Closed, PublishError
from eventwire.message import Message
from eventwire.partition import partition_of
from eventwire.policy import Start
from eventwire.transport import DriverOptions, Subscription, TopicPartition, Transport
from eventwire.transports.memory import MemoryTransport
from eventwire.transports.sqlite import SqliteTransport
from eventwire.url import BrokerUrl
from tests.unit.transports.support import ORDERS, PAYMENTS, collect, ids, nothing, order


@pytest.fixture(params=["memory", "sqlite"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Transport]:
    made: Transport
    if request.param == "memory":
        made = MemoryTransport(BrokerUrl.parse("memory://?max_body=1000"), DriverOptions())
    else:
        url = BrokerUrl.parse(f"sqlite:///{tmp_path}/broker.db?poll=0.005&max_body=1000")
        made = SqliteTransport(url, DriverOptions())
    await made.connect()
    await made.declare([ORDERS, PAYMENTS], [])
    yield made
    await made.close()


async def test_a_message_arrives_as_it_was_sent(broker: Transport) -> None:
    message = Message("orders", b"\x00\xff", b"key", (("a", b"1"), ("a", b"2")), "application/protobuf", "id")
    receipt = await broker.publish(ORDERS, message)
    consumer = await broker.subscribe(Subscription("g", (ORDERS,)))
    [delivery] = await collect(consumer, 1)
    assert delivery.message == message
    assert (delivery.partition, delivery.offset, delivery.attempt) == (receipt.partition, receipt.offset, 1)
    assert receipt.partition == partition_of(b"key", 4)


async def test_each_group_gets_everything_and_keys_stay_in_order(broker: Transport) -> None:
    outcomes = await broker.publish_many(ORDERS, [order(n, key=f"k{n % 7}") for n in range(500)])
    assert not any(isinstance(outcome, PublishError) for outcome in outcomes)
    for group in ("a", "b"):
        found = await collect(await broker.subscribe(Subscription(group, (ORDERS,))), 500)
        assert len(set(ids(found))) == 500
        for partition in range(4):
            offsets = [delivery.offset for delivery in found if delivery.partition == partition]
            assert offsets == list(range(len(offsets)))


async def test_keyless_messages_go_round(broker: Transport) -> None:
    receipts = [await broker.publish(ORDERS, Message("orders", b"", None)) for _ in range(8)]
    assert Counter(receipt.partition for receipt in receipts) == dict.fromkeys(range(4), 2)


async def test_a_partition_moves_only_after_on_revoke_returned(broker: Transport) -> None:
    revoked: list[TopicPartition] = []
    drained = asyncio.Event()

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.extend(partitions)
        await drained.wait()

    first = await broker.subscribe(Subscription("g", (ORDERS,), on_revoke=on_revoke))
    for number in range(40):
        await broker.publish(ORDERS, order(number))
    held = await collect(first, 40)
    second = await broker.subscribe(Subscription("g", (ORDERS,)))
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


async def test_a_late_ack_of_an_earlier_assignment_is_dropped(broker: Transport) -> None:
    await broker.publish(PAYMENTS, order(1, spec=PAYMENTS))
    first = await broker.subscribe(Subscription("g", (PAYMENTS,)))
    [late] = await collect(first, 1)
    await first.close()
    late.ack()
    second = await broker.subscribe(Subscription("g", (PAYMENTS,)))
    [again] = await collect(second, 1)
    assert (again.message.id, again.attempt) == ("id-1", 2)
    again.ack()
    late.release()
    assert await nothing(second)


async def test_acks_settle_up_to_the_first_gap(broker: Transport) -> None:
    for number in range(5):
        await broker.publish(PAYMENTS, order(number, spec=PAYMENTS))
    first = await broker.subscribe(Subscription("g", (PAYMENTS,)))
    found = await collect(first, 5)
    for number in (0, 1, 3):
        found[number].ack()
    await first.close()
    second = await broker.subscribe(Subscription("g", (PAYMENTS,)))
    again = await collect(second, 3)
    assert ids(again) == ["id-2", "id-3", "id-4"]
    assert [delivery.attempt for delivery in again] == [2, 1, 2]


async def test_release_hands_out_again_in_order_with_one_more_attempt(broker: Transport) -> None:
    for number in range(3):
        await broker.publish(PAYMENTS, order(number, spec=PAYMENTS))
    consumer = await broker.subscribe(Subscription("g", (PAYMENTS,)))
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
    await broker.publish(PAYMENTS, order(9, spec=PAYMENTS))
    [fresh] = await collect(consumer, 1)
    assert (fresh.message.id, fresh.attempt) == ("id-9", 1)


async def test_start_latest_skips_history_once(broker: Transport) -> None:
    await broker.publish(PAYMENTS, order(1, spec=PAYMENTS))
    first = await broker.subscribe(Subscription("g", (PAYMENTS,), start=Start.LATEST))
    assert await nothing(first)
    await first.close()
    await broker.publish(PAYMENTS, order(2, spec=PAYMENTS))
    second = await broker.subscribe(Subscription("g", (PAYMENTS,), start=Start.LATEST))
    assert ids(await collect(second, 1)) == ["id-2"]


async def test_the_span_is_bounded(broker: Transport) -> None:
    for number in range(10):
        await broker.publish(PAYMENTS, order(number, spec=PAYMENTS))
    consumer = await broker.subscribe(Subscription("g", (PAYMENTS,), max_uncommitted=4))
    found = await collect(consumer, 4)
    for delivery in found[1:]:
        delivery.ack()
    assert await nothing(consumer)
    found[0].ack()
    assert ids(await collect(consumer, 4)) == ["id-4", "id-5", "id-6", "id-7"]


async def test_cancelled_fetches_lose_nothing(broker: Transport) -> None:
    consumer = await broker.subscribe(Subscription("g", (PAYMENTS,)))
    seen: list[str] = []
    for number in range(50):
        task = asyncio.ensure_future(consumer.fetch(10))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        await broker.publish(PAYMENTS, order(number, spec=PAYMENTS))
        task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        seen += [] if isinstance(outcome, BaseException) else ids(outcome)
    seen += ids(await collect(consumer, 50 - len(seen)))
    assert seen == [f"id-{n}" for n in range(50)]


async def test_lag_counts_from_what_is_committed(broker: Transport) -> None:
    await broker.publish_many(PAYMENTS, [order(n, spec=PAYMENTS) for n in range(5)])
    assert await broker.lag(PAYMENTS, "g") == 5  # a group that was never there
    consumer = await broker.subscribe(Subscription("g", (PAYMENTS,)))
    found = await collect(consumer, 5)
    for number in (0, 1, 3):
        found[number].ack()
    await consumer.flush()
    assert (await broker.lag(PAYMENTS, "g"), await broker.lag(PAYMENTS, "other")) == (3, 5)
    await consumer.close()
    assert await broker.lag(PAYMENTS, "g") == 3
    await broker.subscribe(Subscription("late", (PAYMENTS,), start=Start.LATEST))
    assert await broker.lag(PAYMENTS, "late") == 0


async def test_nobody_died(broker: Transport) -> None:
    await broker.publish(PAYMENTS, order(1, spec=PAYMENTS))
    for _ in range(3):
        consumer = await broker.subscribe(Subscription("g", (PAYMENTS,)))
        [delivery] = await collect(consumer, 1)
        await consumer.close()
        assert delivery.deaths == 0


async def test_ping_after_close(broker: Transport) -> None:
    await broker.ping()
    await broker.close()
    with pytest.raises(Closed):
        await broker.ping()
    with pytest.raises(Closed):
        await broker.lag(PAYMENTS, "g")
