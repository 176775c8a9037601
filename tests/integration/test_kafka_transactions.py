"""Transactions on a real broker: workers are killed, and a reader of committed events sees each output once."""

import asyncio
import secrets
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from eventwire.bus import Bus
from eventwire.errors import BrokerError, PublishError
from eventwire.message import Message, Receipt
from eventwire.route import spec_of
from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.consumer import KafkaConsumer
from eventwire.transports.kafka.transactional import TransactionalKafkaDelivery
from eventwire.url import BrokerUrl
from tests.integration.kafka_transformer import HOPELESS, numbers
from tools import servers

pytestmark = pytest.mark.server

_TRANSFORMER = Path(__file__).with_name("kafka_transformer.py")
_OPTIONS = "?session_timeout_ms=2000&heartbeat_interval_ms=400"
_PATIENCE = 90.0
_COUNT = 2000
_KILLS = 4


@pytest.fixture
def url(kafka_server: servers.Server) -> str:
    return kafka_server.url + _OPTIONS


@pytest.fixture
async def transport(url: str) -> AsyncGenerator[KafkaTransport]:
    made = KafkaTransport(BrokerUrl.parse(url), DriverOptions())
    yield made
    await made.close()


@pytest.fixture
async def source(transport: KafkaTransport) -> TopicSpec:
    made = TopicSpec(f"test.{secrets.token_hex(4)}")
    await transport.declare([made], ())
    return made


@pytest.fixture
async def target(transport: KafkaTransport) -> TopicSpec:
    made = TopicSpec(f"test.{secrets.token_hex(4)}")
    await transport.declare([made], ())
    return made


async def publish(transport: KafkaTransport, topic: TopicSpec, *values: int) -> None:
    messages = [Message(topic.name, b"%d" % value, b"%d" % value) for value in values]
    for outcome in await transport.publish_many(topic, messages):
        assert isinstance(outcome, Receipt), outcome


async def subscribe(
    transport: KafkaTransport, topic: TopicSpec, application: str | None = "app"
) -> KafkaConsumer:
    return await transport.subscribe(
        Subscription(f"{topic.name}.g", (topic,), transactional=application, commit_interval=0.05)
    )


async def take(consumer: KafkaConsumer, count: int) -> list[TransactionalKafkaDelivery]:
    found: list[TransactionalKafkaDelivery] = []
    async with asyncio.timeout(_PATIENCE):
        while len(found) < count:
            for delivery in await consumer.fetch(count - len(found)):
                assert isinstance(delivery, TransactionalKafkaDelivery)
                found.append(delivery)
    return found


async def seen(transport: KafkaTransport, topic: TopicSpec) -> list[int]:
    """What a new group reads before it has caught up."""
    group = secrets.token_hex(4)
    consumer = await transport.subscribe(Subscription(group, (topic,)))
    found: list[int] = []
    async with asyncio.timeout(_PATIENCE):
        while consumer.health().lag != 0:
            try:
                async with asyncio.timeout(0.5):
                    deliveries = await consumer.fetch(500)
            except TimeoutError:
                continue
            for delivery in deliveries:
                found.append(int(delivery.message.body or b""))
                delivery.ack()
    await consumer.close()
    return sorted(found)


async def settled(transport: KafkaTransport, topic: TopicSpec, lag: int = 0) -> None:
    async with asyncio.timeout(_PATIENCE):
        while await transport.lag(topic, f"{topic.name}.g") != lag:  # noqa: ASYNC110 - a transaction ends when it ends
            await asyncio.sleep(0.05)


async def test_a_batch_is_seen_when_all_of_it_is_settled(
    transport: KafkaTransport, source: TopicSpec, target: TopicSpec
) -> None:
    await publish(transport, source, 1, 2, 3)
    consumer = await subscribe(transport, source)
    deliveries = await take(consumer, 3)
    for delivery in deliveries:
        await delivery.publish(target, Message(target.name, delivery.message.body, b"k"))
    for delivery in deliveries[:2]:
        delivery.ack()
    assert await seen(transport, target) == []
    deliveries[2].ack()
    await settled(transport, source)
    assert await seen(transport, target) == [1, 2, 3]
    with pytest.raises(PublishError, match="settled"):
        await deliveries[0].publish(target, Message(target.name, b"9", b"k"))
    await consumer.close()


