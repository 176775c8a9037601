"""What the conformance suite does not ask of RabbitMQ: its own limits, third parties, faults of the broker."""

import asyncio
import itertools
import struct
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aio_pika
import pytest
from aiormq.abc import ChannelFrame
from pamqp.commands import Basic

from eventwire.errors import (
    Closed,
    InvalidEvent,
    PublishError,
    PublishFailed,
    PublishUnknown,
    TooLarge,
    TopicMismatch,
    TopicMissing,
    Unreachable,
    Unroutable,
)
from eventwire.message import Headers, Message, Receipt
from eventwire.transport import DriverOptions, Subscription, TopicPartition, TopicSpec
from eventwire.transports.amqp import AmqpTransport, frames
from eventwire.transports.amqp.consumer import AmqpConsumer
from eventwire.transports.amqp.session import AmqpDelivery
from eventwire.url import BrokerUrl
from tools import servers
from tools.servers import Server

pytestmark = pytest.mark.server

_numbers = itertools.count()


@pytest.fixture(scope="module")
def faulty() -> Iterator[Server]:
    """A server of our own, to kill and to freeze."""
    with servers.rabbitmq(private=True) as server:
        yield server


@pytest.fixture
async def transport(amqp_server: Server) -> AsyncIterator[AmqpTransport]:
    transport = made(amqp_server.url)
    yield transport
    await transport.close()


