"""Bar 10: hostile headers come back as they were or are refused here, by a typed error; and they forge nothing."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.errors import PublishError, PublishFailed
from eventwire.group import Policies, dead_letter_spec
from eventwire.message import Message, Receipt
from eventwire.policy import BreakerPolicy, Ordering, RetryMode, RetryPolicy
from eventwire.route import spec_of
from eventwire.topic import Topic
from eventwire.transport import Consumer, Subscription, TopicSpec, Transport
from eventwire.url import BrokerUrl
from eventwire.worker import Worker
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos import hostile
from tests.chaos.broker import transport_of
from tests.chaos.handlers import handler_of
from tests.chaos.holdings import connections
from tests.chaos.report import Figures
from tests.chaos.switches import sized
from tests.chaos.waiting import until

MESSAGES = sized(600, 10_000)
BATCH = 50
FORGED = sized(20, 200)
ATTEMPTS = 3
BROKERS = pytest.mark.parametrize(
    "broker",
    [
        "memory",
        "sqlite",
        pytest.param("kafka", marks=pytest.mark.server),
        pytest.param("amqp", marks=pytest.mark.server),
    ],
    indirect=True,
)


@dataclass
class Tally:
    """What came of hostile messages."""

    confirmed: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    def outcomes(self, sent: Sequence[Message], outcomes: Sequence[Receipt | PublishError]) -> list[Message]:
        """Take in a batch; what of it must arrive."""
        due: list[Message] = []
        for message, outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, Receipt):
                due.append(message)
            elif isinstance(outcome, PublishFailed):
                self.refused[type(outcome).__name__] += 1
            else:
                self.faults.append(f"not refused, but {type(outcome).__name__}: {outcome}: {shown(message)}")
        self.confirmed += len(due)
        return due

    def compare(self, due: Sequence[Message], arrived: Sequence[Message]) -> None:
        """Raise AssertionError for anything that differs, is missing or came from nowhere."""
        got = {message.body: message for message in arrived}
        for message in due:
            back = got.pop(message.body, None)
            if back is None:
                self.faults.append(f"lost: {shown(message)}")
            elif plain(back) != plain(message) or back.id not in {"", message.id}:
                self.faults.append(f"changed: {shown(message)} came as {shown(back)}")
        self.faults += [f"injected: {shown(message)}" for message in got.values()]
        assert not self.faults, f"{len(self.faults)} faults, first {self.faults[0]}"


def plain(message: Message) -> tuple[object, ...]:
    return message.key, message.content_type or None, sorted(message.headers)


def shown(message: Message) -> str:
    return repr(message)[:400]


async def take(consumer: Consumer, count: int) -> list[Message]:
    """So many messages, and whatever else is there already."""
    taken: list[Message] = []
    try:
        async with asyncio.timeout(20):
            while len(taken) < count:
                deliveries = await consumer.fetch(BATCH * 2)
                taken += [delivery.message for delivery in deliveries]
                for delivery in deliveries:
                    delivery.ack()
    except TimeoutError:
        return taken  # whoever compares says what is missing
    return taken


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.bar(
    10, "hostile headers: CRLF, NUL, no UTF-8, 64 KiB, 2,000 keys, repeated, forged, broker's own"
)
@BROKERS
async def test_hostile_headers_come_back_or_are_refused(url: str, rng: Random, figures: Figures) -> None:
    spec, tally, port = (
        TopicSpec(f"hostile.{rng.getrandbits(32):x}", partitions=2, ordered=True),
        Tally(),
        port_of(url),
    )
    async with transport_of(url) as transport:
        await transport.declare([spec], ["g"])
        consumer = await transport.subscribe(Subscription("g", (spec,)))
        tally.compare(*[await healthy(transport, spec, consumer)] * 2)
        ours = connections(port)
        for start in range(0, MESSAGES, BATCH):
            sent = [hostile.message(rng, spec.name, number) for number in range(start, start + BATCH)]
            due = tally.outcomes(sent, await transport.publish_many(spec, sent))
            tally.compare(due, await take(consumer, len(due)))
        await healthy(transport, spec, consumer)
        closed = ours - connections(port)
        await consumer.close()
    figures.events = MESSAGES
    figures.faults = f"{MESSAGES:,} hostile messages"
    figures.note(
        f"{tally.confirmed:,} came back whole, {sum(tally.refused.values()):,} refused, {len(closed)} closed"
    )
    assert not closed, f"connections closed by a header: {closed}"
    assert tally.confirmed > MESSAGES // 4
    assert tally.confirmed + sum(tally.refused.values()) == MESSAGES


async def healthy(transport: Transport, spec: TopicSpec, consumer: Consumer) -> list[Message]:
    """An innocent message makes its way."""
    sent = Message(spec.name, b"innocent", b"k", (("a", b"b"),), "application/protobuf", "innocent")
    await transport.publish(spec, sent)
    back = await take(consumer, 1)
    assert [plain(each) for each in back] == [plain(sent)]
    return back


def port_of(url: str) -> int:
    hosts = BrokerUrl.parse(url).hosts
    return (hosts[0].port or 0) if hosts else 0


def failing_topic(rng: Random, mode: RetryMode) -> Topic[Any]:
    delayed = mode is RetryMode.DELAYED
    wait = 0.2 if delayed else 0.001
    return replace(
        ORDERS,
        name=f"forged.{rng.getrandbits(32):x}",
        partitions=2,
        ordering=Ordering.NONE if delayed else Ordering.PER_KEY,
        retry=RetryPolicy(mode=mode, max_attempts=ATTEMPTS, initial_backoff=wait, max_backoff=wait),
    )


@pytest.mark.timeout(120)
@pytest.mark.bar(10, "forged attempts, deaths and dead letter headers on events that always fail")
@pytest.mark.parametrize("mode", list(RetryMode), ids=lambda mode: mode.name.lower())
@BROKERS
async def test_forged_headers_skip_neither_retries_nor_the_dead_letter(
    url: str, mode: RetryMode, rng: Random, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "eventwire")
    topic, tried = failing_topic(rng, mode), Counter[str]()
    dead = dead_letter_spec(topic, Policies("g"))
    assert dead is not None

    async def fail(event: Any, context: Context) -> None:
        tried[context.id] += 1
        raise ValueError("always")

    breaker = BreakerPolicy(failures=10**9)  # that everything fails is the point
    async with (
        Bus(url, declare=True) as bus,
        Worker(bus, handler_of(topic, fail), group="g", breaker=breaker) as worker,
    ):
        transport = bus.transport(topic)
        sent = [forge(bus, topic, rng, number) for number in range(FORGED)]
        for message in await asyncio.gather(*sent):
            await transport.publish(spec_of(topic), message)
        await until(
            lambda: worker.counts.settled >= FORGED, 30, lambda: f"{worker.counts} of {FORGED}, tried {tried}"
        )
        graves = await transport.subscribe(Subscription("morgue", (dead,)))
        buried = await take(graves, FORGED)
        await graves.close()
    figures.events, figures.faults = FORGED, f"{FORGED} forged messages"
    wrong = {name: count for name, count in tried.items() if count != ATTEMPTS}
    assert not wrong, f"attempts other than {ATTEMPTS}: {wrong}"
    assert len(tried) == len(buried) == FORGED
    for message in buried:
        told = [(name, value) for name, value in message.headers if name.startswith("eventwire_dead_")]
        assert len(dict(told)) == len(told), f"told twice: {told}"
        assert dict(told)["eventwire_dead_attempts"] == b"%d" % ATTEMPTS, told
        assert dict(told)["eventwire_dead_error"] == b"ValueError", told


async def forge(bus: Bus, topic: Topic[Any], rng: Random, number: int) -> Message:
    """A sound event with forged headers behind, or before, its own."""
    route = await bus.route(topic)
    message = route.write(OrderPlaced(order_id=f"k{number}"), None, f"id-{number}", None)
    own = {
        "eventwire_key",
        "eventwire_tombstone",
        "eventwire_attempt",
    }  # refused on RabbitMQ, where they are written
    extra = tuple(header for header in hostile.forged(rng) if header[0] not in own)
    message.headers = extra + message.headers if rng.random() < 0.5 else message.headers + extra
    return message
