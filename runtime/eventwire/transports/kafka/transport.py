"""`kafka://` and `kafka+ssl://` over aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from eventwire.errors import Closed, PublishError, Unreachable
from eventwire.message import Message, Receipt
from eventwire.transport import DriverOptions, Features, Subscription, TopicSpec
from eventwire.transports.kafka import standing
from eventwire.transports.kafka import topics as declaring
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.consumer import KafkaConsumer
from eventwire.transports.kafka.diagnosis import why_not
from eventwire.transports.kafka.faults import describe
from eventwire.transports.kafka.logs import filter_logs
from eventwire.transports.kafka.options import read_options
from eventwire.transports.kafka.producer import Producer, Publisher
from eventwire.url import BrokerUrl

_DISCONNECT_WITHIN = 1.0
_DIAGNOSED_WITHIN = 1.0
_TRANSACTION_TIMEOUT_MS = 300_000
"""How long a batch may be handled, and how long readers wait at most for one that a dead group left open."""


class KafkaTransport:
    """A Kafka cluster.

    The connection for administration is made by `connect`, the producer by the first publish: who only consumes needs
    no right to write.
    """

    def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
        self._url = url
        self._options = read_options(url, options)
        self._admin: AIOKafkaAdminClient | None = None
        self._connecting = asyncio.Lock()
        self._publisher = Publisher(self._producer)
        self._closed = False
        self._forsaken: set[asyncio.Task[None]] = set()
        self._features = Features(
            transport="kafka",
            durable=True,
            confirms=True,
            ack=True,
            groups=True,
            ordering=True,
            history=True,
            replay=True,
            processes=True,
            transactions=True,
            max_body=int(self._options.producer["max_request_size"]),
        )
        filter_logs()

    @property
    def features(self) -> Features:
        """What Kafka gives.

        `max_body` is `max_request_size`, 1 MiB unless the URL says more: brokers take no more by default either
        (`message.max.bytes`). Key and headers count too.
        """
        return self._features

    async def connect(self) -> None:
        """Connect for administration. Raises Unreachable."""
        await self._administration()

    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:  # noqa: ARG002 - Kafka's groups need none
        """Create topics with their partitions, retention and compaction; see `replication_factor` for replicas."""
        await declaring.declare(await self._administration(), topics, self._options.replication_factor)

    async def check(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:  # noqa: ARG002 - Kafka's groups need none
        """Raise TopicMissing, naming them all."""
        declaring.require(topics, await declaring.partition_counts(await self._administration()))

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        """Write one message to the partition of its key; without a key, to each in turn.

        Cancelled, it may still be written.
        """
        return await self._publisher.publish(topic, message)

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        """Write a batch in order. Raises only Closed."""
        return await self._publisher.publish_many(topic, messages)

    async def subscribe(self, subscription: Subscription) -> KafkaConsumer:
        """Begin to join the group. Raises TopicMissing and Unreachable."""
        await self.check(subscription.topics, ())
        return await KafkaConsumer.open(
            partial(self._client, subscription.group),
            subscription,
            drain=self._options.drain,
            session_timeout=float(self._options.consumer["session_timeout_ms"]) / 1000,
            make=self.transactional if subscription.transactional is not None else None,
        )

    async def ping(self) -> None:
        """Ask any broker for the cluster's metadata. Raises Unreachable."""
        admin = await self._administration()
        try:
            await admin.describe_cluster()
        except KafkaError as error:
            raise Unreachable(f"no answer from {self._url}: {describe(error)}") from error

    async def lag(self, topic: TopicSpec, group: str) -> int:
        """The log's ends minus what the group committed; everything the log has where it never did.

        Records only: what an open transaction wrote does not count yet, its marker at the log's end counts as one
        until the group passed it. The group's coordinator has `connect_timeout` to be found. Raises TopicMissing
        and BrokerError.
        """
        admin = await self._administration()
        return await standing.lag(admin, topic, group, patience=self._options.connect_timeout)

    async def close(self) -> None:
        """Flush and disconnect. Consumers are closed by those who opened them."""
        self._closed = True
        await self._publisher.close()
        admin, self._admin = self._admin, None
        if admin is not None:
            await asyncio.wait([asyncio.create_task(admin.close())], timeout=_DISCONNECT_WITHIN)

    async def _administration(self) -> AIOKafkaAdminClient:
        async with self._connecting:
            if self._closed:
                raise Closed("the transport was closed")
            if self._admin is None:
                self._admin = await self._administrator()
            return self._admin

    async def _client(self, group: str) -> Client:
        client = Client(group_id=group, **self._options.consumer)
        await self._reach(client.start(), client.end)
        return client

    async def _administrator(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(**self._options.admin)
        await self._reach(admin.start(), admin.close)
        return admin

    async def _producer(self) -> Producer:
        producer = Producer(**self._options.producer)
        await self._reach(producer.open(), producer.halt)
        return producer

    async def transactional(self, identity: str) -> Producer:
        """A producer that fences every other one of its id. Raises Unreachable."""
        options = {**self._options.producer, "transactional_id": identity}
        producer = Producer(**options, transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS)
        await self._reach(producer.open(), producer.halt)
        return producer

    async def _reach(self, starting: Coroutine[Any, Any, None], close: Callable[[], Awaitable[None]]) -> None:
        """Start a client; closes it when that fails. Raises Unreachable."""
        seconds = self._options.connect_timeout
        opening = asyncio.ensure_future(starting)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(opening)
        except KafkaError as error:
            await close()
            why = await why_not(
                self._url, self._options.admin["ssl_context"], min(seconds, _DIAGNOSED_WITHIN)
            )
            raise Unreachable(f"no connection to {self._url}: {describe(error)}; {why}") from error
        except TimeoutError as error:
            self._forsake(opening, close)
            raise Unreachable(f"no answer from {self._url} within {seconds:g} s") from error
        except BaseException:
            self._forsake(opening, close)
            raise

    def _forsake(self, opening: asyncio.Future[None], close: Callable[[], Awaitable[None]]) -> None:
        """Close a client when its start has ended: aiokafka forgets the connection of one that is cancelled."""

        async def end() -> None:
            await asyncio.wait({opening}, timeout=self._options.connect_timeout)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await close()

        ending = asyncio.create_task(end())
        self._forsaken.add(ending)
        ending.add_done_callback(self._forsaken.discard)