async def until(true: Callable[[], bool], within: float) -> None:
    """The broker tells nobody when it is done: ask."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def made(url: str, **options: object) -> AmqpTransport:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return AmqpTransport(BrokerUrl.parse(f"{url}?{query}" if query else url), DriverOptions())


def topic(**facts: Any) -> TopicSpec:
    return TopicSpec(f"it.{time.time_ns()}.{next(_numbers)}", **facts)


def to(spec: TopicSpec, identity: object, body: bytes | None = b"body", **rest: Any) -> Message:
    return Message(spec.name, body, id=str(identity), **rest)


async def joined(transport: AmqpTransport, spec: TopicSpec, **facts: Any) -> AmqpConsumer:
    await transport.declare([spec], ["g"])
    return await transport.subscribe(Subscription("g", (spec,), **facts))


async def read(consumer: AmqpConsumer, count: int, *, ack: bool = True) -> list[AmqpDelivery]:
    found: list[AmqpDelivery] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await consumer.fetch(count - len(found))
    for delivery in found if ack else ():
        delivery.ack()
    return found


async def raw_channel(server: Server) -> tuple[aio_pika.abc.AbstractConnection, Any]:
    connection = await aio_pika.connect(server.url)
    channel = await connection.channel()
    return connection, await channel.get_underlay_channel()


def by_name(headers: Headers) -> Headers:
    """The values of one name in their order."""
    return tuple(sorted(headers, key=lambda pair: pair[0]))


HOSTILE = [
    (("plain", b"text"), ("bytes", b"\x00\xff\xfe"), ("empty", b"")),
    (("", b"no name"), ("n" * 255, b"x"), ("crlf\r\nX-Evil: 1", b"a\r\nb: c"), ("nul\0", b"\0")),
    (("twice", b"1"), ("twice", b"\xff"), ("twice", b"")),
    (("über", "grüße".encode()), ("x-delivery-count", b"99"), ("x-death", b"forged")),
    tuple((f"h{number}", b"v") for number in range(2000)),
    (("cloudEvents_type", b"\xff\xfe"), ("cloudEvents_id", b"1")),
    (("large", b"x" * 32_000),),
]


@pytest.mark.parametrize("headers", HOSTILE, ids=range(len(HOSTILE)))
async def test_any_headers_come_back(transport: AmqpTransport, headers: Any) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    sent = to(spec, "1", headers=headers, key=b"\x00\xffkey", content_type="application/protobuf")
    await transport.publish(spec, sent)
    [delivery] = await read(consumer, 1)
    got = delivery.message
    got.headers, sent.headers = by_name(got.headers), by_name(sent.headers)  # RabbitMQ 4 sorts them by name
    assert got == sent
    assert delivery.attempt == 1


async def test_bodies_of_no_one_and_many_frames_come_back(transport: AmqpTransport) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    bodies = [None, b"", b"x", b"y" * 131_064, b"z" * 131_065, bytes(range(256)) * 4096]
    outcomes = await transport.publish_many(spec, [to(spec, i, body) for i, body in enumerate(bodies)])
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert [delivery.message.body for delivery in await read(consumer, len(bodies))] == bodies


async def test_what_does_not_fit_is_refused_and_the_connection_stays(transport: AmqpTransport) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    many = tuple((f"{number:05}", b"") for number in range(12_000))
    refused = [
        (TooLarge, to(spec, 1, headers=(("h", b"x" * 40_000),))),
        (TooLarge, to(spec, 2, headers=many)),
        (TooLarge, to(spec, 3, b"x" * (16 * 1024 * 1024 + 1))),
        (InvalidEvent, to(spec, 4, headers=(("cloudEvents_type", b"t" * 256),))),
        (InvalidEvent, to(spec, 5, headers=(("n" * 256, b""),))),
        (InvalidEvent, to(spec, 6, headers=(("eventwire_key", b""),))),
        (InvalidEvent, to(spec, "i" * 256)),
    ]
    outcomes = await transport.publish_many(spec, [message for _, message in refused] + [to(spec, "good")])
    assert [type(outcome) for outcome in outcomes] == [*(error for error, _ in refused), Receipt]
    [delivery] = await read(consumer, 1)
    assert delivery.message.id == "good"


async def test_headers_of_third_parties_are_read(transport: AmqpTransport, amqp_server: Server) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    connection, channel = await raw_channel(amqp_server)
    table: dict[str, Any] = {
        "int": -7,
        "big": 2**40,
        "float": 1.5,
        "yes": True,
        "none": None,
        "date": datetime(2026, 1, 2, tzinfo=UTC),
        "decimal": Decimal("1.25"),
        "table": {"inner": [1, {"deep": bytearray(b"\xff")}]},
        "array": ["a", bytearray(b"\xfe"), 3],
        "nothing": [],
    }
    properties = Basic.Properties(headers=table)
    await channel.basic_publish(b"theirs", exchange=spec.name, routing_key="any", properties=properties)
    await channel.basic_publish(b"bare", exchange=spec.name, properties=Basic.Properties(message_id="m"))
    await connection.close()
    first, bare = await read(consumer, 2)
    assert dict(first.message.headers) == {
        "int": b"-7",
        "big": b"1099511627776",
        "float": b"1.5",
        "yes": b"true",
        "none": b"",
        "date": b"2026-01-02T00:00:00+00:00",
        "decimal": b"1.25",
        "table": b'{"inner": [1, {"deep": "\\\\xff"}]}',
        "array": b"3",
        "nothing": b"[]",
    }
    assert [value for name, value in first.message.headers if name == "array"] == [b"a", b"\xfe", b"3"]
    assert (bare.message.body, bare.message.key, bare.message.headers) == (b"bare", None, ())


async def test_a_message_that_the_client_cannot_decode_stops_nobody(
    transport: AmqpTransport, amqp_server: Server
) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    connection, channel = await raw_channel(amqp_server)
    table = frames.table(frames.short(b"when") + b"T" + struct.pack(">Q", 2**63))
    properties = frames.properties(table, b"", b"1", b"")
    data = frames.publish(
        channel.number,
        spec.name.encode(),
        b"p0.\xff",
        properties,
        b"poison",
        mandatory=False,
        frame_max=131_072,
    )
    await channel.write_queue.put(ChannelFrame(data, should_close=False))
    await channel.queue_declare(f"{spec.name}.g", passive=True)  # answered after it
    await transport.publish(spec, to(spec, 2))
    got = [*await read(consumer, 1), *await read(consumer, 1)]
    poison, after = sorted(got, key=lambda delivery: delivery.message.id)
    assert (poison.message.body, after.message.id) == (b"poison", "2")
    assert b"whenT" in (poison.message.header("eventwire_undecodable") or b"")
    await connection.close()


async def test_nobody_to_route_to(transport: AmqpTransport, amqp_server: Server) -> None:
    spec = topic()
    with pytest.raises(PublishFailed, match=r"not declared.*exchange it\."):
        await transport.publish(spec, to(spec, 1))
    await transport.declare([spec], [])
    with pytest.raises(Unroutable, match="no consumer group") as caught:
        await transport.publish(spec, to(spec, 1))
    assert caught.value.id == "1"
    lenient = made(amqp_server.url, unrouted="allow")
    assert isinstance(await lenient.publish(spec, to(spec, 1)), Receipt)
    await lenient.close()


async def test_a_returned_message_is_told_from_another_of_its_id(transport: AmqpTransport) -> None:
    unrouted, routed = topic(), topic()
    await transport.declare([unrouted], [])
    await transport.declare([routed], ["g"])
    specs = [unrouted, routed] * 20
    outcomes = await asyncio.gather(
        *(transport.publish(spec, to(spec, "same")) for spec in specs), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Unroutable, Receipt] * 20


async def test_a_missing_exchange_costs_nobody_else_his_channel(transport: AmqpTransport) -> None:
    spec, missing = topic(), topic()
    await transport.declare([spec], ["g"])
    outcomes = await asyncio.gather(
        *(transport.publish(each, to(each, n)) for n in range(50) for each in (spec, missing)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Receipt, PublishFailed] * 50


async def test_an_exchange_deleted_underway_is_told_and_the_channel_replaced(
    transport: AmqpTransport, amqp_server: Server
) -> None:
    gone, kept = topic(), topic()
    await transport.declare([gone, kept], ["g"])
    await transport.publish(gone, to(gone, 1))
    connection, channel = await raw_channel(amqp_server)
    await channel.exchange_delete(gone.name)
    await connection.close()
    outcomes = await transport.publish_many(gone, [to(gone, n) for n in range(10)])
    assert all(isinstance(outcome, PublishUnknown) for outcome in outcomes)
    assert isinstance(await transport.publish(kept, to(kept, 2)), Receipt)
    with pytest.raises(PublishFailed, match="not declared"):
        await transport.publish(gone, to(gone, 3))


async def test_missing_and_mismatched(transport: AmqpTransport) -> None:
    spec = topic(partitions=2, ordered=True)
    with pytest.raises(TopicMissing) as caught:
        await transport.check([spec], ["g"])
    for name in (f"exchange {spec.name}", f"queue {spec.name}.g.p0", f"queue {spec.name}.g.p1"):
        assert name in str(caught.value)
    assert "declare it: `Bus(url, declare=True)`" in str(caught.value)
    with pytest.raises(TopicMissing):
        await transport.subscribe(Subscription("g", (spec,)))
    await transport.declare([spec], ["g"])
    await transport.check([spec], ["g"])
    with pytest.raises(TopicMismatch, match="has 2 partitions and is declared with 3: its keys are ordered"):
        await transport.declare([TopicSpec(spec.name, partitions=3, ordered=True)], ["g"])
    clash = TopicSpec(f"{spec.name}.g.p0", queue=True)
    with pytest.raises(TopicMismatch):
        await transport.declare([clash], [])


async def test_a_queue_topic_keeps_what_nobody_subscribed_to(transport: AmqpTransport) -> None:
    spec = topic(queue=True)
    await transport.declare([spec], [])
    await transport.publish(spec, to(spec, 1))
    consumer = await transport.subscribe(Subscription("whoever", (spec,)))
    assert [delivery.message.id for delivery in await read(consumer, 1)] == ["1"]


async def test_a_delayed_topic_waits_at_the_broker(transport: AmqpTransport) -> None:
    spec = topic(queue=True, delay=1.0)
    with pytest.raises(TopicMissing, match=rf"{spec.name}\.waiting"):
        await transport.check([spec], ["g"])
    await transport.declare([spec], [])
    await transport.declare([spec], ["g"])
    await transport.check([spec], ["g"])
    consumer = await transport.subscribe(Subscription("g", (spec,)))
    began = time.monotonic()
    sent = [to(spec, n, key=b"k", headers=(("h", b"\xff"), ("h", b"2"))) for n in range(3)]
    await transport.publish_many(spec, sent)
    assert await transport.lag(spec, "g") == 3
    got = await read(consumer, 3)
    assert time.monotonic() - began >= 1.0
    assert [delivery.message for delivery in got] == sent
    assert {delivery.attempt for delivery in got} == {1}
    with pytest.raises(TopicMismatch):
        await transport.declare([TopicSpec(spec.name, queue=True, delay=2.0)], [])


async def test_lag_counts_what_waits(transport: AmqpTransport) -> None:
    spec = topic(partitions=3, ordered=True)
    with pytest.raises(TopicMissing):
        await transport.lag(spec, "g")
    await transport.declare([spec], ["g"])
    await transport.publish_many(spec, [to(spec, n, key=b"%d" % n) for n in range(20)])
    assert await transport.lag(spec, "g") == 20
    consumer = await transport.subscribe(Subscription("g", (spec,)))
    held = await read(consumer, 20, ack=False)
    assert await transport.lag(spec, "g") == 20
    for delivery in held[:15]:
        delivery.ack()
    assert await transport.lag(spec, "g") == 5


async def test_ping(transport: AmqpTransport, unused_tcp_port: int) -> None:
    await transport.ping()
    gone = made(f"amqp://127.0.0.1:{unused_tcp_port}/", connect_timeout=0.3)
    with pytest.raises(Unreachable):
        await gone.ping()
    await gone.close()


async def test_a_key_stays_in_order_between_two_members(
    transport: AmqpTransport, amqp_server: Server
) -> None:
    spec = topic(partitions=8, ordered=True)
    await transport.declare([spec], ["g"])
    other = made(amqp_server.url)
    members = await asyncio.gather(
        *(each.subscribe(Subscription("g", (spec,))) for each in (transport, other))
    )
    seen: dict[bytes, list[int]] = {}
    owners: dict[int, set[int]] = {}

    async def consume(number: int, member: AmqpConsumer) -> None:
        while True:
            for delivery in await member.fetch(10):
                seen.setdefault(delivery.message.key or b"", []).append(int(delivery.message.id))
                owners.setdefault(delivery.partition, set()).add(number)
                delivery.ack()

    tasks = [asyncio.create_task(consume(number, member)) for number, member in enumerate(members)]
    await transport.publish_many(spec, [to(spec, n, key=b"k%d" % (n % 40)) for n in range(2000)])
    await until(lambda: sum(map(len, seen.values())) >= 2000, 20)
    for task in tasks:
        task.cancel()
    await other.close()
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert all(len(members) == 1 for members in owners.values())


async def test_acks_are_sent_together_and_the_rest_comes_again(
    transport: AmqpTransport, amqp_server: Server
) -> None:
    spec = topic()
    first = await joined(transport, spec)
    await transport.publish_many(spec, [to(spec, n) for n in range(100)])
    for delivery in await read(first, 100, ack=False):
        if int(delivery.message.id) < 75 or int(delivery.message.id) % 5:
            delivery.ack()
    await first.close()
    second = await transport.subscribe(Subscription("g", (spec,)))
    again = await read(second, 5)
    assert [(int(delivery.message.id), delivery.attempt) for delivery in again] == [
        (n, 2) for n in range(75, 100, 5)
    ]
    await second.close()
    connection, channel = await raw_channel(amqp_server)
    assert (await channel.queue_declare(f"{spec.name}.g", passive=True)).message_count == 0
    await connection.close()


async def test_what_a_dead_member_held_goes_to_another(transport: AmqpTransport, amqp_server: Server) -> None:
    spec = topic(partitions=1, ordered=True)
    dying = made(amqp_server.url)
    await transport.declare([spec], ["g"])
    held = await dying.subscribe(Subscription("g", (spec,)))
    heir = await transport.subscribe(Subscription("g", (spec,)))
    await transport.publish_many(spec, [to(spec, n, key=b"k") for n in range(5)])
    late = await read(held, 5, ack=False)
    await dying.close()
    late[0].ack()
    late[1].release()
    got = await read(heir, 5)
    assert [(delivery.message.id, delivery.attempt) for delivery in got] == [(str(n), 2) for n in range(5)]


async def test_a_deleted_queue_is_told(transport: AmqpTransport, amqp_server: Server) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    connection, channel = await raw_channel(amqp_server)
    await channel.queue_delete(f"{spec.name}.g", if_unused=False)
    await connection.close()
    with pytest.raises(TopicMissing, match=r"\.g"):
        async with asyncio.timeout(10):
            await consumer.fetch(1)


async def test_refused_credentials_and_vhosts(amqp_server: Server) -> None:
    url = BrokerUrl.parse(amqp_server.url)
    for text in (f"amqp://guest:s3cret@{url.hosts[0]}/", f"amqp://guest:guest@{url.hosts[0]}/no-such"):
        transport = made(text)
        with pytest.raises(Unreachable) as caught:
            await transport.connect()
        assert str(url.hosts[0]) in str(caught.value)
        assert "s3cret" not in repr(caught.value)
        await transport.close()


async def test_a_vhost_that_is_refused_is_named(amqp_server: Server) -> None:
    transport = made(f"amqp://guest:guest@{BrokerUrl.parse(amqp_server.url).hosts[0]}/no-such")
    with pytest.raises(Unreachable, match="RabbitMQ refused vhost `no-such`"):
        await transport.connect()
    await transport.close()


@pytest.mark.parametrize("name", ["a/b! ~é#", "amq.topic", "", "\n", "n" * 300])
@pytest.mark.parametrize("ordered", [True, False])
async def test_any_name_will_do(transport: AmqpTransport, name: str, ordered: bool) -> None:
    spec = TopicSpec(name + topic().name, ordered=ordered)
    for group in (f"{name}.g", "p0", "undelivered"):
        await transport.declare([spec], [group])
        consumer = await transport.subscribe(Subscription(group, (spec,)))
        await transport.publish(spec, to(spec, 1, group.encode(), key=b"k"))
        (delivery,) = await read(consumer, 1)
        assert (delivery.message.topic, delivery.message.body) == (spec.name, group.encode())
        await consumer.close()


async def test_the_next_host_is_tried(amqp_server: Server, unused_tcp_port: int) -> None:
    host = BrokerUrl.parse(amqp_server.url).hosts[0]
    transport = made(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port},{host}/")
    await transport.connect()
    await transport.close()


async def test_closed_is_closed(transport: AmqpTransport) -> None:
    spec = topic()
    consumer = await joined(transport, spec)
    waiting = asyncio.create_task(consumer.fetch(1))
    await asyncio.sleep(0)
    await transport.close()
    with pytest.raises(Closed):
        await waiting
    with pytest.raises(Closed):
        await transport.publish(spec, to(spec, 1))
    with pytest.raises(Closed):
        await transport.subscribe(Subscription("g", (spec,)))
    await transport.close()


class Log:
    """Publishers that never give up, and what became of their messages."""

    def __init__(self, transport: AmqpTransport, spec: TopicSpec) -> None:
        self.confirmed, self.unknown, self.failed = set[str](), set[str](), set[str]()
        self.stop = asyncio.Event()
        self._transport = transport
        self._spec = spec

    async def publish(self, worker: int) -> None:
        for number in itertools.count():
            message = to(self._spec, f"{worker}-{number}", key=b"%d" % worker)
            (await self._outcome(message)).add(message.id)
            if self.stop.is_set():
                return

    async def _outcome(self, message: Message) -> set[str]:
        try:
            await self._transport.publish(self._spec, message)
        except PublishUnknown:
            return self.unknown
        except PublishError:
            return self.failed
        return self.confirmed


async def test_a_broker_that_dies_and_returns(faulty: Server) -> None:
    """Killed while publishing and consuming: what was confirmed arrives, and everything goes on by itself."""
    transport = made(faulty.url)
    spec = topic(partitions=4, ordered=True)
    revoked: list[int] = []
    seen: set[str] = set()

    async def on_revoke(partitions: Collection[TopicPartition]) -> None:
        revoked.append(len(partitions))

    async def consume(consumer: AmqpConsumer) -> None:
        while True:
            for delivery in await consumer.fetch(100):
                seen.add(delivery.message.id)
                delivery.ack()

    reader = asyncio.create_task(consume(await joined(transport, spec, on_revoke=on_revoke)))
    await asyncio.sleep(1.5)  # Server.kill: a younger quorum queue does not outlive it
    log = Log(transport, spec)
    publishers = [asyncio.create_task(log.publish(worker)) for worker in range(20)]
    await until(lambda: len(log.confirmed) > 200, 10)
    await asyncio.to_thread(faulty.kill)
    before = len(log.confirmed)
    await asyncio.to_thread(faulty.start)
    await until(lambda: len(log.confirmed) > before + 500, 15)
    log.stop.set()
    await asyncio.gather(*publishers)
    await until(lambda: log.confirmed <= seen, 15)
    reader.cancel()
    assert log.unknown
    assert set(revoked) == {4}
    assert seen <= log.confirmed | log.unknown
    await transport.close()


async def test_a_frozen_broker_delays_close_for_seconds_only(faulty: Server) -> None:
    transport = made(faulty.url, connect_timeout=1)
    spec = topic()
    consumer = await joined(transport, spec)
    await transport.publish(spec, to(spec, 1))
    [delivery] = await read(consumer, 1, ack=False)
    faulty.suspend()
    try:
        delivery.ack()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await transport.publish(spec, to(spec, 2))
        other = made(faulty.url, connect_timeout=0.3)
        with pytest.raises(Unreachable, match="no answer within"):
            await other.connect()
        await other.close()
        began = time.monotonic()
        await transport.close()
        assert time.monotonic() - began < 6
    finally:
        faulty.resume()


async def test_close_without_a_broker(unused_tcp_port: int) -> None:
    transport = made(f"amqp://guest:canary@127.0.0.1:{unused_tcp_port}/v", connect_timeout=0.5)
    with pytest.raises(Unreachable, match=rf"amqp://127\.0\.0\.1:{unused_tcp_port}/v") as caught:
        await transport.connect()
    assert "canary" not in str(caught.value)
    spec = topic()
    began = time.monotonic()
    publishes = (transport.publish(spec, to(spec, n)) for n in range(20))
    outcomes = await asyncio.gather(*publishes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PublishFailed] * 20
    assert "no connection" in str(outcomes[0])
    assert time.monotonic() - began < 5  # one connect timeout for all, not one for each
    await transport.close()


async def test_close_ends_the_wait_for_a_connection(unused_tcp_port: int) -> None:
    transport = made(f"amqp://127.0.0.1:{unused_tcp_port}/", connect_timeout=60)
    spec = topic()
    publishing = asyncio.create_task(transport.publish(spec, to(spec, 1)))
    await asyncio.sleep(0.1)
    await transport.close()
    with pytest.raises(PublishFailed, match="not sent"):
        await asyncio.wait_for(publishing, 5)
