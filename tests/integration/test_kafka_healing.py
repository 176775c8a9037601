"""Members that are lost, stopped silently, or handle for long, against a real broker."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

import pytest

from eventwire.errors import TopicMissing, Unreachable
from eventwire.message import Message, Receipt
from eventwire.transport import DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.consumer import KafkaConsumer
from eventwire.url import BrokerUrl
from tools import servers

pytestmark = pytest.mark.server

_PATIENCE = 60.0
_QUICK = "?session_timeout_ms=6000&heartbeat_interval_ms=500&max_poll_interval_ms=500"


@pytest.fixture
def server(kafka_server: servers.Server) -> servers.Server:
    return kafka_server


@pytest.fixture
def mortal(kafka_server: servers.Server) -> servers.Server:
    """The server where it is ours to kill."""
    if not kafka_server.controllable:
        pytest.skip(f"NOT RUN: {kafka_server.origin} is not ours to kill")
    return kafka_server


@pytest.fixture
async def transport(server: servers.Server) -> AsyncGenerator[KafkaTransport]:
    made = KafkaTransport(BrokerUrl.parse(server.url + _QUICK), DriverOptions())
    yield made
    await made.close()


@pytest.fixture
async def topic(transport: KafkaTransport) -> TopicSpec:
    made = TopicSpec(f"test.{secrets.token_hex(4)}", 2)
    await transport.declare([made], ())
    return made


async def publish(transport: KafkaTransport, topic: TopicSpec, *numbers: int) -> None:
    messages = [Message(topic.name, b"%d" % number, b"%d" % number) for number in numbers]
    for outcome in await transport.publish_many(topic, messages):
        assert isinstance(outcome, Receipt), outcome


async def read(consumer: KafkaConsumer, count: int, *, ack: bool = True) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(_PATIENCE):
        while len(found) < count:
            for delivery in await consumer.fetch(500):
                found.append(int(delivery.message.body or b""))
                if ack:
                    delivery.ack()
    return sorted(found)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not true():  # noqa: ASYNC110 - the broker decides when
            await asyncio.sleep(0.02)


def client(consumer: KafkaConsumer) -> Client:
    assert consumer.member is not None
    return consumer.member.client


async def test_lag_and_ping(transport: KafkaTransport, topic: TopicSpec) -> None:
    await transport.ping()
    assert await transport.lag(topic, topic.name) == 0
    await publish(transport, topic, *range(30))
    assert await transport.lag(topic, topic.name) == 30, "who never committed has everything before it"
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    await read(consumer, 30, ack=False)
    assert consumer.health().lag == 30
    await consumer.close()
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    await read(consumer, 30)
    assert consumer.health().lag == 0
    health = consumer.health()
    assert health.connected
    assert health.trouble is None
    assert health.heartbeat is not None
    assert health.heartbeat < 5
    await consumer.flush()
    assert await transport.lag(topic, topic.name) == 0
    await consumer.close()
    with pytest.raises(TopicMissing):
        await transport.lag(TopicSpec("test.absent"), "g")


async def test_a_ping_without_a_broker() -> None:
    transport = KafkaTransport(BrokerUrl.parse("kafka://127.0.0.1:1?connect_timeout=1"), DriverOptions())
    with pytest.raises(Unreachable):
        await transport.ping()
    await transport.close()


@pytest.mark.parametrize("task", ["_fetcher._fetch_task", "_coordinator._coordination_task"])
async def test_a_task_of_the_client_that_ends_silently_has_the_member_made_anew(
    transport: KafkaTransport, topic: TopicSpec, task: str
) -> None:
    revoked: list[Collection[TopicPartition]] = []

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.append(partitions)

    consumer = await transport.subscribe(Subscription(topic.name, (topic,), on_revoke=on_revoke))
    await publish(transport, topic, 1, 2, 3)
    assert await read(consumer, 3) == [1, 2, 3]
    part, name = task.split(".")
    ended: asyncio.Task[Any] = getattr(getattr(client(consumer), part), name)
    ended.cancel()
    await until(lambda: consumer.health().rebuilt == 1)
    await publish(transport, topic, 4, 5)
    assert await read(consumer, 2) == [4, 5], "what was acked before is not read again"
    assert len(revoked) == 1
    assert consumer.health().trouble is None
    await consumer.close()


async def test_a_fetcher_that_stands_still_is_found(
    transport: KafkaTransport, topic: TopicSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventwire.transports.kafka.watch._STUCK_AFTER", 2.0)
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    await publish(transport, topic, 1)
    assert await read(consumer, 1) == [1]
    fetcher: Any = client(consumer)._fetcher

    def nothing_to_do(
        assignment: object,
    ) -> tuple[list[object], dict[object, object], float, bool, list[object]]:
        return [], {}, 0.2, False, []

    monkeypatch.setattr(fetcher, "_get_actions_per_node", nothing_to_do)
    await until(lambda: not fetcher._in_flight)
    await publish(transport, topic, 2)
    assert await read(consumer, 1) == [2]
    assert consumer.health().rebuilt == 1
    await consumer.close()


@pytest.mark.parametrize("fetching", [True, False])
async def test_handlers_longer_than_the_poll_interval_are_neither_repeated_nor_thrown_out(
    transport: KafkaTransport, topic: TopicSpec, fetching: bool
) -> None:
    revoked: list[Collection[TopicPartition]] = []

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.append(partitions)

    consumer = await transport.subscribe(Subscription(topic.name, (topic,), on_revoke=on_revoke))
    await publish(transport, topic, 1)
    async with asyncio.timeout(_PATIENCE):
        (delivery,) = await consumer.fetch(1)
    polling = asyncio.create_task(consumer.fetch(1)) if fetching else None
    await asyncio.sleep(3)  # the handler: six poll intervals
    assert polling is None or not polling.done()
    delivery.ack()
    await consumer.flush()
    assert revoked == []
    assert await transport.lag(topic, topic.name) == 0
    await publish(transport, topic, 2)
    assert [each.message.body for each in await (polling or consumer.fetch(1))] == [b"2"]
    await consumer.close()


@pytest.mark.parametrize("fault", ["kill", "suspend"])
async def test_a_member_goes_on_when_its_broker_is_back(
    mortal: servers.Server, transport: KafkaTransport, topic: TopicSpec, fault: str
) -> None:
    consumer = await transport.subscribe(Subscription(topic.name, (topic,)))
    await publish(transport, topic, 1, 2)
    assert await read(consumer, 2) == [1, 2]
    await consumer.flush()
    fetching = asyncio.create_task(consumer.fetch(1))
    if fault == "kill":
        await asyncio.to_thread(mortal.kill)
        await until(lambda: consumer.health().trouble is not None)
        await asyncio.to_thread(mortal.start)
    else:
        await asyncio.to_thread(mortal.suspend)
        await until(lambda: consumer.health().trouble is not None)  # after 10 s without an answer
        await asyncio.to_thread(mortal.resume)
    ready = time.monotonic()
    other = KafkaTransport(BrokerUrl.parse(mortal.url), DriverOptions())
    await publish(other, topic, 3)
    await other.close()
    async with asyncio.timeout(_PATIENCE):
        assert [each.message.body for each in await fetching] == [b"3"]
    assert time.monotonic() - ready < 10
    await until(lambda: consumer.health().trouble is None)
    assert consumer.health().suspect == (), "who lives has not died"
    await consumer.close()
