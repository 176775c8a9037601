"""Bar 6: Kafka's answers chosen one by one, on librdkafka's mock cluster."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator

import pytest

from eventwire.bus import Bus
from eventwire.errors import PublishError
from eventwire.message import Message
from eventwire.transport import DriverOptions, Subscription, TopicSpec
from eventwire.transports.kafka import KafkaTransport
from eventwire.transports.kafka.consumer import KafkaConsumer
from eventwire.url import BrokerUrl
from tests.chaos.mock_cluster import Answer, Api, MockCluster, mock_cluster
from tests.chaos.report import Figures
from tests.chaos.switches import sized
from tests.integration.kafka_transformer import numbers

_PATIENCE = 60.0
_TOPIC = TopicSpec("t")
_DOWN = sized(3.0, 20.0)
_PUBLISH_TIMEOUT = sized(2.0, 5.0)
_CLOSE_WITHIN = 10.0
_EVENTS = 200
_OPTIONS = "?session_timeout_ms=1000&heartbeat_interval_ms=100&rebalance_timeout_ms=2000"
"""Short: who is told that it is unknown joins as another member, and the mock waits for the old one to expire."""

_RETRIED_PRODUCE = (
    Answer.LEADER_NOT_AVAILABLE,
    Answer.NOT_LEADER,
    Answer.REQUEST_TIMED_OUT,
    Answer.NOT_ENOUGH_REPLICAS,
    Answer.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    Answer.UNKNOWN_TOPIC_OR_PARTITION,
)
_FATAL_PRODUCE = (
    Answer.CORRUPT_MESSAGE,
    Answer.OUT_OF_ORDER_SEQUENCE_NUMBER,
    Answer.INVALID_PRODUCER_EPOCH,
    Answer.UNKNOWN_PRODUCER_ID,
    Answer.TOPIC_AUTHORIZATION_FAILED,
    Answer.CLUSTER_AUTHORIZATION_FAILED,
)
_GROUP = (
    Answer.COORDINATOR_LOAD_IN_PROGRESS,
    Answer.COORDINATOR_NOT_AVAILABLE,
    Answer.NOT_COORDINATOR,
    Answer.ILLEGAL_GENERATION,
    Answer.UNKNOWN_MEMBER_ID,
    Answer.REBALANCE_IN_PROGRESS,
)
_JOIN = (
    Answer.COORDINATOR_LOAD_IN_PROGRESS,
    Answer.COORDINATOR_NOT_AVAILABLE,
    Answer.NOT_COORDINATOR,
    Answer.UNKNOWN_MEMBER_ID,
)
_TIMES = (1, 2, 3)
_GROUP_TIMES = sized((2,), _TIMES)


@pytest.fixture
def cluster() -> Generator[MockCluster]:
    with mock_cluster() as made:
        made.topic(_TOPIC.name)
        yield made


@pytest.fixture
async def transport(cluster: MockCluster) -> AsyncGenerator[KafkaTransport]:
    made = KafkaTransport(BrokerUrl.parse(cluster.url + _OPTIONS), DriverOptions())
    yield made
    began = time.monotonic()
    await made.close()
    assert time.monotonic() - began <= _CLOSE_WITHIN


def message(number: int) -> Message:
    return Message(_TOPIC.name, b"%d" % number, b"k")


async def read(consumer: KafkaConsumer, wanted: set[int]) -> list[int]:
    """Read and settle until all of these came."""
    found: list[int] = []
    async with asyncio.timeout(_PATIENCE):
        while wanted - set(found):
            for delivery in await consumer.fetch(50):
                found.append(int(delivery.message.body or b""))
                delivery.ack()
    return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not true():  # noqa: ASYNC110 - the cluster decides when
            await asyncio.sleep(0.02)


async def close(consumer: KafkaConsumer) -> None:
    began = time.monotonic()
    await consumer.close()
    assert time.monotonic() - began <= _CLOSE_WITHIN


@pytest.mark.bar(6, "each retriable error of Produce, 1 to 3 times")
async def test_a_retriable_error_of_produce_is_not_seen(
    cluster: MockCluster, transport: KafkaTransport, figures: Figures
) -> None:
    published = 0
    for answer in _RETRIED_PRODUCE:
        for times in _TIMES:
            cluster.answer(Api.PRODUCE, [answer] * times)
            async with asyncio.timeout(_PUBLISH_TIMEOUT):
                receipt = await transport.publish(_TOPIC, message(published))
            assert receipt.offset == published, f"{answer.name} x {times}"
            published += 1
    consumer = await transport.subscribe(Subscription("g", (_TOPIC,)))
    assert await read(consumer, set(range(published))) == list(range(published)), "each once"
    await close(consumer)
    figures.events, figures.bound, figures.faults = published, 0, f"{published * 2} errors"


@pytest.mark.bar(6, "each fatal error of Produce")
async def test_a_fatal_error_of_produce_replaces_the_producer_once(
    cluster: MockCluster, transport: KafkaTransport, caplog: pytest.LogCaptureFixture, figures: Figures
) -> None:
    caplog.set_level(logging.WARNING, "eventwire")
    confirmed: set[int] = set()
    for number, answer in enumerate(_FATAL_PRODUCE):
        cluster.answer(Api.PRODUCE, [answer])
        caplog.clear()
        with pytest.raises(PublishError):
            async with asyncio.timeout(_PUBLISH_TIMEOUT):
                await transport.publish(_TOPIC, message(2 * number))
        await transport.publish(_TOPIC, message(2 * number + 1))
        confirmed.add(2 * number + 1)
        replaced = [record for record in caplog.records if "producer is replaced" in record.getMessage()]
        assert len(replaced) == 1, answer.name
    consumer = await transport.subscribe(Subscription("g", (_TOPIC,)))
    await read(consumer, confirmed)
    await close(consumer)
    figures.events, figures.faults = len(confirmed), f"{len(_FATAL_PRODUCE)} errors"


@pytest.mark.parametrize(
    ("api", "answers"),
    [(Api.OFFSET_COMMIT, _GROUP), (Api.HEARTBEAT, _GROUP[1:]), (Api.JOIN_GROUP, _JOIN)],
    ids=["OffsetCommit", "Heartbeat", "JoinGroup"],
)
@pytest.mark.bar(6, "each retriable error of a group's requests, 1 to 3 times")
async def test_an_error_of_the_group_loses_nothing_and_ends_nothing(
    cluster: MockCluster, transport: KafkaTransport, api: Api, answers: tuple[Answer, ...], figures: Figures
) -> None:
    number = 0
    consumer = await transport.subscribe(Subscription("g", (_TOPIC,), commit_interval=0.02))
    for answer in answers:
        for times in _GROUP_TIMES:
            if api is Api.JOIN_GROUP:
                await close(consumer)
            cluster.answer(api, [answer] * times)
            if api is Api.JOIN_GROUP:
                consumer = await transport.subscribe(Subscription("g", (_TOPIC,), commit_interval=0.02))
            await transport.publish(_TOPIC, message(number))
            await read(consumer, {number})
            number += 1
    assert consumer.health().trouble is None
    async with asyncio.timeout(_PATIENCE):
        while await transport.lag(_TOPIC, "g"):  # noqa: ASYNC110 - some later commit carries it
            await asyncio.sleep(0.05)
    assert consumer.health().suspect == ()
    await close(consumer)
    figures.events, figures.faults = number, f"{len(answers) * sum(_GROUP_TIMES)} errors of {api.name}"


@pytest.mark.bar(6, "the broker is down while an idempotent producer publishes")
async def test_a_broker_that_is_down_keeps_no_publish_and_no_close_waiting(
    cluster: MockCluster, transport: KafkaTransport, figures: Figures
) -> None:
    topic = numbers("numbers")
    cluster.topic(topic.name, topic.partitions)
    confirmed: set[int] = set()
    slowest = 0.0

    async def publish(bus: Bus, number: int) -> None:
        nonlocal slowest
        began = time.monotonic()
        try:
            await bus.publish(topic, number)
            confirmed.add(number)
        except PublishError:
            pass
        slowest = max(slowest, time.monotonic() - began)

    await transport.publish(_TOPIC, message(0))
    async with Bus(cluster.url, publish_timeout=_PUBLISH_TIMEOUT) as bus:
        await publish(bus, 0)
        publishing = [asyncio.create_task(publish(bus, number)) for number in range(1, _EVENTS // 2)]
        await asyncio.sleep(0)
        cluster.down()
        publishing += [asyncio.create_task(publish(bus, number)) for number in range(_EVENTS // 2, _EVENTS)]
        waiting = asyncio.create_task(transport.publish(_TOPIC, message(1)))
        await asyncio.sleep(0)
        began = time.monotonic()
        await transport.close()
        assert time.monotonic() - began <= _CLOSE_WITHIN
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(max(0.0, _DOWN - (time.monotonic() - began)))  # as long as the fault lasts
        cluster.up()
        await asyncio.gather(*publishing)
        while _EVENTS not in confirmed:
            await publish(bus, _EVENTS)
    assert slowest <= _PUBLISH_TIMEOUT + 1
    reading = KafkaTransport(BrokerUrl.parse(cluster.url), DriverOptions())
    consumer = await reading.subscribe(Subscription("g", (TopicSpec(topic.name),)))
    await read(consumer, confirmed)
    await close(consumer)
    await reading.close()
    figures.events, figures.faults = _EVENTS, f"{_DOWN:g} s"
    figures.note(f"slowest publish {slowest:.1f} s of {_PUBLISH_TIMEOUT:g}")
