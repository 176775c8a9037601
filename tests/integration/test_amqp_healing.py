"""Consumers of RabbitMQ that lose what they read from, and read on by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection

import aio_pika
import pytest

from eventwire.errors import TopicMissing
from eventwire.message import Message
from eventwire.transport import DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.amqp import AmqpTransport, frames, watch
from eventwire.transports.amqp.consumer import AmqpConsumer
from eventwire.url import BrokerUrl
from tests.integration.amqp_proxy import Proxy
from tools.servers import Server

pytestmark = pytest.mark.server


@pytest.fixture
async def proxy(amqp_server: Server) -> AsyncIterator[Proxy]:
    async with Proxy.to(amqp_server.url) as proxy:
        yield proxy


@pytest.fixture
async def transport(amqp_server: Server) -> AsyncIterator[AmqpTransport]:
    transport = AmqpTransport(BrokerUrl.parse(amqp_server.url), DriverOptions())
    yield transport
    await transport.close()


@pytest.fixture(params=["ordered", "unordered"])
async def spec(request: pytest.FixtureRequest, transport: AmqpTransport) -> TopicSpec:
    spec = TopicSpec(f"healing.{time.time_ns()}", ordered=request.param == "ordered")
    await transport.declare([spec], ["g"])
    return spec


class Reader:
    """A member of group `g` that reads by way of the proxy and acks after a turn of the loop."""

    def __init__(self, consumer: AmqpConsumer, revoked: list[TopicPartition]) -> None:
        self.consumer = consumer
        self.revoked = revoked
        self.seen: list[tuple[str, int]] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            for delivery in await self.consumer.fetch(50):
                self.seen.append((delivery.message.id, delivery.deaths))
                await asyncio.sleep(0)
                delivery.ack()

    @property
    def ids(self) -> set[str]:
        return {identity for identity, _ in self.seen}

    async def reached(self, count: int) -> None:
        await until(lambda: len(self.ids) >= count)

    async def failure(self) -> BaseException | None:
        await asyncio.wait({self._task}, timeout=15)
        return self._task.exception()

    def end(self) -> None:
        self._task.cancel()


@pytest.fixture
async def reader(proxy: Proxy, spec: TopicSpec) -> AsyncIterator[Reader]:
    url = BrokerUrl.parse(f"{proxy.url}?prefetch=20&heartbeat=1")
    transport = AmqpTransport(url, DriverOptions())
    revoked: list[TopicPartition] = []

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.extend(partitions)

    subscription = Subscription("g", (spec,), on_revoke=on_revoke, commit_interval=0.01)
    reader = Reader(await transport.subscribe(subscription), revoked)
    yield reader
    reader.end()
    proxy.thaw()
    await transport.close()


async def publish(transport: AmqpTransport, spec: TopicSpec, first: int, count: int = 100) -> set[str]:
    messages = [Message(spec.name, b"body", b"k", id=f"m{n}") for n in range(first, first + count)]
    await transport.publish_many(spec, messages)
    return {message.id for message in messages}


async def until(true: Callable[[], bool], within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.01)


async def test_cut_connections_lose_nothing_and_charge_nobody(
    proxy: Proxy, transport: AmqpTransport, spec: TopicSpec, reader: Reader
) -> None:
    sent: set[str] = set()
    for turn in range(4):
        sent |= await publish(transport, spec, turn * 100)
        await reader.reached(len(sent) - 99)
        await proxy.cut()
    await until(lambda: reader.ids == sent)
    assert {deaths for _, deaths in reader.seen} == {0}
    await until(lambda: reader.consumer.health().rebuilt >= 3)
    assert set(reader.revoked) == {TopicPartition(spec.name, 0)}
    assert reader.consumer.health().trouble is None


async def test_what_another_had_in_hand_comes_before_what_is_new(
    proxy: Proxy, transport: AmqpTransport
) -> None:
    spec = TopicSpec(f"healing.{time.time_ns()}", ordered=True)
    await transport.declare([spec], ["g"])
    lost = AmqpTransport(BrokerUrl.parse(f"{proxy.url}?prefetch=20"), DriverOptions())
    await publish(transport, spec, 0, 200)
    await (await lost.subscribe(Subscription("g", (spec,)))).fetch(5)
    await proxy.cut()
    await lost.close()
    heir = await transport.subscribe(Subscription("g", (spec,), commit_interval=0.01))
    seen: list[str] = []
    async with asyncio.timeout(20):
        while len(seen) < 200:
            for delivery in await heir.fetch(500):
                seen.append(delivery.message.id)
                delivery.ack()
    assert seen == [f"m{n}" for n in range(200)]


async def test_a_lost_channel_is_opened_again(
    proxy: Proxy, transport: AmqpTransport, spec: TopicSpec, reader: Reader
) -> None:
    """PRECONDITION_FAILED, here for an unknown tag, is also what the broker's consumer timeout of 30 minutes brings."""
    sent = await publish(transport, spec, 0)
    await until(lambda: reader.ids == sent)
    for channel in (1, 2, 3):
        proxy.inject(frames.ack(channel, 4711))
    await until(lambda: reader.consumer.health().rebuilt == 1)
    sent |= await publish(transport, spec, 100)
    await until(lambda: reader.ids == sent)


