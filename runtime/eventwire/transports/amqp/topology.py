"""Declaring and checking exchanges and queues."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import aio_pika
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from eventwire.errors import TopicMismatch, TopicMissing
from eventwire.transport import TopicSpec
from eventwire.transports import DECLARE_IT
from eventwire.transports.amqp import names
from eventwire.transports.amqp.client import Channel
from eventwire.transports.amqp.connection import calling, open_channel

DELIVERY_LIMIT = 1000
"""After so many deliveries that were not settled the broker sets a message aside. A net under the worker's own dead
letter, far above any `max_attempts`: a crash counts for every message that was prefetched. Always explicit: RabbitMQ 4
sets 20 where nothing is said."""
_ELECTION = 0.5
"""Seconds after which a queue that seemed missing is asked for again: a quorum queue that was just declared, on a
broker that just started, has been seen to be "not found"."""
_CURRENT_COUNT = re.compile(r"current is [^']*'[^']*\.undelivered-(\d+)'")
"""In RabbitMQ's refusal of a queue that was declared with another number of partitions; see `names`."""
_QUORUM = {"x-queue-type": "quorum"}
_KEPT = _QUORUM | {"x-delivery-limit": 1_000_000}
"""Where there is nothing behind the queue, the broker shall not give up."""
_SINGLE = {"x-single-active-consumer": True}
_MARK = _KEPT | {"x-max-length": 1, "x-overflow": "drop-head"}
_LEAST_DELAY = 1
"""Milliseconds."""


async def declare(
    connection: aio_pika.Connection, topics: Sequence[TopicSpec], groups: Sequence[str]
) -> None:
    """Create what is missing. Declaring again is no change. Raises TopicMismatch."""
    async with calling("declaring"):
        channel = await open_channel(connection)
    for topic in topics:
        async with calling(f"declaring topic {topic.name}"):
            with _comparing(topic):
                await _declare(channel, topic, groups)
    async with calling("declaring"):
        await channel.close()


@contextmanager
def _comparing(topic: TopicSpec) -> Generator[None, None, None]:
    """Say it plainly where what RabbitMQ refuses is another number of partitions."""
    try:
        yield
    except ChannelPreconditionFailed as error:
        if topic.ordered and (found := _CURRENT_COUNT.search(str(error))):
            raise TopicMismatch(
                f"topic `{topic.name}` has {found[1]} partitions and is declared with {topic.partitions}: its keys are "
                "ordered, and with another count they move between partitions. Declare the count it has, or a new topic"
            ) from error
        raise


async def _declare(channel: Channel, topic: TopicSpec, groups: Sequence[str]) -> None:
    exchange = names.exchange(topic)
    await channel.exchange_declare(exchange=exchange, exchange_type="topic", durable=True)
    if topic.queue:
        await _declare_queue_topic(channel, exchange, topic)
        return
    for group in groups:
        net = names.undelivered(topic, group)
        arguments = _arguments(net)
        await _declare_suspects(channel, topic, group, arguments)
        for partition, queue in enumerate(names.queues(topic, group)):
            own = arguments | _SINGLE if topic.ordered else arguments
            await _queue(channel, exchange, queue, names.binding(topic, partition), own)
        await channel.queue_declare(net, durable=True, arguments=dict(_KEPT))


async def _declare_queue_topic(channel: Channel, exchange: str, topic: TopicSpec) -> None:
    """One queue; or two, of which the first passes on to the second what waited for its time."""
    queue = names.queues(topic, "")[0]
    await _declare_suspects(channel, topic, "", _KEPT)
    await channel.queue_declare(queue=queue, durable=True, arguments=dict(_KEPT))
    if topic.delay:
        milliseconds = max(round(topic.delay * 1000), _LEAST_DELAY)
        waiting = _QUORUM | _passing_on(queue) | {"x-message-ttl": milliseconds}
        await channel.queue_declare(queue=names.waiting(topic), durable=True, arguments=waiting)
    await channel.queue_bind(queue=names.entry(topic), exchange=exchange, routing_key="#")


async def _declare_suspects(
    channel: Channel, topic: TopicSpec, group: str, arguments: Mapping[str, Any]
) -> None:
    own = names.suspects(topic, group)
    if own is not None:
        await channel.queue_declare(queue=own, durable=True, arguments={**arguments, **_SINGLE})
    for queue in names.one_by_one(topic, group):
        await channel.queue_declare(queue=names.mark(queue), durable=True, arguments=dict(_MARK))


async def _queue(channel: Channel, exchange: str, queue: str, key: str, arguments: dict[str, Any]) -> None:
    await channel.queue_declare(queue=queue, durable=True, arguments=dict(arguments))
    await channel.queue_bind(queue=queue, exchange=exchange, routing_key=key)


def _arguments(net: str) -> dict[str, Any]:
    """A group queue's arguments."""
    return _QUORUM | {"x-delivery-limit": DELIVERY_LIMIT} | _passing_on(net)


def _passing_on(queue: str) -> dict[str, Any]:
    """Dead-lettering at least once, into a queue. It needs `reject-publish` (RabbitMQ, quorum queues)."""
    return {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def check(connection: aio_pika.Connection, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
    """Raise TopicMissing, naming every exchange and queue that is not there."""
    exchanges = dict.fromkeys(map(names.exchange, topics))
    queues = dict.fromkeys(
        queue for topic in topics for group in groups for queue in names.everything(topic, group)
    )
    async with calling("checking what is declared"):
        missing = [f"exchange {name}" for name in await _missing(connection, "exchange", exchanges)]
        absent = await _missing(connection, "queue", queues)
        if absent:
            await asyncio.sleep(_ELECTION)
            missing += [f"queue {name}" for name in await _missing(connection, "queue", absent)]
    if missing:
        raise TopicMissing(f"not declared on RabbitMQ: {', '.join(missing)}; {DECLARE_IT}")


async def _missing(connection: aio_pika.Connection, kind: str, known: Iterable[str]) -> list[str]:
    """Those of the names that the broker does not know; each such answer costs the channel, so it is replaced."""
    missing: list[str] = []
    channel = await open_channel(connection)
    for name in known:
        try:
            if kind == "exchange":
                await channel.exchange_declare(exchange=name, passive=True)
            else:
                await channel.queue_declare(queue=name, passive=True)
        except ChannelNotFoundEntity:
            missing.append(name)
            channel = await open_channel(connection)
    await channel.close()
    return missing


async def lag(connection: aio_pika.Connection, topic: TopicSpec, group: str) -> int:
    """How many messages wait for the group. Raises TopicMissing and BrokerError."""
    queues = [*names.queues(topic, group), *filter(None, [names.suspects(topic, group)])]
    async with calling(f"topic {topic.name}: asking for the lag of group {group}"):
        channel = await open_channel(connection)
        counts = await count(channel, [*queues, names.waiting(topic)] if topic.delay else queues)
        await channel.close()
    return sum(waiting for waiting, _ in counts.values())


async def count(channel: Channel, queues: Iterable[str]) -> dict[str, tuple[int, int]]:
    """How many messages wait in each queue, and how many consumers it has."""
    found: dict[str, tuple[int, int]] = {}
    for queue in queues:
        answer = await channel.queue_declare(queue=queue, passive=True)
        found[queue] = (answer.message_count, answer.consumer_count)
    return found