async def test_a_failed_batch_is_undone_and_comes_again_one_by_one(
    transport: KafkaTransport, source: TopicSpec, target: TopicSpec
) -> None:
    await publish(transport, source, 1, 2, 3)
    consumer = await subscribe(transport, source)
    error = ValueError("no")
    for delivery in await take(consumer, 3):
        await delivery.publish(target, Message(target.name, delivery.message.body, b"k"))
        delivery.fail(error) if delivery.message.body == b"2" else delivery.ack()
    told: list[tuple[bytes | None, int, bool]] = []
    while len(told) < 4:
        (delivery,) = await take(consumer, 1)
        told.append((delivery.message.body, delivery.failures, delivery.alone))
        await delivery.publish(target, Message(target.name, delivery.message.body, b"k"))
        if len(told) == 2:
            assert delivery.error is error
            delivery.fail(error)
        else:
            delivery.ack()
    assert told == [(b"1", 0, True), (b"2", 1, True), (b"2", 2, True), (b"3", 0, True)]
    await settled(transport, source)
    assert await seen(transport, target) == [1, 2, 3]
    await consumer.close()


async def test_closing_undoes_what_is_not_settled(
    transport: KafkaTransport, source: TopicSpec, target: TopicSpec
) -> None:
    await publish(transport, source, 1, 2)
    consumer = await subscribe(transport, source)
    one, two = await take(consumer, 2)
    for delivery in (one, two):
        await delivery.publish(target, Message(target.name, delivery.message.body, b"k"))
    one.ack()
    await consumer.close()
    assert await seen(transport, target) == []
    await settled(transport, source, 2)


async def test_who_takes_the_partition_over_fences_who_had_it(
    transport: KafkaTransport, source: TopicSpec, target: TopicSpec
) -> None:
    await publish(transport, source, 1)
    consumer = await subscribe(transport, source)
    (delivery,) = await take(consumer, 1)
    await delivery.publish(target, Message(target.name, b"1", b"k"))
    usurper = await transport.transactional(f"app.{source.name}.g.{source.name}.0")
    delivery.ack()
    again = (await take(consumer, 1))[0]
    assert consumer.health().rebuilt == 1, "and nothing was raised"
    assert await seen(transport, target) == []
    await again.publish(target, Message(target.name, b"1", b"k"))
    again.ack()
    await settled(transport, source)
    assert await seen(transport, target) == [1]
    await usurper.halt()
    await consumer.close()


async def transform(url: str, source: str, target: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(_TRANSFORMER), url, source, target)


async def test_each_output_is_seen_exactly_once_though_workers_are_killed(
    url: str, transport: KafkaTransport
) -> None:
    source, target = (numbers(f"test.{secrets.token_hex(4)}") for _ in range(2))
    async with Bus(url, declare=True) as bus:
        await bus.declare(source, target)
        receipt = await bus.publish_many(source, range(_COUNT))
        assert not receipt.failures
    group = f"{source.name}.group"
    dead = TopicSpec(f"{source.name}.{group}.dead", queue=True)
    for kills in range(_KILLS + 1):
        process = await transform(url, source.name, target.name)
        left = _COUNT * (_KILLS - kills) // (_KILLS + 1)
        try:
            async with asyncio.timeout(_PATIENCE):
                while await lag(transport, spec_of(source), group) > left:  # noqa: ASYNC110 - another process works
                    await asyncio.sleep(0.02)
            if not left:
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    found = Counter(await seen(transport, spec_of(target)))
    assert found == Counter(number for number in range(_COUNT) if number != HOPELESS)
    assert await seen(transport, dead) == [HOPELESS]


async def lag(transport: KafkaTransport, topic: TopicSpec, group: str) -> int:
    """All of it where the coordinator is just being found."""
    try:
        return await transport.lag(topic, group)
    except BrokerError:
        return _COUNT