async def test_a_queue_that_is_deleted_and_declared_again_is_read_on(
    transport: AmqpTransport, amqp_server: Server, spec: TopicSpec, reader: Reader
) -> None:
    sent = await publish(transport, spec, 0)
    await until(lambda: reader.ids == sent)
    await asyncio.sleep(0.1)  # the last acks: the queue takes them with it
    await delete(amqp_server, f"{spec.name}.g.p0" if spec.ordered else f"{spec.name}.g")
    await until(lambda: reader.consumer.health().trouble is not None)
    again = AmqpTransport(BrokerUrl.parse(amqp_server.url), DriverOptions())
    await again.declare([spec], ["g"])
    sent |= await publish(again, spec, 100)
    await until(lambda: reader.ids == sent)
    assert reader.consumer.health().connected
    await again.close()


async def test_a_queue_that_stays_away_is_told_within_seconds(
    amqp_server: Server, spec: TopicSpec, reader: Reader
) -> None:
    await delete(amqp_server, f"{spec.name}.g.p0" if spec.ordered else f"{spec.name}.g")
    began = time.monotonic()
    assert isinstance(await reader.failure(), TopicMissing)
    assert time.monotonic() - began < 10
    assert f"{spec.name}.g" in (reader.consumer.health().trouble or "")


async def test_a_consumer_that_silently_gets_nothing_is_made_anew(
    proxy: Proxy,
    transport: AmqpTransport,
    spec: TopicSpec,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "TICK", 0.1)
    monkeypatch.setattr(watch, "LOOK", 0.2)
    sent = await publish(transport, spec, 0)
    await until(lambda: reader.ids == sent)
    proxy.swallowing = True
    sent |= await publish(transport, spec, 100)
    await until(lambda: reader.consumer.health().trouble is not None)
    assert "though messages wait" in (reader.consumer.health().trouble or "")
    proxy.swallowing = False
    await until(lambda: reader.ids == sent)
    await until(lambda: reader.consumer.health().lag == 0)
    rebuilt = reader.consumer.health().rebuilt
    await asyncio.sleep(1)  # five looks: who is idle is left alone
    assert reader.consumer.health().rebuilt == rebuilt


async def test_a_connection_that_answers_nothing_is_given_up(
    proxy: Proxy, transport: AmqpTransport, spec: TopicSpec, reader: Reader
) -> None:
    sent = await publish(transport, spec, 0)
    await until(lambda: reader.ids == sent)
    proxy.freeze()
    await until(lambda: reader.consumer.health().trouble is not None)
    proxy.thaw()
    sent |= await publish(transport, spec, 100)
    await until(lambda: reader.ids == sent)
    assert {deaths for _, deaths in reader.seen} == {0}


async def delete(server: Server, queue: str) -> None:
    connection = await aio_pika.connect(server.url)
    channel = await (await connection.channel()).get_underlay_channel()
    await channel.queue_delete(queue, if_unused=False)
    await connection.close()
