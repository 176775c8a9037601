"""`kafka://` against a real broker, which two tests kill and suspend where it is ours."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.partitioner import DefaultPartitioner

from eventwire.bus import Bus
from eventwire.errors import (
    BrokerError,
    Closed,
    OffsetOutOfRange,
    PublishFailed,
    PublishUnknown,
    TooLarge,
    TopicMismatch,
    TopicMissing,
    Unreachable,
)
from eventwire.message import Message, Receipt
from eventwire.policy import Ordering, Start
from eventwire.route import spec_of
from eventwire.topic import Codec, Event, FieldKind, FieldPath, Topic
from eventwire.transport import DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.assignment import KafkaDelivery
from eventwire.transports.kafka.consumer import KafkaConsumer
from eventwire.url import BrokerUrl
from tools import servers

pytestmark = pytest.mark.server

_PATIENCE = 30.0
_PUBLISH_TIMEOUT = 3.0


@pytest.fixture
def server(kafka_server: servers.Server) -> servers.Server:
    return kafka_server


@pytest.fixture
def mortal(kafka_server: servers.Server) -> servers.Server:
    """The server where it is ours to kill."""
    if not kafka_server.controllable:
        pytest.skip(f"NOT RUN: {kafka_server.origin} is not ours to kill")
    return kafka_server


def transport_at(url: str, options: str = "") -> KafkaTransport:
    return KafkaTransport(BrokerUrl.parse(url + options), DriverOptions())


@pytest.fixture
async def transport(server: servers.Server) -> AsyncGenerator[KafkaTransport]:
    made = transport_at(server.url)
    yield made
    await made.close()


def spec(partitions: int = 1, *, ordered: bool = True) -> TopicSpec:
    return TopicSpec(f"test.{secrets.token_hex(4)}", partitions=partitions, ordered=ordered)


@pytest.fixture
async def topic(transport: KafkaTransport) -> TopicSpec:
    made = spec()
    await transport.declare([made], ())
    return made


def numbers() -> Topic[int]:
    """A topic of a fresh name whose events are numbers."""
    event = Event(
        type="test.Number",
        full_name="test.Number",
        message=int,
        codec=Codec(lambda number: b"%d" % number, int),
        handler="on_number",
        key=FieldPath("number", FieldKind.INTEGER, lambda number: number % 7),
    )
    name = f"test.{secrets.token_hex(4)}"
    return Topic(name, "test.Number", "test", (event,), partitions=3, ordering=Ordering.PER_KEY)


def numbered(topic: TopicSpec, count: int, *, first: int = 0) -> list[Message]:
    return [
        Message(topic.name, b"%d" % n, key=b"%d" % (n % 7), id=str(n)) for n in range(first, first + count)
    ]


async def publish_all(transport: KafkaTransport, topic: TopicSpec, messages: Sequence[Message]) -> None:
    for outcome in await transport.publish_many(topic, messages):
        assert isinstance(outcome, Receipt), outcome


async def read(
    consumer: KafkaConsumer, count: int, limit: int = 500, *, ack: bool = True
) -> list[KafkaDelivery]:
    deliveries: list[KafkaDelivery] = []
    async with asyncio.timeout(_PATIENCE):
        while len(deliveries) < count:
            fetched = await consumer.fetch(min(limit, count - len(deliveries)))
            deliveries += fetched
            for delivery in fetched if ack else ():
                delivery.ack()
    return deliveries


def bodies(deliveries: Sequence[KafkaDelivery]) -> list[int]:
    return [int(delivery.message.body or b"") for delivery in deliveries]


async def nothing_more(consumer: KafkaConsumer) -> bool:
    try:
        async with asyncio.timeout(1.5):
            await consumer.fetch(10)
    except TimeoutError:
        return True
    return False


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not true():  # noqa: ASYNC110 - the broker decides when
            await asyncio.sleep(0.02)


async def in_thread(action: Callable[[], None]) -> None:
    await asyncio.to_thread(action)


async def test_a_message_comes_back_as_it_was_published(transport: KafkaTransport, topic: TopicSpec) -> None:
    headers = (("a", b"1"), ("a", b"\x00\xff"), ("", b""), ("ünï", b"x"))
    message = Message(topic.name, b"body", b"key", headers, "application/protobuf")
    receipt = await transport.publish(topic, message)
    await transport.publish(topic, Message(topic.name, None, b"key"))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    first, tombstone = await read(consumer, 2)
    await consumer.close()
    assert first.message == message
    assert (first.partition, first.offset, first.attempt) == (receipt.partition, receipt.offset, 1)
    assert tombstone.message == Message(topic.name, None, b"key")


async def test_keys_go_where_the_java_client_puts_them(transport: KafkaTransport) -> None:
    topic = spec(12)
    await transport.declare([topic], ())
    keys = [secrets.token_bytes(length) for length in range(1, 60)]
    outcomes = await transport.publish_many(topic, [Message(topic.name, b"", key) for key in keys])
    java, partitions = DefaultPartitioner(), list(range(12))
    assert [outcome.partition for outcome in outcomes if isinstance(outcome, Receipt)] == [
        java(key, partitions, partitions) for key in keys
    ]


async def test_messages_without_key_are_spread(transport: KafkaTransport) -> None:
    topic = spec(3, ordered=False)
    await transport.declare([topic], ())
    outcomes = await transport.publish_many(topic, [Message(topic.name, b"x")] * 9)
    assert sorted(str(outcome.partition) for outcome in outcomes if isinstance(outcome, Receipt)) == list(
        "000111222"
    )


async def test_a_missing_topic_is_named_and_not_created(transport: KafkaTransport, topic: TopicSpec) -> None:
    absent = [spec(), spec()]
    with pytest.raises(PublishFailed, match=absent[0].name) as failure:
        await transport.publish(absent[0], Message(absent[0].name, b"x"))
    assert isinstance(failure.value.__cause__, TopicMissing)
    with pytest.raises(TopicMissing, match=f"{absent[0].name}`, `{absent[1].name}"):
        await transport.check([*absent, topic], ())
    with pytest.raises(TopicMissing):
        await transport.subscribe(Subscription("absent", (absent[0],)))
    with pytest.raises(TopicMissing, match=r"declare it: `Bus\(url, declare=True\)`"):
        await transport.check(absent, ())


async def test_a_body_above_our_limit_or_the_brokers_is_too_large(
    server: servers.Server, topic: TopicSpec
) -> None:
    transport = transport_at(server.url, "?max_request_size=4000000")
    small = Message(topic.name, b"small", b"k")
    for size in (4_100_000, 2_000_000):
        with pytest.raises(TooLarge):
            await transport.publish(topic, Message(topic.name, b"x" * size, b"k"))
        assert (await transport.publish(topic, small)).offset is not None, "the producer goes on"
    await transport.close()


async def test_declaring_from_many_tasks_makes_one_topic(
    server: servers.Server, transport: KafkaTransport
) -> None:
    topics = [
        spec(3),
        TopicSpec(spec().name, compact=True, retention=60),
        TopicSpec("odd name/ü" + spec().name),
    ]
    others = [transport_at(server.url) for _ in range(5)]
    await asyncio.gather(*(other.declare(topics, ("group",)) for other in others))
    await transport.check(topics, ())
    for topic in topics:
        assert (await transport.publish(topic, Message(topic.name, b"x", b"k"))).topic == topic.name
    await asyncio.gather(*(other.close() for other in others))


async def test_another_partition_count_of_an_ordered_topic_is_a_mismatch(transport: KafkaTransport) -> None:
    topic = spec(3)
    await transport.declare([topic], ())
    with pytest.raises(TopicMismatch, match="3 partitions and is declared with 4"):
        await transport.declare([TopicSpec(topic.name, 4, ordered=True)], ())
    await transport.declare(
        [TopicSpec(topic.name, 4), TopicSpec(topic.name, 4, ordered=True, external=True)], ()
    )


async def test_an_external_topic_is_only_checked(transport: KafkaTransport) -> None:
    name = spec().name
    with pytest.raises(TopicMissing):
        await transport.declare([TopicSpec(name, external=True)], ())
    with pytest.raises(TopicMissing):
        await transport.check([TopicSpec(name)], ())


async def test_a_rebalance_loses_nothing(transport: KafkaTransport) -> None:
    topic = spec(4)
    await transport.declare([topic], ())
    revoked: list[set[TopicPartition]] = []

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.append(set(partitions))
        for delivery in unfinished:
            delivery.ack()
        unfinished.clear()

    unfinished: list[KafkaDelivery] = []
    handled: list[int] = []

    async def handle(consumer: KafkaConsumer) -> None:
        while True:
            deliveries = await consumer.fetch(10)
            handled.extend(bodies(deliveries))
            unfinished.extend(deliveries)

    await publish_all(transport, topic, numbered(topic, 500))
    first = await transport.subscribe(Subscription(topic.name, (topic,), on_revoke=on_revoke))
    working = asyncio.create_task(handle(first))
    await until(lambda: len(handled) == 500)
    second = await transport.subscribe(Subscription(topic.name, (topic,)))
    await until(lambda: bool(revoked))
    await publish_all(transport, topic, numbered(topic, 500, first=500))
    seen = 0
    async with asyncio.timeout(_PATIENCE):
        while set(range(1000)) - set(handled):
            try:
                async with asyncio.timeout(0.2):
                    deliveries = await second.fetch(10)
            except TimeoutError:
                continue
            seen += len(deliveries)
            handled.extend(bodies(deliveries))
            for delivery in deliveries:
                delivery.ack()
    working.cancel()
    await asyncio.gather(first.close(), second.close())
    assert revoked[0] == {TopicPartition(topic.name, n) for n in range(4)}
    assert seen, "the second member has partitions"
    assert sorted(handled) == list(range(1000)), "what was acked while giving up was committed"


async def test_a_commit_never_passes_a_gap(transport: KafkaTransport, topic: TopicSpec) -> None:
    await publish_all(transport, topic, numbered(topic, 5))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    deliveries = await read(consumer, 5, ack=False)
    for delivery in (deliveries[0], deliveries[2], deliveries[3], deliveries[4]):
        delivery.ack()
    await consumer.flush()
    await consumer.close()
    deliveries[1].ack()
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    assert bodies(await read(consumer, 4)) == [1, 2, 3, 4]
    await consumer.close()
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    assert await nothing_more(consumer)
    await consumer.close()


async def test_a_partition_is_paused_at_max_uncommitted(transport: KafkaTransport, topic: TopicSpec) -> None:
    await publish_all(transport, topic, numbered(topic, 50))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,), max_uncommitted=10))
    first = await read(consumer, 10, ack=False)
    assert await nothing_more(consumer)
    for delivery in reversed(first[1:]):
        delivery.ack()
    assert await nothing_more(consumer), "the lowest still holds the others"
    first[0].ack()
    assert bodies([*first, *await read(consumer, 40)]) == list(range(50))
    await consumer.close()


async def test_a_smaller_limit_splits_what_was_polled(transport: KafkaTransport, topic: TopicSpec) -> None:
    await publish_all(transport, topic, numbered(topic, 20))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    waiting = asyncio.create_task(consumer.fetch(20))
    await asyncio.sleep(0)
    waiting.cancel()
    deliveries = [delivery for _ in range(7) for delivery in await consumer.fetch(3)]
    assert bodies(deliveries) == list(range(20))
    await consumer.close()


async def test_cancelled_fetches_lose_nothing(transport: KafkaTransport, topic: TopicSpec) -> None:
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    publishing = asyncio.create_task(publish_all(transport, topic, numbered(topic, 300)))
    got: list[int] = []
    async with asyncio.timeout(_PATIENCE):
        while len(got) < 300:
            try:
                async with asyncio.timeout(0.002):
                    got += bodies(await consumer.fetch(5))
            except TimeoutError:
                continue
    await publishing
    assert got == list(range(300))
    await consumer.close()


async def test_a_released_message_comes_again(transport: KafkaTransport, topic: TopicSpec) -> None:
    await publish_all(transport, topic, numbered(topic, 3))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    deliveries = await read(consumer, 3, ack=False)
    waiting = asyncio.create_task(consumer.fetch(10))
    await asyncio.sleep(0.05)
    for delivery in reversed(deliveries):
        delivery.release()
        delivery.ack()
    again = await waiting
    again = [*again, *await read(consumer, 3 - len(again))] if len(again) < 3 else again
    assert [(delivery.offset, delivery.attempt) for delivery in again] == [(0, 2), (1, 2), (2, 2)]
    await consumer.close()
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    assert bodies(await read(consumer, 3)) == [0, 1, 2], "released and not acked since"
    await consumer.close()


async def test_a_group_may_start_at_the_end(transport: KafkaTransport, topic: TopicSpec) -> None:
    await publish_all(transport, topic, numbered(topic, 3))
    subscription = Subscription(topic.name, (topic,), start=Start.LATEST)
    await (await transport.subscribe(subscription)).close()
    await publish_all(transport, topic, numbered(topic, 3, first=3))
    consumer = await transport.subscribe(subscription)
    assert bodies(await read(consumer, 3)) == [3, 4, 5], (
        "where it first began is kept, though it read nothing"
    )
    await consumer.close()


async def test_an_offset_out_of_range_is_an_error(
    server: servers.Server, transport: KafkaTransport, topic: TopicSpec
) -> None:
    await publish_all(transport, topic, numbered(topic, 20))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    await read(consumer, 5)
    await consumer.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=server.url.removeprefix("kafka://"))
    await admin.start()
    await admin.delete_records({KafkaPartition(topic.name, 0): RecordsToDelete(10)})
    await admin.close()
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    for _ in range(2):
        with pytest.raises(OffsetOutOfRange, match=f"offset 5 of `{topic.name}` partition 0"):
            await read(consumer, 1)
    await consumer.close()


async def test_a_deleted_topic_is_told_and_not_made_again(
    server: servers.Server, transport: KafkaTransport, topic: TopicSpec
) -> None:
    await publish_all(transport, topic, numbered(topic, 1))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    await read(consumer, 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=server.url.removeprefix("kafka://"))
    await admin.start()
    await admin.delete_topics([topic.name])
    await admin.close()
    with pytest.raises(TopicMissing, match=topic.name):
        await read(consumer, 1)
    await consumer.close()
    with pytest.raises(TopicMissing):
        await transport.check([topic], ())


async def test_nothing_listens() -> None:
    transport = transport_at("kafka://user:hunter2@127.0.0.1:1", "?connect_timeout=3")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as failure:
        await transport.connect()
    assert "hunter2" not in str(failure.value)
    with pytest.raises(PublishFailed):
        await transport.publish(spec(), Message("t", b"x", b"k"))
    await transport.close()


async def test_after_close(transport: KafkaTransport, topic: TopicSpec) -> None:
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    waiting = asyncio.create_task(consumer.fetch(1))
    await asyncio.sleep(0.1)
    await asyncio.gather(consumer.close(), consumer.close())
    with pytest.raises(Closed):
        await waiting
    await transport.publish(topic, Message(topic.name, b"x", b"k"))
    await asyncio.gather(transport.close(), transport.close())
    with pytest.raises(Closed):
        await transport.publish(topic, Message(topic.name, b"x", b"k"))
    with pytest.raises(Closed):
        await transport.check([topic], ())


async def test_a_broker_that_dies_mid_publish_and_comes_back(
    mortal: servers.Server, transport: KafkaTransport
) -> None:
    topic = numbers()
    bus = Bus(mortal.url, declare=True, publish_timeout=_PUBLISH_TIMEOUT)
    await transport.declare([spec_of(topic)], ())
    consumer = await transport.subscribe(Subscription(topic.name, (spec_of(topic),)))
    confirmed: set[int] = set()
    handled: set[int] = set()
    unknown: set[int] = set()

    async def publish() -> None:
        for number in range(3000):
            try:
                # Far beyond the bus's own deadline, which is what has to end it.
                async with asyncio.timeout(_PUBLISH_TIMEOUT + 10):
                    await bus.publish(topic, number)
            except PublishUnknown:
                unknown.add(number)
            else:
                confirmed.add(number)

    async def handle() -> None:
        while True:
            deliveries = await consumer.fetch(20)
            handled.update(bodies(deliveries))
            for delivery in deliveries:
                delivery.ack()

    async with bus, asyncio.timeout(90):
        publishing, handling = asyncio.create_task(publish()), asyncio.create_task(handle())
        await until(lambda: len(handled) >= 300)
        await in_thread(mortal.kill)
        await until(lambda: bool(unknown) or publishing.done())
        await in_thread(mortal.start)
        await publishing
        await until(lambda: handling.done() or not confirmed - handled)
    assert not handling.done(), "the consumer goes on by itself"
    handling.cancel()
    assert unknown, "the broker was away while events were published"
    assert len(confirmed) > 2500
    await consumer.close()


async def test_without_a_broker_a_flush_is_an_error_and_the_log_stays_short(
    mortal: servers.Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    transport = transport_at(mortal.url)
    topic = spec()
    await transport.declare([topic], ())
    await publish_all(transport, topic, numbered(topic, 2))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    first, second = await read(consumer, 2, ack=False)
    first.ack()
    await consumer.flush()
    await in_thread(mortal.kill)
    second.ack()
    fetching = asyncio.create_task(consumer.fetch(1))
    began = time.monotonic()
    with pytest.raises(BrokerError, match="cannot commit: no answer"):
        await consumer.flush()
    assert time.monotonic() - began < 8
    assert len(caplog.records) < 30
    await in_thread(mortal.start)
    await publish_all(transport, topic, numbered(topic, 1, first=2))
    assert bodies(await fetching) == [2]
    await consumer.flush()
    told = [record.getMessage() for record in caplog.records if record.name.startswith("eventwire")]
    assert any("no Kafka broker can be reached" in line for line in told)
    assert any("Kafka is back" in line for line in told)
    await consumer.close()
    await transport.close()


async def test_closing_is_bounded_while_the_broker_does_not_answer(mortal: servers.Server) -> None:
    transport = transport_at(mortal.url)
    topic = spec()
    await transport.declare([topic], ())
    await transport.publish(topic, Message(topic.name, b"0", b"k"))
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    (delivery,) = await read(consumer, 1, ack=False)
    await in_thread(mortal.suspend)
    try:
        delivery.ack()
        publishing = asyncio.create_task(transport.publish(topic, Message(topic.name, b"1", b"k")))
        await asyncio.sleep(0.1)
        for close in (consumer.close, transport.close):
            began = time.monotonic()
            await close()
            assert time.monotonic() - began < 8
        with pytest.raises(PublishUnknown):
            await publishing
        with pytest.raises(Unreachable):
            await transport_at(mortal.url, "?connect_timeout=0.5").connect()
    finally:
        await in_thread(mortal.resume)
