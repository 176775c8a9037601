"""The transport: RabbitMQ 3.10 and newer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventwire.errors import Closed, PublishError
from eventwire.message import Message, Receipt
from eventwire.transport import DriverOptions, Features, Subscription, TopicSpec
from eventwire.transports.amqp import codec, topology
from eventwire.transports.amqp.connection import calling, open_channel
from eventwire.transports.amqp.consumer import AmqpConsumer
from eventwire.transports.amqp.publisher import Publisher
from eventwire.transports.amqp.settings import Settings
from eventwire.url import BrokerUrl


class AmqpTransport:
    """RabbitMQ. `amqp://user:password@host:5672,other:5672/vhost?option=value`; `amqps` verifies the certificate.

    Options: `connect_timeout` (10 s), `heartbeat` (15 s), `unrouted` (`error` or `allow`), `max_body` (16 MiB, RabbitMQ
    4's default), `prefetch` (200 per queue), `no_verify_ssl`, and aio-pika's `name`, `auth`, `cafile`, `capath`,
    `cadata`, `certfile`, `keyfile`. Queues keep what was published after the group was declared; nothing earlier.

    Of a group's workers, one reads a partition at a time and keeps it until it goes: the first worker to start
    takes all partitions, workers that start together share them.
    """

    def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
        self._settings = Settings.read(url, options)
        self._features = Features(
            transport="amqp",
            durable=True,
            confirms=True,
            ack=True,
            groups=True,
            ordering=True,
            history=False,
            replay=False,
            processes=True,
            max_header_bytes=codec.MAX_HEADERS,
            max_key=codec.MAX_KEY,
            max_body=self._settings.max_body,
            attribute_prefix=codec.PREFIX,
            attribute_prefixes=codec.PREFIXES,
        )
        self._publisher = Publisher(self._settings)
        self._consumers: set[AmqpConsumer] = set()
        self._closed = False

    @property
    def features(self) -> Features:
        """Constant facts, known before connecting."""
        return self._features

    async def connect(self) -> None:
        """Connect. Raises Unreachable within the URL's `connect_timeout`."""
        await self._publisher.connect()

    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """Create exchanges and the groups' queues, whatever was there before: it may have been deleted meanwhile."""
        own = [topic for topic in topics if not topic.external]
        external = [topic for topic in topics if topic.external]
        if own:
            await topology.declare(await self._publisher.connection(), own, groups)
        if external:
            await self.check(external, groups)

    async def check(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        """Raise TopicMissing, naming every exchange and queue that was not declared."""
        await topology.check(await self._publisher.connection(), topics, groups)

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write one message; return when the broker confirmed it. Raises PublishError."""
        return await self._publisher.publish(topic, message)

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """Write a batch in order; one outcome for each."""
        return await self._publisher.publish_many(topic, messages)

    async def ping(self) -> None:
        """Return when the broker answered just now. Raises BrokerError."""
        connection = await self._publisher.connection()
        async with calling("pinging RabbitMQ"):
            await (await open_channel(connection)).close()

    async def lag(self, topic: TopicSpec, group: str) -> int:
        """How many messages wait for the group, or are held by its members here. Raises TopicMissing and BrokerError.

        Without what its members elsewhere hold and have not settled, at most `prefetch` each and queue: AMQP does not
        tell it. A delayed topic's waiting messages count.
        """
        waiting = await topology.lag(await self._publisher.connection(), topic, group)
        return waiting + sum(consumer.holds(topic, group) for consumer in self._consumers)

    async def subscribe(self, subscription: Subscription) -> AmqpConsumer:
        """Join the group with a connection of its own. Raises Unreachable and TopicMissing."""
        self._refuse_closed()
        consumer = await AmqpConsumer.open(self._settings, subscription)
        self._consumers = {known for known in self._consumers if not known.closed} | {consumer}
        try:
            self._refuse_closed()
        except Closed:
            await consumer.close()
            raise
        return consumer

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Closed("the AMQP transport is closed")

    async def close(self) -> None:
        """Close consumers, wait for confirms, disconnect; about 5 seconds at most. Idempotent."""
        if self._closed:
            return
        self._closed = True
        consumers, self._consumers = self._consumers, set()
        await asyncio.gather(self._publisher.close(within=4.0), *(consumer.close() for consumer in consumers))
